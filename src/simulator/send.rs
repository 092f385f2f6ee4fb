//! `POST /{page-id}/messages`: checks a message as Meta does, shows it to the person, and lets faults happen.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::graph::{Call, GraphError};
use super::world::{Line, Page, Person, QuickReply, SentMessage, fresh_mid};
use super::{Core, Fault, Simulator, events, files};
use crate::clock::Moment;

const MAX_TEXT_UNITS: usize = 2000;
const MAX_QUICK_REPLIES: usize = 13;
const MAX_TITLE_UNITS: usize = 20;
const MAX_PAYLOAD_UNITS: usize = 1000;
const STANDARD_WINDOW: TimeDelta = TimeDelta::hours(24);
const HUMAN_WINDOW: TimeDelta = TimeDelta::days(7);
/// From the first message after a click on an ad.
const AD_WINDOW: TimeDelta = TimeDelta::days(7);
/// A scripted timeout outlasts any sensible client.
const HANGS_FOR: Duration = Duration::from_secs(35);
/// How long the typing dots stay by themselves.
const TYPING_FOR: TimeDelta = TimeDelta::seconds(20);

/// Answers a send or a sender action of the Page.
pub(super) async fn send(simulator: &Simulator, call: &Call, page_id: &str) -> Result<Response, GraphError> {
    let psid = match &call.params.get("recipient").unwrap_or(&Value::Null)["id"] {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        _ => return Err(GraphError::new(100, None, "(#100) The parameter recipient is required")),
    };
    match (call.text("sender_action"), call.params.get("message")) {
        (Some(_), Some(_)) => Err(invalid(Some(2_018_014), "Cannot send message and sender action together")),
        (Some(action), None) => act(&simulator.core, call, page_id, &psid, &action),
        (None, Some(message)) => say(&simulator.core, call, page_id, &psid, message).await,
        (None, None) => Err(invalid(Some(2_018_034), "Message cannot be empty, must provide valid attachment or text")),
    }
}

/// Gives the Page's app a person's thread, unless a fault is scripted.
pub(super) fn take_thread(simulator: &Simulator, call: &Call, page_id: &str) -> Result<Response, GraphError> {
    let mut world = simulator.core.world();
    let page = world.page_mut(page_id);
    refuse(page)?;
    let psid = call.params.get("recipient").and_then(|it| it["id"].as_str()).unwrap_or_default();
    recipient(&mut page.people, psid)?;
    Ok(Json(json!({"success": true})).into_response())
}

/// The next scripted error, if there is one.
fn refuse(page: &mut Page) -> Result<(), GraphError> {
    match page.faults.pop_front() {
        Some(Fault::Error { http_status, code, subcode, message }) => {
            Err(GraphError { status: http_status, ..GraphError::new(code, subcode, message) })
        }
        _ => Ok(()),
    }
}

fn act(core: &Core, call: &Call, page_id: &str, psid: &str, action: &str) -> Result<Response, GraphError> {
    let now = core.clock.now();
    {
        let mut world = core.world();
        let at_ms = world.stamp_ms(now);
        let page = world.page_mut(page_id);
        // Dots and ticks come by themselves: faults are meant for what somebody sends.
        if matches!(action, "react" | "unreact") {
            refuse(page)?;
        }
        let person = recipient(&mut page.people, psid)?;
        check_window(person, call, now)?;
        match action {
            "typing_on" => person.page_types_until = Some(now + TYPING_FOR),
            "typing_off" => person.page_types_until = None,
            "mark_seen" => person.page_saw_ms = at_ms,
            "react" | "unreact" => react(person, call, action)?,
            _ => return Err(invalid(None, "Param sender_action must be one of {TYPING_ON, TYPING_OFF, MARK_SEEN}")),
        }
        person.actions.push(action.to_owned());
    }
    core.changed(page_id, psid);
    Ok(Json(json!({"recipient_id": psid})).into_response())
}

/// One reaction of the Page to each message: a new one replaces it.
fn react(person: &mut Person, call: &Call, action: &str) -> Result<(), GraphError> {
    let payload = call.params.get("payload").unwrap_or(&Value::Null);
    let mid = payload["message_id"].as_str().unwrap_or_default().to_owned();
    let is_known = person.lines.iter().any(|it| match it {
        Line::Page(sent) => sent.mid == mid,
        Line::Person(said) => said.mid == mid,
    });
    if !is_known {
        return Err(invalid(None, "The message id is unknown"));
    }
    match payload["reaction"].as_str().filter(|_| action == "react") {
        Some(emoji) => drop(person.page_reactions.insert(mid, emoji.to_owned())),
        None if action == "react" => return Err(invalid(None, "Param payload[reaction] is required")),
        None => drop(person.page_reactions.remove(&mid)),
    }
    Ok(())
}

