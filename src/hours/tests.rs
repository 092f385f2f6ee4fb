//! Cases with a known answer, and random schedules against a clock that is read minute by minute.

use chrono::TimeDelta;
use jiff::{Timestamp, civil, tz::TimeZone};
use proptest::prelude::*;

use super::*;

mod zones;

/// `"mon 09:00-18:00, 2026-12-31 09:00-13:00, 2027-01-01"`: days of the week, and dates as exceptions.
fn schedule(zone: &str, text: &str) -> Schedule {
    let mut schedule = Schedule { time_zone: zone.into(), intervals: vec![], exceptions: vec![], locale: None };
    for entry in text.split(", ").filter(|entry| !entry.is_empty()) {
        let (day, span) = entry.split_once(' ').unwrap_or((entry, ""));
        let times = span.split_once('-').map(|(from, to)| TimeInterval { from: from.into(), to: to.into() });
        if day.len() == 3 {
            let TimeInterval { from, to } = times.unwrap();
            schedule.intervals.push(DayInterval { day: day.into(), from, to });
        } else if let Some(same) = schedule.exceptions.iter_mut().find(|exception| exception.date == day) {
            same.intervals.extend(times);
        } else {
            schedule.exceptions.push(Exception { date: day.into(), intervals: times.into_iter().collect() });
        }
    }
    schedule
}

fn every_day(span: &str) -> String {
    schedule::DAYS.map(|day| format!("{day} {span}")).join(", ")
}

fn instant(text: &str) -> Moment {
    text.parse().unwrap()
}

/// `at`, `since`, `until` with the zone's own offset: `2026-11-20T09:15+03:00`; `-` for null.
#[track_caller]
fn check(zone: &str, text: &str, at: &str, open: bool, since: &str, until: &str, why: &str) {
    let status = schedule(zone, text).parse().unwrap().status(instant(at));
    let moment = |text: &str| (text != "-").then(|| instant(text));
    let next_open = if open { None } else { moment(until) };
    let expected = Status { open, since: moment(since), until: moment(until), next_open, why: why.into() };
    assert_eq!(status, expected);
}

const OFFICE: &str = "mon 09:00-18:00, tue 09:00-12:30, tue 13:00-18:00, 2026-12-31 09:00-13:00, 2027-01-01";

#[test]
fn an_office_in_istanbul_keeps_its_week() {
    let check = |at, open, since, until, why| check("Europe/Istanbul", OFFICE, at, open, since, until, why);
    let (mon_9, mon_18) = ("2026-11-16T09:00:00+03:00", "2026-11-16T18:00:00+03:00");
    let tue_9 = "2026-11-17T09:00:00+03:00";
    check(mon_9, true, mon_9, mon_18, "mon 09:00–18:00");
    check("2026-11-16T17:59:59.999+03:00", true, mon_9, mon_18, "mon 09:00–18:00");
    check(mon_18, false, mon_18, tue_9, "outside hours, next tue 09:00");
    check("2026-11-17T08:59:59.999+03:00", false, mon_18, tue_9, "outside hours, next tue 09:00");
    let (noon, one) = ("2026-11-17T12:30:00+03:00", "2026-11-17T13:00:00+03:00");
    check(noon, false, noon, one, "outside hours, next tue 13:00");
}

#[test]
fn an_exception_replaces_its_date() {
    let check = |at, open, since, until, why| check("Europe/Istanbul", OFFICE, at, open, since, until, why);
    let (opens, closes) = ("2026-12-31T09:00:00+03:00", "2026-12-31T13:00:00+03:00");
    let back = "2027-01-04T09:00:00+03:00";
    check("2026-12-31T10:00:00+03:00", true, opens, closes, "2026-12-31 09:00–13:00 (exception)");
    check(closes, false, closes, back, "outside hours on 2026-12-31 (exception), next mon 09:00");
    check("2027-01-01T10:00:00+03:00", false, closes, back, "closed on 2027-01-01 (exception)");
}

#[test]
fn an_evening_before_runs_into_a_closed_date_but_that_date_starts_nothing() {
    let text = every_day("22:00-06:00") + ", 2026-12-31";
    let check = |at, open, since, until, why| check("Europe/Istanbul", &text, at, open, since, until, why);
    let (began, ended) = ("2026-12-30T22:00:00+03:00", "2026-12-31T06:00:00+03:00");
    check("2026-12-31T03:00:00+03:00", true, began, ended, "wed 22:00–06:00");
    check("2027-01-01T03:00:00+03:00", false, ended, "2027-01-01T22:00:00+03:00", "outside hours, next fri 22:00");
}

