//! One login from beginning to end.
//!
//! The order is what matters: the store is proved before anybody is bothered, sockets are held before the address exists that
//! leads to them, the code is redeemed once and with the endpoints that the address came from, the grant is stored before the
//! browser is told so, and the sockets are gone before the caller hears of it. What an answer is made into is in `finish`; who
//! waits, and for how long, is `mod`'s part.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::pending;
use jiff::Timestamp;
use thv_config::world::Sleep;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::callback::Refusal;
use super::error::{LoginError, PortHolder};
use super::finish::Won;
use super::holder::{Holder, holder_of};
use super::loopback::{BindError, Loopback};
use super::page::Page;
use super::resource::LoginMethod;
use super::session::{Answer, Session};
use super::{DEFAULT_CALLBACK_PORT, DeviceUse, Inner, LoginDone, LoginHow, Progress};
use crate::binding::Binding;
use crate::grant::{DeathReason, Grant};
use crate::oauth::issuer::shown_issuer;
use crate::oauth::registration::token_host;
use crate::oauth::resource::ResourceMetadata;
use crate::oauth::{
    self, DeviceAuthorization, DiscoveryError, DpopUse, ProofKey, Prover, Provider, RedirectUri,
    dpop,
};
use crate::pin::{Pin, metadata_at_login};
use crate::relaxation::Relaxation;
use crate::rules::LoginRules;
use crate::skew::believed;
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
    /// The key that the tokens are to be bound to; known with the pin, where there is to be one.
    pub(super) prover: OnceLock<Prover>,
}

/// A login that somebody can answer: in a browser, with a code on another device, or either.
struct Opened {
    provider: Provider,
    browser: Option<InBrowser>,
    device: Option<DeviceAuthorization>,
}

/// The browser's way.
struct InBrowser {
    /// Absent where a server of ours receives the answer.
    loopback: Option<Loopback>,
    session: Arc<Session>,
    answer: oneshot::Receiver<Answer>,
}

impl Flow {
    /// Runs the login. When this returns, every socket is closed.
    pub(super) async fn run(self) -> Result<LoginDone, LoginError> {
        let mut deadline = self.logins.world.clock.sleep(self.how.time());
        let opened = tokio::select! {
            biased;
            error = self.stopped() => return Err(error),
            () = deadline.as_mut() => return Err(self.expired(0)),
            opened = self.open() => opened?,
        };
        let outcome = self.run_opened(opened, deadline).await;
        if let (Ok(_), Some(settle)) = (&outcome, &self.how.settle) {
            tokio::select! {
                () = settle() => {}
                () = self.progress.superseded.cancelled() => {}
            }
        }
        match &outcome {
            Ok(LoginDone {
                replaced_account: Some(_),
                ..
            }) => tracing::warn!(
                registry = self.registry(),
                "logged in as another account than before"
            ),
            Ok(_) => tracing::info!(registry = self.registry(), "logged in"),
            Err(error) => tracing::info!(registry = self.registry(), %error, "no login"),
        }
        outcome
    }

    async fn run_opened(&self, opened: Opened, deadline: Sleep) -> Result<LoginDone, LoginError> {
        let Opened {
            provider,
            browser,
            device,
        } = opened;
        self.offer(browser.as_ref(), device.as_ref());
        let Some(browser) = browser else {
            let won = self
                .wait(&provider, None, device.as_ref(), deadline)
                .await?;
            return self.finish(&provider, won, None).await;
        };
        let InBrowser {
            loopback,
            session,
            answer,
        } = browser;
        let closing = CancellationToken::new();
        let clock = Arc::clone(&self.logins.world.clock);
        let serving = async {
            if let Some(loopback) = loopback {
                let session = Arc::clone(&session);
                loopback.serve(session, clock, closing.clone()).await;
            }
        };
        let attending = async {
            let in_browser = Some((&*session, answer));
            let won = self.wait(&provider, in_browser, device.as_ref(), deadline);
            let outcome = match won.await {
                Ok(won) => self.attend(&provider, &session, won).await,
                Err(error) => Err(error),
            };
            closing.cancel();
            outcome
        };
        let (outcome, ()) = tokio::join!(attending, serving);
        outcome
    }

