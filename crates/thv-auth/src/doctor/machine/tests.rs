//! The judgements as tables: what was seen, and what is said about it.

use std::io;
use std::path::PathBuf;

use thv_config::holder::Process;
use thv_config::{OAuthSettings, RegistryAuth, SecretsSettings};
use thv_http::HttpError;
use thv_secrets::StoreReport;

use super::super::check::Outcome;
use super::*;

fn with_login(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config {
        source: RegistrySource::Api("https://user:pw@registry.example/".to_owned()),
        auth: Some(RegistryAuth {
            kind: "oauth".to_owned(),
            oauth: Some(OAuthSettings {
                issuer: "https://id.example".to_owned(),
                client_id: "thv".to_owned(),
                ..OAuthSettings::default()
            }),
        }),
        ..Config::default()
    };
    change(&mut config);
    config
}

fn oauth(config: &mut Config) -> &mut OAuthSettings {
    config
        .auth
        .as_mut()
        .and_then(|auth| auth.oauth.as_mut())
        .expect("settings")
}

#[test]
fn values_that_make_no_sense_are_named_with_what_to_type() {
    type Change = fn(&mut Config);
    let table: [(Change, Outcome, &str); 8] = [
        (|_| {}, Outcome::Ok, "https://id.example as client thv"),
        (
            |config| *config = Config::default(),
            Outcome::Ok,
            "the built-in registry",
        ),
        (
            |config| {
                config.secrets = SecretsSettings {
                    provider_type: "vault".to_owned(),
                    setup_completed: true,
                }
            },
            Outcome::Failed,
            "`vault`",
        ),
        (
            |config| {
                if let Some(auth) = &mut config.auth {
                    auth.kind = "kerberos".to_owned();
                }
            },
            Outcome::Warning,
            "`kerberos`",
        ),
        (
            |config| config.source = RegistrySource::Api("registry.example".to_owned()),
            Outcome::Failed,
            "cannot be used",
        ),
        (
            |config| config.source = RegistrySource::File("/x.json".into()),
            Outcome::Warning,
            "takes none",
        ),
        (
            |config| oauth(config).client_id.clear(),
            Outcome::Failed,
            "client_id",
        ),
        (
            |config| oauth(config).audience = Some("registry".to_owned()),
            Outcome::Warning,
            "RFC 8707",
        ),
    ];
    for (change, outcome, words) in table {
        let check = config_values(&with_login(change));
        assert_eq!(check.outcome, outcome, "{check:?}");
        assert!(check.evidence.contains(words), "{check:?}");
        assert!(!check.evidence.contains("pw"), "{check:?}");
        let has_fix = matches!(outcome, Outcome::Warning | Outcome::Failed);
        assert_eq!(check.fix.is_some(), has_fix, "{check:?}");
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_named_with_its_file() {
    let path = Path::new("/home/ann/config.yaml");
    assert_eq!(
        config_file(path, true, &Ok(Config::default())).outcome,
        Outcome::Ok
    );
    let missing = config_file(path, false, &Ok(Config::default()));
    assert!(missing.evidence.contains("defaults"), "{missing:?}");
    let broken = ConfigError::Malformed {
        path: path.to_owned(),
        cause: "a tab in line 3".to_owned(),
    };
    let check = config_file(path, true, &Err(broken));
    assert_eq!(check.outcome, Outcome::Failed);
    assert!(check.evidence.contains("line 3"), "{check:?}");
}

#[test]
fn a_store_is_judged_by_what_it_gives_back() {
    let examined = |round_trip| {
        Ok(Examination {
            report: StoreReport {
                kind: StoreKind::Encrypted,
                why: None,
                file: Some(PathBuf::from("/s/secrets_encrypted")),
                key: None,
                content: None,
            },
            key: Some("the key file /s/secrets_key".to_owned()),
            round_trip,
        })
    };
    let refused = SecretsError::NoRandomness {
        cause: "none".to_owned(),
    };
    for (round_trip, outcome) in [
        (RoundTrip::Done, Outcome::Ok),
        (RoundTrip::NothingYet, Outcome::Skipped),
        (RoundTrip::ReadOnly, Outcome::Warning),
        (RoundTrip::Failed(refused.clone()), Outcome::Failed),
    ] {
        let checks = store(&examined(round_trip));
        assert_eq!(checks[0].outcome, Outcome::Ok, "{checks:?}");
        assert!(checks[0].evidence.contains("secrets_key"), "{checks:?}");
        assert_eq!(checks[1].outcome, outcome, "{checks:?}");
    }
    let untouched = SecretsError::NotSetUp {
        hint: String::new(),
    };
    let checks = store(&Err(untouched));
    assert!(
        checks.iter().all(|check| check.outcome == Outcome::Skipped),
        "{checks:?}"
    );
    let checks = store(&Err(refused));
    assert_eq!(checks[0].outcome, Outcome::Failed);
    assert_eq!(checks[1].outcome, Outcome::Skipped);
}

#[test]
fn a_secrets_file_that_others_can_read_is_a_warning() {
    let file = Path::new("/s/secrets_encrypted");
    assert_eq!(store_mode(file, None), None);
    assert_eq!(
        store_mode(file, Some(0o100_600)).map(|check| check.outcome),
        Some(Outcome::Ok)
    );
    let loose = store_mode(file, Some(0o100_644)).expect("a check");
    assert_eq!(loose.outcome, Outcome::Warning);
    assert_eq!(loose.fix.as_deref(), Some("chmod 600 /s/secrets_encrypted"));
}

#[test]
fn files_that_are_trusted_are_named_and_bad_ones_refused() {
    let good = Trust {
        files: vec![PathBuf::from("/etc/corp.pem")],
        usable: Ok(()),
    };
    assert!(trust(&good).evidence.ends_with("/etc/corp.pem"));
    let bad = Trust {
        usable: Err(HttpError::Trust {
            path: "/etc/corp.pem".into(),
            cause: "it holds no certificate".to_owned(),
        }),
        ..good
    };
    assert_eq!(trust(&bad).outcome, Outcome::Failed);
}

#[test]
fn a_port_that_is_held_says_by_whom_and_what_to_do() {
    let holder = Process {
        pid: 4711,
        name: Some("python3".to_owned()),
    };
    let busy = |is_login, process: Option<&Process>| {
        PortSight::Busy(Holder {
            is_login,
            process: process.cloned(),
        })
    };
    let table = [
        (PortSight::Free, false, Outcome::Ok, "is free"),
        (
            busy(true, Some(&holder)),
            false,
            Outcome::Warning,
            "python3 (PID 4711)",
        ),
        (busy(true, None), false, Outcome::Warning, "another thv"),
        (
            busy(true, Some(&holder)),
            true,
            Outcome::Ok,
            "in this process",
        ),
        (
            busy(false, None),
            false,
            Outcome::Warning,
            "another program",
        ),
        (
            PortSight::Refused {
                cause: "permission denied".to_owned(),
            },
            false,
            Outcome::Failed,
            "permission denied",
        ),
    ];
    for (sight, ours, outcome, words) in table {
        let check = callback_port(8666, &sight, ours);
        assert_eq!(check.outcome, outcome, "{check:?}");
        assert!(check.evidence.contains(words), "{check:?}");
    }
}

#[test]
fn a_lock_counts_as_held_when_the_same_process_holds_it_both_times() {
    let held = |pid| Ok(Hold::Held(Some(Process { pid, name: None })));
    let broken = || Err(io::Error::other("no permission"));
    let path = Path::new("/s/a.lock");
    for (first, second, outcome) in [
        (Ok(Hold::Free), Ok(Hold::Free), Outcome::Ok),
        (held(1), Ok(Hold::Free), Outcome::Ok),
        (held(1), held(2), Outcome::Ok),
        (held(1), held(1), Outcome::Warning),
        (Ok(Hold::Held(None)), Ok(Hold::Held(None)), Outcome::Warning),
        (broken(), Ok(Hold::Free), Outcome::Failed),
    ] {
        let check = lock("lock.config", path, &first, &second);
        assert_eq!(check.outcome, outcome, "{check:?}");
    }
}
