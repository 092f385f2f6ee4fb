//! Every kind of event beside plain messages: what it changes, what it shows, what it leaves alone.

mod edits;
mod reactions;
mod threads;

use chatgate::{channels::meta::signature, secret::Secret, simulator::Fault};
use serde_json::{Value, json};

use crate::support::{
    Api, World,
    logs::APP_SECRET,
    story,
    world::{APP_ID, Agent, Customer, PAGE_ID, id},
};

pub const PAGE_INBOX: &str = "263902037430900";

/// Posts a body as Meta would, and lets everything happen.
async fn post(world: &World, body: &Value) {
    let shown = world.admin.get(&format!("/widgets/{}/callback", id(&world.widget))).await.expect(200);
    let path = shown["callback_url"].as_str().unwrap().strip_prefix(&world.base).unwrap().to_owned();
    let body = body.to_string();
    let request = Api::new(&world.base, None)
        .request(reqwest::Method::POST, &path)
        .header("x-hub-signature-256", signature::sign(&Secret::new(APP_SECRET), body.as_bytes()))
        .body(body);
    assert_eq!(Api::new(&world.base, None).send(request).await.status, 200);
    world.settle().await;
}

pub async fn tell_all(world: &World, items: &[Value]) {
    let time = world.clock.now().timestamp_millis();
    post(world, &json!({ "object": "page", "entry": [{ "id": PAGE_ID, "time": time, "messaging": items }] })).await;
}

/// One event of this person, now.
pub async fn tell(world: &World, psid: &str, event: Value) {
    tell_all(world, &[item(world, psid, event)]).await;
}

fn item(world: &World, psid: &str, mut event: Value) -> Value {
    event["sender"] = json!({ "id": psid });
    event["recipient"] = json!({ "id": PAGE_ID });
    if event["timestamp"].is_null() {
        event["timestamp"] = world.clock.now().timestamp_millis().into();
    }
    event
}

fn message(mid: &str, text: &str) -> Value {
    json!({ "message": { "mid": mid, "text": text } })
}

fn edit(mid: &str, text: &str, number: i64) -> Value {
    json!({ "message_edit": { "mid": mid, "text": text, "num_edit": number } })
}

fn unsent(mid: &str) -> Value {
    json!({ "message": { "mid": mid, "is_deleted": true } })
}

fn reaction(mid: &str, emoji: &str) -> Value {
    json!({ "reaction": { "reaction": "other", "emoji": emoji, "action": "react", "mid": mid } })
}

fn unreaction(mid: &str) -> Value {
    json!({ "reaction": { "action": "unreact", "mid": mid } })
}

pub fn passed(to: &str) -> Value {
    json!({ "pass_thread_control": { "previous_owner_app_id": APP_ID, "new_owner_app_id": to, "metadata": null } })
}

async fn messages(world: &World) -> Vec<Value> {
    let mut all = Vec::new();
    for room in world.admin.get("/rooms").await.expect(200)["items"].as_array().unwrap() {
        let page = world.admin.get(&format!("/rooms/{}/messages", id(room))).await.expect(200);
        all.extend(page["items"].as_array().unwrap().clone());
    }
    all
}

async fn rooms(world: &World) -> Vec<Value> {
    world.admin.get("/rooms").await.expect(200)["items"].as_array().unwrap().clone()
}

/// The outcomes in the ledger, in order, of all items but those of plain messages and echoes.
async fn outcomes(world: &World) -> Vec<String> {
    sqlx::query_scalar(
        "select kind || ' ' || state || coalesce(': ' || outcome, '') from ledger_items
        where kind not in ('message', 'echo', 'delivery', 'read') order by seq",
    )
    .fetch_all(&world.db)
    .await
    .unwrap()
}

async fn count(world: &World, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&world.db).await.unwrap()
}

async fn kinds(world: &World, kind: &str) -> usize {
    world.kinds().await.iter().filter(|it| *it == kind).count()
}

/// Ben answers Anna, who wrote first.
async fn talk(world: &World) -> (Agent<'_>, Customer<'_>, Value) {
    let ben = world.agent("Ben").await.ready().await;
    let anna = world.customer("Anna");
    anna.says("Hello").await;
    let room = ben.takes_next().await;
    (ben, anna, room)
}

