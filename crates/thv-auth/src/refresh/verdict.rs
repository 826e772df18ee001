//! What becomes of a grant that the provider did not renew, or renewed for somebody else.
//!
//! Only a JSON verdict of the provider, or another person's tokens, ends a grant. It is marked then and kept, so that it is
//! not tried again before the next login.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};

use super::renewal::Renewal;
use super::setback::{Outcome, Setback};
use super::{Step, blocking};
use crate::grant::{Death, DeathReason, Grant, GrantOrigin};
use crate::oauth::{TokenError, TokenSet};
use crate::vault::VaultError;

/// The provider's word for a client that it does not know (RFC 6749 section 5.2).
const INVALID_CLIENT: &str = "invalid_client";

/// The provider's word for a refresh token that is not valid (RFC 6749 section 5.2).
const INVALID_GRANT: &str = "invalid_grant";

impl Renewal {
    /// What a failure of the provider means for the grant.
    pub(super) async fn judge(
        &self,
        marked: &Grant,
        error: &TokenError,
        was_unknown: bool,
    ) -> Outcome {
        match error {
            TokenError::Verdict { error, .. }
                if error == INVALID_GRANT
                    || (error == INVALID_CLIENT && self.is_registered_client().await) =>
            {
                self.inner.read(&self.lane).await;
                let moved = self.lane.view.borrow().generation() != Some(marked.generation);
                if moved {
                    return self.after_move().await;
                }
                let reason = if was_unknown {
                    DeathReason::OutcomeUnknown
                } else {
                    DeathReason::Revoked
                };
                self.bury(marked, reason).await
            }
            TokenError::Verdict { .. } => {
                // What an earlier renewal has spent stays spent.
                if !was_unknown {
                    self.unmark(marked).await;
                }
                Err(Setback::provider(error.to_string(), None))
            }
            TokenError::Transient {
                unsent,
                retry_after,
                ..
            } => {
                if *unsent && !was_unknown {
                    self.unmark(marked).await;
                }
                Err(Setback::provider(error.to_string(), *retry_after))
            }
            TokenError::Malformed { .. } => Err(Setback::provider(error.to_string(), None)),
        }
    }

    /// Whether this program has registered the client itself: then a provider that does not know it has forgotten it, and the
    /// refresh tokens of it are worth nothing. A client that somebody has configured may be back when the provider is mended.
    async fn is_registered_client(&self) -> bool {
        let vault = self.inner.parts.vault.clone();
        let binding = self.lane.binding.clone();
        let found = blocking(move || vault.registration_of(&binding.issuer, &binding.client_id));
        matches!(found.await, Ok(Some(_)))
    }

    /// Removes the note: it is known that the token was not spent.
    async fn unmark(&self, marked: &Grant) {
        if marked.origin == GrantOrigin::Environment {
            return;
        }
        let unmarked = Grant {
            intent: None,
            ..marked.clone()
        };
        match self.write(marked.generation, unmarked).await {
            Ok(stored) => self.lane.put_to_use(Arc::new(stored)),
            Err(error) => tracing::debug!(%error, "the note of a renewal that did not begin stays"),
        }
    }

    /// Remembers, on disk where that is possible, that the grant is of no use any more.
    pub(super) async fn bury(&self, marked: &Grant, reason: DeathReason) -> Outcome {
        let death = Death {
            reason,
            at: self.inner.now(),
        };
        let dead = Grant {
            intent: None,
            dead: Some(death.clone()),
            ..marked.clone()
        };
        let stored = if marked.origin == GrantOrigin::Environment {
            dead
        } else {
            match self.write(marked.generation, dead.clone()).await {
                Ok(stored) => stored,
                Err(VaultError::Moved) => return self.after_move().await,
                Err(error) => {
                    tracing::debug!(%error, "the end of a registry login is remembered in memory only");
                    dead
                }
            }
        };
        self.reached(Step::Stored);
        self.lane.view.send_modify(|view| {
            view.verdict = stored.refresh_fingerprint().map(|token| (token, death));
            view.memory = None;
            view.hold(Arc::new(stored));
        });
        let reason = reason.login_reason();
        self.ended(reason.as_str());
        tracing::warn!(registry = %thv_http::display_url(&self.lane.binding.registry_url), %reason, "registry login needed");
        Err(Setback::login(reason))
    }
}

/// Whether an ID token among the renewed tokens is of another subject or issuer than the login's, or for another client (`OpenID`
/// Connect Core section 12.2). It came straight from the token endpoint, whose TLS vouches for it (section 3.1.3.7), and is used for
/// nothing else.
pub(super) fn is_of_somebody_else(grant: &Grant, tokens: &TokenSet, client_id: &str) -> bool {
    let (Some(account), Some(token)) = (&grant.account, &tokens.id_token) else {
        return false;
    };
    let Some(claims) = claims_of(token) else {
        return false;
    };
    claims.sub != account.sub
        || claims.iss.is_some_and(|issuer| issuer != account.issuer)
        || claims
            .aud
            .is_some_and(|audience| !audience.names(client_id))
}

/// What an ID token says of whom it is about and for, unverified.
#[derive(serde::Deserialize)]
struct Claims {
    sub: String,
    iss: Option<String>,
    aud: Option<Audience>,
}

/// One audience or several (RFC 7519 section 4.1.3).
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn names(&self, client_id: &str) -> bool {
        match self {
            Self::One(audience) => audience == client_id,
            Self::Several(all) => all.iter().any(|audience| audience == client_id),
        }
    }
}

fn claims_of(id_token: &SecretString) -> Option<Claims> {
    let payload = id_token.expose_secret().split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&claims).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::tests::{grant, tokens};
    use crate::oauth::Account;

    #[test]
    fn a_renewal_is_of_the_same_subject_at_the_same_issuer_for_the_same_client() {
        let mut before = grant("a", Some("r"), None);
        before.account = Some(Account {
            issuer: "https://id.example".into(),
            sub: "ann".into(),
            email: None,
            name: None,
        });
        for (claims, expected) in [
            (r#"{"sub":"ann"}"#, false),
            (
                r#"{"sub":"ann","iss":"https://id.example","aud":"thv"}"#,
                false,
            ),
            (r#"{"sub":"ann","aud":["other","thv"]}"#, false),
            (r#"{"sub":"bob"}"#, true),
            (r#"{"sub":"ann","iss":"https://id.example/other"}"#, true),
            (r#"{"sub":"ann","aud":"other"}"#, true),
            (r#"{"sub":"ann","aud":[]}"#, true),
            ("no claims", false),
        ] {
            let mut renewed = tokens("b", None, None);
            let token = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims));
            renewed.id_token = Some(token.into());
            let found = is_of_somebody_else(&before, &renewed, "thv");
            assert_eq!(found, expected, "{claims}");
        }
        assert!(!is_of_somebody_else(
            &before,
            &tokens("b", None, None),
            "thv"
        ));
    }
}
