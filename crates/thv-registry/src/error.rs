//! What can go wrong, by what a caller can do about it. Words for people and status codes are
//! made by the crates above.

use std::time::Duration;

use thv_auth::LoginReason;

/// Why a registry's catalog cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A person has to log in first.
    #[error("registry {source_name} needs a login: {reason}")]
    AuthRequired {
        /// URL of the registry.
        source_name: String,
        /// What is missing.
        reason: LoginReason,
    },
    /// The document is in the outdated format that `thv registry convert` reads.
    #[error("the registry document is in the outdated format")]
    Legacy {
        /// URL of the document; `None` for a local file.
        url: Option<String>,
    },
    /// The source cannot be read, or what it answers is no registry. Trying later may help.
    #[error("{}: {cause}", match url { Some(url) => format!("registry {url} is unavailable"), None => "registry is unavailable".to_owned() })]
    Unavailable {
        /// URL of the source; `None` for a local file.
        url: Option<String>,
        /// What the attempt met, as a clause without a final period.
        cause: String,
        /// When the source asked to be tried again.
        retry_after: Option<Duration>,
        /// Whose fault it is.
        blame: Blame,
    },
    /// Our own configuration cannot be used; nothing was asked of the source.
    #[error("the configuration cannot be used: {cause}")]
    Configuration {
        /// What is wrong with it.
        cause: String,
    },
}

/// Who stands in the way of reading a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The registry itself, or the way to it.
    Registry,
    /// The identity provider: the registry was not asked, for want of a token.
    IdentityProvider,
    /// The secret store of this machine.
    SecretStore {
        /// Whether it is there and waits to be unlocked.
        locked: bool,
    },
    /// The credential that is configured for it: nothing was asked of anybody.
    Credential,
}

/// Why a name leads to no server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No server has this name.
    #[error("server not found: {query}")]
    NotFound {
        /// The name as it was asked for.
        query: String,
    },
    /// Several servers have this short name.
    #[error("multiple servers match '{query}': {} — use the full name", candidates.join(", "))]
    Ambiguous {
        /// The name as it was asked for.
        query: String,
        /// Full names that it could mean, sorted; at most
        /// [`MAX_CANDIDATES`](crate::limits::MAX_CANDIDATES).
        candidates: Vec<String>,
    },
}

/// Why a server's versions cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupFault {
    /// The name leads to no server.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The registry cannot be read.
    #[error(transparent)]
    Fault(#[from] Fault),
}

// === impl Blame ===

impl Blame {
    /// The word for it on the wire, the same as in the report on a login.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registry => "registry_unreachable",
            Self::IdentityProvider => "identity_provider_unavailable",
            Self::SecretStore { locked: true } => "store_locked",
            Self::SecretStore { locked: false } => "store_unavailable",
            Self::Credential => "credential_unusable",
        }
    }
}

// === impl Fault ===

impl Fault {
    /// Whether data that was good before may stand in for the source's answer: after a fault of
    /// the network or of the other side it may, after a refusal it may not.
    pub fn may_serve_stale(&self) -> bool {
        matches!(self, Self::Unavailable { url: Some(_), .. })
    }
}
