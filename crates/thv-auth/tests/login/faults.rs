//! Stores, providers and browsers that do not do their part.

use std::sync::Arc;

use thv_auth::login::{LoginError, LoginHow};
use thv_testkit::provider::{Fault, Rule, Signature, Twist, paths};

use crate::support::{Machine, RecordingOpener};

async fn failing(machine: &Machine, status: u16) -> LoginError {
    let running = machine.start().await;
    let page = running.browse().await;
    assert_eq!(page.status, status, "{page:?}");
    assert!(!page.text().contains("You are logged in"));
    running.error().await
}

#[tokio::test]
async fn w5_a_login_that_cannot_be_stored_never_opens_a_browser() {
    for (provider, word) in [
        ("environment", "read-only"),
        ("1password", "thv secret setup"),
        ("", "cannot be used"),
    ] {
        let variables = [
            ("TOOLHIVE_SECRETS_PROVIDER", provider),
            ("TOOLHIVE_SECRETS_KEY_FILE", "/nonexistent/key"),
        ];
        let machine = Machine::with(&variables).await;
        let opener = Arc::new(RecordingOpener::default());
        let error = machine
            .refused(LoginHow {
                opener: Some(Arc::clone(&opener) as _),
                ..LoginHow::default()
            })
            .await;
        let LoginError::StoreUnusable { hint } = &error else {
            panic!("{provider}: {error:?}")
        };
        assert!(hint.contains(word), "{hint}");
        assert!(opener.opened.lock().unwrap().is_empty());
        assert!(machine.provider.requests().is_empty());
    }
}

#[tokio::test]
async fn a_provider_that_is_down_is_told_as_a_discovery_that_failed() {
    let machine = Machine::new().await;
    machine.provider.refuse().await;
    let error = machine.refused(LoginHow::default()).await;
    assert!(
        matches!(
            &error,
            LoginError::Discovery {
                transient: true,
                ..
            }
        ),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(
        text.starts_with("OIDC discovery failed for issuer"),
        "{text}"
    );
}

#[tokio::test]
async fn a_provider_whose_metadata_are_another_issuers_is_refused() {
    let machine = Machine::new().await;
    machine
        .provider
        .behave(|provider| provider.advertise("issuer", "https://evil.example"));
    let error = machine.refused(LoginHow::default()).await;
    assert!(
        matches!(
            &error,
            LoginError::Discovery {
                transient: false,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_token_endpoint_that_fails_costs_the_new_login_and_not_the_old_grant() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let before = machine.stored().expect("a grant").generation;
    let huge = 20 * 1024 * 1024;
    for (fault, is_transient) in [
        (Fault::Status(500), true),
        (Fault::Html(200), true),
        (Fault::Html(400), true),
        (Fault::Garbage, true),
        (Fault::Huge(huge), true),
        (Fault::Cut, true),
        (
            Fault::Error {
                status: 400,
                error: "invalid_grant".to_owned(),
            },
            false,
        ),
    ] {
        machine
            .provider
            .break_with(Rule::always(fault.clone()).on(paths::TOKEN));
        let error = failing(&machine, 400).await;
        assert!(
            matches!(&error, LoginError::Exchange { transient, .. } if *transient == is_transient),
            "{fault:?}: {error:?}"
        );
        machine.provider.heal();
        assert_eq!(machine.stored().expect("a grant").generation, before);
    }
    machine.assert_no_leaks();
}

#[tokio::test]
async fn a_code_is_sent_once_even_if_its_answer_is_lost() {
    let machine = Machine::new().await;
    machine
        .provider
        .break_with(Rule::always(Fault::Lost).on(paths::TOKEN));
    failing(&machine, 400).await;
    assert_eq!(machine.codes_redeemed(), 1);
}

#[tokio::test]
async fn a_code_does_not_follow_a_redirect() {
    let machine = Machine::new().await;
    let elsewhere = Machine::new().await;
    machine.provider.break_with(
        Rule::always(Fault::RedirectTo {
            status: 307,
            url: elsewhere.provider.at(paths::TOKEN),
        })
        .on(paths::TOKEN),
    );
    failing(&machine, 400).await;
    assert!(elsewhere.provider.requests().is_empty());
}

#[tokio::test]
async fn a_word_on_who_logged_in_that_does_not_hold_keeps_nothing() {
    for twist in [
        Twist::default().signature(Signature::Foreign),
        Twist::default().signature(Signature::UnknownKey),
        Twist::default().signature(Signature::None),
        Twist::default().claim("nonce", "another"),
        Twist::default().claim("aud", "another"),
        Twist::default().claim("iss", "https://evil.example"),
        Twist::default().claim("exp", 1),
    ] {
        let machine = Machine::new().await;
        machine
            .provider
            .behave(|provider| provider.id_token = twist.clone());
        let error = failing(&machine, 400).await;
        assert!(
            matches!(error, LoginError::IdToken { .. }),
            "{twist:?}: {error:?}"
        );
        assert!(machine.stored().is_none(), "{twist:?}");
    }
}

#[tokio::test]
async fn a_browser_that_cannot_be_opened_ends_a_login_that_nobody_else_can_see() {
    let machine = Machine::new().await;
    let opener = Arc::new(RecordingOpener {
        fails: true,
        ..RecordingOpener::default()
    });
    let how = LoginHow {
        opener: Some(opener as _),
        callback_port: Some(0),
        ..LoginHow::default()
    };
    let error = machine
        .logins
        .login(&machine.binding, how.clone())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("there is no display"), "{error}");

    let running = machine.start_as(how).await;
    assert_eq!(running.browse().await.status, 200);
    running.done().await;
}

#[tokio::test]
async fn a_login_without_browser_and_without_anybody_to_tell_does_not_begin() {
    let machine = Machine::new().await;
    let error = machine
        .logins
        .login(&machine.binding, LoginHow::default())
        .await
        .unwrap_err();
    assert!(matches!(error, LoginError::NothingToOpen { .. }));
    assert!(machine.provider.requests().is_empty());
}
