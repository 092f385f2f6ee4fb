//! Lists: `?limit=` and `?after=` in, `{"items":[…],"next":…}` out.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::problem::Problem;

/// Items of a list without `?limit=`.
pub const DEFAULT_LIMIT: i64 = 50;
/// Most items of a list.
pub const MAX_LIMIT: i64 = 200;

/// The query of a list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// How many items at most, 1–200; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
    /// The `next` of the list before; opaque.
    pub after: Option<String>,
}

impl Page {
    /// The limit, checked.
    ///
    /// # Errors
    /// 422 outside 1–200.
    pub fn limit(&self) -> Result<i64, Problem> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if (1..=MAX_LIMIT).contains(&limit) { Ok(limit) } else { Err(Problem::field("limit", "must be 1–200")) }
    }

    /// The id after which the list goes on; the nil id for its beginning.
    ///
    /// # Errors
    /// 422 if `after` is not one of our cursors.
    pub fn after(&self) -> Result<Uuid, Problem> {
        let Some(after) = &self.after else { return Ok(Uuid::nil()) };
        let bytes = URL_SAFE_NO_PAD.decode(after).ok().and_then(|it| Uuid::from_slice(&it).ok());
        bytes.ok_or_else(|| Problem::field("after", "is not a cursor of this list"))
    }
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    /// The items, oldest first unless the door says otherwise.
    pub items: Vec<T>,
    /// Give it as `after` to go on; null at the end.
    pub next: Option<String>,
}

impl<T> List<T> {
    /// A page from up to `limit + 1` items (the one too many only says that there are more); `id` names the cursor of an item.
    pub fn of(mut items: Vec<T>, limit: i64, id: impl Fn(&T) -> Uuid) -> Self {
        let limit = usize::try_from(limit).unwrap_or(0);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(id);
        Self::up_to(items, next)
    }

    /// A page behind which the list goes on after `next`.
    pub fn up_to(items: Vec<T>, next: Option<Uuid>) -> Self {
        Self { items, next: next.map(|it| URL_SAFE_NO_PAD.encode(it.as_bytes())) }
    }
}
