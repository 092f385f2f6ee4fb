//! The short way: what may be put into its room by the write that promises it, and what must wait.

use std::collections::HashMap;

use chatgate::{
    channels::{Content, meta::signature},
    ids::{ItemId, MessageId, MetaAppId, TenantId},
    intake::{
        self, NewItem, Plain,
        store::accept::{Ready, Written, find_ready, insert_items},
    },
    rooms::receive::{Inbound, into_rooms},
    secret::Secret,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Api, World,
    logs::APP_SECRET,
    story,
    world::{PAGE_ID, id},
};

const PSID: &str = "7300000000000001";

/// An element of `messaging`: something that happens to the customer's message of this id.
fn event(psid: &str, rest: &Value) -> Value {
    let mut event =
        json!({ "sender": { "id": psid }, "recipient": { "id": PAGE_ID }, "timestamp": 1_790_000_000_000_u64 });
    event.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    event
}

fn text(psid: &str, mid: &str, text: &str) -> Value {
    event(psid, &json!({ "message": { "mid": mid, "text": text } }))
}

fn picture(psid: &str, mid: &str) -> Value {
    let attachment = json!({ "type": "location", "payload": { "coordinates": { "lat": 1.5, "long": 2.5 } } });
    event(psid, &json!({ "message": { "mid": mid, "attachments": [attachment] } }))
}

/// Posts events in one body and has it answered; nobody applies anything by that.
async fn post(world: &World, events: &[Value]) {
    let entry = json!({ "id": PAGE_ID, "time": 1_790_000_000_000_u64, "messaging": events });
    let body = json!({ "object": "page", "entry": [entry] }).to_string();
    let shown = world.admin.get(&format!("/widgets/{}/callback", id(&world.widget))).await.expect(200);
    let path = shown["callback_url"].as_str().unwrap().strip_prefix(&world.base).unwrap().to_owned();
    let nobody = Api::new(&world.base, None);
    let signed = signature::sign(&Secret::new(APP_SECRET), body.as_bytes());
    let request = nobody.request(Method::POST, &path).header("x-hub-signature-256", signed).body(body);
    assert_eq!(nobody.send(request).await.status, 200);
}

/// What the customer's newest room holds: texts, or the kind of what has none.
async fn room(world: &World, psid: &str) -> Vec<String> {
    let rooms = world.admin.get("/rooms?limit=200").await.expect(200);
    let rooms = rooms["items"].as_array().unwrap().clone();
    let Some(room) = rooms.into_iter().find(|it| it["contact"]["sender_id"] == psid) else { return Vec::new() };
    let messages = world.admin.get(&format!("/rooms/{}/messages", id(&room))).await.expect(200);
    let messages = messages["items"].as_array().unwrap().iter();
    let said = |it: &Value| it["content"]["text"].as_str().or(it["content"]["kind"].as_str()).unwrap().to_owned();
    messages.filter(|it| it["direction"] == "inbound").map(said).collect()
}

async fn count(world: &World, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&world.db).await.unwrap()
}

const PENDING: &str = "select count(*) from pending";

#[tokio::test]
async fn a_text_into_an_open_room_is_there_when_it_is_answered() {
    story(async |world| {
        post(world, &[text(PSID, "m_1", "one")]).await;
        assert_eq!((room(world, PSID).await.len(), count(world, PENDING).await), (0, 1), "a new room takes its time");
        world.settle().await;
        post(world, &[text(PSID, "m_2", "two"), text(PSID, "m_3", "three")]).await;
        assert_eq!(count(world, PENDING).await, 0);
        assert_eq!(room(world, PSID).await, ["one", "two", "three"]);
        let told = world.kinds().await;
        assert_eq!(told.iter().filter(|it| *it == "message.created").count(), 3);
        // As if it had gone the long way: the ledger explains it, a second delivery changes nothing and is counted.
        post(world, &[text(PSID, "m_3", "three")]).await;
        world.settle().await;
        assert_eq!(room(world, PSID).await, ["one", "two", "three"]);
        let items = world.admin.get("/ledger?kind=message").await.expect(200);
        let items = items["items"].as_array().unwrap().clone();
        let states: Vec<_> = items.iter().map(|it| (it["state"].clone(), it["deliveries"].clone())).collect();
        assert_eq!(states.iter().filter(|it| it.0 == "applied").count(), 3);
        assert_eq!(states.iter().filter(|it| it.0 == "duplicate").count(), 1);
        assert_eq!(states.iter().filter(|it| it.1 == 2).count(), 1);
        let rooms = world.admin.get("/rooms").await.expect(200);
        assert_eq!((rooms["items"][0]["last_seq"].clone(), rooms["items"][0]["unread"].clone()), (json!(3), json!(3)));
    })
    .await;
}

