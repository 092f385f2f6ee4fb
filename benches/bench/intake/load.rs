//! The load generator: Facebook posting signed webhooks, and agents' streams on which the messages must appear. Written close to the
//! socket, so that it leaves the machine to those it measures.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use chatgate::{channels::meta::signature, secret::Secret};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
};

/// What to do; read from the input as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Host and port of the gateway.
    pub address: String,
    /// Who is written to.
    pub targets: Vec<Target>,
    /// Senders of each target, spread over its pages.
    pub senders: usize,
    /// Only every so many-th of them writes: those of one Page, if it is the number of Pages.
    pub stride: usize,
    /// How fast.
    pub pace: Pace,
    /// For how long.
    pub seconds: f64,
    /// Messages in one POST.
    pub per_post: usize,
    /// Connections that post.
    pub connections: usize,
    /// Makes this order's message ids its own.
    pub name: String,
    /// Seconds to wait at the end for accepted messages that no stream has shown yet; none if nobody shall look.
    pub patience_s: Option<f64>,
}

/// A Meta app with its Pages, and the agents who get what is written there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    /// Its number among all tenants: part of its senders' ids.
    pub number: usize,
    /// The path of its webhook.
    pub webhook: String,
    /// What signs.
    pub secret: String,
    /// Its Pages.
    pub pages: Vec<String>,
    /// Tokens of the agents whose streams are watched.
    pub agents: Vec<String>,
}

/// How fast messages are posted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Pace {
    /// Every sender once.
    Once,
    /// As fast as answers come.
    Full,
    /// As fast as they become visible: at most so many messages between their POST and the agent's stream.
    Visible {
        /// How many.
        outstanding: usize,
    },
    /// So many a second at random moments, whatever the answers do.
    Open {
        /// How many.
        per_second: f64,
    },
}

impl Pace {
    fn warm_up(self) -> Duration {
        if let Self::Open { .. } = self { WARM_UP } else { Duration::ZERO }
    }
}

/// The first part of an open loop, whose latencies do not count: everybody connects then.
const WARM_UP: Duration = Duration::from_secs(1);
/// What came of it; written to the output as JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Messages answered 200.
    pub accepted: u64,
    /// POSTs answered 503.
    pub refused: u64,
    /// Seconds from the first POST to the last answer.
    pub seconds: f64,
    /// From POST to 200.
    pub answer: Spread,
    /// From POST to the event on a stream.
    pub event: Spread,
    /// Messages that streams have shown.
    pub seen: u64,
    /// Seconds from the last answer to the last event.
    pub drain_s: f64,
    /// Accepted but not yet shown, at the end of each second.
    pub behind: Vec<u64>,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Spread {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Spread {
    fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        let at = |share: f64| {
            let nth = ((micros.len() as f64 * share) as usize).min(micros.len().saturating_sub(1));
            micros.get(nth).map_or(0.0, |it| f64::from(*it) / 1000.0)
        };
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1.0) }
    }
}

