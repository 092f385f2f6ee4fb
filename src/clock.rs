//! The only place that reads the wall clock. Everything else is given `now` or a [`Clock`].

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

/// A moment, UTC.
pub type Moment = DateTime<Utc>;

/// Tells the time; the real one, or one that a test moves by hand.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// Stands still until somebody advances it.
    Manual(Arc<Mutex<Moment>>),
}

impl Clock {
    /// A clock that starts at `start` and moves only by [`Clock::advance`].
    #[must_use]
    pub fn manual(start: Moment) -> Self {
        Self::Manual(Arc::new(Mutex::new(start.trunc_subsecs(6))))
    }

    /// The present moment, in whole microseconds as PostgreSQL keeps them.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn now(&self) -> Moment {
        match self {
            Self::System => Utc::now().trunc_subsecs(6),
            Self::Manual(at) => *at.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Moves a manual clock forward; does nothing to the real one.
    pub fn advance(&self, by: TimeDelta) {
        if let Self::Manual(at) = self {
            *at.lock().unwrap_or_else(PoisonError::into_inner) += by;
        }
    }
}

/// The API's form of a moment: RFC 3339, UTC, milliseconds. Use with `#[serde(serialize_with = "clock::millis")]`.
pub fn millis<S: serde::Serializer>(at: &Moment, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&show(*at))
}

/// The same for a moment that may be absent.
pub fn millis_opt<S: serde::Serializer>(at: &Option<Moment>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => millis(at, serializer),
        None => serializer.serialize_none(),
    }
}

/// A moment as the API shows it: `2026-11-20T09:15:02.114Z`.
#[must_use]
pub fn show(at: Moment) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
