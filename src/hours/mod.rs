//! Working hours: is a tenant open at a moment, since when and until when.
//!
//! Pure: no clock, no database. [`Schedule`] is the API's form and is checked there; this file answers.
//!
//! - An interval belongs to the date it starts on. An exception replaces what starts on its date; what
//!   began the evening before still runs over midnight into it.
//! - Intervals that touch or overlap are one open period; `since` and `until` are that period's ends.
//! - When clocks go forward, an edge the clock never shows is the first instant after the gap. When they go
//!   back, of an edge shown twice the first opens and the second closes, so nobody finds a door shut early.

mod schedule;
mod spoken;
pub mod store;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, iter::successors};

use chrono::DateTime;
use jiff::{
    Timestamp, ToSpan,
    civil::Date,
    tz::{AmbiguousOffset, TimeZone},
};
use serde::Serialize;
use utoipa::ToSchema;

pub use spoken::LocalTime;

pub use schedule::{DayInterval, Exception, InvalidSchedule, MAX_EXCEPTIONS, MAX_INTERVALS, Schedule, TimeInterval};

use crate::clock::{Moment, millis_opt};

const MINUTES_A_DAY: u16 = 24 * 60;
/// An interval reaches into the next date, and a clock change may push its end into the one after.
const REACH_DAYS: i32 = 2;
/// What an exception can change lies within so many days of it; one more than an interval reaches.
const NEAR_DAYS: i32 = REACH_DAYS + 1;
/// How far past `at` and all exceptions a week that opens and closes is followed; it changes within 8 days.
const SLACK_DAYS: i32 = 30;

/// A checked schedule, ready to be asked. Made by [`Schedule::parse`].
#[derive(Clone, Debug)]
pub struct Hours {
    zone: TimeZone,
    week: [Vec<DaySpan>; 7],
    kind: Week,
    exceptions: BTreeMap<Date, Vec<DaySpan>>,
    locale: Option<String>,
}

/// What holds at one moment.
#[derive(Serialize, ToSchema, Clone, PartialEq, Eq, Debug)]
#[schema(as = HoursStatus)]
pub struct Status {
    /// Open at that moment.
    pub open: bool,
    /// When it opened, or closed; null if it always was so.
    #[serde(serialize_with = "millis_opt")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub since: Option<Moment>,
    /// When that changes; null if never.
    #[serde(serialize_with = "millis_opt")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub until: Option<Moment>,
    /// While closed, the next opening; null while open and if there is none.
    #[serde(serialize_with = "millis_opt")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub next_open: Option<Moment>,
    /// The reason, for people.
    #[schema(example = "mon 09:00–18:00")]
    pub why: String,
}

/// An interval in minutes after the midnight its date starts with; `to` past 1440 lies on the next date.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct DaySpan {
    from: u16,
    to: u16,
}

/// The ordinary week as a whole. One that never changes need only be looked at near exceptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Week {
    AlwaysOpen,
    NeverOpen,
    Changing,
}

/// One interval of one date, in instants: open from `start` to just before `end`.
#[derive(Clone, Copy)]
struct Period {
    start: Timestamp,
    end: Timestamp,
    date: Date,
    span: DaySpan,
}

/// Which end of an interval, for the days on which a clock shows a time twice.
enum Edge {
    Opening,
    Closing,
}

impl Hours {
    /// A moment on the wall clock of these hours, as it is told at `now`.
    #[must_use]
    pub fn local(&self, at: Moment, now: Moment) -> LocalTime {
        let local = |at: Moment| {
            let at = Timestamp::from_second(at.timestamp()).unwrap_or(Timestamp::MIN);
            self.zone.to_datetime(at)
        };
        let (at, now) = (local(at), local(now));
        LocalTime { at, is_this_year: at.year() == now.year(), locale: self.locale.clone() }
    }

    /// Whether it is open at `at`, and the ends of the open or closed period around it.
    #[must_use]
    pub fn status(&self, at: Moment) -> Status {
        // Edges are whole seconds, so the second `at` lies in decides.
        let at = Timestamp::from_second(at.timestamp()).unwrap_or(if at.timestamp() < 0 {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        });
        let today = self.local_date(at);
        match self.covering(at, today) {
            Some(period) => Status {
                open: true,
                since: self.opened_at(period.start, today).map(moment),
                until: self.closes_at(period.end, today).map(moment),
                next_open: None,
                why: self.why_open(&period),
            },
            None => {
                let next_open = self.opens_after(at, today);
                Status {
                    open: false,
                    since: self.closed_at(at, today).map(moment),
                    until: next_open.map(moment),
                    next_open: next_open.map(moment),
                    why: self.why_closed(today, next_open),
                }
            }
        }
    }

