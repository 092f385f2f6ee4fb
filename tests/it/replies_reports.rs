//! Echoes and receipts of our replies: late, twice, or before what they are about.

use chatgate::{crew::Worker, simulator::Fault};
use chrono::TimeDelta;
use serde_json::json;

use crate::{
    events_in::{PAGE_INBOX, tell, tell_all},
    replies_faults::{last, seen, sender, talk},
    support::{
        story,
        world::{PAGE_ID, id},
    },
};

#[tokio::test]
async fn late_double_and_overtaken_reports_change_nothing_but_the_status() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        world.simulator.set_duplicates(true);
        world.simulator.set_receipts_first(true);
        world.simulator.set_echo_delay(TimeDelta::seconds(30));
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::Nothing, Fault::DropAfterSending, Fault::Nothing]);
        for text in ["one", "two", "three"] {
            ben.replies(&room, text).await;
        }
        world.simulator.read_all(PAGE_ID, &anna.psid).await;
        world.settle().await;
        world.pass(31).await;
        world.pass(300).await;
        assert_eq!(seen(&anna), ["one", "two", "three"]);
        let messages = ben.reads(&room).await;
        let ours: Vec<_> = messages.iter().filter(|it| it["author"]["kind"] == "agent").collect();
        assert_eq!(ours.len(), 3, "no echo became a message of its own");
        assert!(messages.iter().all(|it| it["author"]["kind"] != "page"));
        for message in &ours {
            assert!(["sent", "delivered", "read"].contains(&message["status"].as_str().unwrap()), "{message}");
            assert!(message["sent_at"].is_string() && message["external_id"].is_string(), "{message}");
        }
        assert!(
            ours.iter().all(|it| it["status"] == "read"),
            "the receipt came before the uncertain one was settled: {ours:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_receipt_that_names_a_message_may_overtake_the_answer_to_its_send() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        // No echo ever tells the message's time.
        world.simulator.set_echoes(false);
        world.simulator.set_receipts_first(true);
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::Slow { ms: 1500 }]);
        let body = json!({ "content": { "kind": "text", "text": "one" } });
        ben.api.post(&format!("/rooms/{}/messages", id(&room)), body).await.expect(201);
        let sender = sender(world, 512);
        sender.step().await.unwrap();
        // The receipt comes and is applied while the answer is on its way.
        let applied = async || {
            let applied = "select count(*) from early_changes where kind = 'delivered'";
            sqlx::query_scalar::<_, i64>(applied).fetch_one(&world.db).await.unwrap() == 1
        };
        while !applied().await {
            world.workers.take_in().await.unwrap();
        }
        assert_eq!(last(&ben, &room).await["status"], "queued");
        while !sender.is_idle() {
            tokio::task::yield_now().await;
        }
        let message = last(&ben, &room).await;
        assert_eq!(message["status"], "delivered");
        assert!(message["delivered_at"].is_string(), "{message}");
        assert_eq!(seen(&anna), ["one"]);
        world.simulator.read_all(PAGE_ID, &anna.psid).await;
        world.settle().await;
    })
    .await;
}

#[tokio::test]
async fn receipts_may_overtake_the_echo_of_a_message_from_elsewhere() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        let at = world.clock.now().timestamp_millis();
        tell(world, &anna.psid, json!({ "delivery": { "mids": ["m_inbox"], "watermark": at + 5 } })).await;
        tell(world, &anna.psid, json!({ "read": { "watermark": at + 5 } })).await;
        for (mid, at) in [("m_inbox", at + 3), ("m_later", at + 10)] {
            let echo = json!({ "sender": { "id": PAGE_ID }, "recipient": { "id": anna.psid }, "timestamp": at,
                "message": { "is_echo": true, "app_id": PAGE_INBOX, "mid": mid, "text": "From the inbox" } });
            tell_all(world, &[echo]).await;
        }
        let messages = ben.reads(&room).await;
        let of = |mid: &str| messages.iter().find(|it| it["external_id"] == mid).unwrap();
        assert_eq!((&of("m_inbox")["status"], &of("m_later")["status"]), (&json!("read"), &json!("sent")));
    })
    .await;
}