#[test]
fn touching_and_overlapping_intervals_are_one() {
    let text = "fri 20:00-24:00, sat 00:00-02:00, sat 01:00-04:00, sun 09:00-09:00";
    let check = |at, open, since, until, why| check("Europe/Istanbul", text, at, open, since, until, why);
    let (fri, sat) = ("2026-11-20T20:00:00+03:00", "2026-11-21T04:00:00+03:00");
    check("2026-11-20T23:00:00+03:00", true, fri, sat, "fri 20:00–24:00");
    check("2026-11-21T00:00:00+03:00", true, fri, sat, "sat 00:00–02:00");
    check("2026-11-21T01:30:00+03:00", true, fri, sat, "sat 01:00–04:00");
    // The same time twice is a whole day round.
    let (sun, mon) = ("2026-11-22T09:00:00+03:00", "2026-11-23T09:00:00+03:00");
    check("2026-11-23T08:59:00+03:00", true, sun, mon, "sun 09:00–09:00");
}

#[test]
fn always_and_never() {
    let always = every_day("00:00-24:00");
    check("UTC", &always, "2026-11-20T12:00:00Z", true, "-", "-", "fri 00:00–24:00");
    check("UTC", "", "2026-11-20T12:00:00Z", false, "-", "-", "outside hours, no opening ahead");
    // Three years away is still seen.
    let (always, closes, opens) = (always + ", 2029-11-20", "2029-11-20T00:00:00Z", "2029-11-21T00:00:00Z");
    check("UTC", &always, "2026-11-20T12:00:00Z", true, "-", closes, "fri 00:00–24:00");
    check("UTC", &always, "2029-11-20T12:00:00Z", false, closes, opens, "closed on 2029-11-20 (exception)");
    check("UTC", &always, "2033-01-01T00:00:00Z", true, opens, "-", "sat 00:00–24:00");
    let (once, opens, closes) = ("2029-11-20 10:00-11:00", "2029-11-20T10:00:00Z", "2029-11-20T11:00:00Z");
    check("UTC", once, "2026-11-20T12:00:00Z", false, "-", opens, "outside hours, next 2029-11-20 10:00");
    check("UTC", once, opens, true, opens, closes, "2029-11-20 10:00–11:00 (exception)");
    check("UTC", once, "2033-01-01T00:00:00Z", false, closes, "-", "outside hours, no opening ahead");
    let evening = every_day("00:00-24:00") + ", 2029-11-20 22:00-00:00";
    check("UTC", &evening, "2029-11-26T12:00:00Z", true, "2029-11-20T22:00:00Z", "-", "mon 00:00–24:00");
    // A round the clock that is not the calendar's.
    check("UTC", &every_day("12:00-12:00"), "2026-11-20T11:00:00Z", true, "-", "-", "thu 12:00–12:00");
    check(
        "UTC",
        &(every_day("12:00-12:00") + ", 2029-11-20"),
        "2026-11-20T11:00:00Z",
        true,
        "-",
        "2029-11-20T12:00:00Z",
        "thu 12:00–12:00",
    );
}

#[test]
fn the_ends_of_the_calendar_do_not_panic() {
    for zone in ["Pacific/Apia", "Pacific/Niue"] {
        for text in [OFFICE, "", &every_day("22:00-06:00"), &(every_day("00:00-24:00") + ", 2026-11-20")] {
            let hours = schedule(zone, text).parse().unwrap();
            for at in
                [Moment::MIN_UTC, Moment::MAX_UTC, instant("9999-12-31T23:59:59Z"), instant("0000-01-01T00:00:00Z")]
            {
                assert_eq!(hours.status(at), hours.status(at));
            }
        }
    }
}

