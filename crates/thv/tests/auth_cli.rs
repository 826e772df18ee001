//! Logins on the command line: one login, then every command reads the protected registry; and how a server and commands
//! of the same user notice each other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

mod auth_kit;

use std::time::Instant;

use auth_kit::{
    LOGOUT, REFRESH, SHOWS_WITHIN, STANDARD, Stage, THV, assert_needs_login, free_port,
    is_listening, names, report, until_status,
};
use rustix::process::Signal;
use serde_json::json;
use thv_testkit::browse::browse;
use thv_testkit::provider::{CLIENT, Fault, Gate, Rule, User, paths};
use thv_testkit::running::Running;
use thv_testkit::wait::until_true;

#[tokio::test]
async fn a_protected_registry_on_the_command_line() {
    let stage = Stage::new().await;
    let ran = stage.cli(&["registry", "list"]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    assert!(ran.stderr.contains("thv registry login"), "{}", ran.stderr);
    assert!(stage.opener.urls().is_empty(), "a browser was opened");
    let ran = stage.cli_login(&[]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert!(ran.stderr.contains("Log in at:"), "{}", ran.stderr);
    assert!(ran.stderr.contains("alice"), "{}", ran.stderr);
    let ran = stage.cli(&["registry", "list", "--format", "json"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert_eq!(
        ran.json().as_array().map(Vec::len),
        Some(6),
        "{}",
        ran.stdout
    );
    let ran = stage.cli(&["registry", "status"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let name = stage.registry.live_names()[0].clone();
    let ran = stage.cli(&["registry", "info", &name]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let ran = stage.cli(&["registry", "logout"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert!(!stage.provider.requests_for(paths::REVOKE).is_empty());
    let ran = stage.cli(&["registry", "list"]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    let ran = stage.cli(&["registry", "logout"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
}

#[tokio::test]
async fn expired_tokens_are_renewed_by_a_command() {
    let stage = Stage::with_tokens_of(1).await;
    stage.logged_in_by_cli().await;
    stage.until_expired(1).await;
    stage.live_for(300);
    for _ in 0..2 {
        let ran = stage.cli(&["registry", "list", "--refresh"]).await;
        assert_eq!(ran.code, 0, "{}", ran.transcript());
    }
    assert!(stage.refreshes() >= 1);
    assert!(
        stage
            .provider
            .families()
            .iter()
            .all(|family| family.ended.is_none())
    );
}

#[tokio::test]
async fn the_browser_is_opened_unless_told_otherwise_and_the_address_is_printed_anyway() {
    let stage = Stage::new().await;
    let running = stage.start_cli(&["registry", "login"]);
    let printed = stage.printed_url(&running).await;
    let opened = stage.opener.url(1).await;
    assert_eq!(printed, opened);
    let _ = browse(&opened).await;
    assert_eq!(running.ended().await.code, 0);
    stage.logged_in_by_cli().await;
    assert_eq!(stage.opener.urls().len(), 1);
}

#[tokio::test]
async fn one_command_configures_and_logs_in() {
    let stage = Stage::new().await;
    // The default port is everybody's: the configured one is kept for the same client.
    let ran = stage
        .cli_login(&[
            "-p",
            "--registry",
            &stage.registry.url(),
            "--issuer",
            &stage.provider.issuer(),
            "--client-id",
            CLIENT,
            "--audience",
            &stage.registry.url(),
            "--scopes",
            "openid,offline_access,registry:read",
        ])
        .await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let ran = stage.cli(&["registry", "list"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let config = stage.home.config();
    assert!(
        config.contains(&format!("callback_port: {}", stage.port)),
        "{config}"
    );
}

#[tokio::test]
async fn w15_no_read_on_the_command_line_logs_in_by_itself() {
    let stage = Stage::new().await;
    for arguments in [
        vec!["registry", "list"],
        vec!["registry", "list", "--refresh"],
        vec!["registry", "info", "some.server/name"],
        vec!["registry", "status"],
        vec!["registry", "refresh"],
        vec!["search", "x"],
        vec!["config", "get-registry"],
    ] {
        let began = Instant::now();
        let ran = stage.cli(&arguments).await;
        assert!(began.elapsed().as_secs() < 30, "{arguments:?}");
        assert!(
            ran.code == 3 || ran.code == 0,
            "{arguments:?}: {}",
            ran.transcript()
        );
    }
    assert!(stage.opener.urls().is_empty());
    assert_eq!(stage.authorizations(), 0);
}

#[tokio::test]
async fn w17_another_registry_with_the_settings_there_are() {
    let stage = Stage::new().await;
    let other = thv_testkit::registry::FakeRegistry::with_servers(2).await;
    stage.provider.allow_resource(&other.url());
    other.protect(thv_testkit::registry::Guard::of(
        &stage.provider,
        &other.url(),
    ));
    let ran = stage
        .cli_login(&["-p", "--registry", &other.url(), "--audience", &other.url()])
        .await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let ran = stage.cli(&["registry", "list", "--format", "json"]).await;
    assert_eq!(
        ran.json().as_array().map(Vec::len),
        Some(2),
        "{}",
        ran.transcript()
    );
    assert!(stage.registry.bearers().is_empty());
}

#[tokio::test]
async fn w17_a_local_file_is_no_hindrance_and_is_named_when_nothing_else_is_given() {
    let stage = Stage::new().await;
    let path = stage
        .home
        .use_document(&thv_testkit::fixture::registry_document([
            thv_testkit::fixture::npm("test.by/file", "@example/f"),
        ]));
    let ran = stage.cli(&["registry", "login", "--no-browser"]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    assert!(
        ran.stderr.contains(&path.display().to_string()),
        "{}",
        ran.stderr
    );
    let before = stage.home.config();
    let ran = stage
        .cli(&[
            "registry",
            "login",
            "--no-browser",
            "--issuer",
            &stage.provider.issuer(),
        ])
        .await;
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("--client-id"), "{}", ran.stderr);
    assert_eq!(stage.home.config(), before);
}

#[tokio::test]
async fn w17_an_issuer_without_a_client_is_not_ignored() {
    let stage = Stage::new().await;
    stage.home.use_api(&stage.registry.url());
    let ran = stage
        .cli(&[
            "registry",
            "login",
            "--no-browser",
            "--issuer",
            &stage.provider.issuer(),
        ])
        .await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    assert!(ran.stderr.contains("--client-id"), "{}", ran.stderr);
}

#[tokio::test]
async fn f6_an_issuer_over_plain_http_is_refused_and_nothing_is_written() {
    let stage = Stage::new().await;
    let before = stage.home.config();
    let ran = stage
        .cli(&[
            "registry",
            "login",
            "--no-browser",
            "--issuer",
            "http://issuer.example",
            "--client-id",
            "x",
        ])
        .await;
    assert_ne!(ran.code, 0, "{}", ran.transcript());
    assert_eq!(stage.home.config(), before);
}

#[tokio::test]
async fn f18_a_private_address_needs_the_flag() {
    let stage = Stage::new().await;
    stage.home.write_config("");
    let url = stage.registry.url();
    let issuer = stage.provider.issuer();
    let flags = [
        "--registry",
        &url,
        "--issuer",
        &issuer,
        "--client-id",
        CLIENT,
    ];
    let mut arguments = vec!["registry", "login", "--no-browser"];
    arguments.extend_from_slice(&flags);
    let ran = stage.cli(&arguments).await;
    assert_ne!(ran.code, 0, "{}", ran.transcript());
    assert!(stage.registry.requests().is_empty());
}

#[tokio::test]
async fn ctrl_c_ends_a_login_and_frees_the_port() {
    let stage = Stage::new().await;
    let running = stage.start_cli(&["registry", "login", "--no-browser"]);
    let _ = stage.printed_url(&running).await;
    assert!(is_listening(stage.port));
    running.signal(Signal::INT);
    let ran = running.ended().await;
    assert_ne!(ran.code, 0, "{}", ran.transcript());
    assert!(!is_listening(stage.port));
    stage.logged_in_by_cli().await;
}

/// Interrupts a login that somebody has answered, which goes on and says so.
async fn interrupted_after_an_answer(running: &Running) {
    running.signal(Signal::INT);
    until_true("the command to say so", || {
        running.stderr().contains("Somebody has logged in")
    })
    .await;
}

#[tokio::test]
async fn ctrl_c_after_somebody_has_logged_in_loses_no_login() {
    let stage = Stage::new().await;
    for arguments in [
        &["registry", "login"][..],
        &["registry", "login", "--no-browser"],
    ] {
        let gate = Gate::new();
        let held = Rule::always(Fault::HeldAfter(gate.clone()));
        stage.provider.break_with(held.on(paths::TOKEN));
        let running = stage.start_cli(arguments);
        let url = stage.printed_url(&running).await;
        let browsing = tokio::spawn(async move { browse(&url).await });
        gate.arrived(1).await;
        interrupted_after_an_answer(&running).await;
        gate.open();
        let ran = running.ended().await;
        assert_eq!(ran.code, 0, "{}", ran.transcript());
        assert!(ran.stderr.contains("Logged in as"), "{}", ran.stderr);
        let _ = browsing.await;
        stage.provider.heal();
        assert!(!is_listening(stage.port));
        assert_eq!(stage.cli(&["registry", "list"]).await.code, 0);
        assert_eq!(stage.cli(&["registry", "logout"]).await.code, 0);
    }
}

#[tokio::test]
async fn ctrl_c_twice_ends_a_login_in_any_case() {
    let stage = Stage::new().await;
    let gate = Gate::new();
    let held = Rule::always(Fault::HeldAfter(gate.clone()));
    stage.provider.break_with(held.on(paths::TOKEN));
    let running = stage.start_cli(&["registry", "login", "--no-browser"]);
    let url = stage.printed_url(&running).await;
    let browsing = tokio::spawn(async move { browse(&url).await });
    gate.arrived(1).await;
    interrupted_after_an_answer(&running).await;
    running.signal(Signal::INT);
    let ran = running.ended().await;
    assert_ne!(ran.code, 0, "{}", ran.transcript());
    browsing.abort();
}

#[tokio::test]
async fn a_login_that_nobody_finishes_ends_in_time() {
    let stage = Stage::new().await;
    let ran = stage
        .cli(&["registry", "login", "--no-browser", "--timeout", "1"])
        .await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    assert!(ran.stderr.contains("within 1 s"), "{}", ran.stderr);
    assert!(!is_listening(stage.port));
}

#[tokio::test]
async fn a_refusal_is_told_with_the_providers_code() {
    let stage = Stage::new().await;
    stage.provider.users([User::Denies]);
    let ran = stage.cli_login(&[]).await;
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("access_denied"), "{}", ran.stderr);
}

#[tokio::test]
async fn w5_a_login_that_cannot_be_stored_fails_before_an_address_is_printed() {
    let stage = Stage::new().await;
    let ran = stage
        .cli_with(
            &["registry", "login", "--no-browser"],
            &[("TOOLHIVE_SECRETS_PROVIDER", "environment")],
        )
        .await;
    assert_ne!(ran.code, 0, "{}", ran.transcript());
    assert!(!ran.stderr.contains("Log in at:"), "{}", ran.stderr);
    let ran = stage
        .cli_with(
            &["registry", "login", "--no-browser"],
            &[
                ("TOOLHIVE_SECRETS_PASSWORD", ""),
                ("TOOLHIVE_SECRETS_KEY_FILE", "/nonexistent/key"),
            ],
        )
        .await;
    assert_ne!(ran.code, 0, "{}", ran.transcript());
    assert!(ran.stderr.contains("/nonexistent/key"), "{}", ran.stderr);
    assert_eq!(stage.authorizations(), 0);
}

#[tokio::test]
async fn w20_a_login_on_a_machine_without_a_keyring_says_where_the_key_is() {
    let stage = Stage::new().await;
    let without_password = [("TOOLHIVE_SECRETS_PASSWORD", "")];
    let log_in = async || {
        let mut env = stage.env();
        env.retain(|(name, _)| name != "TOOLHIVE_SECRETS_PASSWORD");
        let arguments = ["registry", "login", "--no-browser"];
        let running = Running::start(THV, &stage.home, &arguments, env);
        let url = stage.printed_url(&running).await;
        let _ = browse(&url).await;
        running.ended().await
    };
    let ran = log_in().await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let key_file = stage.home.join("data/toolhive/secrets_key");
    assert!(
        ran.stderr.contains(&format!(
            "Note: no keyring keeps the key of the secret store; it is in {}",
            key_file.display()
        )),
        "{}",
        ran.stderr
    );
    let list = stage
        .cli_with(&["registry", "list"], &without_password)
        .await;
    assert_eq!(list.code, 0, "{}", list.transcript());
    let again = log_in().await;
    assert!(
        !again.stderr.contains("no keyring keeps"),
        "{}",
        again.stderr
    );
}

#[tokio::test]
async fn a_server_notices_a_login_of_the_command_line_within_a_second() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    assert_needs_login(&server.get(STANDARD).await, "never_logged_in");
    stage.logged_in_by_cli().await;
    let began = Instant::now();
    let _ = until_status(&server, STANDARD, 200).await;
    assert!(began.elapsed() < SHOWS_WITHIN, "{:?}", began.elapsed());
    assert_eq!(report(&server).await["state"], "authenticated");
}

#[tokio::test]
async fn w16_a_server_notices_a_logout_of_the_command_line_within_a_second() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    let ran = stage.cli(&["registry", "logout"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let began = Instant::now();
    let answer = until_status(&server, STANDARD, 503).await;
    assert!(began.elapsed() < SHOWS_WITHIN, "{:?}", began.elapsed());
    assert_needs_login(&answer, "never_logged_in");
    assert_ne!(report(&server).await["state"], "authenticated");
}

#[tokio::test]
async fn a_command_notices_a_login_and_a_logout_of_the_server() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    let ran = stage.cli(&["registry", "list"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert_eq!(server.post(LOGOUT, &json!({})).await.status, 200);
    let ran = stage.cli(&["registry", "list"]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
}

#[tokio::test]
async fn w3_the_status_is_the_truth_of_the_store() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    assert_eq!(report(&server).await["state"], "authenticated");
    std::fs::remove_file(stage.home.join("data/toolhive/secrets_encrypted")).unwrap();
    let began = Instant::now();
    until_status(&server, STANDARD, 503).await;
    assert!(began.elapsed() < SHOWS_WITHIN, "{:?}", began.elapsed());
    assert_eq!(report(&server).await["state"], "login_required");
    let answer = server.get(auth_kit::DEFAULT).await;
    assert_needs_login(&answer, "never_logged_in");
    assert_eq!(server.post(REFRESH, &json!({})).await.status, 503);
}

#[tokio::test]
async fn a_busy_port_is_told_with_its_number() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let login = stage.start_login(&server).await;
    let ran = stage.cli(&["registry", "login", "--no-browser"]).await;
    assert_ne!(ran.code, 0);
    assert!(
        ran.stderr.contains(&stage.port.to_string()),
        "{}",
        ran.stderr
    );
    let holder = format!("(PID {}), which is waiting for a login", server.pid());
    for words in [&*holder, "finish or cancel", "--callback-port", "--device"] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
    login.drop_it().await;
    assert_ne!(free_port(), stage.port);
}

#[tokio::test]
async fn a_logout_without_a_server_deletes_the_cached_catalog_too() {
    let stage = Stage::new().await;
    stage.logged_in_by_cli().await;
    assert_eq!(stage.cli(&["registry", "list"]).await.code, 0);
    let name = stage.registry.live_names()[0].clone();
    let is_cached = || {
        let cached = stage.cached();
        cached
            .iter()
            .any(|(_, bytes)| String::from_utf8_lossy(bytes).contains(&name))
    };
    assert!(is_cached(), "nothing was cached to begin with");
    let ran = stage.cli(&["registry", "logout"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert!(!is_cached(), "the catalog is still there");
}
