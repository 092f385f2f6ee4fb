//! SQL of the watch on messaging windows.

use sqlx::PgConnection;

use crate::{
    channels::messenger::window::Opened,
    clock::Moment,
    ids::{RoomId, TenantId},
};

/// An open room whose window is to be looked at, locked.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct WindowLook {
    pub tenant: TenantId,
    pub room: RoomId,
    pub opened: Opened,
    pub human_agent: bool,
}

/// Locks open rooms whose windows are to be looked at now; those of channels without a window have none.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn lock_window_looks(tx: &mut PgConnection, now: Moment, limit: i64) -> sqlx::Result<Vec<WindowLook>> {
    let rows = sqlx::query!(
        "select r.tenant_id, r.id, w.channel, w.human_agent, greatest(c.last_inbound_at, r.wrote_at) as last_inbound_at, c.ad_message_at
        from rooms r
        join widgets w on w.tenant_id = r.tenant_id and w.id = r.widget_id
        join contacts c on c.tenant_id = r.tenant_id and c.id = r.contact_id
        where r.status <> 'closed' and coalesce(r.window_look_at, '-infinity'::timestamptz) <= $1
        order by coalesce(r.window_look_at, '-infinity'::timestamptz)
        limit $2
        for update of r skip locked",
        now,
        limit,
    )
    .fetch_all(tx)
    .await?;
    let looks = rows.into_iter().map(|it| {
        let opened = Opened { last_inbound_at: it.last_inbound_at, ad_message_at: it.ad_message_at };
        WindowLook {
            tenant: TenantId(it.tenant_id),
            room: RoomId(it.id),
            opened: if it.channel == "messenger" { opened } else { Opened::default() },
            human_agent: it.human_agent,
        }
    });
    Ok(looks.collect())
}

/// When each of these rooms is to be looked at again.
pub async fn mark_window_looked(tx: &mut PgConnection, rooms: &[WindowLook], at: &[Moment]) -> sqlx::Result<()> {
    sqlx::query!(
        "update rooms r
        set window_look_at = v.at
        from unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) as v (tenant_id, id, at)
        where r.tenant_id = v.tenant_id and r.id = v.id",
        &rooms.iter().map(|it| it.tenant.0).collect::<Vec<_>>(),
        &rooms.iter().map(|it| it.room.0).collect::<Vec<_>>(),
        at,
    )
    .execute(tx)
    .await?;
    Ok(())
}
