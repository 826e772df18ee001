//! From an answer to a stored grant: the code is redeemed, who logged in is checked, and the grant is stored, unless nobody
//! wants it any more; then the tokens are given back.

use std::sync::Arc;

use jiff::Timestamp;
use secrecy::SecretString;

use super::LoginDone;
use super::error::LoginError;
use super::flow::{Flow, broken};
use super::how::Asked;
use super::session::Session;
use crate::binding::Binding;
use crate::grant::Grant;
use crate::logout::unrevoked;
use crate::oauth::registration::Registration;
use crate::oauth::{
    self, Account, Attempt, DpopUse, Provider, TokenError, TokenHint, TokenSet, requested_scopes,
    unrequested_scopes,
};
use crate::skew::believed;
use crate::vault::{Vault, new_login_id};

/// What a person's answer came to.
pub(super) enum Won {
    /// A code that a browser brought, to be redeemed.
    Code(SecretString),
    /// Tokens, for a code that was typed in elsewhere.
    Tokens(Box<TokenSet>),
}

impl Flow {
    /// Makes a stored grant of an answer. From here on only a logout or a change of the configuration ends the login: the code is
    /// spent, and what it brings is kept even if nobody waits for it any more.
    pub(super) async fn finish(
        &self,
        provider: &Provider,
        won: Won,
        session: Option<&Session>,
        previous: Option<Account>,
    ) -> Result<LoginDone, LoginError> {
        let attempt = session.map(Session::attempt);
        let (tokens, attempt) = match (won, attempt) {
            (Won::Code(code), Some(attempt)) => {
                let tokens = self.redeem(provider, attempt, code).await?;
                (tokens, Some(attempt))
            }
            // The nonce is the browser's; a code that was typed in has none.
            (Won::Tokens(tokens), _) => (*tokens, None),
            (Won::Code(_), None) => return Err(broken("a code came from no browser")),
        };
        if self.how.rules.dpop == DpopUse::Required && !tokens.is_bound() {
            self.give_back(provider, tokens);
            return Err(LoginError::Exchange {
                cause: "it gave one that is not bound to the key of this login, which is required for this registry; `thv registry login --dpop auto` takes it".to_owned(),
                code: None,
                transient: false,
            });
        }
        let kept = self.keep(provider, attempt, tokens.clone(), previous.as_ref());
        let grant = match kept.await {
            Ok(grant) => grant,
            Err(error) => {
                if self.is_for_nobody(&error) {
                    self.give_back(provider, tokens);
                }
                return Err(error);
            }
        };
        let replaced_account = match (previous, &grant.account) {
            (Some(previous), Some(account)) if !previous.is_same(account) => Some(previous),
            _ => None,
        };
        Ok(LoginDone {
            replaced_account,
            account: grant.account,
            expires_at: grant.expires_at,
            unrequested_scopes: unrequested_scopes(
                &requested_scopes(provider, &self.binding.scopes),
                &grant.scopes,
            ),
            scopes: grant.scopes,
            refreshable: grant.refresh_token.is_some(),
            turned_away: session.map(Session::turned_away).unwrap_or_default(),
        })
    }

    /// Whether the tokens of a login that ended so are given back. Where an earlier grant of the same client stays in use they are
    /// not: a provider may end both (RFC 7009 section 2.1).
    fn is_for_nobody(&self, error: &LoginError) -> bool {
        match error {
            LoginError::Cancelled
            | LoginError::Withdrawn
            | LoginError::IdToken { .. }
            | LoginError::AccountMismatch { .. } => true,
            LoginError::NotConfigured { .. } => {
                let before = self.how.asked.as_ref().map(|asked| &asked.before);
                before.is_some_and(|before| before.client_id != self.binding.client_id)
            }
            _ => false,
        }
    }

    async fn redeem(
        &self,
        provider: &Provider,
        attempt: &Attempt,
        code: SecretString,
    ) -> Result<TokenSet, LoginError> {
        let redeeming = oauth::exchange(
            &self.logins.http,
            provider,
            &self.binding,
            &self.how.authentication,
            attempt,
            code,
            self.prover.get(),
        );
        tokio::select! {
            biased;
            () = self.progress.superseded.cancelled() => Err(self.progress.ended_by()),
            redeemed = redeeming => redeemed.map_err(|error| not_exchanged(&error)),
        }
    }

    /// Checks who has logged in, and stores the grant.
    async fn keep(
        &self,
        provider: &Provider,
        attempt: Option<&Attempt>,
        tokens: TokenSet,
        previous: Option<&Account>,
    ) -> Result<Grant, LoginError> {
        let account = match &tokens.id_token {
            None => None,
            Some(token) => {
                let verifying = oauth::verify_id_token(
                    &self.logins.http,
                    &self.logins.keys,
                    provider,
                    &self.binding,
                    token,
                    attempt.and_then(|attempt| attempt.nonce.as_ref()),
                    self.providers_time(&tokens),
                );
                let verified = tokio::select! {
                    biased;
                    () = self.progress.superseded.cancelled() => return Err(self.progress.ended_by()),
                    verified = verifying => verified,
                };
                Some(verified.map_err(|error| LoginError::IdToken {
                    cause: error.to_string(),
                })?)
            }
        };
        if let (Some(before), Some(now)) = (previous, &account)
            && !before.is_same(now)
            && !self.how.switch_account
        {
            return Err(LoginError::AccountMismatch {
                before: before.shown().to_owned(),
                now: now.shown().to_owned(),
            });
        }
        let asked = requested_scopes(provider, &self.binding.scopes);
        self.store(tokens, account, asked).await
    }

