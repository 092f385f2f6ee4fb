//! Applying what was accepted: in order, by many at once, fairly, and whatever one item does to the others.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use chatgate::{
    channels::{Content, meta::signature},
    crew::{Step, Worker},
    db::bell::Bell,
    ids::{MessageId, TenantId, WidgetId},
    intake::{
        apply::{self, Applier, Care},
        store,
        strands::Strands,
    },
    rooms::receive::Inbound,
    secret::Secret,
};
use reqwest::Method;
use serde_json::json;

use crate::support::{
    Api, World,
    logs::{APP_SECRET, PAGE_TOKEN},
    story,
    world::{APP_ID, PAGE_ID, id},
};

/// One message of a body.
struct Said<'a> {
    page: &'a str,
    psid: String,
    text: String,
}

fn said(psid: usize, text: impl ToString) -> Said<'static> {
    Said { page: PAGE_ID, psid: format!("7{psid:03}"), text: text.to_string() }
}

/// Posts messages to the webhook of a widget, all in one body; nobody applies them by that.
async fn post(world: &World, admin: &Api, widget: &serde_json::Value, messages: &[Said<'_>]) {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let entries = messages.iter().map(|it| {
        let mid = format!("m_apply_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        json!({ "id": it.page, "time": 1, "messaging": [{ "sender": { "id": it.psid }, "recipient": { "id": it.page },
            "timestamp": 1_790_000_000_000_u64, "message": { "mid": mid, "text": it.text } }] })
    });
    let body = json!({ "object": "page", "entry": entries.collect::<Vec<_>>() }).to_string();
    let shown = admin.get(&format!("/widgets/{}/callback", id(widget))).await.expect(200);
    let url = shown["callback_url"].as_str().unwrap();
    let nobody = Api::new(&world.base, None);
    let request = nobody
        .request(Method::POST, url.strip_prefix(&world.base).unwrap())
        .header("x-hub-signature-256", signature::sign(&Secret::new(APP_SECRET), body.as_bytes()))
        .body(body);
    assert_eq!(nobody.send(request).await.status, 200);
}

/// Another process with one worker: it knows of nothing but the ledger.
fn other_process(world: &World) -> Applier {
    Applier::new(&world.db, Bell::local(), world.clock.clone(), Strands::new(1))
}

async fn count(world: &World, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&world.db).await.unwrap()
}

/// What each room holds, in its order, by sender.
async fn texts(world: &World) -> BTreeMap<String, Vec<String>> {
    let rows: Vec<(String, Vec<String>)> = sqlx::query_as(
        "select c.sender_id, array_agg(m.content ->> 'text' order by m.seq)
        from messages m
        join rooms r on r.tenant_id = m.tenant_id and r.id = m.room_id
        join contacts c on c.tenant_id = r.tenant_id and c.id = r.contact_id
        group by c.sender_id",
    )
    .fetch_all(&world.db)
    .await
    .unwrap();
    rows.into_iter().collect()
}

