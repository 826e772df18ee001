//! One login from beginning to end.
//!
//! The order is what matters: the store is proved before anybody is bothered, sockets are held before the address exists that
//! leads to them, the code is redeemed once and with the endpoints that the address came from, the grant is stored before the
//! browser is told so, and the sockets are gone before the caller hears of it. Who waits, and for how long, is `mod`'s part.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::pending;
use jiff::Timestamp;
use secrecy::SecretString;
use thv_config::world::Sleep;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::callback::Refusal;
use super::error::{LoginError, PortHolder};
use super::holder::is_another_login;
use super::loopback::{BindError, Loopback};
use super::page::Page;
use super::session::{Answer, Session};
use super::{DEFAULT_CALLBACK_PORT, Inner, LOGIN_TIME, LoginDone, LoginHow, Progress};
use crate::binding::Binding;
use crate::grant::{DeathReason, Grant};
use crate::limits::SKEW_MAX;
use crate::oauth::issuer::shown_issuer;
use crate::oauth::metadata::DiscoveryPolicy;
use crate::oauth::resource::ResourceMetadata;
use crate::oauth::{
    self, Account, Attempt, DiscoveryError, Provider, TokenError, TokenHint, TokenSet,
};
use crate::pin::{Pin, metadata_at_login};
use crate::vault::{VaultError, new_login_id};

/// How long the sockets stay for a browser that is on its way to the last page. It usually waits there already.
const LAST_PAGE_TIME: Duration = Duration::from_secs(3);

/// A login and all it needs.
pub(super) struct Flow {
    pub(super) logins: Arc<Inner>,
    pub(super) binding: Binding,
    pub(super) how: LoginHow,
    pub(super) progress: Arc<Progress>,
    /// What the grant is pinned to; known once the provider is.
    pub(super) pin: OnceLock<Pin>,
}

/// A login that somebody can answer.
struct Opened {
    provider: Provider,
    loopback: Loopback,
    session: Arc<Session>,
    answer: oneshot::Receiver<Answer>,
    /// Whoever was logged in before.
    previous: Option<Account>,
}

impl Flow {
    /// Runs the login. When this returns, every socket is closed.
    pub(super) async fn run(self) -> Result<LoginDone, LoginError> {
        let mut deadline = self.logins.world.clock.sleep(LOGIN_TIME);
        let opened = tokio::select! {
            biased;
            error = self.stopped() => return Err(error),
            () = deadline.as_mut() => return Err(expired(0)),
            opened = self.open() => opened?,
        };
        let Opened {
            provider,
            loopback,
            session,
            answer,
            previous,
        } = opened;
        let closing = CancellationToken::new();
        let serving = loopback.serve(
            Arc::clone(&session),
            Arc::clone(&self.logins.world.clock),
            closing.clone(),
        );
        let attending = async {
            let outcome = self
                .attend(&provider, &session, answer, deadline, previous)
                .await;
            closing.cancel();
            outcome
        };
        let (outcome, ()) = tokio::join!(attending, serving);
        match &outcome {
            Ok(_) => tracing::info!(registry = self.registry(), "logged in"),
            Err(error) => tracing::info!(registry = self.registry(), %error, "no login"),
        }
        outcome
    }

    /// Everything that can fail before a person is bothered.
    async fn open(&self) -> Result<Opened, LoginError> {
        if self.how.opener.is_none() && self.how.announce.is_none() {
            return Err(LoginError::NothingToOpen {
                cause: "this program has none to open".to_owned(),
            });
        }
        let previous = self.prove_store().await?;
        let metadata_url = self.metadata_url(previous.as_ref());
        let http = &self.logins.http;
        let (provider, metadata) = tokio::join!(
            oauth::discover(http, &self.binding.issuer, DiscoveryPolicy::DEFAULT),
            Box::pin(metadata_at_login(
                http,
                &self.binding,
                metadata_url.as_ref()
            )),
        );
        let provider = provider.map_err(|error| self.not_discovered(&error))?;
        if let Some(cause) = still_elsewhere(&self.binding, previous.as_ref(), metadata.as_ref()) {
            return Err(LoginError::Settings { cause });
        }
        let pin = Pin::of(&self.binding, &provider, metadata.as_ref());
        let _ = self.pin.set(pin);
        let loopback = self.listen().await?;
        self.progress
            .stage
            .send_modify(|stage| stage.port = Some(loopback.port()));
        let redirect_uri = self.how.redirect.uri(loopback.port(), &provider.issuer);
        let attempt = oauth::begin(
            &provider,
            &self.binding,
            &redirect_uri,
            &self.binding.scopes,
        )
        .map_err(|error| LoginError::Settings {
            cause: error.to_string(),
        })?;
        let (session, answer) = Session::new(attempt).map_err(broken)?;
        Ok(Opened {
            provider,
            loopback,
            session: Arc::new(session),
            answer,
            previous: previous.and_then(|grant| grant.account),
        })
    }

