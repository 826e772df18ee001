//! Everything about logins to registries, put together: the store, the engine that keeps grants
//! fresh, and the logins. The programs above hold one [`Auth`] and nothing else of this crate.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use thv_config::world::{Clock, World};
use thv_config::{Config, ConfigError, ConfigStore, OAuthSettings, Paths};
use thv_http::Http;
use thv_secrets::Secrets;
use tokio_util::sync::CancellationToken;

use crate::bare_url::{
    ClientChoice, ClientError, FoundLogin, LoginSearch, SearchError, WantedClient, client_for,
    find_login, living_client,
};
use crate::binding::{Binding, NoBinding};
use crate::credentials::{CredentialSource, Credentials};
use crate::limits::LOOK_INTERVAL;
use crate::login::{DEFAULT_CALLBACK_PORT, LoginDone, LoginError, LoginHow, Logins};
use crate::logout::{LogoutReceipt, logout};
use crate::oauth::{DiscoveryPolicy, KeyCache, discover, requested_scopes};
use crate::refresh::{EngineParts, OAuthService, RefreshEngine, Unwatched, blocking};
use crate::status::{AuthReport, PendingLogin};
use crate::tokens::GrantCredentials;
use crate::vault::{ConfiguredStore, Vault, VaultError};

/// Logins to registries: the store, the engine that keeps grants fresh, and the logins.
pub struct Auth {
    clock: Arc<dyn Clock>,
    config: ConfigStore,
    http: Http,
    engine: RefreshEngine,
    logins: Logins,
    /// Held while a client is looked after or registered, so that two logins do not make two clients.
    registering: tokio::sync::Mutex<()>,
    /// One credential per binding, so that all who read a registry share what is known of it.
    credentials: Mutex<Vec<(Binding, Arc<GrantCredentials>)>>,
}

