//! When tokens are fetched, how often, and what is remembered, on a clock that stands still.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;

use secrecy::ExposeSecret as _;
use thv_config::world::ManualClock;
use tokio::sync::Notify;

use super::*;
use crate::limits::FLIGHT_DEADLINE;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

/// Gives what it is told, in order, then fresh tokens for an hour; waits before each answer when it is told to.
#[derive(Debug, Default)]
struct Scripted {
    outcomes: Mutex<VecDeque<Result<Fetched, FetchError>>>,
    fetches: AtomicUsize,
    held: AtomicBool,
    panics: AtomicBool,
    go: Notify,
    mark: Mutex<Option<std::path::PathBuf>>,
}

#[derive(Debug)]
struct Handle(Arc<Scripted>);

impl Fetch for Handle {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        async move {
            let number = self.0.fetches.fetch_add(1, Ordering::SeqCst);
            if self.0.held.load(Ordering::SeqCst) {
                self.0.go.notified().await;
            }
            assert!(!self.0.panics.load(Ordering::SeqCst), "a fault of ours");
            let next = self.0.outcomes.lock().unwrap().pop_front();
            next.unwrap_or_else(|| Ok(token(&format!("token-{number}"), Some(HOUR))))
        }
        .boxed()
    }

    fn marks(&self) -> Vec<Option<Fingerprint>> {
        let mark = self.0.mark.lock().unwrap().clone();
        mark.map(|path| thv_config::disk::fingerprint(&path))
            .into_iter()
            .collect()
    }

    fn auth_type(&self) -> &'static str {
        "oauth"
    }
}

struct Scene {
    clock: ManualClock,
    script: Arc<Scripted>,
    ahead: Arc<AtomicBool>,
    credentials: Arc<FetchedCredentials>,
}

impl Scene {
    fn new(outcomes: impl IntoIterator<Item = Result<Fetched, FetchError>>) -> Self {
        let clock = ManualClock::new(Timestamp::from_second(1_000_000).unwrap());
        let script = Arc::new(Scripted {
            outcomes: Mutex::new(outcomes.into_iter().collect()),
            ..Scripted::default()
        });
        let ahead = Arc::new(AtomicBool::new(false));
        let credentials = FetchedCredentials::new(
            Arc::new(clock.clone()),
            Url::parse("https://registry.example/v1").unwrap(),
            "digest",
            true,
            Box::new(Handle(Arc::clone(&script))),
            Arc::clone(&ahead),
        );
        Self {
            clock,
            script,
            ahead,
            credentials: Arc::new(credentials),
        }
    }

    async fn bearer(&self) -> Result<String, &'static str> {
        match self.credentials.bearer().await {
            Ok(bearer) => Ok(bearer.unwrap().token().expose_secret().to_owned()),
            Err(error) => Err(error.reason()),
        }
    }

    fn fetches(&self) -> usize {
        self.script.fetches.load(Ordering::SeqCst)
    }

    /// Lets tasks run that nobody waits for.
    async fn settle(&self) {
        for _ in 0..5000 {
            tokio::task::yield_now().await;
            if self.credentials.inner.lock().flight.is_none() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the flight does not end");
    }
}

fn token(text: &str, expires_in: Option<Duration>) -> Fetched {
    Fetched {
        token: text.to_owned().into(),
        expires_in,
        scopes: Vec::new(),
        account: None,
    }
}

fn down() -> FetchError {
    FetchError::Transient {
        cause: "down".to_owned(),
        retry_after: None,
    }
}

fn refused() -> FetchError {
    FetchError::Refused {
        cause: "invalid_client".to_owned(),
        code: "invalid_client".to_owned(),
    }
}

#[tokio::test]
async fn many_requests_make_one_fetch_and_none_of_them_can_cut_it_off() {
    let scene = Scene::new([]);
    scene.script.held.store(true, Ordering::SeqCst);
    let ask = || {
        let credentials = Arc::clone(&scene.credentials);
        tokio::spawn(async move { credentials.bearer().await.is_ok() })
    };
    let first = ask();
    while scene.fetches() == 0 {
        tokio::task::yield_now().await;
    }
    first.abort();
    let others: Vec<_> = (0..20).map(|_| ask()).collect();
    tokio::task::yield_now().await;
    scene.script.go.notify_one();
    for other in others {
        assert!(other.await.unwrap());
    }
    assert_eq!(scene.fetches(), 1);
}

