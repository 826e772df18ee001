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
    cli_with("strace", home, &line, &[PASSWORD], b"new").await
}

/// Runs the command until it gets through, killed at each call in turn, and returns how often it was killed.
async fn each_kill(
    call: &str,
    arguments: &[&str],
    prepare: impl Fn() -> Home,
    check: impl Fn(&Home),
) -> usize {
    for number in 1..ROUNDS_MAX {
        let home = prepare();
        let ran = killed_at(&home, call, number, arguments).await;
        check(&home);
        if ran.code == 0 {
            return number - 1;
        }
        assert_eq!(ran.code, -1, "killed, not failed: {ran:?}");
        // Whoever comes next is stopped by nothing that was left behind.
        let next = cli_with(THV, &home, &["secret", "set", "NEXT"], &[PASSWORD], b"x").await;
        assert_eq!(next.code, 0, "{next:?}");
        check(&home);
    }
    panic!("`{arguments:?}` makes more than {ROUNDS_MAX} calls of {call}");
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
    let mut kills = 0;
    for call in CALLS {
        kills += each_kill(call, &["secret", "set", "A"], home_with_a_store, |home| {
            let secrets = store(home);
            assert_eq!(secrets["B"], "kept");
            assert!(secrets["A"] == "old" || secrets["A"] == "new", "{secrets}");
        })
        .await;
    }
    // Opening, locking, writing, flushing, renaming: if fewer were hit, strace did not do its work.
    assert!(kills >= 20, "{kills} kills");
}

#[tokio::test]
async fn case_76_a_change_of_the_form_killed_at_any_step_leaves_a_file_that_opens() {
    let mut kills = 0;
    for call in ["fsync", "rename,renameat,renameat2"] {
        for number in 1..ROUNDS_MAX {
            let home = home_with_a_store();
            let ran = killed_at(&home, call, number, &["secret", "upgrade-store"]).await;
            let shown = cli_with(THV, &home, &["secret", "get", "B"], &[PASSWORD], b"").await;
            assert_eq!(shown.stdout, "kept\n", "{shown:?}");
            if ran.code == 0 {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills >= 4, "{kills} kills");
}

#[tokio::test]
async fn a_set_up_killed_at_any_step_is_finished_by_the_next_one_with_the_same_key() {
    for call in ["fsync", "rename,renameat,renameat2", "write"] {
        for number in 1..ROUNDS_MAX {
            let home = Home::new();
            let inject = format!("inject={call}:signal=SIGKILL:when={number}");
            let trace = format!("trace={call}");
            let line = [
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                &trace,
                "-e",
                &inject,
                THV,
                "secret",
                "provider",
                "encrypted",
            ];
            let ran = cli_with("strace", &home, &line, &[], b"").await;
            let key_file = home.join("data/toolhive/secrets_key");
            let before = std::fs::read(&key_file).ok();
            let next = cli_with(THV, &home, &["secret", "provider", "encrypted"], &[], b"").await;
            assert_eq!(next.code, 0, "{next:?}");
            let after = std::fs::read(&key_file).unwrap();
            assert!(before.is_none_or(|before| before == after));
            let set = cli_with(THV, &home, &["secret", "set", "A"], &[], b"1").await;
            assert_eq!(set.code, 0, "{set:?}");
            if ran.code == 0 {
                break;
            }
        }
    }
}
