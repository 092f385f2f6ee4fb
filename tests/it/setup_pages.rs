//! Widgets, Meta apps, working hours, queues and incoming chats.

use serde_json::{Value, json};

use crate::support::{
    Api, World,
    logs::{APP_SECRET, NEW_PAGE_TOKEN, PAGE_TOKEN},
    story,
    world::{APP_ID, PAGE_ID, id},
};

fn widget(messenger: Value) -> Value {
    json!({ "name": "Page", "channel": "messenger", "messenger": messenger })
}

async fn handshake(world: &World, callback: &Value, token: &str) -> u16 {
    let path = callback["callback_url"].as_str().unwrap().strip_prefix(&world.base).unwrap().to_owned();
    let query = format!("{path}?hub.mode=subscribe&hub.verify_token={token}&hub.challenge=42");
    Api::new(&world.base, None).get(&query).await.status
}

#[tokio::test]
async fn pages_of_one_app_share_its_callback() {
    story(async |world| {
        let place = format!("/widgets/{}", id(&world.widget));
        assert_eq!(world.widget["messenger"]["page_id"], PAGE_ID, "found by the token");
        assert_eq!(world.widget["health"]["state"], "unchecked");
        let again = widget(json!({ "app_id": APP_ID, "page_access_token": PAGE_TOKEN }));
        assert_eq!(world.admin.post("/widgets", again).await.problem(409), "conflict");
        let other = json!({ "app_id": APP_ID, "page_access_token": "t2", "page_id": "77", "verify_token": "mine" });
        assert_eq!(world.admin.post("/widgets", widget(other)).await.problem(409), "conflict");
        let second = widget(json!({ "app_id": APP_ID, "page_access_token": "t2", "page_id": "77" }));
        let second = world.admin.post("/widgets", second).await.expect(201);
        let one = world.admin.get(&format!("{place}/callback")).await.expect(200);
        let two = world.admin.get(&format!("/widgets/{}/callback", id(&second))).await.expect(200);
        assert_eq!(one, two);
        let old = one["verify_token"].as_str().unwrap();
        let new = world.admin.act(&format!("{place}/verify-token")).await.expect(200);
        assert_eq!(handshake(world, &one, old).await, 403);
        assert_eq!(handshake(world, &one, new["verify_token"].as_str().unwrap()).await, 200);
        world.admin.delete(&format!("/widgets/{}", id(&second))).await.expect(204);
        world.expects_trouble.store(true, std::sync::atomic::Ordering::Relaxed);
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_widget_is_named() {
    story(async |world| {
        let post = async |body: Value| world.admin.post("/widgets", body).await.pointers();
        let chat = json!({ "name": "Site", "channel": "webchat", "webchat": { "allowed_origins": ["https://www.acme.test"] } });
        assert_eq!(post(chat).await, ["/channel"]);
        assert_eq!(post(widget(json!({ "app_id": "1", "page_access_token": "t" }))).await, ["/messenger/app_secret"]);
        assert_eq!(post(widget(json!({ "app_id": "1", "app_secret": "s" }))).await, ["/messenger/page_access_token"]);
        let refused = json!({ "app_id": APP_ID, "app_secret": APP_SECRET, "page_access_token": "of-nobody" });
        assert_eq!(post(widget(refused)).await, ["/messenger/page_access_token"]);
        let mut texts = widget(json!({ "app_id": APP_ID, "page_access_token": "t", "page_id": "5" }));
        texts["texts"] = json!({ "opening": "Hello {nickname}" });
        assert_eq!(post(texts).await, ["/texts/opening"]);
        let place = format!("/widgets/{}", id(&world.widget));
        let moved = world.admin.patch(&place, json!({ "messenger": { "page_id": "6" } })).await;
        assert_eq!(moved.pointers(), ["/messenger/page_id"]);
    })
    .await;
}

#[tokio::test]
async fn health_says_when_a_page_is_disconnected_and_a_new_token_mends_it() {
    story(async |world| {
        let place = format!("/widgets/{}", id(&world.widget));
        let look = async || world.admin.act(&format!("{place}/check")).await.expect(200)["health"].clone();
        assert_eq!(look().await["state"], "ok");
        world.simulator.kill_token(PAGE_ID);
        assert_eq!(look().await["state"], "disconnected");
        world.simulator.set_token(PAGE_ID, NEW_PAGE_TOKEN);
        let token = json!({ "messenger": { "page_access_token": NEW_PAGE_TOKEN } });
        let changed = world.admin.patch(&place, token).await.expect(200);
        assert_eq!(changed["health"]["state"], "unchecked");
        assert_eq!(changed["messenger"]["has_page_access_token"], true);
        assert_eq!(look().await["state"], "ok");
        world.simulator.uninstall(PAGE_ID);
        assert_eq!(look().await["state"], "attention");
        world.admin.act(&format!("{place}/subscribe")).await.expect(200);
        assert!(world.simulator.is_installed(PAGE_ID));
    })
    .await;
}

#[tokio::test]
async fn subscribing_asks_for_every_event_that_is_used_or_kept() {
    story(async |world| {
        let place = format!("/widgets/{}", id(&world.widget));
        let check = async || {
            let checks = world.admin.act(&format!("{place}/check")).await.expect(200)["health"]["checks"].clone();
            let checks = checks.as_array().unwrap().clone();
            let check = checks.into_iter().find(|it| it["name"] == "subscription").unwrap();
            (check["state"].as_str().unwrap().to_owned(), check["detail"].as_str().unwrap().to_owned())
        };
        let of = |state: &str, detail: &str| (state.to_owned(), detail.to_owned());
        world.simulator.uninstall(PAGE_ID);
        world.admin.act(&format!("{place}/subscribe")).await.expect(200);
        assert_eq!(check().await, of("ok", "The Page sends its messages to the app."));
        // Each comes in now; the ledger says what as.
        let event = |more: Value| {
            let mut event = json!({ "sender": { "id": "7001" }, "recipient": { "id": PAGE_ID }, "timestamp": 1_790_000_000_000_i64 });
            event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            event
        };
        for (field, item) in [
            ("messaging_account_linking", json!({ "account_linking": { "status": "linked", "authorization_code": "c" } })),
            ("messaging_customer_information", json!({ "messaging_customer_information": { "screens": [] } })),
            ("messaging_feedback", json!({ "messaging_feedback": { "feedback_screens": [] } })),
            ("messaging_in_thread_lead_form_submit", json!({ "form": { "id": "1" } })),
        ] {
            world.simulator.deliver_item(PAGE_ID, field, event(item)).await;
        }
        world.settle().await;
        let items = world.admin.get("/ledger?sender_id=7001").await.expect(200);
        let kinds = items["items"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap().to_owned());
        let kinds: std::collections::BTreeSet<_> = kinds.collect();
        assert_eq!(
            kinds.into_iter().collect::<Vec<_>>(),
            ["account_linking", "in_thread_lead_form_submit", "messaging_customer_information", "messaging_feedback"]
        );
        for field in ["feed", "inbox_labels"] {
            assert!(world.simulator.installed_fields(PAGE_ID).contains(&field.to_owned()), "{field}");
        }

        // An app without the permissions for one of them still gets what chats need.
        world.simulator.withhold_field("feed");
        world.admin.act(&format!("{place}/subscribe")).await.expect(200);
        let (state, detail) = check().await;
        assert!(state == "ok" && detail.ends_with("but not messaging_account_linking, messaging_customer_information, messaging_feedback, messaging_in_thread_lead_form_submit, inbox_labels, feed."), "{detail}");
        world.simulator.install_fields(PAGE_ID, &["messages", "message_echoes", "feed"]);
        let (state, detail) = check().await;
        assert!(state == "attention" && detail.starts_with("The Page does not send the app messaging_postbacks, "), "{detail}");
        world.simulator.install_fields(PAGE_ID, &["message_echoes"]);
        assert_eq!(check().await, of("attention", "The Page sends the app no messages: subscribe again."));
    })
    .await;
}

#[tokio::test]
async fn a_token_can_be_taken_away() {
    story(async |world| {
        let place = format!("/widgets/{}", id(&world.widget));
        let none = json!({ "messenger": { "page_access_token": null } });
        let changed = world.admin.patch(&place, none).await.expect(200);
        assert_eq!(changed["messenger"]["has_page_access_token"], false);
        assert_eq!(changed["health"]["state"], "disconnected");
        assert_eq!(world.admin.act(&format!("{place}/subscribe")).await.problem(409), "page-disconnected");
        world.customer("Anna").says("Hello").await;
        world.settle().await;
        assert_eq!(world.admin.delete(&place).await.problem(409), "in-use");
        world.expects_trouble.store(true, std::sync::atomic::Ordering::Relaxed);
    })
    .await;
}

#[tokio::test]
async fn an_operators_app_serves_every_tenant() {
    story(async |world| {
        let lent = json!({ "app_id": "42", "app_secret": "lent-secret", "app_name": "Platform" });
        let lent = world.operator.post("/meta-apps", lent).await.expect(201);
        world.admin.get("/meta-apps").await.problem(403);
        let (_, rival) = world.new_tenant("rival").await;
        let page = |id: &str| widget(json!({ "app_id": "42", "page_access_token": "t", "page_id": id }));
        let mine = world.admin.post("/widgets", page("1")).await.expect(201);
        rival.post("/widgets", page("2")).await.expect(201);
        assert_eq!(rival.post("/widgets", page("1")).await.problem(409), "conflict");
        let place = format!("/widgets/{}", id(&mine));
        let callback = world.admin.get(&format!("{place}/callback")).await.expect(200);
        assert_eq!(callback["callback_url"], lent["callback_url"]);
        assert_eq!(world.admin.act(&format!("{place}/verify-token")).await.problem(403), "forbidden");
        assert_eq!(world.operator.delete(&format!("/meta-apps/{}", id(&lent))).await.problem(409), "in-use");
    })
    .await;
}

#[tokio::test]
async fn a_patch_changes_only_what_it_names() {
    story(async |world| {
        let queue = format!("/queues/{}", id(&world.queue));
        world.admin.patch(&queue, json!({ "max_waiting": 3, "accept": "auto" })).await.expect(200);
        let changed = world.admin.patch(&queue, json!({ "max_waiting": null })).await.expect(200);
        assert_eq!((&changed["accept"], &changed["max_waiting"]), (&json!("auto"), &Value::Null));
        assert_eq!(world.admin.patch(&queue, json!({ "id": "x" })).await.pointers(), ["/id"]);
        assert_eq!(world.admin.patch(&queue, json!({ "priority": 0 })).await.pointers(), ["/priority"]);
        let place = format!("/widgets/{}", id(&world.widget));
        let changed = world.admin.patch(&place, json!({ "texts": { "closing": "Bye" } })).await.expect(200);
        assert_eq!(changed["texts"]["opening"], world.widget["texts"]["opening"]);
    })
    .await;
}

#[tokio::test]
async fn an_incoming_chat_joins_what_the_tenant_has() {
    story(async |world| {
        let nothing = "0190a000-0000-7000-8000-000000000000";
        let chat = json!({ "name": "x", "widget_id": nothing, "queue_id": nothing, "working_hours_id": nothing });
        let wrong = world.admin.post("/incoming-chats", chat).await.pointers();
        assert_eq!(wrong, ["/widget_id", "/queue_id", "/working_hours_id"]);
        let second = json!({ "name": "x", "widget_id": world.widget["id"], "queue_id": world.queue["id"] });
        assert_eq!(world.admin.post("/incoming-chats", second).await.problem(409), "conflict");
        assert_eq!(world.admin.delete(&format!("/queues/{}", id(&world.queue))).await.problem(409), "in-use");
        let (_, rival) = world.new_tenant("rival").await;
        let stolen = json!({ "name": "x", "widget_id": world.widget["id"], "queue_id": world.queue["id"] });
        assert_eq!(rival.post("/incoming-chats", stolen).await.pointers(), ["/widget_id", "/queue_id"]);
    })
    .await;
}

#[tokio::test]
async fn only_agents_are_members() {
    story(async |world| {
        let ben = world.agent("Ben").await;
        let me = world.admin.get("/me").await.expect(200);
        let members = format!("/queues/{}/members", id(&world.queue));
        let put = async |user: &str, priority: i32| {
            world.admin.put(&format!("{members}/{user}"), json!({ "priority": priority })).await
        };
        assert_eq!(put(&ben.id, 2).await.expect(200)["priority"], 2);
        assert_eq!(put(&ben.id, 11).await.pointers(), ["/priority"]);
        assert_eq!(put(&id(&me), 1).await.pointers(), ["user_id"]);
        world.admin.delete(&format!("{members}/{}", ben.id)).await.expect(204);
        assert_eq!(put(&ben.id, 1).await.status, 201);
        world.admin.patch(&format!("/users/{}", ben.id), json!({ "roles": ["supervisor"] })).await.expect(200);
        assert_eq!(world.admin.get(&members).await.expect(200)["items"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn working_hours_answer_for_any_moment() {
    story(async |world| {
        let hours = json!({ "name": "Office", "time_zone": "Europe/Istanbul", "intervals": [{ "day": "mon", "from": "09:00", "to": "18:00" }] });
        let hours = world.admin.post("/working-hours", hours).await.expect(201);
        let place = format!("/working-hours/{}", id(&hours));
        let status = world.admin.get(&format!("{place}/status?at=2026-11-23T10:00:00Z")).await.expect(200);
        assert_eq!(
            status,
            json!({ "open": true, "since": "2026-11-23T06:00:00.000Z", "until": "2026-11-23T15:00:00.000Z", "next_open": null, "why": "mon 09:00–18:00" })
        );
        assert_eq!(world.admin.get(&format!("{place}/status?at=soon")).await.pointers(), ["at"]);
        let wrong = json!({ "time_zone": "Mars/Olympus", "intervals": [{ "day": "mon", "from": "9", "to": "18:00" }] });
        assert_eq!(world.admin.patch(&place, wrong).await.pointers(), ["/time_zone", "/intervals/0/from"]);
        world.admin.delete(&place).await.expect(204);
    })
    .await;
}
