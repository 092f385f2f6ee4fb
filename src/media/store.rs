//! SQL of files.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{NewFile, Owner};
use crate::{
    channels::{AttachmentKind, FileReason},
    clock::Moment,
    ids::{ContactId, FileId, MessageId, RoomId, TenantId, UserId, WidgetId},
};

/// Queues files to be fetched, one statement for all of them.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn insert_files(tx: &mut PgConnection, files: &[NewFile], now: Moment) -> sqlx::Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        (|$it:ident| $value:expr) => {
            &files.iter().map(|$it| $value).collect::<Vec<_>>()
        };
    }
    let message = |it: &NewFile| match it.owner {
        Owner::Message(message, position) => (Some(message.0), Some(position), None),
        Owner::Contact(contact) => (None, None, Some(contact.0)),
    };
    sqlx::query!(
        "insert into media (tenant_id, id, message_id, position, contact_id, kind, source_url, name, state, due_at, created_at)
        select new.*, 'due', $9, $9
        from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::integer[], $5::uuid[], $6::text[], $7::text[], $8::text[]) as new",
        column!(|it| it.tenant.0),
        column!(|it| it.id.0),
        column!(|it| message(it).0) as &[Option<Uuid>],
        column!(|it| message(it).1) as &[Option<i32>],
        column!(|it| message(it).2) as &[Option<Uuid>],
        column!(|it| it.kind.as_str().to_owned()),
        column!(|it| it.source_url.clone()),
        column!(|it| it.name.clone()) as &[Option<String>],
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A file claimed for fetching. `attempts` names the claim: whoever lost it finds another number.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Claimed {
    pub tenant: TenantId,
    pub id: FileId,
    pub owner: Owner,
    pub kind: AttachmentKind,
    pub source_url: String,
    pub name: Option<String>,
    pub attempts: i32,
}

/// Claims files that are due, a few of each tenant, however many one of them has; first those whose fetcher died.
pub async fn claim_due(
    db: &PgPool,
    now: Moment,
    claimed_until: Moment,
    limit: i64,
    most_per_tenant: i64,
) -> sqlx::Result<Vec<Claimed>> {
    sqlx::query!(
        "update media
        set state = 'due', due_at = $1, claimed_until = null
        where state = 'fetching' and claimed_until < $1",
        now,
    )
    .execute(db)
    .await?;
    let rows = sqlx::query!(
        r#"with recursive waiting as (
            (select tenant_id
             from media
             where state = 'due'
             order by tenant_id
             limit 1)
            union all
            select (select m.tenant_id
                    from media m
                    where m.state = 'due' and m.tenant_id > w.tenant_id
                    order by m.tenant_id
                    limit 1)
            from waiting w
            where w.tenant_id is not null
        ), line as (
            select d.tenant_id, d.id, d.due_at, row_number() over (partition by d.tenant_id order by d.due_at)
                + (select count(*) from media f where f.state = 'fetching' and f.tenant_id = d.tenant_id) as place
            from waiting w
            cross join lateral (
                select m.tenant_id, m.id, m.due_at
                from media m
                where m.tenant_id = w.tenant_id and m.state = 'due' and m.due_at <= $1
                order by m.due_at
                limit $4) as d
        ), next as (
            select m.tenant_id, m.id
            from media m
            join line l on l.tenant_id = m.tenant_id and l.id = m.id
            where m.state = 'due' and l.place <= $4
            order by l.place, l.due_at
            limit $3
            for update of m skip locked
        )
        update media m
        set state = 'fetching', claimed_until = $2, due_at = null, attempts = m.attempts + 1
        from next n
        where m.tenant_id = n.tenant_id and m.id = n.id
        returning m.tenant_id, m.id, m.message_id, m.position, m.contact_id, m.kind as "kind: AttachmentKind",
            m.source_url as "source_url!", m.name, m.attempts"#,
        now,
        claimed_until,
        limit,
        most_per_tenant,
    )
    .fetch_all(db)
    .await?;
    let claimed = rows.into_iter().filter_map(|it| {
        let owner = match (it.message_id, it.position, it.contact_id) {
            (Some(message), Some(position), None) => Owner::Message(MessageId(message), position),
            (None, _, Some(contact)) => Owner::Contact(ContactId(contact)),
            _ => return None,
        };
        Some(Claimed {
            tenant: TenantId(it.tenant_id),
            id: FileId(it.id),
            owner,
            kind: it.kind,
            source_url: it.source_url,
            name: it.name,
            attempts: it.attempts,
        })
    });
    Ok(claimed.collect())
}

