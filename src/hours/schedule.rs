//! Working hours as the API takes and shows them, and the one place that checks them.
//! What they mean at a given moment is decided in [`super::Hours`].

use std::collections::BTreeMap;

use jiff::{civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{DaySpan, Hours, MINUTES_A_DAY, Week};
use crate::check::locale;

/// More than one interval for each hour of the week is a mistake, not a schedule.
pub const MAX_INTERVALS: usize = 168;
/// Ten years of single days.
pub const MAX_EXCEPTIONS: usize = 3660;

/// Names of the days as the API writes them, Monday first.
pub(super) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// When a tenant works: a week of local times, and dates on which other times hold.
#[derive(Serialize, Deserialize, ToSchema, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// IANA name of the zone whose wall clock the times are read from.
    #[schema(example = "Europe/Istanbul")]
    pub time_zone: String,
    /// The ordinary week; may be empty.
    pub intervals: Vec<DayInterval>,
    /// Dates on which the ordinary day does not count.
    #[serde(default)]
    pub exceptions: Vec<Exception>,
    /// Language in which times are told to contacts whose own is not known; null: English.
    #[serde(default)]
    #[schema(example = "tr-TR")]
    pub locale: Option<String>,
}

/// Open on one day of every week.
#[derive(Serialize, Deserialize, ToSchema, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct DayInterval {
    /// The day it starts on: `mon`, `tue`, `wed`, `thu`, `fri`, `sat` or `sun`.
    #[schema(example = "mon", pattern = "^(mon|tue|wed|thu|fri|sat|sun)$")]
    pub day: String,
    /// Opens; `00:00` to `23:59`.
    #[schema(example = "09:00", pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    pub from: String,
    /// Closes; `00:00` to `24:00`. Not later than `from` means on the next day.
    #[schema(example = "18:00", pattern = "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]
    pub to: String,
}

/// One date with times of its own.
#[derive(Serialize, Deserialize, ToSchema, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
#[schema(as = HoursException)]
pub struct Exception {
    /// The date, `2026-12-31`; at most one exception for each.
    #[schema(example = "2026-12-31", format = "date")]
    pub date: String,
    /// What starts on that date instead of the ordinary day; empty: nothing does.
    pub intervals: Vec<TimeInterval>,
}

/// Open on the date of an exception.
#[derive(Serialize, Deserialize, ToSchema, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct TimeInterval {
    /// Opens; `00:00` to `23:59`.
    #[schema(example = "09:00", pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    pub from: String,
    /// Closes; `00:00` to `24:00`. Not later than `from` means on the next day.
    #[schema(example = "13:00", pattern = "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]
    pub to: String,
}

/// Everything that is wrong with a schedule: JSON pointer and what to write there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("working hours that make no sense at {}", .0.first().map_or("", |(pointer, _)| pointer))]
pub struct InvalidSchedule(pub Vec<(String, String)>);

