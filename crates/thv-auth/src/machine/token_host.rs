//! The host that a configured credential's tokens come from, which does not change unnoticed: as with logins, another one ends the use of
//! the credential until a person confirms it, which describing the credential again does.
//!
//! The host that the first token came from is kept in the registry's settings, so that all processes know it. Where the settings
//! cannot be written, this process alone does. A token endpoint that the settings name outright is a person's word and needs none of this.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use thv_config::disk::{Fingerprint, fingerprint};
use thv_config::{ConfigError, RegistriesStore, RegistrySettings};
use url::Url;

use super::settings::CredentialSettings;
use crate::oauth::registration::host_of;
use crate::refresh::blocking;

/// The host of one registry's credential.
#[derive(Debug)]
pub(crate) struct TokenHost {
    entry: Entry,
    /// What could not be kept: this process alone knows it, for as long as the file is as it was then.
    seen: Mutex<Option<(String, Option<Fingerprint>)>>,
}

/// Where the host is kept: beside one credential, and no other that is described under the same name meanwhile.
#[derive(Clone, Debug)]
struct Entry {
    store: RegistriesStore,
    name: String,
    url: String,
    /// Tells the credential from others.
    digest: String,
}

/// Tokens are to come from somewhere else. `Display` is a clause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tokens came from `{before}` until now, and its issuer names `{now}`")]
pub(crate) struct HostChanged {
    /// Host and port of before.
    pub(crate) before: String,
    /// Host and port of now.
    pub(crate) now: String,
}

/// Why a host is not kept.
enum NotKept {
    /// The credential is not the one that is described now.
    OfAnother,
    Config(ConfigError),
}

impl From<ConfigError> for NotKept {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl TokenHost {
    /// For the credential of the registry `name` at `url`, as the configuration spells it; `digest` is that of its settings.
    pub(crate) fn new(store: RegistriesStore, name: &str, url: &str, digest: String) -> Self {
        Self {
            entry: Entry {
                store,
                name: name.to_owned(),
                url: url.to_owned(),
                digest,
            },
            seen: Mutex::default(),
        }
    }

    /// Whether tokens may be asked of `endpoint`. Keeps nothing: nothing has come from there yet.
    pub(crate) async fn check(&self, endpoint: &Url) -> Result<(), HostChanged> {
        match self.known().await {
            Some(before) => judge(&before, host_of(endpoint)),
            None => Ok(()),
        }
    }

    /// Keeps the host of `endpoint`, from which a token came, where it is the first one.
    pub(crate) async fn keep(&self, endpoint: &Url) {
        let host = host_of(endpoint);
        let (entry, first, file) = (self.entry.clone(), host.clone(), self.file());
        let (kept, mark) = blocking(move || (entry.keep(first), fingerprint(&file))).await;
        if let Err(NotKept::Config(error)) = &kept {
            tracing::debug!(%error, "the host of tokens is known to this process alone");
        }
        let mut seen = self.lock();
        match kept {
            Err(NotKept::OfAnother) => *seen = None,
            Err(NotKept::Config(_)) => *seen = Some((host, mark)),
            Ok(()) => drop(seen.get_or_insert((host, mark))),
        }
    }

