//! What is known of one binding's grant without asking anybody: the last reading of the store and the last outcomes.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use thv_secrets::SecretsError;

use crate::credentials::{AuthError, LoginReason};
use crate::grant::{Death, Grant, GrantOrigin, RecordError, TokenFingerprint};
use crate::vault::VaultError;

/// What is known of a grant.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) known: Known,
    /// What the last reading of the store met, when it failed.
    pub(crate) trouble: Option<Trouble>,
    /// Why the last renewal failed, when another one has to wait.
    pub(crate) failure: Option<Failure>,
    /// The access token that the registry refuses, when a renewal does not help.
    pub(crate) refused: Option<TokenFingerprint>,
    /// The access token that the registry has taken in this process.
    pub(crate) accepted: Option<TokenFingerprint>,
    /// The access token whose scopes do not suffice for the registry.
    pub(crate) insufficient: Option<TokenFingerprint>,
    /// Whether another login would ask for no more than that one did.
    pub(crate) is_scope_in_vain: bool,
    /// When a refusal of the registry last forced a renewal, on the monotonic clock.
    pub(crate) forced_at: Option<Duration>,
    /// The end of the last renewal in this process.
    pub(crate) last_refresh: Option<LastRefresh>,
    /// The refresh token that the provider refused: remembered here too, as the store may not take it.
    pub(crate) verdict: Option<(TokenFingerprint, Death)>,
    /// A renewal of tokens from the environment, and the generation of these.
    pub(crate) memory: Option<(u64, Arc<Grant>)>,
}

/// What the store holds.
#[derive(Clone, Debug, Default)]
pub(crate) enum Known {
    /// It was not read yet.
    #[default]
    Unread,
    /// Nothing.
    Absent,
    /// Something that is no grant for this binding.
    Unreadable(RecordError),
    /// A grant, dead or alive.
    Held(Arc<Grant>),
}

/// Why the store was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) cause: String,
    pub(crate) locked: bool,
}

/// A renewal that failed, and those before it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) error: AuthError,
    pub(crate) count: u32,
    /// When the next one may begin, on the monotonic clock.
    pub(crate) retry_at: Duration,
}

/// How a renewal ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRefresh {
    /// When, by our clock.
    pub at: Timestamp,
    /// `renewed`, `adopted`, or the word of the failure.
    pub result: &'static str,
}

// === impl View ===

impl View {
    /// The grant, dead or alive.
    pub(crate) fn grant(&self) -> Option<&Arc<Grant>> {
        match &self.known {
            Known::Held(grant) => Some(grant),
            Known::Unread | Known::Absent | Known::Unreadable(_) => None,
        }
    }

    /// The generation of the grant, dead or alive.
    pub(crate) fn generation(&self) -> Option<u64> {
        self.grant().map(|grant| grant.generation)
    }

    /// Takes in a reading of the store.
    pub(crate) fn read(&mut self, reading: Result<Option<Grant>, VaultError>) {
        match reading {
            Ok(Some(grant)) => {
                self.trouble = None;
                let grant = self.remembered(grant);
                self.hold(grant);
            }
            Ok(None) => {
                *self = Self {
                    known: Known::Absent,
                    last_refresh: self.last_refresh.take(),
                    ..Self::default()
                };
            }
            Err(VaultError::Record(error)) => {
                self.trouble = None;
                self.known = Known::Unreadable(error);
            }
            Err(VaultError::Store(error)) => self.trouble = Some(Trouble::of(&error)),
            Err(VaultError::Moved) => {}
        }
    }

    /// Makes `grant` the one in use.
    pub(crate) fn hold(&mut self, grant: Arc<Grant>) {
        let before = self.grant();
        let same_login = before.is_some_and(|before| before.login_id == grant.login_id);
        let same_token =
            before.is_some_and(|before| before.access_fingerprint() == grant.access_fingerprint());
        if !same_login {
            self.forced_at = None;
        }
        if !same_token {
            self.failure = None;
            self.refused = None;
            self.accepted = None;
            self.insufficient = None;
        }
        self.known = Known::Held(grant);
    }

    /// The grant with what the store does not know of it: a renewal that was not stored, a verdict that was not stored.
    fn remembered(&self, grant: Grant) -> Arc<Grant> {
        if let Some((base, renewed)) = &self.memory
            && grant.origin == GrantOrigin::Environment
            && *base == grant.generation
        {
            return Arc::clone(renewed);
        }
        match &self.verdict {
            Some((token, death))
                if grant.dead.is_none() && grant.refresh_fingerprint() == Some(*token) =>
            {
                Arc::new(Grant {
                    dead: Some(death.clone()),
                    ..grant
                })
            }
            _ => Arc::new(grant),
        }
    }

    /// Whether the registry refuses the token in use.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Why the stored record cannot be used.
    pub(crate) fn unreadable(&self) -> Option<&RecordError> {
        match &self.known {
            Known::Unreadable(error) => Some(error),
            Known::Unread | Known::Absent | Known::Held(_) => None,
        }
    }

    /// Why there is no grant at all.
    pub(crate) fn absence(&self) -> Option<AuthError> {
        let error = |reason| Some(AuthError::LoginRequired { reason });
        match (&self.known, &self.trouble) {
            (Known::Held(_), _) => None,
            (_, Some(trouble)) => Some(trouble.error()),
            (Known::Unreadable(_), None) => error(LoginReason::Unreadable),
            (Known::Unread | Known::Absent, None) => error(LoginReason::NeverLoggedIn),
        }
    }
}

// === impl Trouble ===

impl Trouble {
    pub(crate) fn of(error: &SecretsError) -> Self {
        Self {
            cause: error.to_string(),
            locked: matches!(
                error,
                SecretsError::Locked { .. }
                    | SecretsError::KeyringUnavailable { .. }
                    | SecretsError::KeyringTimedOut { .. }
                    | SecretsError::WrongPassword { .. }
            ),
        }
    }

    pub(crate) fn error(&self) -> AuthError {
        AuthError::Store {
            cause: self.cause.clone(),
            locked: self.locked,
        }
    }
}
