//! Configuring a registry that needs a login: everything is checked before anything is written, tokens never follow to
//! another registry, and the desktop client's way of saving.

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
    DEFAULT, LOGIN, LOGOUT, REFRESH, STANDARD, Stage, assert_needs_login, info, names, posted,
    report, until_joined, until_status,
};
use serde_json::{Value, json};
use thv_testkit::browse::browse;
use thv_testkit::client::{Answer, Call, Method};
use thv_testkit::fixture;
use thv_testkit::provider::{CLIENT, Fault, Rule, User, paths};
use thv_testkit::registry::{FakeRegistry, Guard};
use thv_testkit::wait::until_true;

fn body(stage: &Stage, registry: &str) -> Value {
    json!({
        "api_url": registry, "allow_private_ip": true,
        "auth": {"issuer": stage.provider.issuer(), "client_id": CLIENT},
    })
}

#[tokio::test]
async fn w11_a_bad_issuer_leaves_the_configuration_as_it_is() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    let other = FakeRegistry::with_servers(2).await;
    let before = stage.home.config();
    let nobody = format!("http://127.0.0.1:{}", auth_kit::free_port());
    for issuer in [
        nobody.as_str(),
        "http://issuer.example",
        "ftp://127.0.0.1/",
        "not a url",
        "javascript:alert(1)",
    ] {
        let mut body = body(&stage, &other.url());
        body["auth"]["issuer"] = issuer.into();
        let answer = server.put(DEFAULT, &body).await;
        assert_eq!(answer.status, 400, "{issuer}: {answer:?}");
        assert!(
            answer
                .text()
                .starts_with("failed to configure registry auth: configuring OAuth: "),
            "{answer:?}"
        );
        assert_eq!(stage.home.config(), before, "{issuer}");
    }
    assert_eq!(names(&server).await.len(), 6);
    assert_eq!(report(&server).await["state"], "authenticated");
}

#[tokio::test]
async fn w11_the_texts_are_those_the_desktop_client_looks_for() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let mut request = body(&stage, &stage.registry.url());
    stage.provider.refuse().await;
    let answer = server.put(DEFAULT, &request).await;
    let issuer = stage.provider.issuer();
    assert_eq!(answer.status, 400);
    assert!(
        answer
            .text()
            .contains(&format!("OIDC discovery failed for issuer {issuer}: ")),
        "{answer:?}"
    );
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    for missing in ["issuer", "client_id"] {
        let whole = request["auth"].clone();
        request["auth"].as_object_mut().unwrap().remove(missing);
        let answer = server.put(DEFAULT, &request).await;
        assert_eq!(
            (answer.status, answer.text().trim()),
            (400, "auth.issuer and auth.client_id are required")
        );
        request["auth"] = whole;
    }
}

#[tokio::test]
async fn w11_a_registry_that_is_down_leaves_the_configuration_as_it_is() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let before = stage.home.config();
    let nowhere = format!("http://127.0.0.1:{}", auth_kit::free_port());
    let answer = server.put(DEFAULT, &body(&stage, &nowhere)).await;
    assert_eq!(answer.status, 504, "{answer:?}");
    assert_eq!(stage.home.config(), before);
}

#[tokio::test]
async fn w18_a_login_is_refused_where_no_token_would_be_sent() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let path = stage.home.write(
        "mine.json",
        fixture::registry_document([fixture::npm("test.by/file", "@example/f")]),
    );
    let before = stage.home.config();
    let auth = body(&stage, "")["auth"].clone();
    for source in [json!({"local_path": path.display().to_string()}), json!({})] {
        let mut request = source;
        request["auth"] = auth.clone();
        let answer = server.put(DEFAULT, &request).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(stage.home.config(), before);
    }
}

#[tokio::test]
async fn w18_a_document_behind_a_url_is_read_with_the_bearer_too() {
    let stage = Stage::new().await;
    let document = fixture::registry_document([fixture::npm("test.by/url", "@example/u")]);
    stage.registry.put_document("/registry.json", document);
    let url = stage.registry.at("/registry.json");
    let config = stage.config().replace("registry_api_url", "registry_url");
    let config = config.replacen(&stage.registry.url(), &url, 1);
    stage.home.write_config(&config);
    let server = stage.server().await;
    assert_needs_login(&server.get(STANDARD).await, "never_logged_in");
    assert_eq!(stage.log_in(&server).await.status, 200);
    assert_eq!(names(&server).await, ["test.by/url"]);
    assert_eq!(info(&server).await["auth_status"], "authenticated");
}

