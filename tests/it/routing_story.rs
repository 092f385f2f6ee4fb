//! How routing explains itself: every decision with its reason, in data and in a sentence.

use serde_json::{Value, json};

use crate::support::{World, story, world::id};

async fn tell(world: &World, room: &Value) -> Value {
    world.admin.get(&format!("/rooms/{}/routing?time_zone=Europe/Istanbul", id(room))).await.expect(200)
}

fn decisions(story: &Value) -> Vec<&str> {
    story["items"].as_array().unwrap().iter().map(|it| it["decision"].as_str().unwrap()).collect()
}

fn sentences(story: &Value) -> Vec<&str> {
    story["items"].as_array().unwrap().iter().map(|it| it["sentence"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_offer_names_the_chosen_and_the_skipped_with_their_numbers() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let cleo = world.agent_with("Cleo", 0).await.ready().await;
        let dora = world.agent("Dora").await.ready().await;
        dora.goes("away").await;
        world.pass(93).await;
        world.customer("Anna").says("hello").await;
        let room = ben.takes_next().await;
        let told = tell(world, &room).await;
        assert_eq!(decisions(&told), ["queued", "offered", "accepted"]);
        let offer = &told["items"][1];
        assert_eq!((offer["reason"].as_str(), offer["agent"]["name"].as_str()), (Some("longest_idle"), Some("Ben")));
        let grounds = &offer["grounds"];
        assert_eq!((grounds["seats"].as_i64(), grounds["taken"].as_i64(), grounds["idle_s"].as_i64()), (Some(4), Some(0), Some(93)));
        let skipped: Vec<_> = grounds["skipped"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| (it["agent"]["id"].as_str().unwrap(), it["why"].as_str().unwrap()))
            .collect();
        assert_eq!(skipped, [(cleo.id.as_str(), "at_limit"), (dora.id.as_str(), "away")]);
        let sentence = offer["sentence"].as_str().unwrap();
        let begin = "Offered to Ben in Sales (idle longest): ready, 0 of 4 seats, idle 93 s; Cleo skipped: at the limit; Dora skipped: away since ";
        assert!(sentence.starts_with(begin), "{sentence}");
        assert_eq!(told["items"][2]["waited_s"], 0);
        assert!(told["waits"].is_null());
    })
    .await;
}

#[tokio::test]
async fn a_room_that_wandered_tells_all_of_it_in_order() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        world.customer("Anna").says("hello").await;
        let room = ben.rooms().await.remove(0);
        let path = format!("/rooms/{}", id(&room));
        ben.api.act(&format!("{path}/decline")).await.expect(200);
        let told = tell(world, &room).await;
        assert_eq!(told["waits"]["sentence"], "Waits: nobody in Sales is free; Ben skipped: passed on it.");
        let cleo = world.agent("Cleo").await.ready().await;
        world.pass(31).await;
        cleo.goes("away").await;
        world.pass(31).await;
        ben.takes_next().await;
        cleo.goes("ready").await;
        let other = world.admin.post("/queues", json!({ "name": "Billing" })).await.expect(201);
        ben.api.post(&format!("{path}/transfer"), json!({ "agent_id": cleo.id })).await.expect(200);
        world.pass(31).await;
        world.admin.post(&format!("{path}/transfer"), json!({ "queue_id": id(&other) })).await.expect(200);
        world.admin.post(&format!("{path}/take"), json!({ "agent_id": ben.id })).await.expect(200);
        ben.closes(&room).await;
        let told = tell(world, &room).await;
        let expected = [
            ("queued", "Entered Sales."),
            ("offered", "Offered to Ben"),
            ("declined", "Ben declined: back to its place in Sales."),
            ("offered", "Offered to Cleo"),
            ("lapsed", "Cleo did not answer in time: back to its place in Sales."),
            ("offered", "Offered to Ben"),
            ("accepted", "Ben accepted after 62 s."),
            ("transferred", "Ben handed it over to Cleo."),
            ("offered", "Offered to Cleo in Sales (a colleague chose them)."),
            ("lapsed", "Cleo did not answer in time: back to its place in Sales."),
            ("offered", "Offered to Ben"),
            ("transferred", "Ada sent it to Billing."),
            ("taken", "Ada gave it to Ben after 0 s."),
            ("closed", "Ben closed it."),
        ];
        assert_eq!(decisions(&told), expected.map(|it| it.0));
        for (sentence, (_, begin)) in sentences(&told).into_iter().zip(expected) {
            assert!(sentence.starts_with(begin), "{sentence} / {begin}");
        }
        let first = world.admin.get(&format!("{path}/routing?limit=5")).await.expect(200);
        let next = first["next"].as_str().unwrap();
        let rest = world.admin.get(&format!("{path}/routing?limit=200&after={next}")).await.expect(200);
        assert_eq!(decisions(&first).len() + decisions(&rest).len(), expected.len());
        assert!(rest["next"].is_null());
    })
    .await;
}

