//! The host that a configured credential's tokens come from, which does not change unnoticed: as with logins, another one ends the use of
//! the credential until a person confirms it, which describing the credential again does.
//!
//! The first host that the issuer's metadata name is kept in the registry's settings, so that all processes know it. Where the settings
//! cannot be written, this process alone does. A token endpoint that the settings name outright is a person's word and needs none of this.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use thv_config::{ConfigError, RegistriesStore};
use url::Url;

use crate::oauth::registration::host_of;
use crate::refresh::blocking;

/// The host of one registry's credential.
#[derive(Debug)]
pub(crate) struct TokenHost {
    store: RegistriesStore,
    name: String,
    url: String,
    /// What this process has seen first.
    seen: Mutex<Option<String>>,
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

impl TokenHost {
    /// For the credential of the registry `name` at `url`, as the configuration spells it.
    pub(crate) fn new(store: RegistriesStore, name: &str, url: &str) -> Self {
        Self {
            store,
            name: name.to_owned(),
            url: url.to_owned(),
            seen: Mutex::default(),
        }
    }

    /// Whether tokens may be asked of `endpoint`. The first one that is asked about is kept.
    pub(crate) async fn check(&self, endpoint: &Url) -> Result<(), HostChanged> {
        let now = host_of(endpoint);
        let (store, name, url) = (self.store.clone(), self.name.clone(), self.url.clone());
        let first = now.clone();
        let kept = blocking(move || kept(&store, &name, &url, &first)).await;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match kept {
            Ok(kept) => seen.insert(kept).clone(),
            Err(error) => {
                tracing::debug!(%error, "the host of tokens is known to this process alone");
                seen.get_or_insert_with(|| now.clone()).clone()
            }
        };
        judge(&before, now)
    }

    /// The file whose change may confirm another host.
    pub(crate) fn file(&self) -> PathBuf {
        self.store.path().to_owned()
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

/// The host in the settings, which is `first` where there was none. Blocks.
fn kept(
    store: &RegistriesStore,
    name: &str,
    url: &str,
    first: &str,
) -> Result<String, ConfigError> {
    let found = store.load_for(name, url)?;
    if let Some(host) = found.and_then(|settings| settings.credential_token_host) {
        return Ok(host);
    }
    store.update(name, url, |settings| {
        // Without a credential there is nothing to keep it for: it was removed meanwhile.
        if settings.credential.is_none() {
            return Ok(first.to_owned());
        }
        let host = settings
            .credential_token_host
            .get_or_insert(first.to_owned());
        Ok(host.clone())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use thv_config::world::{MapEnv, SystemClock, World};

    use super::*;

    #[tokio::test]
    async fn the_first_host_is_kept_for_all_until_the_credential_is_described_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let world = World {
            clock: Arc::new(SystemClock::new()),
            env: Arc::new(MapEnv::new()),
        };
        let file = directory.path().join("registries.json");
        let store = RegistriesStore::new(&file, world);
        let (name, url) = ("default", "https://registry.example");
        let set = |host: Option<&str>| {
            store.update(name, url, |settings| {
                settings.credential = Some(serde_json::Map::new());
                settings.credential_token_host = host.map(str::to_owned);
                Ok::<_, ConfigError>(())
            })
        };
        set(None).expect("settings");
        let endpoint = |host: &str| Url::parse(&format!("https://{host}/token")).expect("a url");
        let host = || TokenHost::new(store.clone(), name, url);
        let first = host();
        assert_eq!(first.check(&endpoint("id.example")).await, Ok(()));
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
        set(None).expect("settings");
        assert_eq!(first.check(&endpoint("id.other")).await, Ok(()));
    }
}
