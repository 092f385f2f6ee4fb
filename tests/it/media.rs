//! Files that contacts send: fetched at once, looked at, kept, shown by links that end; and whatever a bad sender may try.

use std::sync::atomic::Ordering;

use chatgate::simulator::Strange;
use serde_json::{Value, json};

use crate::support::{
    Api, World,
    api::Answer,
    story,
    world::{Agent, Customer, PAGE_ID, id},
};

pub const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0";
const SVG: &[u8] = b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
const HTML: &[u8] = b"<!DOCTYPE html><html><script>alert(1)</script></html>";

impl Customer<'_> {
    /// Sends what lies at an address.
    async fn sends(&self, kind: &str, url: &str) {
        self.world.simulator.attach(PAGE_ID, &self.psid, kind, url).await;
        self.world.settle().await;
    }

    /// Sends what the simulator's people do not send.
    async fn tells(&self, message: Value) {
        self.pass_on("messages", &self.psid, PAGE_ID, message).await;
    }

    /// Is told something by the Page, from another app.
    async fn is_told(&self, message: Value) {
        self.pass_on("message_echoes", PAGE_ID, &self.psid, message).await;
    }

    async fn pass_on(&self, field: &str, sender: &str, recipient: &str, message: Value) {
        let timestamp = self.world.clock.now().timestamp_millis();
        let item = json!({ "sender": { "id": sender }, "recipient": { "id": recipient }, "timestamp": timestamp, "message": message });
        self.world.simulator.deliver_item(PAGE_ID, field, item).await;
        self.world.settle().await;
    }

    /// Sends bytes.
    pub async fn sends_file(&self, kind: &str, name: &str, bytes: &[u8]) {
        let path = self.world.simulator.host(name, "application/x-whatever-the-sender-says", bytes.to_vec());
        self.sends(kind, &format!("{}{path}", self.world.facebook)).await;
    }
}

/// The attachment of the newest message of the room.
async fn newest(ben: &Agent<'_>, room: &Value) -> Value {
    let messages = ben.reads(room).await;
    let with = messages.iter().rev().find(|it| it["content"]["kind"] == "attachments");
    with.unwrap()["content"]["attachments"][0].clone()
}

/// Follows a link of ours, as somebody without credentials.
pub async fn follow(world: &World, link: &str) -> Answer {
    Api::new(&world.base, None).get(link.strip_prefix(&world.base).unwrap_or(link)).await
}

async fn get(world: &World, link: &str, range: Option<&str>) -> (u16, reqwest::header::HeaderMap, Vec<u8>) {
    let link = if link.starts_with('/') { format!("{}{link}", world.base) } else { link.to_owned() };
    let mut request = reqwest::Client::builder().no_proxy().build().unwrap().get(link);
    if let Some(range) = range {
        request = request.header("range", range);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.headers().clone(), answer.bytes().await.unwrap().to_vec())
}

/// Files in the media store, besides pictures of contacts.
pub async fn kept(world: &World) -> i64 {
    let mut count = 0;
    for tenant in std::fs::read_dir(world.data_dir.join("media")).unwrap() {
        count += i64::try_from(std::fs::read_dir(tenant.unwrap().path()).unwrap().count()).unwrap();
    }
    let pictures = "select count(*) from media where contact_id is not null and state = 'stored'";
    count - sqlx::query_scalar::<_, i64>(pictures).fetch_one(&world.db).await.unwrap()
}

