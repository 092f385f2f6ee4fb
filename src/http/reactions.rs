//! `/messages/{id}/reaction`: what the Page thinks of a message.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    App, Shown,
    extract::{Json as Body, Path},
    messages::window_closed,
    problem::{self, Problem},
    rooms::lock_answered,
};
use crate::{
    ids::MessageId,
    people::Staff,
    replies::react::{self, ReactError},
    rooms::{MessageView, store},
};

impl From<ReactError> for Problem {
    fn from(error: ReactError) -> Self {
        match error {
            ReactError::NoEmoji => Problem::field("/emoji", "must be one emoji"),
            ReactError::Unknown => Problem::of(problem::CONFLICT)
                .detail("Messenger does not know this message: it is a note, or was not sent"),
            ReactError::WindowClosed(shut) => window_closed(&shut),
            ReactError::Disconnected => Problem::of(problem::PAGE_DISCONNECTED),
            ReactError::Refused(words) => Problem::of(problem::GRAPH_REFUSED).detail(words),
            ReactError::Later(wait) => Problem::of(problem::GRAPH_AWAY)
                .detail("Facebook has asked for a pause of the Page, or the Page does not answer.")
                .retry_after(wait.num_seconds().try_into().unwrap_or(0)),
            ReactError::Away => Problem::of(problem::GRAPH_AWAY).retry_after(5),
            ReactError::Seal(source) => Problem::internal(source),
            ReactError::Db(source) => source.into(),
        }
    }
}

/// A reaction.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reaction {
    /// One emoji.
    #[schema(example = "👍")]
    emoji: String,
}

/// Shows the Page's reaction to a message; replaces the one before. It is in the message's `reactions` as `by: "page"`.
#[utoipa::path(put, path = "/api/v1/messages/{id}/reaction", tag = "rooms", params(("id" = MessageId, Path)), request_body = Reaction, responses((status = 200, body = MessageView), (status = 403), (status = 404), (status = 409, description = "closed room, closed window, a message that Messenger does not know, or Facebook refuses"), (status = 422)))]
pub async fn set(
    State(app): State<App>,
    staff: Staff,
    Path(message): Path<MessageId>,
    Body(reaction): Body<Reaction>,
) -> Result<Shown, Problem> {
    react(&app, &staff, message, Some(&reaction.emoji)).await
}

/// Takes the Page's reaction back.
#[utoipa::path(delete, path = "/api/v1/messages/{id}/reaction", tag = "rooms", params(("id" = MessageId, Path)), responses((status = 200, body = MessageView), (status = 403), (status = 404), (status = 409)))]
pub async fn remove(State(app): State<App>, staff: Staff, Path(message): Path<MessageId>) -> Result<Shown, Problem> {
    react(&app, &staff, message, None).await
}

async fn react(app: &App, staff: &Staff, message: MessageId, emoji: Option<&str>) -> Result<Shown, Problem> {
    let mut tx = crate::db::begin(&app.db).await?;
    let found = store::find_message(&mut tx, staff.tenant, message).await?;
    let found = found.ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    let room = lock_answered(&mut tx, staff, found.room_id).await?;
    drop(tx);
    let shown = react::react(&app.outgoing, staff.tenant, &room, &found, emoji).await?;
    Ok(app.show(staff.tenant, &shown))
}
