//! `script/bench`: what Chatgate does in a second, beside what the same PostgreSQL does without it.
//!
//! Each subject has a folder or file of its own and prints one table; everything in a table comes from one run on one PostgreSQL with
//! full durability, so that its ratios hold on any machine. `docs/performance.md` keeps the results.

mod intake;
mod replies;
mod routing;
mod support;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "script/bench", about = "Measures Chatgate on this machine", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    subject: Subject,
    /// `cargo bench` adds it.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Subject {
    /// Webhooks in: accepted, applied, and how soon an agent sees a message.
    Intake(intake::Options),
    /// Replies out: what waits is sent, what is posted is on its way, one Page is dead.
    Replies(replies::Options),
    /// Waiting rooms find agents: how fast, and how soon an agent hears of it.
    Routing(routing::Options),
    /// The load generator, as a process of its own: reads what to do from its input.
    #[command(hide = true)]
    Load,
    /// The same door without a database: verifies and parses only.
    #[command(hide = true)]
    Door(intake::door::Options),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let mut runtime = match cli.subject {
        // One thread, so that the generator takes no more than one core from those it measures.
        Subject::Load => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.enable_all().build()?;
    runtime.block_on(async {
        match cli.subject {
            Subject::Intake(options) => intake::run(&options).await,
            Subject::Replies(options) => replies::run(&options).await,
            Subject::Routing(options) => routing::run(&options).await,
            Subject::Load => intake::load::run().await,
            Subject::Door(options) => intake::door::run(&options).await,
        }
    })
}
