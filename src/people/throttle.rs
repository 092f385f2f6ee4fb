//! Slows guessing down: failed logins are counted per account and per address, in memory, within a window.
//!
//! Each process counts for itself, so several processes allow as many times more; still far too few to guess a password.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use chrono::TimeDelta;

use crate::clock::Moment;

/// Failures of one account within [`WINDOW`] after which it must wait.
const PER_ACCOUNT: u32 = 10;
/// Failures from one address within [`WINDOW`]; many people may share one.
const PER_ADDRESS: u32 = 100;
const WINDOW: TimeDelta = TimeDelta::minutes(5);
/// Accounts or addresses remembered; beyond this, those whose window began first are forgotten.
const MAX_REMEMBERED: usize = 50_000;

/// Failed logins of the last minutes.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    accounts: HashMap<[u8; 32], Failures>,
    addresses: HashMap<IpAddr, Failures>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    since: Moment,
}

/// Too many failures: try again after so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// At least 1.
    pub seconds: u64,
}

impl Throttle {
    /// Whether a login may be tried, or its result told.
    ///
    /// # Errors
    /// How long to wait, after too many failures.
    pub fn admit(&self, account: &[u8; 32], address: Option<IpAddr>, now: Moment) -> Result<(), Wait> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let account = wait(counts.accounts.get(account), PER_ACCOUNT, now);
        let address = address.and_then(|it| wait(counts.addresses.get(&network(it)), PER_ADDRESS, now));
        account.max(address).map_or(Ok(()), |seconds| Err(Wait { seconds }))
    }

    /// Counts a failure.
    pub fn failed(&self, account: [u8; 32], address: Option<IpAddr>, now: Moment) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        count(&mut counts.accounts, account, now);
        if let Some(address) = address {
            count(&mut counts.addresses, network(address), now);
        }
    }

    /// The right person came: the account's failures are forgotten, the address's are not.
    pub fn succeeded(&self, account: &[u8; 32]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).accounts.remove(account);
    }
}

fn wait(failures: Option<&Failures>, limit: u32, now: Moment) -> Option<u64> {
    let failures = failures.filter(|it| it.count >= limit)?;
    let left = failures.since + WINDOW - now;
    (left > TimeDelta::zero()).then(|| u64::try_from(left.num_milliseconds()).unwrap_or(0).div_ceil(1000))
}

fn count<K: Hash + Eq + Copy>(known: &mut HashMap<K, Failures>, key: K, now: Moment) {
    if known.len() >= MAX_REMEMBERED && !known.contains_key(&key) {
        make_room(known, now);
    }
    let failures = known.entry(key).or_insert(Failures { count: 0, since: now });
    if now - failures.since >= WINDOW {
        *failures = Failures { count: 0, since: now };
    }
    failures.count += 1;
}

fn make_room<K: Hash + Eq + Copy>(known: &mut HashMap<K, Failures>, now: Moment) {
    known.retain(|_, it| now - it.since < WINDOW);
    if known.len() >= MAX_REMEMBERED {
        // Half at once, so that a flood of new names does not sort for each of them.
        let mut oldest: Vec<_> = known.values().map(|it| it.since).collect();
        let (_, middle, _) = oldest.select_nth_unstable(MAX_REMEMBERED / 2);
        let middle = *middle;
        known.retain(|_, it| it.since > middle);
    }
}

/// One household or office has a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(it) => IpAddr::V6((it.to_bits() & !u128::from(u64::MAX)).into()),
        it => it,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNA: [u8; 32] = [1; 32];
    const BEN: [u8; 32] = [2; 32];

    fn at(seconds: i64) -> Moment {
        Moment::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn home(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn an_account_waits_after_ten_failures_and_others_do_not() {
        let throttle = Throttle::default();
        for n in 0..10 {
            assert_eq!(throttle.admit(&ANNA, home(1), at(n)), Ok(()));
            throttle.failed(ANNA, home(1), at(n));
        }
        assert_eq!(throttle.admit(&ANNA, home(2), at(10)), Err(Wait { seconds: 290 }));
        assert_eq!(throttle.admit(&BEN, home(1), at(10)), Ok(()));
        assert_eq!(throttle.admit(&ANNA, home(1), at(300)), Ok(()));
        throttle.failed(ANNA, home(1), at(300));
        assert_eq!(throttle.admit(&ANNA, home(1), at(301)), Ok(()));
    }

    #[test]
    fn a_right_password_clears_the_account() {
        let throttle = Throttle::default();
        (0..9).for_each(|n| throttle.failed(ANNA, None, at(n)));
        throttle.succeeded(&ANNA);
        (0..9).for_each(|n| throttle.failed(ANNA, None, at(n)));
        assert_eq!(throttle.admit(&ANNA, None, at(10)), Ok(()));
    }

    #[test]
    fn an_address_waits_after_a_hundred_failures_of_anybody() {
        let throttle = Throttle::default();
        (0..100).for_each(|n| throttle.failed([n; 32], home(1), at(0)));
        assert!(throttle.admit(&[200; 32], home(1), at(1)).is_err());
        assert!(throttle.admit(&[200; 32], home(2), at(1)).is_ok());
        let v6 = |text: &str| Some(text.parse().unwrap());
        (0..100).for_each(|n| throttle.failed([n; 32], v6(&format!("2001:db8::{n}")), at(0)));
        assert!(throttle.admit(&[200; 32], v6("2001:db8::ffff"), at(1)).is_err());
        assert!(throttle.admit(&[200; 32], v6("2001:db8:0:1::1"), at(1)).is_ok());
    }

    #[test]
    fn memory_has_a_limit() {
        let throttle = Throttle::default();
        for n in 0..=MAX_REMEMBERED as u64 {
            let mut account = [0; 32];
            account[..8].copy_from_slice(&n.to_le_bytes());
            throttle.failed(account, None, Moment::UNIX_EPOCH + TimeDelta::milliseconds(n.try_into().unwrap()));
        }
        assert!(throttle.0.lock().unwrap().accounts.len() <= MAX_REMEMBERED);
    }
}
