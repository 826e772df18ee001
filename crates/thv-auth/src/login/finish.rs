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
use crate::vault::{Arrival, Unrevoked, Vault, new_login_id};

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
        let (grant, replaced_account) = match self.keep(provider, attempt, tokens.clone()).await {
            Ok(kept) => kept,
            Err(error) => {
                if self.is_for_nobody(&error) {
                    self.give_back(provider, tokens);
                }
                return Err(error);
            }
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
    ) -> Result<(Grant, Option<Account>), LoginError> {
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

    /// Stores the grant, unless the login was superseded or its registry replaced meanwhile, or is of another account than the one
    /// before and may not be; also returns whose place it took. Where it is for something else than
    /// what is configured, that is configured then: a configuration must not lead to a grant that is not there.
    async fn store(
        &self,
        tokens: TokenSet,
        account: Option<Account>,
        asked: Vec<String>,
    ) -> Result<(Grant, Option<Account>), LoginError> {
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
            let before = asked_for.as_ref().map_or(&binding, |asked| &asked.before);
            let says_who = asked.iter().any(|scope| scope == "openid");
            let admits = |who: &Account| match &grant.account {
                _ if progress.switches_account() => true,
                Some(account) => account.is_same(who),
                None => !says_who,
            };
            let arrival = vault.arrive(before, &binding, &grant, admits);
            let (stored, replaced, left) = match arrival.map_err(|error| not_stored(&error))? {
                Arrival::Refused(who) => return Err(of_another(&who, grant.account.as_ref())),
                Arrival::Stored {
                    grant,
                    other,
                    replaced,
                } => {
                    let left = other.map(|other| unrevoked(before, &other, now));
                    (*grant, replaced, left.unwrap_or_default())
                }
            };
            let Some(Asked { before, adopt, .. }) = asked_for else {
                settle(&vault, next_client.as_ref());
                give_back_later(&vault, &left);
                return Ok((stored, replaced));
            };
            let adopted = adopt();
            // Nothing leads to a grant that is for something else than what is configured.
            if adopted == Ok(true) {
                settle(&vault, next_client.as_ref());
                give_back_later(&vault, &left);
                let gives_back = before.client_id != binding.client_id && left.is_empty();
                leave(&vault, &before, gives_back, now);
            } else {
                leave(&vault, &binding, false, now);
            }
            match adopted {
                Ok(true) => Ok((stored, replaced)),
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

/// Keeps tokens that nobody uses any more until there is time to give them back.
fn give_back_later(vault: &Vault, left: &[Unrevoked]) {
    if let Err(error) = vault.keep_unrevoked(left) {
        tracing::debug!(%error, "tokens that nobody uses stay good at their provider");
    }
}

/// A login that is not of the account that logged in before, or does not say whose it is.
fn of_another(before: &Account, now: Option<&Account>) -> LoginError {
    let Some(now) = now else {
        return LoginError::IdToken {
            cause: format!(
                "it gave no ID token, which would tell whether this is still {}",
                before.shown()
            ),
        };
    };
    let (was, is) = (before.shown(), now.shown());
    let (before, now) = if was == is {
        let with_sub = |account: &Account| format!("{} ({})", account.shown(), account.sub);
        (with_sub(before), with_sub(now))
    } else {
        (was.to_owned(), is.to_owned())
    };
    LoginError::AccountMismatch { before, now }
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
