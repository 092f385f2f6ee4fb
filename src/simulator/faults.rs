//! What goes wrong, by script, and how this Messenger behaves.

use chrono::TimeDelta;

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
    /// The connection breaks before anything is sent.
    DropBeforeSending,
    /// An edge server answers 502 with a page of HTML; nothing is sent.
    Http502,
    /// "Too many calls" of the Page, with the minutes until calls are allowed again in the usage header; nothing is sent.
    Throttle {
        /// How long.
        minutes: u64,
    },
    /// 429 without a body, with `Retry-After`; nothing is sent.
    RetryAfter {
        /// How long.
        seconds: u64,
    },
    /// Accepted and sent; the answer takes this long, by the machine's clock.
    Slow {
        /// Milliseconds.
        ms: u64,
    },
    /// Nothing goes wrong; lets a script say which of the next sends meet their faults.
    Nothing,
}

impl Fault {
    /// A refusal in Graph's shape with status 400.
    #[must_use]
    pub fn error(code: i64, subcode: Option<i64>, message: &str) -> Self {
        Self::Error { http_status: 400, code, subcode, message: message.to_owned() }
    }

    /// What Graph says when it has a moment of weakness: 500 and code 2.
    #[must_use]
    pub fn hiccup() -> Self {
        let message = "(#2) Service temporarily unavailable".to_owned();
        Self::Error { http_status: 500, code: 2, subcode: None, message }
    }
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

    /// The Page hangs: its calls get no answer and do nothing, until it is switched off again; then their connections break.
    pub fn set_hanging(&self, page_id: &str, on: bool) {
        self.core.world().page_mut(page_id).is_hanging = on;
        if !on {
            self.core.answers_again.notify_waiters();
        }
    }

    /// How many calls have come with the Page's token.
    #[must_use]
    pub fn calls(&self, page_id: &str) -> u64 {
        self.core.world().page_mut(page_id).calls
    }

    /// Whether asking for the Page's conversations is refused, as without the permission `pages_read_engagement`.
    pub fn hide_conversations(&self, page_id: &str, on: bool) {
        self.core.world().page_mut(page_id).hides_conversations = on;
    }

    /// From now on no app may subscribe to this field, as without the permissions it needs.
    pub fn withhold_field(&self, field: &str) {
        self.core.world().withheld_fields.push(field.to_owned());
    }

    /// The Page's next sends meet these faults, one each, in order; sender actions are left alone.
    pub fn fail_next_sends(&self, page_id: &str, faults: Vec<Fault>) {
        self.core.world().page_mut(page_id).faults.extend(faults);
    }

    /// The Page's next uploads meet these faults, one each, in order.
    pub fn fail_next_uploads(&self, page_id: &str, faults: Vec<Fault>) {
        self.core.world().page_mut(page_id).upload_faults.extend(faults);
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

    /// Echoes come this much later than the answer, by the simulator's clock; at first at once, mostly before the answer.
    pub fn set_echo_delay(&self, delay: TimeDelta) {
        self.core.world().options.echo_delay = delay;
    }

    /// Delivery receipts overtake the echoes of their messages; off at first.
    pub fn set_receipts_first(&self, on: bool) {
        self.core.world().options.receipts_first = on;
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
