//! `thv registry convert` (W34): from the format `ToolHive` used before to the upstream one, without silent losses.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use serde_json::{Value, json};
use thv_testkit::binary::{Ran, cli, cli_with};
use thv_testkit::generate::PUBLISHER;
use thv_testkit::home::Home;

const THV: &str = env!("CARGO_BIN_EXE_thv");

async fn thv(home: &Home, arguments: &[&str]) -> Ran {
    cli(THV, home, arguments).await
}

/// A transcript without what differs from run to run.
fn steady(ran: &Ran, home: &Home) -> String {
    let home = home.path().display().to_string();
    ran.transcript().replace(&home, "~")
}

macro_rules! assert_transcript {
    ($ran:expr, $home:expr) => {
        let transcript = steady(&$ran, &$home);
        insta::with_settings!({omit_expression => true}, { insta::assert_snapshot!(transcript) });
    };
}

fn legacy() -> Value {
    json!({
        "version": "1.0.0", "last_updated": "2025-06-01T00:00:00Z",
        "servers": {
            "zebra": {
                "description": "Strips files", "tier": "Community", "status": "Active", "transport": "stdio", "tools": ["strip"],
                "image": "registry.example.test/zebra:1", "metadata": {"stars": 3},
                "env_vars": [{"name": "ZEBRA_KEY", "description": "Key", "required": true, "secret": true}],
                "repository_url": "https://github.com/example/zebra",
            },
            "ant": {
                "description": format!("Carries {}", "much ".repeat(60).trim_end()), "tier": "Gold", "status": "Deprecated",
                "transport": "streamable-http", "target_port": 8080, "tools": [], "image": "registry.example.test/ant:2",
            },
        },
        "remote_servers": {"moon": {
            "description": "Far away", "tier": "Official", "status": "Active", "transport": "sse", "tools": ["shine"],
            "url": "https://moon.example.test/sse",
            "headers": [{"name": "X-Key", "description": "Key", "required": true, "secret": true}],
        }},
        "groups": [{"name": "animals", "description": "All of them", "servers": {}}],
    })
}

#[tokio::test]
async fn w34_convert_is_stable_and_reports_what_it_changed() {
    let home = Home::new();
    let input = legacy().to_string();
    let first = cli_with(THV, &home, &["registry", "convert"], &[], input.as_bytes()).await;
    assert_eq!(first.code, 0, "{first:?}");
    let second = cli_with(THV, &home, &["registry", "convert"], &[], input.as_bytes()).await;
    assert_eq!(first, second, "the same input gives the same output");
    let document = first.json();
    let names: Vec<&str> = document["data"]["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "io.github.stacklok/ant",
            "io.github.stacklok/moon",
            "io.github.stacklok/zebra"
        ]
    );
    let ant = &document["data"]["servers"][0];
    assert!(ant["description"].as_str().unwrap().chars().count() <= 100);
    let extension = &ant["_meta"][PUBLISHER]["io.github.stacklok"]["registry.example.test/ant:2"];
    assert!(
        extension["overview"]
            .as_str()
            .unwrap()
            .contains(&"much ".repeat(59)),
        "the whole text is kept"
    );
    for said in ["ant", "animals"] {
        assert!(first.stderr.contains(said), "{said}: {}", first.stderr);
    }
    assert_transcript!(first, home);

    // What it wrote is a registry.
    home.use_document(&first.stdout);
    let list = thv(&home, &["registry", "list", "--format", "json"]).await;
    assert_eq!(list.code, 0, "{list:?}");
    assert_eq!(list.json().as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn w34_convert_in_place_keeps_the_old_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    let path = home.write("old.json", legacy().to_string());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let file = path.display().to_string();
    let ran = thv(&home, &["registry", "convert", "--in", &file, "--in-place"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    assert_eq!(
        std::fs::read_to_string(home.join("old.json.bak")).unwrap(),
        legacy().to_string()
    );
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o640
    );
    let converted: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(converted["data"]["servers"].is_array());

    let again = thv(&home, &["registry", "convert", "--in", &file, "--in-place"]).await;
    assert_eq!(again.code, 0, "{again:?}");
    assert!(
        again
            .stderr
            .contains("Input is already in upstream format; nothing to do."),
        "{again:?}"
    );

    std::fs::write(&path, legacy().to_string()).unwrap();
    let refused = thv(&home, &["registry", "convert", "--in", &file, "--in-place"]).await;
    assert_eq!(
        refused.code, 1,
        "a backup is never overwritten: {refused:?}"
    );
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        legacy().to_string()
    );
    let forced = thv(
        &home,
        &[
            "registry",
            "convert",
            "--in",
            &file,
            "--in-place",
            "--no-backup",
        ],
    )
    .await;
    assert_eq!(forced.code, 0, "{forced:?}");
}

#[tokio::test]
async fn w34_convert_writes_elsewhere() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    let from = home
        .write("old.json", legacy().to_string())
        .display()
        .to_string();
    let to = home.join("new.json");
    let ran = thv(
        &home,
        &[
            "registry",
            "convert",
            "--in",
            &from,
            "--out",
            to.to_str().unwrap(),
        ],
    )
    .await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    assert_eq!(
        std::fs::metadata(&to).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(std::fs::read_to_string(&to).unwrap().starts_with("{\n  \""));
}

#[tokio::test]
async fn convert_refuses_flags_that_do_not_fit() {
    let home = Home::new();
    for (arguments, text) in [
        (&["--in-place"][..], "--in-place requires --in"),
        (
            &["--in", "a.json", "--in-place", "--out", "b.json"],
            "--out cannot be combined with --in-place",
        ),
        (&["--no-backup"], "--no-backup only applies with --in-place"),
    ] {
        let mut all = vec!["registry", "convert"];
        all.extend_from_slice(arguments);
        let ran = thv(&home, &all).await;
        assert!([1, 2].contains(&ran.code), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(text), "{arguments:?}: {ran:?}");
    }
    let nonsense = cli_with(THV, &home, &["registry", "convert"], &[], b"{\"hello\":1}").await;
    assert_eq!(
        (nonsense.code, nonsense.stdout.as_str()),
        (1, ""),
        "{nonsense:?}"
    );
}
