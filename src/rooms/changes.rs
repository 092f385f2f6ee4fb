//! What its author or reader changes about a message afterwards: edits, retractions, reactions. Each may come twice, late, and
//! before the message itself; then it waits for the message, as receipts do that name it.

use serde_json::{Value, json};
use sqlx::PgConnection;

use super::{
    Delivery, MessageView,
    receipts::{self, Changed},
    store::changes as store,
};
use crate::{
    channels::Content,
    clock::Moment,
    ids::{MessageId, RoomId, TenantId, WidgetId},
    media,
};

/// What the content of a message becomes that was taken back.
const UNSENT: &str = "unsent";

/// Whose reactions the Page's are.
const PAGE: &str = "page";

/// A change of a message that the channel told.
#[derive(Clone, Debug)]
pub struct MessageChange {
    /// Whose page.
    pub tenant: TenantId,
    /// The page.
    pub widget: WidgetId,
    /// The channel's id of the message.
    pub external_id: String,
    /// When, by the channel's clock.
    pub at: Moment,
    /// What.
    pub change: Change,
}

/// What changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It says something else now.
    Edit {
        /// The new text.
        text: Option<String>,
        /// Which edit of the message this is, from 1.
        number: Option<i64>,
    },
    /// Its author took it back: nobody sees its content any more.
    Unsent,
    /// Somebody reacted to it, or took the reaction back.
    Reaction {
        /// `contact` or `page`.
        by: &'static str,
        /// The reaction; none any more if absent.
        emoji: Option<String>,
    },
    /// It arrived, or was read.
    Arrived {
        /// Whether it was read.
        is_read: bool,
    },
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The message is changed.
    Changed(RoomId),
    /// It was so already, or has been changed again since.
    Known(RoomId),
    /// The message is not here yet; the change waits for it.
    Early,
}

/// Changes a message, or keeps the change until the message comes.
///
/// # Errors
/// The database's.
pub async fn change(tx: &mut PgConnection, it: &MessageChange, now: Moment) -> sqlx::Result<Effect> {
    let Some(mut message) = store::lock_message(tx, it.tenant, it.widget, &it.external_id).await? else {
        store::insert_early(tx, it, now).await?;
        return Ok(Effect::Early);
    };
    let room = message.room;
    if !message.apply(&it.change, it.at) {
        return Ok(Effect::Known(room));
    }
    keep(tx, it.tenant, &message).await?;
    receipts::announce(tx, it.tenant, &[Changed { message: message.id, room }], now).await?;
    Ok(Effect::Changed(room))
}

/// Applies what came before this message, now that it is here. The caller announces it. Whether anything changed.
///
/// # Errors
/// The database's.
pub async fn catch_up(tx: &mut PgConnection, tenant: TenantId, message: MessageId) -> sqlx::Result<bool> {
    let early = store::take_early_of(tx, tenant, message).await?;
    let Some(first) = early.first() else { return Ok(false) };
    let Some(mut stored) = store::lock_message(tx, tenant, first.widget, &first.external_id).await? else {
        return Ok(false);
    };
    let changes: Vec<_> = early.iter().map(|it| stored.apply(&it.change, it.at)).collect();
    keep(tx, tenant, &stored).await?;
    Ok(changes.contains(&true))
}

/// Writes a changed message. The files of one that was taken back go with its words.
///
/// # Errors
/// The database's.
pub async fn keep(tx: &mut PgConnection, tenant: TenantId, it: &Changeable) -> sqlx::Result<()> {
    store::update(tx, tenant, it).await?;
    if it.status == Delivery::Unsent {
        media::store::delete_of_message(tx, tenant, it.id).await?;
    }
    Ok(())
}

/// The parts of a message that may change.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Changeable {
    pub id: MessageId,
    pub room: RoomId,
    pub content: Value,
    pub status: Delivery,
    pub reactions: Value,
    pub reacted_at: Option<Moment>,
    pub page_reacted_at: Option<Moment>,
    pub edited_at: Option<Moment>,
    pub edit_number: Option<i64>,
    pub delivered_at: Option<Moment>,
    pub read_at: Option<Moment>,
}

impl Changeable {
    /// Those of a message that is about to be stored.
    #[must_use]
    pub fn of(view: &MessageView) -> Self {
        Self {
            id: view.id,
            room: view.room_id,
            content: view.content.clone(),
            status: view.status,
            reactions: view.reactions.clone(),
            reacted_at: None,
            page_reacted_at: None,
            edited_at: view.edited_at,
            edit_number: None,
            delivered_at: view.delivered_at,
            read_at: view.read_at,
        }
    }