    /// The host that the first token came from, as far as it is known.
    pub(crate) async fn known(&self) -> Option<String> {
        let (entry, file) = (self.entry.clone(), self.file());
        let (kept, mark) = blocking(move || (entry.kept(), fingerprint(&file))).await;
        let mut seen = self.lock();
        match kept {
            Ok(Some(host)) => *seen = Some((host, mark)),
            // Whoever changed the file since may have confirmed another host.
            Ok(None) if seen.as_ref().is_some_and(|(_, before)| *before != mark) => *seen = None,
            // A file that cannot be read now confirms nothing.
            Ok(None) | Err(_) => {}
        }
        seen.as_ref().map(|(host, _)| host.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<(String, Option<Fingerprint>)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file whose change may confirm another host.
    pub(crate) fn file(&self) -> PathBuf {
        self.entry.store.path().to_owned()
    }
}

impl Entry {
    /// Whether `settings` still describe the credential. Another one may have been described while a token was fetched for this one.
    fn is_of(&self, settings: &RegistrySettings) -> bool {
        settings
            .credential
            .as_ref()
            .and_then(|credential| CredentialSettings::read(credential).ok())
            .is_some_and(|credential| credential.digest() == self.digest)
    }

    /// The host in the settings. Blocks.
    fn kept(&self) -> Result<Option<String>, ConfigError> {
        let found = self.store.load_for(&self.name, &self.url)?;
        let found = found.filter(|settings| self.is_of(settings));
        Ok(found.and_then(|settings| settings.credential_token_host))
    }

    /// Writes `first` where there is no host yet. Blocks.
    fn keep(&self, first: String) -> Result<(), NotKept> {
        if self.kept()?.is_some() {
            return Ok(());
        }
        self.store.update(&self.name, &self.url, |settings| {
            // To end well would write the fresh settings that these are then over those of another URL.
            if !self.is_of(settings) {
                return Err(NotKept::OfAnother);
            }
            settings.credential_token_host.get_or_insert(first);
            Ok(())
        })
    }
}

/// Whether tokens may come from `now`.
pub(crate) fn judge(before: &str, now: String) -> Result<(), HostChanged> {
    if before == now {
        return Ok(());
    }
    Err(HostChanged {
        before: before.to_owned(),
        now,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use thv_config::world::{MapEnv, SystemClock, World};

    use super::*;

    const NAME: &str = "default";
    const URL: &str = "https://registry.example";

    fn store(directory: &tempfile::TempDir) -> RegistriesStore {
        let world = World {
            clock: Arc::new(SystemClock::new()),
            env: Arc::new(MapEnv::new()),
        };
        RegistriesStore::new(directory.path().join("registries.json"), world)
    }

    fn credential(issuer: &str) -> CredentialSettings {
        let value = json!({"type": "client_credentials", "client_id": "ci", "server": {"issuer": issuer},
            "authentication": {"method": "client_secret", "secret": "store"}});
        CredentialSettings::read(value.as_object().expect("an object")).expect("settings")
    }

    fn describe(store: &RegistriesStore, url: &str, credential: &CredentialSettings) {
        let described = store.update(NAME, url, |settings| {
            settings.credential = Some(credential.write().expect("settings"));
            settings.credential_token_host = None;
            Ok::<_, ConfigError>(())
        });
        described.expect("a file");
    }

    fn endpoint(host: &str) -> Url {
        Url::parse(&format!("https://{host}/token")).expect("a url")
    }

    #[tokio::test]
    async fn the_first_host_is_kept_for_all_until_the_credential_is_described_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let (store, ours) = (store(&directory), credential("https://id.example"));
        describe(&store, URL, &ours);
        let host = || TokenHost::new(store.clone(), NAME, URL, ours.digest());
        let first = host();
        for asked in ["id.other", "id.example"] {
            assert_eq!(first.check(&endpoint(asked)).await, Ok(()), "none is kept");
        }
        first.keep(&endpoint("id.example")).await;
        first.keep(&endpoint("id.other")).await;
        let moved = HostChanged {
            before: "id.example:443".to_owned(),
            now: "id.other:443".to_owned(),
        };
        for known in [&first, &host()] {
            let found = known.check(&endpoint("id.other")).await;
            assert_eq!(found, Err(moved.clone()));
            let found = known.check(&endpoint("id.example:8443")).await;
            assert!(found.is_err(), "another port is another host");
            assert_eq!(known.check(&endpoint("id.example")).await, Ok(()));
        }
        // A file that cannot be read confirms nothing.
        let before = std::fs::read(store.path()).expect("a file");
        thv_config::disk::write_atomic(store.path(), b"{").expect("a file");
        let found = first.check(&endpoint("id.other")).await;
        assert_eq!(found, Err(moved));
        thv_config::disk::write_atomic(store.path(), &before).expect("a file");
        describe(&store, URL, &ours);
        assert_eq!(first.check(&endpoint("id.other")).await, Ok(()));
    }

    #[tokio::test]
    async fn case_121_a_late_token_changes_nothing_of_a_credential_that_was_described_meanwhile() {
        let directory = tempfile::tempdir().expect("a directory");
        let (store, ours) = (store(&directory), credential("https://id.example"));
        let late = TokenHost::new(store.clone(), NAME, URL, ours.digest());
        let other = credential("https://id.other");
        for (url, described) in [
            ("https://registry.other", &ours),
            ("https://registry.other", &other),
            (URL, &other),
        ] {
            describe(&store, url, described);
            let before = store.load(NAME).expect("a file");
            late.keep(&endpoint("id.example")).await;
            assert_eq!(store.load(NAME).expect("a file"), before);
            assert!(before.is_some_and(|settings| settings.credential_token_host.is_none()));
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_host_that_cannot_be_kept_is_known_to_this_process_until_the_file_changes() {
        let directory = tempfile::tempdir().expect("a directory");
        let (store, ours) = (store(&directory), credential("https://id.example"));
        describe(&store, URL, &ours);
        let host = TokenHost::new(store.clone(), NAME, URL, ours.digest());
        // The lock's file cannot be opened: this holds for root as well.
        let lock = thv_config::disk::FileLock::beside(store.path());
        let _ = std::fs::remove_file(&lock);
        std::fs::create_dir(&lock).expect("a directory");
        host.keep(&endpoint("id.example")).await;
        assert!(host.check(&endpoint("id.other")).await.is_err());
        assert_eq!(host.check(&endpoint("id.example")).await, Ok(()));
        let known = host.known().await;
        assert_eq!(known.as_deref(), Some("id.example:443"), "for the doctor");
        std::fs::remove_dir(&lock).expect("a directory");
        let changed = store.update(NAME, URL, |settings| {
            settings.auth_helper = true;
            Ok::<_, ConfigError>(())
        });
        changed.expect("a file");
        assert_eq!(host.check(&endpoint("id.other")).await, Ok(()));
    }
}
