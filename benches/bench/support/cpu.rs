//! What processes have used, from `/proc`; zeros where there is none.

use std::{fs, ops::Sub, time::Duration};

/// CPU time used so far by the parties of a measurement.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// The gateway.
    pub gateway: Duration,
    /// PostgreSQL, all its processes.
    pub postgres: Duration,
}

impl Used {
    /// Now.
    pub fn now(gateway: u32, postmaster: u32) -> Self {
        let children = list().into_iter().filter(|it| it.parent == postmaster).map(|it| it.used);
        let ended = stat(postmaster).map(|it| it.used + it.of_ended_children).unwrap_or_default();
        Self {
            gateway: stat(gateway).map(|it| it.used).unwrap_or_default(),
            postgres: children.sum::<Duration>() + ended,
        }
    }
}

impl Used {
    /// Microseconds for each of so many: gateway and PostgreSQL.
    pub fn each(self, count: f64) -> String {
        let micros = |it: Duration| it.as_secs_f64() * 1e6 / count;
        format!("{:.0} + {:.0}", micros(self.gateway), micros(self.postgres))
    }
}

impl Sub for Used {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            gateway: self.gateway.saturating_sub(earlier.gateway),
            postgres: self.postgres.saturating_sub(earlier.postgres),
        }
    }
}

/// Resident memory of a process, in MiB.
pub fn resident_mib(pid: u32) -> f64 {
    let pages = fs::read_to_string(format!("/proc/{pid}/statm"));
    let resident = pages.ok().and_then(|it| it.split_whitespace().nth(1)?.parse::<f64>().ok());
    resident.unwrap_or_default() * 4096.0 / (1024.0 * 1024.0)
}

struct Stat {
    parent: u32,
    used: Duration,
    of_ended_children: Duration,
}

fn list() -> Vec<Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|it| stat(it.file_name().to_str()?.parse().ok()?)).collect()
}

fn stat(pid: u32) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the numbers follow the last one.
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks =
        |at: usize| fields.get(at).and_then(|it| it.parse::<u64>().ok()).map(|it| Duration::from_millis(it * 10));
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        used: ticks(11)? + ticks(12)?,
        of_ended_children: ticks(13)? + ticks(14)?,
    })
}
