//! An agent's file: looked at, kept, and then waiting in its room to be sent.

use bytes::Bytes;
use sqlx::PgPool;

use super::{
    Media, digest, sniff,
    store::{self, Facts, Stored},
};
use crate::{
    channels::{AttachmentKind, FileReason},
    clock::Moment,
    ids::{RoomId, TenantId},
};

/// Why an upload is not taken.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// Its bytes are not what the channel or we can take.
    #[error("the file is refused: {}", .0.as_str())]
    Refused(FileReason),
    /// The media store does not answer.
    #[error("the media store does not answer")]
    Vault(#[from] object_store::Error),
    /// The room went meanwhile.
    #[error("no such room")]
    NoSuchRoom,
    /// The database did not answer.
    #[error("the database did not answer")]
    Db(#[from] sqlx::Error),
}

/// Keeps a file for a room.
///
/// # Errors
/// [`UploadError`]; nothing is kept then.
pub async fn upload(
    db: &PgPool,
    media: &Media,
    (tenant, room): (TenantId, RoomId),
    kind: AttachmentKind,
    name: Option<&str>,
    bytes: Bytes,
    now: Moment,
) -> Result<Stored, UploadError> {
    let mime = sniff::judge(kind, &bytes).map_err(UploadError::Refused)?;
    let facts =
        Facts { mime, size: i64::try_from(bytes.len()).unwrap_or(i64::MAX), digest: digest(kind, name, &bytes) };
    let file = store::insert_upload(db, tenant, room, kind, name, now).await?;
    if let Err(error) = media.vault.put(tenant, file, bytes).await {
        store::delete_upload(db, tenant, file).await?;
        return Err(error.into());
    }
    store::mark_uploaded(db, tenant, file, &facts, now).await?.ok_or(UploadError::NoSuchRoom)
}