impl Schedule {
    /// What is wrong, as (JSON pointer, detail); empty when it can be used.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        self.parse().err().map_or_else(Vec::new, |InvalidSchedule(faults)| faults)
    }

    /// The schedule ready for questions, or all its faults at once.
    pub fn parse(&self) -> Result<Hours, InvalidSchedule> {
        let mut faults = Faults::default();
        let zone = faults.take("/time_zone".to_owned(), zone(&self.time_zone));
        let week = self.week(&mut faults);
        let exceptions = self.exceptions(&mut faults);
        if self.locale.as_deref().is_some_and(|it| locale(it).is_none()) {
            faults.add("/locale".to_owned(), "must be a language such as tr or tr-TR".to_owned());
        }
        match (zone, faults.0.is_empty()) {
            (Some(zone), true) => {
                Ok(Hours { zone, kind: Week::of(&week), week, exceptions, locale: self.locale.clone() })
            }
            _ => Err(InvalidSchedule(faults.0)),
        }
    }

    fn week(&self, faults: &mut Faults) -> [Vec<DaySpan>; 7] {
        let mut week: [Vec<DaySpan>; 7] = Default::default();
        faults.limit("/intervals", self.intervals.len(), MAX_INTERVALS);
        for (at, interval) in self.intervals.iter().enumerate() {
            let pointer = format!("/intervals/{at}");
            let day = DAYS.iter().position(|name| *name == interval.day);
            let day =
                faults.take(format!("{pointer}/day"), day.ok_or("must be mon, tue, wed, thu, fri, sat or sun".into()));
            let span = faults.span(&pointer, &interval.from, &interval.to);
            if let (Some(day), Some(span)) = (day, span) {
                week[day].push(span);
            }
        }
        week.iter_mut().for_each(|day| day.sort_unstable());
        week
    }

    fn exceptions(&self, faults: &mut Faults) -> BTreeMap<Date, Vec<DaySpan>> {
        let mut dates = BTreeMap::new();
        faults.limit("/exceptions", self.exceptions.len(), MAX_EXCEPTIONS);
        for (at, exception) in self.exceptions.iter().enumerate() {
            let pointer = format!("/exceptions/{at}");
            faults.limit(&format!("{pointer}/intervals"), exception.intervals.len(), MAX_INTERVALS);
            let mut spans = Vec::with_capacity(exception.intervals.len());
            for (at, interval) in exception.intervals.iter().enumerate() {
                spans.extend(faults.span(&format!("{pointer}/intervals/{at}"), &interval.from, &interval.to));
            }
            spans.sort_unstable();
            if let Some(date) = faults.take(format!("{pointer}/date"), date(&exception.date))
                && dates.insert(date, spans).is_some()
            {
                faults.add(format!("{pointer}/date"), format!("{date} has an exception already"));
            }
        }
        dates
    }
}

#[derive(Default)]
struct Faults(Vec<(String, String)>);

impl Faults {
    fn add(&mut self, pointer: String, detail: String) {
        self.0.push((pointer, detail));
    }

    fn take<T>(&mut self, pointer: String, found: Result<T, String>) -> Option<T> {
        found.map_err(|detail| self.add(pointer, detail)).ok()
    }

    fn limit(&mut self, pointer: &str, count: usize, most: usize) {
        if count > most {
            self.add(pointer.to_owned(), format!("must have at most {most} entries"));
        }
    }

    fn span(&mut self, pointer: &str, from: &str, to: &str) -> Option<DaySpan> {
        let opens = minute_of_day(from).filter(|minute| *minute < MINUTES_A_DAY);
        let from = self.take(format!("{pointer}/from"), opens.ok_or("must be a time from 00:00 to 23:59".into()))?;
        let closes = minute_of_day(to).ok_or("must be a time from 00:00 to 24:00".into());
        let to = self.take(format!("{pointer}/to"), closes)?;
        Some(DaySpan { from, to: if to <= from { to + MINUTES_A_DAY } else { to } })
    }
}

fn zone(name: &str) -> Result<TimeZone, String> {
    // Names only: jiff would also find `Etc/Unknown`, which is no place on earth.
    let found = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown());
    found.ok_or_else(|| "must be the name of an IANA time zone such as Europe/Istanbul".to_owned())
}

/// Exactly `2026-12-31`; jiff's own parser would take more forms than we show.
fn date(text: &str) -> Result<Date, String> {
    let plain = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    let found = if plain { text.parse::<Date>().ok() } else { None };
    found
        .filter(|date| (1970..3000).contains(&date.year()))
        .ok_or_else(|| "must be a date such as 2026-12-31, from 1970 to 2999".to_owned())
}

/// Exactly `HH:MM`, up to and including `24:00`.
fn minute_of_day(text: &str) -> Option<u16> {
    let &[h1, h2, b':', m1, m2] = text.as_bytes() else { return None };
    let number = |tens: u8, ones: u8| {
        (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| u16::from(tens - b'0') * 10 + u16::from(ones - b'0'))
    };
    let (hour, minute) = (number(h1, h2)?, number(m1, m2)?);
    (minute < 60 && hour * 60 + minute <= MINUTES_A_DAY).then_some(hour * 60 + minute)
}
