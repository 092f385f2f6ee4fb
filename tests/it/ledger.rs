//! The ledger, asked: where a message is, having one applied again, and sums that agree.

use chatgate::{
    channels::meta::signature,
    db::partitions,
    intake::ledger::{self, Part},
    secret::Secret,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    crash,
    support::{
        Api, World,
        logs::{APP_SECRET, WORDS},
        story,
        world::{APP_ID, PAGE_ID, id},
    },
};

const OTHER_PAGE: &str = "1002003004999";

async fn deliver(world: &World, page: &str, psid: &str, mid: &str) {
    let event = json!({ "sender": { "id": psid }, "recipient": { "id": page }, "timestamp": world.clock.now().timestamp_millis(),
        "message": { "mid": mid, "text": WORDS } });
    let body = json!({ "object": "page", "entry": [{ "id": page, "time": 1, "messaging": [event] }] }).to_string();
    let shown = world.admin.get(&format!("/widgets/{}/callback", id(&world.widget))).await.expect(200);
    let path = shown["callback_url"].as_str().unwrap().strip_prefix(&world.base).unwrap().to_owned();
    let signed = signature::sign(&Secret::new(APP_SECRET), body.as_bytes());
    let nobody = Api::new(&world.base, None);
    let request = nobody.request(Method::POST, &path).header("x-hub-signature-256", signed).body(body);
    assert_eq!(nobody.send(request).await.status, 200);
    world.settle().await;
}

