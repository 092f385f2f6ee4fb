//! The processes of the private PostgreSQL: making the cluster, starting the server, telling whether it lives.
//!
//! `postgres` is our own child (not `pg_ctl`'s, which would detach it), and it is asked to stop when we die.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::Path,
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    find::Installation,
    place::Place,
    private::{Durability, StartError, failed},
};

/// How long a PostgreSQL that an earlier, killed chatgate left behind may take to stop.
const ORPHAN_WAIT: Duration = Duration::from_secs(60);
/// The log is set aside at a start when it is longer than this.
const MAX_LOG_BYTES: u64 = 10 * 1024 * 1024;
/// How many lines of PostgreSQL's own words an error shows.
const SHOWN_LOG_LINES: usize = 8;

/// Opens a file that only we may read or write, making it if needed.
pub(super) fn open_private(path: &Path) -> Result<File, StartError> {
    ours().read(true).write(true).truncate(false).open(path).map_err(failed("open", path))
}

/// We may be root in a directory of somebody else, so a link in the place of our file is not followed.
fn ours() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Waits until no process uses the cluster, stopping an orphan, and removes what dead servers left behind.
///
/// The lock becomes PostgreSQL's standard input, so the postmaster and every backend hold it as long as they live:
/// when it is free, nobody has the data open. Needs `server.lock` held, else it would stop another chatgate's server.
pub(super) fn claim(place: &Place) -> Result<File, StartError> {
    let data = place.data();
    let lock = open_private(&place.root.join("postgres.lock"))?;
    let deadline = Instant::now() + ORPHAN_WAIT;
    let mut asked = None;
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                return Err(StartError::StillRunning { path: data });
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(failed("lock", &place.root)(error)),
        }
        if let Some(PidFile { pid, .. }) = PidFile::read(&data)
            && asked != Some(pid)
            && is_server_of(pid, &data)
        {
            tracing::warn!(postgres.pid = pid.as_raw_nonzero().get(), "stopping the PostgreSQL a killed chatgate left");
            let _ = kill_process(pid, Signal::INT);
            asked = Some(pid);
        }
        thread::sleep(Duration::from_millis(20));
    }
    remove_stale_files(place);
    Ok(lock)
}

/// PostgreSQL handles the file of a dead process itself. It refuses to start when the process id is taken: by a
/// zombie (a container whose first process does not reap) or by a stranger with a recycled id.
fn remove_stale_files(place: &Place) {
    let data = place.data();
    if let Some(PidFile { pid, .. }) = PidFile::read(&data) {
        if is_server_of(pid, &data) {
            return; // somebody runs it by hand, without our lock; PostgreSQL will say so
        }
        if rustix::process::test_kill_process(pid).is_ok() {
            let _ = fs::remove_file(data.join("postmaster.pid"));
        }
    }
    // The socket's lock file holds a process id as well.
    for name in [".s.PGSQL.5432", ".s.PGSQL.5432.lock"] {
        let _ = fs::remove_file(place.sockets.join(name));
    }
}

/// What the postmaster says about itself in `postmaster.pid`.
pub(super) struct PidFile {
    pub pid: Pid,
    pub is_ready: bool,
}

impl PidFile {
    pub fn read(data: &Path) -> Option<Self> {
        let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
        let mut lines = text.lines();
        let pid = Pid::from_raw(lines.next()?.trim().parse().ok()?)?;
        Some(Self { pid, is_ready: lines.nth(6).is_some_and(|it| it.trim() == "ready") })
    }
}

/// Whether `pid` is a live postmaster of this cluster (they all have it as their working directory).
#[cfg(target_os = "linux")]
fn is_server_of(pid: Pid, data: &Path) -> bool {
    let process = format!("/proc/{}", pid.as_raw_nonzero());
    let Ok(stat) = fs::read_to_string(format!("{process}/stat")) else { return false };
    let name = stat.split(['(', ')']).nth(1).unwrap_or_default();
    let is_zombie = stat.rsplit(") ").next().is_some_and(|it| it.starts_with('Z'));
    let is_elsewhere = fs::read_link(format!("{process}/cwd")).is_ok_and(|it| it != data);
    name == "postgres" && !is_zombie && !is_elsewhere
}