#[tokio::test]
async fn f11_another_registry_never_sees_the_token_of_the_first() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    let other = FakeRegistry::with_servers(3).await;
    let answer = server
        .put(
            DEFAULT,
            &json!({"api_url": other.url(), "allow_private_ip": true}),
        )
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(names(&server).await.len(), 3);
    assert_eq!(server.post(REFRESH, &json!({})).await.status, 200);
    assert!(other.bearers().is_empty(), "{:?}", other.bearers());
    assert!(
        !stage.home.config().contains("issuer"),
        "{}",
        stage.home.config()
    );
    assert_eq!(info(&server).await["auth_status"], "none");
}

#[tokio::test]
async fn f11_the_same_client_at_another_registry_has_to_log_in_again() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    let other = FakeRegistry::with_servers(3).await;
    other.protect(Guard::of(&stage.provider, &stage.registry.url()));
    let answer = server.put(DEFAULT, &body(&stage, &other.url())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_needs_login(&server.get(STANDARD).await, "never_logged_in");
    assert!(other.bearers().is_empty());
}

#[tokio::test]
async fn w10_a_renewal_that_ends_after_a_put_changes_nothing_there() {
    let stage = Stage::with_tokens_of(2).await;
    let server = stage.logged_in_server().await;
    let gate = thv_testkit::provider::Gate::new();
    stage.provider.break_with(
        Rule::always(Fault::HeldAfter(gate.clone()))
            .on(paths::TOKEN)
            .times(1),
    );
    let address = server.address().clone();
    let asking = tokio::spawn(async move {
        loop {
            let _ = posted(&address, REFRESH).await;
        }
    });
    gate.arrived(1).await;
    asking.abort();
    let other = FakeRegistry::with_servers(3).await;
    let answer = server
        .put(
            DEFAULT,
            &json!({"api_url": other.url(), "allow_private_ip": true}),
        )
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let config = stage.home.config();
    gate.open();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(stage.home.config(), config);
    assert_eq!(server.post(REFRESH, &json!({})).await.status, 200);
    assert!(other.bearers().is_empty());
    assert_eq!(names(&server).await.len(), 3);
}

#[tokio::test]
async fn w12_a_redirect_to_another_host_carries_no_token() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    let other = FakeRegistry::with_servers(3).await;
    stage
        .registry
        .put_redirect("/v0.1/servers", &other.at("/v0.1/servers"));
    let _ = server.post(REFRESH, &json!({})).await;
    for request in other.requests() {
        assert_eq!(request.header("authorization"), None, "{request:?}");
    }
    assert!(other.bearers().is_empty());
}

#[tokio::test]
async fn w12_plain_http_to_another_machine_gets_no_token() {
    let stage = Stage::new().await;
    stage
        .home
        .write_config(&stage.config_for("http://registry.invalid:9"));
    let server = stage.server().await;
    let login = posted(server.address(), LOGIN);
    let answer = tokio::time::timeout(std::time::Duration::from_secs(5), login).await;
    // Refused for its scheme, or waiting for a person: in no case is a token sent.
    if let Ok(answer) = answer {
        assert_ne!(answer.unwrap().status, 200);
    }
    assert_ne!(server.get(STANDARD).await.status, 200);
}

#[tokio::test]
async fn audience_and_scopes_stay_when_the_same_client_is_saved_without_them() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let answer = server
        .put(DEFAULT, &body(&stage, &stage.registry.url()))
        .await;
    assert_eq!(
        (answer.status, answer.text().trim()),
        (200, r#"{"type":"api"}"#),
        "{answer:?}"
    );
    let shown = info_config(&server.get("/api/v1/registries/default/auth").await);
    assert_eq!(shown["resource"], stage.registry.url());
    assert!(
        shown["scopes"]["requested"]
            .to_string()
            .contains("registry:read")
    );
    let mut request = body(&stage, &stage.registry.url());
    request["auth"]["client_id"] = "another".into();
    assert_eq!(server.put(DEFAULT, &request).await.status, 200);
    let shown = info_config(&server.get("/api/v1/registries/default/auth").await);
    assert_eq!(shown["resource"], Value::Null);
    assert_eq!(
        shown["scopes"]["requested"],
        json!(["openid", "offline_access"])
    );
}

fn info_config(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn studio(method: Method, path: &str) -> Call {
    Call::new(method, path).header("x-client-type", "toolhive-studio")
}

#[tokio::test]
async fn studio_saves_logs_in_and_reads() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let save = studio(Method::PUT, DEFAULT).json(&body(&stage, &stage.registry.url()));
    assert_eq!(save.to(server.address()).await.status, 200);
    assert_needs_login(&server.get(auth_kit::COLLECTION).await, "never_logged_in");
    let address = server.address().clone();
    let login = tokio::spawn(async move { studio(Method::POST, LOGIN).to(&address).await });
    let _ = browse(&stage.opener.url(1).await).await;
    assert_eq!(login.await.unwrap().status, 200);
    let answer = until_status(&server, auth_kit::COLLECTION, 200).await;
    assert_eq!(answer.json()["registries"][0]["type"], "api");
    assert_eq!(
        answer.json()["registries"][0]["auth_status"],
        "authenticated"
    );
    assert_eq!(server.get(&format!("{DEFAULT}/servers")).await.status, 200);
}

