//! `script/bench routing`: how fast waiting rooms find agents, beside a plain loop that claims one room at a time; and how soon an agent
//! hears of a room that has just come or a seat that has just become free.

mod assign;
mod fill;
mod latency;
mod plain;

use std::time::{Duration, Instant};

use clap::Args;

use crate::support::{
    cluster::Cluster,
    machine,
    table::{Table, whole},
};

/// How much of everything.
#[derive(Args)]
pub struct Options {
    /// Shorter measurements: a fifth of the rooms and of the time.
    #[arg(long)]
    quick: bool,
    /// Only these parts, of: assign, closed, latency.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Rooms that wait at the beginning.
    #[arg(long, default_value_t = 10_000)]
    rooms: i32,
    /// Closed rooms that lie beside them in the part `closed`.
    #[arg(long, default_value_t = 1_000_000)]
    closed: i32,
    /// Rooms that come in a second while latency is measured.
    #[arg(long, default_value_t = 200)]
    rate: u32,
}

impl Options {
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|it| it == part)
    }

    fn rooms(&self) -> i32 {
        if self.quick { self.rooms / 5 } else { self.rooms }
    }

    fn seconds(&self, whole: u32) -> u32 {
        if self.quick { whole.div_ceil(5) } else { whole }
    }
}

/// Measures everything and prints the tables.
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
    let rooms = options.rooms();
    let mut assigned =
        Table::new(&["assigned to 500 agents × 4 seats in 20 queues", "rooms/s", "µs per room", "× best plain loop"]);
    let mut best_plain: f64 = 0.0;
    let mut add = |what: String, took: Duration, best_plain: f64| {
        let rate = f64::from(rooms) / took.as_secs_f64();
        let times = if best_plain > 0.0 { format!("{:.1}", rate / best_plain) } else { String::new() };
        assigned.row(vec![what, whole(rate), whole(1e6 / rate), times]);
        rate
    };
    if options.wants("assign") {
        for loops in [1, 4] {
            let took = plain::time(cluster, &format!("plain_{loops}"), rooms, loops).await?;
            let what = format!("plain loop × {loops}, `for update skip locked`, {} rooms", whole(rooms.into()));
            best_plain = best_plain.max(add(what, took, 0.0));
        }
    }
    for (part, closed) in [("assign", 0), ("closed", options.closed)] {
        // What lies beside closed rooms is compared with what does not.
        let is_wanted = options.wants(part) || closed == 0 && options.wants("closed");
        if !is_wanted {
            continue;
        }
        let beside = if closed > 0 { format!(", beside {} closed rooms", whole(closed.into())) } else { String::new() };
        let times = assign::time(cluster, &format!("ours_{part}"), rooms, closed).await?;
        for (nth, took) in times.into_iter().enumerate() {
            let when = if nth == 0 { "first after a checkpoint" } else { "then" };
            add(format!("ours, {} rooms{beside}, {when}", whole(rooms.into())), took, best_plain);
        }
    }
    let mut heard = Table::new(&[
        "until the agent's stream has the offer, p50 / p99 / most ms",
        "rooms",
        "from the POST",
        "from being queued",
        "of that until given",
    ]);
    if options.wants("latency") {
        for processes in [1, 2] {
            latency::measure(options, cluster, processes, &mut heard).await?;
        }
    }
    println!();
    assigned.print();
    println!();
    heard.print();
    Ok(())
}
