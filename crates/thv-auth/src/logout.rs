//! Logging out: the store first, then the provider.
//!
//! What is deleted first cannot come back: a renewal in flight, here or in another process, stores only over the record that
//! it read, finds none, and gives back what it got. Then the provider is told, for a bounded time, and the receipt says what
//! became of each token. One that the provider could not be told of is kept, sealed, to be given back later
//! ([`give_back_queued`]). Cached catalogs are deleted by whoever owns them.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde::Serialize;
use thv_config::{Config, ConfigError, ConfigStore};

use crate::binding::Binding;
use crate::grant::Grant;
use crate::limits::{
    END_SESSION_WAIT, GIVE_BACK_DAYS, GIVE_BACK_FIRST, GIVE_BACK_LONGEST, GIVE_BACK_TRIES,
    REVOCATION_DEADLINE,
};
use crate::machine::settings::CredentialKind;
use crate::machine::way::Way;
use crate::oauth::{RevocationOutcome, TokenHint};
use crate::pin::Pin;
use crate::refresh::{RefreshEngine, TokenService, Unprepared, blocking};
use crate::skew::shifted;
use crate::vault::{Unrevoked, VaultError, Wiped};

/// What stands in a receipt until it is known whether the token is kept for another try.
const SILENT: &str = "silent";

/// What a logout did. Nothing in it is secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogoutReceipt {
    /// What became of each token at the provider, in the order in which they were given back.
    pub tokens: Vec<TokenReceipt>,
    /// How many secrets were deleted.
    pub deleted: usize,
    /// How many of them were logins to other registries or with other clients, whose tokens nobody here can give back: they
    /// work at their provider until they expire.
    #[serde(skip_serializing_if = "is_zero")]
    pub unopened: usize,
    /// Where a browser ends its own session at the provider, if the provider offers that and somebody was logged in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_session_url: Option<String>,
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
    /// `revoked`, `unsupported`, `failed`, or `queued`: it failed because the provider did not answer, and is tried again by a
    /// server that runs, or at a later login or logout.
    pub outcome: &'static str,
    /// Why it failed, or waits.
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
    let (tokens, left) = give_back(&engine, &binding, &wiped).await;
    let end_session_url = if wiped.tokens.is_empty() {
        None
    } else {
        end_session_url(&engine, &binding).await
    };
    Ok(LogoutReceipt {
        tokens: queue(&engine, tokens, left).await,
        deleted: wiped.deleted,
        unopened: wiped.unopened,
        end_session_url,
        read_only_store: wiped.read_only,
        credential: None,
    })
}

/// The provider's metadata are known by now, as the tokens were given back with them; where they are not, they are not
/// waited for long.
async fn end_session_url(engine: &RefreshEngine, binding: &Binding) -> Option<String> {
    let parts = &engine.inner().parts;
    tokio::select! {
        biased;
        url = parts.service.end_session_url(binding) => url.map(String::from),
        () = parts.world.clock.sleep(END_SESSION_WAIT) => None,
    }
}

/// Keeps what the provider could not be told of. A receipt says `queued` only of what is kept.
async fn queue(
    engine: &RefreshEngine,
    mut receipts: Vec<TokenReceipt>,
    left: Vec<Unrevoked>,
) -> Vec<TokenReceipt> {
    let vault = engine.vault().clone();
    let kept = blocking(move || vault.keep_unrevoked(&left)).await;
    let kept = kept.unwrap_or_else(|error| {
        tracing::warn!(%error, "tokens that were not given back cannot be kept for another try");
        0
    });
    let silent = receipts.iter_mut().filter(|receipt| receipt.is_silent());
    for (index, receipt) in silent.enumerate() {
        receipt.outcome = if index < kept { "queued" } else { "failed" };
    }
    receipts
}

