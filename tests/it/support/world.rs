//! A tenant with a Page, a queue, agents and customers; time that moves by hand.

use chatgate::{
    app::Gateway, clock::Clock, config::Settings, crew::Crew, db::bell::Bell, seal::SealKey, simulator::Simulator,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    Api,
    cluster::TestDatabase,
    logs::{self, APP_SECRET, PAGE_TOKEN, PASSWORD},
};

pub const APP_ID: &str = "900100200300400";
pub const PAGE_ID: &str = "1002003004005";
const OPERATOR: &str = "cgo_operator-token-of-the-tests";

pub struct World {
    pub clock: Clock,
    pub simulator: Simulator,
    pub db: sqlx::PgPool,
    pub base: String,
    /// Where the simulator is, without a slash at its end.
    pub facebook: String,
    pub data_dir: std::path::PathBuf,
    pub operator: Api,
    pub admin: Api,
    pub tenant: Value,
    pub widget: Value,
    pub queue: Value,
    pub workers: std::sync::Arc<chatgate::app::Workers>,
    /// For workers of a story's own.
    pub outgoing: chatgate::replies::Outgoing,
    /// Problems of sending that the story expects: nothing is checked at its end.
    pub expects_trouble: std::sync::atomic::AtomicBool,
}

/// Tells a story and checks at its end that nothing is left over.
pub async fn story(tell: impl AsyncFnOnce(&World)) {
    logs::watch();
    let database = TestDatabase::create().await;
    let stop = CancellationToken::new();
    let (world, serving) = World::begin(&database, &stop).await;
    tell(&world).await;
    world.settle().await;
    if !world.expects_trouble.load(std::sync::atomic::Ordering::Relaxed) {
        world.check_nothing_is_left().await;
    }
    stop.cancel();
    for task in serving {
        task.await.unwrap();
    }
    world.db.close().await;
    std::fs::remove_dir_all(&world.data_dir).unwrap();
    database.drop().await;
}