/// Why nobody was logged in or out.
#[derive(Debug, thiserror::Error)]
pub enum AuthFailure {
    /// There is nothing to log in to.
    #[error(transparent)]
    NoBinding(#[from] NoBinding),
    /// The configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The login failed.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The client that was registered for the login is not known any more, and there is no new one.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The stored grant cannot be read or deleted.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

// === impl Auth ===

impl Auth {
    /// Logins that are configured in `config` and kept in this user's secret store.
    pub fn new(world: &World, paths: &Paths, config: &ConfigStore, http: &Http) -> Arc<Self> {
        let secrets = Secrets::new(world.clone(), paths, config.clone());
        let source = ConfiguredStore::new(secrets, paths, config);
        let vault = Vault::new(Arc::new(source), Arc::clone(&world.clock));
        let keys = KeyCache::new();
        let service = OAuthService::new(http.clone(), Arc::clone(&world.clock), vault.clone());
        let engine = RefreshEngine::new(EngineParts {
            world: world.clone(),
            vault: vault.clone(),
            service: Arc::new(service),
            lock_dir: RefreshEngine::lock_dir(paths),
            steps: Arc::new(Unwatched),
        });
        engine.renew_ahead(false);
        Arc::new(Self {
            clock: Arc::clone(&world.clock),
            config: config.clone(),
            http: http.clone(),
            engine,
            logins: Logins::new(world.clone(), http.clone(), vault, keys),
            registering: tokio::sync::Mutex::default(),
            credentials: Mutex::default(),
        })
    }

    /// For a program that stays: follows the store until `stop`, so that what other processes do shows within a second,
    /// and renews tokens before somebody has to wait for that.
    pub fn start(&self, stop: CancellationToken) {
        self.engine.renew_ahead(true);
        drop(self.engine.spawn_watch(stop));
    }

    /// Waits for the renewals in flight, before the program ends: a token that is spent has to be replaced in the store.
    pub async fn finish(&self) {
        self.engine.finish().await;
    }

    async fn binding(&self) -> Result<Binding, AuthFailure> {
        let config = self.config.load_async().await?;
        Ok(Binding::of(&config)?)
    }

    /// Logs in to the configured registry, or joins a login to it that is under way. Dropping
    /// the future leaves it.
    pub async fn login(&self, how: LoginHow) -> Result<LoginDone, AuthFailure> {
        let (binding, how) = self.settle(how).await?;
        let store = self.config.clone();
        let wanted = binding.clone();
        let how = LoginHow {
            still_wanted: Some(Arc::new(move || is_still(&store, &wanted))),
            ..how
        };
        let mut login = pin!(self.logins.login(&binding, how));
        let done = tokio::select! {
            done = login.as_mut() => done?,
            () = self.replaced(&binding) => {
                self.logins.cancel(&binding).await;
                login.await?
            }
        };
        self.of(&binding).look().await;
        Ok(done)
    }

    /// What is logged in to, as whom and for what: one at a time, as it may change the configuration that the next one reads.
    async fn settle(&self, how: LoginHow) -> Result<(Binding, LoginHow), AuthFailure> {
        let _turn = self.registering.lock().await;
        let config = self.config.load_async().await?;
        let oauth = config.auth.as_ref().and_then(|auth| auth.oauth.as_ref());
        let how = LoginHow {
            callback_port: how
                .callback_port
                .or_else(|| oauth.and_then(|oauth| oauth.callback_port)),
            ..how
        };
        let binding = self.stepped_up(Binding::of(&config)?).await?;
        self.with_client(binding, how).await
    }

    /// Looks for a login to a registry of which only the URL is known. Changes nothing and opens nothing.
    pub async fn find_login(&self, search: &LoginSearch) -> Result<FoundLogin, SearchError> {
        find_login(&self.http, search).await
    }

    /// The client to configure for a login that was found; registers this program where that is needed. What the
    /// registration brings is kept before this returns.
    pub async fn client_for(
        &self,
        found: &FoundLogin,
        choice: &ClientChoice,
    ) -> Result<String, ClientError> {
        let _turn = self.registering.lock().await;
        let vault = self.engine.vault();
        client_for(&self.http, vault, found, choice, self.clock.now()).await
    }

    /// The login with the scopes that the registry has asked for since the last one: the union of both is configured.
    async fn stepped_up(&self, binding: Binding) -> Result<Binding, AuthFailure> {
        let (vault, bound) = (self.engine.vault().clone(), binding.clone());
        let wanted = blocking(move || vault.wanted_scopes(&bound)).await;
        // A store that cannot be read is told by the login itself.
        let wanted = wanted.unwrap_or_default();
        if wanted.is_empty() {
            return Ok(binding);
        }
        let scopes = [binding.scopes.as_slice(), &wanted].concat();
        self.configure(binding, move |oauth| oauth.scopes = scopes)
            .await
    }

    /// The login as the client that is configured. Where this program has registered that client and the provider has forgotten
    /// it, a new one is registered, once, and configured in its place.
    async fn with_client(
        &self,
        binding: Binding,
        how: LoginHow,
    ) -> Result<(Binding, LoginHow), AuthFailure> {
        let vault = self.engine.vault().clone();
        let (issuer, client_id) = (binding.issuer.clone(), binding.client_id.clone());
        let ours = blocking(move || vault.registration_of(&issuer, &client_id)).await;
        // A store that cannot be read is told by the login itself.
        let Ok(Some(registered)) = ours else {
            return Ok((binding, how));
        };
        let provider = discover(&self.http, &binding.issuer, DiscoveryPolicy::DEFAULT)
            .await
            .map_err(|error| LoginError::Discovery {
                issuer: binding.issuer.clone(),
                cause: error.to_string(),
                transient: error.is_transient(),
            })?;
        // Any port will do for a loopback address (RFC 8252 section 7.3).
        let port = match how.callback_port {
            Some(0) => registered.port(),
            port => port,
        };
        let wanted = WantedClient {
            provider: &provider,
            port: port.unwrap_or(DEFAULT_CALLBACK_PORT),
            scopes: requested_scopes(&provider, &binding.scopes),
            allow_private_ip: binding.allow_private_ip,
            anew: false,
            now: self.clock.now(),
        };
        let client = living_client(&self.http, self.engine.vault(), &wanted).await?;
        let how = LoginHow {
            redirect: client.form,
            authentication: client.registration.authentication,
            ..how
        };
        let client_id = client.registration.client_id;
        if client_id == binding.client_id {
            return Ok((binding, how));
        }
        let binding = self
            .configure(binding, |oauth| oauth.client_id = client_id)
            .await?;
        Ok((binding, how))
    }

    /// Changes the settings of `binding`, unless something else is configured by now. What is configured then.
    async fn configure(
        &self,
        binding: Binding,
        change: impl FnOnce(&mut OAuthSettings) + Send + 'static,
    ) -> Result<Binding, AuthFailure> {
        self.config
            .update_async(move |config: &mut Config| {
                if Binding::of(config).is_ok_and(|now| now == binding)
                    && let Some(oauth) = config.auth.as_mut().and_then(|auth| auth.oauth.as_mut())
                {
                    change(oauth);
                    oauth.cached_refresh_token_ref = None;
                    oauth.cached_token_expiry = None;
                }
                Ok::<_, AuthFailure>(Binding::of(config)?)
            })
            .await
    }

    /// Resolves when the configuration describes another login: whoever still waited for this one
    /// would log in for nothing, and its port is not free for the other. A configuration that
    /// cannot be read now says nothing.
    async fn replaced(&self, binding: &Binding) {
        loop {
            self.clock.sleep(LOOK_INTERVAL).await;
            if let Ok(config) = self.config.load_async().await
                && !Binding::of(&config).is_ok_and(|now| now == *binding)
            {
                return;
            }
        }
    }

    /// Logs out of the configured registry. A login that is under way is ended first.
    pub async fn logout(&self) -> Result<LogoutReceipt, AuthFailure> {
        let binding = self.binding().await?;
        self.logins.cancel(&binding).await;
        let receipt = logout(&self.engine, &self.config, &binding).await?;
        self.of(&binding).look().await;
        Ok(receipt)
    }

    /// Ends logins that are under way: the registry was replaced, or the program ends.
    pub async fn cancel_logins(&self) {
        self.logins.cancel_all().await;
    }

    /// Everything that is known of the configured login, without asking anybody outside.
    pub async fn report(&self) -> Result<AuthReport, AuthFailure> {
        let config = self.config.load_async().await?;
        match Binding::of(&config) {
            Ok(binding) => {
                let pending = self.logins.pending(&binding).map(|pending| PendingLogin {
                    started_at: pending.since,
                    expires_at: pending.expires_at,
                });
                let report = AuthReport::of(&self.engine, &binding).await;
                Ok(report.with_pending_login(pending))
            }
            Err(NoBinding::NotConfigured) => Ok(AuthReport::anonymous()),
            Err(error) => Err(error.into()),
        }
    }

    fn of(&self, binding: &Binding) -> Arc<GrantCredentials> {
        let mut known = self
            .credentials
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, credentials)) = known.iter().find(|(known, _)| known == binding) {
            return Arc::clone(credentials);
        }
        let credentials = Arc::new(GrantCredentials::new(&self.engine, binding));
        // Only the registry of now matters; what an earlier one had is found in the store again.
        known.clear();
        known.push((binding.clone(), Arc::clone(&credentials)));
        credentials
    }
}

/// Whether the configuration still describes what `binding` is for. Blocks.
fn is_still(config: &ConfigStore, binding: &Binding) -> bool {
    let now: Result<Config, _> = config.load();
    now.is_ok_and(|config| Binding::of(&config).is_ok_and(|now| now == *binding))
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").finish_non_exhaustive()
    }
}

impl CredentialSource for Auth {
    fn credentials(&self, binding: &Binding) -> Arc<dyn Credentials> {
        self.of(binding)
    }

    fn check<'a>(&'a self, binding: &'a Binding) -> BoxFuture<'a, Result<(), String>> {
        async move {
            discover(&self.http, &binding.issuer, DiscoveryPolicy::DEFAULT)
                .await
                .map(drop)
                .map_err(|error| {
                    format!(
                        "OIDC discovery failed for issuer {}: {error}",
                        binding.issuer
                    )
                })
        }
        .boxed()
    }
}
