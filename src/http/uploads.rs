//! `/rooms/{id}/attachments`: files on their way into replies.

use axum::{
    extract::{FromRequest, Multipart, Request, State, multipart::Field},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use tracing::error;
use utoipa::ToSchema;

use super::{
    App,
    extract::Path,
    problem::{self, Problem},
    rooms::lock_answered,
};
use crate::{
    channels::{Attachment, AttachmentKind, FileReason, messenger::limits},
    ids::RoomId,
    media::{
        self,
        upload::{UploadError, upload},
    },
    people::Staff,
    rooms::events::shown,
};

/// Longest file name, in characters.
const MAX_NAME: usize = 255;

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Refused(FileReason::Empty) => Problem::field("/file", "is empty"),
            UploadError::Refused(_) => {
                Problem::field("/file", "is not what it is to be sent as, or a program that would run when opened")
            }
            UploadError::Vault(source) => {
                error!(error = %source, "the media store does not take a file");
                Problem::of(problem::UNAVAILABLE).detail("the media store does not answer").retry_after(5)
            }
            UploadError::NoSuchRoom => Problem::of(problem::NOT_FOUND),
            UploadError::Db(source) => source.into(),
        }
    }
}

/// A file to send.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form; the door reads it field by field")]
pub struct Upload {
    /// The file; its name is shown to the contact.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// What it is sent as: `image`, `video`, `audio` or `file`; by default what its bytes are.
    #[schema(value_type = Option<String>)]
    r#type: Option<AttachmentKind>,
}

/// Uploads a file for a reply in my room: name it by its `id` in `content.attachments`. It is removed if it is not sent within 24 hours.
#[utoipa::path(
    post, path = "/api/v1/rooms/{id}/attachments", tag = "rooms", params(("id" = RoomId, Path)),
    request_body(content = Upload, content_type = "multipart/form-data"),
    responses((status = 201, body = Attachment), (status = 403), (status = 404), (status = 409, description = "closed room"), (status = 413, description = "more than `media.max_mib`"), (status = 422)),
)]
pub async fn create(
    State(app): State<App>,
    staff: Staff,
    Path(room): Path<RoomId>,
    request: Request,
) -> Result<Response, Problem> {
    let mut tx = crate::db::begin(&app.db).await?;
    lock_answered(&mut tx, &staff, room).await?;
    drop(tx);
    let busy = || Problem::of(problem::UNAVAILABLE).detail("too many uploads at the moment").retry_after(1);
    let mut hand = app.media.hands.portion(staff.tenant);
    if !hand.grow_to(1) {
        return Err(busy());
    }
    let form = Multipart::from_request(request, &app).await;
    let form =
        form.map_err(|_| Problem::of(problem::MEDIA_TYPE).detail("Send multipart/form-data with a field `file`."))?;
    let (kind, name, bytes) = read(form, app.media.fetch.most_bytes()).await?;
    let kind = kind.unwrap_or_else(|| media::sniff::kind_of(&bytes));
    let most_bytes = limits::most_bytes(kind);
    if bytes.len() > most_bytes {
        let (kind, mib) = (kind.as_str(), most_bytes >> 20);
        return Err(Problem::field("/file", format!("may have at most {mib} MiB as {kind}")));
    }
    let place = (staff.tenant, room);
    let stored = upload(&app.db, &app.media, place, kind, name.as_deref(), bytes, app.clock.now()).await?;
    let mut attachment = media::attachment(&stored);
    let link = app.media.links.link(staff.tenant, stored.id, app.clock.now());
    attachment.url = Some(link.clone());
    Ok((StatusCode::CREATED, [(header::LOCATION, link)], axum::Json(shown(&attachment))).into_response())
}

type Read = (Option<AttachmentKind>, Option<String>, Bytes);

async fn read(mut form: Multipart, most_bytes: usize) -> Result<Read, Problem> {
    let unreadable = || Problem::of(problem::UNREADABLE).detail("the form cannot be read");
    let (mut kind, mut file) = (None, None);
    while let Some(field) = form.next_field().await.map_err(|_| unreadable())? {
        match field.name().unwrap_or_default() {
            "file" if file.is_none() => {
                let name = field.file_name().map(clean).filter(|it| !it.is_empty());
                file = Some((name, whole(field, most_bytes).await?));
            }
            "type" if kind.is_none() => {
                let bytes = whole(field, MAX_NAME).await?;
                let word = String::from_utf8_lossy(&bytes).trim().to_owned();
                let known = serde_json::from_value(word.into()).ok();
                let known = known.filter(|it| limits::SENT.contains(it));
                kind = Some(known.ok_or_else(|| Problem::field("/type", "must be image, video, audio or file"))?);
            }
            other => {
                return Err(Problem::field(&format!("/{}", clean(other)), "is no field of this form, or comes twice"));
            }
        }
    }
    let (name, bytes) = file.ok_or_else(|| Problem::field("/file", "is missing"))?;
    Ok((kind, name, bytes))
}

async fn whole(mut field: Field<'_>, most_bytes: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::of(problem::TOO_LARGE).detail(format!("a file may have at most {most_bytes} bytes"));
    let mut bytes = BytesMut::new();
    while let Some(chunk) = field.chunk().await.map_err(|error| {
        let is_large = error.status() == StatusCode::PAYLOAD_TOO_LARGE;
        if is_large { too_large() } else { Problem::of(problem::UNREADABLE).detail("the body did not arrive whole") }
    })? {
        if bytes.len() + chunk.len() > most_bytes {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// A file name without its folders and without what cannot be seen.
fn clean(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    name.chars().filter(|it| !it.is_control()).take(MAX_NAME).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_folders() {
        assert_eq!(clean("../../etc/passwd"), "passwd");
        assert_eq!(clean("C:\\Users\\Ben\\price list.pdf"), "price list.pdf");
        assert_eq!(clean("a\r\nb"), "ab");
        assert_eq!(clean(&"x".repeat(300)).len(), 255);
    }
}