impl World {
    async fn begin(database: &TestDatabase, stop: &CancellationToken) -> (Self, Vec<tokio::task::JoinHandle<()>>) {
        let clock = Clock::manual(Clock::System.now());
        let simulator = Simulator::new(clock.clone());
        simulator.add_app(APP_ID, APP_SECRET);
        simulator.add_page(APP_ID, PAGE_ID, "Acme Page", PAGE_TOKEN);
        let pretend = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let facebook = format!("http://{}", pretend.local_addr().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let data_dir = database.directory();
        let settings = [
            ("CHATGATE__DATA_DIR", data_dir.to_str().unwrap()),
            // A slow file shall not make a story slow.
            ("CHATGATE__MEDIA__FETCH_S", "3"),
            ("CHATGATE__MEDIA__HOSTS", "fbcdn.net, localhost"),
            ("CHATGATE__MEDIA__MAX_MIB", "1"),
            ("CHATGATE__HTTP__PUBLIC_URL", base.as_str()),
            ("CHATGATE__GRAPH__BASE_URL", facebook.as_str()),
            ("CHATGATE__OPERATOR_TOKEN", OPERATOR),
            // Stories leap over days; logins are not what they are about.
            ("CHATGATE__SESSIONS__HOURS", "2160"),
        ];
        let settings: Vec<_> = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let settings = Settings::load(None, &settings).unwrap();
        let db = database.pool().await;
        let seal = SealKey::parse(&SealKey::generate()).unwrap();
        let gateway =
            Gateway::assemble(settings, db.clone(), Bell::local(), seal, clock.clone(), Crew::new()).await.unwrap();
        let (workers, outgoing) = (std::sync::Arc::clone(&gateway.workers), gateway.app.outgoing.clone());
        let (sim, sim_stop, serve_stop) = (simulator.clone(), stop.clone(), stop.clone());
        let serving = vec![
            tokio::spawn(async move { sim.serve(pretend, sim_stop).await.unwrap() }),
            tokio::spawn(gateway.serve(listener, serve_stop)),
        ];
        let operator = Api::new(&base, Some(OPERATOR));
        let mut world = Self {
            clock,
            simulator,
            db,
            base,
            facebook,
            data_dir,
            admin: operator.clone(),
            operator,
            tenant: Value::Null,
            widget: Value::Null,
            queue: Value::Null,
            workers,
            outgoing,
            expects_trouble: false.into(),
        };
        world.furnish().await;
        (world, serving)
    }

    async fn furnish(&mut self) {
        let (tenant, admin) = self.new_tenant("acme").await;
        (self.tenant, self.admin) = (tenant, admin);
        self.queue = self.admin.post("/queues", json!({ "name": "Sales" })).await.expect(201);
        let widget = json!({
            "name": "Acme page", "channel": "messenger", "display_name": "Acme",
            "texts": { "opening": "Hello {first_name}, {agent_name} here.", "closing": "Goodbye from {display_name}." },
            "messenger": { "app_id": APP_ID, "app_secret": APP_SECRET, "page_access_token": PAGE_TOKEN },
        });
        self.widget = self.admin.post("/widgets", widget).await.expect(201);
        let chat = json!({ "name": "Page to Sales", "widget_id": self.widget["id"], "queue_id": self.queue["id"] });
        self.admin.post("/incoming-chats", chat).await.expect(201);
        let subscribed = self.admin.act(&format!("/widgets/{}/subscribe", id(&self.widget))).await;
        assert!(subscribed.status < 300, "{}", subscribed.text);
    }

    /// Another tenant with its admin (who supervises, too).
    pub async fn new_tenant(&self, slug: &str) -> (Value, Api) {
        let email = format!("admin@{slug}.test");
        let admin = json!({ "email": email, "name": "Ada", "password": PASSWORD });
        let tenant =
            self.operator.post("/tenants", json!({ "slug": slug, "name": slug, "admin": admin })).await.expect(201);
        let api = self.log_in(slug, &email).await;
        let me = api.get("/me").await.expect(200);
        api.patch(&format!("/users/{}", id(&me)), json!({ "roles": ["admin", "supervisor"] })).await.expect(200);
        (tenant, api)
    }

    pub async fn log_in(&self, tenant: &str, email: &str) -> Api {
        let session = json!({ "tenant": tenant, "email": email, "password": PASSWORD });
        let session = Api::new(&self.base, None).post("/sessions", session).await.expect(201);
        self.operator.with(session["token"].as_str().unwrap())
    }

    /// An agent in the queue, not yet ready.
    pub async fn agent(&self, name: &str) -> Agent<'_> {
        self.agent_with(name, 4).await
    }

    /// The same with so many seats.
    pub async fn agent_with(&self, name: &str, max_chats: i32) -> Agent<'_> {
        let email = format!("{}@acme.test", name.to_lowercase());
        let user =
            json!({ "email": email, "name": name, "password": PASSWORD, "roles": ["agent"], "max_chats": max_chats });
        let user = self.admin.post("/users", user).await.expect(201);
        let member = format!("/queues/{}/members/{}", id(&self.queue), id(&user));
        let put = self.admin.put(&member, json!({ "priority": 1 })).await;
        assert!(put.status < 300, "{}", put.text);
        let api = self.log_in("acme", &email).await;
        Agent { world: self, api, id: id(&user), name: name.to_owned() }
    }

    /// A customer of the Page.
    pub fn customer(&self, name: &str) -> Customer<'_> {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(7_100_000_000_000_001);
        let psid = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
        let email = format!("{}@example.com", name.to_lowercase());
        self.simulator.add_person(PAGE_ID, &psid, name, "Example", Some(&email), Some("+12025550123"));
        Customer { world: self, psid }
    }

    /// Lets everything that can happen now happen: work, deliveries, and what follows from them.
    pub async fn settle(&self) {
        for _ in 0..3 {
            self.workers.settle().await.unwrap();
            self.simulator.settle().await;
        }
        self.workers.settle().await.unwrap();
    }

    pub async fn pass(&self, seconds: i64) {
        self.clock.advance(chrono::TimeDelta::seconds(seconds));
        self.settle().await;
    }

    /// Every event of the tenant so far, as an admin sees them.
    pub async fn events(&self) -> Vec<Value> {
        // Transactions of other stories hold the log back as well; they end soon.
        let held_back = "select count(*) from events where xid >= pg_snapshot_xmin(pg_current_snapshot())";
        for _ in 0..100 {
            if self.count(held_back).await == 0 {
                break;
            }
        }
        let mut events = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.admin.get(&format!("/events?limit=200&after={after}")).await.expect(200);
            let items = page["items"].as_array().unwrap().clone();
            if items.is_empty() {
                return events;
            }
            events.extend(items);
            after = page["next"].as_str().unwrap().to_owned();
        }
    }

    /// The kinds of [`World::events`].
    pub async fn kinds(&self) -> Vec<String> {
        self.events().await.iter().map(|it| it["kind"].as_str().unwrap().to_owned()).collect()
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.db).await.unwrap()
    }

    async fn check_nothing_is_left(&self) {
        assert_eq!(self.count("select count(*) from outbox").await, 0, "something is unsent");
        assert_eq!(
            self.count("select count(*) from ledger_items where state in ('pending', 'parked')").await,
            0,
            "something is unapplied"
        );
        let doubtful = "select count(*) from messages where status in ('queued', 'failed', 'uncertain')";
        assert_eq!(self.count(doubtful).await, 0, "some message did not go out");
        assert_eq!(logs::errors(), Vec::<String>::new());
    }
}

