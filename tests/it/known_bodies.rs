//! Every webhook body that is known: our own fixtures, one for each kind, and the shared collection where it is beside the
//! repository. Each is posted, applied, and compared with what its notes say, in the database and through the API.

use std::{collections::BTreeSet, env, fs, path::Path};

use chatgate::{channels::meta::signature, secret::Secret};
use serde_json::{Value, json};

use crate::support::{
    Api, World,
    logs::APP_SECRET,
    story,
    world::{APP_ID, PAGE_ID, id},
};

struct Body {
    name: String,
    text: String,
    expect: Vec<Value>,
}

fn files(folder: impl AsRef<Path>) -> Vec<(String, String)> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|it| it.path());
    let mut files: Vec<_> = files.filter(|it| it.extension().is_some_and(|it| it == "json")).collect();
    files.sort();
    let name = |it: &Path| it.file_stem().unwrap().to_string_lossy().into_owned();
    files.iter().map(|it| (name(it), fs::read_to_string(it).unwrap())).collect()
}

fn own() -> Vec<Body> {
    let files = files(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"));
    files.into_iter().map(|(name, text)| Body { name, text, expect: Vec::new() }).collect()
}

fn shared() -> Vec<Body> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let root = env::var_os("CHATGATE_SHARED").map_or_else(beside, Into::into);
    let bodies = files(root.join("payloads")).into_iter().map(|(name, text)| {
        let case: Value = serde_json::from_str(&text).unwrap();
        let text = case["raw_body"].as_str().map_or_else(|| case["payload"].to_string(), str::to_owned);
        Body { name, text, expect: case["expect"].as_array().cloned().unwrap_or_default() }
    });
    bodies.collect()
}

/// Connects every Page that the bodies speak of.
async fn connect(world: &World, bodies: &[Body]) {
    let mut pages = BTreeSet::new();
    for body in bodies {
        let parsed: Value = serde_json::from_str(&body.text).unwrap_or_default();
        let text = |it: &Value| it.as_str().map(str::to_owned);
        pages.extend(parsed["entry"].as_array().into_iter().flatten().filter_map(|it| text(&it["id"])));
        pages.extend(body.expect.iter().filter_map(|it| text(&it["page_id"])));
    }
    pages.retain(|it| it.bytes().all(|it| it.is_ascii_alphanumeric()) && it != PAGE_ID && it != "0" && !it.is_empty());
    for page in &pages {
        let messenger = json!({ "app_id": APP_ID, "page_id": page, "page_access_token": "token-of-a-page-that-is-never-written-to" });
        let widget = json!({ "name": page, "channel": "messenger", "messenger": messenger });
        world.admin.post("/widgets", widget).await.expect(201);
    }
}

/// An item as the ledger has it after it was applied, with its message.
#[derive(Debug, sqlx::FromRow)]
struct Row {
    seq: i64,
    lane: String,
    kind: String,
    state: String,
    outcome: Option<String>,
    is_connected: bool,
    direction: Option<String>,
    external_id: Option<String>,
    content: Option<Value>,
}

/// Posts a body, applies it, and returns what became of its items.
async fn play(world: &World, path: &str, body: &Body, after: i64) -> Vec<Row> {
    let api = Api::new(&world.base, None);
    let request = api
        .request(reqwest::Method::POST, path)
        .header("x-hub-signature-256", signature::sign(&Secret::new(APP_SECRET), body.text.as_bytes()))
        .body(body.text.clone());
    assert_eq!(api.send(request).await.status, 200, "{}", body.name);
    world.workers.settle().await.unwrap();
    sqlx::query_as(
        "select l.seq, l.lane, l.kind, l.state, l.outcome, l.widget_id is not null as is_connected, m.direction, m.external_id, m.content
        from ledger_items l left join messages m on m.tenant_id = l.tenant_id and m.id = l.message_id
        where l.seq > $1 order by l.seq",
    )
    .bind(after)
    .fetch_all(&world.db)
    .await
    .unwrap()
}

async fn callback(world: &World) -> String {
    let shown = world.admin.get(&format!("/widgets/{}/callback", id(&world.widget))).await.expect(200);
    shown["callback_url"].as_str().unwrap().strip_prefix(&world.base).unwrap().to_owned()
}

