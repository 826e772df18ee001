use super::*;
use crate::examine::RoundTrip;
use crate::keyring::KeyringError;
use crate::keyring::fake::FakeKeyring;
use crate::scope::SecretName;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
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

    fn key_file_text(&self) -> String {
        std::fs::read_to_string(self.key_file()).unwrap()
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

fn absent() -> KeyringError {
    KeyringError::Absent {
        cause: "there is none in this session".to_owned(),
    }
}

const SET_UP: (&str, bool) = ("encrypted", true);

fn is_set_up(home: &Home) -> bool {
    let (provider, completed) = home.settings();
    (provider.as_str(), completed) == SET_UP
}

// === Nothing set up

#[test]
fn w20_a_machine_with_nothing_set_up_is_told_what_to_type_and_nothing_is_written() {
    let home = Home::new().with_keyring(FakeKeyring::volatile());
    let errors = [
        open_error(&home.secrets()),
        home.secrets().describe().unwrap_err(),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(matches!(error, SecretsError::NotSetUp { .. }), "{text}");
        assert!(error.needs_a_person());
        for needed in [
            "thv secret setup",
            "TOOLHIVE_SECRETS_PASSWORD",
            home.key_file().to_str().unwrap(),
        ] {
            assert!(text.contains(needed), "{text}");
        }
    }
    assert_eq!(home.bytes(), None);
    assert!(!is_set_up(&home));
}

#[test]
fn w20_a_login_on_a_machine_without_a_keyring_makes_a_key_file() {
    let home = Home::new()
        .with_keyring(FakeKeyring::durable().refusing(absent()))
        .with_keyring(FakeKeyring::volatile());
    home.secrets().open_for_login().unwrap();
    assert!(is_set_up(&home));
    assert_eq!(home.key_file_text().len(), 45);
    // A second login, in another process, finds it, and so does a read.
    let before = home.key_file_text();
    home.secrets().open_for_login().unwrap();
    home.secrets().open(Patience::Request).unwrap();
    assert_eq!(home.key_file_text(), before);
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
            why: Some(Why::Configured),
            file: Some(home.paths().secrets_file()),
            key: Some(KeySource::KeyFile(home.key_file())),
            content: Some((42, Form::One)),
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
fn a_key_that_only_the_kernel_holds_is_copied_to_where_a_restart_does_not_reach_it() {
    for is_used in [false, true] {
        let start = || {
            let home = Home::new();
            if is_used {
                home.configured("encrypted").holding("go's")
            } else {
                home
            }
        };
        let headless = start().with_keyring(FakeKeyring::volatile().holding("go's"));
        headless.secrets().open_for_login().unwrap();
        assert_eq!(headless.key_file_text(), "go's\n");

        let desktop = start()
            .with_keyring(FakeKeyring::durable())
            .with_keyring(FakeKeyring::volatile().holding("go's"));
        desktop.secrets().open_for_login().unwrap();
        assert_eq!(desktop.keyrings[0].held().as_deref(), Some("go's"));
        assert!(!desktop.key_file().exists());
    }
}

#[test]
fn a_locked_keyring_is_named_and_not_gone_around() {
    let home = Home::new()
        .with_keyring(FakeKeyring::durable().refusing(KeyringError::Locked))
        .with_keyring(FakeKeyring::volatile());
    let error = home.secrets().open_for_login().unwrap_err().to_string();
    assert!(
        error.starts_with(
            "the secret store is locked: the OS keyring: it is locked; unlock the keyring, or "
        ),
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
    let absent = opened_with(absent());
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
}

#[test]
fn w20_beside_1password_logins_are_kept_in_the_encrypted_file() {
    let home = Home::new()
        .with_keyring(FakeKeyring::durable())
        .configured("1password")
        .with_var("TOOLHIVE_SECRET___thv_registry_R", "provisioned");
    let name = SecretName::registry("R");
    let before = home.secrets().open(Patience::Request).unwrap();
    assert!(!before.capabilities().write);
    assert_eq!(
        before.get(&name).unwrap().unwrap().expose_secret(),
        "provisioned"
    );

    let store = home.secrets().open_for_login().unwrap();
    store
        .update(&mut |secrets| {
            secrets.set(&name, "kept".into());
            Ok(())
        })
        .unwrap();
    assert_eq!(home.settings(), ("1password".to_owned(), true));
    let after = home.secrets().open(Patience::Request).unwrap();
    assert_eq!(after.get(&name).unwrap().unwrap().expose_secret(), "kept");
    let user = home.secrets().open_for_user(Patience::Request).unwrap();
    assert_eq!(user.kind(), StoreKind::OnePassword);
    // A file that does not open is an error even here, and not an empty store.
    let broken = Home::new().configured("1password").holding("lost");
    assert!(matches!(
        open_error(&broken.secrets()),
        SecretsError::Locked { .. }
    ));
}

#[test]
fn what_was_set_up_meanwhile_is_respected() {
    let home = Home::new().with_var("TOOLHIVE_SECRETS_PASSWORD", "p");
    let secrets = home.secrets();
    let Inner::Chosen(chosen) = &secrets.inner else {
        panic!("a fixed store");
    };
    let home = home.configured("environment");
    assert!(!chosen.record_first_set_up(true).unwrap());
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

// === Setting up

fn set_up(home: &Home, password: Option<&str>) -> Result<crate::SetUp, SecretsError> {
    let password = password.map(SecretString::from);
    home.secrets().set_up(StoreKind::Encrypted, password)
}

#[test]
fn rule_12_the_encrypted_store_is_set_up_on_a_machine_without_a_keyring_and_stays_as_it_is() {
    let home = Home::new().with_keyring(FakeKeyring::durable().refusing(absent()));
    let first = set_up(&home, None).unwrap();
    assert!(!first.was_completed);
    let place = first.key.unwrap();
    assert_eq!(place.source, KeySource::KeyFile(home.key_file()));
    assert_eq!(
        place.described,
        format!("the key file {}", home.key_file().display())
    );
    assert!(is_set_up(&home));
    let (key, file) = (home.key_file_text(), home.bytes());
    for _ in 0..3 {
        let again = set_up(&home, None).unwrap();
        assert!(again.was_completed);
        assert_eq!(
            again.key.unwrap().source,
            KeySource::KeyFile(home.key_file())
        );
    }
    assert_eq!((home.key_file_text(), home.bytes()), (key, file));
}

#[test]
fn a_keyring_gets_the_password_where_there_is_one() {
    let home = Home::new().with_keyring(FakeKeyring::durable());
    assert_eq!(
        set_up(&home, None).unwrap().key.unwrap().source,
        KeySource::Keyring
    );
    let password = home.keyrings[0].held().unwrap();
    set_up(&home, None).unwrap();
    assert_eq!(home.keyrings[0].held().unwrap(), password);
    assert!(!home.key_file().exists());
}

#[test]
fn w44_a_password_that_is_given_is_used_or_contradicted_and_never_ignored() {
    let home = Home::new().with_keyring(FakeKeyring::durable());
    set_up(&home, Some("mine")).unwrap();
    assert_eq!(home.keyrings[0].held().as_deref(), Some("mine"));
    set_up(&home, Some("mine")).unwrap();
    let error = set_up(&home, Some("another")).unwrap_err();
    assert!(
        matches!(error, SecretsError::OtherPassword { .. }),
        "{error}"
    );
    assert_eq!(home.keyrings[0].held().as_deref(), Some("mine"));
}

#[test]
fn secrets_whose_key_was_lost_are_taken_up_again_with_their_password_and_with_no_other() {
    let home = || {
        Home::new()
            .holding("right")
            .with_keyring(FakeKeyring::durable())
    };
    let without = home();
    let before = without.bytes();
    assert!(matches!(
        set_up(&without, None).unwrap_err(),
        SecretsError::Locked { .. }
    ));
    assert!(matches!(
        set_up(&without, Some("wrong")).unwrap_err(),
        SecretsError::WrongPassword { .. }
    ));
    assert_eq!(without.bytes(), before);
    assert_eq!(without.keyrings[0].held(), None);
    assert!(!is_set_up(&without));
    set_up(&without, Some("right")).unwrap();
    assert_eq!(without.keyrings[0].held().as_deref(), Some("right"));
    let store = without.secrets().open(Patience::Request).unwrap();
    assert_eq!(read_a(&store).as_deref(), Some("b"));
}

#[test]
fn a_locked_keyring_is_not_gone_around_by_a_set_up() {
    let home = Home::new().with_keyring(FakeKeyring::durable().refusing(KeyringError::Locked));
    let error = set_up(&home, None).unwrap_err();
    assert!(matches!(error, SecretsError::Locked { .. }), "{error}");
    assert!(!home.key_file().exists());
}

#[test]
fn a_key_that_is_only_remembered_begins_no_new_file() {
    let home = Home::new()
        .configured("encrypted")
        .holding("old")
        .with_keyring(FakeKeyring::durable().holding("old"));
    let secrets = home.secrets();
    secrets.open(Patience::Request).unwrap();
    // Somebody begins anew: the password is out of the keyring and the file is moved away.
    home.secrets().reset_keyring(true).unwrap();
    std::fs::remove_file(home.paths().secrets_file()).unwrap();
    assert!(matches!(open_error(&secrets), SecretsError::Locked { .. }));
    // Whoever sets up now gives the keyring another one, and that is the one that counts.
    set_up(&home, None).unwrap();
    let store = secrets.open(Patience::Request).unwrap();
    store.probe().unwrap();
    let password = home.keyrings[0].held().unwrap();
    let file = home.bytes().unwrap();
    assert!(crate::format::open(&password, &file).is_ok());
}

#[test]
fn a_keyring_is_not_reset_while_what_counts_before_it_is_wrong() {
    for variable in ["TOOLHIVE_SECRETS_PASSWORD", "TOOLHIVE_SECRETS_KEY_FILE"] {
        let home = Home::new()
            .configured("encrypted")
            .holding("right")
            .with_keyring(FakeKeyring::durable().holding("right"))
            .with_var(variable, "/nonexistent, and no password either");
        let error = home.secrets().reset_keyring(false).unwrap_err();
        assert!(matches!(error, SecretsError::Abandoned { .. }), "{error}");
        assert_eq!(home.keyrings[0].held().as_deref(), Some("right"));
    }
}

#[test]
fn two_set_ups_at_once_agree_on_one_key_file() {
    let home = Home {
        has_real_clock: true,
        ..Home::new()
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| set_up(&home, None).unwrap());
        }
    });
    let store = home.secrets().open(Patience::Request).unwrap();
    store.probe().unwrap();
}

#[test]
fn a_key_of_the_service_manager_is_used_and_none_is_made() {
    let home = Home::new();
    let directory = home.directory.path().join("credentials");
    write_atomic(&directory.join("thv-secrets-key"), b"from systemd\n").unwrap();
    let home = home.with_var("CREDENTIALS_DIRECTORY", directory.to_str().unwrap());
    let place = set_up(&home, None).unwrap().key.unwrap();
    assert_eq!(
        place.source,
        KeySource::Credential(directory.join("thv-secrets-key"))
    );
    assert!(!home.key_file().exists());
}

#[test]
fn another_provider_becomes_the_provider_only_when_it_can_be_used() {
    let home = Home::new().configured("encrypted").holding("p");
    let error = home.secrets().set_up(StoreKind::OnePassword, None);
    assert!(matches!(error, Err(SecretsError::OnePassword { .. })));
    assert!(is_set_up(&home));
    let done = home.secrets().set_up(StoreKind::Environment, None).unwrap();
    assert!(done.was_completed && done.key.is_none());
    assert_eq!(home.settings(), ("environment".to_owned(), true));
}

#[test]
fn a_keyring_is_reset_only_when_nothing_depends_on_it() {
    let home = Home::new()
        .configured("encrypted")
        .holding("p")
        .with_keyring(FakeKeyring::durable().holding("p"));
    let error = home.secrets().reset_keyring(false).unwrap_err();
    assert!(matches!(error, SecretsError::Abandoned { .. }), "{error}");
    assert_eq!(home.keyrings[0].held().as_deref(), Some("p"));
    let cleared = home.secrets().reset_keyring(true).unwrap();
    assert_eq!(
        cleared,
        [keyring::Cleared {
            keyring: "the OS keyring",
            outcome: Ok(true)
        }]
    );
    assert_eq!(home.keyrings[0].held(), None);

    let elsewhere = Home::new()
        .holding("p")
        .with_keyring(FakeKeyring::durable().holding("stale"))
        .with_var("TOOLHIVE_SECRETS_PASSWORD", "p");
    elsewhere.secrets().reset_keyring(false).unwrap();
    assert_eq!(elsewhere.keyrings[0].held(), None);
}

#[test]
fn an_examination_leaves_everything_as_it_was() {
    let untouched = Home::new().with_var(PASSWORD_VARIABLE, "pw");
    let error = untouched.secrets().examine(Patience::Request).unwrap_err();
    assert!(matches!(error, SecretsError::NotSetUp { .. }), "{error}");
    assert_eq!(untouched.bytes(), None);

    let empty = Home::new()
        .with_var(PASSWORD_VARIABLE, "pw")
        .configured("encrypted");
    let found = empty.secrets().examine(Patience::Request).unwrap();
    assert_eq!(found.round_trip, RoundTrip::NothingYet);
    assert_eq!(empty.bytes(), None);

    let used = Home::new()
        .with_var(PASSWORD_VARIABLE, "pw")
        .configured("encrypted")
        .holding("pw");
    let found = used.secrets().examine(Patience::Request).unwrap();
    assert_eq!(found.round_trip, RoundTrip::Done);
    assert!(found.report.content.is_some());
    let store = used.secrets().open(Patience::Request).unwrap();
    assert_eq!(read_a(&store).as_deref(), Some("b"));
    assert_eq!(store.list().unwrap().len(), 1);
}

#[test]
fn an_examination_says_why_a_store_does_not_open() {
    let locked_out = Home::new()
        .with_var(PASSWORD_VARIABLE, "other")
        .configured("encrypted")
        .holding("pw");
    let before = locked_out.bytes();
    let found = locked_out.secrets().examine(Patience::Request).unwrap();
    assert!(
        matches!(
            found.round_trip,
            RoundTrip::Failed(SecretsError::WrongPassword { .. })
        ),
        "{found:?}"
    );
    assert_eq!(locked_out.bytes(), before);
    let given = Home::new().configured("environment");
    let found = given.secrets().examine(Patience::Request).unwrap();
    assert_eq!(found.round_trip, RoundTrip::ReadOnly);
}
