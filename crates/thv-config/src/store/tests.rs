//! The store against a real directory: what readers see, and what is on disk afterwards.
#![expect(
    clippy::disallowed_methods,
    reason = "these tests play the Go program, which truncates and rewrites files in place"
)]

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use jiff::Timestamp;

use super::*;
use crate::disk::fingerprint;
use crate::hook::HookClock;
use crate::model::{OAuthSettings, RegistryAuth, RegistrySource};
use crate::world::{ManualClock, MapEnv};

/// A directory with a store for `toolhive/config.yaml` in it.
struct Home {
    directory: tempfile::TempDir,
    store: ConfigStore,
}

fn still_world() -> World {
    World::new(ManualClock::new(Timestamp::UNIX_EPOCH), MapEnv::new())
}

impl Home {
    fn new() -> Self {
        Self::in_world(still_world())
    }

    fn in_world(world: World) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("toolhive").join("config.yaml");
        Self {
            directory,
            store: ConfigStore::new(path, world),
        }
    }

    fn with(text: &str) -> Self {
        let home = Self::new();
        home.write(text);
        home
    }

    /// Writes as the Go program does.
    fn write(&self, text: impl AsRef<[u8]>) {
        fs::create_dir_all(self.store.path().parent().unwrap()).unwrap();
        fs::write(self.store.path(), text).unwrap();
    }

    fn text(&self) -> String {
        fs::read_to_string(self.store.path()).unwrap()
    }

    fn set(&self, source: RegistrySource) -> Result<(), ConfigError> {
        self.store.update(|config| {
            config.source = source;
            Ok(())
        })
    }
}

fn api(number: usize) -> RegistrySource {
    RegistrySource::Api(format!("https://registry-{number}.example.com"))
}

// === Readers and writers

