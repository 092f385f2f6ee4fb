//! What can go wrong on the way to Facebook, one story each: nothing is sent twice, out of order, or lost without a word.

use std::sync::atomic::Ordering;

use chatgate::{
    crew::{Crew, Worker},
    replies::{claims::Claims, worker::Sender},
    simulator::Fault,
};
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::{
    World,
    logs::{APP_SECRET, NEW_PAGE_TOKEN, PAGE_TOKEN},
    story,
    world::{APP_ID, Agent, Customer, PAGE_ID, id},
};

/// Anna has written, Ben has her room.
pub async fn talk(world: &World) -> (Agent<'_>, Customer<'_>, Value) {
    let ben = world.agent("Ben").await.ready().await;
    let anna = world.customer("Anna");
    anna.says("hello").await;
    let room = ben.takes_next().await;
    (ben, anna, room)
}

/// What the customer has seen of what the agent wrote.
pub fn seen(anna: &Customer<'_>) -> Vec<String> {
    anna.sees()[1..].to_vec()
}

pub async fn last(ben: &Agent<'_>, room: &Value) -> Value {
    ben.reads(room).await.pop().unwrap()
}

fn outcome(message: &Value) -> (&str, &str) {
    (message["status"].as_str().unwrap(), message["error"]["type"].as_str().unwrap_or_default())
}

async fn health(world: &World) -> Value {
    world.admin.get(&format!("/widgets/{}", id(&world.widget))).await.expect(200)["health"].clone()
}

/// A second Page of the same app with a customer who has written to it; the customer's id and their room.
pub async fn second_page(world: &World, ben: &Agent<'_>) -> (&'static str, String, Value) {
    const OTHER: &str = "1002003004006";
    world.simulator.add_page(APP_ID, OTHER, "Other Page", "EAAother-page-token");
    let messenger = json!({ "app_id": APP_ID, "app_secret": APP_SECRET, "page_access_token": "EAAother-page-token", "page_id": OTHER });
    let widget = json!({ "name": "Other page", "channel": "messenger", "messenger": messenger });
    let widget = world.admin.post("/widgets", widget).await.expect(201);
    let chat = json!({ "name": "Other", "widget_id": widget["id"], "queue_id": world.queue["id"] });
    world.admin.post("/incoming-chats", chat).await.expect(201);
    let psid = "7100000000009999".to_owned();
    world.simulator.add_person(OTHER, &psid, "Otto", "Example", None, None);
    world.simulator.say(OTHER, &psid, "hello there").await;
    world.settle().await;
    let room = ben.takes_next().await;
    (OTHER, psid, room)
}

#[tokio::test]
async fn a_throttled_page_waits_as_long_as_meta_says_and_no_other_does() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        let (other, otto, others_room) = second_page(world, &ben).await;
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::Throttle { minutes: 2 }]);
        ben.replies(&room, "one").await;
        ben.replies(&room, "two").await;
        ben.replies(&others_room, "meanwhile").await;
        let elsewhere = world.simulator.seen_by(other, &otto);
        assert_eq!(elsewhere.last().unwrap().text.as_deref(), Some("meanwhile"));
        world.pass(115).await;
        assert_eq!(seen(&anna), [""; 0], "asking on would lengthen the block");
        world.pass(6).await;
        world.pass(1).await;
        assert_eq!(seen(&anna), ["one", "two"]);
    })
    .await;
}

#[tokio::test]
async fn a_pause_outlasts_settings_and_checks_and_ends_with_a_new_token() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::Throttle { minutes: 20 }]);
        ben.replies(&room, "one").await;
        let path = format!("/widgets/{}", id(&world.widget));
        let change = async |body: Value| {
            world.admin.patch(&path, body).await.expect(200);
            world.pass(30).await;
        };
        change(json!({ "color": "#102030" })).await;
        change(json!({ "messenger": { "page_access_token": PAGE_TOKEN } })).await;
        world.admin.act(&format!("{path}/check")).await.expect(200);
        world.pass(30).await;
        assert_eq!(seen(&anna), [""; 0], "asking on would lengthen the block");
        world.simulator.set_token(PAGE_ID, NEW_PAGE_TOKEN);
        change(json!({ "messenger": { "page_access_token": NEW_PAGE_TOKEN } })).await;
        assert_eq!(seen(&anna), ["one"]);
    })
    .await;
}

