//! Tokens that a client of our own fetches, by a secret or a private key, from the fake provider and from the npm one.

use super::{SECRET, assert_catalog, done, grants, registries_file, stage, use_client_secret};
use crate::auth_kit::{
    DEFAULT, REFRESH, STANDARD, assert_needs_login, names, report, until_status,
};
use serde_json::{Value, json};
use thv_testkit::identity::IdentityProvider;
use thv_testkit::jwt::SigningKey;
use thv_testkit::provider::{Client, Fault, Gate, Rule, paths};
use thv_testkit::registry::{FakeRegistry, Guard};
use thv_testkit::wait::until_true;

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
    stage.until_expired(4).await;
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
    stage.until_expired(4).await;
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
async fn a_registry_that_rejects_every_token_causes_no_storm() {
    let stage = stage().await;
    use_client_secret(&stage).await;
    stage.registry.refuse_good_tokens(1000);
    let server = stage.server().await;
    for _ in 0..20 {
        assert_needs_login(&server.get(STANDARD).await, "registry_rejected_token");
    }
    let answer = server.post(REFRESH, &json!({})).await;
    assert_needs_login(&answer, "registry_rejected_token");
    // No login helps, and the doctor says what does.
    assert_eq!(
        answer.json()["actions"],
        json!([{"method": "GET", "href": "/api/v1/registries/default/auth/doctor"}]),
        "{answer:?}"
    );
    assert_eq!(grants(&stage), 2, "one token, and one more try");
    let asked = stage.registry.bearers().len();
    assert!(asked <= 4, "{asked} requests for 21 reads");
    stage.registry.refuse_good_tokens(0);
    let ran = stage.cli(&["registry", "list"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
}

#[tokio::test]
async fn an_outage_of_the_provider_is_no_refusal_and_serves_what_is_known() {
    let stage = stage().await;
    stage.live_for(2);
    use_client_secret(&stage).await;
    let server = stage.server().await;
    assert_eq!(names(&server).await.len(), 6);
    stage.provider.refuse().await;
    stage.until_expired(2).await;
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
            "--private-key",
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
        "--private-key",
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

#[tokio::test]
async fn the_doctor_names_a_credential_that_counts_in_place_of_a_login_and_fetches_no_token() {
    let stage = stage().await;
    use_client_secret(&stage).await;
    let ran = stage.cli(&["doctor", "--format", "json"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let diagnosis = ran.json();
    let checks = diagnosis["checks"].as_array().unwrap();
    let outcome_of = |id: &str| {
        let check = checks.iter().find(|check| check["id"] == id);
        check.map_or(json!(null), |check| check["outcome"].clone())
    };
    assert_eq!(outcome_of("credential.in_place_of_login"), "ok");
    assert_eq!(outcome_of("registry.challenge"), "ok");
    assert_eq!(outcome_of("login.grant"), "skipped");
    assert_eq!(grants(&stage), 0, "a token was fetched");
}

#[tokio::test]
async fn the_registry_is_the_resource_unless_the_settings_say_otherwise() {
    let stage = stage().await;
    stage
        .provider
        .register(Client::public("ci", &[]).basic(SECRET));
    let (issuer, url) = (stage.provider.issuer(), stage.registry.url());
    let base = [
        "config",
        "set-registry-credential",
        "client-credentials",
        "--issuer",
        &issuer,
        "--client-id",
        "ci",
        "--secret-stdin",
    ];
    for (more, expected) in [
        (&[][..], Some(url.as_str())),
        (&["--audience", "somebody"], Some(&url)),
        (
            &["--resource", "https://other.example"],
            Some("https://other.example"),
        ),
        (&["--no-resource"], None),
    ] {
        done(&stage, &[&base[..], more].concat(), SECRET).await;
        let before = grants(&stage);
        let ran = stage.cli(&["registry", "list", "--refresh"]).await;
        let is_for_it = expected == Some(url.as_str());
        assert_eq!(ran.code == 0, is_for_it, "{more:?}: {}", ran.transcript());
        let asked = stage.provider.requests_for(paths::TOKEN);
        assert!(grants(&stage) > before, "{more:?}");
        let sent = asked.last().unwrap().field("resource");
        assert_eq!(sent.as_deref(), expected, "{more:?}");
        let ran = stage.cli(&["registry", "status", "--format", "json"]).await;
        assert_eq!(ran.json()["login"]["resource"].as_str(), expected);
    }
}

#[tokio::test]
async fn case_12_a_client_asks_no_other_host_for_tokens_before_somebody_confirms_it() {
    let stage = stage().await;
    use_client_secret(&stage).await;
    let list = ["registry", "list", "--refresh"];
    let ran = stage.cli(&list).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let other = thv_testkit::provider::Provider::for_resources(&[&stage.registry.url()]).await;
    stage.provider.behave(|behaviour| {
        behaviour
            .metadata
            .insert("token_endpoint".to_owned(), other.at(paths::TOKEN).into());
    });
    let server = stage.server().await;
    let asked = || other.requests_for(paths::TOKEN).len();
    for _ in 0..2 {
        let answer = server.post(REFRESH, &json!({})).await;
        assert_needs_login(&answer, "issuer_changed");
        let ran = stage.cli(&list).await;
        assert_eq!(ran.code, 3, "{}", ran.transcript());
        assert_eq!(asked(), 0, "a secret was sent elsewhere");
        assert!(
            ran.stderr.contains("set-registry-credential"),
            "{}",
            ran.stderr
        );
    }
    let told = report(&server).await;
    assert_eq!(told["reason"], "issuer_changed", "{told}");
    let detail = told["detail"].as_str().unwrap_or_default();
    let host = |url: &str| url.trim_start_matches("http://").to_owned();
    assert!(detail.contains(&host(&stage.provider.issuer())), "{told}");
    assert!(detail.contains(&host(&other.issuer())), "{told}");
    let step = told["next_step"].as_str().unwrap_or_default();
    assert!(
        step.contains("set-registry-credential client-credentials"),
        "{told}"
    );
    let ran = stage.cli(&["doctor", "--format", "json"]).await;
    assert_eq!(ran.code, 1, "{}", ran.transcript());
    assert!(
        ran.stdout.contains("\"credential.token_host\""),
        "{}",
        ran.stdout
    );
    assert_eq!(asked(), 0);
    // Describing it again confirms it; the server notices.
    use_client_secret(&stage).await;
    until_true("the other host to be asked", || {
        drop(crate::auth_kit::posted(server.address(), REFRESH));
        asked() > 0
    })
    .await;
}

#[tokio::test]
async fn case_122_a_host_that_gave_no_token_is_not_kept() {
    let stage = stage().await;
    use_client_secret(&stage).await;
    // It does not know the client.
    let other = thv_testkit::provider::Provider::for_resources(&[&stage.registry.url()]).await;
    stage.provider.behave(|behaviour| {
        let endpoint = other.at(paths::TOKEN).into();
        behaviour
            .metadata
            .insert("token_endpoint".to_owned(), endpoint);
    });
    let list = ["registry", "list", "--refresh"];
    assert_eq!(stage.cli(&list).await.code, 3);
    let kept = || registries_file(&stage)["registries"]["default"]["credential_token_host"].clone();
    assert_eq!(kept(), json!(null));
    stage
        .provider
        .behave(|behaviour| behaviour.metadata.clear());
    let ran = stage.cli(&list).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert!(kept().is_string());
}

#[tokio::test]
async fn case_124_a_provider_that_refuses_a_resource_is_told_apart_and_what_to_type_works() {
    let stage = stage().await;
    use_client_secret(&stage).await;
    let url = stage.registry.url();
    let next_step = || async {
        let ran = stage.cli(&["registry", "list", "--refresh"]).await;
        assert_eq!(ran.code, 3, "{}", ran.transcript());
        let ran = stage.cli(&["registry", "status", "--format", "json"]).await;
        let step = &ran.json()["login"]["next_step"];
        step.as_str().unwrap_or_default().to_owned()
    };
    let base = ["config", "set-registry-credential", "client-credentials"];
    let issuer = stage.provider.issuer();
    let client = ["--issuer", &issuer, "--client-id", "ci", "--secret-stdin"];
    let describe = async |more: &[&str]| {
        done(&stage, &[&base[..], &client, more].concat(), SECRET).await;
    };
    describe(&["--resource", "https://other.example"]).await;
    let unknown = next_step().await;
    stage.provider.behave(|behaviour| {
        behaviour.refuses_resource = true;
        behaviour.default_audience = Some(url.clone());
    });
    describe(&[]).await;
    let malformed = next_step().await;
    for step in [unknown, malformed] {
        assert!(step.contains("`--no-resource`"), "{step}");
        assert!(step.contains("`--resource URI`"), "{step}");
    }
    describe(&["--no-resource", "--scopes", "registry:read"]).await;
    let ran = stage.cli(&["registry", "list", "--refresh"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
}
