//! A login as something that can be watched: its name, how far it is, in which ways it can be finished, and how it ended.
//!
//! [`LoginView`] is one look at a login, [`LoginWatch`] follows one. Both are values for whoever shows a login to people; the
//! login itself is run in `flow`, and the list of all of them is kept in the parent module.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;
use url::Url;

use super::progress::{Outcome, Progress};
use super::{LoginDone, LoginError};
use crate::binding::Binding;
use crate::vault::new_login_id;

/// Names one login of this process, and lets whoever knows it watch, answer and end that login: 128 random bits.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginId(String);

/// One look at a login.
#[derive(Clone)]
pub struct LoginView {
    /// Its name.
    pub id: LoginId,
    /// What it is for. Whoever shows an address or a code shows registry and issuer beside it, so that nobody finishes a login
    /// that somebody else has started.
    pub binding: Binding,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ends by itself if nobody finishes it.
    pub expires_at: Timestamp,
    /// Grows with every change that a view shows; 0 before the login can be finished.
    pub revision: u64,
    /// How far it is.
    pub state: LoginState,
    /// The ways in which it can be finished; none once it is not [`LoginState::Pending`].
    pub methods: Vec<LoginMethod>,
}

/// How far a login is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginState {
    /// It waits for a person.
    Pending,
    /// A person has answered, and the grant is being fetched and stored.
    Completing,
    /// It is over, and the grant is stored.
    Succeeded(Box<LoginDone>),
    /// It is over, and nothing came of it.
    Failed(LoginError),
}

/// One way to finish a login. All that are offered race; the first valid answer counts.
#[derive(Clone, PartialEq, Eq)]
pub enum LoginMethod {
    /// A browser opens this address. Where the answer arrives is ours.
    Browser {
        /// The authorization request. It holds the `state`, so it is for the person who logs in only.
        authorization_url: Url,
    },
    /// A person types a code in, on any device (RFC 8628).
    Device {
        /// Where.
        verification_uri: Url,
        /// The same with the code in it.
        verification_uri_complete: Option<Url>,
        /// The code; to be shown, or compared, in any case.
        user_code: String,
        /// How long is waited between two questions whether somebody did.
        interval: Duration,
    },
    /// Somebody hands over the address that the browser was sent back to.
    Paste,
}

/// Follows one login until its end.
#[derive(Clone, Debug)]
pub struct LoginWatch {
    progress: Arc<Progress>,
}

/// Why a redirect that was handed over was not taken. The login goes on, except after [`NotTaken::ForeignIssuer`] and
/// [`NotTaken::Used`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotTaken {
    /// It is no URL, or not the redirect URI of this login.
    #[error(
        "this is not the address that the identity provider sends the browser back to in this login"
    )]
    OtherAddress,
    /// It has no `state`, or another login's.
    #[error("this address belongs to another login: its `state` is not the one that was sent")]
    OtherLogin,
    /// It contradicts itself, or has neither a code nor an error.
    #[error("this address is incomplete; hand over the whole of it, as the browser shows it")]
    Malformed,
    /// It is the answer of another identity provider.
    #[error("this is the answer of another identity provider than the one that was asked")]
    ForeignIssuer,
    /// The login has had its answer.
    #[error("this login has had its answer already")]
    Used,
}

// === impl LoginId ===

impl LoginId {
    /// A new name; the system's source of randomness may fail.
    pub(super) fn new() -> Result<Self, String> {
        new_login_id().map(Self).map_err(|error| error.to_string())
    }

    /// The name as it stands in addresses: 32 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name is a key: it is not printed.
impl fmt::Debug for LoginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginId(…)")
    }
}

// === impl LoginView ===

impl LoginView {
    /// The registry's URL, for people: without a password.
    pub fn registry_url(&self) -> String {
        thv_http::display_url(&self.binding.registry_url)
    }
}

impl fmt::Debug for LoginView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginView")
            .field("revision", &self.revision)
            .field("state", &self.state)
            .field("methods", &self.methods)
            .finish_non_exhaustive()
    }
}

// === impl LoginState ===

impl LoginState {
    /// Whether nothing will change any more.
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Succeeded(_) | Self::Failed(_))
    }
}

// === impl LoginMethod ===

/// Addresses and codes are for the person who logs in, not for logs.
impl fmt::Debug for LoginMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Browser { .. } => "Browser",
            Self::Device { .. } => "Device",
            Self::Paste => "Paste",
        })
    }
}

// === impl LoginWatch ===

impl LoginWatch {
    pub(super) fn new(progress: Arc<Progress>) -> Self {
        Self { progress }
    }

    /// The login as it is now.
    pub fn view(&self) -> LoginView {
        self.progress.view()
    }

    /// The login once its revision is another than `revision`: at once if it is already, and never after its end.
    pub async fn changed_from(&self, revision: u64) -> LoginView {
        self.progress.changed_from(revision).await
    }

    /// How the login ended, when it has; by then its sockets are closed.
    pub async fn outcome(&self) -> Outcome {
        self.progress.outcome().await
    }
}
