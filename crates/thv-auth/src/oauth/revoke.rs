//! Giving a token back to the provider (RFC 7009).
//!
//! One request and its outcome. The order of tokens, what is deleted meanwhile and whether to try again is the logout's part.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use thv_http::secrecy;
use thv_http::{Http, Limits};

use crate::binding::Binding;
use crate::oauth::answer::judge_failure;
use crate::oauth::authentication::ClientAuthentication;
use crate::oauth::error::TokenError;
use crate::oauth::metadata::Provider;

/// Longest a revocation may take. A logout waits for it, and deletes the tokens in any case.
const TOTAL: Duration = Duration::from_secs(5);

/// Which kind of token is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenHint {
    /// A refresh token; most providers end its access tokens with it.
    RefreshToken,
    /// An access token.
    AccessToken,
}

/// What became of the token at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationOutcome {
    /// It is void. Providers say so, too, of tokens they do not know.
    Revoked,
    /// The provider takes no tokens of this kind back.
    Unsupported,
    /// It must be taken for valid still.
    Failed {
        /// What happened.
        cause: String,
        /// Whether trying again later can help: no answer of an OAuth server came (RFC 7009 section 2.2.1).
        transient: bool,
    },
}

impl TokenHint {
    /// The hint on the wire (RFC 7009 section 2.1).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RefreshToken => "refresh_token",
            Self::AccessToken => "access_token",
        }
    }
}

impl RevocationOutcome {
    /// The word for it on the wire.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Unsupported => "unsupported",
            Self::Failed { .. } => "failed",
        }
    }
}

/// Asks the provider to void `token`. Takes at most 5 s.
pub async fn revoke(
    http: &Http,
    provider: &Provider,
    binding: &Binding,
    authentication: &ClientAuthentication,
    token: &SecretString,
    hint: TokenHint,
) -> RevocationOutcome {
    let Some(endpoint) = &provider.revocation_endpoint else {
        return RevocationOutcome::Unsupported;
    };
    let form = [
        ("token", token.expose_secret()),
        ("token_type_hint", hint.as_str()),
    ];
    let request = authentication
        .post_form(endpoint.clone(), &binding.client_id, form)
        .policy(provider.policy_for(endpoint, binding.allow_private_ip))
        .limits(Limits::PROBE.with_total(TOTAL));
    let failure = match http.send(request).await {
        Ok(reply) if reply.status.is_success() => return RevocationOutcome::Revoked,
        Ok(reply) => {
            let secret = authentication.secret().map(ExposeSecret::expose_secret);
            judge_failure(
                &reply,
                &[&[token.expose_secret()], secret.as_slice()].concat(),
            )
        }
        Err(error) => error.into(),
    };
    match failure {
        TokenError::Verdict { error, .. } if error == "unsupported_token_type" => {
            RevocationOutcome::Unsupported
        }
        failure => RevocationOutcome::Failed {
            transient: matches!(&failure, TokenError::Transient { .. }),
            cause: failure.to_string(),
        },
    }
}