#[tokio::test]
async fn rooms_that_are_turned_away_say_why() {
    story(async |world| {
        let chats = world.admin.get("/incoming-chats").await.expect(200);
        let chat = format!("/incoming-chats/{}", id(&chats["items"][0]));
        let hours = json!({ "name": "Never", "time_zone": "Europe/Istanbul", "intervals": [] });
        let hours = world.admin.post("/working-hours", hours).await.expect(201);
        world.admin.patch(&chat, json!({ "working_hours_id": id(&hours) })).await.expect(200);
        world.customer("Anna").says("closed?").await;
        world.admin.patch(&chat, json!({ "after_hours": "hold" })).await.expect(200);
        world.customer("Bea").says("held?").await;
        world.admin.patch(&chat, json!({ "enabled": false })).await.expect(200);
        world.customer("Cem").says("nowhere?").await;
        let rooms = world.admin.get("/rooms").await.expect(200);
        let mut told = Vec::new();
        for room in rooms["items"].as_array().unwrap() {
            told.push(tell(world, room).await);
        }
        let whys: Vec<_> =
            told.iter().map(|it| (it["items"][0]["decision"].as_str(), it["items"][0]["reason"].as_str())).collect();
        let (turned, held) = (Some("turned_away"), Some("held"));
        assert_eq!(whys, [(turned, Some("offline")), (held, Some("offline")), (turned, Some("no_route"))]);
        // Without a route nothing keeps Bea's room any more: it is let into its queue.
        assert_eq!(decisions(&told[1]), ["held", "released"]);
    })
    .await;
}

#[tokio::test]
async fn agents_read_the_story_of_their_own_rooms_only() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        world.customer("Anna").says("hello").await;
        let room = ben.takes_next().await;
        let cleo = world.agent("Cleo").await;
        let path = format!("/rooms/{}/routing", id(&room));
        assert_eq!(decisions(&ben.api.get(&path).await.expect(200)).len(), 3);
        assert_eq!(cleo.api.get(&path).await.problem(403), "not-your-room");
        let (_, rival) = world.new_tenant("rival").await;
        assert_eq!(rival.get(&path).await.problem(404), "not-found");
        assert_eq!(world.admin.get(&format!("{path}?time_zone=Mars/Base")).await.pointers(), ["time_zone"]);
        assert_eq!(world.admin.get(&format!("{path}?after=x")).await.pointers(), ["after"]);
    })
    .await;
}

#[tokio::test]
async fn a_decision_and_what_it_did_are_one_transaction() {
    story(async |world| {
        let ben = world.agent("Ben").await;
        world.customer("Anna").says("hello").await;
        // Offers cannot be noted: then there are none.
        let refuse = "alter table routing_log add constraint refused check (decision <> 'offered') not valid";
        sqlx::query(refuse).execute(&world.db).await.unwrap();
        ben.api.put("/me/status", json!({ "status": "ready" })).await.expect(200);
        assert!(world.workers.settle().await.is_err());
        let room = world.admin.get("/rooms").await.expect(200)["items"][0].clone();
        assert_eq!((room["status"].as_str(), ben.rooms().await.len()), (Some("waiting"), 0));
        sqlx::query("alter table routing_log drop constraint refused").execute(&world.db).await.unwrap();
        world.settle().await;
        assert_eq!(decisions(&tell(world, &room).await), ["queued", "offered"]);
    })
    .await;
}
