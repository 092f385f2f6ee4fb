//! The real binary, killed: everything answered 200 is there afterwards exactly once, every reply went out once or is uncertain.

use std::{
    collections::HashMap,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use chatgate::{channels::meta::signature, clock::Clock, secret::Secret, simulator::Simulator};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;

use crate::support::{
    Api,
    cluster::TestDatabase,
    logs::{APP_SECRET, PAGE_TOKEN, PASSWORD, WORDS, seen},
    world::{APP_ID, PAGE_ID, id},
};

pub const OPERATOR: &str = "cgo_operator-token-of-the-crash-tests";

/// A directory of its own, removed at the end; short, because socket paths are.
pub struct Home(pub std::path::PathBuf);

impl Home {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cg-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let log = std::fs::read_to_string(self.0.join("log")).unwrap_or_default();
        drop(std::fs::remove_dir_all(&self.0));
        if !std::thread::panicking() {
            seen(&log);
            assert!(!log.contains(WORDS), "a customer's words are in the log");
            assert!(!log.contains("panicked at"), "{log}");
        }
    }
}

pub struct Server {
    child: Child,
    pub base: String,
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    pub async fn start(home: &Path, facebook: &str, port: u16, more: &[(&str, &str)]) -> Self {
        let base = format!("http://127.0.0.1:{port}");
        let child = Command::new(env!("CARGO_BIN_EXE_chatgate"))
            .arg("serve")
            .current_dir(home)
            .env("CHATGATE__DATA_DIR", home.join("data"))
            .env("CHATGATE__HTTP__LISTEN", format!("127.0.0.1:{port}"))
            .env("CHATGATE__GRAPH__BASE_URL", facebook)
            .env("CHATGATE__METRICS__LISTEN", "")
            .env("CHATGATE__OPERATOR_TOKEN", OPERATOR)
            .env_remove("DATABASE_URL")
            .envs(more.iter().copied())
            .stdout(Stdio::null())
            .stderr(std::fs::OpenOptions::new().create(true).append(true).open(home.join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut server = Self { child, base };
        server.wait_ready(home).await;
        server
    }

    async fn wait_ready(&mut self, home: &Path) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if client.get(format!("{}/readyz", self.base)).send().await.is_ok_and(|it| it.status() == 200) {
                return;
            }
            let log = || std::fs::read_to_string(home.join("log")).unwrap_or_default();
            assert!(self.child.try_wait().unwrap().is_none(), "the server ended: {}", log());
            assert!(Instant::now() < deadline, "the server is not ready: {}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Server {
    /// Resident memory, in MiB.
    pub fn resident_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|it| it.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub struct Facebook {
    pub simulator: Simulator,
    pub base: String,
    pub stop: CancellationToken,
}

impl Facebook {
    pub async fn open() -> Self {
        let simulator = Simulator::new(Clock::System);
        simulator.add_app(APP_ID, APP_SECRET);
        simulator.add_page(APP_ID, PAGE_ID, "Acme Page", PAGE_TOKEN);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let (serving, ended) = (simulator.clone(), stop.clone());
        tokio::spawn(async move { serving.serve(listener, ended).await });
        Self { simulator, base, stop }
    }
}

/// A tenant with a Page, a queue with auto-accept, and a ready agent; the agent, the admin and the webhook's path.
pub async fn furnish(base: &str) -> (Api, Api, String) {
    let operator = Api::new(base, Some(OPERATOR));
    let admin = json!({ "email": "ada@acme.test", "name": "Ada", "password": PASSWORD });
    operator.post("/tenants", json!({ "slug": "acme", "name": "Acme", "admin": admin })).await.expect(201);
    let admin = log_in(base, "ada@acme.test").await;
    let me = admin.get("/me").await.expect(200);
    admin.patch(&format!("/users/{}", id(&me)), json!({ "roles": ["admin", "supervisor"] })).await.expect(200);
    let queue = admin.post("/queues", json!({ "name": "Sales", "accept": "auto" })).await.expect(201);
    let messenger =
        json!({ "app_id": APP_ID, "app_secret": APP_SECRET, "page_access_token": PAGE_TOKEN, "page_id": PAGE_ID });
    let widget = admin
        .post("/widgets", json!({ "name": "Page", "channel": "messenger", "messenger": messenger }))
        .await
        .expect(201);
    let chat = json!({ "name": "c", "widget_id": widget["id"], "queue_id": queue["id"] });
    admin.post("/incoming-chats", chat).await.expect(201);
    let user =
        json!({ "email": "ben@acme.test", "name": "Ben", "password": PASSWORD, "roles": ["agent"], "max_chats": 50 });
    let user = admin.post("/users", user).await.expect(201);
    let member = admin.put(&format!("/queues/{}/members/{}", id(&queue), id(&user)), json!({ "priority": 1 })).await;
    assert!(member.status < 300, "{}", member.text);
    let ben = log_in(base, "ben@acme.test").await;
    ben.put("/me/status", json!({ "status": "ready" })).await.expect(200);
    let callback = admin.get(&format!("/widgets/{}/callback", id(&widget))).await.expect(200);
    let url = callback["callback_url"].as_str().unwrap();
    (ben, admin, url[url.find("/webhooks").unwrap()..].to_owned())
}

async fn log_in(base: &str, email: &str) -> Api {
    let session = json!({ "tenant": "acme", "email": email, "password": PASSWORD });
    let session = Api::new(base, None).post("/sessions", session).await.expect(201);
    Api::new(base, session["token"].as_str())
}

pub fn body(psid: &str, mid: &str) -> String {
    let event = json!({ "sender": { "id": psid }, "recipient": { "id": PAGE_ID }, "timestamp": Clock::System.now().timestamp_millis(),
        "message": { "mid": mid, "text": WORDS } });
    json!({ "object": "page", "entry": [{ "id": PAGE_ID, "time": 1, "messaging": [event] }] }).to_string()
}

/// Posts until told to stop, as fast as answers come; what was answered 200.
pub async fn pour(base: String, path: String, line: usize, stop: CancellationToken) -> Vec<String> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
    let mut accepted = Vec::new();
    for n in 0.. {
        if stop.is_cancelled() {
            break;
        }
        let mid = format!("m_{line}_{n}");
        let body = body(&format!("7{line}"), &mid);
        let signature = signature::sign(&Secret::new(APP_SECRET), body.as_bytes());
        let request = client.post(format!("{base}{path}")).header("x-hub-signature-256", signature).body(body);
        match request.send().await {
            Ok(answer) if answer.status() == 200 => accepted.push(mid),
            Ok(answer) => {
                assert_eq!(answer.status(), 503);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            // Down: Meta would wait a moment, too.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    accepted
}

/// The room that the agent has been given, once there is one.
pub async fn active_room(agent: &Api) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let rooms = agent.get("/me/rooms").await.expect(200);
        if let Some(room) = rooms["items"].as_array().unwrap().iter().find(|it| it["status"] == "active") {
            return room.clone();
        }
        assert!(Instant::now() < deadline, "no room");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How a gateway of its own process finds a test's database.
pub fn database_url(database: &TestDatabase) -> String {
    url(&database.options)
}

pub fn url(options: &PgConnectOptions) -> String {
    let socket = options.get_socket().unwrap().display().to_string().replace('/', "%2F");
    let (user, port, name) = (options.get_username(), options.get_port(), options.get_database().unwrap());
    format!("postgres://{user}@{socket}:{port}/{name}")
}

/// What `chatgate ledger verify` prints; it fails if anything is unexplained.
pub fn ledger_sums(home: &Path, more: &[(&str, &str)]) -> HashMap<String, i64> {
    let mut verify = Command::new(env!("CARGO_BIN_EXE_chatgate"));
    verify.args(["ledger", "verify"]).current_dir(home).env_remove("DATABASE_URL").envs(more.iter().copied());
    let output = verify.env("CHATGATE__DATA_DIR", home.join("data")).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let lines = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.map(|it| (it[0].to_owned(), it[1].parse().unwrap())).collect()
}

/// The ids of all inbound messages, once the `accepted` are among them or have had their time.
pub async fn all_inbound(admin: &Api, accepted: &[String]) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let mut texts = Vec::new();
        let rooms = admin.get("/rooms?limit=200").await.expect(200);
        for room in rooms["items"].as_array().unwrap() {
            let mut after = 0;
            loop {
                let page =
                    admin.get(&format!("/rooms/{}/messages?limit=200&after={after}", id(room))).await.expect(200);
                let items = page["items"].as_array().unwrap().clone();
                let Some(last) = items.last() else { break };
                after = last["seq"].as_i64().unwrap();
                texts.extend(
                    items
                        .iter()
                        .filter(|it| it["direction"] == "inbound")
                        .map(|it| it["external_id"].as_str().unwrap().to_owned()),
                );
            }
        }
        // More may be stored than was answered: what was cut off between the commit and the answer.
        if accepted.iter().all(|it| texts.contains(it)) || Instant::now() > deadline {
            return texts;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_by_kill_9() {
    let home = Home::new("kill");
    let facebook = Facebook::open().await;
    let port = free_port();
    let mut server = Server::start(&home.0, &facebook.base, port, &[]).await;
    let (_, admin, path) = furnish(&server.base).await;
    let stop = CancellationToken::new();
    let pouring: Vec<_> =
        (0..4).map(|line| tokio::spawn(pour(server.base.clone(), path.clone(), line, stop.clone()))).collect();
    for round in 0..6 {
        tokio::time::sleep(Duration::from_millis(150 + 70 * round)).await;
        if round % 2 == 0 {
            server.kill();
            server = Server::start(&home.0, &facebook.base, port, &[]).await;
        } else {
            // PostgreSQL alone: the gateway brings it back.
            let pid = std::fs::read_to_string(home.0.join("data/postgres/data/postmaster.pid")).unwrap();
            let pid = pid.lines().next().unwrap().to_owned();
            assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
            server.wait_ready(&home.0).await;
        }
    }
    stop.cancel();
    let mut accepted = Vec::new();
    for it in pouring {
        accepted.extend(it.await.unwrap());
    }
    assert!(accepted.len() > 50, "only {} got through", accepted.len());
    let stored = all_inbound(&admin, &accepted).await;
    let mut sorted = stored.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), stored.len(), "something is there twice");
    let lost: Vec<_> = accepted.iter().filter(|it| sorted.binary_search(it).is_err()).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    // Beside the server, through the PostgreSQL that it runs.
    let sums = ledger_sums(&home.0, &[]);
    assert_eq!((sums["parked"], sums["unexplained"]), (0, 0), "{sums:?}");
    facebook.stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reply_goes_out_once_or_is_uncertain() {
    let home = Home::new("reply");
    let facebook = Facebook::open().await;
    facebook.simulator.set_echoes(false);
    facebook.simulator.set_receipts(false);
    let port = free_port();
    let mut server = Server::start(&home.0, &facebook.base, port, &[]).await;
    let (ben, _, path) = furnish(&server.base).await;
    let psid = "7100000000000077";
    facebook.simulator.add_person(PAGE_ID, psid, "Anna", "Example", None, None);
    facebook.simulator.set_callback(APP_ID, &format!("{}{path}", server.base));
    facebook.simulator.say(PAGE_ID, psid, "hello").await;
    let room = active_room(&ben).await;
    let mut written: Vec<String> = Vec::new();
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
    for round in 0..4 {
        for n in 0..25 {
            let text = format!("reply {round}-{n}");
            let request = client
                .post(format!("{}/api/v1/rooms/{}/messages", server.base, id(&room)))
                .bearer_auth(ben.token.as_deref().unwrap());
            let answer = request.json(&json!({ "content": { "kind": "text", "text": text } })).send().await;
            if answer.is_ok_and(|it| it.status() == 201) {
                written.push(text);
            }
        }
        server.kill();
        server = Server::start(&home.0, &facebook.base, port, &[]).await;
    }
    let path = format!("/rooms/{}/messages?limit=200", id(&room));
    let deadline = Instant::now() + Duration::from_secs(90);
    let messages: Vec<Value> = loop {
        let page = ben.get(&path).await.expect(200);
        let messages = page["items"].as_array().unwrap().clone();
        if messages.iter().all(|it| it["status"] != "queued") {
            break messages;
        }
        assert!(Instant::now() < deadline, "still on their way: {messages:?}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    };
    let seen: Vec<String> = facebook.simulator.seen_by(PAGE_ID, psid).into_iter().filter_map(|it| it.text).collect();
    for text in &written {
        let sent = seen.iter().filter(|it| *it == text).count();
        let status = messages
            .iter()
            .find(|it| it["content"]["text"] == text.as_str())
            .map(|it| it["status"].as_str().unwrap().to_owned());
        let status = status.unwrap_or_else(|| panic!("{text} was answered 201 and is gone"));
        assert!(sent <= 1, "{text} went out {sent} times");
        assert!(sent == 1 || status == "uncertain", "{text} is {status} and was never seen");
    }
    let order: Vec<_> = seen.iter().filter(|it| it.starts_with("reply")).collect();
    let expected: Vec<_> = written.iter().filter(|it| order.contains(it)).collect();
    assert_eq!(order.iter().filter(|it| written.contains(it)).copied().collect::<Vec<_>>(), expected, "in order");
    facebook.stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_one_database() {
    let home = Home::new("two");
    let facebook = Facebook::open().await;
    let database = TestDatabase::create().await;
    let url = database_url(&database);
    let key = chatgate::seal::SealKey::generate();
    let more = [("CHATGATE__DATABASE__URL", url.as_str()), ("CHATGATE__SEAL__KEY", key.as_str())];
    let one = Server::start(&home.0, &facebook.base, free_port(), &more).await;
    let two = Server::start(&home.0, &facebook.base, free_port(), &more).await;
    let (ben, _, path) = furnish(&one.base).await;
    let psid = "7100000000000088";
    facebook.simulator.add_person(PAGE_ID, psid, "Anna", "Example", None, None);
    // The webhook comes to one process, the agent sits at the other.
    facebook.simulator.set_callback(APP_ID, &format!("{}{path}", two.base));
    let ben = Api::new(&one.base, ben.token.as_deref());
    let end = ben.get("/events?limit=200").await.expect(200)["next"].as_str().unwrap().to_owned();
    let watching = {
        let ben = ben.clone();
        tokio::spawn(async move {
            let mut after = end;
            loop {
                let page = ben.get(&format!("/events?after={after}&wait_s=20")).await.expect(200);
                if let Some(it) = page["items"].as_array().unwrap().iter().find(|it| it["kind"] == "room.accepted") {
                    return it["data"].clone();
                }
                after = page["next"].as_str().unwrap().to_owned();
            }
        })
    };
    facebook.simulator.say(PAGE_ID, psid, "hello").await;
    let room = watching.await.unwrap();
    ben.post(&format!("/rooms/{}/messages", id(&room)), json!({ "content": { "kind": "text", "text": "hi" } }))
        .await
        .expect(201);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !facebook.simulator.seen_by(PAGE_ID, psid).iter().any(|it| it.text.as_deref() == Some("hi")) {
        assert!(Instant::now() < deadline, "the reply did not arrive");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop((one, two));
    facebook.stop.cancel();
    database.drop().await;
}