/// The id of a resource.
#[track_caller]
pub fn id(resource: &Value) -> String {
    resource["id"].as_str().unwrap_or_else(|| panic!("no id: {resource}")).to_owned()
}

pub struct Agent<'w> {
    pub world: &'w World,
    pub api: Api,
    pub id: String,
    pub name: String,
}

impl Agent<'_> {
    pub async fn ready(self) -> Self {
        self.goes("ready").await;
        self
    }

    pub async fn goes(&self, status: &str) {
        self.api.put("/me/status", json!({ "status": status })).await.expect(200);
        self.world.settle().await;
    }

    pub async fn rooms(&self) -> Vec<Value> {
        self.api.get("/me/rooms").await.expect(200)["items"].as_array().unwrap().clone()
    }

    /// Accepts what rings; the room.
    pub async fn takes_next(&self) -> Value {
        let rooms = self.rooms().await;
        let offered = rooms
            .iter()
            .find(|it| it["status"] == "offered")
            .unwrap_or_else(|| panic!("nothing rings at {}: {rooms:?}", self.name));
        let room = self.api.act(&format!("/rooms/{}/accept", id(offered))).await.expect(200);
        self.world.settle().await;
        room
    }

    pub async fn replies(&self, room: &Value, text: &str) -> Value {
        let message = self
            .api
            .post(&format!("/rooms/{}/messages", id(room)), json!({ "content": { "kind": "text", "text": text } }))
            .await;
        let message = message.expect(201);
        self.world.settle().await;
        message
    }

    pub async fn closes(&self, room: &Value) -> Value {
        let room = self.api.post(&format!("/rooms/{}/close", id(room)), json!({})).await.expect(200);
        self.world.settle().await;
        room
    }

    pub async fn reads(&self, room: &Value) -> Vec<Value> {
        let messages = self.api.get(&format!("/rooms/{}/messages", id(room))).await.expect(200);
        messages["items"].as_array().unwrap().clone()
    }

    pub async fn room(&self, room: &Value) -> Value {
        self.api.get(&format!("/rooms/{}", id(room))).await.expect(200)
    }
}

pub struct Customer<'w> {
    pub world: &'w World,
    pub psid: String,
}

impl Customer<'_> {
    pub async fn says(&self, text: &str) -> String {
        let mid = self.world.simulator.say(PAGE_ID, &self.psid, text).await;
        self.world.settle().await;
        mid
    }

    /// The texts the customer has seen from the page.
    pub fn sees(&self) -> Vec<String> {
        self.world.simulator.seen_by(PAGE_ID, &self.psid).into_iter().map(|it| it.text.unwrap_or_default()).collect()
    }
}
