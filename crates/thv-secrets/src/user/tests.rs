use super::*;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use thv_config::disk::write_atomic;
use thv_config::{ConfigStore, ManualClock, MapEnv, Paths, World};

struct Home {
    directory: tempfile::TempDir,
    env: MapEnv,
}

impl Home {
    /// A home whose encrypted store is set up.
    fn new() -> Self {
        let home = Self::bare();
        home.secrets()
            .secrets()
            .set_up(StoreKind::Encrypted, None)
            .unwrap();
        home
    }

    fn bare() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            env: MapEnv::from([("TOOLHIVE_SECRETS_PASSWORD", "p")]),
        }
    }

    fn with_var(mut self, name: &str, value: &str) -> Self {
        self.env = self.env.with_var(name, value);
        self
    }

    fn secrets(&self) -> UserSecrets {
        let env = self.env.clone().with_home(self.directory.path());
        let world = World::new(ManualClock::new(Timestamp::UNIX_EPOCH), env);
        let paths = Paths::from_env(world.env.as_ref()).unwrap();
        let config = ConfigStore::new(paths.config_file(), world.clone());
        let secrets = Secrets::with_keyrings(world, &paths, config, Vec::new());
        UserSecrets::new(secrets, Patience::Request)
    }

    fn put_system(&self, name: &str) -> SecretName {
        let name = SecretName::registry(name);
        let store: Arc<dyn SecretStore> = self.secrets().secrets().open(Patience::Request).unwrap();
        store
            .update(&mut |secrets| {
                secrets.set(&name, "token".into());
                Ok(())
            })
            .unwrap();
        name
    }
}

fn seal_file(password: &str, plaintext: &[u8]) -> Vec<u8> {
    let key = crate::key::FileKey::from_password(password, String::new(), true);
    crate::seal::encrypt(key.bytes(), plaintext, b"").unwrap()
}

fn names(secrets: &UserSecrets) -> Vec<String> {
    let listed = secrets.list().unwrap();
    listed
        .into_iter()
        .map(|secret| secret.name.to_string())
        .collect()
}

fn value(secrets: &UserSecrets, name: &str) -> String {
    secrets.get(name).unwrap().expose_secret().to_owned()
}

#[test]
fn a_secret_is_created_once_and_then_updated() {
    let home = Home::new();
    let secrets = home.secrets();
    secrets.create("a/b", &"1".into()).unwrap();
    assert_eq!(
        secrets.create("a/b", &"2".into()).unwrap_err().to_string(),
        "secret already exists: a/b"
    );
    assert_eq!(value(&secrets, "a/b"), "1");
    secrets.update("a/b", &"3".into()).unwrap();
    secrets.set("c", &"4".into()).unwrap();
    assert_eq!(value(&home.secrets(), "a/b"), "3");
    assert_eq!(names(&home.secrets()), ["a/b", "c"]);
    secrets.delete("a/b").unwrap();
    for missing in [
        secrets.delete("a/b").unwrap_err(),
        secrets.update("a/b", &"5".into()).unwrap_err(),
        secrets.get("a/b").unwrap_err(),
    ] {
        assert_eq!(missing.to_string(), "secret not found: a/b");
    }
    assert_eq!(names(&secrets), ["c"]);
}

#[test]
fn f42_system_secrets_are_invisible_and_out_of_reach() {
    let home = Home::new();
    let system = home.put_system("REGISTRY_OAUTH_e037e405");
    let secrets = home.secrets();
    assert!(names(&secrets).is_empty());
    let name = system.as_str();
    let refused = [
        ("get", secrets.get(name).map(drop)),
        ("set", secrets.set(name, &"x".into())),
        ("set", secrets.create(name, &"x".into())),
        ("set", secrets.update(name, &"x".into())),
        ("delete", secrets.delete(name)),
    ];
    for (verb, outcome) in refused {
        assert_eq!(
            outcome.unwrap_err().to_string(),
            format!(
                "secret name is reserved for system use and cannot be managed via user commands: cannot {verb} \"{name}\""
            )
        );
    }
    let store = home.secrets().secrets().open(Patience::Request).unwrap();
    let held = store.get(&system).unwrap().unwrap();
    assert_eq!(held.expose_secret(), "token");
}

