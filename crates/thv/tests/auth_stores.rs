//! Where logins are kept: disks that are full, stores that are filled from the environment, and logins that the Go program
//! has left behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

mod auth_kit;

use std::path::PathBuf;

use auth_kit::{
    LOGIN, LOGOUT, REFRESH, STANDARD, Stage, THV, assert_needs_login, names, posted, report,
};
use serde_json::json;
use thv_testkit::binary::{Server, Setup};
use thv_testkit::provider::paths;
use thv_testkit::{go_store, jwt};

/// The program on a disk that takes files of no more than this many half kilobytes, the log aside.
fn on_a_full_disk(stage: &Stage, blocks: usize) -> PathBuf {
    stage.home.write_program(
        "full-disk.sh",
        &format!("#!/bin/sh\ntrap '' XFSZ\nulimit -f {blocks}\nexec '{THV}' \"$@\"\n"),
    )
}

async fn server_on_a_full_disk(stage: &Stage) -> Server {
    let program = on_a_full_disk(stage, 1);
    Setup::new(program.to_str().unwrap(), &stage.home)
        .envs(stage.env())
        .start()
        .await
}

#[tokio::test]
async fn a_full_disk_ends_a_login_with_a_reason_and_leaves_the_store_readable() {
    let stage = Stage::new().await;
    let server = server_on_a_full_disk(&stage).await;
    let mut login = posted(server.address(), LOGIN);
    let answer = tokio::select! {
        answer = &mut login => answer.unwrap(),
        url = stage.opener.url(1) => {
            let _ = thv_testkit::browse::browse(&url).await;
            login.await.unwrap()
        }
    };
    assert!([409, 500].contains(&answer.status), "{answer:?}");
    assert!(answer.text().contains("could not be stored"), "{answer:?}");
    drop(server);
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
}

#[tokio::test]
async fn a_full_disk_spends_no_refresh_token() {
    let stage = Stage::with_tokens_of(2).await;
    stage.logged_in_by_cli().await;
    let before = stage.store_bytes();
    let server = server_on_a_full_disk(&stage).await;
    stage.until_expired(2).await;
    let answer = server.post(REFRESH, &json!({})).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "registry_unavailable"),
        "{answer:?}"
    );
    assert_eq!(answer.json()["reason"], "store_unavailable", "{answer:?}");
    assert_eq!(stage.refreshes(), 0);
    assert_eq!(stage.store_bytes(), before);
    drop(server);
    stage.live_for(300);
    let server = stage.server().await;
    assert_eq!(server.post(REFRESH, &json!({})).await.status, 200);
}

/// The name that the Go program gives the refresh token of this registry.
fn go_name(stage: &Stage) -> String {
    let named = format!("{}\0{}", stage.registry.url(), stage.provider.issuer());
    let digest = jwt::sha256(named.as_bytes());
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    format!("REGISTRY_OAUTH_{number:08x}")
}

fn access_token(stage: &Stage) -> String {
    let token = stage
        .provider
        .mint("robot", &stage.registry.url(), "registry:read");
    format!("{token}|2099-01-01T00:00:00Z")
}

#[tokio::test]
async fn a_machine_without_people_is_given_its_token_in_the_environment() {
    for name in ["__thv_registry_", ""] {
        let stage = Stage::new().await;
        let variable = format!("TOOLHIVE_SECRET_{name}{}_AT", go_name(&stage));
        let server = stage
            .setup()
            .env("TOOLHIVE_SECRETS_PROVIDER", "environment")
            .env(&variable, &access_token(&stage))
            .start()
            .await;
        assert_eq!(names(&server).await.len(), 6, "{variable}");
        let told = report(&server).await;
        assert_eq!(told["state"], "authenticated", "{told}");
        assert_eq!(told["store"]["kind"], "environment", "{told}");
        let answer = server.post(LOGOUT, &json!({})).await;
        assert_eq!(answer.json()["read_only_store"], true, "{answer:?}");
        assert!(stage.opener.urls().is_empty());
    }
}

#[tokio::test]
async fn without_a_token_in_the_environment_nobody_is_logged_in() {
    let stage = Stage::new().await;
    let server = stage
        .setup()
        .env("TOOLHIVE_SECRETS_PROVIDER", "environment")
        .start()
        .await;
    assert_needs_login(&server.get(STANDARD).await, "never_logged_in");
}

