//! Memory that held a secret is blank afterwards: the memory of the running program is searched for what was sent to it.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use serde_json::json;
use thv_testkit::binary::{Server, Setup};
use thv_testkit::home::Home;
use thv_testkit::wait::until_true;

const THV: &str = env!("CARGO_BIN_EXE_thv");
const KEYS: &str = "/api/v1beta/secrets/default/keys";

/// The kinds of writable memory of the server in which `needle` is found.
fn found_in(server: &Server, needle: &str) -> Vec<String> {
    let process = format!("/proc/{}", server.pid());
    let maps = std::fs::read_to_string(format!("{process}/maps")).unwrap();
    let memory = File::open(format!("{process}/mem")).unwrap();
    maps.lines()
        .filter(|line| {
            line.split(' ')
                .nth(1)
                .is_some_and(|mode| mode.starts_with("rw"))
        })
        .filter(|line| {
            let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let address = |hex| u64::from_str_radix(hex, 16).unwrap();
            let (start, end) = (address(start), address(end));
            let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
            // A region may be gone since the list was read.
            let Ok(read) = memory.read_at(&mut bytes, start) else {
                return false;
            };
            bytes[..read]
                .windows(needle.len())
                .any(|window| window == needle.as_bytes())
        })
        .map(|line| {
            line.split_whitespace()
                .nth(5)
                .unwrap_or("anonymous")
                .to_owned()
        })
        .collect()
}

#[tokio::test]
async fn what_held_a_secret_is_blank_once_it_is_given_back() {
    let home = Arc::new(Home::new());
    let server = Setup::new(THV, &home)
        .env("TOOLHIVE_SECRETS_PASSWORD", "a-password-that-is-here")
        .start()
        .await;
    let setup = json!({"provider_type": "encrypted"});
    assert_eq!(server.post("/api/v1beta/secrets", &setup).await.status, 201);
    // What the program has to keep, its environment, is found: the search works.
    assert!(!found_in(&server, "a-password-that-is-here").is_empty());

    // In one piece, and with an escape, so that the reader has to put it together. Long, since a register that is saved
    // on a stack may keep a few bytes of anything.
    let plain = format!("canary-plain-{}", "7f3a9c".repeat(16));
    let quoted = format!("canary-\"quoted\"-{}", "5d1e8b".repeat(16));
    for (key, value) in [("PLAIN", &plain), ("QUOTED", &quoted)] {
        let body = json!({"key": key, "value": value});
        assert_eq!(server.post(KEYS, &body).await.status, 201);
        let body = json!({"value": format!("{value}-again")});
        assert_eq!(
            server.put(&format!("{KEYS}/{key}"), &body).await.status,
            200
        );
    }
    assert_eq!(server.get(KEYS).await.status, 200);
    // The last buffer of a connection goes a moment after its answer.
    for needle in [&plain, &quoted, &quoted.replace('"', "\\\"")] {
        until_true(
            &format!("{needle} to be gone: {:?}", found_in(&server, needle)),
            || found_in(&server, needle).is_empty(),
        )
        .await;
    }
}
