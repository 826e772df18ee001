use super::*;
use crate::keyring::KeyringError;
use crate::keyring::fake::FakeKeyring;
use crate::scope::SecretName;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use thv_config::disk::write_atomic;
use thv_config::{ManualClock, MapEnv, SecretsSettings, SystemClock};

/// A user's home. Each call of [`Home::secrets`] is like another process.
struct Home {
    directory: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
    keyrings: Vec<Arc<FakeKeyring>>,
    /// Threads that wait for each other's locks need time that passes by itself.
    has_real_clock: bool,
}

impl Home {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
            keyrings: Vec::new(),
            has_real_clock: false,
        }
    }

    fn with_var(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    fn with_keyring(mut self, keyring: FakeKeyring) -> Self {
        self.keyrings.push(Arc::new(keyring));
        self
    }

    fn configured(self, provider: &str) -> Self {
        let provider_type = provider.to_owned();
        self.config()
            .update(|config| {
                config.secrets = SecretsSettings {
                    provider_type,
                    setup_completed: true,
                };
                Ok::<_, SecretsError>(())
            })
            .unwrap();
        self
    }

    /// The file as somebody left it who knew the password.
    fn holding(self, password: &str) -> Self {
        let file = seal_file(password, br#"{"secrets":{"a":"b"}}"#);
        write_atomic(&self.paths().secrets_file(), &file).unwrap();
        self
    }

    fn world(&self) -> World {
        let env = self.variables.iter().fold(
            MapEnv::new().with_home(self.directory.path()),
            |env, (name, value)| env.with_var(*name, value.clone()),
        );
        if self.has_real_clock {
            World::new(SystemClock::new(), env)
        } else {
            World::new(ManualClock::new(Timestamp::UNIX_EPOCH), env)
        }
    }

    fn paths(&self) -> Paths {
        Paths::from_env(self.world().env.as_ref()).unwrap()
    }

    fn key_file(&self) -> PathBuf {
        self.paths().secrets_file().with_file_name("secrets_key")
    }

    fn config(&self) -> ConfigStore {
        ConfigStore::new(self.paths().config_file(), self.world())
    }

    fn settings(&self) -> (String, bool) {
        let secrets = self.config().load().unwrap().secrets;
        (secrets.provider_type, secrets.setup_completed)
    }

    fn secrets(&self) -> Secrets {
        let keyrings = self
            .keyrings
            .iter()
            .map(|keyring| Arc::clone(keyring) as Arc<dyn Keyring>)
            .collect();
        Secrets::with_keyrings(self.world(), &self.paths(), self.config(), keyrings)
    }

    fn bytes(&self) -> Option<Vec<u8>> {
        std::fs::read(self.paths().secrets_file()).ok()
    }
}

fn seal_file(password: &str, plaintext: &[u8]) -> Vec<u8> {
    let key = FileKey::from_password(password, String::new(), true);
    crate::seal::encrypt(key.bytes(), plaintext, b"").unwrap()
}

fn read_a(store: &Arc<dyn SecretStore>) -> Option<String> {
    let name = SecretName::user("a").unwrap();
    let value = store.get(&name).unwrap();
    value.map(|value| value.expose_secret().to_owned())
}

fn open_error(secrets: &Secrets) -> SecretsError {
    secrets.open(Patience::Request).unwrap_err()
}

const SET_UP: (&str, bool) = ("encrypted", true);

fn is_set_up(home: &Home) -> bool {
    let (provider, completed) = home.settings();
    (provider.as_str(), completed) == SET_UP
}

// === Nothing set up

#[test]
fn w20_a_headless_machine_is_told_what_to_type_and_nothing_is_written() {
    let home = Home::new().with_keyring(FakeKeyring::volatile());
    let errors = [
        open_error(&home.secrets()),
        home.secrets().open_for_login().unwrap_err(),
        home.secrets().describe().unwrap_err(),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(matches!(error, SecretsError::NotSetUp { .. }), "{text}");
        assert!(error.needs_a_person());
        for needed in [
            "TOOLHIVE_SECRETS_PASSWORD",
            "thv registry login",
            home.key_file().to_str().unwrap(),
        ] {
            assert!(text.contains(needed), "{text}");
        }
    }
    assert_eq!(home.bytes(), None);
    assert!(!is_set_up(&home));
}

#[test]
fn w20_a_password_variable_is_enough_for_a_login() {
    let home = Home::new().with_var("TOOLHIVE_SECRETS_PASSWORD", "from the unit file");
    open_error(&home.secrets());
    home.secrets().open_for_login().unwrap();
    assert!(is_set_up(&home));
    assert!(home.bytes().is_some());
    home.secrets().open(Patience::Request).unwrap();
}

#[cfg(unix)]
#[test]
fn the_key_file_that_the_hint_makes_is_enough_for_a_login() {
    let home = Home::new();
    let SecretsError::NotSetUp { hint } = open_error(&home.secrets()) else {
        panic!("set up by itself");
    };
    let command = hint
        .split_once("typing: ")
        .unwrap()
        .1
        .split_once(", or")
        .unwrap()
        .0;
    let status = std::process::Command::new("sh")
        .args(["-c", command])
        .status()
        .unwrap();
    assert!(status.success());
    home.secrets().open_for_login().unwrap();
    assert!(is_set_up(&home));
    assert_eq!(
        home.secrets().describe().unwrap(),
        StoreReport {
            kind: StoreKind::Encrypted,
            file: Some(home.paths().secrets_file()),
            key: Some(KeySource::KeyFile(home.key_file())),
        }
    );
}

#[test]
fn a_login_makes_up_a_password_and_gives_it_to_the_keyring() {
    let home = Home::new()
        .with_keyring(FakeKeyring::durable())
        .with_keyring(FakeKeyring::volatile());
    home.secrets().open_for_login().unwrap();
    assert!(is_set_up(&home));
    let password = home.keyrings[0].held().unwrap();
    assert_eq!(password.len(), 44);
    assert_eq!(home.keyrings[1].held(), None);
    // A second login, in another process, finds it.
    home.secrets().open_for_login().unwrap();
    assert_eq!(home.keyrings[0].held().unwrap(), password);
    home.secrets().open(Patience::Request).unwrap();
}

#[test]
fn two_logins_at_once_agree_on_one_password() {
    let home = Home {
        has_real_clock: true,
        ..Home::new().with_keyring(FakeKeyring::durable())
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| home.secrets().open_for_login().unwrap());
        }
    });
    let store = home.secrets().open(Patience::Request).unwrap();
    store.probe().unwrap();
}