#[tokio::test]
async fn studio_a_failed_login_and_its_automatic_logout_keep_the_old_grant() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    stage.provider.users([User::Denies]);
    let address = server.address().clone();
    let login = tokio::spawn(async move { studio(Method::POST, LOGIN).to(&address).await });
    let _ = browse(&stage.opener.url(2).await).await;
    assert_eq!(login.await.unwrap().status, 403);
    let reflex = studio(Method::POST, LOGOUT).to(server.address()).await;
    assert_eq!(reflex.status, 200, "{reflex:?}");
    assert_eq!(reflex.json()["status"], "logged_out");
    assert_eq!(report(&server).await["state"], "authenticated");
    assert_eq!(server.post(REFRESH, &json!({})).await.status, 200);
    let explicit = studio(Method::POST, LOGOUT).to(server.address()).await;
    assert_eq!(explicit.status, 200, "{explicit:?}");
    assert_needs_login(&server.get(STANDARD).await, "never_logged_in");
}

#[tokio::test]
async fn studio_a_second_save_and_login_overtake_the_first_and_its_logout_does_not_hurt() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let elsewhere = FakeRegistry::with_servers(2).await;
    elsewhere.protect(Guard::of(&stage.provider, &elsewhere.url()));
    let save =
        |registry: &FakeRegistry| studio(Method::PUT, DEFAULT).json(&body(&stage, &registry.url()));
    let login = || {
        let address = server.address().clone();
        tokio::spawn(async move { studio(Method::POST, LOGIN).to(&address).await })
    };
    assert_eq!(save(&elsewhere).to(server.address()).await.status, 200);
    let first = login();
    let _ = stage.opener.url(1).await;
    assert_eq!(save(&stage.registry).to(server.address()).await.status, 200);
    let second = login();
    let url = stage.opener.url(2).await;
    assert_eq!(first.await.unwrap().status, 409);
    let reflex = studio(Method::POST, LOGOUT).to(server.address()).await;
    assert_eq!(reflex.status, 200, "{reflex:?}");
    let _ = browse(&url).await;
    let answer = second.await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(info(&server).await["auth_status"], "authenticated");
    assert_eq!(names(&server).await.len(), 6);
}

#[tokio::test]
async fn studio_a_second_save_of_the_same_joins_the_login_that_waits() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let save = || studio(Method::PUT, DEFAULT).json(&body(&stage, &stage.registry.url()));
    assert_eq!(save().to(server.address()).await.status, 200);
    let first = stage.start_login(&server).await;
    assert_eq!(save().to(server.address()).await.status, 200);
    let second = posted(server.address(), LOGIN);
    until_joined(&server, 2).await;
    let _ = browse(&first.url).await;
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(second.await.unwrap().status, 200);
    assert_eq!(stage.opener.urls().len(), 1);
}

#[tokio::test]
async fn w37_a_page_of_another_origin_cannot_log_in_or_out() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("host", "evil.example"),
    ] {
        for path in [LOGIN, LOGOUT] {
            let answer = Call::new(Method::POST, path)
                .header(name, value)
                .header("content-type", "text/plain")
                .body("{}")
                .to(server.address())
                .await;
            assert_eq!(answer.status, 403, "{name}: {value} {path}: {answer:?}");
        }
    }
    assert_eq!(stage.opener.urls().len(), 1);
    assert_eq!(report(&server).await["state"], "authenticated");
}

#[tokio::test]
async fn w27_nobody_sees_what_another_account_was_shown() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    until_true("the cache file", || !stage.cached().is_empty()).await;
    assert!(server.stop().await.success());
    let offline = stage.server().await;
    stage
        .registry
        .break_all(thv_testkit::registry::Fault::Status(500));
    assert_eq!(
        names(&offline).await.len(),
        6,
        "the same account reads its cache"
    );
    stage.provider.users([User::ApprovesAs("bob".to_owned())]);
    assert_eq!(stage.log_in(&offline).await.status, 200);
    let answer = offline.get(STANDARD).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "registry_unavailable"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn w27_without_a_login_a_fresh_cache_is_not_served() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    until_true("the cache file", || !stage.cached().is_empty()).await;
    drop(server);
    std::fs::remove_file(stage.home.join("data/toolhive/secrets_encrypted")).unwrap();
    let server = stage.server().await;
    for path in stage.reads() {
        assert_needs_login(&server.get(&path).await, "never_logged_in");
    }
}
