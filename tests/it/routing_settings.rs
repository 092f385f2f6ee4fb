//! What admins and supervisors set about queues, and what agents may not.

use serde_json::json;

use crate::support::{logs::PASSWORD, story, world::id};

#[tokio::test]
async fn every_setting_of_a_queue_is_kept_and_shown() {
    story(async |world| {
        let other = world.admin.post("/queues", json!({ "name": "Overflow" })).await.expect(201);
        assert_eq!((other["priority"].as_i64(), other["service_level_s"].as_i64()), (Some(5), Some(60)));
        for off in ["overflow_after_s", "contact_silent_minutes", "agent_silent_minutes", "waiting_text_every_s"] {
            assert!(other[off].is_null(), "{off} is off by default");
        }
        let settings = json!({
            "name": "All", "strategy": "least_busy", "accept": "auto", "offer_timeout_s": 20, "offer_timeout_action": "requeue_and_away",
            "priority": 1, "sticky_minutes": 60, "overflow_after_s": 120, "overflow_queue_id": id(&other), "max_waiting": 10,
            "max_waiting_text": "Try later, {first_name}.", "wrap_up_s": 15, "service_level_s": 30,
            "waiting_text": "You are number {position}.", "waiting_text_every_s": 60, "contact_silent_minutes": 10,
            "contact_silent_text": "Still there?", "contact_close_minutes": 5, "agent_silent_minutes": 4, "agent_return_minutes": 6,
        });
        let made = world.admin.post("/queues", settings.clone()).await.expect(201);
        let shown = world.admin.get(&format!("/queues/{}", id(&made))).await.expect(200);
        for (name, value) in settings.as_object().unwrap() {
            assert_eq!(&shown[name], value, "{name}");
        }
        let changed = world.admin.patch(&format!("/queues/{}", id(&made)), json!({ "sticky_minutes": 5 })).await.expect(200);
        assert_eq!((changed["sticky_minutes"].as_i64(), changed["wrap_up_s"].as_i64()), (Some(5), Some(15)));
        let listed = world.admin.get("/queues").await.expect(200);
        assert!(listed["items"].as_array().unwrap().contains(&changed), "{listed}");
        assert_eq!(world.admin.delete(&format!("/queues/{}", id(&other))).await.problem(409), "in-use");
    })
    .await;
}

#[tokio::test]
async fn settings_that_make_no_sense_are_named() {
    story(async |world| {
        let bad =
            json!({ "name": "Bad", "waiting_text": "Hello {nickname}", "service_level_s": 0, "overflow_after_s": 9 });
        assert_eq!(
            world.admin.post("/queues", bad).await.pointers(),
            ["/service_level_s", "/overflow_queue_id", "/waiting_text"]
        );
        let (a, b) = (id(&world.queue), world.admin.post("/queues", json!({ "name": "B" })).await.expect(201));
        let to = |queue: &str| json!({ "overflow_after_s": 60, "overflow_queue_id": queue });
        world.admin.patch(&format!("/queues/{a}"), to(&id(&b))).await.expect(200);
        for (queue, target) in [(&id(&b), &a), (&a, &a)] {
            let circle = world.admin.patch(&format!("/queues/{queue}"), to(target)).await;
            assert_eq!(circle.pointers(), ["/overflow_queue_id"]);
        }
        let (_, rival) = world.new_tenant("rival").await;
        let theirs = rival.post("/queues", json!({ "name": "Theirs" })).await.expect(201);
        let stolen = world.admin.patch(&format!("/queues/{}", id(&b)), to(&id(&theirs))).await;
        assert_eq!(stolen.pointers(), ["/overflow_queue_id"]);
        let chats = world.admin.get("/incoming-chats").await.expect(200);
        let chat = format!("/incoming-chats/{}", id(&chats["items"][0]));
        let bad = json!({ "offline_message": "Back {next_opening}" });
        assert_eq!(world.admin.patch(&chat, bad).await.pointers(), ["/offline_message"]);
    })
    .await;
}

#[tokio::test]
async fn supervisors_say_who_is_in_a_queue_and_agents_do_not() {
    story(async |world| {
        let user = json!({ "email": "sue@acme.test", "name": "Sue", "password": PASSWORD, "roles": ["supervisor"] });
        world.admin.post("/users", user).await.expect(201);
        let sue = world.log_in("acme", "sue@acme.test").await;
        let ben = world.agent("Ben").await;
        let queue = sue.get("/queues").await.expect(200)["items"][0].clone();
        let mine = format!("/queues/{}/members/{}", id(&queue), ben.id);
        assert_eq!(ben.api.put(&mine, json!({})).await.problem(403), "forbidden");
        assert_eq!(ben.api.delete(&mine).await.problem(403), "forbidden");
        sue.delete(&mine).await;
        let ben = ben.ready().await;
        world.customer("Anna").says("hello").await;
        assert!(ben.rooms().await.is_empty(), "nobody rings who is not in the queue");
        sue.put(&mine, json!({ "priority": 2 })).await.expect(201);
        world.settle().await;
        assert_eq!(ben.rooms().await.len(), 1);
        let set = json!({ "status": "away", "reason": "training" });
        sue.put(&format!("/agents/{}/status", ben.id), set).await.expect(200);
        world.settle().await;
        assert!(ben.rooms().await.is_empty());
        let log = world.admin.get("/audit-log").await.expect(200);
        let by_sue: Vec<_> =
            log["items"].as_array().unwrap().iter().filter(|it| it["actor"]["name"] == "Sue").collect();
        let actions: Vec<_> = by_sue.iter().map(|it| it["action"].as_str().unwrap()).collect();
        assert_eq!(actions, ["agent.status_set", "queue.member_set", "queue.member_removed"]);
        assert_eq!(by_sue[0]["target_id"], ben.id.as_str());
    })
    .await;
}
