//! The settings that the private PostgreSQL gets.

use std::{fs, io::Write};

use super::{
    place::Place,
    private::{Durability, PrivateSettings, StartError, failed},
};

/// Writes the settings. It is done at every start, so that a new chatgate brings its own; `alter system` overrides them.
pub(super) fn write(place: &Place, settings: &PrivateSettings) -> Result<(), StartError> {
    let path = place.config();
    let text = config(settings, find_memory_bytes());
    let write = || {
        let unfinished = path.with_extension("conf.new");
        let _ = fs::remove_file(&unfinished);
        let mut file = fs::File::create_new(&unfinished)?;
        file.write_all(text.as_bytes())?;
        // PostgreSQL's user reads it, whatever our umask is. There is nothing secret in it.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        fs::rename(&unfinished, &path)
    };
    write().map_err(failed("write", &path))
}

fn config(settings: &PrivateSettings, memory_bytes: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    let common = "# Written by chatgate at every start. Use `alter system` for settings of your own.
include 'data/postgresql.conf'
jit = off
max_parallel_workers_per_gather = 0
idle_in_transaction_session_timeout = 60s
log_line_prefix = '%m [%p] '
# Details show values, which are our customers' business.
log_error_verbosity = terse
log_timezone = 'UTC'
timezone = 'UTC'
";
    let own = match settings.durability {
        Durability::Full => format!(
            "shared_buffers = {}MB
max_connections = {}
max_wal_size = 2GB
checkpoint_timeout = 15min
wal_compression = on
",
            (memory_bytes / 8 / MIB).clamp(32, 512),
            (settings.max_connections + 20).max(100)
        ),
        Durability::ThrowAway => "shared_buffers = 64MB
max_connections = 300
fsync = off
full_page_writes = off
synchronous_commit = off
autovacuum = off
wal_level = minimal
max_wal_senders = 0
checkpoint_timeout = 1h
"
        .to_owned(),
    };
    format!("{common}{own}")
}

/// The memory of the machine or, if that is less, of our container; where neither is known, a small machine's.
fn find_memory_bytes() -> u64 {
    const UNKNOWN: u64 = 1 << 30;
    let of_machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let kib: u64 = text.lines().next()?.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    });
    let of_container = fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|it| it.trim().parse().ok());
    of_machine.into_iter().chain(of_container).min().unwrap_or(UNKNOWN)
}
