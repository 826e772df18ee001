use super::*;
use crate::hint::Hints;
use crate::keyring::Agent;
use crate::seal;
use jiff::Timestamp;
use proptest::prelude::*;
use std::fs;
use thv_config::disk::fingerprint;
use thv_config::{Env, ManualClock, MapEnv, SystemClock};

const PASSWORD: &str = "correct horse";

struct Fixture {
    directory: tempfile::TempDir,
    env: MapEnv,
}

impl Fixture {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            env: MapEnv::from([("TOOLHIVE_SECRETS_PASSWORD", PASSWORD)]),
        }
    }

    fn with_var(mut self, name: &str, value: &str) -> Self {
        self.env = self.env.with_var(name, value);
        self
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("toolhive/secrets_encrypted")
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    fn put(&self, bytes: &[u8]) {
        write_atomic(&self.path(), bytes).unwrap();
    }

    /// A store as a process of its own would have it: nothing but the file is shared.
    fn store(&self) -> EncryptedStore {
        self.store_with(PASSWORD)
    }

    fn store_with(&self, password: &str) -> EncryptedStore {
        self.store_at(password, ManualClock::new(Timestamp::UNIX_EPOCH))
    }

    fn store_at(&self, password: &str, clock: impl Clock) -> EncryptedStore {
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let env: Arc<dyn Env> = Arc::new(
            self.env
                .clone()
                .with_var("TOOLHIVE_SECRETS_PASSWORD", password),
        );
        let file = Arc::new(SecretsFile::new(self.path(), Arc::clone(&clock)));
        let keys = Keys::new(
            Arc::clone(&env),
            Arc::clone(&file),
            Agent::new(Vec::new(), Arc::clone(&clock)),
            Hints::new(Path::new("/data/secrets_key")),
        );
        let source = KeySource::PasswordVariable;
        let key = FileKey::from_password(password, source.describe(), true);
        EncryptedStore::new(
            file,
            Arc::new(keys),
            source,
            Arc::new(key),
            Variables::new(env),
        )
    }
}

fn name(name: &str) -> SecretName {
    SecretName::stored(name).unwrap()
}

fn set(store: &EncryptedStore, secret: &str, value: &str) {
    store
        .update(&mut |secrets| {
            secrets.set(&name(secret), value.into());
            Ok(())
        })
        .unwrap();
}

fn get(store: &EncryptedStore, secret: &SecretName) -> Option<String> {
    store
        .get(secret)
        .unwrap()
        .map(|value| value.expose_secret().to_owned())
}

fn names(store: &EncryptedStore) -> Vec<String> {
    let mut names = Vec::new();
    store
        .update(&mut |secrets| {
            names = secrets.names().map(str::to_owned).collect();
            Ok(())
        })
        .unwrap();
    names
}

fn appendix_a() -> Vec<u8> {
    let hex = "000102030405060708090a0b74e58f05683606559ad639c95d07318bb35be3a435fc85a5168daa1966e21b29dc03c83d4c";
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn appendix_a_a_file_of_the_go_program_is_read() {
    let fixture = Fixture::new();
    fixture.put(&appendix_a());
    assert_eq!(get(&fixture.store(), &name("a")).as_deref(), Some("b"));
}

#[test]
fn a_missing_file_and_an_empty_one_hold_no_secrets() {
    let fixture = Fixture::new();
    assert_eq!(get(&fixture.store(), &name("a")), None);
    fixture.put(b"");
    assert_eq!(get(&fixture.store(), &name("a")), None);
    set(&fixture.store(), "a", "b");
    assert_eq!(get(&fixture.store(), &name("a")).as_deref(), Some("b"));
}

#[test]
fn f39_f40_what_another_process_writes_is_seen_at_once_and_not_overwritten() {
    let fixture = Fixture::new();
    let (ours, theirs) = (fixture.store(), fixture.store());
    set(&ours, "a", "1");
    set(&theirs, "b", "2");
    assert_eq!(get(&ours, &name("b")).as_deref(), Some("2"));
    set(&ours, "c", "3");
    assert_eq!(names(&theirs), ["a", "b", "c"]);
}

#[test]
fn f39_threads_of_one_process_lose_nothing_either() {
    let fixture = Fixture::new();
    // They wait for each other, so that time has to pass by itself.
    let store = fixture.store_at(PASSWORD, SystemClock::new());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for at in 0..5 {
                    set(store, &format!("{thread}-{at}"), "x");
                }
            });
        }
    });
    assert_eq!(names(&store).len(), 40);
}

#[test]
fn a_change_that_fails_or_changes_nothing_writes_nothing() {
    let fixture = Fixture::new();
    let store = fixture.store();
    set(&store, "a", "1");
    let before = fingerprint(&fixture.path());
    set(&store, "a", "1");
    let refusal = SecretsError::Abandoned {
        reason: "the generation moved".to_owned(),
    };
    let outcome = store.update(&mut |secrets| {
        secrets.remove(&name("a"));
        Err(refusal.clone())
    });
    assert_eq!(outcome.unwrap_err(), refusal);
    assert_eq!(fingerprint(&fixture.path()), before);
}

