//! How fast this process sends: rates of Pages, apps and people, Pages that do not answer, and everybody's share.
//!
//! Pure bookkeeping in memory: it is told what happened and when, and says who may send. What has to survive a restart or hold for
//! all processes (Meta's own "wait") is in PostgreSQL instead.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::TimeDelta;

use crate::{
    channels::meta::graph::Usage,
    clock::Moment,
    ids::{MetaAppId, RoomId, TenantId, WidgetId},
};

/// How fast this process may send, in messages a second; and how many at one time.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the settings of the same names")]
pub struct Limits {
    pub at_once: u32,
    pub page_per_s: u32,
    pub page_media_per_s: u32,
    pub app_per_s: u32,
    pub person_per_s: u32,
}

/// Sends a Page may have under way before it has shown that it answers; each answer allows one more.
const FIRST_WINDOW: u32 = 8;
/// Most calls one Page may have under way that are no messages.
const MOST_CALLS: u32 = 32;
/// Most sends one Page may have under way: at Meta's 300 a second and 200 ms a call it needs 60.
const MOST_PER_PAGE: u32 = 128;
/// Sends without an answer in a row after which a Page is left alone for a while.
const FAILURES: u32 = 3;
/// The first such while; it doubles up to [`LONGEST_REST_S`].
const FIRST_REST_S: i64 = 5;
/// The longest such while.
const LONGEST_REST_S: i64 = 60;
/// From this usage on we slow down, as Meta advises.
const TIGHT_PERCENT: u64 = 75;
/// How long a usage header is believed: usage is of the last hour, and falls slowly.
const USAGE_BELIEVED: TimeDelta = TimeDelta::minutes(5);
/// Above this many remembered people, those who are not waited for are forgotten.
const MOST_PEOPLE: usize = 10_000;

/// Who sends what to whom.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Lane {
    pub tenant: TenantId,
    pub app: MetaAppId,
    pub page: WidgetId,
    pub room: RoomId,
    /// Audio or video, for which Meta's limit is lower.
    pub is_media: bool,
}

/// Whether something may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Yes; it counts as under way until [`Pacer::end`].
    Now,
    /// This Page has its share under way, or is over its rate: perhaps at this moment, or as soon as one of its sends has ended.
    PageLater(Moment),
    /// The same for all of the tenant.
    TenantLater,
    /// Only this person: not before then.
    PersonLater(Moment),
    /// This Page does not answer: nothing before then.
    Resting(Moment),
}

/// What a send's end says about the way to Facebook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// There was an answer of the Graph API, whatever it said.
    Answered,
    /// "Too many calls".
    Throttled,
    /// No answer, or one that did not come from the Graph API.
    Silent,
    /// Nothing was asked.
    NotSent,
}

#[derive(Debug, Default)]
struct Page {
    sends: Trust,
    calls: Trust,
    throttled: u32,
    texts: Rate,
    media: Rate,
    usage: Option<(u64, Moment)>,
}

/// How much is risked on a Page, by how it has answered.
#[derive(Debug)]
struct Trust {
    under_way: u32,
    window: u32,
    failures: u32,
    rests_until: Option<Moment>,
}

#[derive(Debug, Default)]
struct App {
    rate: Rate,
    usage: Option<(u64, Moment)>,
}

/// A rate with a second's worth of burst: when the bucket will be full again.
#[derive(Clone, Copy, Debug, Default)]
struct Rate(Option<Moment>);

impl Rate {
    /// When one more may go.
    fn next(self, per_s: f64, now: Moment) -> Moment {
        let burst = gap(per_s, per_s.max(1.0) - 1.0);
        self.0.map_or(now, |full_at| (full_at - burst).max(now))
    }

    fn take(&mut self, per_s: f64, now: Moment) {
        self.0 = Some(self.0.unwrap_or(now).max(now) + gap(per_s, 1.0));
    }
}

fn gap(per_s: f64, count: f64) -> TimeDelta {
    TimeDelta::microseconds((count * 1_000_000.0 / per_s) as i64)
}

/// Keeps the pace of one process.
#[derive(Debug)]
pub struct Pacer {
    limits: Limits,
    pages: HashMap<WidgetId, Page>,
    apps: HashMap<MetaAppId, App>,
    people: HashMap<RoomId, Rate>,
    tenants: HashMap<TenantId, u32>,
}

