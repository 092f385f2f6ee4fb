//! `/desk`: the page of agents, supervisors and admins, compiled in from `web/dist`.

use axum::{
    extract::Path,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use rust_embed::RustEmbed;

use super::problem::{self, Problem};

/// What `npm run build` makes of `web/`. A binary built without it has none, and says so.
#[derive(RustEmbed)]
#[folder = "web/dist/"]
#[allow_missing = true]
struct Files;

/// Only files of our own run and style. Customers' pictures and recordings come from Meta's hosts or through us.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; font-src 'self'; \
    img-src 'self' https: data: blob:; media-src 'self' https: blob:; manifest-src 'self'; frame-ancestors 'none'; \
    base-uri 'none'; form-action 'self'";
/// The page changes with the binary; what it names carries a hash and never changes.
const CHECKED: &str = "no-cache";
const FOR_GOOD: &str = "public, max-age=31536000, immutable";
/// Files whose names carry a hash of their bytes.
const HASHED: &str = "assets/";

/// Shown where the desk would be.
const ABSENT: &str = "<!doctype html><html lang=\"en\"><title>Chatgate</title><h1>This binary has no desk</h1>\
    <p>It was built without the web application. Run <code>script/desk</code> (it needs Node.js) and build Chatgate again. \
    The API works as always: see <a href=\"/docs\">its documentation</a>.</p></html>";

/// Whether the desk was compiled in.
#[must_use]
pub fn is_built_in() -> bool {
    Files::get("index.html").is_some()
}

fn file(request: &HeaderMap, name: &str, cache: &'static str) -> Option<Response> {
    let found = Files::get(name)?;
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let takes_gzip =
        request.get(header::ACCEPT_ENCODING).and_then(|it| it.to_str().ok()).is_some_and(|it| it.contains("gzip"));
    let mut response = match Files::get(&format!("{name}.gz")).filter(|_| takes_gzip) {
        Some(twin) => ([(header::CONTENT_ENCODING, "gzip")], headers(kind, cache), twin.data).into_response(),
        None => (headers(kind, cache), found.data).into_response(),
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    Some(response)
}

fn headers(kind: &'static str, cache: &'static str) -> [(HeaderName, &'static str); 5] {
    [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, cache),
    ]
}

/// The page.
pub async fn index(request: HeaderMap) -> Response {
    file(&request, "index.html", CHECKED).unwrap_or_else(|| {
        (StatusCode::NOT_FOUND, headers("text/html; charset=utf-8", CHECKED), ABSENT).into_response()
    })
}

/// One of its files; any other address below `/desk` is a screen of the page.
pub async fn below(Path(name): Path<String>, request: HeaderMap) -> Result<Response, Problem> {
    if name.starts_with(HASHED) {
        return file(&request, &name, FOR_GOOD).ok_or_else(|| Problem::of(problem::NOT_FOUND));
    }
    Ok(index(request).await)
}

/// Whoever opens the bare address is an agent looking for the desk.
pub async fn root() -> Redirect {
    Redirect::temporary("/desk")
}