#[cfg(not(target_os = "linux"))]
fn is_server_of(pid: Pid, _data: &Path) -> bool {
    rustix::process::test_kill_process(pid).is_ok()
}

/// Makes a new cluster beside its place and moves it there when it is whole and on the disk.
pub(super) fn make_cluster(
    from: &Installation,
    place: &Place,
    durability: Durability,
    lock: &File,
) -> Result<(), StartError> {
    let unfinished = place.unfinished_data();
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(failed("remove", &unfinished))?;
    }
    place.make_private(&unfinished)?;
    let mut initdb = command(from, "initdb", place);
    initdb.arg("-D").arg(&unfinished).args(["-U", "postgres", "-E", "UTF8", "--data-checksums", "--no-instructions"]);
    initdb.args(["--auth-local=trust", "--auth-host=reject", LOCALE_ARGUMENT]);
    if from.major >= 17 {
        initdb.args(["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]);
    }
    if durability == Durability::ThrowAway {
        initdb.arg("--no-sync");
    }
    // With the lock as its input, an initdb that outlives us keeps the next start waiting instead of colliding.
    let program = from.bin.join("initdb");
    initdb.stdin(lock.try_clone().map_err(failed("run", &program))?);
    let output = initdb.output().map_err(failed("run", &program))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(StartError::Stopped { what: "initdb", status: output.status, log: last_lines(&said) });
    }
    let data = place.data();
    fs::rename(&unfinished, &data).map_err(failed("make", &data))?;
    File::open(&place.root).and_then(|it| it.sync_all()).map_err(failed("sync", &place.root))
}

/// The major version that made the cluster; `None` where there is none yet.
pub(super) fn cluster_version(data: &Path) -> Result<Option<u32>, StartError> {
    if !data.exists() {
        return Ok(None);
    }
    let path = data.join("PG_VERSION");
    let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
    let version = text.trim().parse().map_err(|_| failed("understand", &path)(io::ErrorKind::InvalidData.into()))?;
    Ok(Some(version))
}

// Byte order everywhere: indexes stay right when the C library's collations change. macOS has no C.UTF-8.
#[cfg(not(target_os = "macos"))]
const LOCALE_ARGUMENT: &str = "--locale=C.UTF-8";
#[cfg(target_os = "macos")]
const LOCALE_ARGUMENT: &str = "--locale=C";

/// A program of the installation with a clean environment (no `PG*`, no `NOTIFY_SOCKET`), as PostgreSQL's user.
fn command(from: &Installation, program: &str, place: &Place) -> Command {
    let mut command = Command::new(from.bin.join(program));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("TZ", "UTC").current_dir(&place.root);
    command.env("LC_ALL", if cfg!(target_os = "macos") { "C" } else { "C.UTF-8" });
    if let Some(owner) = &place.owner {
        command.uid(owner.uid).gid(owner.gid);
    }
    // A Ctrl-C in the terminal is ours alone: we stop PostgreSQL after the last of our writes.
    command.process_group(0);
    command
}

