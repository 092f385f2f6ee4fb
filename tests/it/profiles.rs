//! Names and pictures: asked for on the side, kept by us, refreshed when it is worth it, and never in the way.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use crate::{
    media::follow,
    support::{
        logs::NEW_PAGE_TOKEN,
        story,
        world::{PAGE_ID, id},
    },
};

#[tokio::test]
async fn a_picture_is_ours_before_anybody_sees_it() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        let link = room["contact"]["picture_url"].as_str().unwrap().to_owned();
        assert!(link.starts_with(&format!("{}/media/", world.base)), "{link}");
        assert_eq!(follow(world, &link).await.headers["content-type"], "image/bmp");
        let contact = ben.api.get(&format!("/contacts/{}", id(&room["contact"]))).await.expect(200);
        assert_eq!(contact["picture_url"], link.as_str());
        let shown: Vec<_> = world.events().await.into_iter().filter(|it| it["kind"] == "contact.updated").collect();
        assert_eq!(shown.last().unwrap()["data"]["picture_url"], link.as_str());
        // A month later the contact is back: both are looked at again, and the old picture goes.
        ben.closes(&room).await;
        ben.api
            .patch(&format!("/contacts/{}", id(&room["contact"])), json!({ "name": "Anna of Acme" }))
            .await
            .expect(200);
        world.pass(31 * 24 * 3600).await;
        world.simulator.add_person(PAGE_ID, &anna.psid, "Hannah", "Example", None, None);
        anna.says("me again").await;
        let room = ben.takes_next().await;
        assert_eq!(room["contact"]["first_name"], "Hannah", "what nobody has corrected follows Facebook");
        assert_eq!(room["contact"]["name"], "Anna of Acme", "what somebody has corrected stays");
        let files: i64 = sqlx::query_scalar("select count(*) from media where contact_id is not null")
            .fetch_one(&world.db)
            .await
            .unwrap();
        assert_eq!(files, 1);
    })
    .await;
}

#[tokio::test]
async fn who_has_no_profile_is_a_guest_and_nothing_waits() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        world.simulator.hide_profile(PAGE_ID, &anna.psid, true);
        anna.says("hello").await;
        let room = ben.takes_next().await;
        assert_eq!(room["contact"]["name"], serde_json::Value::Null);
        assert_eq!(ben.reads(&room).await[0]["author"]["name"], "Guest");
        assert_eq!(anna.sees(), ["Hello, Ben here."]);
    })
    .await;
}

#[tokio::test]
async fn a_profile_that_could_not_be_asked_for_is_asked_for_later() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        world.simulator.kill_token(PAGE_ID);
        anna.says("hello").await;
        let rooms = ben.rooms().await;
        assert_eq!(rooms[0]["contact"]["name"], serde_json::Value::Null);
        world.simulator.set_token(PAGE_ID, NEW_PAGE_TOKEN);
        let change = json!({ "messenger": { "page_access_token": NEW_PAGE_TOKEN } });
        world.admin.patch(&format!("/widgets/{}", id(&world.widget)), change).await.expect(200);
        world.pass(3601).await;
        let rooms = world.admin.get("/rooms").await.expect(200);
        assert_eq!(rooms["items"][0]["contact"]["name"], "Anna Example");
    })
    .await;
}

#[tokio::test]
async fn a_profile_that_never_can_be_asked_for_is_left_after_four_times() {
    story(async |world| {
        let anna = world.customer("Anna");
        world.simulator.kill_token(PAGE_ID);
        let pause = "update widgets set paused_until = $1";
        sqlx::query(pause).bind(world.clock.now() + TimeDelta::hours(2)).execute(&world.db).await.unwrap();
        anna.says("hello").await;
        let due = async || {
            let due = "select profile_failures, profile_due_at from contacts";
            let (failures, at): (i32, Option<DateTime<Utc>>) = sqlx::query_as(due).fetch_one(&world.db).await.unwrap();
            (failures, at.map(|it| (it - world.clock.now()).num_hours()))
        };
        // That nobody may be called yet is no failure.
        assert_eq!(due().await, (0, Some(2)));
        world.pass(2 * 3600).await;
        for (failures, hours) in [(1, Some(1)), (2, Some(6)), (3, Some(24)), (4, None)] {
            assert_eq!(due().await, (failures, hours));
            // As if nobody had noticed that the token is dead.
            sqlx::query("update widgets set page_token_state = 'ok'").execute(&world.db).await.unwrap();
            world.pass(hours.unwrap_or(48) * 3600).await;
        }
        assert_eq!(due().await, (4, None));
    })
    .await;
}

#[tokio::test]
async fn who_never_wrote_is_not_looked_at_until_they_do() {
    story(async |world| {
        let anna = world.customer("Anna");
        let unasked = async || {
            let count = "select count(*) from contacts where profile_at is null";
            sqlx::query_scalar::<_, i64>(count).fetch_one(&world.db).await.unwrap()
        };
        // Another tool writes to her, and she opts in to something.
        let at = world.clock.now().timestamp_millis();
        let echo = json!({ "sender": { "id": PAGE_ID }, "recipient": { "id": anna.psid }, "timestamp": at,
            "message": { "mid": "m_broadcast", "is_echo": true, "app_id": 42, "text": "News!" } });
        world.simulator.deliver_item(PAGE_ID, "message_echoes", echo).await;
        let bea = world.customer("Bea");
        let optin = json!({ "sender": { "id": bea.psid }, "recipient": { "id": PAGE_ID }, "timestamp": at,
            "optin": { "ref": "x" } });
        world.simulator.deliver_item(PAGE_ID, "messaging_optins", optin).await;
        world.settle().await;
        let contacts = async || {
            let all = "select count(*) filter (where name is not null), count(*) from contacts";
            sqlx::query_as::<_, (i64, i64)>(all).fetch_one(&world.db).await.unwrap()
        };
        assert_eq!((unasked().await, contacts().await), (0, (0, 2)));
        anna.says("what news?").await;
        bea.says("hello").await;
        let rooms = world.admin.get("/rooms?status=waiting").await.expect(200);
        let names: Vec<_> = rooms["items"].as_array().unwrap().iter().map(|it| it["contact"]["name"].clone()).collect();
        assert_eq!(names, ["Anna Example", "Bea Example"]);
    })
    .await;
}