#[tokio::test]
async fn a_token_that_counts_again_lets_replies_go_at_once() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        world.simulator.kill_token(PAGE_ID);
        ben.replies(&room, "one").await;
        world.simulator.set_token(PAGE_ID, PAGE_TOKEN);
        world.admin.act(&format!("/widgets/{}/check", id(&world.widget))).await.expect(200);
        world.settle().await;
        assert_eq!(seen(&anna), ["one"]);
    })
    .await;
}

#[tokio::test]
async fn an_apps_throttle_stops_all_its_pages() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        let (other, otto, others_room) = second_page(world, &ben).await;
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::error(4, None, "(#4) Application request limit reached")]);
        ben.replies(&room, "one").await;
        ben.replies(&others_room, "two").await;
        let elsewhere = || world.simulator.seen_by(other, &otto).last().and_then(|it| it.text.clone());
        assert_ne!(elsewhere().as_deref(), Some("two"));
        world.pass(61).await;
        assert_eq!((seen(&anna), elsewhere()), (vec!["one".to_owned()], Some("two".to_owned())));
    })
    .await;
}

#[tokio::test]
async fn what_is_used_up_is_left_alone_for_the_stated_minute() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        world.simulator.set_usage(100);
        ben.replies(&room, "one").await;
        world.simulator.set_usage(10);
        ben.replies(&room, "two").await;
        assert_eq!(seen(&anna), ["one"], "the answer to the first said that no more are allowed");
        world.pass(61).await;
        world.pass(1).await;
        assert_eq!(seen(&anna), ["one", "two"]);
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::RetryAfter { seconds: 30 }]);
        ben.replies(&room, "three").await;
        world.pass(29).await;
        assert_eq!(seen(&anna).len(), 2);
        world.pass(2).await;
        assert_eq!(seen(&anna)[2..], ["three"]);
    })
    .await;
}

#[tokio::test]
async fn a_burst_of_500_is_waited_out_in_order() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::hiccup(), Fault::hiccup(), Fault::hiccup()]);
        ben.replies(&room, "one").await;
        ben.replies(&room, "two").await;
        for _ in 0..4 {
            world.pass(20).await;
        }
        assert_eq!(seen(&anna), ["one", "two"]);
    })
    .await;
}

#[tokio::test]
async fn a_page_that_does_not_answer_rests_and_others_do_not() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        let (other, otto, others_room) = second_page(world, &ben).await;
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::Http502, Fault::Http502, Fault::Http502]);
        for text in ["a", "b", "c", "d"] {
            ben.replies(&room, text).await;
        }
        ben.replies(&others_room, "meanwhile").await;
        assert_eq!(world.simulator.seen_by(other, &otto).last().unwrap().text.as_deref(), Some("meanwhile"));
        assert_eq!(last(&ben, &room).await["status"], "queued", "after three failures nothing is risked for a while");
        world.pass(6).await;
        assert_eq!(seen(&anna), ["d"]);
        world.pass(120).await;
        let lost: Vec<_> = ben.reads(&room).await.into_iter().filter(|it| it["status"] == "failed").collect();
        assert_eq!(lost.len(), 3, "Facebook's list does not have them");
        world.expects_trouble.store(true, Ordering::Relaxed);
    })
    .await;
}

#[tokio::test]
async fn a_send_lost_on_its_way_is_found_out_and_sent_again_once_by_a_person() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::DropBeforeSending]);
        ben.replies(&room, "lost").await;
        ben.replies(&room, "after").await;
        let find = async |text: &str| {
            let messages = ben.reads(&room).await;
            messages.into_iter().filter(|it| it["content"]["text"] == text).collect::<Vec<_>>()
        };
        assert_eq!(outcome(&find("lost").await[0]), ("uncertain", "/problems/send-uncertain"));
        world.pass(70).await;
        let lost = find("lost").await.remove(0);
        assert_eq!(outcome(&lost), ("failed", "/problems/send-failed"), "Facebook does not have it");
        assert_eq!(seen(&anna), ["after"], "nothing was sent again by itself");
        let path = format!("/messages/{}/resend", id(&lost));
        let both = futures::future::join(ben.api.act(&path), ben.api.act(&path)).await;
        let mut statuses = [both.0.status, both.1.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 201]);
        assert_eq!(id(&both.0.body), id(&both.1.body));
        world.settle().await;
        assert_eq!(seen(&anna), ["after", "lost"]);
        let lost = find("lost").await;
        assert_eq!(lost[0]["error"]["resent_as"], lost[1]["id"]);
        assert_eq!((&lost[0]["status"], &lost[1]["author"]["name"]), (&json!("failed"), &json!("Ben")));
        assert_eq!(ben.api.act(&path).await.expect(200)["id"], lost[1]["id"]);
        let sent = format!("/messages/{}/resend", id(&lost[1]));
        assert_eq!(ben.api.act(&sent).await.problem(409), "conflict");
        world.expects_trouble.store(true, Ordering::Relaxed);
    })
    .await;
}

