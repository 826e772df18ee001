//! Logins that nobody waits for: known by name, watched, answered from elsewhere, ended by whoever knows the name.

use std::sync::Arc;
use std::time::Duration;

use thv_auth::login::{
    LOGIN_TIME, LoginError, LoginHow, LoginMethod, LoginState, LoginView, NotTaken,
    RESOURCE_LOGIN_TIME, StartedLogin,
};
use thv_config::world::Clock as _;
use thv_testkit::provider::{Fault, Gate, Rule, User, paths};
use url::Url;

use crate::support::{Machine, RecordingOpener, authorizations, get, is_free, until_free};

fn how() -> LoginHow {
    LoginHow {
        callback_port: Some(0),
        time: Some(RESOURCE_LOGIN_TIME),
        ..LoginHow::default()
    }
}

async fn started(machine: &Machine) -> StartedLogin {
    machine
        .logins
        .start(&machine.binding, &how())
        .await
        .expect("a login")
}

fn id(view: &LoginView) -> String {
    view.id.as_str().to_owned()
}

fn authorization_url(view: &LoginView) -> Url {
    view.methods
        .iter()
        .find_map(|method| match method {
            LoginMethod::Browser { authorization_url } => Some(authorization_url.clone()),
            _ => None,
        })
        .expect("a browser can finish it")
}

fn port(view: &LoginView) -> u16 {
    let url = authorization_url(view);
    let redirect = url
        .query_pairs()
        .find_map(|(name, value)| (name == "redirect_uri").then(|| value.into_owned()))
        .expect("a redirect URI");
    Url::parse(&redirect).unwrap().port().expect("a port")
}

/// Logs in at the provider in a browser of another machine: where it is sent back to, which nobody there answers.
async fn redirected(view: &LoginView) -> String {
    let answer = get(authorization_url(view).as_str()).await;
    assert_eq!(answer.status, 302, "{answer:?}");
    answer.header("location").to_owned()
}

#[tokio::test]
async fn a_redirect_that_is_handed_over_finishes_a_login() {
    let machine = Machine::new().await;
    let StartedLogin { view, joined } = started(&machine).await;
    assert!(!joined);
    assert_eq!(view.state, LoginState::Pending);
    assert!(view.methods.contains(&LoginMethod::Paste));
    let redirect = redirected(&view).await;
    let foreign = redirect.replace("state=", "state=x");
    let hand_over = |url: &str| machine.logins.hand_over(&id(&view), url);
    assert_eq!(hand_over(&foreign), Some(Err(NotTaken::OtherLogin)));
    assert_eq!(hand_over(&redirect), Some(Ok(())));
    let watch = machine.logins.watch(&id(&view)).expect("a login");
    let done = watch.outcome().await.expect("a grant");
    assert_eq!(done.turned_away, 1);
    assert!(is_free(port(&view)), "it has ended and holds its port");
    assert_eq!(
        machine.stored().expect("a grant").expires_at,
        done.expires_at
    );
    assert_eq!(watch.view().state, LoginState::Succeeded(Box::new(done)));
    assert!(watch.view().methods.is_empty());
    assert_eq!(hand_over(&redirect), Some(Err(NotTaken::Used)));
    assert_eq!(machine.codes_redeemed(), 1);
    assert_eq!(machine.logins.hand_over("0", &redirect), None);
    machine.assert_no_leaks();
}

#[tokio::test]
async fn a_watcher_sees_each_step_once() {
    let machine = Machine::new().await;
    let gate = Gate::new();
    machine
        .provider
        .break_with(Rule::always(Fault::HeldAfter(gate.clone())).on(paths::TOKEN));
    let StartedLogin { view, .. } = started(&machine).await;
    let watch = machine.logins.watch(&id(&view)).expect("a login");
    let redirect = redirected(&view).await;
    assert_eq!(
        machine.logins.hand_over(&id(&view), &redirect),
        Some(Ok(()))
    );
    let completing = watch.changed_from(view.revision).await;
    assert_eq!(completing.state, LoginState::Completing);
    assert!(completing.methods.is_empty());
    gate.open();
    let ended = watch.changed_from(completing.revision).await;
    assert!(matches!(ended.state, LoginState::Succeeded(_)), "{ended:?}");
    assert_eq!(
        watch.changed_from(view.revision).await.revision,
        ended.revision,
        "whoever was away gets the last state at once"
    );
}

