//! Several processes of one user, processes that are killed, and stores that cannot be used: no login is lost in silence.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

mod auth_kit;

use std::time::Duration;

use auth_kit::{
    LOGIN, LOGOUT, REFRESH, STANDARD, Stage, assert_needs_login, is_listening, names, posted,
    report, until_status,
};
use rustix::process::Signal;
use serde_json::json;
use thv_testkit::binary::Server;
use thv_testkit::browse::{Browser, browse};
use thv_testkit::provider::{Fault, Gate, Rule, paths};
use thv_testkit::wait::{all, until_true};

async fn expire(stage: &Stage) {
    stage.until_expired(2).await;
}

fn alive(stage: &Stage) -> bool {
    stage
        .provider
        .families()
        .iter()
        .all(|family| family.ended.is_none())
}

/// How many expiries eight processes live through: a few, or as many as `THV_EXPIRIES` says.
fn expiries() -> usize {
    let told = std::env::var("THV_EXPIRIES").ok();
    told.and_then(|told| told.parse().ok()).unwrap_or(4)
}

#[tokio::test]
async fn w9_eight_processes_share_a_rotating_login_over_several_expiries() {
    // Long enough for the last of them to use what the first one has renewed.
    let stage = Stage::with_tokens_of(4).await;
    stage.logged_in_by_cli().await;
    let server = stage.server().await;
    for round in 0..expiries() {
        stage.until_expired(4).await;
        let before = stage.refreshes();
        let commands = all((0..7).map(|_| stage.cli(&["registry", "list", "--refresh"])));
        let (results, answer) = tokio::join!(commands, posted(server.address(), REFRESH));
        for ran in &results {
            assert_eq!(ran.code, 0, "round {round}: {}", ran.transcript());
        }
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "round {round}: {answer:?}");
        assert!(
            alive(&stage),
            "round {round}: {:?}",
            stage.provider.families()
        );
        assert!(
            stage.refreshes() > before,
            "round {round}: nothing was renewed"
        );
    }
    assert_eq!(stage.provider.families().len(), 1);
    assert_eq!(stage.provider.families()[0].ended, None);
}

#[tokio::test]
async fn w9_eight_processes_at_one_expiry_make_one_token_request() {
    let stage = Stage::with_tokens_of(2).await;
    stage.logged_in_by_cli().await;
    expire(&stage).await;
    stage.live_for(300);
    for ran in all((0..8).map(|_| stage.cli(&["registry", "list", "--refresh"]))).await {
        assert_eq!(ran.code, 0, "{}", ran.transcript());
    }
    assert_eq!(stage.refreshes(), 1);
    assert!(alive(&stage));
}

/// A server that has just sent its refresh token; the answer waits behind the gate.
async fn amid_a_renewal(stage: &Stage, server: &Server, fault: fn(Gate) -> Fault) -> Gate {
    expire(stage).await;
    let gate = Gate::new();
    stage
        .provider
        .break_with(Rule::always(fault(gate.clone())).on(paths::TOKEN).times(1));
    let asking = posted(server.address(), REFRESH);
    gate.arrived(1).await;
    asking.abort();
    gate
}

#[tokio::test]
async fn kill_9_before_the_provider_took_the_token_loses_nothing() {
    let stage = Stage::with_tokens_of(2).await;
    let mut server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    let _gate = amid_a_renewal(&stage, &server, Fault::HeldBefore).await;
    server.signal(Signal::KILL);
    let _ = server.ended().await;
    stage.live_for(300);
    let server = stage.server().await;
    let answer = server.post(REFRESH, &json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}\n{}", server.stderr());
    assert!(alive(&stage));
    assert_eq!(report(&server).await["state"], "authenticated");
}

#[tokio::test]
async fn kill_9_after_the_provider_took_the_token_is_known_and_said() {
    let stage = Stage::with_tokens_of(2).await;
    let mut server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    let _gate = amid_a_renewal(&stage, &server, Fault::HeldAfter).await;
    server.signal(Signal::KILL);
    let _ = server.ended().await;
    stage.live_for(300);
    let server = stage.server().await;
    let answer = server.post(REFRESH, &json!({})).await;
    assert_needs_login(&answer, "grant_outcome_unknown");
    let report = report(&server).await;
    assert_eq!(report["state"], "login_required", "{report}");
    assert_eq!(report["reason"], "grant_outcome_unknown", "{report}");
    assert_eq!(stage.log_in(&server).await.status, 200);
    assert_eq!(names(&server).await.len(), 6);
}

