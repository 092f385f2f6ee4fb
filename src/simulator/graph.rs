//! The door of the pretend Graph API: reads a call, checks its token and sends it to where it is answered.

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest, Multipart, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::delivery::sign;
use super::wire::Wire;
use super::world::{Line, Page, Person, World};
use super::{Simulator, files, send, subscriptions};

/// Bodies of calls without files in them.
const MAX_BODY_BYTES: usize = 1 << 20;

/// One call, read.
pub(super) struct Call {
    /// The path without the version.
    pub path: Vec<String>,
    /// Query and body together, as Graph has it.
    pub params: Map<String, Value>,
    pub token: Option<String>,
    pub host: String,
    /// The file of an upload: name, content type, bytes.
    pub file: Option<(String, String, Bytes)>,
    /// The connection, if it can be cut.
    pub wire: Option<Wire>,
}

impl Call {
    /// A parameter as text, whether it came as a string, a number or a list.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.params.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Array(items) => {
                let texts: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                Some(texts.join(","))
            }
            other => Some(other.to_string()),
        }
    }
}

/// Whose token a call carries.
pub(super) enum Caller {
    Page(String),
    App(String),
}

/// An error in Graph's shape.
#[derive(Debug)]
pub(super) struct GraphError {
    pub status: u16,
    pub kind: &'static str,
    pub code: i64,
    pub subcode: Option<i64>,
    pub message: String,
}

impl GraphError {
    pub fn new(code: i64, subcode: Option<i64>, message: impl Into<String>) -> Self {
        Self { status: 400, kind: "OAuthException", code, subcode, message: message.into() }
    }

    /// What Graph says of anything that is not there or not allowed.
    pub fn no_such_object(method: &Method, id: &str) -> Self {
        let verb = method.as_str().to_lowercase();
        let message = format!(
            "Unsupported {verb} request. Object with ID '{id}' does not exist, cannot be loaded due to missing \
             permissions, or does not support this operation"
        );
        Self { kind: "GraphMethodException", ..Self::new(100, Some(33), message) }
    }

    fn token(subcode: Option<i64>, message: &str) -> Self {
        Self { status: 401, ..Self::new(190, subcode, message) }
    }
}

impl IntoResponse for GraphError {
    fn into_response(self) -> Response {
        let mut error = json!({"message": self.message, "type": self.kind, "code": self.code});
        if let Some(subcode) = self.subcode {
            error["error_subcode"] = subcode.into();
        }
        error["is_transient"] = matches!(self.code, 1 | 2).into();
        error["fbtrace_id"] = format!("A{}", &crate::secret::random_text()[..22]).into();
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        (status, axum::Json(json!({"error": error}))).into_response()
    }
}

/// Answers any call to the Graph API.
pub(super) async fn answer(State(simulator): State<Simulator>, request: Request) -> Response {
    let method = request.method().clone();
    let mut answer = match read(request).await {
        Ok(call) => route(&simulator, &method, &call).await.unwrap_or_else(IntoResponse::into_response),
        Err(error) => error.into_response(),
    };
    let percent = simulator.core.world().options.usage_percent;
    add_usage(answer.headers_mut(), percent);
    answer
}