impl Pacer {
    /// Nothing under way.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, pages: HashMap::new(), apps: HashMap::new(), people: HashMap::new(), tenants: HashMap::new() }
    }

    /// Asks for a turn.
    pub fn ask(&mut self, lane: &Lane, now: Moment) -> Turn {
        let (limits, share) = (self.limits, self.share());
        let page = self.pages.entry(lane.page).or_default();
        if let Some(until) = not_before(page.sends.rests_until, now) {
            return Turn::Resting(until);
        }
        if self.tenants.get(&lane.tenant).is_some_and(|under_way| *under_way >= share) {
            return Turn::TenantLater;
        }
        if page.sends.is_full() {
            return Turn::PageLater(now);
        }
        let person = self.people.get(&lane.room).copied().unwrap_or_default();
        let person_at = person.next(limits.person_per_s.into(), now);
        if person_at > now {
            return Turn::PersonLater(person_at);
        }
        let app = self.apps.entry(lane.app).or_default();
        if let Err(at) = take_rates(page, app, limits, lane.is_media, now) {
            return Turn::PageLater(at);
        }
        self.people.entry(lane.room).or_default().take(limits.person_per_s.into(), now);
        page.sends.under_way += 1;
        *self.tenants.entry(lane.tenant).or_default() += 1;
        Turn::Now
    }

    /// One tenant leaves a share to each of the others who send, and one to whoever comes next.
    fn share(&self) -> u32 {
        let others = self.tenants.len().saturating_sub(1);
        (self.limits.at_once / (2 + u32::try_from(others).unwrap_or(u32::MAX - 2))).max(1)
    }

    /// Pages and tenants that have their share under way: none of theirs has to be looked at before one of those has ended.
    #[must_use]
    pub fn full(&self, now: Moment) -> (Vec<WidgetId>, Vec<TenantId>) {
        if self.tenants.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let share = self.share();
        // Those of a Page that rests are to be moved out of the way.
        let is_full = |page: &Page| page.sends.is_full() && page.sends.rests_until.is_none_or(|until| until <= now);
        let pages = self.pages.iter().filter(|(_, page)| page.sends.under_way > 0 && is_full(page));
        let tenants = self.tenants.iter().filter(|(_, under_way)| **under_way >= share);
        (pages.map(|it| *it.0).collect(), tenants.map(|it| *it.0).collect())
    }

    /// Asks for a call that is no message: it counts in the rates of Page and app as one does, and waits where one rests. Only
    /// [`Turn::Now`] and the answers about the Page come back; it is under way until [`Pacer::end_call`].
    pub fn ask_call(&mut self, app: MetaAppId, page: WidgetId, now: Moment) -> Turn {
        let page = self.pages.entry(page).or_default();
        if let Some(until) = not_before(page.sends.rests_until.max(page.calls.rests_until), now) {
            return Turn::Resting(until);
        }
        if page.calls.is_full() {
            return Turn::PageLater(now);
        }
        let app = self.apps.entry(app).or_default();
        if let Err(at) = take_rates(page, app, self.limits, false, now) {
            return Turn::PageLater(at);
        }
        page.calls.under_way += 1;
        Turn::Now
    }

    /// A call that is no message has ended. How often its Page was throttled in a row. Silence stops other calls and no sends: those
    /// find out by themselves.
    pub fn end_call(&mut self, app: MetaAppId, page: WidgetId, ended: Ended, usage: Usage, now: Moment) -> u32 {
        self.heed(app, page, usage, now);
        let page = self.pages.entry(page).or_default();
        page.calls.end(ended, MOST_CALLS, now);
        page.throttled += u32::from(ended == Ended::Throttled);
        page.throttled
    }

    fn heed(&mut self, app: MetaAppId, page: WidgetId, usage: Usage, now: Moment) {
        if usage.app.percent > 0 {
            self.apps.entry(app).or_default().usage = Some((usage.app.percent, now));
        }
        if usage.page.percent > 0 {
            self.pages.entry(page).or_default().usage = Some((usage.page.percent, now));
        }
    }

    /// A send has ended. How often its Page was throttled in a row, this time included.
    pub fn end(&mut self, lane: &Lane, ended: Ended, usage: Usage, now: Moment) -> u32 {
        if let Some(under_way) = self.tenants.get_mut(&lane.tenant) {
            *under_way -= 1;
            if *under_way == 0 {
                self.tenants.remove(&lane.tenant);
            }
        }
        if self.people.len() > MOST_PEOPLE {
            self.people.retain(|_, rate| rate.0.is_some_and(|full_at| full_at > now));
        }
        self.heed(lane.app, lane.page, usage, now);
        let page = self.pages.entry(lane.page).or_default();
        page.sends.end(ended, MOST_PER_PAGE, now);
        match ended {
            Ended::NotSent | Ended::Silent => {}
            Ended::Answered => page.throttled = 0,
            Ended::Throttled => page.throttled += 1,
        }
        page.throttled
    }
}