#[test]
fn w41_readers_never_see_defaults_during_a_thousand_updates() {
    let home = Home::new();
    home.set(api(0)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut readings = 0;
            while !done.load(Ordering::Relaxed) || readings == 0 {
                let config = home.store.load().unwrap();
                assert!(
                    matches!(config.source, RegistrySource::Api(_)),
                    "{config:?}"
                );
                // Nor does anybody else who opens the file, without our patience for half of one.
                let text = home.text();
                assert!(
                    text.contains("\nregistry_api_url: https://registry-"),
                    "{text:?}"
                );
                assert!(
                    text.ends_with("\nallow_private_registry_ip: false\n"),
                    "{text:?}"
                );
                readings += 1;
            }
        });
        for number in 1..=1000 {
            home.set(api(number)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert_eq!(home.store.load().unwrap().source, api(1000));
}

#[test]
fn two_stores_that_change_the_same_file_lose_no_update() {
    let home = Home::with("registry_auth:\n    type: oauth\n");
    let count = |config: &Config| {
        let oauth = config.auth.clone().unwrap().oauth.unwrap_or_default();
        oauth.client_id.parse::<usize>().unwrap_or_default()
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            // A store of its own, as another process has it: only the file lock is between them.
            let store = ConfigStore::new(home.store.path(), still_world());
            scope.spawn(move || {
                let mut left = 50;
                while left > 0 {
                    let outcome = store.update(|config| {
                        let next = count(config) + 1;
                        let auth = config.auth.as_mut().unwrap();
                        auth.oauth.get_or_insert_default().client_id = next.to_string();
                        Ok::<_, ConfigError>(())
                    });
                    match outcome {
                        Ok(()) => left -= 1,
                        Err(ConfigError::Locked { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(count(&home.store.load().unwrap()), 100);
}

#[test]
fn a_lock_held_elsewhere_is_an_error_after_a_second_and_nothing_is_written() {
    let home = Home::with("a: 1\n");
    let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
    let _held = FileLock::acquire(&home.store.lock_file(), &clock, CONFIG_LOCK_WAIT).unwrap();
    let error = home.set(api(1)).unwrap_err();
    assert_eq!(
        error,
        ConfigError::Locked {
            path: home.store.lock_file(),
            waited: CONFIG_LOCK_WAIT
        }
    );
    assert_eq!(home.text(), "a: 1\n");
    assert_eq!(home.store.load().unwrap(), Config::default());
}

// === Broken and half-written files

#[test]
fn w41_a_corrupt_file_is_an_error_and_stays_as_it_is() {
    for text in [
        &b""[..],
        b" \n\n",
        b"registry_url: [unclosed\n",
        b"registry_url: \"unclosed",
        b"\xff\xfe\x00",
        b"\0\0\0\0\0\0\0\0",
        b"- not\n- a mapping\n",
    ] {
        let home = Home::new();
        home.write(text);
        let path = home.store.path();
        for outcome in [home.store.load().map(drop), home.set(api(1))] {
            assert!(
                matches!(&outcome, Err(ConfigError::Malformed { path: named, .. }) if named == path),
                "{text:?}: {outcome:?}"
            );
        }
        assert_eq!(fs::read(path).unwrap(), text);
    }
}

#[test]
fn appendix_d2_a_truncated_file_is_retried() {
    let whole = "registry_api_url: https://registry-7.example.com\nlast: 1\n";
    for half in [
        "",
        "registry_api_url: https://reg",
        "registry_api_url: \"https",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        fs::write(&path, half).unwrap();
        let go_path = path.clone();
        let clock = HookClock::new(move || fs::write(&go_path, whole).unwrap());
        let store = ConfigStore::new(path, World::new(clock, MapEnv::new()));
        assert_eq!(store.load().unwrap().source, api(7), "{half:?}");
    }
}

#[test]
fn a_whole_file_without_a_final_line_break_is_accepted_and_edited() {
    let home = Home::with("a: 1");
    assert_eq!(home.store.load().unwrap(), Config::default());
    home.set(RegistrySource::Url("https://u".to_owned()))
        .unwrap();
    assert_eq!(home.text(), "a: 1\nregistry_url: https://u\n");
}

#[test]
fn a_file_larger_than_any_configuration_is_refused() {
    let home = Home::with(&"#\n".repeat(600 * 1024));
    assert!(matches!(
        home.store.load(),
        Err(ConfigError::TooLarge {
            limit: CONFIG_MAX_BYTES,
            ..
        })
    ));
}

// === What an update writes

#[test]
fn w41_unknown_keys_and_comments_survive() {
    let before = "\
# Managed by Ann, ask before changing.
secrets:
    provider_type: \"\"     # none yet
    setup_completed: false
    future: kept
otel:
    sampling-rate: 1.10
    env-vars: [A, B]

registry_url: https://old.example.com/registry.json # the old one
llm: {gateway: \"x\"}
version: 1.10
# The end.
";
    let home = Home::with(before);
    home.set(RegistrySource::Url(
        "https://new.example.com/r.json".to_owned(),
    ))
    .unwrap();
    assert_eq!(
        home.text(),
        before.replace(
            "https://old.example.com/registry.json",
            "https://new.example.com/r.json"
        )
    );
}

#[test]
fn f34_a_failed_mutation_writes_nothing() {
    #[derive(Debug)]
    enum Refused {
        Mine,
        Config,
    }
    impl From<ConfigError> for Refused {
        fn from(_: ConfigError) -> Self {
            Self::Config
        }
    }
    let refuse = |config: &mut Config| {
        config.source = api(1);
        Err::<(), _>(Refused::Mine)
    };
    let home = Home::with("registry_url: https://old\n");
    let before = fingerprint(home.store.path());
    assert!(matches!(home.store.update(refuse), Err(Refused::Mine)));
    assert_eq!(fingerprint(home.store.path()), before);
    assert_eq!(home.text(), "registry_url: https://old\n");

    let empty = Home::new();
    assert!(matches!(empty.store.update(refuse), Err(Refused::Mine)));
    assert!(!empty.store.path().exists());
}

#[test]
fn f35_a_store_writes_only_to_its_own_path() {
    let home = Home::with("registry_url: https://the-default\n");
    let other = home.directory.path().join("other.yaml");
    fs::write(&other, "secrets:\n    provider_type: basic\n").unwrap();
    let env = MapEnv::from([("XDG_CONFIG_HOME", home.directory.path().to_str().unwrap())]);
    let default = fingerprint(home.store.path());

    let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
    let store = ConfigStore::new(&other, World::new(clock, env));
    assert_eq!(store.load().unwrap().secrets.provider_type, "encrypted");
    assert_eq!(
        fs::read_to_string(&other).unwrap(),
        "secrets:\n    provider_type: encrypted\n    setup_completed: true\n"
    );
    assert_eq!(fingerprint(home.store.path()), default);
    assert!(!home.store.lock_file().exists());
}

#[test]
fn an_update_that_changes_nothing_writes_nothing() {
    let home = Home::with("registry_url: 'https://u'   # odd spelling\n");
    let before = fingerprint(home.store.path());
    home.set(RegistrySource::Url("https://u".to_owned()))
        .unwrap();
    assert_eq!(fingerprint(home.store.path()), before);
}

#[test]
fn w11_source_and_login_change_in_one_write_or_not_at_all() {
    let before = "registry_api_url: https://old\nregistry_auth:\n    type: oauth\n    oauth:\n        issuer: https://i\n        cached_refresh_token_ref: R\n";
    let home = Home::with(before);
    let change = |config: &mut Config, issuer: &str| {
        config.source = api(1);
        config.auth = None;
        if !issuer.starts_with("https://") {
            return Err(ConfigError::Stopping);
        }
        config.auth = Some(RegistryAuth {
            kind: "oauth".to_owned(),
            oauth: Some(OAuthSettings {
                issuer: issuer.to_owned(),
                ..OAuthSettings::default()
            }),
        });
        Ok(())
    };
    home.store
        .update(|config| change(config, "bad"))
        .unwrap_err();
    assert_eq!(home.text(), before);
    home.store
        .update(|config| change(config, "https://j"))
        .unwrap();
    assert_eq!(
        home.text(),
        "registry_api_url: https://registry-1.example.com\nregistry_auth:\n    type: oauth\n    oauth:\n        issuer: https://j\n"
    );
}

// === Where the file is

#[test]
fn a_missing_file_means_the_defaults_and_is_created_with_them() {
    let home = Home::new();
    assert_eq!(home.store.load().unwrap(), Config::default());
    assert_eq!(home.store.load().unwrap(), Config::default());
    assert!(
        home.text()
            .starts_with("secrets:\n    provider_type: \"\"\n")
    );
    assert!(home.text().contains("registry_url: \"\"\n"));
}

#[test]
fn where_nothing_can_be_written_the_defaults_hold_all_the_same() {
    let home = Home::new();
    // A directory in the lock file's place: even root cannot lock it.
    fs::create_dir_all(home.store.lock_file()).unwrap();
    assert_eq!(home.store.load().unwrap(), Config::default());
    assert!(!home.store.path().exists());
    assert!(matches!(
        home.set(api(1)),
        Err(ConfigError::Unwritable { .. })
    ));
}

#[cfg(unix)]
#[test]
fn the_file_is_private_and_so_is_its_directory() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    home.store.load().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(home.store.path()), 0o600);
    assert_eq!(mode(home.store.path().parent().unwrap()), 0o700);
    fs::set_permissions(home.store.path(), fs::Permissions::from_mode(0o644)).unwrap();
    home.set(api(1)).unwrap();
    assert_eq!(mode(home.store.path()), 0o600);
}

#[cfg(unix)]
#[test]
fn a_linked_file_is_written_where_the_link_points() {
    for target_exists in [true, false] {
        let home = Home::new();
        let dotfiles = home.directory.path().join("dotfiles");
        fs::create_dir_all(&dotfiles).unwrap();
        fs::create_dir_all(home.store.path().parent().unwrap()).unwrap();
        if target_exists {
            fs::write(dotfiles.join("real.yaml"), "a: 1\n").unwrap();
        }
        std::os::unix::fs::symlink("real.yaml", dotfiles.join("second.yaml")).unwrap();
        std::os::unix::fs::symlink("../dotfiles/second.yaml", home.store.path()).unwrap();
        home.set(api(1)).unwrap();
        assert!(
            fs::symlink_metadata(home.store.path())
                .unwrap()
                .is_symlink()
        );
        assert!(dotfiles.join("second.yaml").is_symlink());
        let written = fs::read_to_string(dotfiles.join("real.yaml")).unwrap();
        assert!(written.contains("registry_api_url: https://registry-1.example.com\n"));
        assert_eq!(home.store.load().unwrap().source, api(1));
    }
}

// === Async callers

#[tokio::test]
async fn async_callers_get_the_same_answers() {
    let home = Home::new();
    let previous = home
        .store
        .update_async(|config| Ok::<_, ConfigError>(std::mem::replace(&mut config.source, api(3))))
        .await
        .unwrap();
    assert_eq!(previous, RegistrySource::BuiltIn);
    assert_eq!(home.store.load_async().await.unwrap().source, api(3));
}

#[tokio::test]
async fn an_update_finishes_even_when_nobody_waits_for_it() {
    let home = Home::new();
    let (entered, has_entered) = tokio::sync::oneshot::channel();
    let (proceed, may_proceed) = mpsc::channel::<()>();
    let update = home.store.update_async(move |config| {
        entered.send(()).unwrap();
        may_proceed.recv().unwrap();
        config.source = api(4);
        Ok::<_, ConfigError>(())
    });
    tokio::select! {
        biased;
        _ = update => panic!("the update waits for this test"),
        entered = has_entered => entered.unwrap(),
    }
    proceed.send(()).unwrap();
    // Waits for its turn behind the abandoned update.
    let seen = home
        .store
        .update_async(|config| Ok::<_, ConfigError>(config.source.clone()))
        .await;
    assert_eq!(seen.unwrap(), api(4));
}

#[test]
fn somebody_who_only_looks_creates_and_changes_nothing() {
    let home = Home::new();
    let store = home.store.only_looking();
    assert_eq!(store.load(), Ok(Config::default()));
    assert!(!home.store.path().exists());
    let refused = store.update(|config| {
        config.allow_private_ip = true;
        Ok::<_, ConfigError>(())
    });
    assert!(matches!(refused, Err(ConfigError::Unwritable { .. })));
    home.write("secrets:\n    provider_type: basic\n");
    assert_eq!(store.load().unwrap().secrets.provider_type, "encrypted");
    assert_eq!(home.text(), "secrets:\n    provider_type: basic\n");
}
