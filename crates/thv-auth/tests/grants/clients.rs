//! Clients that this program has registered: kept sealed, replaced by whoever saw the last one, and left by logouts.

use secrecy::ExposeSecret as _;
use thv_auth::grant::RecordError;
use thv_auth::oauth::ClientAuthentication;
use thv_auth::oauth::registration::Registration;
use thv_auth::vault::{KeptClients, Vault, VaultError};
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

/// Keeps a client as somebody does who has just looked.
fn keep(vault: &Vault, client: &Registration) {
    let seen = vault.registrations(ISSUER, &client.redirect_uris);
    let seen = seen.unwrap();
    vault.keep_registration(&seen, client).unwrap();
}

fn kept(vault: &Vault, redirect_uri: &str) -> KeptClients {
    let uris = [redirect_uri.to_owned()];
    vault.registrations(ISSUER, &uris).unwrap()
}

fn id(found: Option<Registration>) -> Option<String> {
    found.map(|client| client.client_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_found_by_its_redirect_uris_and_by_its_name() {
    let machine = Machine::new().await;
    let vault = machine.vault();
    let (one, other) = ("http://127.0.0.1:1/a", "http://127.0.0.1:2/a");
    keep(&vault, &client("c1", one));
    keep(&vault, &client("c2", other));
    let kept = self::kept(&vault, one).current.unwrap();
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
    let nowhere = vault.registrations("https://other.example", &[one.to_owned()]);
    assert_eq!(id(nowhere.unwrap().current), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_registers_meanwhile_is_not_overwritten() {
    let machine = Machine::new().await;
    let vault = machine.vault();
    let uri = "http://127.0.0.1:1/a";
    keep(&vault, &client("c1", uri));
    for seen in [
        KeptClients::default(),
        KeptClients {
            current: Some(client("c0", uri)),
            next: None,
        },
    ] {
        let outcome = vault.keep_registration(&seen, &client("c2", uri));
        assert_eq!(outcome, Err(VaultError::Moved), "{seen:?}");
    }
    let seen = kept(&vault, uri);
    vault.keep_registration(&seen, &client("c2", uri)).unwrap();
    let outcome = vault.keep_registration(&seen, &client("c3", uri));
    assert_eq!(outcome, Err(VaultError::Moved), "c2 was not seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_takes_the_place_of_another_when_somebody_has_logged_in_as_it() {
    let machine = Machine::new().await;
    let vault = machine.vault();
    let uri = "http://127.0.0.1:1/a";
    let known = |name: &str| id(vault.registration_of(ISSUER, name).unwrap()).is_some();
    keep(&vault, &client("c1", uri));
    keep(&vault, &client("c2", uri));
    let now = kept(&vault, uri);
    assert_eq!(id(now.current).as_deref(), Some("c1"));
    assert_eq!(id(now.next).as_deref(), Some("c2"));
    assert!(known("c1") && known("c2"));
    // One that came to nothing is not kept for ever.
    keep(&vault, &client("c3", uri));
    assert!(known("c1") && !known("c2") && known("c3"));
    vault.settle_registration(&client("c3", uri)).unwrap();
    let now = kept(&vault, uri);
    assert_eq!(id(now.current).as_deref(), Some("c3"));
    assert_eq!(id(now.next), None);
    assert!(!known("c1") && known("c3"));
    // Whoever logs in after all, as a client that another has replaced meanwhile, still has it.
    vault.settle_registration(&client("c2", uri)).unwrap();
    assert!(known("c2") && !known("c3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn f89_a_client_of_a_newer_version_is_refused_and_stays_as_it_is() {
    let machine = Machine::new().await;
    let vault = machine.vault();
    let uri = "http://127.0.0.1:1/a";
    let uris = [uri.to_owned()];
    keep(&vault, &client("c1", uri));
    let seen = kept(&vault, uri);
    let newer = machine.make_clients_newer();
    let refused = VaultError::Record(RecordError::Newer { found: 2 });
    let found = vault
        .registrations(ISSUER, &uris)
        .map(|kept| id(kept.current));
    assert_eq!(found, Err(refused.clone()));
    let found = vault.registration_of(ISSUER, "c1").map(id);
    assert_eq!(found, Err(refused.clone()));
    for seen in [&seen, &KeptClients::default()] {
        let kept = vault.keep_registration(seen, &client("c2", uri));
        assert_eq!(kept, Err(refused.clone()));
    }
    let settled = vault.settle_registration(&client("c1", uri));
    assert_eq!(settled, Err(refused));
    machine.edit(|secrets| {
        for (name, sealed) in &newer {
            let now = secrets.get(name).unwrap();
            assert_eq!(now.expose_secret(), sealed);
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_leaves_the_client_and_takes_the_grant() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let vault = machine.vault();
    let uri = "http://127.0.0.1:1/a";
    keep(&vault, &client("c1", uri));
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
    keep(&vault, &client("c1", one));
    keep(&vault, &client("c2", other));
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
    assert_eq!(id(kept(&vault, one).current), None);
    // What does not open is replaced by a new registration.
    keep(&vault, &client("c3", one));
    assert_eq!(id(kept(&vault, one).current).as_deref(), Some("c3"));
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