/// Gives back what earlier logouts could not, as far as it is due. Returns how many tokens still wait. Takes no longer than
/// a logout; a provider that does not answer for one token is not asked for another.
pub async fn give_back_queued(engine: &RefreshEngine) -> Result<usize, VaultError> {
    let vault = engine.vault().clone();
    let waiting = blocking(move || vault.unrevoked()).await?;
    let total = waiting.len();
    let now = engine.inner().now();
    let mut settled = 0;
    let mut silent: Vec<String> = Vec::new();
    for token in waiting.into_iter().filter(|token| token.next <= now) {
        if silent.contains(&token.binding.issuer) {
            continue;
        }
        let service = &engine.inner().parts.service;
        let pin = token.pin.as_ref();
        let outcome = revoke(service, &token.binding, pin, &token.token, token.hint).await;
        if matches!(
            outcome,
            RevocationOutcome::Failed {
                transient: true,
                ..
            }
        ) {
            silent.push(token.binding.issuer.clone());
        }
        tracing::info!(
            outcome = outcome.as_str(),
            tries = token.tries + 1,
            "gave back a token of an earlier logout"
        );
        let vault = engine.vault().clone();
        if let Some(again) = after_try(&token, &outcome, now) {
            blocking(move || vault.keep_unrevoked(&[again])).await?;
        } else {
            blocking(move || vault.forget_unrevoked(&token)).await?;
            settled += 1;
        }
    }
    Ok(total - settled)
}

/// What becomes of a token after a try at `now`: it waits again, or it is over.
fn after_try(token: &Unrevoked, outcome: &RevocationOutcome, now: Timestamp) -> Option<Unrevoked> {
    let tries = token.tries.saturating_add(1);
    let is_transient = matches!(
        outcome,
        RevocationOutcome::Failed {
            transient: true,
            ..
        }
    );
    let age: Duration = now
        .duration_since(token.since)
        .try_into()
        .unwrap_or_default();
    if !is_transient || tries >= GIVE_BACK_TRIES || age >= GIVE_BACK_DAYS {
        return None;
    }
    Some(Unrevoked {
        tries,
        next: shifted(
            now,
            SignedDuration::try_from(pause(tries)).unwrap_or_default(),
        ),
        ..token.clone()
    })
}

