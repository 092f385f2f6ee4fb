//! The event log: as a stream and as a pull, for those who may see it.

use serde_json::Value;

use crate::support::{Api, story, world::id};

/// Reads so many events from a stream.
async fn read(api: &Api, after: Option<&str>, count: usize) -> Vec<(String, Value)> {
    let mut request = api.request(reqwest::Method::GET, "/events").header("accept", "text/event-stream");
    if let Some(after) = after {
        request = request.header("last-event-id", after);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut bytes = response;
    let (mut text, mut events) = (String::new(), Vec::new());
    while events.len() < count {
        text.push_str(std::str::from_utf8(&bytes.chunk().await.unwrap().unwrap()).unwrap());
        while let Some((block, rest)) = text.split_once("\n\n") {
            let field = |name: &str| block.lines().find_map(|it| it.strip_prefix(name)).map(|it| it.trim().to_owned());
            if let (Some(id), Some(data)) = (field("id:"), field("data:")) {
                let data: Value = serde_json::from_str(&data).unwrap();
                assert_eq!(data["id"], id.as_str());
                assert_eq!(data["kind"], field("event:").unwrap().as_str());
                events.push((id, data));
            }
            text = rest.to_owned();
        }
    }
    events
}

#[tokio::test]
async fn a_resumed_stream_misses_nothing_and_repeats_nothing() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("one").await;
        let room = ben.takes_next().await;
        ben.replies(&room, "two").await;
        let all = world.events().await;
        assert!(all.len() >= 6);
        let ids: Vec<_> = all.iter().map(id).collect();
        for cut in 0..ids.len() - 1 {
            let rest = read(&world.admin, Some(&ids[cut]), ids.len() - 1 - cut).await;
            assert_eq!(rest.iter().map(|it| it.0.clone()).collect::<Vec<_>>(), ids[cut + 1..]);
        }
        // Live: what happens while the stream is open comes at once, once.
        let last = ids.last().unwrap().clone();
        let api = world.admin.clone();
        let reading = tokio::spawn(async move { read(&api, Some(&last), 2).await });
        anna.says("three").await;
        anna.says("four").await;
        let live = reading.await.unwrap();
        let texts: Vec<_> =
            live.iter().map(|it| it.1["data"]["content"]["text"].as_str().unwrap().to_owned()).collect();
        assert_eq!(texts, ["three", "four"]);
    })
    .await;
}

/// Who waits for a row that somebody has changed may be given a transaction id before they get it: lower than that of whoever gets it
/// first.
#[tokio::test]
async fn whoever_has_a_room_later_is_told_later() {
    story(async |world| {
        world.customer("Anna").says("hello").await;
        let mut early = chatgate::db::begin(&world.db).await.unwrap();
        sqlx::query("select pg_current_xact_id()").execute(&mut *early).await.unwrap();
        let ben = world.agent("Ben").await.ready().await;
        let room = ben.takes_next().await;
        sqlx::query(
            "insert into events (at, tenant_id, kind, room_id, data)
            select at, tenant_id, 'room.updated', room_id, data
            from events
            where kind = 'room.accepted'",
        )
        .execute(&mut *early)
        .await
        .unwrap();
        // Nor may a reader have gone past it meanwhile.
        let before: Vec<_> = world.events().await.iter().map(id).collect();
        early.commit().await.unwrap();
        let all = world.events().await;
        assert_eq!(all.iter().map(id).collect::<Vec<_>>()[..before.len()], before);
        let kinds = all.iter().filter(|it| it["room_id"] == room["id"]);
        let kinds: Vec<_> = kinds.map(|it| it["kind"].as_str().unwrap()).filter(|it| it.starts_with("room.")).collect();
        assert_eq!(kinds, ["room.opened", "room.queued", "room.offered", "room.accepted", "room.updated"]);
    })
    .await;
}

