//! A registry with a home, a clock and an upstream of its own, for measurements.
//!
//! Everything goes through the crate's public door: the upstream is the testkit's fake registry on loopback, and the
//! catalog comes in the way a user's does. Nothing is measured here.

#![allow(
    dead_code,
    reason = "each bench is a crate of its own and uses a part of the kit"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;
use thv_config::world::{ManualClock, MapEnv, World};
use thv_config::{ConfigError, ConfigStore, Paths, RegistrySource};
use thv_registry::{DEFAULT_REGISTRY, Registries, Registry, Revalidation, Snapshot};
use thv_testkit::generate;
use thv_testkit::registry::FakeRegistry;
use tokio::runtime::Runtime;

/// Later than everything that the generator publishes, so that changes made by a bench are new.
const START: &str = "2027-02-01T00:00:00Z";

/// Longer than any load here takes; the manual clock never gets there by itself.
const PATIENCE: Duration = Duration::from_hours(100 * 24);

/// A registry as one process reads it.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) clock: ManualClock,
    pub(crate) registry: Arc<Registry>,
    home: TempDir,
}

impl Reader {
    /// Reads `source` in a new home. Nothing is loaded yet.
    pub(crate) async fn open(source: RegistrySource) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let start: Timestamp = START.parse().expect("a time");
        let clock = ManualClock::new(start);
        let env = MapEnv::new().with_home(home.path());
        let paths = Paths::from_env(&env).expect("paths below the home");
        let config = ConfigStore::new(paths.config_file(), World::system());
        config
            .update(move |config| {
                config.source = source;
                config.allow_private_ip = true;
                Ok::<_, ConfigError>(())
            })
            .expect("a configuration");
        let world = World::new(clock.clone(), env);
        let registries = Registries::open(
            world,
            paths,
            config,
            "bench".to_owned(),
            Arc::new(thv_auth::NoGrants),
            Revalidation::Before,
        )
        .await;
        let registry = registries.get(DEFAULT_REGISTRY).expect("a registry");
        Self {
            clock,
            registry,
            home,
        }
    }

    /// The catalog as a reader gets it now.
    pub(crate) async fn catalog(&self) -> Arc<Snapshot> {
        let served = self.registry.catalog(PATIENCE).await.expect("a catalog");
        served.snapshot
    }

    /// Where the catalog is kept between runs.
    pub(crate) fn cache_file(&self) -> PathBuf {
        let status = self.registry.status();
        status.cache_file.expect("a source that is cached")
    }
}

/// Whether this run measures. Under `cargo test` the benches only prove that they work, on small catalogs.
pub(crate) fn measures() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// How many bytes a file has; none when it is not there.
pub(crate) fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// A registry of `servers` generated servers with some skills and plugins.
pub(crate) async fn upstream(servers: usize) -> FakeRegistry {
    let upstream = FakeRegistry::with_servers(servers).await;
    upstream.set_extensions(generate::skills(20, 1), generate::plugins(20, 1));
    upstream
}

/// A catalog of `servers` generated servers, read from an API.
pub(crate) fn catalog(servers: usize) -> Arc<Snapshot> {
    runtime().block_on(async {
        let upstream = upstream(servers).await;
        let reader = Reader::open(RegistrySource::Api(upstream.url())).await;
        reader.catalog().await
    })
}

/// The cache file of a catalog of `servers` generated servers.
pub(crate) fn cache_file(servers: usize) -> Vec<u8> {
    runtime().block_on(async {
        let upstream = upstream(servers).await;
        let reader = Reader::open(RegistrySource::Api(upstream.url())).await;
        reader.catalog().await;
        let file = reader.cache_file();
        thv_testkit::wait::until_true("the catalog is on disk", || file.exists()).await;
        std::fs::read(file).expect("a readable file")
    })
}

/// A runtime as the program has it.
pub(crate) fn runtime() -> Runtime {
    Runtime::new().expect("a runtime")
}
