//! Meta's times: usually milliseconds, sometimes seconds, texts, zero, or nothing.

use chrono::{DateTime, TimeDelta};

use crate::{
    channels::meta::{envelope::whole_number, json::word},
    clock::Moment,
};

/// Numbers below this are seconds: as milliseconds they would lie before September 2001.
const SECONDS_BELOW: i64 = 1_000_000_000_000;

/// 4 February 2004, Facebook's first day: nothing can have happened before.
const FIRST_MS: i64 = 1_075_852_800_000;

/// How far Meta's clock may be ahead of ours before we stop believing it.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// The moment a JSON value means, unless it is absent or absurd.
pub(super) fn moment(value: Option<&str>, received_at: Moment) -> Option<Moment> {
    sensible(whole_number(&word(value?)?)?, received_at)
}

/// The moment a number means, unless it is absurd.
pub(super) fn sensible(number: i64, received_at: Moment) -> Option<Moment> {
    let ms = if number < SECONDS_BELOW { number.checked_mul(1000)? } else { number };
    let at = DateTime::from_timestamp_millis(ms).filter(|_| ms >= FIRST_MS)?;
    (at.signed_duration_since(received_at) <= AHEAD).then_some(at)
}

/// The seconds since 1970 that a number means: of appointments, which lie ahead.
pub(super) fn seconds(number: i64) -> i64 {
    if number < SECONDS_BELOW { number } else { number / 1000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: Option<&str>, expected_ms: Option<i64>) {
        let received_at = DateTime::from_timestamp_millis(1_712_345_680_000).expect("a real moment");
        assert_eq!(moment(value, received_at).map(|at| at.timestamp_millis()), expected_ms, "{value:?}");
    }

    #[test]
    fn every_spelling_of_a_time_is_understood_and_absurd_ones_are_not_believed() {
        check(Some("1712345678456"), Some(1_712_345_678_456));
        check(Some("\"1712345678456\""), Some(1_712_345_678_456));
        check(Some("1712345678456.0"), Some(1_712_345_678_456));
        check(Some("1.712345678456e12"), Some(1_712_345_678_456));
        check(Some("1712345678"), Some(1_712_345_678_000));
        check(Some("\"1712345678\""), Some(1_712_345_678_000));
        check(Some("1712345679999"), Some(1_712_345_679_999));
        check(Some("1712345740000"), Some(1_712_345_740_000));
        check(Some("1712349999999"), None);
        check(Some("1712345678456000"), None);
        check(Some("0"), None);
        check(Some("-1"), None);
        check(Some("2222222"), None);
        check(Some("99999999999999999999999"), None);
        check(Some("-9223372036854775808"), None);
        check(Some("1e999"), None);
        check(Some("\"yesterday\""), None);
        check(Some("\"\""), None);
        check(Some("{}"), None);
        check(None, None);
    }
}
