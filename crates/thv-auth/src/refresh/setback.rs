//! How a renewal comes to its end without a token.

use std::sync::Arc;
use std::time::Duration;

use super::view::Trouble;
use crate::credentials::{AuthError, LoginReason};
use crate::grant::Grant;
use crate::limits::FLIGHT_DEADLINE;
use crate::vault::VaultError;

/// Why a renewal ends without a token, and when the next may begin.
pub(super) struct Setback {
    pub(super) error: AuthError,
    pub(super) pause: Pause,
}

pub(super) enum Pause {
    /// The provider could not help; it may have said when it can.
    Provider(Option<Duration>),
    /// The provider was not asked.
    Short,
    /// Another renewal would not help.
    Never,
}

/// What a part of a renewal comes to, when that is its end.
pub(super) type Outcome = Result<Arc<Grant>, Setback>;

// === impl Setback ===

impl Setback {
    pub(super) fn login(reason: LoginReason) -> Self {
        Self {
            error: AuthError::LoginRequired { reason },
            pause: Pause::Never,
        }
    }

    pub(super) fn provider(cause: String, asked: Option<Duration>) -> Self {
        Self {
            error: AuthError::Unreachable { cause },
            pause: Pause::Provider(asked),
        }
    }

    pub(super) fn too_slow() -> Self {
        let cause = format!("it did not answer within {FLIGHT_DEADLINE:?}");
        Self::provider(cause, None)
    }

    /// Where it happened is not known, so that the provider may have been asked.
    pub(super) fn panicked() -> Self {
        Self::provider(
            "the renewal was cut off by a fault of ours".to_owned(),
            None,
        )
    }

    pub(super) fn trouble(trouble: &Trouble) -> Self {
        Self {
            error: trouble.error(),
            pause: Pause::Short,
        }
    }

    pub(super) fn store(error: &VaultError) -> Self {
        let error = match error {
            VaultError::Store(error) => Trouble::of(error).error(),
            VaultError::Record(_) | VaultError::Moved => AuthError::Store {
                cause: error.to_string(),
                locked: false,
            },
        };
        Self {
            error,
            pause: Pause::Short,
        }
    }
}
