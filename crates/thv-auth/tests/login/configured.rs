//! Logins to what is configured: what they may change in the configuration, and when.

use std::sync::Arc;

use thv_auth::limits::{PREPARE_TIME, PROMPTS_UNANSWERED};
use thv_auth::login::{LoginError, LoginHow, LoginMethod, Prompter, PublicUrl, StartedLogin};
use thv_auth::oauth::{DiscoveryPolicy, discover};
use thv_auth::relaxation::Relaxations;
use thv_auth::{AuthFailure, ClientChoice, FoundLogin};
use thv_testkit::browse::{Browser, browse};
use thv_testkit::provider::{Fault, Gate, Registration, Rule, User, paths};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::support::{House, any_port};

/// The scopes of the authorization request.
fn scopes(url: &url::Url) -> String {
    let mut pairs = url.query_pairs();
    pairs
        .find_map(|(name, value)| (name == "scope").then(|| value.into_owned()))
        .expect("scopes")
}

/// The registry has asked for one more scope than is configured.
fn want_to_write(house: &House) {
    let wanted = ["registry:write".to_owned()];
    house.vault.want_scopes(&house.binding(), &wanted).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_scopes_are_configured_when_somebody_has_logged_in_with_them_and_not_before() {
    let house = House::new().await;
    let narrow = house.binding();
    house.log_in().await;
    let before = house.config_text();
    want_to_write(&house);

    // Refused, and given up: both leave the file as it was, and the grant from before.
    house.provider.users([User::Denies]);
    let (url, task) = house.start().await;
    assert_eq!(scopes(&url), "openid offline_access registry:write");
    assert_eq!(house.config_text(), before, "only asked for");
    let _ = browse(url.as_str()).await;
    let denied = task.await.unwrap().unwrap_err();
    assert!(matches!(
        denied,
        AuthFailure::Login(LoginError::Denied { .. })
    ));
    let (_, task) = house.start().await;
    task.abort();
    assert!(task.await.is_err());
    assert_eq!(house.config_text(), before);
    assert!(house.vault.load(&narrow).unwrap().is_some());

    house.log_in().await;
    let wide = house.binding();
    assert_eq!(wide.scopes, ["openid", "offline_access", "registry:write"]);
    let grant = house.vault.load(&wide).unwrap().expect("a grant");
    assert!(grant.dead.is_none());
    assert!(house.vault.wanted_scopes(&wide).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_with_more_scopes_is_joined_and_ended_by_the_name_of_the_configured_one() {
    let house = House::new().await;
    want_to_write(&house);
    let first = started(&house, Prompter::Person).await;
    assert_eq!(first.view.binding.scopes.len(), 3);
    let second = started(&house, Prompter::Person).await;
    assert!(second.joined);
    assert_eq!(second.view.id, first.view.id);
    assert!(house.auth.report().await.unwrap().pending_login.is_some());
    house.auth.logout().await.unwrap();
    let watch = house.auth.watch_login(first.view.id.as_str()).unwrap();
    assert_eq!(watch.outcome().await, Err(LoginError::Cancelled));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_with_more_scopes_counts_for_nothing_when_something_else_was_configured() {
    let house = House::new().await;
    want_to_write(&house);
    let (url, task) = house.start().await;
    let other = house.config_text().replace("thv-cli", "another");
    house.write_config(&other);
    let _ = browse(url.as_str()).await;
    let ended = task.await.unwrap().unwrap_err();
    assert!(matches!(ended, AuthFailure::Login(LoginError::Cancelled)));
    assert_eq!(house.config_text(), other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_written_is_no_login_with_more_scopes() {
    let house = House::new().await;
    let narrow = house.binding();
    house.log_in().await;
    let before = house.config_text();
    want_to_write(&house);
    let (url, task) = house.start().await;
    // The lock of the file cannot be made where a directory is.
    let lock = house.config.lock_file();
    let _ = std::fs::remove_file(&lock);
    std::fs::create_dir_all(&lock).unwrap();
    let _ = browse(url.as_str()).await;
    let failed = task.await.unwrap().unwrap_err();
    let AuthFailure::Login(LoginError::NotConfigured { .. }) = failed else {
        panic!("{failed:?}");
    };
    assert_eq!(house.config_text(), before);
    assert!(house.vault.load(&narrow).unwrap().is_some());
    let mut wide = narrow.clone();
    wide.scopes.push("registry:write".to_owned());
    assert!(house.vault.load(&wide).unwrap().is_none());
    // Its tokens are the same client's as those of before: a provider could end both.
    house.auth.finish().await;
    assert!(house.provider.requests_for(paths::REVOKE).is_empty());

    // Now that it is known, nobody is asked for more than can be configured.
    let (url, task) = house.start().await;
    assert_eq!(scopes(&url), "openid offline_access");
    task.abort();
}

/// A house whose client this program has registered itself, with a secret, and a grant of that client.
async fn registered() -> House {
    let house = House::with_client("none-yet").await;
    house
        .provider
        .behave(|behaviour| behaviour.registration = Registration::Secret);
    let client = client(&house, false).await;
    let text = house.config_text().replace("none-yet", &client);
    house.write_config(&text);
    house.log_in().await;
    house
}

/// The client that a search of the registry comes to.
async fn client(house: &House, anew: bool) -> String {
    let issuer = house.provider.issuer();
    let provider = discover(&house.http, &issuer, DiscoveryPolicy::DEFAULT).await;
    let found = FoundLogin {
        resource: None,
        metadata_url: None,
        provider: provider.unwrap(),
        scopes: Vec::new(),
        relaxed: Relaxations::default(),
        allow_private_ip: false,
    };
    let choice = ClientChoice {
        anew,
        ..ClientChoice::default()
    };
    house.auth.client_for(&found, &choice).await.unwrap()
}

/// How a login as another client is made.
fn as_client(client_id: &str) -> LoginHow {
    LoginHow {
        client_id: Some(client_id.to_owned()),
        ..any_port()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_registered_anew_replaces_the_old_one_when_somebody_has_logged_in_as_it() {
    let house = registered().await;
    let (issuer, old) = (house.provider.issuer(), house.binding());
    let before = house.config_text();
    let known = |id: &str| house.vault.registration_of(&issuer, id).unwrap().is_some();

    let new = client(&house, true).await;
    house.provider.users([User::Denies]);
    let (url, task) = house.start_as(as_client(&new)).await;
    assert!(url.as_str().contains(&new));
    let _ = browse(url.as_str()).await;
    assert!(task.await.unwrap().is_err());
    assert_eq!(house.config_text(), before);
    assert!(house.vault.load(&old).unwrap().unwrap().dead.is_none());
    assert!(known(&old.client_id), "its secret is needed to renew");
    // The next login is one of the old client, which is still configured and known.
    house.log_in().await;
    assert_eq!(house.config_text(), before);

    let newer = client(&house, true).await;
    let (url, task) = house.start_as(as_client(&newer)).await;
    let _ = browse(url.as_str()).await;
    task.await.unwrap().expect("a login");
    assert_eq!(house.binding().client_id, newer);
    assert!(house.vault.load(&house.binding()).unwrap().is_some());
    assert!(known(&newer) && !known(&new) && !known(&old.client_id));
    house.log_in().await;
    assert_eq!(house.provider.requests_for(paths::REGISTER).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_the_provider_has_forgotten_stays_configured_until_there_is_another_login() {
    let house = registered().await;
    let before = house.config_text();
    house.provider.forget_client(&house.binding().client_id);
    for _ in 0..2 {
        let (_, task) = house.start().await;
        task.abort();
        assert!(task.await.is_err());
        assert_eq!(house.config_text(), before);
    }
    house.log_in().await;
    assert_ne!(house.config_text(), before);
    assert_eq!(house.provider.requests_for(paths::REGISTER).len(), 2);
}

/// Holds whoever asks the provider for its description of itself.
fn hold(house: &House) -> Gate {
    let gate = Gate::new();
    let held = Fault::HeldBefore(gate.clone());
    house
        .provider
        .break_with(Rule::always(held).on("/.well-known"));
    gate
}

async fn started(house: &House, by: Prompter) -> StartedLogin {
    house.auth.start_login(any_port(), by).await.unwrap()
}

/// A login that does not get as far as an address.
fn attempt(house: &House) -> JoinHandle<Result<StartedLogin, AuthFailure>> {
    let (auth, how) = (Arc::clone(&house.auth), any_port());
    tokio::spawn(async move { auth.start_login(how, Prompter::Program).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_while_a_login_is_made_ready_holds_nobody_up() {
    let house = registered().await;
    let gate = hold(&house);
    let first = attempt(&house);
    gate.arrived(1).await;
    let second = attempt(&house);
    first.abort();
    assert!(first.await.is_err());
    // The second one gets its turn, although nobody has answered the first.
    gate.arrived(2).await;
    second.abort();
    assert!(second.await.is_err());
    house.provider.heal();
    let (_, task) = house.start().await;
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_does_not_answer_holds_no_login_up_for_long() {
    let house = registered().await;
    let gate = hold(&house);
    let first = attempt(&house);
    gate.arrived(1).await;
    let second = attempt(&house);
    house.clock.asleep(2).await;
    house.clock.advance(PREPARE_TIME);
    for task in [first, second] {
        let failed = task.await.unwrap().unwrap_err();
        let AuthFailure::Login(LoginError::Discovery {
            transient: true,
            cause,
            ..
        }) = failed
        else {
            panic!("{failed:?}");
        };
        assert!(cause.contains("within 30 seconds"), "{cause}");
    }
    house.provider.heal();
    house.log_in().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_counted_before_the_provider_is_asked_anything() {
    let house = registered().await;
    let gate = hold(&house);
    for count in 1..=PROMPTS_UNANSWERED {
        let given_up = attempt(&house);
        gate.arrived(count).await;
        given_up.abort();
        assert!(given_up.await.is_err());
    }
    let refused = attempt(&house).await.unwrap().unwrap_err();
    assert!(matches!(refused, AuthFailure::Unanswered { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_joins_a_login_waits_for_nobody_who_makes_one_ready() {
    let house = registered().await;
    let first = started(&house, Prompter::Program).await;
    let gate = Gate::new();
    let held = Fault::HeldBefore(gate.clone());
    let broken = Rule::always(held).on(paths::REGISTER);
    house.provider.break_with(broken);
    let registering = async {
        client(&house, true).await;
    };
    let joining = async {
        gate.arrived(1).await;
        let second = started(&house, Prompter::Program).await;
        assert!(second.joined);
        assert_eq!(second.view.id, first.view.id);
    };
    tokio::select! {
        () = registering => panic!("registered behind a closed gate"),
        () = joining => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_at_a_public_address_is_made_as_a_client_that_is_registered_for_it() {
    let house = registered().await;
    let here = house.binding().client_id;
    let before = house.config_text();
    let public = "https://tools.example/base";
    let at_public = || LoginHow {
        public: Some(PublicUrl::parse(public).unwrap()),
        ..any_port()
    };
    for again in [false, true] {
        let started = house.auth.start_login(at_public(), Prompter::Person);
        let started = started.await.unwrap();
        if !again {
            assert_eq!(house.config_text(), before, "nobody has logged in");
        }
        let LoginMethod::Browser { authorization_url } = &started.view.methods[0] else {
            panic!("{:?}", started.view.methods);
        };
        let mut browser = Browser::default();
        let back = browser
            .open_until(
                authorization_url.as_str(),
                &format!("{public}/oauth/callback"),
            )
            .await;
        let handed = house.auth.hand_over(started.view.id.as_str(), &back);
        handed.unwrap().unwrap();
        let watch = house.auth.watch_login(started.view.id.as_str()).unwrap();
        watch.outcome().await.unwrap();
        assert_ne!(house.binding().client_id, here);
    }
    // One client for each place, however often somebody logs in there.
    assert_eq!(house.provider.requests_for(paths::REGISTER).len(), 2);
    house.log_in().await;
    assert_eq!(house.binding().client_id, here);
    assert_eq!(house.provider.requests_for(paths::REGISTER).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_come_at_once_are_one_prompt() {
    let house = House::new().await;
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let auth = Arc::clone(&house.auth);
            let (sender, addresses) = mpsc::unbounded_channel();
            let how = LoginHow {
                announce: Some(Arc::new(move |url| drop(sender.send(url.clone())))),
                ..any_port()
            };
            let task = tokio::spawn(async move { auth.login(how, Prompter::Program).await });
            (task, addresses)
        })
        .collect();
    let mut waiting = Vec::new();
    for (task, mut addresses) in callers {
        addresses.recv().await.expect("an address");
        waiting.push(task);
    }
    for task in waiting {
        task.abort();
        assert!(task.await.is_err());
    }
    for _ in 1..PROMPTS_UNANSWERED {
        let login = started(&house, Prompter::Program).await;
        assert!(!login.joined);
        house.auth.logout().await.unwrap();
    }
    let refused = attempt(&house).await.unwrap().unwrap_err();
    assert!(matches!(refused, AuthFailure::Unanswered { .. }));
}
