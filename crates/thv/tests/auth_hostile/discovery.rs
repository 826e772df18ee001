//! Registries and providers that lie to somebody who has nothing but a URL, or change their word later (cases 3 to 7, 12 to 16).

use serde_json::{Value, json};
use thv_testkit::binary::Ran;
use thv_testkit::browse::browse;
use thv_testkit::provider::{Fault, Provider, Registration, Rule, paths};
use thv_testkit::registry::{FakeRegistry, Guard};
use thv_testkit::wait::until_true;

use crate::auth_kit::{LOGIN, REFRESH, STANDARD, Stage, assert_needs_login, names, report};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// A protected registry, a provider that registers programs, and nothing configured.
async fn bare() -> Stage {
    let stage = Stage::new().await;
    stage
        .provider
        .behave(|behaviour| behaviour.registration = Registration::Open);
    std::fs::remove_file(stage.home.config_file()).unwrap();
    stage
}

/// `thv registry login` with nothing but a URL and what a test needs.
async fn attempt(stage: &Stage, url: &str, more: &[&str]) -> Ran {
    let port = stage.port.to_string();
    let mut arguments = vec!["registry", "login", url, "-p", "--no-browser"];
    arguments.extend_from_slice(&["--callback-port", &port, "--timeout", "30"]);
    arguments.extend_from_slice(more);
    let mut running = stage.start_cli(&arguments);
    let authorize = stage.provider.at(paths::AUTHORIZE);
    until_true("an address or the end", || {
        running.stderr().contains(&authorize) || !running.is_running()
    })
    .await;
    if running.stderr().contains(&authorize) {
        let _ = browse(&running.word_on_stderr(&authorize).await).await;
    }
    running.ended().await
}

async fn logged_in(stage: &Stage, more: &[&str]) {
    let ran = attempt(stage, &stage.registry.url(), more).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
}

/// Refused before anybody was bothered and before anything was written.
#[track_caller]
fn assert_refused(stage: &Stage, ran: &Ran) {
    assert_ne!(ran.code, 0, "{}", ran.transcript());
    assert!(ran.stderr.contains("Hint:"), "{}", ran.transcript());
    assert!(stage.provider.requests_for(paths::AUTHORIZE).is_empty());
    assert!(stage.provider.requests_for(paths::TOKEN).is_empty());
    let config = stage.home.config();
    assert!(!config.contains("registry_auth"), "{config}");
}

#[tokio::test]
async fn case_03_metadata_about_something_else() {
    let stage = bare().await;
    let url = stage.registry.url();
    let below = format!("{url}/team");
    let other_port = format!("http://127.0.0.1:{}", stage.port);
    for (asked, resource) in [
        (&below, url.clone()),
        (&url, other_port),
        (&url, url.replace("127.0.0.1", "localhost")),
        (&url, format!("{url}/team")),
        (&url, format!("{url}?x=1")),
        (&url, url.to_uppercase()),
        (&url, String::new()),
    ] {
        stage.registry.describe(json!({
            "resource": resource, "authorization_servers": [stage.provider.issuer()],
        }));
        let ran = attempt(&stage, asked, &[]).await;
        assert_refused(&stage, &ran);
        assert!(stage.provider.requests().is_empty(), "{resource}");
    }
}

#[tokio::test]
async fn case_04_pointers_that_lead_away() {
    let stage = bare().await;
    let stranger = FakeRegistry::start().await;
    stranger.put_document(
        WELL_KNOWN,
        json!({"resource": stage.registry.url(), "authorization_servers": ["https://evil.example"]})
            .to_string(),
    );
    let pointers = [
        stranger.at(WELL_KNOWN),
        "http://evil.example/x".to_owned(),
        "file:///etc/passwd".to_owned(),
        "data:application/json,{}".to_owned(),
        format!(
            "//{}{WELL_KNOWN}",
            stranger.url().trim_start_matches("http://")
        ),
    ];
    let fields: Vec<String> = pointers
        .iter()
        .map(|pointer| format!("Bearer resource_metadata=\"{pointer}\""))
        .collect();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    stage.registry.challenge_with(&fields);
    logged_in(&stage, &[]).await;
    assert!(stranger.requests().is_empty(), "{:?}", stranger.requests());
    assert_eq!(stage.cli(&["registry", "list"]).await.code, 0);
}

