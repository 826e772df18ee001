//! How logins end that nobody finishes, and that nothing is left of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thv_auth::login::{LOGIN_TIME, LoginError, LoginHow};
use thv_config::world::Clock as _;
use thv_testkit::provider::{Ended, Fault, Gate, Rule, paths};
use thv_testkit::wait;

use crate::support::{Machine, get, is_free, until_free};

#[tokio::test]
async fn w14_a_client_that_hangs_up_frees_the_port() {
    let machine = Machine::new().await;
    let running = machine.start().await;
    let port = running.port();
    assert!(!is_free(port));
    running.task.abort();
    until_free(port).await;
    wait::until_true("the login to be over", || {
        machine.logins.pending(&machine.binding).is_none()
    })
    .await;
    assert!(machine.stored().is_none());
}

#[tokio::test]
async fn a_login_that_nobody_finishes_ends_after_five_minutes() {
    let machine = Machine::new().await;
    let running = machine.start().await;
    let pending = machine.logins.pending(&machine.binding).expect("a login");
    assert_eq!(
        pending.expires_at.duration_since(pending.since).as_secs(),
        300
    );
    assert_eq!(pending.authorization_host.as_deref(), Some("127.0.0.1"));
    running.ask("/callback?state=wrong").await;

    let last_second = Duration::from_secs(1);
    machine
        .clock
        .advance(LOGIN_TIME.saturating_sub(last_second));
    assert_eq!(running.ask("/").await.status, 200);
    machine.clock.advance(last_second);
    let error = running.error().await;
    assert_eq!(
        error,
        LoginError::Expired {
            limit: LOGIN_TIME,
            turned_away: 1
        }
    );
    assert!(machine.logins.pending(&machine.binding).is_none());
}

#[tokio::test]
async fn a_superseded_login_ends_at_once_for_all_who_wait() {
    let machine = Machine::new().await;
    let running = machine.start().await;
    let joined = machine.start().await;
    let port = running.port();
    assert!(machine.logins.cancel(&machine.binding).await);
    assert!(is_free(port), "cancelled, and the port is held");
    assert_eq!(running.error().await, LoginError::Cancelled);
    assert_eq!(joined.error().await, LoginError::Cancelled);
    assert!(!machine.logins.cancel(&machine.binding).await);
}

#[tokio::test]
async fn a_new_login_can_follow_a_cancelled_one_on_the_same_port() {
    let machine = Machine::new().await;
    let first = machine.start().await;
    let port = first.port();
    machine.logins.cancel_all().await;
    let second = machine
        .start_as(LoginHow {
            callback_port: Some(port),
            ..LoginHow::default()
        })
        .await;
    assert_eq!(second.port(), port);
    assert_eq!(second.browse().await.status, 200);
    second.done().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_after_the_code_came_loses_nothing() {
    let machine = Machine::new().await;
    let gate = Gate::new();
    machine
        .provider
        .break_with(Rule::always(Fault::HeldAfter(gate.clone())).on(paths::TOKEN));
    let running = machine.start().await;
    let callback = running.agree().await;
    assert_eq!(running.ask(&callback).await.status, 303);
    gate.arrived(1).await;
    running.task.abort();
    gate.open();
    assert_eq!(running.ask("/callback/result").await.status, 200);
    until_free(running.port()).await;
    assert!(machine.stored().is_some());
    assert_eq!(machine.codes_redeemed(), 1);
}

#[tokio::test]
async fn a_login_that_is_superseded_while_its_code_is_redeemed_stores_nothing() {
    let machine = Machine::new().await;
    let gate = Gate::new();
    machine
        .provider
        .break_with(Rule::always(Fault::HeldAfter(gate.clone())).on(paths::TOKEN));
    let running = machine.start().await;
    let callback = running.agree().await;
    assert_eq!(running.ask(&callback).await.status, 303);
    gate.arrived(1).await;
    machine.logins.cancel(&machine.binding).await;
    gate.open();
    assert_eq!(running.error().await, LoginError::Cancelled);
    assert!(machine.stored().is_none());
}

#[tokio::test]
async fn a_login_that_is_superseded_while_its_account_is_checked_stores_nothing() {
    let machine = Machine::new().await;
    let gate = Gate::new();
    machine
        .provider
        .break_with(Rule::always(Fault::HeldBefore(gate.clone())).on(paths::KEYS));
    let running = machine.start().await;
    let callback = running.agree().await;
    assert_eq!(running.ask(&callback).await.status, 303);
    gate.arrived(1).await;
    machine.logins.cancel(&machine.binding).await;
    assert_eq!(running.error().await, LoginError::Cancelled);
    assert!(machine.stored().is_none());
}

#[tokio::test]
async fn a_login_for_a_registry_that_was_replaced_meanwhile_stores_nothing() {
    let machine = Machine::new().await;
    let wanted = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&wanted);
    let running = machine
        .start_as(LoginHow {
            callback_port: Some(0),
            still_wanted: Some(Arc::new(move || asked.load(Ordering::SeqCst))),
            ..LoginHow::default()
        })
        .await;
    wanted.store(false, Ordering::SeqCst);
    let page = running.browse().await;
    assert_eq!(page.status, 400, "{page:?}");
    assert!(page.text().contains("Login failed"), "{page:?}");
    assert_eq!(running.error().await, LoginError::Cancelled);
    assert!(machine.stored().is_none());
    wait::until_true("the tokens to be given back", || {
        machine.provider.families()[0].ended == Some(Ended::Revoked)
    })
    .await;
}

#[tokio::test]
async fn a_browser_that_never_asks_for_the_last_page_is_not_waited_for_long() {
    let machine = Machine::new().await;
    let running = machine.start().await;
    let callback = running.agree().await;
    assert_eq!(running.ask(&callback).await.status, 303);
    wait::until_true("the grant to be stored", || machine.stored().is_some()).await;
    let before = machine.clock.monotonic();
    machine.clock.asleep(1).await;
    while !running.task.is_finished() {
        machine.clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
        assert!(machine.clock.monotonic() < before + Duration::from_hours(1));
    }
    running.done().await;
}

#[tokio::test]
async fn a_login_that_ends_while_the_provider_is_slow_to_describe_itself_leaves_nothing() {
    let machine = Machine::new().await;
    let gate = Gate::new();
    machine
        .provider
        .break_with(Rule::always(Fault::HeldBefore(gate.clone())));
    let logins = machine.logins.clone();
    let binding = machine.binding.clone();
    let how = LoginHow {
        callback_port: Some(0),
        announce: Some(Arc::new(|url| panic!("{url} was given out"))),
        ..LoginHow::default()
    };
    let task = tokio::spawn(async move { logins.login(&binding, how).await });
    gate.arrived(1).await;
    machine.logins.cancel(&machine.binding).await;
    assert_eq!(task.await.unwrap(), Err(LoginError::Cancelled));
    gate.open();
    let metadata = get(&machine.provider.at(paths::OPENID)).await;
    assert_eq!(metadata.status, 200);
}
