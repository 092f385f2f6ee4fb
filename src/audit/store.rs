//! SQL of the audit log.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{Actor, ActorKind, Entry};
use crate::{clock::Moment, ids::TenantId};

pub(super) async fn insert(
    db: &mut PgConnection,
    tenant: TenantId,
    id: Uuid,
    actor: &Actor,
    action: &str,
    target: &str,
    now: Moment,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into audit_log (tenant_id, id, at, actor_kind, actor_id, actor_name, action, target_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        tenant.0,
        id,
        now,
        actor.kind.as_str(),
        actor.id,
        actor.name,
        action,
        target,
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn list(db: &PgPool, tenant: TenantId, before: Uuid, limit: i64) -> sqlx::Result<Vec<Entry>> {
    let rows = sqlx::query!(
        r#"select id, at, actor_kind as "actor_kind: ActorKind", actor_id, actor_name, action, target_id
         from audit_log
         where tenant_id = $1 and id < $2
         order by id desc
         limit $3"#,
        tenant.0,
        before,
        limit,
    )
    .fetch_all(db)
    .await?;
    let entry = rows.into_iter().map(|it| Entry {
        id: it.id,
        at: it.at,
        actor: Actor { kind: it.actor_kind, id: it.actor_id, name: it.actor_name },
        action: it.action,
        target_id: it.target_id,
    });
    Ok(entry.collect())
}
