//! `/openapi.json`, the page that shows it at `/docs`, and the pages of the problems.

use std::sync::LazyLock;

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{Html, IntoResponse, Response},
};
use bytes::Bytes;

use super::{
    extract::Path,
    problem::{self, Problem},
};

/// The pages bring everything they need; nothing is fetched from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// What this server can do, as an OpenAPI 3.1 document.
#[utoipa::path(get, path = "/openapi.json", tag = "about", responses((status = 200, body = serde_json::Value)))]
pub async fn openapi() -> Response {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| super::openapi().to_string().into());
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}

/// The same for people.
#[utoipa::path(get, path = "/docs", tag = "about", responses((status = 200, body = String, content_type = "text/html")))]
pub async fn page() -> Response {
    framed(Html(include_str!("docs.html")))
}

/// The script of that page.
#[utoipa::path(get, path = "/docs/docs.js", tag = "about", responses((status = 200, body = String, content_type = "text/javascript")))]
pub async fn script() -> Response {
    framed(([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("docs.js")))
}

/// What a refusal means: the page that a problem's `type` names.
#[utoipa::path(
    get, path = "/problems/{slug}", tag = "about", params(("slug" = String, Path, description = "Last part of a problem's `type`")),
    responses((status = 200, body = String, content_type = "text/html"), (status = 404, description = "No such problem", body = problem::ProblemBody))
)]
pub async fn problem(Path(slug): Path<String>) -> Result<Response, Problem> {
    let kind = problem::ALL.iter().find(|it| it.slug == slug).ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    let (title, about) = (escaped(kind.title), escaped(kind.about));
    Ok(framed(Html(format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title>\n<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem;\
         color-scheme:light dark}}</style>\n<h1>{title}</h1>\n<p>HTTP status {}, problem type <code>{}</code>.</p>\n<p>{about}</p>\n\
         <p><a href=\"/docs\">All doors</a></p>\n</html>\n",
        kind.status,
        kind.path(),
    ))))
}

fn framed(body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
