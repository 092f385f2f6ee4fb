//! Arbitrary signed bytes: always taken in, never a fault of ours, and whatever room they make can be read.
//!
//! `CHATGATE_FUZZ_CASES=20000` for more of them (400 otherwise), `CHATGATE_FUZZ_SEED=…` for the same ones again. Reading alone, without
//! a database, has its properties beside it (`channels/messenger/walk.rs`).

use chatgate::{channels::meta::signature, secret::Secret};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use reqwest::Method;
use serde_json::Value;

use crate::support::{
    Api, World,
    logs::APP_SECRET,
    story,
    world::{PAGE_ID, id},
};

/// Bodies after which everything is applied and read.
const TOGETHER: usize = 20;

/// A JSON string as it may stand in a body: escapes that PostgreSQL or Unicode refuse among them.
fn string() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        r"\u0000",
        r"\ud800",
        r"\udc00\ud800",
        r"\ud83d\ude00",
        r"\/",
        r"\u00e4",
        "😀",
        "\u{202e}",
        "{first_name}",
        "' or 1=1 --",
        "%s",
        "",
    ]);
    let plain = any::<String>().prop_map(|it| {
        let text = serde_json::to_string(&it).unwrap();
        text[1..text.len() - 1].to_owned()
    });
    prop::collection::vec(prop_oneof![3 => odd.prop_map(str::to_owned), 1 => plain], 0..4)
        .prop_map(|parts| format!("\"{}\"", parts.concat()))
}

/// Ids: of few people and messages, so that they meet.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (0..6_u32).prop_map(|it| format!("\"7{it}\"")),
        1 => (0..6_u32).prop_map(|it| format!("7{it}")),
        1 => prop::sample::select(vec!["0", "-1", "1e400", "1.5", "99999999999999999999999", "null", "\"\"", "1790000000000", "\"1790000000\""]).prop_map(str::to_owned),
    ]
}

fn mid() -> impl Strategy<Value = String> {
    prop_oneof![8 => (0..40_u32).prop_map(|it| format!("\"m_{it}\"")), 1 => string(), 1 => number()]
}

/// Anything that is JSON.
fn anything() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        string(),
        number(),
        prop::sample::select(vec!["null", "true", "false", "[]", "{}", "0"]).prop_map(str::to_owned)
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|it| format!("[{}]", it.join(","))),
            prop::collection::vec((string(), inner), 0..4).prop_map(|it| object(&it)),
        ]
    })
}

