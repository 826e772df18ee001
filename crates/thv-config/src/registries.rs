//! What this program alone knows of registries: `registries.json` beside the configuration.
//!
//! The Go program drops keys of `config.yaml` that it does not know, so that settings of ours have a
//! file of their own, one entry per registry name. Nothing secret is in it. What a credential means
//! is decided in the crate that uses it; here it is a JSON object, kept as it is.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::disk::{FileLock, ReadError, read_bounded, write_atomic};
use crate::error::ConfigError;
use crate::limits::{CONFIG_LOCK_WAIT, REGISTRIES_MAX_BYTES};
use crate::world::World;

/// The version of the file's layout that is read and written.
const VERSION: u64 = 1;

/// What is settled for one registry beside `config.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RegistrySettings {
    /// The registry's URL, letter by letter as `config.yaml` has it. The settings are for this URL
    /// and hold for no other that the name may come to stand for.
    pub url: String,
    /// The way to a credential that needs no person, and its settings. Nothing in it is secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Map<String, Value>>,
    /// Host and port that the first token of this credential came from, where its issuer's metadata named
    /// them: another one is not used before a person confirms it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_token_host: Option<String>,
    /// Names of the rules that are not applied to this registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relaxations: Vec<String>,
    /// Whether what the registry and its identity provider say of themselves has to fit at a login,
    /// but for those rules.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict_login: bool,
    /// Whether tokens are bound to a key: `required` or `off`; absent where it is left to the identity
    /// provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpop: Option<String>,
    /// Whether other tools may ask us for this registry's token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auth_helper: bool,
    /// What other versions of this program have put there.
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// The whole file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Document {
    version: u64,
    #[serde(default)]
    registries: Map<String, Value>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// The file at one path. Clones are the same store. Nothing is cached.
#[derive(Clone, Debug)]
pub struct RegistriesStore {
    path: PathBuf,
    world: World,
    /// Lets the threads of one process queue without polling the file lock.
    turn: Arc<Mutex<()>>,
}

// === impl RegistrySettings ===

impl RegistrySettings {
    /// Settings for the registry at `url` that say nothing yet.
    pub fn for_url(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ..Self::default()
        }
    }

    /// Whether these settings say nothing that the absence of settings does not say.
    fn is_idle(&self) -> bool {
        *self == Self::for_url(self.url.clone())
    }
}

// === impl RegistriesStore ===

impl RegistriesStore {
    /// The store for the file at `path`. Touches nothing yet.
    pub fn new(path: impl Into<PathBuf>, world: World) -> Self {
        Self {
            path: path.into(),
            world,
            turn: Arc::default(),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The settings of the registry `name`, whatever URL they are for. Blocks.
    pub fn load(&self, name: &str) -> Result<Option<RegistrySettings>, ConfigError> {
        let document = self.read()?;
        self.entry(&document, name)
    }

    /// The same, where they are for `url`. Blocks.
    pub fn load_for(&self, name: &str, url: &str) -> Result<Option<RegistrySettings>, ConfigError> {
        let found = self.load(name)?;
        Ok(found.filter(|settings| settings.url == url))
    }

    /// Changes the settings of the registry `name` in one transaction and returns what `change`
    /// returns. It sees those that are for `url`, or fresh ones: what was settled for another URL
    /// goes. When `change` fails or changes nothing, nothing is written. Blocks, for
    /// [`CONFIG_LOCK_WAIT`] at most while somebody else writes.
    pub fn update<T, E: From<ConfigError>>(
        &self,
        name: &str,
        url: &str,
        change: impl FnOnce(&mut RegistrySettings) -> Result<T, E>,
    ) -> Result<T, E> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let clock = self.world.clock.as_ref();
        let _lock = FileLock::acquire(&FileLock::beside(&self.path), clock, CONFIG_LOCK_WAIT)
            .map_err(ConfigError::from)?;
        let mut document = self.read()?;
        let before = self.entry(&document, name)?;
        let mut wanted = before
            .clone()
            .filter(|settings| settings.url == url)
            .unwrap_or_else(|| RegistrySettings::for_url(url));
        let outcome = change(&mut wanted)?;
        let wanted = Some(wanted).filter(|settings| !settings.is_idle());
        if wanted == before {
            return Ok(outcome);
        }
        match &wanted {
            Some(settings) => {
                let value =
                    serde_json::to_value(settings).map_err(|error| self.unwritable(&error))?;
                document.registries.insert(name.to_owned(), value);
            }
            None => drop(document.registries.remove(name)),
        }
        self.write(&document)?;
        Ok(outcome)
    }

    fn entry(
        &self,
        document: &Document,
        name: &str,
    ) -> Result<Option<RegistrySettings>, ConfigError> {
        let Some(entry) = document.registries.get(name) else {
            return Ok(None);
        };
        let settings = RegistrySettings::deserialize(entry)
            .map_err(|error| self.malformed(format!("its registry `{name}`: {error}")))?;
        Ok(Some(settings))
    }

    fn read(&self) -> Result<Document, ConfigError> {
        let unreadable = |cause: String| ConfigError::Unreadable {
            path: self.path.clone(),
            cause,
        };
        let bytes = match read_bounded(&self.path, REGISTRIES_MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(ReadError::NotFound) => {
                return Ok(Document {
                    version: VERSION,
                    registries: Map::new(),
                    others: Map::new(),
                });
            }
            Err(ReadError::TooLarge { limit }) => {
                return Err(ConfigError::TooLarge {
                    path: self.path.clone(),
                    limit,
                });
            }
            Err(ReadError::Io(error)) => return Err(unreadable(error.to_string())),
        };
        // It can name a program that we run.
        if is_writable_by_others(&self.path) {
            return Err(unreadable(
                "others than its owner can write it, so that it is not believed; type: chmod 600 and its path".to_owned(),
            ));
        }
        let document: Value =
            serde_json::from_slice(&bytes).map_err(|error| self.malformed(error.to_string()))?;
        match document.get("version").and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(version) if version > VERSION => {
                return Err(ConfigError::Newer {
                    path: self.path.clone(),
                });
            }
            _ => return Err(self.malformed(format!("its `version` is not {VERSION}"))),
        }
        serde_json::from_value(document).map_err(|error| self.malformed(error.to_string()))
    }

