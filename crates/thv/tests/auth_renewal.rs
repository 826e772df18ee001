//! Renewals as a running server makes them: how many, with which parameters, and what is said when they fail.

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

use auth_kit::{REFRESH, STANDARD, Stage, assert_needs_login, names, posted, report, until_status};
use serde_json::json;
use thv_testkit::binary::Server;
use thv_testkit::client::Answer;
use thv_testkit::provider::{Fault, Rotation, Rule, paths};
use thv_testkit::registry::Guard;
use thv_testkit::wait::{PATIENCE, all, until, until_true};

/// A server whose access token has just expired; the next ones live for five minutes.
async fn expired() -> (Stage, Server) {
    let stage = Stage::with_tokens_of(2).await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    expire(&stage).await;
    (stage, server)
}

async fn expire(stage: &Stage) {
    stage.until_expired(2).await;
    stage.live_for(300);
    stage.provider.clear_journal();
    stage.registry.clear_journal();
}

async fn refresh(server: &Server) -> Answer {
    server.post(REFRESH, &json!({})).await
}

#[tokio::test]
async fn f2_f3_f4_every_token_request_has_the_same_resource_scope_and_client() {
    let stage = Stage::with_tokens_of(2).await;
    let server = stage.logged_in_server().await;
    let code = stage.provider.requests_for(paths::TOKEN)[0].clone();
    let asked = stage.provider.requests_for(paths::AUTHORIZE)[0].clone();
    expire(&stage).await;
    stage.live_for(2);
    assert_eq!(refresh(&server).await.status, 200);
    let renewed = stage.provider.requests_for(paths::TOKEN)[0].clone();
    drop(server);
    let server = stage.server().await;
    expire(&stage).await;
    assert_eq!(refresh(&server).await.status, 200);
    let restored = stage.provider.requests_for(paths::TOKEN)[0].clone();
    let resource = Some(stage.registry.url());
    assert_eq!(asked.param("resource"), resource.as_deref());
    for request in [&code, &renewed, &restored] {
        assert_eq!(request.field("resource"), resource, "{:?}", request.form());
        assert_eq!(request.field("client_id").as_deref(), Some("thv-cli"));
    }
    let scope = asked.param("scope").map(str::to_owned);
    for request in [&renewed, &restored] {
        assert_eq!(
            request.field("grant_type").as_deref(),
            Some("refresh_token")
        );
        assert_eq!(request.field("scope"), scope, "{:?}", request.form());
        assert_eq!(request.field("code"), None);
    }
    assert_ne!(
        renewed.field("refresh_token"),
        restored.field("refresh_token")
    );
}

#[tokio::test]
async fn five_hundred_requests_at_expiry_make_one_token_request() {
    let (stage, server) = expired().await;
    let live = stage.registry.live_names();
    let paths: Vec<String> = (0..500)
        .map(|index| match index % 5 {
            // Each asks the registry, too.
            0 => format!(
                "{STANDARD}/{}/versions",
                live[index % live.len()].replace('/', "%2F")
            ),
            _ => STANDARD.to_owned(),
        })
        .collect();
    let forced = (0..10).map(|_| posted(server.address(), REFRESH));
    let (answers, forced) =
        tokio::join!(all(paths.iter().map(|path| server.get(path))), all(forced));
    for answer in answers
        .iter()
        .chain(forced.iter().map(|answer| answer.as_ref().unwrap()))
    {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(stage.refreshes(), 1);
    assert!(
        stage
            .registry
            .bearers()
            .iter()
            .all(|bearer| bearer.refused.is_none())
    );
}

#[tokio::test]
async fn w6_a_token_that_the_registry_rejects_once_is_renewed_once_and_the_read_succeeds() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    let token = stage.registry.bearers()[0].fingerprint.clone();
    stage.registry.ban_fingerprint(&token);
    let answer = refresh(&server).await;
    assert_eq!(answer.status, 200, "{answer:?}\n{}", server.stderr());
    assert_eq!(stage.refreshes(), 1);
    assert_eq!(refresh(&server).await.status, 200);
    assert_eq!(stage.refreshes(), 1);
    assert_eq!(report(&server).await["state"], "authenticated");
}

