//! `/media/…`: files, for whoever has a link of ours to one.

use std::ops::RangeInclusive;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_range_header::parse_range_header;
use tracing::error;

use super::{
    App,
    extract::Path,
    problem::{self, Problem},
};
use crate::{
    clock::Moment,
    media::{
        links::BadLink,
        sniff::shown_in_place,
        store::{self, Stored},
    },
};

/// Whatever a file is, nothing in it runs in our name.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";

impl From<BadLink> for Problem {
    fn from(error: BadLink) -> Self {
        match error {
            BadLink::Forged => Problem::of(problem::NOT_FOUND),
            BadLink::Expired => Problem::of(problem::LINK_EXPIRED),
        }
    }
}

/// A file, by the signed link that its message or contact shows. Takes a `Range`.
#[utoipa::path(
    get, path = "/media/{key}", tag = "rooms", params(("key" = String, Path, description = "the signed part of the link")),
    responses(
        (status = 200, description = "The file; pictures, films and sound may be shown in place, all else is for saving", content_type = "application/octet-stream"),
        (status = 206, description = "The part of it that was asked for", content_type = "application/octet-stream"),
        (status = 403, description = "The link has expired", body = problem::ProblemBody),
        (status = 404, description = "No such file", body = problem::ProblemBody),
        (status = 416, description = "There is no such part"),
    ),
)]
pub async fn show(State(app): State<App>, Path(key): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let now = app.clock.now();
    let (tenant, id, until) = app.media.links.read(&key, now)?;
    let file = store::find_stored(&app.db, tenant, id).await?.ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    let size = u64::try_from(file.size).unwrap_or(0);
    let part = match part(&headers, size) {
        Ok(part) => part,
        Err(Unsatisfiable) => {
            let whole = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, whole).into_response());
        }
    };
    let range = part.as_ref().map(|it| *it.start()..it.end() + 1);
    let bytes = app.media.vault.stream(tenant, id, range).await.map_err(|source| {
        error!(file.id = %id, error = %source, "the media store does not give file {id}");
        Problem::of(problem::UNAVAILABLE).detail("the media store does not answer").retry_after(5)
    })?;
    let mut response = Body::from_stream(bytes).into_response();
    describe(response.headers_mut(), &file, until, now);
    let length = part.as_ref().map_or(size, |it| it.end() - it.start() + 1);
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    if let Some(part) = part {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        set(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes {}-{}/{size}", part.start(), part.end()));
    }
    Ok(response)
}

struct Unsatisfiable;

/// The one part that is asked for. Several, or what is no range, are answered with the whole, as RFC 9110 allows.
fn part(headers: &HeaderMap, size: u64) -> Result<Option<RangeInclusive<u64>>, Unsatisfiable> {
    let Some(range) = headers.get(header::RANGE).and_then(|it| it.to_str().ok()) else { return Ok(None) };
    let Ok(parsed) = parse_range_header(range) else { return Ok(None) };
    let parts = parsed.validate(size).map_err(|_| Unsatisfiable)?;
    Ok(Some(parts).filter(|it| it.len() == 1).and_then(|it| it.into_iter().next()))
}

fn describe(headers: &mut HeaderMap, file: &Stored, until: Moment, now: Moment) {
    let in_place = shown_in_place(file.kind, &file.mime);
    set(headers, header::CONTENT_TYPE, if in_place { &file.mime } else { "application/octet-stream" });
    let way = if in_place { "inline" } else { "attachment" };
    let name = file.name.clone().unwrap_or_else(|| default_name(file));
    set(headers, header::CONTENT_DISPOSITION, &format!("{way}; filename*=UTF-8''{}", escaped(&name)));
    let seconds = (until - now).num_seconds();
    set(headers, header::CACHE_CONTROL, &format!("private, max-age={seconds}, immutable"));
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::ACCEPT_RANGES, "bytes"),
        // A tenant's own desk stands on another site; the link is the permission.
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
        (HeaderName::from_static("x-robots-tag"), "noindex"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn default_name(file: &Stored) -> String {
    let ending = file.mime.rsplit('/').next().filter(|it| it.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    format!("{}.{}", file.kind.as_str(), ending.unwrap_or("bin"))
}

/// RFC 8187's form of a file name.
fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_header() {
        assert_eq!(escaped("résumé 1.pdf"), "r%C3%A9sum%C3%A9%201.pdf");
        assert_eq!(escaped("a\"\r\nSet-Cookie: x/../../etc"), "a%22%0D%0ASet-Cookie%3A%20x%2F..%2F..%2Fetc");
    }

    #[test]
    fn one_part_is_a_part() {
        let part = |range: &str| {
            let mut headers = HeaderMap::new();
            set(&mut headers, header::RANGE, range);
            part(&headers, 100).map_err(|_| ())
        };
        assert_eq!(part("bytes=0-9"), Ok(Some(0..=9)));
        assert_eq!(part("bytes=90-"), Ok(Some(90..=99)));
        assert_eq!(part("bytes=-5"), Ok(Some(95..=99)));
        assert_eq!(part("bytes=0-1,5-6"), Ok(None));
        assert_eq!(part("lines=1-2"), Ok(None));
        assert_eq!(part("bytes=100-"), Err(()));
        assert_eq!(super::part(&HeaderMap::new(), 100).map_err(|_| ()), Ok(None));
    }
}
