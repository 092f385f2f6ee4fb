//! `script/bench intake`: 5,000 senders write to 50 Pages of 10 tenants whose 100 agents hold their rooms and watch their streams.
//!
//! "Accepted" is answered 200, so durable. "Applied" is visible in the room and on the stream of the agent who holds it.

pub mod door;
mod fill;
pub mod load;
mod pgbench;

use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Args;
use load::{Order, Outcome, Pace, Target};
use sqlx::PgPool;

use crate::support::{
    cluster::{self, Cluster},
    cpu::{self, Used},
    furnish::{self, Size, furnish},
    gateway::Gateway,
    machine,
    table::{Table, whole},
};

const SIZE: Size = Size { tenants: 10, pages: 5, agents: 10 };
/// Senders of each tenant.
const SENDERS: usize = 500;
/// Messages that may lie between POST and stream when "applied" is measured: the bound of its lag.
const OUTSTANDING: usize = 2000;
/// Connections that post, and those of a burst: more webhooks than can be applied are under way by then.
const CONNECTIONS: usize = 256;
/// See there.
const BURST_CONNECTIONS: usize = 1024;
/// Messages of a burst that are under way at one time: where many come in one POST, fewer connections post them.
const BURST_MESSAGES: usize = 8 * BURST_CONNECTIONS;
/// Messages stored before the second half of the run.
const HISTORY: i64 = 5_000_000;

/// How long everything takes.
#[derive(Args)]
pub struct Options {
    /// About two minutes instead of ten: shorter measurements, and a tenth of the history.
    #[arg(long)]
    quick: bool,
    /// Only these parts, of: door, pgbench, accepted, applied, open, flood, posts, history.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Seconds of each measurement, instead of 20 to 60.
    #[arg(long)]
    seconds: Option<f64>,
    /// Messages of the history, instead of 5 million.
    #[arg(long)]
    history: Option<i64>,
}

impl Options {
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|it| it == part)
    }

    fn seconds(&self, whole: f64) -> f64 {
        self.seconds.unwrap_or(if self.quick { whole / 5.0 } else { whole })
    }
}

/// Measures everything and prints the table.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let began = Instant::now();
    let cluster = Cluster::start().await?;
    println!("{}\n{}\n", machine::describe(), cluster.version().await?);
    let measured = measure(options, &cluster).await;
    cluster.stop().await?;
    eprintln!("took {} s", began.elapsed().as_secs());
    measured
}

async fn measure(options: &Options, cluster: &Cluster) -> anyhow::Result<()> {
    let mut bench = Bench::open(options, cluster).await?;
    if options.wants("door") {
        bench.door().await?;
    }
    if options.wants("pgbench") {
        bench.baselines().await?;
    }
    bench.warm_up().await?;
    let mut applied = None;
    if options.wants("applied") {
        // The tables are as small as those of pgbench; with more in them it comes below.
        applied = Some(bench.applied("", 1, 60.0).await?);
    }
    let top = applied.unwrap_or(10_000.0);
    if options.wants("open") {
        for share in [0.25, 0.5, 0.75] {
            bench.open_loop("", share, top).await?;
        }
    }
    if options.wants("flood") {
        bench.flood().await?;
    }
    // Behind what is to be measured in quiet: a burst leaves PostgreSQL much to tidy up.
    if options.wants("accepted") {
        bench.accepted("", 1, 20.0).await?;
    }
    if options.wants("posts") {
        for per_post in [8, 64] {
            let note = format!(", {per_post} per POST");
            bench.applied(&note, per_post, 15.0).await?;
            bench.accepted(&note, per_post, 10.0).await?;
        }
    }
    if options.wants("history") {
        let history = options.history.unwrap_or(if options.quick { HISTORY / 10 } else { HISTORY });
        fill::fill(&bench.db, history).await?;
        cluster.checkpoint().await?;
        let note = format!(", after {} stored messages", whole(history as f64));
        bench.applied(&note, 1, 30.0).await?;
        bench.accepted(&note, 1, 20.0).await?;
        bench.open_loop(&note, 0.5, top).await?;
    }
    bench.check_nothing_is_lost().await?;
    bench.finish();
    Ok(())
}