impl Trust {
    fn is_full(&self) -> bool {
        self.under_way >= self.window
    }

    fn end(&mut self, ended: Ended, most: u32, now: Moment) {
        self.under_way = self.under_way.saturating_sub(1);
        match ended {
            Ended::NotSent => {}
            Ended::Answered => {
                self.window = (self.window + 1).min(most);
                (self.failures, self.rests_until) = (0, None);
            }
            Ended::Throttled => (self.window, self.failures) = (1, 0),
            Ended::Silent => {
                self.window = 1;
                self.failures += 1;
                if self.failures >= FAILURES {
                    let doublings = (self.failures - FAILURES).min(8);
                    let rest = (FIRST_REST_S << doublings).min(LONGEST_REST_S);
                    self.rests_until = Some(now + TimeDelta::seconds(rest));
                }
            }
        }
    }
}

impl Default for Trust {
    fn default() -> Self {
        Self { under_way: 0, window: FIRST_WINDOW, failures: 0, rests_until: None }
    }
}

/// One process's pace, for all who call. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Pace(Arc<Mutex<Pacer>>);

impl Pace {
    /// Nothing under way.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Mutex::new(Pacer::new(limits))))
    }

    /// The pacer; never held across an await.
    pub fn lock(&self) -> MutexGuard<'_, Pacer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a pause, if it is still ahead.
#[must_use]
pub fn not_before(until: Option<Moment>, now: Moment) -> Option<Moment> {
    until.filter(|until| now < *until)
}

/// Takes one call's part of the rates of Page and app; or when there will be one.
fn take_rates(page: &mut Page, app: &mut App, limits: Limits, is_media: bool, now: Moment) -> Result<(), Moment> {
    let app_per_s = slowed(limits.app_per_s, believed(app.usage, now));
    let percent = believed(page.usage, now);
    let (rate, per_s) = if is_media {
        (&mut page.media, slowed(limits.page_media_per_s, percent))
    } else {
        (&mut page.texts, slowed(limits.page_per_s, percent))
    };
    let at = rate.next(per_s, now).max(app.rate.next(app_per_s, now));
    if at > now {
        return Err(at);
    }
    rate.take(per_s, now);
    app.rate.take(app_per_s, now);
    Ok(())
}

fn believed(usage: Option<(u64, Moment)>, now: Moment) -> u64 {
    usage.filter(|(_, at)| now - *at < USAGE_BELIEVED).map_or(0, |(percent, _)| percent)
}