    fn write(&self, document: &Document) -> Result<(), ConfigError> {
        let mut bytes =
            serde_json::to_vec_pretty(document).map_err(|error| self.unwritable(&error))?;
        bytes.push(b'\n');
        write_atomic(&self.path, &bytes).map_err(|error| self.unwritable(&error))
    }

    fn malformed(&self, cause: String) -> ConfigError {
        ConfigError::Malformed {
            path: self.path.clone(),
            cause,
        }
    }

    fn unwritable(&self, error: &dyn std::error::Error) -> ConfigError {
        ConfigError::Unwritable {
            path: self.path.clone(),
            cause: error.to_string(),
        }
    }
}

#[cfg(unix)]
fn is_writable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o022 != 0)
}

#[cfg(not(unix))]
fn is_writable_by_others(_path: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::world::{ManualClock, MapEnv};

    const URL: &str = "https://registry.example";

    fn store(directory: &Path) -> RegistriesStore {
        let world = World::new(ManualClock::new(jiff::Timestamp::UNIX_EPOCH), MapEnv::new());
        RegistriesStore::new(directory.join("own").join("registries.json"), world)
    }

    fn file(store: &RegistriesStore) -> Value {
        serde_json::from_slice(&std::fs::read(store.path()).unwrap()).unwrap()
    }

    fn relax(store: &RegistriesStore, url: &str, rule: &str) -> Result<(), ConfigError> {
        store.update("default", url, |settings| {
            settings.relaxations.push(rule.to_owned());
            Ok(())
        })
    }

    #[test]
    fn without_a_file_nothing_is_settled_and_looking_makes_none() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        assert_eq!(store.load("default").unwrap(), None);
        store
            .update("default", URL, |_| Ok::<_, ConfigError>(()))
            .unwrap();
        assert!(!store.path().exists());
    }

    #[test]
    fn what_other_versions_wrote_survives_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        relax(&store, URL, "first").unwrap();
        let mut before = file(&store);
        before["later"] = json!([1]);
        before["registries"]["default"]["pins"] = json!({"a": 1});
        before["registries"]["other"] = json!({"url": "x", "new": true});
        write_atomic(store.path(), before.to_string().as_bytes()).unwrap();
        relax(&store, URL, "second").unwrap();
        before["registries"]["default"]["relaxations"] = json!(["first", "second"]);
        assert_eq!(file(&store), before);
    }

    #[test]
    fn settings_for_another_url_are_replaced_and_not_merged() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        relax(&store, URL, "first").unwrap();
        relax(&store, "https://other.example", "second").unwrap();
        let settings = store.load("default").unwrap().unwrap();
        assert_eq!(settings.url, "https://other.example");
        assert_eq!(settings.relaxations, ["second"]);
    }

    #[test]
    fn settings_that_say_nothing_any_more_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        relax(&store, URL, "first").unwrap();
        store
            .update("default", URL, |settings| {
                settings.relaxations.clear();
                Ok::<_, ConfigError>(())
            })
            .unwrap();
        assert_eq!(file(&store), json!({"version": 1, "registries": {}}));
    }

    #[test]
    fn case_89_a_newer_or_broken_file_is_refused_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        for (text, is_newer) in [
            (r#"{"version":2,"registries":[]}"#, true),
            (r#"{"registries":{}}"#, false),
            (r#"{"version":"1"}"#, false),
            (r#"{"version":1,"registries":{"default":{}}}"#, false),
            (
                r#"{"version":1,"registries":{"default":{"url":"u","credential":"token"}}}"#,
                false,
            ),
            ("{", false),
            ("", false),
        ] {
            write_atomic(store.path(), text.as_bytes()).unwrap();
            let error = relax(&store, URL, "rule").unwrap_err();
            assert_eq!(
                matches!(error, ConfigError::Newer { .. }),
                is_newer,
                "{text}: {error}"
            );
            assert_eq!(std::fs::read_to_string(store.path()).unwrap(), text);
        }
    }

    #[cfg(unix)]
    #[test]
    fn case_75_the_file_is_its_owners_alone_and_one_that_others_can_write_is_not_believed() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        relax(&store, URL, "first").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(store.path()), 0o600);
        assert_eq!(mode(store.path().parent().unwrap()), 0o700);
        std::fs::set_permissions(store.path(), std::fs::Permissions::from_mode(0o620)).unwrap();
        let error = store.load("default").unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn changes_at_the_same_time_all_arrive() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        std::thread::scope(|scope| {
            for number in 0..8 {
                let store = store.clone();
                scope.spawn(move || relax(&store, URL, &number.to_string()).unwrap());
            }
        });
        let mut rules = store.load("default").unwrap().unwrap().relaxations;
        rules.sort();
        assert_eq!(rules, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    }
}
