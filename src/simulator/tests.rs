//! The simulator against a tiny receiver, over real HTTP.

use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use bytes::Bytes;
use chrono::TimeDelta;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{DeliveryState, Fault, Simulator, delivery};
use crate::clock::{Clock, Moment};

const APP: &str = "500100200300400";
const PAGE: &str = "100200300400500";
const ANNA: &str = "7100200300400500";
const TOKEN: &str = "EAAtoken";
const SECRET: &str = "app-secret";

/// A gateway in miniature: checks signatures, keeps events, answers as told.
#[derive(Clone, Default)]
struct Receiver {
    events: Arc<Mutex<Vec<Value>>>,
    raw: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Statuses for the next deliveries; 200 when empty.
    answers: Arc<Mutex<Vec<u16>>>,
}

impl Receiver {
    /// The `messaging` items so far.
    fn items(&self) -> Vec<Value> {
        self.events.lock().unwrap().iter().map(|it| it["entry"][0]["messaging"][0].clone()).collect()
    }

    fn answers(&self, statuses: &[u16]) {
        *self.answers.lock().unwrap() = statuses.to_vec();
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let expected = format!("sha256={}", delivery::sign(SECRET, &body));
    assert_eq!(headers["x-hub-signature-256"], expected);
    assert_eq!(headers["user-agent"], "facebookexternalua");
    let status = receiver.answers.lock().unwrap().pop().unwrap_or(200);
    if status == 200 {
        receiver.events.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
        receiver.raw.lock().unwrap().push(body.to_vec());
    }
    StatusCode::from_u16(status).unwrap()
}

async fn shake(Query(asked): Query<Vec<(String, String)>>) -> Result<String, StatusCode> {
    let of = |name: &str| asked.iter().find(|it| it.0 == name).map(|it| it.1.clone()).unwrap_or_default();
    if of("hub.mode") == "subscribe" && of("hub.verify_token") == "verify-me" {
        Ok(of("hub.challenge"))
    } else {
        Err(StatusCode::FORBIDDEN)
    }
}

struct World {
    simulator: Simulator,
    clock: Clock,
    graph: String,
    callback: String,
    receiver: Receiver,
    http: reqwest::Client,
}

impl World {
    async fn new() -> Self {
        let clock = Clock::manual(Moment::from_timestamp(1_780_000_000, 0).unwrap());
        let simulator = Simulator::new(clock.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let graph = format!("http://{}", listener.local_addr().unwrap());
        let served = simulator.clone();
        tokio::spawn(async move { served.serve(listener, CancellationToken::new()).await });

        let receiver = Receiver::default();
        let router = axum::Router::new().route("/webhook", get(shake).post(receive)).with_state(receiver.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let callback = format!("http://{}/webhook", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });

        simulator.add_app(APP, SECRET);
        simulator.add_page(APP, PAGE, "Blue Shop", TOKEN);
        simulator.add_person(PAGE, ANNA, "Anna", "Müller", Some("anna@example.com"), None);
        simulator.set_callback(APP, &callback);
        Self { simulator, clock, graph, callback, receiver, http: delivery::client() }
    }

    async fn post(&self, path: &str, token: &str, body: Value) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.graph)).bearer_auth(token).json(&body);
        let answer = request.send().await.unwrap();
        assert!(answer.headers().contains_key("x-app-usage"));
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn get(&self, path: &str, token: &str) -> Value {
        let request = self.http.get(format!("{}{path}", self.graph)).bearer_auth(token);
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn send(&self, message: Value) -> (u16, Value) {
        let body = json!({"recipient": {"id": ANNA}, "messaging_type": "RESPONSE", "message": message});
        self.post("/v26.0/me/messages", TOKEN, body).await
    }

    #[track_caller]
    fn refused(answer: &(u16, Value), code: i64, subcode: Option<i64>) {
        let error = &answer.1["error"];
        assert!(answer.0 >= 400 && error["fbtrace_id"].is_string(), "{answer:?}");
        assert_eq!((error["code"].as_i64(), error["error_subcode"].as_i64()), (Some(code), subcode), "{error}");
    }
}

#[tokio::test]
async fn a_send_is_seen_echoed_and_confirmed() {
    let world = World::new().await;
    let said = world.simulator.say(PAGE, ANNA, "Grüße / 😀").await;
    let raw = String::from_utf8(world.receiver.raw.lock().unwrap()[0].clone()).unwrap();
    assert!(raw.contains(r"Gr\u00fc\u00dfe \/ \ud83d\ude00"), "{raw}");

    let chips = json!([{"content_type": "text", "title": "Yes", "payload": "YES"}, {"content_type": "user_email"}]);
    let answer = world.send(json!({"text": "Hello", "metadata": "gw:1", "quick_replies": chips})).await;
    assert_eq!((answer.0, &answer.1["recipient_id"]), (200, &json!(ANNA)));
    world.simulator.settle().await;

    let seen = world.simulator.seen_by(PAGE, ANNA);
    assert_eq!((seen.len(), seen[0].text.as_deref(), seen[0].quick_replies.len()), (1, Some("Hello"), 2));
    let items = world.receiver.items();
    assert_eq!(items.len(), 3);
    assert_eq!(items[0]["message"]["mid"], said.as_str());
    let echo = json!({"is_echo": true, "app_id": 500_100_200_300_400_u64, "metadata": "gw:1",
        "mid": answer.1["message_id"], "text": "Hello"});
    assert_eq!((&items[1]["message"], &items[1]["sender"]["id"]), (&echo, &json!(PAGE)));
    assert_eq!(items[2]["delivery"]["mids"], json!([answer.1["message_id"]]));

    world.simulator.tap_quick_reply(PAGE, ANNA, "Yes", "").await;
    world.simulator.tap_quick_reply(PAGE, ANNA, "user_email", "").await;
    world.simulator.postback(PAGE, ANNA, "Start", "GET_STARTED").await;
    world.simulator.read_all(PAGE, ANNA).await;
    let items = world.receiver.items();
    assert_eq!(items[3]["message"]["quick_reply"], json!({"payload": "YES"}));
    assert_eq!(items[4]["message"]["text"], "anna@example.com");
    assert_eq!(items[5]["postback"]["payload"], "GET_STARTED");
    assert_eq!(items[6]["read"]["watermark"], seen[0].at_ms);
}

#[tokio::test]
async fn a_token_must_be_right_alive_and_proven() {
    let world = World::new().await;
    world.simulator.say(PAGE, ANNA, "Hello").await;
    let body = json!({"recipient": {"id": ANNA}, "message": {"text": "Hi"}});
    World::refused(&world.post("/me/messages", "wrong", body.clone()).await, 190, None);
    World::refused(&world.post("/v26.0/42/messages", TOKEN, body.clone()).await, 100, Some(33));

    world.simulator.require_proof(true);
    World::refused(&world.post("/me/messages", TOKEN, body.clone()).await, 100, None);
    World::refused(&world.post("/me/messages?appsecret_proof=00", TOKEN, body.clone()).await, 100, None);
    let path = format!("/me/messages?appsecret_proof={}", delivery::sign(SECRET, TOKEN.as_bytes()));
    assert_eq!(world.post(&path, TOKEN, body.clone()).await.0, 200);
    world.simulator.require_proof(false);

    world.simulator.kill_token(PAGE);
    World::refused(&world.post("/me/messages", TOKEN, body.clone()).await, 190, Some(460));
    let path = format!("/debug_token?input_token={TOKEN}");
    let debugged = world.get(&path, &format!("{APP}|{SECRET}")).await;
    assert_eq!(debugged["data"]["is_valid"], false);
    world.simulator.set_token(PAGE, "EAAnew");
    assert_eq!(world.post(&format!("/{PAGE}/messages"), "EAAnew", body).await.0, 200);
}

#[tokio::test]
async fn the_window_opens_when_a_person_acts_and_closes_by_the_clock() {
    let world = World::new().await;
    let tagged = json!({"recipient": {"id": ANNA}, "messaging_type": "MESSAGE_TAG", "tag": "HUMAN_AGENT",
        "message": {"text": "Hi"}});
    World::refused(&world.send(json!({"text": "Hi"})).await, 10, Some(2_018_278));
    world.simulator.say(PAGE, ANNA, "Hello").await;
    assert_eq!(world.send(json!({"text": "Hi"})).await.0, 200);
    world.clock.advance(TimeDelta::hours(24));
    World::refused(&world.send(json!({"text": "Hi"})).await, 10, Some(2_018_278));
    assert_eq!(world.post("/me/messages", TOKEN, tagged.clone()).await.0, 200);
    world.clock.advance(TimeDelta::days(6));
    World::refused(&world.post("/me/messages", TOKEN, tagged).await, 10, Some(2_018_278));

    world.simulator.postback(PAGE, ANNA, "Start", "GET_STARTED").await;
    assert_eq!(world.send(json!({"text": "Hi"})).await.0, 200);
    world.simulator.closed_window(PAGE, ANNA, true);
    World::refused(&world.send(json!({"text": "Hi"})).await, 10, Some(2_018_278));
}

#[tokio::test]
async fn messages_are_checked_as_meta_does() {
    let world = World::new().await;
    world.simulator.say(PAGE, ANNA, "Hello").await;
    let chip = |title: &str| json!({"content_type": "text", "title": title, "payload": "X"});
    assert_eq!(world.send(json!({"text": "😀".repeat(1000)})).await.0, 200);
    World::refused(&world.send(json!({"text": "😀".repeat(1000) + "x"})).await, 100, None);
    World::refused(&world.send(json!({"text": ""})).await, 100, Some(2_018_034));
    World::refused(&world.send(json!({"text": "Hi", "quick_replies": vec![chip("A"); 14]})).await, 100, None);
    World::refused(&world.send(json!({"text": "Hi", "quick_replies": [chip(&"A".repeat(21))]})).await, 100, None);
    let stranger = json!({"recipient": {"id": "1"}, "message": {"text": "Hi"}});
    World::refused(&world.post("/me/messages", TOKEN, stranger).await, 100, Some(2_018_001));

    let typing = json!({"recipient": {"id": ANNA}, "sender_action": "typing_on"});
    assert_eq!(world.post("/me/messages", TOKEN, typing).await, (200, json!({"recipient_id": ANNA})));
    assert_eq!(world.simulator.actions(PAGE, ANNA), ["typing_on"]);
    assert_eq!(world.simulator.seen_by(PAGE, ANNA).len(), 1);
}

#[tokio::test]
async fn sends_fail_as_scripted() {
    let world = World::new().await;
    world.simulator.say(PAGE, ANNA, "Hello").await;
    let error = Fault::Error { http_status: 400, code: 551, subcode: Some(1_545_041), message: "away".to_owned() };
    world.simulator.fail_next_sends(PAGE, vec![error, Fault::Http502, Fault::DropAfterSending, Fault::Timeout]);
    World::refused(&world.send(json!({"text": "one"})).await, 551, Some(1_545_041));

    let body = json!({"recipient": {"id": ANNA}, "message": {"text": "two"}});
    let request = || world.http.post(format!("{}/me/messages", world.graph)).bearer_auth(TOKEN).json(&body);
    let gateway = request().send().await.unwrap();
    assert_eq!((gateway.status().as_u16(), gateway.headers()["content-type"].to_str().unwrap()), (502, "text/html"));
    assert!(world.simulator.seen_by(PAGE, ANNA).is_empty());

    assert!(request().send().await.is_err());
    assert_eq!(world.simulator.seen_by(PAGE, ANNA).len(), 1);
    let short = std::time::Duration::from_millis(100);
    assert!(request().timeout(short).send().await.unwrap_err().is_timeout());
    assert_eq!(world.simulator.seen_by(PAGE, ANNA).len(), 2);
    assert_eq!(world.send(json!({"text": "three"})).await.0, 200);
    world.simulator.settle().await;
    assert_eq!(world.receiver.items().iter().filter(|it| it["message"]["is_echo"] == true).count(), 3);
}

#[tokio::test]
async fn a_failed_delivery_is_retried_at_once_and_then_by_the_clock() {
    let world = World::new().await;
    world.receiver.answers(&[503]);
    let mid = world.simulator.say(PAGE, ANNA, "Hello").await;
    assert_eq!(world.receiver.items().len(), 0);
    world.simulator.settle().await;
    let first = &world.simulator.deliveries()[0];
    assert_eq!((first.mid.as_ref(), first.attempts, first.last_status), (Some(&mid), 2, Some(200)));

    world.receiver.answers(&[503; 5]);
    world.simulator.say(PAGE, ANNA, "Are you there?").await;
    world.simulator.settle().await;
    assert!(matches!(world.simulator.deliveries()[1].state, DeliveryState::WaitsUntil(_)));
    for _ in 0..2 {
        world.clock.advance(TimeDelta::seconds(10));
        world.simulator.settle().await;
    }
    assert_eq!((world.simulator.deliveries()[1].attempts, world.receiver.items().len()), (6, 2));
}

#[tokio::test]
async fn an_hour_of_failures_takes_the_app_off_the_page() {
    let world = World::new().await;
    world.receiver.answers(&[500; 30]);
    world.simulator.say(PAGE, ANNA, "Hello").await;
    for _ in 0..6 {
        world.simulator.settle().await;
        assert!(world.simulator.is_installed(PAGE));
        world.clock.advance(TimeDelta::minutes(10));
    }
    world.simulator.settle().await;
    assert!(!world.simulator.is_installed(PAGE));
    world.simulator.say(PAGE, ANNA, "Hello?").await;
    assert_eq!(world.simulator.deliveries().len(), 1);
}

#[tokio::test]
async fn subscriptions_need_the_handshake_and_the_fields() {
    let world = World::new().await;
    let app_token = format!("{APP}|{SECRET}");
    let path = format!("/v26.0/{APP}/subscriptions");
    let mut body = json!({"object": "page", "callback_url": world.callback, "verify_token": "other",
        "fields": "messages,messaging_postbacks"});
    World::refused(&world.post(&path, &app_token, body.clone()).await, 2200, None);
    World::refused(&world.post(&path, TOKEN, body.clone()).await, 15, None);
    body["verify_token"] = "verify-me".into();
    assert_eq!(world.post(&path, &app_token, body).await, (200, json!({"success": true})));
    assert_eq!(world.get(&path, &app_token).await["data"][0]["callback_url"], world.callback.as_str());

    world.simulator.uninstall(PAGE);
    world.simulator.say(PAGE, ANNA, "Into the void").await;
    let path = format!("/v26.0/{PAGE}/subscribed_apps");
    let fields = json!({"subscribed_fields": ["messages", "message_reads"]});
    assert_eq!(world.post(&path, TOKEN, fields).await.0, 200);
    World::refused(&world.post(&path, TOKEN, json!({"subscribed_fields": "messages,nonsense"})).await, 100, None);
    assert_eq!(world.get(&path, TOKEN).await["data"][0]["subscribed_fields"], json!(["messages", "message_reads"]));
    world.simulator.say(PAGE, ANNA, "Heard").await;
    world.simulator.postback(PAGE, ANNA, "Not in the Page's list", "X").await;
    assert_eq!(world.receiver.items().len(), 1);
}

#[tokio::test]
async fn profiles_are_shown_or_hidden() {
    let world = World::new().await;
    let path = format!("/v26.0/{ANNA}?fields=first_name,last_name");
    assert_eq!(world.get(&path, TOKEN).await, json!({"first_name": "Anna", "last_name": "Müller", "id": ANNA}));
    world.simulator.hide_profile(PAGE, ANNA, true);
    assert_eq!(world.get(&path, TOKEN).await, json!({}));
    assert_eq!(world.get("/7?fields=name", TOKEN).await["error"]["error_subcode"], 33);
    assert_eq!(world.get("/me?fields=id,name", TOKEN).await, json!({"id": PAGE, "name": "Blue Shop"}));
}

#[tokio::test]
async fn raw_bodies_are_signed_and_every_event_can_come_twice() {
    let world = World::new().await;
    assert_eq!(world.simulator.deliver_raw(APP, br#"{"object":"page","entry":[]}"#.to_vec()).await, 200);
    world.simulator.set_duplicates(true);
    world.simulator.say(PAGE, ANNA, "Hello").await;
    world.simulator.settle().await;
    assert_eq!(world.receiver.items().len(), 3);
}

#[tokio::test]
async fn the_page_lists_people_and_streams_a_chat() {
    let world = World::new().await;
    let pages: Value = world.get("/api/pages", "").await;
    assert_eq!(pages["pages"][0]["people"][0]["name"], "Anna Müller");
    let html = world.http.get(format!("{}/chat/{PAGE}/{ANNA}", world.graph)).send().await.unwrap();
    assert!(html.headers().contains_key("content-security-policy"));

    let url = format!("{}/api/chats/{PAGE}/{ANNA}", world.graph);
    let watched = format!("{}/api/stream?page={PAGE}&psid={ANNA}", world.graph);
    let mut stream = world.http.get(watched).send().await.unwrap();
    let mut told = String::new();
    let mut until = async |word: &str| {
        while !told.contains(word) {
            told.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()));
        }
    };
    until("\"lines\":[]").await;
    until("event: pages").await;
    let said = world.http.post(format!("{url}/say")).json(&json!({"text": "Hello"})).send().await.unwrap();
    assert_eq!(said.status().as_u16(), 204);
    until("Hello").await;
    assert_eq!(world.get(&format!("/api/chats/{PAGE}/{ANNA}"), "").await["lines"][0]["mark"], "Delivered");
    let stranger = world.http.post(format!("{}/api/chats/{PAGE}/1/say", world.graph)).json(&json!({"text": "x"}));
    assert_eq!(stranger.send().await.unwrap().status().as_u16(), 404);
}

#[tokio::test]
async fn a_person_answers_reacts_edits_and_unsends() {
    let world = World::new().await;
    let url = format!("{}/api/chats/{PAGE}/{ANNA}", world.graph);
    let door = async |name: &str, body: Value| {
        world.http.post(format!("{url}/{name}")).json(&body).send().await.unwrap().status().as_u16()
    };
    let mid = world.simulator.say(PAGE, ANNA, "Helo").await;
    assert_eq!(door("say", json!({"text": "I mean", "reply_to": mid})).await, 204);
    assert_eq!(door("react", json!({"mid": mid, "emoji": "👍"})).await, 204);
    assert_eq!(door("react", json!({"mid": mid})).await, 204);
    for _ in 0..5 {
        assert_eq!(door("edit", json!({"mid": mid, "text": "Hello"})).await, 204);
    }
    assert_eq!(door("edit", json!({"mid": mid, "text": "Once too often"})).await, 409);
    assert_eq!(door("unsend", json!({"mid": mid})).await, 204);
    assert_eq!(door("unsend", json!({"mid": mid})).await, 409);
    assert_eq!(door("unsend", json!({"mid": "m_of_nobody"})).await, 409);
    let told: Vec<Value> = world.receiver.items();
    assert_eq!(told[1]["message"]["reply_to"], json!({"mid": mid}));
    assert_eq!(told[2]["reaction"]["emoji"], "👍");
    assert_eq!(told[3]["reaction"], json!({"action": "unreact", "mid": mid}));
    assert_eq!(told[8]["message_edit"], json!({"mid": mid, "text": "Hello", "num_edit": 5}));
    assert_eq!(told[9]["message"], json!({"mid": mid, "is_deleted": true}));
    assert_eq!(told.len(), 10);
    let lines = world.get(&format!("/api/chats/{PAGE}/{ANNA}"), "").await["lines"].clone();
    assert_eq!((&lines[0]["is_unsent"], &lines[0]["text"]), (&json!(true), &Value::Null));
    assert_eq!(lines[1]["reply_to"], json!(mid));
}