#[tokio::test]
async fn a_referral_is_kept_on_the_room_and_an_ad_opens_a_longer_window() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        let window = async || ben.room(&room).await["window"].clone();
        let hours = async || {
            let until: chrono::DateTime<chrono::Utc> = window().await["open_until"].as_str().unwrap().parse().unwrap();
            (until - world.clock.now() + chrono::TimeDelta::minutes(1)).num_hours()
        };
        assert_eq!(ben.room(&room).await["referral"], Value::Null);
        // A link into the thread: kept, and the window is open anew.
        world.pass(7200).await;
        let link = json!({ "ref": "store-12", "source": "SHORTLINK", "type": "OPEN_THREAD" });
        tell(world, &anna.psid, json!({ "referral": link })).await;
        assert_eq!(ben.room(&room).await["referral"], link);
        assert_eq!(hours().await, 24);
        // A click on an ad: kept, but it opens nothing before the first message.
        world.pass(7200).await;
        let ad = json!({ "ref": "spring", "ad_id": "62001", "source": "ADS", "type": "OPEN_THREAD" });
        let click = item(world, &anna.psid, json!({ "referral": ad }));
        tell_all(world, std::slice::from_ref(&click)).await;
        assert_eq!(ben.room(&room).await["referral"], ad);
        assert_eq!(hours().await, 22);
        anna.says("Is it still there?").await;
        assert_eq!(hours().await, 7 * 24);
        assert!(kinds(world, "room.updated").await >= 3);
        // A second delivery of the click does not make the next message another first one.
        world.pass(3600).await;
        tell_all(world, std::slice::from_ref(&click)).await;
        anna.says("Hello?").await;
        assert_eq!(hours().await, 7 * 24 - 1);
        assert_eq!(outcomes(world).await.last().unwrap(), "referral duplicate: where the contact came from");
        world.pass(30 * 3600).await;
        assert_eq!(window().await["mode"], "standard");
        world.pass(6 * 86_400).await;
        assert_eq!(window().await["mode"], "closed");
    })
    .await;
}

#[tokio::test]
async fn who_came_by_an_ad_is_answered_for_a_week_and_not_after_it() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        world
            .admin
            .patch(&format!("/widgets/{}", id(&world.widget)), json!({ "messenger": { "human_agent": true } }))
            .await
            .expect(200);
        world.simulator.click_ad(PAGE_ID, &anna.psid, "62001").await;
        anna.says("Is it still there?").await;
        world.pass(30 * 3600).await;
        ben.replies(&room, "It is, until Friday.").await;
        let seen = world.simulator.seen_by(PAGE_ID, &anna.psid).pop().unwrap();
        assert_eq!((seen.text.as_deref(), seen.tag), (Some("It is, until Friday."), None), "nothing special about it");
        // She writes once more: a machine's time ends with the ad's week, a person's a week after that.
        world.pass(4 * 86_400).await;
        anna.says("And on Saturday?").await;
        world.pass(3 * 86_400).await;
        let key = world.admin.post("/api-keys", json!({ "name": "Bot", "scopes": ["answer"] })).await.expect(201);
        let bot = world.admin.with(key["key"].as_str().unwrap());
        let write = async |by: &Api, text: &str| {
            let body = json!({ "content": { "kind": "text", "text": text } });
            by.post(&format!("/rooms/{}/messages", id(&room)), body).await
        };
        let refused = write(&bot, "No.").await;
        assert_eq!(refused.body["allowed"], json!(["human_agent"]));
        assert_eq!(refused.problem(409), "window-closed");
        write(&ben.api, "Sorry, no.").await.expect(201);
        world.settle().await;
        let seen = world.simulator.seen_by(PAGE_ID, &anna.psid).pop().unwrap();
        assert_eq!((seen.text.as_deref(), seen.tag.as_deref()), (Some("Sorry, no."), Some("HUMAN_AGENT")));
        world.pass(5 * 86_400).await;
        let refused = write(&ben.api, "Still interested?").await;
        assert_eq!((&refused.body["window"]["mode"], &refused.body["allowed"]), (&json!("closed"), &json!([])));
        assert_eq!(refused.problem(409), "window-closed");
    })
    .await;
}

