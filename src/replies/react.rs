//! The Page's reaction to a message: one emoji, replaced by the next. Asked of the channel at once; who reacts sees whether it worked.

use chrono::TimeDelta;
use serde_json::json;
use unicode_segmentation::UnicodeSegmentation;

use super::{
    Outgoing,
    calls::{Call, NotNow},
    store,
    write::WindowShut,
};
use crate::{
    channels::{messenger::send, meta::graph::Verdict},
    clock::Moment,
    db::bell::Topic,
    ids::TenantId,
    rooms::{
        self, MessageView,
        receipts::{self, Changed},
        store::LockedRoom,
        window,
    },
};

/// Longest emoji in bytes: a family with skin tones has some forty.
const MAX_EMOJI_BYTES: usize = 64;

/// Why a reaction is not shown.
#[derive(Debug, thiserror::Error)]
pub enum ReactError {
    /// No emoji.
    #[error("no emoji")]
    NoEmoji,
    /// The channel does not know the message.
    #[error("the channel does not know the message")]
    Unknown,
    /// Messenger does not allow it now.
    #[error("the messaging window is closed")]
    WindowClosed(WindowShut),
    /// The Page has no token that works.
    #[error("the Page is disconnected")]
    Disconnected,
    /// The channel refuses.
    #[error("the channel refuses: {0}")]
    Refused(String),
    /// The channel does not answer.
    #[error("the channel does not answer")]
    Away,
    /// The Page may not be called for so long.
    #[error("the Page may not be called for {0}")]
    Later(TimeDelta),
    /// A secret does not open.
    #[error("the Page's secrets do not open")]
    Seal(#[from] crate::seal::SealError),
    /// The database did not answer.
    #[error("the database did not answer")]
    Db(#[from] sqlx::Error),
}

/// Whether a text is one emoji (or what looks like one: letters, digits and punctuation are none).
#[must_use]
pub fn is_emoji(text: &str) -> bool {
    let is_plain = |it: char| it.is_alphanumeric() || it.is_whitespace() || it.is_control();
    // Keycaps (1️⃣) begin with a digit and end with the key.
    let is_keycap = text.ends_with('\u{20e3}');
    text.len() <= MAX_EMOJI_BYTES
        && text.graphemes(true).count() == 1
        && (is_keycap || (!text.is_ascii() && !text.chars().any(is_plain)))
}

/// Shows the Page's reaction to a message, or takes it back.
///
/// # Errors
/// [`ReactError`]; nothing has changed then, as far as anybody knows.
pub async fn react(
    outgoing: &Outgoing,
    tenant: TenantId,
    room: &LockedRoom,
    message: &MessageView,
    emoji: Option<&str>,
) -> Result<MessageView, ReactError> {
    if emoji.is_some_and(|it| !is_emoji(it)) {
        return Err(ReactError::NoEmoji);
    }
    let mid = message.external_id.as_deref().ok_or(ReactError::Unknown)?;
    let now = outgoing.clock.now();
    // The tag for people is for what they write.
    if let Some(shut) = WindowShut::of(room, false, now) {
        return Err(ReactError::WindowClosed(shut));
    }
    let (sender, page) =
        store::find_page(&outgoing.db, tenant, message.room_id).await?.ok_or(ReactError::Disconnected)?;
    let call = Call::begin(outgoing, tenant, &page).map_err(|why| match why {
        NotNow::Later(at) => ReactError::Later(at - now),
        NotNow::Seal(error) => error.into(),
    })?;
    let answered = outgoing.graph.act(call.access(), &page.page_id, &send::reaction(&sender, mid, emoji)).await;
    call.end(answered).await.map_err(|it| refusal(it, room, now))?;
    let mut tx = crate::db::begin(&outgoing.db).await?;
    let added = emoji.map(|emoji| json!({ "by": "page", "emoji": emoji }));
    rooms::store::files::mark_reaction(&mut tx, tenant, message.id, "page", added.as_ref()).await?;
    let changed = Changed { message: message.id, room: message.room_id };
    receipts::announce(&mut tx, tenant, &[changed], now).await?;
    let shown = rooms::store::find_message(&mut tx, tenant, message.id).await?.ok_or(ReactError::Unknown)?;
    tx.commit().await?;
    outgoing.bell.ring(Topic::Events(tenant));
    Ok(shown)
}

fn refusal(verdict: Verdict, room: &LockedRoom, now: Moment) -> ReactError {
    match verdict {
        // Its word is final, whatever we know of the window.
        Verdict::WindowClosed { .. } => {
            let known = window(room.opened, room.human_agent, now);
            ReactError::WindowClosed(WindowShut { window: known, people_until: None })
        }
        Verdict::Reauth { .. } => ReactError::Disconnected,
        Verdict::Retry { .. } | Verdict::BackOff { .. } | Verdict::MaybeSent { .. } => ReactError::Away,
        other => ReactError::Refused(other.error().map(|it| it.message.clone()).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_emoji_is_an_emoji() {
        for emoji in ["😀", "❤️", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪", "1️⃣", "☺"] {
            assert!(is_emoji(emoji), "{emoji}");
        }
        for text in ["", "a", "1", "!", "😀😀", "ok", "ä", " ", "😀 ", "\0", "漢"] {
            assert!(!is_emoji(text), "{text}");
        }
    }
}