#[tokio::test]
async fn w6_a_registry_that_rejects_every_token_causes_no_storm() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    stage.registry.refuse_good_tokens(usize::MAX);
    stage.registry.clear_journal();
    for _ in 0..10 {
        assert_needs_login(&refresh(&server).await, "registry_rejected_token");
        assert_needs_login(&server.get(STANDARD).await, "registry_rejected_token");
    }
    assert_eq!(stage.refreshes(), 1);
    assert!(
        stage.registry.bearers().len() <= 22,
        "{}",
        stage.registry.bearers().len()
    );
    stage.registry.refuse_good_tokens(0);
    assert_eq!(
        refresh(&server).await.status,
        200,
        "the registry has changed its mind"
    );
    assert_eq!(names(&server).await.len(), 6);
}

#[tokio::test]
async fn case_44_commands_one_after_the_other_spend_one_refresh_token_on_a_registry_that_rejects_every_token()
 {
    let stage = Stage::new().await;
    stage.logged_in_by_cli().await;
    stage.registry.refuse_good_tokens(usize::MAX);
    stage.registry.clear_journal();
    let list = ["registry", "list", "--refresh"];
    for _ in 0..4 {
        let ran = stage.cli(&list).await;
        assert_eq!(ran.code, 3, "{}", ran.transcript());
        assert!(ran.stderr.contains("refused"), "{}", ran.stderr);
    }
    assert_eq!(stage.refreshes(), 1);
    let shown = stage.registry.bearers().len();
    assert_eq!(
        shown, 5,
        "the first command tries twice, each other one once"
    );
    stage.registry.refuse_good_tokens(0);
    let ran = stage.cli(&list).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
}

#[tokio::test]
async fn w7_after_a_verdict_the_token_endpoint_is_left_alone() {
    let (stage, server) = expired().await;
    stage.provider.revoke_everything();
    for _ in 0..20 {
        assert_needs_login(&refresh(&server).await, "grant_revoked");
        assert_needs_login(&server.get(STANDARD).await, "grant_revoked");
    }
    assert_eq!(stage.refreshes(), 1);
    assert!(stage.registry.bearers().is_empty());
    let discoveries =
        stage.provider.requests().len() - stage.provider.requests_for(paths::TOKEN).len();
    assert!(discoveries <= 2, "{discoveries} requests beside it");
    drop(server);
    let server = stage.server().await;
    assert_needs_login(&server.get(STANDARD).await, "grant_revoked");
    assert_eq!(stage.refreshes(), 1, "a new process forgot the verdict");
}

#[tokio::test]
async fn w8_a_provider_that_is_down_is_no_reason_to_log_in() {
    let (stage, server) = expired().await;
    stage.provider.refuse().await;
    let answer = refresh(&server).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "registry_unavailable"),
        "{answer:?}"
    );
    assert_eq!(
        answer.json()["reason"],
        "identity_provider_unavailable",
        "{answer:?}"
    );
    assert_eq!(
        names(&server).await.len(),
        6,
        "stale data is better than none"
    );
    let report = report(&server).await;
    assert_eq!(report["state"], "provider_unavailable", "{report}");
    assert_eq!(report["refreshable"], true);
    assert_eq!(stage.opener.urls().len(), 1);
}

#[tokio::test]
async fn w8_a_provider_that_is_down_at_the_start_is_no_reason_to_log_in() {
    let (stage, server) = expired().await;
    drop(server);
    stage.provider.refuse().await;
    let server = stage.server().await;
    assert_eq!(
        names(&server).await.len(),
        6,
        "the same account's cache is served stale"
    );
    for (path, _) in stage.cached() {
        std::fs::remove_file(path).unwrap();
    }
    drop(server);
    let server = stage.server().await;
    let answer = server.get(STANDARD).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "registry_unavailable"),
        "{answer:?}"
    );
    assert_eq!(
        answer.json()["reason"],
        "identity_provider_unavailable",
        "{answer:?}"
    );
}