/// Every stored message is in a room that the API shows.
async fn compare_with_the_api(world: &World) {
    let (mut shown, mut next) = (0, String::new());
    loop {
        let page = world.admin.get(&format!("/rooms?limit=200{next}")).await.expect(200);
        for room in page["items"].as_array().unwrap() {
            let messages = world.admin.get(&format!("/rooms/{}/messages?limit=200", id(room))).await.expect(200);
            shown += messages["items"].as_array().unwrap().len();
        }
        let Some(after) = page["next"].as_str() else { break };
        next = format!("&after={after}");
    }
    let stored: i64 = sqlx::query_scalar("select count(*) from messages").fetch_one(&world.db).await.unwrap();
    assert_eq!(i64::try_from(shown).unwrap(), stored);
}

#[tokio::test]
async fn our_own_bodies_become_what_they_are() {
    story(async |world| {
        let path = callback(world).await;
        let bodies = own();
        connect(world, &bodies).await;
        let mut after = 0;
        let mut became = Vec::new();
        for body in &bodies {
            let rows = play(world, &path, body, after).await;
            after = rows.last().map_or(after, |it| it.seq);
            for it in rows {
                assert!(
                    body.name == it.kind || body.name.starts_with(&format!("{}-", it.kind)),
                    "{}: {}",
                    body.name,
                    it.kind
                );
                let message = it.direction.map(|it| format!(" [{it}]")).unwrap_or_default();
                became.push(
                    format!("{}: {}{message} {}", body.name, it.state, it.outcome.unwrap_or_default())
                        .trim_end()
                        .to_owned(),
                );
            }
        }
        insta::assert_snapshot!(became.join("\n"), @r"
        account_linking-unlinked: applied a fact about the contact
        account_linking: applied a fact about the contact
        admin_text: ignored kept
        app_roles: applied thread_control
        change.feed: ignored kept
        change.inbox_labels: ignored kept
        change.leadgen: ignored kept
        change.messages-whatsapp: ignored another object than page
        change.messages: ignored kept
        checkout_update: ignored kept
        coupon_reveal: applied a fact about the contact
        delivery-watermark_only: applied 0 messages delivered
        delivery: applied 0 messages delivered
        echo-page_inbox: applied [outbound]
        echo-template: applied [outbound]
        echo: applied [outbound]
        empty: ignored kept
        game_play: ignored kept
        in_thread_lead_form_submit: applied [inbound]
        malformed: ignored kept
        message-ad: applied [inbound]
        message-album: applied [inbound]
        message-appointment: applied [inbound]
        message-checkbox: applied [inbound]
        message-command: applied [inbound]
        message-file: applied [inbound]
        message-instagram: ignored another object than page
        message-lead_summary: applied [inbound]
        message-link: applied [inbound]
        message-new_attachment: applied [inbound]
        message-no_time: applied [inbound]
        message-nul_and_halves: applied [inbound]
        message-numbers: applied [inbound]
        message-of_the_page_to_itself: ignored kept
        message-place: applied [inbound]
        message-post: applied [inbound]
        message-product: applied [inbound]
        message-quick_reply: applied [inbound]
        message-reel: applied [inbound]
        message-reply: applied [inbound]
        message-sticker: applied [inbound]
        message-unsupported: applied [inbound]
        message: applied [inbound]
        message_deleted-before_its_message: applied unsent: waits for its message
        message_deleted: applied unsent
        message_edit-numbers_as_text: applied edited
        message_edit: duplicate edited
        message_request: ignored kept
        messaging_customer_information: applied [inbound]
        messaging_feedback: applied [system]
        optin-messages: applied [system]
        optin-user_ref: applied a fact about the contact
        optin: applied [system]
        pass_thread_control: applied [system]
        payment: ignored kept
        policy_enforcement-unblock: applied policy
        policy_enforcement: duplicate policy
        postback-get_started: applied [inbound]
        postback-old_menu: applied [inbound]
        postback: applied [inbound]
        pre_checkout: ignored kept
        reaction-own_message: applied reacted
        reaction-removed: duplicate reaction removed
        reaction: applied reacted
        read-reversed: applied 0 messages read
        read: applied 0 messages read
        referral-ad: applied where the contact came from
        referral-lead: applied [inbound]
        referral: duplicate where the contact came from
        request_thread_control: applied [system]
        response_feedback: applied [system]
        send_cart: applied [inbound]
        standby.echo: ignored observed
        standby.message: ignored observed
        standby.postback: ignored observed
        take_thread_control-other_app: applied [system]
        take_thread_control: ignored kept
        unknown: ignored kept
        ");
        compare_with_the_api(world).await;
    })
    .await;
}

#[tokio::test]
async fn every_shared_body_becomes_what_its_notes_say() {
    story(async |world| {
        let path = callback(world).await;
        let bodies = shared();
        connect(world, &bodies).await;
        let (mut after, mut compared) = (0, 0);
        for body in &bodies {
            let rows = play(world, &path, body, after).await;
            after = rows.last().map_or(after, |it| it.seq);
            assert!(!rows.is_empty(), "{}: everything is counted", body.name);
            let object = serde_json::from_str::<Value>(&body.text).unwrap_or_default()["object"].clone();
            for (expected, row) in body.expect.iter().zip(&rows) {
                check(&format!("{} {expected} {row:?}", body.name), &object, expected, row);
                compared += 1;
            }
        }
        println!("{} bodies, {compared} events compared", bodies.len());
        assert!(bodies.is_empty() || compared > 100, "the collection is large");
        let open =
            "select count(*) from ledger_items where state = 'pending' or (state = 'parked' and kind <> 'unreadable')";
        assert_eq!(sqlx::query_scalar::<_, i64>(open).fetch_one(&world.db).await.unwrap(), 0);
        compare_with_the_api(world).await;
        sqlx::query("delete from ledger where kind = 'unreadable'").execute(&world.db).await.unwrap();
    })
    .await;
}

#[track_caller]
fn check(at: &str, object: &Value, expected: &Value, row: &Row) {
    let word = |name: &str| expected[name].as_str().unwrap_or_default();
    if row.kind == "unreadable" {
        return assert_eq!(row.state, "parked", "{at}");
    }
    if object != "page" || row.lane != "messaging" || !row.is_connected {
        assert_eq!((row.state.as_str(), &row.content), ("ignored", &None), "{at}");
        return assert_eq!(
            row.lane == "standby" && object == "page",
            row.outcome.as_deref() == Some("observed"),
            "{at}"
        );
    }
    let is_done = matches!(row.state.as_str(), "applied" | "duplicate");
    match (word("disposition"), word("event")) {
        ("ignore", "message") if expected["reason"] == "duplicate mid" => assert_eq!(row.state, "duplicate", "{at}"),
        ("ignore", "message") if expected["page_mismatch"] == true => assert!(is_done, "{at}"),
        ("ignore" | "reject" | "no_5xx", _) | ("user_action", "game_play" | "message_request") => {
            assert_eq!(row.state, "ignored", "{at}");
        }
        ("chat_message", _) | (_, "postback") => {
            assert!(is_done && row.external_id.is_some(), "{at}");
            if let Some(mid) = expected["mid"].as_str() {
                assert_eq!(row.external_id.as_deref(), Some(mid), "{at}");
            }
            // Some of these bodies share a mid: only the first of them is stored.
            if row.state == "applied" {
                assert_eq!(row.direction.as_deref(), Some("inbound"), "{at}");
                check_content(at, expected, row.content.as_ref().unwrap());
            }
        }
        ("outbound_echo", _) => {
            assert!(is_done, "{at}");
            assert!(row.state == "duplicate" || row.direction.as_deref() == Some("outbound"), "{at}");
        }
        (_, "messaging_customer_information" | "send_cart" | "in_thread_lead_form_submit") => {
            assert_eq!(row.direction.as_deref(), Some("inbound"), "{at}");
        }
        ("user_action" | "status_update" | "control", _) => {
            assert!(
                is_done || row.outcome.as_deref() == Some("kept: the contact has no room") || is_vague(expected),
                "{at}"
            );
        }
        other => panic!("{other:?}: {at}"),
    }
}

/// Says that a thread changed hands, but not to or from whom that concerns us.
fn is_vague(expected: &Value) -> bool {
    expected["event"] == "take_thread_control"
}

#[track_caller]
fn check_content(at: &str, expected: &Value, content: &Value) {
    if let Some(text) = expected["text"].as_str() {
        assert_eq!(content["text"], text, "{at}");
    }
    if let Some(attachments) = expected["attachments"].as_array() {
        let is_sticker = |it: &Value| it["type"] == "sticker";
        // A product is its name and its picture.
        let products = attachments.iter().filter_map(|it| it["products"].as_array()).map(Vec::len).sum::<usize>();
        let wanted = if attachments.iter().any(is_sticker) { 1 } else { attachments.len() + products };
        assert_eq!(content["attachments"].as_array().map(Vec::len), Some(wanted), "{at}");
    }
}
