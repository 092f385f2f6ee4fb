//! The `chatgate` command: reads the command line and the settings, then lets the library work.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context;
use chatgate::{
    app::{Gateway, demo, join_database, ledger, open_database},
    clock::{Clock, Moment},
    config::{LogFormat, Settings},
    http, people,
    secret::{Secret, random_text},
    simulator::Simulator,
    telemetry,
};
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The C library's allocator keeps what passwords and bursts once needed, and takes a fifth of the gateway's time under load.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A contact-center chat gateway for Facebook Pages.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    /// Settings laid over the defaults (TOML); environment variables CHATGATE__… win.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the gateway.
    Serve {
        /// Refuse to start when migrations are pending, instead of applying them.
        #[arg(long)]
        no_migrate: bool,
    },
    /// Runs the gateway on loopback with a tenant, agents, a queue and a pretend Facebook; prints the pages and logins.
    Demo,
    /// Plays Facebook: a Graph API, and a page where a person chats as a customer.
    Simulate {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:8081")]
        listen: SocketAddr,
        /// Where the app's webhooks go; may also be set by the gateway's `subscribe`.
        #[arg(long)]
        callback: Option<String>,
    },
    /// Applies pending migrations.
    Migrate,
    /// Checks the settings.
    CheckConfig,
    /// Prints the OpenAPI document.
    Openapi,
    /// Tenants.
    Tenant {
        #[command(subcommand)]
        command: TenantCommand,
    },
    /// The ledger of webhook items.
    Ledger {
        #[command(subcommand)]
        command: LedgerCommand,
    },
    /// Makes an operator token and prints it.
    OperatorToken {
        /// What it is for.
        #[arg(long, default_value = "command line")]
        name: String,
    },
}

#[derive(Subcommand)]
enum LedgerCommand {
    /// Adds up what was received and what became of it; fails if anything is unexplained.
    Verify {
        #[command(flatten)]
        items: Items,
    },
    /// Prints items, newest first: when they came, whose they are and what became of them, never what they say.
    List {
        #[command(flatten)]
        items: Items,
        /// Only items that belong to no tenant: of an operator's app, about a Page that nobody has connected, or unreadable.
        #[arg(long, conflicts_with = "tenant")]
        unclaimed: bool,
        /// Only items of this state.
        #[arg(long, value_parser = ["pending", "applied", "duplicate", "parked", "ignored"])]
        state: Option<String>,
        /// Only items of this kind, such as message.
        #[arg(long)]
        kind: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=100_000))]
        limit: i64,
    },
    /// Lets parked items be applied again, after what stopped them is mended. May be repeated.
    Replay {
        #[command(flatten)]
        items: Items,
        /// Parked items, or ignored ones whose Page has been connected since.
        #[arg(long, value_enum, default_value = "parked")]
        state: Replayed,
        /// Only items of this kind, such as message.
        #[arg(long)]
        kind: Option<String>,
        /// Only this item; may be given several times.
        #[arg(long)]
        id: Vec<uuid::Uuid>,
    },
}

#[derive(clap::Args)]
struct Items {
    /// Only this tenant's items (slug or id).
    #[arg(long)]
    tenant: Option<String>,
    /// Only items received at this time or later (2026-11-20T09:00:00Z).
    #[arg(long)]
    since: Option<Moment>,
    /// Only items received before this time.
    #[arg(long)]
    until: Option<Moment>,
}

impl From<Items> for ledger::Wanted {
    fn from(items: Items) -> Self {
        Self { tenant: items.tenant, since: items.since, until: items.until }
    }
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Replayed {
    Parked,
    Ignored,
}

impl Replayed {
    fn word(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Ignored => "ignored",
        }
    }
}

