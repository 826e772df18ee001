//! Logins with a code that is typed in on another device, alone and in a race with a browser.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use serde_json::json;
use thv_auth::login::{
    DeviceUse, LoginDone, LoginError, LoginHow, LoginMethod, LoginState, LoginView, Outcome,
    RESOURCE_LOGIN_TIME, StartedLogin,
};
use thv_testkit::provider::{Fault, Rule, User, paths};
use thv_testkit::wait;
use url::Url;

use crate::support::{Machine, get, is_free};

const POLLS: &str = "urn:ietf:params:oauth:grant-type:device_code";

fn how(device: DeviceUse) -> LoginHow {
    LoginHow {
        callback_port: Some(0),
        time: Some(RESOURCE_LOGIN_TIME),
        device,
        ..LoginHow::default()
    }
}

async fn machine() -> Machine {
    let machine = Machine::new().await;
    machine
        .provider
        .behave(|provider| provider.offers_device = true);
    machine
}

async fn started(machine: &Machine, device: DeviceUse) -> LoginView {
    let started = machine.logins.start(&machine.binding, &how(device)).await;
    let StartedLogin { view, .. } = started.expect("a login");
    view
}

/// Why no login begins.
async fn refused(machine: &Machine, device: DeviceUse) -> LoginError {
    let started = machine.logins.start(&machine.binding, &how(device)).await;
    started.expect_err("no login")
}

fn kinds(view: &LoginView) -> Vec<String> {
    let methods = view.methods.iter();
    methods.map(|method| format!("{method:?}")).collect()
}

/// The address with the code in it.
fn device_url(view: &LoginView) -> Url {
    view.methods
        .iter()
        .find_map(|method| match method {
            LoginMethod::Device {
                verification_uri_complete,
                user_code,
                ..
            } => {
                let url = verification_uri_complete.clone().expect("an address");
                assert!(url.as_str().contains(user_code.as_str()));
                Some(url)
            }
            _ => None,
        })
        .expect("a code")
}

fn browser_url(view: &LoginView) -> Url {
    view.methods
        .iter()
        .find_map(|method| match method {
            LoginMethod::Browser { authorization_url } => Some(authorization_url.clone()),
            _ => None,
        })
        .expect("an address")
}

/// A person elsewhere opens the address with the code.
async fn visit(view: &LoginView) {
    let page = get(device_url(view).as_str()).await;
    assert_eq!(page.status, 200, "{page:?}");
}

fn polls(machine: &Machine) -> usize {
    machine.provider.token_count(POLLS)
}

/// Lets so much time pass, and waits for the poll that is due then.
async fn poll_after(machine: &Machine, seconds: u64) {
    let before = polls(machine);
    machine.clock.asleep(3).await;
    machine.clock.advance(Duration::from_secs(seconds - 1));
    tokio::task::yield_now().await;
    assert_eq!(polls(machine), before, "it came early");
    machine.clock.advance(Duration::from_secs(1));
    wait::until_true("the poll", || polls(machine) > before).await;
}

async fn outcome(machine: &Machine, view: &LoginView) -> Outcome {
    let watch = machine.logins.watch(view.id.as_str()).expect("a login");
    watch.outcome().await
}

async fn done(machine: &Machine, view: &LoginView) -> LoginDone {
    outcome(machine, view).await.expect("a grant")
}

#[tokio::test]
async fn a_code_that_somebody_types_in_is_a_login_without_a_browser_or_a_port() {
    let mut machine = machine().await;
    machine.provider.allow_resource("https://registry.example");
    machine.binding.resource = Some("https://registry.example".to_owned());
    let view = started(&machine, DeviceUse::Only).await;
    assert_eq!(kinds(&view), ["Device"]);
    poll_after(&machine, 5).await;
    visit(&view).await;
    poll_after(&machine, 5).await;
    let done = done(&machine, &view).await;
    assert_eq!(done.account.expect("an account").sub, "alice");
    assert!(done.refreshable);
    assert!(machine.stored().is_some());
    let requests = machine.provider.requests_for(paths::DEVICE_AUTHORIZATION);
    let [request] = requests.as_slice() else {
        panic!("{} requests for a code", requests.len())
    };
    assert_eq!(
        request.field("resource").as_deref(),
        Some("https://registry.example")
    );
    assert!(request.field("scope").expect("scopes").contains("openid"));
    machine.assert_no_leaks();
}