#[tokio::test]
async fn case_05_challenges_in_odd_shapes() {
    let stage = bare().await;
    let stranger = FakeRegistry::start().await;
    let evil = stranger.at("/evil");
    let at_home = stage.registry.at("/metadata");
    stage.registry.leave_open("/metadata");
    stage.registry.put_document(
        "/metadata",
        json!({"resource": stage.registry.url(), "authorization_servers": [stage.provider.issuer()], "scopes_supported": ["registry:write"]})
            .to_string(),
    );
    stage.registry.challenge_with(&[
        &format!("Basic realm=\"a, Bearer resource_metadata=\\\"{evil}\\\"\""),
        &format!("Negotiate aGk=, bearer  Realm = \"x\\\\\" , resource_METADATA=\"{at_home}\""),
        "Bearer resource_metadata=\"broken",
    ]);
    logged_in(&stage, &[]).await;
    assert!(stranger.requests().is_empty());
    let asked = stage.provider.requests_for(paths::AUTHORIZE);
    let scope = asked[0].param("scope").unwrap_or_default();
    assert!(scope.contains("registry:write"), "{scope}");
    // What no client should have to read is refused or ignored, and is no crash.
    let long = format!("Bearer realm=\"{}\"", "x".repeat(1024 * 1024));
    stage.registry.challenge_with(&[&long]);
    std::fs::remove_file(stage.home.config_file()).unwrap();
    let ran = attempt(&stage, &stage.registry.url(), &[]).await;
    assert!(!ran.stderr.contains("panicked"), "{}", ran.transcript());
}

#[tokio::test]
async fn case_06_several_issuers_the_first_of_them_hostile() {
    let stage = bare().await;
    let hostile = Provider::start().await;
    let honest = stage.provider.issuer();
    stage.registry.describe(json!({
        "resource": stage.registry.url(), "authorization_servers": [hostile.issuer(), honest],
    }));
    let ran = attempt(&stage, &stage.registry.url(), &[]).await;
    assert_refused(&stage, &ran);
    assert!(ran.stderr.contains(&hostile.issuer()), "{}", ran.stderr);
    assert!(ran.stderr.contains("--issuer"), "{}", ran.stderr);
    logged_in(&stage, &["--issuer", &honest]).await;
    assert!(hostile.requests().is_empty(), "{:?}", hostile.requests());
}

