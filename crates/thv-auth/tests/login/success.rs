//! Logins that succeed, and what they bring.

use std::sync::Arc;

use secrecy::ExposeSecret as _;
use thv_auth::grant::Grant;
use thv_auth::login::{LoginDone, LoginError, LoginHow, RedirectForm};
use thv_auth::oauth::redirect_uri::LoopbackName;
use thv_http::secrecy;
use thv_testkit::browse::browse;
use thv_testkit::provider::{CLIENT, Client, RefreshTokens, User, paths};

use crate::support::{Machine, PASSWORD, RecordingOpener, authorizations, logins_of};

#[tokio::test]
async fn a_login_ends_with_a_stored_grant_and_a_clean_page() {
    let machine = Machine::new().await;
    let running = machine.start().await;
    assert_eq!(running.param("code_challenge_method"), "S256");
    assert_eq!(running.param("state").len(), 22);
    assert_eq!(running.redirect_uri().path(), "/callback");

    let callback = running.agree().await;
    let answer = running.ask(&callback).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    let location = answer.header("location").to_owned();
    assert_eq!(location, "/callback/result");
    let page = running.ask(&location).await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.text().contains("You are logged in"));
    assert!(
        page.header("content-security-policy")
            .starts_with("default-src 'none'")
    );

    let done = running.done().await;
    assert_eq!(
        done.account.map(|account| account.sub).as_deref(),
        Some("alice")
    );
    assert!(done.refreshable);
    assert_eq!(done.turned_away, 0);
    let grant = machine.stored().expect("a grant");
    assert_eq!(grant.expires_at, done.expires_at);
    let issued = machine.provider.secrets();
    let token = grant.access_token.expect("a token");
    assert!(issued.iter().any(|secret| secret == token.expose_secret()));
    machine.assert_no_leaks();
}

#[tokio::test]
async fn the_page_says_success_only_when_the_grant_is_stored() {
    let machine = Machine::new().await;
    let running = machine.start().await;
    let callback = running.agree().await;
    let location = running.ask(&callback).await.header("location").to_owned();
    let page = running.ask(&location).await;
    assert!(page.text().contains("You are logged in"));
    assert!(machine.stored().is_some(), "the page came before the grant");
    running.done().await;
}

#[tokio::test]
async fn f5_a_code_is_redeemed_with_one_request_that_has_the_client_in_its_body() {
    let machine = Machine::new().await;
    machine.log_in().await;
    assert_eq!(machine.codes_redeemed(), 1);
    let requests = machine.provider.requests_for(paths::TOKEN);
    let [request] = requests.as_slice() else {
        panic!("{} token requests", requests.len())
    };
    assert_eq!(request.header("authorization"), None);
    assert_eq!(request.field("client_id").as_deref(), Some(CLIENT));
}

#[tokio::test]
async fn f6_the_binding_is_as_it_was() {
    let mut machine = Machine::new().await;
    machine.binding.scopes = vec!["openid".to_owned()];
    let before = machine.binding.clone();
    machine.log_in().await;
    assert_eq!(machine.binding, before);
}

#[tokio::test]
async fn w4_a_login_asks_the_provider_anew_although_a_grant_is_there() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let first = machine.stored().expect("a grant");
    machine.log_in().await;
    assert_eq!(authorizations(&machine.provider), 2);
    assert_eq!(machine.codes_redeemed(), 2);
    let second = machine.stored().expect("a grant");
    assert!(second.generation > first.generation);
    assert_ne!(second.login_id, first.login_id);
}

#[tokio::test]
async fn a_login_as_somebody_else_counts_only_where_that_is_meant() {
    let machine = Machine::new().await;
    let first = machine.log_in().await;
    assert_eq!(first.replaced_account, None);
    assert_eq!(machine.log_in().await.replaced_account, None);
    let bob = || User::ApprovesAs("bob".to_owned());
    machine.provider.users([bob(), bob()]);
    let login_id = |grant: Option<Grant>| grant.map(|grant| grant.login_id);
    let before = login_id(machine.stored());
    let running = machine.start().await;
    running.browse().await;
    let error = running.error().await;
    let LoginError::AccountMismatch { before: was, now } = &error else {
        panic!("{error:?}")
    };
    assert!(was.contains("alice") && now.contains("bob"), "{error}");
    assert_eq!(login_id(machine.stored()), before);
    machine.logins.finish().await;
    let families = machine.provider.families();
    assert!(families.iter().any(|family| family.subject == "bob"));
    for family in families {
        assert_eq!(
            family.ended.is_some(),
            family.subject == "bob",
            "{family:?}"
        );
    }

    let meant = LoginHow {
        callback_port: Some(0),
        switch_account: true,
        ..LoginHow::default()
    };
    let running = machine.start_as(meant).await;
    running.browse().await;
    let second = running.done().await;
    assert_eq!(
        second.account.map(|account| account.sub).as_deref(),
        Some("bob")
    );
    assert_eq!(second.replaced_account, first.account);
    // Hers are given back: nobody holds them any more.
    let queued = machine.vault.unrevoked().expect("a store");
    assert_eq!(queued.len(), 2);
}

