//! What can go wrong with a provider, typed by what the caller can do about it.
//!
//! No text quotes a token, a code or a whole document. A URL is shown without its query.

use std::time::Duration;

use thiserror::Error;
use thv_http::{HttpError, Phase};

/// Why an issuer's endpoints are not known. `Display` is a clause for "OIDC discovery failed for issuer …: ".
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DiscoveryError {
    /// The configured issuer is none.
    #[error("`{issuer}` is not a usable issuer: {cause}")]
    BadIssuer {
        /// The issuer as configured.
        issuer: String,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// No well-known document could be used.
    #[error("unable to discover OIDC endpoints at {}: {}", shown_urls(.attempts), shown_faults(.attempts))]
    NoDocument {
        /// What was tried, in order.
        attempts: Vec<FailedAttempt>,
    },
}

/// One well-known document that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    /// Where it should be.
    pub url: String,
    /// Which kind of document: `OIDC` or `OAuth`.
    pub form: &'static str,
    /// Why it could not be used.
    pub fault: MetadataFault,
}

/// Why one metadata document could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MetadataFault {
    /// No answer came.
    #[error("{0}")]
    Http(#[from] HttpError),
    /// An answer other than 200.
    #[error("the answer has status {0}")]
    Status(u16),
    /// An answer that is no usable JSON document.
    #[error("the document cannot be used: {cause}")]
    Document {
        /// What is wrong with it.
        cause: String,
    },
    /// The document is another issuer's (RFC 8414 section 3.3).
    #[error("the document is of the issuer `{found}` and not of `{expected}`")]
    IssuerMismatch {
        /// The issuer as configured.
        expected: String,
        /// The issuer the document names, at most 200 characters.
        found: String,
    },
    /// A needed endpoint is not named.
    #[error("the document names no `{member}`")]
    Missing {
        /// The member of the document.
        member: &'static str,
    },
    /// An endpoint that must not be contacted.
    #[error("the document's `{member}` must not be used: {cause}")]
    Endpoint {
        /// The member of the document.
        member: &'static str,
        /// The rule it breaks.
        cause: &'static str,
    },
    /// The provider does not offer the code challenge method S256 (RFC 7636).
    #[error("the provider does not offer PKCE with S256, without which no login is made")]
    PkceWithoutS256,
    /// The provider says nothing about PKCE, where that is not accepted.
    #[error("the provider does not say that it offers PKCE, without which no login is made")]
    PkceUnadvertised,
}

/// Why no login can begin.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BeginError {
    /// The provider's metadata are not those of the issuer that the login is for.
    #[error("the endpoints of `{found}` were given for a login at `{expected}`")]
    OtherIssuer {
        /// The binding's issuer.
        expected: String,
        /// The provider's.
        found: String,
    },
    /// The redirect URI is none.
    #[error("the redirect URI cannot be used")]
    RedirectUri,
}

/// What became of a request to the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// The provider refused, in so many words: a JSON body with an `error` code (RFC 6749 section 5.2).
    #[error("the identity provider answered `{error}`{}", shown_description(.description.as_deref()))]
    Verdict {
        /// The code, e.g. `invalid_grant`.
        error: String,
        /// The provider's explanation, without control characters, shortened, and dropped when it repeats a secret.
        description: Option<String>,
    },
    /// No answer of an OAuth server came; nothing is known to be wrong with what was sent.
    #[error("{cause}")]
    Transient {
        /// What happened.
        cause: String,
        /// Whether the request certainly did not leave: what it would have spent is unspent.
        unsent: bool,
        /// How long the server asks us to wait, at most one hour.
        retry_after: Option<Duration>,
    },
    /// The provider answered with tokens that must not be used.
    #[error("the identity provider's token answer cannot be used: {cause}")]
    Malformed {
        /// What is wrong with it.
        cause: String,
    },
}

/// Why an ID token does not tell who logged in.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdTokenError {
    /// The keys could not be had; trying again later can help.
    #[error("the identity provider's keys cannot be read: {cause}")]
    Keys {
        /// What happened.
        cause: String,
    },
    /// The token is not one that the provider made for us, now.
    #[error("the ID token is refused: {cause}")]
    Refused {
        /// The check that failed.
        cause: String,
    },
}

impl DiscoveryError {
    /// Whether a document would do, had it said that PKCE is on offer.
    pub fn says_nothing_of_pkce(&self) -> bool {
        let Self::NoDocument { attempts } = self else {
            return false;
        };
        let mut faults = attempts.iter().map(|attempt| &attempt.fault);
        faults.any(|fault| matches!(fault, MetadataFault::PkceUnadvertised))
    }

