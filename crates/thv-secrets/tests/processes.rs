//! Several processes at one secrets file, and one that is killed while it writes. The other
//! processes are this very program, started again with a variable that tells it what to be.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as the test does"
)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use secrecy::ExposeSecret as _;
use thv_config::{ConfigStore, Env as _, Paths, ProcessEnv, World};
use thv_secrets::{Patience, SecretName, SecretStore, Secrets, SecretsError};

const ROLE: &str = "THV_TEST_WRITER";
const KEYS: usize = 50;
/// How often a write is tried whose turn did not come.
const TRIES: usize = 12;
/// Eight of a crowd make 10,000 writes and as many reads.
const CROWD: usize = 8;
const CROWD_ROUNDS: usize = 1250;

/// Runs the test `writer` of this program as a process of its own.
fn start_writer(home: &Path, role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer", "--nocapture"])
        .env(ROLE, role)
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("XDG_DATA_HOME", home.join("data"))
        .env("TOOLHIVE_SECRETS_PASSWORD", "shared by all")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn open(home: &Path) -> std::sync::Arc<dyn SecretStore> {
    let env = thv_config::MapEnv::new()
        .with_home(home)
        .with_var("XDG_CONFIG_HOME", home.join("config").to_str().unwrap())
        .with_var("XDG_DATA_HOME", home.join("data").to_str().unwrap())
        .with_var("TOOLHIVE_SECRETS_PASSWORD", "shared by all");
    let world = World::new(thv_config::SystemClock::new(), env);
    let paths = Paths::from_env(world.env.as_ref()).unwrap();
    let config = ConfigStore::new(paths.config_file(), world.clone());
    Secrets::with_keyrings(world, &paths, config, Vec::new())
        .open_for_login()
        .unwrap()
}

fn names(store: &dyn SecretStore) -> Vec<String> {
    let mut names = Vec::new();
    store
        .update(&mut |secrets| {
            names = secrets.names().map(str::to_owned).collect();
            Ok(())
        })
        .unwrap();
    names
}

/// Not a test of its own: what the other processes do.
#[test]
fn writer() {
    let Some(role) = ProcessEnv.var(ROLE) else {
        return;
    };
    let world = World::system();
    let paths = Paths::from_env(world.env.as_ref()).unwrap();
    let config = ConfigStore::new(paths.config_file(), world.clone());
    let secrets = Secrets::with_keyrings(world, &paths, config, Vec::new());
    let store = secrets.open(Patience::Request).unwrap();
    let count = match role.as_str() {
        "endless" => usize::MAX,
        role if role.starts_with("crowd") => CROWD_ROUNDS,
        _ => KEYS,
    };
    for at in 0..count {
        let name = SecretName::user(&format!("{role}-{}", at % KEYS)).unwrap();
        // A crowd on a busy machine may wait longer than the limit: that says so and loses nothing, so that the next try is
        // as good as the first.
        let write = || {
            store.update(&mut |secrets| {
                secrets.set(&name, format!("{at}").into());
                Ok(())
            })
        };
        (0..TRIES)
            .map(|_| write())
            .find(|written| !matches!(written, Err(SecretsError::LockTimeout { .. })))
            .unwrap()
            .unwrap();
        let held = store.get(&name).unwrap().unwrap();
        assert_eq!(held.expose_secret(), at.to_string());
        println!("\nwrote {at}");
    }
}

#[test]
fn f39_two_processes_with_fifty_keys_each_lose_none() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    let writers = ["left", "right"].map(|role| start_writer(home.path(), role));
    for writer in writers {
        let output = writer.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(names(store.as_ref()).len(), 2 * KEYS);
}

#[test]
fn f39_eight_processes_with_ten_thousand_writes_and_reads_lose_none() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    let roles = (0..CROWD).map(|number| format!("crowd{number}"));
    // Their reports are read while they run: a full pipe would stop them.
    std::thread::scope(|scope| {
        for role in roles {
            let writer = start_writer(home.path(), &role);
            scope.spawn(move || {
                let output = writer.wait_with_output().unwrap();
                assert!(output.status.success(), "{output:?}");
            });
        }
    });
    assert_eq!(names(store.as_ref()).len(), CROWD * KEYS);
    for number in 0..CROWD {
        for key in 0..KEYS {
            let name = SecretName::user(&format!("crowd{number}-{key}")).unwrap();
            let held = store.get(&name).unwrap().unwrap();
            let last = CROWD_ROUNDS - KEYS + key;
            assert_eq!(held.expose_secret(), last.to_string(), "{name}");
        }
    }
}

#[test]
fn f40_a_value_written_by_another_process_is_visible_at_once() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    let name = SecretName::user("other-49").unwrap();
    assert!(store.get(&name).unwrap().is_none());
    let output = start_writer(home.path(), "other")
        .wait_with_output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(store.get(&name).unwrap().unwrap().expose_secret(), "49");
}

#[test]
fn case_76_a_writer_killed_at_any_moment_leaves_a_whole_file() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    for round in 1..=8 {
        let mut writer = start_writer(home.path(), "endless");
        let output = BufReader::new(writer.stdout.take().unwrap());
        // Killed after so many writes, in the middle of whatever it does then.
        let last = output
            .lines()
            .map(Result::unwrap)
            .filter_map(|line| line.strip_prefix("wrote ")?.parse::<usize>().ok())
            .nth(round * 3)
            .unwrap();
        writer.kill().unwrap();
        writer.wait().unwrap();
        let name = SecretName::user(&format!("endless-{}", last % KEYS)).unwrap();
        let value = store.get(&name).unwrap().unwrap();
        let value: usize = value.expose_secret().parse().unwrap();
        assert!(value >= last, "what was reported as written is there");
        store.probe().unwrap();
    }
}
