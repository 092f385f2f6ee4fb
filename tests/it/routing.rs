//! Whose room it is: offers, seats, hours, transfers.

use chatgate::{
    crew::{Step, Worker as _},
    db::bell::{Bell, Work},
    intake::{apply::Applier, strands::Strands},
    queues::{Dispatch, presence::Watch},
};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;

use crate::support::{
    story,
    world::{Customer, PAGE_ID, id},
};

#[tokio::test]
async fn a_declined_room_keeps_its_place_and_rings_elsewhere() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        world.customer("Anna").says("first").await;
        let room = ben.rooms().await.remove(0);
        ben.api.act(&format!("/rooms/{}/decline", id(&room))).await.expect(200);
        world.settle().await;
        assert!(ben.rooms().await.is_empty(), "nobody is rung again at once");
        assert_eq!(ben.api.act(&format!("/rooms/{}/accept", id(&room))).await.problem(409), "offer-gone");
        let cleo = world.agent("Cleo").await.ready().await;
        assert_eq!(id(&cleo.takes_next().await), id(&room));
        let kinds = world.kinds().await;
        assert!(kinds.contains(&"room.declined".to_owned()), "{kinds:?}");
    })
    .await;
}

#[tokio::test]
async fn an_offer_lapses_and_comes_back_when_nobody_else_is_there() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        world.customer("Anna").says("hello").await;
        let room = ben.rooms().await.remove(0);
        world.pass(31).await;
        assert_eq!(ben.api.act(&format!("/rooms/{}/accept", id(&room))).await.problem(409), "offer-gone");
        assert!(world.kinds().await.contains(&"room.offer_expired".to_owned()));
        world.pass(31).await;
        assert_eq!(id(&ben.takes_next().await), id(&room));
    })
    .await;
}

#[tokio::test]
async fn nobody_gets_more_rooms_than_seats_and_a_freed_seat_is_used_at_once() {
    story(async |world| {
        let ben = world.agent_with("Ben", 2).await.ready().await;
        for name in ["Anna", "Bea", "Cem"] {
            world.customer(name).says("hello").await;
        }
        assert_eq!(ben.rooms().await.len(), 2);
        let room = ben.takes_next().await;
        assert_eq!(room["contact"]["first_name"], "Anna", "oldest first");
        ben.closes(&room).await;
        let names: Vec<_> = ben.rooms().await.iter().map(|it| it["contact"]["first_name"].clone()).collect();
        assert_eq!(names, [json!("Bea"), json!("Cem")]);
    })
    .await;
}