    /// Puts them into the message as it is shown.
    pub fn show_in(&self, view: &mut MessageView) {
        (view.content, view.status) = (self.content.clone(), self.status);
        (view.reactions, view.edited_at) = (self.reactions.clone(), self.edited_at);
        (view.delivered_at, view.read_at) = (self.delivered_at, self.read_at);
    }

    /// Applies a change, unless it is older than what is known. Whether anything is different now.
    pub fn apply(&mut self, change: &Change, at: Moment) -> bool {
        if self.status == Delivery::Unsent {
            return false;
        }
        match change {
            Change::Edit { text, number } => self.edit(text.as_deref(), *number, at),
            Change::Unsent => {
                self.content = json!(Content::Unsupported { what: UNSENT.to_owned() });
                self.status = Delivery::Unsent;
                self.reactions = json!([]);
                true
            }
            Change::Reaction { by, emoji } => self.react(by, emoji.as_deref(), at),
            Change::Arrived { is_read } => self.arrive(*is_read, at),
        }
    }

    fn arrive(&mut self, is_read: bool, at: Moment) -> bool {
        if !(self.status == Delivery::Sent || (is_read && self.status == Delivery::Delivered)) {
            return false;
        }
        self.status = if is_read { Delivery::Read } else { Delivery::Delivered };
        self.delivered_at = self.delivered_at.or(Some(at));
        self.read_at = self.read_at.or(is_read.then_some(at));
        true
    }

    fn edit(&mut self, text: Option<&str>, number: Option<i64>, at: Moment) -> bool {
        // Meta counts the edits; without a number the time has to do.
        let is_newer = match (number, self.edit_number) {
            (Some(number), Some(known)) => number > known,
            _ => self.edited_at.is_none_or(|known| at > known),
        };
        if !is_newer {
            return false;
        }
        if let Some(text) = text {
            // An attachment may get its first words by an edit; what had no words otherwise is a text now.
            let keeps_the_rest = self.content["text"].is_string() || self.content["kind"] == "attachments";
            match keeps_the_rest {
                true => self.content["text"] = text.into(),
                false => self.content = json!(Content::Text { text: text.to_owned() }),
            }
        }
        self.edit_number = number.or(self.edit_number);
        self.edited_at = Some(self.edited_at.map_or(at, |known| known.max(at)));
        true
    }