fn object(members: &[(String, String)]) -> String {
    let members: Vec<_> = members.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// Some of the named members, each mostly as Meta has it and now and then as nobody has it.
fn members(known: Vec<(&'static str, BoxedStrategy<String>)>) -> impl Strategy<Value = String> {
    let each: Vec<_> = known
        .into_iter()
        .map(|(name, value)| {
            prop::option::weighted(0.6, prop_oneof![9 => value, 1 => anything()])
                .prop_map(move |value| value.map(|value| (format!("\"{name}\""), value)))
        })
        .collect();
    (each, prop::collection::vec((string(), anything()), 0..2)).prop_map(|(known, more)| {
        let all: Vec<_> = known.into_iter().flatten().chain(more).collect();
        object(&all)
    })
}

fn list(of: impl Strategy<Value = String> + 'static, most: usize) -> BoxedStrategy<String> {
    prop::collection::vec(of, 0..most).prop_map(|it| format!("[{}]", it.join(","))).boxed()
}

fn words(all: &'static [&'static str]) -> BoxedStrategy<String> {
    prop::sample::select(all).prop_map(|it| format!("\"{it}\"")).boxed()
}

fn event() -> impl Strategy<Value = String> {
    let person = || {
        prop_oneof![number().prop_map(|it| format!("{{\"id\":{it}}}")), Just(format!("{{\"id\":\"{PAGE_ID}\"}}"))]
            .boxed()
    };
    let payload = members(vec![
        ("url", string().boxed()),
        ("sticker_id", number().boxed()),
        ("title", string().boxed()),
        ("coordinates", members(vec![("lat", number().boxed()), ("long", number().boxed())]).boxed()),
        ("template_type", words(&["generic", "button", "odd"])),
        ("elements", list(anything(), 2)),
    ]);
    let attachment = members(vec![
        (
            "type",
            words(&[
                "image", "video", "audio", "file", "location", "fallback", "template", "reel", "ig_reel", "post", "odd",
            ]),
        ),
        ("payload", payload.boxed()),
    ]);
    let message = members(vec![
        ("mid", mid().boxed()),
        ("text", string().boxed()),
        ("is_echo", words(&["true"]).prop_map(|_| "true".to_owned()).boxed()),
        ("is_deleted", Just("true".to_owned()).boxed()),
        ("app_id", number().boxed()),
        (
            "metadata",
            prop_oneof![
                string(),
                Just("\"cg:0190a000-0000-7000-8000-000000000000\"".to_owned()),
                Just("\"cg:\"".to_owned())
            ]
            .boxed(),
        ),
        ("attachments", list(attachment, 3)),
        ("quick_reply", members(vec![("payload", string().boxed())]).boxed()),
        ("reply_to", members(vec![("mid", mid().boxed())]).boxed()),
        ("referral", anything().boxed()),
    ])
    .boxed();
    let receipt =
        || members(vec![("mids", list(mid(), 3)), ("mid", mid().boxed()), ("watermark", number().boxed())]).boxed();
    members(vec![
        ("sender", person()),
        ("recipient", person()),
        ("timestamp", number().boxed()),
        ("message", message.clone()),
        ("message", message),
        (
            "message_edit",
            members(vec![("mid", mid().boxed()), ("text", string().boxed()), ("num_edit", number().boxed())]).boxed(),
        ),
        (
            "postback",
            members(vec![
                ("mid", mid().boxed()),
                ("title", string().boxed()),
                ("payload", string().boxed()),
                ("referral", anything().boxed()),
            ])
            .boxed(),
        ),
        (
            "reaction",
            members(vec![
                ("mid", mid().boxed()),
                ("action", words(&["react", "unreact"])),
                ("emoji", string().boxed()),
                ("reaction", string().boxed()),
            ])
            .boxed(),
        ),
        ("delivery", receipt()),
        ("read", receipt()),
        (
            "referral",
            members(vec![
                ("ref", string().boxed()),
                ("source", words(&["ADS", "SHORTLINK"])),
                ("ad_id", number().boxed()),
            ])
            .boxed(),
        ),
        ("optin", anything().boxed()),
        ("account_linking", anything().boxed()),
        (
            "pass_thread_control",
            members(vec![("new_owner_app_id", number().boxed()), ("previous_owner_app_id", number().boxed())]).boxed(),
        ),
        ("take_thread_control", anything().boxed()),
        ("app_roles", anything().boxed()),
        (
            "policy_enforcement",
            members(vec![("action", words(&["warning", "block", "unblock"])), ("reason", string().boxed())]).boxed(),
        ),
        ("messaging_customer_information", anything().boxed()),
        ("messaging_feedback", anything().boxed()),
    ])
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let entry = members(vec![
        ("id", Just(format!("\"{PAGE_ID}\"")).boxed()),
        ("time", number().boxed()),
        ("messaging", list(event(), 6)),
        ("messaging", list(event(), 6)),
        ("standby", list(event(), 2)),
        (
            "changes",
            list(members(vec![("field", words(&["feed", "leadgen", "odd field"])), ("value", anything().boxed())]), 2),
        ),
    ]);
    let whole =
        (list(entry, 4), prop_oneof![12 => Just("\"page\"".to_owned()), 1 => words(&["instagram"]), 1 => anything()]);
    let whole = whole.prop_map(|(entries, object)| format!(r#"{{"object":{object},"entry":{entries}}}"#).into_bytes());
    let cut = (whole.clone(), any::<prop::sample::Index>()).prop_map(|(mut body, at)| {
        body.truncate(at.index(body.len()));
        body
    });
    prop_oneof![
        20 => whole,
        1 => cut,
        1 => anything().prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

/// Whatever has a room, a contact or an item can be read.
async fn read_everything(world: &World) {
    let rooms = world.admin.get("/rooms?limit=200").await.expect(200);
    for room in rooms["items"].as_array().unwrap() {
        let place = format!("/rooms/{}", id(room));
        world.admin.get(&place).await.expect(200);
        let messages = world.admin.get(&format!("{place}/messages?limit=200")).await.expect(200);
        let seqs: Vec<_> = messages["items"].as_array().unwrap().iter().map(|it| it["seq"].as_i64().unwrap()).collect();
        assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
        world.admin.get(&format!("/contacts/{}", id(&room["contact"]))).await.expect(200);
        world.admin.get(&format!("/contacts/{}/rooms", id(&room["contact"]))).await.expect(200);
    }
    world.events().await;
    let items = world.admin.get("/ledger?limit=200").await.expect(200);
    for item in items["items"].as_array().unwrap() {
        world.admin.get(&format!("/ledger/{}", id(item))).await.expect(200);
    }
}

#[tokio::test]
async fn arbitrary_signed_bytes_never_make_a_fault_or_a_room_that_cannot_be_read() {
    let number = |name: &str| std::env::var(name).ok().map(|it| it.parse::<u64>().unwrap());
    let cases = usize::try_from(number("CHATGATE_FUZZ_CASES").unwrap_or(400)).unwrap();
    let seed = number("CHATGATE_FUZZ_SEED").unwrap_or_else(rand::random);
    println!("CHATGATE_FUZZ_SEED={seed}");
    story(async |world| {
        let shown = world.admin.get(&format!("/widgets/{}/callback", id(&world.widget))).await.expect(200);
        let path = shown["callback_url"].as_str().unwrap().strip_prefix(&world.base).unwrap().to_owned();
        let ben = world.agent("Ben").await.ready().await;
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let (bodies, nobody) = (body(), Api::new(&world.base, None));
        for case in 0..cases {
            let body = bodies.new_tree(&mut runner).unwrap().current();
            let signed = signature::sign(&Secret::new(APP_SECRET), &body);
            let request = nobody.request(Method::POST, &path).header("x-hub-signature-256", signed).body(body.clone());
            assert_eq!(nobody.send(request).await.status, 200, "{}", String::from_utf8_lossy(&body));
            if case % TOGETHER == TOGETHER - 1 {
                world.workers.settle().await.unwrap();
                read_everything(world).await;
                // Somebody works on meanwhile, and rooms are closed and opened again.
                for room in ben.rooms().await {
                    let what = if room["status"] == "offered" { "accept" } else { "close" };
                    ben.api.act(&format!("/rooms/{}/{what}", id(&room))).await;
                }
            }
        }
        world.workers.settle().await.unwrap();
        read_everything(world).await;
        let refused: Vec<(String, Option<String>, Vec<u8>)> =
            sqlx::query_as("select kind, outcome, raw from ledger where state = 'parked' and outcome like 'database%'")
                .fetch_all(&world.db)
                .await
                .unwrap();
        let shown: Vec<_> = refused.iter().map(|(kind, why, raw)| (kind, why, String::from_utf8_lossy(raw))).collect();
        assert!(shown.is_empty(), "the database refused: {shown:?}");
        let sums = chatgate::intake::ledger::verify(&world.db, Default::default()).await.unwrap();
        assert_eq!((sums.pending, sums.unexplained()), (0, 0), "{sums:?}");
        println!("{cases} bodies: {sums:?}");
        world.expects_trouble.store(true, std::sync::atomic::Ordering::Relaxed);
        let _: Value = world.admin.get("/rooms").await.expect(200);
    })
    .await;
}