    /// Everything that can fail before a person is bothered.
    async fn open(&self) -> Result<Opened, LoginError> {
        let previous = self.prove_store().await?;
        let metadata_url = self.metadata_url(previous.as_ref());
        let http = &self.logins.http;
        let (provider, metadata) = tokio::join!(
            async {
                let policy = self.how.rules.discovery();
                let found = oauth::discover(http, &self.binding.issuer, policy).await;
                (found, self.logins.world.clock.now())
            },
            Box::pin(metadata_at_login(
                http,
                &self.binding,
                metadata_url.as_ref(),
                &self.how.rules,
            )),
        );
        let (provider, found_at) = provider;
        let provider = provider.map_err(|error| self.not_discovered(&error))?;
        let metadata = metadata.map_err(|cause| LoginError::Settings { cause })?;
        let rules = &self.how.rules;
        if let Some(cause) = elsewhere(&self.binding, previous.as_ref(), metadata.as_ref(), rules) {
            return Err(LoginError::Settings { cause });
        }
        // The client was looked up with metadata of a moment ago; these are the ones that count.
        let host = token_host(&provider);
        if self.how.authentication.secret().is_some()
            && self.how.secret_host.as_ref() != Some(&host)
        {
            return Err(LoginError::Settings {
                cause: format!(
                    "the identity provider's token endpoint is at {host} now, and the secret of the client that thv registered goes to no other host than before; `thv registry login --register` has it registered anew"
                ),
            });
        }
        let mut pin = Pin::of(&self.binding, &provider, metadata.as_ref(), rules.dpop);
        match self.prover_for(&provider, found_at)? {
            Some(prover) => {
                let _ = self.prover.set(prover);
            }
            None if previous.as_ref().is_some_and(Grant::is_bound) => {
                pin.relax(Relaxation::BearerDespiteDpop);
            }
            None => {}
        }
        let _ = self.pin.set(pin);
        let (browser, device) = match self.how.device {
            DeviceUse::Never => (Some(self.open_browser_way(&provider).await?), None),
            DeviceUse::Only => (None, Some(self.ask_for_code(&provider).await?)),
            DeviceUse::Offer => {
                let asking = self.ask_for_code(&provider);
                let (device, browser) = tokio::join!(asking, self.open_browser_way(&provider));
                match browser {
                    Ok(browser) => (Some(browser), device.ok()),
                    Err(error) => match device {
                        Ok(device) => (None, Some(device)),
                        Err(_) => return Err(error),
                    },
                }
            }
        };
        Ok(Opened {
            provider,
            browser,
            device,
        })
    }

    /// A new key, where the provider binds tokens to such and that is wanted.
    fn prover_for(
        &self,
        provider: &Provider,
        found_at: Timestamp,
    ) -> Result<Option<Prover>, LoginError> {
        match self.how.rules.dpop {
            DpopUse::Off => return Ok(None),
            DpopUse::Auto if !provider.takes_our_keys() => return Ok(None),
            DpopUse::Required if !provider.takes_our_keys() => {
                return Err(LoginError::Settings {
                    cause: format!(
                        "tokens bound to a key are required for this registry, and the identity provider does not offer them with {} (`dpop_signing_alg_values_supported`); `thv registry login --dpop auto` does without",
                        dpop::ALGORITHM
                    ),
                });
            }
            DpopUse::Auto | DpopUse::Required => {}
        }
        let key = ProofKey::generate().map_err(broken)?;
        let clock = &self.logins.world.clock;
        let offset = provider
            .server_date
            .and_then(|theirs| believed(found_at, theirs));
        let servers = self.logins.servers.clone();
        let (clock, offset) = (Arc::clone(clock), offset.unwrap_or_default());
        Ok(Some(Prover::new(key, servers, clock, offset)))
    }

    async fn open_browser_way(&self, provider: &Provider) -> Result<InBrowser, LoginError> {
        let (loopback, redirect_uri, mark) = if let Some(public) = &self.how.public {
            let redirect_uri = RedirectUri::hosted(public.redirect_uri());
            let redirect_uri = redirect_uri.ok_or_else(|| broken("no redirect URI"))?;
            (None, redirect_uri, Some(new_login_id().map_err(broken)?))
        } else {
            let loopback = self.listen().await?;
            self.progress
                .note(|stage| stage.port = Some(loopback.port()));
            let redirect_uri = self.how.redirect.uri(loopback.port(), &provider.issuer);
            (Some(loopback), redirect_uri, None)
        };
        let attempt = oauth::begin(
            provider,
            &self.binding,
            &redirect_uri,
            &self.binding.scopes,
            self.prover.get().map(Prover::key),
        )
        .map_err(|error| LoginError::Settings {
            cause: error.to_string(),
        })?;
        let (session, answer) = Session::new(attempt, mark).map_err(broken)?;
        Ok(InBrowser {
            loopback,
            session: Arc::new(session),
            answer,
        })
    }

    /// Proves that a grant could be kept, and reads the one from before.
    async fn prove_store(&self) -> Result<Option<Grant>, LoginError> {
        let vault = self.logins.vault.clone();
        let asked = self.how.asked.as_ref();
        let binding = asked.map_or(&self.binding, |asked| &asked.before);
        let binding = binding.clone();
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
                is_ours: self.how.is_our_client,
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
        let Holder { is_login, process } = holder_of(&self.logins.http, port).await;
        let process = process.map(|process| process.to_string());
        if is_login {
            PortHolder::AnotherLogin { process }
        } else {
            PortHolder::Unknown { process }
        }
    }

    /// Shows people the ways to log in.
    fn offer(&self, browser: Option<&InBrowser>, device: Option<&DeviceAuthorization>) {
        let session = browser.map(|browser| &browser.session);
        let authorization_url = session.map(|session| &session.attempt().authorization_url);
        self.progress.show(|stage| {
            stage.session = session.cloned();
            stage
                .methods
                .extend(authorization_url.map(|url| LoginMethod::Browser {
                    authorization_url: url.clone(),
                }));
            stage
                .methods
                .extend(device.map(DeviceAuthorization::method));
            stage
                .methods
                .extend(authorization_url.map(|_| LoginMethod::Paste));
            stage.address = authorization_url
                .or_else(|| device.map(DeviceAuthorization::address))
                .cloned();
            if let (None, Some(device)) = (browser, device) {
                let now = self.logins.world.clock.now();
                let expiry = now.checked_add(device.lifetime).unwrap_or(Timestamp::MAX);
                stage.expires_at = Some(expiry.min(self.progress.expires_at()));
            }
        });
    }

