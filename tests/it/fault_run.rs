//! Thousands of replies while everything goes wrong by chance: Facebook refuses, loses, delays and forgets to answer, and the process is
//! killed again and again. Afterwards every accepted reply is with the customer once and in order, or says why not.
//!
//! `CHATGATE_FAULT_SECONDS` (15) is how long replies are written, `CHATGATE_FAULT_SEED` repeats a run's faults.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use chatgate::simulator::Fault;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    crash::{Facebook, Home, Server, free_port, furnish},
    support::{
        Api,
        logs::APP_SECRET,
        world::{APP_ID, PAGE_ID, id},
    },
};

const OTHER_PAGE_ID: &str = "1002003004006";
const ROOMS_PER_PAGE: usize = 20;
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// One send in eight meets something.
fn fault(chance: &mut StdRng) -> Fault {
    match chance.random_range(0..160) {
        0..4 => Fault::hiccup(),
        4..7 => Fault::error(1200, None, "(#1200) Temporary send message failure"),
        7..9 => Fault::DropAfterSending,
        9..11 => Fault::DropBeforeSending,
        11 => Fault::Http502,
        12 => Fault::RetryAfter { seconds: 1 },
        13 => Fault::error(100, Some(2_018_109), "(#100) Attachment size exceeds allowable limit"),
        14 => Fault::error(551, Some(1_545_041), "(#551) This person isn't available right now"),
        15..20 => Fault::Slow { ms: chance.random_range(1..300) },
        _ => Fault::Nothing,
    }
}

/// A room with a customer of a Page.
#[derive(Clone)]
struct Talk {
    page: &'static str,
    psid: String,
    room: String,
}