/// New York, 8 March 2026, 02:00–03:00 do not exist; 1 November 2026, 01:00–02:00 come twice.
#[test]
fn new_york_loses_an_hour_and_gets_it_back() {
    let check = |text, at, open, since, until, why| check("America/New_York", text, at, open, since, until, why);
    let (before, after) = ("2026-03-08T01:59:59-05:00", "2026-03-08T03:00:00-04:00");
    let opens_inside = "sun 02:30-09:00";
    check(opens_inside, after, true, after, "2026-03-08T09:00:00-04:00", "sun 02:30–09:00");
    check(opens_inside, before, false, "2026-03-01T09:00:00-05:00", after, "outside hours, next sun 03:00");
    let closes_inside = "sat 22:00-02:30";
    check(closes_inside, before, true, "2026-03-07T22:00:00-05:00", after, "sat 22:00–02:30");
    check(closes_inside, after, false, after, "2026-03-14T22:00:00-04:00", "outside hours, next sat 22:00");
    // The whole interval is in the gap: no opening that week, and two sides of the gap touch.
    let swallowed = "sun 02:00-02:45";
    check(
        swallowed,
        after,
        false,
        "2026-03-01T02:45:00-05:00",
        "2026-03-15T02:00:00-04:00",
        "outside hours, next 2026-03-15 02:00",
    );
    let touching = "sun 00:00-02:00, sun 03:00-05:00";
    check(touching, before, true, "2026-03-08T00:00:00-05:00", "2026-03-08T05:00:00-04:00", "sun 00:00–02:00");
    let overnight = "sat 22:00-06:00";
    check(overnight, after, true, "2026-03-07T22:00:00-05:00", "2026-03-08T06:00:00-04:00", "sat 22:00–06:00");
    check(
        overnight,
        "2026-11-01T01:30:00-05:00",
        true,
        "2026-10-31T22:00:00-04:00",
        "2026-11-01T06:00:00-05:00",
        "sat 22:00–06:00",
    );

    let (first, second) = ("2026-11-01T01:30:00-04:00", "2026-11-01T01:30:00-05:00");
    let opens_inside = "sun 01:30-09:00";
    check(opens_inside, first, true, first, "2026-11-01T09:00:00-05:00", "sun 01:30–09:00");
    check(opens_inside, "2026-11-01T01:10:00-05:00", true, first, "2026-11-01T09:00:00-05:00", "sun 01:30–09:00");
    let closes_inside = "sat 22:00-01:30";
    check(closes_inside, first, true, "2026-10-31T22:00:00-04:00", second, "sat 22:00–01:30");
    check(closes_inside, second, false, second, "2026-11-07T22:00:00-05:00", "outside hours, next sat 22:00");
}

#[test]
fn odd_zones() {
    // Lord Howe moves by half an hour: 4 October 2026, 02:00 to 02:30; 5 April 2026, 02:00 back to 01:30.
    let (zone, gap) = ("Australia/Lord_Howe", "2026-10-04T02:30:00+11:00");
    check(zone, "sun 02:15-03:00", gap, true, gap, "2026-10-04T03:00:00+11:00", "sun 02:15–03:00");
    let (first, second) = ("2026-04-05T01:45:00+11:00", "2026-04-05T01:45:00+10:30");
    check(zone, "sun 01:45-01:50", first, true, first, "2026-04-05T01:50:00+10:30", "sun 01:45–01:50");
    check(zone, "sun 01:00-01:45", first, true, "2026-04-05T01:00:00+11:00", second, "sun 01:00–01:45");
    // Beirut's clock goes from 24:00 straight to 01:00 (29 March 2026): midnight itself is in the gap.
    let gap = "2026-03-29T01:00:00+03:00";
    check(
        "Asia/Beirut",
        "sat 20:00-24:00, sun 00:30-03:00",
        gap,
        true,
        "2026-03-28T20:00:00+02:00",
        "2026-03-29T03:00:00+03:00",
        "sun 00:30–03:00",
    );
    // Samoa left out 30 December 2011, a Friday.
    let hours = "thu 09:00-17:00, fri 09:00-17:00, sat 09:00-17:00";
    let closed = "2011-12-29T17:00:00-10:00";
    check("Pacific/Apia", hours, closed, false, closed, "2011-12-31T09:00:00+14:00", "outside hours, next sat 09:00");
}

#[track_caller]
fn check_fault(schedule: &Schedule, expected: &[&str]) {
    let pointers: Vec<_> = schedule.check().into_iter().map(|(pointer, _)| pointer).collect();
    assert_eq!(pointers, expected);
}