#[tokio::test]
async fn a_picture_is_kept_and_shown_by_a_link_that_ends() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.sends_file("image", "cat.png", PNG).await;
        let room = ben.takes_next().await;
        let picture = newest(&ben, &room).await;
        assert_eq!(
            (&picture["type"], &picture["state"], &picture["mime"], &picture["size"]),
            (&json!("image"), &json!("stored"), &json!("image/png"), &json!(PNG.len()))
        );
        let link = picture["url"].as_str().unwrap();
        assert!(link.starts_with(&format!("{}/media/", world.base)), "{link}");
        let (status, headers, bytes) = get(world, link, None).await;
        assert_eq!((status, bytes.as_slice()), (200, PNG));
        for (name, value) in [
            ("content-type", "image/png"),
            ("content-disposition", "inline; filename*=UTF-8''image.png"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(headers[name], value);
        }
        assert!(headers["content-security-policy"].to_str().unwrap().contains("sandbox"));
        let (status, headers, bytes) = get(world, link, Some("bytes=1-3")).await;
        assert_eq!(
            (status, bytes.as_slice(), &headers["content-range"]),
            (206, &PNG[1..4], &format!("bytes 1-3/{}", PNG.len()).parse().unwrap())
        );
        assert_eq!(get(world, link, Some("bytes=5000-")).await.0, 416);
        // Both events tell the same: first that it is coming, then that it is here.
        let states: Vec<_> = world
            .events()
            .await
            .iter()
            .filter(|it| it["data"]["content"]["kind"] == "attachments")
            .map(|it| {
                let shown = &it["data"]["content"]["attachments"][0];
                (
                    it["kind"].as_str().unwrap().to_owned(),
                    shown["state"].clone(),
                    shown["url"].as_str().unwrap().starts_with(&world.base),
                )
            })
            .collect();
        assert_eq!(
            states,
            [
                ("message.created".to_owned(), json!("pending"), false),
                ("message.updated".to_owned(), json!("stored"), true)
            ]
        );
        // A link is good for a day; a new look gives a new one.
        world.pass(36 * 3600).await;
        assert_eq!(follow(world, link).await.problem(403), "link-expired");
        let renewed = newest(&ben, &room).await["url"].as_str().unwrap().to_owned();
        assert_eq!(get(world, &renewed, None).await.0, 200);
        for forged in [
            format!("{link}A"),
            link.replacen("/media/", "/media/A", 1),
            format!("{}/media/", world.base),
            format!("{}/media/..%2f..%2fseal.key", world.base),
        ] {
            assert_eq!(follow(world, &forged).await.problem(404), "not-found", "{forged}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_what_it_says_is_refused_and_the_customer_is_told_once() {
    story(async |world| {
        let error = json!({ "texts": { "error": "Sorry {first_name}, we cannot open that." } });
        world.admin.patch(&format!("/widgets/{}", id(&world.widget)), error).await.expect(200);
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        let program = [b"MZ".as_slice(), &[0; 58], &64_u32.to_le_bytes(), b"PE\0\0\x64\x86", &[0; 300]].concat();
        let large = [PNG, &vec![0; 1 << 20]].concat();
        for (kind, bytes, reason) in [
            ("image", SVG, "wrong_type"),
            ("image", HTML, "wrong_type"),
            ("video", PNG, "wrong_type"),
            ("file", &program, "wrong_type"),
            ("image", &large, "too_large"),
            ("image", b"", "empty"),
        ] {
            anna.sends_file(kind, "x", bytes).await;
            let refused = newest(&ben, &room).await;
            assert_eq!((&refused["state"], &refused["reason"]), (&json!("failed"), &json!(reason)), "{kind} {refused}");
        }
        let told = || anna.sees().into_iter().filter(|it| it == "Sorry Anna, we cannot open that.").count();
        assert_eq!(told(), 1, "once, not for each");
        assert_eq!(kept(world).await, 0);
        world.pass(3600).await;
        anna.sends_file("image", "x", SVG).await;
        assert_eq!(told(), 2, "an hour later it is worth saying again");
        // Something Messenger cannot carry at all.
        world.pass(3600).await;
        let odd = |mid: &str| json!({ "mid": mid, "is_unsupported": true });
        anna.tells(odd("m_odd")).await;
        assert_eq!(told(), 3);
        anna.tells(odd("m_odder")).await;
        assert_eq!(told(), 3, "two machines that answer each other do not go on");
        // What the Page itself wrote elsewhere is never answered.
        world.pass(3600).await;
        let mut echo = odd("m_echo");
        echo["is_echo"] = true.into();
        anna.is_told(echo).await;
        assert_eq!(told(), 3);
    })
    .await;
}

#[tokio::test]
async fn files_are_for_saving_and_run_nowhere() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.sends_file("file", "r%C3%A9sum%C3%A9%22.html", HTML).await;
        let room = ben.takes_next().await;
        let file = newest(&ben, &room).await;
        assert_eq!((&file["state"], &file["name"]), (&json!("stored"), &json!("résumé\".html")));
        let (status, headers, bytes) = get(world, file["url"].as_str().unwrap(), None).await;
        assert_eq!((status, bytes.as_slice()), (200, HTML));
        assert_eq!(headers["content-type"], "application/octet-stream");
        assert_eq!(headers["content-disposition"], "attachment; filename*=UTF-8''r%C3%A9sum%C3%A9%22.html");
    })
    .await;
}

