//! Bodies, queries and paths become typed values here; what does not fit becomes a clear problem naming the field.

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::{header, request::Parts},
};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::problem::{self, Problem};

/// A JSON body. Unknown fields are refused where the type says `deny_unknown_fields`.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let value = read_body(request, state).await?;
        parse(&value).map(Self)
    }
}

/// A JSON body that may be left out: then `T`'s default.
#[derive(Debug)]
pub struct OptionalJson<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state).await.map_err(|_| Problem::of(problem::UNREADABLE))?;
        if bytes.trim_ascii().is_empty() { Ok(Self(T::default())) } else { parse(&bytes).map(Self) }
    }
}

/// A JSON body as bytes and value, for doors that merge it into what is stored or remember its hash.
#[derive(Debug)]
pub struct RawJson(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for RawJson {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        read_body(request, state).await.map(Self)
    }
}

async fn read_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if kind != "application/json" && !kind.ends_with("+json") {
        return Err(Problem::of(problem::MEDIA_TYPE));
    }
    Bytes::from_request(request, state).await.map_err(|error| {
        if error.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
            Problem::of(problem::TOO_LARGE)
        } else {
            Problem::of(problem::UNREADABLE).detail("the body did not arrive whole")
        }
    })
}

/// Reads a typed value from JSON bytes.
///
/// # Errors
/// 400 if it is not JSON, 422 naming the field if it does not fit.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let at = pointer(error.path());
        refuse(at, error.into_inner())
    })?;
    reader.end().map_err(|error| refuse(String::new(), error))?;
    Ok(value)
}

/// Reads a typed value from a JSON value, as [`parse`] does.
///
/// # Errors
/// 422 naming the field if it does not fit.
pub fn parse_value<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let at = pointer(error.path());
        refuse(at, error.into_inner())
    })
}

/// `stored` with the members of `patch` laid over it (RFC 7396, except that null is kept as a value), read as `T`.
/// So a `PATCH` is checked by exactly the rules of a `POST`.
///
/// # Errors
/// 400 if the patch is not JSON, 422 if it is no object or the result does not fit.
pub fn patched<T: DeserializeOwned>(stored: serde_json::Value, patch: &[u8]) -> Result<T, Problem> {
    let patch: serde_json::Value = parse(patch)?;
    if !patch.is_object() {
        return Err(Problem::field("", "the body must be an object"));
    }
    let mut merged = stored;
    merge(&mut merged, patch);
    parse_value(merged)
}

fn merge(into: &mut serde_json::Value, patch: serde_json::Value) {
    match (into, patch) {
        (serde_json::Value::Object(into), serde_json::Value::Object(patch)) => {
            for (name, value) in patch {
                merge(into.entry(name).or_insert(serde_json::Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut out = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => out.push_str(&format!("/{index}")),
            Segment::Map { key } => out.push_str(&format!("/{}", key.replace('~', "~0").replace('/', "~1"))),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    out
}

fn refuse(at: String, error: serde_json::Error) -> Problem {
    use serde_json::error::Category;
    match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => {
            Problem::of(problem::UNREADABLE).detail(format!("the body is not JSON: {error}"))
        }
        Category::Data => {
            let text = error.to_string();
            let text = text.split(" at line ").next().unwrap_or(&text).to_owned();
            // serde names an unknown or missing field in its text; the pointer must name it too.
            let named = text.strip_prefix("unknown field `").or_else(|| text.strip_prefix("missing field `"));
            let named = named.and_then(|it| it.split('`').next());
            let at = match named {
                Some(name) if !at.ends_with(&format!("/{name}")) => format!("{at}/{name}"),
                _ => at,
            };
            Problem::field(&at, text)
        }
    }
}

/// Query parameters.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(error) => {
                let text = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                let name = text.split(':').next().filter(|it| !it.contains(' ')).unwrap_or("");
                Err(Problem::field(name, text.clone()))
            }
        }
    }
}

/// An id in the path. What is not a UUID names nothing, so it is 404.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(value)| Self(value)).map_err(|_| Problem::of(problem::NOT_FOUND))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors matter here")]
    struct Outer {
        name: String,
        inner: Option<Inner>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors matter here")]
    struct Inner {
        count: u8,
    }

    #[track_caller]
    fn check(body: &str, status: u16, pointer: &str) {
        let problem = parse::<Outer>(body.as_bytes()).unwrap_err();
        assert_eq!(problem.kind().status, status, "{problem:?}");
        assert!(format!("{problem:?}").contains(&format!("pointer: {pointer:?}")) || pointer.is_empty(), "{problem:?}");
    }

    #[test]
    fn errors_name_the_field() {
        check("{", 400, "");
        check(r#"{"name":"a"} x"#, 400, "");
        check(r#"{"name":1}"#, 422, "/name");
        check(r#"{}"#, 422, "/name");
        check(r#"{"name":"a","odd":1}"#, 422, "/odd");
        check(r#"{"name":"a","inner":{"count":300}}"#, 422, "/inner/count");
        check(r#"{"name":"a","inner":{"count":3,"odd":1}}"#, 422, "/inner/odd");
    }
}
