//! In which state a catalog is, and what a reader gets in it. Pure: no clock, no network.

use std::time::Duration;

use jiff::Timestamp;
use thv_auth::LoginReason;

use crate::error::Fault;
use crate::limits::{BACKOFF_FIRST, BACKOFF_LONGEST, FRESH_WHEN_CHEAP, FRESH_WHEN_WHOLE};
use crate::source::Known;

/// Everything that is known of a catalog at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// The last good load.
    pub(crate) known: Option<Known>,
    /// What went wrong since.
    pub(crate) failure: Option<Failure>,
    /// Whether the disk was asked for the catalog of an earlier run.
    pub(crate) restored: bool,
}

/// A load that failed, and those before it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) fault: Fault,
    /// When the first of the failures in a row happened.
    pub(crate) since: Timestamp,
    /// How many there were in a row.
    pub(crate) count: u32,
    /// When the next try may begin, on the monotonic clock.
    pub(crate) retry_at: Duration,
}

/// The moment in which a decision is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Timestamp,
    pub(crate) monotonic: Duration,
}

/// When a source is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revalidation {
    /// Behind an answer from what is known: for servers.
    Behind,
    /// Before the answer: for programs that end after it.
    Before,
}

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// What is known, and a load behind it when it is due.
    Serve { stale: bool, load: bool },
    /// The fault, and a load behind it when it is due.
    Fail { load: bool },
    /// First this pause, then a load.
    Wait { pause: Duration },
}

// === impl State ===

impl State {
    pub(crate) fn decide(
        &self,
        moment: Moment,
        revalidation: Revalidation,
        can_age: bool,
    ) -> Decision {
        let Some(failure) = &self.failure else {
            return match &self.known {
                None => Decision::Wait {
                    pause: Duration::ZERO,
                },
                Some(known) => {
                    let due = can_age && !is_fresh(known, moment.now);
                    if due && revalidation == Revalidation::Before {
                        Decision::Wait {
                            pause: Duration::ZERO,
                        }
                    } else {
                        Decision::Serve {
                            stale: false,
                            load: due,
                        }
                    }
                }
            };
        };
        let pause = failure.retry_at.saturating_sub(moment.monotonic);
        let due = pause.is_zero();
        if self.known.is_some() && failure.fault.may_serve_stale() {
            return Decision::Serve {
                stale: true,
                load: due,
            };
        }
        match failure.fault {
            // A person must act first; whether one has is found out behind the answer.
            Fault::AuthRequired { .. } => Decision::Fail { load: due },
            _ if pause <= BACKOFF_FIRST => Decision::Wait { pause },
            _ => Decision::Fail { load: false },
        }
    }

    /// Whether the last failure was a login that nobody had made: what is stored may say otherwise
    /// by now. A refusal by the registry is not such a failure; only asking again shows its end.
    pub(crate) fn waited_for_login(&self) -> bool {
        self.failure
            .as_ref()
            .is_some_and(|failure| match &failure.fault {
                Fault::AuthRequired { reason, .. } => {
                    !matches!(reason, LoginReason::Rejected | LoginReason::NotConfigured)
                }
                _ => false,
            })
    }

    /// This state after a load that failed.
    pub(crate) fn failed(&self, fault: Fault, moment: Moment) -> Self {
        let before = self.failure.as_ref();
        let count = before.map_or(0, |failure| failure.count).saturating_add(1);
        let asked = match &fault {
            Fault::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        };
        let wait = asked.unwrap_or_else(|| backoff(count));
        Self {
            known: match &fault {
                // What was shown to a credential that is refused now is shown to nobody.
                Fault::AuthRequired { .. } => None,
                _ => self.known.clone(),
            },
            failure: Some(Failure {
                since: match before {
                    // A login that is needed now is not needed since an outage began.
                    Some(before) if needs_login(&before.fault) == needs_login(&fault) => {
                        before.since
                    }
                    _ => moment.now,
                },
                count,
                retry_at: moment.monotonic.saturating_add(wait),
                fault,
            }),
            restored: true,
        }
    }

    /// This state after a load that brought `known`.
    pub(crate) fn loaded(known: Known) -> Self {
        Self {
            known: Some(known),
            failure: None,
            restored: true,
        }
    }
}

/// Whether `known` may be served without asking the source again.
pub(crate) fn is_fresh(known: &Known, now: Timestamp) -> bool {
    let marks = &known.marks;
    let cheap = marks.incremental || marks.etag.is_some() || marks.last_modified.is_some();
    let limit = if cheap {
        FRESH_WHEN_CHEAP
    } else {
        FRESH_WHEN_WHOLE
    };
    // A time in the future is a clock that was wrong then or is wrong now.
    marks.checked_at <= now && now.duration_since(marks.checked_at).unsigned_abs() < limit
}

fn backoff(count: u32) -> Duration {
    let doublings = count.saturating_sub(1).min(16);
    (BACKOFF_FIRST * 2_u32.pow(doublings)).min(BACKOFF_LONGEST)
}

