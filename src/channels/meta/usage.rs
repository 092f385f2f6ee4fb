//! Reads the headers in which Meta tells how much of a limit is used up.

use std::time::Duration;

use serde_json::Value;

/// How much is used and for how long we are shut out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The highest of all percentages; slow down from about 75, stop at 100.
    pub percent: u64,
    /// When calls are allowed again, if they are not now.
    pub regain_after: Option<Duration>,
}

/// Usage from `x-app-usage` and `x-business-use-case-usage`; unreadable headers say nothing.
#[must_use]
pub fn usage(app: Option<&str>, business: Option<&str>) -> Usage {
    let app: Value = app.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let business: Value = business.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let cases = business.as_object().into_iter().flat_map(|map| map.values()).filter_map(Value::as_array).flatten();

    let mut usage = Usage::default();
    for case in std::iter::once(&app).chain(cases) {
        for name in ["call_count", "total_time", "total_cputime"] {
            usage.percent = usage.percent.max(case[name].as_u64().unwrap_or_default());
        }
        let minutes = case["estimated_time_to_regain_access"].as_u64().filter(|minutes| *minutes > 0);
        let regain_after = minutes.map(|minutes| Duration::from_secs(minutes.saturating_mul(60)));
        usage.regain_after = usage.regain_after.max(regain_after);
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(app: &str, business: &str, percent: u64, minutes: Option<u64>) {
        let expected = Usage { percent, regain_after: minutes.map(|minutes| Duration::from_secs(minutes * 60)) };
        assert_eq!(usage(Some(app), Some(business)), expected);
    }

    #[test]
    fn the_fullest_bucket_counts_and_waits_are_in_minutes() {
        check(r#"{"call_count":28,"total_time":25,"total_cputime":30}"#, "", 30, None);
        check("", r#"{"1":[{"type":"messenger","call_count":97,"estimated_time_to_regain_access":0}]}"#, 97, None);
        check(
            "{}",
            r#"{"1":[{"call_count":1}],"2":[{"call_count":100,"estimated_time_to_regain_access":19}]}"#,
            100,
            Some(19),
        );
        check("[", "null", 0, None);
        check("7", r#"{"1":{"call_count":9}}"#, 0, None);
        assert_eq!(usage(None, None), Usage::default());
    }
}
