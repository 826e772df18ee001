//! The registries of this machine, as the configuration has them now.
//!
//! There is one today, `default`. A change of the configuration, whoever makes it, replaces the
//! registry by a new one; what the old one had is not carried over.

use std::sync::Arc;

use arc_swap::ArcSwap;
use thv_auth::CredentialSource;
use thv_auth::binding::Binding;
use thv_config::disk;
use thv_config::world::World;
use thv_config::{Config, ConfigStore, ConfigWatch, Paths};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cache::sweep;
use crate::change::{self, ChangeError, LoginRequest, SourceRequest};
use crate::limits::{FILE_POLL, LOGIN_POLL};
use crate::registry::{Registry, Standing};
use crate::settings::Settings;
use crate::source::SourceKind;
use crate::source::outbound::Outbound;
use crate::state::Revalidation;

/// The name of the registry that `config.yaml` describes.
pub const DEFAULT_REGISTRY: &str = "default";

/// The registries of this machine, as the configuration has them now.
#[derive(Debug)]
pub struct Registries {
    world: World,
    paths: Paths,
    config: ConfigStore,
    user_agent: String,
    logins: Arc<dyn CredentialSource>,
    revalidation: Revalidation,
    current: ArcSwap<Registry>,
    /// Changes come one after the other.
    turn: Mutex<()>,
}

// === impl Registries ===

impl Registries {
    /// The registries that the configuration describes. Nothing is loaded yet. A configuration
    /// that cannot be read is no error here: its registry says so when it is asked.
    pub async fn open(
        world: World,
        paths: Paths,
        config: ConfigStore,
        user_agent: String,
        logins: Arc<dyn CredentialSource>,
        revalidation: Revalidation,
    ) -> Arc<Self> {
        let settings = match config.load_async().await {
            Ok(config) => Settings::of(&config),
            Err(error) => {
                warn!(%error, "configuration not read");
                Settings::unreadable(error.to_string())
            }
        };
        let outbound = Outbound::new(world.clone(), user_agent.clone(), settings.extra_ca.clone());
        let registry = Registry::new(
            DEFAULT_REGISTRY,
            settings,
            logins.as_ref(),
            world.clone(),
            outbound,
            &paths.catalog_cache_dir(),
            revalidation,
        );
        Arc::new(Self {
            world,
            paths,
            config,
            user_agent,
            logins,
            revalidation,
            current: ArcSwap::new(registry),
            turn: Mutex::new(()),
        })
    }

    /// Names of the registries.
    pub fn names(&self) -> Vec<String> {
        vec![DEFAULT_REGISTRY.to_owned()]
    }

    /// The registry of this name.
    pub fn get(&self, name: &str) -> Option<Arc<Registry>> {
        (name == DEFAULT_REGISTRY).then(|| self.of_reader())
    }

    /// The current registry, for who is logged in now: one that was read for somebody else is left behind.
    fn of_reader(&self) -> Arc<Registry> {
        let current = self.current.load_full();
        if !current.is_anothers() {
            return current;
        }
        let outbound = Arc::clone(current.outbound());
        let registry = self.registry(current.settings().clone(), outbound);
        let before = self
            .current
            .compare_and_swap(&current, Arc::clone(&registry));
        if !Arc::ptr_eq(&before, &current) {
            return self.current.load_full();
        }
        if self.revalidation == Revalidation::Behind {
            registry.start();
        }
        registry
    }

    /// Sets the source of `default`, and the login that goes with it: checks both against the
    /// source and the issuer themselves, writes the configuration in one step, and begins to
    /// load. Without `login` the login settings are cleared: they belonged to the source before.
    ///
    /// # Errors
    /// Says why nothing was changed.
    pub async fn set(
        &self,
        request: &SourceRequest,
        login: Option<&LoginRequest>,
    ) -> Result<SourceKind, ChangeError> {
        let _turn = self.turn.lock().await;
        let outbound = Arc::clone(self.current.load().outbound());
        let change = change::check(request, &outbound, self.world.env.as_ref()).await?;
        if let Some(login) = login {
            let config = self.config.load_async().await?;
            let after = change::applied(&config, &change, Some(login))?;
            self.check_login(&after).await?;
        }
        let kind = change.kind;
        let login = login.cloned();
        let config = self
            .config
            .update_async(move |config: &mut Config| {
                *config = change::applied(config, &change, login.as_ref())?;
                Ok::<_, ChangeError>(config.clone())
            })
            .await?;
        self.apply(&config);
        Ok(kind)
    }

    async fn check_login(&self, config: &Config) -> Result<(), ChangeError> {
        let refused = |cause: String| ChangeError::Login { cause };
        let binding = Binding::of(config).map_err(|error| refused(error.to_string()))?;
        self.logins.check(&binding).await.map_err(refused)
    }

