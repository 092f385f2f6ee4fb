//! `/ledger`: where a message is, and having one applied again.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::{
    App,
    extract::{Path, Query},
    page::{List, Page},
    problem::{self, Problem, ProblemBody},
};
use crate::{
    db::bell::Topic,
    ids::ItemId,
    intake::{
        ledger::{self, Item, ItemState, ReplayError, Whereabouts},
        store::ledger::{Filter, list as list_items},
    },
    people::{Roles, Staff},
};

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::NoSuchItem => Problem::of(problem::NOT_FOUND),
            ReplayError::NoWidget => Problem::of(problem::CONFLICT)
                .detail("No widget of yours is connected to the item's Page, or nothing says which Page it is. Connect the Page first."),
            ReplayError::NotOurs => Problem::of(problem::CONFLICT).detail("The item is about something else than a Page."),
            ReplayError::Db(source) => source.into(),
        }
    }
}

/// What narrows the list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Narrow {
    /// How many items at most, 1–200; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// The `next` of the list before.
    after: Option<String>,
    /// Items of this widget.
    widget_id: Option<Uuid>,
    /// One state, or several with commas between them: `pending`, `applied`, `duplicate`, `parked`, `ignored`.
    state: Option<String>,
    /// Items of this kind, such as `message`, `echo` or `read`.
    kind: Option<String>,
    /// Items about the contact with this id on its Page.
    sender_id: Option<String>,
    /// Received at this time or later.
    since: Option<DateTime<Utc>>,
    /// Received before this time.
    until: Option<DateTime<Utc>>,
}

fn states(text: &str) -> Result<Vec<String>, Problem> {
    let one = |it: &str| match ItemState::of(it.trim()) {
        Some(state) => Ok(state.as_str().to_owned()),
        None => Err(Problem::field("state", "must be pending, applied, duplicate, parked or ignored")),
    };
    text.split(',').map(one).collect()
}

/// Everything that came, newest first.
///
/// With a filter, one request looks through the next 50,000 items: it may find fewer than `limit`, even none, and still have a `next`.
/// `since` and `until` make it short.
#[utoipa::path(get, path = "/api/v1/ledger", tag = "ledger", params(Narrow), responses((status = 200, body = List<Item>)))]
pub async fn list(
    State(app): State<App>,
    staff: Staff,
    Query(narrow): Query<Narrow>,
) -> Result<Json<List<Item>>, Problem> {
    let filter = Filter {
        widget: narrow.widget_id,
        states: narrow.state.as_deref().map(states).transpose()?,
        kind: narrow.kind,
        sender: narrow.sender_id,
        since: narrow.since,
        until: narrow.until,
    };
    let page = Page { limit: narrow.limit, after: narrow.after };
    let (limit, after) = (page.limit()?, page.after()?);
    let before = if after.is_nil() { Uuid::max() } else { after };
    let (items, next) = list_items(&app.db, staff.tenant, &filter, before, limit).await?;
    Ok(Json(List::up_to(items, next)))
}

/// Where one item is on its way, and the item as it came (to admins).
#[utoipa::path(
    get, path = "/api/v1/ledger/{id}", tag = "ledger", params(("id" = ItemId, Path)),
    responses((status = 200, body = Whereabouts)),
)]
pub async fn show(State(app): State<App>, staff: Staff, Path(id): Path<ItemId>) -> Result<Json<Whereabouts>, Problem> {
    find(&app, &staff, id).await
}

async fn find(app: &App, staff: &Staff, id: ItemId) -> Result<Json<Whereabouts>, Problem> {
    let found = ledger::find(&app.db, staff.tenant, id, staff.roles.meets(Roles::ADMIN)).await?;
    found.map(Json).ok_or_else(|| Problem::of(problem::NOT_FOUND))
}

/// Lets a parked or ignored item be applied again, after what stopped it is mended. Any other item stays as it is, so it may be
/// repeated; what the item had done already is not done twice.
#[utoipa::path(
    post, path = "/api/v1/ledger/{id}/replay", tag = "ledger", params(("id" = ItemId, Path)),
    responses(
        (status = 200, body = Whereabouts),
        (status = 409, description = "Nobody has connected the item's Page", body = ProblemBody),
    ),
)]
pub async fn replay(
    State(app): State<App>,
    staff: Staff,
    Path(id): Path<ItemId>,
) -> Result<Json<Whereabouts>, Problem> {
    if ledger::replay(&app.db, staff.tenant, &staff.actor(), id, app.clock.now()).await? {
        app.bell.ring(Topic::Intake);
    }
    find(&app, &staff, id).await
}
