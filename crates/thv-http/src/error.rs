//! What can go wrong between us and another host.
//!
//! Texts are clauses without a full stop, fit to stand behind "is unavailable: ". They name hosts, limits and
//! the setting that helps, never a user name, password, token or query string.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// Why an exchange failed. An answer with an error status is no failure here: see [`Reply::status`](crate::Reply).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum HttpError {
    /// The text is no `http` or `https` URL with a host.
    #[error("`{shown}` is not a usable URL: {cause}")]
    BadUrl {
        /// The URL as far as it may be shown.
        shown: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The host is, or resolves only to, an address outside the public internet and the policy does not allow that.
    #[error(
        "{host} {reason}, which is refused unless private addresses are allowed (`allow_private_ip` in the API, `--allow-private-ip` on the command line)"
    )]
    Blocked {
        /// The host of the hop that was refused.
        host: String,
        /// A clause that starts with a verb, e.g. "is the private IP address 10.0.0.1 (private network)".
        reason: String,
    },
    /// The policy wants https for this host.
    #[error("{host} must be reached over https, not plain http")]
    PlainHttp {
        /// The host of the hop that was refused.
        host: String,
    },
    /// Credentials were about to travel unencrypted.
    #[error("credentials are not sent to {host} over plain http")]
    CredentialsInClear {
        /// The host that would have got them.
        host: String,
    },
    /// A limit of time was reached; see [`Limits`](crate::Limits).
    #[error("{which} took longer than {}", seconds(*limit))]
    Timeout {
        /// The limit.
        limit: Duration,
        /// Which part of the exchange was too slow.
        which: Phase,
    },
    /// The host's name could not be resolved.
    #[error("the name {host} could not be resolved: {cause}")]
    Dns {
        /// The name.
        host: String,
        /// What the resolver said.
        cause: String,
    },
    /// No connection came about.
    #[error("no connection to {host}: {cause}")]
    Connect {
        /// The host.
        host: String,
        /// What the system said.
        cause: String,
    },
    /// The peer's certificate or its TLS is not acceptable.
    #[error(
        "no secure connection to {host}: {cause} (a private certificate authority is trusted through `ca_certificate_path` in config.yaml or SSL_CERT_FILE)"
    )]
    Tls {
        /// The host.
        host: String,
        /// What the TLS library said.
        cause: String,
    },
    /// The connection broke, or the peer did not speak HTTP.
    #[error("the exchange with {host} broke off: {cause}")]
    Protocol {
        /// The host.
        host: String,
        /// What happened.
        cause: String,
    },
    /// The body is larger than the request allows.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes after decompression.
        limit: u64,
    },
    /// More redirects than the request allows.
    #[error("more than {limit} redirects")]
    TooManyRedirects {
        /// The limit.
        limit: u8,
    },
    /// A redirect that the policy forbids or that leads nowhere.
    #[error("{host} answered with a redirect that is not followed: {cause}")]
    BadRedirect {
        /// The host that sent the redirect.
        host: String,
        /// Why it is not followed.
        cause: String,
    },
    /// The token is bound to a key, and there is no proof of that key.
    #[error("the token is bound to a key, and no proof of it can be made: {cause}")]
    Proof {
        /// What is wrong.
        cause: String,
    },
    /// The proxy settings in the environment cannot be used.
    #[error("the proxy set in {variable} cannot be used: {cause}")]
    Proxy {
        /// The environment variable.
        variable: &'static str,
        /// What is wrong.
        cause: String,
    },
    /// The CA bundle that the settings name cannot be used.
    #[error("the CA certificate file {} cannot be used: {cause}", path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The certificate by which we show who we are cannot be used.
    #[error("the client certificate file {} cannot be used: {cause}", path.display())]
    ClientCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The client could not be set up; this is a fault of the program or of the machine's trust store.
    #[error("the HTTP client could not be set up: {cause}")]
    Setup {
        /// What the client library said.
        cause: String,
    },
}

/// The part of an exchange that a time limit belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The whole exchange.
    Total,
    /// TCP and TLS handshake.
    Connect,
    /// The wait for the head of the answer.
    Head,
    /// The wait for the next piece of the body.
    Idle,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Total => "the whole exchange",
            Self::Connect => "the connection",
            Self::Head => "the start of the answer",
            Self::Idle => "the next piece of the answer",
        })
    }
}

impl HttpError {
    /// Whether a limit of time was reached.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    /// Whether the other side was not reached or did not hold the connection: trying again later can help, other settings need not.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Timeout { .. }
                | Self::Dns { .. }
                | Self::Connect { .. }
                | Self::Tls { .. }
                | Self::Protocol { .. }
        )
    }

    /// Whether our own rules refused the exchange: trying again does not help, other settings may.
    pub fn is_refused_by_policy(&self) -> bool {
        matches!(
            self,
            Self::Blocked { .. }
                | Self::PlainHttp { .. }
                | Self::CredentialsInClear { .. }
                | Self::BadUrl { .. }
                | Self::BadRedirect { .. }
        )
    }
}

fn seconds(limit: Duration) -> String {
    if limit.subsec_nanos() == 0 {
        format!("{} s", limit.as_secs())
    } else {
        format!("{} ms", limit.as_millis())
    }
}