    /// Waits until a person has finished the login in one of the ways; the others are closed then.
    async fn wait(
        &self,
        provider: &Provider,
        browser: Option<(&Session, oneshot::Receiver<Answer>)>,
        device: Option<&DeviceAuthorization>,
        deadline: Sleep,
    ) -> Result<Won, LoginError> {
        let (session, answer) = browser.unzip();
        let has_browser = session.is_some();
        let answered = async {
            match answer {
                Some(answer) => answer.await,
                None => pending().await,
            }
        };
        let won = tokio::select! {
            biased;
            () = self.progress.superseded.cancelled() => return Err(self.progress.ended_by()),
            answer = answered => match answer.map_err(broken)? {
                Answer::Granted(code) => Won::Code(code),
                Answer::Refused(Refusal { code, description }) => {
                    return Err(LoginError::Denied { code, description });
                }
                Answer::Foreign { cause } => return Err(LoginError::ForeignIssuer { cause }),
            },
            tokens = self.redeem_device(provider, device, has_browser) => {
                Won::Tokens(Box::new(tokens?))
            }
            () = self.progress.abandoned.cancelled() => return Err(LoginError::Abandoned),
            () = deadline => {
                return Err(self.expired(session.map(Session::turned_away).unwrap_or_default()));
            }
        };
        if let (Won::Tokens(_), Some(session)) = (&won, session) {
            session.close();
        }
        self.progress.complete();
        Ok(won)
    }

    /// Makes a grant of the answer, and tells the browser about it.
    async fn attend(
        &self,
        provider: &Provider,
        session: &Session,
        won: Won,
    ) -> Result<LoginDone, LoginError> {
        let by_browser = matches!(won, Won::Code(_));
        let outcome = self.finish(provider, won, Some(session)).await;
        session.finish(match &outcome {
            Ok(_) => Page::Stored,
            Err(LoginError::AccountMismatch { .. }) => Page::OtherAccount,
            Err(_) => Page::Failed,
        });
        if by_browser {
            tokio::select! {
                () = session.shown() => {}
                () = self.logins.world.clock.sleep(LAST_PAGE_TIME) => {}
                () = self.progress.superseded.cancelled() => {}
            }
        }
        outcome
    }

    /// Resolves when nobody wants the login any more.
    async fn stopped(&self) -> LoginError {
        tokio::select! {
            () = self.progress.superseded.cancelled() => self.progress.ended_by(),
            () = self.progress.abandoned.cancelled() => LoginError::Abandoned,
        }
    }

    fn not_discovered(&self, error: &DiscoveryError) -> LoginError {
        if error.says_nothing_of_pkce() {
            let issuer = shown_issuer(&self.binding.issuer);
            let rule = Relaxation::MissingPkceMetadata;
            return LoginError::Settings {
                cause: format!(
                    "the identity provider {issuer} does not say that it offers PKCE (`code_challenge_methods_supported`), which the rules for this registry want; if you trust it: `thv registry login --relax {rule}`"
                ),
            };
        }
        LoginError::Discovery {
            issuer: self.binding.issuer.clone(),
            cause: error.to_string(),
            transient: error.is_transient(),
        }
    }

    fn expired(&self, turned_away: u64) -> LoginError {
        LoginError::Expired {
            limit: self.how.time(),
            turned_away,
        }
    }

    pub(super) fn registry(&self) -> &str {
        self.binding.registry_url.host_str().unwrap_or_default()
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
pub(super) fn broken(error: impl ToString) -> LoginError {
    LoginError::Internal {
        cause: error.to_string(),
    }
}

/// Why a login would be at an issuer that is not the registry's: the registry names others, and either that has just ended the login of
/// before, or the rules want it to name this one.
fn elsewhere(
    binding: &Binding,
    previous: Option<&Grant>,
    metadata: Option<&ResourceMetadata>,
    rules: &LoginRules,
) -> Option<String> {
    let metadata = metadata?;
    let listed = &metadata.authorization_servers;
    if listed.is_empty() || metadata.names(&binding.issuer) {
        return None;
    }
    let has_ended = previous
        .and_then(|grant| grant.dead.as_ref())
        .is_some_and(|death| death.reason == DeathReason::IssuerChanged);
    if !has_ended && rules.relaxes(Relaxation::UnlistedIssuer) {
        return None;
    }
    let listed: Vec<String> = listed.iter().map(|issuer| shown_issuer(issuer)).collect();
    Some(format!(
        "the registry names {} as its identity provider, and not {}; `thv registry login {}` on the command line shows and configures that",
        listed.join(", "),
        binding.issuer,
        binding.configured_url
    ))
}
