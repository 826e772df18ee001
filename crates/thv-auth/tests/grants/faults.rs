//! What a provider or a store that fails costs, and what it must not cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use thv_auth::credentials::{AuthError, AuthStatus, Credentials as _, LoginReason};
use thv_auth::grant::{DeathReason, Grant};
use thv_auth::limits::{LOOK_INTERVAL, PERSIST_PAUSE, PERSIST_TRIES, RETRY_FIRST, RETRY_STORE};
use thv_auth::oauth::Account;
use thv_auth::refresh::{Step, Steps, Unwatched};
use thv_testkit::provider::{Fault, Rule, paths};
use thv_testkit::wait;

use crate::support::{Faulty, HOUR, Machine, Process};

/// Just past the pause after a first failure, however long chance made it.
const AFTER_THE_PAUSE: Duration = Duration::from_secs(73);

fn needs_login(reason: LoginReason) -> AuthError {
    AuthError::LoginRequired { reason }
}

#[tokio::test(flavor = "multi_thread")]
async fn w7_a_dead_refresh_token_is_tried_once_until_somebody_logs_in() {
    let machine = Machine::new().await;
    machine.log_in().await;
    machine.provider.revoke_everything();
    machine.clock.advance(HOUR);
    let process = machine.process();
    for _ in 0..20 {
        assert_eq!(
            process.token().await.unwrap_err(),
            needs_login(LoginReason::GrantRevoked)
        );
        machine.clock.advance(HOUR);
    }
    assert_eq!(
        machine.process().token().await.unwrap_err(),
        needs_login(LoginReason::GrantRevoked)
    );
    assert_eq!(machine.refreshes(), 1);
    assert_eq!(process.credentials.status(), AuthStatus::Configured);

    machine.log_in().await;
    machine.clock.advance(LOOK_INTERVAL);
    process.token().await.unwrap();
    assert_eq!(process.credentials.status(), AuthStatus::Authenticated);
    assert_eq!(machine.refreshes(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn w8_a_provider_that_is_down_is_no_reason_to_log_in() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let process = machine.process();
    machine.provider.refuse().await;

    machine.clock.advance(Duration::from_mins(59));
    process
        .token()
        .await
        .expect("the old token, as long as it lives");
    machine.clock.advance(HOUR);
    let error = process.token().await.unwrap_err();
    assert!(matches!(error, AuthError::Unreachable { .. }), "{error}");
    assert_eq!(process.credentials.login_needed(), None);
    assert_eq!(process.credentials.status(), AuthStatus::Authenticated);

    machine.provider.accept_again();
    machine.clock.advance(Duration::from_mins(20));
    process
        .token()
        .await
        .expect("a new token, once it is up again");
    assert!(!machine.stored().unwrap().has_unknown_outcome());
}

#[tokio::test(flavor = "multi_thread")]
async fn h43_whatever_is_no_verdict_leaves_the_grant_alone_and_is_tried_again_later() {
    let faults = [
        Fault::Status(500),
        Fault::Status(403),
        Fault::Html(200),
        Fault::Html(400),
        Fault::Garbage,
        Fault::Empty,
        Fault::Huge(20 * 1024 * 1024),
        Fault::Cut,
        Fault::RedirectTo {
            status: 307,
            url: "http://127.0.0.1:1/".to_owned(),
        },
        Fault::Error {
            status: 400,
            error: "invalid_client".to_owned(),
        },
        Fault::Error {
            status: 503,
            error: "temporarily_unavailable".to_owned(),
        },
    ];
    let machine = Machine::new().await;
    for fault in faults {
        machine.log_in().await;
        let process = machine.process();
        machine.provider.clear_journal();
        machine
            .provider
            .break_with(Rule::always(fault.clone()).on(paths::TOKEN));
        machine.clock.advance(HOUR);
        for _ in 0..20 {
            let error = process.token().await.unwrap_err();
            assert!(
                matches!(error, AuthError::Unreachable { .. }),
                "{fault:?}: {error}"
            );
        }
        let asked = machine.provider.requests_for(paths::TOKEN).len();
        assert_eq!(asked, 1, "{fault:?}");
        machine.provider.heal();
        machine.clock.advance(AFTER_THE_PAUSE);
        process
            .token()
            .await
            .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_in_a_row_are_spaced_out_and_retry_after_is_obeyed() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let process = machine.process();
    machine.provider.break_with(
        Rule::always(Fault::RetryLater {
            status: 429,
            seconds: 600,
        })
        .on(paths::TOKEN)
        .times(1),
    );
    machine.clock.advance(HOUR);
    process.token().await.unwrap_err();
    machine.clock.advance(Duration::from_secs(595));
    process.token().await.unwrap_err();
    assert_eq!(machine.provider.requests_for(paths::TOKEN).len(), 2);
    machine.clock.advance(Duration::from_secs(10));
    process.token().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_is_named_when_the_token_turns_out_to_be_spent() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let process = machine.process();
    machine
        .provider
        .break_with(Rule::always(Fault::Lost).on(paths::TOKEN).times(1));
    machine.clock.advance(HOUR);
    assert!(matches!(
        process.token().await.unwrap_err(),
        AuthError::Unreachable { .. }
    ));
    assert!(machine.stored().unwrap().has_unknown_outcome());
    machine.clock.advance(AFTER_THE_PAUSE);
    assert_eq!(
        process.token().await.unwrap_err(),
        needs_login(LoginReason::GrantOutcomeUnknown)
    );
    let dead = machine.stored().unwrap().dead.unwrap();
    assert_eq!(dead.reason, DeathReason::OutcomeUnknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_never_answers_is_given_up_after_the_deadline() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let process = machine.process();
    machine
        .provider
        .break_with(Rule::always(Fault::Hang).on(paths::TOKEN));
    machine.clock.advance(HOUR);
    let asking = tokio::spawn(async move { process.token().await });
    wait::until_true("the request", || machine.refreshes() == 1).await;
    machine.clock.advance(thv_auth::limits::FLIGHT_DEADLINE);
    let error = asking.await.unwrap().unwrap_err();
    assert!(matches!(error, AuthError::Unreachable { .. }), "{error}");
    assert!(machine.stored().unwrap().has_unknown_outcome());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_no_note_keeps_the_token_from_being_spent() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let store = Faulty::over(Arc::clone(&machine.place.source));
    let process = process_on(&machine, &store);
    process.token().await.unwrap();
    store.allow_writes(0);
    machine.clock.advance(Duration::from_mins(59));
    process
        .token()
        .await
        .expect("the old token, as long as it lives");
    machine.clock.advance(HOUR);
    let error = process.token().await.unwrap_err();
    assert!(
        matches!(error, AuthError::Store { locked: false, .. }),
        "{error}"
    );
    assert_eq!(machine.refreshes(), 0);
    store.allow_writes(i64::MAX);
    machine.clock.advance(RETRY_STORE);
    process.token().await.unwrap();
    assert_eq!(machine.refreshes(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_cannot_be_stored_are_not_used_and_not_lost() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let store = Faulty::over(Arc::clone(&machine.place.source));
    let process = process_on(&machine, &store);
    process.token().await.unwrap();
    machine.clock.advance(HOUR);
    store.allow_writes(1);
    let process = Arc::new(process);
    let asking = tokio::spawn({
        let process = Arc::clone(&process);
        async move { process.token().await }
    });
    for _ in 1..PERSIST_TRIES {
        // The deadline of the renewal sleeps too.
        machine.clock.asleep(2).await;
        machine.clock.advance(PERSIST_PAUSE);
        tokio::task::yield_now().await;
    }
    let error = wait::until("the end of the renewal", wait::PATIENCE, || async {
        machine.clock.advance(PERSIST_PAUSE);
        asking.is_finished().then_some(())
    });
    error.await;
    let error = asking.await.unwrap().unwrap_err();
    assert!(matches!(error, AuthError::Store { .. }), "{error}");
    assert!(machine.stored().unwrap().has_unknown_outcome());

    store.allow_writes(i64::MAX);
    machine.clock.advance(RETRY_STORE);
    process.token().await.unwrap();
    assert_eq!(machine.refreshes(), 1, "nothing was spent twice");
    assert!(!machine.stored().unwrap().has_unknown_outcome());
    machine.clock.advance(HOUR);
    machine.process().token().await.expect("the family lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_of_somebody_else_after_a_renewal_is_stopped() {
    let machine = Machine::new().await;
    let grant = machine.log_in().await;
    let of_carol = Grant {
        account: Some(Account {
            issuer: machine.provider.issuer(),
            sub: "carol".to_owned(),
            email: None,
            name: None,
        }),
        ..grant.clone()
    };
    machine
        .vault()
        .store(&machine.binding, Some(grant.generation), &of_carol)
        .unwrap();
    machine.clock.advance(HOUR);
    let process = machine.process();
    assert_eq!(
        process.token().await.unwrap_err(),
        needs_login(LoginReason::AccountMismatch)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_copied_to_another_registry_does_not_open() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let mut other = machine.binding.clone();
    other.registry_url = url::Url::parse("https://evil.example/v0.1").unwrap();
    let (from, to) = (machine.binding.key(), other.key());
    machine.edit(|secrets| {
        let from = thv_secrets::SecretName::registry(&from);
        let sealed = secrets.get(&from).unwrap().clone();
        secrets.set(&thv_secrets::SecretName::registry(&to), sealed);
    });
    let process = Process::on(machine.engine(), &other);
    assert_eq!(
        process.token().await.unwrap_err(),
        needs_login(LoginReason::Unreadable)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_store_is_no_reason_to_log_in() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let locked = crate::support::Place::at(
        machine.home.path(),
        Arc::clone(&machine.place.world.clock),
        &[("TOOLHIVE_SECRETS_PASSWORD", "another password")],
    );
    let process = Process::on(locked.engine(Arc::new(Unwatched)), &machine.binding);
    let error = process.token().await.unwrap_err();
    assert_eq!(error.reason(), "store_locked", "{error}");
    assert_eq!(process.credentials.login_needed(), None);
    assert!(RETRY_FIRST > RETRY_STORE);
}

fn process_on(machine: &Machine, store: &Faulty) -> Process {
    let mut place = machine.place.clone();
    place.source = Arc::new(store.clone());
    Process::on(place.engine(Arc::new(Unwatched)), &machine.binding)
}

/// Panics at one step, as often as it is reached.
#[derive(Debug)]
struct Panicking {
    at: Step,
    times: AtomicUsize,
}

impl Steps for Panicking {
    fn reached(&self, step: Step) {
        if step == self.at {
            self.times.fetch_add(1, Ordering::SeqCst);
            panic!("a fault of ours at {step:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_73_a_renewal_that_panics_at_any_step_holds_up_nobody_and_says_how_far_it_came() {
    for step in Step::ALL {
        let machine = Machine::new().await;
        machine.log_in().await;
        machine.clock.advance(HOUR);
        let faulty = Arc::new(Panicking {
            at: step,
            times: AtomicUsize::default(),
        });
        let process = Process::on(machine.place.engine(faulty.clone()), &machine.binding);
        let error = process.token().await.unwrap_err();
        assert!(matches!(error, AuthError::Unreachable { .. }), "{error}");
        let spent = machine.refreshes();
        let is_stored = matches!(step, Step::Stored | Step::Exposed);
        let was_sent = matches!(step, Step::Answered) || is_stored;
        assert_eq!(spent, usize::from(was_sent), "{step:?}");
        let is_marked = matches!(step, Step::IntentStored | Step::Answered);
        let stored = machine.stored().expect("the grant stays");
        assert_eq!(stored.has_unknown_outcome(), is_marked, "{step:?}");
        // A fault that comes back each time is no storm of requests, and what was stored is seen at the next look.
        machine.clock.advance(LOOK_INTERVAL);
        for _ in 0..20 {
            assert_eq!(process.token().await.is_ok(), is_stored, "{step:?}");
        }
        assert_eq!(faulty.times.load(Ordering::SeqCst), 1, "{step:?}");
        process.engine.finish().await;

        // The lock is free, in this process and for others, and what is stored is true.
        let token = machine.process().token().await;
        match step {
            Step::Answered => assert_eq!(
                token.unwrap_err(),
                needs_login(LoginReason::GrantOutcomeUnknown)
            ),
            _ => drop(token.expect("a token")),
        }
        let again = usize::from(!is_stored);
        assert_eq!(machine.refreshes(), spent + again, "{step:?}");
        machine.log_in().await;
        machine.clock.advance(LOOK_INTERVAL);
        process.token().await.expect("this process goes on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_73_a_panic_behind_the_back_of_readers_costs_none_of_them_anything() {
    let machine = Machine::new().await;
    machine.log_in().await;
    machine.clock.advance(Duration::from_mins(50));
    let faulty = Arc::new(Panicking {
        at: Step::ProviderKnown,
        times: AtomicUsize::default(),
    });
    let process = Process::on(machine.place.engine(faulty.clone()), &machine.binding);
    for _ in 0..3 {
        process.token().await.expect("the token that is still good");
        process.engine.finish().await;
    }
    assert_eq!(faulty.times.load(Ordering::SeqCst), 1);
    machine.clock.advance(AFTER_THE_PAUSE);
    process.token().await.expect("the token that is still good");
    process.engine.finish().await;
    assert_eq!(faulty.times.load(Ordering::SeqCst), 2, "it is tried again");
    machine
        .process()
        .token()
        .await
        .expect("another process can");
}