#[tokio::test]
async fn nobody_makes_us_look_where_only_we_can_look() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        // Somebody in our own network, who would be glad to hear from us.
        let secret = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = secret.local_addr().unwrap().port();
        let facebook = world.facebook.clone();
        let redirect = |to: String| format!("{facebook}{}", world.simulator.host_strange(Strange::Redirect(to)));
        let mut loops = redirect("/media/1/x".to_owned());
        for _ in 0..5 {
            loops = redirect(loops);
        }
        for url in [
            format!("http://127.0.0.1:{port}/"),
            format!("https://localhost:{port}/"),
            "https://localhost/".to_owned(),
            format!("http://[::ffff:127.0.0.1]:{port}/"),
            "http://169.254.169.254/latest/meta-data/".to_owned(),
            "file:///etc/passwd".to_owned(),
            format!("{facebook}@127.0.0.1:{port}/"),
            redirect(format!("http://127.0.0.1:{port}/")),
            redirect("https://localhost/".to_owned()),
            redirect("file:///etc/passwd".to_owned()),
            redirect(redirect(format!("http://127.0.0.1:{port}/"))),
            loops,
        ] {
            anna.sends("image", &url).await;
            let refused = newest(&ben, &room).await;
            assert_eq!((&refused["state"], &refused["reason"]), (&json!("failed"), &json!("refused")), "{url}");
            assert_eq!(refused["url"], url.as_str(), "what was sent stays to be read");
        }
        let knocked = tokio::time::timeout(std::time::Duration::ZERO, secret.accept()).await;
        assert!(knocked.is_err(), "somebody called");
        assert_eq!(kept(world).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_file_that_does_not_come_is_tried_again_and_then_given_up() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        let at = |strange| format!("{}{}", world.facebook, world.simulator.host_strange(strange));
        anna.sends("image", &at(Strange::Endless)).await;
        assert_eq!(newest(&ben, &room).await["reason"], "too_large");
        for strange in [Strange::Slow, Strange::Broken(100), Strange::Status(500), Strange::Status(404)] {
            anna.sends("image", &at(strange.clone())).await;
            assert_eq!(newest(&ben, &room).await["state"], "pending", "{strange:?}");
        }
        // Not there is not there: three tries.
        for wait in [5, 30] {
            assert_eq!(newest(&ben, &room).await["state"], "pending");
            world.pass(wait).await;
        }
        assert_eq!(newest(&ben, &room).await["reason"], "unavailable");
        for wait in [120, 600, 3600] {
            world.pass(wait).await;
        }
        let states: Vec<_> = ben
            .reads(&room)
            .await
            .iter()
            .filter(|it| it["content"]["kind"] == "attachments")
            .map(|it| it["content"]["attachments"][0]["reason"].clone())
            .collect();
        assert_eq!(states, ["too_large", "unavailable", "unavailable", "unavailable", "unavailable"]);
        assert_eq!(kept(world).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_death_between_store_and_database_shows_nothing_twice_and_leaves_nothing() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.sends_file("image", "cat.png", PNG).await;
        let room = ben.takes_next().await;
        let updates = async || world.kinds().await.iter().filter(|it| *it == "message.updated").count();
        let before = updates().await;
        // As if its fetcher had died after the bytes were put and before the row said so.
        let url = format!("{}{}", world.facebook, world.simulator.host("cat.png", "image/png", PNG));
        let lost = sqlx::query(
            "update media set state = 'fetching', source_url = $1, mime = null, stored_at = null, claimed_until = $2 where message_id is not null",
        )
        .bind(&url)
        .bind(world.clock.now() + chrono::TimeDelta::seconds(60))
        .execute(&world.db)
        .await
        .unwrap();
        assert_eq!(lost.rows_affected(), 1);
        world.settle().await;
        assert_eq!(updates().await, before, "somebody may still be at it");
        world.pass(61).await;
        assert_eq!(newest(&ben, &room).await["state"], "stored");
        assert_eq!((kept(world).await, updates().await), (1, before + 1));
        // The message goes while its file is being fetched: the bytes go, too.
        anna.sends_file("image", "dog.png", PNG).await;
        assert_eq!(kept(world).await, 2);
        sqlx::query("delete from messages where content ->> 'kind' = 'attachments'").execute(&world.db).await.unwrap();
        world.settle().await;
        assert_eq!(kept(world).await, 2, "not at once: a fetcher may be writing");
        world.pass(600).await;
        assert_eq!(kept(world).await, 0);
        let leftovers: i64 =
            sqlx::query_scalar("select count(*) from media_leftovers").fetch_one(&world.db).await.unwrap();
        assert_eq!(leftovers, 0);
    })
    .await;
}

