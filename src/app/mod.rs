//! Builds the parts, hires the workers, opens the doors, and closes in reverse order.

pub mod demo;
pub mod ledger;

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::{
    channels::meta::graph::Graph,
    clock::Clock,
    config::Settings,
    crew::{Crew, Step, Worker},
    db::{
        self, Database, OpenError, StartError,
        bell::{Bell, Work},
        partitions, statistics,
    },
    http::{
        App, Doors,
        serve::{Bounds, serve},
    },
    intake::{
        accept::Intake,
        apply::Applier,
        meter::{self, Meter},
        notes::Notes,
        strands::Strands,
    },
    live::Live,
    media::Media,
    people,
    queues::{Dispatch, assign::Assigner, presence::Watch, timers::Timers},
    replies::{
        Outgoing,
        claims::Claims,
        doubts::Doubts,
        pacing::{Limits, Pace},
        profiles::Profiles,
        together::Replies,
        typing::{Typing, Typist},
        worker::Sender,
    },
    rooms::{
        files::{Fetcher, Tidier},
        window_watch::WindowWatch,
    },
    seal::SealKey,
};

/// How often a process says which agents have streams open; a quarter of the shortest sensible `agents.stream_lost_s`.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Appliers of one process: one works while another waits for its commit, and one is left when a single tenant's flood takes two.
const APPLIERS: usize = 3;

/// The gateway, built but with nobody at work yet.
pub struct Gateway {
    /// What the doors work with.
    pub app: App,
    /// Who works.
    pub workers: Arc<Workers>,
    crew: Crew,
}

/// The workers of a process.
pub struct Workers {
    apply: Vec<Arc<Applier>>,
    strands: Strands,
    assign: Arc<Assigner>,
    /// What is claimed and sent.
    pub claims: Claims,
    send: Arc<Sender>,
    profiles: Arc<Profiles>,
    files: Arc<Fetcher>,
    tidy: Arc<Tidier>,
    typist: Arc<Typist>,
    doubts: Arc<Doubts>,
    windows: Arc<WindowWatch>,
    watch: Arc<Watch>,
    timers: Arc<Timers>,
    notes: Arc<Notes>,
    upkeep: Arc<Upkeep>,
}

impl Workers {
    /// Applies what has come in, and nothing else. For tests, where nobody is hired.
    ///
    /// # Errors
    /// The first failed step's.
    pub async fn take_in(&self) -> anyhow::Result<()> {
        self.strands.look_again();
        for apply in &self.apply {
            while apply.step().await? == Step::Worked {}
        }
        Ok(())
    }

