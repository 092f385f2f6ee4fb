//! The traps of the edge: what two processes, several tenants, odd signatures, slow callers and floods do at the door.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use chatgate::{channels::meta::signature, clock::Clock, secret::Secret};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    crash::{Facebook, Home, OPERATOR, Server, body, database_url, free_port, furnish, ledger_sums},
    support::{
        Api, World,
        cluster::TestDatabase,
        logs::{APP_SECRET, WORDS},
        story,
        world::{PAGE_ID, id},
    },
};

fn sign(secret: &str, body: &str) -> String {
    signature::sign(&Secret::new(secret), body.as_bytes())
}

async fn post(base: &str, path: &str, signature: Option<&str>, body: &str) -> crate::support::api::Answer {
    let nobody = Api::new(base, None);
    let mut request = nobody.request(Method::POST, path).body(body.to_owned());
    if let Some(signature) = signature {
        request = request.header("x-hub-signature-256", signature);
    }
    nobody.send(request).await
}

async fn callback(admin: &Api, widget: &Value) -> String {
    let shown = admin.get(&format!("/widgets/{}/callback", id(widget))).await.expect(200);
    let url = shown["callback_url"].as_str().unwrap();
    url[url.find("/webhooks").unwrap()..].to_owned()
}

fn event(page: &str, psid: &str, mid: &str) -> Value {
    json!({ "sender": { "id": psid }, "recipient": { "id": page }, "timestamp": Clock::System.now().timestamp_millis(),
        "message": { "mid": mid, "text": WORDS } })
}

