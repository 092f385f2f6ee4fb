//! Every request has an id: the caller's if it is a sane one, else ours. It is in the answer, in problems and in every log line.

use axum::{
    extract::Request,
    http::{HeaderValue, Method},
    middleware::Next,
    response::Response,
};
use tracing::Instrument;

/// Longest request id that is taken over from a caller, in characters.
const MAX_LENGTH: usize = 128;
pub(super) const HEADER: &str = "x-request-id";

tokio::task_local! {
    static CURRENT: String;
}

/// The id of the request being answered; empty outside a request.
#[must_use]
pub fn current() -> String {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

/// [`with_id`] for whatever comes behind it.
pub async fn layer(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let given = request.headers().get(HEADER).cloned();
    with_id(given.as_ref(), &method, &path, next.run(request)).await
}

/// Gives a request its id, a log span, and its answer the header.
pub async fn with_id(
    given: Option<&HeaderValue>,
    method: &Method,
    path: &str,
    answer: impl Future<Output = Response>,
) -> Response {
    let given = given.and_then(|it| it.to_str().ok()).filter(|it| is_sane(it));
    let id = given.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
    // The path only: the query may carry a verify token.
    let span = tracing::info_span!("request", request.id = %id, %method, path = %shown(path));
    let header = HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("unknown"));
    let mut response = CURRENT.scope(id, answer).instrument(span).await;
    response.headers_mut().insert(HEADER, header);
    response
}

/// The key in a webhook's path is as good as a password for guessing; logs show only where it would be.
fn shown(path: &str) -> &str {
    if path.starts_with("/webhooks/") { "/webhooks/…" } else { path }
}

fn is_sane(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_LENGTH && id.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.:".contains(&it))
}
