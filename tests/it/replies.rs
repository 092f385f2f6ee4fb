//! Out to the contact: order, windows, dead tokens, doubt.

use std::sync::atomic::Ordering;

use chatgate::simulator::Fault;
use serde_json::json;

use crate::support::{
    logs::{self, NEW_PAGE_TOKEN},
    story,
    world::{PAGE_ID, id},
};

#[tokio::test]
async fn a_reply_waits_for_a_dead_token_and_goes_out_once() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("Is my order on its way?").await;
        let room = ben.takes_next().await;
        world.simulator.kill_token(PAGE_ID);
        ben.replies(&room, "It is,").await;
        ben.replies(&room, "until Friday.").await;
        assert_eq!(anna.sees().len(), 1, "only the opening text");
        let widget = world.admin.get(&format!("/widgets/{}", id(&world.widget))).await.expect(200);
        assert_eq!(widget["health"]["state"], "disconnected");
        world.simulator.set_token(PAGE_ID, NEW_PAGE_TOKEN);
        let change = json!({ "messenger": { "page_access_token": NEW_PAGE_TOKEN } });
        world.admin.patch(&format!("/widgets/{}", id(&world.widget)), change).await.expect(200);
        world.settle().await;
        assert_eq!(anna.sees()[1..], ["It is,", "until Friday."]);
        let events = world.events().await;
        let told = events
            .iter()
            .find(|it| it["kind"] == "widget.health_changed" && it["data"]["health"]["state"] == "disconnected");
        assert_eq!(told.unwrap()["data"]["name"], "Acme page");
    })
    .await;
}

#[tokio::test]
async fn what_passes_is_tried_again_in_order() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        let busy = || Fault::Error { http_status: 400, code: 1200, subcode: None, message: "try again".to_owned() };
        world.simulator.fail_next_sends(PAGE_ID, vec![busy(), busy()]);
        ben.replies(&room, "one").await;
        ben.replies(&room, "two").await;
        assert_eq!(anna.sees().len(), 1);
        world.pass(5).await;
        world.pass(10).await;
        world.pass(20).await;
        assert_eq!(anna.sees()[1..], ["one", "two"]);
    })
    .await;
}

#[tokio::test]
async fn a_send_in_doubt_is_never_repeated_and_an_echo_settles_it() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::DropAfterSending]);
        ben.replies(&room, "perhaps").await;
        world.pass(300).await;
        assert_eq!(anna.sees().iter().filter(|it| *it == "perhaps").count(), 1);
        let message = ben.reads(&room).await.pop().unwrap();
        assert_ne!(message["status"], "queued");
        assert_ne!(message["status"], "uncertain", "the echo has told that it was sent");
        world.simulator.set_echoes(false);
        world.simulator.set_receipts(false);
        world.simulator.hide_conversations(PAGE_ID, true);
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::DropAfterSending]);
        ben.replies(&room, "who knows").await;
        world.pass(300).await;
        let message = ben.reads(&room).await.pop().unwrap();
        assert_eq!(
            (message["status"].as_str(), message["error"]["type"].as_str()),
            (Some("uncertain"), Some("/problems/send-uncertain"))
        );
        world.expects_trouble.store(true, Ordering::Relaxed);
    })
    .await;
}

#[tokio::test]
async fn a_closed_window_is_said_before_and_after() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        let path = format!("/rooms/{}/messages", id(&room));
        world.pass(24 * 3600).await;
        let body = json!({ "content": { "kind": "text", "text": "too late" } });
        assert_eq!(ben.api.post(&path, body.clone()).await.problem(409), "window-closed");
        assert_eq!(ben.room(&room).await["window"]["mode"], "closed");
        // A person may answer for a week where the Page has the feature.
        let change = json!({ "messenger": { "human_agent": true } });
        world.admin.patch(&format!("/widgets/{}", id(&world.widget)), change).await.expect(200);
        ben.api.post(&path, body.clone()).await.expect(201);
        world.settle().await;
        let sent = world.simulator.seen_by(PAGE_ID, &anna.psid).pop().unwrap();
        assert_eq!((sent.text.as_deref(), sent.tag.as_deref()), (Some("too late"), Some("HUMAN_AGENT")));
        world.pass(6 * 24 * 3600).await;
        assert_eq!(ben.api.post(&path, body).await.problem(409), "window-closed");
    })
    .await;
}

