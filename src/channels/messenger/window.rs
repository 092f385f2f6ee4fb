//! When Meta lets a page answer, and as what.

use chrono::TimeDelta;

use crate::clock::Moment;

/// How long after a person's last message anything may be answered.
pub const STANDARD_WINDOW: TimeDelta = TimeDelta::hours(24);

/// How long anything may be answered after a person's first message behind a click on an ad. Meta's policy page of
/// September 2026 says "up to": its refusal of a send is the last word.
pub const AD_WINDOW: TimeDelta = TimeDelta::days(7);

/// How long a human (never a machine) may answer, on pages with the feature Human Agent.
pub const HUMAN_AGENT_WINDOW: TimeDelta = TimeDelta::days(7);

/// What a person did that lets a page answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// The last thing they wrote, tapped or reacted to.
    pub last_inbound_at: Option<Moment>,
    /// Their first message after they last clicked on an ad.
    pub ad_message_at: Option<Moment>,
}

impl Opened {
    /// End of the time in which anything may be answered.
    #[must_use]
    pub fn standard_until(self) -> Option<Moment> {
        let after = |at: Option<Moment>, window| at.and_then(|at| at.checked_add_signed(window));
        after(self.last_inbound_at, STANDARD_WINDOW).max(after(self.ad_message_at, AD_WINDOW))
    }

    /// End of the time in which a human may answer, on pages with the feature Human Agent.
    #[must_use]
    pub fn human_agent_until(self) -> Option<Moment> {
        self.last_inbound_at.and_then(|at| at.checked_add_signed(HUMAN_AGENT_WINDOW)).max(self.standard_until())
    }
}

/// The way an answer may take now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerPath {
    /// As an ordinary response.
    Standard {
        /// Open before this moment.
        until: Moment,
    },
    /// Tagged as a human's answer.
    HumanAgent {
        /// Open before this moment.
        until: Moment,
    },
    /// Not at all, until the person writes again.
    Closed,
}

/// The way to somebody; `human_agent` says whether the page may use the tag.
#[must_use]
pub fn answer_path(opened: Opened, human_agent: bool, now: Moment) -> AnswerPath {
    let open = |until: Option<Moment>| until.filter(|until| now < *until);
    if let Some(until) = open(opened.standard_until()) {
        AnswerPath::Standard { until }
    } else if let Some(until) = open(opened.human_agent_until()).filter(|_| human_agent) {
        AnswerPath::HumanAgent { until }
    } else {
        AnswerPath::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(hours: i64) -> Moment {
        Moment::UNIX_EPOCH + TimeDelta::hours(hours)
    }

    #[track_caller]
    fn check(minutes_later: i64, human_agent: bool, expected: AnswerPath) {
        let now = hour(0) + TimeDelta::minutes(minutes_later);
        let opened = Opened { last_inbound_at: Some(hour(0)), ad_message_at: None };
        assert_eq!(answer_path(opened, human_agent, now), expected);
    }

    #[test]
    fn the_window_closes_after_a_day_and_for_people_after_a_week() {
        check(0, false, AnswerPath::Standard { until: hour(24) });
        check(24 * 60 - 1, true, AnswerPath::Standard { until: hour(24) });
        check(24 * 60, false, AnswerPath::Closed);
        check(24 * 60, true, AnswerPath::HumanAgent { until: hour(168) });
        check(168 * 60 - 1, true, AnswerPath::HumanAgent { until: hour(168) });
        check(168 * 60, true, AnswerPath::Closed);
        check(-5, false, AnswerPath::Standard { until: hour(24) });
        assert_eq!(answer_path(Opened::default(), true, hour(0)), AnswerPath::Closed);
    }

    #[test]
    fn the_first_message_after_an_ad_opens_a_week() {
        let path = |hours, human_agent, last| {
            let opened = Opened { last_inbound_at: Some(hour(last)), ad_message_at: Some(hour(0)) };
            answer_path(opened, human_agent, hour(hours))
        };
        assert_eq!(path(25, false, 0), AnswerPath::Standard { until: hour(168) });
        assert_eq!(path(168, false, 0), AnswerPath::Closed);
        assert_eq!(path(168, false, 160), AnswerPath::Standard { until: hour(184) });
        assert_eq!(path(190, true, 160), AnswerPath::HumanAgent { until: hour(328) });
    }
}