    /// The interval that holds `at`; of several, the one that started last.
    fn covering(&self, at: Timestamp, today: Date) -> Option<Period> {
        let near = successors(Some(plus(today, 1)), |date| date.yesterday().ok()).take(4);
        near.flat_map(|date| self.periods(date).rev()).find(|period| period.start <= at && at < period.end)
    }

    /// The end of the open stretch that lasts until `end` at least.
    fn closes_at(&self, mut end: Timestamp, today: Date) -> Option<Timestamp> {
        let mut before = None;
        for date in self.dates_ahead(plus(today, -NEAR_DAYS)) {
            // Dates left out of a week that is always open are open throughout.
            let skipped =
                self.kind == Week::AlwaysOpen && before.is_some_and(|it: Date| it.tomorrow().ok() != Some(date));
            for (n, period) in self.periods(date).enumerate() {
                if period.start > end && !(skipped && n == 0) {
                    return Some(end);
                }
                end = end.max(period.end);
            }
            before = Some(date);
        }
        (self.kind != Week::AlwaysOpen).then_some(end)
    }

    /// The start of the open stretch that holds `start`.
    fn opened_at(&self, mut start: Timestamp, today: Date) -> Option<Timestamp> {
        let mut after = None;
        for date in self.dates_back(plus(today, NEAR_DAYS)) {
            let skipped =
                self.kind == Week::AlwaysOpen && after.is_some_and(|it: Date| it.yesterday().ok() != Some(date));
            if !skipped && plus(date, REACH_DAYS) < self.local_date(start) {
                return Some(start);
            }
            for (n, period) in self.periods(date).rev().enumerate() {
                if period.end >= start || (skipped && n == 0) {
                    start = start.min(period.start);
                }
            }
            after = Some(date);
        }
        (self.kind != Week::AlwaysOpen).then_some(start)
    }

    fn opens_after(&self, at: Timestamp, today: Date) -> Option<Timestamp> {
        self.dates_ahead(plus(today, -NEAR_DAYS))
            .flat_map(|date| self.periods(date))
            .map(|period| period.start)
            .find(|start| *start > at)
    }

    fn closed_at(&self, at: Timestamp, today: Date) -> Option<Timestamp> {
        let mut last = None;
        for date in self.dates_back(plus(today, NEAR_DAYS)) {
            if last.is_some_and(|end| plus(date, REACH_DAYS) < self.local_date(end)) {
                break;
            }
            last = last.max(self.periods(date).map(|period| period.end).filter(|end| *end <= at).max());
        }
        last
    }

    /// The intervals that start on `date`, by their start. A clock change may swallow one whole.
    fn periods(&self, date: Date) -> impl DoubleEndedIterator<Item = Period> {
        let spans = self.exceptions.get(&date).unwrap_or(&self.week[day_index(date)]);
        spans.iter().filter_map(move |&span| {
            let start = self.instant(date, span.from, Edge::Opening);
            let end = self.instant(date, span.to, Edge::Closing);
            (start < end).then_some(Period { start, end, date, span })
        })
    }

    fn instant(&self, date: Date, minute: u16, edge: Edge) -> Timestamp {
        let day = if minute < MINUTES_A_DAY { date } else { plus(date, 1) };
        let [hour, minute] = [minute % MINUTES_A_DAY / 60, minute % 60].map(|part| i8::try_from(part).unwrap_or(0));
        let local = day.at(hour, minute, 0, 0);
        let zoned = self.zone.to_ambiguous_timestamp(local);
        let found = match (zoned.offset(), edge) {
            (AmbiguousOffset::Unambiguous { offset }, _) => offset.to_timestamp(local),
            (AmbiguousOffset::Fold { before, .. }, Edge::Opening) => before.to_timestamp(local),
            (AmbiguousOffset::Fold { after, .. }, Edge::Closing) => after.to_timestamp(local),
            // jiff's own `compatible` would move the edge past the gap by the gap's length: 02:30 to 03:30.
            (AmbiguousOffset::Gap { after, .. }, _) => after.to_timestamp(local).map(|just_before| {
                let change = self.zone.following(just_before).find(|change| change.offset() == after);
                change.map_or(just_before, |change| change.timestamp())
            }),
        };
        found.unwrap_or(if local.year() < 0 { Timestamp::MIN } else { Timestamp::MAX })
    }

