//! Webhooks in: the handshake, the signature, nothing lost, nothing twice, in order.

use chatgate::{channels::meta::signature, secret::Secret};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Api, World,
    api::Answer,
    logs::APP_SECRET,
    story,
    world::{APP_ID, PAGE_ID, id},
};

async fn callback(world: &World) -> (String, String) {
    let shown = world.admin.get(&format!("/widgets/{}/callback", id(&world.widget))).await.expect(200);
    let url = shown["callback_url"].as_str().unwrap();
    (url.strip_prefix(&world.base).unwrap().to_owned(), shown["verify_token"].as_str().unwrap().to_owned())
}

fn message(psid: &str, mid: &str, text: &str) -> String {
    let event = json!({ "sender": { "id": psid }, "recipient": { "id": PAGE_ID }, "timestamp": 1_790_000_000_000_u64,
        "message": { "mid": mid, "text": text } });
    json!({ "object": "page", "entry": [{ "id": PAGE_ID, "time": 1_790_000_000_000_u64, "messaging": [event] }] })
        .to_string()
}

async fn post(world: &World, path: &str, signature: Option<&str>, body: &str) -> Answer {
    let nobody = Api::new(&world.base, None);
    let mut request =
        nobody.request(Method::POST, path).header("content-type", "application/json").body(body.to_owned());
    if let Some(signature) = signature {
        request = request.header("x-hub-signature-256", signature);
    }
    nobody.send(request).await
}

fn sign(secret: &str, body: &str) -> String {
    signature::sign(&Secret::new(secret), body.as_bytes())
}

async fn count(world: &World, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&world.db).await.unwrap()
}

#[tokio::test]
async fn the_handshake_echoes_the_challenge_to_the_right_token_only() {
    story(async |world| {
        let (path, token) = callback(world).await;
        let nobody = Api::new(&world.base, None);
        let ask = async |query: &str| nobody.get(&format!("{path}?{query}")).await;
        let answer = ask(&format!("hub.mode=subscribe&hub.challenge=115%3Cb%3E&hub.verify_token={token}")).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "115<b>"));
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
        let twice = format!("hub.mode=subscribe&hub.challenge=1&hub.verify_token=x&hub.mode=subscribe&hub.challenge=2&hub.verify_token={token}");
        assert_eq!(ask(&twice).await.text, "2");
        for query in ["hub.mode=subscribe&hub.challenge=q115z&hub.verify_token=wrong", "hub.challenge=q115z", "", &format!("hub.mode=other&hub.challenge=q115z&hub.verify_token={token}")] {
            let answer = ask(query).await;
            // No hex digits alone: a request id may have those.
            assert!(!answer.text.contains("q115z"));
            assert_eq!(answer.problem(403), "bad-handshake");
        }
        assert_eq!(nobody.get("/webhooks/messenger/unknown-key?hub.mode=subscribe").await.problem(404), "not-found");
        let shown = world.admin.get(&format!("/widgets/{}/callback", id(&world.widget))).await.expect(200);
        assert!(shown["verified_at"].is_string());
        // A new token works at once, and the old one no more.
        let rotated = world.admin.act(&format!("/widgets/{}/verify-token", id(&world.widget))).await;
        assert!(rotated.status < 300, "{}", rotated.text);
        let (_, fresh) = callback(world).await;
        assert_ne!(fresh, token);
        assert_eq!(ask(&format!("hub.mode=subscribe&hub.challenge=7&hub.verify_token={fresh}")).await.text, "7");
        assert_eq!(ask(&format!("hub.mode=subscribe&hub.challenge=7&hub.verify_token={token}")).await.status, 403);
    })
    .await;
}