async fn route(simulator: &Simulator, method: &Method, call: &Call) -> Result<Response, GraphError> {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    let caller = authenticate(&simulator.core.world(), call)?;
    if let Caller::Page(page_id) = &caller {
        simulator.core.world().page_mut(page_id).calls += 1;
        if send::hangs(&simulator.core, page_id).await {
            return Ok(send::broken(call));
        }
    }
    match (method.as_str(), path.as_slice()) {
        ("GET", ["debug_token"]) => subscriptions::debug_token(simulator, call),
        ("POST", [id, "messages"]) => send::send(simulator, call, own_page(&caller, method, id)?).await,
        ("POST", [id, "message_attachments"]) => files::attach(simulator, call, own_page(&caller, method, id)?),
        ("POST", [id, "take_thread_control"]) => send::take_thread(simulator, call, own_page(&caller, method, id)?),
        ("GET", [id, "conversations"]) => conversations(&simulator.core.world(), call, own_page(&caller, method, id)?),
        ("GET", [id, "subscribed_apps"]) => subscriptions::list_page(simulator, own_page(&caller, method, id)?),
        ("POST", [id, "subscribed_apps"]) => subscriptions::install(simulator, call, own_page(&caller, method, id)?),
        ("DELETE", [id, "subscribed_apps"]) => subscriptions::remove(simulator, own_page(&caller, method, id)?),
        ("GET", [id, "subscriptions"]) => subscriptions::list_app(simulator, own_app(&caller, method, id)?),
        ("POST", [id, "subscriptions"]) => {
            subscriptions::subscribe(simulator, call, own_app(&caller, method, id)?).await
        }
        ("GET", [id]) => object(&simulator.core.world(), call, &caller, id),
        _ => Err(GraphError::no_such_object(method, path.first().unwrap_or(&""))),
    }
}

/// The Page a call may act for: that of its token, named by id or as `me`.
fn own_page<'a>(caller: &'a Caller, method: &Method, id: &str) -> Result<&'a str, GraphError> {
    match caller {
        Caller::Page(page_id) if id == "me" || id == page_id => Ok(page_id),
        Caller::Page(_) => Err(GraphError::no_such_object(method, id)),
        Caller::App(_) => Err(GraphError {
            status: 400,
            ..GraphError::token(Some(2_069_032), "A Page access token is required for this call.")
        }),
    }
}

fn own_app<'a>(caller: &'a Caller, method: &Method, id: &str) -> Result<&'a str, GraphError> {
    match caller {
        Caller::App(app_id) if id == app_id => Ok(app_id),
        Caller::App(_) => Err(GraphError::no_such_object(method, id)),
        Caller::Page(_) => Err(GraphError {
            status: 403,
            ..GraphError::new(15, None, "(#15) This method must be called with an app access_token.")
        }),
    }
}

fn authenticate(world: &World, call: &Call) -> Result<Caller, GraphError> {
    let Some(token) = call.token.as_deref().filter(|it| !it.is_empty()) else {
        return Err(GraphError {
            status: 401,
            ..GraphError::new(104, None, "An access token is required to request this resource.")
        });
    };
    if let Some((app_id, secret)) = token.split_once('|') {
        return match world.apps.get(app_id) {
            Some(app) if app.secret == secret => Ok(Caller::App(app_id.to_owned())),
            _ => Err(GraphError::token(None, "Invalid OAuth access token signature.")),
        };
    }
    let Some((page_id, page)) = world.pages.iter().find(|(_, page)| page.token == token) else {
        return Err(GraphError::token(None, "Invalid OAuth access token - Cannot parse access token"));
    };
    if page.is_token_dead {
        return Err(GraphError::token(Some(460), DEAD_TOKEN));
    }
    check_proof(world, page, token, call.text("appsecret_proof"))?;
    Ok(Caller::Page(page_id.clone()))
}

/// What Graph says of the token after a password change.
pub(super) const DEAD_TOKEN: &str = "Error validating access token: The session has been invalidated because the user \
     changed their password or Facebook has changed the session for security reasons.";

fn check_proof(world: &World, page: &Page, token: &str, proof: Option<String>) -> Result<(), GraphError> {
    let secret = world.apps.get(&page.app_id).map(|app| app.secret.as_str()).unwrap_or_default();
    let refusal = match proof {
        None if world.options.require_proof => "API calls from the server require an appsecret_proof argument",
        Some(proof) if proof != sign(secret, token.as_bytes()) => {
            "Invalid appsecret_proof provided in the API argument"
        }
        _ => return Ok(()),
    };
    Err(GraphError { kind: "GraphMethodException", ..GraphError::new(100, None, refusal) })
}

