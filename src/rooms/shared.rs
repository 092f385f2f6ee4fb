//! What contacts share about themselves when they are asked: an e-mail address, a phone number.

use sqlx::PgConnection;

use super::{
    events::{self, Kind, NewEvent},
    receive::Inbound,
    store,
};
use crate::{
    channels::{Content, Field},
    clock::Moment,
    ids::{ContactId, RoomId, TenantId},
};

/// An e-mail address, a phone number.
type Fields = (Option<String>, Option<String>);

/// Meta does not say which question a tap answers: what the contact was asked for last does. A typed address is kept as text and
/// fills the contact all the same.
pub(super) async fn recognise(
    tx: &mut PgConnection,
    it: &Inbound,
    contact: ContactId,
) -> sqlx::Result<(Content, Option<Fields>)> {
    let (value, is_tap) = match &it.content {
        Content::Choice { text, payload, .. } => (if looks_shared(payload).is_some() { payload } else { text }, true),
        Content::Text { text } => (text, false),
        _ => return Ok((it.content.clone(), None)),
    };
    let value = value.trim();
    let Some(looks) = looks_shared(value) else { return Ok((it.content.clone(), None)) };
    let asked = match store::receive::find_asked(tx, it.tenant, contact).await?.as_deref() {
        Some("email") => Field::Email,
        Some("phone") => Field::Phone,
        _ => return Ok((it.content.clone(), None)),
    };
    if asked != looks {
        return Ok((it.content.clone(), None));
    }
    let fields = match asked {
        Field::Email => (Some(value.to_owned()), None),
        Field::Phone => (None, Some(value.to_owned())),
    };
    let content =
        if is_tap { Content::SharedField { field: asked, value: value.to_owned() } } else { it.content.clone() };
    Ok((content, Some(fields)))
}

/// Longest address or number that is taken for one: RFC 5321's limit for a mailbox, rounded.
const MAX_SHARED: usize = 256;

/// Whether a text may be something that the contact was asked for.
#[must_use]
pub fn may_share(text: &str) -> bool {
    looks_shared(text).is_some()
}

fn looks_shared(value: &str) -> Option<Field> {
    let value = value.trim();
    if value.is_empty() || value.len() > MAX_SHARED || value.contains(char::is_control) {
        return None;
    }
    let is_email = !value.contains(char::is_whitespace)
        && value
            .split_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && host.contains('.') && !host.contains('@'));
    if is_email {
        return Some(Field::Email);
    }
    let digits = value.chars().filter(char::is_ascii_digit).count();
    let is_phone = (5..=20).contains(&digits) && value.chars().all(|it| it.is_ascii_digit() || "+-() ./".contains(it));
    is_phone.then_some(Field::Phone)
}

/// Tells that contacts of these rooms shared something about themselves.
pub(super) async fn announce(tx: &mut PgConnection, shared: &[(TenantId, RoomId)], now: Moment) -> sqlx::Result<()> {
    let (tenants, ids): (Vec<_>, Vec<_>) = shared.iter().map(|it| (it.0.0, it.1.0)).unzip();
    if ids.is_empty() {
        return Ok(());
    }
    let views = store::list_views(tx, &tenants, &ids, now).await?;
    let log = views.iter().map(|(tenant, view)| NewEvent {
        data: events::written(&view.contact),
        ..NewEvent::room(*tenant, Kind::ContactUpdated, view)
    });
    events::append(tx, now, &log.collect::<Vec<_>>()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_numbers_are_told_apart() {
        for (value, expected) in [
            ("anna@example.com", Some(Field::Email)),
            (" +90 (532) 000-11-22 ", Some(Field::Phone)),
            ("12345", Some(Field::Phone)),
            ("1234", None),
            ("anna@", None),
            ("mail me at anna@example.com", None),
            ("Green", None),
            ("", None),
        ] {
            assert_eq!(looks_shared(value), expected, "{value}");
        }
    }
}