#[tokio::test]
async fn only_what_is_signed_with_the_apps_secret_comes_in() {
    story(async |world| {
        let (path, _) = callback(world).await;
        let health = async |world: &World| -> Vec<Value> {
            world.events().await.into_iter().filter(|it| it["kind"] == "widget.health_changed").collect()
        };
        let before = health(world).await.len();
        let body = message("71", "m_1", "hi");
        let right = sign(APP_SECRET, &body);
        for wrong in [
            None,
            Some(""),
            Some("sha256="),
            Some("sha1=0123"),
            Some(&sign("another", &body)[..]),
            Some(&right[7..]),
            Some(&right[..70]),
        ] {
            assert_eq!(post(world, &path, wrong, &body).await.problem(401), "bad-signature", "{wrong:?}");
        }
        assert_eq!(post(world, &path, Some(&right), &format!("{body} ")).await.problem(401), "bad-signature");
        assert_eq!(count(world, "select count(*) from ledger").await, 0);
        // Written down once a second, not once for each.
        assert_eq!(count(world, "select signature_failures from meta_apps").await, 0);
        world.settle().await;
        assert_eq!(count(world, "select signature_failures from meta_apps").await, 8);
        let upper = format!("sha256={}", right[7..].to_uppercase());
        let answer = post(world, &path, Some(&upper), &body).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "EVENT_RECEIVED"));
        world.settle().await;
        assert_eq!(count(world, "select signature_failures from meta_apps").await, 0);
        // Told once when it began and once when it was over, not for each.
        let told = health(world).await.split_off(before);
        let states = |it: &Value| {
            let checks = it["data"]["health"]["checks"].as_array().unwrap();
            checks.iter().find(|it| it["name"] == "signature").map(|it| it["state"].clone())
        };
        let states: Vec<_> = told.iter().map(states).collect();
        assert_eq!(states, [Some(json!("attention")), Some(json!("ok"))]);
        assert_eq!(post(world, "/webhooks/messenger/unknown", Some(&right), &body).await.problem(404), "not-found");
    })
    .await;
}

#[tokio::test]
async fn the_old_secret_counts_for_a_day_after_a_change() {
    story(async |world| {
        let (path, _) = callback(world).await;
        let change = json!({ "messenger": { "app_secret": "a-new-app-secret-of-the-app" } });
        world.admin.patch(&format!("/widgets/{}", id(&world.widget)), change).await.expect(200);
        let (one, two) = (message("71", "m_1", "old"), message("71", "m_2", "new"));
        assert_eq!(post(world, &path, Some(&sign(APP_SECRET, &one)), &one).await.status, 200);
        assert_eq!(post(world, &path, Some(&sign("a-new-app-secret-of-the-app", &two)), &two).await.status, 200);
        world.pass(24 * 3600 + 1).await;
        let three = message("71", "m_3", "too old");
        assert_eq!(post(world, &path, Some(&sign(APP_SECRET, &three)), &three).await.status, 401);
    })
    .await;
}

#[tokio::test]
async fn a_second_delivery_changes_nothing() {
    story(async |world| {
        let (path, _) = callback(world).await;
        let body = message("71", "m_1", "once");
        let signature = sign(APP_SECRET, &body);
        let posts = (0..10).map(|_| post(world, &path, Some(&signature), &body));
        for answer in futures::future::join_all(posts).await {
            assert_eq!(answer.status, 200);
        }
        world.settle().await;
        assert_eq!(post(world, &path, Some(&signature), &body).await.status, 200);
        world.settle().await;
        assert_eq!(count(world, "select count(*) from messages").await, 1);
        assert_eq!(count(world, "select count(*) from rooms").await, 1);
        assert_eq!(count(world, "select count(*) from ledger_items where state = 'applied'").await, 1);
        assert_eq!(count(world, "select count(*) from ledger_items where state = 'duplicate'").await, 10);
        assert_eq!(count(world, "select deliveries::bigint from ledger_items where state = 'applied'").await, 11);
        // Nor does it open a room when the first one is closed.
        let room = world.admin.get("/rooms").await.expect(200)["items"][0].clone();
        world.admin.post(&format!("/rooms/{}/close", id(&room)), json!({})).await.expect(200);
        assert_eq!(post(world, &path, Some(&signature), &body).await.status, 200);
        world.settle().await;
        assert_eq!(count(world, "select count(*) from rooms").await, 1);
    })
    .await;
}

