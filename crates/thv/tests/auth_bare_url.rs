//! From a registry's URL to its catalog: nothing is configured, and one command finds the issuer, becomes a client there,
//! logs in and reads.

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
    LOGIN, REFRESH, STANDARD, Stage, assert_needs_login, names, posted, report, until_status,
};
use serde_json::json;
use thv_testkit::binary::Ran;
use thv_testkit::browse::browse;
use thv_testkit::provider::{CLIENT, Client, Registration, User, paths};
use thv_testkit::registry::Guard;

/// A protected registry, a provider that registers programs, and a home in which nothing is configured.
async fn bare() -> Stage {
    let stage = Stage::new().await;
    stage
        .provider
        .behave(|behaviour| behaviour.registration = Registration::Open);
    std::fs::remove_file(stage.home.config_file()).unwrap();
    stage
}

/// `thv registry login <url>` and more, by a person who logs in.
async fn log_in(stage: &Stage, more: &[&str]) -> Ran {
    let (url, port) = (stage.registry.url(), stage.port.to_string());
    let mut arguments = vec!["registry", "login", &url, "-p", "--no-browser"];
    arguments.extend_from_slice(&["--callback-port", &port]);
    arguments.extend_from_slice(more);
    let running = stage.start_cli(&arguments);
    let authorize = stage.provider.at(paths::AUTHORIZE);
    let url = tokio::select! {
        url = running.word_on_stderr(&authorize) => url,
        () = tokio::time::sleep(std::time::Duration::from_mins(1)) => panic!("{}", running.stderr()),
    };
    let _ = browse(&url).await;
    running.ended().await
}

