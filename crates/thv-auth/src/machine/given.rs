//! A token or key that is given to us as it is: from the store, a file, a secret of the user, or the environment.
//!
//! It is read again when its place has changed. Where it cannot be renewed, a registry that refuses it has the last word until another
//! value is there. Fetching tokens is `fetched`'s part.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::HeaderName;
use secrecy::SecretString;
use thv_config::disk::Fingerprint;
use thv_config::world::Clock;
use thv_http::Bearer;
use url::Url;

use super::secret::{Alphabet, SecretFault, SecretReader, SecretSource, Slot};
use crate::credentials::{AuthError, AuthStatus, Credentials, LoginReason};
use crate::grant::TokenFingerprint;
use crate::limits::{LOOK_INTERVAL, RETRY_STORE};
use crate::refresh::blocking;

/// A token that is given.
pub(crate) struct GivenCredentials {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    url: Url,
    header: Option<HeaderName>,
    place: Place,
    state: Mutex<State>,
    /// Lets one task look while the others wait for what it sees.
    turn: tokio::sync::Mutex<()>,
}

/// Where the value is.
pub(crate) enum Place {
    /// It is here, injected by the environment, and never changes.
    Here(SecretString),
    /// It is read.
    At {
        reader: SecretReader,
        source: SecretSource,
        slot: Slot,
    },
}

#[derive(Default)]
struct State {
    looked_at: Option<Duration>,
    read_at: Option<Duration>,
    marks: Vec<Option<Fingerprint>>,
    known: Option<Result<Value, SecretFault>>,
    /// Whether the next look reads, whatever it looks like: not every place shows that it has changed.
    is_doubtful: bool,
    /// The value that the registry does not take.
    refused: Option<TokenFingerprint>,
}

/// A value, and what tells it from others.
struct Value {
    secret: SecretString,
    fingerprint: TokenFingerprint,
    identity: String,
}

// === impl Value ===

impl Value {
    /// Nobody says whose it is, so that each value counts as somebody else's.
    fn new(secret: SecretString, url: &Url) -> Self {
        let fingerprint = TokenFingerprint::of(&secret);
        Self {
            identity: format!("given\n{url}\n{}", fingerprint.to_hex()),
            secret,
            fingerprint,
        }
    }
}

// === impl GivenCredentials ===