#[tokio::test]
async fn a_lost_answer_without_an_echo_is_settled_by_facebooks_list() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        world.simulator.set_echoes(false);
        world.simulator.set_receipts(false);
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::DropAfterSending]);
        ben.replies(&room, "perhaps").await;
        assert_eq!(last(&ben, &room).await["status"], "uncertain");
        world.pass(61).await;
        let message = last(&ben, &room).await;
        assert_eq!((&message["status"], &message["error"]), (&json!("sent"), &Value::Null));
        let there = world.simulator.seen_by(PAGE_ID, &anna.psid).pop().unwrap();
        assert_eq!(message["external_id"], there.mid.as_str());
        world.pass(3600).await;
        assert_eq!(seen(&anna), ["perhaps"]);
    })
    .await;
}

#[tokio::test]
async fn what_nobody_can_find_out_stays_uncertain_for_people_to_decide() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        world.simulator.hide_conversations(PAGE_ID, true);
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::DropBeforeSending]);
        ben.replies(&room, "hm").await;
        for _ in 0..6 {
            world.pass(3600).await;
        }
        let message = last(&ben, &room).await;
        assert_eq!(outcome(&message), ("uncertain", "/problems/send-uncertain"));
        let left: i64 = sqlx::query_scalar("select count(*) from doubts").fetch_one(&world.db).await.unwrap();
        assert_eq!(left, 0, "asked often enough");
        let path = format!("/messages/{}/resend", id(&message));
        let (_, stranger) = world.new_tenant("other").await;
        assert_eq!(stranger.act(&path).await.status, 404);
        let carl = world.agent("Carl").await;
        assert_eq!(carl.api.act(&path).await.problem(403), "not-your-room");
        // A supervisor may, in anybody's room.
        let copy = world.admin.act(&path).await.expect(201);
        assert_eq!(copy["author"]["name"], "Ada");
        world.settle().await;
        assert_eq!(seen(&anna), ["hm"]);
        world.expects_trouble.store(true, Ordering::Relaxed);
    })
    .await;
}

#[tokio::test]
async fn a_resend_needs_an_open_room_and_an_open_window() {
    story(async |world| {
        let (ben, _, room) = talk(world).await;
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::error(100, Some(2_018_109), "(#100) too large")]);
        let message = ben.replies(&room, "big").await;
        let path = format!("/messages/{}/resend", id(&message));
        world.pass(24 * 3600).await;
        assert_eq!(ben.api.act(&path).await.problem(409), "window-closed");
        ben.closes(&room).await;
        assert_eq!(ben.api.act(&path).await.problem(409), "room-closed");
        let inbound = id(&ben.reads(&room).await[0]);
        assert_eq!(world.admin.act(&format!("/messages/{inbound}/resend")).await.problem(409), "conflict");
        assert_eq!(ben.api.act(&format!("/messages/{}/resend", id(&room))).await.status, 404);
        world.expects_trouble.store(true, Ordering::Relaxed);
    })
    .await;
}

#[tokio::test]
async fn who_cannot_be_reached_is_not_written_to_before_they_write_again() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        let path = format!("/rooms/{}/messages", id(&room));
        let body = |text: &str| json!({ "content": { "kind": "text", "text": text } });
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::error(551, Some(1_545_041), "isn't available")]);
        ben.api.post(&path, body("one")).await.expect(201);
        ben.api.post(&path, body("two")).await.expect(201);
        world.settle().await;
        for message in &ben.reads(&room).await[2..] {
            assert_eq!(outcome(message), ("failed", "/problems/contact-unreachable"));
            assert_eq!(message["error"]["meta_code"], 551);
        }
        let refused = ben.api.post(&path, body("three")).await;
        assert_eq!(refused.body["meta_subcode"], 1_545_041);
        assert_eq!(refused.problem(409), "contact-unreachable");
        anna.says("here I am").await;
        ben.api.post(&path, body("welcome")).await.expect(201);
        world.settle().await;
        assert_eq!(seen(&anna), ["welcome"]);
        // A person may try all the same.
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::error(551, None, "isn't available")]);
        let failed = ben.replies(&room, "four").await;
        ben.api.act(&format!("/messages/{}/resend", id(&failed))).await.expect(201);
        world.settle().await;
        assert_eq!(seen(&anna), ["welcome", "four"]);
        world.expects_trouble.store(true, Ordering::Relaxed);
    })
    .await;
}