/// `GET /{id}`: the Page itself, or a person who knows it.
fn object(world: &World, call: &Call, caller: &Caller, id: &str) -> Result<Response, GraphError> {
    let missing = || GraphError::no_such_object(&Method::GET, id);
    let fields = call.text("fields");
    let (all, shown) = match caller {
        Caller::App(app_id) if id == app_id => (json!({"id": app_id, "name": format!("App {app_id}")}), "id,name"),
        Caller::App(_) => return Err(missing()),
        Caller::Page(page_id) => {
            let page = world.page(page_id).ok_or_else(missing)?;
            if id == "me" || id == page_id {
                (json!({"id": page_id, "name": page.name, "category": "Shopping"}), "id,name")
            } else {
                let person = page.people.get(id).ok_or_else(missing)?;
                if person.is_profile_hidden {
                    return Ok(axum::Json(json!({})).into_response());
                }
                (profile(person, id, &call.host), "first_name,last_name,profile_pic,id")
            }
        }
    };
    let mut answer = Map::new();
    for field in fields.as_deref().unwrap_or(shown).split(',').map(str::trim).chain(["id"]) {
        let Some(value) = all.get(field) else {
            return Err(GraphError::new(100, None, format!("(#100) Tried accessing nonexisting field ({field})")));
        };
        answer.insert(field.to_owned(), value.clone());
    }
    Ok(axum::Json(Value::Object(answer)).into_response())
}

/// The Page's conversation with one person: the 20 newest messages, newest first.
fn conversations(world: &World, call: &Call, page_id: &str) -> Result<Response, GraphError> {
    const NEWEST: usize = 20;
    let page = world.page(page_id).ok_or_else(|| GraphError::no_such_object(&Method::GET, page_id))?;
    if page.hides_conversations {
        return Err(GraphError::new(10, None, "(#10) This endpoint requires the 'pages_read_engagement' permission"));
    }
    let psid = call.text("user_id").unwrap_or_default();
    let Some(person) = page.people.get(&psid) else { return Ok(axum::Json(json!({"data": []})).into_response()) };
    let show = |line: &Line| {
        let (mid, at_ms, text, from) = match line {
            Line::Page(sent) => (&sent.mid, sent.at_ms, &sent.text, page_id),
            Line::Person(said) => (&said.mid, said.at_ms, &said.text, psid.as_str()),
        };
        let at = chrono::DateTime::from_timestamp_millis(at_ms).unwrap_or_default();
        json!({
            "id": mid, "created_time": at.format("%Y-%m-%dT%H:%M:%S+0000").to_string(),
            "from": {"id": from, "email": format!("{from}@facebook.com")}, "message": text.as_deref().unwrap_or(""),
        })
    };
    let messages: Vec<Value> = person.lines.iter().rev().take(NEWEST).map(show).collect();
    let conversation = json!({"id": format!("t_{psid}"), "messages": {"data": messages}});
    Ok(axum::Json(json!({"data": [conversation]})).into_response())
}

fn profile(person: &Person, psid: &str, host: &str) -> Value {
    json!({
        "first_name": person.first_name, "last_name": person.last_name, "name": person.full_name(),
        "profile_pic": format!("http://{host}/pictures/{psid}"),
        "locale": "en_GB", "timezone": 0, "id": psid,
    })
}