#[test]
fn faults_say_where() {
    let of = |text: &str| schedule("Europe/Istanbul", text);
    check_fault(&of(OFFICE), &[]);
    for zone in ["", "Mars/Olympus", "Etc/Unknown", "UTC+3", "../etc/passwd"] {
        check_fault(&schedule(zone, OFFICE), &["/time_zone"]);
    }
    check_fault(&of("mon 09:00-18:00, mo. 09:00-18:00, Mon 09:00-18:00"), &["/intervals/1/day", "/intervals/2/day"]);
    for from in ["24:00", "9:00", "09:60", "0900", "+9:00", "09:00:00", "", "٠٩:٠٠"] {
        check_fault(&of(&format!("mon {from}-18:00")), &["/intervals/0/from"]);
    }
    for to in ["24:01", "25:00", "18:0", "18.00"] {
        check_fault(&of(&format!("mon 09:00-{to}")), &["/intervals/0/to"]);
    }
    for date in ["2026-13-01", "2026-02-29", "20261231", "2026-1-31", "1969-12-31", "3000-01-01", "tomorrow"] {
        check_fault(&of(date), &["/exceptions/0/date"]);
    }
    check_fault(&of("2026-12-31 09:00-1, 2027-01-01 09:00-13:00"), &["/exceptions/0/intervals/0/to"]);
    let mut twice = of("2026-12-31");
    twice.exceptions.push(twice.exceptions[0].clone());
    check_fault(&twice, &["/exceptions/1/date"]);
    check_fault(&of(&vec!["mon 09:00-18:00"; MAX_INTERVALS + 1].join(", ")), &["/intervals"]);
}