#[tokio::test]
async fn a_restricted_page_stops_tells_people_and_goes_on() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        let restricted = "(#10) The Page is temporarily restricted";
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::error(10, Some(1_893_063), restricted)]);
        ben.replies(&room, "one").await;
        ben.replies(&room, "two").await;
        let found = health(world).await;
        assert_eq!(found["state"], "attention");
        assert!(
            found["checks"].as_array().unwrap().iter().any(|it| it["name"] == "sending" && it["detail"] == restricted)
        );
        assert_eq!(seen(&anna), [""; 0]);
        world.pass(15 * 60 + 1).await;
        assert_eq!(seen(&anna), ["one", "two"]);
        let found = health(world).await;
        assert!(found["checks"].as_array().unwrap().iter().all(|it| it["name"] != "sending"), "{found}");
        let changes = world.kinds().await.iter().filter(|it| *it == "widget.health_changed").count();
        assert!(changes >= 2, "it was told when it broke and when it worked again");
    })
    .await;
}

#[tokio::test]
async fn a_missing_permission_fails_the_message_and_is_told_once() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        let before = world.kinds().await.iter().filter(|it| *it == "widget.health_changed").count();
        let refusal = || Fault::error(10, None, "(#10) Application does not have permission for this action");
        world.simulator.fail_next_sends(PAGE_ID, vec![refusal(), refusal()]);
        ben.replies(&room, "one").await;
        ben.replies(&room, "two").await;
        assert_eq!(outcome(&last(&ben, &room).await), ("failed", "/problems/send-failed"));
        assert_eq!(health(world).await["state"], "attention");
        let after = world.kinds().await.iter().filter(|it| *it == "widget.health_changed").count();
        assert_eq!(after, before + 1);
        ben.replies(&room, "three").await;
        assert_eq!(seen(&anna), ["three"]);
        world.expects_trouble.store(true, Ordering::Relaxed);
    })
    .await;
}

/// One of another process's, with so many places.
pub fn sender(world: &World, at_once: u32) -> Sender {
    let crew = Crew::new();
    Sender::new(Claims::new(world.outgoing.clone(), crew.clone(), at_once, TimeDelta::seconds(20)), crew)
}

#[tokio::test]
async fn a_claim_counts_from_when_there_is_a_place() {
    story(async |world| {
        let (ben, _, room) = talk(world).await;
        let (other, _, others_room) = second_page(world, &ben).await;
        let sender = sender(world, 1);
        let write = async |room: &Value| {
            let body = json!({ "content": { "kind": "text", "text": "hi" } });
            ben.api.post(&format!("/rooms/{}/messages", id(room)), body).await.expect(201);
        };
        [PAGE_ID, other].iter().for_each(|it| world.simulator.set_hanging(it, true));
        write(&room).await;
        sender.step().await.unwrap();
        write(&others_room).await;
        // The only place is free 25 seconds after the worker began to wait for it.
        let free = async {
            world.clock.advance(TimeDelta::seconds(25));
            world.simulator.set_hanging(PAGE_ID, false);
        };
        futures::join!(async { sender.step().await.unwrap() }, free);
        let claimed_until: chrono::DateTime<chrono::Utc> =
            sqlx::query_scalar("select claimed_until from outbox where state = 'sending'")
                .fetch_one(&world.db)
                .await
                .unwrap();
        let left = claimed_until - world.clock.now();
        assert!(left > TimeDelta::seconds(20), "it may be sent for 20 seconds, and its claim lapses in {left}");
        world.simulator.set_hanging(other, false);
        while !sender.is_idle() {
            tokio::task::yield_now().await;
        }
        world.expects_trouble.store(true, Ordering::Relaxed);
    })
    .await;
}

#[tokio::test]
async fn an_unknown_error_that_does_not_pass_is_shown_to_whoever_sets_the_page_up() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        let unknown = || Fault::error(1, Some(99), "(#1) An unknown error occurred");
        world.simulator.fail_next_sends(PAGE_ID, vec![unknown(), unknown()]);
        ben.replies(&room, "one").await;
        assert_ne!(health(world).await["state"], "attention", "it may pass");
        world.pass(5).await;
        assert_eq!(outcome(&last(&ben, &room).await), ("failed", "/problems/send-failed"));
        let found = health(world).await;
        let checks = found["checks"].as_array().unwrap();
        assert!(checks.iter().any(|it| it["name"] == "sending" && it["state"] == "attention"), "{found}");
        ben.replies(&room, "two").await;
        assert_eq!(seen(&anna), ["two"]);
        world.expects_trouble.store(true, Ordering::Relaxed);
    })
    .await;
}