#[test]
fn a_kernel_key_is_never_made_the_only_copy() {
    let home = Home::new().with_keyring(FakeKeyring::volatile().holding("gone tomorrow"));
    let error = home.secrets().open_for_login().unwrap_err();
    assert!(matches!(error, SecretsError::NotSetUp { .. }), "{error}");
    assert_eq!(home.bytes(), None);

    let desktop = Home::new()
        .with_keyring(FakeKeyring::durable())
        .with_keyring(FakeKeyring::volatile().holding("gone tomorrow"));
    desktop.secrets().open_for_login().unwrap();
    assert_eq!(desktop.keyrings[0].held().unwrap().len(), 44);
}

#[test]
fn a_locked_keyring_is_named_and_not_gone_around() {
    let home = Home::new()
        .with_keyring(FakeKeyring::durable().refusing(KeyringError::Locked))
        .with_keyring(FakeKeyring::volatile());
    let error = home.secrets().open_for_login().unwrap_err().to_string();
    assert!(
        error.starts_with("no secret store is set up; unlock the keyring, or "),
        "{error}"
    );
    assert_eq!(home.bytes(), None);
}

// === Set up by the Go program

#[test]
fn a_file_of_the_go_program_opens_with_its_keyring_entry() {
    for keyring in [FakeKeyring::durable(), FakeKeyring::volatile()] {
        let home = Home::new()
            .configured("encrypted")
            .holding("go's")
            .with_keyring(keyring.holding("go's"));
        let store = home.secrets().open(Patience::Request).unwrap();
        assert_eq!(read_a(&store).as_deref(), Some("b"));
        home.secrets().open_for_login().unwrap();
    }
}

