//! The page's doors to one chat, and the live stream. Everything a customer can do is in `people` and `afterwards`.

use std::convert::Infallible;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_stream::wrappers::BroadcastStream;

use super::web::{show_pages, show_person};
use super::world::{Line, Person, Said, World};
use super::{DeliveryState, Simulator};

pub(super) type Chat = Path<(String, String)>;

pub(super) async fn show(State(simulator): State<Simulator>, Path((page, psid)): Chat) -> Response {
    match show_chat(&simulator, &page, &psid) {
        Some(view) => Json(view).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Whose chat a stream shows beside the list of all.
#[derive(Deserialize)]
pub(super) struct Watched {
    page: Option<String>,
    psid: Option<String>,
}

/// `pages`: all Pages and people; `chat`: the named chat as a whole. Both at once, and again whenever they change.
pub(super) async fn stream(State(simulator): State<Simulator>, Query(watched): Query<Watched>) -> Response {
    let chat = watched.page.zip(watched.psid);
    if chat.as_ref().is_some_and(|(page, psid)| simulator.core.world().person(page, psid).is_none()) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let stop = simulator.core.stop.clone().cancelled_owned();
    // A listener that lagged behind looks again, whatever it missed.
    let changes = BroadcastStream::new(simulator.core.changes.subscribe()).map(Result::ok);
    let events = stream::once(std::future::ready(None)).chain(changes).map(move |changed| {
        let is_same = |one: &(String, String)| changed.as_ref().is_none_or(|it| it == one);
        let shown = chat.as_ref().filter(|it| is_same(it)).and_then(|(page, psid)| show_chat(&simulator, page, psid));
        let pages = show_pages(&simulator.core.world());
        let event = |kind, data: Value| Ok::<_, Infallible>(Event::default().event(kind).data(data.to_string()));
        let events = shown.map(|it| event("chat", it)).into_iter().chain([event("pages", pages)]);
        stream::iter(events.collect::<Vec<_>>())
    });
    Sse::new(events.flatten().take_until(stop)).keep_alive(KeepAlive::default()).into_response()
}

#[derive(Deserialize)]
pub(super) struct Words {
    text: String,
    reply_to: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Tap {
    title: String,
    payload: String,
}

/// An emoji; none takes the reaction back.
#[derive(Deserialize)]
pub(super) struct Feeling {
    mid: String,
    emoji: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Correction {
    mid: String,
    text: String,
}

#[derive(Deserialize)]
pub(super) struct Taken {
    mid: String,
}

#[derive(Deserialize)]
pub(super) struct Window {
    is_closed: bool,
}

#[derive(Deserialize)]
pub(super) struct Privacy {
    is_profile_hidden: bool,
}

pub(super) async fn say(
    State(simulator): State<Simulator>,
    Path((page, psid)): Chat,
    Json(words): Json<Words>,
) -> StatusCode {
    if words.text.trim().is_empty() {
        return StatusCode::BAD_REQUEST;
    }
    let act = async {
        match &words.reply_to {
            Some(mid) => drop(simulator.answer(&page, &psid, &words.text, mid).await),
            None => drop(simulator.say(&page, &psid, &words.text).await),
        }
    };
    if_known(&simulator, &page, &psid, act).await
}

pub(super) async fn tap(
    State(simulator): State<Simulator>,
    Path((page, psid)): Chat,
    Json(tap): Json<Tap>,
) -> StatusCode {
    let act = async { drop(simulator.tap_quick_reply(&page, &psid, &tap.title, &tap.payload).await) };
    if_known(&simulator, &page, &psid, act).await
}

pub(super) async fn press(
    State(simulator): State<Simulator>,
    Path((page, psid)): Chat,
    Json(tap): Json<Tap>,
) -> StatusCode {
    let act = async { drop(simulator.postback(&page, &psid, &tap.title, &tap.payload).await) };
    if_known(&simulator, &page, &psid, act).await
}

pub(super) async fn react(
    State(simulator): State<Simulator>,
    Path((page, psid)): Chat,
    Json(feeling): Json<Feeling>,
) -> StatusCode {
    let act = async {
        match &feeling.emoji {
            Some(emoji) => simulator.react(&page, &psid, &feeling.mid, emoji).await,
            None => simulator.unreact(&page, &psid, &feeling.mid).await,
        }
    };
    if_known(&simulator, &page, &psid, act).await
}

pub(super) async fn edit(
    State(simulator): State<Simulator>,
    Path((page, psid)): Chat,
    Json(new): Json<Correction>,
) -> StatusCode {
    if new.text.trim().is_empty() {
        return StatusCode::BAD_REQUEST;
    }
    let mut is_done = false;
    let act = async { is_done = simulator.edit(&page, &psid, &new.mid, &new.text).await };
    let status = if_known(&simulator, &page, &psid, act).await;
    if is_done || status == StatusCode::NOT_FOUND { status } else { StatusCode::CONFLICT }
}

pub(super) async fn unsend(
    State(simulator): State<Simulator>,
    Path((page, psid)): Chat,
    Json(taken): Json<Taken>,
) -> StatusCode {
    let mut is_done = false;
    let act = async { is_done = simulator.unsend(&page, &psid, &taken.mid).await };
    let status = if_known(&simulator, &page, &psid, act).await;
    if is_done || status == StatusCode::NOT_FOUND { status } else { StatusCode::CONFLICT }
}

pub(super) async fn read(State(simulator): State<Simulator>, Path((page, psid)): Chat) -> StatusCode {
    let act = async {
        simulator.read_all(&page, &psid).await;
        simulator.core.changed(&page, &psid);
    };
    if_known(&simulator, &page, &psid, act).await
}

pub(super) async fn set_person(
    State(simulator): State<Simulator>,
    Path((page, psid)): Chat,
    Json(new): Json<Privacy>,
) -> StatusCode {
    let act = async {
        simulator.hide_profile(&page, &psid, new.is_profile_hidden);
        simulator.core.changed(&page, &psid);
    };
    if_known(&simulator, &page, &psid, act).await
}

pub(super) async fn set_window(
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
    let (mid, mut shown) = match line {
        Line::Page(sent) => {
            let shown = json!({
                "from": "page", "at_ms": sent.at_ms, "text": sent.text, "attachment": sent.attachment,
                "reply_to": sent.reply_to,
            });
            (&sent.mid, shown)
        }
        Line::Person(said) => {
            let attachment = said.attachment.as_ref().map(|(kind, url)| json!({"type": kind, "payload": {"url": url}}));
            let shown = json!({
                "from": "person", "at_ms": said.at_ms, "text": said.text, "attachment": attachment,
                "reply_to": said.reply_to, "edits": said.edits, "is_unsent": said.is_unsent,
                "mark": mark(world, person, said),
            });
            (&said.mid, shown)
        }
    };
    shown["mid"] = mid.as_str().into();
    shown["page_reaction"] = json!(person.page_reactions.get(mid));
    shown["own_reaction"] = json!(person.own_reactions.get(mid));
    shown
}

/// What stands below the person's own line.
fn mark(world: &World, person: &Person, said: &Said) -> &'static str {
    if person.page_saw_ms >= said.at_ms {
        return "Seen";
    }
    let is_delivered = |it: &super::Delivery| it.mid.as_ref() == Some(&said.mid) && it.state == DeliveryState::Done;
    if world.deliveries.values().rev().any(is_delivered) { "Delivered" } else { "Sent" }
}