#[tokio::test]
async fn a_referral_before_the_first_message_waits_for_the_room() {
    story(async |world| {
        let ad = json!({ "ad_id": "62001", "source": "ADS", "type": "OPEN_THREAD" });
        tell(world, "71", json!({ "referral": ad })).await;
        assert!(rooms(world).await.is_empty(), "nobody has said anything");
        tell(world, "71", message("m_1", "How much is it?")).await;
        tell(world, "72", json!({ "message": { "mid": "m_2", "text": "And that?", "referral": ad } })).await;
        let postback = json!({ "postback": { "title": "Get Started", "payload": "GET_STARTED", "referral": ad } });
        tell(world, "73", postback).await;
        let shown = rooms(world).await;
        assert_eq!(shown.len(), 3);
        for room in shown {
            assert_eq!(room["referral"], ad, "{room}");
            assert_eq!(room["window"]["mode"], "standard");
        }
        world.pass(6 * 86_400).await;
        assert!(rooms(world).await.iter().all(|it| it["window"]["mode"] == "standard"));
        // An old click explains nothing any more.
        tell(world, "74", json!({ "referral": ad })).await;
        world.pass(30 * 3600).await;
        tell(world, "74", message("m_4", "Hi")).await;
        let last = rooms(world).await.pop().unwrap();
        assert_eq!(last["referral"], Value::Null);
    })
    .await;
}