#[test]
fn w43_a_keyring_is_asked_once_per_process_and_never_probed() {
    let home = Home::new()
        .configured("encrypted")
        .holding("go's")
        .with_keyring(FakeKeyring::durable().holding("go's"));
    let secrets = home.secrets();
    for _ in 0..10 {
        let store = secrets.open(Patience::Request).unwrap();
        assert_eq!(read_a(&store).as_deref(), Some("b"));
        secrets.describe().unwrap();
    }
    assert_eq!(home.keyrings[0].lookups(), 1);
    assert_eq!(home.keyrings[0].held().as_deref(), Some("go's"));
}

#[test]
fn a_key_that_no_longer_opens_the_file_is_asked_for_again() {
    let home = Home::new()
        .configured("encrypted")
        .holding("old")
        .with_keyring(FakeKeyring::durable().holding("old"));
    let secrets = home.secrets();
    let store = secrets.open(Patience::Request).unwrap();
    assert_eq!(read_a(&store).as_deref(), Some("b"));

    home.keyrings[0].put("new");
    let file = seal_file("new", br#"{"secrets":{"a":"c"}}"#);
    write_atomic(&home.paths().secrets_file(), &file).unwrap();
    assert_eq!(read_a(&store).as_deref(), Some("c"));
    store.probe().unwrap();
    let again = secrets.open(Patience::Request).unwrap();
    assert_eq!(read_a(&again).as_deref(), Some("c"));
    assert_eq!(home.keyrings[0].lookups(), 2);
}

#[test]
fn case_78_a_reset_keyring_is_a_clear_error_and_the_file_stays() {
    let home = Home::new()
        .configured("encrypted")
        .holding("old")
        .with_keyring(FakeKeyring::durable().holding("other"));
    let before = home.bytes();
    let secrets = home.secrets();
    let store = secrets.open(Patience::Request).unwrap();
    let errors = [
        store.probe().unwrap_err(),
        secrets.open_for_login().unwrap_err(),
    ];
    for error in errors {
        let expected = SecretsError::WrongPassword {
            file: home.paths().secrets_file(),
            origin: "the OS keyring".to_owned(),
        };
        assert_eq!(error, expected);
    }
    assert_eq!(home.bytes(), before);
    assert_eq!(home.keyrings[0].held().as_deref(), Some("other"));
}

#[test]
fn an_emptied_keyring_gets_no_new_password_while_there_are_secrets() {
    let home = Home::new()
        .configured("encrypted")
        .holding("old")
        .with_keyring(FakeKeyring::durable());
    let before = home.bytes();
    for error in [
        open_error(&home.secrets()),
        home.secrets().open_for_login().unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(matches!(error, SecretsError::Locked { .. }), "{text}");
        assert!(text.contains("TOOLHIVE_SECRETS_PASSWORD"), "{text}");
    }
    assert_eq!(home.bytes(), before);
    assert_eq!(home.keyrings[0].held(), None);
}

#[test]
fn a_locked_or_missing_keyring_is_reported_as_what_it_is() {
    let opened_with = |error| {
        let home = Home::new()
            .configured("encrypted")
            .holding("old")
            .with_keyring(FakeKeyring::durable().refusing(error));
        open_error(&home.secrets())
    };
    let locked = opened_with(KeyringError::Locked);
    assert!(matches!(locked, SecretsError::Locked { .. }), "{locked}");
    let absent = opened_with(KeyringError::Absent {
        cause: "there is none in this session".to_owned(),
    });
    assert!(
        matches!(absent, SecretsError::KeyringUnavailable { .. }),
        "{absent}"
    );
    assert!(absent.to_string().contains("none in this session"));
}

// === Choices

#[test]
fn a_given_password_that_is_wrong_is_not_replaced_by_the_keyring_s() {
    let home = Home::new()
        .configured("encrypted")
        .holding("right")
        .with_keyring(FakeKeyring::durable().holding("right"))
        .with_var("TOOLHIVE_SECRETS_PASSWORD", "wrong");
    let store = home.secrets().open(Patience::Request).unwrap();
    let error = store.probe().unwrap_err();
    assert!(
        matches!(error, SecretsError::WrongPassword { .. }),
        "{error}"
    );
    assert_eq!(home.keyrings[0].lookups(), 0);
}

#[test]
fn a_named_key_file_must_be_usable() {
    let home = Home::new().configured("encrypted");
    let path = home.directory.path().join("key");
    let home = home.with_var("TOOLHIVE_SECRETS_KEY_FILE", path.to_str().unwrap());
    let error = |text: Option<&[u8]>| {
        if let Some(text) = text {
            write_atomic(&path, text).unwrap();
        }
        match open_error(&home.secrets()) {
            SecretsError::KeyFile { cause, .. } => cause,
            other => panic!("{other}"),
        }
    };
    assert_eq!(error(None), "there is no such file");
    assert_eq!(error(Some(b"\n")), "it is empty");
    assert_eq!(error(Some(b"\xff\xfe")), "it is not UTF-8 text");
    assert_eq!(
        error(Some(&[b'x'; 5000])),
        "the file is larger than 4096 bytes"
    );
    write_atomic(&path, b"right\n").unwrap();
    let home = home.holding("right");
    let store = home.secrets().open(Patience::Request).unwrap();
    assert_eq!(read_a(&store).as_deref(), Some("b"));
}

#[cfg(unix)]
#[test]
fn case_75_a_key_file_that_others_may_change_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new().configured("encrypted").holding("right");
    write_atomic(&home.key_file(), b"right\n").unwrap();
    let mode = |mode| {
        std::fs::set_permissions(home.key_file(), std::fs::Permissions::from_mode(mode)).unwrap();
        home.secrets().open(Patience::Request)
    };
    for refused in [0o620, 0o602, 0o666] {
        let error = mode(refused).unwrap_err();
        assert!(matches!(error, SecretsError::KeyFile { .. }), "{error}");
    }
    for accepted in [0o400, 0o600, 0o444] {
        mode(accepted).unwrap();
    }
}

