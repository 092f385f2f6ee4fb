//! Edits and what was taken back: shown, in whatever order they come.

use super::*;

#[tokio::test]
async fn an_edit_changes_its_message_and_the_highest_number_stays() {
    story(async |world| {
        tell(world, "71", message("m_1", "helo")).await;
        tell(world, "71", edit("m_1", "hello!", 2)).await;
        tell(world, "71", edit("m_1", "hello", 1)).await;
        tell(world, "71", edit("m_1", "hello!", 2)).await;
        let [shown] = &messages(world).await[..] else { panic!("one message") };
        assert_eq!(shown["content"], json!({ "kind": "text", "text": "hello!" }));
        assert!(shown["edited_at"].is_string());
        assert_eq!((shown["status"].as_str(), shown["seq"].as_i64()), (Some("received"), Some(1)));
        let edited = "message_edit applied: edited";
        let known = "message_edit duplicate: edited";
        assert_eq!(outcomes(world).await, [edited, known, known]);
        let updated: Vec<_> = world.events().await.into_iter().filter(|it| it["kind"] == "message.updated").collect();
        assert_eq!(updated.len(), 1);
        assert_eq!(updated[0]["data"]["content"]["text"], "hello!");
    })
    .await;
}

#[tokio::test]
async fn a_change_that_comes_before_its_message_waits_for_it() {
    story(async |world| {
        let early = [
            edit("m_1", "second", 2),
            edit("m_1", "first", 1),
            reaction("m_1", "😀"),
            unsent("m_2"),
            edit("m_2", "never seen", 1),
        ];
        for event in early {
            tell(world, "71", event).await;
        }
        // The Page's own, later: each side has one of its own.
        let mut of_page = item(world, PAGE_ID, reaction("m_1", "👍"));
        of_page["recipient"] = json!({ "id": "71" });
        of_page["timestamp"] = (world.clock.now().timestamp_millis() + 1).into();
        tell_all(world, &[of_page]).await;
        assert!(rooms(world).await.is_empty(), "a change opens no room");
        assert_eq!(outcomes(world).await[0], "message_edit applied: edited: waits for its message");
        // Both messages in one post, the second as it was before it was taken back.
        tell_all(world, &[item(world, "71", message("m_1", "zeroth")), item(world, "71", message("m_2", "a secret"))])
            .await;
        let shown = messages(world).await;
        assert_eq!(shown[0]["content"]["text"], "second");
        assert!(shown[0]["edited_at"].is_string());
        let both = json!([{ "by": "contact", "emoji": "😀" }, { "by": "page", "emoji": "👍" }]);
        assert_eq!(shown[0]["reactions"], both);
        assert_eq!(shown[1]["content"], json!({ "kind": "unsupported", "what": "unsent" }));
        assert_eq!(shown[1]["status"], "unsent");
        assert_eq!(count(world, "select count(*) from early_changes").await, 0);
        let told = world.events().await;
        let created: Vec<_> = told.iter().filter(|it| it["kind"] == "message.created").map(|it| &it["data"]).collect();
        assert_eq!(created[0]["reactions"], shown[0]["reactions"], "the event shows what is stored");
        assert!(!json!(told).to_string().contains("a secret"));
        // In one post with its message, before it.
        tell_all(world, &[item(world, "71", edit("m_3", "right", 1)), item(world, "71", message("m_3", "wrong"))])
            .await;
        assert_eq!(messages(world).await[2]["content"]["text"], "right");
    })
    .await;
}

#[tokio::test]
async fn what_was_taken_back_is_hidden_and_the_ledger_keeps_it() {
    story(async |world| {
        let (ben, anna, room) = talk(world).await;
        tell(world, &anna.psid, message("m_1", "my password is hunter2")).await;
        tell(world, &anna.psid, reaction("m_1", "😀")).await;
        for _ in 0..2 {
            tell(world, &anna.psid, unsent("m_1")).await;
        }
        tell(world, &anna.psid, edit("m_1", "hunter2 again", 1)).await;
        tell(world, &anna.psid, reaction("m_1", "😢")).await;
        let shown = ben.reads(&room).await.pop().unwrap();
        assert_eq!(shown["content"], json!({ "kind": "unsupported", "what": "unsent" }));
        assert_eq!((&shown["status"], &shown["reactions"]), (&json!("unsent"), &json!([])));
        assert!(!json!(ben.reads(&room).await).to_string().contains("hunter2"));
        let raw = "select count(*) from ledger where position('hunter2'::bytea in raw) > 0";
        assert_eq!(count(world, raw).await, 2);
    })
    .await;
}
