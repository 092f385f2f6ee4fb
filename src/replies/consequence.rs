//! What follows from a verdict: what becomes of the message, and of the Page, app or person it was about. Pure.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::{
    channels::meta::graph::{Bucket, GraphError, Usage, Verdict, judge_repeated},
    clock::Moment,
};

/// First wait before another try; each further wait is [`GROWTH`] times as long.
const FIRST_WAIT_MS: i64 = 1000;
/// One second, four, sixteen, then [`LONGEST_WAIT_MS`]: three tries reach over the usual hiccup of 20 seconds.
const GROWTH: i64 = 4;
/// Longest wait before another try.
const LONGEST_WAIT_MS: i64 = 60_000;
/// First pause after "too many calls" where Meta does not say how long; doubles while it goes on.
const FIRST_PAUSE: TimeDelta = TimeDelta::seconds(60);
/// Longest such pause, and the pause after which a restricted Page or app is tried again.
const LONG_PAUSE: TimeDelta = TimeDelta::minutes(15);
/// Usage at which Meta stops us, and for how long if it does not say.
const USED_UP_PERCENT: u64 = 100;
const USED_UP_PAUSE: TimeDelta = TimeDelta::seconds(60);
/// How often replies of a Page without a good token look whether their window is still open.
pub const TOKEN_LOOK: TimeDelta = TimeDelta::seconds(60);

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// It is sent.
    Sent {
        /// Meta's id; none if that id belongs to a message that came in as an echo from elsewhere.
        mid: Option<String>,
    },
    /// It will not be sent.
    Failed {
        /// The message's `error`.
        error: Value,
    },
    /// It may have been sent.
    Uncertain {
        /// The message's `error`.
        error: Value,
    },
    /// It has not been sent and is tried again.
    Again {
        /// Not before then.
        due_at: Moment,
        /// Whether it counts as a try.
        counts: bool,
    },
}

/// What becomes of the Page, the app or the person.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Nothing of this bucket is sent before then.
    Pause {
        /// Whose calls were too many.
        bucket: Bucket,
        /// When sending goes on.
        until: Moment,
    },
    /// The person cannot be reached until they write again.
    Unreachable {
        /// The message's `error`, given to whoever writes to them next.
        error: Value,
    },
    /// The Page's token is refused.
    Disconnect {
        /// Meta's words.
        why: String,
    },
    /// Something about the Page or app needs a person's attention.
    Trouble {
        /// Meta's words.
        why: String,
    },
    /// What needed attention works again.
    Recovered,
}

/// Decides what follows. `attempts` counts the one that was just made; `throttled`, how often in a row the Page was told "too many
/// calls"; `chance` is from 0 to 1 and spreads waits, so that what failed together does not return together.
#[must_use]
pub fn of(verdict: Verdict, attempts: i32, throttled: u32, now: Moment, chance: f64) -> (Fate, Vec<Effect>) {
    let failed = |slug: &str, why: &GraphError| Fate::Failed { error: error(slug, &why.message, Some(why)) };
    match verdict {
        Verdict::Sent { mid } => (Fate::Sent { mid: Some(mid) }, vec![]),
        Verdict::MaybeSent { why } => {
            let detail = "The connection broke while the message was being sent. It may have arrived.";
            (Fate::Uncertain { error: error("send-uncertain", detail, Some(&why)) }, vec![])
        }
        Verdict::Retry { after, at_most, .. } if at_most.is_none_or(|most| i64::from(attempts) <= i64::from(most)) => {
            let wait = next_wait(attempts, chance).max(span(after));
            (Fate::Again { due_at: now + wait, counts: true }, vec![])
        }
        Verdict::BackOff { bucket, after, .. } => {
            let doubled = FIRST_PAUSE * (1 << throttled.saturating_sub(1).min(4));
            let pause = if after.is_some() { span(after) } else { doubled.min(LONG_PAUSE) };
            let until = now + pause;
            (Fate::Again { due_at: until, counts: false }, vec![Effect::Pause { bucket, until }])
        }
        Verdict::Reauth { why } => {
            let fate = Fate::Again { due_at: now + TOKEN_LOOK, counts: false };
            (fate, vec![Effect::Disconnect { why: why.message }])
        }
        Verdict::WindowClosed { why } => (failed("window-closed", &why), vec![]),
        Verdict::Recipient { why } | Verdict::Alert { bucket: Bucket::Person, why } => {
            let error = error("contact-unreachable", &why.message, Some(&why));
            (Fate::Failed { error: error.clone() }, vec![Effect::Unreachable { error }])
        }
        Verdict::Config { why } => (failed("send-failed", &why), vec![Effect::Trouble { why: why.message }]),
        // Restricted for a while: replies wait for the end of it, as they wait for a token, and fail with their window.
        Verdict::Alert { bucket, why } => {
            let until = now + LONG_PAUSE;
            let effects = vec![Effect::Pause { bucket, until }, Effect::Trouble { why: why.message }];
            (Fate::Again { due_at: until, counts: false }, effects)
        }
        Verdict::NotOwner { why } => (failed("thread-elsewhere", &why), vec![]),
        Verdict::Retry { why, .. } => {
            let (fate, mut effects) = of(judge_repeated(why), attempts, throttled, now, chance);
            // Of a person that is a guess: a bad hour of Meta's shall not bar everybody who was written to in it.
            effects.retain(|it| !matches!(it, Effect::Unreachable { .. }));
            (fate, effects)
        }
        Verdict::Content { why } | Verdict::Fail { why } => (failed("send-failed", &why), vec![]),
    }
}

