//! Logging out, and everything that could bring a login back.

use std::sync::{Arc, OnceLock, Weak};

use secrecy::ExposeSecret as _;
use thv_auth::binding::Binding;
use thv_auth::credentials::{AuthError, Credentials as _, LoginReason};
use thv_auth::limits::{GIVE_BACK_FIRST, LOOK_INTERVAL};
use thv_auth::logout::{LogoutReceipt, give_back_queued, logout};
use thv_auth::refresh::{Step, Steps};
use thv_auth::tokens::GrantCredentials;
use thv_auth::vault::Vault;
use thv_config::world::ManualClock;
use thv_config::{Config, ConfigError, RegistrySource};
use thv_secrets::SecretName;
use thv_testkit::provider::{CLIENT, Ended, Fault, Gate, Rule, paths};
use thv_testkit::wait;
use tokio::runtime::Handle;

use crate::support::{HOUR, Machine, Process, secret};

const NEVER: AuthError = AuthError::LoginRequired {
    reason: LoginReason::NeverLoggedIn,
};

#[tokio::test(flavor = "multi_thread")]
async fn f19_after_a_logout_nothing_is_left_and_the_provider_knows() {
    let machine = Machine::new().await;
    machine.log_in().await;
    machine.edit(|secrets| {
        for name in ["REGISTRY_OAUTH_0badcafe", "REGISTRY_OAUTH_0badcafe_AT"] {
            secrets.set(&SecretName::stored(name).unwrap(), secret("old"));
            secrets.set(&SecretName::registry(name), secret("old"));
        }
        secrets.set(&SecretName::user("mine").unwrap(), secret("kept"));
    });
    let process = machine.process();
    process.token().await.unwrap();
    let receipt = logout(&process.engine, &machine.place.config, &machine.binding)
        .await
        .unwrap();
    assert_eq!(receipt.deleted, 5);
    let outcomes: Vec<_> = receipt
        .tokens
        .iter()
        .map(|token| (token.token, token.outcome))
        .collect();
    assert_eq!(outcomes[0], ("refresh_token", "revoked"));
    assert_eq!(outcomes[1].0, "access_token");
    assert_eq!(machine.names(), ["mine"]);
    assert_eq!(machine.provider.families()[0].ended, Some(Ended::Revoked));
    assert_eq!(process.token().await.unwrap_err(), NEVER);
    let oauth = machine
        .place
        .config
        .load()
        .unwrap()
        .auth
        .unwrap()
        .oauth
        .unwrap();
    assert_eq!(oauth.cached_refresh_token_ref, None);
    assert_eq!(oauth.cached_token_expiry, None);
    assert_eq!(oauth.client_id, CLIENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_given_back_to_hosts_of_the_login_only() {
    let machine = Machine::new().await;
    let thief = thv_testkit::provider::Provider::start().await;
    let host = machine.provider.issuer().replace("http://", "");
    let thiefs_host = thief.issuer().replace("http://", "");
    for (revocation_host, outcome) in [(None, "failed"), (Some(thiefs_host), "revoked")] {
        let grant = machine.log_in().await;
        let pin = thv_auth::pin::Pin {
            token_host: host.clone(),
            revocation_host,
            resource_metadata: None,
            relaxed: Vec::new(),
            dpop_required: false,
        };
        let (vault, binding) = (machine.vault(), machine.binding.clone());
        let pinned = thv_auth::grant::Grant {
            pin: Some(pin),
            ..grant
        };
        tokio::task::spawn_blocking(move || vault.replace(&binding, &pinned).unwrap())
            .await
            .unwrap();
        machine.provider.behave(|behaviour| {
            behaviour.advertise("revocation_endpoint", thief.at(paths::REVOKE));
        });
        let process = machine.process();
        let receipt = logout(&process.engine, &machine.place.config, &machine.binding);
        let receipt = receipt.await.unwrap();
        assert_eq!(receipt.tokens[0].outcome, outcome);
        assert_eq!(
            thief.requests_for(paths::REVOKE).is_empty(),
            outcome == "failed"
        );
        assert!(machine.stored().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w16_a_logout_during_a_renewal_leaves_nothing_and_gives_the_new_tokens_back() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let process = Arc::new(machine.process());
    let gate = Gate::new();
    machine
        .provider
        .break_with(Rule::always(Fault::HeldAfter(gate.clone())).on(paths::TOKEN));
    machine.clock.advance(HOUR);
    let asking = tokio::spawn({
        let process = Arc::clone(&process);
        async move { process.token().await }
    });
    gate.arrived(1).await;
    let other = machine.engine();
    logout(&other, &machine.place.config, &machine.binding)
        .await
        .unwrap();
    let revoked = machine.provider.requests_for(paths::REVOKE).len();
    gate.open();
    assert_eq!(asking.await.unwrap().unwrap_err(), NEVER);
    assert_eq!(machine.names(), [""; 0]);
    wait::until_true("the new tokens back at the provider", || {
        machine.provider.requests_for(paths::REVOKE).len() == revoked + 2
    })
    .await;
    assert_eq!(process.token().await.unwrap_err(), NEVER);
    assert_eq!(machine.process().token().await.unwrap_err(), NEVER);
}

#[tokio::test(flavor = "multi_thread")]
async fn w16_a_login_after_a_logout_is_not_overwritten_by_a_renewal_from_before() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let process = Arc::new(machine.process());
    let gate = Gate::new();
    machine.provider.break_with(
        Rule::always(Fault::HeldAfter(gate.clone()))
            .on(paths::TOKEN)
            .times(1),
    );
    machine.clock.advance(HOUR);
    let asking = tokio::spawn({
        let process = Arc::clone(&process);
        async move { process.token().await }
    });
    gate.arrived(1).await;
    logout(&machine.engine(), &machine.place.config, &machine.binding)
        .await
        .unwrap();
    let new = machine.log_in().await;
    gate.open();
    assert_eq!(asking.await.unwrap().ok(), new.access_fingerprint());
    assert_eq!(machine.stored().unwrap().login_id, new.login_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn w16_a_logout_elsewhere_shows_at_the_next_look() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let server = machine.process();
    server.token().await.unwrap();
    logout(&machine.engine(), &machine.place.config, &machine.binding)
        .await
        .unwrap();
    machine.clock.advance(LOOK_INTERVAL);
    assert_eq!(server.token().await.unwrap_err(), NEVER);
}

/// Logs out, as another process does, and looks at the store, between the write of a renewal and its use.
#[derive(Debug, Default)]
struct LoggingOut(OnceLock<(Vault, Binding, Weak<GrantCredentials>, ManualClock)>);

impl Steps for LoggingOut {
    fn reached(&self, step: Step) {
        if let (Step::Stored, Some((vault, binding, credentials, clock))) = (step, self.0.get()) {
            vault.wipe(binding).unwrap();
            clock.advance(LOOK_INTERVAL);
            let credentials = credentials.upgrade().unwrap();
            tokio::task::block_in_place(|| Handle::current().block_on(credentials.look()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w16_a_logout_between_the_store_and_the_use_of_a_renewal_shows_at_the_next_look() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let steps = Arc::new(LoggingOut::default());
    let engine = machine.place.engine(Arc::<LoggingOut>::clone(&steps));
    let process = Process::on(engine, &machine.binding);
    process.token().await.unwrap();
    let logging_out = (
        machine.vault(),
        machine.binding.clone(),
        Arc::downgrade(&process.credentials),
        machine.clock.clone(),
    );
    steps.0.set(logging_out).unwrap();
    machine.clock.advance(HOUR);
    // The token was good when it was asked for; what counts is that it is not kept.
    let _ = process.token().await;
    machine.clock.advance(LOOK_INTERVAL);
    assert_eq!(process.token().await.unwrap_err(), NEVER);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_does_not_wait_for_a_provider_that_hangs() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let engine = machine.engine();
    machine
        .provider
        .break_with(Rule::always(Fault::Hang).on(paths::REVOKE));
    let config = machine.place.config.clone();
    let binding = machine.binding.clone();
    let leaving = tokio::spawn(async move { logout(&engine, &config, &binding).await });
    wait::until_true("the revocation", || {
        !machine.provider.requests_for(paths::REVOKE).is_empty()
    })
    .await;
    assert_eq!(machine.names(), [""; 0], "the store comes first");
    machine.clock.advance(thv_auth::limits::REVOCATION_DEADLINE);
    let receipt = leaving.await.unwrap().unwrap();
    assert!(receipt.tokens.iter().all(|token| token.outcome == "queued"));
}

#[tokio::test(flavor = "multi_thread")]
async fn w10_a_renewal_that_ends_after_the_registry_was_replaced_tells_the_new_one_nothing() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let process = Arc::new(machine.process());
    let gate = Gate::new();
    machine
        .provider
        .break_with(Rule::always(Fault::HeldAfter(gate.clone())).on(paths::TOKEN));
    machine.clock.advance(HOUR);
    let asking = tokio::spawn({
        let process = Arc::clone(&process);
        async move { process.token().await }
    });
    gate.arrived(1).await;
    let other = "https://other.example/v0.1";
    machine
        .place
        .config
        .update(|config: &mut Config| -> Result<(), ConfigError> {
            config.source = RegistrySource::Api(other.to_owned());
            let oauth = config.auth.as_mut().unwrap().oauth.as_mut().unwrap();
            oauth.cached_refresh_token_ref = None;
            oauth.cached_token_expiry = None;
            Ok(())
        })
        .unwrap();
    gate.open();
    asking.await.unwrap().unwrap();
    let config = machine.place.config.load().unwrap();
    let oauth = config.auth.as_ref().unwrap().oauth.as_ref().unwrap();
    assert_eq!(oauth.cached_refresh_token_ref, None);
    let new = Binding::of(&config).unwrap();
    let reader = Process::on(machine.engine(), &new);
    assert_eq!(reader.token().await.unwrap_err(), NEVER);
    assert_eq!(
        reader.credentials.login_needed(),
        Some(LoginReason::NeverLoggedIn)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_runs_to_its_end_when_the_caller_hangs_up() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let engine = machine.engine();
    let gate = Gate::new();
    machine
        .provider
        .break_with(Rule::always(Fault::HeldBefore(gate.clone())).on(paths::REVOKE));
    let config = machine.place.config.clone();
    let binding = machine.binding.clone();
    let leaving = tokio::spawn(async move { logout(&engine, &config, &binding).await });
    gate.arrived(1).await;
    leaving.abort();
    assert!(leaving.await.unwrap_err().is_cancelled());
    gate.open();
    wait::until_true("the end of the family", || {
        machine.provider.families()[0].ended == Some(Ended::Revoked)
    })
    .await;
}

async fn log_out(machine: &Machine) -> LogoutReceipt {
    logout(&machine.engine(), &machine.place.config, &machine.binding)
        .await
        .unwrap()
}

fn outcomes(receipt: &LogoutReceipt) -> Vec<&'static str> {
    receipt.tokens.iter().map(|token| token.outcome).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_an_absent_provider_was_not_told_of_are_given_back_later() {
    let machine = Machine::new().await;
    let grant = machine.log_in().await;
    machine
        .provider
        .break_with(Rule::always(Fault::Status(503)).on(paths::REVOKE));
    let receipt = log_out(&machine).await;
    assert_eq!(outcomes(&receipt), ["queued", "queued"]);
    assert!(receipt.tokens[0].cause.is_some(), "{receipt:?}");
    assert!(machine.stored().is_none(), "nobody is logged in");
    let names = machine.names();
    assert_eq!(names.len(), 2, "{names:?}");
    machine.edit(|secrets| {
        for name in &names {
            let name = SecretName::stored(name.clone()).unwrap();
            let sealed = secrets.get(&name).unwrap().expose_secret();
            for token in [&grant.refresh_token, &grant.access_token] {
                let token = token.as_ref().unwrap().expose_secret();
                assert!(!sealed.contains(token), "a token lies open in the store");
            }
        }
    });

    // It is not tried before its time, and not forgotten by a failure.
    let asked = machine.provider.requests_for(paths::REVOKE).len();
    assert_eq!(give_back_queued(&machine.engine()).await, Ok(2));
    assert_eq!(machine.provider.requests_for(paths::REVOKE).len(), asked);
    machine.clock.advance(GIVE_BACK_FIRST);
    assert_eq!(give_back_queued(&machine.engine()).await, Ok(2));
    assert_eq!(
        machine.provider.requests_for(paths::REVOKE).len(),
        asked + 1,
        "a provider that does not answer is asked once"
    );

    machine.provider.heal();
    machine.clock.advance(GIVE_BACK_FIRST * 2);
    assert_eq!(give_back_queued(&machine.engine()).await, Ok(0));
    assert_eq!(machine.provider.families()[0].ended, Some(Ended::Revoked));
    assert_eq!(machine.names(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_refusal_to_revoke_is_not_tried_again() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let refusal = Fault::Error {
        status: 401,
        error: "invalid_client".to_owned(),
    };
    machine
        .provider
        .break_with(Rule::always(refusal).on(paths::REVOKE));
    assert_eq!(outcomes(&log_out(&machine).await), ["failed", "failed"]);
    assert_eq!(machine.names(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_token_goes_to_the_issuer_it_is_of_and_opens_in_its_own_place_only() {
    let machine = Machine::new().await;
    machine.log_in().await;
    machine
        .provider
        .break_with(Rule::always(Fault::Cut).on(paths::REVOKE));
    log_out(&machine).await;
    machine.provider.heal();
    let name = SecretName::stored(machine.names()[0].clone()).unwrap();
    let other = SecretName::stored(format!("{}0", name.as_str())).unwrap();
    machine.edit(|secrets| {
        let sealed = secrets.get(&name).unwrap().clone();
        secrets.remove(&name);
        secrets.set(&other, sealed);
    });
    machine.clock.advance(GIVE_BACK_FIRST);
    let asked = machine.provider.requests_for(paths::REVOKE).len();
    assert_eq!(give_back_queued(&machine.engine()).await, Ok(0));
    assert_eq!(
        machine.provider.requests_for(paths::REVOKE).len(),
        asked + 1,
        "the moved record is used by nobody"
    );
    assert_eq!(machine.names(), [other.as_str()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_names_the_place_that_ends_the_browsers_session_and_shows_no_token_in_it() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let receipt = log_out(&machine).await;
    assert_eq!(
        receipt.end_session_url.as_deref(),
        Some(
            format!(
                "{}?client_id={CLIENT}",
                machine.provider.at(paths::END_SESSION)
            )
            .as_str()
        )
    );
    let nobody = log_out(&machine).await;
    assert_eq!(nobody.end_session_url, None);
    assert_eq!(nobody.tokens, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_to_other_registries_that_a_logout_deletes_are_counted() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let other = Binding::new("https://other.example", &machine.provider.issuer(), CLIENT).unwrap();
    machine.place.log_in(&other, "bob").await;
    let receipt = log_out(&machine).await;
    assert_eq!((receipt.deleted, receipt.unopened), (2, 1));
    assert_eq!(receipt.tokens.len(), 2, "only what opens is given back");
}