#[tokio::test]
async fn a_second_start_joins_and_a_caller_that_leaves_ends_nothing() {
    let machine = Machine::new().await;
    let first = started(&machine).await;
    let second = started(&machine).await;
    assert!(second.joined);
    assert_eq!(first.view.id, second.view.id);
    let waiting = machine.start().await;
    assert_eq!(waiting.url, authorization_url(&first.view));
    waiting.task.abort();
    assert!(waiting.task.await.is_err());
    let watch = machine.logins.watch(&id(&first.view)).expect("a login");
    assert_eq!(watch.view().state, LoginState::Pending);
    let again = machine.start().await;
    assert_eq!(again.browse().await.status, 200);
    assert_eq!(again.done().await, watch.outcome().await.unwrap());
    assert_eq!(authorizations(&machine.provider), 1);
}

#[tokio::test]
async fn a_login_that_waits_goes_on_for_those_who_know_its_name_once_it_was_joined() {
    let machine = Machine::new().await;
    let waiting = machine.start().await;
    let joined = started(&machine).await;
    assert!(joined.joined);
    waiting.task.abort();
    assert!(waiting.task.await.is_err());
    let redirect = redirected(&joined.view).await;
    let taken = machine.logins.hand_over(&id(&joined.view), &redirect);
    assert_eq!(taken, Some(Ok(())));
    let watch = machine.logins.watch(&id(&joined.view)).expect("a login");
    watch.outcome().await.expect("a grant");
}

#[tokio::test]
async fn whoever_knows_the_name_can_end_it_and_free_the_port() {
    let machine = Machine::new().await;
    let StartedLogin { view, .. } = started(&machine).await;
    let waiting = machine.start().await;
    assert!(!is_free(port(&view)));
    let ended = machine.logins.withdraw(&id(&view)).await.expect("a login");
    assert_eq!(ended.state, LoginState::Failed(LoginError::Withdrawn));
    assert!(is_free(port(&view)), "withdrawn, and the port is held");
    assert_eq!(waiting.error().await, LoginError::Withdrawn);
    let again = machine.logins.withdraw(&id(&view)).await.expect("a login");
    assert_eq!(again.revision, ended.revision);
    assert!(machine.logins.withdraw("0").await.is_none());
    let next = started(&machine).await;
    assert!(!next.joined);
    assert_ne!(next.view.id, view.id);
}

#[tokio::test]
async fn a_login_that_is_withdrawn_while_its_code_is_redeemed_stores_nothing() {
    let machine = Machine::new().await;
    let gate = Gate::new();
    machine
        .provider
        .break_with(Rule::always(Fault::HeldAfter(gate.clone())).on(paths::TOKEN));
    let StartedLogin { view, .. } = started(&machine).await;
    let redirect = redirected(&view).await;
    assert_eq!(
        machine.logins.hand_over(&id(&view), &redirect),
        Some(Ok(()))
    );
    gate.arrived(1).await;
    let ended = machine.logins.withdraw(&id(&view)).await.expect("a login");
    gate.open();
    assert_eq!(ended.state, LoginState::Failed(LoginError::Withdrawn));
    assert!(machine.stored().is_none());
}

#[tokio::test]
async fn a_login_that_nobody_finishes_ends_when_its_time_is_over_and_is_forgotten_later() {
    let machine = Machine::new().await;
    let StartedLogin { view, .. } = started(&machine).await;
    let lifetime = view.expires_at.duration_since(view.started_at);
    assert_eq!(lifetime.unsigned_abs(), RESOURCE_LOGIN_TIME);
    machine.clock.advance(LOGIN_TIME);
    assert!(!is_free(port(&view)), "it ended early");
    machine
        .clock
        .advance(RESOURCE_LOGIN_TIME.saturating_sub(LOGIN_TIME));
    let watch = machine.logins.watch(&id(&view)).expect("a login");
    let error = watch.outcome().await.expect_err("nobody came");
    assert!(matches!(error, LoginError::Expired { .. }), "{error:?}");
    until_free(port(&view)).await;
    assert!(machine.logins.watch(&id(&view)).is_some());
    machine.clock.advance(Duration::from_hours(1));
    assert!(machine.logins.watch(&id(&view)).is_none());
}