/// Who notes several agents in another order than they are given rooms would wait in a circle.
#[tokio::test]
async fn a_stream_opens_while_its_agent_is_being_given_a_room() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let mut giving = chatgate::db::begin(&world.db).await.unwrap();
        sqlx::query("select from agents for no key update").execute(&mut *giving).await.unwrap();
        assert_eq!(read(&ben.api, None, 0).await, []);
        giving.rollback().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_story_of_a_room_is_told_in_order() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        world.customer("Anna").says("hello").await;
        let room = ben.takes_next().await;
        ben.closes(&room).await;
        let kinds: Vec<_> = world
            .events()
            .await
            .iter()
            .filter(|it| it["room_id"] == room["id"])
            .map(|it| it["kind"].as_str().unwrap().to_owned())
            .collect();
        let rooms: Vec<_> = kinds.iter().filter(|it| it.starts_with("room.")).collect();
        assert_eq!(rooms, ["room.opened", "room.queued", "room.offered", "room.accepted", "room.closed"]);
    })
    .await;
}

#[tokio::test]
async fn an_agent_sees_what_is_theirs_and_another_tenant_nothing() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let cleo = world.agent("Cleo").await;
        world.customer("Anna").says("hello").await;
        let room = ben.takes_next().await;
        let seen = |page: Value| {
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it["kind"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let bens = seen(ben.api.get("/events?limit=200").await.expect(200));
        assert!(
            bens.contains(&"room.offered".to_owned()) && bens.contains(&"agent.status_changed".to_owned()),
            "{bens:?}"
        );
        let cleos = ben.world.admin.with(cleo.api.token.as_deref().unwrap()).get("/events?limit=200").await.expect(200);
        assert!(seen(cleos.clone()).iter().all(|it| it == "agent.status_changed"), "{cleos}");
        let (_, rival) = world.new_tenant("rival").await;
        assert_eq!(rival.get("/events?limit=200").await.expect(200)["items"].as_array().unwrap().len(), 0);
        ben.closes(&room).await;
    })
    .await;
}

#[tokio::test]
async fn a_pull_waits_for_news_and_its_cursor_can_be_read_again() {
    story(async |world| {
        let anna = world.customer("Anna");
        anna.says("one").await;
        let page = world.admin.get("/events?limit=1").await.expect(200);
        let next = page["next"].as_str().unwrap().to_owned();
        let path = format!("/events?after={next}&limit=200");
        let once = world.admin.get(&path).await.expect(200);
        assert_eq!(world.admin.get(&path).await.expect(200), once);
        let end = once["next"].as_str().unwrap().to_owned();
        let api = world.admin.clone();
        let waiting = tokio::spawn(async move { api.get(&format!("/events?after={end}&wait_s=20")).await.expect(200) });
        anna.says("two").await;
        let page = waiting.await.unwrap();
        assert_eq!(page["items"][0]["data"]["content"]["text"], "two");
        assert_eq!(world.admin.get("/events?after=nonsense").await.pointers(), ["after"]);
        assert_eq!(world.admin.get("/events?wait_s=31").await.pointers(), ["wait_s"]);
    })
    .await;
}

#[tokio::test]
async fn a_stream_ends_with_the_session_it_was_opened_with() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let mut stream = ben
            .api
            .request(reqwest::Method::GET, "/events")
            .header("accept", "text/event-stream")
            .send()
            .await
            .unwrap();
        let anna = world.customer("Anna");
        anna.says("hello").await;
        world.settle().await;
        let told = stream.chunk().await.unwrap().unwrap();
        assert!(std::str::from_utf8(&told).unwrap().contains("room.offered"), "{told:?}");
        ben.api.delete("/sessions/current").await.expect(204);
        // Bigger than the time within which a stream looks at its credential again.
        world.pass(16).await;
        anna.says("still there?").await;
        let mut rest = String::new();
        while let Some(more) = stream.chunk().await.unwrap() {
            rest.push_str(std::str::from_utf8(&more).unwrap());
            assert!(!rest.contains("still there?"), "{rest}");
        }
    })
    .await;
}
