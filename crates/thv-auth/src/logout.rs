//! Logging out: the store first, then the provider.
//!
//! What is deleted first cannot come back: a renewal in flight, here or in another process, stores only over the record that
//! it read, finds none, and gives back what it got. Then the provider is told, for a bounded time, and the receipt says what
//! became of each token. Cached catalogs are deleted by whoever owns them.

use std::sync::Arc;

use secrecy::SecretString;
use serde::Serialize;
use thv_config::{Config, ConfigError, ConfigStore};

use crate::binding::Binding;
use crate::limits::REVOCATION_DEADLINE;
use crate::machine::settings::CredentialKind;
use crate::machine::way::Way;
use crate::oauth::{RevocationOutcome, TokenHint};
use crate::pin::Pin;
use crate::refresh::{RefreshEngine, TokenService};
use crate::vault::{VaultError, Wiped};

/// What a logout did. Nothing in it is secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogoutReceipt {
    /// What became of each token at the provider, in the order in which they were given back.
    pub tokens: Vec<TokenReceipt>,
    /// How many secrets were deleted.
    pub deleted: usize,
    /// The tokens come from a store that takes no deletions, such as the environment: they are still there.
    pub read_only_store: bool,
    /// What became of a credential that is no login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialReceipt>,
}

/// What became of a credential that is no login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CredentialReceipt {
    /// Where it comes from.
    pub way: Way,
    /// Which kind it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<CredentialKind>,
    /// `deleted` for a token that was given to us to keep; `kept` for one that is configured or injected, and still counts.
    pub outcome: &'static str,
}

/// What became of one token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenReceipt {
    /// `refresh_token` or `access_token`.
    pub token: &'static str,
    /// `revoked`, `unsupported` or `failed`.
    pub outcome: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// Logs out of the registry: deletes every login to a registry from the store, forgets it in memory and in the
/// configuration, and gives the tokens back. Runs to its end even if the caller stops waiting.
pub async fn logout(
    engine: &RefreshEngine,
    config: &ConfigStore,
    binding: &Binding,
) -> Result<LogoutReceipt, VaultError> {
    let task = tokio::spawn(run(engine.clone(), config.clone(), binding.clone()));
    match task.await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down: nobody waits for the outcome any more.
            Err(_) => std::future::pending().await,
        },
    }
}

async fn run(
    engine: RefreshEngine,
    config: ConfigStore,
    binding: Binding,
) -> Result<LogoutReceipt, VaultError> {
    let wiped = engine.wipe(&binding).await?;
    if let Err(error) = forget_reference(&config).await {
        tracing::warn!(%error, "the configuration still names a token that was deleted");
    }
    let tokens = give_back(&engine, &binding, &wiped).await;
    Ok(LogoutReceipt {
        tokens,
        deleted: wiped.deleted,
        read_only_store: wiped.read_only,
        credential: None,
    })
}

/// Removes the Go program's reference to a stored token, by which it would believe to be logged in.
async fn forget_reference(config: &ConfigStore) -> Result<(), ConfigError> {
    config
        .update_async(|config: &mut Config| {
            if let Some(oauth) = config.auth.as_mut().and_then(|auth| auth.oauth.as_mut()) {
                oauth.cached_refresh_token_ref = None;
                oauth.cached_token_expiry = None;
            }
            Ok(())
        })
        .await
}

/// Gives back the refresh tokens, which end what was issued with them, then the access tokens.
async fn give_back(engine: &RefreshEngine, binding: &Binding, wiped: &Wiped) -> Vec<TokenReceipt> {
    let parts = &engine.inner().parts;
    let mut deadline = parts.world.clock.sleep(REVOCATION_DEADLINE);
    let mut receipts = Vec::new();
    for tokens in &wiped.tokens {
        for (token, hint) in [
            (&tokens.refresh, TokenHint::RefreshToken),
            (&tokens.access, TokenHint::AccessToken),
        ] {
            let Some(token) = token else { continue };
            let outcome = tokio::select! {
                biased;
                outcome = revoke(&parts.service, binding, tokens.pin.as_ref(), token, hint) => outcome,
                () = &mut deadline => too_slow(),
            };
            let is_over = matches!(&outcome, RevocationOutcome::Failed { .. });
            receipts.push(TokenReceipt::of(hint, outcome));
            if is_over {
                // A provider that does not answer for one token is not waited for again.
                deadline = parts.world.clock.sleep(std::time::Duration::ZERO);
            }
        }
    }
    receipts
}

async fn revoke(
    service: &Arc<dyn TokenService>,
    binding: &Binding,
    pin: Option<&Pin>,
    token: &SecretString,
    hint: TokenHint,
) -> RevocationOutcome {
    match service.prepare(binding, pin).await {
        Ok(()) => service.revoke(binding, token, hint).await,
        Err(error) => RevocationOutcome::Failed {
            cause: error.to_string(),
        },
    }
}

fn too_slow() -> RevocationOutcome {
    RevocationOutcome::Failed {
        cause: format!("the identity provider did not answer within {REVOCATION_DEADLINE:?}"),
    }
}

// === impl LogoutReceipt ===

impl LogoutReceipt {
    /// The same receipt with what became of a credential that is no login.
    #[must_use]
    pub(crate) fn with_credential(mut self, credential: Option<CredentialReceipt>) -> Self {
        if credential.is_some_and(|credential| credential.outcome == "deleted") {
            self.deleted += 1;
        }
        self.credential = credential;
        self
    }
}

// === impl TokenReceipt ===

impl TokenReceipt {
    fn of(hint: TokenHint, outcome: RevocationOutcome) -> Self {
        Self {
            token: hint.as_str(),
            outcome: outcome.as_str(),
            cause: match outcome {
                RevocationOutcome::Failed { cause } => Some(cause),
                RevocationOutcome::Revoked | RevocationOutcome::Unsupported => None,
            },
        }
    }
}
