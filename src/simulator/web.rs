//! The small page: its files, and the doors to Pages, people and faults. Those to one chat are in `chats`.

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::TimeDelta;
use serde::Deserialize;
use serde_json::{Value, json};

use super::world::{Line, Page, Person, World};
use super::{Fault, Simulator, chats, files};

/// Everything but the Graph API.
pub(super) fn router() -> Router<Simulator> {
    let script = |text: &'static str| get(async move || file("text/javascript; charset=utf-8", text));
    Router::new()
        .route("/", get(page))
        .route("/chat/{page}/{psid}", get(page))
        .route("/page/page.css", get(async || file("text/css; charset=utf-8", include_str!("page/page.css"))))
        .route("/page/start.js", script(include_str!("page/start.js")))
        .route("/page/common.js", script(include_str!("page/common.js")))
        .route("/page/list.js", script(include_str!("page/list.js")))
        .route("/page/chat.js", script(include_str!("page/chat.js")))
        .route("/page/lines.js", script(include_str!("page/lines.js")))
        .route("/page/composer.js", script(include_str!("page/composer.js")))
        .route("/pictures/{psid}", get(files::picture))
        .route("/media/{id}/{name}", get(files::media))
        .route("/api/pages", get(pages))
        .route("/api/stream", get(chats::stream))
        .route("/api/options", post(set_options))
        .route("/api/pages/{page}/people", post(add_person))
        .route("/api/pages/{page}/faults", post(set_fault))
        .route("/api/chats/{page}/{psid}", get(chats::show))
        .route("/api/chats/{page}/{psid}/say", post(chats::say))
        .route("/api/chats/{page}/{psid}/tap", post(chats::tap))
        .route("/api/chats/{page}/{psid}/postback", post(chats::press))
        .route("/api/chats/{page}/{psid}/react", post(chats::react))
        .route("/api/chats/{page}/{psid}/edit", post(chats::edit))
        .route("/api/chats/{page}/{psid}/unsend", post(chats::unsend))
        .route(
            "/api/chats/{page}/{psid}/upload",
            post(files::upload).layer(DefaultBodyLimit::max(files::MAX_UPLOAD_BYTES)),
        )
        .route("/api/chats/{page}/{psid}/read", post(chats::read))
        .route("/api/chats/{page}/{psid}/person", post(chats::set_person))
        .route("/api/chats/{page}/{psid}/window", post(chats::set_window))
}

/// What the page may load: its own files, and pictures and media from wherever a message says they lie.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' http: https: data:; media-src 'self' http: https:; base-uri 'none'; form-action 'none'";

async fn page() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], file("text/html; charset=utf-8", include_str!("page/page.html")))
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")], text).into_response()
}

async fn pages(State(simulator): State<Simulator>) -> Json<Value> {
    Json(show_pages(&simulator.core.world()))
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
    simulator.core.changed(&page, &psid);
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
    RefuseUpload,
    HideConversations,
    ShowConversations,
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
    simulator.core.changed(&page, "");
    StatusCode::NO_CONTENT
}

/// Throws the Page's switch, or names what the next sends shall meet.
fn switch(simulator: &Simulator, page: &str, fault: PageFault) -> Option<Fault> {
    match fault {
        PageFault::KillToken => simulator.kill_token(page),
        PageFault::ReviveToken => simulator.core.world().page_mut(page).is_token_dead = false,
        PageFault::Hang => simulator.set_hanging(page, true),
        PageFault::Answer => simulator.set_hanging(page, false),
        PageFault::HideConversations => simulator.hide_conversations(page, true),
        PageFault::ShowConversations => simulator.hide_conversations(page, false),
        PageFault::RefuseUpload => {
            let refusal = Fault::error(100, Some(2_018_047), "(#100) Upload attachment failure");
            simulator.fail_next_uploads(page, vec![refusal]);
        }
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
    require_proof: Option<bool>,
    usage_percent: Option<u32>,
}

/// What the page's switch for late echoes means.
const LATE: TimeDelta = TimeDelta::seconds(10);

async fn set_options(State(simulator): State<Simulator>, Json(new): Json<NewOptions>) -> StatusCode {
    let mut world = simulator.core.world();
    let options = &mut world.options;
    options.require_proof = new.require_proof.unwrap_or(options.require_proof);
    options.duplicates = new.duplicates.unwrap_or(options.duplicates);
    options.echoes = new.echoes.unwrap_or(options.echoes);
    options.receipts = new.receipts.unwrap_or(options.receipts);
    options.receipts_first = new.receipts_first.unwrap_or(options.receipts_first);
    options.usage_percent = new.usage_percent.unwrap_or(options.usage_percent);
    if let Some(is_late) = new.late_echoes {
        options.echo_delay = if is_late { LATE } else { TimeDelta::zero() };
    }
    drop(world);
    simulator.core.changed("", "");
    StatusCode::NO_CONTENT
}

pub(super) fn show_pages(world: &World) -> Value {
    let page = |(id, page): (&String, &Page)| {
        let people: Vec<Value> = page.people.iter().map(|(psid, person)| show_person(psid, person)).collect();
        json!({
            "id": id, "name": page.name, "is_token_dead": page.is_token_dead, "faults": page.faults.len() + page.upload_faults.len(),
            "is_hanging": page.is_hanging, "hides_conversations": page.hides_conversations,
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
            "usage_percent": options.usage_percent, "require_proof": options.require_proof,
        },
    })
}

pub(super) fn show_person(psid: &str, person: &Person) -> Value {
    let last = person.lines.last().map(|line| match line {
        Line::Page(sent) => sent.text.clone().unwrap_or_else(|| "Attachment".to_owned()),
        Line::Person(said) if said.is_unsent => "You unsent a message".to_owned(),
        Line::Person(said) => format!("You: {}", said.text.as_deref().unwrap_or("Attachment")),
    });
    let unread = person.received().iter().filter(|it| it.at_ms > person.read_ms).count();
    json!({
        "psid": psid, "first_name": person.first_name, "last_name": person.last_name, "name": person.full_name(),
        "email": person.email, "phone": person.phone, "is_window_closed": person.is_window_closed,
        "is_profile_hidden": person.is_profile_hidden, "last": last, "unread": unread,
    })
}