#[tokio::test]
async fn a_window_counts_from_the_last_word_whatever_room_it_went_into() {
    story(async |world| {
        let (ben, anna) = (world.agent("Ben").await.ready().await, world.customer("Anna"));
        anna.says("one").await;
        let first = ben.takes_next().await;
        let closes_at = async |room: &Value| ben.room(room).await["window"]["open_until"].clone();
        let opened = closes_at(&first).await;
        world.pass(2 * 3600).await;
        anna.says("two").await;
        let moved = closes_at(&first).await;
        assert_ne!(moved, opened);
        assert_eq!(count(world, "select count(*) from rooms r join contacts c on c.id = r.contact_id where r.wrote_at > c.last_inbound_at").await, 1, "a message into an open room writes nothing of its contact");
        // One of the hour before comes late, into a room of its own.
        ben.closes(&first).await;
        let late = (world.clock.now() - chrono::TimeDelta::hours(1)).timestamp_millis();
        let mut late_text = text(&anna.psid, "m_late", "one and a half");
        late_text["timestamp"] = json!(late);
        post(world, &[late_text]).await;
        world.settle().await;
        let second = ben.takes_next().await;
        assert_ne!(id(&second), id(&first));
        assert_eq!(closes_at(&second).await, moved);
    })
    .await;
}

#[tokio::test]
async fn a_webhook_of_many_is_promised_first() {
    story(async |world| {
        post(world, &[text(PSID, "m_0", "0")]).await;
        world.settle().await;
        let texts = |from: usize, to: usize| (from..to).map(|n| text(PSID, &format!("m_{n}"), &n.to_string()));
        post(world, &texts(1, 33).collect::<Vec<_>>()).await;
        assert_eq!(count(world, PENDING).await, 0);
        post(world, &texts(33, 66).collect::<Vec<_>>()).await;
        assert_eq!(count(world, PENDING).await, 33);
        world.settle().await;
        let in_order =
            "select count(*) from messages where direction = 'inbound' and (content ->> 'text')::integer + 1 = seq";
        assert_eq!((count(world, PENDING).await, count(world, in_order).await), (0, 66));
    })
    .await;
}