async fn read(request: Request) -> Result<Call, GraphError> {
    let (parts, body) = request.into_parts();
    let header = |name| parts.headers.get(name).and_then(|it: &HeaderValue| it.to_str().ok()).unwrap_or_default();
    let is_multipart = header(header::CONTENT_TYPE).starts_with("multipart/form-data");
    let most_bytes = if is_multipart { files::MAX_UPLOAD_BYTES + MAX_BODY_BYTES } else { MAX_BODY_BYTES };
    let body = to_bytes(body, most_bytes).await.map_err(|_| GraphError {
        status: 413,
        ..GraphError::new(1, None, "Please reduce the amount of data you're asking for")
    })?;

    let mut params = Map::new();
    let mut file = None;
    read_form(&mut params, parts.uri.query().unwrap_or_default().as_bytes());
    if header(header::CONTENT_TYPE).starts_with("application/json") {
        match serde_json::from_slice(&body) {
            Ok(Value::Object(body)) => params.extend(body),
            Err(_) if body.is_empty() => {}
            _ => return Err(GraphError::new(100, None, "(#100) The body is not a JSON object")),
        }
    } else if is_multipart {
        file = read_multipart(&mut params, &parts, body).await?;
    } else {
        read_form(&mut params, &body);
    }

    let bearer = header(header::AUTHORIZATION).strip_prefix("Bearer ").map(str::to_owned);
    let in_params = params.remove("access_token").and_then(|it| it.as_str().map(str::to_owned));
    let mut path: Vec<String> = parts.uri.path().split('/').filter(|it| !it.is_empty()).map(str::to_owned).collect();
    if path.first().is_some_and(|it| is_version(it)) {
        path.remove(0);
    }
    Ok(Call {
        path,
        params,
        token: bearer.or(in_params),
        host: header(header::HOST).to_owned(),
        file,
        wire: parts.extensions.get::<ConnectInfo<Wire>>().map(|it| it.0.clone()),
    })
}

/// The fields of a multipart body; the one named `filedata` is the file.
async fn read_multipart(
    params: &mut Map<String, Value>,
    parts: &Parts,
    body: Bytes,
) -> Result<Option<(String, String, Bytes)>, GraphError> {
    let unreadable = || GraphError::new(100, None, "(#100) The multipart body cannot be read");
    let mut request = Request::new(Body::from(body));
    request.headers_mut().clone_from(&parts.headers);
    DefaultBodyLimit::disable().apply(&mut request);
    let mut form = Multipart::from_request(request, &()).await.map_err(|_| unreadable())?;
    let mut file = None;
    while let Some(field) = form.next_field().await.map_err(|_| unreadable())? {
        let name = field.name().unwrap_or_default().to_owned();
        let (file_name, kind) = (field.file_name().map(str::to_owned), field.content_type().map(str::to_owned));
        let bytes = field.bytes().await.map_err(|_| unreadable())?;
        if name == "filedata" {
            file = Some((file_name.unwrap_or_default(), kind.unwrap_or_default(), bytes));
        } else {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            params.insert(name, serde_json::from_str(&text).unwrap_or(Value::String(text)));
        }
    }
    Ok(file)
}

/// Form fields; those that hold JSON are read as such.
fn read_form(params: &mut Map<String, Value>, form: &[u8]) {
    for (name, value) in url::form_urlencoded::parse(form) {
        let is_json = value.starts_with(['{', '[']);
        let json = is_json.then(|| serde_json::from_str(&value).ok()).flatten();
        params.insert(name.into_owned(), json.unwrap_or_else(|| Value::from(value.into_owned())));
    }
}

fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').and_then(|it| it.split_once('.')).is_some_and(|(major, minor)| {
        let is_number = |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit());
        is_number(major) && is_number(minor)
    })
}

fn add_usage(headers: &mut HeaderMap, percent: u32) {
    let app = json!({"call_count": percent, "total_time": percent, "total_cputime": percent});
    let regain = if percent >= 100 { 1 } else { 0 };
    let business = json!({"100000000000000": [{
        "type": "messenger", "call_count": percent, "total_cputime": percent, "total_time": percent,
        "estimated_time_to_regain_access": regain,
    }]});
    for (name, value) in [("x-app-usage", app), ("x-business-use-case-usage", business)] {
        if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
            // A scripted answer has said it already.
            headers.entry(name).or_insert(value);
        }
    }
}
