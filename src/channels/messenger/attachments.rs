//! Meta's attachments, in all the shapes they have had over the years, as ours.

use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

use super::time::seconds;
use crate::channels::{Attachment, AttachmentKind, meta::envelope::whole_number};

/// The attachments of a message in their order; what is not known stays as `unknown`.
pub(super) fn attachments(raw: &[Value]) -> Vec<Attachment> {
    raw.iter()
        .filter(|it| !is_shadow_of_sticker(it, raw))
        .flat_map(|it| match it["payload"]["product"]["elements"].as_array() {
            Some(products) if !products.is_empty() => products.iter().flat_map(product).collect(),
            _ => vec![attachment(it)],
        })
        .collect()
}

/// A product that somebody shares: what it is and costs, and its picture, which is kept like any other. Meta tells no link to it.
fn product(raw: &Value) -> Vec<Attachment> {
    let words: Vec<_> = [word(&raw["title"]), word(&raw["subtitle"])].into_iter().flatten().collect();
    let title = if words.is_empty() { "product".to_owned() } else { words.join(" · ") };
    let named = Attachment { kind: AttachmentKind::Unknown, title: Some(title), ..<_>::default() };
    let picture = word(&raw["image_url"]);
    let picture = picture.map(|url| Attachment { kind: AttachmentKind::Image, url: Some(url), ..<_>::default() });
    [named].into_iter().chain(picture).collect()
}

/// In summer 2026 a sticker came twice, as a sticker and as a picture of it: one is enough.
fn is_shadow_of_sticker(image: &Value, all: &[Value]) -> bool {
    let is_same = |key: &str, other: &Value| {
        let ours = word(&image["payload"][key]);
        ours.is_some() && ours == word(&other["payload"][key])
    };
    image["type"] == "image"
        && all.iter().any(|it| it["type"] == "sticker" && (is_same("url", it) || is_same("sticker_id", it)))
}

fn attachment(raw: &Value) -> Attachment {
    let kind = match raw["type"].as_str().unwrap_or_default() {
        "image" => AttachmentKind::Image,
        "video" => AttachmentKind::Video,
        "audio" => AttachmentKind::Audio,
        "file" => AttachmentKind::File,
        "sticker" => AttachmentKind::Sticker,
        "location" => AttachmentKind::Location,
        "fallback" | "share" | "post" | "ig_post" | "reel" | "ig_reel" => AttachmentKind::Link,
        _ => AttachmentKind::Unknown,
    };
    let url = url(raw);
    let title = title(raw);
    match kind {
        AttachmentKind::File => Attachment { kind, name: url.as_deref().and_then(file_name), url, ..<_>::default() },
        AttachmentKind::Location => {
            let place = &raw["payload"]["coordinates"];
            let long = number(&place["long"]).or_else(|| number(&place["lng"]));
            Attachment { kind, url, title, lat: number(&place["lat"]), long, ..<_>::default() }
        }
        AttachmentKind::Link => Attachment { kind, url, title, ..<_>::default() },
        // Its type is all an agent can be told if it has no title.
        AttachmentKind::Unknown => Attachment { kind, url, title: title.or(word(&raw["type"])), ..<_>::default() },
        _ => Attachment { kind, url, ..<_>::default() },
    }
}

/// Before version 6 links had `url` (or `URL`) beside a payload that was a text, null or missing.
fn url(raw: &Value) -> Option<String> {
    let payload = &raw["payload"];
    let is_link = |text: &String| text.starts_with("https://") || text.starts_with("http://");
    [&payload["url"], &raw["url"], &raw["URL"]].into_iter().find_map(word).or_else(|| word(payload).filter(is_link))
}

fn title(raw: &Value) -> Option<String> {
    let payload = &raw["payload"];
    if raw["type"] == "appointment_booking" {
        return appointment(payload);
    }
    let places = [&payload["title"], &raw["title"], &payload["text"], &payload["elements"][0]["title"]];
    places.into_iter().find_map(word)
}

