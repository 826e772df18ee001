//! Tokens that we fetch ourselves, kept fresh: one fetch at a time, however many requests want a token, before the old one expires.
//!
//! Tokens live in memory only: the next process fetches its own. A definite refusal is remembered until the settings or the files behind
//! them change, a passing fault, and another host than at first, until a pause is over. How a token is fetched is a [`Fetch`]; nothing here knows a protocol.

mod fault;
mod flight;
mod live;

use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use jiff::Timestamp;
use secrecy::SecretString;
use thv_config::disk::Fingerprint;
use thv_config::world::Clock;
use thv_http::Bearer;
use url::Url;

pub(crate) use self::fault::FetchError;
use self::live::{Expiry, Live, Need};
use super::token_host::TokenHost;
use crate::binding::hex;
use crate::credentials::{AuthError, AuthStatus, Credentials, LoginReason};
use crate::grant::TokenFingerprint;
use crate::limits::{FORCED_FLOOR, LOOK_INTERVAL};
use crate::refresh::blocking;

/// A way to a fresh token.
pub(crate) trait Fetch: Debug + Send + Sync + 'static {
    /// Fetches one.
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, FetchError>>;

    /// Changes whenever a fetch may end differently because something on this machine has changed. Blocks for as long as `stat` does.
    fn marks(&self) -> Vec<Option<Fingerprint>>;

    /// The word for it on routes that know `oauth` and `bearer`.
    fn auth_type(&self) -> &'static str;

    /// What is known of the host that tokens come from, where that may not change unnoticed.
    fn token_host(&self) -> Option<&TokenHost> {
        None
    }
}

/// A token, fresh.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) token: SecretString,
    /// How long it lives, from now; `None` when nobody said.
    pub(crate) expires_in: Option<Duration>,
    /// The scopes that were granted, where they were named.
    pub(crate) scopes: Vec<String>,
    /// Who it is for, as far as the source says: one identity of a workload is not exchanged for another unnoticed.
    pub(crate) account: Option<String>,
}

/// The credential whose tokens a [`Fetch`] fetches.
pub(crate) struct FetchedCredentials {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    url: Url,
    /// The settings say who we are: the next token is the same client's.
    identity: String,
    fetch: Box<dyn Fetch>,
    /// Whether fetches begin that nobody waits for.
    ahead: Arc<AtomicBool>,
    jitter: u8,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: Option<Live>,
    failure: Option<Failure>,
    flight: Option<Flight>,
    /// Consecutive failures.
    failures: u32,
    /// The token that the registry does not take, after a fresh one was fetched for it.
    refused: Option<TokenFingerprint>,
    forced_at: Option<Duration>,
    /// Whose tokens these are, from the first one on.
    account: Option<String>,
    last: Option<(Timestamp, &'static str)>,
    looked_at: Option<Duration>,
}

#[derive(Clone)]
struct Failure {
    error: FetchError,
    /// On the monotonic clock; `None` as long as nothing has changed on this machine.
    retry_at: Option<Duration>,
    marks: Vec<Option<Fingerprint>>,
}

type Flight = Shared<BoxFuture<'static, Result<SecretString, FetchError>>>;

/// What is known, for a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) has_token: bool,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) scopes: Vec<String>,
    pub(crate) account: Option<String>,
    pub(crate) fetching: bool,
    pub(crate) last: Option<(Timestamp, &'static str)>,
    pub(crate) trouble: Option<AuthError>,
    /// What exactly was answered or missing.
    pub(crate) detail: Option<String>,
    /// The code by which we were refused.
    pub(crate) code: Option<String>,
    pub(crate) retry_after: Option<Duration>,
}

/// What the last fetch met, where it failed.
#[derive(Clone, Debug)]
pub(crate) struct FetchTrouble {
    pub(crate) error: AuthError,
    /// The words for it.
    pub(crate) said: String,
    /// The code by which we were refused.
    pub(crate) code: Option<String>,
}

// === impl FetchedCredentials ===

impl FetchedCredentials {
    /// A credential for the origin of `url` only; `digest` tells its settings from others. Where the settings do not say whose
    /// tokens come (`is_of_one` is false), nothing that an earlier process was shown is shown to this one.
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        url: Url,
        digest: &str,
        is_of_one: bool,
        fetch: Box<dyn Fetch>,
        ahead: Arc<AtomicBool>,
    ) -> Self {
        let mut jitter = [0];
        let mut reader = [0; 16];
        // Without randomness all processes fetch at the same moment, which a provider can bear.
        let _ = getrandom::fill(&mut jitter);
        if !is_of_one {
            let _ = getrandom::fill(&mut reader);
        }
        let reader = hex(&reader);
        Self {
            inner: Arc::new(Inner {
                clock,
                identity: format!("fetched\n{url}\n{digest}\n{reader}"),
                url,
                fetch,
                ahead,
                jitter: jitter[0],
                state: Mutex::default(),
            }),
        }
    }

