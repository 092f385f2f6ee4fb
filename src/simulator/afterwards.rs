//! What a person does to messages that are already there: reacts, edits, unsends. Each becomes the event Meta would deliver.

use serde_json::{Value, json};

use super::Simulator;
use super::events;
use super::world::{Line, Person, Said};

/// How often a message can be edited.
const MOST_EDITS: u32 = 5;

impl Simulator {
    /// Reacts to a message with an emoji; opens the window as writing does.
    pub async fn react(&self, page_id: &str, psid: &str, mid: &str, emoji: &str) {
        let content = json!({"reaction": {"reaction": "other", "emoji": emoji, "action": "react", "mid": mid}});
        let keep = |person: &mut Person| drop(person.own_reactions.insert(mid.to_owned(), emoji.to_owned()));
        self.change(page_id, psid, "message_reactions", mid, content, keep).await;
    }

    /// Takes the person's reaction to a message back.
    pub async fn unreact(&self, page_id: &str, psid: &str, mid: &str) {
        let content = json!({"reaction": {"action": "unreact", "mid": mid}});
        let keep = |person: &mut Person| drop(person.own_reactions.remove(mid));
        self.change(page_id, psid, "message_reactions", mid, content, keep).await;
    }

    /// Changes the text of a message of the person's own; false if it is none, was unsent, or was edited too often.
    pub async fn edit(&self, page_id: &str, psid: &str, mid: &str, text: &str) -> bool {
        let edits = self.core.world().person_mut(page_id, psid).own_mut(mid).map_or(MOST_EDITS, |it| it.edits) + 1;
        if edits > MOST_EDITS {
            return false;
        }
        let content = json!({"message_edit": {"mid": mid, "text": text, "num_edit": edits}});
        let keep = |person: &mut Person| {
            if let Some(said) = person.own_mut(mid) {
                (said.text, said.edits) = (Some(text.to_owned()), edits);
            }
        };
        self.change(page_id, psid, "message_edits", mid, content, keep).await;
        true
    }

    /// Takes a message of the person's own back; false if it is none, or was unsent before.
    pub async fn unsend(&self, page_id: &str, psid: &str, mid: &str) -> bool {
        if self.core.world().person_mut(page_id, psid).own_mut(mid).is_none() {
            return false;
        }
        let content = json!({"message": {"mid": mid, "is_deleted": true}});
        let keep = |person: &mut Person| {
            if let Some(said) = person.own_mut(mid) {
                (said.text, said.attachment, said.is_unsent) = (None, None, true);
            }
        };
        self.change(page_id, psid, "messages", mid, content, keep).await;
        true
    }

    async fn change(
        &self,
        page_id: &str,
        psid: &str,
        field: &str,
        mid: &str,
        content: Value,
        keep: impl FnOnce(&mut Person),
    ) {
        let now = self.core.clock.now();
        let act = |person: &mut Person, at_ms| {
            person.acted_at = Some(now);
            keep(person);
            events::by_person(page_id, psid, field, at_ms, Some(mid), content)
        };
        self.does(page_id, psid, act).await;
    }
}

impl Person {
    /// A message of the person's own that is still there.
    fn own_mut(&mut self, mid: &str) -> Option<&mut Said> {
        self.lines.iter_mut().find_map(|line| match line {
            Line::Person(said) if said.mid == mid && !said.is_unsent => Some(said),
            _ => None,
        })
    }
}
