//! What agents choose from while they answer: canned answers and the directory.

use serde_json::{Value, json};

use crate::support::{story, world::id};

fn shortcuts(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|it| it["shortcut"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn canned_answers_are_the_admins_to_write_and_the_agents_to_read() {
    story(async |world| {
        let queue = id(&world.queue);
        let other = id(&world.admin.post("/queues", json!({ "name": "Other" })).await.expect(201));
        let mut hello = json!({ "shortcut": "Hello", "text": " Good day, {first_name}! " });
        let made = world.admin.post("/canned-answers", hello.clone()).await.expect(201);
        assert_eq!((&made["shortcut"], &made["text"]), (&json!("hello"), &json!("Good day, {first_name}!")));
        assert_eq!(made["queue_id"], Value::Null);
        // The same word once for all queues and once in each; case does not matter.
        hello["shortcut"] = json!("hELLO");
        assert_eq!(world.admin.post("/canned-answers", hello.clone()).await.problem(409), "conflict");
        hello["queue_id"] = json!(queue);
        let own = world.admin.post("/canned-answers", hello.clone()).await.expect(201);
        assert_eq!(world.admin.post("/canned-answers", hello).await.problem(409), "conflict");
        world
            .admin
            .post("/canned-answers", json!({ "shortcut": "bye", "text": "x", "queue_id": other }))
            .await
            .expect(201);

        let ben = world.agent("Ben").await;
        assert_eq!(shortcuts(&ben.api.get("/canned-answers").await.expect(200)), ["hello", "hello", "bye"]);
        let mine = ben.api.get(&format!("/canned-answers?queue_id={queue}")).await.expect(200);
        assert_eq!(shortcuts(&mine), ["hello", "hello"]);
        let first = ben.api.get("/canned-answers?limit=1").await.expect(200);
        let rest = format!("/canned-answers?limit=2&after={}", first["next"].as_str().unwrap());
        assert_eq!(shortcuts(&ben.api.get(&rest).await.expect(200)), ["hello", "bye"]);
        ben.api.post("/canned-answers", json!({ "shortcut": "x", "text": "x" })).await.problem(403);

        let path = format!("/canned-answers/{}", id(&own));
        ben.api.delete(&path).await.problem(403);
        let changed = world.admin.patch(&path, json!({ "text": "Hi" })).await.expect(200);
        assert_eq!((&changed["text"], &changed["shortcut"]), (&json!("Hi"), &json!("hello")));
        assert_eq!(world.admin.patch(&path, json!({ "queue_id": null })).await.problem(409), "conflict");
        world.admin.delete(&path).await.expect(204);
        ben.api.get(&path).await.problem(404);
    })
    .await;
}

#[tokio::test]
async fn a_bad_canned_answer_is_refused_field_by_field() {
    story(async |world| {
        for (body, pointer) in [
            (json!({ "shortcut": "two words", "text": "x" }), "/shortcut"),
            (json!({ "shortcut": "x", "text": "" }), "/text"),
            (json!({ "shortcut": "x" }), "/text"),
            (json!({ "shortcut": "x", "text": "x", "colour": "red" }), "/colour"),
            (json!({ "shortcut": "x", "text": "x", "queue_id": id(&world.tenant) }), "/queue_id"),
        ] {
            let answer = world.admin.post("/canned-answers", body).await;
            assert_eq!(answer.body["errors"][0]["pointer"], pointer);
            answer.problem(422);
        }
        // A queue takes its canned answers with it.
        let queue = id(&world.admin.post("/queues", json!({ "name": "Gone" })).await.expect(201));
        let answer = json!({ "shortcut": "x", "text": "x", "queue_id": queue });
        let answer = id(&world.admin.post("/canned-answers", answer).await.expect(201));
        world.admin.delete(&format!("/queues/{queue}")).await.expect(204);
        world.admin.get(&format!("/canned-answers/{answer}")).await.problem(404);
    })
    .await;
}

#[tokio::test]
async fn the_directory_names_colleagues_queues_and_tags() {
    story(async |world| {
        let (ben, _cleo) = (world.agent("Ben").await.ready().await, world.agent("Cleo").await);
        world.customer("Anna").says("Hello").await;
        ben.takes_next().await;
        let (_, rival) = world.new_tenant("rival").await;
        let tags = json!({ "offered": ["sales"], "required": true });
        world.admin.patch(&format!("/widgets/{}", id(&world.widget)), json!({ "tags": tags })).await.expect(200);

        let directory = ben.api.get("/directory").await.expect(200);
        let agents = directory["agents"].as_array().unwrap();
        let seen: Vec<_> = agents.iter().map(|it| (&it["name"], &it["status"], &it["chats"])).collect();
        assert_eq!(seen, [(&json!("Ben"), &json!("ready"), &json!(1)), (&json!("Cleo"), &json!("offline"), &json!(0))]);
        assert_eq!(directory["queues"].as_array().unwrap().len(), 1);
        assert_eq!(directory["widgets"][0]["tags"], tags);
        let nothing = rival.get("/directory").await.expect(200);
        assert_eq!(nothing, json!({ "agents": [], "queues": [], "widgets": [] }));
    })
    .await;
}