async fn items(api: &Api, query: &str) -> Vec<Value> {
    api.get(&format!("/ledger?{query}")).await.expect(200)["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn the_ledger_tells_where_a_message_is() {
    story(async |world| {
        let (anna, ben) = (world.customer("Anna"), world.agent("Ben").await);
        let steps = async || {
            let item = items(&world.admin, &format!("kind=message&sender_id={}", anna.psid)).await.remove(0);
            world.admin.get(&format!("/ledger/{}", id(&item))).await.expect(200)
        };
        let reached = |item: &Value| {
            let steps = item["steps"].as_object().unwrap();
            steps.iter().filter(|it| it.1.is_string()).map(|it| it.0.clone()).collect::<Vec<_>>()
        };
        world.simulator.set_receipts(false);
        anna.says("Where is it?").await;
        let item = steps().await;
        assert_eq!((item["state"].as_str(), item["page_id"].as_str()), (Some("applied"), Some(PAGE_ID)));
        assert_eq!(item["widget_id"], world.widget["id"]);
        assert_eq!(reached(&item), ["received_at", "durable_at", "applied_at"]);
        assert!(item["raw"].as_str().unwrap().contains("Where is it?"));
        world.pass(1).await;
        let ben = ben.ready().await;
        let offered = steps().await;
        assert_eq!(reached(&offered), ["received_at", "durable_at", "applied_at", "offered_at"]);
        assert!(offered["steps"]["offered_at"].as_str() > offered["steps"]["applied_at"].as_str());
        let room = ben.takes_next().await;
        assert_eq!(item["room_id"], room["id"]);
        // The opening is not an answer, and what Ben writes is.
        assert_eq!(reached(&steps().await).last().unwrap(), "accepted_at");
        ben.replies(&room, "On its way.").await;
        assert_eq!(reached(&steps().await).last().unwrap(), "replied_at");
        world.simulator.set_receipts(true);
        anna.says("Thanks").await;
        ben.replies(&room, "You're welcome.").await;
        let item = steps().await;
        assert_eq!(reached(&item).last().unwrap(), "delivered_at", "{item}");
        world.simulator.read_all(PAGE_ID, &anna.psid).await;
        world.settle().await;
        assert_eq!(reached(&steps().await).len(), 8);
        // An agent or supervisor may not look, and who may only read sees no customer's words.
        assert_eq!(ben.api.get("/ledger").await.problem(403), "forbidden");
        let key = world.admin.post("/api-keys", json!({ "name": "k", "scopes": ["read"] })).await.expect(201);
        let reader = world.admin.with(key["key"].as_str().unwrap());
        let seen = reader.get(&format!("/ledger/{}", id(&item))).await.expect(200);
        assert_eq!((seen["id"].clone(), seen["raw"].clone()), (item["id"].clone(), Value::Null));
        assert_eq!(reader.act(&format!("/ledger/{}/replay", id(&item))).await.problem(403), "forbidden");
    })
    .await;
}

#[tokio::test]
async fn the_ledger_is_listed_newest_first_and_narrowed() {
    story(async |world| {
        for n in 0..5 {
            deliver(world, PAGE_ID, &format!("71{}", n % 2), &format!("m_{n}")).await;
            world.pass(60).await;
        }
        deliver(world, PAGE_ID, "711", "m_1").await;
        deliver(world, OTHER_PAGE, "711", "m_x").await;
        let all = items(&world.admin, "").await;
        let times: Vec<_> = all.iter().map(|it| it["received_at"].as_str().unwrap().to_owned()).collect();
        assert_eq!(all.len(), 7);
        assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
        let count = async |query: &str| items(&world.admin, query).await.len();
        assert_eq!(count("state=applied").await, 5);
        assert_eq!(count("state=duplicate,ignored").await, 2);
        assert_eq!(count("state=parked").await, 0);
        assert_eq!(count("sender_id=711").await, 4);
        assert_eq!(count(&format!("sender_id=711&widget_id={}", id(&world.widget))).await, 3);
        assert_eq!(count("kind=echo").await, 0);
        assert_eq!(count(&format!("since={}", times[2])).await, 3);
        assert_eq!(count(&format!("until={}", times[2])).await, 4);
        assert_eq!(count(&format!("since={}&until={}&state=applied", times[4], times[2])).await, 2);
        let (mut walked, mut query) = (Vec::new(), String::new());
        loop {
            let page = world.admin.get(&format!("/ledger?limit=2&state=applied{query}")).await.expect(200);
            walked.extend(page["items"].as_array().unwrap().iter().map(id));
            let Some(next) = page["next"].as_str() else { break };
            query = format!("&after={next}");
        }
        assert_eq!(walked, items(&world.admin, "state=applied").await.iter().map(id).collect::<Vec<_>>());
        for (query, pointer) in [
            ("state=odd", "state"),
            ("limit=0", "limit"),
            ("since=now", "since"),
            ("after=x", "after"),
            ("mid=1", "mid"),
        ] {
            assert_eq!(world.admin.get(&format!("/ledger?{query}")).await.pointers(), [pointer], "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_item_of_an_unknown_page_is_applied_once_the_page_is_connected() {
    story(async |world| {
        deliver(world, OTHER_PAGE, "711", "m_early").await;
        let item = items(&world.admin, "state=ignored").await.remove(0);
        assert_eq!((item["outcome"].as_str(), item["widget_id"].clone()), (Some("unknown page"), Value::Null));
        let replay = format!("/ledger/{}/replay", id(&item));
        assert_eq!(world.admin.act(&replay).await.problem(409), "conflict");
        // It cannot be made to wait for nobody, either: it would hold up everybody of its shard.
        let forced = sqlx::query("update ledger set state = null, outcome = null where widget_id is null");
        let refused = forced.execute(&world.db).await.unwrap_err();
        assert_eq!(refused.as_database_error().unwrap().constraint(), Some("ledger_waiting_has_widget"));
        let messenger =
            json!({ "app_id": APP_ID, "page_id": OTHER_PAGE, "page_access_token": "token-of-the-other-page" });
        let widget = json!({ "name": "Other", "channel": "messenger", "messenger": messenger });
        let widget = world.admin.post("/widgets", widget).await.expect(201);
        assert_eq!(world.admin.act(&replay).await.expect(200)["state"], "pending");
        // Twice in a row, and again when it is done: nothing more happens.
        assert_eq!(world.admin.act(&replay).await.expect(200)["state"], "pending");
        world.settle().await;
        let done = world.admin.act(&replay).await.expect(200);
        assert_eq!((done["state"].as_str(), &done["widget_id"]), (Some("applied"), &widget["id"]));
        world.settle().await;
        let rooms = world.admin.get(&format!("/rooms?widget_id={}", id(&widget))).await.expect(200);
        let room = id(&rooms["items"][0]);
        let messages = world.admin.get(&format!("/rooms/{room}/messages")).await.expect(200);
        assert_eq!(messages["items"].as_array().unwrap().len(), 1);
        let log = world.admin.get("/audit-log").await.expect(200);
        let noted: Vec<_> =
            log["items"].as_array().unwrap().iter().filter(|it| it["action"] == "ledger_item.replayed").collect();
        assert_eq!(noted.len(), 1, "{log}");
        assert_eq!(noted[0]["target_id"], item["id"]);
        // Another tenant's admin finds none of it.
        let (_, rival) = world.new_tenant("rival").await;
        assert_eq!(rival.act(&replay).await.problem(404), "not-found");
        assert_eq!(items(&rival, "").await.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_parked_item_is_applied_after_the_mending() {
    story(async |world| {
        // What parks an item is a fault; a trigger plays one.
        for fault in [
            "create function refuse() returns trigger language plpgsql as $$ begin raise sqlstate '22023'; end $$",
            "create trigger refuse before insert on messages for each row when (new.external_id = 'm_2') execute function refuse()",
        ] {
            sqlx::raw_sql(fault).execute(&world.db).await.unwrap();
        }
        for n in 1..=3 {
            deliver(world, PAGE_ID, "711", &format!("m_{n}")).await;
        }
        let parked = items(&world.admin, "state=parked").await.remove(0);
        assert_eq!(parked["outcome"], "database error 22023");
        sqlx::raw_sql("drop trigger refuse on messages").execute(&world.db).await.unwrap();
        let sums = ledger::verify(&world.db, Part::default()).await.unwrap();
        assert_eq!((sums.received, sums.applied, sums.parked, sums.unexplained()), (3, 2, 1, 0));
        world.admin.act(&format!("/ledger/{}/replay", id(&parked))).await.expect(200);
        world.settle().await;
        let room = id(&world.admin.get("/rooms").await.expect(200)["items"][0]);
        let messages = world.admin.get(&format!("/rooms/{room}/messages")).await.expect(200);
        let ids: Vec<_> = messages["items"].as_array().unwrap().iter().map(|it| it["external_id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids, ["m_1", "m_3", "m_2"]);
    })
    .await;
}

#[tokio::test]
async fn what_fails_once_and_passes_is_not_parked() {
    story(async |world| {
        // Two refusals of one message, as of somebody who wrote the same at the same time; the third try is let through.
        for fault in [
            "create sequence tries",
            "create function refuse() returns trigger language plpgsql as $$ begin
                if nextval('tries') < 3 then raise sqlstate '23505'; end if; return new; end $$",
            "create trigger refuse before insert on messages for each row when (new.external_id = 'm_2') execute function refuse()",
        ] {
            sqlx::raw_sql(fault).execute(&world.db).await.unwrap();
        }
        for n in 1..=3 {
            deliver(world, PAGE_ID, "711", &format!("m_{n}")).await;
        }
        assert_eq!(items(&world.admin, "state=applied").await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn sums_that_lie_are_found_out() {
    story(async |world| {
        for (page, mid) in [(PAGE_ID, "m_1"), (PAGE_ID, "m_1"), (PAGE_ID, "m_2"), (OTHER_PAGE, "m_3")] {
            deliver(world, page, "711", mid).await;
        }
        let verify = async || ledger::verify(&world.db, Part::default()).await.unwrap();
        let sums = verify().await;
        assert_eq!((sums.received, sums.applied, sums.duplicates, sums.ignored), (4, 2, 1, 1));
        assert_eq!((sums.pending, sums.unexplained()), (0, 0));
        // A message that is gone although its item says that it was stored.
        sqlx::query("delete from messages where external_id = 'm_1'").execute(&world.db).await.unwrap();
        assert_eq!(verify().await.unexplained(), 2);
        let named = ledger::list_unexplained(&world.db, Part::default(), 10).await.unwrap();
        assert_eq!(named.len(), 2);
        // An item that is said to wait although its message is there, and would be applied twice.
        sqlx::query(
            "insert into pending (tenant_id, shard, seq, item_id, received_at, bytes)
            select l.tenant_id, l.shard, l.seq, l.id, l.received_at, octet_length(l.raw)
            from ledger l
            join messages m on m.tenant_id = l.tenant_id and m.id = l.id",
        )
        .execute(&world.db)
        .await
        .unwrap();
        assert_eq!((verify().await.applied, verify().await.unexplained()), (0, 3));
        sqlx::query("delete from pending").execute(&world.db).await.unwrap();
        let later = Part { since: Some(world.clock.now() + chrono::TimeDelta::seconds(1)), ..Part::default() };
        assert_eq!(ledger::verify(&world.db, later).await.unwrap().received, 0);
    })
    .await;
}

#[tokio::test]
async fn days_are_kept_whole_and_dropped_whole() {
    story(async |world| {
        let keep = async |days: u32| partitions::keep(&world.db, world.clock.now(), days).await.unwrap();
        let in_default = "select (select count(*) from ledger_default) + (select count(*) from events_default)";
        let count = async |sql: &'static str| sqlx::query_scalar::<_, i64>(sql).fetch_one(&world.db).await.unwrap();
        deliver(world, PAGE_ID, "711", "m_0").await;
        assert_eq!(keep(30).await, 0);
        // Nobody made this day in time: nothing is refused, and nothing is in the way when somebody does.
        world.pass(20 * 24 * 3600).await;
        deliver(world, PAGE_ID, "711", "m_20").await;
        assert!(count(in_default).await >= 2);
        assert_eq!(keep(30).await, 0);
        assert_eq!(count(in_default).await, 0);
        assert_eq!(items(&world.admin, "").await.len(), 2);
        // Past keeping: the first days go, unless somebody is reading them.
        world.pass(15 * 24 * 3600).await;
        let mut reader = chatgate::db::begin(&world.db).await.unwrap();
        sqlx::query("select count(*) from ledger").execute(&mut *reader).await.unwrap();
        let dropped = keep(30).await;
        assert_eq!(items(&world.admin, "").await.len(), 2, "{dropped} were dropped while they were read");
        reader.rollback().await.unwrap();
        assert!(keep(30).await > 0);
        let left = items(&world.admin, "").await;
        assert_eq!(left.len(), 1);
        deliver(world, PAGE_ID, "711", "m_35").await;
        assert_eq!(keep(1).await, 12);
        assert_eq!(items(&world.admin, "").await.len(), 1);
        // A day in the default partition is forgotten as well.
        world.pass(40 * 24 * 3600).await;
        deliver(world, PAGE_ID, "711", "m_75").await;
        // What waits in a day is forgotten with it: nobody looks for ever for an item that is gone.
        let waits = "insert into pending select tenant_id, shard, seq, id, received_at, octet_length(raw) from ledger";
        sqlx::query(waits).execute(&world.db).await.unwrap();
        world.clock.advance(chrono::TimeDelta::days(10));
        keep(1).await;
        assert_eq!((count(in_default).await, items(&world.admin, "").await.len()), (0, 0));
        assert_eq!(count("select count(*) from pending").await, 0);
    })
    .await;
}

#[tokio::test]
async fn what_belongs_to_nobody_is_listed_from_the_command_line() {
    story(async |world| {
        let lent = json!({ "app_id": "42", "app_secret": "lent-secret", "app_name": "Platform" });
        let lent = world.operator.post("/meta-apps", lent).await.expect(201);
        let path = lent["callback_url"].as_str().unwrap().strip_prefix(&world.base).unwrap().to_owned();
        let post = async |body: String| {
            let signed = signature::sign(&Secret::new("lent-secret"), body.as_bytes());
            let nobody = Api::new(&world.base, None);
            let request = nobody.request(Method::POST, &path).header("x-hub-signature-256", signed).body(body);
            assert_eq!(nobody.send(request).await.status, 200);
            world.pass(1).await;
        };
        post(format!("not JSON: {WORDS}")).await;
        let event = json!({ "sender": { "id": "7009" }, "recipient": { "id": OTHER_PAGE }, "timestamp": 1, "message": { "mid": "m", "text": WORDS } });
        post(json!({ "object": "page", "entry": [{ "id": OTHER_PAGE, "time": 1, "messaging": [event] }] }).to_string()).await;
        deliver(world, PAGE_ID, "7001", "m_1").await;
        let list = |more: &[&str]| {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_chatgate"));
            command.args(["ledger", "list"]).args(more).env("DATABASE_URL", crash::url(&world.db.connect_options()));
            command.env("CHATGATE__DATA_DIR", &world.data_dir);
            command.env("CHATGATE__SEAL__KEY", chatgate::seal::SealKey::generate());
            let output = command.output().unwrap();
            let (out, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{error}");
            for secret in [WORDS, "7009", "7001"] {
                assert!(!out.contains(secret), "{out}");
            }
            let columns = |line: &str| {
                let columns: Vec<_> = line.split('\t').collect();
                [2, 3, 4, 5, 8].map(|it| columns[it].to_owned())
            };
            out.lines().skip(1).map(columns).collect::<Vec<_>>()
        };
        let unknown = ["-", OTHER_PAGE, "message", "ignored", "unknown page"].map(str::to_owned);
        let unreadable = ["-", "", "unreadable", "parked", "not a JSON object"].map(str::to_owned);
        let ours = ["acme", PAGE_ID, "message", "applied", "-"].map(str::to_owned);
        assert_eq!(list(&["--unclaimed"]), [unknown.clone(), unreadable.clone()]);
        assert_eq!(list(&["--state", "parked"]), std::slice::from_ref(&unreadable));
        assert_eq!(list(&["--kind", "message"]), [ours.clone(), unknown.clone()]);
        assert_eq!(list(&["--tenant", "acme"]), std::slice::from_ref(&ours));
        assert_eq!(list(&["--limit", "2"]), [ours, unknown]);
        world.expects_trouble.store(true, std::sync::atomic::Ordering::Relaxed);
    })
    .await;
}
