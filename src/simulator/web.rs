//! The small page: its HTML, its JSON doors and its live stream. Everything a customer can do is in `people`.

use std::convert::Infallible;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::TimeDelta;
use futures::{Stream, StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_stream::wrappers::BroadcastStream;

use super::world::{Line, Page, Person, Said, World};
use super::{DeliveryState, Fault, Simulator, files};

pub(super) type Chat = Path<(String, String)>;

/// Everything but the Graph API.
pub(super) fn router() -> Router<Simulator> {
    Router::new()
        .route("/", get(page))
        .route("/chat/{page}/{psid}", get(page))
        .route("/pictures/{psid}", get(files::picture))
        .route("/media/{id}/{name}", get(files::media))
        .route("/api/pages", get(pages))
        .route("/api/options", post(set_options))
        .route("/api/pages/{page}/people", post(add_person))
        .route("/api/pages/{page}/faults", post(set_fault))
        .route("/api/chats/{page}/{psid}", get(chat))
        .route("/api/chats/{page}/{psid}/stream", get(chat_stream))
        .route("/api/chats/{page}/{psid}/say", post(say))
        .route("/api/chats/{page}/{psid}/tap", post(tap))
        .route("/api/chats/{page}/{psid}/postback", post(press))
        .route(
            "/api/chats/{page}/{psid}/upload",
            post(files::upload).layer(DefaultBodyLimit::max(files::MAX_UPLOAD_BYTES)),
        )
        .route("/api/chats/{page}/{psid}/read", post(read))
        .route("/api/chats/{page}/{psid}/window", post(set_window))
}

async fn page() -> impl IntoResponse {
    let nonce = crate::secret::random_text();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src 'self' http: https: data:; media-src 'self' http: https:; base-uri 'none'; form-action 'none'"
    );
    let html = include_str!("page.html").replace("{{nonce}}", &nonce);
    ([(header::CONTENT_SECURITY_POLICY, policy), (header::CACHE_CONTROL, "no-store".to_owned())], Html(html))
}

async fn pages(State(simulator): State<Simulator>) -> Json<Value> {
    Json(show_pages(&simulator.core.world()))
}

