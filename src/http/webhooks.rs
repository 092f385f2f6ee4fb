//! `/webhooks/messenger/{key}`: Meta's door.

use std::{future::poll_fn, pin::Pin};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{Path, RawQuery, State},
    http::{HeaderMap, Method, Request, header},
    response::{IntoResponse, Response},
};
use bytes::BytesMut;

use super::{
    App,
    problem::{self, Problem},
    request_id,
};
use crate::intake::accept::{Refused, Share};

/// Largest body of a webhook: Meta batches up to 1000 updates.
pub const MAX_BODY_BYTES: usize = 10 * 1024 * 1024;

fn refuse(refused: &Refused) -> Problem {
    match refused {
        Refused::UnknownKey => Problem::of(problem::NOT_FOUND),
        Refused::BadSignature => Problem::of(problem::BAD_SIGNATURE),
        Refused::Busy => Problem::of(problem::UNAVAILABLE).retry_after(1),
    }
}

/// Answers Meta's verification of the callback.
#[utoipa::path(
    get, path = "/webhooks/messenger/{key}", tag = "webhooks", security(()),
    params(
        ("key" = String, Path, description = "the app's key"),
        ("hub.mode" = String, Query, description = "`subscribe`"),
        ("hub.verify_token" = String, Query, description = "the app's verify token"),
        ("hub.challenge" = String, Query, description = "echoed"),
    ),
    responses((status = 200, description = "exactly the challenge", content_type = "text/plain", body = String),
        (status = 403, description = "wrong mode or token"), (status = 404, description = "unknown key")),
)]
pub async fn verify(
    State(app): State<App>,
    Path(key): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let verified = app.intake.verify(&key, query.as_deref().unwrap_or_default()).await?;
    let challenge = verified.map_err(|it| refuse(&it))?.ok_or_else(|| Problem::of(problem::BAD_HANDSHAKE))?;
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    Ok((headers, challenge).into_response())
}

/// Takes events in: 200 once everything in the body is durable.
#[utoipa::path(
    post, path = "/webhooks/messenger/{key}", tag = "webhooks", security(()),
    params(("key" = String, Path, description = "the app's key"),
        ("X-Hub-Signature-256" = String, Header, description = "`sha256=` and the HMAC of the raw body under the app secret")),
    request_body(content = Object, description = "a webhook body as Meta sends it", content_type = "application/json"),
    responses((status = 200, description = "everything in it is durable", content_type = "text/plain", body = String),
        (status = 401, description = "signature missing or wrong"), (status = 404, description = "unknown key"),
        (status = 413, description = "over 10 MiB"), (status = 503, description = "cannot be stored now: send it again")),
)]
pub async fn receive(
    State(app): State<App>,
    Path(key): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    take_in(&app, &key, &headers, body).await
}

/// The key that a request posts to, if it is to be answered by [`receive_directly`]: most requests of all come through this door, and
/// the router with its layers is a tenth of what they cost. Keys that are not as we make them are the router's.
pub fn posted_to<B>(request: &Request<B>) -> Option<&str> {
    let key = request.uri().path().strip_prefix("/webhooks/messenger/")?;
    let is_ours = !key.is_empty() && key.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_');
    (is_ours && request.method() == Method::POST).then_some(key)
}

/// [`receive`] without a router.
pub async fn receive_directly<B>(app: &App, key: &str, request: Request<B>) -> Response
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let (parts, body) = request.into_parts();
    let answer = async { take_in(app, key, &parts.headers, body).await.into_response() };
    request_id::with_id(parts.headers.get(request_id::HEADER), &parts.method, parts.uri.path(), answer).await
}

async fn take_in<B>(app: &App, key: &str, headers: &HeaderMap, body: B) -> Result<Response, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    // An unknown key costs no more than its headers.
    let mut share = app.intake.begin(key).await.map_err(|it| refuse(&it))?;
    let body = read(body, &mut share).await?;
    let signature = headers.get("x-hub-signature-256").and_then(|it| it.to_str().ok());
    app.intake.accept(key, signature, body, share).await.map_err(|it| refuse(&it))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "EVENT_RECEIVED").into_response())
}

/// The whole body, of which every part is taken from the memory that webhooks may use before it is kept.
async fn read<B>(mut body: B, share: &mut Share) -> Result<Bytes, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let expected = body.size_hint().exact().unwrap_or(0);
    if expected > MAX_BODY_BYTES as u64 {
        return Err(Problem::of(problem::TOO_LARGE));
    }
    let mut whole = BytesMut::new();
    while let Some(part) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let part = part.map_err(|_| Problem::of(problem::UNREADABLE).detail("the body did not arrive whole"))?;
        // Trailers say nothing here.
        let Ok(part) = part.into_data() else { continue };
        if whole.len() + part.len() > MAX_BODY_BYTES {
            return Err(Problem::of(problem::TOO_LARGE));
        }
        share.grow(part.len()).map_err(|it| refuse(&it))?;
        if part.len() as u64 == expected {
            return Ok(part);
        }
        if whole.is_empty() {
            whole.reserve(usize::try_from(expected).unwrap_or(0));
        }
        whole.extend_from_slice(&part);
    }
    Ok(whole.freeze())
}
