//! `/desk`: the agents' page, compiled in.

use axum::{
    extract::Path,
    http::header,
    response::{IntoResponse, Redirect, Response},
};
use rust_embed::RustEmbed;

use super::problem::{self, Problem};

#[derive(RustEmbed)]
#[folder = "web/desk/"]
struct Files;

/// Only our own files run; pictures of customers come from Meta's hosts.
const POLICY: &str =
    "default-src 'self'; img-src 'self' https: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

fn file(name: &str) -> Result<Response, Problem> {
    let found = Files::get(name).ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        // The page and its files change together with the binary.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, found.data).into_response())
}

/// The page.
pub async fn index() -> Result<Response, Problem> {
    file("index.html")
}

/// One of its files.
pub async fn asset(Path(name): Path<String>) -> Result<Response, Problem> {
    file(&name)
}

/// Whoever opens the bare address is an agent looking for the desk.
pub async fn root() -> Redirect {
    Redirect::temporary("/desk")
}
