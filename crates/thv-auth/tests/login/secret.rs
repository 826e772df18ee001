//! Logins of clients with a secret: who is shown it, and who is not.

use thv_auth::login::{DeviceUse, LoginError, LoginHow};
use thv_auth::oauth::ClientAuthentication;
use thv_testkit::provider::{CLIENT, Client, Provider, paths};

use crate::support::Machine;

const SECRET: &str = "a-secret-of-the-client";

/// A machine whose client has a secret at its provider.
async fn machine() -> Machine {
    let machine = Machine::new().await;
    let client = Client::public(CLIENT, &["http://localhost/callback"]);
    machine.provider.register(client.basic(SECRET));
    machine
        .provider
        .behave(|provider| provider.offers_device = true);
    machine
}

/// A login whose secret was issued by `host`.
fn how(host: Option<String>) -> LoginHow {
    LoginHow {
        callback_port: Some(0),
        authentication: ClientAuthentication::SecretBasic(SECRET.to_owned().into()),
        secret_host: host,
        ..LoginHow::default()
    }
}

/// The provider's host with its port.
fn host_of(provider: &Provider) -> String {
    let issuer = provider.issuer();
    issuer.trim_start_matches("http://").to_owned()
}

#[tokio::test]
async fn a_secret_goes_to_no_other_token_host_than_the_one_that_issued_it() {
    let machine = machine().await;
    for host in [None, Some("other.example:443".to_owned())] {
        let error = machine.refused(how(host)).await;
        let LoginError::Settings { cause } = &error else {
            panic!("{error:?}");
        };
        assert!(cause.contains(&host_of(&machine.provider)), "{cause}");
        assert!(
            cause.contains("thv registry login --register") && !cause.contains(SECRET),
            "{cause}"
        );
    }
    assert_eq!(machine.codes_redeemed(), 0);
    let running = machine
        .start_as(how(Some(host_of(&machine.provider))))
        .await;
    running.browse().await;
    running.done().await;
    let [request] = &machine.provider.requests_for(paths::TOKEN)[..] else {
        panic!("one code");
    };
    let proof = request.header("authorization").unwrap_or_default();
    assert!(proof.starts_with("Basic "), "{request:?}");
}

#[tokio::test]
async fn a_client_proves_itself_for_a_device_code_at_the_token_endpoints_origin_and_nowhere_else() {
    let machine = machine().await;
    let how = LoginHow {
        device: DeviceUse::Only,
        ..how(Some(host_of(&machine.provider)))
    };
    let started = machine.logins.start(&machine.binding, &how).await.unwrap();
    machine.logins.withdraw(started.view.id.as_str()).await;
    let [request] = &machine.provider.requests_for(paths::DEVICE_AUTHORIZATION)[..] else {
        panic!("one code");
    };
    let proof = request.header("authorization").unwrap_or_default();
    assert!(proof.starts_with("Basic "), "{request:?}");

    let elsewhere = Provider::start().await;
    elsewhere.behave(|provider| provider.offers_device = true);
    let endpoint = elsewhere.at(paths::DEVICE_AUTHORIZATION);
    machine
        .provider
        .behave(|provider| provider.advertise("device_authorization_endpoint", endpoint));
    let started = machine.logins.start(&machine.binding, &how).await.unwrap();
    machine.logins.withdraw(started.view.id.as_str()).await;
    let [request] = &elsewhere.requests_for(paths::DEVICE_AUTHORIZATION)[..] else {
        panic!("one code");
    };
    assert_eq!(request.header("authorization"), None);
    assert_eq!(request.field("client_id").as_deref(), Some(CLIENT));
    assert!(!String::from_utf8_lossy(&request.body).contains(SECRET));
}
