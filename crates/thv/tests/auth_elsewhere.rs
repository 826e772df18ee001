//! Logins whose browser is somewhere else: with a code for another device, and with a pasted address.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

mod auth_kit;

use auth_kit::{LOGOUT, Stage, THV, is_listening, names, posted};
use thv_testkit::binary::Server;
use thv_testkit::browse::{Browser, browse};
use thv_testkit::provider::{User, paths};
use thv_testkit::running::Running;
use thv_testkit::wait::until_true;

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.provider.behave(|provider| {
        provider.offers_device = true;
        provider.device_interval = 1;
    });
    stage
}

/// The address with the code in it.
async fn device_url(stage: &Stage, running: &Running) -> String {
    let prefix = format!("{}?", stage.provider.at(paths::DEVICE));
    running.word_on_stderr(&prefix).await
}

#[tokio::test]
async fn a_code_logs_in_while_the_port_of_the_callback_is_taken() {
    let stage = stage().await;
    let _taken = std::net::TcpListener::bind(("127.0.0.1", stage.port)).unwrap();
    let busy = stage.cli(&["registry", "login", "--no-browser"]).await;
    assert_eq!(busy.code, 1, "{}", busy.transcript());
    assert!(busy.stderr.contains("--device"), "{}", busy.transcript());
    let running = stage.start_cli(&["registry", "login", "--device"]);
    let url = device_url(&stage, &running).await;
    let shown = running.stderr();
    let (_, code) = url.split_once("user_code=").expect("a code");
    assert!(shown.contains(&format!("code     {code}\n")), "{shown}");
    assert!(shown.contains(&stage.provider.issuer()), "{shown}");
    assert!(shown.contains(&stage.registry.url()), "{shown}");
    browse(&url).await;
    let ran = running.ended().await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert!(ran.stderr.contains("Logged in as alice@example.test."));
    assert!(stage.opener.urls().is_empty());
    let server = stage.server().await;
    assert_eq!(names(&server).await.len(), 6);
    for secret in stage.provider.secrets() {
        assert!(!ran.stderr.contains(&secret), "a secret was printed");
    }
}

#[tokio::test]
async fn a_code_that_is_refused_is_told() {
    let stage = stage().await;
    stage.provider.users([User::Denies]);
    let running = stage.start_cli(&["registry", "login", "--device"]);
    browse(&device_url(&stage, &running).await).await;
    let ran = running.ended().await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    assert!(ran.stderr.contains("access_denied"), "{}", ran.transcript());
}

#[tokio::test]
async fn a_provider_without_codes_says_what_to_type_instead() {
    let stage = Stage::new().await;
    let ran = stage.cli(&["registry", "login", "--device"]).await;
    assert_eq!(ran.code, 1, "{}", ran.transcript());
    assert!(
        ran.stderr.contains("does not offer device codes"),
        "{}",
        ran.transcript()
    );
    assert!(ran.stderr.contains("Hint: `thv registry login`"));
}

#[tokio::test]
async fn a_pasted_address_logs_in() {
    let stage = Stage::new().await;
    let arguments = ["registry", "login", "--paste"];
    let mut running = Running::start_typing(THV, &stage.home, &arguments, stage.env());
    let url = stage.printed_url(&running).await;
    assert!(is_listening(stage.port), "a browser here would do too");
    let redirect = Browser::default()
        .open_until(&url, "http://localhost:")
        .await;
    running.type_line("what now?");
    until_true("a remark", || running.stderr().contains("Not taken: ")).await;
    running.type_line(&redirect.replace("state=", "state=x"));
    until_true("a second remark", || {
        running.stderr().contains("belongs to another login")
    })
    .await;
    running.type_line("");
    running.type_line(&redirect);
    let ran = running.ended().await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert!(ran.stderr.contains("Logged in as alice@example.test."));
    assert!(!is_listening(stage.port));
    assert!(stage.opener.urls().is_empty(), "a browser was opened");
}

#[tokio::test]
async fn a_pipe_is_read_only_when_it_is_asked_for() {
    let stage = Stage::new().await;
    let arguments = ["registry", "login", "--no-browser"];
    let mut running = Running::start_typing(THV, &stage.home, &arguments, stage.env());
    let url = stage.printed_url(&running).await;
    running.type_line("not for this command");
    let told = running.stderr();
    assert!(!told.contains("paste that here"), "{told}");
    assert!(told.contains("`--paste` reads that"), "{told}");
    browse(&url).await;
    let ran = running.ended().await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert!(!ran.stderr.contains("Not taken"), "{}", ran.transcript());
}

#[tokio::test]
async fn an_input_that_ends_leaves_the_browser() {
    let stage = Stage::new().await;
    let running = stage.start_cli(&["registry", "login", "--paste"]);
    let url = stage.printed_url(&running).await;
    browse(&url).await;
    let ran = running.ended().await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
}

#[tokio::test]
async fn a_login_with_a_code_that_is_given_up_is_over() {
    let stage = stage().await;
    let ran = stage
        .cli(&["registry", "login", "--device", "--timeout", "1"])
        .await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    assert!(ran.stderr.contains("within 1 s"), "{}", ran.transcript());
    let server = stage.server().await;
    let logout = posted(server.address(), LOGOUT).await.unwrap();
    assert_eq!(logout.status, 200, "{logout:?}");
}

const LOGINS: &str = "/api/v1/registries/default/auth/logins";

/// Starts a login and leaves it to its fate; whether it could be started.
async fn prompted(server: &Server) -> bool {
    let answer = posted(server.address(), LOGINS).await.unwrap();
    if answer.status == 429 {
        return false;
    }
    assert_eq!(answer.status, 201, "{answer:?}");
    let logout = posted(server.address(), LOGOUT).await.unwrap();
    assert_eq!(logout.status, 200, "{logout:?}");
    true
}

#[tokio::test]
async fn a_restart_forgets_no_prompt_and_a_person_on_the_command_line_counts_as_an_answer() {
    let stage = Stage::new().await;
    for _ in 0..3 {
        let server = stage.server().await;
        assert!(prompted(&server).await);
        assert!(server.stop().await.success());
    }
    let server = stage.server().await;
    assert!(!prompted(&server).await, "a restart has forgotten");
    // Without a terminal the command line is a program like others.
    let arguments = ["registry", "login", "--no-browser", "--timeout", "1"];
    let ran = stage.cli(&arguments).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    for words in ["answered by nobody", "`thv registry login` in a terminal"] {
        assert!(ran.stderr.contains(words), "{}", ran.transcript());
    }
    assert!(!prompted(&server).await, "nobody was there");
    let in_terminal = format!("'{THV}' {}", arguments.join(" "));
    let script = ["-qec", &in_terminal, "/dev/null"];
    let ran = Running::start("script", &stage.home, &script, stage.env())
        .ended()
        .await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    assert!(prompted(&server).await, "somebody was there");
}

#[tokio::test]
async fn prompts_of_commands_without_a_terminal_are_counted() {
    let stage = stage().await;
    for way in [&[][..], &["--no-browser"], &["--device"]] {
        let arguments = [&["registry", "login", "--timeout", "1"], way].concat();
        let ran = stage.cli(&arguments).await;
        assert!(ran.stderr.contains("within 1 s"), "{}", ran.transcript());
    }
    let server = stage.server().await;
    assert!(!prompted(&server).await);
    let ran = stage.cli(&["registry", "login", "--device"]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    let asked = stage.provider.requests_for(paths::DEVICE_AUTHORIZATION);
    assert_eq!(asked.len(), 1, "the provider was asked for nothing");
}