fn needs_login(fault: &Fault) -> bool {
    matches!(fault, Fault::AuthRequired { .. })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::cache::Marks;
    use crate::error::Blame;
    use crate::snapshot::{Edition, Snapshot};

    const NOW: &str = "2026-05-05T12:00:00Z";

    fn moment(monotonic: Duration) -> Moment {
        Moment {
            now: NOW.parse().unwrap(),
            monotonic,
        }
    }

    fn known(age: Duration) -> Known {
        let snapshot = Snapshot::new(
            Edition::default(),
            Vec::new(),
            Vec::new(),
            BTreeMap::new(),
            0,
        );
        let now: Timestamp = NOW.parse().unwrap();
        Known {
            snapshot: Arc::new(snapshot),
            marks: Marks {
                checked_at: now - age,
                ..Marks::default()
            },
        }
    }

    fn unavailable() -> Fault {
        Fault::Unavailable {
            url: Some("https://r.example".to_owned()),
            cause: "it is down".to_owned(),
            retry_after: None,
            blame: Blame::Registry,
        }
    }

    fn auth_required() -> Fault {
        Fault::AuthRequired {
            source_name: "https://r.example".to_owned(),
            reason: LoginReason::Rejected,
        }
    }

    #[test]
    fn a_reader_waits_only_when_nothing_can_be_served() {
        let fresh = State::loaded(known(Duration::from_secs(1)));
        let old = State::loaded(known(FRESH_WHEN_WHOLE));
        let behind = Revalidation::Behind;
        let table = [
            (
                State::default(),
                behind,
                Decision::Wait {
                    pause: Duration::ZERO,
                },
            ),
            (
                fresh.clone(),
                behind,
                Decision::Serve {
                    stale: false,
                    load: false,
                },
            ),
            (
                fresh,
                Revalidation::Before,
                Decision::Serve {
                    stale: false,
                    load: false,
                },
            ),
            (
                old.clone(),
                behind,
                Decision::Serve {
                    stale: false,
                    load: true,
                },
            ),
            (
                old,
                Revalidation::Before,
                Decision::Wait {
                    pause: Duration::ZERO,
                },
            ),
        ];
        for (state, revalidation, expected) in table {
            assert_eq!(
                state.decide(moment(Duration::ZERO), revalidation, true),
                expected
            );
        }
    }

    #[test]
    fn w24_an_outage_serves_stale_and_is_retried_with_backoff() {
        let state =
            State::loaded(known(FRESH_WHEN_WHOLE)).failed(unavailable(), moment(Duration::ZERO));
        let behind = Revalidation::Behind;
        assert_eq!(
            state.decide(moment(Duration::ZERO), behind, true),
            Decision::Serve {
                stale: true,
                load: false
            }
        );
        assert_eq!(
            state.decide(moment(BACKOFF_FIRST), behind, true),
            Decision::Serve {
                stale: true,
                load: true
            }
        );
    }

    #[test]
    fn f12_a_refused_credential_hides_the_catalog() {
        let state =
            State::loaded(known(Duration::ZERO)).failed(auth_required(), moment(Duration::ZERO));
        assert!(state.known.is_none());
        let decision = state.decide(moment(Duration::ZERO), Revalidation::Behind, true);
        assert_eq!(decision, Decision::Fail { load: false });
        let later = moment(BACKOFF_LONGEST);
        assert_eq!(
            state.decide(later, Revalidation::Behind, true),
            Decision::Fail { load: true },
            "the answer comes at once, the recheck behind it"
        );
    }

    #[test]
    fn w2_a_failure_is_not_kept_beyond_its_backoff() {
        let first = State::default().failed(unavailable(), moment(Duration::ZERO));
        assert_eq!(
            first.decide(moment(Duration::ZERO), Revalidation::Behind, true),
            Decision::Wait {
                pause: BACKOFF_FIRST
            },
            "the call after a first failure waits for the next try"
        );
        let second = first.failed(unavailable(), moment(Duration::ZERO));
        assert_eq!(
            second.decide(moment(Duration::ZERO), Revalidation::Behind, true),
            Decision::Fail { load: false }
        );
        assert_eq!(
            second.decide(moment(BACKOFF_FIRST * 2), Revalidation::Behind, true),
            Decision::Wait {
                pause: Duration::ZERO
            }
        );
    }

    #[test]
    fn the_backoff_grows_to_its_limit_and_retry_after_overrides_it() {
        let mut state = State::default();
        for _ in 0..40 {
            state = state.failed(unavailable(), moment(Duration::ZERO));
        }
        assert_eq!(state.failure.unwrap().retry_at, BACKOFF_LONGEST);
        let asked = Fault::Unavailable {
            url: None,
            cause: String::new(),
            retry_after: Some(Duration::from_secs(7)),
            blame: Blame::Registry,
        };
        let state = State::default().failed(asked, moment(Duration::from_secs(1)));
        assert_eq!(state.failure.unwrap().retry_at, Duration::from_secs(8));
    }

    #[test]
    fn w27_a_time_in_the_future_is_not_fresh() {
        let mut known = known(Duration::ZERO);
        known.marks.checked_at = "2099-01-01T00:00:00Z".parse().unwrap();
        assert!(!is_fresh(&known, NOW.parse().unwrap()));
    }
}