/// Reads an order, carries it out, writes the outcome.
pub async fn run() -> anyhow::Result<()> {
    let order: Order = serde_json::from_reader(std::io::stdin())?;
    let outcome = carry_out(order).await?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

/// Messages a second that there is room to remember.
const MOST_PER_SECOND: f64 = 200_000.0;

struct State {
    order: Order,
    began: Instant,
    /// Number of the next message.
    next: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    seen: AtomicU64,
    /// When each message was posted, in µs since `began` and never 0; 0 again once it has been shown.
    posted: Vec<AtomicU32>,
    /// Free places between POST and stream.
    places: Semaphore,
    /// When messages were posted, and how long they took to be shown, in µs.
    shown: Mutex<Vec<(u32, u32)>>,
    behind: Mutex<Vec<u64>>,
}

async fn carry_out(order: Order) -> anyhow::Result<Outcome> {
    let unlimited = Semaphore::MAX_PERMITS;
    let room = (order.seconds * MOST_PER_SECOND) as usize;
    let (most, places) = match order.pace {
        Pace::Once => (order.senders * order.targets.len(), unlimited),
        Pace::Visible { outstanding } => (room, outstanding),
        Pace::Full | Pace::Open { .. } => (room, unlimited),
    };
    let state = Arc::new(State {
        began: Instant::now(),
        next: AtomicU64::new(0),
        accepted: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        seen: AtomicU64::new(0),
        posted: (0..most).map(|_| AtomicU32::new(0)).collect(),
        places: Semaphore::new(places),
        shown: Mutex::default(),
        behind: Mutex::default(),
        order,
    });
    let mut watching = JoinSet::new();
    if state.order.patience_s.is_some() {
        for token in state.order.targets.iter().flat_map(|it| it.agents.clone()) {
            let stream = open_stream(&state.order.address, &token).await?;
            watching.spawn(watch(Arc::clone(&state), stream));
        }
    }
    let counting = tokio::spawn(count(Arc::clone(&state)));
    let started = Instant::now();
    let mut posting = JoinSet::new();
    for nth in 0..state.order.connections {
        posting.spawn(post(Arc::clone(&state), nth as u64, started));
    }
    let mut answers = Vec::new();
    while let Some(times) = posting.join_next().await {
        answers.extend(times??);
    }
    let ended = Instant::now();
    counting.abort();
    let warm = micros(started.duration_since(state.began) + state.order.pace.warm_up());
    let accepted = state.accepted.load(Ordering::Relaxed);
    let patience = state.order.patience_s.unwrap_or_default();
    while state.seen.load(Ordering::Relaxed) < accepted && ended.elapsed().as_secs_f64() < patience {
        ensure!(watching.try_join_next().is_none(), "a stream has ended");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(Outcome {
        accepted,
        refused: state.refused.load(Ordering::Relaxed),
        seconds: ended.duration_since(started).as_secs_f64(),
        answer: Spread::of(answers),
        event: Spread::of(unpoisoned(&state.shown).iter().filter(|it| it.0 >= warm).map(|it| it.1).collect()),
        seen: state.seen.load(Ordering::Relaxed),
        drain_s: ended.elapsed().as_secs_f64(),
        behind: std::mem::take(&mut *unpoisoned(&state.behind)),
    })
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every second: how many accepted messages no stream has shown.
async fn count(state: Arc<State>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (accepted, seen) = (state.accepted.load(Ordering::Relaxed), state.seen.load(Ordering::Relaxed));
        unpoisoned(&state.behind).push(accepted.saturating_sub(seen));
    }
}

/// One connection that posts; how long its answers took, in µs.
async fn post(state: Arc<State>, line: u64, started: Instant) -> anyhow::Result<Vec<u32>> {
    let order = &state.order;
    let end = started + Duration::from_secs_f64(order.seconds);
    let secrets: Vec<_> = order.targets.iter().map(|it| Secret::new(it.secret.clone())).collect();
    let mut connection = Connection { stream: connect(&order.address).await?, buffer: Vec::with_capacity(4096) };
    let mut times = Vec::new();
    let mut request = Vec::new();
    let mut due = started;
    for turn in 0_u64.. {
        let mut free_since = Instant::now();
        let mut from = free_since;
        if let Pace::Open { per_second } = order.pace {
            // Random gaps, as of many people who know nothing of each other.
            let random = (mix(line << 32 | turn) >> 11) as f64 / (1_u64 << 53) as f64;
            due += Duration::from_secs_f64(
                -(1.0 - random).ln() * order.connections as f64 * order.per_post as f64 / per_second,
            );
            if due >= end {
                break;
            }
            if due > free_since {
                tokio::time::sleep_until(due.into()).await;
                free_since = Instant::now();
                // The timer's lateness is ours; a connection still busy when it was due is the gateway's.
                from = free_since;
            } else {
                from = due;
            }
        }
        if let Pace::Visible { .. } = order.pace {
            let wanted = u32::try_from(order.per_post)?;
            match tokio::time::timeout_at(end.into(), state.places.acquire_many(wanted)).await {
                Ok(places) => places?.forget(),
                Err(_) => break,
            }
            from = Instant::now();
        }
        let first = state.next.fetch_add(order.per_post as u64, Ordering::Relaxed);
        let is_over = !matches!(order.pace, Pace::Once) && free_since >= end;
        if is_over || first as usize + order.per_post > state.posted.len() {
            break;
        }
        let at = micros(from.duration_since(state.began)).max(1);
        for it in &state.posted[first as usize..][..order.per_post] {
            it.store(at, Ordering::Relaxed);
        }
        write_request(&mut request, order, &secrets, first);
        let status = connection.exchange(&request).await?;
        match status {
            200 => {
                if from >= started + order.pace.warm_up() {
                    times.push(micros(from.elapsed()));
                }
                state.accepted.fetch_add(order.per_post as u64, Ordering::Relaxed);
            }
            503 => {
                state.refused.fetch_add(1, Ordering::Relaxed);
                state.places.add_permits(if let Pace::Visible { .. } = order.pace { order.per_post } else { 0 });
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            other => bail!("a webhook was answered {other}"),
        }
    }
    Ok(times)
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// A number from 0 to 2⁶⁴ that looks random (splitmix64).
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// A POST with the messages from `first` on, all for one app. As Facebook does, one entry per message.
fn write_request(into: &mut Vec<u8>, order: &Order, secrets: &[Secret], first: u64) {
    use std::fmt::Write;
    let once = matches!(order.pace, Pace::Once);
    let nth_target = if once { first as usize / order.senders } else { mix(first) as usize % order.targets.len() };
    let target = &order.targets[nth_target];
    let number = target.number;
    let mut body = String::with_capacity(400 * order.per_post);
    body.push_str(r#"{"object":"page","entry":["#);
    for n in first..first + order.per_post as u64 {
        let random = mix(n ^ 0x5bd1_e995);
        let sender = if once {
            n as usize % order.senders
        } else {
            random as usize % (order.senders / order.stride) * order.stride
        };
        let page = &target.pages[sender % target.pages.len()];
        let at = 1_790_000_000_000 + n;
        let comma = if n == first { "" } else { "," };
        // As long as real ones, and as random, which is what an index feels.
        let mid = format!("m_{:016x}{:016x}{:016x}_{}-{n}", mix(random), mix(!random), random, order.name);
        let written = write!(
            body,
            r#"{comma}{{"id":"{page}","time":{at},"messaging":[{{"sender":{{"id":"71{number:04}{sender:010}"}},"recipient":{{"id":"{page}"}},"timestamp":{at},"message":{{"mid":"{mid}","text":"Is my order number {n} on its way? Teşekkürler 😀"}}}}]}}"#
        );
        debug_assert!(written.is_ok());
    }
    body.push_str("]}");
    into.clear();
    into.extend_from_slice(b"POST ");
    into.extend_from_slice(target.webhook.as_bytes());
    into.extend_from_slice(b" HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\nx-hub-signature-256: ");
    into.extend_from_slice(signature::sign(&secrets[nth_target], body.as_bytes()).as_bytes());
    into.extend_from_slice(format!("\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes());
    into.extend_from_slice(body.as_bytes());
}

async fn connect(address: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Sends a request and reads the whole answer; its status.
    async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the gateway closed a connection");
            let Some(head) = find(&self.buffer, b"\r\n\r\n") else { continue };
            let text = std::str::from_utf8(&self.buffer[..head])?;
            let length =
                text.lines().find_map(|it| it.strip_prefix("content-length: ")).context("an answer has a length")?;
            if self.buffer.len() >= head + 4 + length.parse::<usize>()? {
                return Ok(text.get(9..12).context("a status line")?.parse()?);
            }
        }
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, wanted)
}

async fn open_stream(address: &str, token: &str) -> anyhow::Result<TcpStream> {
    let mut stream = connect(address).await?;
    let request = format!(
        "GET /api/v1/events HTTP/1.1\r\nhost: bench\r\naccept: text/event-stream\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = vec![0; 12];
    stream.read_exact(&mut head).await?;
    ensure!(head.ends_with(b"200"), "the event stream was refused: {}", String::from_utf8_lossy(&head));
    Ok(stream)
}

/// Reads an agent's stream until aborted.
async fn watch(state: Arc<State>, mut stream: TcpStream) -> anyhow::Result<()> {
    const FIELD: &[u8] = br#""external_id":"m_"#;
    let mut buffer = Vec::with_capacity(64 * 1024);
    let name = format!("_{}-", state.order.name);
    loop {
        ensure!(stream.read_buf(&mut buffer).await? > 0, "the gateway closed a stream");
        let now = micros(state.began.elapsed());
        // An event is one line; what comes after the last line's end waits for the rest.
        let Some(whole) = memchr::memrchr(b'\n', &buffer) else { continue };
        for at in memchr::memmem::find_iter(&buffer[..whole], FIELD) {
            let id = &buffer[at + FIELD.len()..whole];
            let id = &id[..memchr::memchr(b'"', id).context("an id ends")?];
            let Some(at) = find(id, name.as_bytes()) else { continue };
            let n: usize = std::str::from_utf8(&id[at + name.len()..])?.parse()?;
            let posted = state.posted.get(n).context("a message that was posted")?.swap(0, Ordering::Relaxed);
            ensure!(posted > 0, "message {n} was shown twice");
            unpoisoned(&state.shown).push((posted, now.saturating_sub(posted)));
            state.seen.fetch_add(1, Ordering::Relaxed);
            if let Pace::Visible { .. } = state.order.pace {
                state.places.add_permits(1);
            }
        }
        buffer.drain(..=whole);
    }
}
