//! Reactions: shown, taken back, and what they open.

use super::*;

#[tokio::test]
async fn reactions_stand_at_both_sides_messages_and_go_again() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        let reply = ben.replies(&room, "Hi Anna").await;
        let ours = ben.reads(&room).await.into_iter().find(|it| it["id"] == reply["id"]).unwrap();
        let (ours, theirs) = (ours["external_id"].as_str().unwrap().to_owned(), "m_theirs");
        tell(world, &anna.psid, message(theirs, "Thanks")).await;
        let reactions = async |id: &str| {
            let all = ben.reads(&room).await;
            all.iter().find(|it| it["external_id"] == id).unwrap()["reactions"].clone()
        };
        let first = item(world, &anna.psid, reaction(&ours, "😀"));
        tell_all(world, std::slice::from_ref(&first)).await;
        tell(world, &anna.psid, reaction(theirs, "❤️")).await;
        assert_eq!(reactions(&ours).await, json!([{ "by": "contact", "emoji": "😀" }]));
        assert_eq!(reactions(theirs).await, json!([{ "by": "contact", "emoji": "❤️" }]));
        world.pass(10).await;
        // A new one replaces, and what is delivered again brings nothing back.
        tell(world, &anna.psid, json!({ "reaction": { "reaction": "sad", "action": "react", "mid": ours } })).await;
        assert_eq!(reactions(&ours).await, json!([{ "by": "contact", "emoji": "😢" }]));
        tell_all(world, std::slice::from_ref(&first)).await;
        assert_eq!(reactions(&ours).await, json!([{ "by": "contact", "emoji": "😢" }]));
        world.pass(10).await;
        tell(world, &anna.psid, unreaction(&ours)).await;
        tell_all(world, std::slice::from_ref(&first)).await;
        assert_eq!(reactions(&ours).await, json!([]));
        assert_eq!(outcomes(world).await.last().unwrap(), "reaction duplicate: reacted");
    })
    .await;
}

#[tokio::test]
async fn a_reaction_may_overtake_the_echo_of_a_message_from_elsewhere() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        tell(world, &anna.psid, reaction("m_inbox", "👍")).await;
        let echo = json!({ "sender": { "id": PAGE_ID }, "recipient": { "id": anna.psid }, "timestamp": world.clock.now().timestamp_millis(),
            "message": { "is_echo": true, "app_id": PAGE_INBOX, "mid": "m_inbox", "text": "From the inbox" } });
        tell_all(world, &[echo]).await;
        let shown = ben.reads(&room).await.pop().unwrap();
        assert_eq!(shown["author"]["kind"], "page");
        assert_eq!(shown["reactions"], json!([{ "by": "contact", "emoji": "👍" }]));
    })
    .await;
}

#[tokio::test]
async fn a_reaction_opens_the_window_and_its_removal_does_not() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        let until = async || ben.room(&room).await["window"]["open_until"].clone();
        let first = until().await;
        world.pass(3600).await;
        tell(world, &anna.psid, reaction("m_unknown", "😀")).await;
        let second = until().await;
        assert!(second.as_str() > first.as_str(), "{second} after {first}");
        world.pass(3600).await;
        tell(world, &anna.psid, unreaction("m_unknown")).await;
        assert_eq!(until().await, second);
    })
    .await;
}