/// A message with a picture, as Meta tells it.
fn with_picture(world: &World, mid: &str) -> Value {
    let url = format!("{}{}", world.facebook, world.simulator.host("cat.png", "image/png", PNG));
    json!({ "mid": mid, "attachments": [{ "type": "image", "payload": { "url": url } }] })
}

#[tokio::test]
async fn a_second_delivery_fetches_nothing_again() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let message = with_picture(world, "m_1");
        anna.tells(message.clone()).await;
        anna.tells(message).await;
        let room = ben.takes_next().await;
        assert_eq!(ben.reads(&room).await.iter().filter(|it| it["direction"] == "inbound").count(), 2);
        let tries: Vec<i32> = sqlx::query_scalar("select attempts from media where message_id is not null")
            .fetch_all(&world.db)
            .await
            .unwrap();
        assert_eq!((tries.as_slice(), kept(world).await), ([1].as_slice(), 1));
    })
    .await;
}

#[tokio::test]
async fn what_the_page_sent_elsewhere_is_kept_too() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        let mut echo = with_picture(world, "m_inbox");
        (echo["is_echo"], echo["app_id"]) = (true.into(), 263_902_037_430_900_i64.into());
        anna.is_told(echo).await;
        let shown = ben.reads(&room).await.pop().unwrap();
        assert_eq!((&shown["author"]["kind"], &shown["direction"]), (&json!("page"), &json!("outbound")));
        let picture = newest(&ben, &room).await;
        assert_eq!(picture["state"], "stored");
        assert_eq!(get(world, picture["url"].as_str().unwrap(), None).await.2, PNG);
    })
    .await;
}

