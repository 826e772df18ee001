//! When tokens are renewed, by whom, and who waits.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use thv_auth::credentials::{AuthError, AuthStatus, Credentials as _, LoginReason};
use thv_auth::limits::{FORCED_FLOOR, FORCED_FLOOR_ACROSS, LOOK_INTERVAL};
use thv_auth::refresh::Step;
use thv_auth::status::{AuthReport, AuthState};
use thv_testkit::provider::{Fault, Gate, Rule, paths};
use thv_testkit::wait;
use tokio_util::sync::CancellationToken;

use crate::support::{HOUR, Machine, Process, Recorder};

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_requests_at_expiry_make_one_token_request() {
    let machine = Machine::new().await;
    let old = machine.log_in().await.access_fingerprint();
    let process = Arc::new(machine.process());
    machine.clock.advance(HOUR);
    let requests = (0..500).map(|_| {
        let process = Arc::clone(&process);
        tokio::spawn(async move { process.token().await })
    });
    let mut tokens: Vec<_> = wait::all(requests)
        .await
        .into_iter()
        .map(|token| token.unwrap().unwrap())
        .collect();
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
    assert_ne!(Some(tokens[0]), old);
    assert_eq!(machine.refreshes(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_soft_window_the_old_token_serves_while_a_new_one_is_fetched() {
    let machine = Machine::new().await;
    let old = machine.log_in().await.access_fingerprint().unwrap();
    let process = machine.process();
    let gate = Gate::new();
    machine
        .provider
        .break_with(Rule::always(Fault::HeldBefore(gate.clone())).on(paths::TOKEN));
    machine.clock.advance(Duration::from_mins(50));
    assert_eq!(process.token().await.unwrap(), old);
    gate.arrived(1).await;
    for _ in 0..20 {
        assert_eq!(process.token().await.unwrap(), old);
    }
    gate.open();
    let new = wait::until("the new token", wait::PATIENCE, || async {
        process.token().await.ok().filter(|token| *token != old)
    })
    .await;
    assert_eq!(process.token().await.unwrap(), new);
    assert_eq!(machine.refreshes(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_a_renewal_outlives_whoever_asked_for_it() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let process = Arc::new(machine.process());
    let gate = Gate::new();
    machine
        .provider
        .break_with(Rule::always(Fault::HeldAfter(gate.clone())).on(paths::TOKEN));
    machine.clock.advance(HOUR);
    let asking = tokio::spawn({
        let process = Arc::clone(&process);
        async move { process.token().await }
    });
    gate.arrived(1).await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    gate.open();
    process.token().await.unwrap();
    assert_eq!(machine.refreshes(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f14_short_lived_tokens_are_renewed_once_per_life() {
    let machine = Machine::new().await;
    machine
        .provider
        .behave(|behaviour| behaviour.access_ttl = Duration::from_secs(20));
    machine.log_in().await;
    let process = machine.process();
    for life in 1..=5 {
        machine.clock.advance(Duration::from_secs(19));
        for _ in 0..20 {
            process.token().await.unwrap();
        }
        assert_eq!(machine.refreshes(), life);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f15_two_restarts_and_rotations_later_somebody_is_still_logged_in() {
    let machine = Machine::new().await;
    machine.log_in().await;
    for restart in 1..=3 {
        machine.clock.advance(HOUR);
        machine.process().token().await.unwrap();
        assert_eq!(machine.refreshes(), restart);
    }
    assert_eq!(machine.provider.families()[0].ended, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn w6_a_refused_token_is_renewed_once_and_the_request_is_worth_one_more_try() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let process = Arc::new(machine.process());
    let refused = Arc::new(process.credentials.bearer().await.unwrap().unwrap());
    let all = (0..50).map(|_| {
        let (process, refused) = (Arc::clone(&process), Arc::clone(&refused));
        tokio::spawn(async move { process.credentials.rejected(&refused).await })
    });
    assert!(
        wait::all(all)
            .await
            .into_iter()
            .all(|worth_it| worth_it.unwrap())
    );
    assert_eq!(machine.refreshes(), 1);
    assert_eq!(process.credentials.status(), AuthStatus::Authenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn h44_a_registry_that_refuses_for_ever_costs_one_renewal_and_then_needs_a_login() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let process = machine.process();
    let credentials = &process.credentials;
    let first = credentials.bearer().await.unwrap().unwrap();
    assert!(credentials.rejected(&first).await);
    let second = credentials.bearer().await.unwrap().unwrap();
    for _ in 0..20 {
        assert!(!credentials.rejected(&second).await);
    }
    assert_eq!(machine.refreshes(), 1);
    assert_eq!(credentials.login_needed(), Some(LoginReason::Rejected));
    assert_eq!(credentials.status(), AuthStatus::Configured);
    // The registry changes its mind.
    credentials.accepted(&second);
    assert_eq!(credentials.login_needed(), None);
    // Much later a refusal is worth a renewal again.
    machine.clock.advance(FORCED_FLOOR);
    assert!(credentials.rejected(&second).await);
    assert_eq!(machine.refreshes(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_131_a_token_that_another_process_forced_and_that_worked_here_is_renewed_after_the_pause()
 {
    let machine = Machine::new().await;
    machine.log_in().await;
    let command = machine.process();
    let first = command.credentials.bearer().await.unwrap().unwrap();
    assert!(command.credentials.rejected(&first).await);
    let server = machine.process();
    let credentials = &server.credentials;
    let second = credentials.bearer().await.unwrap().unwrap();
    credentials.accepted(&second);
    machine.clock.advance(FORCED_FLOOR_ACROSS / 2);
    assert!(!credentials.rejected(&second).await);
    assert_eq!(credentials.login_needed(), None);
    assert_eq!(machine.refreshes(), 1);
    machine.clock.advance(FORCED_FLOOR_ACROSS);
    assert!(credentials.rejected(&second).await);
    assert_eq!(machine.refreshes(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn w3_status_is_the_truth_of_the_store() {
    let machine = Machine::new().await;
    let process = machine.process();
    process.credentials.look().await;
    assert_eq!(process.credentials.status(), AuthStatus::Configured);
    assert_eq!(
        process.credentials.login_needed(),
        Some(LoginReason::NeverLoggedIn)
    );
    let stop = CancellationToken::new();
    let watch = process.engine.spawn_watch(stop.clone());

    machine.log_in().await;
    machine.clock.asleep(1).await;
    machine.clock.advance(LOOK_INTERVAL);
    wait::until_true("authenticated", || {
        process.credentials.status() == AuthStatus::Authenticated
    })
    .await;

    machine.edit(|secrets| {
        secrets.retain(|_| false);
    });
    machine.clock.asleep(1).await;
    machine.clock.advance(LOOK_INTERVAL);
    wait::until_true("configured", || {
        process.credentials.status() == AuthStatus::Configured
    })
    .await;
    stop.cancel();
    watch.await.unwrap();
    assert_eq!(machine.refreshes(), 0, "status spends nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn w27_two_logins_are_two_identities_unless_the_account_is_known() {
    let machine = Machine::new().await;
    let process = machine.process();
    let mut identities = vec![process.credentials.identity()];
    for user in ["alice", "bob"] {
        machine.place.log_in(&machine.binding, user).await;
        machine.clock.advance(LOOK_INTERVAL);
        process.credentials.look().await;
        identities.push(process.credentials.identity());
    }
    machine.clock.advance(HOUR);
    process.token().await.unwrap();
    assert_eq!(
        process.credentials.identity(),
        identities[2],
        "a renewal changes nobody"
    );
    identities.dedup();
    assert_eq!(identities.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn f48_a_clock_that_is_a_day_off_makes_no_difference() {
    for hours in [-24, 24] {
        let machine = Machine::new().await;
        machine.provider.set_ahead(hours * 3600);
        machine.log_in().await;
        let process = machine.process();
        machine.clock.advance(Duration::from_mins(30));
        process.token().await.unwrap();
        assert_eq!(machine.refreshes(), 0, "{hours}");
        machine.clock.advance(Duration::from_mins(29));
        process.token().await.unwrap();
        assert_eq!(machine.refreshes(), 1, "{hours}");
        let skew = process.engine.skew().offset().unwrap();
        let wrong_by = skew - SignedDuration::from_hours(hours);
        assert!(wrong_by.abs() <= SignedDuration::from_secs(2), "{skew:?}");
        let report = AuthReport::of(&process.engine, &machine.binding).await;
        assert!(report.clock_skew_s.unwrap().abs_diff(hours * 3600) <= 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f48_a_clock_set_a_day_ahead_while_running_costs_one_renewal() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let process = machine.process();
    process.token().await.unwrap();
    machine.provider.set_ahead(-24 * 3600);
    machine.clock.advance(Duration::from_hours(24));
    for _ in 0..20 {
        process.token().await.unwrap();
    }
    assert_eq!(machine.refreshes(), 1);
    let skew = process.engine.skew().offset().unwrap();
    assert!(skew <= SignedDuration::from_hours(-23), "{skew:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_takes_its_steps_in_order() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let recorder = Arc::new(Recorder::default());
    let process = Process::on(
        machine.place.engine(Arc::clone(&recorder) as _),
        &machine.binding,
    );
    machine.clock.advance(HOUR);
    process.token().await.unwrap();
    assert_eq!(*recorder.0.lock().unwrap(), Step::ALL);
    assert!(!machine.stored().unwrap().has_unknown_outcome());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_tells_everything_and_spends_nothing() {
    let machine = Machine::new().await;
    let engine = machine.engine();
    let before = AuthReport::of(&engine, &machine.binding).await;
    assert_eq!(before.state, AuthState::LoginRequired);
    assert_eq!(before.reason, Some("never_logged_in"));
    assert_eq!(before.store.kind, Some("encrypted"));

    machine.log_in().await;
    machine.clock.advance(LOOK_INTERVAL);
    let asked = machine.provider.requests().len();
    let report = AuthReport::of(&engine, &machine.binding).await;
    assert_eq!(machine.provider.requests().len(), asked);
    assert_eq!(report.state, AuthState::Authenticated);
    assert!(report.refreshable);
    assert!(report.expires_at.is_some());
    assert_eq!(report.relaxations, ["issuer_over_plain_http"]);
    let shown = serde_json::to_string(&report).unwrap();
    for secret in machine.provider.secrets() {
        assert!(!shown.contains(&secret), "{shown}");
    }

    machine.clock.advance(HOUR);
    machine.provider.refuse().await;
    let process = Process::on(engine.clone(), &machine.binding);
    assert!(matches!(
        process.token().await,
        Err(AuthError::Unreachable { .. })
    ));
    let down = AuthReport::of(&engine, &machine.binding).await;
    assert_eq!(down.state, AuthState::ProviderUnavailable);
    assert_eq!(down.reason, Some("identity_provider_unavailable"));
    assert!(down.retry_after_s.is_some_and(|seconds| seconds >= 59));
}