/// The pause after this many tries.
fn pause(tries: u32) -> Duration {
    let doublings = tries.saturating_sub(1).min(16);
    GIVE_BACK_FIRST
        .saturating_mul(1 << doublings)
        .min(GIVE_BACK_LONGEST)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the shape that serde wants"
)]
fn is_zero(count: &usize) -> bool {
    *count == 0
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
/// Also returns the tokens of which the provider could not be told.
async fn give_back(
    engine: &RefreshEngine,
    binding: &Binding,
    wiped: &Wiped,
) -> (Vec<TokenReceipt>, Vec<Unrevoked>) {
    let now = engine.inner().now();
    let mut left = Vec::new();
    let parts = &engine.inner().parts;
    let mut deadline = parts.world.clock.sleep(REVOCATION_DEADLINE);
    let mut receipts = Vec::new();
    let mut was_silent = false;
    for tokens in &wiped.tokens {
        for (token, hint) in [
            (&tokens.refresh, TokenHint::RefreshToken),
            (&tokens.access, TokenHint::AccessToken),
        ] {
            let Some(token) = token else { continue };
            let outcome = tokio::select! {
                biased;
                outcome = revoke(&parts.service, binding, tokens.pin.as_ref(), token, hint) => outcome,
                () = &mut deadline => too_slow(was_silent),
            };
            let is_silent = matches!(
                &outcome,
                RevocationOutcome::Failed {
                    transient: true,
                    ..
                }
            );
            if is_silent {
                left.push(Unrevoked {
                    binding: binding.clone(),
                    pin: tokens.pin.clone(),
                    token: token.clone(),
                    hint,
                    since: now,
                    tries: 1,
                    next: shifted(now, SignedDuration::try_from(pause(1)).unwrap_or_default()),
                });
            }
            receipts.push(TokenReceipt::of(hint, outcome));
            was_silent |= is_silent;
            if is_silent {
                // A provider that does not answer for one token is not waited for again.
                deadline = parts.world.clock.sleep(std::time::Duration::ZERO);
            }
        }
    }
    (receipts, left)
}

/// The tokens of a grant that is not used any more, to be given back when there is time.
pub(crate) fn unrevoked(binding: &Binding, grant: &Grant, now: Timestamp) -> Vec<Unrevoked> {
    grant
        .tokens()
        .map(|(token, hint)| Unrevoked {
            binding: binding.clone(),
            pin: grant.pin.clone(),
            token: token.clone(),
            hint,
            since: now,
            tries: 0,
            next: now,
        })
        .collect()
}

async fn revoke(
    service: &Arc<dyn TokenService>,
    binding: &Binding,
    pin: Option<&Pin>,
    token: &SecretString,
    hint: TokenHint,
) -> RevocationOutcome {
    match service.prepare(binding, pin).await {
        Ok(()) => service.revoke(binding, pin, token, hint).await,
        Err(error) => RevocationOutcome::Failed {
            transient: matches!(&error, Unprepared::Unavailable(_)),
            cause: error.to_string(),
        },
    }
}

fn too_slow(was_silent: bool) -> RevocationOutcome {
    let cause = if was_silent {
        "it was not asked, as it did not take the token before this one".to_owned()
    } else {
        format!("the identity provider did not answer within {REVOCATION_DEADLINE:?}")
    };
    RevocationOutcome::Failed {
        cause,
        transient: true,
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
            outcome: match &outcome {
                RevocationOutcome::Failed {
                    transient: true, ..
                } => SILENT,
                outcome => outcome.as_str(),
            },
            cause: match outcome {
                RevocationOutcome::Failed { cause, .. } => Some(cause),
                RevocationOutcome::Revoked | RevocationOutcome::Unsupported => None,
            },
        }
    }

    /// Whether the provider did not answer, and nothing is decided yet.
    fn is_silent(&self) -> bool {
        self.outcome == SILENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Unrevoked {
        Unrevoked {
            binding: Binding::new("https://registry.example", "https://id.example", "thv")
                .expect("a binding"),
            pin: None,
            token: "canary".to_owned().into(),
            hint: TokenHint::RefreshToken,
            since: Timestamp::UNIX_EPOCH,
            tries: 1,
            next: Timestamp::UNIX_EPOCH,
        }
    }

    fn failed(transient: bool) -> RevocationOutcome {
        RevocationOutcome::Failed {
            cause: "why".to_owned(),
            transient,
        }
    }

    #[test]
    fn a_token_waits_longer_each_time_and_not_for_ever() {
        let mut waiting = token();
        let mut tries = 1;
        let mut now = Timestamp::UNIX_EPOCH;
        let mut last = Duration::ZERO;
        while let Some(again) = after_try(&waiting, &failed(true), now) {
            let wait: Duration = again.next.duration_since(now).try_into().expect("later");
            assert!(wait >= last && wait <= GIVE_BACK_LONGEST, "{wait:?}");
            (last, now, waiting) = (wait, again.next, again);
            tries += 1;
        }
        assert!(tries < GIVE_BACK_TRIES);
        assert!(now.duration_since(Timestamp::UNIX_EPOCH) > SignedDuration::from_hours(48));
    }

    #[test]
    fn a_verdict_or_too_many_days_end_it() {
        let now = Timestamp::UNIX_EPOCH;
        for outcome in [
            RevocationOutcome::Revoked,
            RevocationOutcome::Unsupported,
            failed(false),
        ] {
            assert!(after_try(&token(), &outcome, now).is_none(), "{outcome:?}");
        }
        let late = shifted(now, SignedDuration::from_hours(7 * 24));
        assert!(after_try(&token(), &failed(true), late).is_none());
        assert!(after_try(&token(), &failed(true), now).is_some());
    }
}