    fn react(&mut self, by: &str, emoji: Option<&str>, at: Moment) -> bool {
        // Each side's reactions are told in an order of their own.
        let reacted_at = if by == PAGE { &mut self.page_reacted_at } else { &mut self.reacted_at };
        if reacted_at.is_some_and(|known| at < known) {
            return false;
        }
        *reacted_at = Some(at);
        let others = self.reactions.as_array().into_iter().flatten().filter(|it| it["by"] != by).cloned();
        let reaction = emoji.map(|emoji| json!({ "by": by, "emoji": emoji }));
        let reactions = Value::Array(others.chain(reaction).collect());
        std::mem::replace(&mut self.reactions, reactions.clone()) != reactions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Moment {
        chrono::DateTime::from_timestamp(1_790_000_000 + seconds, 0).expect("a moment")
    }

    fn said(content: Value) -> Changeable {
        let (id, room) = (MessageId(uuid::Uuid::nil()), RoomId(uuid::Uuid::nil()));
        let (status, reactions) = (Delivery::Received, json!([]));
        Changeable {
            id,
            room,
            content,
            status,
            reactions,
            reacted_at: None,
            page_reacted_at: None,
            edited_at: None,
            edit_number: None,
            delivered_at: None,
            read_at: None,
        }
    }

    fn edit(text: &str, number: impl Into<Option<i64>>) -> Change {
        Change::Edit { text: Some(text.to_owned()), number: number.into() }
    }

    fn reaction(emoji: Option<&str>) -> Change {
        Change::Reaction { by: "contact", emoji: emoji.map(str::to_owned) }
    }

    #[test]
    fn receipts_move_what_was_sent_and_only_forward() {
        let arrived = |status, receipts: &[bool]| {
            let mut it = Changeable { status, ..said(json!({ "kind": "text", "text": "hi" })) };
            let moved =
                receipts.iter().zip(1..).map(|(is_read, n)| it.apply(&Change::Arrived { is_read: *is_read }, at(n)));
            (moved.collect::<Vec<_>>(), it.status, it.delivered_at, it.read_at)
        };
        let sent = Delivery::Sent;
        assert_eq!(arrived(sent, &[false, true]), (vec![true, true], Delivery::Read, Some(at(1)), Some(at(2))));
        assert_eq!(arrived(sent, &[true, false]), (vec![true, false], Delivery::Read, Some(at(1)), Some(at(1))));
        for status in [Delivery::Received, Delivery::Unsent, Delivery::Failed] {
            assert_eq!(arrived(status, &[true]), (vec![false], status, None, None));
        }
    }

    #[test]
    fn the_edit_with_the_highest_number_stays() {
        let mut it = said(json!({ "kind": "text", "text": "helo" }));
        assert!(it.apply(&edit("hello!", 2), at(2)));
        assert!(!it.apply(&edit("hello", 1), at(3)), "came late");
        assert!(!it.apply(&edit("hello!", 2), at(2)), "came twice");
        assert_eq!((&it.content["text"], it.edited_at), (&json!("hello!"), Some(at(2))));
        assert!(!it.apply(&edit("unnumbered and old", None), at(1)));
        assert!(it.apply(&edit("unnumbered", None), at(4)));
        assert_eq!(it.edit_number, Some(2));
    }

    #[test]
    fn an_edit_keeps_what_is_not_text() {
        let mut it = said(json!({ "kind": "attachments", "attachments": [{ "type": "image" }] }));
        assert!(it.apply(&edit("look", 1), at(1)));
        assert_eq!(it.content, json!({ "kind": "attachments", "attachments": [{ "type": "image" }], "text": "look" }));
        let mut it = said(json!({ "kind": "unsupported", "what": "empty" }));
        assert!(it.apply(&edit("words", 1), at(1)));
        assert_eq!(it.content, json!({ "kind": "text", "text": "words" }));
    }

    #[test]
    fn what_was_taken_back_stays_so() {
        let mut it = said(json!({ "kind": "text", "text": "secret" }));
        assert!(it.apply(&reaction(Some("😀")), at(1)));
        assert!(it.apply(&Change::Unsent, at(2)));
        assert_eq!(it.content, json!({ "kind": "unsupported", "what": "unsent" }));
        assert_eq!((it.status, &it.reactions), (Delivery::Unsent, &json!([])));
        assert!(!it.apply(&Change::Unsent, at(2)));
        assert!(!it.apply(&edit("secret again", 9), at(3)));
        assert!(!it.apply(&reaction(Some("😀")), at(3)));
    }

    #[test]
    fn a_reaction_of_the_page_does_not_hide_an_older_one_of_the_contact_that_is_told_late() {
        let mut it = said(json!({ "kind": "text", "text": "x" }));
        let by_page = |emoji: &str| Change::Reaction { by: "page", emoji: Some(emoji.to_owned()) };
        assert!(it.apply(&by_page("👍"), at(3)));
        assert!(it.apply(&reaction(Some("😀")), at(1)));
        assert_eq!(it.reactions, json!([{ "by": "page", "emoji": "👍" }, { "by": "contact", "emoji": "😀" }]));
        assert!(!it.apply(&by_page("❤️"), at(2)), "came late");
        assert!(it.apply(&by_page("😂"), at(4)));
        assert!(it.apply(&reaction(None), at(2)));
        assert_eq!(it.reactions, json!([{ "by": "page", "emoji": "😂" }]));
    }

    #[test]
    fn one_reaction_of_each_and_never_an_older_one() {
        let mut it = said(json!({ "kind": "text", "text": "x" }));
        assert!(it.apply(&reaction(Some("😀")), at(1)));
        assert!(it.apply(&reaction(Some("😢")), at(2)));
        assert_eq!(it.reactions, json!([{ "by": "contact", "emoji": "😢" }]));
        assert!(it.apply(&Change::Reaction { by: "page", emoji: Some("👍".to_owned()) }, at(3)));
        assert!(it.apply(&reaction(None), at(4)));
        assert_eq!(it.reactions, json!([{ "by": "page", "emoji": "👍" }]));
        assert!(!it.apply(&reaction(Some("😢")), at(2)), "delivered again");
        assert!(!it.apply(&reaction(None), at(4)));
    }
}
