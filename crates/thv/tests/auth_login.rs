//! Logins through `thv serve`: who may start one, what happens while one waits, and what ends it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

mod auth_kit;

use std::time::{Duration, Instant};

use auth_kit::{
    AUTH, COLLECTION, DEFAULT, LOGIN, LOGOUT, REFRESH, STANDARD, Stage, assert_needs_login, config,
    connections, free_port, is_listening, names, posted, report, until_joined, until_status,
};
use serde_json::{Value, json};
use thv_testkit::binary::Server;
use thv_testkit::browse::{Browser, browse};
use thv_testkit::client::{Address, Answer, Call, Method};
use thv_testkit::provider::{Client, Fault, RefreshTokens, Rule, User, paths};
use thv_testkit::wait::{all, until_true};

/// Every request but the login, in the order in which a desktop client would send them, twice over in both directions.
fn everything(stage: &Stage) -> Vec<Call> {
    let mut calls: Vec<Call> = stage.reads().iter().map(|path| Call::get(path)).collect();
    let auth = json!({"issuer": stage.provider.issuer(), "client_id": "thv-cli"});
    let api = json!({"api_url": stage.registry.url(), "allow_private_ip": true, "auth": auth});
    calls.extend([
        Call::get(AUTH),
        Call::get(LOGIN),
        Call::get("/health"),
        Call::new(Method::POST, REFRESH),
        Call::new(Method::POST, LOGOUT),
        Call::new(Method::PUT, DEFAULT).json(&api),
        Call::new(Method::POST, COLLECTION).json(&json!({})),
        Call::new(Method::DELETE, DEFAULT),
        Call::new(Method::HEAD, STANDARD),
        Call::new(Method::OPTIONS, LOGIN),
        Call::new(Method::PUT, LOGIN).json(&json!({})),
        Call::new(Method::POST, "/api/v1beta/registry/auth/login/").json(&json!({})),
        Call::new(Method::POST, "/api/v1beta/registry/default/auth/login").json(&json!({})),
        Call::new(Method::POST, AUTH).json(&json!({})),
        Call::get("/nothing"),
    ]);
    let backwards: Vec<Call> = calls.iter().rev().cloned().collect();
    calls.extend(backwards);
    calls
}

#[tokio::test]
async fn w1_no_request_but_the_login_opens_a_browser_in_any_order() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let calls = everything(&stage);
    for start in [0, calls.len() / 3] {
        for call in calls[start..].iter().chain(&calls[..start]) {
            let _ = call.clone().to(server.address()).await;
        }
    }
    let _ = all(calls.iter().map(|call| call.clone().to(server.address()))).await;
    assert_eq!(stage.opener.urls(), Vec::<String>::new());
    assert_eq!(stage.authorizations(), 0);
    assert_eq!(report(&server).await["pending_login"], Value::Null);
}

#[tokio::test]
async fn w4_a_login_asks_the_provider_anew_although_the_last_one_still_works() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    stage.provider.users([User::ApprovesAs("bob".to_owned())]);
    let answer = stage.log_in(&server).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(stage.authorizations(), 2);
    assert_eq!(report(&server).await["account"]["sub"], "bob");
    assert_eq!(names(&server).await.len(), 6);
}

#[tokio::test]
async fn w4_a_login_helps_after_the_registry_refused_the_token() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    stage.registry.refuse_good_tokens(usize::MAX);
    let answer = server.post(REFRESH, &json!({})).await;
    assert_needs_login(&answer, "registry_rejected_token");
    stage.registry.refuse_good_tokens(0);
    assert_eq!(stage.log_in(&server).await.status, 200);
    assert_eq!(names(&server).await.len(), 6);
}