#[tokio::test]
async fn a_blocked_page_looks_like_a_hiccup_that_does_not_pass() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::hiccup(); 4]);
        ben.replies(&room, "one").await;
        for _ in 0..4 {
            world.pass(30).await;
        }
        assert_eq!(outcome(&last(&ben, &room).await), ("failed", "/problems/contact-unreachable"));
        // It may have been Facebook's bad hour: nobody is barred for it.
        ben.replies(&room, "two").await;
        assert_eq!(seen(&anna), ["two"]);
        world.expects_trouble.store(true, Ordering::Relaxed);
    })
    .await;
}

#[tokio::test]
async fn replies_whose_window_closes_while_they_wait_for_a_token_fail_and_say_so() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        world.pass(22 * 3600).await;
        world.simulator.kill_token(PAGE_ID);
        ben.replies(&room, "too late").await;
        world.pass(90 * 60).await;
        anna.says("anybody there?").await;
        ben.replies(&room, "in time").await;
        assert_eq!(health(world).await["state"], "disconnected");
        assert_eq!(seen(&anna), [""; 0], "the Page takes messages in and sends none");
        world.pass(23 * 3600).await;
        // Both are still within what Anna's second message allows.
        let token = NEW_PAGE_TOKEN;
        world.simulator.set_token(PAGE_ID, token);
        let path = format!("/widgets/{}", id(&world.widget));
        world.admin.patch(&path, json!({ "messenger": { "page_access_token": token } })).await.expect(200);
        world.settle().await;
        assert_eq!(seen(&anna), ["too late", "in time"], "once, in order");
        world.simulator.kill_token(PAGE_ID);
        ben.replies(&room, "never").await;
        world.pass(3600).await;
        assert_eq!(outcome(&last(&ben, &room).await), ("failed", "/problems/window-closed"));
        world.simulator.set_token(PAGE_ID, token);
        world.admin.patch(&path, json!({ "messenger": { "page_access_token": token } })).await.expect(200);
        world.pass(60).await;
        assert_eq!(seen(&anna), ["too late", "in time"]);
        world.expects_trouble.store(true, Ordering::Relaxed);
    })
    .await;
}

#[tokio::test]
async fn a_window_about_to_close_is_told_once() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        let told = async || {
            let events = world.events().await;
            let of_room = events.into_iter().filter(|it| it["kind"] == "room.updated" && it["room_id"] == room["id"]);
            of_room.map(|it| it["data"]["window"]["open_until"].clone()).collect::<Vec<_>>()
        };
        let before = told().await.len();
        world.pass(22 * 3600).await;
        anna.says("still there?").await;
        world.pass(3600).await;
        assert_eq!(told().await.len(), before, "her second message moved the end");
        world.pass(22 * 3600 - 1).await;
        assert_eq!(told().await.len(), before);
        world.pass(2).await;
        let open_until = ben.room(&room).await["window"]["open_until"].clone();
        assert_eq!(told().await[before..], [open_until]);
        world.pass(1800).await;
        world.pass(3 * 24 * 3600).await;
        assert_eq!(told().await.len(), before + 1, "once");
    })
    .await;
}

#[tokio::test]
async fn a_machine_is_told_that_a_person_may_still_answer() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        let change = json!({ "messenger": { "human_agent": true } });
        world.admin.patch(&format!("/widgets/{}", id(&world.widget)), change).await.expect(200);
        let key = world.admin.post("/api-keys", json!({ "name": "Robot", "scopes": ["answer"] })).await.expect(201);
        let robot = world.operator.with(key["key"].as_str().unwrap());
        world.pass(25 * 3600).await;
        let path = format!("/rooms/{}/messages", id(&room));
        let body = json!({ "content": { "kind": "text", "text": "beep" } });
        let refused = robot.post(&path, body).await;
        assert_eq!(refused.body["allowed"], json!(["human_agent"]));
        assert_eq!(refused.body["window"]["mode"], "human_agent");
        assert_eq!(refused.problem(409), "window-closed");
        ben.replies(&room, "a person").await;
        assert_eq!(world.simulator.seen_by(PAGE_ID, &anna.psid).pop().unwrap().tag.as_deref(), Some("HUMAN_AGENT"));
        // The closing text is a machine's: it stays away rather than use the tag.
        ben.closes(&room).await;
        assert_eq!(seen(&anna), ["a person"]);
    })
    .await;
}
