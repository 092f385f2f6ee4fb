//! A wall-clock time as a person reads it, in their language: order, names, digits and 12 or 24 hours by CLDR.

use icu_datetime::{
    FixedCalendarDateTimeFormatter,
    fieldsets::{MDE, YMDE},
    input::{Date, DateTime, Time},
};
use icu_locale_core::Locale;
use jiff::civil;

use crate::check::locale;

/// A wall-clock time to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// The time.
    pub at: civil::DateTime,
    /// The year need not be said.
    pub is_this_year: bool,
    /// The language to fall back to.
    pub locale: Option<String>,
}

impl LocalTime {
    /// `Mon, Nov 23, 9:00 AM`; `23 Kas Pzt 09:00`.
    #[must_use]
    pub fn spoken(&self, preferred: Option<&str>) -> String {
        // A language without data (Meta has some for fun) is told like no language at all.
        let unknown = self.formatted(&Locale::UNKNOWN);
        let tell = |name: &str| self.formatted(&locale(name)?).filter(|it| Some(it) != unknown.as_ref());
        let told = preferred.and_then(tell).or_else(|| self.locale.as_deref().and_then(tell)).or_else(|| tell("en"));
        told.unwrap_or_else(|| self.at.strftime("%Y-%m-%d %H:%M").to_string())
    }

    fn formatted(&self, locale: &Locale) -> Option<String> {
        let [month, day, hour, minute] =
            [self.at.month(), self.at.day(), self.at.hour(), self.at.minute()].map(|it| u8::try_from(it).unwrap_or(0));
        let at = DateTime {
            date: Date::try_new_gregorian(self.at.year().into(), month, day).ok()?,
            time: Time::try_new(hour, minute, 0, 0).ok()?,
        };
        let text = if self.is_this_year {
            let format = FixedCalendarDateTimeFormatter::try_new(locale.into(), MDE::medium().with_time_hm()).ok()?;
            format.format(&at).to_string()
        } else {
            let format = FixedCalendarDateTimeFormatter::try_new(locale.into(), YMDE::medium().with_time_hm()).ok()?;
            format.format(&at).to_string()
        };
        // CLDR's narrow spaces are shown as boxes by some phones.
        Some(text.replace(['\u{202f}', '\u{a0}'], " "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(preferred: Option<&str>, own: Option<&str>, expected: &str) {
        let at = civil::date(2026, 11, 23).at(9, 0, 0, 0);
        let time = LocalTime { at, is_this_year: true, locale: own.map(str::to_owned) };
        assert_eq!(time.spoken(preferred), expected);
    }

    #[test]
    fn a_time_is_told_in_the_persons_language() {
        check(Some("en_US"), None, "Mon, Nov 23, 9:00 AM");
        check(Some("en_GB"), None, "Mon 23 Nov, 09:00");
        check(Some("tr_TR"), None, "23 Kas Pzt 09:00");
        check(Some("de-AT"), None, "Mo., 23. Nov., 09:00");
        check(Some("es_LA"), None, "lun, 23 nov, 09:00");
        check(Some("fb_LT"), Some("tr"), "23 Kas Pzt 09:00");
        check(None, Some("tr"), "23 Kas Pzt 09:00");
        check(Some("not a language"), Some("tr"), "23 Kas Pzt 09:00");
        check(None, None, "Mon, Nov 23, 9:00 AM");
    }

    #[test]
    fn another_year_is_said() {
        let at = civil::date(2027, 1, 4).at(14, 30, 0, 0);
        let time = LocalTime { at, is_this_year: false, locale: None };
        assert_eq!(time.spoken(Some("en_US")), "Mon, Jan 4, 2027, 2:30 PM");
    }
}
