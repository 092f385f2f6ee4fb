//! `/live`: what happens at this moment, for supervisors.

use std::convert::Infallible;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{App, events::keep_alive, extract::Query, problem::Problem, routing::zone, streams::Credential};
use crate::{
    people::Staff,
    queues::board::{self, Board},
};

/// Which day is today.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Today {
    /// IANA zone in which today is counted; UTC by default.
    #[param(example = "Europe/Istanbul")]
    time_zone: Option<String>,
}

/// All queues and agents at this moment. With `Accept: text/event-stream` a stream: an event `snapshot` with the same, then events
/// `changed` with the queues and agents that changed, at most one a second; `snapshot` again when something is new or gone.
#[utoipa::path(
    get, path = "/api/v1/live", tag = "live", params(Today),
    responses((status = 200, content((Board = "application/json"), (String = "text/event-stream"))), (status = 422))
)]
pub async fn show(
    State(app): State<App>,
    staff: Staff,
    Query(today): Query<Today>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let zone = zone(today.time_zone.as_deref())?;
    let accepted = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
    if !accepted.is_some_and(|it| it.contains("text/event-stream")) {
        return Ok(Json(board::load(&app.db, staff.tenant, &zone, app.clock.now()).await?).into_response());
    }
    let watcher = app.boards.follow(staff.tenant, &zone).await?;
    let stop = app.streams.closing();
    let credential = Credential::of(&app, &headers, &staff);
    let events = futures::stream::unfold((watcher, credential), move |(mut watcher, mut credential)| {
        let stop = stop.clone();
        async move {
            let shown = tokio::select! {
                shown = watcher.next() => shown,
                () = credential.ended() => return None,
                () = stop.cancelled() => return None,
            };
            let event = Event::default().event(shown.kind).data(shown.json);
            credential.still_counts().await.then_some((Ok::<_, Infallible>(event), (watcher, credential)))
        }
    });
    Ok(keep_alive(Sse::new(events)))
}