/// The rate at this usage: gentle at first, so that a busy day is hardly felt, and one a second when nearly all is used.
fn slowed(per_s: u32, percent: u64) -> f64 {
    let full = f64::from(per_s);
    if percent < TIGHT_PERCENT {
        return full;
    }
    let left = 100_u64.saturating_sub(percent) as f64 / (100 - TIGHT_PERCENT) as f64;
    (full * left.powi(3)).max(1.0).min(full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::meta::usage::Load;

    const LIMITS: Limits =
        Limits { at_once: 64, page_per_s: 20, page_media_per_s: 2, app_per_s: 1000, person_per_s: 3 };

    fn second(seconds: f64) -> Moment {
        Moment::UNIX_EPOCH + TimeDelta::microseconds((seconds * 1e6) as i64)
    }

    fn lane(tenant: u128, page: u128, room: u128) -> Lane {
        let id = uuid::Uuid::from_u128;
        Lane {
            tenant: TenantId(id(tenant)),
            app: MetaAppId(id(1)),
            page: WidgetId(id(page)),
            room: RoomId(id(room)),
            is_media: false,
        }
    }

    /// How many of `most` get a turn at once, each answered before the next is asked.
    fn passes(pacer: &mut Pacer, most: u128, at: Moment, lane: impl Fn(u128) -> Lane, usage: Usage) -> u128 {
        (0..most)
            .filter(|it| {
                let lane = lane(*it);
                let is_now = pacer.ask(&lane, at) == Turn::Now;
                if is_now {
                    pacer.end(&lane, Ended::Answered, usage, at);
                }
                is_now
            })
            .count() as u128
    }

    #[test]
    fn a_page_has_its_rate_and_a_second_of_burst() {
        let mut pacer = Pacer::new(LIMITS);
        let none = Usage::default();
        assert_eq!(passes(&mut pacer, 100, second(0.0), |it| lane(1, 1, it), none), 20);
        assert_eq!(pacer.ask(&lane(1, 1, 200), second(0.0)), Turn::PageLater(second(0.05)));
        assert_eq!(passes(&mut pacer, 100, second(0.5), |it| lane(1, 1, 300 + it), none), 10);
        let media = |it| Lane { is_media: true, ..lane(1, 1, 1000 + it) };
        assert_eq!(passes(&mut pacer, 100, second(9.0), media, none), 2, "media have a rate of their own");
        assert_eq!(passes(&mut pacer, 100, second(9.0), |it| lane(1, 2, it), none), 20, "so has another page");
    }

    #[test]
    fn a_person_is_not_flooded_and_holds_nobody_up() {
        let mut pacer = Pacer::new(LIMITS);
        assert_eq!(passes(&mut pacer, 10, second(0.0), |_| lane(1, 1, 1), Usage::default()), 3);
        assert!(matches!(pacer.ask(&lane(1, 1, 1), second(0.0)), Turn::PersonLater(_)));
        assert_eq!(pacer.ask(&lane(1, 1, 2), second(0.0)), Turn::Now);
    }

    #[test]
    fn usage_slows_down_from_75_percent() {
        for (percent, expected) in
            [(0, 300.0), (74, 300.0), (75, 300.0), (80, 153.6), (90, 19.2), (99, 1.0), (100, 1.0)]
        {
            assert!((slowed(300, percent) - expected).abs() < 1e-9, "{percent}: {}", slowed(300, percent));
        }
        let mut pacer = Pacer::new(LIMITS);
        let tight = Usage { page: Load { percent: 90, regain_after: None }, ..Usage::default() };
        assert_eq!(
            passes(&mut pacer, 100, second(0.0), |it| lane(1, 1, it), tight),
            2,
            "1.28 a second, once the first has told"
        );
        assert_eq!(
            passes(&mut pacer, 100, second(600.0), |it| lane(1, 1, 500 + it), Usage::default()),
            20,
            "forgotten"
        );
    }

    #[test]
    fn a_silent_page_is_left_alone_and_tried_again_by_one() {
        let mut pacer = Pacer::new(LIMITS);
        let dead: Vec<_> = (0..20).map(|it| lane(1, 1, it)).collect();
        let turns = dead.iter().filter(|it| pacer.ask(it, second(0.0)) == Turn::Now).count();
        assert_eq!(turns, 8, "no more are risked on a page that has not answered yet");
        for it in &dead[..8] {
            pacer.end(it, Ended::Silent, Usage::default(), second(20.0));
        }
        assert_eq!(pacer.ask(&dead[9], second(20.0)), Turn::Resting(second(80.0)), "eight failures: the longest rest");
        assert_eq!(pacer.ask(&lane(1, 2, 99), second(20.0)), Turn::Now, "others go on");
        assert_eq!(pacer.ask(&dead[9], second(80.0)), Turn::Now, "one tries");
        assert_eq!(pacer.ask(&dead[10], second(80.0)), Turn::PageLater(second(80.0)), "only one");
        pacer.end(&dead[9], Ended::Answered, Usage::default(), second(81.0));
        assert_eq!(pacer.ask(&dead[10], second(81.0)), Turn::Now);
    }

    #[test]
    fn a_tenant_leaves_room_for_the_next_one() {
        let mut pacer = Pacer::new(Limits { page_per_s: 1000, ..LIMITS });
        let mut flood = |tenant: u128, from: u128| {
            (0..100).filter(|it| pacer.ask(&lane(tenant, from + it, from + it), second(0.0)) == Turn::Now).count()
        };
        assert_eq!(flood(1, 0), 32, "half, while nobody else sends");
        assert_eq!(flood(2, 1000), 21, "a third");
        assert_eq!(flood(3, 2000), 16, "a quarter of 64");
    }

    #[test]
    fn who_has_their_share_is_known_before_anything_is_looked_at() {
        let mut pacer = Pacer::new(LIMITS);
        assert_eq!(pacer.full(second(0.0)), (vec![], vec![]));
        for it in 0..8 {
            assert_eq!(pacer.ask(&lane(1, 1, it), second(0.0)), Turn::Now);
        }
        let page = |it: u128| WidgetId(uuid::Uuid::from_u128(it));
        assert_eq!(pacer.full(second(0.0)), (vec![page(1)], vec![]), "eight of eight");
        for it in 0..24 {
            assert_eq!(pacer.ask(&lane(1, 2 + it / 8, 100 + it), second(0.0)), Turn::Now);
        }
        let tenant = TenantId(uuid::Uuid::from_u128(1));
        assert_eq!(pacer.full(second(0.0)).1, [tenant], "32 of 64");
        for it in 0..3 {
            pacer.end(&lane(1, 1, it), Ended::Silent, Usage::default(), second(20.0));
        }
        assert!(!pacer.full(second(20.0)).0.contains(&page(1)), "it rests: its messages are moved, not passed over");
        assert!(pacer.full(second(30.0)).0.contains(&page(1)), "five of one");
    }

    #[test]
    fn calls_beside_messages_heed_and_tell_usage() {
        let (mut pacer, it) = (Pacer::new(LIMITS), lane(1, 1, 1));
        let call = |pacer: &mut Pacer, usage, at| {
            let turn = pacer.ask_call(it.app, it.page, at);
            if turn == Turn::Now {
                pacer.end_call(it.app, it.page, Ended::Answered, usage, at);
            }
            turn
        };
        let tight = Usage { page: Load { percent: 99, regain_after: None }, ..Usage::default() };
        assert_eq!(call(&mut pacer, tight, second(0.0)), Turn::Now);
        assert!(matches!(call(&mut pacer, tight, second(0.0)), Turn::PageLater(_)));
        assert!(matches!(pacer.ask(&it, second(0.0)), Turn::PageLater(_)));
        assert_eq!(pacer.ask(&it, second(1.0)), Turn::Now);
        let later = Turn::PageLater(second(2.0));
        assert_eq!(call(&mut pacer, tight, second(1.0)), later, "one a second is left, of calls and sends together");
    }

    #[test]
    fn calls_to_a_silent_page_rest_and_hold_up_no_send() {
        let (mut pacer, it) = (Pacer::new(LIMITS), lane(1, 1, 1));
        let asked = (0..20).filter(|_| pacer.ask_call(it.app, it.page, second(0.0)) == Turn::Now).count();
        assert_eq!(asked, 8, "no more are risked on a page that has not answered yet");
        for _ in 0..8 {
            pacer.end_call(it.app, it.page, Ended::Silent, Usage::default(), second(20.0));
        }
        assert_eq!(pacer.ask_call(it.app, it.page, second(20.0)), Turn::Resting(second(80.0)));
        assert_eq!(pacer.ask(&it, second(20.0)), Turn::Now, "it may be the profiles only");
        for _ in 0..3 {
            pacer.end(&it, Ended::Silent, Usage::default(), second(100.0));
        }
        assert_eq!(pacer.ask_call(it.app, it.page, second(100.0)), Turn::Resting(second(105.0)), "as the sends do");
        assert_eq!(pacer.ask_call(it.app, it.page, second(105.0)), Turn::Now, "one tries");
        assert_eq!(pacer.ask_call(it.app, it.page, second(105.0)), Turn::PageLater(second(105.0)));
    }

    #[test]
    fn throttles_in_a_row_are_counted() {
        let mut pacer = Pacer::new(LIMITS);
        let it = lane(1, 1, 1);
        let mut once = |ended| {
            pacer.ask(&it, second(0.0));
            pacer.end(&it, ended, Usage::default(), second(0.0))
        };
        assert_eq!([once(Ended::Throttled), once(Ended::Throttled), once(Ended::Answered)], [1, 2, 0]);
    }
}
