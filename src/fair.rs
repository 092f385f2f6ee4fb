//! Shares what there is only so much of: nobody may hold more than is left for the others.
//!
//! Alone, somebody gets half; two get a third each, three a quarter. However many take all they can get, a part stays free for
//! whoever comes next, and nobody has to be told his part beforehand.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// So many pieces of something. Cheap to clone.
pub struct Fair<K>(Arc<Mutex<Pieces<K>>>);

struct Pieces<K> {
    free: usize,
    held: HashMap<K, usize>,
}

impl<K> Clone for Fair<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> fmt::Debug for Fair<K> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Fair")
    }
}

impl<K: Copy + Eq + Hash> Fair<K> {
    /// Shares `pieces`.
    #[must_use]
    pub fn of(pieces: usize) -> Self {
        Self(Arc::new(Mutex::new(Pieces { free: pieces, held: HashMap::new() })))
    }

    /// The portion of one piece of work of `who`; nothing yet.
    #[must_use]
    pub fn portion(&self, who: K) -> Portion<K> {
        Portion { fair: self.clone(), who, held: 0 }
    }
}

/// What one piece of work holds; given back when it is dropped.
pub struct Portion<K: Copy + Eq + Hash> {
    fair: Fair<K>,
    who: K,
    held: usize,
}

impl<K: Copy + Eq + Hash> Portion<K> {
    /// Grows to so many pieces; `false`, and nothing is taken, if there are not enough or `who` would have more than the others.
    #[must_use]
    pub fn grow_to(&mut self, pieces: usize) -> bool {
        let more = pieces.saturating_sub(self.held);
        if more == 0 {
            return true;
        }
        let mut all = self.fair.0.lock().unwrap_or_else(PoisonError::into_inner);
        let theirs = all.held.get(&self.who).copied().unwrap_or(0) + more;
        if all.free < more || theirs > all.free - more {
            return false;
        }
        all.free -= more;
        all.held.insert(self.who, theirs);
        self.held = pieces;
        true
    }
}

impl<K: Copy + Eq + Hash> Drop for Portion<K> {
    fn drop(&mut self) {
        if self.held == 0 {
            return;
        }
        let mut all = self.fair.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.free += self.held;
        let rest = all.held.get(&self.who).copied().unwrap_or(0).saturating_sub(self.held);
        if rest == 0 {
            all.held.remove(&self.who);
        } else {
            all.held.insert(self.who, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes for `who`, piece by piece in new portions, as many as there are.
    fn all_of(fair: &Fair<char>, who: char) -> Vec<Portion<char>> {
        let one = || Some(fair.portion(who)).and_then(|mut it| it.grow_to(1).then_some(it));
        std::iter::from_fn(one).collect()
    }

    #[test]
    fn nobody_gets_more_than_is_left_for_the_others() {
        let fair = Fair::of(32);
        let a = all_of(&fair, 'a');
        let b = all_of(&fair, 'b');
        let c = all_of(&fair, 'c');
        assert_eq!([a.len(), b.len(), c.len()], [16, 8, 4]);
        // Still one for somebody new.
        assert!(fair.portion('d').grow_to(1));
        // Whoever has much gets nothing until the others can have as much.
        drop((b, c));
        assert!(all_of(&fair, 'a').is_empty());
        drop(a);
        assert_eq!(all_of(&fair, 'c').len(), 16);
        let all = fair.0.lock().unwrap();
        assert!(all.free == 32 && all.held.is_empty());
    }

    #[test]
    fn a_portion_grows_or_stays_as_it_is() {
        let fair = Fair::of(8);
        let mut portion = fair.portion('a');
        assert!(portion.grow_to(3) && portion.grow_to(2) && portion.grow_to(4));
        assert!(!portion.grow_to(5));
        assert_eq!(portion.held, 4);
        assert!(!fair.portion('b').grow_to(9));
        drop(portion);
        assert_eq!(all_of(&fair, 'b').len(), 4);
    }
}