#[tokio::test]
async fn everything_in_one_post_is_kept_and_what_is_odd_harms_nobody() {
    story(async |world| {
        let (path, _) = callback(world).await;
        let good = |psid: &str, mid: &str| json!({ "sender": { "id": psid }, "recipient": { "id": PAGE_ID }, "timestamp": 1_790_000_000_000_u64, "message": { "mid": mid, "text": "x" } });
        let body = json!({ "object": "page", "entry": [
            { "id": PAGE_ID, "time": 1, "messaging": [good("71", "m_1"), { "sender": 7 }, { "sender": { "id": "72" }, "recipient": { "id": PAGE_ID }, "surprise": {} }, good("72", "m_2")] },
            { "id": "999", "time": 1, "messaging": [{ "sender": { "id": "71" }, "recipient": { "id": "999" }, "message": { "mid": "m_3", "text": "unknown page" } }] },
            { "id": PAGE_ID, "time": 1, "changes": [{ "field": "feed", "value": {} }] },
        ] })
        .to_string();
        assert_eq!(post(world, &path, Some(&sign(APP_SECRET, &body)), &body).await.status, 200);
        for odd in ["", "nonsense", "[]", "\"x\"", "{}", r#"{"object":"page"}"#, r#"{"object":"instagram","entry":[{"id":"1","messaging":[{}]}]}"#] {
            assert_eq!(post(world, &path, Some(&sign(APP_SECRET, odd)), odd).await.status, 200, "{odd}");
        }
        world.settle().await;
        assert_eq!(count(world, "select count(*) from messages").await, 2);
        assert_eq!(count(world, "select count(*) from ledger where outcome = 'unknown page'").await, 1);
        // Unreadable bodies are parked, visible, and the only ones that are.
        assert_eq!(count(world, "select count(*) from ledger_items where state = 'parked' and kind = 'unreadable'").await, 4);
        assert_eq!(count(world, "select count(*) from ledger_items where state = 'pending'").await, 0);
        sqlx::query("delete from ledger where kind = 'unreadable'").execute(&world.db).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn text_that_postgresql_refuses_is_kept_readable() {
    story(async |world| {
        let (path, _) = callback(world).await;
        let body = message("71", "m_1", "TEXT").replace("TEXT", r"a\u0000b\ud83dc\ud83d\ude00");
        assert_eq!(post(world, &path, Some(&sign(APP_SECRET, &body)), &body).await.status, 200);
        world.settle().await;
        let text: String =
            sqlx::query_scalar("select content ->> 'text' from messages").fetch_one(&world.db).await.unwrap();
        assert_eq!(text, "a\u{fffd}b\u{fffd}c😀");
    })
    .await;
}

#[tokio::test]
async fn messages_of_one_sender_keep_their_order() {
    story(async |world| {
        let (path, _) = callback(world).await;
        for batch in 0..5 {
            let events: Vec<_> = (0..20)
                .map(|n| json!({ "sender": { "id": format!("7{}", n % 3) }, "recipient": { "id": PAGE_ID }, "timestamp": 1_790_000_000_000_u64,
                    "message": { "mid": format!("m_{batch}_{n}"), "text": format!("{:03}", batch * 20 + n) } }))
                .collect();
            let body = json!({ "object": "page", "entry": [{ "id": PAGE_ID, "time": 1, "messaging": events }] }).to_string();
            assert_eq!(post(world, &path, Some(&sign(APP_SECRET, &body)), &body).await.status, 200);
        }
        world.settle().await;
        let rows: Vec<(uuid::Uuid, Vec<String>, Vec<i64>)> = sqlx::query_as(
            "select room_id, array_agg(content ->> 'text' order by seq), array_agg(seq order by seq) from messages group by room_id",
        )
        .fetch_all(&world.db)
        .await
        .unwrap();
        assert_eq!(rows.len(), 3);
        for (_, texts, seqs) in rows {
            assert!(texts.is_sorted(), "{texts:?}");
            assert_eq!(seqs, (1..=i64::try_from(seqs.len()).unwrap()).collect::<Vec<_>>());
        }
    })
    .await;
}

#[tokio::test]
async fn an_echo_from_the_page_inbox_appears_as_written_by_the_page() {
    story(async |world| {
        let (path, _) = callback(world).await;
        let anna = world.customer("Anna");
        anna.says("Hello").await;
        let echo = json!({ "sender": { "id": PAGE_ID }, "recipient": { "id": anna.psid }, "timestamp": 1_790_000_000_000_u64,
            "message": { "is_echo": true, "app_id": 263_902_037_430_900_u64, "mid": "m_inbox", "text": "From the inbox" } });
        let body = json!({ "object": "page", "entry": [{ "id": PAGE_ID, "time": 1, "messaging": [echo] }] }).to_string();
        for _ in 0..2 {
            assert_eq!(post(world, &path, Some(&sign(APP_SECRET, &body)), &body).await.status, 200);
            world.settle().await;
        }
        let room = world.admin.get("/rooms").await.expect(200)["items"][0].clone();
        let messages = world.admin.get(&format!("/rooms/{}/messages", id(&room))).await.expect(200);
        let shown: Vec<_> = messages["items"].as_array().unwrap().iter().map(|it| (it["direction"].clone(), it["author"]["kind"].clone())).collect();
        assert_eq!(shown, [(json!("inbound"), json!("contact")), (json!("outbound"), json!("page"))]);
    })
    .await;
}

#[tokio::test]
async fn too_much_at_once_is_refused_clearly() {
    story(async |world| {
        let (path, _) = callback(world).await;
        let body = " ".repeat(10 * 1024 * 1024 + 1);
        assert_eq!(post(world, &path, Some("sha256=00"), &body).await.problem(413), "too-large");
        assert!(world.simulator.is_installed(PAGE_ID));
        assert_eq!(APP_ID.len(), 15);
    })
    .await;
}