#[tokio::test]
async fn a_token_is_kept_until_shortly_before_its_end() {
    let scene = Scene::new([]);
    assert_eq!(scene.bearer().await, Ok("token-0".to_owned()));
    scene.clock.advance(SECOND * 3400);
    assert_eq!(scene.bearer().await, Ok("token-0".to_owned()));
    assert_eq!(scene.fetches(), 1, "a program that ends soon fetched ahead");
    scene.clock.advance(SECOND * 100);
    assert_eq!(scene.bearer().await, Ok("token-1".to_owned()));
    assert_eq!(scene.fetches(), 2);
}

#[tokio::test]
async fn a_server_fetches_ahead_and_nobody_waits_for_it() {
    let scene = Scene::new([]);
    scene.ahead.store(true, Ordering::Relaxed);
    assert_eq!(scene.bearer().await, Ok("token-0".to_owned()));
    scene.clock.advance(SECOND * 3400);
    assert_eq!(scene.bearer().await, Ok("token-0".to_owned()));
    scene.settle().await;
    assert_eq!(scene.bearer().await, Ok("token-1".to_owned()));
}

#[tokio::test]
async fn an_outage_leaves_a_good_token_in_use_and_is_not_asked_about_all_the_time() {
    let scene = Scene::new([Ok(token("good", Some(HOUR))), Err(down()), Err(down())]);
    assert_eq!(scene.bearer().await, Ok("good".to_owned()));
    scene.clock.advance(SECOND * 3500);
    assert_eq!(scene.bearer().await, Ok("good".to_owned()));
    assert_eq!(scene.bearer().await, Ok("good".to_owned()));
    assert_eq!(scene.fetches(), 2);
    assert_eq!(scene.credentials.login_needed(), None);
    scene.clock.advance(SECOND * 100);
    assert_eq!(scene.bearer().await, Err("identity_provider_unavailable"));
    assert_eq!(scene.bearer().await, Err("identity_provider_unavailable"));
    assert_eq!(scene.credentials.login_needed(), None);
    // The second pause is twice as long as the first.
    scene.clock.advance(SECOND * 150);
    assert_eq!(scene.bearer().await, Ok("token-3".to_owned()));
}

#[tokio::test]
async fn case_73_a_fetch_that_panics_is_a_failure_with_a_pause() {
    let scene = Scene::new([]);
    scene.script.panics.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        assert_eq!(scene.bearer().await, Err("identity_provider_unavailable"));
    }
    assert_eq!(scene.fetches(), 1);
    scene.script.panics.store(false, Ordering::SeqCst);
    scene.clock.advance(SECOND * 100);
    assert_eq!(scene.bearer().await, Ok("token-1".to_owned()));
}

#[tokio::test]
async fn a_refusal_holds_until_something_on_this_machine_changes() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    thv_config::disk::write_atomic(&key, b"one").unwrap();
    let scene = Scene::new([Err(refused()), Err(refused())]);
    *scene.script.mark.lock().unwrap() = Some(key.clone());
    assert_eq!(scene.bearer().await, Err("credential_refused"));
    scene.clock.advance(HOUR * 24);
    assert_eq!(scene.bearer().await, Err("credential_refused"));
    assert_eq!(scene.fetches(), 1);
    assert_eq!(
        scene.credentials.login_needed(),
        Some(LoginReason::CredentialRefused)
    );
    thv_config::disk::write_atomic(&key, b"another").unwrap();
    scene.clock.advance(SECOND);
    scene.credentials.look().await;
    assert_eq!(scene.credentials.login_needed(), None);
    assert_eq!(scene.bearer().await, Err("credential_refused"));
    assert_eq!(scene.fetches(), 2);
}

#[tokio::test]
async fn a_refusal_ends_the_use_of_a_token_that_is_good_still() {
    let scene = Scene::new([Ok(token("good", Some(HOUR))), Err(refused())]);
    assert!(scene.bearer().await.is_ok());
    scene.clock.advance(SECOND * 3500);
    assert_eq!(scene.bearer().await, Err("credential_refused"));
}

#[tokio::test]
async fn case_123_another_host_ends_the_use_of_a_token_until_the_issuer_names_the_first_one_again()
{
    let moved = || {
        Err(FetchError::OtherHost {
            cause: "tokens came from `a` until now, and its issuer names `b`".to_owned(),
        })
    };
    let good = Ok(token("good", Some(HOUR)));
    let scene = Scene::new([good, moved(), Err(down()), moved()]);
    assert!(scene.bearer().await.is_ok());
    scene.clock.advance(SECOND * 3500);
    for _ in 0..2 {
        assert_eq!(scene.bearer().await, Err("issuer_changed"));
    }
    assert_eq!(scene.fetches(), 2, "no pause");
    let moved = Some(LoginReason::CredentialMoved);
    assert_eq!(scene.credentials.login_needed(), moved);
    // The old token has a few seconds left.
    scene.clock.advance(SECOND * 95);
    assert_eq!(scene.bearer().await, Err("identity_provider_unavailable"));
    scene.clock.advance(HOUR);
    assert_eq!(scene.bearer().await, Err("issuer_changed"));
    scene.clock.advance(HOUR);
    assert_eq!(scene.bearer().await, Ok("token-4".to_owned()));
    assert_eq!(scene.credentials.login_needed(), None);
}

