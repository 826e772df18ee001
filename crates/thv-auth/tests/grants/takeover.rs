//! Logins of the Go program, in the store and in the environment.

use thv_auth::credentials::{AuthError, AuthStatus, Credentials as _, LoginReason};
use thv_auth::grant::GrantOrigin;
use thv_auth::limits::LOOK_INTERVAL;
use thv_auth::logout::logout;
use thv_auth::status::{AuthReport, AuthState};
use thv_secrets::SecretName;

use crate::support::{HOUR, Machine, secret, shown};

#[tokio::test(flavor = "multi_thread")]
async fn f13_a_login_of_the_go_program_is_taken_over_under_its_scoped_or_its_bare_name() {
    for bare in [false, true] {
        let machine = Machine::new().await;
        let given = machine.place.authorise(&machine.binding, "alice").await;
        let name = machine.binding.go_name();
        machine.edit(|secrets| {
            let names = if bare {
                [&name, &format!("{name}_AT")].map(|name| SecretName::stored(name.clone()).unwrap())
            } else {
                [&name, &format!("{name}_AT")].map(|name| SecretName::registry(name))
            };
            secrets.set(&names[0], given.refresh_token.clone().unwrap());
            secrets.set(&names[1], secret(""));
        });
        let process = machine.process();
        process.token().await.unwrap();
        assert_eq!(
            machine.names(),
            [format!("__thv_registry_{}", machine.binding.key())]
        );
        let grant = machine.stored().unwrap();
        assert_eq!(grant.origin, GrantOrigin::TakenOver);
        assert_ne!(
            shown(grant.refresh_token.as_ref()),
            shown(given.refresh_token.as_ref())
        );
        assert_eq!(machine.refreshes(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_login_of_the_go_program_counts_and_one_of_ours_replaces_it() {
    let machine = Machine::new().await;
    let ours = machine.log_in().await;
    let process = machine.process();
    assert_eq!(process.token().await.ok(), ours.access_fingerprint());

    let theirs = machine.place.authorise(&machine.binding, "alice").await;
    let name = SecretName::registry(&machine.binding.go_name());
    machine.edit(|secrets| secrets.set(&name, theirs.refresh_token.clone().unwrap()));
    machine.clock.advance(LOOK_INTERVAL);
    process.token().await.unwrap();
    assert_eq!(machine.provider.families()[1].refreshes, 1);

    machine.edit(|secrets| secrets.set(&name, secret("stale")));
    let newest = machine.log_in().await;
    machine.clock.advance(LOOK_INTERVAL);
    assert_eq!(process.token().await.ok(), newest.access_fingerprint());
}

#[tokio::test(flavor = "multi_thread")]
async fn w10_a_reference_to_another_registry_is_not_followed() {
    let machine = Machine::new().await;
    machine.edit(|secrets| {
        secrets.set(
            &SecretName::registry("REGISTRY_OAUTH_00000000"),
            secret("of another registry"),
        );
    });
    let process = machine.process();
    assert_eq!(
        process.token().await.unwrap_err(),
        AuthError::LoginRequired {
            reason: LoginReason::NeverLoggedIn
        }
    );
    assert!(machine.provider.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn d9_tokens_in_the_environment_are_read_only_inputs() {
    let first = Machine::new().await;
    let given = first.place.authorise(&first.binding, "alice").await;
    let refresh = shown(given.refresh_token.as_ref());
    let variable = format!("TOOLHIVE_SECRET___thv_registry_{}", first.binding.go_name());
    let place = crate::support::Place::at(
        &first.home.path().join("container"),
        std::sync::Arc::clone(&first.place.world.clock),
        &[
            ("TOOLHIVE_SECRETS_PROVIDER", "environment"),
            (&variable, &refresh),
        ],
    );
    let engine = place.engine(std::sync::Arc::new(thv_auth::refresh::Unwatched));
    let process = crate::support::Process::on(engine, &first.binding);
    for renewals in 1..=3 {
        process.token().await.unwrap();
        assert_eq!(first.refreshes(), renewals, "rotated tokens stay in memory");
        first.clock.advance(HOUR);
    }
    assert!(!place.paths.secrets_file().exists());
    assert!(!thv_auth::refresh::RefreshEngine::lock_dir(&place.paths).exists());
    assert_eq!(process.credentials.status(), AuthStatus::Authenticated);
    let report = AuthReport::of(&process.engine, &first.binding).await;
    assert_eq!(report.state, AuthState::Authenticated);
    assert_eq!(report.source, Some(GrantOrigin::Environment));

    let receipt = logout(&process.engine, &place.config, &first.binding)
        .await
        .unwrap();
    assert!(receipt.read_only_store);
    assert_eq!(receipt.deleted, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_token_in_the_environment_is_tried_once() {
    let first = Machine::new().await;
    let variable = format!("TOOLHIVE_SECRET___thv_registry_{}", first.binding.go_name());
    let machine = Machine::with(&[
        ("TOOLHIVE_SECRETS_PASSWORD", "correct horse"),
        (&variable, "no such token"),
    ])
    .await;
    let mut binding = machine.binding.clone();
    binding.issuer = first.provider.issuer();
    let process = crate::support::Process::on(machine.engine(), &binding);
    for _ in 0..20 {
        assert_eq!(
            process.token().await.unwrap_err(),
            AuthError::LoginRequired {
                reason: LoginReason::GrantRevoked
            }
        );
        machine.clock.advance(LOOK_INTERVAL);
    }
    assert_eq!(first.refreshes(), 1);
}