async fn say(
    core: &Arc<Core>,
    call: &Call,
    page_id: &str,
    psid: &str,
    message: &Value,
) -> Result<Response, GraphError> {
    let now = core.clock.now();
    let (fault, mid) = {
        let mut world = core.world();
        let fault = world.page_mut(page_id).faults.pop_front();
        if fault.is_some() {
            core.changed(page_id, psid);
        }
        match fault {
            Some(Fault::Error { http_status, code, subcode, message }) => {
                return Err(GraphError { status: http_status, ..GraphError::new(code, subcode, message) });
            }
            Some(Fault::Http502) => return Ok(bad_gateway()),
            Some(Fault::DropBeforeSending) => return Ok(broken(call)),
            Some(Fault::Throttle { minutes }) => return Ok(throttled(page_id, minutes)),
            Some(Fault::RetryAfter { seconds }) => {
                let headers = [(header::RETRY_AFTER, seconds.to_string())];
                return Ok((StatusCode::TOO_MANY_REQUESTS, headers).into_response());
            }
            Some(Fault::Timeout | Fault::DropAfterSending | Fault::Slow { .. } | Fault::Nothing) | None => {}
        }
        let mut sent = read_message(message, world.page_mut(page_id), &call.host, now)?;
        sent.reply_to = call.params.get("reply_to").and_then(|it| it["mid"].as_str()).map(str::to_owned);
        let at_ms = world.stamp_ms(now);
        let person = recipient(&mut world.page_mut(page_id).people, psid)?;
        check_window(person, call, now)?;
        sent.at_ms = at_ms;
        sent.messaging_type = call.text("messaging_type");
        sent.tag = call.text("tag");
        person.page_types_until = None;
        person.lines.push(Line::Page(sent.clone()));
        let mid = sent.mid.clone();
        world.backlog += 1;
        tokio::spawn(tell_app(Arc::clone(core), page_id.to_owned(), psid.to_owned(), sent));
        (fault, mid)
    };
    core.changed(page_id, psid);
    match fault {
        Some(Fault::Timeout) => hang(core).await,
        Some(Fault::Slow { ms }) => tokio::time::sleep(Duration::from_millis(ms)).await,
        Some(Fault::DropAfterSending) => return Ok(broken(call)),
        _ => {}
    }
    Ok(Json(json!({"recipient_id": psid, "message_id": mid})).into_response())
}

/// Waits while the Page hangs, as long as anybody would; whether it did.
pub(super) async fn hangs(core: &Core, page_id: &str) -> bool {
    let again = core.answers_again.notified();
    let is_hanging = core.world().page_mut(page_id).is_hanging;
    if is_hanging {
        tokio::select! { () = again => {}, () = hang(core) => {} }
    }
    is_hanging
}

async fn hang(core: &Core) {
    tokio::select! {
        () = core.stop.cancelled() => {}
        () = tokio::time::sleep(HANGS_FOR) => {}
    }
}

fn throttled(page_id: &str, minutes: u64) -> Response {
    let usage = json!({page_id: [{"type": "messenger", "call_count": 100, "total_cputime": 25, "total_time": 25,
        "estimated_time_to_regain_access": minutes}]});
    let message = "(#80006) There have been too many calls to this messenger account. Wait a bit and try again.";
    let mut answer = GraphError::new(80_006, None, message).into_response();
    if let Ok(usage) = usage.to_string().parse() {
        answer.headers_mut().insert("x-business-use-case-usage", usage);
    }
    answer
}

/// Echo first, then the delivery receipt, each if switched on; unless the switches say otherwise.
async fn tell_app(core: Arc<Core>, page_id: String, psid: String, sent: SentMessage) {
    let (options, app_id) = {
        let mut world = core.world();
        (world.options, world.page_mut(&page_id).app_id.clone())
    };
    if options.receipts && options.receipts_first {
        let _ = core.deliver(events::receipt(&page_id, &psid, &sent)).await;
    }
    let echo = events::echo(&page_id, &psid, &app_id, &sent);
    if options.echoes && options.echo_delay > TimeDelta::zero() {
        core.deliver_at(echo, core.clock.now() + options.echo_delay);
    } else if options.echoes {
        let _ = core.deliver(echo).await;
    }
    if options.receipts && !options.receipts_first {
        // Not waited for: the delivery is entered by now, and that is what `settle` looks at.
        drop(core.deliver(events::receipt(&page_id, &psid, &sent)));
    }
    core.world().backlog -= 1;
}

