//! How far the clocks of servers are ahead of ours, learnt from the dates on their answers.
//!
//! The median of the last few observations counts, and absurd ones do not count at all: one wrong header cannot make a
//! valid token look expired. Nothing here decides what to do with the difference.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::limits::{SKEW_MAX, SKEW_SAMPLES};

/// What has been observed. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Skew {
    samples: Arc<Mutex<VecDeque<SignedDuration>>>,
}

impl Skew {
    /// Nothing observed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that a server's clock showed `server` when ours showed `ours`. Returns the difference, unless it is larger than
    /// [`SKEW_MAX`] and therefore ignored.
    pub fn observe(&self, ours: Timestamp, server: Timestamp) -> Option<SignedDuration> {
        let difference = believed(ours, server)?;
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == SKEW_SAMPLES {
            samples.pop_front();
        }
        samples.push_back(difference);
        Some(difference)
    }

    /// How far servers are ahead of us; `None` before the first observation.
    pub fn offset(&self) -> Option<SignedDuration> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<_> = samples.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

/// How far a clock that showed `theirs` was ahead of ours, when that can be believed ([`SKEW_MAX`]).
pub(crate) fn believed(ours: Timestamp, theirs: Timestamp) -> Option<SignedDuration> {
    let difference = theirs.duration_since(ours);
    if difference.unsigned_abs() > SKEW_MAX {
        tracing::debug!(?difference, "a server's date is too far off to be believed");
        return None;
    }
    Some(difference)
}

/// `at` moved by `offset`, at the ends of time where it would lie beyond them.
pub(crate) fn shifted(at: Timestamp, offset: SignedDuration) -> Timestamp {
    at.checked_add(offset).unwrap_or(if offset.is_negative() {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn one_wrong_date_among_five_changes_nothing() {
        let skew = Skew::new();
        assert_eq!(skew.offset(), None);
        for server in [1_001, 1_002, 90_000, 1_001, 1_000] {
            skew.observe(at(1_000), at(server));
        }
        assert_eq!(skew.offset(), Some(SignedDuration::from_secs(1)));
    }

    #[test]
    fn a_day_is_believed_and_a_year_is_not() {
        let skew = Skew::new();
        assert!(skew.observe(at(0), at(86_400 * 365)).is_none());
        assert_eq!(skew.offset(), None);
        skew.observe(at(86_400), at(0));
        assert_eq!(skew.offset(), Some(SignedDuration::from_secs(-86_400)));
    }

    #[test]
    fn old_observations_are_forgotten_after_the_clock_was_set_right() {
        let skew = Skew::new();
        for _ in 0..SKEW_SAMPLES {
            skew.observe(at(0), at(86_400));
        }
        for _ in 0..=SKEW_SAMPLES / 2 {
            skew.observe(at(86_400), at(86_400));
        }
        assert_eq!(skew.offset(), Some(SignedDuration::ZERO));
    }

    #[test]
    fn a_shift_beyond_the_end_of_time_stays_there() {
        assert_eq!(
            shifted(Timestamp::MAX, SignedDuration::from_secs(1)),
            Timestamp::MAX
        );
        assert_eq!(
            shifted(Timestamp::MIN, SignedDuration::from_secs(-1)),
            Timestamp::MIN
        );
    }
}
