//! `kill -9` at every system call that a write of the secrets makes. `strace` kills the real program at the first, the
//! second, the third such call, and so on until it gets through; `scripts/test` installs it.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use serde_json::json;
use thv_testkit::binary::{Ran, cli_with};
use thv_testkit::go_store;
use thv_testkit::home::Home;

const THV: &str = env!("CARGO_BIN_EXE_thv");
const STORE: &str = "data/toolhive/secrets_encrypted";
const PASSWORD: (&str, &str) = ("TOOLHIVE_SECRETS_PASSWORD", "correct horse");
/// What changes a file or a directory, and what makes the change last. Each is counted by itself.
const CALLS: [&str; 7] = [
    "openat",
    "write",
    "fsync",
    "rename,renameat,renameat2",
    "flock",
    "unlink,unlinkat",
    "fchmod,chmod,ftruncate",
];
/// What every write does, on whatever thread: open the configuration, the store and a new file, write, make it last, put it in its place,
/// hold a lock.
const CALLS_MADE: usize = 7;
/// No call is made this often; a program that is not through by then is one that the counting misses.
const ROUNDS_MAX: usize = 200;

fn store(home: &Home) -> serde_json::Value {
    let file = std::fs::read(home.join(STORE)).expect("a file that is there at every moment");
    go_store::open(PASSWORD.1, &file)
}

async fn killed_at(home: &Home, call: &str, number: usize, arguments: &[&str]) -> Ran {
    let inject = format!("inject={call}:signal=SIGKILL:when={number}");
    let trace = format!("trace={call}");
    let mut line = vec![
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &trace,
        "-e",
        &inject,
        THV,
    ];
    line.extend(arguments);
    // A set-up has no password to begin with.
    let env: &[(&str, &str)] = if arguments.contains(&"provider") {
        &[]
    } else {
        &[PASSWORD]
    };
    cli_with("strace", home, &line, env, b"new").await
}

/// Runs the command until it gets through, killed at each call in turn, and returns how often it was killed.
async fn each_kill(
    call: &str,
    arguments: &[&str],
    prepare: impl Fn() -> Home,
    check: impl AsyncFn(&Home),
) -> usize {
    for number in 1..ROUNDS_MAX {
        let home = prepare();
        let ran = killed_at(&home, call, number, arguments).await;
        check(&home).await;
        if ran.code == 0 {
            return number - 1;
        }
        assert_eq!(ran.code, -1, "killed, not failed: {ran:?}");
    }
    panic!("`{arguments:?}` makes more than {ROUNDS_MAX} calls of {call}");
}

/// The kills at all calls together. If there are fewer than calls that every write makes, strace did not do its work. How many there are
/// depends on how the program's threads share the work: each has its calls counted by itself.
async fn every_kill(arguments: &[&str], prepare: impl Fn() -> Home, check: impl AsyncFn(&Home)) {
    let mut kills = 0;
    for call in CALLS {
        kills += each_kill(call, arguments, &prepare, &check).await;
    }
    assert!(kills >= CALLS_MADE, "{kills} kills");
}

async fn secret(home: &Home, arguments: &[&str], env: &[(&str, &str)], input: &[u8]) -> Ran {
    let arguments: Vec<_> = ["secret"]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    let ran = cli_with(THV, home, &arguments, env, input).await;
    assert_eq!(
        ran.code, 0,
        "whoever comes next is stopped by nothing: {ran:?}"
    );
    ran
}

fn home_with_a_store() -> Home {
    let home = Home::new();
    home.write_config(
        "secrets:\n    provider_type: encrypted\n    setup_completed: true\nsecret_scope_migration: true\n",
    );
    home.write(
        STORE,
        go_store::seal(PASSWORD.1, &json!({"A": "old", "B": "kept"})),
    );
    home
}

#[tokio::test]
async fn case_76_a_write_killed_at_any_step_leaves_the_old_secrets_or_the_new_ones() {
    every_kill(
        &["secret", "set", "A"],
        home_with_a_store,
        async |home: &Home| {
            for round in ["at once", "after the next write"] {
                let secrets = store(home);
                assert_eq!(secrets["B"], "kept", "{round}");
                assert!(
                    secrets["A"] == "old" || secrets["A"] == "new",
                    "{round}: {secrets}"
                );
                secret(home, &["set", "NEXT"], &[PASSWORD], b"x").await;
            }
        },
    )
    .await;
}

#[tokio::test]
async fn case_76_a_change_of_the_form_killed_at_any_step_leaves_a_file_that_opens() {
    every_kill(
        &["secret", "upgrade-store"],
        home_with_a_store,
        async |home: &Home| {
            let shown = secret(home, &["get", "B"], &[PASSWORD], b"").await;
            assert_eq!(shown.stdout, "kept\n");
            secret(home, &["upgrade-store"], &[PASSWORD], b"").await;
            let shown = secret(home, &["get", "A"], &[PASSWORD], b"").await;
            assert_eq!(shown.stdout, "old\n");
        },
    )
    .await;
}

#[tokio::test]
async fn a_set_up_killed_at_any_step_is_finished_by_the_next_one_with_the_same_key() {
    let without_password = ("TOOLHIVE_SECRETS_PASSWORD", "");
    every_kill(
        &["secret", "provider", "encrypted"],
        Home::new,
        async |home: &Home| {
            let key_file = home.join("data/toolhive/secrets_key");
            let before = std::fs::read(&key_file).ok();
            secret(home, &["provider", "encrypted"], &[without_password], b"").await;
            let after = std::fs::read(&key_file).unwrap();
            assert!(before.is_none_or(|before| before == after));
            secret(home, &["set", "A"], &[without_password], b"1").await;
        },
    )
    .await;
}
