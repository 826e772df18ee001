//! Tokens that are bound to a key (RFC 9449), from the login on: renewed with the key, shown with proofs, and worth nothing without it.

use thv_auth::credentials::{AuthError, Credentials as _, LoginReason};
use thv_auth::grant::{Grant, GrantOrigin};
use thv_auth::oauth::ProofKey;
use thv_auth::pin::Pin;
use thv_auth::status::AuthReport;
use thv_http::{Bearer, Policy, Request};
use thv_testkit::proof::Nonces;
use thv_testkit::provider::{Provider, paths};
use thv_testkit::registry::{FakeRegistry, Guard};
use url::Url;

use crate::support::{HOUR, Machine, Place};

async fn binding() -> Machine {
    let machine = Machine::new().await;
    machine
        .provider
        .behave(|behaviour| behaviour.binds_tokens = true);
    machine
}

/// A pin of the login that wants its tokens bound.
fn strict_pin(provider: &Provider) -> Pin {
    let issuer = Url::parse(&provider.issuer()).unwrap();
    Pin {
        token_host: format!("127.0.0.1:{}", issuer.port().unwrap()),
        revocation_host: None,
        resource_metadata: None,
        relaxed: Vec::new(),
        dpop_required: true,
    }
}

async fn store(place: &Place, machine: &Machine, grant: Grant) -> Grant {
    let (vault, binding) = (place.vault(), machine.binding.clone());
    tokio::task::spawn_blocking(move || vault.replace(&binding, &grant).unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn the_key_of_the_login_renews_and_another_one_does_not() {
    let machine = binding().await;
    let first = machine.log_in().await;
    assert_eq!(first.token_type, "DPoP");
    assert!(first.is_bound());
    machine.clock.advance(HOUR);
    let bearer = machine.process().credentials.bearer().await.unwrap();
    assert!(bearer.unwrap().is_bound());
    let renewed = machine.stored().unwrap();
    assert_ne!(renewed.access_fingerprint(), first.access_fingerprint());
    assert_eq!(renewed.proof_key, first.proof_key);
    let stolen = Grant {
        proof_key: Some(ProofKey::generate().unwrap()),
        ..renewed
    };
    store(&machine.place, &machine, stolen).await;
    machine.clock.advance(HOUR);
    let error = machine.process().credentials.bearer().await.unwrap_err();
    assert_eq!(
        error,
        AuthError::LoginRequired {
            reason: LoginReason::GrantRevoked
        }
    );
}

#[tokio::test]
async fn a_token_endpoint_that_wants_its_nonce_is_asked_twice_and_then_once() {
    let machine = binding().await;
    machine
        .provider
        .want_nonces(Nonces::Wanted("one".to_owned()));
    machine.log_in().await;
    assert_eq!(machine.provider.requests_for(paths::TOKEN).len(), 2);
    let process = machine.process();
    for expected in [2, 3] {
        machine.clock.advance(HOUR);
        process.credentials.bearer().await.unwrap();
        assert_eq!(machine.refreshes(), expected);
    }
    machine
        .provider
        .want_nonces(Nonces::Wanted("two".to_owned()));
    machine.clock.advance(HOUR);
    process.credentials.bearer().await.unwrap();
    assert_eq!(machine.refreshes(), 5);
    assert_eq!(machine.provider.families().len(), 1);
    assert!(machine.provider.families()[0].ended.is_none());
}

#[tokio::test]
async fn case_46_a_token_endpoint_whose_nonces_never_fit_is_asked_twice_and_the_login_lives() {
    let machine = binding().await;
    machine.log_in().await;
    machine.provider.want_nonces(Nonces::Endless);
    machine.clock.advance(HOUR);
    let error = machine.process().credentials.bearer().await.unwrap_err();
    assert!(matches!(error, AuthError::Unreachable { .. }), "{error:?}");
    assert_eq!(machine.refreshes(), 2);
    machine.provider.want_nonces(Nonces::Unwanted);
    assert!(machine.process().credentials.bearer().await.is_ok());
}

#[tokio::test]
async fn a_proof_is_made_at_the_time_of_the_server() {
    let machine = binding().await;
    machine.log_in().await;
    machine.clock.advance(HOUR);
    // Ours is a day behind from now on.
    machine.provider.advance(24 * HOUR);
    let grant = machine.stored().unwrap();
    let ahead = Grant {
        clock_offset: jiff::SignedDuration::from_hours(24),
        ..grant
    };
    store(&machine.place, &machine, ahead).await;
    assert!(machine.process().credentials.bearer().await.is_ok());
}

#[tokio::test]
async fn case_16_a_renewal_that_brings_an_unbound_token_is_shown_or_ends_the_login() {
    for required in [false, true] {
        let machine = binding().await;
        let grant = machine.log_in().await;
        let pinned = Grant {
            pin: required.then(|| strict_pin(&machine.provider)),
            ..grant
        };
        store(&machine.place, &machine, pinned).await;
        machine
            .provider
            .behave(|behaviour| behaviour.answer_with("token_type", "Bearer"));
        machine.clock.advance(HOUR);
        let process = machine.process();
        let answer = process.credentials.bearer().await;
        let report = AuthReport::of(&process.engine, &machine.binding).await;
        if required {
            let reason = LoginReason::NotBound;
            assert_eq!(answer.unwrap_err(), AuthError::LoginRequired { reason });
            assert_eq!(report.reason, Some("token_not_bound"));
        } else {
            assert!(!answer.unwrap().unwrap().is_bound());
            assert!(report.relaxations.contains(&"bearer_despite_dpop"));
            // The refresh token is bound to the key still.
            assert!(machine.stored().unwrap().proof_key.is_some());
        }
    }
}

#[tokio::test]
async fn a_grant_from_elsewhere_has_no_key() {
    let machine = Machine::new().await;
    let grant = machine.log_in().await;
    assert_eq!(grant.origin, GrantOrigin::Login);
    assert!(grant.proof_key.is_none() && !grant.is_bound());
    let bearer = machine.process().credentials.bearer().await.unwrap();
    assert!(!bearer.unwrap().is_bound());
}

/// A registry that is guarded for tokens of the machine's provider, and a login to it.
async fn at_registry(proofs: bool) -> (Machine, FakeRegistry) {
    let mut machine = binding().await;
    let registry = FakeRegistry::with_servers(1).await;
    machine.provider.allow_resource(&registry.url());
    let guard = Guard::of(&machine.provider, &registry.url());
    registry.protect(if proofs { guard.proofs() } else { guard });
    let url = Url::parse(&registry.url()).unwrap();
    machine.binding.configured_url = registry.url();
    machine.binding.registry_url = url;
    machine.binding.resource = Some(registry.url());
    machine.log_in().await;
    (machine, registry)
}

async fn ask(machine: &Machine, bearer: &Bearer, registry: &FakeRegistry) -> u16 {
    let url = Url::parse(&registry.at("/v0.1/servers?limit=1#part")).unwrap();
    let request = Request::get(url)
        .policy(Policy::PRIVATE)
        .bearer(bearer.clone());
    let http = &machine.place.http;
    http.send(request).await.unwrap().status.as_u16()
}

#[tokio::test]
async fn a_registry_that_knows_proofs_gets_a_fresh_one_with_each_request() {
    let (machine, registry) = at_registry(true).await;
    let bearer = machine.process().credentials.bearer().await;
    let bearer = bearer.unwrap().unwrap();
    for _ in 0..2 {
        assert_eq!(ask(&machine, &bearer, &registry).await, 200);
    }
    assert_eq!(registry.requests().len(), 2);
    let unproven = Bearer::new(bearer.token().clone(), bearer.origin().clone());
    assert_eq!(ask(&machine, &unproven, &registry).await, 401);
    registry.want_nonces(Nonces::Wanted("one".to_owned()));
    for _ in 0..2 {
        assert_eq!(ask(&machine, &bearer, &registry).await, 200);
    }
    assert_eq!(registry.requests().len(), 6);
}

#[tokio::test]
async fn case_46_a_registry_whose_nonces_never_fit_is_asked_twice() {
    let (machine, registry) = at_registry(true).await;
    registry.want_nonces(Nonces::Endless);
    let bearer = machine.process().credentials.bearer().await;
    assert_eq!(
        ask(&machine, &bearer.unwrap().unwrap(), &registry).await,
        401
    );
    assert_eq!(registry.requests().len(), 2);
}

#[tokio::test]
async fn a_registry_that_knows_no_proofs_is_shown_a_bearer_unless_that_is_forbidden() {
    let (machine, registry) = at_registry(false).await;
    let process = machine.process();
    let bearer = process.credentials.bearer().await.unwrap().unwrap();
    for _ in 0..2 {
        assert_eq!(ask(&machine, &bearer, &registry).await, 200);
    }
    // It was tried with a proof once.
    assert_eq!(registry.requests().len(), 3);
    let report = AuthReport::of(&process.engine, &machine.binding).await;
    assert!(report.relaxations.contains(&"bearer_despite_dpop"));
    registry.protect(Guard::of(&machine.provider, &registry.url()).proofs());
    for _ in 0..2 {
        assert_eq!(ask(&machine, &bearer, &registry).await, 200);
    }
    assert_eq!(registry.requests().len(), 6);
    let pinned = Grant {
        pin: Some(strict_pin(&machine.provider)),
        ..machine.stored().unwrap()
    };
    store(&machine.place, &machine, pinned).await;
    registry.protect(Guard::of(&machine.provider, &registry.url()));
    let process = machine.process();
    let bearer = process.credentials.bearer().await.unwrap().unwrap();
    assert_eq!(ask(&machine, &bearer, &registry).await, 401);
    assert_eq!(registry.requests().len(), 7);
}