#[tokio::test]
async fn what_happened_before_a_room_was_had_is_told_before() {
    story(async |world| {
        let psids = [PSID, "7300000000000002"];
        for psid in psids {
            post(world, &[text(psid, &format!("m_{psid}"), "one")]).await;
        }
        world.settle().await;
        // Whoever writes into a room stops there, with the other one before it.
        sqlx::raw_sql(
            "create function stop() returns trigger language plpgsql as $$
            begin
                perform pg_advisory_xact_lock_shared(77);
                return new;
            end $$;
            create trigger stop before update on rooms for each row execute function stop()",
        )
        .execute(&world.db)
        .await
        .unwrap();
        // The short way, and the long one of what is no text.
        for (round, event) in
            [text as fn(&str, &str, &str) -> Value, |psid, mid, _| picture(psid, mid)].iter().enumerate()
        {
            let mut stop = chatgate::db::begin(&world.db).await.unwrap();
            sqlx::query("select pg_advisory_xact_lock(77)").execute(&mut *stop).await.unwrap();
            let events = psids.map(|psid| event(psid, &format!("m_{psid}_{round}"), "two"));
            let writing = async {
                post(world, &events).await;
                world.settle().await;
            };
            let meanwhile = async {
                while count(
                    world,
                    "select count(*) from pg_locks where locktype = 'advisory' and objid = 77 and not granted",
                )
                .await
                    == 0
                {
                    tokio::task::yield_now().await;
                }
                // Both rooms: the one that is being written into waits, the other one is told about.
                let told = sqlx::query(
                    "with held as materialized (
                        select tenant_id, id
                        from rooms
                        for update skip locked)
                    insert into events (at, tenant_id, kind, room_id, data)
                    select now(), tenant_id, 'room.updated', id, '{}'
                    from held",
                );
                assert_eq!(told.execute(&world.db).await.unwrap().rows_affected(), 1);
                stop.rollback().await.unwrap();
            };
            tokio::join!(writing, meanwhile);
            let log = world.events().await;
            let updated = log.iter().rposition(|it| it["kind"] == "room.updated").unwrap();
            let rest: Vec<_> = log[updated..].iter().filter(|it| it["room_id"] == log[updated]["room_id"]).collect();
            let kinds: Vec<_> = rest.iter().map(|it| it["kind"].as_str().unwrap()).collect();
            assert_eq!(kinds, ["room.updated", "message.created"]);
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_overtakes_what_waits() {
    story(async |world| {
        post(world, &[text(PSID, "m_1", "one")]).await;
        world.settle().await;
        // In the same body, and in the next.
        post(world, &[text(PSID, "m_2", "two"), picture(PSID, "m_3"), text(PSID, "m_4", "four")]).await;
        assert_eq!(room(world, PSID).await, ["one", "two"]);
        post(world, &[text(PSID, "m_5", "five")]).await;
        assert_eq!(room(world, PSID).await, ["one", "two"]);
        world.settle().await;
        assert_eq!(room(world, PSID).await, ["one", "two", "attachments", "four", "five"]);
        // What has to be looked at more closely: an answer, a number that may have been asked for, an edit that came first.
        let answer = event(PSID, &json!({ "message": { "mid": "m_6", "text": "six", "reply_to": { "mid": "m_1" } } }));
        let edit = event(PSID, &json!({ "message_edit": { "mid": "m_7", "text": "seven, edited", "num_edit": 1 } }));
        for event in [answer, text(PSID, "m_8", "+1 202 555 0123"), edit] {
            post(world, &[event]).await;
            assert_eq!(count(world, PENDING).await, 1);
            world.settle().await;
        }
        post(world, &[text(PSID, "m_7", "seven")]).await;
        assert_eq!(count(world, PENDING).await, 1);
        world.settle().await;
        assert_eq!(room(world, PSID).await[5..], ["six", "+1 202 555 0123", "seven, edited"]);
    })
    .await;
}

#[tokio::test]
async fn a_room_that_somebody_holds_locked_holds_up_no_promise() {
    story(async |world| {
        for psid in [PSID, "7300000000000002"] {
            post(world, &[text(psid, &format!("m_{psid}"), "one")]).await;
        }
        world.settle().await;
        let mut tx = chatgate::db::begin(&world.db).await.unwrap();
        let lock =
            "select r.id from rooms r join contacts c on c.id = r.contact_id where c.sender_id = $1 for update of r";
        sqlx::query(lock).bind(PSID).fetch_one(&mut *tx).await.unwrap();
        post(world, &[text(PSID, "m_2", "two"), text("7300000000000002", "m_3", "two")]).await;
        assert_eq!(room(world, "7300000000000002").await, ["one", "two"], "nobody else waits for it");
        assert_eq!((room(world, PSID).await.len(), count(world, PENDING).await), (1, 1));
        tx.rollback().await.unwrap();
        world.settle().await;
        assert_eq!(room(world, PSID).await, ["one", "two"]);
    })
    .await;
}

/// A text is found to go into its room, something happens, and it is written.
async fn write(world: &World, mid: &str, meanwhile: &'static str) -> Written {
    let now = world.clock.now();
    let (owner, app) = sqlx::query_as("select tenant_id, id from meta_apps").fetch_one(&world.db).await.unwrap();
    let content = Content::Text { text: mid.to_owned() };
    let item = NewItem {
        id: ItemId::fresh(now),
        owner: TenantId(owner),
        app: MetaAppId(app),
        shard: intake::shard(PAGE_ID, PSID),
        lane: "messaging",
        page_id: PAGE_ID.to_owned(),
        sender: PSID.to_owned(),
        kind: "message".into(),
        state: None,
        outcome: None,
        raw: text(PSID, mid, mid).to_string().into_bytes(),
        entry_time: None,
        received_at: now,
        plain: Some(Box::new(Plain { external_id: mid.to_owned(), at: now, content: content.clone() })),
    };
    let mut connection = world.db.acquire().await.unwrap();
    let found = find_ready(&mut connection, &[(&item, item.plain.as_deref().unwrap())]).await.unwrap();
    let (_, Ready { tenant, widget, contact, version }) = found.into_iter().next().unwrap();
    let versions = HashMap::from([(contact.room.as_ref().unwrap().id, version)]);
    let inbound = Inbound {
        id: MessageId(item.id.0),
        tenant,
        widget,
        sender: PSID.to_owned(),
        at: now,
        external_id: mid.to_owned(),
        content,
        reply_to: None,
        referral: None,
    };
    let contacts = HashMap::from([((widget, PSID.to_owned()), contact)]);
    sqlx::query(meanwhile).execute(&world.db).await.unwrap();
    insert_items(&mut connection, &[item], &into_rooms(&[inbound], contacts, now), &versions, now).await.unwrap()
}

#[tokio::test]
async fn a_room_that_changed_after_it_was_found_is_left_alone() {
    story(async |world| {
        post(world, &[text(PSID, "m_1", "one")]).await;
        world.settle().await;
        let written = write(world, "two", "select").await;
        assert_eq!((written.stored.len(), written.strands.len(), count(world, PENDING).await), (1, 0, 0));
        for (mid, meanwhile) in [
            ("three", "update rooms set tags = '{late}'"),
            ("four", "update rooms set unread = 0"),
            ("five", "update rooms set last_seq = last_seq"),
        ] {
            let written = write(world, mid, meanwhile).await;
            assert_eq!((written.stored.len(), written.strands.len(), count(world, PENDING).await), (0, 1, 1), "{mid}");
            world.settle().await;
        }
        assert_eq!(room(world, PSID).await, ["one", "two", "three", "four", "five"]);
        let told = world.kinds().await;
        assert_eq!(told.iter().filter(|it| *it == "message.created").count(), 5);
    })
    .await;
}

#[tokio::test]
async fn what_postgresql_refuses_is_promised_all_the_same() {
    story(async |world| {
        for psid in [PSID, "7300000000000002"] {
            post(world, &[text(psid, &format!("m_{psid}"), "one")]).await;
        }
        world.settle().await;
        sqlx::query("alter table messages add constraint no_poison check (content ->> 'text' <> 'poison')")
            .execute(&world.db)
            .await
            .unwrap();
        post(world, &[text(PSID, "m_2", "poison"), text("7300000000000002", "m_3", "two")]).await;
        assert_eq!(count(world, PENDING).await, 2);
        world.settle().await;
        assert_eq!(room(world, PSID).await, ["one"]);
        assert_eq!(room(world, "7300000000000002").await, ["one", "two"]);
        assert_eq!(count(world, "select count(*) from ledger where state = 'parked'").await, 1);
        sqlx::query("delete from ledger where state = 'parked'").execute(&world.db).await.unwrap();
    })
    .await;
}
