//! Credentials that need no person: each way from the command line to a catalog behind a registry that checks the audience, and what
//! clients are told when a way fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

mod auth_kit;

use auth_kit::{
    AUTH, DEFAULT, LOGOUT, REFRESH, SHOWS_WITHIN, STANDARD, Stage, THV, assert_needs_login, info,
    names, report, until_status,
};
use serde_json::{Value, json};
use std::time::Instant;
use thv_testkit::binary::{Ran, Server, cli_with};
use thv_testkit::identity::IdentityProvider;
use thv_testkit::jwt::SigningKey;
use thv_testkit::provider::{Client, Fault, Gate, Rule, Workload, paths};
use thv_testkit::registry::{FakeRegistry, Guard};
use thv_testkit::wait::{PATIENCE, until, until_true};

const SECRET: &str = "a-client-secret-of-some-length";
const TOKEN: &str = "a-static-token-that-nobody-may-see";

/// A stage whose registry has no login configured.
async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.home.use_api(&stage.registry.url());
    stage
}

/// The same with a registry that takes one static token only.
async fn static_stage(header: Option<&str>) -> Stage {
    let stage = stage().await;
    stage.registry.protect(Guard::of_key(header, TOKEN));
    stage
}

async fn piped(stage: &Stage, arguments: &[&str], stdin: &str) -> Ran {
    let env = stage.env();
    let env: Vec<(&str, &str)> = env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    cli_with(THV, &stage.home, arguments, &env, stdin.as_bytes()).await
}

async fn done(stage: &Stage, arguments: &[&str], stdin: &str) {
    let ran = piped(stage, arguments, stdin).await;
    assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.transcript());
}

/// The service client that proves itself with a secret kept in the store.
async fn use_client_secret(stage: &Stage) {
    stage
        .provider
        .register(Client::public("ci", &[]).basic(SECRET));
    done(
        stage,
        &[
            "config",
            "set-registry-credential",
            "client-credentials",
            "--issuer",
            &stage.provider.issuer(),
            "--client-id",
            "ci",
            "--secret-stdin",
            "--resource",
            &stage.registry.url(),
            "--scopes",
            "registry:read",
        ],
        &format!("{SECRET}\n"),
    )
    .await;
}

fn grants(stage: &Stage) -> usize {
    stage.provider.token_count("client_credentials")
}

async fn assert_catalog(stage: &Stage, server: &Server, auth_type: &str) {
    assert_eq!(names(server).await.len(), 6, "{}", server.stderr());
    let told = info(server).await;
    assert_eq!(told["auth_type"], auth_type, "{told}");
    assert_eq!(told["auth_status"], "authenticated", "{told}");
    let ran = stage.cli(&["registry", "list", "--format", "json"]).await;
    assert_eq!(
        ran.json().as_array().map(Vec::len),
        Some(6),
        "{}",
        ran.transcript()
    );
    assert!(stage.opener.urls().is_empty(), "a browser was opened");
    assert_eq!(stage.authorizations(), 0);
}

