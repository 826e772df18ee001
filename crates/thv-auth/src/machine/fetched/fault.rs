//! Why a token was not fetched, and what that means for whoever wants to read the registry.

use std::time::Duration;

use crate::credentials::{AuthError, LoginReason};

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    /// Whoever issues tokens refuses us, in so many words. Asking again changes nothing.
    #[error("{cause}")]
    Refused {
        /// What was answered.
        cause: String,
        /// The code of the answer (RFC 6749 section 5.2).
        code: String,
    },
    /// The same from a source with which a person may deal meanwhile, without a trace on this machine: worth asking again later.
    #[error("{cause}")]
    RefusedForNow {
        /// What was answered.
        cause: String,
    },
    /// The workload's own token is somebody else's than at first.
    #[error("{cause}")]
    OtherAccount {
        /// Whose.
        cause: String,
    },
    /// Tokens are to come from another host than at first, which nobody has confirmed.
    #[error("{cause}")]
    OtherHost {
        /// Which.
        cause: String,
    },
    /// Nothing is known to be wrong with us.
    #[error("{cause}")]
    Transient {
        /// What happened.
        cause: String,
        /// How long the other side asks us to wait.
        retry_after: Option<Duration>,
    },
    /// Something on this machine that is needed is not there or not right.
    #[error("{cause}")]
    Unusable {
        /// What.
        cause: String,
    },
    /// The secret store cannot be read.
    #[error("{cause}")]
    Store {
        /// What it said.
        cause: String,
        /// Whether it waits to be unlocked.
        locked: bool,
    },
}

impl FetchError {
    pub(super) fn is_definite(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. } | Self::OtherAccount { .. } | Self::OtherHost { .. }
        )
    }

    /// Whether a change on this machine may mend it.
    pub(super) fn is_of_this_machine(&self) -> bool {
        !matches!(self, Self::Transient { .. } | Self::Store { .. })
    }

    /// The code by which we were refused.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// The word for it in a report.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Refused { .. } | Self::RefusedForNow { .. } => "credential_refused",
            Self::OtherAccount { .. } => "account_mismatch",
            Self::OtherHost { .. } => "issuer_changed",
            Self::Transient { .. } => "identity_provider_unavailable",
            Self::Unusable { .. } => "credential_unusable",
            Self::Store { .. } => "store_unavailable",
        }
    }

    pub(super) fn into_error(self) -> AuthError {
        match self {
            Self::Refused { .. } | Self::RefusedForNow { .. } => AuthError::LoginRequired {
                reason: LoginReason::CredentialRefused,
            },
            Self::OtherAccount { .. } => AuthError::LoginRequired {
                reason: LoginReason::CredentialOfAnother,
            },
            Self::OtherHost { .. } => AuthError::LoginRequired {
                reason: LoginReason::CredentialMoved,
            },
            Self::Transient { cause, .. } => AuthError::Unreachable { cause },
            Self::Unusable { cause } => AuthError::Unusable { cause },
            Self::Store { cause, locked } => AuthError::Store { cause, locked },
        }
    }
}
