//! Tokens that a workload gets for its own: from a file, and in a GitHub Actions job.

use super::{assert_catalog, done, stage};
use crate::auth_kit::{REFRESH, Stage, assert_needs_login, names};
use serde_json::json;
use thv_testkit::identity::IdentityProvider;
use thv_testkit::jwt::SigningKey;
use thv_testkit::provider::{Workload, paths};
use thv_testkit::registry::{FakeRegistry, Guard};

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
        stage.until_expired(2).await;
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
        stage.until_expired(2).await;
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

#[tokio::test]
async fn a_real_provider_takes_a_workloads_token_both_ways() {
    let stage = stage().await;
    let registry = FakeRegistry::with_servers(6).await;
    let key = SigningKey::generate("cluster");
    let keys = json!({"keys": [key.public_jwk()]}).to_string();
    let provider =
        IdentityProvider::start_with(&[&registry.url()], &[("WORKLOAD_KEYS", &keys)]).await;
    let guard = Guard::of_issuer(&provider.issuer, &registry.url()).await;
    registry.protect(guard.scope("registry:read"));
    let url = registry.url();
    stage.home.use_api(&url);
    let file = stage.home.join("projected").display().to_string();
    for way in ["token-exchange", "jwt-bearer"] {
        let _ = stage
            .home
            .write("projected", workload_token(&key, "runner", "somebody-else"));
        let mut arguments = vec!["config", "set-registry-credential", way];
        arguments.extend(["--issuer", &provider.issuer, "--client-id", "workload"]);
        arguments.extend(["--token-file", &file, "--resource", &url]);
        arguments.extend(["--scopes", "registry:read"]);
        done(&stage, &arguments, "").await;
        let list = ["registry", "list", "--refresh", "--format", "json"];
        let ran = stage.cli(&list).await;
        assert_eq!(ran.code, 3, "{}", ran.transcript());
        let _ = stage.home.write(
            "projected",
            workload_token(&key, "runner", &provider.issuer),
        );
        let ran = stage.cli(&list).await;
        let servers = ran.json().as_array().map(Vec::len);
        assert_eq!(servers, Some(6), "{}", ran.transcript());
    }
}