fn registries_file(stage: &Stage) -> Value {
    let path = stage.home.config_file().with_file_name("registries.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

// --- given tokens

#[tokio::test]
async fn a_token_from_standard_input_reads_the_registry_until_a_logout() {
    let stage = static_stage(None).await;
    let server = stage.server().await;
    assert_needs_login(&server.get(STANDARD).await, "login_not_configured");
    done(
        &stage,
        &["registry", "login", "--with-token"],
        &format!("{TOKEN}\n"),
    )
    .await;
    let began = Instant::now();
    until_status(&server, STANDARD, 200).await;
    assert!(began.elapsed() < SHOWS_WITHIN, "{:?}", began.elapsed());
    assert_catalog(&stage, &server, "bearer").await;
    let told = report(&server).await;
    assert_eq!(told["state"], "authenticated", "{told}");
    assert_eq!(told["credential"]["way"], "configured", "{told}");
    assert_eq!(told["credential"]["kind"], "bearer", "{told}");
    let store = stage.store_bytes();
    assert!(
        !store
            .windows(TOKEN.len())
            .any(|part| part == TOKEN.as_bytes())
    );
    let answer = server.post(LOGOUT, &json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["credential"], "deleted", "{answer:?}");
    assert_eq!(answer.json()["deleted"], 1, "{answer:?}");
    let answer = until_status(&server, STANDARD, 503).await;
    assert_eq!(answer.code(), "registry_auth_required");
    assert_eq!(registries_file(&stage)["registries"], json!({}));
    let name = stage.registry.live_names()[0].clone();
    let kept = stage.cached();
    let is_kept = |(_, bytes): &(String, Vec<u8>)| String::from_utf8_lossy(bytes).contains(&name);
    until_true("the catalog to be purged", || {
        !kept.iter().any(is_kept) || !stage.cached().iter().any(is_kept)
    })
    .await;
}

#[tokio::test]
async fn a_key_in_a_header_of_its_own_stays_with_the_registry() {
    let stage = static_stage(Some("x-api-key")).await;
    done(
        &stage,
        &["registry", "login", "--with-token", "--header", "X-Api-Key"],
        TOKEN,
    )
    .await;
    let server = stage.server().await;
    assert_catalog(&stage, &server, "bearer").await;
    let other = FakeRegistry::with_servers(1).await;
    stage
        .registry
        .put_redirect("/v0.1/servers", &other.at("/v0.1/servers"));
    let _ = server.post(REFRESH, &json!({})).await;
    assert!(
        !other.requests().is_empty(),
        "the redirect was not followed"
    );
    for request in other.requests() {
        assert_eq!(request.header("x-api-key"), None, "{request:?}");
    }
    for request in stage.registry.requests() {
        assert_eq!(request.header("authorization"), None, "{request:?}");
    }
}

#[tokio::test]
async fn a_token_in_a_file_is_read_again_when_it_changes() {
    let stage = static_stage(None).await;
    let file = stage.home.write("token", "an-outdated-token\n");
    let path = file.display().to_string();
    done(
        &stage,
        &[
            "config",
            "set-registry-credential",
            "bearer",
            "--file",
            &path,
        ],
        "",
    )
    .await;
    let server = stage.server().await;
    assert_needs_login(&server.get(STANDARD).await, "registry_rejected_token");
    let _ = stage.home.write("token", TOKEN);
    until_status(&server, STANDARD, 200).await;
    assert_catalog(&stage, &server, "bearer").await;
    std::fs::remove_file(&file).unwrap();
    until_true("the file to be missed", || {
        stage.registry.requests().len() > 1
    })
    .await;
    let ran = stage.cli(&["registry", "list", "--refresh"]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    assert!(ran.stderr.contains(&path), "{}", ran.stderr);
}

#[tokio::test]
async fn the_environment_comes_first_and_its_token_stays_with_its_registry() {
    let stage = static_stage(None).await;
    use_client_secret(&stage).await;
    let url = stage.registry.url();
    let server = stage
        .setup()
        .env("THV_REGISTRY_TOKEN", TOKEN)
        .env("THV_REGISTRY_TOKEN_URL", &url)
        .start()
        .await;
    assert_eq!(names(&server).await.len(), 6);
    let told = report(&server).await;
    assert_eq!(told["credential"]["way"], "environment", "{told}");
    assert_eq!(grants(&stage), 0);
    drop(server);
    let env = [
        ("THV_REGISTRY_TOKEN", TOKEN),
        ("THV_REGISTRY_TOKEN_URL", "https://other.example"),
    ];
    stage.registry.clear_journal();
    let ran = stage
        .cli_with(&["registry", "status", "--format", "json"], &env)
        .await;
    let told = ran.json();
    assert_eq!(told["login"]["credential"]["way"], "configured", "{told}");
    assert!(
        told["login"]["credential"]["passed_over"][0]
            .as_str()
            .is_some_and(|text| text.contains("https://other.example")),
        "{told}"
    );
    assert!(grants(&stage) > 0);
    let fingerprint = thv_testkit::jwt::fingerprint(TOKEN);
    assert!(
        stage
            .registry
            .bearers()
            .iter()
            .all(|seen| seen.fingerprint != fingerprint)
    );
}

#[tokio::test]
async fn a_token_of_the_environment_follows_no_change_of_the_registry() {
    let stage = static_stage(None).await;
    let server = stage.setup().env("THV_REGISTRY_TOKEN", TOKEN).start().await;
    assert_eq!(names(&server).await.len(), 6);
    let other = FakeRegistry::with_servers(2).await;
    let body = json!({"api_url": other.url(), "allow_private_ip": true});
    let answer = server.put(DEFAULT, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(names(&server).await.len(), 2);
    assert!(
        other
            .requests()
            .iter()
            .all(|request| request.bearer.is_none())
    );
    for request in other.requests() {
        assert_eq!(request.header("authorization"), None, "{request:?}");
    }
    let told = report(&server).await;
    assert_eq!(told["credential"]["way"], "none", "{told}");
}

#[tokio::test]
async fn half_an_environment_is_no_reason_to_be_somebody_else() {
    let stage = static_stage(None).await;
    done(&stage, &["registry", "login", "--with-token"], TOKEN).await;
    for variables in [
        [("THV_REGISTRY_TOKEN", "")],
        [("THV_REGISTRY_TOKEN_URL", "https://registry.example")],
        [("THV_REGISTRY_TOKEN_HEADER", "x-api-key")],
    ] {
        stage.registry.clear_journal();
        let ran = stage
            .cli_with(&["registry", "list", "--refresh"], &variables)
            .await;
        assert_eq!(ran.code, 3, "{}", ran.transcript());
        assert!(ran.stderr.contains("THV_REGISTRY_TOKEN"), "{}", ran.stderr);
        assert!(stage.registry.requests().is_empty());
    }
}

#[tokio::test]
async fn a_stored_token_does_not_open_for_another_registry() {
    let stage = static_stage(None).await;
    done(&stage, &["registry", "login", "--with-token"], TOKEN).await;
    let other = FakeRegistry::with_servers(1).await;
    other.protect(Guard::of_key(None, TOKEN));
    stage.home.use_api(&other.url());
    let ran = stage.cli(&["registry", "list"]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    // Whoever can write the settings re-points them.
    let path = stage.home.config_file().with_file_name("registries.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(&stage.registry.url(), &other.url())).unwrap();
    let ran = stage.cli(&["registry", "list"]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    assert!(other.bearers().is_empty(), "{:?}", other.bearers());
}

// --- tokens that we fetch

#[tokio::test]
async fn client_credentials_read_the_registry_with_one_fetch_however_many_ask() {
    let stage = stage().await;
    use_client_secret(&stage).await;
    let gate = Gate::new();
    stage
        .provider
        .break_with(Rule::always(Fault::HeldAfter(gate.clone())).on(paths::TOKEN));
    let server = stage.server().await;
    let ask = || async { server.get(STANDARD).await.status };
    let asked = async {
        let answers = tokio::join!(ask(), ask(), ask(), ask(), ask(), ask(), ask(), ask());
        let all: [u16; 8] = answers.into();
        all
    };
    let open = async {
        until_true("a request for a token", || grants(&stage) > 0).await;
        gate.open();
    };
    let (statuses, ()) = tokio::join!(asked, open);
    assert_eq!(statuses, [200; 8]);
    assert_eq!(grants(&stage), 1);
    stage.provider.heal();
    let token = &stage.provider.requests_for(paths::TOKEN)[0];
    assert_eq!(token.field("resource"), Some(stage.registry.url()));
    assert_eq!(token.field("scope").as_deref(), Some("registry:read"));
    assert_catalog(&stage, &server, "oauth").await;
    let told = report(&server).await;
    assert_eq!(told["state"], "authenticated", "{told}");
    assert_eq!(told["credential"]["kind"], "client_credentials", "{told}");
    assert_eq!(told["client_id"], "ci", "{told}");
    assert!(told["expires_at"].is_string(), "{told}");
}

#[tokio::test]
async fn a_fetched_token_is_replaced_before_it_expires_and_after_a_refusal() {
    let stage = stage().await;
    stage.live_for(4);
    use_client_secret(&stage).await;
    let server = stage.server().await;
    assert_eq!(names(&server).await.len(), 6);
    let end = stage.provider.now() + 6;
    until_true("the token to expire", || stage.provider.now() >= end).await;
    assert_eq!(server.post(REFRESH, &json!({})).await.status, 200);
    assert!(grants(&stage) >= 2);
    assert!(
        stage
            .registry
            .bearers()
            .iter()
            .all(|seen| seen.refused.is_none())
    );
    stage.live_for(600);
    let end = stage.provider.now() + 5;
    until_true("the token to expire", || stage.provider.now() >= end).await;
    assert_eq!(server.post(REFRESH, &json!({})).await.status, 200);
    let before = grants(&stage);
    stage.registry.refuse_good_tokens(1);
    assert_eq!(server.post(REFRESH, &json!({})).await.status, 200);
    assert_eq!(grants(&stage), before + 1);
}

#[tokio::test]
async fn a_refused_client_is_asked_for_once_and_again_when_its_settings_change() {
    let stage = stage().await;
    use_client_secret(&stage).await;
    stage
        .provider
        .register(Client::public("ci", &[]).basic("another-secret-altogether"));
    let server = stage.server().await;
    let answer = server.get(STANDARD).await;
    assert_needs_login(&answer, "credential_refused");
    for path in [DEFAULT, "/registry/default/v0.1/servers"] {
        assert_needs_login(&server.get(path).await, "credential_refused");
    }
    assert_eq!(server.post(REFRESH, &json!({})).await.status, 503);
    assert_eq!(grants(&stage), 1, "a refused client was tried again");
    let told = report(&server).await;
    assert_eq!(told["state"], "login_required", "{told}");
    assert_eq!(told["reason"], "credential_refused", "{told}");
    assert!(
        told["detail"]
            .as_str()
            .is_some_and(|text| text.contains("invalid_client")),
        "{told}"
    );
    assert_eq!(told["actions"], json!([]), "{told}");
    use_client_secret(&stage).await;
    until_status(&server, STANDARD, 200).await;
}

#[tokio::test]
async fn an_outage_of_the_provider_is_no_refusal_and_serves_what_is_known() {
    let stage = stage().await;
    stage.live_for(2);
    use_client_secret(&stage).await;
    let server = stage.server().await;
    assert_eq!(names(&server).await.len(), 6);
    stage.provider.refuse().await;
    let end = Instant::now();
    until_true("the token to expire", || end.elapsed().as_secs() >= 3).await;
    let answer = server.post(REFRESH, &json!({})).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.code(), "registry_unavailable");
    assert_eq!(answer.json()["reason"], "identity_provider_unavailable");
    assert_eq!(names(&server).await.len(), 6);
    assert_eq!(report(&server).await["state"], "provider_unavailable");
}

#[tokio::test]
async fn a_stored_client_secret_goes_to_no_other_server() {
    let stage = stage().await;
    use_client_secret(&stage).await;
    let other = thv_testkit::provider::Provider::for_resources(&[&stage.registry.url()]).await;
    other.register(Client::public("ci", &[]).basic(SECRET));
    let path = stage.home.config_file().with_file_name("registries.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        text.replace(&stage.provider.issuer(), &other.issuer()),
    )
    .unwrap();
    let refused = || async {
        let ran = stage.cli(&["registry", "list"]).await;
        assert_eq!(ran.code, 3, "{}", ran.transcript());
        assert!(other.requests_for(paths::TOKEN).is_empty());
        assert!(ran.stderr.contains("client secret"), "{}", ran.stderr);
    };
    refused().await;
    // The same issuer, and an endpoint that was not named when the secret was kept.
    let mut settings: Value = serde_json::from_str(&text).unwrap();
    settings["registries"]["default"]["credential"]["server"]["token_endpoint"] =
        other.at(paths::TOKEN).into();
    std::fs::write(&path, settings.to_string()).unwrap();
    refused().await;
}

#[tokio::test]
async fn a_private_key_proves_a_client_and_each_assertion_once() {
    let stage = stage().await;
    let key = SigningKey::generate("robot-1");
    stage
        .provider
        .register(Client::public("robot", &[]).key(key.public_jwk()));
    let file = stage.home.write("key.pem", key.private_pem());
    done(
        &stage,
        &[
            "config",
            "set-registry-credential",
            "client-credentials",
            "--issuer",
            &stage.provider.issuer(),
            "--client-id",
            "robot",
            "--key-file",
            &file.display().to_string(),
            "--key-id",
            "robot-1",
            "--resource",
            &stage.registry.url(),
        ],
        "",
    )
    .await;
    // The provider's clock is an hour ahead, which its answers tell.
    stage.provider.set_ahead(3600);
    let server = stage.server().await;
    assert_catalog(&stage, &server, "oauth").await;
    let asked = stage.provider.requests_for(paths::TOKEN);
    let (header, claims) =
        thv_testkit::jwt::read(&asked[0].field("client_assertion").unwrap()).unwrap();
    assert_eq!(header["alg"], "ES256", "{header}");
    assert_eq!(claims["aud"], stage.provider.issuer().as_str(), "{claims}");
    // Another key in the same file counts at once.
    let other = SigningKey::generate("robot-1");
    stage
        .provider
        .register(Client::public("robot", &[]).key(other.public_jwk()));
    let ran = stage.cli(&["registry", "list", "--refresh"]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    let _ = stage.home.write("key.pem", other.private_pem());
    let ran = stage.cli(&["registry", "list", "--refresh"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
}

fn workload_token(key: &SigningKey, subject: &str, audience: &str) -> String {
    let now = jiff::Timestamp::now().as_second();
    key.sign(
        &json!({"alg": "ES256", "typ": "JWT", "kid": key.id()}),
        &json!({"iss": "https://kubernetes.test", "sub": subject, "aud": audience, "iat": now, "exp": now + 600,
            "jti": thv_testkit::jwt::random(12)}),
    )
}

fn trust(stage: &Stage, key: &SigningKey) {
    stage.provider.behave(|behaviour| {
        behaviour.workloads = vec![Workload {
            issuer: "https://kubernetes.test".to_owned(),
            audience: "exchange".to_owned(),
            keys: vec![key.public_jwk()],
        }];
    });
}

async fn use_workload(stage: &Stage, way: &str, more: &[&str]) {
    let (issuer, url) = (stage.provider.issuer(), stage.registry.url());
    let mut arguments = vec![
        "config",
        "set-registry-credential",
        way,
        "--issuer",
        &issuer,
        "--resource",
        &url,
    ];
    arguments.extend_from_slice(more);
    done(stage, &arguments, "").await;
}

#[tokio::test]
async fn a_workloads_token_is_exchanged_and_read_anew_for_each_exchange() {
    for (way, grant_type) in [
        (
            "token-exchange",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("jwt-bearer", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
    ] {
        let stage = stage().await;
        stage.live_for(2);
        let key = SigningKey::generate("cluster");
        trust(&stage, &key);
        let subject = "system:serviceaccount:ci:runner";
        let first = workload_token(&key, subject, "exchange");
        let file = stage.home.write("projected", &first);
        let path = file.display().to_string();
        use_workload(&stage, way, &["--token-file", &path]).await;
        let server = stage.server().await;
        assert_catalog(&stage, &server, "oauth").await;
        assert!(stage.provider.token_count(grant_type) > 0);
        assert_eq!(stage.provider.families()[0].subject, subject);
        let second = workload_token(&key, subject, "exchange");
        let _ = stage.home.write("projected", &second);
        let end = stage.provider.now() + 3;
        until_true("the token to expire", || stage.provider.now() >= end).await;
        assert_eq!(server.post(REFRESH, &json!({})).await.status, 200);
        let asked = stage.provider.requests_for(paths::TOKEN);
        let last = asked.last().unwrap();
        let sent = last.field("subject_token").or(last.field("assertion"));
        assert_eq!(sent, Some(second));
        // Another workload's token in the same place is another identity.
        let _ = stage.home.write(
            "projected",
            workload_token(&key, "somebody-else", "exchange"),
        );
        let end = stage.provider.now() + 3;
        until_true("the token to expire", || stage.provider.now() >= end).await;
        let answer = server.post(REFRESH, &json!({})).await;
        assert_needs_login(&answer, "account_mismatch");
    }
}

#[tokio::test]
async fn a_github_actions_job_exchanges_its_token() {
    let stage = stage().await;
    let key = SigningKey::generate("github");
    trust(&stage, &key);
    let service = FakeRegistry::start().await;
    service.protect(Guard::of_key(None, "a-request-token-of-the-job"));
    let value = workload_token(&key, "repo:acme/x:ref:refs/heads/main", "exchange");
    service.put_document_as(
        "/token",
        "application/json",
        json!({"value": value}).to_string(),
    );
    use_workload(
        &stage,
        "token-exchange",
        &["--github-actions", "--github-audience", "exchange"],
    )
    .await;
    let ran = stage.cli(&["registry", "list"]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    assert!(ran.stderr.contains("id-token: write"), "{}", ran.stderr);
    let url = format!("{}?api-version=2.0", service.at("/token"));
    let server = stage
        .setup()
        .env("ACTIONS_ID_TOKEN_REQUEST_URL", &url)
        .env(
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
            "a-request-token-of-the-job",
        )
        .start()
        .await;
    assert_eq!(names(&server).await.len(), 6, "{}", server.stderr());
    let asked = service.requests_for("/token");
    assert_eq!(asked[0].param("audience"), Some("exchange"));
    assert_eq!(asked[0].param("api-version"), Some("2.0"));
}

// --- a command

#[cfg(unix)]
async fn use_command(stage: &Stage, script: &str) -> String {
    let path = write_command(stage, script);
    done(
        stage,
        &[
            "config",
            "set-registry-credential",
            "command",
            &path,
            "--flag",
        ],
        "",
    )
    .await;
    path
}

#[cfg(unix)]
fn write_command(stage: &Stage, script: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = stage.home.write("helper", script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path.display().to_string()
}

#[cfg(unix)]
#[tokio::test]
async fn a_command_gives_the_token_and_sees_nothing_secret() {
    let stage = static_stage(None).await;
    let seen = stage.home.join("seen");
    let script = format!(
        "#!/bin/sh\n(cat; echo; env; echo \"$@\") > '{}'\necho '{{\"version\":1,\"token\":\"{TOKEN}\",\"expires_in\":600,\"account\":\"ci-robot\"}}'\n",
        seen.display()
    );
    use_command(&stage, &script).await;
    let server = stage.server().await;
    assert_catalog(&stage, &server, "bearer").await;
    let told = report(&server).await;
    assert_eq!(told["account"]["sub"], "ci-robot", "{told}");
    let seen = std::fs::read_to_string(seen).unwrap();
    let question: Value = serde_json::from_str(seen.lines().next().unwrap()).unwrap();
    assert_eq!(
        question,
        json!({"version": 1, "kind": "get", "registry": {"name": "default", "url": stage.registry.url()}})
    );
    assert!(seen.contains("--flag"), "{seen}");
    assert!(!seen.contains(auth_kit::PASSWORD), "{seen}");
}

#[cfg(unix)]
#[tokio::test]
async fn case_82_a_command_that_does_not_keep_to_the_rules_gives_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let stage = static_stage(None).await;
    let path = use_command(&stage, "#!/bin/sh\nyes | head -c 100000000\n").await;
    let refused = |part: &'static str| {
        let stage = &stage;
        async move {
            let ran = stage.cli(&["registry", "list"]).await;
            assert!(matches!(ran.code, 3 | 5), "{}", ran.transcript());
            assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
            assert!(stage.registry.bearers().is_empty());
        }
    };
    refused("printed more than").await;
    write_command(&stage, "#!/bin/sh\necho garbage\n");
    refused("it is not JSON").await;
    write_command(
        &stage,
        "#!/bin/sh\necho '{\"version\":1,\"error\":\"denied\",\"message\":\"ask the vault\"}'\nexit 1\n",
    );
    let ran = stage.cli(&["registry", "status"]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    assert!(ran.stdout.contains("ask the vault"), "{}", ran.stdout);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    refused("can be written by others").await;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    refused("is not run").await;
    std::fs::remove_file(&path).unwrap();
    refused("is not run").await;
}

// --- handing out

#[tokio::test]
async fn the_token_goes_to_a_pipe_and_for_its_origin_only() {
    let stage = static_stage(None).await;
    let ran = stage.cli(&["registry", "token"]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    done(&stage, &["registry", "login", "--with-token"], TOKEN).await;
    let ran = stage.cli(&["registry", "token"]).await;
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, format!("{TOKEN}\n").as_str()),
        "{}",
        ran.stderr
    );
    let inside = stage.registry.at("/v0.1/servers?x=y");
    let ran = stage.cli(&["registry", "token", "--for", &inside]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let ran = stage
        .cli(&["registry", "token", "--for", "https://other.example"])
        .await;
    assert_ne!(ran.code, 0);
    assert_eq!(ran.stdout, "");
    assert!(
        ran.stderr.contains("https://other.example"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn case_72_other_programs_get_a_token_only_when_they_may_and_for_its_origin() {
    let stage = stage().await;
    use_client_secret(&stage).await;
    let ask = |url: String| {
        let stage = &stage;
        async move {
            let question = json!({"version": 1, "kind": "get", "url": url}).to_string();
            piped(stage, &["registry", "auth-helper"], &question).await
        }
    };
    let ran = ask(stage.registry.url()).await;
    assert_eq!(
        (ran.code, &ran.json()["error"]),
        (1, &json!("disabled")),
        "{}",
        ran.transcript()
    );
    assert_eq!(grants(&stage), 0);
    done(&stage, &["config", "set-auth-helper", "on"], "").await;
    let ran = ask(stage.registry.at("/v0.1/servers")).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let answer = ran.json();
    let value = answer["value"]
        .as_str()
        .unwrap()
        .strip_prefix("Bearer ")
        .unwrap();
    assert!(
        stage
            .provider
            .secrets()
            .iter()
            .any(|secret| secret == value)
    );
    assert_eq!(answer["header"], "Authorization");
    assert!(answer["expires_at"].is_string(), "{answer}");
    let ran = ask("https://other.example/".to_owned()).await;
    assert_eq!(
        (ran.code, &ran.json()["error"]),
        (1, &json!("wrong_origin")),
        "{}",
        ran.transcript()
    );
    let ran = piped(&stage, &["registry", "auth-helper"], "{}").await;
    assert_eq!(
        (ran.code, &ran.json()["error"]),
        (2, &json!("bad_request")),
        "{}",
        ran.transcript()
    );
    done(&stage, &["config", "set-auth-helper", "off"], "").await;
    let ran = ask(stage.registry.url()).await;
    assert_eq!(ran.json()["error"], "disabled", "{}", ran.transcript());
}

// --- settings

#[tokio::test]
async fn settings_that_are_not_whole_are_told_and_nobody_else_is_used() {
    let stage = Stage::new().await;
    stage.logged_in_by_cli().await;
    let path = stage.home.config_file().with_file_name("registries.json");
    let entry = |credential: Value| {
        json!({"version": 1, "registries": {"default": {"url": stage.registry.url(), "credential": credential}}})
            .to_string()
    };
    let private = |text: String| {
        std::fs::write(&path, text).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    };
    let server = stage.server().await;
    assert_eq!(names(&server).await.len(), 6);
    for (text, part) in [
        (
            entry(json!({"type": "client_credentials", "client_id": "x"})),
            "server",
        ),
        (entry(json!({"type": "carrier_pigeon"})), "carrier_pigeon"),
        ("{\"version\": 9}".to_owned(), "newer version"),
        ("{".to_owned(), "broken"),
    ] {
        private(text);
        stage.registry.clear_journal();
        let answer = until_status(&server, STANDARD, 503).await;
        assert_eq!(answer.json()["reason"], "credential_unusable", "{answer:?}");
        assert!(answer.text().contains(part), "{answer:?}");
        let told = report(&server).await;
        assert_eq!(told["state"], "credential_unusable", "{told}");
        let ran = stage.cli(&["registry", "list", "--refresh"]).await;
        assert_eq!(ran.code, 3, "{}", ran.transcript());
        assert!(stage.registry.bearers().is_empty());
        std::fs::remove_file(&path).unwrap();
        until_status(&server, STANDARD, 200).await;
        assert_eq!(report(&server).await["credential"]["way"], "login");
    }
}

#[tokio::test]
async fn a_configured_credential_is_chosen_over_a_login_and_gives_way_when_it_is_removed() {
    let stage = Stage::new().await;
    stage.logged_in_by_cli().await;
    use_client_secret(&stage).await;
    let server = stage.server().await;
    assert_catalog_of(&server, "configured").await;
    let ran = stage.cli(&["registry", "status"]).await;
    assert!(
        ran.stdout.contains("client_credentials, configured"),
        "{}",
        ran.stdout
    );
    done(&stage, &["config", "unset-registry-credential"], "").await;
    until("the login to be used", PATIENCE, || async {
        let told = report(&server).await;
        (told["credential"]["way"] == "login").then_some(())
    })
    .await;
    assert_catalog_of(&server, "login").await;
    let answer = server.get(AUTH).await;
    assert_eq!(answer.json()["source"], "login");
}

async fn assert_catalog_of(server: &Server, way: &str) {
    assert_eq!(names(server).await.len(), 6, "{}", server.stderr());
    assert_eq!(report(server).await["credential"]["way"], way);
}

#[tokio::test]
async fn a_logout_keeps_what_is_configured_and_says_so() {
    let stage = stage().await;
    use_client_secret(&stage).await;
    let ran = stage.cli(&["registry", "logout", "--format", "json"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert_eq!(
        ran.json()["credential"]["outcome"],
        "kept",
        "{}",
        ran.stdout
    );
    let ran = stage.cli(&["registry", "list"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
}

// --- the npm provider

#[tokio::test]
async fn a_real_provider_takes_a_secret_and_a_private_key() {
    let registry = FakeRegistry::with_servers(6).await;
    let stage = stage().await;
    let key_file = stage.home.join("robot.pem");
    let provider = IdentityProvider::start_with(
        &[&registry.url()],
        &[("ROBOT_KEY_FILE", &key_file.display().to_string())],
    )
    .await;
    registry.protect(
        Guard::of_issuer(&provider.issuer, &registry.url())
            .await
            .scope("registry:read"),
    );
    stage.home.use_api(&registry.url());
    let url = registry.url();
    let target = ["--resource", &url, "--scopes", "registry:read"];
    let base = [
        "config",
        "set-registry-credential",
        "client-credentials",
        "--issuer",
        &provider.issuer,
    ];
    let by_secret = [
        "--client-id",
        "service",
        "--secret-stdin",
        "--secret-in",
        "post",
    ];
    done(
        &stage,
        &[&base[..], &by_secret, &target].concat(),
        "service-secret",
    )
    .await;
    let ran = stage.cli(&["registry", "list", "--format", "json"]).await;
    assert_eq!(
        ran.json().as_array().map(Vec::len),
        Some(6),
        "{}",
        ran.transcript()
    );
    let file = key_file.display().to_string();
    let by_key = [
        "--client-id",
        "robot",
        "--key-file",
        &file,
        "--key-id",
        "robot-1",
    ];
    done(&stage, &[&base[..], &by_key, &target].concat(), "").await;
    let ran = stage
        .cli(&["registry", "list", "--refresh", "--format", "json"])
        .await;
    assert_eq!(
        ran.json().as_array().map(Vec::len),
        Some(6),
        "{}",
        ran.transcript()
    );
    let tokens = provider
        .events()
        .into_iter()
        .filter(|event| event["event"] == "token");
    assert_eq!(tokens.count(), 2);
}