    /// Forgets a failure when something on this machine that it may have come from has changed.
    pub(crate) async fn look(&self) {
        let remembered = {
            let now = self.inner.clock.monotonic();
            let mut state = self.inner.lock();
            let is_due = state
                .looked_at
                .is_none_or(|at| now.saturating_sub(at) >= LOOK_INTERVAL);
            if !is_due {
                return;
            }
            state.looked_at = Some(now);
            let failure = state.failure.as_ref();
            failure
                .filter(|failure| failure.error.is_of_this_machine())
                .map(|failure| failure.marks.clone())
        };
        let Some(marks) = remembered else { return };
        let inner = Arc::clone(&self.inner);
        if blocking(move || inner.fetch.marks()).await != marks {
            self.inner.lock().failure = None;
        }
    }

    /// What the last fetch met, where it failed.
    pub(crate) fn fetch_trouble(&self) -> Option<FetchTrouble> {
        let state = self.inner.lock();
        let error = &state.failure.as_ref()?.error;
        Some(FetchTrouble {
            said: error.to_string(),
            code: error.code().map(str::to_owned),
            error: error.clone().into_error(),
        })
    }

    /// What is known of the host that tokens come from, where that may not change unnoticed.
    pub(crate) fn token_host(&self) -> Option<&TokenHost> {
        self.inner.fetch.token_host()
    }

    /// The token that was fetched last, where it is good still, or why there is none.
    pub(crate) fn at_hand(&self) -> Result<Bearer, String> {
        let state = self.inner.lock();
        let is_good = self.inner.need(&state) != Need::Fresh;
        match state.live.as_ref().filter(|_| is_good) {
            Some(live) => Ok(Bearer::for_url(live.token.clone(), &self.inner.url)),
            None => Err(
                "this process has fetched none that is good now, and a check fetches none; `thv registry list` does"
                    .to_owned(),
            ),
        }
    }

    /// What is known, without asking anybody.
    pub(crate) fn standing(&self) -> Standing {
        let state = self.inner.lock();
        let now = self.inner.clock.monotonic();
        let failure = state.failure.as_ref();
        Standing {
            // One that has expired is replaced when it is needed.
            has_token: state.live.is_some(),
            expires_at: state
                .live
                .as_ref()
                .and_then(|live| live.expiry)
                .map(|expiry| expiry.wall),
            scopes: state
                .live
                .as_ref()
                .map(|live| live.scopes.clone())
                .unwrap_or_default(),
            account: state.account.clone(),
            fetching: state.flight.is_some(),
            last: state.last,
            trouble: self.inner.trouble(&state),
            detail: failure.map(|failure| failure.error.to_string()),
            code: failure.and_then(|failure| failure.error.code().map(str::to_owned)),
            retry_after: failure
                .and_then(|failure| failure.retry_at?.checked_sub(now))
                .filter(|left| !left.is_zero()),
        }
    }