/// A login as bob that is meant, or not.
async fn as_bob(machine: &Machine, switch_account: bool) -> Result<LoginDone, LoginError> {
    machine.provider.users([User::ApprovesAs("bob".to_owned())]);
    let how = LoginHow {
        callback_port: Some(0),
        switch_account,
        ..LoginHow::default()
    };
    let running = machine.start_as(how).await;
    running.browse().await;
    running.outcome().await
}

#[tokio::test]
async fn a_login_with_other_settings_is_no_less_of_somebody() {
    let mut machine = Machine::new().await;
    machine.log_in().await;
    machine.binding.scopes.push("email".to_owned());
    let refused = as_bob(&machine, false).await;
    assert!(
        matches!(refused, Err(LoginError::AccountMismatch { .. })),
        "{refused:?}"
    );
    let meant = as_bob(&machine, true).await.expect("a login");
    assert!(meant.replaced_account.is_some());
    assert_eq!(
        as_bob(&machine, false)
            .await
            .expect("a login")
            .replaced_account,
        None
    );
}

#[tokio::test]
async fn what_counts_is_who_is_logged_in_when_the_answer_comes() {
    let machine = Machine::new().await;
    let waiting = machine.start().await;
    // Somebody logs in meanwhile, in another process.
    let (_, others) = logins_of(machine.home.path(), PASSWORD, machine.clock.clone());
    let how = LoginHow {
        callback_port: Some(0),
        announce: Some(Arc::new(|url| {
            let url = url.to_string();
            tokio::spawn(async move { browse(&url).await });
        })),
        ..LoginHow::default()
    };
    let alice = others.login(&machine.binding, how).await.expect("a login");
    machine.provider.users([User::ApprovesAs("bob".to_owned())]);
    waiting.browse().await;
    let refused = waiting.error().await;
    assert!(
        matches!(refused, LoginError::AccountMismatch { .. }),
        "{refused:?}"
    );
    let stored = machine.stored().expect("a grant").account;
    assert_eq!(stored, alice.account);

    // And nobody is, after a logout.
    let waiting = machine.start().await;
    machine.vault.wipe(&machine.binding).expect("a store");
    machine.provider.users([User::ApprovesAs("bob".to_owned())]);
    waiting.browse().await;
    assert_eq!(waiting.done().await.replaced_account, None);
}

#[tokio::test]
async fn who_joins_a_login_can_let_it_be_of_another_account() {
    let machine = Machine::new().await;
    machine.log_in().await;
    machine.provider.users([User::ApprovesAs("bob".to_owned())]);
    let waiting = machine.start().await;
    let how = LoginHow {
        switch_account: true,
        ..LoginHow::default()
    };
    let joined = machine.logins.start(&machine.binding, &how).await;
    let joined = joined.expect("a login");
    assert!(joined.joined && joined.view.switch_account);
    waiting.browse().await;
    assert!(waiting.done().await.replaced_account.is_some());
}

#[tokio::test]
async fn a_login_without_a_refresh_token_is_one_and_says_so() {
    let machine = Machine::new().await;
    machine
        .provider
        .behave(|provider| provider.refresh_tokens = RefreshTokens::Never);
    let done = machine.log_in().await;
    assert!(!done.refreshable);
    assert!(machine.stored().expect("a grant").refresh_token.is_none());
}

#[tokio::test]
async fn a_provider_that_speaks_no_openid_can_be_logged_in_to() {
    let mut machine = Machine::new().await;
    machine.binding.scopes = vec!["registry:read".to_owned()];
    machine.provider.behave(|provider| {
        provider.speaks_openid = false;
        provider.omits_id_token = true;
    });
    let done = machine.log_in().await;
    assert_eq!(done.account, None);
    assert!(machine.stored().is_some());
}

#[tokio::test]
async fn a_clock_that_is_a_day_off_prevents_no_login() {
    for days in [-1, 1] {
        let machine = Machine::new().await;
        machine.provider.set_ahead(days * 86_400);
        let done = machine.log_in().await;
        assert!(done.account.is_some(), "{days}");
    }
}

#[tokio::test]
async fn the_browser_is_opened_at_the_address_that_is_given_out() {
    let machine = Machine::new().await;
    let opener = Arc::new(RecordingOpener::default());
    let running = machine
        .start_as(LoginHow {
            opener: Some(Arc::clone(&opener) as _),
            callback_port: Some(0),
            ..LoginHow::default()
        })
        .await;
    running.browse().await;
    let url = running.url.clone();
    running.done().await;
    assert_eq!(*opener.opened.lock().unwrap(), [url]);
}

#[tokio::test]
async fn a_client_that_is_registered_for_it_gets_a_path_of_its_issuer_alone() {
    let machine = Machine::new().await;
    let how = LoginHow {
        callback_port: Some(0),
        redirect: RedirectForm::PerIssuer(LoopbackName::Localhost),
        ..LoginHow::default()
    };
    let running = machine.start_as(how).await;
    let uri = running.redirect_uri();
    assert_eq!(uri.path().len(), "/callback/".len() + 22);
    machine
        .provider
        .register(Client::public(CLIENT, &[uri.as_str()]));
    let elsewhere = running.agree().await.replace(uri.path(), "/callback");
    assert_eq!(running.ask(&elsewhere).await.status, 404);
    assert_eq!(running.browse().await.status, 200);
    running.done().await;
}
