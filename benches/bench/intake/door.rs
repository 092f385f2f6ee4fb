//! The bound without a database: the same listener, the same signature, the same splitting into items; then 200.

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use chatgate::{
    channels::meta::{envelope, signature},
    secret::Secret,
};
use clap::Args;

/// Where, and whose.
#[derive(Args)]
pub struct Options {
    /// The address to listen on.
    #[arg(long)]
    listen: String,
    /// The secret that signs.
    #[arg(long)]
    secret: String,
}

/// Serves until killed.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(&options.listen).await?;
    let door = Router::new()
        .route("/webhooks/messenger/{key}", post(receive))
        .layer(DefaultBodyLimit::max(10 * 1024 * 1024))
        .with_state(Secret::new(options.secret.clone()));
    axum::serve(listener, door).await?;
    Ok(())
}

async fn receive(State(secret): State<Secret>, headers: HeaderMap, body: Bytes) -> (StatusCode, &'static str) {
    let given = headers.get("x-hub-signature-256").and_then(|it| it.to_str().ok());
    if signature::verify(&secret, given, &body).is_err() {
        return (StatusCode::UNAUTHORIZED, "bad signature");
    }
    match envelope::split(&body) {
        Ok(items) if !items.is_empty() => (StatusCode::OK, "EVENT_RECEIVED"),
        _ => (StatusCode::UNPROCESSABLE_ENTITY, "no items"),
    }
}