#[test]
fn case_78_a_wrong_password_is_an_error_and_leaves_the_file_as_it_is() {
    let fixture = Fixture::new();
    set(&fixture.store(), "a", "1");
    let before = fixture.bytes();
    let stranger = fixture.store_with("wrong");
    let errors = [
        stranger.get(&name("a")).unwrap_err(),
        stranger
            .update(&mut |_| panic!("shown nothing"))
            .unwrap_err(),
        stranger.probe().unwrap_err(),
        stranger.sealer("grants").unwrap_err(),
    ];
    for error in errors {
        assert_eq!(
            error,
            SecretsError::WrongPassword {
                file: fixture.path(),
                origin: "TOOLHIVE_SECRETS_PASSWORD".to_owned()
            }
        );
    }
    assert_eq!(fixture.bytes(), before);
}

#[test]
fn a_file_that_is_no_secrets_file_is_refused_and_kept() {
    let fixture = Fixture::new();
    let key = FileKey::from_password(PASSWORD, String::new(), true);
    let newer = seal::encrypt(key.bytes(), br#"{"secrets":{},"version":2}"#, b"").unwrap();
    for bytes in [b"short".as_slice(), &newer] {
        fixture.put(bytes);
        let error = fixture.store().probe().unwrap_err();
        assert!(matches!(error, SecretsError::Corrupt { .. }), "{error}");
        assert_eq!(fixture.bytes(), bytes);
    }
}

#[test]
fn a_file_beyond_all_measure_is_not_read() {
    let fixture = Fixture::new();
    fixture.put(b"");
    fs::OpenOptions::new()
        .write(true)
        .open(fixture.path())
        .unwrap()
        .set_len(FILE_MAX_BYTES + 1)
        .unwrap();
    assert_eq!(
        fixture.store().get(&name("a")).unwrap_err(),
        SecretsError::TooLarge {
            file: fixture.path(),
            limit: FILE_MAX_BYTES
        }
    );
}

#[test]
fn f38_a_writer_waits_five_seconds_for_the_others() {
    let fixture = Fixture::new();
    let store = fixture.store();
    set(&store, "a", "1");
    let lock = fixture.path().with_file_name("secrets_encrypted.lock");
    let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
    let held = FileLock::acquire(&lock, &clock, LOCK_WAIT).unwrap();
    assert_eq!(
        store.probe().unwrap_err(),
        SecretsError::LockTimeout {
            path: lock,
            waited: LOCK_WAIT
        }
    );
    // Reading takes no lock.
    assert_eq!(get(&store, &name("a")).as_deref(), Some("1"));
    drop(held);
    store.probe().unwrap();
}

#[test]
fn w44_a_probe_leaves_the_secrets_as_they_are() {
    let fixture = Fixture::new();
    let store = fixture.store();
    set(&store, "setup-validation-test", "mine");
    set(&store, "__thv_auth_store-probe", "left behind by a crash");
    store.probe().unwrap();
    assert_eq!(names(&store), ["setup-validation-test"]);
    assert_eq!(
        get(&store, &name("setup-validation-test")).as_deref(),
        Some("mine")
    );
}

#[test]
fn a_place_that_takes_no_files_is_named_in_the_error() {
    let fixture = Fixture::new();
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(fixture.directory.path().join("toolhive"))
        .unwrap();
    let error = fixture.store().probe().unwrap_err();
    assert!(
        matches!(error, SecretsError::Io { action: "lock", .. }),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn case_75_the_file_is_private_even_if_it_was_not() {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = Fixture::new();
    set(&fixture.store(), "a", "1");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&fixture.path()), 0o600);
    assert_eq!(mode(fixture.path().parent().unwrap()), 0o700);
    fs::set_permissions(fixture.path(), fs::Permissions::from_mode(0o644)).unwrap();
    set(&fixture.store(), "a", "2");
    assert_eq!(mode(&fixture.path()), 0o600);
}

#[test]
fn the_environment_stands_in_for_missing_secrets_and_is_never_listed_or_written() {
    let fixture = Fixture::new().with_var("TOOLHIVE_SECRET_a", "from the environment");
    let store = fixture.store();
    assert_eq!(
        get(&store, &name("a")).as_deref(),
        Some("from the environment")
    );
    assert!(names(&store).is_empty());
    set(&store, "a", "stored");
    assert_eq!(get(&store, &name("a")).as_deref(), Some("stored"));

    let disabled = Fixture::new()
        .with_var("TOOLHIVE_SECRET_a", "from the environment")
        .with_var("TOOLHIVE_DISABLE_ENV_FALLBACK", "true");
    assert_eq!(get(&disabled.store(), &name("a")), None);
}

#[test]
fn f13_a_system_secret_is_found_under_its_bare_name_until_it_is_moved() {
    let scoped = SecretName::registry("REGISTRY_OAUTH_e037e405");
    let fixture = Fixture::new().with_var(
        "TOOLHIVE_SECRET___thv_registry_REGISTRY_OAUTH_e037e405",
        "provisioned",
    );
    let store = fixture.store();
    set(&store, "REGISTRY_OAUTH_e037e405", "bare");
    // As in the Go program: everything that has the full name comes before anything bare.
    assert_eq!(get(&store, &scoped).as_deref(), Some("provisioned"));
    let without = Fixture {
        env: MapEnv::new(),
        ..fixture
    };
    assert_eq!(get(&without.store(), &scoped).as_deref(), Some("bare"));
    set(&without.store(), scoped.as_str(), "scoped");
    assert_eq!(get(&without.store(), &scoped).as_deref(), Some("scoped"));
}

#[test]
fn f43_a_backend_error_is_not_taken_for_a_missing_secret() {
    let fixture = Fixture::new().with_var("TOOLHIVE_SECRET_a", "from the environment");
    fixture.put(b"broken");
    let error = fixture.store().get(&name("a")).unwrap_err();
    assert!(matches!(error, SecretsError::Corrupt { .. }), "{error}");
}

#[test]
fn a_sealer_belongs_to_the_password_and_the_purpose() {
    let fixture = Fixture::new();
    let sealed = fixture
        .store()
        .sealer("grants")
        .unwrap()
        .seal(b"token", b"a")
        .unwrap();
    let opened = |password, purpose| {
        let store = fixture.store_with(password);
        let opened = store.sealer(purpose).unwrap().open(&sealed, b"a");
        opened.is_ok()
    };
    assert!(opened(PASSWORD, "grants"));
    assert!(!opened(PASSWORD, "other"));
    assert!(!opened("other", "grants"));
}

#[test]
fn neither_a_store_nor_its_key_prints_a_password() {
    let fixture = Fixture::new().with_var("TOOLHIVE_SECRET_a", "canary");
    let store = fixture.store_with("canary");
    let key = FileKey::from_password("canary", "a test".to_owned(), true);
    let shown = format!("{store:?} {:?} {key:?}", store.keys);
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn a_file_is_rewritten_in_our_form_and_back_and_the_one_before_is_kept() {
    let fixture = Fixture::new();
    fixture.put(&appendix_a());
    let store = fixture.store();
    let rewritten = store.rewrite(Form::two().unwrap()).unwrap();
    let backup = rewritten.backup.unwrap();
    assert_eq!(fs::read(&backup).unwrap(), appendix_a());
    assert_eq!(rewritten.form.number(), 2);
    assert!(fixture.bytes().starts_with(b"thv-secrets"));
    // A process that knew nothing of it reads and writes on, in the form that it finds.
    let other = fixture.store();
    assert_eq!(get(&other, &name("a")).as_deref(), Some("b"));
    set(&other, "c", "d");
    assert!(fixture.bytes().starts_with(b"thv-secrets"));
    assert_eq!(store.rewrite(Form::two().unwrap()).unwrap().backup, None);
    let sealed = store.sealer("grants").unwrap().seal(b"x", b"").unwrap();

    let back = store.rewrite(Form::One).unwrap();
    assert!(
        fs::read(back.backup.unwrap())
            .unwrap()
            .starts_with(b"thv-secrets")
    );
    assert_eq!(names(&fixture.store()), ["a", "c"]);
    // What was sealed in one form opens in the other.
    assert!(store.sealer("grants").unwrap().open(&sealed, b"").is_ok());
}

#[test]
fn a_file_that_does_not_open_is_not_rewritten() {
    let fixture = Fixture::new();
    fixture.put(&appendix_a());
    let stranger = fixture.store_with("wrong");
    assert!(stranger.rewrite(Form::two().unwrap()).is_err());
    assert_eq!(fixture.bytes(), appendix_a());
    let left: Vec<_> = fs::read_dir(fixture.path().parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().contains("bak"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_file_is_read_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
        let fixture = Fixture::new();
        fixture.put(&bytes);
        prop_assert!(fixture.store().get(&name("a")).is_err());
        prop_assert_eq!(fixture.bytes(), bytes);
    }

    #[test]
    fn one_changed_bit_or_missing_byte_is_noticed(at in 0_usize..49, bit in 0_u8..8) {
        let fixture = Fixture::new();
        let mut changed = appendix_a();
        changed[at] ^= 1 << bit;
        fixture.put(&changed);
        prop_assert!(fixture.store().get(&name("a")).is_err());
        let mut cut = appendix_a();
        cut.remove(at);
        fixture.put(&cut);
        prop_assert!(fixture.store().get(&name("a")).is_err());
    }
}
