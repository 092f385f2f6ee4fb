//! How soon an agent hears of a room: through `chatgate serve`, webhooks in, event streams out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use chatgate::{
    channels::meta::signature,
    clock::{Clock, Moment},
    seal::SealKey,
    secret::Secret,
};
use futures::future::try_join_all;
use serde_json::Value;
use tokio::sync::mpsc;

use super::Options;
use crate::support::{
    client::Client,
    cluster::{self, Cluster},
    furnish::{Size, Tenant, furnish},
    gateway::Gateway,
    table::{Table, whole},
};

/// 5,000 seats.
const SIZE: Size = Size { tenants: 1, pages: 5, agents: 100 };
const SEATS: u64 = 5000;
/// Rooms a second that come when nothing else happens.
const IDLE_RATE: u32 = 10;
/// Rooms closed a second, each by another agent: nobody closes a second one before the first seat is taken again.
const CLOSING_RATE: u32 = 40;
/// An offer that takes longer is lost, and the run with it.
const PATIENCE: Duration = Duration::from_secs(30);

/// An offer on a stream.
struct Heard {
    agent: usize,
    room: String,
    /// Which of the people who write.
    writer: u64,
    queued_at: Moment,
    /// When it was given: the event's own time.
    given_at: Moment,
    at: Moment,
}

/// Measures with so many gateways on one database; webhooks and streams are spread over them.
pub async fn measure(options: &Options, cluster: &Cluster, processes: usize, table: &mut Table) -> anyhow::Result<()> {
    let database = cluster.database(&format!("latency_{processes}")).await?;
    let db = cluster::pool(&database, 2).await?;
    let key = SealKey::generate();
    let mut gateways = Vec::new();
    for _ in 0..processes {
        gateways.push(Gateway::start(&database, &[("CHATGATE__SEAL__KEY", &key)]).await?);
    }
    eprintln!("furnishing {} agents", SIZE.agents);
    let tenant = furnish(&gateways[0], SIZE).await?.pop().context("a tenant")?;
    sqlx::raw_sql("update queues set accept = 'manual', offer_timeout_s = 3600").execute(&db).await?;
    let (sender, mut heard) = mpsc::unbounded_channel();
    for (nth, agent) in tenant.agents.iter().enumerate() {
        listen(&gateways[nth % processes].base, nth, agent, sender.clone()).await?;
    }
    let mut writers = Writers { gateways: &gateways, tenant: &tenant, written: 0, posted: Arc::default() };
    let name = |what: &str| format!("{what}, {processes} process{}", if processes == 1 { "" } else { "es" });
    let posted = Arc::clone(&writers.posted);
    let all = |rooms: Vec<Heard>| {
        let posted = posted.lock().unwrap_or_else(PoisonError::into_inner);
        let times = rooms.iter().map(|it| Times {
            whole: millis(it.at - posted.get(&it.writer).copied().unwrap_or(it.queued_at)),
            queued: Some((millis(it.at - it.queued_at), millis(it.given_at - it.queued_at))),
        });
        times.collect::<Vec<_>>()
    };

    // Connections, statements and caches are warm before anything is counted.
    writers.write(IDLE_RATE, IDLE_RATE * 2).await?;
    take(&mut heard, IDLE_RATE * 2).await?;
    let rooms = IDLE_RATE * options.seconds(20);
    writers.write(IDLE_RATE, rooms).await?;
    add(table, name(&format!("room queued, {IDLE_RATE} rooms/s")), all(take(&mut heard, rooms).await?));
    let rooms = options.rate * options.seconds(20);
    writers.write(options.rate, rooms).await?;
    add(table, name(&format!("room queued, {} rooms/s", options.rate)), all(take(&mut heard, rooms).await?));

    // All seats taken, and some rooms wait.
    let closes = CLOSING_RATE * options.seconds(10);
    let free = u32::try_from(SEATS.saturating_sub(writers.written))?;
    writers.write(1000, free + closes).await?;
    let offered = take(&mut heard, free).await?;
    let times = close(&tenant, &offered, &mut heard, closes).await?;
    add(table, name(&format!("seat free, {CLOSING_RATE} closes/s")), times);
    for gateway in &gateways {
        ensure!(gateway.said().is_empty(), "a gateway warned: {}", gateway.said());
    }
    Ok(())
}

/// How long an offer took.
struct Times {
    /// From the POST.
    whole: f64,
    /// From the moment the room was queued, and how much of that until somebody was chosen.
    queued: Option<(f64, f64)>,
}

fn add(table: &mut Table, what: String, times: Vec<Times>) {
    let spread = |of: &dyn Fn(&Times) -> Option<f64>| {
        let mut times: Vec<f64> = times.iter().filter_map(of).collect();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| {
            times.get(((times.len() as f64 * share) as usize).min(times.len() - 1)).copied().unwrap_or(0.0)
        };
        if times.is_empty() { String::new() } else { format!("{:.1} / {:.1} / {:.1}", at(0.5), at(0.99), at(1.0)) }
    };
    table.row(vec![
        what,
        whole(times.len() as f64),
        spread(&|it| Some(it.whole)),
        spread(&|it| it.queued.map(|it| it.0)),
        spread(&|it| it.queued.map(|it| it.1)),
    ]);
}

fn millis(it: chrono::TimeDelta) -> f64 {
    it.as_seconds_f64() * 1000.0
}

/// The next so many offers.
async fn take(heard: &mut mpsc::UnboundedReceiver<Heard>, many: u32) -> anyhow::Result<Vec<Heard>> {
    let mut taken = Vec::new();
    while taken.len() < many as usize {
        let next = tokio::time::timeout(PATIENCE, heard.recv()).await;
        let next = next.with_context(|| format!("{} of {many} offers were heard", taken.len()))?;
        taken.push(next.context("the streams have ended")?);
    }
    Ok(taken)
}

