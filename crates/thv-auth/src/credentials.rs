//! The seam between a registry source and whatever holds its credential.
//!
//! A source asks [`Credentials::bearer`] before each request. The answer comes from stored
//! grants or from nowhere: nothing behind this trait may open a browser or wait for a person.

use std::fmt::{self, Debug};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use thv_http::Bearer;

use crate::binding::Binding;
use crate::machine::RegistryAt;

/// What a registry's answers say about its login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthStatus {
    /// The registry needs no login.
    None,
    /// A login is configured and no usable grant is known.
    Configured,
    /// A usable grant is known.
    Authenticated,
}

/// Why a person has to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginReason {
    /// No grant was ever stored for this registry, issuer and client.
    NeverLoggedIn,
    /// The registry answered 401 or 403 and we have no login configured for it.
    NotConfigured,
    /// The registry refused the credential that we sent.
    Rejected,
    /// The provider takes the refresh token no longer: it was revoked, used up or has expired.
    GrantRevoked,
    /// A renewal was cut off before its answer was stored, and the refresh token is not valid any more: the answer may have
    /// replaced it.
    GrantOutcomeUnknown,
    /// The access token has expired and there is no refresh token.
    ExpiredNoRefresh,
    /// A renewal brought the tokens of somebody else.
    AccountMismatch,
    /// The registry wants scopes that the login does not have.
    InsufficientScope,
    /// The registry refuses the scopes of the login (403), and another one would ask for no more.
    ScopeInVain,
    /// The registry names another issuer than at the login, or the issuer another host for tokens.
    IssuerChanged,
    /// A renewal brought a token that is not bound to the login's key, where that is required (RFC 9449).
    NotBound,
    /// There is a stored login, and it cannot be opened for this registry.
    Unreadable,
    /// The identity provider, or the command that gives tokens, refuses the configured credential.
    CredentialRefused,
    /// The registry refused the configured credential.
    CredentialRejected,
    /// The registry refused the token that the environment injects.
    InjectedRejected,
    /// The tokens of the configured credential are to come from another host than at first.
    CredentialMoved,
    /// The configured credential has become somebody else's.
    CredentialOfAnother,
}

/// Why no bearer can be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Only a person can help: a login is needed.
    #[error("registry login needed ({reason})")]
    LoginRequired {
        /// What is missing.
        reason: LoginReason,
    },
    /// The identity provider cannot be reached; trying again later may help.
    #[error("the identity provider cannot be reached: {cause}")]
    Unreachable {
        /// What the attempt met.
        cause: String,
    },
    /// The secret store cannot be read or written.
    #[error("the secret store cannot be used: {cause}")]
    Store {
        /// What the store said.
        cause: String,
        /// Whether it is there and waits to be unlocked.
        locked: bool,
    },
    /// The configured credential cannot be used: its settings are not whole, or what they name is not there.
    #[error("the configured credential cannot be used: {cause}")]
    Unusable {
        /// What is missing or wrong.
        cause: String,
    },
}

/// A registry's credential, as its source sees it.
pub trait Credentials: Debug + Send + Sync + 'static {
    /// Whether a login is configured and usable, without asking anybody.
    fn status(&self) -> AuthStatus;

    /// Who we are to the registry, as an opaque key: what one identity was shown is cached
    /// under it and is never served to another.
    fn identity(&self) -> String;

    /// Whether nobody else has logged in since [`identity`](Self::identity) was `reader`. A logout alone changes nothing
    /// here, and neither does a store that cannot be read now.
    fn is_still(&self, reader: &str) -> bool {
        self.login_needed().is_some() || self.identity() == reader
    }

    /// The bearer to send, or `None` where the registry is read anonymously.
    fn bearer(&self) -> BoxFuture<'_, Result<Option<Bearer>, AuthError>>;

    /// Reads what is stored, so that the answers that ask nobody are true. Bounded in time; the network is not asked.
    fn prepare(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Why nothing of this registry may be shown to anybody, as far as that is known without asking: no login, or one that
    /// was definitely refused. Cheap enough for every read.
    fn login_needed(&self) -> Option<LoginReason> {
        None
    }

    /// The registry answered 401 to `bearer`. Whether the same request is worth one more try, with another bearer.
    fn rejected<'a>(&'a self, bearer: &'a Bearer) -> BoxFuture<'a, bool> {
        let _ = bearer;
        Box::pin(std::future::ready(false))
    }

    /// The registry answered 403 to `bearer`: it wants `scopes` too, as far as it named them. No renewal helps.
    fn lacks_scopes<'a>(&'a self, bearer: &'a Bearer, scopes: &'a [String]) -> BoxFuture<'a, ()> {
        let _ = (bearer, scopes);
        Box::pin(std::future::ready(()))
    }

    /// The registry took `bearer`.
    fn accepted(&self, bearer: &Bearer) {
        let _ = bearer;
    }

    /// The kind of credential for routes that know two, `oauth` and `bearer`; `None` where the configuration's own word stands.
    fn auth_type(&self) -> Option<&'static str> {
        None
    }
}

