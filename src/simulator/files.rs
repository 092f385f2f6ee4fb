//! Files: those that lie under an address of ours, with all that can be wrong with one, and those that Pages upload ahead.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::TimeDelta;
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::chats::{Chat, if_known};
use super::graph::{Call, GraphError};
use super::world::World;
use super::{Fault, Simulator};
use crate::clock::Moment;

/// Meta's limit for files.
pub(super) const MAX_UPLOAD_BYTES: usize = 25 << 20;
/// Meta forgets uploads.
pub(super) const UPLOADS_LAST: TimeDelta = TimeDelta::days(90);
/// Files kept; the oldest goes first.
const MAX_FILES: usize = 200;
/// How long a slow file takes between two bytes.
const SLOW_PAUSE: Duration = Duration::from_millis(50);
/// Side of a pretend profile picture, in pixels.
const PICTURE_SIDE: u32 = 64;

/// What lies under an address.
#[derive(Clone)]
pub(super) enum Hosted {
    /// Content type and bytes.
    File(String, Bytes),
    /// Trouble.
    Strange(Strange),
}

/// An address that is not what it seems.
#[derive(Clone, Debug)]
pub enum Strange {
    /// Sends whoever asks elsewhere.
    Redirect(String),
    /// Never ends.
    Endless,
    /// Comes a byte at a time.
    Slow,
    /// Answers with this status.
    Status(u16),
    /// Says that it has so many bytes, and has fewer.
    Broken(u64),
}

/// A file that a Page has uploaded ahead.
#[derive(Clone, Debug)]
pub struct Upload {
    /// `image`, `audio`, `video` or `file`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What the uploader says it is.
    pub content_type: String,
    /// When it came.
    pub at: Moment,
    /// Where it lies.
    media: u64,
}

impl Upload {
    /// Where people see it.
    pub(super) fn url(&self, host: &str) -> String {
        format!("http://{host}/media/{}/{}", self.media, if self.name.is_empty() { "file" } else { &self.name })
    }
}

impl Simulator {
    /// Puts a file under an address of ours; returns the path.
    pub fn host(&self, name: &str, content_type: &str, bytes: impl Into<Bytes>) -> String {
        let id = put(&mut self.core.world(), Hosted::File(content_type.to_owned(), bytes.into()));
        format!("/media/{id}/{name}")
    }

    /// Puts trouble under an address of ours; returns the path.
    pub fn host_strange(&self, strange: Strange) -> String {
        let id = put(&mut self.core.world(), Hosted::Strange(strange));
        format!("/media/{id}/strange")
    }

    /// What the Page has uploaded ahead, in order.
    #[must_use]
    pub fn uploads(&self, page_id: &str) -> Vec<Upload> {
        self.core.world().page(page_id).map(|it| it.uploads.values().cloned().collect()).unwrap_or_default()
    }

    /// Forgets what the Page has uploaded, as Meta does after 90 days.
    pub fn forget_uploads(&self, page_id: &str) {
        self.core.world().page_mut(page_id).uploads.clear();
    }
}

fn put(world: &mut World, what: Hosted) -> u64 {
    world.next_media += 1;
    let id = world.next_media;
    world.media.insert(id, what);
    if world.media.len() > MAX_FILES {
        world.media.pop_first();
    }
    id
}

/// `POST /{page-id}/message_attachments`: keeps a file, or the address of one, under an id.
pub(super) fn attach(simulator: &Simulator, call: &Call, page_id: &str) -> Result<Response, GraphError> {
    let now = simulator.core.clock.now();
    let attachment = &call.params.get("message").unwrap_or(&Value::Null)["attachment"];
    let kind = attachment["type"].as_str().unwrap_or_default();
    let mut world = simulator.core.world();
    match world.page_mut(page_id).upload_faults.pop_front() {
        Some(Fault::Error { http_status, code, subcode, message }) => {
            return Err(GraphError { status: http_status, ..GraphError::new(code, subcode, message) });
        }
        Some(_) => return Ok(StatusCode::BAD_GATEWAY.into_response()),
        None => {}
    }
    let refused = |subcode, why: &str| Err(GraphError::new(100, subcode, format!("(#100) {why}")));
    if !["image", "audio", "video", "file"].contains(&kind) {
        return refused(None, "Param message[attachment][type] must be one of {image, audio, video, file}");
    }
    let Some((name, content_type, bytes)) = &call.file else {
        return refused(Some(2_018_008), "Failed to fetch the file from the url");
    };
    if kind != "file" && !content_type.starts_with(&format!("{kind}/")) {
        return refused(Some(2_018_047), "Upload attachment failure: the type does not match the file");
    }
    if bytes.len() > MAX_UPLOAD_BYTES || (kind == "image" && bytes.len() > 8 << 20) {
        return refused(Some(2_018_109), "Attachment size exceeds allowable limit");
    }
    let media = put(&mut world, Hosted::File(content_type.clone(), bytes.clone()));
    let id = (1_857_777_774_821_000 + media).to_string();
    let upload =
        Upload { kind: kind.to_owned(), name: name.clone(), content_type: content_type.clone(), at: now, media };
    world.page_mut(page_id).uploads.insert(id.clone(), upload);
    Ok(Json(json!({"attachment_id": id})).into_response())
}