#[test]
fn f23_the_environment_works_without_a_set_up() {
    let home = Home::new()
        .with_var("TOOLHIVE_SECRETS_PROVIDER", "environment")
        .with_var("TOOLHIVE_SECRET_a", "b");
    let store = home.secrets().open(Patience::Request).unwrap();
    assert_eq!(store.kind(), StoreKind::Environment);
    assert_eq!(read_a(&store).as_deref(), Some("b"));
}

#[test]
fn w5_a_login_that_could_not_be_kept_fails_before_it_begins() {
    let home = Home::new().configured("environment");
    let error = home.secrets().open_for_login().unwrap_err();
    assert!(matches!(error, SecretsError::ReadOnly { .. }), "{error}");
    let home = Home::new().configured("1password");
    let error = home.secrets().open_for_login().unwrap_err();
    assert!(
        matches!(error, SecretsError::UnsupportedProvider { .. }),
        "{error}"
    );
}

#[test]
fn what_was_set_up_meanwhile_is_respected() {
    let home = Home::new().with_var("TOOLHIVE_SECRETS_PASSWORD", "p");
    let secrets = home.secrets();
    let Inner::Chosen(chosen) = &secrets.inner else {
        panic!("a fixed store");
    };
    let home = home.configured("environment");
    assert!(!chosen.record_set_up().unwrap());
    assert_eq!(home.settings(), ("environment".to_owned(), true));
}

#[test]
fn a_fixed_store_is_opened_whatever_is_configured() {
    let home = Home::new().with_var("TOOLHIVE_SECRETS_PASSWORD", "p");
    let store = home.secrets().open_for_login().unwrap();
    let fixed = Secrets::fixed(Arc::clone(&store));
    for opened in [
        fixed.open(Patience::Request).unwrap(),
        fixed.open_for_login().unwrap(),
    ] {
        assert!(Arc::ptr_eq(&opened, &store));
    }
}
