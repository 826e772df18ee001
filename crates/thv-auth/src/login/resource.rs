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
    /// Which program has asked for it, by its own word.
    pub requester: Option<Requester>,
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
    /// Whether it may be of another account than the login that is there: one of those who started or joined it said so.
    pub switch_account: bool,
}

/// What a program that asks for a login calls itself: no more than [`Requester::MAX_CHARS`] characters, none of them a control character.
/// Nobody has checked it; it helps a person to tell their own login from somebody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requester(String);

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

// === impl Requester ===

impl Requester {
    /// The most that is kept of a name: a product and its version, and not a browser's whole history.
    pub const MAX_CHARS: usize = 100;

    /// What is left of a name when only what can be shown is kept; `None` when nothing is.
    pub fn new(said: &str) -> Option<Self> {
        let name: String = said
            .chars()
            .filter(|char| char.is_ascii_graphic() || *char == ' ')
            .take(Self::MAX_CHARS)
            .collect();
        let name = name.trim();
        (!name.is_empty()).then(|| Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
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

/// Whether the page for a code is at another host than the issuer: neither the same one, nor one below or above it. Many honest
/// providers have such a page elsewhere, so that it is told and not refused.
pub fn is_elsewhere(verification_uri: &Url, issuer: &str) -> bool {
    let issuer = Url::parse(issuer).ok();
    let Some(issuer) = issuer.as_ref().and_then(Url::host_str) else {
        return true;
    };
    let page = verification_uri.host_str().unwrap_or_default();
    let is_below = |host: &str, above: &str| {
        host.strip_suffix(above)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    !is_below(page, issuer) && !is_below(issuer, page)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_elsewhere_unless_it_is_at_the_issuer_or_below_or_above_it() {
        for (page, issuer, elsewhere) in [
            ("https://id.example/device", "https://id.example", false),
            (
                "https://id.example:8443/device",
                "https://id.example/tenant",
                false,
            ),
            (
                "https://www.google.com/device",
                "https://accounts.google.com",
                true,
            ),
            (
                "https://google.com/device",
                "https://accounts.google.com",
                false,
            ),
            ("https://device.id.example/", "https://id.example", false),
            ("https://evil.example/device", "https://id.example", true),
            ("https://evilid.example/device", "https://id.example", true),
            ("https://id.example/device", "no URL", true),
        ] {
            let page = Url::parse(page).expect("a URL");
            assert_eq!(is_elsewhere(&page, issuer), elsewhere, "{page} {issuer}");
        }
    }

    #[test]
    fn what_a_program_calls_itself_is_bounded_and_can_be_shown() {
        let kept = |said: &str| Requester::new(said).map(|name| name.as_str().to_owned());
        assert_eq!(kept("agent/1.0 (x)").as_deref(), Some("agent/1.0 (x)"));
        assert_eq!(
            kept("a\r\n\u{1b}[31mb\u{202e}c").as_deref(),
            Some("a[31mbc")
        );
        assert_eq!(kept(" \n"), None);
        assert_eq!(kept(&"x".repeat(5000)).map(|name| name.len()), Some(100));
    }
}