/// People who write for the first time, one POST each.
struct Writers<'a> {
    gateways: &'a [Gateway],
    tenant: &'a Tenant,
    written: u64,
    /// When each of them posted.
    posted: Arc<Mutex<HashMap<u64, Moment>>>,
}

impl Writers<'_> {
    async fn write(&mut self, per_second: u32, many: u32) -> anyhow::Result<()> {
        let (http, began) = (reqwest::Client::builder().no_proxy().build()?, Instant::now());
        let secret = Secret::new(self.tenant.app_secret.clone());
        let posts = (0..many).map(|nth| {
            self.written += 1;
            let (n, page) = (self.written, &self.tenant.pages[self.written as usize % self.tenant.pages.len()]);
            let at = 1_790_000_000_000_u64 + n;
            let body = format!(
                r#"{{"object":"page","entry":[{{"id":"{page}","time":{at},"messaging":[{{"sender":{{"id":"72{n:014}"}},"recipient":{{"id":"{page}"}},"timestamp":{at},"message":{{"mid":"m_bench_{n}","text":"Is my order on its way?"}}}}]}}]}}"#
            );
            let request = http
                .post(format!("{}{}", self.gateways[nth as usize % self.gateways.len()].base, self.tenant.webhook))
                .header("content-type", "application/json")
                .header("x-hub-signature-256", signature::sign(&secret, body.as_bytes()))
                .body(body);
            let posted = Arc::clone(&self.posted);
            tokio::spawn(async move {
                tokio::time::sleep_until((began + Duration::from_secs(1) * nth / per_second).into()).await;
                posted.lock().unwrap_or_else(PoisonError::into_inner).insert(n, Clock::System.now());
                let answer = request.send().await?;
                ensure!(answer.status() == 200, "a webhook was answered {}", answer.status());
                anyhow::Ok(())
            })
        });
        let posts: Vec<_> = posts.collect();
        try_join_all(posts).await?.into_iter().collect()
    }
}

/// Puts what is offered on an agent's stream into the channel, for as long as the gateway lives.
async fn listen(base: &str, agent: usize, client: &Client, heard: mpsc::UnboundedSender<Heard>) -> anyhow::Result<()> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let request =
        http.get(format!("{base}/api/v1/events")).bearer_auth(&client.token).header("accept", "text/event-stream");
    let mut stream = request.send().await?;
    ensure!(stream.status() == 200, "a stream was refused");
    tokio::spawn(async move {
        let mut text = Vec::new();
        while let Ok(Some(chunk)) = stream.chunk().await {
            let at = Clock::System.now();
            text.extend_from_slice(&chunk);
            while let Some(end) = text.iter().position(|it| *it == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                let Some(data) = line.strip_prefix(b"data:") else { continue };
                let Ok(event) = serde_json::from_slice::<Value>(data) else { continue };
                if event["kind"] != "room.offered" {
                    continue;
                }
                let room = event["data"]["id"].as_str().unwrap_or_default().to_owned();
                let moment = |it: &Value| it.as_str().and_then(|it| it.parse().ok()).unwrap_or(at);
                let (queued_at, given_at) = (moment(&event["data"]["queued_at"]), moment(&event["at"]));
                let sender = event["data"]["contact"]["sender_id"].as_str().and_then(|it| it.strip_prefix("72"));
                let writer = sender.and_then(|it| it.parse().ok()).unwrap_or_default();
                drop(heard.send(Heard { agent, room, writer, queued_at, given_at, at }));
            }
        }
    });
    Ok(())
}

/// Agents accept a room each and close it; from the POST of each close to the next offer on that agent's stream.
async fn close(
    tenant: &Tenant,
    offered: &[Heard],
    heard: &mut mpsc::UnboundedReceiver<Heard>,
    many: u32,
) -> anyhow::Result<Vec<Times>> {
    let mut rooms: HashMap<usize, Vec<&str>> = HashMap::new();
    for it in offered {
        rooms.entry(it.agent).or_default().push(&it.room);
    }
    let mut agents: Vec<usize> = rooms.keys().copied().collect();
    agents.sort_unstable();
    let mut turns = Vec::new();
    for nth in 0..many as usize {
        let agent = agents[nth % agents.len()];
        let room = rooms.get_mut(&agent).and_then(Vec::pop).context("an agent has too few rooms")?;
        tenant.agents[agent].post(&format!("/rooms/{room}/accept"), Value::Null).await?;
        turns.push((agent, room.to_owned()));
    }
    let closed: Arc<Mutex<HashMap<usize, Moment>>> = Arc::default();
    let began = Instant::now();
    let closing = turns.into_iter().enumerate().map(|(nth, (agent, room))| {
        let (client, closed) = (tenant.agents[agent].clone(), Arc::clone(&closed));
        tokio::spawn(async move {
            let nth = u32::try_from(nth)?;
            tokio::time::sleep_until((began + Duration::from_secs(1) * nth / CLOSING_RATE).into()).await;
            closed.lock().unwrap_or_else(PoisonError::into_inner).insert(agent, Clock::System.now());
            client.post(&format!("/rooms/{room}/close"), serde_json::json!({})).await?;
            anyhow::Ok(())
        })
    });
    let closing: Vec<_> = closing.collect();
    let mut times = Vec::new();
    for _ in 0..many {
        let it = take(heard, 1).await?.pop().context("an offer")?;
        let at = closed.lock().unwrap_or_else(PoisonError::into_inner).remove(&it.agent);
        times.push(Times { whole: millis(it.at - at.context("an offer that nobody made room for")?), queued: None });
    }
    for it in try_join_all(closing).await? {
        it?;
    }
    Ok(times)
}