#[tokio::test]
async fn case_33_slow_down_counts_for_good_and_faults_only_ever_lengthen_the_pause() {
    let machine = machine().await;
    let view = started(&machine, DeviceUse::Only).await;
    let slow_down = || Fault::Error {
        status: 400,
        error: "slow_down".to_owned(),
    };
    machine
        .provider
        .break_with(Rule::always(slow_down()).times(2).on(paths::TOKEN));
    poll_after(&machine, 5).await;
    poll_after(&machine, 10).await;
    machine
        .provider
        .break_with(Rule::always(Fault::Cut).times(1).on(paths::TOKEN));
    poll_after(&machine, 15).await;
    poll_after(&machine, 30).await;
    visit(&view).await;
    poll_after(&machine, 30).await;
    done(&machine, &view).await;
}

#[tokio::test]
async fn a_person_who_refuses_the_code_ends_the_login() {
    for device in [DeviceUse::Only, DeviceUse::Offer] {
        let machine = machine().await;
        let view = started(&machine, device).await;
        machine.provider.users([User::Denies]);
        visit(&view).await;
        poll_after(&machine, 5).await;
        let error = outcome(&machine, &view).await.expect_err("a refusal");
        assert!(matches!(error, LoginError::Denied { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_code_that_nobody_types_in_ends_with_its_life() {
    let machine = machine().await;
    machine
        .provider
        .behave(|provider| provider.device_ttl = Duration::from_secs(90));
    let view = started(&machine, DeviceUse::Only).await;
    let lifetime = view.expires_at.duration_since(view.started_at);
    assert_eq!(lifetime.as_secs(), 90);
    machine.clock.advance(Duration::from_secs(90));
    let error = outcome(&machine, &view).await.expect_err("nobody came");
    assert!(matches!(error, LoginError::Expired { .. }), "{error:?}");
    assert!(error.to_string().contains("90 seconds"), "{error}");
}

#[tokio::test]
async fn a_code_that_the_provider_ends_is_not_said_to_have_lasted() {
    let machine = machine().await;
    machine.provider.break_with(
        Rule::always(Fault::Error {
            status: 400,
            error: "expired_token".to_owned(),
        })
        .on(paths::TOKEN),
    );
    let view = started(&machine, DeviceUse::Only).await;
    poll_after(&machine, 5).await;
    let error = outcome(&machine, &view).await.expect_err("no code");
    assert_eq!(error, LoginError::CodeExpired);
    assert!(!error.to_string().contains("minutes"), "{error}");
}

#[tokio::test]
async fn of_a_browser_and_a_code_whichever_comes_first_counts() {
    let machine = machine().await;
    let view = started(&machine, DeviceUse::Offer).await;
    assert_eq!(kinds(&view), ["Browser", "Device", "Paste"]);
    let answer = get(browser_url(&view).as_str()).await;
    let redirect = answer.header("location").to_owned();
    visit(&view).await;
    poll_after(&machine, 5).await;
    done(&machine, &view).await;
    let late = machine.logins.hand_over(view.id.as_str(), &redirect);
    assert!(late.expect("a login").is_err(), "the browser came too late");
    assert_eq!(machine.codes_redeemed(), 0);

    let view = started(&machine, DeviceUse::Offer).await;
    let answer = get(browser_url(&view).as_str()).await;
    let redirect = answer.header("location").to_owned();
    let taken = machine.logins.hand_over(view.id.as_str(), &redirect);
    assert_eq!(taken, Some(Ok(())));
    done(&machine, &view).await;
    let before = polls(&machine);
    machine.clock.advance(Duration::from_mins(1));
    tokio::task::yield_now().await;
    assert_eq!(polls(&machine), before, "an ended login polls on");
}

#[tokio::test]
async fn a_busy_port_leaves_the_code() {
    let machine = machine().await;
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = holder.local_addr().unwrap().port();
    let on_port = LoginHow {
        callback_port: Some(port),
        ..how(DeviceUse::Offer)
    };
    let started = machine.logins.start(&machine.binding, &on_port).await;
    let view = started.expect("a login").view;
    assert_eq!(kinds(&view), ["Device"]);
    visit(&view).await;
    poll_after(&machine, 5).await;
    done(&machine, &view).await;
    machine
        .provider
        .behave(|provider| provider.offers_device = false);
    let refused = machine.logins.start(&machine.binding, &on_port).await;
    let error = refused.expect_err("neither way");
    assert!(matches!(error, LoginError::PortBusy { .. }), "{error:?}");
}

#[tokio::test]
async fn a_provider_without_codes_leaves_the_browser() {
    let machine = machine().await;
    machine
        .provider
        .behave(|provider| provider.offers_device = false);
    let view = started(&machine, DeviceUse::Offer).await;
    assert_eq!(kinds(&view), ["Browser", "Paste"]);
    let error = refused(&Machine::new().await, DeviceUse::Only).await;
    let expected = LoginError::NoDeviceCode {
        cause: "the identity provider does not offer device codes".to_owned(),
        transient: false,
    };
    assert_eq!(error, expected);
}

#[tokio::test]
async fn a_tenant_that_has_codes_switched_off_leaves_the_browser() {
    let machine = machine().await;
    let off = Fault::Error {
        status: 400,
        error: "unauthorized_client".to_owned(),
    };
    machine
        .provider
        .break_with(Rule::always(off).on(paths::DEVICE_AUTHORIZATION));
    let view = started(&machine, DeviceUse::Offer).await;
    assert_eq!(kinds(&view), ["Browser", "Paste"]);
    machine.logins.cancel_all().await;
    let error = refused(&machine, DeviceUse::Only).await.to_string();
    assert!(error.contains("unauthorized_client"), "{error}");
}

#[tokio::test]
async fn a_code_that_is_void_is_no_longer_offered_and_the_browser_still_works() {
    let machine = machine().await;
    let view = started(&machine, DeviceUse::Offer).await;
    let void = Fault::Error {
        status: 400,
        error: "invalid_grant".to_owned(),
    };
    machine
        .provider
        .break_with(Rule::always(void).times(1).on(paths::TOKEN));
    let watch = machine.logins.watch(view.id.as_str()).expect("a login");
    poll_after(&machine, 5).await;
    let changed = watch.changed_from(view.revision).await;
    assert_eq!(changed.state, LoginState::Pending);
    assert_eq!(kinds(&changed), ["Browser", "Paste"]);
    let answer = get(browser_url(&view).as_str()).await;
    let redirect = answer.header("location");
    let taken = machine.logins.hand_over(view.id.as_str(), redirect);
    assert_eq!(taken, Some(Ok(())));
    done(&machine, &view).await;
}

#[tokio::test]
async fn case_33_answers_that_no_person_should_see_are_not_shown() {
    for (member, value) in [
        ("verification_uri", json!("javascript:alert(1)")),
        ("verification_uri", json!("http://elsewhere.example/device")),
        ("user_code", json!("\u{202e}code")),
        ("expires_in", json!(0)),
        ("device_code", json!(null)),
    ] {
        let machine = machine().await;
        machine.provider.behave(|provider| {
            provider
                .device_answer
                .insert(member.to_owned(), value.clone());
        });
        let error = refused(&machine, DeviceUse::Only).await;
        assert!(
            matches!(error, LoginError::NoDeviceCode { .. }),
            "{member} {value}: {error:?}"
        );
        assert_eq!(polls(&machine), 0);
        let view = self::started(&machine, DeviceUse::Offer).await;
        assert_eq!(kinds(&view), ["Browser", "Paste"], "{member} {value}");
    }
}

#[tokio::test]
async fn a_login_with_a_code_can_be_withdrawn() {
    let machine = machine().await;
    let view = started(&machine, DeviceUse::Offer).await;
    let port = browser_url(&view)
        .query_pairs()
        .find_map(|(name, value)| (name == "redirect_uri").then(|| value.into_owned()))
        .and_then(|uri| Url::parse(&uri).ok()?.port())
        .expect("a port");
    let ended = machine.logins.withdraw(view.id.as_str()).await;
    assert_eq!(
        ended.expect("a login").state,
        LoginState::Failed(LoginError::Withdrawn)
    );
    assert!(is_free(port));
    visit(&view).await;
    machine.clock.advance(Duration::from_mins(1));
    tokio::task::yield_now().await;
    assert_eq!(polls(&machine), 0);
    assert!(machine.stored().is_none());
}

#[tokio::test]
async fn a_provider_that_keeps_us_waiting_for_a_code_does_not_keep_the_browser_for_long() {
    let machine = machine().await;
    machine
        .provider
        .break_with(Rule::always(Fault::Hang).on(paths::DEVICE_AUTHORIZATION));
    let view = started(&machine, DeviceUse::Offer).await;
    assert_eq!(kinds(&view), ["Browser", "Paste"]);
}