#[tokio::test]
async fn kill_9_of_a_command_amid_a_renewal_does_not_block_others() {
    let stage = Stage::with_tokens_of(2).await;
    stage.logged_in_by_cli().await;
    expire(&stage).await;
    stage.live_for(300);
    let gate = Gate::new();
    stage.provider.break_with(
        Rule::always(Fault::HeldBefore(gate.clone()))
            .on(paths::TOKEN)
            .times(1),
    );
    let running = stage.start_cli(&["registry", "list", "--refresh"]);
    gate.arrived(1).await;
    running.signal(Signal::KILL);
    let _ = running.ended().await;
    let ran = stage.cli(&["registry", "list", "--refresh"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
}

#[tokio::test]
async fn a_server_that_is_stopped_stores_the_renewal_that_nobody_waits_for_any_more() {
    let stage = Stage::with_tokens_of(2).await;
    let mut server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    let gate = amid_a_renewal(&stage, &server, Fault::HeldAfter).await;
    server.terminate();
    tokio::time::sleep(Duration::from_millis(500)).await;
    gate.open();
    assert!(server.ended().await.success());
    stage.live_for(300);
    let server = stage.server().await;
    let answer = server.post(REFRESH, &json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(alive(&stage));
}

#[tokio::test]
async fn a_command_that_ends_begins_no_renewal_that_it_would_not_see_the_end_of() {
    let stage = Stage::with_tokens_of(12).await;
    stage.logged_in_by_cli().await;
    // Nine seconds and a half later the token is worth renewing ahead, and still good for a while.
    let end = stage.provider.now() + 10;
    until_true("the window", || stage.provider.now() >= end).await;
    stage
        .provider
        .break_with(Rule::always(Fault::Slow(Duration::from_secs(1))).on(paths::TOKEN));
    let ran = stage.cli(&["registry", "list", "--refresh"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    stage.provider.heal();
    expire(&stage).await;
    let ran = stage.cli(&["registry", "list", "--refresh"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert!(alive(&stage));
}

#[tokio::test]
async fn kill_9_during_a_login_leaves_the_grant_before_it() {
    let stage = Stage::new().await;
    let mut server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    let gate = Gate::new();
    stage.provider.break_with(
        Rule::always(Fault::HeldAfter(gate.clone()))
            .on(paths::TOKEN)
            .times(1),
    );
    let login = stage.start_login(&server).await;
    let url = login.url.clone();
    let browsing = tokio::spawn(async move { Browser::default().try_open(&url).await });
    gate.arrived(1).await;
    server.signal(Signal::KILL);
    let _ = server.ended().await;
    let _ = browsing.await;
    login.drop_it().await;
    assert!(!is_listening(stage.port));
    let server = stage.server().await;
    assert_eq!(report(&server).await["state"], "authenticated");
    assert_eq!(server.post(REFRESH, &json!({})).await.status, 200);
}

#[tokio::test]
async fn kill_9_at_any_moment_of_a_login_and_a_renewal_leaves_a_readable_store() {
    let stage = Stage::with_tokens_of(1).await;
    let mut kills = 0_u64;
    for delay in [0, 3, 10, 30, 60, 120] {
        stage.a_person_comes();
        let running = stage.start_cli(&["registry", "login", "--no-browser"]);
        let url = stage.printed_url(&running).await;
        let browsing = tokio::spawn(async move { Browser::default().try_open(&url).await });
        tokio::time::sleep(Duration::from_millis(delay)).await;
        running.signal(Signal::KILL);
        let _ = running.ended().await;
        let _ = browsing.await;
        kills += 1;
        let ran = stage.cli(&["registry", "list"]).await;
        assert!(
            ran.code == 0 || ran.code == 3,
            "{delay} ms: {}",
            ran.transcript()
        );
    }
    stage.a_person_comes();
    stage.logged_in_by_cli().await;
    for delay in [20, 50, 80, 120, 200] {
        expire(&stage).await;
        let running = stage.start_cli(&["registry", "list", "--refresh"]);
        tokio::time::sleep(Duration::from_millis(delay)).await;
        running.signal(Signal::KILL);
        let _ = running.ended().await;
        kills += 1;
        let ran = stage.cli(&["registry", "list", "--refresh"]).await;
        match ran.code {
            0 => {}
            // The answer was lost with the process: that is said, and nothing else helps.
            3 => {
                assert!(
                    ran.stderr.contains("cut off"),
                    "{delay} ms: {}",
                    ran.transcript()
                );
                stage.logged_in_by_cli().await;
            }
            _ => panic!("{delay} ms: {}", ran.transcript()),
        }
    }
    assert_eq!(kills, 11);
}

#[tokio::test]
async fn w16_a_logout_during_a_renewal_leaves_nothing_and_gives_the_new_tokens_back() {
    let stage = Stage::with_tokens_of(2).await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    let gate = amid_a_renewal(&stage, &server, Fault::HeldAfter).await;
    let logout = posted(server.address(), LOGOUT);
    tokio::time::sleep(Duration::from_millis(300)).await;
    gate.open();
    let answer = logout.await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_needs_login(&server.get(STANDARD).await, "never_logged_in");
    until_true("the family to be ended", || !alive(&stage)).await;
    drop(server);
    let server = stage.server().await;
    assert_needs_login(&server.get(STANDARD).await, "never_logged_in");
    assert_ne!(report(&server).await["state"], "authenticated");
}

#[tokio::test]
async fn w16_a_logout_of_the_command_line_during_a_renewal_of_the_server() {
    let stage = Stage::with_tokens_of(2).await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    let gate = amid_a_renewal(&stage, &server, Fault::HeldAfter).await;
    let ran = stage.cli(&["registry", "logout"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    gate.open();
    let answer = until_status(&server, STANDARD, 503).await;
    assert_needs_login(&answer, "never_logged_in");
    until_true("the family to be ended", || !alive(&stage)).await;
    let ran = stage.cli(&["registry", "list"]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
}

#[tokio::test]
async fn w20_a_server_without_a_terminal_reads_its_password_from_the_environment() {
    let stage = Stage::new().await;
    stage.logged_in_by_cli().await;
    let server = stage.server().await;
    assert_eq!(names(&server).await.len(), 6);
    drop(server);
    let server = stage
        .setup()
        .env("TOOLHIVE_SECRETS_PASSWORD", "wrong")
        .start()
        .await;
    let before = stage.store_bytes();
    let answer = server.get(STANDARD).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "registry_unavailable"),
        "{answer:?}"
    );
    let reason = answer.json()["reason"].clone();
    assert!(reason.as_str().unwrap().starts_with("store_"), "{answer:?}");
    assert_eq!(report(&server).await["state"], "store_unavailable");
    assert_eq!(server.post(LOGIN, &json!({})).await.status, 409);
    assert_eq!(stage.store_bytes(), before, "the store was overwritten");
    assert!(stage.opener.urls().is_empty());
}

#[tokio::test]
async fn w8_a_store_that_is_not_unlocked_is_no_reason_to_log_in() {
    let stage = Stage::new().await;
    stage.logged_in_by_cli().await;
    let server = stage
        .setup()
        .env("TOOLHIVE_SECRETS_PASSWORD", "")
        .start()
        .await;
    let answer = server.get(STANDARD).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "registry_unavailable"),
        "{answer:?}"
    );
    assert_eq!(report(&server).await["state"], "store_unavailable");
}

#[tokio::test]
async fn a_store_that_cannot_be_written_spends_no_refresh_token() {
    let stage = Stage::with_tokens_of(2).await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    expire(&stage).await;
    let before = stage.refreshes();
    // A folder in place of the lock keeps even the superuser from writing.
    let lock = stage.home.join("data/toolhive/secrets_encrypted.lock");
    let _ = std::fs::remove_file(&lock);
    std::fs::create_dir(&lock).unwrap();
    let answer = server.post(REFRESH, &json!({})).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "registry_unavailable"),
        "{answer:?}"
    );
    assert_eq!(answer.json()["reason"], "store_unavailable", "{answer:?}");
    assert_eq!(
        stage.refreshes(),
        before,
        "a token was spent whose successor cannot be stored"
    );
    assert_eq!(names(&server).await.len(), 6, "what is cached is served");
    let answer = server.post(LOGIN, &json!({})).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert_eq!(stage.opener.urls().len(), 1);
    std::fs::remove_dir(&lock).unwrap();
    stage.live_for(300);
    drop(server);
    let server = stage.server().await;
    assert_eq!(server.post(REFRESH, &json!({})).await.status, 200);
    assert!(alive(&stage));
}

#[tokio::test]
async fn a_store_that_another_process_holds_locked_is_waited_for_and_then_told() {
    let stage = Stage::with_tokens_of(2).await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    expire(&stage).await;
    stage.live_for(300);
    let before = stage.refreshes();
    let path = stage.home.join("data/toolhive/secrets_encrypted.lock");
    let lock = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .unwrap();
    lock.lock().unwrap();
    let asked = posted(server.address(), REFRESH);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(
        stage.refreshes(),
        before,
        "spent without a place for the answer"
    );
    assert_eq!(server.get("/health").await.status, 204);
    lock.unlock().unwrap();
    let answer = asked.await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(stage.refreshes(), before + 1);
}

#[tokio::test]
async fn a_torn_store_is_told_and_never_overwritten() {
    let stage = Stage::new().await;
    stage.logged_in_by_cli().await;
    let path = stage.home.join("data/toolhive/secrets_encrypted");
    let mut bytes = stage.store_bytes();
    let half = bytes.len() / 2;
    bytes[half] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let server = stage.server().await;
    let answer = server.get(STANDARD).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let _ = server.post(LOGIN, &json!({})).await;
    let _ = server.post(LOGOUT, &json!({})).await;
    assert_eq!(stage.store_bytes(), bytes);
    let _ = browse(&stage.provider.at(paths::OPENID)).await;
}