#[derive(Subcommand)]
enum TenantCommand {
    /// Makes a tenant with its first admin.
    Create {
        /// Short name, for logins.
        #[arg(long)]
        slug: String,
        /// The company's name.
        #[arg(long)]
        name: String,
        /// The admin's e-mail address.
        #[arg(long)]
        admin_email: String,
        /// The admin's name.
        #[arg(long, default_value = "Admin")]
        admin_name: String,
        /// The admin's password; made and printed if left out. Also read from CHATGATE_ADMIN_PASSWORD.
        #[arg(long)]
        admin_password: Option<String>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let environment: Vec<(String, String)> = std::env::vars().collect();
    let mut settings = Settings::load(cli.config.as_deref(), &environment)?;
    match cli.command {
        Command::CheckConfig => {
            settings.risks().iter().for_each(|risk| eprintln!("warning: {risk}"));
            println!("the settings are fine");
            Ok(())
        }
        Command::Openapi => {
            println!("{}", serde_json::to_string_pretty(&http::openapi())?);
            Ok(())
        }
        Command::Simulate { listen, callback } => simulate(&settings, listen, callback).await,
        Command::Serve { no_migrate } => {
            start_logs(&settings)?;
            serve(settings, !no_migrate).await
        }
        Command::Demo => {
            if settings.log.filter == "info" {
                settings.log.filter = "warn".to_owned();
            }
            start_logs(&settings)?;
            run_demo(settings).await
        }
        Command::Migrate => {
            let (database, _) = join_database(&settings).await?;
            println!("{}: up to date", database.shown);
            database.close().await;
            Ok(())
        }
        Command::OperatorToken { name } => {
            let (database, _) = join_database(&settings).await?;
            let token = people::new_operator_token(&database.pool, &name, Clock::System.now()).await;
            database.close().await;
            println!("{}", token?);
            Ok(())
        }
        Command::Ledger { command } => {
            let (database, _) = join_database(&settings).await?;
            let done = match command {
                LedgerCommand::Verify { items } => ledger::verify(&database, &items.into()).await,
                LedgerCommand::List { items, unclaimed, state, kind, limit } => {
                    let listed = ledger::Listed { unclaimed, state, kind, limit };
                    ledger::list(&database, &items.into(), listed).await
                }
                LedgerCommand::Replay { items, state, kind, id } => {
                    ledger::replay(&database, &items.into(), state.word(), kind, id).await
                }
            };
            database.close().await;
            println!("{}", done?);
            Ok(())
        }
        Command::Tenant { command: TenantCommand::Create { slug, name, admin_email, admin_name, admin_password } } => {
            let given = admin_password.or_else(|| std::env::var("CHATGATE_ADMIN_PASSWORD").ok());
            let is_made = given.is_none();
            let password = given.unwrap_or_else(random_text);
            let (database, _) = join_database(&settings).await?;
            let made = http::create_tenant(
                &database.pool,
                &slug,
                &name,
                &admin_email,
                &admin_name,
                &password,
                Clock::System.now(),
            )
            .await;
            database.close().await;
            println!("tenant {} ({slug})", made?);
            if is_made {
                println!("admin password: {password}");
            }
            Ok(())
        }
    }
}

fn start_logs(settings: &Settings) -> anyhow::Result<()> {
    telemetry::start_logs(&settings.log.filter, settings.log.format == LogFormat::Json)
}

/// Cancelled by Ctrl-C or a polite kill.
fn stop_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        info!("stopping");
        token.cancel();
    });
    Ok(stop)
}

/// The allocator asks for pages of 2 MiB, of which a burst touches many and fills few: a third of what is resident, for a few per cent of
/// speed.
fn keep_pages_small() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(error = %error, "pages stay as large as the kernel makes them");
    }
}

async fn serve(settings: Settings, migrate: bool) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    http::serve::raise_file_limit();
    keep_pages_small();
    settings.risks().iter().for_each(|risk| warn!("{risk}"));
    let listener = http::serve::listen(settings.http.listen)
        .with_context(|| format!("cannot listen on {}", settings.http.listen))?;
    let (database, seal) = open_database(&settings, migrate).await?;
    let metrics = serve_metrics(&settings, &stop).await;
    let served = async {
        metrics?;
        let gateway = Gateway::build(settings, &database, seal, Clock::System).await?;
        gateway.hire();
        info!("listening on http://{}", listener.local_addr()?);
        let failed = database.failed();
        tokio::select! {
            () = gateway.serve(listener, stop) => Ok(()),
            why = failed => Err(anyhow::anyhow!("the private PostgreSQL cannot be kept running: {why}")),
        }
    }
    .await;
    database.close().await;
    served
}