/// `Appointment requested: 2025-02-15 09:30–10:30 (Europe/Berlin)`: what became of it, and when it is on the clock it was made for.
fn appointment(payload: &Value) -> Option<String> {
    let status = word(&payload["status"]).map(|it| format!(" {it}")).unwrap_or_default();
    let zone = word(&payload["timezone"]).and_then(|it| TimeZone::get(&it).ok()).unwrap_or(TimeZone::UTC);
    let local =
        |value: &Value| Some(zone.to_datetime(Timestamp::from_second(seconds(whole_number(&word(value)?)?)).ok()?));
    let name = zone.iana_name().unwrap_or("UTC");
    let when = local(&payload["start_time"]).map(|start| {
        let end = local(&payload["end_time"]).map(|end| {
            if end.date() == start.date() {
                end.strftime("–%H:%M").to_string()
            } else {
                end.strftime(" – %Y-%m-%d %H:%M").to_string()
            }
        });
        format!(": {}{} ({name})", start.strftime("%Y-%m-%d %H:%M"), end.unwrap_or_default())
    });
    Some(format!("Appointment{status}{}", when.unwrap_or_default()))
}

/// The file's name stands only in the URL's path.
fn file_name(url: &str) -> Option<String> {
    let url = url::Url::parse(url).ok()?;
    let name = unescape(url.path_segments()?.next_back()?).replace('\0', "\u{fffd}");
    (!name.trim().is_empty()).then_some(name)
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let mut byte = [*first];
        rest = tail;
        if *first == b'%' && tail.len() >= 2 && hex::decode_to_slice(&tail[..2], &mut byte).is_ok() {
            rest = &tail[2..];
        }
        bytes.extend(byte);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A text that is not empty, or a number's digits.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(raw: Value, expected: Value) {
        let raw = raw.as_array().expect("a list").clone();
        assert_eq!(json!(attachments(&raw)), expected);
    }

    #[test]
    fn media_keep_their_url_and_files_get_the_name_in_it() {
        let of = |kind: &str| json!([{"type": kind, "payload": {"url": "https://cdn.example/a.bin?oe=1"}}]);
        let as_is = |kind: &str| json!([{"type": kind, "url": "https://cdn.example/a.bin?oe=1"}]);
        check(of("image"), as_is("image"));
        check(of("video"), as_is("video"));
        check(of("audio"), as_is("audio"));
        check(of("sticker"), as_is("sticker"));
        check(
            json!([{"type": "file", "payload": {"url": "https://cdn.example/x/r%C3%A9sum%C3%A9%201%.pdf?x=/y"}}]),
            json!([{"type": "file", "url": "https://cdn.example/x/r%C3%A9sum%C3%A9%201%.pdf?x=/y", "name": "résumé 1%.pdf"}]),
        );
        check(
            json!([{"type": "file", "payload": {"url": "https://cdn.example/%00"}}]),
            json!([{"type": "file", "url": "https://cdn.example/%00", "name": "\u{fffd}"}]),
        );
        check(json!([{"type": "file", "payload": {"url": "no url"}}]), json!([{"type": "file", "url": "no url"}]));
        check(json!([{"type": "image", "payload": {"url": null}}]), json!([{"type": "image"}]));
    }

    #[test]
    fn a_sticker_that_comes_twice_is_one() {
        let sticker = json!({"type": "sticker", "payload": {"url": "https://cdn.example/s.png", "sticker_id": "369"}});
        let one = json!([{"type": "sticker", "url": "https://cdn.example/s.png"}]);
        check(json!([sticker, {"type": "image", "payload": {"url": "https://cdn.example/s.png"}}]), one.clone());
        check(json!([{"type": "image", "payload": {"url": "https://cdn.example/2", "sticker_id": 369}}, sticker]), one);
        check(
            json!([sticker, {"type": "image", "payload": {"url": "https://cdn.example/cat.jpg"}}]),
            json!([{"type": "sticker", "url": "https://cdn.example/s.png"}, {"type": "image", "url": "https://cdn.example/cat.jpg"}]),
        );
    }

    #[test]
    fn places_may_lie_on_the_equator() {
        let at = |place: Value| json!([{"type": "location", "payload": {"coordinates": place}}]);
        check(at(json!({"lat": 0, "long": 0})), json!([{"type": "location", "lat": 0.0, "long": 0.0}]));
        check(at(json!({"lat": "1.5", "long": -1.3})), json!([{"type": "location", "lat": 1.5, "long": -1.3}]));
        check(at(json!(null)), json!([{"type": "location"}]));
    }

    #[test]
    fn links_of_every_age_become_links() {
        let link = json!([{"type": "link", "url": "https://a.example/", "title": "A"}]);
        check(json!([{"type": "fallback", "payload": {"url": "https://a.example/", "title": "A"}}]), link.clone());
        check(json!([{"type": "fallback", "url": "https://a.example/", "title": "A", "payload": null}]), link.clone());
        check(json!([{"type": "fallback", "URL": "https://a.example/", "title": "A", "payload": "x"}]), link.clone());
        check(json!([{"type": "fallback", "title": "A", "payload": "https://a.example/"}]), link.clone());
        check(json!([{"type": "post", "payload": {"id": 7, "url": "https://a.example/", "title": "A"}}]), link);
        check(
            json!([{"type": "fallback", "payload": {"url": "a doc", "title": "A"}}]),
            json!([{"type": "link", "url": "a doc", "title": "A"}]),
        );
        check(
            json!([{"type": "ig_reel", "payload": {"url": "/reel/1/"}}]),
            json!([{"type": "link", "url": "/reel/1/"}]),
        );
    }

    #[test]
    fn products_have_their_names_prices_and_pictures() {
        let shared = |elements: Value| json!([{"type": "template", "payload": {"product": {"elements": elements}}}]);
        check(shared(json!([{"title": "A lamp"}])), json!([{"type": "unknown", "title": "A lamp"}]));
        check(
            shared(json!([{"id": "5", "title": "A lamp", "subtitle": "$40", "image_url": "https://cdn.example/l.png"},
                {"id": 6, "title": "A chair", "image_url": null}])),
            json!([{"type": "unknown", "title": "A lamp · $40"}, {"type": "image", "url": "https://cdn.example/l.png"},
                {"type": "unknown", "title": "A chair"}]),
        );
        check(shared(json!([{"id": 7}])), json!([{"type": "unknown", "title": "product"}]));
        check(shared(json!([])), json!([{"type": "unknown", "title": "template"}]));
    }

    #[test]
    fn appointments_tell_what_became_of_them_and_when_they_are() {
        let booked = |payload: Value| json!([{"type": "appointment_booking", "payload": payload}]);
        let shown = |title: &str| json!([{"type": "unknown", "title": title}]);
        check(
            booked(
                json!({"booking_id": "b1", "status": "requested", "start_time": 1_763_640_000, "end_time": "1763643600", "timezone": "Europe/Berlin"}),
            ),
            shown("Appointment requested: 2025-11-20 13:00–14:00 (Europe/Berlin)"),
        );
        check(
            booked(
                json!({"status": "confirmed", "start_time": 1_763_674_200, "end_time": 1_763_681_400, "timezone": "Europe/Berlin"}),
            ),
            shown("Appointment confirmed: 2025-11-20 22:30 – 2025-11-21 00:30 (Europe/Berlin)"),
        );
        check(
            booked(json!({"status": "declined", "start_time": 1_763_640_000, "timezone": "Mars/Olympus"})),
            shown("Appointment declined: 2025-11-20 12:00 (UTC)"),
        );
        check(booked(json!({"status": "cancelled"})), shown("Appointment cancelled"));
        check(booked(json!(null)), shown("Appointment"));
    }

    #[test]
    fn what_is_not_known_is_kept_as_unknown() {
        check(json!([{"type": "like_heart"}]), json!([{"type": "unknown", "title": "like_heart"}]));
        check(
            json!([{"type": "template", "title": null, "url": null, "payload": {"text": "Well?"}}]),
            json!([{"type": "unknown", "title": "Well?"}]),
        );
        check(
            json!([null, 7, "x", {"type": {}}]),
            json!([{"type": "unknown"}, {"type": "unknown"}, {"type": "unknown"}, {"type": "unknown"}]),
        );
    }
}