#[tokio::test]
async fn facebooks_word_on_the_window_is_final() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        world.simulator.closed_window(PAGE_ID, &anna.psid, true);
        ben.replies(&room, "hm").await;
        let message = ben.reads(&room).await.pop().unwrap();
        assert_eq!(message["status"], "failed");
        assert_eq!(message["error"]["type"], "/problems/window-closed");
        assert_eq!(message["error"]["meta_code"], 10);
        world.expects_trouble.store(true, Ordering::Relaxed);
    })
    .await;
}

#[tokio::test]
async fn the_same_key_gives_the_first_answer_again() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        let path = format!("/rooms/{}/messages", id(&room));
        let send = async |text: &str| {
            let body = json!({ "content": { "kind": "text", "text": text } });
            let request = ben.api.request(reqwest::Method::POST, &path).header("idempotency-key", "k-1").json(&body);
            ben.api.send(request).await
        };
        let first = send("once").await.expect(201);
        let again = futures::future::join_all((0..5).map(|_| send("once"))).await;
        assert!(again.into_iter().all(|it| it.expect(201) == first));
        assert_eq!(send("other").await.problem(422), "idempotency-mismatch");
        world.settle().await;
        assert_eq!(send("once").await.expect(201), first, "word for word, though the message is sent by now");
        assert_eq!(anna.sees()[1..], ["once"]);
    })
    .await;
}

#[tokio::test]
async fn replies_that_come_together_are_each_answered_for_themselves() {
    story(async |world| {
        let ben = world.agent_with("Ben", 8).await.ready().await;
        let (_, stranger) = world.new_tenant("other").await;
        let customers: Vec<_> = (0..6).map(|nth| world.customer(&format!("Anna{nth}"))).collect();
        let mut rooms = Vec::new();
        for anna in &customers {
            anna.says("hello").await;
            rooms.push(id(&ben.takes_next().await));
        }
        ben.closes(&json!({ "id": rooms[5] })).await;
        let send = async |api: &crate::support::api::Api, room: &str, text: &str, key: &str, seen: i64| {
            let body = json!({ "content": { "kind": "text", "text": text }, "seen_seq": seen });
            let request = api.request(reqwest::Method::POST, &format!("/rooms/{room}/messages"));
            api.send(request.header("idempotency-key", key).json(&body)).await
        };
        let nowhere = uuid::Uuid::nil().to_string();
        let all = futures::future::join_all([
            send(&ben.api, &rooms[0], "one", "a", 9),
            send(&ben.api, &rooms[0], "two", "b", 9),
            send(&ben.api, &rooms[1], "three", "c", 9),
            send(&ben.api, &rooms[1], "three", "c", 9),
            send(&ben.api, &rooms[2], "four", "d", 0),
            send(&ben.api, &rooms[3], "", "e", 9),
            send(&stranger, &rooms[4], "let me in", "f", 9),
            send(&ben.api, &rooms[5], "too late", "g", 9),
            send(&ben.api, &nowhere, "nobody", "h", 9),
            send(&ben.api, &rooms[3], "Email", "i", 9),
            send(&ben.api, &rooms[4], &"long ".repeat(500), "j", 9),
        ])
        .await;
        let statuses: Vec<_> = all.iter().map(|it| it.status).collect();
        assert_eq!(statuses, [201, 201, 201, 201, 409, 422, 404, 409, 404, 201, 201]);
        assert_eq!(all[2].body, all[3].body, "one message");
        assert_eq!(all[4].body["messages"][0]["content"]["text"], "hello");
        let (one, two) =
            futures::join!(send(&ben.api, &rooms[1], "five", "k", 9), send(&ben.api, &rooms[2], "five", "k", 9));
        let mut twice = [one.status, two.status];
        twice.sort_unstable();
        assert_eq!(twice, [201, 422], "a key is good for one body in one room");
        world.settle().await;
        let mut first = customers[0].sees()[1..].to_vec();
        first.sort();
        assert_eq!(first, ["one", "two"]);
        let fives = [1, 2].map(|nth| customers[nth].sees().iter().filter(|it| *it == "five").count());
        assert_eq!(fives.iter().sum::<usize>(), 1);
        assert_eq!(customers[1].sees().iter().filter(|it| *it == "three").count(), 1);
        assert_eq!(customers[4].sees().len(), 3, "the opening and two halves");
        assert!(!customers[5].sees().contains(&"too late".to_owned()));
        for room in &rooms {
            let seqs: Vec<_> = ben.reads(&json!({ "id": room })).await.iter().map(|it| it["seq"].as_i64()).collect();
            assert_eq!(seqs, (1..=seqs.len() as i64).map(Some).collect::<Vec<_>>());
        }
        assert_eq!(ben.room(&json!({ "id": rooms[1] })).await["unread"], 0);
    })
    .await;
}

