//! What a caller sees when something is refused: problem+json (RFC 9457), each kind with a page of its own.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

/// A kind of refusal: slug of its page, status, title, and what the page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Last part of `/problems/<slug>`.
    pub slug: &'static str,
    /// HTTP status.
    pub status: u16,
    /// Short title.
    pub title: &'static str,
    /// What it means and what to do; the text of the page.
    pub about: &'static str,
}

macro_rules! kinds {
    ($($name:ident $slug:literal $status:literal $title:literal $about:literal)*) => {
        $(#[doc = $about] pub const $name: Kind = Kind { slug: $slug, status: $status, title: $title, about: $about };)*
        /// Every kind, for the pages.
        pub const ALL: &[Kind] = &[$($name),*];
    };
}

kinds! {
    UNREADABLE "unreadable" 400 "The body cannot be read" "The request's body is not JSON."
    UNAUTHORIZED "unauthorized" 401 "Who are you?" "There are no credentials, or they are wrong or expired. Send `Authorization: Bearer …` with a token or key, or log in again."
    BAD_LOGIN "bad-login" 401 "Wrong login" "Tenant, e-mail and password do not belong together. The answer is the same whichever of them is wrong."
    BAD_SIGNATURE "bad-signature" 401 "Wrong signature" "The webhook's X-Hub-Signature-256 is missing or does not belong to the body and the app secret. Nothing was stored."
    FORBIDDEN "forbidden" 403 "Your role may not do this" "The thing exists, but your roles or the key's scopes do not allow this call."
    BAD_HANDSHAKE "bad-handshake" 403 "Wrong verify token" "The webhook verification carries another mode or verify token than the app's."
    TENANT_SUSPENDED "tenant-suspended" 403 "The tenant is suspended" "The operator has suspended this tenant. Its webhooks are still stored."
    NOT_YOUR_ROOM "not-your-room" 403 "Not your room" "Another agent holds this room, or nobody does yet. Accept its offer first."
    LINK_EXPIRED "link-expired" 403 "The link has expired" "Links to files are good for some hours. Ask for the message again: its links are new."
    NOT_FOUND "not-found" 404 "Not found" "There is nothing here, or it belongs to somebody else."
    METHOD_NOT_ALLOWED "method-not-allowed" 405 "Method not allowed" "The path exists, but not with this method."
    CONFLICT "conflict" 409 "Conflict" "The request does not fit the present state of the thing."
    IN_USE "in-use" 409 "Still in use" "Something else refers to this. Remove or change that first."
    OFFER_GONE "offer-gone" 409 "The offer is gone" "The room is no longer offered to you: the offer lapsed, was withdrawn, or the contact left."
    ROOM_CLOSED "room-closed" 409 "The room is closed" "Nothing can be changed in a closed room. The contact's next message opens a new one."
    THREAD_ELSEWHERE "thread-elsewhere" 409 "Another app answers this contact" "The contact's thread was passed to, or taken by, another app of the Page (often the Page inbox). `thread_owner` names it. `POST /rooms/{id}/take-thread` takes it back where Facebook allows it. Otherwise replies are possible again when it is passed back, when the contact's next message comes to us, or after 24 hours."
    WINDOW_CLOSED "window-closed" 409 "The messaging window is closed" "Messenger allows replies for 24 hours after the contact's last message (7 days for people, where the Human Agent feature is allowed). `window` shows its ends, `allowed` what may still go out."
    CONTACT_UNREACHABLE "contact-unreachable" 409 "The contact cannot be reached" "Facebook has said that this person cannot receive messages: they have blocked the Page, left, or are away. Replies go out again once they have written; a failed message can be tried again by `POST /messages/{id}/resend`."
    NEWER_MESSAGES "newer-messages" 409 "There are newer messages" "Somebody wrote after `seen_seq`; the newer messages are in `messages`. Send again with the new `seen_seq`."
    AGENT_FULL "agent-full" 409 "No free seat" "The agent already has as many rooms as `max_chats` allows."
    CONTACT_BUSY "contact-busy" 409 "The contact has an open room" "A contact has at most one room that is not closed."
    TOO_LARGE "too-large" 413 "Too large" "The body is larger than this door accepts."
    MEDIA_TYPE "media-type" 415 "Wrong media type" "Send `Content-Type: application/json`."
    INVALID "invalid" 422 "Invalid" "The body is readable but not valid; `errors` has one entry for each field."
    IDEMPOTENCY_MISMATCH "idempotency-mismatch" 422 "The key was used for another body" "The same Idempotency-Key came with a different body within 24 hours."
    TOO_MANY "too-many" 429 "Too many tries" "Slow down: try again after `Retry-After` seconds."
    GRAPH_REFUSED "graph-refused" 409 "Facebook refused" "The Graph API refused the call that this request needs; `detail` has its words."
    INTERNAL "internal" 500 "Our fault" "Something broke on our side. The request id in `instance` finds it in the log."
    GRAPH_AWAY "graph-away" 503 "Facebook does not answer" "The Graph API could not be reached. Try again."
    UNAVAILABLE "unavailable" 503 "Try again" "The database does not answer at the moment. Trying again helps."
    SEND_FAILED "send-failed" 409 "The message could not be sent" "The Graph API refused the message; `meta_code` and `meta_subcode` say why."
    SEND_UNCERTAIN "send-uncertain" 409 "Perhaps sent" "The connection broke while the message was being sent. If it was, its echo settles it; it is not sent again by itself. `POST /messages/{id}/resend` sends it again."
    PAGE_DISCONNECTED "page-disconnected" 409 "The Page is disconnected" "The Page's token is not accepted any more. Connect the Page again."
}

impl Kind {
    /// The `type` of a problem.
    #[must_use]
    pub fn path(self) -> String {
        format!("/problems/{}", self.slug)
    }
}

/// One wrong field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer into the body, or the query parameter's name.
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

/// A refusal on its way to the caller.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: Option<String>,
    errors: Vec<FieldError>,
    more: serde_json::Map<String, serde_json::Value>,
    retry_after_s: Option<u64>,
}

