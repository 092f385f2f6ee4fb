//! Who has written through this process lately. The short way is for them: who is new has no room, and asking for it would be in vain.

use std::collections::HashSet;

/// Senders of a generation. Two are kept, 2 MiB at most.
const MOST: usize = 64 * 1024;

/// Senders, by hash. A stranger who is taken for somebody else is asked for in vain, that is all.
#[derive(Debug, Default)]
pub(super) struct Familiar {
    lately: HashSet<u64>,
    before: HashSet<u64>,
}

impl Familiar {
    /// Whether all of these have written before.
    pub fn knows(&self, senders: &[u64]) -> bool {
        senders.iter().all(|it| self.lately.contains(it) || self.before.contains(it))
    }

    /// They have written now.
    pub fn meet(&mut self, senders: &[u64]) {
        for it in senders {
            if self.lately.len() >= MOST && !self.lately.contains(it) {
                self.before = std::mem::take(&mut self.lately);
            }
            self.lately.insert(*it);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_stays_known_and_who_does_not_is_forgotten() {
        let mut familiar = Familiar::default();
        assert!(!familiar.knows(&[0]));
        familiar.meet(&[0, 1]);
        for stranger in 2..4 * MOST as u64 {
            familiar.meet(&[stranger, 0]);
            assert!(familiar.knows(&[0, stranger]));
            assert!(familiar.knows(&[1]) || stranger > 3 * MOST as u64 / 2, "forgotten after {stranger}");
        }
        assert!(!familiar.knows(&[1]));
        assert!(!familiar.knows(&[0, 1]));
        assert!(familiar.lately.len() + familiar.before.len() <= 2 * MOST);
    }
}
