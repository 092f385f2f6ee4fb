//! SQL of reading the ledger, and of having items applied again.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    clock::Moment,
    ids::{self, ItemId, TenantId},
    intake::{
        OTHER_OBJECT,
        ledger::{Item, ItemState, Part, Steps, Sums},
    },
};

/// What narrows a list of items.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "named like the fields they narrow")]
pub struct Filter {
    pub widget: Option<Uuid>,
    pub states: Option<Vec<String>>,
    pub kind: Option<String>,
    pub sender: Option<String>,
    /// Received at or after.
    pub since: Option<Moment>,
    /// Received before.
    pub until: Option<Moment>,
}

impl Filter {
    /// Whether items must be looked at one by one: only their time is in the key.
    fn picks(&self) -> bool {
        self.widget.is_some() || self.states.is_some() || self.kind.is_some() || self.sender.is_some()
    }
}

/// Items that one request looks through for those that fit. No index knows them all: each would cost every message its time.
const LOOKED_THROUGH: i64 = 50_000;

/// Up to `limit` items before the one called `before`, newest first, and where to go on if there may be more.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn list(
    db: &PgPool,
    tenant: TenantId,
    filter: &Filter,
    before: Uuid,
    limit: i64,
) -> sqlx::Result<(Vec<Item>, Option<Uuid>)> {
    let below = filter.until.map_or(before, |at| before.min(ids::first(at)));
    let above = filter.since.map_or(Uuid::nil(), ids::first);
    // Where this request stops looking; parked items have an index of their own.
    let is_parked = filter.states.as_ref().is_some_and(|it| it.as_slice() == [ItemState::Parked.as_str()]);
    let stop = if filter.picks() && !is_parked {
        sqlx::query_scalar!(
            "select id
            from ledger
            where tenant_id = $1 and id < $2 and id >= $3
            order by id desc
            offset $4
            limit 1",
            tenant.0,
            below,
            above,
            LOOKED_THROUGH - 1,
        )
        .fetch_optional(db)
        .await?
    } else {
        None
    };
    let mut items = sqlx::query_as!(
        Item,
        r#"select id as "id!: _", widget_id as "widget_id: _", page_id as "page_id!", sender_id as "sender_id!", lane as "lane!", kind as "kind!",
            state as "state!: _", outcome, deliveries as "deliveries!", attempts as "attempts!", room_id as "room_id: _",
            message_id as "message_id: _", received_at as "received_at!", applied_at
        from ledger_items
        where tenant_id = $1
          and id < $2
          and id >= $3
          and ($4::uuid is null or widget_id = $4)
          and ($5::text[] is null or state = any($5))
          and ($5::text[] is null or settled = any($5) or settled is null and $5 && '{pending,applied}')
          and ($6::text is null or kind = $6)
          and ($7::text is null or sender_id = $7)
          and (not $8 or settled = 'parked')
        order by id desc
        limit $9"#,
        tenant.0,
        below,
        stop.unwrap_or(above),
        filter.widget,
        filter.states.as_deref(),
        filter.kind,
        filter.sender,
        is_parked,
        limit + 1,
    )
    .fetch_all(db)
    .await?;
    let limit = usize::try_from(limit).unwrap_or(0);
    let next = if items.len() > limit {
        items.truncate(limit);
        items.last().map(|it| it.id.0)
    } else {
        stop
    };
    Ok((items, next))
}

/// One item.
pub async fn find(db: &PgPool, tenant: TenantId, id: ItemId) -> sqlx::Result<Option<Item>> {
    sqlx::query_as!(
        Item,
        r#"select id as "id!: _", widget_id as "widget_id: _", page_id as "page_id!", sender_id as "sender_id!", lane as "lane!", kind as "kind!",
            state as "state!: _", outcome, deliveries as "deliveries!", attempts as "attempts!", room_id as "room_id: _",
            message_id as "message_id: _", received_at as "received_at!", applied_at
        from ledger_items
        where tenant_id = $1 and id = $2"#,
        tenant.0,
        id.0,
    )
    .fetch_optional(db)
    .await
}

/// The way of an item that is there: through its room, and the first reply behind its message.
pub async fn load_steps(db: &PgPool, tenant: TenantId, id: ItemId) -> sqlx::Result<Steps> {
    sqlx::query_as!(
        Steps,
        r#"select l.received_at as "received_at?", l.written_at as durable_at, l.applied_at, r.offered_at as "offered_at?",
            r.accepted_at as "accepted_at?", a.sent_at as "replied_at?", a.delivered_at as "delivered_at?", a.read_at as "read_at?"
        from ledger_items l
        left join messages m on m.tenant_id = l.tenant_id and m.id = l.stored_message_id
        left join rooms r on r.tenant_id = l.tenant_id and r.id = l.room_id
        left join lateral (
            select sent_at, delivered_at, read_at
            from messages
            where tenant_id = m.tenant_id
              and room_id = m.room_id
              and direction = 'outbound'
              and (id = m.id or m.direction = 'inbound' and seq > m.seq and author_kind in ('agent', 'page', 'bot'))
            order by seq
            limit 1) as a on true
        where l.tenant_id = $1 and l.id = $2"#,
        tenant.0,
        id.0,
    )
    .fetch_one(db)
    .await
}