/// The login stands, what is cached is served, and the provider is not asked again at once.
async fn taken_for_an_outage(fault: Fault) {
    let (stage, server) = expired().await;
    stage
        .provider
        .break_with(Rule::always(fault.clone()).on(paths::TOKEN));
    let answer = refresh(&server).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "registry_unavailable"),
        "{fault:?}: {answer:?}"
    );
    assert_eq!(names(&server).await.len(), 6, "{fault:?}");
    assert_eq!(
        report(&server).await["state"],
        "provider_unavailable",
        "{fault:?}"
    );
    let before = stage.refreshes();
    for _ in 0..5 {
        let _ = refresh(&server).await;
    }
    assert_eq!(stage.refreshes(), before, "{fault:?}: retried at once");
}

#[tokio::test]
async fn w8_no_fault_of_the_token_endpoint_is_taken_for_a_verdict() {
    let stranger = thv_testkit::registry::FakeRegistry::start().await;
    let error = |status, error: &str| Fault::Error {
        status,
        error: error.to_owned(),
    };
    let raw = |status, media_type: &str, body: &str| Fault::Raw {
        status,
        media_type: media_type.to_owned(),
        body: body.to_owned(),
    };
    let faults = [
        Fault::Status(500),
        Fault::Status(403),
        Fault::RetryLater {
            status: 429,
            seconds: 7,
        },
        Fault::Cut,
        Fault::Html(200),
        Fault::Html(400),
        Fault::Garbage,
        Fault::Empty,
        Fault::Huge(20 * 1024 * 1024),
        Fault::RedirectTo {
            status: 302,
            url: stranger.at("/token"),
        },
        Fault::RedirectTo {
            status: 307,
            url: stranger.at("/token"),
        },
        raw(400, "text/plain", "invalid_grant"),
        raw(200, "application/json", "[]"),
        raw(200, "application/json", r#"{"access_token":""}"#),
        raw(
            200,
            "application/json",
            r#"{"access_token":"a\r\nb","token_type":"Bearer"}"#,
        ),
        error(400, "temporarily_unavailable"),
        error(500, "invalid_grant"),
    ];
    for some in faults.chunks(4) {
        all(some.iter().cloned().map(taken_for_an_outage)).await;
    }
    assert!(stranger.requests().is_empty(), "{:?}", stranger.requests());
}

#[tokio::test]
async fn a_hanging_token_endpoint_delays_no_read_of_what_is_there() {
    let (stage, server) = expired().await;
    stage
        .provider
        .break_with(Rule::always(Fault::Hang).on(paths::TOKEN));
    let waiting = posted(server.address(), REFRESH);
    until_true("the renewal", || stage.refreshes() == 1).await;
    let began = Instant::now();
    assert_eq!(names(&server).await.len(), 6);
    assert_eq!(report(&server).await["refreshing"], true);
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
    waiting.abort();
    assert_eq!(stage.refreshes(), 1);
}

#[tokio::test]
async fn f1_a_renewal_goes_on_when_the_request_that_began_it_is_gone() {
    let (stage, server) = expired().await;
    let gate = thv_testkit::provider::Gate::new();
    stage.provider.break_with(
        Rule::always(Fault::HeldAfter(gate.clone()))
            .on(paths::TOKEN)
            .times(1),
    );
    let waiting = posted(server.address(), REFRESH);
    gate.arrived(1).await;
    waiting.abort();
    let _ = waiting.await;
    gate.open();
    until_true("the renewal to be stored", || stage.refreshes() == 1).await;
    assert_eq!(refresh(&server).await.status, 200);
    assert_eq!(stage.refreshes(), 1);
    assert!(
        stage
            .provider
            .families()
            .iter()
            .all(|family| family.ended.is_none())
    );
}

#[tokio::test]
async fn f14_inside_the_window_many_calls_cause_one_renewal_and_the_old_token_is_gone() {
    let stage = Stage::with_tokens_of(8).await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    let old = stage.registry.bearers()[0].fingerprint.clone();
    stage.live_for(300);
    until_true("the window", || {
        drop(posted(server.address(), REFRESH));
        stage.refreshes() > 0
    })
    .await;
    // While it is renewed, the old token is still good.
    until("the new token", PATIENCE, async || {
        let _ = refresh(&server).await;
        let bearers = stage.registry.bearers();
        (bearers.last()?.fingerprint != old).then_some(())
    })
    .await;
    stage.registry.clear_journal();
    for answer in all((0..30).map(|_| refresh(&server))).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(stage.refreshes(), 1);
    assert!(
        stage
            .registry
            .bearers()
            .iter()
            .all(|bearer| bearer.fingerprint != old)
    );
}

#[tokio::test]
async fn f15_two_restarts_against_a_rotating_provider_keep_the_login() {
    let stage = Stage::with_tokens_of(2).await;
    let mut server = stage.logged_in_server().await;
    for restart in 1..=2 {
        expire(&stage).await;
        stage.live_for(2);
        assert_eq!(
            refresh(&server).await.status,
            200,
            "{restart}: {}",
            server.stderr()
        );
        drop(server);
        server = stage.server().await;
    }
    expire(&stage).await;
    let answer = refresh(&server).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let family = &stage.provider.families()[0];
    // A machine that is busy for a second may have renewed more often.
    assert!(
        family.refreshes >= 3 && family.ended.is_none(),
        "{family:?}"
    );
    assert_eq!(stage.opener.urls().len(), 1);
}

#[tokio::test]
async fn a_provider_that_does_not_rotate_is_renewed_from_too() {
    for rotation in [Rotation::Keeps, Rotation::Repeats] {
        let stage = Stage::with_tokens_of(2).await;
        stage
            .provider
            .behave(|behaviour| behaviour.rotation = rotation);
        let server = stage.logged_in_server().await;
        for _ in 0..2 {
            expire(&stage).await;
            stage.live_for(2);
            assert_eq!(refresh(&server).await.status, 200, "{rotation:?}");
        }
        let family = &stage.provider.families()[0];
        assert!(
            family.refreshes >= 2 && family.ended.is_none(),
            "{family:?}"
        );
    }
}

#[tokio::test]
async fn a_clock_that_is_a_day_off_does_not_matter() {
    for ahead in [86_400, -86_400] {
        let stage = Stage::new().await;
        stage.provider.set_ahead(ahead);
        let server = stage.logged_in_server().await;
        assert_eq!(names(&server).await.len(), 6, "{ahead}");
        assert_eq!(refresh(&server).await.status, 200);
        let report = report(&server).await;
        let skew = report["clock_skew_s"].as_i64().unwrap();
        assert!((skew - ahead).abs() < 60, "{report}");
        assert_eq!(stage.refreshes(), 0, "{ahead}");
    }
}

#[tokio::test]
async fn a_read_of_the_status_spends_no_token_and_asks_nobody() {
    let (stage, server) = expired().await;
    for _ in 0..5 {
        let _ = report(&server).await;
    }
    assert!(stage.provider.requests().is_empty());
    assert!(stage.registry.requests().is_empty());
    let answer = until_status(&server, STANDARD, 200).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_scope_that_the_registry_misses_is_no_reason_to_renew() {
    let stage = Stage::new().await;
    let guard = Guard::of(&stage.provider, &stage.registry.url());
    stage.registry.protect(guard.scope("registry:write"));
    let server = stage.just_logged_in_server().await;
    for _ in 0..5 {
        let answer = refresh(&server).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "registry_auth_required"),
            "{answer:?}"
        );
    }
    assert_eq!(stage.refreshes(), 0);
}
