//! When Meta lets a page answer, and as what.

use chrono::TimeDelta;

use crate::clock::Moment;

/// How long after a person's last message anything may be answered.
pub const STANDARD_WINDOW: TimeDelta = TimeDelta::hours(24);

/// How long a human (never a machine) may answer, on pages with the feature Human Agent.
pub const HUMAN_AGENT_WINDOW: TimeDelta = TimeDelta::days(7);

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

/// The way to somebody who last wrote at `last_inbound`; `human_agent` says whether the page may use the tag.
#[must_use]
pub fn answer_path(last_inbound: Option<Moment>, human_agent: bool, now: Moment) -> AnswerPath {
    let open = |window| last_inbound.and_then(|at| at.checked_add_signed(window)).filter(|until| now < *until);
    if let Some(until) = open(STANDARD_WINDOW) {
        AnswerPath::Standard { until }
    } else if let Some(until) = open(HUMAN_AGENT_WINDOW).filter(|_| human_agent) {
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
        assert_eq!(answer_path(Some(hour(0)), human_agent, now), expected);
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
        assert_eq!(answer_path(None, true, hour(0)), AnswerPath::Closed);
    }
}