/// Serves `/metrics` on its own listener. The default address may be taken by another chatgate: then there are none, with a warning.
async fn serve_metrics(settings: &Settings, stop: &CancellationToken) -> anyhow::Result<()> {
    let handle = telemetry::start_metrics()?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
            upkeep.run_upkeep();
        }
    });
    if settings.metrics.listen.is_empty() {
        return Ok(());
    }
    let listener = match telemetry::metrics_listener(settings.metrics.listen.parse()?).await {
        Ok(listener) => listener,
        Err(error) if settings.metrics.listen == telemetry::DEFAULT_METRICS => {
            warn!("no metrics: {error:#}");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let stop = stop.clone();
    let router = axum::Router::new().route("/metrics", axum::routing::get(move || async move { handle.render() }));
    tokio::spawn(async move {
        axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await }).await
    });
    Ok(())
}

async fn simulate(settings: &Settings, listen: SocketAddr, callback: Option<String>) -> anyhow::Result<()> {
    start_logs(settings)?;
    let stop = stop_signal()?;
    let simulator = Simulator::new(Clock::System);
    demo::populate(&simulator);
    if let Some(callback) = callback {
        simulator.set_callback(demo::APP_ID, &callback);
    }
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    println!("Customers:  http://{address}/");
    println!("Graph API:  CHATGATE__GRAPH__BASE_URL=http://{address}");
    simulator.serve(listener, stop).await?;
    Ok(())
}

async fn bind_or_any(wanted: SocketAddr) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(wanted).await {
        Ok(listener) => Ok(listener),
        Err(_) => Ok(TcpListener::bind(("127.0.0.1", 0)).await?),
    }
}

async fn run_demo(mut settings: Settings) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    if !settings.http.listen.ip().is_loopback() {
        anyhow::bail!(
            "the demo has known passwords, so it listens on loopback only: set http.listen to 127.0.0.1:8080"
        );
    }
    let listener = bind_or_any(settings.http.listen).await?;
    let address = listener.local_addr()?;
    let simulated = bind_or_any(SocketAddr::from(([127, 0, 0, 1], 8081))).await?;
    let facebook = simulated.local_addr()?;
    let operator_token = format!("cgo_{}", random_text());
    settings.operator_token = Secret::new(operator_token.clone());
    settings.http.listen = address;
    settings.http.public_url = format!("http://{address}");
    settings.graph.base_url = format!("http://{facebook}").parse()?;
    let simulator = Simulator::new(Clock::System);
    demo::populate(&simulator);
    let (database, seal) = open_database(&settings, true).await?;
    let shown = database.shown.clone();
    let served = async {
        let gateway = Gateway::build(settings, &database, seal, Clock::System).await?;
        gateway.hire();
        let facebook_stop = stop.clone();
        let pretend = simulator.clone();
        tokio::spawn(async move { pretend.serve(simulated, facebook_stop).await });
        let set_up = async {
            demo::set_up(&format!("http://{address}"), &operator_token, &simulator).await?;
            print_pages(address, facebook, &shown, &operator_token);
            std::future::pending::<anyhow::Result<()>>().await
        };
        let failed = database.failed();
        tokio::select! {
            () = gateway.serve(listener, stop.clone()) => Ok(()),
            broken = set_up => broken,
            why = failed => Err(anyhow::anyhow!("the private PostgreSQL cannot be kept running: {why}")),
        }
    }
    .await;
    database.close().await;
    served
}

fn print_pages(address: SocketAddr, facebook: SocketAddr, database: &str, operator_token: &str) {
    let (tenant, password, supervisor) = (demo::TENANT, demo::PASSWORD, demo::SUPERVISOR);
    let (page, customer) = (demo::PAGE_ID, demo::CUSTOMER);
    let (agent, _) = demo::AGENTS[0];
    println!(
        "
chatgate demo is running. Open these two side by side:

  the customer, Anna   http://{facebook}/chat/{page}/{customer}
  the agent, Ben       http://{address}/desk?tenant={tenant}&email={agent}
                       password: {password}

  more customers       http://{facebook}/
  the API              http://{address}/docs
  admin                {supervisor}, tenant {tenant}, the same password
  operator token       {operator_token}
  database             {database}

Ctrl-C stops it; the data stay."
    );
}