fn recipient<'a>(
    people: &'a mut std::collections::BTreeMap<String, Person>,
    psid: &str,
) -> Result<&'a mut Person, GraphError> {
    people.get_mut(psid).ok_or_else(|| invalid(Some(2_018_001), "No matching user found"))
}

fn check_window(person: &Person, call: &Call, now: Moment) -> Result<(), GraphError> {
    let kind = call.text("messaging_type").unwrap_or_default();
    let tag = call.text("tag");
    if kind == "MESSAGE_TAG" && tag.is_none() {
        return Err(invalid(None, "Param tag is required with messaging_type MESSAGE_TAG"));
    }
    if !["", "RESPONSE", "UPDATE", "MESSAGE_TAG"].contains(&kind.as_str()) {
        return Err(invalid(None, "Param messaging_type must be one of {RESPONSE, UPDATE, MESSAGE_TAG, UTILITY}"));
    }
    if tag.as_deref().is_some_and(|it| !["HUMAN_AGENT", "CUSTOMER_FEEDBACK"].contains(&it)) {
        return Err(invalid(None, "Param tag must be one of {HUMAN_AGENT, CUSTOMER_FEEDBACK}"));
    }
    let is_within = |at: Option<Moment>, span| at.is_some_and(|at| now - at < span);
    let is_tagged = kind == "MESSAGE_TAG" && is_within(person.acted_at, HUMAN_WINDOW);
    let is_open = is_within(person.acted_at, STANDARD_WINDOW) || is_within(person.ad_message_at, AD_WINDOW);
    if is_tagged || (!person.is_window_closed && is_open) {
        return Ok(());
    }
    let message = "(#10) This message is sent outside of allowed window. Learn more about the new policy here: \
                   https://developers.facebook.com/docs/messenger-platform/policy-overview";
    Err(GraphError::new(10, Some(2_018_278), message))
}

fn read_message(message: &Value, page: &Page, host: &str, now: Moment) -> Result<SentMessage, GraphError> {
    let text = message["text"].as_str().map(str::to_owned);
    let mut attachment = message.get("attachment").filter(|it| it.is_object()).cloned();
    match (&text, &attachment) {
        (Some(_), Some(_)) => return Err(invalid(None, "Message cannot have both text and attachment")),
        (Some(text), None) if units(text) > MAX_TEXT_UNITS => {
            return Err(invalid(None, "Length of param message[text] must be less than or equal to 2000"));
        }
        (Some(text), None) if !text.trim().is_empty() => {}
        (None, Some(_)) => {}
        _ => return Err(invalid(Some(2_018_034), "Message cannot be empty, must provide valid attachment or text")),
    }
    if let Some(attachment) = &mut attachment {
        check_attachment(attachment, page, host, now)?;
    }
    let metadata = message["metadata"].as_str().map(str::to_owned);
    if metadata.as_deref().is_some_and(|it| units(it) > MAX_PAYLOAD_UNITS) {
        return Err(invalid(None, "Length of param message[metadata] must be less than or equal to 1000"));
    }
    Ok(SentMessage {
        mid: fresh_mid(),
        text,
        quick_replies: read_quick_replies(&message["quick_replies"])?,
        attachment,
        metadata,
        messaging_type: None,
        tag: None,
        reply_to: None,
        at_ms: 0,
    })
}

fn read_quick_replies(list: &Value) -> Result<Vec<QuickReply>, GraphError> {
    let list = match list {
        Value::Null => return Ok(Vec::new()),
        Value::Array(list) if list.len() <= MAX_QUICK_REPLIES => list,
        _ => return Err(invalid(None, "Param message[quick_replies] must be a list of at most 13")),
    };
    list.iter().map(read_quick_reply).collect()
}