#[tokio::test]
async fn the_file_of_a_message_that_was_taken_back_is_deleted() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        let unsent = |mid: &str| json!({ "mid": mid, "is_deleted": true });
        anna.says("hello").await;
        anna.tells(with_picture(world, "m_1")).await;
        let room = ben.takes_next().await;
        let link = newest(&ben, &room).await["url"].as_str().unwrap().to_owned();
        assert_eq!((get(world, &link, None).await.0, kept(world).await), (200, 1));
        anna.tells(unsent("m_1")).await;
        assert_eq!(follow(world, &link).await.problem(404), "not-found", "at once");
        // While it is still to be fetched, and before it came.
        let mut late = with_picture(world, "m_2");
        let slow = world.simulator.host_strange(Strange::Status(500));
        late["attachments"][0]["payload"]["url"] = format!("{}{slow}", world.facebook).into();
        anna.tells(late).await;
        anna.tells(unsent("m_2")).await;
        anna.tells(unsent("m_3")).await;
        anna.tells(with_picture(world, "m_3")).await;
        let files: i64 = sqlx::query_scalar("select count(*) from media where message_id is not null")
            .fetch_one(&world.db)
            .await
            .unwrap();
        assert_eq!(files, 0);
        world.pass(600).await;
        assert_eq!(kept(world).await, 0);
        let shown = ben.reads(&room).await;
        assert_eq!(shown.iter().filter(|it| it["status"] == "unsent").count(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_tenants_files_go_with_it() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.sends_file("image", "cat.png", PNG).await;
        let room = ben.takes_next().await;
        let link = newest(&ben, &room).await["url"].as_str().unwrap().to_owned();
        assert_eq!(get(world, &link, None).await.0, 200);
        let deleted = world.operator.delete(&format!("/tenants/{}", id(&world.tenant))).await;
        assert_eq!(deleted.status, 204, "{}", deleted.text);
        assert_eq!(follow(world, &link).await.problem(404), "not-found");
        world.pass(1).await;
        world.pass(600).await;
        assert_eq!(kept(world).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_files_of_one_tenant_leaves_room_for_others() {
    story(async |world| {
        let (tenant, _) = world.new_tenant("rival").await;
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        let message = id(&ben.reads(&room).await[0]);
        let insert = "insert into media (tenant_id, id, message_id, position, kind, state, source_url, due_at, created_at)
            select $1, gen_random_uuid(), $2::uuid, n, 'image', 'due', 'https://nowhere.fbcdn.net/', $3, $3 from generate_series(1, 500) n";
        let tenant_id: uuid::Uuid = id(&world.tenant).parse().unwrap();
        let message: uuid::Uuid = message.parse().unwrap();
        let now = world.clock.now();
        sqlx::query(insert).bind(tenant_id).bind(message).bind(now).execute(&world.db).await.unwrap();
        let rival: uuid::Uuid = id(&tenant).parse().unwrap();
        // A room of the rival's own would be long to tell; its file hangs on nothing but the tenant.
        sqlx::query("alter table media drop constraint media_message_fk").execute(&world.db).await.unwrap();
        sqlx::query("insert into media (tenant_id, id, message_id, position, kind, state, source_url, due_at, created_at) values ($1, gen_random_uuid(), gen_random_uuid(), 0, 'image', 'due', 'https://nowhere.fbcdn.net/', $2, $2)")
            .bind(rival)
            .bind(now + chrono::TimeDelta::milliseconds(1))
            .execute(&world.db)
            .await
            .unwrap();
        let later = now + chrono::TimeDelta::seconds(1);
        let claimed = chatgate::media::store::claim_due(&world.db, later, later + chrono::TimeDelta::seconds(60), 8, 4).await.unwrap();
        let of = |tenant| claimed.iter().filter(|it| it.tenant.0 == tenant).count();
        assert_eq!((of(tenant_id), of(rival)), (4, 1));
        let claimed = chatgate::media::store::claim_due(&world.db, later, later + chrono::TimeDelta::seconds(60), 8, 4).await.unwrap();
        assert_eq!(claimed.len(), 0, "the four under way are enough");
        sqlx::query("delete from media").execute(&world.db).await.unwrap();
        world.expects_trouble.store(true, Ordering::Relaxed);
    })
    .await;
}

#[tokio::test]
async fn what_a_contact_sent_is_passed_on_by_whose_room_it_is_and_goes_when_it_is_taken_back() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let (anna, bea) = (world.customer("Anna"), world.customer("Bea"));
        anna.says("hello").await;
        anna.tells(with_picture(world, "m_1")).await;
        let room = ben.takes_next().await;
        bea.says("hello").await;
        let other = ben.takes_next().await;
        let cleo = world.agent("Cleo").await.ready().await;
        world.admin.post(&format!("/rooms/{}/transfer", id(&other)), json!({ "agent_id": cleo.id })).await.expect(200);
        cleo.takes_next().await;
        let picture = newest(&ben, &room).await;
        let pass_on = async |agent: &Agent<'_>, room: &Value, kind: &str| {
            let content = json!({ "kind": "attachments", "attachments": [{ "type": kind, "id": picture["id"] }] });
            agent.api.post(&format!("/rooms/{}/messages", id(room)), json!({ "content": content })).await
        };
        assert_eq!(
            pass_on(&cleo, &other, "image").await.pointers(),
            ["/content/attachments/0/id"],
            "not from Ben's room"
        );
        assert_eq!(pass_on(&ben, &room, "video").await.pointers(), ["/content/attachments/0/type"]);
        pass_on(&ben, &room, "image").await.expect(201);
        world.settle().await;
        world.admin.post(&format!("/rooms/{}/take", id(&other)), json!({ "agent_id": ben.id })).await.expect(200);
        let there = pass_on(&ben, &other, "image").await.expect(201);
        world.settle().await;
        for customer in [&anna, &bea] {
            let seen = world.simulator.seen_by(PAGE_ID, &customer.psid).pop().unwrap();
            assert_eq!(seen.attachment.unwrap()["type"], "image");
        }
        assert_eq!((world.simulator.uploads(PAGE_ID).len(), kept(world).await), (1, 1), "one file, handed over once");
        let link = there["content"]["attachments"][0]["url"].as_str().unwrap().to_owned();
        assert_eq!(get(world, &link, None).await.0, 200);
        anna.tells(json!({ "mid": "m_1", "is_deleted": true })).await;
        assert_eq!(follow(world, &link).await.problem(404), "not-found", "it was hers");
    })
    .await;
}