#[tokio::test]
async fn buttons_are_choices_however_old_they_are() {
    story(async |world| {
        for (title, payload) in [("Get Started", "GET_STARTED"), ("Opening hours?", "ICE_1"), ("", "MENU_OF_LAST_YEAR")] {
            tell(world, "71", json!({ "postback": { "title": title, "payload": payload } })).await;
            world.pass(1).await;
        }
        let shown: Vec<_> = messages(world).await.into_iter().map(|it| it["content"].clone()).collect();
        let choice = |text: &str, payload: &str| json!({ "kind": "choice", "text": text, "payload": payload, "via": "postback" });
        let expected =
            [choice("Get Started", "GET_STARTED"), choice("Opening hours?", "ICE_1"), choice("MENU_OF_LAST_YEAR", "MENU_OF_LAST_YEAR")];
        assert_eq!(shown, expected);
        assert_eq!(rooms(world).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn notices_stand_in_the_room_and_facts_on_the_contact() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        let reply = ben.replies(&room, "Anything else?").await;
        let mid = ben.reads(&room).await.into_iter().find(|it| it["id"] == reply["id"]).unwrap()["external_id"].clone();
        let unread = ben.room(&room).await["unread"].clone();
        let known = kinds(world, "contact.updated").await;
        let events = [
            json!({ "optin": { "ref": "newsletter-box" } }),
            json!({ "optin": { "type": "notification_messages", "title": "Bird facts", "notification_messages_token": "t0ken-of-anna" } }),
            json!({ "account_linking": { "status": "linked", "authorization_code": "c0de-of-anna" } }),
            json!({ "messaging_feedback": { "feedback_screens": [{ "screen_id": 0, "questions":
                { "how": { "type": "csat", "payload": "5", "follow_up": { "type": "free_form", "payload": "very good" } } } }] } }),
            json!({ "response_feedback": { "feedback": "Good response", "mid": mid } }),
            json!({ "template": { "type": "coupon", "coupon_code": "10PERCENT", "payload": "x" } }),
        ];
        for event in events {
            let item = item(world, &anna.psid, event);
            for _ in 0..2 {
                tell_all(world, std::slice::from_ref(&item)).await;
            }
        }
        let shown = ben.reads(&room).await;
        let notices: Vec<_> = shown.iter().filter(|it| it["direction"] == "system").collect();
        let texts: Vec<_> = notices.iter().map(|it| it["content"]["text"].as_str().unwrap()).collect();
        let expected = [
            "Opted in: newsletter-box",
            "Agreed to messages: Bird facts",
            "Account linked",
            "Feedback\ncsat: 5\ncsat, follow-up: very good",
            "Good response",
            "Coupon revealed: 10PERCENT",
        ];
        assert_eq!(texts, expected);
        assert_eq!(notices[4]["reply_to"], reply["id"]);
        assert!(notices.iter().all(|it| it["author"]["kind"] == "contact"));
        assert_eq!(ben.room(&room).await["unread"], unread, "nobody waits for an answer to these");
        let contact = ben.api.get(&format!("/contacts/{}", id(&room["contact"]))).await.expect(200);
        let facts = contact["facts"].as_object().unwrap();
        let names: std::collections::BTreeSet<_> = facts.keys().map(String::as_str).collect();
        assert_eq!(names, ["account_linking", "coupon", "feedback", "notification_messages", "optin"].into());
        assert_eq!(facts["account_linking"]["status"], "linked");
        assert_eq!(facts["account_linking"]["has_authorization_code"], true);
        assert_eq!(facts["feedback"]["answers"]["csat"], "5");
        assert!(facts["optin"]["at"].is_string());
        let everything = json!([contact, shown, world.events().await]).to_string();
        assert!(!everything.contains("t0ken-of-anna") && !everything.contains("c0de-of-anna"));
        assert_eq!(kinds(world, "contact.updated").await, known + 5);
        tell(world, &anna.psid, json!({ "account_linking": { "status": "unlinked" } })).await;
        let contact = ben.api.get(&format!("/contacts/{}", id(&room["contact"]))).await.expect(200);
        assert_eq!(contact["facts"]["account_linking"]["status"], "unlinked");
    })
    .await;
}

#[tokio::test]
async fn what_the_page_writes_to_a_stranger_elsewhere_is_kept_told_and_explained() {
    story(async |world| {
        let echo = json!({ "sender": { "id": PAGE_ID }, "recipient": { "id": "71" }, "timestamp": world.clock.now().timestamp_millis(),
            "message": { "is_echo": true, "app_id": PAGE_INBOX, "mid": "m_first", "text": "News!" } });
        tell_all(world, &[echo]).await;
        let told: Vec<_> = world.kinds().await.into_iter().filter(|it| !it.starts_with("widget.")).collect();
        assert_eq!(told, ["room.opened", "message.created", "room.closed"]);
        let [room] = &rooms(world).await[..] else { panic!("one room") };
        assert_eq!((&room["status"], &room["close_reason"]), (&json!("closed"), &json!("no_route")));
        let told = world.admin.get(&format!("/rooms/{}/routing", id(room))).await.expect(200);
        let [step] = &told["items"].as_array().unwrap()[..] else { panic!("one decision: {told}") };
        assert_eq!((&step["decision"], &step["reason"]), (&json!("turned_away"), &json!("elsewhere")));
        assert_eq!(step["sentence"], "Keeps what the Page wrote elsewhere, and closed at once: nobody had asked anything.");
    })
    .await;
}

#[tokio::test]
async fn a_stranger_who_opts_in_gets_no_room_and_is_known_when_they_write() {
    story(async |world| {
        // The checkbox on a web site names the person before Messenger does.
        let time = world.clock.now().timestamp_millis();
        let optin = json!({ "recipient": { "id": PAGE_ID }, "timestamp": time, "optin": { "ref": "basket", "user_ref": "ref-9" } });
        tell_all(world, &[optin]).await;
        assert!(rooms(world).await.is_empty());
        assert_eq!(outcomes(world).await, ["optin applied: a fact about the contact"]);
        let first = json!({ "message": { "mid": "m_1", "text": "Hi" },
            "prior_message": { "source": "checkbox_plugin", "identifier": "ref-9" } });
        tell(world, "71", first).await;
        let [room] = &rooms(world).await[..] else { panic!("one room") };
        let contact = world.admin.get(&format!("/contacts/{}", id(&room["contact"]))).await.expect(200);
        assert_eq!(contact["facts"]["optin"]["ref"], "basket");
        assert_eq!(contact["facts"]["checkbox"]["user_ref"], "ref-9");
        assert_eq!(count(world, "select count(*) from contacts").await, 1);
    })
    .await;
}

#[tokio::test]
async fn what_a_contact_hands_in_comes_into_a_room_like_a_message() {
    story(async |world| {
        let given = json!({ "messaging_customer_information": { "screens": [{ "screen_id": "Address", "responses": [
            { "key": "address_line_1", "value": "1 Example Street" }, { "key": "phone", "value": "+15555550123" }, { "key": "name", "value": "Alex Example" }] }] } });
        let order = json!({ "order": { "products": [{ "id": 1, "name": "Lamp", "unit_price": 22.5, "currency": "THB", "quantity": 2 }], "note": "please hurry" } });
        let lead = json!({ "referral": { "source": "ADS", "type": "LEAD_COMPLETE", "ad_id": "630" },
            "lead": { "data": [{ "question": "City?", "answer": "Ulm" }, { "question": "Reseller:", "answer": "Yes" }] } });
        let form = json!({ "form": { "id": "700" } });
        for (psid, event) in [("71", given), ("72", order), ("73", lead), ("74", form)] {
            let item = item(world, psid, event);
            for _ in 0..2 {
                tell_all(world, std::slice::from_ref(&item)).await;
            }
        }
        let shown = messages(world).await;
        let texts: Vec<_> = shown.iter().map(|it| it["content"]["text"].as_str().unwrap()).collect();
        let expected = [
            "Customer information\nAddress line 1: 1 Example Street\nPhone: +15555550123\nName: Alex Example",
            "Order\n2 × Lamp, 22.5 THB\nNote: please hurry",
            "Lead form\nCity?: Ulm\nReseller: Yes",
            "Form filled in: 700",
        ];
        assert_eq!(texts, expected);
        assert!(shown.iter().all(|it| it["direction"] == "inbound"));
        let rooms = rooms(world).await;
        assert!(rooms.iter().all(|it| it["status"] == "waiting" && it["unread"] == 1), "{rooms:?}");
        assert_eq!((&rooms[0]["contact"]["phone"], &rooms[0]["contact"]["name"]), (&json!("+15555550123"), &json!("Alex Example")));
        assert_eq!(rooms[2]["referral"]["ad_id"], "630");
        let contact = world.admin.get(&format!("/contacts/{}", id(&rooms[2]["contact"]))).await.expect(200);
        assert_eq!(contact["facts"]["lead"]["answers"]["City?"], "Ulm");
    })
    .await;
}

#[tokio::test]
async fn policy_and_roles_are_the_widgets_health() {
    story(async |world| {
        let health = async || {
            let widget = world.admin.get(&format!("/widgets/{}", id(&world.widget))).await.expect(200);
            let checks = widget["health"]["checks"].as_array().unwrap().clone();
            let find = |name: &str| checks.iter().find(|it| it["name"] == name).cloned().unwrap_or_default();
            (widget["health"]["state"].clone(), find("policy"), find("thread_control"))
        };
        let tell = async |body: Value| {
            let mut body = body;
            body["recipient"] = json!({ "id": PAGE_ID });
            body["timestamp"] = world.clock.now().timestamp_millis().into();
            for _ in 0..2 {
                tell_all(world, std::slice::from_ref(&body)).await;
            }
        };
        // The first event of all is news by itself.
        tell(json!({ "optin": { "ref": "hello" } })).await;
        let changes = kinds(world, "widget.health_changed").await;
        tell(json!({ "policy-enforcement": { "action": "block", "reason": "spam" } })).await;
        let (state, policy, _) = health().await;
        assert_eq!((state, policy["state"].clone()), (json!("attention"), json!("attention")));
        assert!(policy["detail"].as_str().unwrap().ends_with("spam"), "{policy}");
        assert_eq!(kinds(world, "widget.health_changed").await, changes + 1);
        // Looking at the Page does not forget it.
        world.pass(1).await;
        world.admin.act(&format!("/widgets/{}/check", id(&world.widget))).await;
        assert_eq!(health().await.1["state"], "attention");
        tell(json!({ "policy_enforcement": { "action": "unblock" } })).await;
        assert_eq!(health().await.1["state"], "ok");
        tell(json!({ "app_roles": { APP_ID: ["secondary_receiver"], "1": ["primary_receiver"] } })).await;
        assert_eq!(health().await.2["state"], "attention");
        world.pass(1).await;
        tell(json!({ "app_roles": { APP_ID: ["primary_receiver"] } })).await;
        assert_eq!(health().await.2["state"], "ok");
        assert!(rooms(world).await.is_empty());
        assert_eq!(count(world, "select count(*) from contacts").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_block_that_is_told_while_the_page_is_looked_at_stays() {
    story(async |world| {
        world.simulator.set_hanging(PAGE_ID, true);
        let calls = world.simulator.calls(PAGE_ID);
        let path = format!("/widgets/{}/check", id(&world.widget));
        let meanwhile = async {
            while world.simulator.calls(PAGE_ID) == calls {
                tokio::task::yield_now().await;
            }
            world.clock.advance(chrono::TimeDelta::seconds(1));
            let block = json!({ "policy_enforcement": { "action": "block", "reason": "spam" }, "recipient": { "id": PAGE_ID },
                "timestamp": world.clock.now().timestamp_millis() });
            tell_all(world, &[block]).await;
            world.simulator.set_hanging(PAGE_ID, false);
        };
        let (looked, ()) = futures::join!(world.admin.act(&path), meanwhile);
        let looked = looked.expect(200);
        let state = |name: &str| {
            let checks = looked["health"]["checks"].as_array().unwrap();
            checks.iter().find(|it| it["name"] == name).map(|it| it["state"].clone()).unwrap_or_default()
        };
        assert_eq!(state("policy"), "attention", "Facebook does not say it again");
        assert_eq!(state("page_token"), "unchecked", "the first call broke");
        assert_eq!(state("subscription"), "ok");
        let widget = world.admin.get(&format!("/widgets/{}", id(&world.widget))).await.expect(200);
        assert_eq!(widget["health"], looked["health"]);
    })
    .await;
}

#[tokio::test]
async fn what_is_only_observed_or_kept_changes_nothing() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        let before = (ben.reads(&room).await, world.events().await.len());
        let mid = ben.reads(&room).await[0]["external_id"].as_str().unwrap().to_owned();
        let standby: Vec<_> = [message("m_s", "to the other app"), unsent(&mid), edit(&mid, "x", 1), reaction(&mid, "😀"), passed("5")]
            .into_iter()
            .map(|it| item(world, &anna.psid, it))
            .collect();
        post(world, &json!({ "object": "page", "entry": [{ "id": PAGE_ID, "time": 1, "standby": standby }] })).await;
        let feed = json!({ "field": "feed", "value": { "item": "comment", "verb": "add", "from": { "id": anna.psid }, "message": "How much?" } });
        post(world, &json!({ "object": "page", "entry": [{ "id": PAGE_ID, "time": 1, "changes": [feed] }] })).await;
        let button = json!({ "field": "messages", "value": { "sender": { "id": "12334" }, "recipient": { "id": "23245" }, "timestamp": "1527459824",
            "message": { "mid": "test_message_id", "text": "test_message" } } });
        post(world, &json!({ "object": "page", "entry": [{ "id": "0", "time": 1, "changes": [button] }] })).await;
        let hello = item(world, &anna.psid, message("m_i", "x"));
        for object in ["instagram", "whatsapp_business_account"] {
            post(world, &json!({ "object": object, "entry": [{ "id": PAGE_ID, "time": 1, "messaging": [hello] }] })).await;
        }
        for odd in [json!({ "game_play": { "game_id": "1" } }), json!({ "message_request": "accept" }), json!({ "surprise": {} }), json!({ "message": { "admin_text": "x" } })] {
            tell(world, &anna.psid, odd).await;
        }
        assert_eq!((ben.reads(&room).await, world.events().await.len()), before);
        assert_eq!(rooms(world).await.len(), 1);
        let ignored = "select count(*) from ledger where state = 'ignored' and length(raw) > 0";
        assert_eq!(count(world, ignored).await, 5 + 2 + 2 + 4);
        assert_eq!(count(world, "select count(*) from ledger where outcome = 'observed'").await, 5);
    })
    .await;
}

#[tokio::test]
async fn another_tenants_message_is_not_changed() {
    story(async |world| {
        tell(world, "71", message("m_1", "mine")).await;
        // Another Page, another tenant, the same mid.
        let (_, other) = world.new_tenant("other").await;
        world.simulator.add_page(APP_ID, "2002", "Other Page", "token-of-another-page-of-the-app");
        let messenger = json!({ "app_id": APP_ID, "app_secret": APP_SECRET, "page_id": "2002", "page_access_token": "token-of-another-page-of-the-app" });
        let widget = other.post("/widgets", json!({ "name": "Other", "channel": "messenger", "messenger": messenger })).await.expect(201);
        let callback = other.get(&format!("/widgets/{}/callback", id(&widget))).await.expect(200);
        let path = callback["callback_url"].as_str().unwrap().strip_prefix(&world.base).unwrap().to_owned();
        for event in [unsent("m_1"), reaction("m_1", "😀")] {
            let mut event = item(world, "71", event);
            event["recipient"] = json!({ "id": "2002" });
            let body = json!({ "object": "page", "entry": [{ "id": "2002", "time": 1, "messaging": [event] }] }).to_string();
            let request = Api::new(&world.base, None)
                .request(reqwest::Method::POST, &path)
                .header("x-hub-signature-256", signature::sign(&Secret::new(APP_SECRET), body.as_bytes()))
                .body(body);
            assert_eq!(Api::new(&world.base, None).send(request).await.status, 200);
            world.settle().await;
        }
        let [shown] = &messages(world).await[..] else { panic!("one message") };
        assert_eq!((&shown["content"]["text"], &shown["reactions"]), (&json!("mine"), &json!([])));
        assert_eq!(count(world, "select count(*) from early_changes").await, 2);
    })
    .await;
}

#[tokio::test]
async fn every_clock_and_every_number_is_understood() {
    story(async |world| {
        let now = world.clock.now().timestamp_millis();
        let times = [
            json!(now), json!(now / 1000), json!(now.to_string()), json!((now / 1000).to_string()), json!(now as f64),
            json!(0), Value::Null, json!("yesterday"), json!(now + 86_400_000), json!({}), json!(-5),
        ];
        for (n, time) in times.iter().enumerate() {
            let event = json!({ "sender": { "id": 7_100_200_300_400_500_u64 }, "recipient": { "id": PAGE_ID.parse::<u64>().unwrap() },
                "timestamp": time, "message": { "mid": format!("m_{n}"), "text": "x" } });
            tell_all(world, &[event]).await;
        }
        let [room] = &rooms(world).await[..] else { panic!("one room: numbers and texts name one contact") };
        assert_eq!(room["contact"]["sender_id"], "7100200300400500");
        assert_eq!(room["unread"], times.len());
        let odd = "select count(*) from messages where abs(extract(epoch from external_at - created_at)) > 1";
        assert_eq!(count(world, odd).await, 0);
        assert_eq!(room["window"]["mode"], "standard");
    })
    .await;
}

#[tokio::test]
async fn a_reaction_may_overtake_the_verdict_on_our_own_message() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        world.simulator.kill_token(PAGE_ID);
        let reply = ben.replies(&room, "On its way").await;
        tell(world, &anna.psid, reaction("m_late", "👍")).await;
        let echo = json!({ "sender": { "id": PAGE_ID }, "recipient": { "id": anna.psid }, "timestamp": world.clock.now().timestamp_millis(),
            "message": { "is_echo": true, "app_id": APP_ID, "metadata": format!("cg:{}", id(&reply)), "mid": "m_late", "text": "On its way" } });
        tell_all(world, &[echo]).await;
        let shown = ben.reads(&room).await.pop().unwrap();
        assert_eq!((&shown["id"], &shown["status"]), (&reply["id"], &json!("sent")));
        assert_eq!(shown["reactions"], json!([{ "by": "contact", "emoji": "👍" }]));
    })
    .await;
}

