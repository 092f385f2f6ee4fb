//! Calls that are no messages: they stop where sends stop, and a Page that hangs holds up nobody else.

use chatgate::simulator::Fault;
use serde_json::json;

use crate::{
    replies_faults::{last, seen, talk},
    support::{
        story,
        world::{PAGE_ID, id},
    },
};

#[tokio::test]
async fn nothing_calls_a_page_that_meta_has_stopped() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        let greeting = id(&ben.reads(&room).await[0]);
        world.simulator.set_echoes(false);
        world.simulator.set_receipts(false);
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::DropAfterSending, Fault::Throttle { minutes: 20 }]);
        ben.replies(&room, "perhaps").await;
        assert_eq!(last(&ben, &room).await["status"], "uncertain");
        ben.replies(&room, "one").await;
        let calls = world.simulator.calls(PAGE_ID);
        ben.api.post(&format!("/rooms/{}/typing", id(&room)), json!({ "on": true })).await.expect(204);
        ben.api.act(&format!("/rooms/{}/seen", id(&room))).await.expect(200);
        let reaction = ben.api.put(&format!("/messages/{greeting}/reaction"), json!({ "emoji": "😀" })).await;
        let wait: u64 = reaction.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1100..=1200).contains(&wait), "as long as Meta said: {wait}");
        assert_eq!(reaction.problem(503), "graph-away");
        // Somebody new has no name yet, and what is in doubt stays so.
        world.customer("Carl").says("hello").await;
        world.pass(70).await;
        world.pass(600).await;
        assert_eq!(world.simulator.calls(PAGE_ID), calls, "asking on would lengthen the block");
        world.pass(600).await;
        world.pass(1).await;
        assert_eq!(seen(&anna), ["perhaps", "one"]);
        let messages = ben.reads(&room).await;
        let perhaps = messages.iter().find(|it| it["content"]["text"] == "perhaps").unwrap();
        assert_eq!(perhaps["status"], "sent", "Facebook was asked");
        let rooms = world.admin.get("/rooms").await.expect(200);
        let names: Vec<_> = rooms["items"].as_array().unwrap().iter().map(|it| &it["contact"]["name"]).collect();
        assert!(names.contains(&&json!("Carl Example")), "{names:?}");
    })
    .await;
}

#[tokio::test]
async fn what_a_sign_of_life_uses_up_stops_sends_too() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        world.simulator.set_usage(100);
        ben.api.post(&format!("/rooms/{}/typing", id(&room)), json!({ "on": true })).await.expect(204);
        world.settle().await;
        assert_eq!(world.simulator.actions(PAGE_ID, &anna.psid), ["typing_on"]);
        world.simulator.set_usage(1);
        ben.replies(&room, "one").await;
        assert_eq!(seen(&anna), [""; 0], "the answer said that no more calls are allowed");
        world.pass(61).await;
        world.pass(1).await;
        assert_eq!(seen(&anna), ["one"]);
    })
    .await;
}
