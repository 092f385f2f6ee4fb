//! What the clock makes due while rooms wait or talk: the waiting text, silence of the contact, silence of the agent.

use serde_json::{Value, json};

use crate::support::{World, story, world::id};

async fn set(world: &World, settings: Value) {
    world.admin.patch(&format!("/queues/{}", id(&world.queue)), settings).await.expect(200);
}

#[tokio::test]
async fn who_waits_is_told_the_position_again_and_again_and_who_is_served_is_not() {
    story(async |world| {
        set(world, json!({ "waiting_text": "Number {position}, {first_name}.", "waiting_text_every_s": 60 })).await;
        let (anna, bea) = (world.customer("Anna"), world.customer("Bea"));
        anna.says("hello").await;
        world.pass(1).await;
        bea.says("hello").await;
        assert!(anna.sees().is_empty(), "not at once");
        world.pass(2).await;
        assert_eq!((anna.sees(), bea.sees()), (vec!["Number 1, Anna.".to_owned()], vec!["Number 2, Bea.".to_owned()]));
        world.pass(57).await;
        assert_eq!(anna.sees().len(), 1);
        let ben = world.agent_with("Ben", 1).await.ready().await;
        ben.takes_next().await;
        world.pass(3).await;
        assert_eq!(bea.sees(), ["Number 2, Bea.", "Number 1, Bea."]);
        world.pass(600).await;
        assert_eq!(anna.sees().len(), 2, "the text and the opening: who is served hears no more of it");
        assert_eq!(bea.sees().len(), 3, "late, but not once for every interval missed");
    })
    .await;
}

#[tokio::test]
async fn a_waiting_text_without_an_interval_is_said_once() {
    story(async |world| {
        set(world, json!({ "waiting_text": "Please wait." })).await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        world.pass(5).await;
        world.pass(3600).await;
        assert_eq!(anna.sees(), ["Please wait."]);
    })
    .await;
}

#[tokio::test]
async fn a_silent_contact_is_reminded_and_then_the_room_ends() {
    story(async |world| {
        let silent =
            json!({ "contact_silent_minutes": 10, "contact_silent_text": "Still there?", "contact_close_minutes": 5, "wrap_up_s": 30 });
        set(world, silent).await;
        let ben = world.agent_with("Ben", 1).await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        world.pass(1200).await;
        let opening = anna.sees().len();
        assert_eq!(opening, 1, "it is the agent who is silent");
        ben.replies(&room, "What can I do for you?").await;
        world.pass(599).await;
        assert_eq!(anna.sees().len(), opening + 1);
        world.pass(1).await;
        assert_eq!(anna.sees().last().unwrap(), "Still there?");
        anna.says("yes").await;
        world.pass(301).await;
        assert_eq!(ben.room(&room).await["status"], "active", "she has answered");
        ben.replies(&room, "And?").await;
        world.pass(600).await;
        assert_eq!(anna.sees().last().unwrap(), "Still there?");
        let said = anna.sees().len();
        world.pass(300).await;
        let ended = ben.room(&room).await;
        assert_eq!((ended["status"].as_str(), ended["close_reason"].as_str()), (Some("closed"), Some("inactive")));
        assert_eq!(anna.sees().len(), said, "no farewell from nobody");
        world.customer("Bea").says("hello").await;
        assert!(ben.rooms().await.is_empty(), "the seat is kept for the wrap-up, as of every closed room");
        world.pass(30).await;
        assert_eq!(ben.rooms().await.len(), 1, "the seat is free");
        anna.says("I am back").await;
        let rooms = world.admin.get("/rooms").await.expect(200);
        assert_eq!(rooms["items"].as_array().unwrap().len(), 3, "her next message opens a new room");
    })
    .await;
}

#[tokio::test]
async fn a_silent_agent_is_flagged_and_then_loses_the_room_to_others() {
    story(async |world| {
        set(world, json!({ "agent_silent_minutes": 3, "agent_return_minutes": 2 })).await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        world.pass(3600).await;
        let ben = world.agent_with("Ben", 2).await.ready().await;
        let room = ben.takes_next().await;
        world.pass(179).await;
        assert!(ben.room(&room).await["agent_silent_since"].is_null(), "counted from when the agent got it");
        world.pass(1).await;
        assert!(ben.room(&room).await["agent_silent_since"].is_string());
        ben.replies(&room, "Sorry!").await;
        assert!(ben.room(&room).await["agent_silent_since"].is_null());
        world.pass(600).await;
        assert!(ben.room(&room).await["agent_silent_since"].is_null(), "it is the contact's turn");
        anna.says("so?").await;
        world.pass(100).await;
        anna.says("hello?").await;
        world.pass(80).await;
        assert!(
            ben.room(&room).await["agent_silent_since"].is_string(),
            "counted from the first word without an answer"
        );
        let waiting = world.customer("Bea");
        waiting.says("hello").await;
        let cleo = world.agent_with("Cleo", 1).await;
        world.pass(119).await;
        assert_eq!(ben.room(&room).await["status"], "active");
        world.pass(1).await;
        let back = world.admin.get(&format!("/rooms/{}", id(&room))).await.expect(200);
        assert_eq!(
            (back["status"].as_str(), back["position"].as_i64()),
            (Some("waiting"), Some(1)),
            "before Bea, not to Ben"
        );
        let cleo = cleo.ready().await;
        assert_eq!(id(&cleo.takes_next().await), id(&room));
        let told = world.admin.get(&format!("/rooms/{}/routing", id(&room))).await.expect(200);
        let whys: Vec<_> =
            told["items"].as_array().unwrap().iter().map(|it| it["decision"].as_str().unwrap()).collect();
        let expected = ["flagged", "flagged", "returned"];
        assert_eq!(
            whys.iter().filter(|it| expected.contains(it)).collect::<Vec<_>>(),
            expected.iter().collect::<Vec<_>>()
        );
        assert!(cleo.rooms().await[0]["agent_silent_since"].is_null());
    })
    .await;
}

#[tokio::test]
async fn silence_counts_only_where_it_is_set() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        world.pass(24 * 3600 - 10).await;
        assert!(ben.room(&room).await["agent_silent_since"].is_null());
        ben.replies(&room, "Sorry!").await;
        world.pass(24 * 3600).await;
        assert_eq!(ben.room(&room).await["status"], "active");
        assert_eq!(anna.sees().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn two_processes_act_once() {
    story(async |world| {
        set(world, json!({ "waiting_text": "Please wait.", "waiting_text_every_s": 60 })).await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        for _ in 0..3 {
            world.clock.advance(chrono::TimeDelta::seconds(61));
            let settles = (0..4).map(|_| world.workers.settle());
            futures::future::join_all(settles).await.into_iter().for_each(|it| it.unwrap());
            world.settle().await;
        }
        assert_eq!(anna.sees().len(), 3);
    })
    .await;
}
