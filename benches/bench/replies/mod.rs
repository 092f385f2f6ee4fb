//! `script/bench replies`: replies out, beside a bare loop that posts the same bodies from memory to the same receiver.
//!
//! "Drained" sends what waits in the outbox: claimed durably, sent, verdicts and events recorded durably. "Posted" comes in through
//! `POST /rooms/{id}/messages` and is timed until its request is at the Graph API.

mod fill;
mod receiver;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use chatgate::clock::Clock;
use clap::Args;
use receiver::Receiver;
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::Semaphore;

use crate::support::{
    client::{Client, id},
    cluster::{self, Cluster},
    cpu::Used,
    furnish::{PASSWORD, Size, furnish},
    gateway::Gateway,
    machine,
    table::{Table, whole},
};

/// Tenants of 100 Pages each.
const SIZE: Size = Size { tenants: 10, pages: 100, agents: 1 };
/// Rooms of every Page, and of the first one, which is measured alone: there are never two replies of a room under way.
const ROOMS: usize = 20;
const ROOMS_OF_FIRST: usize = 5000;
/// Posts of the bare loop under way at one time.
const AT_ONCE: usize = 128;
/// How often bare loops and drains take turns.
const ROUNDS: usize = 2;
/// How often a drain without and one with a dead Page take turns: two runs of the same differ by a fifth.
const DEAD_ROUNDS: i64 = 3;

/// How long everything takes.
#[derive(Args)]
pub struct Options {
    /// Fewer replies.
    #[arg(long)]
    quick: bool,
    /// Replies of each measurement.
    #[arg(long)]
    replies: Option<usize>,
    /// Only these parts, of: drained, posted, dead.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only with so many Pages, of: 1, 100, 1000.
    #[arg(long, value_delimiter = ',')]
    pages: Vec<usize>,
    /// Seconds of each measurement of what is posted.
    #[arg(long, default_value_t = 15.0)]
    seconds: f64,
}

impl Options {
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|it| it == part)
    }

    fn wants_pages(&self, pages: usize) -> bool {
        self.pages.is_empty() || self.pages.contains(&pages)
    }
}

/// Measures everything and prints the table.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    println!("{}\n{}\n", machine::describe(), cluster.version().await?);
    let measured = measure(options, &cluster).await;
    cluster.stop().await?;
    measured
}

async fn measure(options: &Options, cluster: &Cluster) -> anyhow::Result<()> {
    let count = options.replies.unwrap_or(if options.quick { 8000 } else { 20_000 });
    let receiver = Receiver::default();
    let base = receiver.serve().await?;
    let database = cluster.database("gateway").await?;
    // What Meta allows a Page is not what is measured.
    let settings = [
        ("CHATGATE__GRAPH__BASE_URL", base.as_str()),
        ("CHATGATE__REPLIES__PAGE_PER_S", "100000"),
        ("CHATGATE__REPLIES__APP_PER_S", "100000"),
        ("CHATGATE__REPLIES__PERSON_PER_S", "100000"),
    ];
    let gateway = Gateway::start(&database, &settings).await?;
    eprintln!("furnishing {} Pages", SIZE.tenants * SIZE.pages);
    furnish(&gateway, SIZE).await?;
    let db = cluster::pool(&database, 2).await?;
    fill::rooms(&db, ROOMS, ROOMS_OF_FIRST, Clock::System.now()).await?;
    let postmaster = cluster.pid().await?;
    let bench = Bench { cluster, db, receiver, base, gateway, postmaster, count };
    bench.all(options).await
}

struct Bench<'a> {
    cluster: &'a Cluster,
    db: PgPool,
    receiver: Receiver,
    base: String,
    gateway: Gateway,
    postmaster: u32,
    count: usize,
}