    /// Takes steps until nobody finds anything to do. For tests, where nobody is hired.
    ///
    /// # Errors
    /// The first failed step's.
    pub async fn settle(&self) -> anyhow::Result<()> {
        self.strands.look_again();
        let mut quiet = 0;
        // Twice around without work, because one worker's last step may be another's first.
        while quiet < 2 {
            let mut worked = false;
            for apply in &self.apply {
                worked |= apply.step().await? == Step::Worked;
            }
            self.notes.step().await?;
            worked |= self.profiles.step().await? == Step::Worked;
            while !self.profiles.is_idle() {
                worked = true;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            worked |= self.files.step().await? == Step::Worked;
            while !self.files.is_idle() {
                worked = true;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            worked |= self.tidy.step().await? == Step::Worked;
            worked |= self.typist.step().await? == Step::Worked;
            worked |= self.doubts.step().await? == Step::Worked;
            while !(self.typist.is_idle() && self.doubts.is_idle()) {
                worked = true;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            worked |= self.windows.step().await? == Step::Worked;
            worked |= self.watch.step().await? == Step::Worked;
            worked |= self.assign.step().await? == Step::Worked;
            worked |= self.timers.step().await? == Step::Worked;
            worked |= self.send.step().await? == Step::Worked;
            while !self.send.is_idle() {
                worked = true;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            quiet = if worked { 0 } else { quiet + 1 };
        }
        Ok(())
    }
}

impl Gateway {
    /// Builds the parts on a migrated database.
    ///
    /// # Errors
    /// If a setting cannot be used or the database does not answer.
    pub async fn build(settings: Settings, database: &Database, seal: SealKey, clock: Clock) -> anyhow::Result<Self> {
        let crew = Crew::new();
        let bell = if database.is_private() { Bell::local() } else { Bell::new(database.options(), crew.stop_token()) };
        Self::assemble(settings, database.pool.clone(), bell, seal, clock, crew).await
    }

    /// Builds the parts from a pool and a bell.
    ///
    /// # Errors
    /// If a setting cannot be used or the database does not answer.
    pub async fn assemble(
        settings: Settings,
        db: sqlx::PgPool,
        bell: Bell,
        seal: SealKey,
        clock: Clock,
        crew: Crew,
    ) -> anyhow::Result<Self> {
        partitions::keep(&db, clock.now(), settings.retention.days).await.context("the logs' days cannot be made")?;
        if !settings.operator_token.expose().is_empty() {
            people::ensure_operator_token(&db, settings.operator_token.expose(), "settings", clock.now()).await?;
        }
        let patience = Duration::from_secs(settings.graph.timeout_s.into());
        let graph = Arc::new(Graph::new(settings.graph.base_url.as_str(), &settings.graph.version, patience)?);
        let limits = Limits {
            at_once: settings.replies.at_once,
            page_per_s: settings.replies.page_per_s,
            page_media_per_s: settings.replies.page_media_per_s,
            app_per_s: settings.replies.app_per_s,
            person_per_s: settings.replies.person_per_s,
        };
        let media = Media::open(&settings, &seal)?;
        let seconds = |it: u32| chrono::TimeDelta::seconds(it.into());
        let dispatch = Dispatch {
            db: db.clone(),
            bell: bell.clone(),
            rering: seconds(settings.agents.rering_s),
            stream_lost: seconds(settings.agents.stream_lost_s),
            rooms_return: seconds(settings.agents.rooms_return_s),
        };
        let outgoing = Outgoing {
            db: db.clone(),
            bell: bell.clone(),
            clock: clock.clone(),
            seal: seal.clone(),
            graph,
            media: media.clone(),
            pace: Pace::new(limits),
        };
        let patience = seconds(settings.graph.timeout_s);
        let claims = Claims::new(outgoing.clone(), crew.clone(), settings.replies.at_once, patience);
        let replies = Replies::open(claims.clone(), &crew);
        let typing = Typing::default();
        let strands = Strands::new(APPLIERS);
        let applier = || Applier::new(&db, bell.clone(), clock.clone(), strands.clone());
        let workers = Workers {
            apply: (0..APPLIERS).map(|_| Arc::new(applier())).collect(),
            strands: strands.clone(),
            assign: Arc::new(Assigner::new(dispatch.clone(), clock.clone())),
            send: Arc::new(Sender::new(claims.clone(), crew.clone())),
            claims,
            profiles: Arc::new(Profiles::new(outgoing.clone(), crew.clone())),
            files: Arc::new(Fetcher::new(db.clone(), bell.clone(), clock.clone(), media.clone(), crew.clone())),
            tidy: Arc::new(Tidier { db: db.clone(), clock: clock.clone(), media: media.clone() }),
            typist: Arc::new(Typist::new(outgoing.clone(), typing.clone(), crew.clone())),
            doubts: Arc::new(Doubts::new(outgoing.clone(), crew.clone())),
            windows: Arc::new(WindowWatch { db: db.clone(), bell: bell.clone(), clock: clock.clone() }),
            watch: Arc::new(Watch::new(dispatch.clone(), clock.clone())),
            timers: Arc::new(Timers { dispatch: dispatch.clone(), clock: clock.clone() }),
            notes: Arc::new(Notes::new(db.clone(), bell.clone(), clock.clone())),
            upkeep: Arc::new(Upkeep { db: db.clone(), clock: clock.clone(), days: settings.retention.days }),
        };
        let notes = Arc::clone(&workers.notes);
        let intake = Intake::open(db.clone(), bell.clone(), seal.clone(), clock.clone(), &crew, strands, notes);
        let live = Live::new(db.clone(), &bell, &crew);
        let app = App::new(
            db,
            clock,
            seal,
            Arc::new(settings),
            bell,
            crew.clone(),
            dispatch,
            outgoing,
            replies,
            intake,
            live,
            media,
            typing,
        );
        Ok(Self { app, workers: Arc::new(workers), crew })
    }

    /// Lets the workers begin.
    pub fn hire(&self) {
        meter::describe();
        let bell = &self.app.bell;
        for apply in &self.workers.apply {
            self.crew.hire(Arc::clone(apply), Some(bell.changes(Work::Intake)));
        }
        self.crew.hire(Arc::clone(&self.workers.assign), Some(bell.changes(Work::Queues)));
        self.crew.hire(Arc::clone(&self.workers.send), Some(bell.changes(Work::Outbox)));
        self.workers.claims.take_at_once();
        self.crew.hire(Arc::clone(&self.workers.profiles), Some(self.workers.profiles.changes()));
        self.crew.hire(Arc::clone(&self.workers.files), Some(self.workers.files.changes()));
        self.crew.hire(Arc::clone(&self.workers.tidy), None);
        self.crew.hire(Arc::clone(&self.workers.typist), Some(self.app.typing.changes()));
        self.crew.hire(Arc::clone(&self.workers.doubts), None);
        self.crew.hire(Arc::clone(&self.workers.windows), None);
        self.crew.hire(Arc::clone(&self.workers.watch), None);
        self.crew.hire(Arc::clone(&self.workers.timers), None);
        self.crew.hire(Arc::clone(&self.workers.notes), None);
        self.crew.hire(Arc::clone(&self.workers.upkeep), None);
        self.crew.hire(Arc::new(Analyst(self.app.db.clone())), None);
        self.crew.hire(Arc::new(Meter::new(self.app.db.clone(), self.app.clock.clone())), None);
        let (streams, stop) = (self.app.streams.clone(), self.crew.stop_token());
        let watch = Arc::clone(&self.workers.watch);
        self.crew.spawn(async move {
            loop {
                tokio::select! { () = tokio::time::sleep(HEARTBEAT) => {}, () = stop.cancelled() => return }
                let open = streams.open();
                if !open.is_empty()
                    && let Err(error) = watch.note_streams(&open).await
                {
                    warn!(error = %error, "open streams could not be noted");
                }
            }
        });
    }

    /// Serves until `stop` is cancelled: takes nothing new in, lets requests end, sends the workers home.
    pub async fn serve(self, listener: TcpListener, stop: tokio_util::sync::CancellationToken) {
        let drain = Duration::from_secs(self.app.settings.http.drain_s.into());
        // Streams never end by themselves.
        let streams = self.app.streams.clone();
        if !crate::http::desk::is_built_in() {
            warn!(
                "this binary was built without the desk: run script/desk and build it again; the API works as always"
            );
        }
        let bounds = Bounds {
            connections: self.app.settings.http.max_connections as usize,
            patience: Duration::from_secs(self.app.settings.http.patience_s.into()),
        };
        let serving = serve(listener, Doors::open(&self.app), bounds, stop.clone());
        tokio::pin!(serving);
        tokio::select! {
            () = &mut serving => {}
            () = stop.cancelled() => {
                streams.close();
                if tokio::time::timeout(drain, &mut serving).await.is_err() {
                    warn!("requests were still under way after {} s and are cut off", drain.as_secs());
                }
            }
        }
        if !self.crew.dismiss(drain).await {
            warn!("work was still under way after {} s and is cut off; it goes on at the next start", drain.as_secs());
        }
    }
}

/// Makes and drops the logs' days, and forgets what is past its time.
pub struct Upkeep {
    db: sqlx::PgPool,
    clock: Clock,
    days: u32,
}

impl Worker for Upkeep {
    const NAME: &'static str = "upkeep";
    const POLL: Duration = Duration::from_secs(3600);

    async fn step(&self) -> anyhow::Result<Step> {
        let now = self.clock.now();
        let dropped = partitions::keep(&self.db, now, self.days).await?;
        if dropped > 0 {
            info!(dropped, "dropped {dropped} days of the logs");
        }
        people::store::delete_expired_sessions(&self.db, now).await?;
        crate::replies::store::delete_old_keys(&self.db, now - chrono::TimeDelta::hours(48)).await?;
        crate::rooms::store::changes::delete_old_early(&self.db, now - chrono::TimeDelta::days(7)).await?;
        Ok(Step::Idle)
    }
}

/// Sees that plans fit tables that grow fast; see [`statistics`].
struct Analyst(sqlx::PgPool);

impl Worker for Analyst {
    const NAME: &'static str = "analyst";
    const POLL: Duration = Duration::from_secs(2);

    async fn step(&self) -> anyhow::Result<Step> {
        statistics::refresh(&self.0).await?;
        statistics::sweep(&self.0).await?;
        Ok(Step::Idle)
    }
}

/// Opens the database that the settings name, migrated, and the seal key that goes with it.
///
/// # Errors
/// One clear message for the operator.
pub async fn open_database(settings: &Settings, migrate: bool) -> anyhow::Result<(Database, SealKey)> {
    let url = settings.database.url.clone();
    let database = db::open(&db::Settings {
        url: (!url.expose().is_empty()).then_some(url),
        data_dir: settings.data_dir.clone(),
        bin_dir: None,
        max_connections: settings.database.max_connections,
    })
    .await?;
    info!("database: {}", database.shown);
    let ready = async {
        if migrate {
            db::migrate(&database.pool).await?;
        } else {
            let pending = db::pending_migrations(&database.pool).await?;
            anyhow::ensure!(
                pending.is_empty(),
                "migrations are pending ({}); run `chatgate migrate` first",
                pending.join(", ")
            );
        }
        seal_key(settings)
    };
    match ready.await {
        Ok(seal) => Ok((database, seal)),
        Err(error) => {
            database.close().await;
            Err(error)
        }
    }
}

/// The same for a command that does one thing: beside a running chatgate it uses that one's private PostgreSQL.
///
/// # Errors
/// One clear message for the operator.
pub async fn join_database(settings: &Settings) -> anyhow::Result<(Database, SealKey)> {
    match open_database(settings, true).await {
        Err(error) if matches!(error.downcast_ref(), Some(OpenError::Private(StartError::InUse { .. }))) => {
            Ok((db::join(&settings.data_dir).await?, seal_key(settings)?))
        }
        opened => opened,
    }
}

/// The seal key of the settings; or the one in the data directory, made at the first start.
fn seal_key(settings: &Settings) -> anyhow::Result<SealKey> {
    let given = settings.seal.key.expose();
    if !given.is_empty() {
        return Ok(SealKey::parse(given)?);
    }
    let path = settings.data_dir.join("seal.key");
    if let Ok(kept) = std::fs::read_to_string(&path) {
        return SealKey::parse(&kept)
            .with_context(|| format!("{} is damaged; restore it from a backup", path.display()));
    }
    write_private(&path, &SealKey::generate()).with_context(|| format!("cannot write {}", path.display()))?;
    info!("made a seal key: {}; keep a copy, sealed secrets cannot be read without it", path.display());
    let kept = std::fs::read_to_string(&path)?;
    Ok(SealKey::parse(&kept)?)
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