/// The bytes of an item that is there.
pub async fn load_raw(db: &PgPool, tenant: TenantId, id: ItemId) -> sqlx::Result<Vec<u8>> {
    sqlx::query_scalar!("select raw from ledger where tenant_id = $1 and id = $2", tenant.0, id.0).fetch_one(db).await
}

/// Which items are to be applied again.
#[derive(Clone, Debug, Default)]
pub struct ReplayFilter {
    /// One tenant's; else everybody's, and those of an operator's app whose Page had nobody.
    pub tenant: Option<TenantId>,
    /// These.
    pub ids: Option<Vec<Uuid>>,
    /// Of this state: `parked` or `ignored`.
    pub state: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Received at or after.
    pub since: Option<Moment>,
    /// Received before.
    pub until: Option<Moment>,
}

/// Lets parked and ignored items wait again, if their Page has a widget now; how many. An operator's app files items of an unknown
/// Page under nobody: they move to the tenant who has connected it.
pub async fn mark_pending(tx: &mut PgConnection, filter: &ReplayFilter) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "with again as (
            update ledger l
            set state = null, outcome = null, applied_at = null, widget_id = w.id, tenant_id = w.tenant_id
            from widgets w
            where w.meta_app_id = l.meta_app_id
              and w.page_id = l.page_id
              and (w.tenant_id = l.tenant_id or l.tenant_id = $1)
              and l.state in ('parked', 'ignored')
              and l.outcome is distinct from $2
              and ($3::uuid is null or l.tenant_id = $3)
              and ($4::uuid[] is null or l.id = any($4))
              and ($5::text is null or l.state = $5)
              and ($6::text is null or l.kind = $6)
              and ($7::uuid is null or l.id >= $7)
              and ($8::uuid is null or l.id < $8)
            returning l.tenant_id, l.shard, l.seq, l.id, l.received_at, octet_length(l.raw))
        insert into pending (tenant_id, shard, seq, item_id, received_at, bytes)
        select *
        from again",
        TenantId::PLATFORM.0,
        OTHER_OBJECT,
        filter.tenant.map(|it| it.0),
        filter.ids.as_deref(),
        filter.state,
        filter.kind,
        filter.since.map(ids::first),
        filter.until.map(ids::first),
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// The sums of a part of the ledger.
pub async fn load_sums(db: &PgPool, part: Part) -> sqlx::Result<Sums> {
    sqlx::query_as!(
        Sums,
        r#"select count(*) as "received!",
            count(*) filter (where state = 'applied' and applied_at is not null and (message_id is null or stored_message_id is not null)) as "applied!",
            count(*) filter (where state = 'duplicate' and applied_at is not null and (message_id is null or stored_message_id is not null)) as "duplicates!",
            count(*) filter (where state = 'parked' and outcome is not null) as "parked!",
            count(*) filter (where state = 'ignored' and outcome is not null) as "ignored!",
            count(*) filter (where state = 'pending' and widget_id is not null and applied_at is null) as "pending!"
        from ledger_items l
        where ($1::uuid is null or l.tenant_id = $1)
          and ($2::uuid is null or l.id >= $2)
          and ($3::uuid is null or l.id < $3)"#,
        part.tenant.map(|it| it.0),
        part.since.map(ids::first),
        part.until.map(ids::first),
    )
    .fetch_one(db)
    .await
}

/// Up to `limit` items that the sums do not explain.
pub async fn list_unexplained(db: &PgPool, part: Part, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        r#"select id as "id!"
        from ledger_items
        where ($1::uuid is null or tenant_id = $1)
          and ($2::uuid is null or id >= $2)
          and ($3::uuid is null or id < $3)
          and not case state
              when 'pending' then widget_id is not null and applied_at is null
              when 'parked' then outcome is not null
              when 'ignored' then outcome is not null
              else applied_at is not null and (message_id is null or stored_message_id is not null)
          end
        order by id
        limit $4"#,
        part.tenant.map(|it| it.0),
        part.since.map(ids::first),
        part.until.map(ids::first),
        limit,
    )
    .fetch_all(db)
    .await
}
