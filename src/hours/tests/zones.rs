//! Every clock change of many zones in ten years, against a clock that is read once a minute: intervals with an edge inside the gap or
//! the overlap, around it, over midnight into it, swallowed by it, and exceptions on its date.

use super::*;

/// What clocks do that others do not: by half an hour (Lord Howe), by two hours (Troll), at midnight (Beirut, Havana, Santiago, Cairo,
/// Gaza), in the month of fasting (Casablanca, Gaza), in quarters of an hour from UTC (Chatham), across UTC (Azores, London), and no
/// longer (Istanbul, Tehran, São Paulo, Amman).
const ZONES: [&str; 18] = [
    "Europe/Istanbul",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Santiago",
    "America/Havana",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Asia/Gaza",
    "Asia/Beirut",
    "Asia/Amman",
    "Asia/Tehran",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Pacific/Chatham",
    "Atlantic/Azores",
];
const YEARS: [&str; 2] = ["2018-01-01T00:00:00Z", "2028-01-01T00:00:00Z"];
/// Minutes read on either side of a change. Those of the outer two days are not believed: not all intervals that reach there were seen.
const READ: i64 = 6 * 1440;
const BELIEVED: i64 = 4 * 1440;
/// Minutes between looks, besides those at every opening, closing and change; no divisor of an hour.
const STRIDE: usize = 97;

fn schedules(before: civil::DateTime, after: civil::DateTime) -> Vec<String> {
    let minute = |it: civil::DateTime| i64::from(it.hour()) * 60 + i64::from(it.minute());
    let text = |minute: i64| format!("{:02}:{:02}", minute.rem_euclid(1440) / 60, minute.rem_euclid(60));
    // The wall clock jumps from one to the other; between them times are left out or come twice.
    let (from, to) = if before < after { (before, after) } else { (after, before) };
    let (start, end) = (minute(from), minute(from) + (to - from).get_minutes_total());
    let middle = (start + end) / 2;
    let date = from.date();
    vec![
        every_day(&format!("{}-{}", text(middle), text(middle + 300))),
        every_day(&format!("{}-{}", text(middle - 300), text(middle))),
        every_day("22:00-06:00"),
        every_day(&format!("22:30-{}", text(middle))),
        every_day(&format!("{}-{}", text(start), text(end))),
        every_day(&format!("{}-{}", text(start + 7), text(middle))),
        every_day(&format!("{}-{}, ", text(start - 120), text(start)))
            + &every_day(&format!("{}-{}", text(end), text(end + 90))),
        every_day("09:00-18:00") + &format!(", {date} {}-{}", text(middle), text(middle + 600)),
        every_day("22:00-06:00") + &format!(", {date}"),
        every_day("22:00-06:00") + &format!(", {} 23:00-{}", plus(date, -1), text(middle)),
        every_day("00:00-24:00") + &format!(", {date} {}-{}", text(start - 60), text(middle)),
    ]
}

trait Minutes {
    fn get_minutes_total(self) -> i64;
}

impl Minutes for jiff::Span {
    fn get_minutes_total(self) -> i64 {
        i64::from(self.get_days()) * 1440 + i64::from(self.get_hours()) * 60 + self.get_minutes()
    }
}

#[test]
fn every_change_of_every_clock_in_ten_years() {
    let [first, last] = YEARS.map(|it| it.parse::<Timestamp>().unwrap());
    let (mut changes, mut looks) = (0, 0);
    for name in ZONES {
        let zone = TimeZone::get(name).unwrap();
        for change in zone.following(first).take_while(|it| it.timestamp() < last) {
            let just_before = zone.to_offset(change.timestamp() - 1.second());
            // Only the name or the flag changes, not the clock.
            if just_before == change.offset() {
                continue;
            }
            changes += 1;
            let at = change.timestamp().as_second() / 60;
            let wall = |offset: jiff::tz::Offset| offset.to_datetime(change.timestamp());
            for text in schedules(wall(just_before), wall(change.offset())) {
                looks += compare(&schedule(name, &text), at, &text);
            }
        }
    }
    assert!(changes > 200 && looks > 50_000, "{changes} changes, {looks} looks");
}

/// Looks at `schedule` around minute `at`; how often.
fn compare(schedule: &Schedule, at: i64, text: &str) -> usize {
    let (hours, open) = (schedule.parse().unwrap(), readings_open(schedule, at - READ, at + READ));
    let here = usize::try_from(READ).unwrap();
    let reach = usize::try_from(BELIEVED).unwrap();
    let edges = (here - reach..here + reach).filter(|it| open[*it] != open[it - 1]).flat_map(|it| [it - 1, it]);
    let minutes: BTreeMap<usize, ()> = edges
        .chain([here - 1, here, here + 1])
        .chain((here - reach / 2..here + reach / 2).step_by(STRIDE))
        .map(|it| (it, ()))
        .collect();
    for &it in minutes.keys() {
        let minute = at - READ + i64::try_from(it).unwrap();
        let status = hours.status(DateTime::from_timestamp(minute * 60, 0).unwrap());
        let seen = |moment: Option<Moment>| {
            let by = moment.map(|moment| moment.timestamp().div_euclid(60) - (at - READ));
            by.and_then(|by| usize::try_from(by).ok()).filter(|by| (here - reach..here + reach).contains(by))
        };
        let since = (here - reach..=it).rev().find(|by| open[*by] != open[by - 1]);
        let until = (it + 1..here + reach).find(|by| open[*by] != open[by - 1]);
        let expected = (open[it], since, until, if open[it] { None } else { until });
        let found = (status.open, seen(status.since), seen(status.until), seen(status.next_open));
        assert_eq!(found, expected, "{}: {text}: minute {minute}, change at {at}", schedule.time_zone);
    }
    minutes.len()
}
