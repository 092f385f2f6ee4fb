//! `GET /live`: what a supervisor sees of this moment, as a snapshot and as a stream.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Api, story, world::id};

#[tokio::test]
async fn the_board_counts_what_happens_and_what_happened_today() {
    story(async |world| {
        let queue = format!("/queues/{}", id(&world.queue));
        world.admin.patch(&queue, json!({ "service_level_s": 20, "wrap_up_s": 60 })).await.expect(200);
        let ben = world.agent_with("Ben", 2).await.ready().await;
        let cleo = world.agent("Cleo").await;
        cleo.goes("away").await;
        world.customer("Anna").says("hello").await;
        let anna = ben.takes_next().await;
        world.customer("Bea").says("hello").await;
        world.pass(25).await;
        ben.takes_next().await;
        world.customer("Cem").says("hello").await;
        world.pass(3).await;
        world.customer("Dan").says("hello").await;
        let rooms = world.admin.get("/rooms?status=waiting").await.expect(200);
        world.admin.post(&format!("/rooms/{}/close", id(&rooms["items"][1])), json!({})).await.expect(200);
        ben.closes(&anna).await;
        world.pass(4).await;
        let live = world.admin.get("/live?time_zone=Europe/Istanbul").await.expect(200);
        assert_eq!(live["time_zone"], "Europe/Istanbul");
        let sales = &live["queues"][0];
        let counts = [
            "waiting",
            "held",
            "longest_wait_s",
            "offered",
            "active",
            "answered_today",
            "lost_today",
            "agents_ready",
            "free_seats",
        ];
        let shown: Vec<_> = counts.iter().map(|it| sales[it].as_i64().unwrap()).collect();
        assert_eq!(shown, [1, 0, 7, 0, 1, 2, 1, 1, 0], "{sales}");
        assert_eq!((sales["service_level"].as_f64(), sales["service_level_s"].as_i64()), (Some(0.5), Some(20)));
        let agents: Vec<_> = live["agents"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
        assert_eq!(agents, ["Ben", "Cleo"], "an admin is no agent");
        let shown: Vec<_> = ["status_s", "max_chats", "offered", "active", "wrapping_up"]
            .iter()
            .map(|it| live["agents"][0][it].as_i64().unwrap())
            .collect();
        assert_eq!(shown, [32, 2, 0, 1, 1]);
        assert_eq!(
            (live["agents"][1]["status"].as_str(), live["agents"][1]["status_s"].as_i64()),
            (Some("away"), Some(32))
        );
        assert_eq!(live["agents"][0]["queue_ids"], json!([world.queue["id"]]));
        world.pass(24 * 3600).await;
        let tomorrow = world.admin.get("/live").await.expect(200);
        let sales = &tomorrow["queues"][0];
        assert_eq!((sales["answered_today"].as_i64(), sales["lost_today"].as_i64()), (Some(0), Some(0)));
        assert!(sales["service_level"].is_null(), "nobody knows yet");
    })
    .await;
}

#[tokio::test]
async fn the_board_is_for_supervisors_of_the_same_tenant() {
    story(async |world| {
        let ben = world.agent("Ben").await;
        assert_eq!(ben.api.get("/live").await.problem(403), "forbidden");
        assert_eq!(world.admin.get("/live?time_zone=Nowhere/Land").await.pointers(), ["time_zone"]);
        let (_, rival) = world.new_tenant("rival").await;
        let theirs = rival.get("/live").await.expect(200);
        assert_eq!((theirs["queues"].as_array().unwrap().len(), theirs["agents"].as_array().unwrap().len()), (0, 0));
    })
    .await;
}

/// A stream of the board, read event by event.
struct Board {
    response: reqwest::Response,
    read: String,
}

impl Board {
    async fn open(api: &Api) -> Self {
        let response = api.request(Method::GET, "/live").header("accept", "text/event-stream").send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, read: String::new() }
    }

    async fn next(&mut self) -> (String, Value) {
        let next = async {
            loop {
                if let Some((event, rest)) = self.read.split_once("\n\n") {
                    let line = |name: &str| event.lines().find_map(|it| it.strip_prefix(name)).map(str::to_owned);
                    let shown = line("event: ").zip(line("data: "));
                    self.read = rest.to_owned();
                    if let Some((kind, data)) = shown {
                        return (kind, serde_json::from_str(&data).unwrap());
                    }
                    continue;
                }
                let bytes = self.response.chunk().await.unwrap().expect("the stream goes on");
                self.read.push_str(std::str::from_utf8(&bytes).unwrap());
            }
        };
        tokio::time::timeout(Duration::from_secs(30), next).await.expect("an event comes")
    }
}

#[tokio::test]
async fn the_stream_begins_with_everything_and_goes_on_with_what_changes() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        world.agent("Cleo").await;
        world.admin.post("/queues", json!({ "name": "Quiet" })).await.expect(201);
        let (mut first, mut second) = (Board::open(&world.admin).await, Board::open(&world.admin).await);
        for board in [&mut first, &mut second] {
            let (kind, whole) = board.next().await;
            assert_eq!((kind.as_str(), whole["agents"].as_array().unwrap().len()), ("snapshot", 2));
        }
        world.customer("Anna").says("hello").await;
        for board in [&mut first, &mut second] {
            // What happens in between may be shown, too; the last state is.
            loop {
                let (kind, change) = board.next().await;
                assert_eq!(kind, "changed");
                let names =
                    |it: &str| change[it].as_array().unwrap().iter().map(|it| it["name"].clone()).collect::<Vec<_>>();
                assert!(
                    !names("queues").contains(&json!("Quiet")) && !names("agents").contains(&json!("Cleo")),
                    "{change}"
                );
                if names("agents") == [json!("Ben")] && change["agents"][0]["offered"] == 1 {
                    break;
                }
            }
        }
        ben.takes_next().await;
        world.agent("Dora").await;
        loop {
            let (kind, whole) = first.next().await;
            if kind == "snapshot" {
                assert_eq!(whole["agents"].as_array().unwrap().len(), 3);
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_waiting_room_knows_its_place_and_an_honest_estimate() {
    story(async |world| {
        let ben = world.agent_with("Ben", 1).await.ready().await;
        for name in ["Anna", "Bea", "Cem"] {
            world.customer(name).says("hello").await;
            let room = ben.takes_next().await;
            world.pass(30).await;
            ben.closes(&room).await;
        }
        world.customer("Dan").says("hello").await;
        ben.takes_next().await;
        let eve = world.customer("Eve");
        eve.says("hello").await;
        world.customer("Fay").says("hello").await;
        let waiting = async || {
            let rooms = world.admin.get("/rooms?status=waiting").await.expect(200);
            let of = |it: &Value| (it["position"].as_i64().unwrap(), it["estimated_wait_s"].as_i64());
            rooms["items"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(waiting().await, [(1, Some(30)), (2, Some(60))], "four answers in 90 s");
        world.pass(90).await;
        assert_eq!(waiting().await, [(1, Some(60)), (2, Some(120))], "it grows while nobody answers");
        world.pass(3600).await;
        assert_eq!(waiting().await, [(1, None), (2, None)], "who knows");
    })
    .await;
}