/// Starts the server. Returns it with the length its log had before.
///
/// Call it on a thread that lives as long as the server: the kernel sends the death signal when the *thread* ends.
pub(super) fn spawn_server(from: &Installation, place: &Place, lock: File) -> Result<(Child, u64), StartError> {
    let program = from.bin.join("postgres");
    let (log, log_start) = open_log(place)?;
    let mut server = command(from, "postgres", place);
    let setting = |name: &str, value: &str| format!("{name}={value}");
    // On the command line is what must hold whatever `alter system` says; everything else is in the config file.
    server.arg("-D").arg(place.data()).args(["-c", &setting("config_file", &place.config().to_string_lossy())]);
    let sockets = place.sockets.to_string_lossy().replace('"', "\"\"");
    server.args(["-c", &setting("unix_socket_directories", &format!("\"{sockets}\""))]);
    server.args(["-c", "listen_addresses=", "-c", "port=5432", "-c", "unix_socket_permissions=0700"]);
    server.args(["-c", "logging_collector=off", "-c", "log_destination=stderr"]);
    // Files, not pipes: a pipe that nobody empties blocks PostgreSQL.
    server.stdin(lock).stdout(log.try_clone().map_err(failed("open", &place.log()))?).stderr(log);
    stop_when_we_die(&mut server);
    let child = server.spawn().map_err(failed("run", &program))?;
    Ok((child, log_start))
}

/// Has the kernel ask the child for a fast shutdown when the thread that forked it ends.
#[expect(unsafe_code, reason = "the death signal must be set between setuid, which clears it, and exec")]
#[cfg(target_os = "linux")]
fn stop_when_we_die(command: &mut Command) {
    let us = rustix::process::getpid();
    let in_the_child = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::INT))?;
        // We may have died before the signal was set.
        if rustix::process::getppid() == Some(us) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    // SAFETY: two system calls; no allocation (both kinds of error are plain numbers), no lock.
    unsafe { command.pre_exec(in_the_child) };
}

// Elsewhere the orphan is stopped at the next start, by `claim`.
#[cfg(not(target_os = "linux"))]
fn stop_when_we_die(_command: &mut Command) {}

/// Opens PostgreSQL's log for appending; a long one is set aside first.
fn open_log(place: &Place) -> Result<(File, u64), StartError> {
    let path = place.log();
    if fs::metadata(&path).is_ok_and(|it| it.len() > MAX_LOG_BYTES) {
        let _ = fs::rename(&path, path.with_extension("log.1"));
    }
    let log = ours().append(true).open(&path).map_err(failed("open", &path))?;
    let start = log.metadata().map_err(failed("open", &path))?.len();
    Ok((log, start))
}

/// The error for a server that ended by itself, with the last lines it wrote.
pub(super) fn ended(place: &Place, log_start: u64, status: ExitStatus) -> StartError {
    let mut said = Vec::new();
    let _ = File::open(place.log()).and_then(|mut log| {
        log.seek(SeekFrom::Start(log_start))?;
        log.read_to_end(&mut said)
    });
    StartError::Stopped { what: "postgres", status, log: last_lines(&String::from_utf8_lossy(&said)) }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(SHOWN_LOG_LINES)..];
    shown.iter().map(|it| format!("\n  {it}")).collect()
}

/// Sends a signal to our own child, which is not reaped yet and therefore still owns its process id.
pub(super) fn signal(child: &Child, signal: Signal) {
    let _ = kill_process(Pid::from_child(child), signal);
}

/// The one chatgate of this directory: the lock, held until the file is closed.
pub(super) fn lock_directory(place: &Place) -> Result<File, StartError> {
    use std::io::Write;
    let path = place.root.join("server.lock");
    let mut lock = open_private(&path)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = lock.read_to_string(&mut pid);
            return Err(StartError::InUse { pid: pid.trim().to_owned(), path: place.root.clone() });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
    }
    lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(failed("write", &path))?;
    Ok(lock)
}

/// Tells somebody else's thread when our child has ended, leaving the reaping to its owner.
pub(super) fn when_ended(child: &Child, tell: impl FnOnce() + Send + 'static) -> io::Result<()> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let pid = Pid::from_child(child);
    let wait = move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while waitid(WaitId::Pid(pid), options).is_err_and(|it| it == rustix::io::Errno::INTR) {}
        tell();
    };
    thread::Builder::new().name("postgres-wait".into()).spawn(wait).map(|_| ())
}