impl Bench<'_> {
    async fn all(&self, options: &Options) -> anyhow::Result<()> {
        let heads = [
            "what",
            "replies/s",
            "× of 128 at once",
            "× one by one",
            "CPU µs: gateway + PostgreSQL",
            "POST → Graph p50 / p99 ms",
        ];
        let mut table = Table::new(&heads);
        // Warm: connections, plans, caches.
        self.drain(1000, self.count / 4).await?;
        if options.wants("drained") {
            for pages in [1, 100, 1000].into_iter().filter(|it| options.wants_pages(*it)) {
                self.drained(pages, &mut table).await?;
            }
        }
        if options.wants("posted") {
            let top = self.posted(f64::INFINITY, options.seconds).await?;
            table.row(top.row("posted, as fast as answered"));
            for share in [0.25, 0.5] {
                let at = self.posted(top.rate * share, options.seconds).await?;
                table.row(at.row(&format!("posted, at {:.0} % of that", share * 100.0)));
            }
        }
        if options.wants("dead") {
            self.dead(&mut table).await?;
        }
        table.print();
        let odd = self.gateway.said();
        ensure!(!odd.contains("ERROR"), "the gateway complained: {odd}");
        Ok(())
    }

    /// What waits is sent, and the bare loops before and after it: the machine drifts while a table is made.
    async fn drained(&self, pages: usize, table: &mut Table) -> anyhow::Result<()> {
        let (mut at_once, mut one_by_one, mut drained) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            at_once.push(self.bare(pages, AT_ONCE, self.count * 3).await?);
            // As a loop would do it that waits for each answer before it posts the next.
            one_by_one.push(self.bare(pages, 1, self.count).await?);
            drained.push(self.drain(pages, self.count).await?);
        }
        at_once.push(self.bare(pages, AT_ONCE, self.count * 3).await?);
        one_by_one.push(self.bare(pages, 1, self.count).await?);
        let rates: Vec<f64> = drained.iter().map(|it| it.rate).collect();
        let (at_once, one_by_one, rate) = (mean(&at_once), mean(&one_by_one), mean(&rates));
        let ratios = |rate: f64| [format!("{:.2}", rate / at_once), format!("{:.2}", rate / one_by_one)];
        let mut row = |what: String, rate: f64, cpu: String| {
            let [of_many, of_one] = ratios(rate);
            table.row(vec![what, whole(rate), of_many, of_one, cpu, String::new()]);
        };
        row(format!("bare loop, {pages} Pages, {AT_ONCE} at once"), at_once, String::new());
        row(format!("bare loop, {pages} Pages, one by one"), one_by_one, String::new());
        row(format!("drained, {pages} Pages"), rate, drained.last().map(|it| it.cpu.clone()).unwrap_or_default());
        Ok(())
    }

    /// What a Page costs the others that takes requests and never answers.
    async fn dead(&self, table: &mut Table) -> anyhow::Result<()> {
        let dead: Vec<String> = sqlx::query_scalar("select page_id from widgets order by id limit $1")
            .bind(DEAD_ROUNDS)
            .fetch_all(&self.db)
            .await?;
        let (mut alive, mut with_dead) = (Vec::new(), Vec::new());
        for nth in 0..dead.len() {
            // A Page that was dead is left alone for a while: it does not count any more.
            alive.push(self.drain_but(1000, self.count, &dead[..nth]).await?.rate);
            self.receiver.hang(&dead[nth], true);
            with_dead.push(self.drain_but(1000, self.count, &dead[..=nth]).await?.rate);
            self.receiver.hang(&dead[nth], false);
        }
        let list = |rates: &[f64]| rates.iter().map(|it| whole(*it)).collect::<Vec<_>>().join(", ");
        let cost = format!("{:+.1} %", (mean(&with_dead) / mean(&alive) - 1.0) * 100.0);
        let mut row = |what: &str, rates: &[f64], cost: String| {
            table.row(vec![what.to_owned(), whole(mean(rates)), cost, String::new(), String::new(), list(rates)]);
        };
        row("drained, 1000 Pages, by turns with", &alive, String::new());
        row("the same, one of them dead", &with_dead, cost);
        Ok(())
    }

    /// Posts the bodies that the gateway would, from memory; so many under way at one time.
    async fn bare(&self, pages: usize, at_once: usize, count: usize) -> anyhow::Result<f64> {
        let page_ids: Vec<String> = sqlx::query_scalar("select page_id from widgets order by id limit $1")
            .bind(i64::try_from(pages)?)
            .fetch_all(&self.db)
            .await?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let free = Arc::new(Semaphore::new(at_once));
        let metadata = uuid::Uuid::nil();
        let began = Instant::now();
        for n in 0..count {
            let place = Arc::clone(&free).acquire_owned().await?;
            let page = &page_ids[n % page_ids.len()];
            let url = format!("{}/v26.0/{page}/messages?appsecret_proof={:064}", self.base, 0);
            let body = json!({"recipient": {"id": "7000000000000001"}, "messaging_type": "RESPONSE",
                "message": {"text": format!("reply {n} {}", fill::WORDS), "metadata": format!("cg:{metadata}")}});
            let request = http.post(url).bearer_auth("EAA-page-token-of-the-bench").json(&body);
            tokio::spawn(async move {
                let answer = request.send().await.expect("the receiver answers").bytes().await;
                drop((answer, place));
            });
        }
        drop(free.acquire_many(u32::try_from(at_once)?).await?);
        Ok(count as f64 / began.elapsed().as_secs_f64())
    }

    /// Lets the gateway send what waits; replies a second from the first request to the last verdict.
    async fn drain(&self, pages: usize, count: usize) -> anyhow::Result<Drained> {
        self.drain_but(pages, count, &[]).await
    }

    /// The same, not counting what goes to some Pages.
    async fn drain_but(&self, pages: usize, count: usize, dead: &[String]) -> anyhow::Result<Drained> {
        let now = Clock::System.now();
        // All become due together, when they are stored and the disk is quiet.
        let due_at = now + chrono::TimeDelta::seconds(5 + i64::try_from(count / 1000)?);
        let per_page = if pages == 1 { ROOMS_OF_FIRST } else { ROOMS };
        fill::replies(&self.db, count, (pages, per_page), now, due_at).await?;
        self.cluster.checkpoint().await?;
        let before = self.receiver.count();
        let left = "select count(*) from outbox o join widgets w on w.tenant_id = o.tenant_id and w.id = o.widget_id where w.page_id <> all($1)";
        let to_send: i64 = sqlx::query_scalar(left).bind(dead).fetch_one(&self.db).await?;
        ensure!(Clock::System.now() < due_at, "the outbox took too long to fill");
        while self.receiver.count() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (began, used) = (Instant::now(), self.used());
        while self.receiver.count() - before < u64::try_from(to_send)? {
            ensure!(began.elapsed() < Duration::from_secs(300), "some replies do not arrive");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while sqlx::query_scalar::<_, i64>(left).bind(dead).fetch_one(&self.db).await? > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let rate = to_send as f64 / began.elapsed().as_secs_f64();
        let cpu = (self.used() - used).each(to_send as f64);
        if !dead.is_empty() {
            sqlx::query("delete from outbox").execute(&self.db).await?;
        }
        Ok(Drained { rate, cpu })
    }

    fn used(&self) -> Used {
        Used::now(self.gateway.pid(), self.postmaster)
    }

    /// Posts replies through the door at a rate (or as fast as 64 callers are answered) and times them until they are at the receiver.
    async fn posted(&self, per_s: f64, seconds: f64) -> anyhow::Result<Posted> {
        let keys = self.keys().await?;
        let rooms: Vec<(uuid::Uuid, uuid::Uuid)> =
            sqlx::query_as("select tenant_id, id from rooms order by md5(id::text) limit 10000")
                .fetch_all(&self.db)
                .await?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let free = Arc::new(Semaphore::new(if per_s.is_finite() { 4096 } else { 64 }));
        self.receiver.note_arrivals();
        let (length, began, before) = (Duration::from_secs_f64(seconds), Instant::now(), self.receiver.count());
        let used = self.used();
        let mut written = HashMap::new();
        let mut n = 0_u64;
        while began.elapsed() < length {
            let place = Arc::clone(&free).acquire_owned().await?;
            if per_s.is_finite() {
                let at = began + Duration::from_secs_f64(n as f64 / per_s);
                tokio::time::sleep_until(at.into()).await;
            }
            let (tenant, room) = &rooms[n as usize % rooms.len()];
            let body = json!({ "content": { "kind": "text", "text": format!("reply {n} {}", fill::WORDS) } });
            let url = format!("{}/api/v1/rooms/{room}/messages", self.gateway.base);
            let request = http.post(url).bearer_auth(&keys[tenant]).json(&body);
            written.insert(n, Instant::now());
            n += 1;
            tokio::spawn(async move {
                let answer = request.send().await.expect("the gateway answers");
                assert_eq!(answer.status(), 201);
                drop((answer.bytes().await, place));
            });
        }
        let elapsed = began.elapsed();
        while self.receiver.count() - before < n {
            ensure!(began.elapsed() < length * 4, "some replies do not arrive");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut times: Vec<Duration> = self
            .receiver
            .take_arrivals()
            .into_iter()
            .map(|(n, at)| at.saturating_duration_since(written[&n]))
            .collect();
        times.sort_unstable();
        Ok(Posted { rate: n as f64 / elapsed.as_secs_f64(), cpu: (self.used() - used).each(n as f64), times })
    }

    /// A key that answers, for each tenant.
    async fn keys(&self) -> anyhow::Result<HashMap<uuid::Uuid, String>> {
        let mut keys = HashMap::new();
        for nth in 0..SIZE.tenants {
            let slug = format!("tenant-{nth}");
            let admin: Client = self.gateway.operator()?.log_in(&slug, &format!("ada@{slug}.test"), PASSWORD).await?;
            let key = admin.post("/api-keys", json!({ "name": "bench", "scopes": ["answer"] })).await?;
            let tenant =
                sqlx::query_scalar("select id from tenants where slug = $1").bind(&slug).fetch_one(&self.db).await?;
            keys.insert(tenant, key["key"].as_str().unwrap_or_else(|| id(&key)).to_owned());
        }
        Ok(keys)
    }
}

struct Drained {
    rate: f64,
    cpu: String,
}

fn mean(rates: &[f64]) -> f64 {
    rates.iter().sum::<f64>() / rates.len() as f64
}

struct Posted {
    rate: f64,
    cpu: String,
    times: Vec<Duration>,
}

impl Posted {
    fn row(&self, what: &str) -> Vec<String> {
        vec![what.to_owned(), whole(self.rate), String::new(), String::new(), self.cpu.clone(), self.spread()]
    }

    fn spread(&self) -> String {
        let at = |share: f64| {
            let nth = (self.times.len() as f64 * share) as usize;
            self.times.get(nth.min(self.times.len().saturating_sub(1))).copied().unwrap_or_default().as_secs_f64() * 1e3
        };
        format!("{:.1} / {:.1}", at(0.5), at(0.99))
    }
}
