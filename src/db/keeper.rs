//! The keeper: the one thread that owns the private server, from the first lock to the last signal.
//!
//! It makes the cluster, starts the server, starts it again when it dies, and stops it. Nobody else signals the
//! server, so no signal can hit a stranger.

use std::{
    collections::VecDeque,
    fs,
    path::Path,
    process::Child,
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use tokio::sync::{oneshot, watch};

use super::{
    find::{self, Installation},
    place::Place,
    private::{PrivateSettings, StartError, failed},
    process::{self, PidFile},
    tuning,
};

/// Where clusters go that PostgreSQL's user could not reach in the data directory (only when we are root).
pub(super) const REACHABLE_BY_ALL: &str = "/var/lib/chatgate";
/// How long PostgreSQL may write out its buffers at a stop before it is cut off (its log then repeats the writes).
const FAST_STOP: Duration = Duration::from_secs(60);
/// How long a cut-off may take before the process is killed.
const IMMEDIATE_STOP: Duration = Duration::from_secs(5);
/// So often PostgreSQL is started again within [`RESTART_WINDOW`]; then something is wrong that a restart won't cure.
const MAX_RESTARTS: usize = 3;
const RESTART_WINDOW: Duration = Duration::from_secs(60);
/// What each further restart in the window waits longer.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// What happens to a keeper.
#[derive(Debug)]
pub(super) enum Event {
    /// The server's process ended.
    Ended,
    /// We want it to.
    Stop,
}

/// What others may know about a keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Kept,
    Failed(String),
    Stopped,
}

/// What a new keeper answers when its server takes connections.
pub(super) type Started = Result<(Place, Installation), StartError>;

/// The body of the keeper's thread: answers `started`, and `tell`s its end after everything is closed.
pub(super) fn keep(
    settings: &PrivateSettings,
    own_events: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    started: oneshot::Sender<Started>,
    tell: &watch::Sender<State>,
) {
    let (keeper, running) = match Keeper::begin(settings, own_events, events) {
        Ok(begun) => begun,
        Err(error) => return drop(started.send(Err(error))),
    };
    let answered = started.send(Ok((keeper.place.clone(), keeper.from.clone())));
    let end = match answered {
        Ok(()) => keeper.watch_over(running),
        Err(_) => {
            keeper.stop(running); // nobody waits any more
            State::Stopped
        }
    };
    drop(keeper);
    let _ = tell.send(end);
}

struct Keeper {
    place: Place,
    from: Installation,
    own_events: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    /// `server.lock`: held longer than the server runs.
    _directory: fs::File,
}

/// A server that takes connections.
struct Running {
    child: Child,
    log_start: u64,
}

impl Keeper {
    fn begin(
        settings: &PrivateSettings,
        own_events: mpsc::Sender<Event>,
        events: mpsc::Receiver<Event>,
    ) -> Result<(Self, Running), StartError> {
        // Asked first: without a PostgreSQL nothing is to be made on the disk.
        let newest = find::find(settings.bin_dir.as_deref(), None)?;
        let place = Place::prepare(&settings.data_dir, Path::new(REACHABLE_BY_ALL))?;
        let directory = process::lock_directory(&place)?;
        let from = match process::cluster_version(&place.data())? {
            Some(major) if major != newest.major => find::find(settings.bin_dir.as_deref(), Some(major))?,
            _ => newest,
        };
        tuning::write(&place, settings)?;
        if !place.data().exists() {
            let lock = process::claim(&place)?;
            tracing::info!("making a PostgreSQL {} cluster in {}", from.version, place.root.display());
            process::make_cluster(&from, &place, settings.durability, &lock)?;
        }
        let keeper = Self { place, from, own_events, events, _directory: directory };
        let running = keeper.start()?;
        Ok((keeper, running))
    }

    /// Starts the server and waits until it is ready, however long it has to repeat its log.
    fn start(&self) -> Result<Running, StartError> {
        let lock = process::claim(&self.place)?;
        let (child, log_start) = process::spawn_server(&self.from, &self.place, lock)?;
        let mut running = Running { child, log_start };
        let own_events = self.own_events.clone();
        if let Err(error) = process::when_ended(&running.child, move || drop(own_events.send(Event::Ended))) {
            let _ = running.child.kill();
            let _ = running.child.wait();
            return Err(failed("watch", &self.place.root)(error));
        }
        let (data, pid) = (self.place.data(), Pid::from_child(&running.child));
        let mut next_word = Instant::now() + Duration::from_secs(5);
        while !PidFile::read(&data).is_some_and(|it| it.pid == pid && it.is_ready) {
            match self.events.recv_timeout(Duration::from_millis(5)) {
                Ok(Event::Ended) => return Err(self.reap(&mut running)),
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.stop(running);
                    return Err(StartError::StoppedByUs);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() > next_word {
                tracing::info!("waiting for PostgreSQL, which is probably recovering from a crash");
                next_word += Duration::from_secs(5);
            }
        }
        Ok(running)
    }

    /// Keeps the server running until we want it to stop, or it cannot be kept.
    fn watch_over(&self, mut running: Running) -> State {
        let mut restarts = Restarts::default();
        loop {
            match self.events.recv() {
                Ok(Event::Stop) | Err(_) => {
                    self.stop(running);
                    return State::Stopped;
                }
                Ok(Event::Ended) => {}
            }
            let mut reason = self.reap(&mut running);
            running = loop {
                let text = reason.to_string();
                let Some(pause) = restarts.next(Instant::now()) else {
                    tracing::error!(error = text, "PostgreSQL could not be kept running: {text}");
                    return State::Failed(text);
                };
                tracing::error!(error = text, "PostgreSQL ended by itself and is started again: {text}");
                // Anything that comes in the pause is a wish to stop: no server runs that could end.
                if !matches!(self.events.recv_timeout(pause), Err(RecvTimeoutError::Timeout)) {
                    return State::Stopped;
                }
                match self.start() {
                    Ok(running) => break running,
                    Err(StartError::StoppedByUs) => return State::Stopped,
                    Err(error) => reason = error,
                }
            };
            tracing::info!("PostgreSQL runs again");
        }
    }

    fn reap(&self, running: &mut Running) -> StartError {
        match running.child.wait() {
            Ok(status) => process::ended(&self.place, running.log_start, status),
            Err(error) => failed("wait for", &self.place.root)(error),
        }
    }

    /// Fast, then immediate, then dead. Not "smart": that waits for clients without end.
    fn stop(&self, mut running: Running) {
        for (signal, patience) in [(Signal::INT, FAST_STOP), (Signal::QUIT, IMMEDIATE_STOP)] {
            process::signal(&running.child, signal);
            let deadline = Instant::now() + patience;
            loop {
                match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(Event::Stop) => {} // again
                    Ok(Event::Ended) => return drop(running.child.wait()),
                    Err(_) => break,
                }
            }
            tracing::warn!("PostgreSQL did not stop within {} s", patience.as_secs());
        }
        let _ = running.child.kill();
        let _ = running.child.wait();
    }
}

/// Counts the restarts of the last minute.
#[derive(Default)]
struct Restarts(VecDeque<Instant>);

impl Restarts {
    /// How long to wait before the next restart; `None` when there were too many.
    fn next(&mut self, now: Instant) -> Option<Duration> {
        while self.0.front().is_some_and(|it| now.duration_since(*it) > RESTART_WINDOW) {
            self.0.pop_front();
        }
        if self.0.len() >= MAX_RESTARTS {
            return None;
        }
        self.0.push_back(now);
        // At once, after 0.5 s, after 1 s.
        Some(RESTART_PAUSE * (self.0.len() as u32 - 1))
    }
}