impl GivenCredentials {
    /// The token in `place`, for the origin of `url` only; in `header` when it is a key.
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        url: Url,
        header: Option<HeaderName>,
        place: Place,
    ) -> Self {
        let known = match &place {
            Place::Here(value) => Some(Ok(Value::new(value.clone(), &url))),
            Place::At { .. } => None,
        };
        Self {
            inner: Arc::new(Inner {
                clock,
                url,
                header,
                place,
                state: Mutex::new(State {
                    known,
                    ..State::default()
                }),
                turn: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// Reads the value, unless that has just been done or nothing has changed.
    pub(crate) async fn look(&self) {
        self.look_unless(|inner, state| {
            let now = inner.clock.monotonic();
            let at = state.looked_at;
            at.is_some_and(|at| now.saturating_sub(at) < LOOK_INTERVAL)
        })
        .await;
    }

    /// While somebody looks, what was seen before is good enough, unless nothing was.
    async fn look_unless(&self, is_recent: impl Fn(&Inner, &State) -> bool) {
        let inner = &self.inner;
        let is_idle = || {
            let state = inner.lock();
            state.known.is_some()
                && (matches!(inner.place, Place::Here(_)) || is_recent(inner, &state))
        };
        if is_idle() {
            return;
        }
        let _turn = match inner.turn.try_lock() {
            Ok(turn) => turn,
            Err(_) if inner.lock().known.is_some() => return,
            Err(_) => inner.turn.lock().await,
        };
        if is_idle() {
            return;
        }
        let inner = Arc::clone(inner);
        blocking(move || inner.read()).await;
    }

    /// The value as it was last read, or why there is none.
    pub(crate) fn at_hand(&self) -> Result<Bearer, String> {
        let bearer = self.inner.bearer(&self.inner.lock());
        bearer.map_err(|error| error.to_string())
    }

    /// What stands in the way of using it, as far as is known.
    pub(crate) fn trouble(&self) -> Option<AuthError> {
        self.inner.trouble(&self.inner.lock())
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks.
    fn read(&self) {
        let Place::At {
            reader,
            source,
            slot,
        } = &self.place
        else {
            return;
        };
        let now = self.clock.monotonic();
        let marks = reader.marks(source);
        {
            let mut state = self.lock();
            state.looked_at = Some(now);
            if state.known.is_some() && state.marks == marks && !state.wants_another_try(now) {
                return;
            }
        }
        let value = reader.read(source, slot, Alphabet::Token);
        let mut state = self.lock();
        state.read_at = Some(now);
        state.is_doubtful = false;
        state.marks = marks;
        state.known = Some(value.map(|secret| Value::new(secret, &self.url)));
    }

    /// What stands in the way of using the value, as far as is known.
    fn trouble(&self, state: &State) -> Option<AuthError> {
        match &state.known {
            None => None,
            Some(Err(fault)) => Some(fault.clone().into_error()),
            Some(Ok(value)) => {
                let refused = state.refused?;
                let reason = match self.place {
                    Place::Here(_) => LoginReason::InjectedRejected,
                    Place::At { .. } => LoginReason::CredentialRejected,
                };
                (refused == value.fingerprint).then_some(AuthError::LoginRequired { reason })
            }
        }
    }

    fn bearer(&self, state: &State) -> Result<Bearer, AuthError> {
        match &state.known {
            Some(Ok(value)) => {
                let bearer = Bearer::for_url(value.secret.clone(), &self.url);
                Ok(match &self.header {
                    Some(header) => bearer.in_header(header.clone()),
                    None => bearer,
                })
            }
            Some(Err(fault)) => Err(fault.clone().into_error()),
            None => Err(AuthError::Unusable {
                cause: "it has not been read yet".to_owned(),
            }),
        }
    }
}

impl State {
    /// A store may open again without any file having changed.
    fn wants_another_try(&self, now: Duration) -> bool {
        let is_stuck = matches!(self.known, Some(Err(SecretFault::Store { .. })));
        self.is_doubtful
            || is_stuck
                && self
                    .read_at
                    .is_none_or(|at| now.saturating_sub(at) >= RETRY_STORE)
    }
}

impl SecretFault {
    /// What it means for whoever wants to read the registry. A token that we were given to keep and that is gone was logged out.
    pub(crate) fn into_error(self) -> AuthError {
        match self {
            Self::Absent { ref place } if *place == SecretSource::Store.shown() => {
                AuthError::LoginRequired {
                    reason: LoginReason::NeverLoggedIn,
                }
            }
            fault @ (Self::Absent { .. } | Self::Unusable { .. }) => AuthError::Unusable {
                cause: fault.to_string(),
            },
            Self::Store { cause, locked } => AuthError::Store { cause, locked },
        }
    }
}

impl Credentials for GivenCredentials {
    fn status(&self) -> AuthStatus {
        let state = self.inner.lock();
        match (&state.known, self.inner.trouble(&state)) {
            (Some(Ok(_)), None) => AuthStatus::Authenticated,
            _ => AuthStatus::Configured,
        }
    }

    fn identity(&self) -> String {
        match &self.inner.lock().known {
            Some(Ok(value)) => value.identity.clone(),
            Some(Err(_)) | None => format!("given\n{}\nnothing", self.inner.url),
        }
    }

    fn is_still(&self, reader: &str) -> bool {
        let state = self.inner.lock();
        match &state.known {
            Some(Ok(value)) => value.identity == reader || self.inner.trouble(&state).is_some(),
            Some(Err(_)) | None => true,
        }
    }

    fn bearer(&self) -> BoxFuture<'_, Result<Option<Bearer>, AuthError>> {
        async move {
            self.look().await;
            self.inner.bearer(&self.inner.lock()).map(Some)
        }
        .boxed()
    }

    fn prepare(&self) -> BoxFuture<'_, ()> {
        self.look().boxed()
    }

    fn login_needed(&self) -> Option<LoginReason> {
        match self.trouble() {
            Some(AuthError::LoginRequired { reason }) => Some(reason),
            _ => None,
        }
    }

    fn rejected<'a>(&'a self, bearer: &'a Bearer) -> BoxFuture<'a, bool> {
        async move {
            // It may have been replaced a moment ago.
            self.inner.lock().is_doubtful = true;
            self.look_unless(|_, _| false).await;
            let refused = TokenFingerprint::of(bearer.token());
            let mut state = self.inner.lock();
            let current = match &state.known {
                Some(Ok(value)) => Some(value.fingerprint),
                Some(Err(_)) | None => None,
            };
            if current == Some(refused) {
                state.refused = Some(refused);
            }
            current.is_some_and(|current| current != refused)
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
        Some("bearer")
    }
}

impl fmt::Debug for GivenCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GivenCredentials")
            .field("registry", &thv_http::display_url(&self.inner.url))
            .finish_non_exhaustive()
    }
}
