use super::*;
use std::path::Path;
use std::sync::Arc;

use secrecy::ExposeSecret as _;
use thv_config::{MapEnv, SystemClock};

/// The folder of a stand-in that knows one vault, and complains when it gets no token, or more of our environment than it
/// should.
const STAND_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/op");

struct Fixture {
    env: MapEnv,
}

impl Fixture {
    fn new() -> Self {
        let path = format!("relative:{STAND_IN}:/usr/bin:/bin");
        let env = MapEnv::from([("PATH", path.as_str())])
            .with_var("TOOLHIVE_SECRETS_PASSWORD", "secret of ours")
            .with_var(TOKEN_VARIABLE, "ops_canary");
        Self { env }
    }

    fn with_var(mut self, name: &str, value: &str) -> Self {
        self.env = self.env.with_var(name, value);
        self
    }

    fn store(&self) -> OnePasswordStore {
        let world = World::new(SystemClock::new(), self.env.clone());
        OnePasswordStore::new(
            world.clone(),
            Variables::new(Arc::clone(&world.env)),
            Hints::new(Path::new("/data/secrets_key")),
        )
    }

    fn get(&self, name: &str) -> Result<Option<String>, SecretsError> {
        let value = self.store().get(&SecretName::stored(name).unwrap())?;
        Ok(value.map(|value| value.expose_secret().to_owned()))
    }
}

fn cause(error: SecretsError) -> String {
    match error {
        SecretsError::OnePassword { cause, .. } => cause,
        other => panic!("{other}"),
    }
}

#[test]
fn a_reference_is_read_as_it_is_in_the_vault() {
    let fixture = Fixture::new();
    assert_eq!(
        fixture.get("op://v1/i1/password").unwrap().as_deref(),
        Some("the value\n")
    );
    assert_eq!(fixture.get("op://v1/i1/empty").unwrap(), None);
}

#[test]
fn what_is_not_there_may_be_in_the_environment() {
    let reference = "op://v1/i2/password";
    assert_eq!(Fixture::new().get(reference).unwrap(), None);
    let variable = format!("TOOLHIVE_SECRET_{reference}");
    let fixture = Fixture::new().with_var(&variable, "stand-in");
    assert_eq!(fixture.get(reference).unwrap().as_deref(), Some("stand-in"));
    let disabled = fixture.with_var("TOOLHIVE_DISABLE_ENV_FALLBACK", "true");
    assert_eq!(disabled.get(reference).unwrap(), None);
}

#[test]
fn w20_a_name_that_is_no_reference_is_told_apart_from_a_missing_secret() {
    assert_eq!(
        Fixture::new().get("API_KEY").unwrap_err().to_string(),
        "invalid secret path: API_KEY"
    );
    let fixture = Fixture::new().with_var("TOOLHIVE_SECRET_API_KEY", "given");
    assert_eq!(fixture.get("API_KEY").unwrap().as_deref(), Some("given"));
}

#[test]
fn w20_a_system_secret_is_never_looked_for_in_a_vault() {
    let name = "__thv_registry_REGISTRY_OAUTH_e037e405";
    let fixture = Fixture::new().with_var(TOKEN_VARIABLE, "");
    assert_eq!(fixture.get(name).unwrap(), None);
    let given = fixture.with_var(&format!("TOOLHIVE_SECRET_{name}"), "given");
    assert_eq!(given.get(name).unwrap().as_deref(), Some("given"));
}

#[test]
fn a_list_has_references_and_descriptions_and_no_values() {
    let listed = Fixture::new().store().list().unwrap();
    let listed: Vec<_> = listed
        .into_iter()
        .map(|secret| (secret.name.to_string(), secret.description.unwrap()))
        .collect();
    let row = |name: &str, description: &str| (name.to_owned(), description.to_owned());
    assert_eq!(
        listed,
        [
            row("op://v1/i1/password", "Work :: Key :: password"),
            row("op://v1/i1/username", "Work :: Key :: user name"),
        ]
    );
}

#[test]
fn nothing_can_be_written() {
    let store = Fixture::new().store();
    let error = store.update(&mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, SecretsError::ReadOnly { .. }), "{error}");
    store.probe().unwrap();
}

#[test]
fn each_reason_why_it_cannot_be_asked_is_said() {
    let reference = "op://v1/i1/password";
    let unset = Fixture::new().with_var(TOKEN_VARIABLE, "");
    assert_eq!(
        cause(unset.get(reference).unwrap_err()),
        "OP_SERVICE_ACCOUNT_TOKEN is not set"
    );
    let refused = Fixture::new().with_var(TOKEN_VARIABLE, "ops_other");
    assert_eq!(
        cause(refused.store().probe().unwrap_err()),
        "[ERROR] 2026/11/25 invalid token"
    );
    let absent = Fixture::new().with_var("PATH", "/nonexistent");
    assert_eq!(
        cause(absent.get(reference).unwrap_err()),
        "its program `op` is not on the PATH"
    );
    let wrong = Fixture::new().with_var(PROGRAM_VARIABLE, "/nonexistent/op");
    assert!(cause(wrong.get(reference).unwrap_err()).starts_with("its program cannot be started"));
}