fn read_quick_reply(one: &Value) -> Result<QuickReply, GraphError> {
    let text = |name: &str| one[name].as_str().map(str::to_owned);
    let payload = match &one["payload"] {
        Value::Number(number) => Some(number.to_string()),
        _ => text("payload"),
    };
    let reply = QuickReply {
        content_type: text("content_type").unwrap_or_default(),
        title: text("title"),
        payload,
        image_url: text("image_url"),
    };
    match reply.content_type.as_str() {
        "user_email" | "user_phone_number" => return Ok(reply),
        "text" => {}
        _ => return Err(invalid(None, "Param content_type must be one of {text, user_email, user_phone_number}")),
    }
    let may_be_empty = reply.image_url.is_some();
    let is_fine = |value: &Option<String>, most| {
        value.as_ref().is_some_and(|it| units(it) <= most && (may_be_empty || !it.is_empty()))
    };
    if !is_fine(&reply.title, MAX_TITLE_UNITS) {
        return Err(invalid(None, "Param title of a quick reply must have 1 to 20 characters"));
    }
    if !is_fine(&reply.payload, MAX_PAYLOAD_UNITS) {
        return Err(invalid(None, "Param payload of a quick reply must have 1 to 1000 characters"));
    }
    Ok(reply)
}

/// Whether an attachment can be sent; one that was uploaded ahead gets the address under which people see it.
fn check_attachment(attachment: &mut Value, page: &Page, host: &str, now: Moment) -> Result<(), GraphError> {
    let kind = attachment["type"].as_str().unwrap_or_default().to_owned();
    if let Some(id) = attachment["payload"]["attachment_id"].as_str() {
        let upload = page.uploads.get(id).filter(|it| now - it.at < files::UPLOADS_LAST);
        let upload = upload.ok_or_else(|| invalid(Some(2_018_074), "The attachment id is unknown"))?;
        if upload.kind != kind {
            return Err(invalid(Some(2_018_047), "The attachment is of another type"));
        }
        attachment["payload"]["url"] = upload.url(host).into();
        return Ok(());
    }
    let payload = &attachment["payload"];
    match attachment["type"].as_str() {
        Some("image" | "audio" | "video" | "file") if payload["url"].is_string() => Ok(()),
        Some("template") => check_template(payload),
        _ => Err(invalid(None, "Param message[attachment] needs a known type and a payload")),
    }
}

fn check_template(payload: &Value) -> Result<(), GraphError> {
    let too_many = |list: &Value, least: usize, most: usize| {
        let count = list.as_array().map_or(0, Vec::len);
        count < least || count > most
    };
    let is_long = |value: &Value, most| value.as_str().is_some_and(|it| units(it) > most);
    let elements = payload["elements"].as_array().map(Vec::as_slice).unwrap_or_default();
    match payload["template_type"].as_str() {
        Some("button") if payload["text"].as_str().is_none_or(str::is_empty) || is_long(&payload["text"], 640) => {
            return Err(invalid(None, "Param text of a button template must have 1 to 640 characters"));
        }
        Some("button") if too_many(&payload["buttons"], 1, 3) => {
            return Err(invalid(None, "A button template needs 1 to 3 buttons"));
        }
        Some("generic") if too_many(&payload["elements"], 1, 10) => {
            return Err(invalid(None, "A generic template needs 1 to 10 elements"));
        }
        Some(_) => {}
        None => return Err(invalid(None, "Param template_type is required")),
    }
    let all = std::iter::once(payload).chain(elements);
    let mut buttons = all.filter_map(|it| it["buttons"].as_array());
    if buttons.any(|it| it.len() > 3 || it.iter().any(|button| is_long(&button["title"], MAX_TITLE_UNITS))) {
        return Err(invalid(None, "Up to 3 buttons, titles of up to 20 characters"));
    }
    if elements.iter().any(|it| is_long(&it["title"], 80) || is_long(&it["subtitle"], 80)) {
        return Err(invalid(None, "Titles and subtitles have up to 80 characters"));
    }
    Ok(())
}

/// Meta counts as JavaScript does.
fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

fn invalid(subcode: Option<i64>, message: &str) -> GraphError {
    GraphError::new(100, subcode, format!("(#100) {message}"))
}

fn bad_gateway() -> Response {
    let page = "<html><head><title>Error</title></head><body>Sorry, something went wrong.</body></html>";
    (StatusCode::BAD_GATEWAY, [(header::CONTENT_TYPE, "text/html")], page).into_response()
}

/// No answer: the connection is cut if it can be, otherwise the body breaks off.
pub(super) fn broken(call: &Call) -> Response {
    if let Some(wire) = &call.wire {
        wire.cut();
    }
    let nothing = futures::stream::once(async {
        Err::<bytes::Bytes, _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    });
    axum::body::Body::from_stream(nothing).into_response()
}
