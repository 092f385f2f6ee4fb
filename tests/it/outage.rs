//! The real binary through hundreds of deaths, and with PostgreSQL gone: after each the ledger's sums are asked for.
//!
//! `CHATGATE_CRASH_ROUNDS=300` makes the deaths that many (some minutes); without it they go on for half a minute.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use chatgate::db::{Durability, PrivatePostgres, PrivateSettings};
use rand::RngExt;
use serde_json::json;
use sqlx::Connection;
use tokio_util::sync::CancellationToken;

use crate::crash::{Facebook, Home, Server, all_inbound, free_port, furnish, ledger_sums, pour};

/// How long the deaths go on if their number is not given.
const DEATHS_FOR: Duration = Duration::from_secs(30);
/// Between two deaths of PostgreSQL itself; its keeper gives up when there are more than three a minute.
const POSTGRESQL_LIVES: Duration = Duration::from_secs(25);

/// A PostgreSQL of our own with full durability, and how the gateways find it.
async fn postgresql(home: &Path) -> (PrivatePostgres, String) {
    let settings = PrivateSettings {
        data_dir: home.join("shared"),
        bin_dir: None,
        durability: Durability::Full,
        max_connections: 60,
    };
    let postgres = PrivatePostgres::start(settings).await.unwrap();
    let url = crate::crash::url(&postgres.options());
    (postgres, url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sums_agree_after_every_death() {
    let rounds: Option<u32> = std::env::var("CHATGATE_CRASH_ROUNDS").ok().map(|it| it.parse().unwrap());
    let home = Home::new("deaths");
    let facebook = Facebook::open().await;
    let (postgres, url) = postgresql(&home.0).await;
    let key = chatgate::seal::SealKey::generate();
    let more = [("CHATGATE__DATABASE__URL", url.as_str()), ("CHATGATE__SEAL__KEY", key.as_str())];
    let port = free_port();
    let mut server = Server::start(&home.0, &facebook.base, port, &more).await;
    let (_, admin, path) = furnish(&server.base).await;
    let stop = CancellationToken::new();
    let pouring: Vec<_> =
        (0..4).map(|line| tokio::spawn(pour(server.base.clone(), path.clone(), line, stop.clone()))).collect();
    let (began, mut postgresql_died, mut deaths, mut received) = (Instant::now(), Instant::now(), 0, 0);
    while rounds.map_or_else(|| began.elapsed() < DEATHS_FOR, |rounds| deaths < rounds) {
        // At any point: before the first request, in the middle of a write, between a commit and its answer.
        tokio::time::sleep(Duration::from_micros(rand::rng().random_range(0..300_000))).await;
        if postgresql_died.elapsed() > POSTGRESQL_LIVES {
            let pid = std::fs::read_to_string(home.0.join("shared/postgres/data/postmaster.pid")).unwrap();
            let pid = rustix::process::Pid::from_raw(pid.lines().next().unwrap().parse().unwrap()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            postgresql_died = Instant::now();
            // Its keeper starts it again; a gateway that is started meanwhile would say so and end.
            while sqlx::postgres::PgConnection::connect_with(&postgres.options()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        server.kill();
        deaths += 1;
        server = Server::start(&home.0, &facebook.base, port, &more).await;
        let sums = ledger_sums(&home.0, &more);
        assert!(sums["received"] >= received, "the ledger has become shorter: {sums:?}");
        received = sums["received"];
    }
    stop.cancel();
    let mut accepted = Vec::new();
    for it in pouring {
        accepted.extend(it.await.unwrap());
    }
    let stored = all_inbound(&admin, &accepted).await;
    assert_all_once(&accepted, &stored);
    let sums = settled(&home.0, &more).await;
    assert_eq!((sums["parked"], sums["ignored"]), (0, 0));
    assert_eq!(usize::try_from(sums["applied"]).unwrap(), stored.len());
    println!("{deaths} deaths in {:?}: {} answered 200, {sums:?}", began.elapsed(), accepted.len());
    drop(server);
    postgres.stop().await;
    facebook.stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_is_gone_for_half_a_minute_under_load() {
    let gone = std::env::var("CHATGATE_OUTAGE_S").ok().map_or(30, |it| it.parse().unwrap());
    let home = Home::new("gone");
    let facebook = Facebook::open().await;
    let (postgres, url) = postgresql(&home.0).await;
    let key = chatgate::seal::SealKey::generate();
    let database = [("CHATGATE__DATABASE__URL", url.as_str()), ("CHATGATE__SEAL__KEY", key.as_str())];
    // Shorter than PostgreSQL is gone, as the minute that is usual is shorter than a failover may take.
    let more = [database[0], database[1], ("CHATGATE__AGENTS__STREAM_LOST_S", "20")];
    let server = Server::start(&home.0, &facebook.base, free_port(), &more).await;
    let (ben, admin, path) = furnish(&server.base).await;
    let events = ben.request(reqwest::Method::GET, "/events").header("accept", "text/event-stream");
    let mut stream = events.send().await.unwrap();
    assert_eq!(stream.status(), 200);
    let listening = tokio::spawn(async move { while stream.chunk().await.unwrap().is_some() {} });
    let stop = CancellationToken::new();
    let pouring: Vec<_> =
        (0..4).map(|line| tokio::spawn(pour(server.base.clone(), path.clone(), line, stop.clone()))).collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    postgres.stop().await;
    drop(postgres);
    let before = server.resident_mib();
    // It says so while it lasts, and goes on living.
    let nobody = crate::support::Api::new(&server.base, None);
    let left = Instant::now();
    while left.elapsed() < Duration::from_secs(gone) {
        assert_eq!(nobody.get("/healthz").await.status, 200);
        assert_eq!(nobody.get("/readyz").await.status, 503);
        assert_eq!(
            nobody
                .post("/sessions", json!({ "tenant": "acme", "email": "a@acme.test", "password": "x" }))
                .await
                .problem(503),
            "unavailable"
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let grown = server.resident_mib().saturating_sub(before);
    assert!(grown < 50, "{grown} MiB more while nothing could be stored");
    let (postgres, again) = postgresql(&home.0).await;
    assert_eq!(again, url);
    let back = Instant::now();
    while nobody.get("/readyz").await.status != 200 {
        assert!(back.elapsed() < Duration::from_secs(30), "it does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.cancel();
    let mut accepted = Vec::new();
    for it in pouring {
        accepted.extend(it.await.unwrap());
    }
    let stored = all_inbound(&admin, &accepted).await;
    assert_all_once(&accepted, &stored);
    let sums = settled(&home.0, &more).await;
    assert_eq!((sums["parked"], sums["unexplained"]), (0, 0));
    // The agent, whose stream nobody could note meanwhile, is still there.
    assert_eq!(ben.get("/me/status").await.expect(200)["status"], "ready");
    assert!(!listening.is_finished(), "the stream has ended");
    listening.abort();
    println!("gone for {gone} s: {} answered 200, {grown} MiB more memory meanwhile, {sums:?}", accepted.len());
    drop(server);
    postgres.stop().await;
    facebook.stop.cancel();
}

/// What was answered 200 is there, and nothing is there twice.
fn assert_all_once(accepted: &[String], stored: &[String]) {
    assert!(accepted.len() > 50, "only {} got through", accepted.len());
    let mut sorted = stored.to_vec();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), stored.len(), "something is there twice");
    let lost: Vec<_> = accepted.iter().filter(|it| sorted.binary_search(it).is_err()).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
}

/// The ledger's sums when nothing waits any more.
async fn settled(home: &Path, more: &[(&str, &str)]) -> std::collections::HashMap<String, i64> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let sums = ledger_sums(home, more);
        if sums["pending"] == 0 {
            return sums;
        }
        assert!(Instant::now() < deadline, "{sums:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
