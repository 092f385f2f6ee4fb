//! Files in replies: the channel gets each once, under a name that serves for 90 days, and every message that shows it names it.

use std::time::Duration;

use chrono::TimeDelta;
use tracing::{info, warn};

use super::{
    Outgoing,
    store::{
        SealedPage,
        send::{self as claims, Due},
    },
};
use crate::{
    channels::{
        AttachmentKind, Content,
        messenger::send::attachment_type,
        meta::graph::{Access, GraphError, UPLOAD_TIMEOUT, Verdict},
    },
    ids::FileId,
    media,
    rooms::files::HANDLE_DAYS,
};

/// Meta's word for an attachment id that it does not know, or not any more.
const UNKNOWN_HANDLE: i64 = 2_018_074;
/// Tries of an upload whose answer got lost: nobody sees an upload, so it may be repeated.
const MOST_UPLOADS: u32 = 4;
/// [`UPLOAD_TIMEOUT`].
const UPLOAD: TimeDelta = TimeDelta::seconds(UPLOAD_TIMEOUT.as_secs() as i64);
/// For the send that follows an upload: more than `graph.timeout_s` may be.
const AND_THE_SEND: TimeDelta = TimeDelta::seconds(130);

/// Sees to it that the channel has the files of a message. Nothing, or why it cannot be sent now.
pub(super) async fn hand_over(
    outgoing: &Outgoing,
    it: &Due,
    page: &SealedPage,
    access: Access<'_>,
    content: &mut Content,
) -> Option<Verdict> {
    let Content::Attachments { attachments, .. } = content else { return None };
    for attachment in attachments {
        let Some(id) = attachment.id else { continue };
        match handle(outgoing, it, page, access, attachment.kind, FileId(id)).await {
            Ok(handle) => attachment.handle = Some(handle),
            Err(verdict) => return Some(verdict),
        }
    }
    None
}

async fn handle(
    outgoing: &Outgoing,
    it: &Due,
    page: &SealedPage,
    access: Access<'_>,
    kind: AttachmentKind,
    id: FileId,
) -> Result<String, Verdict> {
    let (db, now) = (&outgoing.db, outgoing.clock.now());
    let file = media::store::find_stored(db, it.tenant, id).await.map_err(ours)?.ok_or_else(gone)?;
    // A day less, so that none ends between look and use.
    let since = now - TimeDelta::days(HANDLE_DAYS - 1);
    let known = media::store::find_handle(db, it.tenant, it.widget, &file.digest, since).await.map_err(ours)?;
    if let Some(known) = known {
        return Ok(known);
    }
    // A large file takes longer than a claim: nobody shall think us dead meanwhile.
    claims::extend_claim(db, it, now + UPLOAD + AND_THE_SEND).await.map_err(ours)?;
    let bytes = outgoing.media.vault.get(it.tenant, id).await.map_err(|error| match error {
        object_store::Error::NotFound { .. } => gone(),
        error => ours(error),
    })?;
    let name = file.name.as_deref().unwrap_or("file");
    let sent = outgoing.graph.upload(access, &page.page_id, attachment_type(kind), (name, &file.mime), bytes).await;
    let handle = sent.map_err(|verdict| match verdict {
        Verdict::MaybeSent { why } => Verdict::Retry { after: None, at_most: Some(MOST_UPLOADS), why },
        verdict => verdict,
    })?;
    media::store::upsert_handle(db, it.tenant, it.widget, &file.digest, &handle, now).await.map_err(ours)?;
    Ok(handle)
}

/// What a send's verdict means for its file: one that the channel has forgotten is handed over again.
pub(super) async fn reconsider(outgoing: &Outgoing, it: &Due, content: &Content, verdict: Verdict) -> Verdict {
    let Content::Attachments { attachments, .. } = content else { return verdict };
    let Some(handle) = attachments.iter().find_map(|it| it.handle.as_ref()) else { return verdict };
    match verdict {
        Verdict::Content { why } if why.subcode == Some(UNKNOWN_HANDLE) => {
            info!(message.id = %it.message, "message {}: the channel has forgotten its file", it.message);
            let forgotten = media::store::delete_handle(&outgoing.db, it.tenant, it.widget, handle).await;
            forgotten.map_or_else(ours, |()| Verdict::Retry { after: None, at_most: Some(MOST_UPLOADS), why })
        }
        verdict => verdict,
    }
}

fn gone() -> Verdict {
    let why = GraphError { message: "The file is gone.".to_owned(), ..GraphError::default() };
    Verdict::Fail { why }
}

/// Something of ours does not answer; nothing has been sent.
fn ours(error: impl std::error::Error) -> Verdict {
    warn!(error = %error, "a file could not be handed over");
    let why = GraphError { message: "The file could not be read.".to_owned(), ..GraphError::default() };
    Verdict::Retry { after: Some(Duration::from_secs(5)), at_most: None, why }
}