    fn local_date(&self, at: Timestamp) -> Date {
        self.zone.to_datetime(at).date()
    }

    /// `from` and later dates, as far as they can matter.
    fn dates_ahead(&self, from: Date) -> impl Iterator<Item = Date> {
        let last = self.exceptions.keys().next_back().map_or(from, |last| from.max(*last));
        let last = plus(last, SLACK_DAYS);
        successors(Some(from), move |date| {
            let next = date.tomorrow().ok()?;
            if self.kind == Week::Changing {
                return (next <= last).then_some(next);
            }
            let (exception, _) = self.exceptions.range(plus(next, -NEAR_DAYS)..).next()?;
            Some(next.max(plus(*exception, -NEAR_DAYS)))
        })
    }

    /// `from` and earlier dates, as far as they can matter.
    fn dates_back(&self, from: Date) -> impl Iterator<Item = Date> {
        let first = self.exceptions.keys().next().map_or(from, |first| from.min(*first));
        let first = plus(first, -SLACK_DAYS);
        successors(Some(from), move |date| {
            let next = date.yesterday().ok()?;
            if self.kind == Week::Changing {
                return (next >= first).then_some(next);
            }
            let (exception, _) = self.exceptions.range(..=plus(next, NEAR_DAYS)).next_back()?;
            Some(next.min(plus(*exception, NEAR_DAYS)))
        })
    }

    fn why_open(&self, period: &Period) -> String {
        let (date, span) = (period.date, period.span);
        if self.exceptions.contains_key(&date) {
            format!("{date} {span} (exception)")
        } else {
            format!("{} {span}", schedule::DAYS[day_index(date)])
        }
    }

    fn why_closed(&self, today: Date, next_open: Option<Timestamp>) -> String {
        let reason = match self.exceptions.get(&today) {
            Some(spans) if spans.is_empty() => return format!("closed on {today} (exception)"),
            Some(_) => format!("outside hours on {today} (exception)"),
            None => "outside hours".to_owned(),
        };
        let Some(next) = next_open.map(|at| self.zone.to_datetime(at)) else {
            return format!("{reason}, no opening ahead");
        };
        // Within a week the day's name says enough.
        let day = if next.date() <= plus(today, 6) {
            schedule::DAYS[day_index(next.date())].to_owned()
        } else {
            next.date().to_string()
        };
        format!("{reason}, next {day} {:02}:{:02}", next.hour(), next.minute())
    }
}

impl Week {
    fn of(week: &[Vec<DaySpan>; 7]) -> Self {
        const MINUTES_A_WEEK: usize = 7 * MINUTES_A_DAY as usize;
        let mut open = vec![false; MINUTES_A_WEEK];
        for (day, spans) in week.iter().enumerate() {
            for span in spans {
                for minute in span.from..span.to {
                    open[(day * usize::from(MINUTES_A_DAY) + usize::from(minute)) % MINUTES_A_WEEK] = true;
                }
            }
        }
        match (open.contains(&true), open.contains(&false)) {
            (true, false) => Self::AlwaysOpen,
            (false, _) => Self::NeverOpen,
            (true, true) => Self::Changing,
        }
    }
}

impl std::fmt::Display for DaySpan {
    /// `09:00–18:00`, `22:00–06:00`, `00:00–24:00`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let to = if self.to > MINUTES_A_DAY { self.to - MINUTES_A_DAY } else { self.to };
        write!(f, "{:02}:{:02}–{:02}:{:02}", self.from / 60, self.from % 60, to / 60, to % 60)
    }
}

/// `date` moved by `days`, stopping at the ends of the calendar.
fn plus(date: Date, days: i32) -> Date {
    date.saturating_add(days.days())
}

fn day_index(date: Date) -> usize {
    usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0)
}

fn moment(at: Timestamp) -> Moment {
    DateTime::from_timestamp(at.as_second(), 0).unwrap_or_default()
}