struct Bench<'a> {
    options: &'a Options,
    cluster: &'a Cluster,
    gateway: Gateway,
    db: PgPool,
    postmaster: u32,
    targets: Vec<Target>,
    table: Table,
    /// Transactions a second of the two baselines.
    baseline: Option<pgbench::Baseline>,
    orders: u32,
    /// Highest resident memory seen while the gateway was measured, in KiB.
    resident_kib: Arc<AtomicU64>,
    accepted: u64,
}

impl<'a> Bench<'a> {
    async fn open(options: &'a Options, cluster: &'a Cluster) -> anyhow::Result<Self> {
        let database = cluster.database("gateway").await?;
        let db = cluster::pool(&database, 2).await?;
        let gateway = Gateway::start(&database, &[]).await?;
        eprintln!("furnishing {} tenants", SIZE.tenants);
        let tenants = furnish(&gateway, SIZE).await?;
        Ok(Self {
            options,
            cluster,
            db,
            postmaster: cluster.pid().await?,
            targets: tenants.iter().enumerate().map(target).collect(),
            gateway,
            table: Table::new(&[
                "what",
                "messages/s",
                "× statements",
                "× function",
                "POST → 200 p50 / p99 / p99.9 ms",
                "POST → event p50 / p99 / p99.9 ms",
                "CPU µs per message: gateway + PostgreSQL",
                "resident MiB",
                "",
            ]),
            baseline: None,
            orders: 0,
            resident_kib: Arc::default(),
            accepted: 0,
        })
    }

    async fn door(&mut self) -> anyhow::Result<()> {
        let (secret, address) = ("a-secret", "127.0.0.1:0".replace(":0", &format!(":{}", free_port()?)));
        let mut door = Command::new(std::env::current_exe()?)
            .args(["door", "--listen", &address, "--secret", secret])
            .stdin(Stdio::null())
            .spawn()?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let target = Target {
            number: 0,
            webhook: "/webhooks/messenger/key".to_owned(),
            secret: secret.to_owned(),
            pages: self.targets[0].pages.clone(),
            agents: Vec::new(),
        };
        let mut order = self.order(Pace::Full, 1, 15.0);
        (order.address, order.targets, order.patience_s) = (address, vec![target], None);
        let outcome = carry_out(&order).await;
        door.kill()?;
        door.wait()?;
        let outcome = outcome?;
        let rate = outcome.accepted as f64 / outcome.seconds;
        let cells = [
            "no database: verify and parse only".to_owned(),
            whole(rate),
            String::new(),
            String::new(),
            spread(&outcome.answer),
        ];
        self.table.row(cells.to_vec());
        Ok(())
    }

    async fn baselines(&mut self) -> anyhow::Result<()> {
        let seconds = self.options.seconds(30.0).max(3.0) as u64;
        let baseline = pgbench::run(self.cluster, self.postmaster, seconds).await?;
        let rows = [("statement by statement", &baseline.statements), ("one function call", &baseline.function)];
        for (name, measured) in rows {
            let cells = [
                format!("pgbench, 32 clients, {name}"),
                whole(measured.rate),
                times(measured.rate, Some(baseline.statements.rate)),
                times(measured.rate, Some(baseline.function.rate)),
                String::new(),
                String::new(),
                format!("0 + {:.1}", measured.cpu_us),
            ];
            self.table.row(cells.to_vec());
        }
        self.baseline = Some(baseline);
        Ok(())
    }

