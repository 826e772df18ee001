//! Following the configuration file while others change it.
//!
//! The file's fingerprint is polled (a notification service would miss network file systems and
//! replaced directories) and every new configuration is published. A file that is broken for a while
//! changes nothing: the last good configuration stays.

use std::sync::Arc;

use tokio::sync::watch;

use crate::disk::{Fingerprint, fingerprint};
use crate::error::ConfigError;
use crate::limits::WATCH_POLL;
use crate::model::Config;
use crate::store::ConfigStore;

/// Publishes the configuration whenever it has changed on disk.
#[derive(Debug)]
pub struct ConfigWatch {
    store: ConfigStore,
    published: watch::Sender<Arc<Config>>,
    seen: Option<Fingerprint>,
    missing: bool,
    broken: bool,
}

impl ConfigWatch {
    /// Loads the configuration once and returns it as the receiver's first value. Nothing is
    /// followed until [`ConfigWatch::run`] runs.
    pub async fn start(
        store: ConfigStore,
    ) -> Result<(Self, watch::Receiver<Arc<Config>>), ConfigError> {
        // Looked at before it is read: a change in between is noticed by the first poll.
        let seen = look(&store).await;
        let config = store.load_async().await?;
        let (published, receiver) = watch::channel(Arc::new(config));
        let watch = Self {
            store,
            published,
            seen,
            missing: false,
            broken: false,
        };
        Ok((watch, receiver))
    }

    /// Looks every [`WATCH_POLL`] until `stop` resolves. Receivers keep the last value after that.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let clock = Arc::clone(&self.store.world().clock);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                () = clock.sleep(WATCH_POLL) => self.poll().await,
            }
        }
    }

    /// One look at the file.
    async fn poll(&mut self) {
        let seen = look(&self.store).await;
        // An editor may remove a file before it puts the new one there: believe the second look.
        let just_gone = seen.is_none() && !self.missing;
        self.missing = seen.is_none();
        if seen == self.seen || just_gone {
            return;
        }
        self.seen = seen;
        match self.store.load_async().await {
            Ok(config) => self.publish(config),
            Err(ConfigError::Stopping) => {}
            Err(error) => self.complain(&error),
        }
    }

    fn publish(&mut self, config: Config) {
        if std::mem::take(&mut self.broken) {
            tracing::info!("the configuration file can be read again");
        }
        self.published.send_if_modified(|current| {
            let changed = **current != config;
            if changed {
                *current = Arc::new(config);
            }
            changed
        });
    }

    fn complain(&mut self, error: &ConfigError) {
        if !std::mem::replace(&mut self.broken, true) {
            tracing::warn!(%error, "the configuration file cannot be used; the last good one stays in force");
        }
    }
}

async fn look(store: &ConfigStore) -> Option<Fingerprint> {
    let path = store.path().to_owned();
    tokio::task::spawn_blocking(move || fingerprint(&path))
        .await
        .ok()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::write_atomic;
    use crate::model::RegistrySource;
    use crate::world::{ManualClock, MapEnv, World};

    struct Scene {
        _directory: tempfile::TempDir,
        clock: ManualClock,
        store: ConfigStore,
    }

    fn scene(text: &str) -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        write_atomic(&path, text.as_bytes()).unwrap();
        let clock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let world = World::new(clock.clone(), MapEnv::new());
        Scene {
            _directory: directory,
            clock,
            store: ConfigStore::new(path, world),
        }
    }

    impl Scene {
        fn write(&self, text: &str) {
            write_atomic(self.store.path(), text.as_bytes()).unwrap();
        }
    }

    fn url(text: &str) -> RegistrySource {
        RegistrySource::Url(text.to_owned())
    }

    #[tokio::test]
    async fn a_change_on_disk_is_published_at_the_next_look() {
        let scene = scene("registry_url: https://a\n");
        let (watch, mut receiver) = ConfigWatch::start(scene.store.clone()).await.unwrap();
        assert_eq!(receiver.borrow_and_update().source, url("https://a"));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(watch.run(async {
            let _ = stopped.await;
        }));
        scene.clock.asleep(1).await;
        scene.write("registry_url: https://another\n");
        scene.clock.advance(WATCH_POLL);
        receiver.changed().await.unwrap();
        assert_eq!(receiver.borrow_and_update().source, url("https://another"));
        stop.send(()).unwrap();
        running.await.unwrap();
        assert_eq!(receiver.borrow().source, url("https://another"));
    }

    #[tokio::test]
    async fn a_change_that_concerns_none_of_our_keys_is_not_published() {
        let scene = scene("registry_url: https://a\n");
        let (mut watch, receiver) = ConfigWatch::start(scene.store.clone()).await.unwrap();
        scene.write("registry_url: https://a\nother: 1\n");
        watch.poll().await;
        assert!(!receiver.has_changed().unwrap());
    }

    #[tokio::test]
    async fn w41_a_file_that_breaks_while_running_keeps_the_last_good_configuration() {
        let scene = scene("registry_url: https://a\n");
        let (mut watch, mut receiver) = ConfigWatch::start(scene.store.clone()).await.unwrap();
        scene.write("registry_url: [\n");
        watch.poll().await;
        watch.poll().await;
        assert!(!receiver.has_changed().unwrap());
        assert_eq!(receiver.borrow().source, url("https://a"));
        scene.write("registry_url: https://repaired\n");
        watch.poll().await;
        assert_eq!(receiver.borrow_and_update().source, url("https://repaired"));
    }

    #[tokio::test]
    async fn a_removed_file_means_the_defaults_at_the_second_look() {
        let scene = scene("registry_url: https://a\n");
        let (mut watch, receiver) = ConfigWatch::start(scene.store.clone()).await.unwrap();
        std::fs::remove_file(scene.store.path()).unwrap();
        watch.poll().await;
        assert_eq!(receiver.borrow().source, url("https://a"));
        watch.poll().await;
        assert_eq!(receiver.borrow().source, RegistrySource::BuiltIn);
    }
}