#[test]
fn the_forms_are_those_of_the_api() {
    let text = r#"{"time_zone":"UTC","intervals":[{"day":"mon","from":"09:00","to":"18:00"}],"exceptions":[{"date":"2027-01-01","intervals":[]}]}"#;
    let read: Schedule = serde_json::from_str(text).unwrap();
    // Left out, the language is that of whoever reads.
    let shown = text.replace("]}]}", "]}],\"locale\":null}");
    assert_eq!(serde_json::to_string(&read).unwrap(), shown);
    assert!(serde_json::from_str::<Schedule>(r#"{"time_zone":"UTC","intervals":[],"extra":1}"#).is_err());
    let status = read.parse().unwrap().status(instant("2026-11-16T10:00:00Z"));
    assert_eq!(
        serde_json::to_string(&status).unwrap(),
        r#"{"open":true,"since":"2026-11-16T09:00:00.000Z","until":"2026-11-16T18:00:00.000Z","next_open":null,"why":"mon 09:00–18:00"}"#
    );
}

/// Minutes scanned on either side of `at`, and those of them whose changes are believed: near the ends of
/// the scan the oracle has not seen all intervals.
const SCAN: i64 = 11 * 24 * 60;
const BELIEVED: i64 = 8 * 24 * 60;

/// Reads a clock in the schedule's zone once a minute, from one minute after 1970 to another. An interval is open from the first reading
/// at or past its start until the last reading of its end or, if no clock shows that, the first reading past it.
fn readings_open(schedule: &Schedule, first: i64, last: i64) -> Vec<bool> {
    let zone = TimeZone::get(&schedule.time_zone).unwrap();
    let midnight = |date: civil::Date| i64::from((date - civil::date(1970, 1, 1)).get_days()) * 1440;
    let reading = |minute: i64| {
        let offset = zone.to_offset(Timestamp::from_second(minute * 60).unwrap());
        minute + i64::from(offset.seconds()).div_euclid(60)
    };
    let readings: Vec<i64> = (first..=last).map(reading).collect();
    let number = |text: &str| text[..2].parse::<i64>().unwrap() * 60 + text[3..].parse::<i64>().unwrap();
    let mut open = vec![false; readings.len()];
    let mut date = zone.to_datetime(Timestamp::from_second(first * 60).unwrap()).date();
    while midnight(date) < *readings.last().unwrap() {
        let exception = schedule.exceptions.iter().find(|exception| exception.date == date.to_string());
        let spans: Vec<_> = match exception {
            Some(exception) => exception.intervals.iter().map(|it| (it.from.as_str(), it.to.as_str())).collect(),
            None => {
                let today = schedule::DAYS[day_index(date)];
                let today = schedule.intervals.iter().filter(|interval| interval.day == today);
                today.map(|it| (it.from.as_str(), it.to.as_str())).collect()
            }
        };
        for (from, to) in spans {
            let (from, to) = (number(from), number(to));
            let [from, to] = [from, if to <= from { to + 1440 } else { to }].map(|minute| midnight(date) + minute);
            let start = readings.iter().position(|reading| *reading >= from).unwrap_or(readings.len());
            let end = readings.iter().rposition(|reading| *reading <= to);
            let end = end.map_or(0, |at| if readings[at] == to { at } else { at + 1 });
            (start..end).for_each(|minute| open[minute] = true);
        }
        date = date.tomorrow().unwrap();
    }
    open
}

/// Whether it is open at minute `at`, and the changes before and after that.
fn oracle(schedule: &Schedule, at: i64) -> (bool, Option<i64>, Option<i64>) {
    let open = readings_open(schedule, at - SCAN, at + SCAN);
    let here = usize::try_from(SCAN).unwrap();
    let back = (1..=here).find(|by| open[here - by] != open[here]).map(|by| at - i64::try_from(by).unwrap() + 1);
    let ahead = (1..=here).find(|by| open[here + by] != open[here]).map(|by| at + i64::try_from(by).unwrap());
    (open[here], back, ahead)
}

fn any_schedule() -> impl Strategy<Value = Schedule> {
    let zones = [
        "UTC",
        "Europe/Istanbul",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Gaza",
        "Asia/Beirut",
        "America/Havana",
        "Africa/Casablanca",
        "Pacific/Chatham",
        "Asia/Kathmandu",
        "Atlantic/Azores",
    ];
    // Mostly near midnight and the usual hours of clock changes, often on round numbers so that edges touch.
    let minute = || prop_oneof![0..240u16, 1320..1440u16, 0..1440u16, (0..24u16).prop_map(|hour| hour * 60)];
    let text = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    let times = move || {
        (minute(), prop_oneof![9 => minute(), 1 => Just(1440)])
            .prop_map(move |(from, to)| TimeInterval { from: text(from), to: text(to) })
    };
    let interval = (0..7usize, times()).prop_map(|(day, TimeInterval { from, to })| DayInterval {
        day: schedule::DAYS[day].into(),
        from,
        to,
    });
    let full = Just(schedule("UTC", &every_day("00:00-24:00")).intervals);
    let intervals = prop_oneof![5 => prop::collection::vec(interval, 0..12), 1 => full];
    let exceptions = prop::collection::btree_map(-9..9i64, prop::collection::vec(times(), 0..3), 0..5);
    (prop::sample::select(zones.to_vec()), intervals, exceptions).prop_map(|(zone, intervals, days)| {
        // Days are counted from the clock change that `any_case` picks; it puts the dates in.
        let exceptions = days.into_iter().map(|(day, intervals)| Exception { date: day.to_string(), intervals });
        Schedule { time_zone: zone.into(), intervals, exceptions: exceptions.collect(), locale: None }
    })
}

/// A schedule, and a minute within a week of one of its zone's clock changes if it has any.
fn any_case() -> impl Strategy<Value = (Schedule, i64)> {
    (any_schedule(), 0..40usize, -7 * 1440..7 * 1440i64).prop_map(|(mut schedule, skip, off)| {
        let zone = TimeZone::get(&schedule.time_zone).unwrap();
        let start: Timestamp = "2005-01-01T00:00:00Z".parse().unwrap();
        let change = zone.following(start).nth(skip).map_or(start, |change| change.timestamp());
        for exception in &mut schedule.exceptions {
            let date = plus(zone.to_datetime(change).date(), exception.date.parse().unwrap());
            exception.date = date.to_string();
        }
        (schedule, change.as_second() / 60 + off)
    })
}

/// Some 10 ms each; `PROPTEST_CASES` does not reach a test that states its own number.
const CASES: u32 = 150;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn agrees_with_a_clock_read_every_minute((schedule, at) in any_case()) {
        let (open, since, until) = oracle(&schedule, at);
        let moment = DateTime::from_timestamp(at * 60, 0).unwrap();
        let status = schedule.parse().unwrap().status(moment + TimeDelta::seconds(59));
        let believed = |change: Option<i64>| change.filter(|change| (change - at).abs() <= BELIEVED);
        let minute = |moment: Option<Moment>| moment.map(|moment| moment.timestamp().div_euclid(60));
        prop_assert_eq!(status.open, open);
        prop_assert_eq!(believed(minute(status.since)), believed(since));
        prop_assert_eq!(believed(minute(status.until)), believed(until));
        prop_assert_eq!(status.next_open, if open { None } else { status.until });
    }
}
