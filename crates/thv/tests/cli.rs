//! The command line as a person or a script meets it: exit code, standard output and standard error of each verb.
//!
//! Whole transcripts are snapshots, so that a change of wording shows in review.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use serde_json::json;
use thv_testkit::binary::{Ran, Server, cli, cli_with};
use thv_testkit::fixture;
use thv_testkit::generate::{self, PUBLISHER};
use thv_testkit::home::Home;
use thv_testkit::registry::{FakeRegistry, Fault};

const THV: &str = env!("CARGO_BIN_EXE_thv");

async fn thv(home: &Home, arguments: &[&str]) -> Ran {
    cli(THV, home, arguments).await
}

/// A home with one server of every kind, one of them with a long text in several scripts.
fn furnished() -> Home {
    let home = Home::new();
    let mut servers = fixture::every_kind();
    let mut wide = fixture::remote("test.wide/unicode", "https://wide.example.test/mcp");
    wide["description"] = "検索サーバー 🚀 with a description that goes on — naïvely — far past the width of any column in any terminal".into();
    wide["_meta"] = json!({PUBLISHER: {"io.github.stacklok": {"https://wide.example.test/mcp": {
        "status": "Deprecated", "tier": "Community", "tools": ["find"], "tags": ["search"], "metadata": {"stars": 1234},
    }}}});
    servers.push(wide);
    home.use_document(&fixture::registry_document(servers));
    home
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

#[tokio::test]
async fn version_for_people_and_programs() {
    let home = Home::new();
    let text = thv(&home, &["version"]).await;
    assert_eq!(text.code, 0);
    // The desktop client looks for this line.
    let first = text
        .stdout
        .lines()
        .find(|line| line.starts_with("ToolHive "))
        .unwrap_or_else(|| panic!("{text:?}"));
    let version = first
        .trim_start_matches("ToolHive ")
        .trim_start_matches('v');
    assert!(
        version.starts_with(|c: char| c.is_ascii_alphanumeric()),
        "{text:?}"
    );
    for arguments in [&["version", "--format", "json"][..], &["version", "--json"]] {
        let json = thv(&home, arguments).await;
        assert_eq!(json.code, 0);
        for key in ["version", "commit", "build_date", "platform"] {
            assert!(json.json()[key].is_string(), "{key}: {json:?}");
        }
    }
}

#[tokio::test]
async fn list_for_people() {
    let home = furnished();
    let ran = thv(&home, &["registry", "list"]).await;
    assert!(
        ran.stdout.lines().all(|line| line.chars().count() <= 80),
        "80 columns when there is no terminal: {}",
        ran.stdout
    );
    assert!(
        !ran.stdout.contains('\u{1b}'),
        "no colour without a terminal"
    );
    assert_transcript!(ran, home);
}

#[tokio::test]
async fn list_for_programs() {
    let home = furnished();
    let ran = thv(&home, &["registry", "list", "--format", "json"]).await;
    let list = ran.json();
    let names: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|server| server["name"].as_str().unwrap())
        .collect();
    assert!(names.is_sorted(), "{names:?}");
    for shown in [
        "test.kind/npm",
        "test.kind/two-images",
        "test.kind/container",
        "test.kind/remote",
    ] {
        assert!(names.contains(&shown), "{shown} in {names:?}");
    }
    let ledger = list
        .as_array()
        .unwrap()
        .iter()
        .find(|server| server["name"] == "test.rich/ledger")
        .unwrap();
    assert_eq!(ledger["image"], "registry.example.test/ledger:3.1.4");
    assert!(
        ran.stdout.starts_with("[\n  {\n    \""),
        "two spaces: {}",
        ran.stdout
    );
    let alias = thv(&home, &["registry", "ls", "--format", "json"]).await;
    assert_eq!(alias, ran);
}

#[tokio::test]
async fn info_of_a_container() {
    let home = furnished();
    assert_transcript!(thv(&home, &["registry", "info", "ledger"]).await, home);
}

