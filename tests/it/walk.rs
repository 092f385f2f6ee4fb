//! The walk of a message, from Facebook to the agent and back.

use serde_json::json;

use crate::support::{story, world::id};

#[tokio::test]
async fn a_message_walks_to_an_agent_and_the_reply_back() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("Is my order on its way? 🚚").await;
        let room = ben.takes_next().await;
        assert_eq!(room["status"], "active");
        assert_eq!(room["contact"]["first_name"], "Anna");
        let reply = ben.replies(&room, "It is, until Friday.").await;
        assert_eq!(reply["status"], "queued");
        assert_eq!(anna.sees(), ["Hello Anna, Ben here.", "It is, until Friday."]);
        let messages = ben.reads(&room).await;
        let texts: Vec<_> =
            messages.iter().map(|it| (it["seq"].as_i64().unwrap(), it["content"]["text"].as_str().unwrap())).collect();
        assert_eq!(
            texts,
            [(1, "Is my order on its way? 🚚"), (2, "Hello Anna, Ben here."), (3, "It is, until Friday.")]
        );
        assert_eq!(messages[2]["status"], "delivered");
        let closed = ben.closes(&room).await;
        assert_eq!((closed["status"].as_str(), closed["close_reason"].as_str()), (Some("closed"), Some("agent")));
        assert_eq!(anna.sees().last().unwrap(), "Goodbye from Acme.");
    })
    .await;
}

#[tokio::test]
async fn the_keyword_email_asks_and_the_tap_fills_the_contact() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let words = json!({ "texts": { "email_prompt": "{first_name}, what is your address? {agent_name} of {display_name}" } });
        world.admin.patch(&format!("/widgets/{}", id(&world.widget)), words).await.expect(200);
        let anna = world.customer("Anna");
        anna.says("Please call me").await;
        let room = ben.takes_next().await;
        let asked = ben.replies(&room, " email ").await;
        assert_eq!(asked["content"]["kind"], "request_field");
        let name = world.widget["display_name"].as_str().unwrap();
        assert_eq!(asked["content"]["text"], format!("Anna, what is your address? Ben of {name}"));
        world
            .simulator
            .tap_quick_reply(crate::support::world::PAGE_ID, &anna.psid, "user_email", "anna@example.com")
            .await;
        world.settle().await;
        let last = ben.reads(&room).await.pop().unwrap();
        assert_eq!(last["content"], json!({ "kind": "shared_field", "field": "email", "value": "anna@example.com" }));
        assert_eq!(ben.room(&room).await["contact"]["email"], "anna@example.com");
        assert!(world.kinds().await.contains(&"contact.updated".to_owned()));
        let contact = ben.api.get(&format!("/contacts/{}", id(&room["contact"]))).await.expect(200);
        assert_eq!(contact["email"], "anna@example.com");
        assert_eq!(contact["facts"]["email"]["via"], "shared", "how it came here");
        // A colleague's correction says whose it is, of what was corrected only.
        let path = format!("/contacts/{}", id(&contact));
        let corrected = ben.api.patch(&path, json!({ "phone": "+12025550199", "name": "Anna B." })).await.expect(200);
        assert_eq!(corrected["facts"]["email"], contact["facts"]["email"]);
        assert_eq!(
            (&corrected["facts"]["phone"]["via"], &corrected["facts"]["phone"]["by"]),
            (&json!("entered"), &json!("Ben"))
        );
        assert_eq!(corrected["facts"].as_object().unwrap().len(), 2);
    })
    .await;
}