#[tokio::test]
async fn what_a_person_may_have_mended_elsewhere_is_tried_again_after_a_pause() {
    let for_now = FetchError::RefusedForNow {
        cause: "log in to the vault".to_owned(),
    };
    let scene = Scene::new([Err(for_now)]);
    assert_eq!(scene.bearer().await, Err("credential_refused"));
    assert_eq!(scene.bearer().await, Err("credential_refused"));
    assert!(scene.credentials.login_needed().is_some());
    scene.clock.advance(SECOND * 90);
    assert_eq!(scene.credentials.login_needed(), None);
    assert_eq!(scene.bearer().await, Ok("token-1".to_owned()));
    assert_eq!(scene.fetches(), 2);
}

#[tokio::test]
async fn a_file_that_was_missing_counts_as_soon_as_it_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    let missing = FetchError::Unusable {
        cause: "there is no such file".to_owned(),
    };
    let scene = Scene::new([Err(missing)]);
    *scene.script.mark.lock().unwrap() = Some(key.clone());
    assert_eq!(scene.bearer().await, Err("credential_unusable"));
    scene.clock.advance(SECOND);
    assert_eq!(scene.bearer().await, Err("credential_unusable"));
    assert_eq!(scene.fetches(), 1);
    assert_eq!(scene.credentials.login_needed(), None);
    thv_config::disk::write_atomic(&key, b"one").unwrap();
    scene.clock.advance(SECOND);
    assert_eq!(scene.bearer().await, Ok("token-1".to_owned()));
}

#[tokio::test]
async fn a_token_that_the_registry_refuses_is_replaced_once() {
    let scene = Scene::new([]);
    let first = scene.credentials.bearer().await.unwrap().unwrap();
    assert!(scene.credentials.rejected(&first).await);
    let second = scene.credentials.bearer().await.unwrap().unwrap();
    assert_eq!(second.token().expose_secret(), "token-1");
    // The old one refused late says nothing of the new one.
    assert!(scene.credentials.rejected(&first).await);
    assert!(!scene.credentials.rejected(&second).await);
    assert_eq!(scene.fetches(), 2);
    assert_eq!(
        scene.credentials.login_needed(),
        Some(LoginReason::CredentialRejected)
    );
    assert_eq!(scene.credentials.status(), AuthStatus::Configured);
    scene.credentials.accepted(&second);
    assert_eq!(scene.credentials.login_needed(), None);
    assert_eq!(scene.credentials.status(), AuthStatus::Authenticated);
}

#[tokio::test]
async fn a_token_without_an_end_is_used_until_it_is_refused() {
    let scene = Scene::new([Ok(token("endless", None))]);
    scene.clock.advance(HOUR * 1000);
    assert_eq!(scene.bearer().await, Ok("endless".to_owned()));
    scene.clock.advance(HOUR * 1000);
    let bearer = scene.credentials.bearer().await.unwrap().unwrap();
    assert!(scene.credentials.rejected(&bearer).await);
    assert_eq!(scene.bearer().await, Ok("token-1".to_owned()));
}

#[tokio::test]
async fn the_tokens_of_somebody_else_are_not_used() {
    let of = |account: &str| {
        Ok(Fetched {
            account: Some(account.to_owned()),
            ..token(account, Some(HOUR))
        })
    };
    let scene = Scene::new([of("runner"), of("runner"), of("somebody")]);
    assert_eq!(scene.bearer().await, Ok("runner".to_owned()));
    scene.clock.advance(HOUR);
    assert_eq!(scene.bearer().await, Ok("runner".to_owned()));
    scene.clock.advance(HOUR);
    assert_eq!(scene.bearer().await, Err("account_mismatch"));
    assert_eq!(
        scene.credentials.login_needed(),
        Some(LoginReason::CredentialOfAnother)
    );
}

#[tokio::test]
async fn a_fetch_that_hangs_ends_at_its_deadline() {
    let scene = Scene::new([]);
    scene.script.held.store(true, Ordering::SeqCst);
    let clock = scene.clock.clone();
    let (answer, ()) = tokio::join!(scene.bearer(), async {
        clock.asleep(1).await;
        clock.advance(FLIGHT_DEADLINE);
    });
    assert_eq!(answer, Err("identity_provider_unavailable"));
}
