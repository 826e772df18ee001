//! One fetch: begun by the first who wants a token, shared by all who come meanwhile, cut off by none of them, and what its end leaves.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use secrecy::SecretString;

use super::{Expiry, Failure, FetchError, Fetched, Flight, Inner, Live, State};
use crate::limits::{FLIGHT_DEADLINE, RETRY_STORE};
use crate::refresh::{blocking, pause};

impl Inner {
    /// The fetch in flight, or a new one.
    pub(super) fn fly(inner: &Arc<Self>, state: &mut State) -> Flight {
        if let Some(flight) = &state.flight {
            return flight.clone();
        }
        let landing = Landing(Arc::clone(inner));
        let task = tokio::spawn(async move { landing.0.run().await });
        let flight = task
            .map(|outcome| {
                outcome.unwrap_or_else(|_| {
                    Err(FetchError::Transient {
                        cause: "the request for a token was cut off".to_owned(),
                        retry_after: None,
                    })
                })
            })
            .boxed()
            .shared();
        state.flight = Some(flight.clone());
        flight
    }

    async fn run(self: &Arc<Self>) -> Result<SecretString, FetchError> {
        // Taken before: a change during the fetch is one that the fetch has not seen.
        let looking = Arc::clone(self);
        let marks = blocking(move || looking.fetch.marks()).await;
        let outcome = tokio::select! {
            outcome = AssertUnwindSafe(self.fetch.fetch()).catch_unwind() => outcome.unwrap_or_else(|_| {
                tracing::error!("a request for a token panicked");
                Err(FetchError::Transient {
                    cause: "the request for a token was cut off by a fault of ours".to_owned(),
                    retry_after: None,
                })
            }),
            () = self.clock.sleep(FLIGHT_DEADLINE) => Err(FetchError::Transient {
                cause: format!("no token came within {FLIGHT_DEADLINE:?}"),
                retry_after: None,
            }),
        };
        let mut state = self.lock();
        let outcome = outcome.and_then(|fetched| match (&state.account, &fetched.account) {
            (Some(before), Some(now)) if before != now => Err(FetchError::OtherAccount {
                cause: format!("the token is for `{now}`, and the first one was for `{before}`"),
            }),
            _ => Ok(fetched),
        });
        match outcome {
            Ok(fetched) => Ok(self.keep(&mut state, fetched)),
            Err(error) => {
                tracing::warn!(registry = %thv_http::display_url(&self.url), %error, "no token for the registry");
                state.last = Some((self.clock.now(), error.word()));
                state.failures = state.failures.saturating_add(1);
                let wait = match &error {
                    FetchError::Refused { .. } | FetchError::OtherAccount { .. } => None,
                    FetchError::Store { .. } => Some(RETRY_STORE),
                    FetchError::Transient { retry_after, .. } => {
                        Some(pause(state.failures, *retry_after, self.jitter))
                    }
                    // Whether the issuer names the right host again is found out without showing anybody a secret.
                    FetchError::RefusedForNow { .. }
                    | FetchError::OtherHost { .. }
                    | FetchError::Unusable { .. } => Some(pause(state.failures, None, self.jitter)),
                };
                if let FetchError::OtherHost { .. } = error {
                    // It stays unused after the pause, too.
                    state.live = None;
                }
                state.failure = Some(Failure {
                    error: error.clone(),
                    retry_at: wait.map(|wait| self.clock.monotonic().saturating_add(wait)),
                    marks,
                });
                Err(error)
            }
        }
    }

    fn keep(&self, state: &mut State, fetched: Fetched) -> SecretString {
        let (monotonic, now) = (self.clock.monotonic(), self.clock.now());
        state.failure = None;
        state.failures = 0;
        state.last = Some((now, "renewed"));
        if state.account.is_none() {
            state.account = fetched.account;
        }
        state.live = Some(Live {
            token: fetched.token.clone(),
            scopes: fetched.scopes,
            expiry: fetched.expires_in.map(|lifetime| Expiry {
                lifetime,
                at: monotonic.saturating_add(lifetime),
                wall: now.checked_add(lifetime).unwrap_or(Timestamp::MAX),
            }),
        });
        fetched.token
    }
}

/// Makes room for the next fetch, however this one ends.
struct Landing(Arc<Inner>);

impl Drop for Landing {
    fn drop(&mut self) {
        self.0.lock().flight = None;
    }
}