#[tokio::test]
async fn info_of_a_remote() {
    let home = furnished();
    assert_transcript!(
        thv(&home, &["registry", "info", "test.wide/unicode"]).await,
        home
    );
}

#[tokio::test]
async fn info_of_a_package_without_a_view() {
    let home = furnished();
    let ran = thv(&home, &["registry", "info", "test.kind/npm"]).await;
    assert!(ran.stdout.contains("@example/kind"), "{ran:?}");
    assert_transcript!(ran, home);
}

#[tokio::test]
async fn info_for_programs() {
    let home = furnished();
    let ran = thv(&home, &["registry", "info", "ledger", "--format", "json"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        ran.json()["env_vars"][1],
        json!({"name": "LEDGER_PIN", "description": "", "required": true, "secret": true})
    );
    let npm = thv(
        &home,
        &["registry", "info", "test.kind/npm", "--format", "json"],
    )
    .await;
    assert_eq!(npm.code, 0, "{npm:?}");
    assert_eq!(npm.json()["name"], "test.kind/npm");
}

#[tokio::test]
async fn info_of_an_unknown_server_is_exit_4() {
    let home = furnished();
    let ran = thv(&home, &["registry", "info", "nobody"]).await;
    assert_eq!(ran.code, 4);
    assert!(
        ran.stderr
            .starts_with("Error: failed to get server information: server not found: nobody"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn w32_info_of_an_ambiguous_name_lists_the_candidates() {
    let home = Home::new();
    home.use_document(&fixture::registry_document([
        fixture::npm("org.one/clock", "@example/one"),
        fixture::npm("org.two/clock", "@example/two"),
    ]));
    let ran = thv(&home, &["registry", "info", "clock"]).await;
    assert_ne!(ran.code, 0);
    assert!(
        ran.stderr.contains("org.one/clock") && ran.stderr.contains("org.two/clock"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn search_for_people() {
    let home = furnished();
    let ran = thv(&home, &["search", "LEDGER"]).await;
    assert!(ran.stdout.starts_with("Found 1 server"), "{ran:?}");
    assert_transcript!(ran, home);
}

#[tokio::test]
async fn search_looks_into_tags() {
    let home = furnished();
    let ran = thv(&home, &["search", "money", "--format", "json"]).await;
    assert_eq!(ran.json()[0]["name"], "test.rich/ledger", "{ran:?}");
}

#[tokio::test]
async fn w33_a_search_without_a_hit_is_json_when_json_was_asked_for() {
    let home = furnished();
    let json = thv(&home, &["search", "no such thing", "--format", "json"]).await;
    assert_eq!((json.code, json.json()), (0, json!([])), "{json:?}");
    let text = thv(&home, &["search", "no such thing"]).await;
    assert_eq!(
        (text.code, text.stdout.as_str()),
        (0, "No servers found matching query: no such thing\n")
    );
}

#[tokio::test]
async fn w33_text_is_cut_between_characters() {
    let home = furnished();
    for columns in ["20", "40", "79", "81", "200"] {
        let ran = cli_with(
            THV,
            &home,
            &["registry", "list"],
            &[("COLUMNS", columns)],
            b"",
        )
        .await;
        assert_eq!(ran.code, 0, "{columns}: {ran:?}");
        assert!(
            !ran.stdout.contains('\u{fffd}'),
            "{columns}: {}",
            ran.stdout
        );
    }
}

#[tokio::test]
async fn status_says_what_is_left_out_and_why() {
    let home = furnished();
    let ran = thv(&home, &["registry", "status"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    for name in [
        "test.kind/npm",
        "test.kind/two-images",
        "test.kind/templated-port",
        "test.kind/nothing-to-run",
    ] {
        assert!(ran.stdout.contains(name), "{name}: {}", ran.stdout);
    }
    let json = thv(&home, &["registry", "status", "--format", "json"])
        .await
        .json();
    assert!(json.is_object(), "{json}");
}

#[tokio::test]
async fn get_registry_tells_the_kinds_apart() {
    let home = Home::new();
    let none = thv(&home, &["config", "get-registry"]).await;
    assert_eq!(
        none.stdout,
        "No custom registry is currently configured. Using built-in registry.\n"
    );
    home.write_config("registry_url: https://r.example.test/registry.json\n");
    let url = thv(&home, &["config", "get-registry"]).await;
    assert_eq!(
        url.stdout,
        "Current registry: https://r.example.test/registry.json (remote file)\n"
    );
    home.write_config("registry_api_url: https://r.example.test\n");
    let api = thv(&home, &["config", "get-registry"]).await;
    assert_eq!(
        api.stdout,
        "Current registry: https://r.example.test (API endpoint)\n"
    );
    home.write_config("local_registry_path: /nowhere/registry.json\n");
    let file = thv(&home, &["config", "get-registry"]).await;
    assert!(
        file.stdout
            .starts_with("Current registry: /nowhere/registry.json (local file)\n"),
        "{file:?}"
    );
    assert!(
        format!("{}{}", file.stdout, file.stderr).contains("Warning: "),
        "{file:?}"
    );
}

#[tokio::test]
async fn get_registry_follows_the_priority_of_the_keys() {
    let home = Home::new();
    home.write_config("registry_url: https://b.example.test/r.json\nlocal_registry_path: /c.json\nregistry_api_url: https://a.example.test\n");
    let ran = thv(&home, &["config", "get-registry"]).await;
    assert_eq!(
        ran.stdout,
        "Current registry: https://a.example.test (API endpoint)\n"
    );
}

#[tokio::test]
async fn set_registry_finds_out_the_kind() {
    let registry = FakeRegistry::with_servers(3).await;
    registry.put_document(
        "/registry.json",
        fixture::registry_document(fixture::every_kind()),
    );
    let home = Home::new();
    let path = home
        .write(
            "mine.json",
            fixture::registry_document(fixture::every_kind()),
        )
        .display()
        .to_string();
    for (input, shown) in [
        (registry.url(), format!("{} (API endpoint)", registry.url())),
        (
            registry.at("/registry.json"),
            format!("{} (remote file)", registry.at("/registry.json")),
        ),
        (path.clone(), format!("{path} (local file)")),
        (format!("file://{path}"), format!("{path} (local file)")),
        (
            "mine.json".to_owned(),
            format!(
                "{} (local file)",
                home.path()
                    .canonicalize()
                    .unwrap()
                    .join("mine.json")
                    .display()
            ),
        ),
    ] {
        let ran = thv(&home, &["config", "set-registry", &input, "-p"]).await;
        assert_eq!(ran.code, 0, "{input}: {ran:?}");
        let ran = thv(&home, &["config", "get-registry"]).await;
        assert_eq!(
            ran.stdout,
            format!("Current registry: {shown}\n"),
            "{input}"
        );
    }
}

#[tokio::test]
async fn set_registry_warns_about_private_addresses() {
    let registry = FakeRegistry::with_servers(3).await;
    let home = Home::new();
    let refused = thv(&home, &["config", "set-registry", &registry.url()]).await;
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.stderr.starts_with("Error: "), "{refused:?}");
    let allowed = thv(&home, &["config", "set-registry", &registry.url(), "-p"]).await;
    assert_eq!(allowed.code, 0, "{allowed:?}");
    assert!(
        format!("{}{}", allowed.stdout, allowed.stderr).contains("Caution: "),
        "{allowed:?}"
    );
}

#[tokio::test]
async fn exit_codes_say_what_kind_of_failure_it_was() {
    let registry = FakeRegistry::with_servers(3).await;
    let home = Home::new();
    home.use_api(&registry.url());
    registry.break_all(Fault::Status(401));
    let ran = thv(&home, &["registry", "list"]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    registry.heal();
    registry.break_all(Fault::Status(500));
    assert_eq!(thv(&home, &["registry", "list"]).await.code, 5);
    for arguments in [
        &["registry", "list", "--format", "yaml"][..],
        &["registry", "nonsense"],
        &["search"],
        &["serve", "--no-such-flag"],
        &["nonsense"],
    ] {
        let ran = thv(&home, arguments).await;
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:?}");
        assert_eq!(ran.stdout, "");
    }
    let formats = thv(&home, &["registry", "list", "--format", "yaml"])
        .await
        .stderr;
    assert!(
        formats.contains("json") && formats.contains("text"),
        "{formats}"
    );
}

#[tokio::test]
async fn refresh_goes_to_the_source() {
    let registry = FakeRegistry::with_servers(30).await;
    let home = Home::new();
    home.use_api(&registry.url());
    let ran = thv(&home, &["registry", "refresh"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(registry.list_count() > 0);
    registry.clear_journal();
    let ran = thv(&home, &["registry", "list", "--refresh"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(registry.list_count() > 0, "--refresh asks upstream");
    registry.break_all(Fault::Status(500));
    let ran = thv(&home, &["registry", "refresh"]).await;
    assert_eq!(ran.code, 5, "W46: a refresh that failed says so: {ran:?}");
    let ran = thv(&home, &["registry", "list"]).await;
    assert_eq!(ran.code, 0, "and the data stays: {ran:?}");
}

#[tokio::test]
async fn w46_refresh_reaches_the_running_server() {
    let registry = FakeRegistry::with_servers(3).await;
    let server = Server::in_new_home(THV, |home| home.use_api(&registry.url())).await;
    assert_eq!(server.get("/v0.1/servers").await.status, 200);
    registry.upsert(generate::Row::of(
        fixture::npm("test.new/here", "@example/n"),
        &generate::moment(9000),
    ));
    let ran = server.cli(&["registry", "refresh"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        server
            .get("/v0.1/servers")
            .await
            .text()
            .contains("test.new/here")
    );
}

#[tokio::test]
async fn completions_and_manual_pages_are_printed() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let ran = thv(&home, &["completion", shell]).await;
        assert_eq!(ran.code, 0);
        assert!(
            ran.stdout.contains("thv") && ran.stdout.len() > 500,
            "{shell}"
        );
    }
    let ran = thv(&home, &["man"]).await;
    assert_eq!(ran.code, 0);
    assert!(
        ran.stdout.contains(".TH thv"),
        "{}",
        &ran.stdout[..200.min(ran.stdout.len())]
    );
    let ran = thv(&home, &["man", "--dir", "pages"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(home.join("pages/thv-registry-list.1").exists() || home.join("pages/thv.1").exists());
}

#[tokio::test]
async fn help_is_a_success_and_names_the_verbs() {
    let home = Home::new();
    let ran = thv(&home, &["--help"]).await;
    assert_eq!(ran.code, 0);
    for verb in [
        "serve",
        "registry",
        "search",
        "config",
        "version",
        "completion",
    ] {
        assert!(ran.stdout.contains(verb), "{verb}: {}", ran.stdout);
    }
}

#[tokio::test]
async fn no_flag_that_works_stands_under_those_without_effect() {
    let home = Home::new();
    let help = thv(&home, &["serve", "--help"]).await.stdout;
    let (_, idle) = help
        .split_once("Accepted for desktop clients, without effect")
        .expect("the heading");
    let flags: Vec<_> = idle
        .split_whitespace()
        .filter(|word| word.starts_with("--"))
        .collect();
    assert_eq!(flags.len(), 3, "{flags:?}");
    assert!(flags.iter().all(|flag| flag.starts_with("--sentry-")));
    let (first, _) = help
        .split_once("Callers must show a token")
        .expect("another");
    for flag in [
        "--cors-origin",
        "--public-url",
        "--metrics",
        "--exit-with-parent",
    ] {
        assert!(first.contains(flag), "{flag}: {help}");
    }
}

#[tokio::test]
async fn a_closed_pipe_is_no_panic() {
    let home = furnished();
    let script = "\"$1\" registry list --format json | head -c 10; exit 0";
    let mut shell = std::process::Command::new("sh");
    let output = shell
        .args(["-c", script, "sh", THV])
        .env_clear()
        .envs(home.env())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!stderr.contains("panicked"), "{stderr}");
}