/// All values of a metric, added up over its labels and the processes' pages.
fn metric(pages: &[String], name: &str) -> f64 {
    let is_it = |line: &&str| line.split(['{', ' ']).next() == Some(name);
    let lines = pages.iter().flat_map(|page| page.lines().filter(is_it));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_take_the_same_post_at_once_and_two_first_messages_of_one_sender() {
    let home = Home::new("traps");
    let facebook = Facebook::open().await;
    let database = TestDatabase::create().await;
    let (url, key) = (database_url(&database), chatgate::seal::SealKey::generate());
    let metrics = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let common = [("CHATGATE__DATABASE__URL", url.as_str()), ("CHATGATE__SEAL__KEY", key.as_str())];
    let with = |listen| [common[0], common[1], ("CHATGATE__METRICS__LISTEN", listen)];
    let one = Server::start(&home.0, &facebook.base, free_port(), &with(metrics[0].as_str())).await;
    let two = Server::start(&home.0, &facebook.base, free_port(), &with(metrics[1].as_str())).await;
    let (_, admin, path) = furnish(&one.base).await;
    let bases = [one.base.clone(), two.base.clone()];

    let same = body("7001", "m_same");
    let signed = sign(APP_SECRET, &same);
    let posts = (0..10).map(|n| post(&bases[n % 2], &path, Some(&signed), &same));
    assert!(futures::future::join_all(posts).await.iter().all(|it| it.status == 200));

    // Two first words of each new sender, one to each process, at the same instant.
    let firsts: Vec<_> = (0..20)
        .flat_map(|n| [0, 1].map(|process| (process, body(&format!("71{n:02}"), &format!("m_{n}_{process}")))))
        .collect();
    let posts = firsts.iter().map(|(process, body)| {
        let signed = sign(APP_SECRET, body);
        let (base, path) = (&bases[*process], &path);
        async move { post(base, path, Some(&signed), body).await }
    });
    assert!(futures::future::join_all(posts).await.iter().all(|it| it.status == 200));
    assert_eq!(post(&bases[0], &path, Some("sha256=00"), &same).await.status, 401);

    let deadline = Instant::now() + Duration::from_secs(30);
    let sums = loop {
        let sums = ledger_sums(&home.0, &common);
        if sums["pending"] == 0 {
            break sums;
        }
        assert!(Instant::now() < deadline, "{sums:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((sums["received"], sums["applied"], sums["duplicates"], sums["unexplained"]), (50, 41, 9, 0));
    let item = admin.get("/ledger?state=applied&sender_id=7001").await.expect(200)["items"][0].clone();
    assert_eq!(item["deliveries"], 10);
    let rooms = admin.get("/rooms?limit=200").await.expect(200);
    let rooms = rooms["items"].as_array().unwrap();
    assert_eq!(rooms.len(), 21, "one room for each sender");
    for room in rooms {
        let messages = admin.get(&format!("/rooms/{}/messages", id(room))).await.expect(200);
        let inbound = messages["items"].as_array().unwrap().iter().filter(|it| it["direction"] == "inbound").count();
        assert_eq!(inbound, if room["contact"]["sender_id"] == "7001" { 1 } else { 2 });
    }

    // What the processes counted agrees with the ledger, and says nothing of anybody's.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut pages = Vec::new();
    for listen in &metrics {
        let page = client.get(format!("http://{listen}/metrics")).send().await.unwrap().text().await.unwrap();
        for secret in [WORDS, APP_SECRET, PAGE_ID, "7001", "m_same"] {
            assert!(!page.contains(secret), "{secret} is in the metrics");
        }
        pages.push(page);
    }
    for (name, expected) in [
        ("chatgate_items_accepted_total", 50.0),
        ("chatgate_items_settled_total", 50.0),
        ("chatgate_signature_failures_total", 1.0),
        ("chatgate_intake_durable_seconds_count", 50.0),
        ("chatgate_intake_applied_seconds_count", 50.0),
    ] {
        assert!((metric(&pages, name) - expected).abs() < 0.1, "{name}: {}", metric(&pages, name));
    }
    assert!(pages.iter().any(|it| it.contains(r#"chatgate_items_settled_total{kind="message",state="duplicate"}"#)));
    assert!(pages.iter().all(|it| it.contains("chatgate_intake_lag_seconds")));
    drop((one, two));
    facebook.stop.cancel();
    database.drop().await;
}

#[tokio::test]
async fn three_pages_of_two_tenants_and_an_unknown_one_come_in_one_post() {
    story(async |world| {
        let lent = json!({ "app_id": "42", "app_secret": "lent-secret", "app_name": "Platform" });
        let lent = world.operator.post("/meta-apps", lent).await.expect(201);
        let url = lent["callback_url"].as_str().unwrap();
        let path = url[url.find("/webhooks").unwrap()..].to_owned();
        let (_, rival) = world.new_tenant("rival").await;
        let page = |page: &str| json!({ "name": page, "channel": "messenger", "messenger": { "app_id": "42", "page_access_token": "t", "page_id": page } });
        for (admin, number) in [(&world.admin, "501"), (&rival, "502"), (&world.admin, "503")] {
            admin.post("/widgets", page(number)).await.expect(201);
        }
        let entry = |page: &str| json!({ "id": page, "time": 1, "messaging": [event(page, "71", &format!("m_{page}_1")), event(page, "72", &format!("m_{page}_2"))] });
        let body = json!({ "object": "page", "entry": [entry("501"), entry("502"), entry("599"), entry("503")] }).to_string();
        assert_eq!(post(&world.base, &path, Some(&sign("lent-secret", &body)), &body).await.status, 200);
        world.settle().await;
        let pages = async |admin: &Api| {
            let rooms = admin.get("/rooms").await.expect(200);
            let mut pages: Vec<_> = rooms["items"].as_array().unwrap().iter().map(|it| it["widget"]["name"].as_str().unwrap().to_owned()).collect();
            pages.sort();
            pages
        };
        assert_eq!(pages(&world.admin).await, ["501", "501", "503", "503"]);
        assert_eq!(pages(&rival).await, ["502", "502"]);
        for (admin, count) in [(&world.admin, 4), (&rival, 2)] {
            let items = admin.get("/ledger").await.expect(200);
            let items = items["items"].as_array().unwrap();
            assert_eq!(items.len(), count);
            assert!(items.iter().all(|it| it["state"] == "applied"));
        }
        // The unknown Page's are nobody's, counted, and found by whoever connects it later through the operator's command.
        let nobodys: i64 = sqlx::query_scalar("select count(*) from ledger where outcome = 'unknown page' and state = 'ignored'").fetch_one(&world.db).await.unwrap();
        assert_eq!(nobodys, 2);
        rival.post("/widgets", page("599")).await.expect(201);
        let filter = chatgate::intake::store::ledger::ReplayFilter { state: Some("ignored".to_owned()), ..Default::default() };
        let mut db = world.db.acquire().await.unwrap();
        assert_eq!(chatgate::intake::store::ledger::mark_pending(&mut db, &filter).await.unwrap(), 2);
        assert_eq!(chatgate::intake::store::ledger::mark_pending(&mut db, &filter).await.unwrap(), 0);
        drop(db);
        world.settle().await;
        assert_eq!(pages(&rival).await, ["502", "502", "599", "599"]);
        assert_eq!(pages(&world.admin).await.len(), 4);
    })
    .await;
}

#[tokio::test]
async fn the_signature_is_that_of_the_bytes_as_they_came() {
    story(async |world| {
        let path = callback(&world.admin, &world.widget).await;
        // Meta signs with its own escapes; whoever parses first and writes it anew has other bytes.
        let body = body("71", "m_1").replace(WORDS, r"gr\u00fc\u00dfe \ud83d\ude00 a\/b \u003c");
        let rewritten = serde_json::from_str::<Value>(&body).unwrap().to_string();
        assert_ne!(body, rewritten);
        let right = sign(APP_SECRET, &body);
        assert_eq!(
            post(&world.base, &path, Some(&sign(APP_SECRET, &rewritten)), &body).await.problem(401),
            "bad-signature"
        );
        assert_eq!(post(&world.base, &path, Some(&right), &rewritten).await.problem(401), "bad-signature");
        let sha1 = format!("sha1={}", &right[7..47]);
        let nobody = Api::new(&world.base, None);
        let old = nobody.request(Method::POST, &path).header("x-hub-signature", sha1).body(body.clone());
        assert_eq!(nobody.send(old).await.problem(401), "bad-signature");
        let health = async || {
            let widget = world.admin.get(&format!("/widgets/{}", id(&world.widget))).await.expect(200);
            let checks = widget["health"]["checks"].as_array().unwrap().clone();
            let check = checks.iter().find(|it| it["name"] == "signature").cloned().unwrap_or_default();
            (widget["health"]["state"].as_str().unwrap().to_owned(), check)
        };
        world.settle().await;
        let (state, check) = health().await;
        assert_eq!((state.as_str(), check["state"].as_str()), ("attention", Some("attention")));
        assert!(check["detail"].as_str().unwrap().starts_with("3 wrong"), "{check}");
        assert_eq!(post(&world.base, &path, Some(&right), &body).await.status, 200);
        world.settle().await;
        let room = world.admin.get("/rooms").await.expect(200)["items"][0].clone();
        let messages = world.admin.get(&format!("/rooms/{}/messages", id(&room))).await.expect(200);
        assert_eq!(messages["items"][0]["content"]["text"], "grüße 😀 a/b <");
        assert_ne!(health().await.1["state"], "attention");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_echo_that_comes_before_our_sends_answer_settles_it() {
    let home = Home::new("echo");
    let facebook = Facebook::open().await;
    let server = Server::start(&home.0, &facebook.base, free_port(), &[]).await;
    let (ben, _, path) = furnish(&server.base).await;
    let psid = "7100000000000099";
    facebook.simulator.add_person(PAGE_ID, psid, "Anna", "Example", None, None);
    facebook.simulator.set_callback(crate::support::world::APP_ID, &format!("{}{path}", server.base));
    facebook.simulator.set_receipts(false);
    facebook.simulator.say(PAGE_ID, psid, "hello").await;
    let room = crate::crash::active_room(&ben).await;
    // Facebook takes the reply and is silent about it, but its echo comes.
    facebook.simulator.fail_next_sends(PAGE_ID, vec![chatgate::simulator::Fault::Timeout]);
    let reply = json!({ "content": { "kind": "text", "text": "hi" } });
    let reply = ben.post(&format!("/rooms/{}/messages", id(&room)), reply).await.expect(201);
    let deadline = Instant::now() + Duration::from_secs(20);
    let find = async || {
        let page = ben.get(&format!("/rooms/{}/messages", id(&room))).await.expect(200);
        let messages = page["items"].as_array().unwrap().clone();
        messages
            .into_iter()
            .filter(|it| it["direction"] == "outbound" && it["content"]["text"] == "hi")
            .collect::<Vec<_>>()
    };
    while find().await[0]["status"] != "sent" {
        assert!(Instant::now() < deadline, "the echo did not settle it: {:?}", find().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let found = find().await;
    assert_eq!((found.len(), &found[0]["id"]), (1, &reply["id"]), "{found:?}");
    assert!(found[0]["external_id"].is_string());
    // The next one is not held up by the silence, and the first is not sent again.
    ben.post(&format!("/rooms/{}/messages", id(&room)), json!({ "content": { "kind": "text", "text": "there" } }))
        .await
        .expect(201);
    let seen = || facebook.simulator.seen_by(PAGE_ID, psid).into_iter().filter_map(|it| it.text).collect::<Vec<_>>();
    let deadline = Instant::now() + Duration::from_secs(60);
    while seen().last().map(String::as_str) != Some("there") {
        assert!(Instant::now() < deadline, "{:?}", seen());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(seen().iter().filter(|it| *it == "hi").count(), 1);
    drop(server);
    facebook.stop.cancel();
}

/// Says something to the server and reads what it answers until it closes the connection.
fn say(base: &str, words: &[u8]) -> String {
    let mut stream = TcpStream::connect(base.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(words).unwrap();
    let mut answer = Vec::new();
    // A reset closes it as well; a time-out does not.
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it was not closed: {error}");
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_callers_are_shown_out_and_a_flood_of_bodies_is_refused_before_it_fills_the_memory() {
    let home = Home::new("slow");
    let facebook = Facebook::open().await;
    let limits = [("CHATGATE__HTTP__PATIENCE_S", "2"), ("CHATGATE__HTTP__MAX_CONNECTIONS", "40")];
    let server = Server::start(&home.0, &facebook.base, free_port(), &limits).await;
    let (_, _, path) = furnish(&server.base).await;
    let base = server.base.clone();
    let lent = json!({ "app_id": "42", "app_secret": "lent-secret", "app_name": "Platform" });
    let lent = Api::new(&base, Some(OPERATOR)).post("/meta-apps", lent).await.expect(201);
    let url = lent["callback_url"].as_str().unwrap();
    let other = url[url.find("/webhooks").unwrap()..].to_owned();
    let head = move |length: usize| {
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: sha256=00\r\nContent-Length: {length}\r\n\r\n")
    };

    // Nothing, half a head, half a body: each is closed, and none is an answer of success.
    let half = format!("{}{{\"object\":", head(1000));
    for words in ["", "POST /webhooks/messenger/x HTTP/1.1\r\nHost: x\r\nX-Slow: ", half.as_str()] {
        let (base, words) = (base.clone(), words.to_owned());
        let answer = tokio::task::spawn_blocking(move || say(&base, words.as_bytes())).await.unwrap();
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    // An unknown key is told before its body is waited for.
    let stranger = "POST /webhooks/messenger/unknown HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n".to_owned();
    let at = base.clone();
    let answer = tokio::task::spawn_blocking(move || say(&at, stranger.as_bytes())).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");

    // More silent callers than there are connections: whoever comes behind them is served when they are shown out.
    let silent: Vec<_> = (0..60).map(|_| TcpStream::connect(base.strip_prefix("http://").unwrap()).unwrap()).collect();
    let nobody = Api::new(&base, None);
    assert_eq!(nobody.get("/healthz").await.status, 200);
    drop(silent);

    // Eight bodies of nearly 10 MiB each, none of which ends: some are refused at once, and the memory has its bound.
    let mut streams = Vec::new();
    let chunk = vec![b'x'; 64 * 1024];
    for _ in 0..8 {
        let mut stream = TcpStream::connect(base.strip_prefix("http://").unwrap()).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(head(10 * 1024 * 1024).as_bytes()).unwrap();
        for _ in 0..150 {
            // Whoever is refused cannot go on.
            if stream.write_all(&chunk).is_err() {
                break;
            }
        }
        streams.push(stream);
    }
    let resident = server.resident_mib();
    assert!(resident < 200, "{resident} MiB");
    // Whoever has a key of another app is served meanwhile.
    let nobodys = body("7002", "m_meanwhile");
    let signed = sign("lent-secret", &nobodys);
    assert_eq!(post(&base, &other, Some(&signed), &nobodys).await.status, 200);
    let mut refused = 0;
    for mut stream in streams {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut answer = Vec::new();
        // However much of it came fast: silence is not waited for longer than the patience.
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it was not closed: {error}");
        }
        let answer = String::from_utf8_lossy(&answer).to_lowercase();
        assert!(!answer.contains(" 200 "), "{answer}");
        refused += u32::from(answer.starts_with("http/1.1 503") && answer.contains("retry-after: "));
    }
    assert!((1..8).contains(&refused), "{refused} of 8 were told to come again");
    // And then everything is as before.
    let whole = body("7001", "m_after");
    let path = head(0).split(' ').nth(1).unwrap().to_owned();
    assert_eq!(post(&base, &path, Some(&sign(APP_SECRET, &whole)), &whole).await.status, 200);
    println!("{resident} MiB resident with eight bodies under way, {refused} refused");
    drop(server);
    facebook.stop.cancel();
}

#[tokio::test]
async fn a_post_of_ten_mebibytes_and_a_thousand_updates_is_taken_whole() {
    story(async |world: &World| {
        let path = callback(&world.admin, &world.widget).await;
        let words = "x".repeat(10 * 1024 - 180);
        let events: Vec<_> = (0..1000)
            .map(|n| json!({ "sender": { "id": format!("7{:03}", n % 250) }, "recipient": { "id": PAGE_ID }, "timestamp": 1_790_000_000_000_u64,
                "message": { "mid": format!("m_{n}"), "text": words } }))
            .collect();
        let body = json!({ "object": "page", "entry": [{ "id": PAGE_ID, "time": 1, "messaging": events }] }).to_string();
        assert!((9 << 20..=10 << 20).contains(&body.len()), "{}", body.len());
        let signed = sign(APP_SECRET, &body);
        let began = Instant::now();
        assert_eq!(post(&world.base, &path, Some(&signed), &body).await.status, 200);
        println!("{} MiB with 1000 updates accepted after {:?}", body.len() >> 20, began.elapsed());
        world.settle().await;
        let stored: i64 = sqlx::query_scalar("select count(*) from messages").fetch_one(&world.db).await.unwrap();
        assert_eq!(stored, 1000);
        // Far more events than Meta ever sends are kept as one item instead of filling the memory.
        let flood = format!(r#"{{"object":"page","entry":[{{"id":"{PAGE_ID}","messaging":[{}{{}}]}}]}}"#, "{},".repeat(2_000_000));
        assert_eq!(post(&world.base, &path, Some(&sign(APP_SECRET, &flood)), &flood).await.status, 200);
        let items: i64 = sqlx::query_scalar("select count(*) from ledger").fetch_one(&world.db).await.unwrap();
        assert_eq!(items, 1001);
    })
    .await;
}