#[tokio::test]
async fn w5_a_login_that_cannot_be_stored_fails_before_the_browser_opens() {
    let stage = Stage::new().await;
    let server = stage
        .setup()
        .env("TOOLHIVE_SECRETS_PROVIDER", "environment")
        .start()
        .await;
    let answer = server.post(LOGIN, &json!({})).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.text().contains("could not be stored"), "{answer:?}");
    assert!(stage.opener.urls().is_empty(), "a browser was opened");
    assert!(
        stage.provider.requests().is_empty(),
        "the provider was asked"
    );
}

#[tokio::test]
async fn w20_without_a_place_for_secrets_a_login_says_what_to_do_and_nothing_prompts() {
    let stage = Stage::new().await;
    let server = stage
        .setup()
        .env("TOOLHIVE_SECRETS_PASSWORD", "")
        .env("TOOLHIVE_SECRETS_KEY_FILE", "/nonexistent/key")
        .start()
        .await;
    let answer = server.post(LOGIN, &json!({})).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(
        answer
            .text()
            .contains("the key file /nonexistent/key cannot be used"),
        "{answer:?}"
    );
    assert!(stage.opener.urls().is_empty());
}

#[tokio::test]
async fn w13_hostile_callbacks_do_not_end_a_login() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let login = stage.start_login(&server).await;
    let callback = Address::Tcp(([127, 0, 0, 1], stage.port).into());
    for path in [
        "/callback?error=access_denied",
        "/callback?error=x&error_description=%3Cscript%3Ealert(1)%3C/script%3E",
        "/callback?code=stolen&state=wrong",
        "/callback?state=wrong&error=access_denied",
        "/callback?code=only",
        "/callback",
        "/callback?code=a&code=b&state=c&state=d",
    ] {
        let answer = callback.get(path).await;
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        assert!(!answer.text().contains("<script>"), "{answer:?}");
    }
    assert_eq!(callback.get("/other").await.status, 404);
    let page = browse(&login.url).await;
    assert_eq!(page.answer.status, 200, "{page:?}");
    let answer = login.answer().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(stage.provider.token_count("authorization_code"), 1);
}

#[tokio::test]
async fn w13_a_busy_callback_port_is_named_and_no_other_is_taken() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let _squatter = std::net::TcpListener::bind(("127.0.0.1", stage.port)).unwrap();
    let answer = server.post(LOGIN, &json!({})).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(
        answer.text().contains(&stage.port.to_string()),
        "{answer:?}"
    );
    assert!(stage.opener.urls().is_empty());
}

#[tokio::test]
async fn w13_the_success_page_comes_after_the_grant_is_stored() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let login = stage.start_login(&server).await;
    let before = stage.store_bytes();
    let page = browse(&login.url).await;
    assert_eq!(page.answer.status, 200, "{page:?}");
    assert_ne!(stage.store_bytes(), before, "the page came first");
    assert_eq!(login.answer().await.status, 200);
}

#[tokio::test]
async fn w14_two_parallel_logins_share_one_flow() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let first = stage.start_login(&server).await;
    let second = posted(server.address(), LOGIN);
    let third = posted(server.address(), LOGIN);
    until_joined(&server, 3).await;
    let _ = browse(&first.url).await;
    for answer in [
        first.answer().await,
        second.await.unwrap(),
        third.await.unwrap(),
    ] {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!((stage.opener.urls().len(), stage.authorizations()), (1, 1));
    assert_eq!(stage.provider.token_count("authorization_code"), 1);
}

#[tokio::test]
async fn w14_a_disconnect_frees_the_port_within_a_second() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let login = stage.start_login(&server).await;
    assert!(is_listening(stage.port));
    login.drop_it().await;
    let began = Instant::now();
    until_true("the port to be free", || !is_listening(stage.port)).await;
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(stage.log_in(&server).await.status, 200);
}

#[tokio::test]
async fn w14_one_of_two_that_wait_may_leave() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let first = stage.start_login(&server).await;
    let second = posted(server.address(), LOGIN);
    until_joined(&server, 2).await;
    let url = first.url.clone();
    first.drop_it().await;
    until_true("the first one to be gone", || connections(&server) <= 1).await;
    // Whether the login has noticed is told nowhere.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let _ = browse(&url).await;
    assert_eq!(second.await.unwrap().status, 200);
}