/// Writes replies into a room, each until it is answered 201 or refused for a reason; what was accepted.
async fn write(base: String, token: String, talk: Talk, stop: CancellationToken) -> Vec<String> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
    let url = format!("{base}/api/v1/rooms/{}/messages", talk.room);
    let mut accepted = Vec::new();
    for n in 0.. {
        let text = format!("{}-{n}", talk.psid);
        let body = json!({ "content": { "kind": "text", "text": text } });
        loop {
            if stop.is_cancelled() {
                return accepted;
            }
            // The key makes it safe to ask again after a lost answer.
            let request = client.post(&url).bearer_auth(&token).header("idempotency-key", &text).json(&body);
            match request.send().await.map(|it| it.status()) {
                Ok(StatusCode::CREATED) => {
                    accepted.push(text);
                    break;
                }
                // The contact cannot be reached just now: they will write again.
                Ok(StatusCode::CONFLICT) | Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                Ok(StatusCode::SERVICE_UNAVAILABLE) => tokio::time::sleep(Duration::from_millis(20)).await,
                Ok(status) => panic!("{status}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    accepted
}

/// All of a room's messages that Ben wrote, by their text.
async fn written(ben: &Api, room: &str) -> BTreeMap<String, Vec<Value>> {
    let (mut by_text, mut after) = (BTreeMap::<String, Vec<Value>>::new(), 0);
    loop {
        let page = ben.get(&format!("/rooms/{room}/messages?limit=200&after={after}")).await.expect(200);
        let items = page["items"].as_array().unwrap();
        let Some(last) = items.last() else { return by_text };
        after = last["seq"].as_i64().unwrap();
        for it in items.iter().filter(|it| it["author"]["kind"] == "agent") {
            by_text.entry(it["content"]["text"].as_str().unwrap().to_owned()).or_default().push(it.clone());
        }
        assert!(items.iter().all(|it| it["author"]["kind"] != "page"), "an echo was taken for a message of its own");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_a_reply_arrives_once_and_in_order_or_says_why_not() {
    let seconds = setting("CHATGATE_FAULT_SECONDS").unwrap_or(15);
    let seed = setting("CHATGATE_FAULT_SEED").unwrap_or_else(rand::random);
    println!("CHATGATE_FAULT_SEED={seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let home = Home::new("fault");
    let facebook = Facebook::open().await;
    let simulator = facebook.simulator.clone();
    simulator.add_page(APP_ID, OTHER_PAGE_ID, "Other Page", "EAAother-page-token");
    let port = free_port();
    let settings = [("CHATGATE__GRAPH__TIMEOUT_S", "2"), ("CHATGATE__REPLIES__PERSON_PER_S", "1000")];
    let mut server = Server::start(&home.0, &facebook.base, port, &settings).await;
    let (ben, admin, path) = furnish(&server.base).await;
    let messenger = json!({ "app_id": APP_ID, "app_secret": APP_SECRET, "page_access_token": "EAAother-page-token", "page_id": OTHER_PAGE_ID });
    let widget = json!({ "name": "Other", "channel": "messenger", "messenger": messenger });
    let widget = admin.post("/widgets", widget).await.expect(201);
    let queue = &admin.get("/queues").await.expect(200)["items"][0];
    let chat = json!({ "name": "Other", "widget_id": widget["id"], "queue_id": queue["id"] });
    admin.post("/incoming-chats", chat).await.expect(201);
    simulator.set_callback(APP_ID, &format!("{}{path}", server.base));

    let mut talks = Vec::new();
    for nth in 0..2 * ROOMS_PER_PAGE {
        let (page, psid) = ([PAGE_ID, OTHER_PAGE_ID][nth % 2], format!("71{nth:014}"));
        simulator.add_person(page, &psid, "Anna", "Example", None, None);
        simulator.say(page, &psid, "hello").await;
        talks.push((page, psid));
    }
    let deadline = Instant::now() + PATIENCE;
    let talks: Vec<Talk> = loop {
        let rooms = ben.get("/me/rooms").await.expect(200);
        let rooms = rooms["items"].as_array().unwrap();
        let of =
            |psid: &str| rooms.iter().find(|it| it["contact"]["sender_id"] == psid && it["status"] == "active").map(id);
        let found: Vec<_> = talks.iter().filter_map(|(page, psid)| Some((*page, psid.clone(), of(psid)?))).collect();
        if found.len() == talks.len() {
            break found.into_iter().map(|(page, psid, room)| Talk { page, psid, room }).collect();
        }
        assert!(Instant::now() < deadline, "only {} rooms", found.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };

    for page in [PAGE_ID, OTHER_PAGE_ID] {
        simulator.fail_next_sends(page, (0..200_000).map(|_| fault(&mut chance)).collect());
    }
    let stop = CancellationToken::new();
    let token = ben.token.clone().unwrap();
    let writing: Vec<_> = talks
        .iter()
        .map(|it| tokio::spawn(write(server.base.clone(), token.clone(), it.clone(), stop.clone())))
        .collect();
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut kills = 0;
    while Instant::now() < until {
        simulator.set_duplicates(chance.random());
        simulator.set_receipts_first(chance.random());
        simulator.set_echo_delay(chrono::TimeDelta::milliseconds(chance.random_range(0..3) * 500));
        tokio::time::sleep(Duration::from_millis(chance.random_range(500..3000))).await;
        server.kill();
        kills += 1;
        server = Server::start(&home.0, &facebook.base, port, &settings).await;
        for it in &talks {
            drop(tokio::time::timeout(Duration::from_secs(5), simulator.say(it.page, &it.psid, "still here")).await);
        }
    }
    stop.cancel();
    let mut accepted = Vec::new();
    for it in writing {
        accepted.push(it.await.unwrap());
    }

    let deadline = Instant::now() + PATIENCE;
    let mut counts = BTreeMap::<String, usize>::new();
    for (talk, accepted) in talks.iter().zip(&accepted) {
        let mut messages = written(&ben, &talk.room).await;
        while messages.values().flatten().any(|it| it["status"] == "queued") {
            assert!(Instant::now() < deadline, "some are still on their way");
            tokio::time::sleep(Duration::from_millis(250)).await;
            messages = written(&ben, &talk.room).await;
        }
        let seen: Vec<String> = simulator.seen_by(talk.page, &talk.psid).into_iter().filter_map(|it| it.text).collect();
        for text in accepted {
            let of_text = messages.get(text).unwrap_or_else(|| panic!("{text} was answered 201 and is gone"));
            assert_eq!(of_text.len(), 1, "{text} was written twice");
            let (status, times) =
                (of_text[0]["status"].as_str().unwrap(), seen.iter().filter(|it| *it == text).count());
            *counts.entry(status.to_owned()).or_default() += 1;
            let is_right = match status {
                "sent" | "delivered" | "read" => times == 1,
                "failed" => times == 0 && of_text[0]["error"]["type"].is_string(),
                "uncertain" => times <= 1 && of_text[0]["error"]["type"].is_string(),
                _ => false,
            };
            assert!(is_right, "{text} is {status} and was seen {times} times: {}", of_text[0]);
        }
        let order: Vec<u64> = seen.iter().filter_map(|it| it.rsplit_once('-')?.1.parse().ok()).collect();
        assert!(order.is_sorted(), "out of order: {order:?}");
    }
    let all: usize = counts.values().sum();
    println!("{all} replies, {kills} kills: {counts:?}");
    assert!(all > 200, "only {all} replies got through");
    facebook.stop.cancel();
}
