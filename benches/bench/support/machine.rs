//! The machine a table was made on.

use std::{
    fs,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

/// One line about processors, memory and system, and one about the disk under PostgreSQL.
pub fn describe() -> String {
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = field("/proc/meminfo", "MemTotal").and_then(|it| it.split(' ').next()?.parse::<u64>().ok());
    let system = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let disk = flush_time(&std::env::temp_dir());
    format!(
        "{cpu}, {cores} cores, {} GiB, {} {}; a flush of 8 KiB to disk takes {:.0} µs (median)",
        memory.unwrap_or_default() / (1024 * 1024),
        std::env::consts::OS,
        system.trim(),
        disk.as_secs_f64() * 1e6,
    )
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|it| it.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// What one durable write costs here: the floor under every single commit.
fn flush_time(directory: &Path) -> Duration {
    let path = directory.join(format!("chatgate-bench-flush-{}", std::process::id()));
    let measure = || -> std::io::Result<Duration> {
        let mut file = fs::File::create(&path)?;
        let mut times = Vec::new();
        for _ in 0..50 {
            let began = Instant::now();
            file.write_all(&[7; 8192])?;
            file.sync_data()?;
            times.push(began.elapsed());
        }
        times.sort();
        Ok(times[times.len() / 2])
    };
    let measured = measure();
    drop(fs::remove_file(&path));
    measured.unwrap_or_default()
}
