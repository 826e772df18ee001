//! The real Secret Service: gnome-keyring on a private session bus. The test starts itself again
//! within that bus, where [`inside`] does the work. `scripts/test` installs what it needs.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails by panicking, as the test does"
)]

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use secrecy::ExposeSecret as _;
use secret_service::EncryptionType;
use secret_service::blocking::SecretService;
use thv_config::{ConfigStore, Env as _, Paths, ProcessEnv, World};
use thv_secrets::keyring::{Keyring, KeyringError, SecretServiceKeyring};
use thv_secrets::{Patience, SecretName, SecretStore, Secrets};

const INSIDE: &str = "THV_TEST_INSIDE_SESSION";
const PROGRAMS: [&str; 4] = [
    "dbus-run-session",
    "dbus-send",
    "gnome-keyring-daemon",
    "secret-tool",
];

/// Unlocks a new keyring, waits until it is on the bus, and runs the given program.
const SESSION: &str = r#"
printf session-password | gnome-keyring-daemon --unlock --components=secrets --daemonize >/dev/null
until dbus-send --session --print-reply --dest=org.freedesktop.DBus / \
    org.freedesktop.DBus.NameHasOwner string:org.freedesktop.secrets | grep -q true; do sleep 0.05; done
exec "$@"
"#;

#[test]
fn the_secret_service_keeps_the_password_of_the_encrypted_store() {
    for program in PROGRAMS {
        assert!(
            is_installed(program),
            "{program} is missing: run scripts/test, which installs it"
        );
    }
    // Short, because a socket's path may be no longer than about 100 bytes.
    let home = tempfile::Builder::new()
        .prefix("thv-")
        .tempdir_in("/tmp")
        .unwrap();
    let runtime = home.path().join("run");
    thv_config::disk::create_private_dir(&runtime).unwrap();
    thv_config::disk::create_private_dir(&home.path().join("data/keyrings")).unwrap();
    let output = Command::new("dbus-run-session")
        .args(["--", "sh", "-c", SESSION, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "inside", "--nocapture"])
        .env(INSIDE, "1")
        .env("HOME", home.path())
        .env("XDG_CONFIG_HOME", home.path().join("config"))
        .env("XDG_DATA_HOME", home.path().join("data"))
        .env("XDG_RUNTIME_DIR", runtime)
        .env_remove("DISPLAY")
        .env_remove("TOOLHIVE_SECRETS_PASSWORD")
        .env_remove("TOOLHIVE_SECRETS_KEY_FILE")
        .env_remove("TOOLHIVE_SECRETS_PROVIDER")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && shown.contains("all of it ran"),
        "{output:?}"
    );
}

/// Not a test of its own: what runs within the session.
#[test]
fn inside() {
    if ProcessEnv.var(INSIDE).is_none() {
        return;
    }
    a_login_sets_up_and_another_process_reads();
    an_entry_is_the_one_that_the_go_program_makes();
    a_reset_leaves_no_entry();
    a_locked_keyring_raises_no_prompt_for_a_request();
    println!("all of it ran");
}

fn secrets() -> Secrets {
    let world = World::system();
    let paths = Paths::from_env(world.env.as_ref()).unwrap();
    let config = ConfigStore::new(paths.config_file(), world.clone());
    let keyrings: Vec<Arc<dyn Keyring>> = vec![Arc::new(SecretServiceKeyring)];
    Secrets::with_keyrings(world, &paths, config, keyrings)
}

fn a_login_sets_up_and_another_process_reads() {
    let name = SecretName::registry("a");
    assert!(secrets().open(Patience::Request).is_err());
    let store = secrets().open_for_login().unwrap();
    store
        .update(&mut |secrets| {
            secrets.set(&name, "kept".into());
            Ok(())
        })
        .unwrap();
    let store: Arc<dyn SecretStore> = secrets().open(Patience::Request).unwrap();
    let value = store.get(&name).unwrap().unwrap();
    assert_eq!(value.expose_secret(), "kept");
}

fn an_entry_is_the_one_that_the_go_program_makes() {
    let held = SecretServiceKeyring.password(false).unwrap().unwrap();
    assert_eq!(held.expose_secret().len(), 44);
    let looked_up = secret_tool("lookup", "service toolhive username toolhive");
    assert_eq!(
        String::from_utf8_lossy(&looked_up.stdout),
        held.expose_secret()
    );

    let cleared = secret_tool("clear", "service toolhive username toolhive");
    assert!(cleared.status.success(), "{cleared:?}");
    assert!(SecretServiceKeyring.password(false).unwrap().is_none());
    let offer = |password: &str, wanted: bool| {
        SecretServiceKeyring.offer_password(&password.into(), &|| wanted)
    };
    assert!(offer("too late", false).is_err());
    assert!(SecretServiceKeyring.password(false).unwrap().is_none());
    offer("first", true).unwrap();
    offer("second", true).unwrap();
    let service = SecretService::connect(EncryptionType::Plain).unwrap();
    let attributes = HashMap::from([("service", "toolhive"), ("username", "toolhive")]);
    let items = service.search_items(attributes).unwrap().unlocked;
    let [item] = items.as_slice() else {
        panic!("{} items", items.len());
    };
    assert_eq!(item.get_secret().unwrap(), b"first");
    assert_eq!(
        item.get_label().unwrap(),
        "Password for 'toolhive' on 'toolhive'"
    );
    assert!(item.item_path.as_str().contains("/login/"));
}

fn a_reset_leaves_no_entry() {
    let held = SecretServiceKeyring.password(false).unwrap().unwrap();
    assert!(SecretServiceKeyring.clear().unwrap());
    assert!(!SecretServiceKeyring.clear().unwrap());
    let looked_up = secret_tool("lookup", "service toolhive username toolhive");
    assert!(looked_up.stdout.is_empty(), "{looked_up:?}");
    SecretServiceKeyring
        .offer_password(&held, &|| true)
        .unwrap();
}

fn a_locked_keyring_raises_no_prompt_for_a_request() {
    let service = SecretService::connect(EncryptionType::Plain).unwrap();
    for collection in service.get_all_collections().unwrap() {
        if collection.collection_path.as_str().ends_with("/login") {
            collection.lock().unwrap();
        }
    }
    assert_eq!(
        SecretServiceKeyring.password(false).unwrap_err(),
        KeyringError::Locked
    );
    // Nobody can answer the prompt here; on a desktop it would be shown.
    assert_eq!(
        SecretServiceKeyring.password(true).unwrap_err(),
        KeyringError::Locked
    );
    let error = secrets().open(Patience::Request).unwrap_err();
    assert!(
        error.to_string().starts_with("the secret store is locked"),
        "{error}"
    );
}

fn secret_tool(command: &str, attributes: &str) -> Output {
    Command::new("secret-tool")
        .arg(command)
        .args(attributes.split(' '))
        .output()
        .unwrap()
}

fn is_installed(program: &str) -> bool {
    let path = ProcessEnv.var("PATH").unwrap_or_default();
    path.split(':')
        .any(|directory| Path::new(directory).join(program).is_file())
}
