//! Logging out, and everything that could bring a login back.

use std::sync::{Arc, OnceLock, Weak};

use thv_auth::binding::Binding;
use thv_auth::credentials::{AuthError, Credentials as _, LoginReason};
use thv_auth::limits::LOOK_INTERVAL;
use thv_auth::logout::logout;
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
    assert!(receipt.tokens.iter().all(|token| token.outcome == "failed"));
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
