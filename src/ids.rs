//! Typed ids: UUIDv7, so that keys of one table grow with time.

use crate::clock::Moment;
use uuid::Uuid;

/// A fresh UUIDv7 for something made at `now`; unique and, within one process, increasing.
#[must_use]
pub fn fresh(now: Moment) -> Uuid {
    use std::sync::{LazyLock, Mutex};
    // One shared counter keeps ids of the same millisecond in the order they were made.
    static ORDER: LazyLock<Mutex<uuid::ContextV7>> = LazyLock::new(|| Mutex::new(uuid::ContextV7::new()));
    let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(&*ORDER, seconds, now.timestamp_subsec_nanos()))
}

/// A UUIDv7 whose time is exactly that of `now`, for what is found and dropped by time; of one millisecond in no order.
#[must_use]
pub fn at(now: Moment) -> Uuid {
    let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, now.timestamp_subsec_nanos()))
}

/// The smallest UUIDv7 of this moment's millisecond: what is older has a smaller id.
#[must_use]
pub fn first(at: Moment) -> Uuid {
    // The first 48 bits are the milliseconds since 1970.
    let ms = u64::try_from(at.timestamp_millis()).unwrap_or(0).min((1 << 48) - 1);
    Uuid::from_u128(u128::from(ms) << 80)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize, sqlx::Type, utoipa::ToSchema)]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A fresh id for something made at `now`.
            #[must_use]
            pub fn fresh(now: Moment) -> Self {
                Self(fresh(now))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

ids! {
    /// A company whose data is its own.
    TenantId
    /// A person who works for a tenant: agent, supervisor or admin.
    UserId
    /// An API key.
    KeyId
    /// A Meta app: one callback, one secret, many Pages.
    MetaAppId
    /// One Page, or one web-chat site.
    WidgetId
    /// A set of working hours.
    HoursId
    /// A queue.
    QueueId
    /// An incoming chat: which queue a widget's rooms join, and when.
    IncomingChatId
    /// A text that agents have at hand.
    CannedAnswerId
    /// A customer on one widget.
    ContactId
    /// A room: one contact's talk from opening to closing.
    RoomId
    /// A message.
    MessageId
    /// A file: an attachment, an upload or a picture.
    FileId
    /// A row of the ledger: one item of a webhook.
    ItemId
}

impl TenantId {
    /// Stands where the platform itself, not a tenant, owns something (an operator's Meta app).
    pub const PLATFORM: Self = Self(Uuid::nil());
}