async fn chat(State(simulator): State<Simulator>, Path((page, psid)): Chat) -> Response {
    match show_chat(&simulator, &page, &psid) {
        Some(view) => Json(view).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The whole chat at once and again whenever it changes.
async fn chat_stream(State(simulator): State<Simulator>, Path(chat): Chat) -> Response {
    if simulator.core.world().person(&chat.0, &chat.1).is_none() {
        return StatusCode::NOT_FOUND.into_response();
    }
    Sse::new(views(simulator, chat)).keep_alive(KeepAlive::default()).into_response()
}

fn views(simulator: Simulator, chat: (String, String)) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let stop = simulator.core.stop.clone().cancelled_owned();
    let of_this_chat = chat.clone();
    // A listener that lagged behind looks again, whatever it missed.
    let changes = BroadcastStream::new(simulator.core.changes.subscribe())
        .filter(move |change| std::future::ready(change.as_ref().map_or(true, |it| *it == of_this_chat)))
        .map(|_| ());
    stream::once(std::future::ready(()))
        .chain(changes)
        .filter_map(move |()| std::future::ready(show_chat(&simulator, &chat.0, &chat.1)))
        .map(|view| Ok(sse::Event::default().data(view.to_string())))
        .take_until(stop)
}

#[derive(Deserialize)]
struct NewPerson {
    first_name: String,
    #[serde(default)]
    last_name: String,
    email: Option<String>,
    phone: Option<String>,
}

async fn add_person(
    State(simulator): State<Simulator>,
    Path(page): Path<String>,
    Json(new): Json<NewPerson>,
) -> Response {
    if simulator.core.world().page(&page).is_none() {
        return StatusCode::NOT_FOUND.into_response();
    }
    let psid = rand::random_range(7_000_000_000_000_000_u64..8_000_000_000_000_000).to_string();
    let given = |it: &Option<String>| it.as_deref().map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned);
    let (email, phone) = (given(&new.email), given(&new.phone));
    simulator.add_person(&page, &psid, &new.first_name, &new.last_name, email.as_deref(), phone.as_deref());
    (StatusCode::CREATED, Json(json!({"psid": psid}))).into_response()
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PageFault {
    KillToken,
    ReviveToken,
    Hang,
    Answer,
    RefuseNext,
    DropNext,
    LoseNext,
    GatewayNext,
    HiccupNext,
    ThrottleNext,
    SlowNext,
}

/// One fault, or the same for the next sends.
#[derive(Deserialize)]
#[serde(untagged)]
enum NewFault {
    One(PageFault),
    Times { fault: PageFault, times: usize },
}

/// Scripted faults of one call.
const MOST_FAULTS: usize = 1000;

async fn set_fault(
    State(simulator): State<Simulator>,
    Path(page): Path<String>,
    Json(fault): Json<NewFault>,
) -> StatusCode {
    if simulator.core.world().page(&page).is_none() {
        return StatusCode::NOT_FOUND;
    }
    let (fault, times) = match fault {
        NewFault::One(fault) => (fault, 1),
        NewFault::Times { fault, times } => (fault, times.min(MOST_FAULTS)),
    };
    if let Some(next) = switch(&simulator, &page, fault) {
        simulator.fail_next_sends(&page, vec![next; times]);
    }
    StatusCode::NO_CONTENT
}

/// Throws the Page's switch, or names what the next sends shall meet.
fn switch(simulator: &Simulator, page: &str, fault: PageFault) -> Option<Fault> {
    match fault {
        PageFault::KillToken => simulator.kill_token(page),
        PageFault::ReviveToken => simulator.core.world().page_mut(page).is_token_dead = false,
        PageFault::Hang => simulator.set_hanging(page, true),
        PageFault::Answer => simulator.set_hanging(page, false),
        PageFault::RefuseNext => {
            return Some(Fault::error(551, Some(1_545_041), "(#551) This person isn't available right now."));
        }
        PageFault::DropNext => return Some(Fault::DropAfterSending),
        PageFault::LoseNext => return Some(Fault::DropBeforeSending),
        PageFault::GatewayNext => return Some(Fault::Http502),
        PageFault::HiccupNext => return Some(Fault::hiccup()),
        PageFault::ThrottleNext => return Some(Fault::Throttle { minutes: 1 }),
        PageFault::SlowNext => return Some(Fault::Slow { ms: 5000 }),
    }
    None
}

#[derive(Deserialize)]
struct NewOptions {
    duplicates: Option<bool>,
    echoes: Option<bool>,
    receipts: Option<bool>,
    receipts_first: Option<bool>,
    late_echoes: Option<bool>,
    usage_percent: Option<u32>,
}

/// What the page's switch for late echoes means.
const LATE: TimeDelta = TimeDelta::seconds(10);

async fn set_options(State(simulator): State<Simulator>, Json(new): Json<NewOptions>) -> StatusCode {
    let options = &mut simulator.core.world().options;
    options.duplicates = new.duplicates.unwrap_or(options.duplicates);
    options.echoes = new.echoes.unwrap_or(options.echoes);
    options.receipts = new.receipts.unwrap_or(options.receipts);
    options.receipts_first = new.receipts_first.unwrap_or(options.receipts_first);
    options.usage_percent = new.usage_percent.unwrap_or(options.usage_percent);
    if let Some(is_late) = new.late_echoes {
        options.echo_delay = if is_late { LATE } else { TimeDelta::zero() };
    }
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Words {
    text: String,
}

#[derive(Deserialize)]
struct Tap {
    title: String,
    payload: String,
}

#[derive(Deserialize)]
struct Window {
    is_closed: bool,
}

async fn say(State(simulator): State<Simulator>, Path((page, psid)): Chat, Json(words): Json<Words>) -> StatusCode {
    if words.text.trim().is_empty() {
        return StatusCode::BAD_REQUEST;
    }
    if_known(&simulator, &page, &psid, async { drop(simulator.say(&page, &psid, &words.text).await) }).await
}

async fn tap(State(simulator): State<Simulator>, Path((page, psid)): Chat, Json(tap): Json<Tap>) -> StatusCode {
    let act = async { drop(simulator.tap_quick_reply(&page, &psid, &tap.title, &tap.payload).await) };
    if_known(&simulator, &page, &psid, act).await
}

async fn press(State(simulator): State<Simulator>, Path((page, psid)): Chat, Json(tap): Json<Tap>) -> StatusCode {
    let act = async { drop(simulator.postback(&page, &psid, &tap.title, &tap.payload).await) };
    if_known(&simulator, &page, &psid, act).await
}

async fn read(State(simulator): State<Simulator>, Path((page, psid)): Chat) -> StatusCode {
    if_known(&simulator, &page, &psid, simulator.read_all(&page, &psid)).await
}

async fn set_window(
    State(simulator): State<Simulator>,
    Path((page, psid)): Chat,
    Json(window): Json<Window>,
) -> StatusCode {
    let act = async { simulator.closed_window(&page, &psid, window.is_closed) };
    if_known(&simulator, &page, &psid, act).await
}

/// The scripts' methods stop on people they do not know; a browser gets an answer instead.
pub(super) async fn if_known(
    simulator: &Simulator,
    page: &str,
    psid: &str,
    act: impl Future<Output = ()>,
) -> StatusCode {
    if simulator.core.world().person(page, psid).is_none() {
        return StatusCode::NOT_FOUND;
    }
    act.await;
    StatusCode::NO_CONTENT
}

fn show_pages(world: &World) -> Value {
    let page = |(id, page): (&String, &Page)| {
        let people: Vec<Value> = page.people.iter().map(|(psid, person)| show_person(psid, person)).collect();
        json!({
            "id": id, "name": page.name, "is_token_dead": page.is_token_dead, "faults": page.faults.len(),
            "is_hanging": page.is_hanging,
            "is_installed": page.installed.is_some(), "people": people,
        })
    };
    let pages: Vec<Value> = world.pages.iter().map(page).collect();
    let options = &world.options;
    json!({
        "pages": pages,
        "options": {
            "duplicates": options.duplicates, "echoes": options.echoes, "receipts": options.receipts,
            "receipts_first": options.receipts_first, "late_echoes": options.echo_delay > TimeDelta::zero(),
            "usage_percent": options.usage_percent,
        },
    })
}

fn show_person(psid: &str, person: &Person) -> Value {
    let last = person.lines.last().map(|line| match line {
        Line::Page(sent) => sent.text.clone(),
        Line::Person(said) => said.text.clone(),
    });
    json!({
        "psid": psid, "first_name": person.first_name, "last_name": person.last_name, "name": person.full_name(),
        "email": person.email, "phone": person.phone, "is_window_closed": person.is_window_closed,
        "last": last.map(|text| text.unwrap_or_else(|| "Attachment".to_owned())),
    })
}

fn show_chat(simulator: &Simulator, page_id: &str, psid: &str) -> Option<Value> {
    let now = simulator.core.clock.now();
    let world = simulator.core.world();
    let page = world.page(page_id)?;
    let person = page.people.get(psid)?;
    let lines: Vec<Value> = person.lines.iter().map(|line| show_line(&world, person, line)).collect();
    let typing_ms = person.page_types_until.map_or(0, |until| (until - now).num_milliseconds().max(0));
    Some(json!({
        "page": {"id": page_id, "name": page.name}, "person": show_person(psid, person), "lines": lines,
        "typing_ms": typing_ms, "offered": person.offered(), "read_ms": person.read_ms,
    }))
}

fn show_line(world: &World, person: &Person, line: &Line) -> Value {
    match line {
        Line::Page(sent) => json!({
            "from": "page", "mid": sent.mid, "at_ms": sent.at_ms, "text": sent.text, "attachment": sent.attachment,
            "reaction": person.page_reactions.get(&sent.mid),
        }),
        Line::Person(said) => {
            let attachment = said.attachment.as_ref().map(|(kind, url)| json!({"type": kind, "payload": {"url": url}}));
            json!({
                "from": "person", "mid": said.mid, "at_ms": said.at_ms, "text": said.text, "attachment": attachment,
                "mark": mark(world, person, said), "reaction": person.page_reactions.get(&said.mid),
            })
        }
    }
}

/// What stands below the person's own line.
fn mark(world: &World, person: &Person, said: &Said) -> &'static str {
    if person.page_saw_ms >= said.at_ms {
        return "Seen";
    }
    let is_delivered = |it: &super::Delivery| it.mid.as_ref() == Some(&said.mid) && it.state == DeliveryState::Done;
    if world.deliveries.values().rev().any(is_delivered) { "Delivered" } else { "Sent" }
}