#[tokio::test]
async fn case_07_a_registry_that_names_another_issuer_gets_no_token() {
    let stage = bare().await;
    logged_in(&stage, &[]).await;
    let other = Provider::for_resources(&[&stage.registry.url()]).await;
    other.behave(|behaviour| behaviour.registration = Registration::Open);
    stage
        .registry
        .protect(Guard::of(&other, &stage.registry.url()));
    stage.registry.clear_journal();
    stage.provider.clear_journal();
    let ran = stage.cli(&["registry", "list", "--refresh"]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    assert!(ran.stderr.contains("identity provider"), "{}", ran.stderr);
    let server = stage.server().await;
    let answer = server.post(REFRESH, &json!({})).await;
    assert_needs_login(&answer, "issuer_changed");
    assert_needs_login(&server.get(STANDARD).await, "issuer_changed");
    assert_eq!(report(&server).await["reason"], "issuer_changed");
    assert!(stage.registry.bearers().is_empty(), "a token was sent");
    assert!(stage.provider.requests_for(paths::TOKEN).is_empty());
    assert!(other.requests().is_empty(), "{:?}", other.requests());
    // A login at the old issuer would bring back what was ended.
    let answer = server.post(LOGIN, &json!({})).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.text().contains(&other.issuer()), "{answer:?}");
    assert!(stage.opener.urls().is_empty());
    // Nobody can agree to the change here, whatever else is asked for.
    let before = stage.home.config();
    let port = stage.port.to_string();
    for more in [&[][..], &["--callback-port", &port], &["--scopes", "a"]] {
        let arguments = [&["registry", "login", "--no-browser"], more].concat();
        let ran = stage.cli(&arguments).await;
        assert_eq!(ran.code, 3, "{}", ran.transcript());
        let named = format!("--issuer {}", other.issuer());
        for words in [&*named, "--yes", "nothing was changed"] {
            assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
        }
    }
    assert_eq!(stage.home.config(), before);
    assert!(other.requests_for(paths::REGISTER).is_empty());
    // The word of the person who logs in again is what counts, and the old client stays where it belongs.
    let issuer = other.issuer();
    let running = stage.start_cli(&["registry", "login", "--no-browser", "--issuer", &issuer]);
    let url = running.word_on_stderr(&other.at(paths::AUTHORIZE)).await;
    let _ = browse(&url).await;
    let ran = running.ended().await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert_eq!(other.requests_for(paths::REGISTER).len(), 1);
    assert_eq!(stage.cli(&["registry", "list"]).await.code, 0);
    thv_testkit::wait::until("the catalog", thv_testkit::wait::PATIENCE, || async {
        (server.get(STANDARD).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(names(&server).await.len(), 6);
    let config = stage.home.config();
    assert!(
        config.contains(&other.client_ids().pop().unwrap()),
        "{config}"
    );
}

#[tokio::test]
async fn case_07_metadata_that_say_nothing_end_no_login() {
    let stage = bare().await;
    logged_in(&stage, &[]).await;
    let (url, issuer) = (stage.registry.url(), stage.provider.issuer());
    for said in [
        json!({"resource": url, "authorization_servers": ["https://new.example", issuer]}),
        json!({"resource": url}),
        json!({"resource": "https://other.example", "authorization_servers": ["https://evil.example"]}),
        json!([]),
    ] {
        stage.registry.describe(said.clone());
        let ran = stage.cli(&["registry", "list", "--refresh"]).await;
        assert_eq!(ran.code, 0, "{said}: {}", ran.transcript());
    }
}

#[tokio::test]
async fn case_12_a_token_endpoint_on_another_host_than_at_the_login_gets_nothing() {
    let stage = bare().await;
    stage.live_for(2);
    // The first login was led to another host, and the document is mended afterwards; or the other way round.
    let elsewhere = stage
        .provider
        .at(paths::TOKEN)
        .replace("127.0.0.1", "localhost");
    stage
        .provider
        .behave(|behaviour| behaviour.advertise("token_endpoint", elsewhere));
    logged_in(&stage, &[]).await;
    stage.provider.behave(|behaviour| {
        behaviour.metadata.remove("token_endpoint");
    });
    stage.provider.clear_journal();
    stage.until_expired(2).await;
    let ran = stage.cli(&["registry", "list", "--refresh"]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    let server = stage.server().await;
    assert_needs_login(&server.get(STANDARD).await, "issuer_changed");
    assert_eq!(stage.refreshes(), 0);
    let ran = stage.cli(&["registry", "logout"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert!(stage.provider.requests_for(paths::REVOKE).is_empty());
    stage.live_for(300);
    logged_in(&stage, &[]).await;
    assert_eq!(stage.cli(&["registry", "list"]).await.code, 0);
}

#[tokio::test]
async fn case_13_registrations_of_somebody_else() {
    for (member, value) in [
        ("redirect_uris", json!(["https://evil.example/"])),
        ("redirect_uris", json!([])),
        ("client_id", json!("")),
        ("client_id", json!(["a"])),
        ("token_endpoint_auth_method", json!("client_secret_basic")),
        ("token_endpoint_auth_method", json!("tls_client_auth")),
    ] {
        let stage = bare().await;
        stage.provider.behave(|behaviour| {
            behaviour.registration_answer = vec![
                (member.to_owned(), Some(value.clone())),
                (
                    "registration_client_uri".to_owned(),
                    Some("http://169.254.169.254/".into()),
                ),
            ];
        });
        let ran = attempt(&stage, &stage.registry.url(), &[]).await;
        assert_refused(&stage, &ran);
        assert_eq!(
            stage.provider.requests_for(paths::REGISTER).len(),
            1,
            "{value}"
        );
    }
    let stage = bare().await;
    stage.provider.behave(|behaviour| {
        behaviour.registration = Registration::Secret;
        behaviour.registration_answer =
            vec![("client_secret_expires_at".to_owned(), Some(json!(1_000)))];
    });
    let ran = attempt(&stage, &stage.registry.url(), &[]).await;
    assert_refused(&stage, &ran);
    for secret in stage.provider.secrets() {
        assert!(!ran.stderr.contains(&secret), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn case_14_registration_answers_without_end() {
    for fault in [
        Fault::Huge(8 * 1024 * 1024),
        Fault::HangInBody,
        Fault::Html(200),
        Fault::RedirectTo {
            status: 307,
            url: "https://evil.example/".to_owned(),
        },
    ] {
        let stage = bare().await;
        stage
            .provider
            .break_with(Rule::always(fault.clone()).on(paths::REGISTER));
        let ran = attempt(&stage, &stage.registry.url(), &[]).await;
        assert_refused(&stage, &ran);
    }
}

#[tokio::test]
async fn case_15_a_provider_that_knows_no_client_is_no_loop() {
    let stage = bare().await;
    logged_in(&stage, &[]).await;
    stage.provider.clear_journal();
    let forgotten = Fault::Error {
        status: 401,
        error: "invalid_client".to_owned(),
    };
    stage
        .provider
        .break_with(Rule::always(forgotten).on(paths::TOKEN));
    let ran = attempt(&stage, &stage.registry.url(), &[]).await;
    assert_ne!(ran.code, 0, "{}", ran.transcript());
    assert!(ran.stderr.contains("--register"), "{}", ran.transcript());
    assert_eq!(stage.provider.requests_for(paths::REGISTER).len(), 1);
    // One question whether the client is known, and one code.
    assert_eq!(stage.provider.requests_for(paths::TOKEN).len(), 2);
}

#[tokio::test]
async fn case_16_tokens_that_could_be_bound_and_are_not() {
    let stage = bare().await;
    stage.provider.behave(|behaviour| {
        behaviour.advertise("dpop_signing_alg_values_supported", json!(["ES256"]));
    });
    logged_in(&stage, &[]).await;
    let server = stage.server().await;
    let told = report(&server).await;
    let relaxations = told["relaxations"].as_array().unwrap();
    assert!(
        relaxations.contains(&Value::from("bearer_despite_dpop")),
        "{told}"
    );
    // A token that claims to be bound, to a key that nobody showed, is no token.
    stage
        .provider
        .behave(|behaviour| behaviour.answer_with("token_type", "DPoP"));
    let ran = attempt(&stage, &stage.registry.url(), &["--dpop", "off"]).await;
    assert_ne!(ran.code, 0, "{}", ran.transcript());
}