#[tokio::test]
async fn a_reply_to_old_news_is_held_back() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        anna.says("forget it").await;
        let path = format!("/rooms/{}/messages", id(&room));
        let body = |seen: i64| json!({ "content": { "kind": "text", "text": "On it!" }, "seen_seq": seen });
        let held = ben.api.post(&path, body(1)).await;
        assert_eq!(held.body["messages"][0]["content"]["text"], "forget it");
        assert_eq!(held.problem(409), "newer-messages");
        assert_eq!(ben.room(&room).await["unread"], 2);
        ben.api.post(&path, body(3)).await.expect(201);
        assert_eq!(ben.room(&room).await["unread"], 0);
    })
    .await;
}

#[tokio::test]
async fn long_text_is_split_and_limits_are_told() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        ben.replies(&room, &"word ".repeat(700)).await;
        let seen = anna.sees();
        assert_eq!(seen.len(), 3);
        assert!(seen.iter().all(|it| it.encode_utf16().count() <= 2000));
        let path = format!("/rooms/{}/messages", id(&room));
        for (content, pointer) in [
            (json!({ "kind": "text", "text": "  " }), "/content/text"),
            (json!({ "kind": "quick_replies", "text": "x", "replies": [{ "title": "123456789012345678901", "payload": "x" }] }), "/content/replies/0/title"),
            (json!({ "kind": "buttons", "text": "x", "buttons": [] }), "/content/buttons"),
        ] {
            assert_eq!(ben.api.post(&path, json!({ "content": content })).await.pointers(), [pointer]);
        }
        assert_eq!(ben.api.post(&path, json!({ "content": { "kind": "odd" } })).await.status, 422);
        assert_eq!(ben.api.post(&path, json!({})).await.pointers(), ["/content"]);
        let offer = json!({ "content": { "kind": "quick_replies", "text": "Which?", "replies": [{ "title": "Red", "payload": "R" }, { "title": "Blue", "payload": "B" }] } });
        ben.api.post(&path, offer).await.expect(201);
        world.settle().await;
        world.simulator.tap_quick_reply(PAGE_ID, &anna.psid, "Red", "R").await;
        world.settle().await;
        let tapped = ben.reads(&room).await.pop().unwrap();
        assert_eq!(tapped["content"], json!({ "kind": "choice", "text": "Red", "payload": "R", "via": "quick_reply" }));
    })
    .await;
}

#[tokio::test]
async fn receipts_move_forward_only_and_reading_is_shown() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        ben.replies(&room, "hi").await;
        assert_eq!(ben.reads(&room).await.pop().unwrap()["status"], "delivered");
        world.clock.advance(chrono::TimeDelta::seconds(5));
        world.simulator.read_all(PAGE_ID, &anna.psid).await;
        world.settle().await;
        let message = ben.reads(&room).await.pop().unwrap();
        assert_eq!(message["status"], "read");
        assert!(message["read_at"].is_string() && message["delivered_at"].is_string());
        ben.api.post(&format!("/rooms/{}/typing", id(&room)), json!({ "on": true })).await.expect(204);
        ben.api.act(&format!("/rooms/{}/seen", id(&room))).await.expect(200);
        assert_eq!(logs::errors(), Vec::<String>::new());
    })
    .await;
}