#[tokio::test]
async fn receipts_count_by_mid_by_watermark_and_with_the_ids_reversed() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        world.simulator.set_receipts(false);
        let mut mids = Vec::new();
        for text in ["one", "two", "three"] {
            world.pass(1).await;
            let reply = ben.replies(&room, text).await;
            let stored = ben.reads(&room).await.into_iter().find(|it| it["id"] == reply["id"]).unwrap();
            assert_eq!(stored["status"], "sent");
            mids.push((stored["external_id"].clone(), world.clock.now().timestamp_millis()));
        }
        let states = async || {
            let all = ben.reads(&room).await;
            let of = |mid: &Value| all.iter().find(|it| it["external_id"] == *mid).unwrap()["status"].clone();
            mids.iter().map(|it| of(&it.0).as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        world.pass(1).await;
        tell(world, &anna.psid, json!({ "delivery": { "mids": [mids[1].0] } })).await;
        assert_eq!(states().await, ["sent", "delivered", "sent"]);
        tell(world, &anna.psid, json!({ "delivery": { "watermark": mids[1].1 + 500 } })).await;
        assert_eq!(states().await, ["delivered", "delivered", "sent"]);
        // Sender and recipient exchanged: still the contact's.
        let read = |watermark: i64| json!({ "sender": { "id": PAGE_ID }, "recipient": { "id": anna.psid }, "timestamp": watermark, "read": { "watermark": watermark } });
        tell_all(world, &[read(mids[0].1 + 500)]).await;
        assert_eq!(states().await, ["read", "delivered", "sent"]);
        tell_all(world, &[read(mids[2].1 + 500)]).await;
        assert_eq!(states().await, ["read", "read", "read"]);
        tell(world, &anna.psid, json!({ "delivery": { "watermark": mids[2].1 + 500 } })).await;
        assert_eq!(states().await, ["read", "read", "read"], "never backwards");
    })
    .await;
}