/// What a file is called on the person's side.
#[derive(serde::Deserialize)]
pub(super) struct Named {
    #[serde(default)]
    name: String,
}

/// Keeps a file and sends its address as an attachment.
pub(super) async fn upload(
    State(simulator): State<Simulator>,
    Path((page, psid)): Chat,
    Query(file): Query<Named>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let header = |name| headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned();
    let content_type = header(header::CONTENT_TYPE);
    let (kind, name) = match content_type.split('/').next() {
        Some("image") => ("image", "picture"),
        Some("audio") => ("audio", "sound"),
        Some("video") => ("video", "film"),
        _ => ("file", "file"),
    };
    let own_name: String =
        file.name.chars().map(|it| if it.is_ascii_alphanumeric() || ".-_".contains(it) { it } else { '_' }).collect();
    let name = if own_name.trim_matches(['.', '_']).is_empty() { name } else { &own_name };
    let url = format!("http://{}{}", header(header::HOST), simulator.host(name, &content_type, body));
    let act = async { drop(simulator.attach(&page, &psid, kind, &url).await) };
    if_known(&simulator, &page, &psid, act).await
}

pub(super) async fn media(State(simulator): State<Simulator>, Path((id, _)): Path<(u64, String)>) -> Response {
    let found = simulator.core.world().media.get(&id).cloned();
    let (content_type, bytes) = match found {
        None => return StatusCode::NOT_FOUND.into_response(),
        Some(Hosted::Strange(strange)) => return behave(&strange),
        Some(Hosted::File(content_type, bytes)) => (content_type, bytes),
    };
    // Whatever was uploaded must not run in this page's name.
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    (headers, bytes).into_response()
}

fn behave(strange: &Strange) -> Response {
    const CHUNK: &[u8] = &[0xff; 64 * 1024];
    let endless = || stream::repeat(Bytes::from_static(CHUNK)).map(Ok::<_, std::io::Error>);
    match strange {
        Strange::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to.clone())]).into_response(),
        Strange::Status(status) => StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY).into_response(),
        Strange::Endless => Body::from_stream(endless()).into_response(),
        Strange::Slow => {
            let slow = endless().then(async |it| {
                tokio::time::sleep(SLOW_PAUSE).await;
                it.map(|it| it.slice(..1))
            });
            Body::from_stream(slow).into_response()
        }
        Strange::Broken(length) => {
            let short =
                stream::once(async { Err::<Bytes, _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset)) });
            ([(header::CONTENT_LENGTH, length.to_string())], Body::from_stream(short)).into_response()
        }
    }
}

/// A profile picture: a head and shoulders before a colour of the person's own, as an uncompressed bitmap.
pub(super) async fn picture(State(simulator): State<Simulator>, Path(psid): Path<String>) -> Response {
    if !simulator.core.world().pages.values().any(|page| page.people.contains_key(&psid)) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let hash = psid.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let [blue, green, red, _] = hash.wrapping_mul(2_654_435_761).to_le_bytes();
    let ground = [blue / 2 + 64, green / 2 + 64, red / 2 + 64];
    let side = PICTURE_SIDE;
    let mut bytes = Vec::with_capacity(54 + (side * side * 3) as usize);
    bytes.extend(b"BM");
    // File size, reserved, where the pixels begin; then the size of this header, width, height, planes and bits.
    for number in [54 + side * side * 3, 0, 54, 40, side, side, 1 | (24 << 16), 0, side * side * 3, 2835, 2835, 0, 0] {
        bytes.extend(number.to_le_bytes());
    }
    // From the bottom up.
    for y in 0..side {
        for x in 0..side {
            let from = |x0: i64, y0: i64| (i64::from(x) - x0).pow(2) + (i64::from(y) - y0).pow(2);
            let is_person = from(32, 40) < 121 || from(32, 0) < 484;
            bytes.extend(if is_person { [240; 3] } else { ground });
        }
    }
    ([(header::CONTENT_TYPE, "image/bmp")], bytes).into_response()
}
