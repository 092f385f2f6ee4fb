//! `/events`: the tenant's log, as a stream or page by page.

use std::{borrow::Cow, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    App,
    extract::Query,
    page::{DEFAULT_LIMIT, MAX_LIMIT},
    problem::Problem,
    streams::Credential,
};
use crate::{
    clock::Moment,
    ids::TenantId,
    live::{Reader, Stream},
    media::links::Links,
    people::Staff,
    queues::store::presence::mark_streaming,
    rooms::events::{Cursor, EventView, Logged},
};

/// Longest wait of a pull, in seconds.
const MAX_WAIT_S: u64 = 30;
/// How often a silent stream shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Where to begin.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct From {
    /// The cursor behind which to begin. A pull begins at the log's beginning, a stream at its end by default.
    after: Option<String>,
    /// Pull: how many at most, 1–200; 50 by default.
    limit: Option<i64>,
    /// Pull: seconds to wait when there is nothing new, at most 30.
    wait_s: Option<u64>,
}

/// Events, and where to go on.
#[derive(Debug, Serialize, ToSchema)]
pub struct Events {
    /// In the order of the log.
    items: Vec<EventView>,
    /// Give it as `after`.
    next: String,
}

/// The log as a stream (`Accept: text/event-stream`) or page by page.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "events",
    params(From, ("Last-Event-ID" = Option<String>, Header, description = "the same as `after`, sent by browsers that resume")),
    responses((status = 200, description = "a page; or, if asked for, an endless text/event-stream of the same events", body = Events), (status = 422)),
)]
pub async fn events(
    State(app): State<App>,
    staff: Staff,
    headers: HeaderMap,
    Query(from): Query<From>,
) -> Result<Response, Problem> {
    let streams =
        headers.get(header::ACCEPT).and_then(|it| it.to_str().ok()).is_some_and(|it| it.contains("text/event-stream"));
    let resumed = headers.get("last-event-id").and_then(|it| it.to_str().ok()).filter(|_| streams);
    let after = resumed.or(from.after.as_deref()).filter(|it| !it.is_empty());
    let after = after
        .map(|it| it.parse::<Cursor>().map_err(|()| Problem::field("after", "is not a cursor of this log")))
        .transpose()?;
    let agent = if super::rooms::only_agent(&staff) { staff.user() } else { None };
    let reader = Reader { tenant: staff.tenant, agent };
    if streams {
        let credential = Credential::of(&app, &headers, &staff);
        return stream(app, staff, credential, reader, after).await;
    }
    let limit = from.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::field("limit", "must be 1–200"));
    }
    let wait = from.wait_s.unwrap_or(0);
    if wait > MAX_WAIT_S {
        return Err(Problem::field("wait_s", "must be at most 30"));
    }
    let limit = usize::try_from(limit).unwrap_or(1);
    let (read, next) = app.live.pull(reader, after.unwrap_or_default(), limit, Duration::from_secs(wait)).await?;
    let now = app.clock.now();
    let items = read.iter().map(|it| linked(&app.media.links, staff.tenant, it, now).into_owned()).collect();
    Ok(Json(Events { items, next: next.to_string() }).into_response())
}

async fn stream(
    app: App,
    staff: Staff,
    credential: Credential,
    reader: Reader,
    after: Option<Cursor>,
) -> Result<Response, Problem> {
    let stream = app.live.follow(reader, after).await?;
    // Only agents' own streams keep them from being set offline.
    let presence = staff.user().map(|user| app.streams.opened(staff.tenant, user));
    if let Some(user) = staff.user() {
        mark_streaming(&app.db, &[staff.tenant.0], &[user.0], app.clock.now()).await?;
    }
    let stop = app.streams.closing();
    let (links, clock, tenant) = (app.media.links.clone(), app.clock.clone(), staff.tenant);
    let state = (stream, presence, credential);
    let events = futures::stream::unfold(state, move |(mut stream, presence, mut credential)| {
        let (stop, links, clock) = (stop.clone(), links.clone(), clock.clone());
        async move {
            let event = tokio::select! {
                event = next(&mut stream) => event,
                () = credential.ended() => return None,
                () = stop.cancelled() => return None,
            };
            // Looked at once more before each event, so that nobody is shown what came after their sign-out was noticed.
            if !credential.still_counts().await {
                return None;
            }
            let event = linked(&links, tenant, &event, clock.now());
            let shown = Event::default().id(&event.id).event(&event.kind).json_data(&event);
            Some((Ok::<_, Infallible>(shown.unwrap_or_default()), (stream, presence, credential)))
        }
    });
    Ok(keep_alive(Sse::new(events)))
}

/// A stream that shows that it is alive, and that proxies do not hold back.
pub(super) fn keep_alive<S>(events: Sse<S>) -> Response
where
    S: futures::Stream<Item = Result<Event, Infallible>> + Send + 'static,
{
    let alive = KeepAlive::new().interval(KEEP_ALIVE).text("alive");
    let mut response = events.keep_alive(alive).into_response();
    // Proxies that gather answers would hold events back.
    response.headers_mut().insert("x-accel-buffering", header::HeaderValue::from_static("no"));
    response
}

/// An event with links to its files, if it has any.
fn linked<'a>(links: &Links, tenant: TenantId, logged: &'a Logged, now: Moment) -> Cow<'a, EventView> {
    match links.show_in(tenant, &logged.event.data, now) {
        None => Cow::Borrowed(&logged.event),
        Some(data) => Cow::Owned(EventView { data, ..logged.event.clone() }),
    }
}

async fn next(stream: &mut Stream) -> Arc<Logged> {
    loop {
        match stream.next().await {
            Ok(event) => return event,
            Err(error) => {
                tracing::warn!(error = %error, "a stream waits for the database");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