    /// Gives tokens back that nobody will use. Only the end of the program waits for it.
    fn give_back(&self, provider: &Provider, tokens: TokenSet) {
        let http = self.logins.http.clone();
        let provider = provider.clone();
        let binding = self.binding.clone();
        let client = self.how.authentication.clone();
        let (token, hint) = match tokens.refresh_token {
            Some(refresh_token) => (refresh_token, TokenHint::RefreshToken),
            None => (tokens.access_token, TokenHint::AccessToken),
        };
        let giving_back = tokio::spawn(async move {
            let outcome = oauth::revoke(&http, &provider, &binding, &client, &token, hint).await;
            tracing::debug!(?outcome, "the tokens of an ended login were given back");
        });
        let mut under_way = self.logins.giving_back();
        under_way.retain(|one| !one.is_finished());
        under_way.push(giving_back);
    }

    /// What the provider's clock shows, as long as that can be believed: ours may be a day off.
    fn providers_time(&self, tokens: &TokenSet) -> Timestamp {
        let ours = self.logins.world.clock.now();
        tokens
            .server_date
            .filter(|theirs| believed(ours, *theirs).is_some())
            .unwrap_or(ours)
    }

    /// Stores the grant, unless the login was superseded or its registry replaced meanwhile. Where it is for something else than
    /// what is configured, that is configured then: a configuration must not lead to a grant that is not there.
    async fn store(
        &self,
        tokens: TokenSet,
        account: Option<Account>,
        asked: Vec<String>,
    ) -> Result<Grant, LoginError> {
        let vault = self.logins.vault.clone();
        let binding = self.binding.clone();
        let progress = Arc::clone(&self.progress);
        let still_wanted = self.how.still_wanted.clone();
        let asked_for = self.how.asked.clone();
        let next_client = self.how.next_client.clone();
        let pin = self.pin.get().cloned();
        let proof_key = self.prover.get().map(|prover| prover.key().clone());
        let now = self.logins.world.clock.now();
        let storing = tokio::task::spawn_blocking(move || {
            let login_id = new_login_id().map_err(|error| not_stored(&error))?;
            let grant = Grant {
                proof_key,
                pin,
                ..Grant::of_login(tokens, account, &asked, login_id, now)
            };
            if progress.superseded.is_cancelled() {
                return Err(progress.ended_by());
            }
            if still_wanted.is_some_and(|wanted| !wanted()) {
                return Err(LoginError::Cancelled);
            }
            let stored = vault
                .replace(&binding, &grant)
                .map_err(|error| not_stored(&error))?;
            let Some(Asked { before, adopt, .. }) = asked_for else {
                settle(&vault, next_client.as_ref());
                return Ok(stored);
            };
            let adopted = adopt();
            // Nothing leads to a grant that is for something else than what is configured.
            if adopted == Ok(true) {
                settle(&vault, next_client.as_ref());
                leave(&vault, &before, before.client_id != binding.client_id, now);
            } else {
                leave(&vault, &binding, false, now);
            }
            match adopted {
                Ok(true) => Ok(stored),
                Ok(false) => Err(LoginError::Cancelled),
                Err(cause) => Err(LoginError::NotConfigured { cause }),
            }
        });
        storing.await.map_err(broken)?
    }
}

/// Deletes a grant that nothing leads to any more, and has its tokens given back later where no other grant would suffer from that.
fn leave(vault: &Vault, binding: &Binding, gives_back: bool, now: Timestamp) {
    let left = match vault.load(binding) {
        Ok(Some(grant)) if gives_back => unrevoked(binding, &grant, now),
        _ => Vec::new(),
    };
    let deleted = vault
        .keep_unrevoked(&left)
        .and_then(|_| vault.forget(binding));
    if let Err(error) = deleted {
        tracing::debug!(%error, "a grant that nobody can use stays in the store");
    }
}

/// Gives a client its place, in the moment in which its grant counts. Until that can be written it is found beside the one before.
fn settle(vault: &Vault, client: Option<&Registration>) {
    if let Some(client) = client
        && let Err(error) = vault.settle_registration(client)
    {
        tracing::debug!(%error, "a registered client has not taken its place");
    }
}

pub(super) fn not_exchanged(error: &TokenError) -> LoginError {
    LoginError::Exchange {
        transient: matches!(error, TokenError::Transient { .. }),
        code: error.verdict().map(str::to_owned),
        cause: error.to_string(),
    }
}

fn not_stored(error: &impl ToString) -> LoginError {
    LoginError::NotStored {
        cause: error.to_string(),
    }
}
