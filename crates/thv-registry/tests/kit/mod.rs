//! A registry read in process, with a clock and a home of its own.

#![allow(clippy::unwrap_used, reason = "this is a part of tests")]

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;
use thv_auth::NoGrants;
use thv_config::world::{ManualClock, MapEnv, World};
use thv_config::{
    Config, ConfigError, ConfigStore, OAuthSettings, Paths, RegistryAuth, RegistrySource,
};
use thv_registry::{Fault, Registries, Registry, Revalidation, Served};

const START: &str = "2027-02-01T00:00:00Z";

pub(crate) struct Reader {
    pub(crate) clock: ManualClock,
    pub(crate) registry: Arc<Registry>,
    home: Arc<TempDir>,
}

impl Reader {
    pub(crate) async fn of_api(url: &str, revalidation: Revalidation) -> Self {
        let home = Arc::new(tempfile::tempdir().unwrap());
        let source = RegistrySource::Api(url.to_owned());
        Self::open(home, START, revalidation, move |config| {
            config.source = source;
            config.allow_private_ip = true;
        })
        .await
    }

    /// A new process in the same home, at the same time.
    pub(crate) async fn restarted(&self, revalidation: Revalidation) -> Self {
        Self::open(Arc::clone(&self.home), START, revalidation, |_| ()).await
    }

    /// The same, after a login was configured.
    pub(crate) async fn restarted_with_login(
        &self,
        issuer: &str,
        client_id: &str,
        revalidation: Revalidation,
    ) -> Self {
        let auth = RegistryAuth {
            kind: "oauth".to_owned(),
            oauth: Some(OAuthSettings {
                issuer: issuer.to_owned(),
                client_id: client_id.to_owned(),
                audience: None,
                scopes: Vec::new(),
                callback_port: None,
                cached_refresh_token_ref: None,
                cached_token_expiry: None,
            }),
        };
        Self::open(Arc::clone(&self.home), START, revalidation, move |config| {
            config.auth = Some(auth);
        })
        .await
    }

    async fn open(
        home: Arc<TempDir>,
        start: &str,
        revalidation: Revalidation,
        prepare: impl FnOnce(&mut Config) + Send + 'static,
    ) -> Self {
        let start: Timestamp = start.parse().unwrap();
        let clock = ManualClock::new(start);
        let env = MapEnv::new().with_home(home.path());
        let paths = Paths::from_env(&env).unwrap();
        let world = World::new(clock.clone(), env);
        let config = ConfigStore::new(paths.config_file(), World::system());
        config
            .update(|config| {
                prepare(config);
                Ok::<_, ConfigError>(())
            })
            .unwrap();
        let registries = Registries::open(
            world,
            paths,
            config,
            "test".to_owned(),
            Arc::new(NoGrants),
            revalidation,
        )
        .await;
        Self {
            clock,
            registry: registries.get("default").unwrap(),
            home,
        }
    }

    pub(crate) async fn catalog(&self) -> Result<Served, Fault> {
        self.registry.catalog(Duration::from_hours(1)).await
    }

    /// Waits until the catalog is on disk.
    pub(crate) async fn kept(&self) {
        let file = self.registry.status().cache_file.unwrap();
        thv_testkit::wait::until_true("the catalog is on disk", || file.exists()).await;
    }
}
