//! Clients that this program has registered: kept sealed, replaced by whoever saw the last one, and left by logouts.

use secrecy::ExposeSecret as _;
use thv_auth::oauth::ClientAuthentication;
use thv_auth::oauth::registration::Registration;
use thv_auth::vault::VaultError;
use thv_secrets::SecretName;

use crate::support::Machine;

const ISSUER: &str = "https://id.example";

fn client(client_id: &str, redirect_uri: &str) -> Registration {
    Registration {
        issuer: ISSUER.to_owned(),
        redirect_uris: vec![redirect_uri.to_owned()],
        client_id: client_id.to_owned(),
        authentication: ClientAuthentication::SecretBasic("s3cret-of-client".to_owned().into()),
        secret_expires_at: Some("2030-01-01T00:00:00Z".parse().unwrap()),
        token_host: "id.example:443".to_owned(),
    }
}

fn id(found: Option<Registration>) -> Option<String> {
    found.map(|client| client.client_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_found_by_its_redirect_uris_and_by_its_name() {
    let machine = Machine::new().await;
    let vault = machine.vault();
    let (one, other) = ("http://127.0.0.1:1/a", "http://127.0.0.1:2/a");
    vault.keep_registration(None, &client("c1", one)).unwrap();
    vault.keep_registration(None, &client("c2", other)).unwrap();
    let kept = vault.registration(ISSUER, &[one.to_owned()]).unwrap();
    let kept = kept.unwrap();
    assert_eq!(kept.client_id, "c1");
    assert_eq!(kept.secret_expires_at, client("", "").secret_expires_at);
    assert_eq!(kept.token_host, "id.example:443");
    let ClientAuthentication::SecretBasic(secret) = &kept.authentication else {
        panic!("{kept:?}");
    };
    assert_eq!(secret.expose_secret(), "s3cret-of-client");
    assert_eq!(
        id(vault.registration_of(ISSUER, "c2").unwrap()).as_deref(),
        Some("c2")
    );
    for (issuer, name) in [(ISSUER, "c3"), ("https://other.example", "c1")] {
        assert_eq!(id(vault.registration_of(issuer, name).unwrap()), None);
    }
    let nowhere = vault.registration("https://other.example", &[one.to_owned()]);
    assert_eq!(id(nowhere.unwrap()), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_registers_meanwhile_is_not_overwritten() {
    let machine = Machine::new().await;
    let vault = machine.vault();
    let uri = "http://127.0.0.1:1/a";
    vault.keep_registration(None, &client("c1", uri)).unwrap();
    for expected in [None, Some("c0")] {
        let outcome = vault.keep_registration(expected, &client("c2", uri));
        assert_eq!(outcome, Err(VaultError::Moved), "{expected:?}");
    }
    vault
        .keep_registration(Some("c1"), &client("c2", uri))
        .unwrap();
    assert_eq!(id(vault.registration_of(ISSUER, "c1").unwrap()), None);
    let now = vault.registration(ISSUER, &[uri.to_owned()]).unwrap();
    assert_eq!(id(now).as_deref(), Some("c2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_leaves_the_client_and_takes_the_grant() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let vault = machine.vault();
    let uri = "http://127.0.0.1:1/a";
    vault.keep_registration(None, &client("c1", uri)).unwrap();
    vault.wipe(&machine.binding).unwrap();
    assert!(machine.stored().is_none());
    assert_eq!(
        id(vault.registration_of(ISSUER, "c1").unwrap()).as_deref(),
        Some("c1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_under_another_name_does_not_open() {
    let machine = Machine::new().await;
    let vault = machine.vault();
    let (one, other) = ("http://127.0.0.1:1/a", "http://127.0.0.1:2/a");
    vault.keep_registration(None, &client("c1", one)).unwrap();
    vault.keep_registration(None, &client("c2", other)).unwrap();
    machine.edit(|secrets| {
        let records: Vec<SecretName> = secrets
            .names()
            .filter(|name| name.contains("REGISTRY_CLIENT_") && !name.contains("_ID_"))
            .map(|name| SecretName::stored(name).unwrap())
            .collect();
        let [first, second] = records.as_slice() else {
            panic!("{records:?}");
        };
        let (a, b) = (
            secrets.get(first).unwrap().clone(),
            secrets.get(second).unwrap().clone(),
        );
        assert!(!a.expose_secret().contains("s3cret"), "not sealed");
        secrets.set(first, b);
        secrets.set(second, a);
    });
    for name in ["c1", "c2"] {
        assert_eq!(id(vault.registration_of(ISSUER, name).unwrap()), None);
    }
    let swapped = vault.registration(ISSUER, &[one.to_owned()]);
    assert!(matches!(swapped, Err(VaultError::Record(_))), "{swapped:?}");
    // What does not open is replaced by a new registration.
    vault.keep_registration(None, &client("c3", one)).unwrap();
    let now = vault.registration(ISSUER, &[one.to_owned()]).unwrap();
    assert_eq!(id(now).as_deref(), Some("c3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_that_were_asked_for_are_noted_once_and_go_with_the_logout() {
    let machine = Machine::new().await;
    let vault = machine.vault();
    let binding = &machine.binding;
    let scopes = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
    assert!(vault.want_scopes(binding, &scopes("openid a b")).unwrap());
    assert!(!vault.want_scopes(binding, &scopes("b a")).unwrap());
    assert!(vault.want_scopes(binding, &scopes("c")).unwrap());
    assert_eq!(vault.wanted_scopes(binding).unwrap(), ["a", "b", "c"]);
    vault.wipe(binding).unwrap();
    assert!(vault.wanted_scopes(binding).unwrap().is_empty());
}