/// Where the credentials of registries come from.
pub trait CredentialSource: Debug + Send + Sync + 'static {
    /// The credential for `binding`; the same one for the same binding.
    fn credentials(&self, binding: &Binding) -> Arc<dyn Credentials>;

    /// The credential with which a registry is read, whichever way it comes; the same one for the same registry. A source that knows
    /// logins only gives that of the configured login, or none.
    fn for_registry(&self, registry: &RegistryAt) -> Arc<dyn Credentials> {
        match &registry.login {
            Some(binding) => self.credentials(binding),
            None => Arc::new(Anonymous),
        }
    }

    /// Asks the issuer of `binding` who it is, before the binding is written anywhere. The error is for people, and begins
    /// with the words that the desktop client looks for.
    fn check<'a>(&'a self, binding: &'a Binding) -> BoxFuture<'a, Result<(), String>> {
        let _ = binding;
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The source of a program that keeps no grants: every login that is configured is one that nobody has made.
#[derive(Clone, Copy, Debug)]
pub struct NoGrants;

impl CredentialSource for NoGrants {
    fn credentials(&self, binding: &Binding) -> Arc<dyn Credentials> {
        Arc::new(NotLoggedIn::new(
            binding.issuer.clone(),
            binding.client_id.clone(),
        ))
    }
}

/// The credential of a registry that has no login configured.
#[derive(Clone, Copy, Debug)]
pub struct Anonymous;

/// The credential of a registry whose login is configured while no grant is known.
#[derive(Clone, Debug)]
pub struct NotLoggedIn {
    issuer: String,
    client_id: String,
}

// === impl AuthStatus ===

impl AuthStatus {
    /// The word for it on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Configured => "configured",
            Self::Authenticated => "authenticated",
        }
    }
}

// === impl LoginReason ===

impl LoginReason {
    /// The word for it on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeverLoggedIn => "never_logged_in",
            Self::NotConfigured => "login_not_configured",
            // Whose credential it is makes no difference to what happened.
            Self::Rejected | Self::CredentialRejected | Self::InjectedRejected => {
                "registry_rejected_token"
            }
            Self::GrantRevoked => "grant_revoked",
            Self::GrantOutcomeUnknown => "grant_outcome_unknown",
            Self::ExpiredNoRefresh => "expired_no_refresh",
            Self::AccountMismatch | Self::CredentialOfAnother => "account_mismatch",
            // What is wrong is the same; what helps is not.
            Self::InsufficientScope | Self::ScopeInVain => "insufficient_scope",
            Self::IssuerChanged | Self::CredentialMoved => "issuer_changed",
            Self::NotBound => "token_not_bound",
            Self::Unreadable => "login_unreadable",
            Self::CredentialRefused => "credential_refused",
        }
    }
}

impl fmt::Display for LoginReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NeverLoggedIn => "nobody has logged in to it yet",
            Self::NotConfigured => "it asks for a login and none is configured",
            Self::Rejected => "it refused the stored credential",
            Self::GrantRevoked => "the identity provider has ended the login",
            Self::GrantOutcomeUnknown => {
                "a renewal of the login was cut off, and the identity provider takes the old token no longer"
            }
            Self::ExpiredNoRefresh => "the login has expired and cannot be renewed",
            Self::AccountMismatch => "a renewal of the login brought somebody else's",
            Self::InsufficientScope => {
                "it wants more scopes than the login has, and another login asks for them"
            }
            Self::ScopeInVain => {
                "it refuses the account, and another login would ask for no other scopes; who runs the registry can tell which permission the account lacks"
            }
            Self::IssuerChanged => {
                "its identity provider, or the host that tokens come from, is not the one of the login any more"
            }
            Self::NotBound => {
                "a renewal of the login brought a token that is not bound to its key, which is required here"
            }
            Self::Unreadable => "the stored login does not open for it",
            Self::CredentialRejected => "it refused the configured credential",
            Self::CredentialMoved => {
                "the tokens of the configured credential are to come from another host than at first"
            }
            Self::CredentialOfAnother => "the configured credential has become somebody else's",
            Self::InjectedRejected => "it refused the token of THV_REGISTRY_TOKEN",
            Self::CredentialRefused => "the configured credential is refused where tokens are issued",
        })
    }
}

// === impl AuthError ===

impl AuthError {
    /// The word for it on the wire.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::LoginRequired { reason } => reason.as_str(),
            Self::Unreachable { .. } => "identity_provider_unavailable",
            Self::Store { locked: true, .. } => "store_locked",
            Self::Store { locked: false, .. } => "store_unavailable",
            Self::Unusable { .. } => "credential_unusable",
        }
    }
}

// === impl Anonymous ===

impl Credentials for Anonymous {
    fn status(&self) -> AuthStatus {
        AuthStatus::None
    }

    fn identity(&self) -> String {
        "anonymous".to_owned()
    }

    fn bearer(&self) -> BoxFuture<'_, Result<Option<Bearer>, AuthError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

// === impl NotLoggedIn ===

impl NotLoggedIn {
    /// The credential of a registry that is to be read as a client of `issuer`.
    pub fn new(issuer: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            client_id: client_id.into(),
        }
    }
}

impl Credentials for NotLoggedIn {
    fn status(&self) -> AuthStatus {
        AuthStatus::Configured
    }

    fn identity(&self) -> String {
        format!("oauth\n{}\n{}", self.issuer, self.client_id)
    }

    fn bearer(&self) -> BoxFuture<'_, Result<Option<Bearer>, AuthError>> {
        Box::pin(std::future::ready(Err(AuthError::LoginRequired {
            reason: LoginReason::NeverLoggedIn,
        })))
    }

    fn login_needed(&self) -> Option<LoginReason> {
        Some(LoginReason::NeverLoggedIn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_of_different_clients_differ() {
        let one = NotLoggedIn::new("https://id.example", "a");
        let other = NotLoggedIn::new("https://id.example", "b");
        assert_ne!(one.identity(), other.identity());
        assert_ne!(one.identity(), Anonymous.identity());
    }

    #[tokio::test]
    async fn a_configured_login_without_a_grant_asks_for_one() {
        let credentials = NotLoggedIn::new("https://id.example", "a");
        let Err(error) = credentials.bearer().await else {
            panic!("no grant can give a bearer");
        };
        assert_eq!(
            error,
            AuthError::LoginRequired {
                reason: LoginReason::NeverLoggedIn
            }
        );
    }
}