/// The body of every refusal.
#[derive(Serialize, ToSchema)]
pub struct ProblemBody {
    /// `/problems/<slug>`, a page that explains it.
    #[serde(rename = "type")]
    pub kind: String,
    /// Short title.
    pub title: &'static str,
    /// HTTP status.
    pub status: u16,
    /// What happened here.
    pub detail: String,
    /// The request id, filled in on the way out.
    pub instance: String,
    /// One entry for each wrong field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    #[serde(flatten)]
    #[schema(ignore)]
    more: serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    /// A refusal of this kind, with the kind's own words.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        Self { kind, detail: None, errors: Vec::new(), more: serde_json::Map::new(), retry_after_s: None }
    }

    /// With words of its own.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With one more member beside the standard ones.
    #[must_use]
    pub fn with(mut self, name: &str, value: serde_json::Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    /// Says when trying again helps.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds.max(1));
        self
    }

    /// 422 with an entry for each `(pointer, detail)`.
    #[must_use]
    pub fn invalid(errors: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut problem = Self::of(INVALID);
        problem.errors = errors.into_iter().map(|(pointer, detail)| FieldError { pointer, detail }).collect();
        problem
    }

    /// 422 for one field.
    #[must_use]
    pub fn field(pointer: &str, detail: impl Into<String>) -> Self {
        Self::invalid([(pointer.to_owned(), detail.into())])
    }

    /// `Err(422)` if there is anything wrong.
    ///
    /// # Errors
    /// The problem that lists `errors`.
    pub fn unless_empty(errors: Vec<(String, String)>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self::invalid(errors)) }
    }

    /// A fault of ours: logged with its chain, shown without it.
    #[must_use]
    pub fn internal(source: impl Into<anyhow::Error>) -> Self {
        let source = source.into();
        tracing::error!(error = %format!("{source:#}"), "a request failed through a fault of ours");
        Self::of(INTERNAL)
    }

    /// For the command line: what is wrong, and where.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        let fields: Vec<_> = self.errors.iter().map(|it| format!("{} {}", it.pointer, it.detail)).collect();
        let detail = self.detail.clone().unwrap_or_else(|| self.kind.title.to_owned());
        if fields.is_empty() { detail } else { fields.join("; ") }
    }

    /// The kind's page.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        // What passes by itself (no connection, shutting down, a lost race) is 503; the rest is a fault of ours.
        let passing = match &error {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                true
            }
            sqlx::Error::Database(db) => db.code().is_some_and(|code| {
                code.starts_with("57P")
                    || code.starts_with("08")
                    || ["40001", "40P01", "55P03", "57014", "53300"].contains(&&*code)
            }),
            _ => false,
        };
        if passing {
            tracing::warn!(error = %error, "the database did not answer a request");
            Self::of(UNAVAILABLE).retry_after(1)
        } else {
            Self::internal(error)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = ProblemBody {
            kind: self.kind.path(),
            title: self.kind.title,
            status: self.kind.status,
            detail: self.detail.unwrap_or_else(|| self.kind.about.to_owned()),
            instance: super::request_id::current(),
            errors: self.errors,
            more: self.more,
        };
        let mut response = (status, Json(body)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