#[test]
fn f45_a_stuck_system_secret_is_listed_by_the_name_that_deletes_it() {
    let home = Home::new();
    home.put_system("x_y");
    home.secrets().set("mine", &"1".into()).unwrap();
    let listed = home.secrets().list_system().unwrap();
    assert_eq!(
        listed,
        [SystemSecret {
            name: SecretName::registry("x_y"),
            scope: "registry".to_owned()
        }]
    );
    home.secrets().delete_system(&listed[0].name).unwrap();
    assert!(home.secrets().list_system().unwrap().is_empty());
    let mine = SecretName::user("mine").unwrap();
    assert!(home.secrets().delete_system(&mine).is_err());
    assert_eq!(names(&home.secrets()), ["mine"]);
}

#[test]
fn a_variable_can_be_read_and_is_in_nobody_s_way() {
    let home = Home::new().with_var("TOOLHIVE_SECRET_a", "from the environment");
    let secrets = home.secrets();
    assert_eq!(value(&secrets, "a"), "from the environment");
    assert!(names(&secrets).is_empty());
    assert!(secrets.update("a", &"x".into()).is_err());
    secrets.create("a", &"stored".into()).unwrap();
    assert_eq!(value(&secrets, "a"), "stored");
}

#[test]
fn a_provider_says_what_it_cannot_do_before_it_is_opened() {
    let home = Home::bare().with_var("TOOLHIVE_SECRETS_PROVIDER", "environment");
    let secrets = home.secrets();
    assert_eq!(secrets.provider().unwrap().kind, StoreKind::Environment);
    let refused = [
        ("listing keys", secrets.list().map(drop)),
        ("creating secrets", secrets.create("a", &"1".into())),
        ("updating secrets", secrets.update("a", &"1".into())),
        ("deleting secrets", secrets.delete("a")),
    ];
    for (what, outcome) in refused {
        assert_eq!(
            outcome.unwrap_err().to_string(),
            format!("secrets provider does not support {what}")
        );
    }
}

#[test]
fn without_a_set_up_every_call_says_so() {
    let secrets = Home::bare().secrets();
    let refused = [
        secrets.provider().map(drop),
        secrets.list().map(drop),
        secrets.get("a").map(drop),
        secrets.set("a", &"1".into()),
        secrets.delete("a"),
    ];
    for outcome in refused {
        let error = outcome.unwrap_err();
        assert!(matches!(error, SecretsError::NotSetUp { .. }), "{error}");
    }
}

#[test]
fn f44_bare_names_are_moved_once_and_then_never_again() {
    let home = Home::bare();
    let of_go = seal_file("p", br#"{"secrets":{"BEARER_TOKEN_a":"1","API_KEY":"2"}}"#);
    let env = home.env.clone().with_home(home.directory.path());
    let file = Paths::from_env(&env).unwrap().secrets_file();
    write_atomic(&file, &of_go).unwrap();
    let secrets = home.secrets();
    let all = secrets.secrets();
    all.set_up(StoreKind::Encrypted, None).unwrap();
    // Whoever comes first moves them, so that no name of the user's own can be among them.
    assert_eq!(names(&secrets), ["API_KEY"]);
    secrets.delete("API_KEY").unwrap();
    // A name that looks like one of before is the user's own from now on.
    secrets.set("BEARER_TOKEN_b", &"2".into()).unwrap();
    assert_eq!(all.migrate_scopes(Patience::Request).unwrap(), 0);
    assert_eq!(names(&secrets), ["BEARER_TOKEN_b"]);
}

#[test]
fn a_store_of_our_own_has_no_names_to_move() {
    let home = Home::new();
    let name = "OAUTH_CLIENT_SECRET_GITHUB";
    home.secrets().set(name, &"1".into()).unwrap();
    assert_eq!(names(&home.secrets()), [name]);
}
