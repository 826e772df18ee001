//! Everything about logins to registries, put together: the store, the engine that keeps grants
//! fresh, and the logins. The programs above hold one [`Auth`] and nothing else of this crate.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::Response;
use http_body_util::Full;
use thv_config::world::{Clock, World};
use thv_config::{Config, ConfigError, ConfigStore, Paths};
use thv_http::Http;
use thv_secrets::Secrets;
use tokio_util::sync::CancellationToken;

use crate::binding::{Binding, NoBinding};
use crate::credentials::{CredentialSource, Credentials};
use crate::doctor::{Diagnosis, Doctor, WhereToAsk};
use crate::limits::{GIVE_BACK_INTERVAL, LOOK_INTERVAL};
use crate::login::{
    LoginDone, LoginError, LoginHow, LoginView, LoginWatch, Logins, NotTaken, Replaced,
    StartedLogin,
};
use crate::logout::{LogoutReceipt, give_back_queued, logout};
use crate::oauth::{DiscoveryPolicy, KeyCache, discover};
use crate::refresh::{EngineParts, OAuthService, RefreshEngine, Unwatched};
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
    doctor: Doctor,
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
    /// The stored grant cannot be read or deleted.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

// === impl Auth ===

impl Auth {
    /// Logins that are configured in `config` and kept in the store that `secrets` opens.
    pub fn new(
        world: &World,
        paths: &Paths,
        config: &ConfigStore,
        secrets: Secrets,
        http: &Http,
    ) -> Arc<Self> {
        let source = ConfiguredStore::new(secrets.clone(), paths, config);
        let vault = Vault::new(Arc::new(source), Arc::clone(&world.clock));
        let doctor = Doctor::new(world, paths, config, secrets, http, vault.clone());
        let keys = KeyCache::new();
        let service = OAuthService::new(http.clone(), Arc::clone(&world.clock));
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
            doctor,
            credentials: Mutex::default(),
        })
    }

    /// For a program that stays: follows the store until `stop`, so that what other processes do shows within a second,
    /// and renews tokens before somebody has to wait for that.
    pub fn start(&self, stop: CancellationToken) {
        self.engine.renew_ahead(true);
        let engine = self.engine.clone();
        let clock = Arc::clone(&self.clock);
        let ending = stop.clone();
        tokio::spawn(async move {
            loop {
                if let Err(error) = give_back_queued(&engine).await {
                    tracing::debug!(%error, "the tokens to give back cannot be read");
                }
                tokio::select! {
                    () = ending.cancelled() => return,
                    () = clock.sleep(GIVE_BACK_INTERVAL) => {}
                }
            }
        });
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
        let (binding, how) = self.equip(how).await?;
        Ok(self.logins.login(&binding, how).await?)
    }

    /// Starts a login to the configured registry that nobody has to wait for, or joins one that is
    /// under way. It is known by its name from then on, and opens nothing by itself.
    pub async fn start_login(&self, how: LoginHow) -> Result<StartedLogin, AuthFailure> {
        let (binding, how) = self.equip(how).await?;
        Ok(self.logins.start(&binding, &how).await?)
    }

    /// The login of this name, running or ended a while ago.
    pub fn watch_login(&self, id: &str) -> Option<LoginWatch> {
        self.logins.watch(id)
    }

    /// Gives the login of this name the address that the identity provider sent a browser back to.
    pub fn hand_over(&self, id: &str, redirect: &str) -> Option<Result<(), NotTaken>> {
        self.logins.hand_over(id, redirect)
    }

    /// Ends the login of this name; its port is free when this returns.
    pub async fn withdraw_login(&self, id: &str) -> Option<LoginView> {
        self.logins.withdraw(id).await
    }

    /// The answer to a browser that comes back to the public address of this server; see
    /// [`PublicUrl`](crate::login::PublicUrl).
    pub fn receive_callback(&self, query: &str) -> Response<Full<Bytes>> {
        self.logins.receive(query)
    }

    /// The page to which that answer sends the browser on.
    pub async fn callback_result(&self, mark: &str) -> Response<Full<Bytes>> {
        self.logins.received(mark).await
    }

    /// What a login to the configured registry is for, and how it is made: the configuration's part
    /// of it, what ends it early, and what is to be known of it before anybody reads again.
    async fn equip(&self, how: LoginHow) -> Result<(Binding, LoginHow), AuthFailure> {
        let config = self.config.load_async().await?;
        let binding = Binding::of(&config)?;
        let oauth = config.auth.as_ref().and_then(|auth| auth.oauth.as_ref());
        let store = self.config.clone();
        let wanted = binding.clone();
        let credentials = self.of(&binding);
        let then = how.settle;
        let how = LoginHow {
            callback_port: how
                .callback_port
                .or_else(|| oauth.and_then(|oauth| oauth.callback_port)),
            still_wanted: Some(Arc::new(move || is_still(&store, &wanted))),
            replaced: Some(self.replaced(&binding)),
            settle: Some(Arc::new(move || {
                let credentials = Arc::clone(&credentials);
                let then = then.clone();
                async move {
                    credentials.look().await;
                    if let Some(then) = then {
                        then().await;
                    }
                }
                .boxed()
            })),
            ..how
        };
        Ok((binding, how))
    }

    /// Resolves when the configuration describes another login: whoever still waited for this one
    /// would log in for nothing, and its port is not free for the other. A configuration that
    /// cannot be read now says nothing.
    fn replaced(&self, binding: &Binding) -> Replaced {
        let config = self.config.clone();
        let clock = Arc::clone(&self.clock);
        let binding = binding.clone();
        Arc::new(move || {
            let (config, clock, binding) = (config.clone(), Arc::clone(&clock), binding.clone());
            async move {
                loop {
                    clock.sleep(LOOK_INTERVAL).await;
                    if let Ok(config) = config.load_async().await
                        && !Binding::of(&config).is_ok_and(|now| now == binding)
                    {
                        return;
                    }
                }
            }
            .boxed()
        })
    }

    /// Logs out of the configured registry. A login that is under way is ended first.
    pub async fn logout(&self) -> Result<LogoutReceipt, AuthFailure> {
        let binding = self.binding().await?;
        self.logins.cancel(&binding).await;
        let receipt = logout(&self.engine, &self.config, &binding).await?;
        self.of(&binding).look().await;
        Ok(receipt)
    }

    /// Gives back the tokens of earlier logouts whose provider could not be told of them, as far as that is due: for commands,
    /// which have no server to do it. What goes wrong is for the next time.
    pub async fn give_back_queued(&self) {
        if let Err(error) = give_back_queued(&self.engine).await {
            tracing::debug!(%error, "the tokens to give back cannot be read");
        }
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

    /// The same with what the registry says to the current token: one request to it, none to the provider.
    pub async fn live_report(&self, where_to_ask: WhereToAsk) -> Result<AuthReport, AuthFailure> {
        let report = self.report().await?;
        let live = Box::pin(self.doctor.ask_live(where_to_ask)).await?;
        Ok(report.with_live(live))
    }

    /// Looks into everything that a login and a read of the registry depend on, and changes none of it.
    pub async fn diagnose(&self, where_to_ask: WhereToAsk) -> Diagnosis {
        let is_logging_in = |binding: &Binding| self.logins.pending(binding).is_some();
        Box::pin(self.doctor.examine(where_to_ask, is_logging_in)).await
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
