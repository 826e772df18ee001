//! Who logged in, and at whom: providers that cannot describe themselves, and ID tokens that prove nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

mod auth_kit;

use auth_kit::{AUTH, LOGIN, STANDARD, Stage, assert_needs_login, names, report};
use serde_json::{Value, json};
use thv_testkit::binary::Server;
use thv_testkit::browse::browse;
use thv_testkit::provider::{Fault, Rule, Signature, Twist, User, paths};
use thv_testkit::registry::FakeRegistry;
use thv_testkit::wait::{PATIENCE, all, until};

/// A login that ends before a browser opens.
async fn ends_before_the_browser(fault: Fault) {
    let stage = Stage::new().await;
    stage
        .provider
        .break_with(Rule::always(fault.clone()).on("/.well-known/"));
    let server = stage.server().await;
    let answer = server.post(LOGIN, &json!({})).await;
    assert_eq!(answer.status, 502, "{fault:?}: {answer:?}");
    let issuer = stage.provider.issuer();
    assert!(
        answer
            .text()
            .contains(&format!("OIDC discovery failed for issuer {issuer}")),
        "{fault:?}: {answer:?}"
    );
    assert!(stage.opener.urls().is_empty(), "{fault:?}");
    assert!(!auth_kit::is_listening(stage.port), "{fault:?}");
    assert_needs_login(&server.get(STANDARD).await, "never_logged_in");
}

#[tokio::test]
async fn a_provider_that_cannot_describe_itself_is_named_before_any_browser_opens() {
    let stranger = FakeRegistry::start().await;
    let raw = |media_type: &str, body: &str| Fault::Raw {
        status: 200,
        media_type: media_type.to_owned(),
        body: body.to_owned(),
    };
    let faults = [
        Fault::Status(500),
        Fault::Status(404),
        Fault::Cut,
        Fault::CutBody,
        Fault::Html(200),
        Fault::Garbage,
        Fault::Empty,
        Fault::Huge(20 * 1024 * 1024),
        Fault::Hang,
        Fault::HangInBody,
        Fault::RedirectTo {
            status: 302,
            // Another port of the same host would be followed.
            url: stranger.at(paths::OPENID).replace("127.0.0.1", "localhost"),
        },
        raw("application/json", "[]"),
        raw("application/json", "{}"),
        raw("text/plain", "{}"),
    ];
    for some in faults.chunks(4) {
        all(some.iter().cloned().map(ends_before_the_browser)).await;
    }
    assert!(stranger.requests().is_empty(), "{:?}", stranger.requests());
}

#[tokio::test]
async fn a_provider_that_is_down_is_named_before_any_browser_opens() {
    let stage = Stage::new().await;
    stage.provider.refuse().await;
    let server = stage.server().await;
    let answer = server.post(LOGIN, &json!({})).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(stage.opener.urls().is_empty());
    let ran = stage.cli(&["registry", "login", "--no-browser"]).await;
    assert_eq!(ran.code, 5, "{}", ran.transcript());
    stage.provider.accept_again();
    assert_eq!(stage.log_in(&server).await.status, 200);
    assert_eq!(names(&server).await.len(), 6);
}

#[tokio::test]
async fn a_provider_that_goes_down_during_a_login_ends_it_with_a_reason() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let login = stage.start_login(&server).await;
    let back = thv_testkit::browse::Browser::default()
        .open_until(&login.url, "http://localhost:")
        .await;
    stage.provider.refuse().await;
    let page = thv_testkit::browse::browse(&back).await;
    assert_ne!(page.answer.status, 500, "{page:?}");
    let answer = login.answer().await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(!auth_kit::is_listening(stage.port));
}

async fn proves_nothing(name: &str, twist: Twist) {
    let stage = Stage::new().await;
    stage
        .provider
        .behave(|behaviour| behaviour.id_token = twist);
    let server = stage.server().await;
    let answer = stage.log_in(&server).await;
    assert_eq!(answer.status, 502, "{name}: {answer:?}");
    assert!(
        answer.text().contains("who logged in"),
        "{name}: {answer:?}"
    );
    assert_needs_login(&server.get(STANDARD).await, "never_logged_in");
    assert!(stage.registry.bearers().is_empty(), "{name}");
}

