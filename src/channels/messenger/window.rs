//! When Meta lets a page answer, and as what.

use chrono::{NaiveDate, TimeDelta};

use crate::clock::Moment;

/// What Meta allows, from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For what people do from this day on (year, month, day; UTC).
    since: (i32, u32, u32),
    /// How long after a person's last message anything may be answered.
    pub standard: TimeDelta,
    /// How long a human (never a machine) may answer, on pages with the feature Human Agent.
    pub human_agent: TimeDelta,
    /// How long anything may be answered after a person's first message behind a click on an ad.
    pub ad: TimeDelta,
}

/// Meta's policy, oldest first. When it changes, a row is added; its refusal of a send is the last word.
const POLICIES: &[Policy] = &[
    // March 2020: 24 hours, and HUMAN_AGENT for a week.
    Policy {
        since: (2020, 3, 4),
        standard: TimeDelta::hours(24),
        human_agent: TimeDelta::days(7),
        ad: TimeDelta::hours(24),
    },
    // September 2026: "up to" a week after the first message from a click-to-Messenger ad.
    Policy {
        since: (2026, 9, 1),
        standard: TimeDelta::hours(24),
        human_agent: TimeDelta::days(7),
        ad: TimeDelta::days(7),
    },
];

/// The policy for what a person did at a moment.
#[must_use]
pub fn policy(at: Moment) -> &'static Policy {
    let is_in_force = |it: &&Policy| {
        let (year, month, day) = it.since;
        NaiveDate::from_ymd_opt(year, month, day).is_some_and(|since| since <= at.date_naive())
    };
    POLICIES.iter().rev().find(is_in_force).unwrap_or(&POLICIES[0])
}

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
        let ordinary = self.last_inbound_at.and_then(|at| at.checked_add_signed(policy(at).standard));
        ordinary.max(self.ad_message_at.and_then(|at| at.checked_add_signed(policy(at).ad)))
    }

    /// End of the time in which a human may answer, on pages with the feature Human Agent.
    #[must_use]
    pub fn human_agent_until(self) -> Option<Moment> {
        let human = self.last_inbound_at.and_then(|at| at.checked_add_signed(policy(at).human_agent));
        human.max(self.standard_until())
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
        NaiveDate::from_ymd_opt(2026, 10, 1).expect("a day").and_time(<_>::default()).and_utc()
            + TimeDelta::hours(hours)
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

    #[test]
    fn the_policy_of_the_day_counts() {
        let day = |year, month, day| {
            NaiveDate::from_ymd_opt(year, month, day).expect("a day").and_time(<_>::default()).and_utc()
        };
        let ad = |at| Opened { last_inbound_at: None, ad_message_at: Some(at) }.standard_until();
        assert_eq!(ad(day(2026, 8, 31)), Some(day(2026, 9, 1)), "the longer window came in September");
        assert_eq!(ad(day(2026, 9, 1)), Some(day(2026, 9, 8)));
        assert_eq!(policy(day(2019, 1, 1)).standard, TimeDelta::hours(24), "before the first row it counts, too");
        assert!(POLICIES.is_sorted_by_key(|it| it.since));
    }
}