#[tokio::test]
async fn f20_the_callback_is_only_on_loopback() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let login = stage.start_login(&server).await;
    let listening = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", stage.port);
    let bound: Vec<&str> = listening
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .filter(|local| local.ends_with(&port))
        .collect();
    assert!(!bound.is_empty());
    assert!(
        bound.iter().all(|local| local.starts_with("0100007F")),
        "{bound:?}"
    );
    login.drop_it().await;
}

#[tokio::test]
async fn a_logout_ends_a_login_that_waits() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let login = stage.start_login(&server).await;
    assert_eq!(server.post(LOGOUT, &json!({})).await.status, 200);
    let answer = login.answer().await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(!is_listening(stage.port));
}

#[tokio::test]
async fn a_login_for_a_registry_that_was_replaced_meanwhile_stores_nothing() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let login = stage.start_login(&server).await;
    let answer = server.put(DEFAULT, &json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = login.answer().await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert_eq!(stage.provider.token_count("authorization_code"), 0);
    assert!(!is_listening(stage.port));
}

#[tokio::test]
async fn a_login_for_a_registry_that_another_process_replaced_stores_nothing() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let login = stage.start_login(&server).await;
    let ran = stage.cli(&["config", "unset-registry"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let mut browser = Browser::default();
    let _ = browser.try_open(&login.url).await;
    let answer = login.answer().await;
    assert_eq!(answer.status, 409, "{answer:?}");
    stage.home.write_config(&stage.config());
    // Until it is noticed, the built-in catalog is served.
    let answer = until_status(&server, STANDARD, 503).await;
    assert_needs_login(&answer, "never_logged_in");
}

#[tokio::test]
async fn stopping_the_server_ends_a_login_at_once() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let login = stage.start_login(&server).await;
    let began = Instant::now();
    let status = server.stop().await;
    assert!(status.success(), "{status}");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    let answer = login.answer().await;
    assert_eq!(answer.status, 409, "{answer:?}");
}

/// What a user, or a provider, does to a login, and what the client is told.
async fn outcome_of(user: User) -> (Stage, Server, Answer) {
    let stage = Stage::new().await;
    let server = stage.server().await;
    stage.provider.users([user]);
    let answer = stage.log_in(&server).await;
    (stage, server, answer)
}

#[tokio::test]
async fn a_person_can_say_no_and_the_text_says_so() {
    let (stage, server, answer) = outcome_of(User::Denies).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(answer.text().contains("access_denied"), "{answer:?}");
    assert_needs_login(&server.get(STANDARD).await, "never_logged_in");
    assert!(!is_listening(stage.port));
}

#[tokio::test]
async fn a_failed_login_leaves_the_one_before_it() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    stage.provider.users([User::Denies]);
    assert_eq!(stage.log_in(&server).await.status, 403);
    assert_eq!(report(&server).await["state"], "authenticated");
    assert_eq!(server.post(REFRESH, &json!({})).await.status, 200);
    stage
        .provider
        .break_with(Rule::always(Fault::Status(500)).on(paths::TOKEN));
    assert_eq!(stage.log_in(&server).await.status, 502);
    stage.provider.heal();
    assert_eq!(report(&server).await["state"], "authenticated");
    assert_eq!(names(&server).await.len(), 6);
}

#[tokio::test]
async fn f5_one_request_per_code_with_the_client_in_the_body() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    let requests = stage.provider.requests_for(paths::TOKEN);
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("authorization"), None);
    assert_eq!(requests[0].field("client_id").as_deref(), Some("thv-cli"));
    assert_eq!(names(&server).await.len(), 6);
}