#[tokio::test]
async fn id_tokens_that_prove_nothing_are_refused_and_nothing_is_kept() {
    let twist = Twist::default;
    let table = [
        ("no signature", twist().signature(Signature::None)),
        ("a foreign key", twist().signature(Signature::Foreign)),
        ("an unknown key", twist().signature(Signature::UnknownKey)),
        (
            "another issuer",
            twist().claim("iss", "https://honest.example"),
        ),
        ("another client", twist().claim("aud", "another")),
        (
            "two clients, no azp",
            twist().claim("aud", json!(["thv-cli", "another"])),
        ),
        (
            "another azp",
            twist()
                .claim("aud", json!(["thv-cli", "x"]))
                .claim("azp", "x"),
        ),
        ("another nonce", twist().claim("nonce", "another")),
        ("no nonce", twist().claim("nonce", Value::Null)),
        ("expired", twist().claim("exp", 1)),
        ("no expiry", twist().claim("exp", Value::Null)),
        ("no subject", twist().claim("sub", Value::Null)),
    ];
    for some in table.chunks(4) {
        let some = some.iter().cloned();
        all(some.map(|(name, twist)| proves_nothing(name, twist))).await;
    }
}

#[tokio::test]
async fn keys_that_are_new_since_the_last_login_are_fetched() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    stage.provider.rotate_keys(false);
    assert_eq!(stage.log_in(&server).await.status, 200);
    assert_eq!(report(&server).await["account"]["sub"], "alice");
}

#[tokio::test]
async fn without_an_id_token_a_login_works_and_names_nobody() {
    let stage = Stage::new().await;
    stage
        .provider
        .behave(|behaviour| behaviour.omits_id_token = true);
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    let told = report(&server).await;
    assert_eq!(told["state"], "authenticated", "{told}");
    assert_eq!(told["account"], Value::Null, "{told}");
}

#[tokio::test]
async fn a_renewal_that_brings_somebody_elses_tokens_is_not_used() {
    let stage = Stage::with_tokens_of(2).await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    stage
        .provider
        .behave(|behaviour| behaviour.id_token = Twist::default().claim("sub", "mallory"));
    stage.until_expired(2).await;
    let answer = server.post(auth_kit::REFRESH, &json!({})).await;
    assert_needs_login(&answer, "account_mismatch");
    assert_needs_login(&server.get(STANDARD).await, "account_mismatch");
}

#[tokio::test]
async fn the_account_shows_on_the_command_line_too() {
    let stage = Stage::new().await;
    stage.provider.users([User::ApprovesAs("bob".to_owned())]);
    let ran = stage.cli_login(&[]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert!(ran.stderr.contains("bob@example.test"), "{}", ran.stderr);
    let ran = stage.cli(&["registry", "status", "--format", "json"]).await;
    assert!(ran.stdout.contains("bob"), "{}", ran.transcript());
}

#[tokio::test]
async fn a_login_as_somebody_else_is_taken_only_where_that_is_meant() {
    let stage = Stage::new().await;
    stage.provider.users([User::ApprovesAs("bob".to_owned())]);
    assert_eq!(stage.cli_login(&[]).await.code, 0);
    // The browser is alice's from here on.
    let ran = stage.cli_login(&[]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    for words in ["alice@", "bob@", "--switch-account"] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
    let server = stage.server().await;
    let logins = format!("{AUTH}/logins");
    let failed = answered(&server, &logins, &json!({})).await;
    assert_eq!(failed["state"], "failed", "{failed}");
    assert_eq!(failed["outcome"]["code"], "account_mismatch", "{failed}");
    assert_eq!(report(&server).await["account"]["sub"], "bob");
    assert_eq!(names(&server).await.len(), 6);
    let unreadable = server
        .post(&logins, &json!({"switch_account": "yes"}))
        .await;
    assert_eq!(unreadable.status, 400, "{unreadable:?}");
    let taken = answered(&server, &logins, &json!({"switch_account": true})).await;
    assert_eq!(taken["state"], "authenticated", "{taken}");
    assert_eq!(
        taken["outcome"]["replaced_account"]["sub"], "bob",
        "{taken}"
    );
    assert_eq!(report(&server).await["account"]["sub"], "alice");

    stage.provider.users([User::ApprovesAs("bob".to_owned())]);
    let ran = stage.cli_login(&["--switch-account"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert!(ran.stderr.contains("in place of alice@"), "{}", ran.stderr);
}

/// A login that was started as a resource and answered in a browser, as it ended.
async fn answered(server: &Server, logins: &str, body: &Value) -> Value {
    let started = server.post(logins, body).await.json();
    let url = started["methods"][0]["authorization_url"].as_str();
    let Some(url) = url else {
        panic!("no browser's way: {started}")
    };
    let _ = browse(url).await;
    let login = started["url"].as_str().expect("a place");
    until("the login to end", PATIENCE, || async {
        let login = server.get(login).await.json();
        let waits = ["pending", "completing"].map(Value::from);
        (!waits.contains(&login["state"])).then_some(login)
    })
    .await
}