    /// Takes over a configuration; does nothing when it describes the registry there is.
    fn apply(&self, config: &Config) {
        let settings = Settings::of(config);
        let before = self.current.load();
        if *before.settings() == settings {
            return;
        }
        let outbound = if before.outbound().extra_ca() == settings.extra_ca.as_ref() {
            Arc::clone(before.outbound())
        } else {
            Outbound::new(
                self.world.clone(),
                self.user_agent.clone(),
                settings.extra_ca.clone(),
            )
        };
        let registry = self.replace(settings, outbound);
        let info = registry.info();
        info!(kind = info.kind.as_str(), source = %info.source, "registry changed");
    }

    fn registry(&self, settings: Settings, outbound: Arc<Outbound>) -> Arc<Registry> {
        Registry::new(
            DEFAULT_REGISTRY,
            settings,
            self.logins.as_ref(),
            self.world.clone(),
            outbound,
            &self.paths.catalog_cache_dir(),
            self.revalidation,
        )
    }

    /// Puts a new registry in the place of the one there is.
    fn replace(&self, settings: Settings, outbound: Arc<Outbound>) -> Arc<Registry> {
        let registry = self.registry(settings, outbound);
        self.current.store(Arc::clone(&registry));
        if self.revalidation == Revalidation::Behind {
            registry.start();
        }
        registry
    }

    /// Follows what the registry's credential says of itself: a login or a logout in another
    /// process shows within a second, and what one identity was shown is not kept for another.
    async fn watch_login(&self) {
        let mut seen: Option<(Arc<Registry>, Standing)> = None;
        loop {
            let registry = self.current.load_full();
            let standing = registry.standing();
            let before = seen
                .take()
                .filter(|(before, _)| Arc::ptr_eq(before, &registry))
                .map(|(_, standing)| standing);
            seen = Some(match before.filter(|before| *before != standing) {
                Some(before) => {
                    let registry = self.react(registry, &before, &standing).await;
                    let standing = registry.standing();
                    (registry, standing)
                }
                None => (registry, standing),
            });
            self.world.clock.sleep(LOGIN_POLL).await;
        }
    }

    async fn react(
        &self,
        registry: Arc<Registry>,
        before: &Standing,
        now: &Standing,
    ) -> Arc<Registry> {
        if let Some(reason) = now.login_needed {
            if before.login_needed.is_none() {
                registry.withdraw(reason).await;
            }
            return registry;
        }
        if before.identity == now.identity {
            registry.reload();
            return registry;
        }
        let _turn = self.turn.lock().await;
        if !Arc::ptr_eq(&self.current.load(), &registry) {
            return registry;
        }
        let outbound = Arc::clone(registry.outbound());
        self.replace(registry.settings().clone(), outbound)
    }

    /// Begins to load, and watches the configuration and the source's file until `stop`: what
    /// another process changes shows within a second.
    pub fn start(self: &Arc<Self>, stop: CancellationToken) {
        self.current.load().start();
        let registries = Arc::clone(self);
        let ended = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = registries.watch_config() => {}
                () = ended.cancelled() => {}
            }
        });
        let registries = Arc::clone(self);
        let ended = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = registries.watch_login() => {}
                () = ended.cancelled() => {}
            }
        });
        let registries = Arc::clone(self);
        tokio::spawn(async move {
            registries.sweep().await;
            tokio::select! {
                () = registries.watch_file() => {}
                () = stop.cancelled() => {}
            }
        });
    }

    async fn sweep(&self) {
        let directory = self.paths.catalog_cache_dir();
        let now = self.world.clock.now();
        // A panic in there is reported by the runtime; old files stay until the next start.
        let _ = tokio::task::spawn_blocking(move || sweep(&directory, now)).await;
    }

    async fn watch_config(&self) {
        loop {
            if let Ok((watch, configs)) = ConfigWatch::start(self.config.clone()).await {
                tokio::select! {
                    () = watch.run(std::future::pending()) => {}
                    () = self.follow(configs) => {}
                }
                return;
            }
            // The file was unreadable at the start; it may be mended.
            self.world.clock.sleep(FILE_POLL).await;
        }
    }

    /// Takes over the configuration of now: what somebody else has just written need not be waited for.
    pub async fn look(&self) {
        let _turn = self.turn.lock().await;
        if let Ok(config) = self.config.load_async().await {
            self.apply(&config);
        }
    }

    async fn follow(&self, mut configs: watch::Receiver<Arc<Config>>) {
        loop {
            configs.mark_unchanged();
            // What was published may be older than what `set` has written meanwhile.
            self.look().await;
            if configs.changed().await.is_err() {
                return;
            }
        }
    }

    async fn watch_file(&self) {
        loop {
            let registry = self.current.load_full();
            if let Some(path) = registry.local_file().map(std::path::Path::to_owned) {
                let look = tokio::task::spawn_blocking(move || disk::fingerprint(&path));
                // A load that is under way may have read the old file; the next look sees that.
                if let Ok(now) = look.await
                    && registry.is_outdated(now)
                {
                    registry.reload();
                }
            }
            drop(registry);
            self.world.clock.sleep(FILE_POLL).await;
        }
    }
}