#[tokio::test]
async fn f13_a_refresh_token_in_the_environment_is_used_and_its_successor_kept_in_memory() {
    let stage = Stage::with_tokens_of(2).await;
    // Somebody logs in on another machine and carries the token over.
    let answer = token_of_another_machine(&stage).await;
    let variable = format!("TOOLHIVE_SECRET___thv_registry_{}", go_name(&stage));
    let server = stage
        .setup()
        .env("TOOLHIVE_SECRETS_PROVIDER", "environment")
        .env(&variable, &answer)
        .start()
        .await;
    assert_eq!(names(&server).await.len(), 6, "{}", server.stderr());
    stage.until_expired(2).await;
    stage.live_for(300);
    assert_eq!(server.post(REFRESH, &json!({})).await.status, 200);
    assert!(stage.refreshes() >= 2);
    assert!(
        stage
            .provider
            .families()
            .iter()
            .all(|family| family.ended.is_none())
    );
}

/// A refresh token, by a login written out by hand.
async fn token_of_another_machine(stage: &Stage) -> String {
    use thv_testkit::browse::Browser;
    use thv_testkit::client::{Address, Call, Method};
    let verifier = jwt::random(32);
    let challenge = jwt::encode(&jwt::sha256(verifier.as_bytes()));
    let redirect = "http://127.0.0.1:1/callback";
    let encoded = |pairs: &[(&str, &str)]| {
        url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish()
    };
    let resource = stage.registry.url();
    let query = encoded(&[
        ("response_type", "code"),
        ("client_id", "thv-cli"),
        ("redirect_uri", redirect),
        ("scope", "openid email offline_access registry:read"),
        ("prompt", "consent"),
        ("resource", &resource),
        ("state", "0123456789012345"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    let authorize = format!("{}?{query}", stage.provider.at(paths::AUTHORIZE));
    let back = Browser::default().open_until(&authorize, redirect).await;
    let back = url::Url::parse(&back).unwrap();
    let (_, code) = back.query_pairs().find(|(name, _)| name == "code").unwrap();
    let form = encoded(&[
        ("grant_type", "authorization_code"),
        ("client_id", "thv-cli"),
        ("redirect_uri", redirect),
        ("resource", &resource),
        ("code_verifier", &verifier),
        ("code", &code),
    ]);
    let (address, path) = Address::of_url(&stage.provider.at(paths::TOKEN)).unwrap();
    let answer = Call::new(Method::POST, &path)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .to(&address)
        .await;
    answer.json()["refresh_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn f13_a_login_of_the_go_program_is_taken_over_and_its_keys_are_gone() {
    for prefix in ["__thv_registry_", ""] {
        let stage = Stage::new().await;
        let token = token_of_another_machine(&stage).await;
        let name = format!("{prefix}{}", go_name(&stage));
        let mut secrets = json!({ "mine": "stays" });
        secrets[&name] = token.into();
        let store = go_store::seal(auth_kit::PASSWORD, &secrets);
        stage.home.write("data/toolhive/secrets_encrypted", store);
        let config = format!(
            "secrets:\n    provider_type: encrypted\n    setup_completed: true\n{}",
            stage.config()
        );
        stage.home.write_config(&config.replace(
            "        callback_port",
            &format!(
                "        cached_refresh_token_ref: {}\n        callback_port",
                go_name(&stage)
            ),
        ));
        let server = stage.server().await;
        assert_eq!(
            names(&server).await.len(),
            6,
            "{prefix}: {}",
            server.stderr()
        );
        assert_eq!(report(&server).await["state"], "authenticated");
        assert!(stage.provider.families()[0].ended.is_none());
        assert_eq!(server.post(LOGOUT, &json!({})).await.status, 200);
        assert_needs_login(&server.get(STANDARD).await, "never_logged_in");
        drop(server);
        let left = go_store::open(auth_kit::PASSWORD, &stage.store_bytes());
        assert_eq!(left["mine"], "stays", "a key of the user is gone");
        let names: Vec<&String> = left.as_object().unwrap().keys().collect();
        assert!(
            !names.iter().any(|name| name.contains("REGISTRY_")),
            "{names:?}"
        );
    }
}
