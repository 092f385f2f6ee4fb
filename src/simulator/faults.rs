//! What goes wrong, by script, and how this Messenger behaves.

use super::Simulator;

/// What happens to a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Refused with this error; nothing is sent.
    Error {
        /// HTTP status of the answer.
        http_status: u16,
        /// Graph's code.
        code: i64,
        /// Graph's subcode.
        subcode: Option<i64>,
        /// Graph's message.
        message: String,
    },
    /// Accepted and sent, but the answer does not come within half a minute.
    Timeout,
    /// Accepted and sent; then the connection breaks before the answer.
    DropAfterSending,
    /// An edge server answers 502 with a page of HTML; nothing is sent.
    Http502,
}

impl Simulator {
    /// The Page's token is refused from now on, as after a password change (190-460).
    pub fn kill_token(&self, page_id: &str) {
        self.core.world().page_mut(page_id).is_token_dead = true;
    }

    /// The Page gets this token, alive; the one before is unknown from now on.
    pub fn set_token(&self, page_id: &str, token: &str) {
        let mut world = self.core.world();
        let page = world.page_mut(page_id);
        page.token = token.to_owned();
        page.is_token_dead = false;
    }

    /// The Page's next sends meet these faults, one each, in order; sender actions are left alone.
    pub fn fail_next_sends(&self, page_id: &str, faults: Vec<Fault>) {
        self.core.world().page_mut(page_id).faults.extend(faults);
    }

    /// Shuts the 24-hour window towards one person, whatever the clock says, or lets the clock decide again.
    pub fn closed_window(&self, page_id: &str, psid: &str, is_closed: bool) {
        self.core.world().person_mut(page_id, psid).is_window_closed = is_closed;
        self.core.changed(page_id, psid);
    }

    /// Answers `{}` when asked for this person's profile, as Meta does without the feature that allows it.
    pub fn hide_profile(&self, page_id: &str, psid: &str, is_hidden: bool) {
        self.core.world().person_mut(page_id, psid).is_profile_hidden = is_hidden;
    }

    /// Whether accepted sends come back as echoes; on at first.
    pub fn set_echoes(&self, on: bool) {
        self.core.world().options.echoes = on;
    }

    /// Whether accepted sends cause a delivery receipt; on at first.
    pub fn set_receipts(&self, on: bool) {
        self.core.world().options.receipts = on;
    }

    /// Delivers every event twice, as Meta does now and then; off at first.
    pub fn set_duplicates(&self, on: bool) {
        self.core.world().options.duplicates = on;
    }

    /// Refuses calls with Page tokens that carry no `appsecret_proof`; off at first. A wrong one is always refused.
    pub fn require_proof(&self, on: bool) {
        self.core.world().options.require_proof = on;
    }

    /// What the usage headers report, in percent; nothing is refused because of it.
    pub fn set_usage(&self, percent: u32) {
        self.core.world().options.usage_percent = percent;
    }
}
