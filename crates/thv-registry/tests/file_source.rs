//! Registries in a local file, followed while others write it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use thv_config::disk::write_atomic;
use thv_config::world::{ManualClock, MapEnv, World};
use thv_config::{ConfigStore, Paths};
use thv_registry::{Registries, Revalidation, SourceRequest};
use thv_testkit::fixture;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_mins(1);

/// A step of the clock that lets every look at the file happen.
const STEP: Duration = Duration::from_secs(1);

struct Scene {
    home: TempDir,
    clock: ManualClock,
    registries: Arc<Registries>,
    _stop: tokio_util::sync::DropGuard,
}

impl Scene {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let clock = ManualClock::new("2027-02-01T00:00:00Z".parse().unwrap());
        let env = MapEnv::new().with_home(home.path());
        let paths = Paths::from_env(&env).unwrap();
        let world = World::new(clock.clone(), env);
        let config = ConfigStore::new(paths.config_file(), World::system());
        let registries = Registries::open(
            world,
            paths,
            config,
            "test".to_owned(),
            Arc::new(thv_auth::NoGrants),
            Revalidation::Behind,
        )
        .await;
        let stop = CancellationToken::new();
        registries.start(stop.clone());
        Self {
            home,
            clock,
            registries,
            _stop: stop.drop_guard(),
        }
    }

    async fn name(&self) -> String {
        let registry = self.registries.get("default").unwrap();
        let served = registry.catalog(PATIENCE).await.unwrap();
        served.snapshot.entries()[0].name().to_owned()
    }
}

fn write(path: &Path, name: &str) {
    let document = fixture::registry_document([fixture::remote(name, "https://r.example")]);
    write_atomic(path, document.as_bytes()).unwrap();
}

#[tokio::test]
async fn a_change_right_behind_the_first_load_is_noticed() {
    let scene = Scene::new().await;
    let path = scene.home.path().join("registry.json");
    write(&path, "test.a/one");
    let request = SourceRequest::File {
        path: path.display().to_string(),
    };
    scene.registries.set(&request, None).await.unwrap();
    assert_eq!(scene.name().await, "test.a/one");

    // Before anybody has looked at the file since the load.
    write(&path, "test.a/two");
    thv_testkit::wait::until(
        "the change shows",
        thv_testkit::wait::PATIENCE,
        async || {
            scene.clock.advance(STEP);
            (scene.name().await == "test.a/two").then_some(())
        },
    )
    .await;
}