    /// Proves that a grant could be kept, and reads the one from before.
    async fn prove_store(&self) -> Result<Option<Grant>, LoginError> {
        let vault = self.logins.vault.clone();
        let binding = self.binding.clone();
        let proved = tokio::task::spawn_blocking(move || {
            vault.probe()?;
            // A record that cannot be read is one more reason to log in.
            Ok(vault.load(&binding).ok().flatten())
        });
        proved
            .await
            .map_err(broken)?
            .map_err(|error: VaultError| LoginError::StoreUnusable {
                hint: error.to_string(),
            })
    }

    /// Where the registry's metadata are: where somebody has just found them, else where they were at the login before.
    fn metadata_url(&self, previous: Option<&Grant>) -> Option<Url> {
        let pin = previous.and_then(|grant| grant.pin.as_ref());
        let known = pin.and_then(|pin| pin.resource_metadata.as_deref());
        let known = known.and_then(|url| Url::parse(url).ok());
        self.how.metadata_url.clone().or(known)
    }

    async fn listen(&self) -> Result<Loopback, LoginError> {
        let port = self.how.callback_port.unwrap_or(DEFAULT_CALLBACK_PORT);
        match Loopback::bind(port).await {
            Ok(loopback) => Ok(loopback),
            Err(BindError::Busy { port }) => Err(LoginError::PortBusy {
                port,
                holder: self.holder_of(port).await,
            }),
            Err(BindError::Refused { port, cause }) => Err(LoginError::Listener {
                port,
                cause: cause.to_string(),
            }),
        }
    }

    /// Who listens on `port`: another login of ours is worth naming, because ending it helps.
    async fn holder_of(&self, port: u16) -> PortHolder {
        if let Some(registry) = self.logins.registry_listening_on(port) {
            return PortHolder::ThisProcess { registry };
        }
        if is_another_login(&self.logins.http, port).await {
            PortHolder::AnotherLogin
        } else {
            PortHolder::Unknown
        }
    }

    /// Shows people where to log in, waits for the answer, and makes a grant of it.
    async fn attend(
        &self,
        provider: &Provider,
        session: &Arc<Session>,
        answer: oneshot::Receiver<Answer>,
        deadline: Sleep,
        previous: Option<Account>,
    ) -> Result<LoginDone, LoginError> {
        self.progress.stage.send_modify(|stage| {
            stage.url = Some(session.attempt().authorization_url.clone());
            stage.session = Some(Arc::clone(session));
        });
        let code = tokio::select! {
            biased;
            () = self.progress.superseded.cancelled() => return Err(LoginError::Cancelled),
            answer = answer => match answer.map_err(broken)? {
                Answer::Granted(code) => code,
                Answer::Refused(Refusal { code, description }) => {
                    return Err(LoginError::Denied { code, description });
                }
                Answer::Foreign { cause } => return Err(LoginError::ForeignIssuer { cause }),
            },
            () = self.progress.abandoned.cancelled() => return Err(LoginError::Abandoned),
            error = self.show(&session.attempt().authorization_url) => return Err(error),
            () = deadline => return Err(expired(session.turned_away())),
        };
        let outcome = self.finish(provider, session, code, previous).await;
        session.finish(if outcome.is_ok() {
            Page::Stored
        } else {
            Page::Failed
        });
        tokio::select! {
            () = session.shown() => {}
            () = self.logins.world.clock.sleep(LAST_PAGE_TIME) => {}
            () = self.progress.superseded.cancelled() => {}
        }
        outcome
    }

    /// Opens the browser. Resolves only when nobody can be shown the address at all.
    async fn show(&self, url: &Url) -> LoginError {
        let Some(opener) = self.how.opener.clone() else {
            return pending().await;
        };
        let url = url.clone();
        let cause = match tokio::task::spawn_blocking(move || opener.open(&url)).await {
            Ok(Ok(())) => return pending().await,
            Ok(Err(cause)) => cause,
            Err(error) => error.to_string(),
        };
        tracing::warn!(registry = self.registry(), %cause, "no browser was opened");
        if self.how.announce.is_some() {
            return pending().await;
        }
        LoginError::NothingToOpen { cause }
    }