#[tokio::test]
async fn one_command_leads_from_a_url_to_the_catalog() {
    let stage = bare().await;
    let ran = log_in(&stage, &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let issuer = stage.provider.issuer();
    assert!(
        ran.stderr.contains(&format!("`{issuer}`")),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("alice"), "{}", ran.stderr);
    let ran = stage.cli(&["registry", "list", "--format", "json"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert_eq!(ran.json().as_array().map(Vec::len), Some(6));
    let config = stage.home.config();
    assert!(config.contains(&format!("issuer: {issuer}")), "{config}");
    assert!(config.contains("client_id: registered-"), "{config}");
    let url = stage.registry.url();
    assert!(config.contains(&format!("audience: {url}")), "{config}");
    let asked = stage.provider.requests_for(paths::AUTHORIZE);
    let redirect = asked[0].param("redirect_uri").unwrap();
    let wanted = format!("http://127.0.0.1:{}/callback/", stage.port);
    assert!(redirect.starts_with(&wanted), "{redirect}");
    assert_eq!(asked[0].param("resource"), Some(url.as_str()));
    let server = stage.server().await;
    assert_eq!(names(&server).await.len(), 6);
    assert!(stage.opener.urls().is_empty());
}

#[tokio::test]
async fn one_client_is_registered_however_many_logins_there_are() {
    let stage = bare().await;
    for _ in 0..2 {
        let ran = log_in(&stage, &[]).await;
        assert_eq!(ran.code, 0, "{}", ran.transcript());
        let ran = stage.cli(&["registry", "logout"]).await;
        assert_eq!(ran.code, 0, "{}", ran.transcript());
    }
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    assert_eq!(stage.provider.requests_for(paths::REGISTER).len(), 1);
    let asked = stage.provider.requests_for(paths::REGISTER)[0].clone();
    let asked: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(asked["application_type"], "native");
    assert_eq!(asked["token_endpoint_auth_method"], "none");
}

#[tokio::test]
async fn a_registered_secret_is_used_for_codes_refreshes_and_revocations() {
    let stage = bare().await;
    stage.live_for(2);
    stage
        .provider
        .behave(|behaviour| behaviour.registration = Registration::Secret);
    let first = log_in(&stage, &["--debug"]).await;
    assert_eq!(first.code, 0, "{}", first.transcript());
    stage.until_expired(2).await;
    stage.live_for(300);
    let ran = stage.cli(&["registry", "list", "--refresh"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert!(stage.refreshes() >= 1);
    let ran = stage.cli(&["registry", "logout"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let ended = stage.provider.families();
    assert!(
        ended.iter().all(|family| family.ended.is_some()),
        "{ended:?}"
    );
    for request in stage.provider.requests_for(paths::TOKEN) {
        let header = request.header("authorization").unwrap_or_default();
        assert!(header.starts_with("Basic "), "{request:?}");
    }
    // The secret is nowhere in plain text.
    for secret in stage.provider.secrets() {
        assert!(!stage.home.config().contains(&secret));
        for ran in [&first, &ran] {
            assert!(!ran.transcript().contains(&secret), "{secret}");
        }
    }
}

#[tokio::test]
async fn scopes_are_the_challenges_else_the_metadatas() {
    let stage = bare().await;
    let resource = stage.registry.url();
    stage
        .registry
        .protect(Guard::of(&stage.provider, &resource).scope("registry:read"));
    let ran = log_in(&stage, &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let asked = stage.provider.requests_for(paths::AUTHORIZE);
    assert_eq!(
        asked[0].param("scope"),
        Some("openid registry:read offline_access")
    );
    assert_eq!(stage.cli(&["registry", "list"]).await.code, 0);
    let pointer = stage.registry.at("/.well-known/oauth-protected-resource");
    let challenge = format!(
        "Bearer realm=\"r\", scope=\"registry:read registry:write\", resource_metadata=\"{pointer}\""
    );
    stage
        .registry
        .challenge_with(&["Basic realm=\"Bearer scope=evil\"", &challenge]);
    std::fs::remove_file(stage.home.config_file()).unwrap();
    let ran = log_in(&stage, &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let asked = stage.provider.requests_for(paths::AUTHORIZE);
    assert_eq!(
        asked[1].param("scope"),
        Some("openid registry:read registry:write offline_access")
    );
}

#[tokio::test]
async fn scopes_that_the_provider_does_not_list_are_not_added() {
    let stage = bare().await;
    stage
        .provider
        .behave(|behaviour| behaviour.advertise("scopes_supported", json!(["registry:read"])));
    let ran = log_in(&stage, &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let asked = stage.provider.requests_for(paths::AUTHORIZE);
    assert_eq!(asked[0].param("scope"), Some("openid"));
}

#[tokio::test]
async fn an_oauth_server_that_knows_no_openid_will_do() {
    let stage = bare().await;
    stage.provider.behave(|behaviour| {
        behaviour.speaks_openid = false;
        behaviour.refuses_unknown_scopes = true;
        behaviour.advertise("scopes_supported", serde_json::Value::Null);
        behaviour.advertise("jwks_uri", serde_json::Value::Null);
    });
    let ran = log_in(&stage, &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let asked = stage.provider.requests_for(paths::AUTHORIZE);
    assert_eq!(asked[0].param("scope").unwrap_or_default(), "");
    assert_eq!(stage.cli(&["registry", "list"]).await.code, 0);
}

#[tokio::test]
async fn a_client_that_the_provider_has_forgotten_is_registered_once_more() {
    let stage = bare().await;
    let ran = log_in(&stage, &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let old = stage.provider.client_ids().pop().unwrap();
    stage.provider.forget_client(&old);
    // The old way to log in finds it out before a browser is opened, too, and two at once are one.
    let server = stage.server().await;
    let another = posted(server.address(), LOGIN);
    assert_eq!(stage.log_in(&server).await.status, 200);
    assert_eq!(another.await.unwrap().status, 200);
    assert_eq!(names(&server).await.len(), 6);
    let new = stage.provider.client_ids().pop().unwrap();
    assert_ne!(old, new);
    assert!(stage.home.config().contains(&new));
    assert_eq!(stage.provider.requests_for(paths::REGISTER).len(), 2);
    let ran = log_in(&stage, &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert_eq!(stage.provider.requests_for(paths::REGISTER).len(), 2);
}

#[tokio::test]
async fn a_login_of_a_client_that_the_provider_has_forgotten_has_ended() {
    let stage = bare().await;
    stage.live_for(2);
    assert_eq!(log_in(&stage, &[]).await.code, 0);
    let client = stage.provider.client_ids().pop().unwrap();
    stage.provider.forget_client(&client);
    stage.until_expired(2).await;
    for _ in 0..3 {
        let ran = stage.cli(&["registry", "list", "--refresh"]).await;
        assert_eq!(ran.code, 3, "{}", ran.transcript());
        assert!(ran.stderr.contains("thv registry login"), "{}", ran.stderr);
    }
    assert_eq!(stage.refreshes(), 1, "a verdict is asked for once");
    stage.live_for(300);
    assert_eq!(log_in(&stage, &[]).await.code, 0);
    assert_eq!(stage.cli(&["registry", "list"]).await.code, 0);
    assert_eq!(stage.provider.requests_for(paths::REGISTER).len(), 2);
}

#[tokio::test]
async fn relaxed_rules_are_named_in_the_status() {
    let stage = bare().await;
    stage.provider.behave(|behaviour| {
        behaviour.advertise("code_challenge_methods_supported", serde_json::Value::Null);
    });
    let ran = log_in(&stage, &["--relax", "allow_missing_pkce_metadata"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert!(
        ran.stderr.contains("allow_missing_pkce_metadata"),
        "{}",
        ran.stderr
    );
    let ran = stage.cli(&["registry", "status"]).await;
    assert!(
        ran.stdout.contains("allow_missing_pkce_metadata"),
        "{}",
        ran.stdout
    );
    let asked = stage.provider.requests_for(paths::AUTHORIZE);
    assert_eq!(asked[0].param("code_challenge_method"), Some("S256"));
    let ran = stage
        .cli(&["registry", "login", "--relax", "everything"])
        .await;
    assert_eq!(ran.code, 2, "{}", ran.transcript());
    assert!(
        ran.stderr.contains("allow_unlisted_issuer"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn a_provider_that_wants_a_name_in_place_of_an_address_gets_one() {
    let stage = bare().await;
    stage.provider.behave(|behaviour| {
        behaviour.registration_refuses = Some("http://127.0.0.1".to_owned());
    });
    for _ in 0..2 {
        let ran = log_in(&stage, &[]).await;
        assert_eq!(ran.code, 0, "{}", ran.transcript());
    }
    let asked = stage.provider.requests_for(paths::AUTHORIZE);
    let wanted = format!("http://localhost:{}/callback", stage.port);
    assert_eq!(asked[1].param("redirect_uri"), Some(wanted.as_str()));
    assert_eq!(stage.provider.requests_for(paths::REGISTER).len(), 2);
}

#[tokio::test]
async fn the_registry_is_asked_once_in_a_while_whether_its_issuer_is_still_the_one() {
    let stage = bare().await;
    assert_eq!(log_in(&stage, &[]).await.code, 0);
    stage.registry.clear_journal();
    let server = stage.server().await;
    for _ in 0..3 {
        assert_eq!(server.post(REFRESH, &json!({})).await.status, 200);
    }
    let asked = stage
        .registry
        .requests_for("/.well-known/oauth-protected-resource");
    assert_eq!(asked.len(), 1);
    assert!(asked[0].header("authorization").is_none());
}

#[tokio::test]
async fn a_client_of_ones_own_needs_no_registration() {
    let stage = bare().await;
    stage.provider.behave(|behaviour| {
        behaviour.registration = Registration::Off;
        behaviour.advertise("client_id_metadata_document_supported", true);
    });
    let ran = log_in(&stage, &["--client-id", CLIENT]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let asked = stage.provider.requests_for(paths::AUTHORIZE);
    assert_eq!(asked[0].param("client_id"), Some(CLIENT));
    assert!(
        asked[0]
            .param("redirect_uri")
            .unwrap()
            .starts_with("http://localhost:")
    );
    // A document of one's own is a client where the provider reads such.
    let document = "https://app.example/client.json";
    stage
        .provider
        .register(Client::public(document, &["http://localhost/callback"]));
    std::fs::remove_file(stage.home.config_file()).unwrap();
    let ran = log_in(&stage, &["--client-metadata", document]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let asked = stage.provider.requests_for(paths::AUTHORIZE);
    assert_eq!(asked[1].param("client_id"), Some(document));
    assert!(stage.provider.requests_for(paths::REGISTER).is_empty());
}

#[tokio::test]
async fn every_dead_end_says_what_to_type_next() {
    let stage = bare().await;
    let url = stage.registry.url();
    let issuer = stage.provider.issuer();
    let fails = async |more: &[&str], code: i32, words: &[&str]| {
        let mut arguments = vec!["registry", "login", "-p", "--no-browser", "--timeout", "5"];
        arguments.extend_from_slice(more);
        let ran = stage.cli(&arguments).await;
        assert_eq!(ran.code, code, "{}", ran.transcript());
        for word in words {
            assert!(ran.stderr.contains(word), "no {word}: {}", ran.stderr);
        }
        assert!(ran.stderr.contains("Hint:"), "{}", ran.stderr);
        let config = stage.home.config();
        assert!(
            !config.contains("127.0.0.1") && !config.contains("registry_auth"),
            "{config}"
        );
        assert!(stage.provider.requests_for(paths::AUTHORIZE).is_empty());
    };
    fails(&[], 3, &["thv registry login <url>"]).await;
    fails(
        &["http://127.0.0.1:1"],
        5,
        &["cannot be asked", "check the address"],
    )
    .await;
    stage
        .provider
        .behave(|behaviour| behaviour.registration = Registration::Off);
    fails(
        &[&url, "--callback-port", "8999"],
        3,
        &[
            "register",
            "http://localhost:8999/callback",
            "--client-id <id>",
        ],
    )
    .await;
    fails(
        &[&url, "--client-metadata", "https://app.example/client.json"],
        3,
        &["reads no client-id metadata documents", "--client-id <id>"],
    )
    .await;
    fails(
        &["ftp://registry.example/x"],
        2,
        &["not an http or https URL", "thv registry login <url>"],
    )
    .await;
    stage.registry.describe(json!({"resource": url}));
    fails(
        &[&url],
        3,
        &["names no identity provider", "--issuer <url>"],
    )
    .await;
    let two = json!({"resource": url, "authorization_servers": [issuer, "https://b.example"]});
    stage.registry.describe(two);
    fails(
        &[&url],
        3,
        &[&issuer, "https://b.example", "--issuer <url>"],
    )
    .await;
    fails(
        &[&url, "--issuer", "https://c.example"],
        3,
        &["https://c.example", "allow_unlisted_issuer"],
    )
    .await;
    let below = format!("{url}/below");
    fails(&[&below], 3, &["allow_resource_parent_path"]).await;
    stage
        .registry
        .describe(json!({"resource": url, "authorization_servers": [issuer]}));
    stage.provider.behave(|behaviour| {
        behaviour.advertise("code_challenge_methods_supported", serde_json::Value::Null);
    });
    fails(&[&url], 1, &["allow_missing_pkce_metadata"]).await;
    stage.registry.unprotect();
    fails(
        &[&url],
        1,
        &["asks for no login", "thv config set-registry"],
    )
    .await;
}

#[tokio::test]
async fn a_login_with_too_few_scopes_is_said_once_and_the_next_asks_for_the_union() {
    let stage = bare().await;
    assert_eq!(log_in(&stage, &[]).await.code, 0);
    let resource = stage.registry.url();
    let guard = Guard::of(&stage.provider, &resource);
    stage.registry.protect(guard.scope("registry:write"));
    let server = stage.server().await;
    let answer = server.post(REFRESH, &json!({})).await;
    assert_needs_login(&answer, "insufficient_scope");
    assert_needs_login(&server.get(STANDARD).await, "insufficient_scope");
    let told = report(&server).await;
    assert_eq!(told["reason"], "insufficient_scope", "{told}");
    assert_eq!(
        told["scopes"]["wanted"],
        json!(["registry:write"]),
        "{told}"
    );
    assert_eq!(stage.refreshes(), 0, "a renewal does not help");
    assert!(stage.opener.urls().is_empty(), "nobody is asked");
    let answer = stage.log_in(&server).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let asked = stage.provider.requests_for(paths::AUTHORIZE);
    assert_eq!(
        asked[1].param("scope"),
        Some("openid registry:write offline_access")
    );
    until_status(&server, STANDARD, 200).await;
    assert_eq!(names(&server).await.len(), 6);
    let told = report(&server).await;
    assert_eq!(told["scopes"]["wanted"], serde_json::Value::Null, "{told}");
    assert_eq!(stage.cli(&["registry", "list"]).await.code, 0);
}

#[tokio::test]
async fn a_registry_that_refuses_the_scopes_that_it_asked_for_sends_nobody_to_another_login() {
    let stage = bare().await;
    assert_eq!(log_in(&stage, &[]).await.code, 0);
    let guard = Guard::of(&stage.provider, &stage.registry.url());
    stage.registry.protect(guard.scope_in_vain("openid"));
    let server = stage.server().await;
    let answer = server.post(REFRESH, &json!({})).await;
    assert_needs_login(&answer, "insufficient_scope");
    let actions = answer.json()["actions"].to_string();
    assert!(
        !actions.contains("login") && actions.contains("doctor"),
        "{actions}"
    );
    let told = report(&server).await;
    assert_eq!(told["next_step"], "thv doctor", "{told}");
    let ran = stage.cli(&["registry", "list", "--refresh"]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    assert!(
        ran.stderr.contains("ask who runs the registry"),
        "{}",
        ran.stderr
    );
    let ran = stage.cli(&["registry", "status"]).await;
    assert!(
        !ran.stdout.contains("`thv registry login`"),
        "{}",
        ran.stdout
    );
    for words in ["Account:    alice", "Scopes:     "] {
        assert!(ran.stdout.contains(words), "{}", ran.stdout);
    }
}

#[tokio::test]
async fn scopes_that_the_provider_does_not_grant_are_asked_for_once() {
    let stage = bare().await;
    assert_eq!(log_in(&stage, &[]).await.code, 0);
    let guard = Guard::of(&stage.provider, &stage.registry.url());
    stage
        .registry
        .protect(guard.scope_in_vain("registry:admin"));
    // The provider knows no such scope, and leaves it out of what it grants.
    let next_step = async || {
        let ran = stage.cli(&["registry", "list", "--refresh"]).await;
        assert_eq!(ran.code, 3, "{}", ran.transcript());
        ran.stderr
    };
    let first = next_step().await;
    assert!(first.contains("another login asks for them"), "{first}");
    assert_eq!(stage.cli_login(&[]).await.code, 0);
    let second = next_step().await;
    assert!(second.contains("ask who runs the registry"), "{second}");
}

#[tokio::test]
async fn a_registration_that_leads_to_no_login_leaves_the_client_and_the_login_from_before() {
    let stage = bare().await;
    stage
        .provider
        .behave(|behaviour| behaviour.registration = Registration::Secret);
    assert_eq!(log_in(&stage, &[]).await.code, 0);
    let before = stage.home.config();
    let anew = ["registry", "login", "--register", "--no-browser"];
    let again = async || {
        let running = stage.start_cli(&anew);
        let authorize = stage.provider.at(paths::AUTHORIZE);
        let url = running.word_on_stderr(&authorize).await;
        let _ = browse(&url).await;
        running.ended().await
    };
    stage.provider.users([User::Denies]);
    let ran = again().await;
    assert_ne!(ran.code, 0, "{}", ran.transcript());
    assert_eq!(stage.home.config(), before);
    assert_eq!(stage.cli(&["registry", "list"]).await.code, 0);
    let ran = again().await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let new = stage.provider.client_ids().pop().unwrap();
    assert!(stage.home.config().contains(&new));
    assert_eq!(stage.cli(&["registry", "list"]).await.code, 0);
}

#[tokio::test]
async fn what_was_named_by_hand_is_held_to_the_rules_only_where_that_is_wanted() {
    let stage = Stage::new().await;
    stage.provider.behave(|behaviour| {
        behaviour.advertise("code_challenge_methods_supported", serde_json::Value::Null);
    });
    let rule = "allow_missing_pkce_metadata";
    // As with the Go program; but it is said.
    let ran = stage.cli_login(&[]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert!(ran.stderr.contains(rule), "{}", ran.stderr);
    let rules = async || {
        let ran = stage.cli(&["registry", "status", "--format", "json"]).await;
        ran.json()["login"]["rules"].clone()
    };
    assert_eq!(
        rules().await,
        json!({"strict": false, "relaxed": [], "dpop": "auto"})
    );
    let ran = stage
        .cli(&["registry", "login", "--no-browser", "--strict"])
        .await;
    assert_ne!(ran.code, 0, "{}", ran.transcript());
    assert!(ran.stderr.contains(rule), "{}", ran.stderr);
    assert_eq!(rules().await["strict"], false, "it was refused");
    let ran = stage.cli_login(&["--strict", "--relax", rule]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert_eq!(
        rules().await,
        json!({"strict": true, "relaxed": [rule], "dpop": "auto"})
    );
    let text = stage.cli(&["registry", "status"]).await;
    let line = format!("Rules:      strict, without {rule}");
    assert!(text.stdout.contains(&line), "{}", text.stdout);
    // What was relaxed can be taken back, before and after the provider has mended its metadata.
    let again = ["registry", "login", "--no-browser", "--strict"];
    assert_ne!(stage.cli(&again).await.code, 0);
    stage.provider.behave(|behaviour| {
        behaviour
            .metadata
            .remove("code_challenge_methods_supported");
    });
    assert_eq!(stage.cli_login(&["--strict"]).await.code, 0);
    assert_eq!(rules().await["relaxed"], json!([]));
    let ran = stage
        .cli(&["registry", "login", "--relax", "issuer_root_slash"])
        .await;
    assert_eq!(ran.code, 2, "{}", ran.transcript());
    assert!(
        ran.stderr.contains("allow_unlisted_issuer"),
        "{}",
        ran.stderr
    );
}
