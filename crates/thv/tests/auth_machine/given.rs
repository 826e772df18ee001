//! Tokens and keys that are given: from standard input, a file, the environment.

use super::{
    TOKEN, assert_catalog, done, grants, piped, registries_file, static_stage, use_client_secret,
};
use crate::auth_kit::{
    DEFAULT, LOGOUT, PASSWORD, REFRESH, SHOWS_WITHIN, STANDARD, assert_needs_login, names, report,
    until_status,
};
use serde_json::json;
use std::time::Instant;
use thv_testkit::registry::{FakeRegistry, Guard};
use thv_testkit::wait::until_true;

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
async fn one_command_sets_the_registry_and_its_token() {
    let stage = static_stage(None).await;
    std::fs::remove_file(stage.home.config_file()).unwrap();
    let url = stage.registry.url();
    let login = [
        "registry",
        "login",
        "-p",
        "--registry",
        &url,
        "--with-token",
    ];
    done(&stage, &login, TOKEN).await;
    let server = stage.server().await;
    assert_catalog(&stage, &server, "bearer").await;
    for (more, stdin) in [
        (&["--header", "Host"][..], TOKEN),
        (&[], ""),
        (&[], "two tokens"),
        (&["--issuer", "https://id.example"], TOKEN),
    ] {
        let before = registries_file(&stage);
        let arguments = [&["registry", "login", "--with-token"], more].concat();
        let ran = piped(&stage, &arguments, stdin).await;
        assert_eq!(ran.code, 2, "{}", ran.transcript());
        assert_eq!(registries_file(&stage), before);
    }
}

#[tokio::test]
async fn a_secret_of_the_user_and_a_variable_are_read_where_they_are() {
    let stage = static_stage(Some("x-api-key")).await;
    let secrets = json!({"acme": TOKEN});
    let store = thv_testkit::go_store::seal(PASSWORD, &secrets);
    let file = stage.home.write("data/toolhive/secrets_encrypted", store);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let set_up = "secrets:\n    provider_type: encrypted\n    setup_completed: true\n";
    let config = format!("{set_up}{}", stage.home.config());
    stage.home.write_config(&config);
    let set = [
        "config",
        "set-registry-credential",
        "api-key",
        "--header",
        "X-Api-Key",
    ];
    done(&stage, &[&set[..], &["--secret", "acme"]].concat(), "").await;
    let server = stage.server().await;
    assert_catalog(&stage, &server, "bearer").await;
    // What is the user's stays the user's.
    assert_eq!(
        server.post(LOGOUT, &json!({})).await.json()["credential"],
        "kept"
    );
    done(&stage, &["config", "unset-registry-credential"], "").await;
    let left = thv_testkit::go_store::open(PASSWORD, &stage.store_bytes());
    assert_eq!(left, secrets);
    done(
        &stage,
        &[&set[..], &["--variable", "ACME_KEY"]].concat(),
        "",
    )
    .await;
    let list = ["registry", "list", "--refresh"];
    let ran = stage.cli(&list).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    assert!(ran.stderr.contains("ACME_KEY"), "{}", ran.stderr);
    let ran = stage.cli_with(&list, &[("ACME_KEY", TOKEN)]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
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
