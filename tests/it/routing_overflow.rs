//! Where rooms go when the obvious agent or queue has no place: sticky agents, overflow, full queues, wrap-up, returns.

use serde_json::{Value, json};

use crate::support::{World, story, world::id};

async fn set(world: &World, settings: Value) {
    world.admin.patch(&format!("/queues/{}", id(&world.queue)), settings).await.expect(200);
}

async fn another_queue(world: &World, settings: Value) -> Value {
    world.admin.post("/queues", settings).await.expect(201)
}

async fn rooms(world: &World) -> Vec<Value> {
    world.admin.get("/rooms").await.expect(200)["items"].as_array().unwrap().clone()
}

async fn decisions(world: &World, room: &Value) -> Vec<(String, String)> {
    let told = world.admin.get(&format!("/rooms/{}/routing", id(room))).await.expect(200);
    let word = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    told["items"].as_array().unwrap().iter().map(|it| (word(&it["decision"]), word(&it["reason"]))).collect()
}

#[tokio::test]
async fn a_contact_who_returns_soon_gets_the_agent_they_had() {
    story(async |world| {
        set(world, json!({ "sticky_minutes": 10 })).await;
        let ben = world.agent_with("Ben", 1).await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        // Cleo has been idle longer by the time Anna is back.
        let cleo = world.agent_with("Cleo", 1).await.ready().await;
        world.pass(60).await;
        ben.closes(&room).await;
        anna.says("one more thing").await;
        assert_eq!((ben.rooms().await.len(), cleo.rooms().await.len()), (1, 0));
        let back = ben.takes_next().await;
        assert_eq!(decisions(world, &back).await[1], ("offered".to_owned(), "sticky".to_owned()));
        ben.closes(&back).await;
        // Ben has no free seat: anybody at once.
        world.customer("Bea").says("hello").await;
        cleo.takes_next().await;
        world.customer("Cem").says("hello").await;
        ben.takes_next().await;
        cleo.closes(&cleo.rooms().await[0]).await;
        anna.says("and another").await;
        let third = cleo.takes_next().await;
        assert_eq!(third["contact"]["first_name"], "Anna");
        cleo.closes(&third).await;
        ben.closes(&ben.rooms().await[0]).await;
        // Too late: idle time decides, and Cleo had her last room before Ben.
        world.pass(601).await;
        anna.says("long after").await;
        let late = rooms(world).await.pop().unwrap();
        assert_eq!(decisions(world, &late).await[1], ("offered".to_owned(), "longest_idle".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn rooms_that_wait_too_long_go_on_to_the_next_queue() {
    story(async |world| {
        let second = another_queue(world, json!({ "name": "Second", "max_waiting": 1 })).await;
        set(world, json!({ "overflow_after_s": 60, "overflow_queue_id": id(&second) })).await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        world.pass(1).await;
        world.customer("Bea").says("hello").await;
        world.pass(58).await;
        let queues = async || {
            let rooms = rooms(world).await;
            rooms.iter().map(|it| it["queue"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(queues().await, ["Sales", "Sales"]);
        world.pass(1).await;
        assert_eq!(queues().await, ["Second", "Sales"], "the first is over its time");
        world.pass(60).await;
        assert_eq!(queues().await, ["Second", "Sales"], "the second is full");
        let cleo = world.agent_with("Cleo", 4).await;
        world.admin.delete(&format!("/queues/{}/members/{}", id(&world.queue), cleo.id)).await.expect(204);
        world.admin.put(&format!("/queues/{}/members/{}", id(&second), cleo.id), json!({})).await.expect(201);
        let cleo = cleo.ready().await;
        cleo.takes_next().await;
        assert_eq!(queues().await, ["Second", "Second"], "now there is room");
        let bea = cleo.takes_next().await;
        let expected = [("queued", ""), ("overflowed", "waited"), ("offered", "longest_idle"), ("accepted", "")];
        assert_eq!(decisions(world, &bea).await, expected.map(|it| (it.0.to_owned(), it.1.to_owned())));
    })
    .await;
}

#[tokio::test]
async fn a_full_queue_overflows_and_then_turns_away_with_its_text() {
    story(async |world| {
        let second = another_queue(world, json!({ "name": "Second", "max_waiting": 1 })).await;
        let full = json!({
            "max_waiting": 2, "max_waiting_text": "Too many at the moment, {first_name}.",
            "overflow_after_s": 3600, "overflow_queue_id": id(&second),
        });
        set(world, full).await;
        let names = ["Anna", "Bea", "Cem", "Dan", "Eve"];
        let people = names.map(|name| world.customer(name));
        // All of them at once, so that the limit is met inside one batch. Who comes first is nobody's business.
        for it in &people {
            world.simulator.say(crate::support::world::PAGE_ID, &it.psid, "hello").await;
        }
        world.settle().await;
        let shown: Vec<_> = rooms(world)
            .await
            .iter()
            .map(|it| (it["status"].as_str().unwrap().to_owned(), it["queue"]["name"].as_str().unwrap().to_owned()))
            .collect();
        let of = |status: &str, queue: &str| (status.to_owned(), queue.to_owned());
        let (here, there, away) = (of("waiting", "Sales"), of("waiting", "Second"), of("closed", "Sales"));
        assert_eq!(shown, [here.clone(), here, there, away.clone(), away]);
        let rooms = rooms(world).await;
        let of_room = |at: usize| {
            let name = rooms[at]["contact"]["first_name"].as_str().unwrap();
            &people[names.iter().position(|it| *it == name).unwrap()]
        };
        assert!(of_room(2).sees().is_empty());
        assert!(of_room(3).sees()[0].starts_with("Too many at the moment"));
        assert_eq!(of_room(3).sees().len(), 1);
        assert_eq!(decisions(world, &rooms[2]).await, [("overflowed".to_owned(), "queue_full".to_owned())]);
        assert_eq!(decisions(world, &rooms[3]).await, [("turned_away".to_owned(), "queue_full".to_owned())]);
        assert_eq!(rooms[3]["close_reason"], "offline");
        // A place is free again: whoever was turned away may come back.
        world.admin.post(&format!("/rooms/{}/close", id(&rooms[0])), json!({})).await.expect(200);
        of_room(4).says("now?").await;
        assert_eq!(world.admin.get("/rooms?status=waiting").await.expect(200)["items"].as_array().unwrap().len(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_closed_room_keeps_its_seat_for_the_wrap_up_and_frees_it_by_itself() {
    story(async |world| {
        set(world, json!({ "wrap_up_s": 30 })).await;
        let ben = world.agent_with("Ben", 1).await.ready().await;
        world.customer("Anna").says("hello").await;
        let room = ben.takes_next().await;
        ben.closes(&room).await;
        world.customer("Bea").says("hello").await;
        assert!(ben.rooms().await.is_empty(), "the seat is kept");
        let me = ben.api.get("/me/status").await.expect(200);
        assert_eq!((me["chats"].as_i64(), me["wrapping_up"].as_i64()), (Some(0), Some(1)));
        let waiting = world.admin.get("/rooms?status=waiting").await.expect(200)["items"][0].clone();
        let taken = world.admin.post(&format!("/rooms/{}/take", id(&waiting)), json!({ "agent_id": ben.id })).await;
        assert_eq!(taken.problem(409), "agent-full", "a supervisor finds no free seat either");
        world.pass(29).await;
        assert!(ben.rooms().await.is_empty());
        world.pass(1).await;
        assert_eq!(ben.rooms().await.len(), 1, "nobody had to ring");
        assert_eq!(ben.api.get("/me/status").await.expect(200)["wrapping_up"], 0);
        let kept: i64 = sqlx::query_scalar("select count(*) from rooms where seat_until is not null")
            .fetch_one(&world.db)
            .await
            .unwrap();
        assert_eq!(kept, 0, "nothing is left for timers to look at");
    })
    .await;
}

#[tokio::test]
async fn others_are_asked_before_somebody_is_asked_again() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        world.customer("Anna").says("hello").await;
        let room = ben.rooms().await.remove(0);
        ben.api.act(&format!("/rooms/{}/decline", id(&room))).await.expect(200);
        world.pass(40).await;
        assert_eq!(ben.rooms().await.len(), 1, "nobody else is there");
        ben.api.act(&format!("/rooms/{}/decline", id(&room))).await.expect(200);
        // Ben may be asked again, and has been idle longer than Cleo by then, but Cleo was not asked yet.
        world.pass(29).await;
        let cleo = world.agent("Cleo").await;
        cleo.api.put("/me/status", json!({ "status": "ready" })).await.expect(200);
        world.pass(2).await;
        assert_eq!((ben.rooms().await.len(), cleo.rooms().await.len()), (0, 1));
    })
    .await;
}

#[tokio::test]
async fn a_lapsed_offer_may_set_its_agent_away_with_a_reason() {
    story(async |world| {
        set(world, json!({ "offer_timeout_action": "requeue_and_away", "offer_timeout_s": 10 })).await;
        let ben = world.agent("Ben").await.ready().await;
        world.customer("Anna").says("hello").await;
        let room = ben.rooms().await.remove(0);
        world.pass(11).await;
        let me = ben.api.get("/me/status").await.expect(200);
        assert_eq!((me["status"].as_str(), me["reason"].as_str()), (Some("away"), Some("an offer lapsed")));
        assert_eq!(decisions(world, &room).await.last().unwrap(), &("lapsed".to_owned(), "set_away".to_owned()));
        assert!(world.kinds().await.contains(&"agent.status_changed".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn what_a_supervisor_takes_while_not_ready_stays_theirs() {
    story(async |world| {
        let ben = world.agent("Ben").await;
        world.customer("Anna").says("hello").await;
        let room = rooms(world).await.remove(0);
        world.pass(3600).await;
        world.admin.post(&format!("/rooms/{}/take", id(&room)), json!({ "agent_id": ben.id })).await.expect(200);
        world.pass(3600).await;
        assert_eq!(ben.rooms().await.len(), 1, "who was offline before cannot have gone");
        ben.goes("ready").await;
        ben.goes("offline").await;
        world.customer("Bea").says("hello").await;
        world.pass(601).await;
        assert!(ben.rooms().await.is_empty());
        let room = world.admin.get(&format!("/rooms/{}", id(&room))).await.expect(200);
        assert_eq!((room["status"].as_str(), room["position"].as_i64()), (Some("waiting"), Some(1)), "at the front");
        assert_eq!(decisions(world, &room).await.last().unwrap(), &("returned".to_owned(), "agent_gone".to_owned()));
    })
    .await;
}
