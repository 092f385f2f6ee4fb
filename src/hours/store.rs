//! SQL of working hours.

use serde::Serialize;
use sqlx::{PgConnection, PgPool, types::Json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{DayInterval, Exception, Schedule};
use crate::{
    clock::{Moment, millis},
    ids::{HoursId, TenantId},
};

/// Working hours.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WorkingHours {
    /// Their id.
    pub id: HoursId,
    /// Their name.
    #[schema(example = "Office")]
    pub name: String,
    /// IANA name of the zone whose wall clock the times are read from.
    #[schema(example = "Europe/Istanbul")]
    pub time_zone: String,
    /// The ordinary week.
    pub intervals: Vec<DayInterval>,
    /// Dates on which the ordinary day does not count.
    pub exceptions: Vec<Exception>,
    /// Language in which times are told to contacts whose own is not known; null: English.
    #[schema(example = "tr-TR")]
    pub locale: Option<String>,
    /// When they were created.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub created_at: Moment,
    /// When they were last changed.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub updated_at: Moment,
}

impl WorkingHours {
    /// What is asked whether it is open.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        Schedule {
            time_zone: self.time_zone.clone(),
            intervals: self.intervals.clone(),
            exceptions: self.exceptions.clone(),
            locale: self.locale.clone(),
        }
    }
}

/// Working hours cannot be removed while incoming chats follow them.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// Incoming chats follow them.
    #[error("still in use")]
    InUse,
    /// The database did not answer.
    #[error("the database did not answer")]
    Db(#[from] sqlx::Error),
}

struct Row {
    id: HoursId,
    name: String,
    schedule: Json<Schedule>,
    created_at: Moment,
    updated_at: Moment,
}

impl From<Row> for WorkingHours {
    fn from(row: Row) -> Self {
        let Schedule { time_zone, intervals, exceptions, locale } = row.schedule.0;
        let Row { id, name, created_at, updated_at, .. } = row;
        Self { id, name, time_zone, intervals, exceptions, locale, created_at, updated_at }
    }
}

/// Working hours of the tenant, if there are any.
pub async fn find(db: &PgPool, tenant: TenantId, id: HoursId) -> sqlx::Result<Option<WorkingHours>> {
    let row = sqlx::query_as!(
        Row,
        r#"select id as "id: HoursId", name, schedule as "schedule: Json<Schedule>", created_at, updated_at
         from working_hours
         where tenant_id = $1 and id = $2"#,
        tenant.0,
        id.0,
    );
    Ok(row.fetch_optional(db).await?.map(Into::into))
}

/// Working hours, kept from other changes until the transaction ends.
pub async fn lock(db: &mut PgConnection, tenant: TenantId, id: HoursId) -> sqlx::Result<Option<WorkingHours>> {
    let row = sqlx::query_as!(
        Row,
        r#"select id as "id: HoursId", name, schedule as "schedule: Json<Schedule>", created_at, updated_at
         from working_hours
         where tenant_id = $1 and id = $2
         for no key update"#,
        tenant.0,
        id.0,
    );
    Ok(row.fetch_optional(db).await?.map(Into::into))
}

/// Up to `limit` working hours after the ones called `after`.
pub async fn list(db: &PgPool, tenant: TenantId, after: Uuid, limit: i64) -> sqlx::Result<Vec<WorkingHours>> {
    let rows = sqlx::query_as!(
        Row,
        r#"select id as "id: HoursId", name, schedule as "schedule: Json<Schedule>", created_at, updated_at
         from working_hours
         where tenant_id = $1 and id > $2
         order by id
         limit $3"#,
        tenant.0,
        after,
        limit,
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(Into::into).collect())
}

/// Adds working hours.
pub async fn insert(db: &mut PgConnection, tenant: TenantId, hours: &WorkingHours) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into working_hours (tenant_id, id, name, schedule, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6)",
        tenant.0,
        hours.id.0,
        hours.name,
        Json(hours.schedule()) as _,
        hours.created_at,
        hours.updated_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Writes what an admin may change.
pub async fn update(db: &mut PgConnection, tenant: TenantId, hours: &WorkingHours) -> sqlx::Result<()> {
    sqlx::query!(
        "update working_hours
         set name = $3, schedule = $4, updated_at = $5
         where tenant_id = $1 and id = $2",
        tenant.0,
        hours.id.0,
        hours.name,
        Json(hours.schedule()) as _,
        hours.updated_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Removes working hours. False if there were none.
///
/// # Errors
/// [`RemoveError::InUse`]
pub async fn delete(db: &mut PgConnection, tenant: TenantId, id: HoursId) -> Result<bool, RemoveError> {
    let done = sqlx::query!(
        "delete from working_hours
         where tenant_id = $1 and id = $2",
        tenant.0,
        id.0,
    )
    .execute(db)
    .await
    .map_err(|error| match error.as_database_error() {
        Some(it) if it.is_foreign_key_violation() => RemoveError::InUse,
        _ => RemoveError::Db(error),
    })?;
    Ok(done.rows_affected() > 0)
}