#[tokio::test]
async fn f16_the_user_agent_is_the_products() {
    let stage = Stage::new().await;
    let _server = stage.logged_in_server().await;
    for request in stage.provider.requests() {
        // The rest are the browser's.
        if request.path != paths::AUTHORIZE {
            let agent = request.header("user-agent").unwrap_or_default();
            assert!(
                agent.starts_with("ToolHive/1.0"),
                "{agent} on {}",
                request.path
            );
        }
    }
}

#[tokio::test]
async fn f17_no_resource_is_sent_that_is_not_configured() {
    let stage = Stage::new().await;
    let with = config(
        &stage.registry.url(),
        &stage.provider.issuer(),
        "x",
        stage.port,
    );
    stage
        .home
        .write_config(&with.replace("        audience: x\n", ""));
    stage.provider.behave(|behaviour| {
        behaviour.default_audience = Some(stage.registry.url());
    });
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    for request in stage.provider.requests() {
        assert_eq!(request.param("resource"), None);
        assert_eq!(request.field("resource"), None);
    }
}

#[tokio::test]
async fn a_provider_without_refresh_tokens_is_used_until_the_token_ends() {
    let stage = Stage::with_tokens_of(6).await;
    stage
        .provider
        .behave(|behaviour| behaviour.refresh_tokens = RefreshTokens::Never);
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    assert_eq!(report(&server).await["refreshable"], false);
    auth_kit::reading_until(&server, "the token to expire", || {
        stage.registry.bearers().len() > 2
    })
    .await;
    let answer = until_status(&server, STANDARD, 503).await;
    assert_needs_login(&answer, "expired_no_refresh");
    assert_eq!(stage.refreshes(), 0);
}

#[tokio::test]
async fn an_unknown_client_or_port_ends_on_the_providers_page_and_the_login_can_be_left() {
    let stage = Stage::new().await;
    stage
        .provider
        .register(Client::public("thv-cli", &["http://localhost:1/other"]));
    let server = stage.server().await;
    let login = stage.start_login(&server).await;
    let page = browse(&login.url).await;
    assert_eq!(page.answer.status, 400, "{page:?}");
    login.drop_it().await;
    until_true("the port to be free", || !is_listening(stage.port)).await;
    assert_ne!(free_port(), 0);
}

#[tokio::test]
async fn without_a_browser_a_login_says_so_and_names_the_command_line() {
    let stage = Stage::new().await;
    let server = stage
        .setup()
        .env("BROWSER", "/nonexistent")
        .env("PATH", "/nonexistent")
        .start()
        .await;
    let answer = server.post(LOGIN, &json!({})).await;
    assert_eq!(answer.status, 501, "{answer:?}");
    assert!(answer.text().contains("thv registry login"), "{answer:?}");
    assert!(!is_listening(stage.port));
    assert!(stage.provider.requests_for(paths::TOKEN).is_empty());
}

#[tokio::test]
async fn without_a_display_no_browser_is_believed_in_and_the_answer_comes_at_once() {
    let stage = Stage::new().await;
    // A browser is installed, and what starts it would say that it did.
    let blind = [("DISPLAY", ""), ("WAYLAND_DISPLAY", ""), ("BROWSER", "")];
    let mut setup = stage.setup();
    for (name, value) in blind {
        setup = setup.env(name, value);
    }
    let server = setup.start().await;
    let answer = server.post(LOGIN, &json!({})).await;
    assert_eq!(answer.status, 501, "{answer:?}");
    for what in ["no display", "--device", "--no-browser", "auth/logins"] {
        assert!(answer.text().contains(what), "{what}: {answer:?}");
    }
    let command = stage
        .cli_with(&["registry", "login", "--timeout", "1"], &blind)
        .await;
    let told = &command.stderr;
    assert!(
        told.contains("No browser was opened, because there is no display here. Log in at:"),
        "{told}"
    );
    assert_eq!(stage.opener.urls(), Vec::<String>::new());
}