/// What is used up is left alone for as long as Meta says.
pub fn used_up(usage: Usage, now: Moment) -> impl Iterator<Item = Effect> {
    let buckets = [(Bucket::App, usage.app), (Bucket::Page, usage.page)];
    buckets.into_iter().filter(|(_, load)| load.percent >= USED_UP_PERCENT).map(move |(bucket, load)| {
        let pause = load.regain_after.and_then(|it| TimeDelta::from_std(it).ok()).unwrap_or(USED_UP_PAUSE);
        Effect::Pause { bucket, until: now + pause }
    })
}

/// The wait before the next try.
fn next_wait(attempts: i32, chance: f64) -> TimeDelta {
    let steps = u32::try_from(attempts.clamp(1, 8) - 1).unwrap_or(0);
    let base = FIRST_WAIT_MS.saturating_mul(GROWTH.pow(steps)).min(LONGEST_WAIT_MS);
    TimeDelta::milliseconds(base + (base as f64 * chance / 4.0) as i64)
}

fn span(after: Option<std::time::Duration>) -> TimeDelta {
    after.and_then(|it| TimeDelta::from_std(it).ok()).unwrap_or_default()
}

/// The `error` of a message.
#[must_use]
pub fn error(slug: &str, detail: &str, why: Option<&GraphError>) -> Value {
    json!({
        "type": format!("/problems/{slug}"),
        "detail": detail,
        "meta_code": why.and_then(|it| it.code),
        "meta_subcode": why.and_then(|it| it.subcode),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn why() -> GraphError {
        GraphError { code: Some(10), message: "no".to_owned(), ..GraphError::default() }
    }

    fn second(seconds: i64) -> Moment {
        Moment::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    #[test]
    fn waits_grow_up_to_a_minute() {
        for (attempts, chance, expected_ms) in
            [(1, 0.0, 1000), (2, 0.0, 4000), (3, 0.0, 16_000), (3, 1.0, 20_000), (4, 0.0, 60_000), (500, 0.0, 60_000)]
        {
            assert_eq!(next_wait(attempts, chance), TimeDelta::milliseconds(expected_ms), "{attempts}");
        }
    }

    #[test]
    fn what_passes_is_repeated_as_often_as_the_table_says() {
        let retry = |attempts, at_most| {
            let (fate, _) = of(Verdict::Retry { after: None, at_most, why: why() }, attempts, 0, second(0), 0.0);
            matches!(fate, Fate::Again { counts: true, .. })
        };
        assert!(retry(1, Some(1)), "once means one more");
        assert!(!retry(2, Some(1)));
        assert!(retry(3, Some(3)));
        assert!(!retry(4, Some(3)));
        assert!(retry(1000, None), "nothing has ever left us: as long as the window is open");
    }

    #[test]
    fn what_does_not_pass_is_what_the_table_says_then() {
        let given_up = |code, subcode| {
            let why = GraphError { code: Some(code), subcode, message: "no".to_owned(), ..GraphError::default() };
            match of(Verdict::Retry { after: None, at_most: Some(1), why }, 2, 0, second(0), 0.0) {
                (Fate::Failed { error }, effects) => (error["type"].as_str().unwrap_or_default().to_owned(), effects),
                other => panic!("{code}: {other:?}"),
            }
        };
        let failed = |slug: &str, effects: Vec<Effect>| (format!("/problems/{slug}"), effects);
        let trouble = || vec![Effect::Trouble { why: "no".to_owned() }];
        assert_eq!(given_up(1, None), failed("send-failed", trouble()), "mostly a missing permission");
        assert_eq!(given_up(1, Some(99)), failed("send-failed", trouble()));
        assert_eq!(given_up(2, None), failed("contact-unreachable", vec![]), "perhaps: the next may be tried");
        assert_eq!(given_up(-1, None), failed("send-failed", vec![]));
        assert_eq!(given_up(1200, Some(2_018_024)), failed("send-failed", vec![]));
    }

    #[test]
    fn too_many_calls_stop_the_bucket_for_as_long_as_meta_says() {
        let pause = |after, throttled| {
            let verdict = Verdict::BackOff { bucket: Bucket::App, after, why: why() };
            match of(verdict, 1, throttled, second(0), 0.0) {
                (Fate::Again { due_at, counts: false }, effects) => {
                    assert_eq!(effects, [Effect::Pause { bucket: Bucket::App, until: due_at }]);
                    (due_at - second(0)).num_seconds()
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(pause(Some(Duration::from_secs(7)), 3), 7);
        assert_eq!([1, 2, 3, 4, 5, 50].map(|it| pause(None, it)), [60, 120, 240, 480, 900, 900]);
    }

    #[test]
    fn a_restricted_page_waits_and_a_restricted_person_does_not() {
        let alert = |bucket| of(Verdict::Alert { bucket, why: why() }, 1, 0, second(0), 0.0);
        let (fate, effects) = alert(Bucket::Page);
        assert!(matches!(fate, Fate::Again { counts: false, .. }), "{fate:?}");
        assert!(matches!(&effects[..], [Effect::Pause { .. }, Effect::Trouble { .. }]), "{effects:?}");
        let recipient = of(Verdict::Recipient { why: why() }, 1, 0, second(0), 0.0);
        for (fate, effects) in [alert(Bucket::Person), recipient] {
            assert!(matches!(fate, Fate::Failed { .. }), "{fate:?}");
            assert!(matches!(&effects[..], [Effect::Unreachable { .. }]), "{effects:?}");
        }
    }
}
