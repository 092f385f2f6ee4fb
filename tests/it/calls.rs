//! Calls that are no messages: they stop where sends stop, and a Page that hangs holds up nobody else.

use std::{sync::atomic::Ordering, time::Duration};

use chatgate::{
    crew::{Crew, Worker},
    ids::{RoomId, TenantId},
    replies::{
        doubts::Doubts,
        profiles::Profiles,
        typing::{Typing, Typist},
    },
    simulator::Fault,
};
use chrono::TimeDelta;
use serde_json::json;

use crate::{
    replies_faults::{last, second_page, seen, talk},
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

/// Somebody waits for this at most: a Page that hangs does so for twice as long.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_page_that_hangs_holds_up_nobodys_name() {
    story(async |world| {
        let (ben, _, _) = talk(world).await;
        for _ in 0..12 {
            world.customer("Carl").says("hello").await;
        }
        // The newest of all.
        let (_, otto, _) = second_page(world, &ben).await;
        let forget = "update contacts
            set profile_at = null, profile_due_at = null, name = null, first_name = null, profile_name = null, profile_first_name = null";
        sqlx::query(forget).execute(&world.db).await.unwrap();
        world.simulator.set_hanging(PAGE_ID, true);
        let profiles = Profiles::new(world.outgoing.clone(), Crew::new());
        let is_known = async || {
            let name = sqlx::query_scalar("select name is not null from contacts where sender_id = $1").bind(&otto);
            name.fetch_one(&world.db).await.unwrap()
        };
        let asked = async {
            while !is_known().await {
                profiles.step().await.unwrap();
            }
        };
        tokio::time::timeout(SOON, asked).await.expect("another Page's contact waits");
        world.simulator.set_hanging(PAGE_ID, false);
        while !profiles.is_idle() {
            tokio::task::yield_now().await;
        }
        // After so many silences the others are left alone for a while, and then asked for, first one by one.
        world.pass(3600).await;
        for _ in 0..12 {
            world.pass(2).await;
        }
        let nameless = "select count(*) from contacts where name is null";
        let nameless: i64 = sqlx::query_scalar(nameless).fetch_one(&world.db).await.unwrap();
        assert_eq!(nameless, 0);
    })
    .await;
}

#[tokio::test]
async fn a_page_that_hangs_holds_up_nobodys_dots() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        let (other, otto, others_room) = second_page(world, &ben).await;
        let (typing, tenant) = (Typing::default(), TenantId(id(&world.tenant).parse().unwrap()));
        let [room, others_room] = [room, others_room].map(|it| RoomId(id(&it).parse().unwrap()));
        let typist = Typist::new(world.outgoing.clone(), typing.clone(), Crew::new());
        world.simulator.set_hanging(PAGE_ID, true);
        typing.begin(tenant, room, world.clock.now());
        typist.step().await.unwrap();
        typing.end(tenant, room);
        typing.begin(tenant, others_room, world.clock.now());
        let shown = async {
            while !world.simulator.actions(other, &otto).contains(&"typing_on".to_owned()) {
                typist.step().await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, shown).await.expect("another Page's contact sees no dots");
        world.simulator.set_hanging(PAGE_ID, false);
        let ended = async {
            while !world.simulator.actions(PAGE_ID, &anna.psid).contains(&"typing_off".to_owned()) {
                typist.step().await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, ended).await.expect("what came after the one that hung");
    })
    .await;
}

#[tokio::test]
async fn a_page_that_hangs_holds_up_nobodys_doubt() {
    story(async |world| {
        let (ben, _, room) = talk(world).await;
        let (other, _, others_room) = second_page(world, &ben).await;
        for page in [PAGE_ID, other] {
            world.simulator.fail_next_sends(page, vec![Fault::DropBeforeSending]);
        }
        ben.replies(&room, "lost").await;
        ben.replies(&others_room, "lost, too").await;
        assert_eq!(last(&ben, &others_room).await["status"], "uncertain");
        world.simulator.set_hanging(PAGE_ID, true);
        world.clock.advance(TimeDelta::seconds(61));
        let doubts = Doubts::new(world.outgoing.clone(), Crew::new());
        let asked = async {
            while last(&ben, &others_room).await["status"] != "failed" {
                doubts.step().await.unwrap();
            }
        };
        tokio::time::timeout(SOON, asked).await.expect("another Page's doubt waits");
        assert_eq!(last(&ben, &room).await["status"], "uncertain");
        world.simulator.set_hanging(PAGE_ID, false);
        while !doubts.is_idle() {
            tokio::task::yield_now().await;
        }
        world.expects_trouble.store(true, Ordering::Relaxed);
    })
    .await;
}
