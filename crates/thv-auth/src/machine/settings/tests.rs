//! Settings as people may write them.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(value: &Value) -> Result<CredentialSettings, SettingsFault> {
    CredentialSettings::read(value.as_object().expect("an object"))
}

fn server() -> Value {
    json!({"issuer": "https://id.example"})
}

#[test]
fn whole_settings_are_read_and_written_back() {
    for (value, kind) in [
        (json!({"type": "bearer", "token": "store"}), "bearer"),
        (
            json!({"type": "bearer", "token": {"file": "/run/token"}}),
            "bearer",
        ),
        (
            json!({"type": "api_key", "header": "X-Api-Key", "key": {"secret": "acme"}}),
            "api_key",
        ),
        (
            json!({"type": "client_credentials", "server": server(), "client_id": "ci",
                "authentication": {"method": "client_secret", "secret": "store"},
                "target": {"resource": "https://registry.example", "scopes": ["read"]}}),
            "client_credentials",
        ),
        (
            json!({"type": "client_credentials", "server": server(), "client_id": "ci",
                "authentication": {"method": "private_key_jwt", "key_file": "/run/key.pem", "key_id": "k1"}}),
            "client_credentials",
        ),
        (
            json!({"type": "token_exchange", "server": {"token_endpoint": "https://sts.example/token"},
                "subject": {"file": "/var/run/token"}, "target": {"audience": "registry"}}),
            "token_exchange",
        ),
        (
            json!({"type": "jwt_bearer", "server": server(), "subject": {"github_actions": {"audience": "a"}}}),
            "jwt_bearer",
        ),
        (
            json!({"type": "command", "path": "/usr/bin/helper", "args": ["get"]}),
            "command",
        ),
    ] {
        let settings = read(&value).unwrap_or_else(|fault| panic!("{value}: {fault}"));
        assert_eq!(settings.kind().as_str(), kind);
        assert_eq!(Value::Object(settings.write().expect("written")), value);
    }
}

fn assert_refused(rows: impl IntoIterator<Item = (Value, &'static str)>) {
    for (value, part) in rows {
        match read(&value) {
            Ok(settings) => panic!("{value} was read as {settings:?}"),
            Err(fault) => {
                assert!(fault.cause.contains(part), "{value}: {fault}");
                assert!(!fault.cause.contains("s3cret"), "{value}: {fault}");
            }
        }
    }
}

#[test]
fn partial_or_impossible_settings_say_what_is_wrong() {
    assert_refused([
        (json!({}), "type"),
        (json!({"type": "oauth"}), "oauth"),
        (json!({"type": "bearer"}), "token"),
        (
            json!({"type": "bearer", "token": "s3cret"}),
            "the secret itself",
        ),
        (
            json!({"type": "bearer", "token": {"file": "token"}}),
            "absolute",
        ),
        (
            json!({"type": "bearer", "token": {"secret": "__thv_registry_x"}}),
            "reserved",
        ),
        (
            json!({"type": "bearer", "token": {"environment": ""}}),
            "empty",
        ),
        (
            json!({"type": "bearer", "token": "store", "header": "X"}),
            "header",
        ),
        (json!({"type": "api_key", "key": "store"}), "header"),
        (
            json!({"type": "api_key", "key": "store", "header": "Host"}),
            "host",
        ),
        (
            json!({"type": "api_key", "key": "store", "header": "a b"}),
            "a b",
        ),
        (json!({"type": "command"}), "path"),
        (json!({"type": "command", "path": "helper"}), "absolute"),
    ]);
}

#[test]
fn a_client_that_is_not_whole_is_refused() {
    let client = |member: &str, value: Value| {
        let mut whole = json!({"type": "client_credentials", "server": server(), "client_id": "ci",
            "authentication": {"method": "client_secret", "secret": "store"}});
        match value {
            Value::Null => drop(whole.as_object_mut().expect("an object").remove(member)),
            value => whole[member] = value,
        }
        whole
    };
    assert_refused([
        (client("client_id", Value::Null), "client_id"),
        (client("client_id", json!(" ")), "client_id"),
        (client("authentication", Value::Null), "authentication"),
        (
            client("authentication", json!({"method": "client_secret"})),
            "secret",
        ),
        (
            client(
                "authentication",
                json!({"method": "private_key_jwt", "key_file": "key.pem"}),
            ),
            "absolute",
        ),
        (client("authentication", json!("s3cret")), "invalid type"),
        (client("server", json!({})), "issuer"),
        (
            client("server", json!({"issuer": "http://id.example"})),
            "https",
        ),
        (
            client("server", json!({"token_endpoint": "http://id.example/t"})),
            "https",
        ),
        (
            client(
                "server",
                json!({"token_endpoint": "https://me:pw@id.example/t"}),
            ),
            "user name",
        ),
        (client("target", json!({"scopes": ["a b"]})), "scope"),
        (
            client("target", json!({"resource": "registry"})),
            "resource",
        ),
        (client("client_secret", json!("s3cret")), "client_secret"),
    ]);
}

#[test]
fn a_workload_that_is_not_whole_is_refused() {
    let workload = |more: Value| {
        let mut whole =
            json!({"type": "token_exchange", "server": server(), "subject": {"file": "/t"}});
        for (name, value) in more.as_object().expect("an object") {
            match value {
                Value::Null => drop(whole.as_object_mut().expect("an object").remove(name)),
                value => whole[name] = value.clone(),
            }
        }
        whole
    };
    assert_refused([
        (workload(json!({"subject": {"file": "t"}})), "absolute"),
        (workload(json!({"subject": null})), "subject"),
        (
            workload(json!({"authentication": {"method": "client_secret", "secret": "store"}})),
            "client_id",
        ),
        (
            workload(
                json!({"server": {"token_endpoint": "https://sts.example"}, "client_id": "c",
                "authentication": {"method": "private_key_jwt", "key_file": "/k"}}),
            ),
            "issuer",
        ),
    ]);
}

proptest! {
    #[test]
    fn no_settings_panic_and_what_is_read_is_written_back(
        kind in prop_oneof![Just("bearer"), Just("api_key"), Just("client_credentials"), Just("command"), Just("x")],
        member in prop_oneof![Just("token"), Just("key"), Just("header"), Just("path"), Just("server"), Just("client_id")],
        text in any::<String>(),
    ) {
        for value in [json!(text), json!({ "file": text }), json!({ "secret": text }), json!([text]), json!(1), Value::Null] {
            let whole = json!({"type": kind, "token": "store", "key": "store", "header": "x-key", "path": "/x"});
            for mut settings in [json!({ "type": kind }), whole] {
                settings[member] = value.clone();
                if let Ok(settings) = read(&settings) {
                    let written = settings.write().expect("written");
                    prop_assert_eq!(CredentialSettings::read(&written), Ok(settings));
                }
            }
        }
    }
}