    /// Makes a stored grant of the code. From here on only a logout or a change of the configuration ends the login: the code is
    /// spent, and what it brings is kept even if nobody waits for it any more.
    async fn finish(
        &self,
        provider: &Provider,
        session: &Session,
        code: SecretString,
        previous: Option<Account>,
    ) -> Result<LoginDone, LoginError> {
        let attempt = session.attempt();
        let redeeming = oauth::exchange(
            &self.logins.http,
            provider,
            &self.binding,
            &self.how.authentication,
            attempt,
            code,
        );
        let tokens = tokio::select! {
            biased;
            () = self.progress.superseded.cancelled() => return Err(LoginError::Cancelled),
            redeemed = redeeming => redeemed.map_err(|error| not_exchanged(&error))?,
        };
        let grant = match self.keep(provider, attempt, tokens.clone()).await {
            Ok(grant) => grant,
            Err(error) => {
                if matches!(error, LoginError::Cancelled | LoginError::IdToken { .. }) {
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
            scopes: grant.scopes,
            refreshable: grant.refresh_token.is_some(),
            turned_away: session.turned_away(),
        })
    }

    /// Checks who has logged in, and stores the grant.
    async fn keep(
        &self,
        provider: &Provider,
        attempt: &Attempt,
        tokens: TokenSet,
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
                    attempt.nonce.as_ref(),
                    self.providers_time(&tokens),
                );
                let verified = tokio::select! {
                    biased;
                    () = self.progress.superseded.cancelled() => return Err(LoginError::Cancelled),
                    verified = verifying => verified,
                };
                Some(verified.map_err(|error| LoginError::IdToken {
                    cause: error.to_string(),
                })?)
            }
        };
        self.store(tokens, account, attempt.scopes.clone()).await
    }

    /// Gives tokens back that nobody will use. Nobody waits for it either.
    fn give_back(&self, provider: &Provider, tokens: TokenSet) {
        let http = self.logins.http.clone();
        let provider = provider.clone();
        let binding = self.binding.clone();
        let client = self.how.authentication.clone();
        let (token, hint) = match tokens.refresh_token {
            Some(refresh_token) => (refresh_token, TokenHint::RefreshToken),
            None => (tokens.access_token, TokenHint::AccessToken),
        };
        tokio::spawn(async move {
            let outcome = oauth::revoke(&http, &provider, &binding, &client, &token, hint).await;
            tracing::debug!(?outcome, "the tokens of an ended login were given back");
        });
    }

    /// What the provider's clock shows, as long as that can be believed: ours may be a day off.
    fn providers_time(&self, tokens: &TokenSet) -> Timestamp {
        let ours = self.logins.world.clock.now();
        tokens
            .server_date
            .filter(|theirs| theirs.duration_since(ours).unsigned_abs() <= SKEW_MAX)
            .unwrap_or(ours)
    }

    /// Stores the grant, unless the login was superseded or its registry replaced meanwhile.
    async fn store(
        &self,
        tokens: TokenSet,
        account: Option<Account>,
        asked: Vec<String>,
    ) -> Result<Grant, LoginError> {
        let vault = self.logins.vault.clone();
        let binding = self.binding.clone();
        let superseded = self.progress.superseded.clone();
        let still_wanted = self.how.still_wanted.clone();
        let pin = self.pin.get().cloned();
        let now = self.logins.world.clock.now();
        let storing = tokio::task::spawn_blocking(move || {
            let login_id = new_login_id().map_err(|error| not_stored(&error))?;
            let grant = Grant {
                pin,
                ..Grant::of_login(tokens, account, &asked, login_id, now)
            };
            if superseded.is_cancelled() || still_wanted.is_some_and(|wanted| !wanted()) {
                return Err(LoginError::Cancelled);
            }
            vault
                .replace(&binding, &grant)
                .map_err(|error| not_stored(&error))
        });
        storing.await.map_err(broken)?
    }

    /// Resolves when nobody wants the login any more.
    async fn stopped(&self) -> LoginError {
        tokio::select! {
            () = self.progress.superseded.cancelled() => LoginError::Cancelled,
            () = self.progress.abandoned.cancelled() => LoginError::Abandoned,
        }
    }

    fn not_discovered(&self, error: &DiscoveryError) -> LoginError {
        LoginError::Discovery {
            issuer: self.binding.issuer.clone(),
            cause: error.to_string(),
            transient: error.is_transient(),
        }
    }

    fn registry(&self) -> &str {
        self.binding.registry_url.host_str().unwrap_or_default()
    }
}

/// Why a login would bring back what has just been ended: the registry names other issuers than the one that is configured.
fn still_elsewhere(
    binding: &Binding,
    previous: Option<&Grant>,
    metadata: Option<&ResourceMetadata>,
) -> Option<String> {
    let death = previous?.dead.as_ref()?;
    let metadata = metadata?;
    let listed = &metadata.authorization_servers;
    if death.reason != DeathReason::IssuerChanged
        || listed.is_empty()
        || metadata.names(&binding.issuer)
    {
        return None;
    }
    let listed: Vec<String> = listed.iter().map(|issuer| shown_issuer(issuer)).collect();
    Some(format!(
        "the registry names {} as its identity provider, and not {} any more; `thv registry login` on the command line shows and configures that",
        listed.join(", "),
        binding.issuer
    ))
}

fn expired(turned_away: u64) -> LoginError {
    LoginError::Expired {
        limit: LOGIN_TIME,
        turned_away,
    }
}

fn not_exchanged(error: &TokenError) -> LoginError {
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

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn broken(error: impl ToString) -> LoginError {
    LoginError::Internal {
        cause: error.to_string(),
    }
}