#[tokio::test]
async fn an_item_that_cannot_be_applied_is_parked_alone_and_its_senders_next_ones_go_on() {
    story(async |world| {
        // Nothing that Meta sends is known to do this, so PostgreSQL is told to refuse something.
        sqlx::query(
            "alter table messages add constraint no_poison check (content ->> 'text' is distinct from 'poison')",
        )
        .execute(&world.db)
        .await
        .unwrap();
        let mut messages = Vec::new();
        for round in 0..5 {
            for psid in 0..60 {
                let is_bad = [(1, 3), (1, 4), (2, 30), (4, 59)].contains(&(round, psid));
                messages.push(said(psid, if is_bad { "poison".to_owned() } else { round.to_string() }));
            }
        }
        post(world, &world.admin, &world.widget, &messages).await;
        world.settle().await;
        let parked: Vec<(String, String)> =
            sqlx::query_as("select sender_id, outcome from ledger_items where state = 'parked' order by sender_id")
                .fetch_all(&world.db)
                .await
                .unwrap();
        let because = "database error 23514";
        let expected = ["7003", "7004", "7030", "7059"].map(|it| (it.to_owned(), because.to_owned()));
        assert_eq!(parked, expected);
        assert_eq!(count(world, "select count(*) from ledger_items where state = 'applied'").await, 296);
        for (sender, texts) in texts(world).await {
            let missing = match &*sender {
                "7003" | "7004" => Some("1"),
                "7030" => Some("2"),
                "7059" => Some("4"),
                _ => None,
            };
            let expected: Vec<_> = ["0", "1", "2", "3", "4"].into_iter().filter(|it| Some(*it) != missing).collect();
            assert_eq!(texts, expected, "{sender}");
        }
        sqlx::query("delete from ledger where state = 'parked'").execute(&world.db).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_flood_on_one_page_does_not_stand_before_another_tenants_message() {
    story(async |world| {
        let (_, other) = world.new_tenant("other").await;
        world.simulator.add_page(APP_ID, "555", "Other Page", PAGE_TOKEN);
        let messenger =
            json!({ "app_id": APP_ID, "app_secret": APP_SECRET, "page_access_token": PAGE_TOKEN, "page_id": "555" });
        let widget = json!({ "name": "Other page", "channel": "messenger", "messenger": messenger });
        let widget = other.post("/widgets", widget).await.expect(201);
        for _ in 0..3 {
            let flood: Vec<_> = (0..1000).map(|n| said(n % 200, n)).collect();
            post(world, &world.admin, &world.widget, &flood).await;
        }
        let alone = Said { page: "555", psid: "42".to_owned(), text: "alone".to_owned() };
        post(world, &other, &widget, &[alone]).await;
        let process = other_process(world);
        process.step().await.unwrap(); // looks into the ledger
        process.step().await.unwrap(); // the first transaction
        let applied = count(world, "select count(*) from ledger_items where state = 'applied'").await;
        assert!(applied <= 500, "{applied} items are one transaction");
        assert_eq!(count(world, "select count(*) from messages where content ->> 'text' = 'alone'").await, 1);
        // And the flood is not starved by it.
        assert!(applied > 100, "{applied}");
    })
    .await;
}

#[tokio::test]
async fn a_killed_process_lets_go_of_its_strands() {
    story(async |world| {
        post(world, &world.admin, &world.widget, &[said(1, "held"), said(2, "free")]).await;
        let held: Vec<(uuid::Uuid, i16)> =
            sqlx::query_as("select tenant_id, shard from ledger where sender_id = '7001'")
                .fetch_all(&world.db)
                .await
                .unwrap();
        let held: Vec<_> = held.into_iter().map(|it| (TenantId(it.0), it.1)).collect();
        // A process that is in the middle of applying.
        let mut dying = chatgate::db::begin(&world.db).await.unwrap();
        let taken = store::take_pending(&mut dying, &held, &vec![0; held.len()]).await.unwrap();
        assert_eq!((taken.ours, taken.items.len()), (held, 0));
        let survivor = other_process(world);
        for _ in 0..6 {
            survivor.step().await.unwrap();
        }
        assert_eq!(texts(world).await.into_keys().collect::<Vec<_>>(), ["7002"]);
        let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *dying).await.unwrap();
        assert!(
            sqlx::query_scalar::<_, bool>("select pg_terminate_backend($1, 5000)")
                .bind(pid)
                .fetch_one(&world.db)
                .await
                .unwrap()
        );
        drop(dying);
        while survivor.step().await.unwrap() == Step::Worked {}
        assert_eq!(texts(world).await.into_keys().collect::<Vec<_>>(), ["7001", "7002"]);
    })
    .await;
}

#[tokio::test]
async fn processes_side_by_side_keep_every_senders_order() {
    story(async |world| {
        let (one, two) = (other_process(world), other_process(world));
        let applying = async |process: &Applier| {
            while count(world, "select count(*) from ledger_items where state = 'applied'").await < 600 {
                process.step().await.unwrap();
            }
        };
        let posting = async {
            for batch in 0..30 {
                let messages: Vec<_> = (0..20).map(|n| said(n % 7, format!("{batch:02}-{n:02}"))).collect();
                post(world, &world.admin, &world.widget, &messages).await;
                one.look_again();
                two.look_again();
            }
        };
        tokio::join!(posting, applying(&one), applying(&two), async { world.workers.settle().await.unwrap() });
        let texts = texts(world).await;
        assert_eq!(texts.values().map(Vec::len).sum::<usize>(), 600);
        for (sender, texts) in texts {
            assert!(texts.is_sorted(), "{sender}: {texts:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_room_that_is_held_up_holds_up_nobody_else() {
    story(async |world| {
        let everybody: Vec<_> = (0..40).map(|psid| said(psid, "first")).collect();
        post(world, &world.admin, &world.widget, &everybody).await;
        world.settle().await;
        let mut holding = chatgate::db::begin(&world.db).await.unwrap();
        sqlx::query(
            "select from rooms r join contacts c on c.id = r.contact_id where c.sender_id = '7007' for update of r",
        )
        .execute(&mut *holding)
        .await
        .unwrap();
        let everybody: Vec<_> = (0..40).map(|psid| said(psid, "second")).collect();
        post(world, &world.admin, &world.widget, &everybody).await;
        world.workers.settle().await.unwrap();
        let waiting: Vec<String> = sqlx::query_scalar("select sender_id from ledger_items where state = 'pending'")
            .fetch_all(&world.db)
            .await
            .unwrap();
        // Of its own strand, too, what came before it is applied; what came behind it keeps its place.
        assert!(waiting.contains(&"7007".to_owned()) && waiting.len() <= 8, "{waiting:?}");
        holding.rollback().await.unwrap();
        // Its strand rests a moment longer.
        while count(world, "select count(*) from ledger_items where state = 'pending'").await > 0 {
            world.workers.settle().await.unwrap();
        }
        assert!(texts(world).await.values().all(|it| it == &["first", "second"]));
    })
    .await;
}

#[tokio::test]
async fn who_writes_into_a_room_or_closes_it_in_the_same_moment_is_not_overwritten() {
    story(async |world| {
        post(world, &world.admin, &world.widget, &[said(1, "first"), said(2, "first")]).await;
        world.workers.settle().await.unwrap();
        // What others do to these rooms, and have not committed yet.
        let mut doing = chatgate::db::begin(&world.db).await.unwrap();
        for change in [
            "update rooms r set last_seq = 2 from contacts c where c.id = r.contact_id and c.sender_id = '7001'",
            "insert into messages (tenant_id, widget_id, id, room_id, seq, direction, author_kind, author_name, content, status, created_at)
            select m.tenant_id, m.widget_id, gen_random_uuid(), m.room_id, 2, 'note', 'agent', 'Ben', '{\"kind\": \"text\", \"text\": \"note\"}',
                'received', m.created_at
            from messages m
            join rooms r on r.id = m.room_id
            join contacts c on c.id = r.contact_id
            where c.sender_id = '7001'",
            "update rooms r set status = 'closed', close_reason = 'done', closed_at = now(), offer_expires_at = null, agent_id = null
            from contacts c where c.id = r.contact_id and c.sender_id = '7002'",
        ] {
            assert_eq!(sqlx::query(change).execute(&mut *doing).await.unwrap().rows_affected(), 1);
        }
        post(world, &world.admin, &world.widget, &[said(1, "second"), said(2, "second")]).await;
        let applier = other_process(world);
        assert_eq!(applier.step().await.unwrap(), Step::Worked, "it looks into the ledger first");
        let commits = async {
            // The applier has found the rooms as they were, and waits to write into them.
            let blocked = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
            while count(world, blocked).await == 0 {}
            doing.commit().await.unwrap();
        };
        let (step, ()) = tokio::join!(applier.step(), commits);
        assert_eq!(step.unwrap(), Step::Worked);
        // On a busy machine it may have lost its patience, and comes back.
        while count(world, "select count(*) from pending").await > 0 {
            applier.step().await.unwrap();
        }
        let stored: Vec<(String, String, i64, String)> = sqlx::query_as(
            "select c.sender_id, m.content ->> 'text', m.seq, r.status
            from messages m
            join rooms r on r.tenant_id = m.tenant_id and r.id = m.room_id
            join contacts c on c.id = r.contact_id
            order by c.sender_id, r.opened_at, m.seq",
        )
        .fetch_all(&world.db)
        .await
        .unwrap();
        let stored: Vec<_> = stored.iter().map(|it| (&*it.0, &*it.1, it.2, &*it.3)).collect();
        let expected = [
            ("7001", "first", 1, "waiting"),
            ("7001", "note", 2, "waiting"),
            ("7001", "second", 3, "waiting"),
            ("7002", "first", 1, "closed"),
            ("7002", "second", 1, "waiting"),
        ];
        assert_eq!(stored, expected);
        let unread = count(world, "select unread::bigint from rooms where last_seq = 3").await;
        assert_eq!((unread, count(world, "select count(*) from events where kind = 'message.created'").await), (2, 4));
    })
    .await;
}

#[tokio::test]
async fn whose_number_is_taken_in_the_same_moment_is_found_before_anything_is_stored() {
    story(async |world| {
        post(world, &world.admin, &world.widget, &[said(1, "first")]).await;
        world.workers.settle().await.unwrap();
        let (tenant, widget): (uuid::Uuid, uuid::Uuid) =
            sqlx::query_as("select tenant_id, widget_id from rooms").fetch_one(&world.db).await.unwrap();
        let mut doing = chatgate::db::begin(&world.db).await.unwrap();
        for change in [
            "update rooms set last_seq = 2",
            "insert into messages (tenant_id, widget_id, id, room_id, seq, direction, author_kind, author_name, content, status, created_at)
            select tenant_id, widget_id, gen_random_uuid(), room_id, 2, 'note', 'agent', 'Ben', content, 'received', created_at from messages",
        ] {
            assert_eq!(sqlx::query(change).execute(&mut *doing).await.unwrap().rows_affected(), 1);
        }
        let now = world.clock.now();
        let second = Inbound {
            id: MessageId::fresh(now),
            tenant: TenantId(tenant),
            widget: WidgetId(widget),
            sender: "7001".to_owned(),
            at: now,
            external_id: "m_second".to_owned(),
            content: Content::Text { text: "second".to_owned() },
            reply_to: None,
            referral: None,
        };
        let stores = async {
            let mut tx = chatgate::db::begin(&world.db).await.unwrap();
            apply::store(&mut tx, &[second], Care::Looks, now).await.unwrap().is_some()
        };
        let commits = async {
            let blocked = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
            while count(world, blocked).await == 0 {}
            doing.commit().await.unwrap();
        };
        let (stored, ()) = tokio::join!(stores, commits);
        assert!(!stored);
        assert_eq!(count(world, "select count(*) from messages").await, 2);
    })
    .await;
}