    /// Every sender writes once, gets a room and an agent; every profile is asked for.
    async fn warm_up(&mut self) -> anyhow::Result<()> {
        let mut order = self.order(Pace::Once, 1, 60.0);
        order.patience_s = None;
        let outcome = carry_out(&order).await?;
        self.accepted += outcome.accepted;
        let everybody = (SENDERS * SIZE.tenants) as i64;
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let held: i64 =
                sqlx::query_scalar("select count(*) from rooms where status = 'active'").fetch_one(&self.db).await?;
            let asked: i64 = sqlx::query_scalar("select count(*) from contacts where profile_at is not null")
                .fetch_one(&self.db)
                .await?;
            if held == everybody && asked == everybody {
                break;
            }
            ensure!(
                Instant::now() < deadline,
                "{held} of {everybody} rooms have an agent, {asked} contacts were asked for: {}",
                self.gateway.said()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        sqlx::raw_sql("vacuum analyze").execute(&self.db).await?;
        self.cluster.checkpoint().await
    }

    /// A burst as fast as 200s come, whose backlog then drains.
    async fn accepted(&mut self, note: &str, per_post: usize, seconds: f64) -> anyhow::Result<()> {
        let connections = BURST_CONNECTIONS.min(BURST_MESSAGES / per_post);
        let order = Order { connections, ..self.order(Pace::Full, per_post, seconds) };
        let (outcome, used) = self.carry_out(&order).await?;
        let rate = outcome.accepted as f64 / outcome.seconds;
        let whole_time = outcome.seconds + outcome.drain_s;
        let remark = format!(
            "behind at the end {}, drained in {:.1} s: applied {}/s",
            whole(outcome.behind.last().copied().unwrap_or_default() as f64),
            outcome.drain_s,
            whole(outcome.accepted as f64 / whole_time),
        );
        self.add(format!("accepted, burst of {:.0} s{note}", outcome.seconds), rate, &outcome, used, remark, false);
        Ok(())
    }

    /// As fast as messages become visible; the lag is bounded, so it is flat.
    async fn applied(&mut self, note: &str, per_post: usize, seconds: f64) -> anyhow::Result<f64> {
        let order = self.order(Pace::Visible { outstanding: OUTSTANDING.max(per_post * 64) }, per_post, seconds);
        let (outcome, used) = self.carry_out(&order).await?;
        let rate = outcome.seen as f64 / outcome.seconds;
        let behind = &outcome.behind;
        let remark = format!(
            "behind after each second at most {}",
            whole(behind.iter().copied().max().unwrap_or_default() as f64)
        );
        self.add(format!("applied, sustained {:.0} s{note}", outcome.seconds), rate, &outcome, used, remark, true);
        Ok(rate)
    }

    /// At a share of what can be applied, at random moments.
    async fn open_loop(&mut self, note: &str, share: f64, top: f64) -> anyhow::Result<()> {
        let order = self.order(Pace::Open { per_second: share * top }, 1, 20.0);
        let (outcome, used) = self.carry_out(&order).await?;
        let rate = outcome.accepted as f64 / outcome.seconds;
        let remark = format!("behind after the last second {}", outcome.behind.last().copied().unwrap_or_default());
        self.add(format!("open loop at {:.0} % of applied{note}", share * 100.0), rate, &outcome, used, remark, true);
        Ok(())
    }

    /// What nine tenants feel when somebody floods a Page of the tenth, and 2,000 messages of the flood always wait.
    async fn flood(&mut self) -> anyhow::Result<()> {
        let calm = |bench: &mut Self| {
            let order = bench.order(Pace::Open { per_second: 200.0 }, 1, 15.0);
            Order { targets: bench.targets[1..].to_vec(), ..order }
        };
        let order = calm(self);
        let (alone, used) = self.carry_out(&order).await?;
        self.add(
            "nine tenants, 200/s".to_owned(),
            alone.accepted as f64 / alone.seconds,
            &alone,
            used,
            String::new(),
            true,
        );
        let mut flood = self.order(Pace::Visible { outstanding: OUTSTANDING }, 1, 15.0);
        flood.targets.truncate(1);
        flood.targets[0].pages.truncate(1);
        flood.stride = SIZE.pages;
        let order = calm(self);
        let ((beside, used), flooded) = tokio::try_join!(self.carry_out(&order), carry_out(&flood))?;
        self.accepted += flooded.accepted;
        let remark = format!(
            "the flood is applied at {}/s; POST → event of the nine: p50 × {:.2}, p99 × {:.2}",
            whole(flooded.seen as f64 / flooded.seconds),
            beside.event.p50 / alone.event.p50,
            beside.event.p99 / alone.event.p99,
        );
        let rate = beside.accepted as f64 / beside.seconds;
        self.add("the same beside a flood on one Page of the tenth".to_owned(), rate, &beside, used, remark, true);
        Ok(())
    }

    fn add(&mut self, what: String, rate: f64, outcome: &Outcome, used: Used, remark: String, shows_events: bool) {
        let baseline = self.baseline.as_ref();
        let per_message = |time: Duration| time.as_secs_f64() * 1e6 / outcome.accepted.max(1) as f64;
        let refused =
            if outcome.refused > 0 { format!("; {} POSTs refused with 503", outcome.refused) } else { String::new() };
        self.table.row(vec![
            what,
            whole(rate),
            times(rate, baseline.map(|it| it.statements.rate)),
            times(rate, baseline.map(|it| it.function.rate)),
            spread(&outcome.answer),
            if shows_events { spread(&outcome.event) } else { String::new() },
            format!("{:.1} + {:.1}", per_message(used.gateway), per_message(used.postgres)),
            format!("{:.0}", self.resident_kib.load(Ordering::Relaxed) as f64 / 1024.0),
            remark + &refused,
        ]);
    }

    fn order(&mut self, pace: Pace, per_post: usize, seconds: f64) -> Order {
        self.orders += 1;
        Order {
            address: self.gateway.base.trim_start_matches("http://").to_owned(),
            targets: self.targets.clone(),
            senders: SENDERS,
            stride: 1,
            pace,
            seconds: if matches!(pace, Pace::Once) { seconds } else { self.options.seconds(seconds) },
            per_post,
            connections: CONNECTIONS,
            name: format!("o{}", self.orders),
            patience_s: Some(120.0),
        }
    }

    /// Carries an order out and watches the gateway meanwhile.
    async fn carry_out(&mut self, order: &Order) -> anyhow::Result<(Outcome, Used)> {
        self.cluster.checkpoint().await?;
        let (pid, resident, done) =
            (self.gateway.pid(), Arc::clone(&self.resident_kib), Arc::new(AtomicBool::new(false)));
        resident.store(0, Ordering::Relaxed);
        let ended = Arc::clone(&done);
        let watching = tokio::spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                resident.fetch_max((cpu::resident_mib(pid) * 1024.0) as u64, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let before = Used::now(pid, self.postmaster);
        let outcome = carry_out(order).await;
        let used = Used::now(pid, self.postmaster) - before;
        done.store(true, Ordering::Relaxed);
        watching.await?;
        let outcome = outcome.with_context(|| format!("the gateway said: {}", self.gateway.said()))?;
        self.accepted += outcome.accepted;
        ensure!(
            outcome.seen >= outcome.accepted,
            "{} of {} messages were never shown: {}",
            outcome.accepted - outcome.seen,
            outcome.accepted,
            self.gateway.said()
        );
        Ok((outcome, used))
    }

    /// Every message answered 200 is a message in a room.
    async fn check_nothing_is_lost(&self) -> anyhow::Result<()> {
        let applied: i64 =
            sqlx::query_scalar("select count(*) from ledger_items where state = 'applied'").fetch_one(&self.db).await?;
        let rest: i64 = sqlx::query_scalar("select count(*) from ledger_items where state <> 'applied'")
            .fetch_one(&self.db)
            .await?;
        let seqs: i64 = sqlx::query_scalar("select sum(last_seq)::bigint from rooms").fetch_one(&self.db).await?;
        eprintln!(
            "{} accepted; the ledger has {applied} applied and {rest} other items; the rooms count {seqs} messages",
            self.accepted
        );
        ensure!(applied >= self.accepted.cast_signed() && rest == 0 && applied == seqs, "the sums do not agree");
        Ok(())
    }

    fn finish(&self) {
        println!();
        self.table.print();
        let said = self.gateway.said();
        if !said.is_empty() {
            eprintln!("the gateway warned:\n{}", said.lines().take(20).collect::<Vec<_>>().join("\n"));
        }
    }
}

fn target((number, tenant): (usize, &furnish::Tenant)) -> Target {
    Target {
        number,
        webhook: tenant.webhook.clone(),
        secret: tenant.app_secret.clone(),
        pages: tenant.pages.clone(),
        agents: tenant.agents.iter().map(|it| it.token.clone()).collect(),
    }
}

/// Has the load generator carry an order out, in a process of its own.
async fn carry_out(order: &Order) -> anyhow::Result<Outcome> {
    use tokio::io::AsyncWriteExt;
    let mut generator = tokio::process::Command::new(std::env::current_exe()?)
        .arg("load")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut input = generator.stdin.take().context("the generator reads")?;
    input.write_all(&serde_json::to_vec(order)?).await?;
    drop(input);
    let output = generator.wait_with_output().await?;
    ensure!(output.status.success(), "the load generator failed");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn times(rate: f64, baseline: Option<f64>) -> String {
    baseline.map_or(String::new(), |it| format!("{:.1}", rate / it))
}

fn spread(it: &load::Spread) -> String {
    format!("{:.1} / {:.1} / {:.1}", it.p50, it.p99, it.p999)
}

fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
