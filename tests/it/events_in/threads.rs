//! Who answers a contact: thread control.

use super::*;

#[tokio::test]
async fn a_room_knows_who_answers_and_replies_are_refused_meanwhile() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        let write = async || {
            let draft = json!({ "content": { "kind": "text", "text": "Hello?" } });
            ben.api.post(&format!("/rooms/{}/messages", id(&room)), draft).await
        };
        let owner = async || ben.room(&room).await["thread_owner"].clone();
        assert_eq!(owner().await, Value::Null);
        let pass = item(world, &anna.psid, passed(PAGE_INBOX));
        for _ in 0..2 {
            tell_all(world, std::slice::from_ref(&pass)).await;
        }
        assert_eq!(owner().await["app_id"], PAGE_INBOX);
        let refused = write().await;
        assert_eq!(refused.body["thread_owner"]["app_id"], PAGE_INBOX);
        assert_eq!(refused.problem(409), "thread-elsewhere");
        let notices = async || ben.reads(&room).await.into_iter().filter(|it| it["direction"] == "system").count();
        assert_eq!(notices().await, 1);
        // Somebody asks for it: told, nothing else.
        world.pass(1).await;
        tell(world, &anna.psid, json!({ "request_thread_control": { "requested_owner_app_id": 123, "metadata": null } })).await;
        assert_eq!((owner().await["app_id"].as_str(), notices().await), (Some(PAGE_INBOX), 2));
        // It comes back, taken by us or passed.
        world.pass(1).await;
        let back = json!({ "take_thread_control": { "previous_owner_app_id": PAGE_INBOX, "new_owner_app_id": APP_ID.parse::<u64>().unwrap() } });
        tell(world, &anna.psid, back).await;
        assert_eq!(owner().await, Value::Null);
        ben.replies(&room, "Here I am again").await;
        // What came before is delivered once more: nothing changes.
        tell_all(world, std::slice::from_ref(&pass)).await;
        assert_eq!(owner().await, Value::Null);
        // The old form names only who lost it.
        world.pass(1).await;
        tell(world, &anna.psid, json!({ "take_thread_control": { "previous_owner_app_id": APP_ID, "metadata": "x" } })).await;
        assert_eq!((&owner().await["app_id"], owner().await["since"].is_string()), (&Value::Null, true));
        assert_eq!(write().await.problem(409), "thread-elsewhere");
        // Meta brings us the contact's next message: so we may answer it.
        world.pass(1).await;
        anna.says("Anybody?").await;
        assert_eq!(owner().await, Value::Null);
        ben.replies(&room, "Yes").await;
        // And control lapses.
        world.pass(1).await;
        tell(world, &anna.psid, passed("555")).await;
        anna.world.pass(23 * 3600).await;
        assert_eq!(write().await.problem(409), "thread-elsewhere");
    })
    .await;
}

#[tokio::test]
async fn a_thread_is_taken_back_where_facebook_allows_it() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        let (eve, take) = (world.agent("Eve").await, format!("/rooms/{}/take-thread", id(&room)));
        // Nothing to take: nobody is asked.
        let refusal = Fault::Error { http_status: 403, code: 10, subcode: Some(2_018_171), message: "no".to_owned() };
        world.simulator.fail_next_sends(PAGE_ID, vec![refusal]);
        assert_eq!(ben.api.act(&take).await.expect(200)["thread_owner"], Value::Null);
        tell(world, &anna.psid, passed(PAGE_INBOX)).await;
        assert_eq!(eve.api.act(&take).await.problem(403), "not-your-room");
        world.pass(1).await;
        assert_eq!(ben.api.act(&take).await.problem(409), "graph-refused");
        assert_eq!(ben.room(&room).await["thread_owner"]["app_id"], PAGE_INBOX);
        assert_eq!(ben.api.act(&take).await.expect(200)["thread_owner"], Value::Null);
        ben.replies(&room, "It is me again").await;
        assert_eq!(anna.sees().pop().unwrap(), "It is me again");
    })
    .await;
}

#[tokio::test]
async fn nothing_is_sent_again_into_somebody_elses_thread() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::error(100, Some(2_018_109), "(#100) too large")]);
        let resend = format!("/messages/{}/resend", id(&ben.replies(&room, "big").await));
        tell(world, &anna.psid, passed(PAGE_INBOX)).await;
        let refused = ben.api.act(&resend).await;
        assert_eq!(refused.body["thread_owner"]["app_id"], PAGE_INBOX);
        assert_eq!(refused.problem(409), "thread-elsewhere");
        world.pass(1).await;
        ben.api.act(&format!("/rooms/{}/take-thread", id(&room))).await.expect(200);
        ben.api.act(&resend).await.expect(201);
        world.settle().await;
        assert_eq!(anna.sees().pop().unwrap(), "big");
        world.expects_trouble.store(true, std::sync::atomic::Ordering::Relaxed);
    })
    .await;
}

#[tokio::test]
async fn no_automatic_text_goes_into_somebody_elses_thread() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        tell(world, &anna.psid, passed(PAGE_INBOX)).await;
        let seen = anna.sees().len();
        ben.closes(&room).await;
        assert_eq!(anna.sees().len(), seen, "{:?}", anna.sees());
    })
    .await;
}