#[tokio::test]
async fn a_person_who_says_no_ends_it() {
    let machine = Machine::new().await;
    machine.provider.users([User::Denies]);
    let StartedLogin { view, .. } = started(&machine).await;
    let redirect = redirected(&view).await;
    assert_eq!(
        machine.logins.hand_over(&id(&view), &redirect),
        Some(Ok(()))
    );
    let watch = machine.logins.watch(&id(&view)).expect("a login");
    let error = watch.outcome().await.expect_err("a refusal");
    assert!(matches!(error, LoginError::Denied { .. }), "{error:?}");
}

#[tokio::test]
async fn a_login_that_cannot_begin_has_no_name() {
    let machine = Machine::new().await;
    machine
        .provider
        .break_with(Rule::always(Fault::Status(404)).on(paths::OPENID));
    machine
        .provider
        .break_with(Rule::always(Fault::Status(404)).on(paths::OAUTH));
    let error = machine
        .logins
        .start(&machine.binding, &how())
        .await
        .expect_err("no discovery");
    assert!(matches!(error, LoginError::Discovery { .. }), "{error:?}");
}

#[tokio::test]
async fn a_caller_with_a_browser_opens_what_was_started_without_one() {
    let machine = Machine::new().await;
    let StartedLogin { view, .. } = started(&machine).await;
    let opener = Arc::new(RecordingOpener::default());
    let with_browser = LoginHow {
        opener: Some(Arc::clone(&opener) as _),
        ..how()
    };
    let first = machine.start_as(with_browser.clone()).await;
    let second = machine.start_as(with_browser).await;
    assert_eq!(first.browse().await.status, 200);
    first.done().await;
    second.done().await;
    assert_eq!(*opener.opened.lock().unwrap(), [authorization_url(&view)]);
}

#[tokio::test]
async fn a_caller_whose_browser_cannot_be_opened_does_not_end_what_others_hold() {
    let machine = Machine::new().await;
    let StartedLogin { view, .. } = started(&machine).await;
    let opener = RecordingOpener {
        fails: true,
        ..RecordingOpener::default()
    };
    let how = LoginHow {
        opener: Some(Arc::new(opener)),
        ..how()
    };
    let error = machine
        .logins
        .login(&machine.binding, how)
        .await
        .expect_err("no browser");
    assert!(
        matches!(error, LoginError::NothingToOpen { .. }),
        "{error:?}"
    );
    let watch = machine.logins.watch(&id(&view)).expect("a login");
    assert_eq!(watch.view().state, LoginState::Pending);
}

#[tokio::test]
async fn case_30_only_so_many_logins_run_at_a_time() {
    let machine = Machine::new().await;
    let mut error = None;
    for number in 0..100 {
        let mut binding = machine.binding.clone();
        binding.client_id = format!("client-{number}");
        match machine.logins.start(&binding, &how()).await {
            Ok(started) => assert!(!started.joined),
            Err(refused) => {
                error = Some((number, refused));
                break;
            }
        }
    }
    assert_eq!(error, Some((16, LoginError::TooMany)));
    machine.logins.cancel_all().await;
    assert!(!started(&machine).await.joined);
}

#[tokio::test]
async fn what_has_to_be_settled_is_settled_before_the_login_is_told_to_have_succeeded() {
    let machine = Machine::new().await;
    let (sender, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let gate = Arc::new(tokio::sync::Notify::new());
    let open = Arc::clone(&gate);
    let how = LoginHow {
        settle: Some(Arc::new(move || {
            let (sender, gate) = (sender.clone(), Arc::clone(&gate));
            Box::pin(async move {
                sender.send(()).unwrap();
                gate.notified().await;
            })
        })),
        ..how()
    };
    let started = machine.logins.start(&machine.binding, &how).await.unwrap();
    let redirect = redirected(&started.view).await;
    let id = id(&started.view);
    assert_eq!(machine.logins.hand_over(&id, &redirect), Some(Ok(())));
    asked.recv().await.expect("it is asked");
    let watch = machine.logins.watch(&id).expect("a login");
    assert!(machine.stored().is_some());
    assert_eq!(watch.view().state, LoginState::Completing);
    open.notify_one();
    watch.outcome().await.expect("a grant");
    assert!(machine.clock.monotonic() < Duration::from_secs(1));
}