    /// Waits for the fetch in flight, if there is one.
    async fn token(&self) -> Result<SecretString, AuthError> {
        self.look().await;
        let (waits, token) = {
            let mut state = self.inner.lock();
            let need = self.inner.need(&state);
            let token = state.live.as_ref().map(|live| live.token.clone());
            let must_wait = self.inner.must_wait(&state);
            if let Some(error) = must_wait.as_ref().filter(|error| error.is_definite()) {
                return Err(error.clone().into_error());
            }
            match (need, must_wait) {
                (Need::Nothing, _) | (Need::Now, Some(_)) => (None, token),
                (Need::Soon, waits) => {
                    if waits.is_none() && self.inner.ahead.load(Ordering::Relaxed) {
                        drop(Inner::fly(&self.inner, &mut state));
                    }
                    (None, token)
                }
                (Need::Fresh, Some(error)) => return Err(error.into_error()),
                (Need::Now, None) => (Some(Inner::fly(&self.inner, &mut state)), token),
                (Need::Fresh, None) => (Some(Inner::fly(&self.inner, &mut state)), None),
            }
        };
        let Some(flight) = waits else {
            return token.ok_or(AuthError::LoginRequired {
                reason: LoginReason::NeverLoggedIn,
            });
        };
        match (flight.await, token) {
            (Ok(fresh), _) => Ok(fresh),
            (Err(error), Some(token)) if !error.is_definite() => {
                tracing::warn!(%error, "no fresh token; the old one is good still");
                Ok(token)
            }
            (Err(error), _) => Err(error.into_error()),
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn need(&self, state: &State) -> Need {
        let (monotonic, now) = (self.clock.monotonic(), self.clock.now());
        state
            .live
            .as_ref()
            .map_or(Need::Fresh, |live| live.need(monotonic, now, self.jitter))
    }

    /// Why no fetch may begin yet.
    fn must_wait(&self, state: &State) -> Option<FetchError> {
        let failure = state.failure.as_ref()?;
        let is_over = failure
            .retry_at
            .is_some_and(|at| self.clock.monotonic() >= at);
        (!is_over).then(|| failure.error.clone())
    }

    /// What a reader would meet now. A pause that is over hides nothing: the next reader finds out anew.
    fn trouble(&self, state: &State) -> Option<AuthError> {
        let failure = self
            .must_wait(state)
            .filter(|error| error.is_definite() || self.need(state) == Need::Fresh);
        if let Some(error) = failure {
            return Some(error.into_error());
        }
        let refused = state.refused?;
        let live = state.live.as_ref()?;
        (TokenFingerprint::of(&live.token) == refused).then_some(AuthError::LoginRequired {
            reason: LoginReason::CredentialRejected,
        })
    }
}

impl Credentials for FetchedCredentials {
    fn status(&self) -> AuthStatus {
        let standing = self.standing();
        if standing.has_token && standing.trouble.is_none() {
            AuthStatus::Authenticated
        } else {
            AuthStatus::Configured
        }
    }

    fn identity(&self) -> String {
        self.inner.identity.clone()
    }

    fn is_still(&self, reader: &str) -> bool {
        self.inner.identity == reader || self.login_needed().is_some()
    }

    fn bearer(&self) -> BoxFuture<'_, Result<Option<Bearer>, AuthError>> {
        async move {
            let token = self.token().await?;
            Ok(Some(Bearer::for_url(token, &self.inner.url)))
        }
        .boxed()
    }

    fn prepare(&self) -> BoxFuture<'_, ()> {
        self.look().boxed()
    }

    fn login_needed(&self) -> Option<LoginReason> {
        let state = self.inner.lock();
        match self.inner.trouble(&state) {
            Some(AuthError::LoginRequired { reason }) => Some(reason),
            _ => None,
        }
    }

    fn rejected<'a>(&'a self, bearer: &'a Bearer) -> BoxFuture<'a, bool> {
        async move {
            let refused = TokenFingerprint::of(bearer.token());
            let flight = {
                let mut state = self.inner.lock();
                let current = state
                    .live
                    .as_ref()
                    .map(|live| TokenFingerprint::of(&live.token));
                if current.is_some_and(|current| current != refused) {
                    return self.inner.need(&state) != Need::Fresh;
                }
                if self.inner.must_wait(&state).is_some() {
                    return false;
                }
                let now = self.inner.clock.monotonic();
                let is_early = state
                    .forced_at
                    .is_some_and(|at| now < at.saturating_add(FORCED_FLOOR));
                if is_early && state.flight.is_none() {
                    None
                } else {
                    state.forced_at = Some(now);
                    Some(Inner::fly(&self.inner, &mut state))
                }
            };
            if let Some(flight) = flight {
                match flight.await {
                    Ok(fresh) if TokenFingerprint::of(&fresh) != refused => return true,
                    Ok(_) => {}
                    // What is wrong is told as what it is: the registry's word is not the last.
                    Err(_) => return false,
                }
            }
            let mut state = self.inner.lock();
            let current = state
                .live
                .as_ref()
                .map(|live| TokenFingerprint::of(&live.token));
            if current == Some(refused) {
                state.refused = current;
            }
            false
        }
        .boxed()
    }

    fn accepted(&self, bearer: &Bearer) {
        let mut state = self.inner.lock();
        if state.refused.is_some() && state.refused == Some(TokenFingerprint::of(bearer.token())) {
            state.refused = None;
        }
    }

    fn auth_type(&self) -> Option<&'static str> {
        Some(self.inner.fetch.auth_type())
    }
}

impl fmt::Debug for FetchedCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchedCredentials")
            .field("registry", &thv_http::display_url(&self.inner.url))
            .field("fetch", &self.inner.fetch)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
