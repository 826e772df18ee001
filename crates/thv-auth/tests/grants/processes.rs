//! Several processes on one store, and processes that are killed in the middle of a renewal.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use thv_auth::binding::Binding;
use thv_auth::credentials::{AuthError, LoginReason};
use thv_auth::refresh::{Step, Steps, Unwatched};
use thv_auth::status::AuthReport;
use thv_config::world::{Clock as _, SystemClock};
use thv_testkit::provider::{CLIENT, Options, Provider};
use thv_testkit::worker::{self, Worker};

use crate::support::{HOUR, Place, Process, REGISTRY, SharedClock};

const PASSWORD: (&str, &str) = ("TOOLHIVE_SECRETS_PASSWORD", "correct horse");

/// A home on which several processes work, with a clock that all of them follow.
struct Household {
    home: tempfile::TempDir,
    clock: SharedClock,
    provider: Provider,
    binding: Binding,
    place: Place,
}

impl Household {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let clock = SharedClock::at(home.path());
        let system = SystemClock::new();
        let provider = Provider::with(Options {
            clock: Some(Arc::new(move || system.now().as_second())),
            ..Options::default()
        })
        .await;
        provider.behave(|behaviour| behaviour.access_ttl = HOUR);
        let place = Place::at(home.path(), Arc::new(clock.clone()), &[PASSWORD]);
        place.set_up(&provider.issuer());
        let binding = Binding::new(REGISTRY, &provider.issuer(), CLIENT).unwrap();
        place.log_in(&binding, "alice").await;
        Self {
            home,
            clock,
            provider,
            binding,
            place,
        }
    }

    /// The provider first: its clock is asked only when somebody sees theirs move.
    fn advance_an_hour(&self) {
        self.provider.advance(HOUR);
        self.clock.advance_an_hour();
    }

    fn task(&self, more: &Value) -> Value {
        json!({"home": self.home.path(), "issuer": self.provider.issuer(), "more": more})
    }

    fn process(&self) -> Process {
        Process::on(self.place.engine(Arc::new(Unwatched)), &self.binding)
    }
}

/// In a worker: a process on the household's home.
fn process_of(task: &Value, steps: Arc<dyn Steps>) -> Process {
    let home = PathBuf::from(task["home"].as_str().unwrap());
    let issuer = task["issuer"].as_str().unwrap();
    let place = Place::at(&home, Arc::new(SharedClock::at(&home)), &[PASSWORD]);
    let binding = Binding::new(REGISTRY, issuer, CLIENT).unwrap();
    Process::on(place.engine(steps), &binding)
}

#[tokio::test]
#[ignore = "runs in a process of its own, started by the test below"]
async fn reading_worker() {
    let Some(task) = worker::task() else { return };
    let process = process_of(&task, Arc::new(Unwatched));
    let mut seen = Vec::new();
    while seen.len() < usize::try_from(task["more"].as_u64().unwrap()).unwrap() {
        let token = process.token().await.unwrap();
        if !seen.contains(&token) {
            seen.push(token);
            worker::say(&json!({"token": token.to_hex()}));
        }
        SystemClock::new().sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_processes_outlive_fifty_expiries_of_a_rotating_token() {
    const EXPIRIES: usize = 50;
    let household = Household::new().await;
    let task = household.task(&json!(EXPIRIES + 1));
    let mut workers = Vec::new();
    for _ in 0..8 {
        workers.push(Worker::start("processes::reading_worker", &task).await);
    }
    for expiry in 0..=EXPIRIES {
        let mut tokens = Vec::new();
        for worker in &mut workers {
            tokens.push(worker.said(|line| line["token"].is_string()).await);
        }
        tokens.dedup();
        assert_eq!(
            tokens.len(),
            1,
            "all use the token that one of them fetched"
        );
        assert_eq!(household.provider.token_count("refresh_token"), expiry);
        household.advance_an_hour();
    }
    for worker in workers {
        assert!(worker.finish().await.passed);
    }
    let family = &household.provider.families()[0];
    assert_eq!((family.ended, family.refreshes), (None, EXPIRIES));
}

#[tokio::test(flavor = "multi_thread")]
async fn w9_two_engines_at_expiry_spend_one_refresh_token_once() {
    let household = Household::new().await;
    let (one, other) = (household.process(), household.process());
    household.advance_an_hour();
    let (first, second) = tokio::join!(one.token(), other.token());
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(household.provider.token_count("refresh_token"), 1);
    assert_eq!(household.provider.families()[0].ended, None);
}

/// Dies, as by `kill -9`, at one step.
#[derive(Debug)]
struct Dying(String);

impl Steps for Dying {
    fn reached(&self, step: Step) {
        if format!("{step:?}") == self.0 {
            std::process::abort();
        }
    }
}

#[tokio::test]
#[ignore = "runs in a process of its own, started by the test below"]
async fn dying_worker() {
    let Some(task) = worker::task() else { return };
    let step = task["more"].as_str().unwrap().to_owned();
    let process = process_of(&task, Arc::new(Dying(step)));
    let _ = process.token().await;
    worker::say(&json!("alive"));
}

#[tokio::test(flavor = "multi_thread")]
async fn f76_a_process_killed_at_any_step_loses_nothing_silently() {
    for step in Step::ALL {
        let household = Household::new().await;
        household.advance_an_hour();
        let task = household.task(&json!(format!("{step:?}")));
        let finished = Worker::start("processes::dying_worker", &task)
            .await
            .finish()
            .await;
        assert!(!finished.passed && finished.said.is_empty(), "{step:?}");
        let spent = household.provider.token_count("refresh_token");

        let survivor = household.process();
        let report = AuthReport::of(&survivor.engine, &household.binding).await;
        let is_known_unknown = report.refresh_outcome_unknown_since.is_some();
        let token = survivor.token().await;
        let spent_since = household.provider.token_count("refresh_token") - spent;
        match step {
            Step::Locked | Step::Reread | Step::ProviderKnown => {
                assert!(token.is_ok() && spent == 0 && spent_since == 1, "{step:?}");
                assert!(!is_known_unknown, "{step:?}");
            }
            Step::IntentStored => {
                assert!(token.is_ok() && spent == 0 && spent_since == 1, "{step:?}");
                assert!(is_known_unknown, "{step:?}");
            }
            Step::Answered => {
                assert!(is_known_unknown, "{step:?}");
                assert_eq!((spent, spent_since), (1, 1), "{step:?}");
                assert_eq!(
                    token.unwrap_err(),
                    AuthError::LoginRequired {
                        reason: LoginReason::GrantOutcomeUnknown
                    }
                );
                household.place.log_in(&household.binding, "alice").await;
                let reader = household.process();
                assert!(reader.token().await.is_ok(), "one login mends it");
            }
            Step::Stored | Step::Exposed => {
                assert!(token.is_ok() && spent == 1 && spent_since == 0, "{step:?}");
                assert!(!is_known_unknown, "{step:?}");
            }
        }
    }
}
