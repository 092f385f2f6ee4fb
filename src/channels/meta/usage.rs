//! Reads the headers in which Meta tells how much of a limit is used up.

use std::time::Duration;

use serde_json::Value;

/// How much of one limit is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// The highest of its percentages; slow down from about 75, stop at 100.
    pub percent: u64,
    /// When calls are allowed again, if they are not now.
    pub regain_after: Option<Duration>,
}

/// How much of the limits is used that a call fell under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the app, with all its Pages.
    pub app: Load,
    /// Of the Page (its business use cases).
    pub page: Load,
}

impl Usage {
    /// The longest that any header asks us to wait.
    #[must_use]
    pub fn regain_after(self) -> Option<Duration> {
        self.app.regain_after.max(self.page.regain_after)
    }
}

/// Usage from `x-app-usage` and `x-business-use-case-usage`; unreadable headers say nothing.
#[must_use]
pub fn usage(app: Option<&str>, business: Option<&str>) -> Usage {
    let read = |text: Option<&str>| text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let (app, business): (Value, Value) = (read(app), read(business));
    let cases = business.as_object().into_iter().flat_map(|map| map.values()).filter_map(Value::as_array).flatten();
    Usage { app: load([&app]), page: load(cases) }
}

fn load<'a>(cases: impl IntoIterator<Item = &'a Value>) -> Load {
    let mut load = Load::default();
    for case in cases {
        for name in ["call_count", "total_time", "total_cputime"] {
            load.percent = load.percent.max(case[name].as_u64().unwrap_or_default());
        }
        // In minutes.
        let minutes = case["estimated_time_to_regain_access"].as_u64().filter(|minutes| *minutes > 0);
        load.regain_after = load.regain_after.max(minutes.map(|it| Duration::from_secs(it.saturating_mul(60))));
    }
    load
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(app: &str, business: &str, app_percent: u64, page: (u64, Option<u64>)) {
        let regain_after = page.1.map(|minutes| Duration::from_secs(minutes * 60));
        let expected = Usage {
            app: Load { percent: app_percent, regain_after: None },
            page: Load { percent: page.0, regain_after },
        };
        assert_eq!(usage(Some(app), Some(business)), expected);
    }

    #[test]
    fn the_fullest_bucket_counts_and_waits_are_in_minutes() {
        check(r#"{"call_count":28,"total_time":25,"total_cputime":30}"#, "", 30, (0, None));
        check("", r#"{"1":[{"type":"messenger","call_count":97,"estimated_time_to_regain_access":0}]}"#, 0, (97, None));
        check(
            "{}",
            r#"{"1":[{"call_count":1}],"2":[{"call_count":100,"estimated_time_to_regain_access":19}]}"#,
            0,
            (100, Some(19)),
        );
        check("[", "null", 0, (0, None));
        check("7", r#"{"1":{"call_count":9}}"#, 0, (0, None));
        assert_eq!(usage(None, None), Usage::default());
    }
}