    /// Whether the provider may be fine and only out of reach or out of order.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::BadIssuer { .. } => false,
            Self::NoDocument { attempts } => {
                attempts.iter().any(|attempt| attempt.fault.is_transient())
            }
        }
    }
}

impl MetadataFault {
    /// Whether trying again later can help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Http(error) => error.is_unreachable(),
            Self::Status(status) => *status >= 500 || matches!(status, 408 | 425 | 429),
            _ => false,
        }
    }
}

impl TokenError {
    /// A fault of which nothing more is known than that no usable answer came.
    pub(crate) fn transient(cause: impl Into<String>) -> Self {
        Self::Transient {
            cause: cause.into(),
            unsent: false,
            retry_after: None,
        }
    }

    pub(crate) fn malformed(cause: impl Into<String>) -> Self {
        Self::Malformed {
            cause: cause.into(),
        }
    }

    /// The OAuth error code, when the provider gave one.
    pub fn verdict(&self) -> Option<&str> {
        match self {
            Self::Verdict { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<HttpError> for TokenError {
    fn from(error: HttpError) -> Self {
        Self::Transient {
            unsent: is_unsent(&error),
            cause: error.to_string(),
            retry_after: None,
        }
    }
}

/// Whether the request failed before any of it was written.
fn is_unsent(error: &HttpError) -> bool {
    match error {
        HttpError::BadUrl { .. }
        | HttpError::Blocked { .. }
        | HttpError::PlainHttp { .. }
        | HttpError::CredentialsInClear { .. }
        | HttpError::Dns { .. }
        | HttpError::Connect { .. }
        | HttpError::Tls { .. }
        | HttpError::Proxy { .. }
        | HttpError::Trust { .. }
        | HttpError::ClientCertificate { .. }
        | HttpError::Proof { .. }
        | HttpError::Setup { .. } => true,
        HttpError::Timeout { which, .. } => *which == Phase::Connect,
        HttpError::Protocol { .. }
        | HttpError::TooLarge { .. }
        | HttpError::TooManyRedirects { .. }
        | HttpError::BadRedirect { .. } => false,
    }
}

fn shown_urls(attempts: &[FailedAttempt]) -> String {
    let urls: Vec<String> = attempts
        .iter()
        .map(|attempt| format!("\"{}\"", attempt.url))
        .collect();
    urls.join(" or ")
}

fn shown_faults(attempts: &[FailedAttempt]) -> String {
    let faults: Vec<String> = attempts
        .iter()
        .map(|attempt| format!("{} error: {}", attempt.form, attempt.fault))
        .collect();
    faults.join(", ")
}

fn shown_description(description: Option<&str>) -> String {
    description.map_or_else(String::new, |text| format!(" ({text})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_met_no_server_spent_nothing() {
        let unsent = |error: HttpError| match TokenError::from(error) {
            TokenError::Transient { unsent, .. } => unsent,
            other => panic!("{other}"),
        };
        let limit = Duration::from_secs(1);
        assert!(unsent(HttpError::Connect {
            host: "h".into(),
            cause: "refused".into()
        }));
        assert!(unsent(HttpError::Timeout {
            limit,
            which: Phase::Connect
        }));
        for which in [Phase::Total, Phase::Head, Phase::Idle] {
            assert!(!unsent(HttpError::Timeout { limit, which }), "{which}");
        }
        assert!(!unsent(HttpError::TooLarge { limit: 1 }));
        assert!(!unsent(HttpError::Protocol {
            host: "h".into(),
            cause: "reset".into()
        }));
    }

    #[test]
    fn discovery_failures_name_both_documents() {
        let attempt = |url: &str, form, status| FailedAttempt {
            url: url.into(),
            form,
            fault: MetadataFault::Status(status),
        };
        let error = DiscoveryError::NoDocument {
            attempts: vec![
                attempt("https://a.example/1", "OIDC", 404),
                attempt("https://a.example/2", "OAuth", 404),
            ],
        };
        assert_eq!(
            error.to_string(),
            "unable to discover OIDC endpoints at \"https://a.example/1\" or \"https://a.example/2\": \
             OIDC error: the answer has status 404, OAuth error: the answer has status 404"
        );
        assert!(!error.is_transient());
        let down = DiscoveryError::NoDocument {
            attempts: vec![attempt("https://a.example/1", "OIDC", 503)],
        };
        assert!(down.is_transient());
    }
}
