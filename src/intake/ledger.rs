//! The ledger, read: where an item is on its way, having it applied again, and the proof that the sums agree.

use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    OTHER_OBJECT,
    store::{ledger as store, ledger::ReplayFilter},
};
use crate::{
    audit::{self, Actor},
    clock::{Moment, millis, millis_opt},
    ids::{ItemId, MessageId, RoomId, TenantId, WidgetId},
    words,
};

words! {
    /// What has become of an item.
    pub enum ItemState {
        /// Durable, not applied yet.
        Pending = "pending",
        /// It did what it says.
        Applied = "applied",
        /// It had come before.
        Duplicate = "duplicate",
        /// It could not be read or applied; somebody should look.
        Parked = "parked",
        /// Kept, and nothing to do: an unknown Page, another app's thread, a kind without effect.
        Ignored = "ignored",
    }
}

impl ItemState {
    /// The state that a word names.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        [Self::Pending, Self::Applied, Self::Duplicate, Self::Parked, Self::Ignored]
            .into_iter()
            .find(|it| it.as_str() == word)
    }
}

/// One item of a webhook, as it stands in the ledger.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LedgerItem)]
pub struct Item {
    /// Its id.
    pub id: ItemId,
    /// The widget of its Page; null if nobody has connected it.
    pub widget_id: Option<WidgetId>,
    /// The Page's id at Meta; empty if nothing says which.
    #[schema(example = "1002003004005")]
    pub page_id: String,
    /// The contact's id on this Page; empty if it is about nobody.
    #[schema(example = "7100000000000001")]
    pub sender_id: String,
    /// Which list of the webhook it stood in: `messaging`, `standby`, `changes` or `entry`.
    #[schema(example = "messaging")]
    pub lane: String,
    /// What it is.
    #[schema(example = "message")]
    pub kind: String,
    /// What has become of it.
    #[schema(inline)]
    pub state: ItemState,
    /// Why it is parked or ignored, or what it did.
    pub outcome: Option<String>,
    /// How often it came, second deliveries included.
    pub deliveries: i32,
    /// How often applying it was tried.
    pub attempts: i32,
    /// The room it went to.
    pub room_id: Option<RoomId>,
    /// The message it became or was about.
    pub message_id: Option<MessageId>,
    /// When it came.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub received_at: Moment,
    /// When it was applied, or found to be nothing to apply.
    #[serde(serialize_with = "millis_opt")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub applied_at: Option<Moment>,
}

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// Where a message is: when it reached each step; null while it has not.
        #[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
        #[schema(as = LedgerSteps)]
        pub struct Steps {
            $($(#[$doc])* #[serde(serialize_with = "millis_opt")] #[schema(value_type = Option<DateTime<Utc>>)] pub $name: Option<Moment>,)*
        }
    };
}

steps! {
    /// The webhook came.
    received_at
    /// It was written down; Facebook was answered after that.
    durable_at
    /// It was put into its room.
    applied_at
    /// Its room was last offered to an agent.
    offered_at
    /// An agent took its room.
    accepted_at
    /// Somebody answered: the first reply behind it was sent (or it is itself a reply that was sent).
    replied_at
    /// That reply arrived.
    delivered_at
    /// That reply was read.
    read_at
}

/// One item with its way.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LedgerItemWithSteps)]
pub struct Whereabouts {
    /// The item.
    #[serde(flatten)]
    pub item: Item,
    /// Its way so far.
    pub steps: Steps,
    /// The item as it came. Shown to admins; null to others.
    pub raw: Option<String>,
}

/// Why an item cannot be applied again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is none.
    #[error("no such item")]
    NoSuchItem,
    /// Nobody has connected its Page.
    #[error("no widget is connected to the item's Page")]
    NoWidget,
    /// It is not for us: another object than a Page.
    #[error("the item is about another kind of thing than a Page")]
    NotOurs,
    /// The database did not answer.
    #[error("the database did not answer")]
    Db(#[from] sqlx::Error),
}

/// One item and its way.
///
/// # Errors
/// The database's.
pub async fn find(db: &PgPool, tenant: TenantId, id: ItemId, with_raw: bool) -> sqlx::Result<Option<Whereabouts>> {
    let Some(item) = store::find(db, tenant, id).await? else { return Ok(None) };
    let steps = store::load_steps(db, tenant, id).await?;
    let raw = if with_raw { Some(store::load_raw(db, tenant, id).await?) } else { None };
    Ok(Some(Whereabouts { item, steps, raw: raw.map(|it| String::from_utf8_lossy(&it).into_owned()) }))
}

/// Lets a parked or ignored item be applied again; true if it will be. An item that is applied or waits stays as it is, so repeating
/// this is safe; and applying finds what is there already by its id, as at a second delivery.
///
/// # Errors
/// See [`ReplayError`].
pub async fn replay(
    db: &PgPool,
    tenant: TenantId,
    actor: &Actor,
    id: ItemId,
    now: Moment,
) -> Result<bool, ReplayError> {
    let mut tx = crate::db::begin(db).await?;
    let filter = ReplayFilter { tenant: Some(tenant), ids: Some(vec![id.0]), ..ReplayFilter::default() };
    if store::mark_pending(&mut tx, &filter).await? == 1 {
        audit::note(&mut tx, tenant, actor, "ledger_item.replayed", id, now).await?;
        tx.commit().await?;
        return Ok(true);
    }
    let Some(item) = store::find(db, tenant, id).await? else { return Err(ReplayError::NoSuchItem) };
    match (item.state, item.outcome.as_deref()) {
        (ItemState::Parked | ItemState::Ignored, Some(OTHER_OBJECT)) => Err(ReplayError::NotOurs),
        (ItemState::Parked | ItemState::Ignored, _) => Err(ReplayError::NoWidget),
        _ => Ok(false),
    }
}

/// What the sums say: `received` is what lies there, the others what is said to have become of it, each only where the rest of the
/// database bears it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums {
    /// All items.
    pub received: i64,
    /// Did what they say; the message they name is there.
    pub applied: i64,
    /// Had come before; the message they name is there.
    pub duplicates: i64,
    /// Could not be read or applied, and say why.
    pub parked: i64,
    /// Had nothing to do, and say why.
    pub ignored: i64,
    /// Wait, and can be applied.
    pub pending: i64,
}

impl Sums {
    /// Items that are none of these. Zero, or something is wrong.
    #[must_use]
    pub fn unexplained(&self) -> i64 {
        self.received - self.applied - self.duplicates - self.parked - self.ignored - self.pending
    }
}

/// Which part of the ledger a command is about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Part {
    /// One tenant's; else everybody's.
    pub tenant: Option<TenantId>,
    /// Received at or after.
    pub since: Option<Moment>,
    /// Received before.
    pub until: Option<Moment>,
}

/// Adds the ledger up, in one statement and so at one moment.
///
/// # Errors
/// The database's; it reads every item, so give it time.
pub async fn verify(db: &PgPool, part: Part) -> sqlx::Result<Sums> {
    store::load_sums(db, part).await
}

/// A few of the items that [`verify`] cannot explain.
///
/// # Errors
/// The database's.
pub async fn list_unexplained(db: &PgPool, part: Part, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    store::list_unexplained(db, part, limit).await
}