#[tokio::test]
async fn whoever_goes_away_loses_what_rings() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        world.customer("Anna").says("hello").await;
        ben.goes("away").await;
        assert!(ben.rooms().await.is_empty());
        let room = world.admin.get("/rooms").await.expect(200)["items"][0].clone();
        assert_eq!((room["status"].as_str(), room["position"].as_i64()), (Some("waiting"), Some(1)));
        ben.goes("ready").await;
        assert_eq!(ben.rooms().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn seats_hold_under_concurrent_attack() {
    story(async |world| {
        let (ben, cleo) = (world.agent_with("Ben", 3).await.ready().await, world.agent_with("Cleo", 2).await.ready().await);
        let customers: Vec<_> = (0..12).map(|n| world.customer(&format!("C{n}"))).collect();
        for customer in &customers {
            world.simulator.say(PAGE_ID, &customer.psid, "hello").await;
        }
        // Several dispatchers, takes and status changes at once, each with connections of its own.
        let rooms: Vec<Value> = {
            world.settle().await;
            world.admin.get("/rooms").await.expect(200)["items"].as_array().unwrap().clone()
        };
        let takes = rooms.iter().map(|room| {
            let (path, agent) = (format!("/rooms/{}/take", id(room)), ben.id.clone());
            async move { world.admin.post(&path, json!({ "agent_id": agent })).await }
        });
        let settles = (0..4).map(|_| world.workers.settle());
        let flips = (0..4).map(|n| {
            let status = if n % 2 == 0 { "away" } else { "ready" };
            cleo.api.put("/me/status", json!({ "status": status }))
        });
        let (taken, settled, _) =
            tokio::join!(futures::future::join_all(takes), futures::future::join_all(settles), futures::future::join_all(flips));
        settled.into_iter().for_each(|it| it.unwrap());
        assert!(taken.iter().all(|it| it.status == 200 || it.body["type"] == "/problems/agent-full"), "{taken:?}");
        cleo.goes("ready").await;
        let over: i64 = sqlx::query_scalar(
            "select count(*) from agents a
            where a.max_chats < (select count(*) from rooms r where r.agent_id = a.user_id and r.status in ('offered', 'active'))",
        )
        .fetch_one(&world.db)
        .await
        .unwrap();
        assert_eq!(over, 0);
        assert_eq!((ben.rooms().await.len(), cleo.rooms().await.len()), (3, 2));
    })
    .await;
}

#[tokio::test]
async fn rooms_that_only_busy_agents_serve_hold_up_nobody() {
    story(async |world| {
        // Ben is the only one in the queue that goes first, and has his hands full.
        world.admin.patch(&format!("/queues/{}", id(&world.queue)), json!({ "priority": 1 })).await.expect(200);
        let ben = world.agent_with("Ben", 1).await.ready().await;
        for name in ["Anna", "Bea", "Cem"] {
            world.customer(name).says("hello").await;
        }
        let last = world.admin.get("/rooms?status=waiting").await.expect(200)["items"][1].clone();
        let other = world.admin.post("/queues", json!({ "name": "Other", "priority": 9 })).await.expect(201);
        let cleo = world.agent_with("Cleo", 1).await;
        world.admin.delete(&format!("/queues/{}/members/{}", id(&world.queue), cleo.id)).await;
        world.admin.put(&format!("/queues/{}/members/{}", id(&other), cleo.id), json!({})).await;
        let to = json!({ "queue_id": id(&other) });
        world.admin.post(&format!("/rooms/{}/transfer", id(&last)), to).await.expect(200);
        let cleo = cleo.ready().await;
        assert_eq!((ben.rooms().await.len(), cleo.rooms().await.len()), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn closed_hours_say_so_once_and_keep_the_message() {
    story(async |world| {
        let hours = json!({ "name": "Never", "time_zone": "Europe/Istanbul", "intervals": [] });
        let hours = world.admin.post("/working-hours", hours).await.expect(201);
        let chat = world.admin.get("/incoming-chats").await.expect(200)["items"][0].clone();
        let change = json!({ "working_hours_id": id(&hours), "offline_message": "We are closed, {first_name}." });
        world.admin.patch(&format!("/incoming-chats/{}", id(&chat)), change).await.expect(200);
        let anna = world.customer("Anna");
        anna.says("anybody?").await;
        anna.says("hello?").await;
        assert_eq!(anna.sees().len(), 1);
        assert!(anna.sees()[0].starts_with("We are closed"));
        let rooms = world.admin.get("/rooms").await.expect(200);
        for room in rooms["items"].as_array().unwrap() {
            assert_eq!((room["status"].as_str(), room["close_reason"].as_str()), (Some("closed"), Some("offline")));
        }
        // Open again: the next message is served.
        world
            .admin
            .patch(&format!("/incoming-chats/{}", id(&chat)), json!({ "working_hours_id": null }))
            .await
            .expect(200);
        anna.says("now?").await;
        assert_eq!(world.admin.get("/rooms?status=waiting").await.expect(200)["items"].as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_widget_without_a_route_loses_nothing() {
    story(async |world| {
        let chat = world.admin.get("/incoming-chats").await.expect(200)["items"][0].clone();
        world.admin.patch(&format!("/incoming-chats/{}", id(&chat)), json!({ "enabled": false })).await.expect(200);
        world.customer("Anna").says("anybody?").await;
        let room = world.admin.get("/rooms").await.expect(200)["items"][0].clone();
        assert_eq!(room["close_reason"], "no_route");
        assert_eq!(room["last_seq"], 1);
    })
    .await;
}

#[tokio::test]
async fn rooms_held_for_the_opening_are_offered_when_it_comes() {
    story(async |world| {
        let hours = json!({ "name": "Never", "time_zone": "Europe/Istanbul", "intervals": [] });
        let hours = world.admin.post("/working-hours", hours).await.expect(201);
        let chat = world.admin.get("/incoming-chats").await.expect(200)["items"][0].clone();
        let change = json!({ "working_hours_id": id(&hours), "after_hours": "hold" });
        world.admin.patch(&format!("/incoming-chats/{}", id(&chat)), change).await.expect(200);
        let ben = world.agent("Ben").await.ready().await;
        world.customer("Anna").says("early").await;
        assert!(ben.rooms().await.is_empty());
        let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let always = days.map(|day| json!({ "day": day, "from": "00:00", "to": "24:00" }));
        let always = json!({ "intervals": always });
        world.admin.patch(&format!("/working-hours/{}", id(&hours)), always).await.expect(200);
        world.settle().await;
        assert_eq!(ben.rooms().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn rooms_are_handed_over_and_taken() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        let cleo = world.agent("Cleo").await.ready().await;
        let path = format!("/rooms/{}", id(&room));
        assert_eq!(cleo.api.get(&path).await.problem(403), "not-your-room");
        assert_eq!(
            cleo.api
                .post(&format!("{path}/messages"), json!({ "content": { "kind": "text", "text": "x" } }))
                .await
                .problem(403),
            "not-your-room"
        );
        let moved = ben
            .api
            .post(&format!("{path}/transfer"), json!({ "agent_id": cleo.id, "note": "knows better" }))
            .await
            .expect(200);
        assert_eq!(
            (moved["status"].as_str(), moved["offer"]["agent_id"].as_str()),
            (Some("offered"), Some(cleo.id.as_str()))
        );
        cleo.takes_next().await;
        assert_eq!(anna.sees(), ["Hello Anna, Ben here."], "the opening text goes out once");
        let notes: Vec<_> = cleo.reads(&room).await.into_iter().filter(|it| it["direction"] == "note").collect();
        assert_eq!(notes[0]["content"]["text"], "knows better");
        world.admin.post(&format!("{path}/take"), json!({ "agent_id": ben.id })).await.expect(200);
        assert_eq!(ben.rooms().await.len(), 1);
        assert!(cleo.rooms().await.is_empty());
        ben.api.post(&format!("{path}/transfer"), json!({ "queue_id": id(&world.queue) })).await.expect(200);
        world.settle().await;
        let closed = world.admin.post(&format!("{path}/close"), json!({})).await.expect(200);
        assert_eq!(closed["close_reason"], "supervisor");
        assert_eq!(world.admin.post(&format!("{path}/close"), json!({})).await.problem(409), "room-closed");
    })
    .await;
}

#[tokio::test]
async fn tags_may_be_required_to_close() {
    story(async |world| {
        let change = json!({ "tags": { "offered": ["order"], "required": true } });
        world.admin.patch(&format!("/widgets/{}", id(&world.widget)), change).await.expect(200);
        let ben = world.agent("Ben").await.ready().await;
        world.customer("Anna").says("hello").await;
        let room = ben.takes_next().await;
        let path = format!("/rooms/{}/close", id(&room));
        assert_eq!(ben.api.post(&path, json!({})).await.pointers(), ["/tags"]);
        let closed = ben.api.post(&path, json!({ "tags": ["order"] })).await.expect(200);
        assert_eq!(closed["tags"], json!(["order"]));
    })
    .await;
}

#[tokio::test]
async fn an_agent_whose_stream_is_gone_is_set_offline_and_the_rooms_return() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let cleo = world.agent("Cleo").await.ready().await;
        let stream = ben
            .api
            .request(reqwest::Method::GET, "/events")
            .header("accept", "text/event-stream")
            .send()
            .await
            .unwrap();
        assert_eq!(stream.status(), 200);
        world.customer("Anna").says("hello").await;
        let room = ben.takes_next().await;
        drop(stream);
        world.pass(61).await;
        let status = |it: Value| it["status"].as_str().unwrap().to_owned();
        assert_eq!(status(ben.api.get("/me/status").await.expect(200)), "offline");
        assert_eq!(
            status(cleo.api.get("/me/status").await.expect(200)),
            "ready",
            "who never had a stream is left alone"
        );
        assert_eq!(ben.rooms().await.len(), 1, "active rooms stay for a while");
        world.pass(601).await;
        assert!(ben.rooms().await.is_empty());
        assert_eq!(id(&cleo.takes_next().await), id(&room));
    })
    .await;
}

#[tokio::test]
async fn nobody_is_judged_by_a_time_in_which_nothing_could_be_heard() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let request = ben.api.request(reqwest::Method::GET, "/events").header("accept", "text/event-stream");
        let stream = request.send().await.unwrap();
        assert_eq!(stream.status(), 200);
        let seconds = chrono::TimeDelta::seconds;
        // Whoever has its only connection takes the database away from the watch.
        let options = world.db.connect_options().as_ref().clone();
        let db = PgPoolOptions::new().max_connections(1).acquire_timeout(std::time::Duration::from_millis(50));
        let db = db.connect_with(options).await.unwrap();
        let dispatch = Dispatch {
            db: db.clone(),
            bell: Bell::local(),
            rering: seconds(60),
            stream_lost: seconds(60),
            rooms_return: seconds(600),
        };
        let watch = Watch::new(dispatch, world.clock.clone());
        let status = async || ben.api.get("/me/status").await.expect(200)["status"].as_str().unwrap().to_owned();
        world.clock.advance(seconds(55));
        assert_eq!(watch.step().await.unwrap(), Step::Idle);
        let outage = db.acquire().await.unwrap();
        assert!(watch.step().await.is_err());
        world.clock.advance(seconds(600));
        assert!(watch.step().await.is_err());
        drop(outage);
        // It is back, and the stream is not noted yet.
        assert_eq!(watch.step().await.unwrap(), Step::Idle);
        world.clock.advance(seconds(59));
        assert_eq!((watch.step().await.unwrap(), status().await.as_str()), (Step::Idle, "ready"));
        let me = || chatgate::ids::UserId(ben.id.parse().unwrap());
        let tenant = || chatgate::ids::TenantId(id(&world.tenant).parse().unwrap());
        watch.note_streams(&[(tenant(), me())]).await.unwrap();
        world.clock.advance(seconds(60));
        assert_eq!((watch.step().await.unwrap(), status().await.as_str()), (Step::Idle, "ready"));
        // A note that fails says as little.
        let outage = db.acquire().await.unwrap();
        assert!(watch.note_streams(&[(tenant(), me())]).await.is_err());
        drop(outage);
        world.clock.advance(seconds(59));
        assert_eq!((watch.step().await.unwrap(), status().await.as_str()), (Step::Idle, "ready"));
        world.clock.advance(seconds(1));
        assert_eq!((watch.step().await.unwrap(), status().await.as_str()), (Step::Worked, "offline"));
        db.close().await;
    })
    .await;
}

#[tokio::test]
async fn who_comes_into_a_queue_is_greeted_once_and_senders_wake_only_where_there_is_a_text() {
    story(async |world| {
        // An applier whose bell nobody else rings.
        let bell = Bell::local();
        let applier = Applier::new(&world.db, bell.clone(), world.clock.clone(), Strands::new(1));
        let mut outbox = bell.changes(Work::Outbox);
        let mut wakes = async |says: &str, customer: &Customer<'_>| {
            outbox.mark_unchanged();
            world.simulator.say(PAGE_ID, &customer.psid, says).await;
            applier.look_again();
            while applier.step().await.unwrap() == Step::Worked {}
            let wakes = outbox.has_changed().unwrap();
            world.settle().await;
            wakes
        };
        let (anna, bea) = (world.customer("Anna"), world.customer("Bea"));
        assert!(!wakes("hello", &anna).await, "there is nothing to send");
        let greeting = json!({ "texts": { "queued": "One moment, please." } });
        world.admin.patch(&format!("/widgets/{}", id(&world.widget)), greeting).await.expect(200);
        assert!(wakes("hello", &bea).await);
        assert!(!wakes("anybody?", &bea).await);
        assert_eq!((anna.sees(), bea.sees()), (vec![], vec!["One moment, please.".to_owned()]));
    })
    .await;
}