/// The file is tried again later.
pub async fn mark_due(db: &PgPool, it: &Claimed, due_at: Moment) -> sqlx::Result<()> {
    sqlx::query!(
        "update media
        set state = 'due', due_at = $4, claimed_until = null
        where tenant_id = $1 and id = $2 and state = 'fetching' and attempts = $3",
        it.tenant.0,
        it.id.0,
        it.attempts,
        due_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What is known of a file's bytes.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Media type, as found in the bytes.
    pub mime: &'static str,
    /// Bytes.
    pub size: i64,
    /// See [`super::digest`].
    pub digest: [u8; 32],
}

/// The file is ours. False if somebody else has the claim now, or nobody needs it any more.
pub async fn mark_stored(tx: &mut PgConnection, it: &Claimed, facts: &Facts, now: Moment) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "update media
        set state = 'stored', source_url = null, claimed_until = null, mime = $4, size = $5, digest = $6, stored_at = $7
        where tenant_id = $1 and id = $2 and state = 'fetching' and attempts = $3",
        it.tenant.0,
        it.id.0,
        it.attempts,
        facts.mime,
        facts.size,
        &facts.digest,
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The file will not be ours. False as in [`mark_stored`].
pub async fn mark_failed(tx: &mut PgConnection, it: &Claimed, reason: FileReason) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "update media
        set state = 'failed', source_url = null, claimed_until = null, reason = $4
        where tenant_id = $1 and id = $2 and state = 'fetching' and attempts = $3",
        it.tenant.0,
        it.id.0,
        it.attempts,
        reason.as_str(),
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A file we keep.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Stored {
    pub id: FileId,
    pub kind: AttachmentKind,
    pub name: Option<String>,
    pub mime: String,
    pub size: i64,
    pub digest: Vec<u8>,
}

/// A file we keep, by id.
pub async fn find_stored(db: &PgPool, tenant: TenantId, file: FileId) -> sqlx::Result<Option<Stored>> {
    sqlx::query_as!(
        Stored,
        r#"select id as "id: FileId", kind as "kind: AttachmentKind", name, mime as "mime!", size as "size!", digest as "digest!"
        from media
        where tenant_id = $1 and id = $2 and state = 'stored'"#,
        tenant.0,
        file.0,
    )
    .fetch_optional(db)
    .await
}

/// Removes a contact's pictures but the newest.
pub async fn delete_older_pictures(
    tx: &mut PgConnection,
    tenant: TenantId,
    contact: ContactId,
    newest: FileId,
) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from media
        where tenant_id = $1 and contact_id = $2 and id < $3",
        tenant.0,
        contact.0,
        newest.0,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// An upload begins: its row is there before its bytes.
pub async fn insert_upload(
    db: &PgPool,
    tenant: TenantId,
    room: RoomId,
    kind: AttachmentKind,
    name: Option<&str>,
    now: Moment,
) -> sqlx::Result<FileId> {
    let id = FileId::fresh(now);
    sqlx::query!(
        "insert into media (tenant_id, id, room_id, kind, name, state, created_at)
        values ($1, $2, $3, $4, $5, 'writing', $6)",
        tenant.0,
        id.0,
        room.0,
        kind.as_str(),
        name,
        now,
    )
    .execute(db)
    .await?;
    Ok(id)
}

/// An upload's bytes are there. None if the room went meanwhile.
pub async fn mark_uploaded(
    db: &PgPool,
    tenant: TenantId,
    file: FileId,
    facts: &Facts,
    now: Moment,
) -> sqlx::Result<Option<Stored>> {
    sqlx::query_as!(
        Stored,
        r#"update media
        set state = 'stored', mime = $3, size = $4, digest = $5, stored_at = $6
        where tenant_id = $1 and id = $2 and state = 'writing'
        returning id as "id: FileId", kind as "kind: AttachmentKind", name, mime as "mime!", size as "size!", digest as "digest!""#,
        tenant.0,
        file.0,
        facts.mime,
        facts.size,
        &facts.digest,
        now,
    )
    .fetch_optional(db)
    .await
}

/// Removes an upload that came to nothing.
pub async fn delete_upload(db: &PgPool, tenant: TenantId, file: FileId) -> sqlx::Result<()> {
    sqlx::query!("delete from media where tenant_id = $1 and id = $2 and room_id is not null", tenant.0, file.0)
        .execute(db)
        .await?;
    Ok(())
}

/// A file that may be sent to this room, locked: an upload for it that has not been sent, or what a contact sent in a room of this agent
/// (of anybody, if none is named).
pub async fn lock_sendable(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: RoomId,
    agent: Option<UserId>,
    file: FileId,
) -> sqlx::Result<Option<Stored>> {
    sqlx::query_as!(
        Stored,
        r#"select f.id as "id: FileId", f.kind as "kind: AttachmentKind", f.name, f.mime as "mime!", f.size as "size!", f.digest as "digest!"
        from media f
        where f.tenant_id = $1
          and f.id = $2
          and f.state = 'stored'
          and (f.room_id = $3 or exists (
            select
            from messages m
            join rooms r on r.tenant_id = m.tenant_id and r.id = m.room_id
            where m.tenant_id = f.tenant_id
              and m.id = f.message_id
              and m.direction = 'inbound'
              and ($4::uuid is null or r.agent_id = $4)))
        for update of f"#,
        tenant.0,
        file.0,
        room.0,
        agent.map(|it| it.0),
    )
    .fetch_optional(tx)
    .await
}

/// An upload, or what the message `from` had, belongs to the message that sends it from now on. What a contact sent stays theirs: if they
/// take it back, it is gone everywhere.
pub async fn mark_sent(
    tx: &mut PgConnection,
    tenant: TenantId,
    file: FileId,
    from: Option<MessageId>,
    message: MessageId,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update media
        set room_id = null, message_id = $4, position = 0
        where tenant_id = $1 and id = $2 and (room_id is not null or message_id = $3)",
        tenant.0,
        file.0,
        from.map(|it| it.0),
        message.0,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Removes the files of a message; their bytes follow.
pub async fn delete_of_message(tx: &mut PgConnection, tenant: TenantId, message: MessageId) -> sqlx::Result<()> {
    sqlx::query!("delete from media where tenant_id = $1 and message_id = $2", tenant.0, message.0).execute(tx).await?;
    Ok(())
}

/// What the channel called such a file when this widget gave it one, if that was after `since`.
pub async fn find_handle(
    db: &PgPool,
    tenant: TenantId,
    widget: WidgetId,
    digest: &[u8],
    since: Moment,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        "select handle
        from media_handles
        where tenant_id = $1 and widget_id = $2 and digest = $3 and uploaded_at > $4",
        tenant.0,
        widget.0,
        digest,
        since,
    )
    .fetch_optional(db)
    .await
}

/// The channel keeps such a file under this name now.
pub async fn upsert_handle(
    db: &PgPool,
    tenant: TenantId,
    widget: WidgetId,
    digest: &[u8],
    handle: &str,
    now: Moment,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into media_handles (tenant_id, widget_id, digest, handle, uploaded_at)
        values ($1, $2, $3, $4, $5)
        on conflict on constraint media_handles_pk
        do update set handle = excluded.handle, uploaded_at = excluded.uploaded_at",
        tenant.0,
        widget.0,
        digest,
        handle,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The channel does not know a name any more.
pub async fn delete_handle(db: &PgPool, tenant: TenantId, widget: WidgetId, handle: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from media_handles where tenant_id = $1 and widget_id = $2 and handle = $3",
        tenant.0,
        widget.0,
        handle,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Removes uploads that began before then and were never sent, and names that the channel has forgotten.
pub async fn delete_stale(db: &PgPool, unsent_before: Moment, handles_before: Moment) -> sqlx::Result<()> {
    sqlx::query!("delete from media where room_id is not null and created_at < $1", unsent_before).execute(db).await?;
    sqlx::query!("delete from media_handles where uploaded_at < $1", handles_before).execute(db).await?;
    Ok(())
}

/// Files whose rows are gone and whose bytes nobody can be writing any more. What is new among them waits until `due_at`.
pub async fn list_leftovers(
    db: &PgPool,
    now: Moment,
    due_at: Moment,
    limit: i64,
) -> sqlx::Result<Vec<(TenantId, FileId)>> {
    sqlx::query!("update media_leftovers set due_at = $1 where due_at is null", due_at).execute(db).await?;
    let rows = sqlx::query!(
        "select tenant_id, id
        from media_leftovers
        where due_at <= $1
        limit $2",
        now,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|it| (TenantId(it.tenant_id), FileId(it.id))).collect())
}

/// A leftover's bytes are gone.
pub async fn delete_leftover(db: &PgPool, tenant: TenantId, file: FileId) -> sqlx::Result<()> {
    sqlx::query!("delete from media_leftovers where tenant_id = $1 and id = $2", tenant.0, file.0).execute(db).await?;
    Ok(())
}
