//! Replies that the transaction which stores them claims as well: on their way without a step of the worker that sends.

use std::sync::atomic::Ordering;

use chatgate::{db::bell::Work, simulator::Fault};
use serde_json::{Value, json};

use crate::{
    replies_faults::{last, seen, talk},
    support::{
        World, story,
        world::{Agent, PAGE_ID, id},
    },
};

async fn post(ben: &Agent<'_>, room: &Value, text: &str) -> u16 {
    let body = json!({ "content": { "kind": "text", "text": text } });
    ben.api.post(&format!("/rooms/{}/messages", id(room)), body).await.status
}

/// Nobody takes a step meanwhile.
async fn until_nothing_is_under_way(world: &World) {
    while world.workers.claims.under_way() > 0 {
        tokio::task::yield_now().await;
    }
}

async fn states(world: &World) -> Vec<String> {
    sqlx::query_scalar("select state from outbox order by seq").fetch_all(&world.db).await.unwrap()
}

#[tokio::test]
async fn a_reply_goes_out_with_the_transaction_that_stores_it() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        world.workers.claims.take_at_once();
        assert_eq!(post(&ben, &room, "one").await, 201);
        until_nothing_is_under_way(world).await;
        assert_eq!(seen(&anna), ["one"]);
        assert!(states(world).await.is_empty());
        world.settle().await;
        assert_eq!((seen(&anna).len(), last(&ben, &room).await["status"].as_str()), (1, Some("delivered")));
    })
    .await;
}

#[tokio::test]
async fn what_comes_behind_a_slow_one_waits_for_it() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        world.workers.claims.take_at_once();
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::Slow { ms: 500 }]);
        let rings = world.outgoing.bell.changes(Work::Outbox);
        assert_eq!(post(&ben, &room, "one").await, 201);
        assert!(!rings.has_changed().unwrap(), "nobody has anything to do");
        // Whoever settles the first just now has to hear of the second.
        assert_eq!(post(&ben, &room, "two").await, 201);
        assert!(rings.has_changed().unwrap());
        assert_eq!(post(&ben, &room, "three").await, 201);
        assert_eq!(states(world).await, ["sending", "due", "due"]);
        world.settle().await;
        assert_eq!(seen(&anna), ["one", "two", "three"]);
    })
    .await;
}

#[tokio::test]
async fn a_reply_that_must_wait_is_stored_and_waits() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        world.workers.claims.take_at_once();
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::error(613, None, "too many calls")]);
        assert_eq!(post(&ben, &room, "one").await, 201);
        until_nothing_is_under_way(world).await;
        assert_eq!(post(&ben, &room, "two").await, 201);
        until_nothing_is_under_way(world).await;
        assert_eq!(states(world).await, ["due", "due"]);
        assert!(seen(&anna).is_empty(), "the Page is throttled");
        world.pass(3600).await;
        assert_eq!(seen(&anna), ["one", "two"]);
        world.expects_trouble.store(true, Ordering::Relaxed);
    })
    .await;
}

#[tokio::test]
async fn claims_that_were_not_committed_take_nobody_s_place() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        world.workers.claims.take_at_once();
        sqlx::raw_sql(
            "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'not now'; end $$;
            create constraint trigger refused after insert on outbox deferrable initially deferred for each row execute function refuse()",
        )
        .execute(&world.db)
        .await
        .unwrap();
        // More than the Page may have under way before it has answered.
        for n in 0..20 {
            assert!(post(&ben, &room, &format!("lost {n}")).await >= 500);
            assert_eq!(world.workers.claims.under_way(), 0);
        }
        sqlx::raw_sql("drop trigger refused on outbox").execute(&world.db).await.unwrap();
        // A turn counts in the rates although nothing was sent.
        world.clock.advance(chrono::TimeDelta::seconds(60));
        assert_eq!(post(&ben, &room, "found").await, 201);
        until_nothing_is_under_way(world).await;
        assert_eq!(seen(&anna), ["found"]);
        world.expects_trouble.store(true, Ordering::Relaxed);
    })
    .await;
}
