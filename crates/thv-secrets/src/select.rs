//! Which store is meant, and where the key of the encrypted one comes from: decisions only, over
//! facts that somebody else has gathered. Nothing here touches the disk, the environment or a
//! keyring.

use std::path::PathBuf;

use crate::error::SecretsError;
use crate::hint::Hints;

/// Chooses the provider over the configuration.
pub const PROVIDER_VARIABLE: &str = "TOOLHIVE_SECRETS_PROVIDER";
/// The password of the encrypted store.
pub const PASSWORD_VARIABLE: &str = "TOOLHIVE_SECRETS_PASSWORD";
/// The directory in which a service manager puts credentials (systemd.exec(5), `LoadCredential=`).
pub const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// The name of the credential that holds the password of the encrypted store.
pub const CREDENTIAL: &str = "thv-secrets-key";
/// The path of a file that holds the password of the encrypted store.
pub const KEY_FILE_VARIABLE: &str = "TOOLHIVE_SECRETS_KEY_FILE";
/// Stops the environment from standing in for missing secrets when it is `true`.
pub const DISABLE_FALLBACK_VARIABLE: &str = "TOOLHIVE_DISABLE_ENV_FALLBACK";
/// What the variables that hold secrets begin with.
pub const SECRET_VARIABLE_PREFIX: &str = "TOOLHIVE_SECRET_";

const ENCRYPTED: &str = "encrypted";
const ENVIRONMENT: &str = "environment";
const ONE_PASSWORD: &str = "1password";

/// What the choice depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// [`PROVIDER_VARIABLE`]; empty counts as unset.
    pub provider_variable: Option<String>,
    /// The configured provider; empty when none is.
    pub provider_type: String,
    /// Whether the configured provider has been set up.
    pub setup_completed: bool,
    /// Whether [`PASSWORD_VARIABLE`] holds something.
    pub has_password_variable: bool,
    /// [`KEY_FILE_VARIABLE`]; empty counts as unset.
    pub key_file_variable: Option<PathBuf>,
    /// The service manager's credential [`CREDENTIAL`], when there is one.
    pub credential: Option<PathBuf>,
    /// The key file in its default place, when there is one.
    pub default_key_file: Option<PathBuf>,
    /// Whether the encrypted store may be set up when nothing is: at a login, and only then.
    pub may_set_up: bool,
}

/// The store to open, and why it is that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Which store.
    pub choice: Choice,
    /// What decided.
    pub why: Why,
}

/// The store to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The variables of this process.
    Environment,
    /// The encrypted file.
    Encrypted {
        /// Where its key comes from.
        key: KeySource,
        /// Whether it still has to be set up.
        set_up: bool,
    },
    /// 1Password for what belongs to the user. It takes no writes, so that what belongs to the
    /// system is kept in the encrypted file.
    OnePassword {
        /// Where the key of that file comes from.
        key: KeySource,
    },
}

/// What decided on a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// [`PROVIDER_VARIABLE`] names it.
    Variable,
    /// The configuration names it.
    Configured,
    /// Nothing names one, and it is being set up.
    SettingUp,
}

/// Where the key of the encrypted file comes from. There is no second choice: a password that is
/// given and wrong is an error, not a reason to look elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// The password in [`PASSWORD_VARIABLE`].
    PasswordVariable,
    /// The password in this file.
    KeyFile(PathBuf),
    /// The password in this file, which the service manager made for this process.
    Credential(PathBuf),
    /// The password in a keyring: the OS keyring, then the kernel's.
    Keyring,
}

impl KeySource {
    /// The source as people call it.
    pub fn describe(&self) -> String {
        match self {
            Self::PasswordVariable => PASSWORD_VARIABLE.to_owned(),
            Self::KeyFile(path) => format!("the key file {}", path.display()),
            Self::Credential(path) => {
                format!("the service manager's credential {}", path.display())
            }
            Self::Keyring => "the keyring".to_owned(),
        }
    }
}

impl Why {
    /// The reason as people are told it.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Variable => "TOOLHIVE_SECRETS_PROVIDER names it",
            Self::Configured => "it was set up",
            Self::SettingUp => "nothing else was set up",
        }
    }
}

/// Decides. The provider variable wins over the configuration; before a set-up it may name only the
/// environment, unless a login is about to set the encrypted store up.
pub fn choose(facts: &Facts, hints: &Hints) -> Result<Decision, SecretsError> {
    let named = facts
        .provider_variable
        .as_deref()
        .filter(|name| !name.is_empty());
    let configured =
        Some(facts.provider_type.as_str()).filter(|name| facts.setup_completed && !name.is_empty());
    let (provider, why) = match (named, configured) {
        (Some(named), _) => (named, Why::Variable),
        (None, Some(configured)) => (configured, Why::Configured),
        (None, None) => (ENCRYPTED, Why::SettingUp),
    };
    let choice = match provider {
        ENVIRONMENT => Choice::Environment,
        ENCRYPTED if configured.is_some() || facts.may_set_up => Choice::Encrypted {
            key: key_source(facts),
            set_up: configured.is_none(),
        },
        ONE_PASSWORD if configured.is_some() => Choice::OnePassword {
            key: key_source(facts),
        },
        ENCRYPTED | ONE_PASSWORD => return Err(hints.not_set_up()),
        other => {
            return Err(SecretsError::UnknownProvider {
                provider: other.to_owned(),
            });
        }
    };
    Ok(Decision { choice, why })
}

/// Where the key of the encrypted file comes from: what is closest to the person comes first.
pub fn key_source(facts: &Facts) -> KeySource {
    let file = |path: &Option<PathBuf>| path.clone().map(KeySource::KeyFile);
    facts
        .has_password_variable
        .then_some(KeySource::PasswordVariable)
        .or_else(|| file(&facts.key_file_variable))
        .or_else(|| facts.credential.clone().map(KeySource::Credential))
        .or_else(|| file(&facts.default_key_file))
        .unwrap_or(KeySource::Keyring)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Variable, configured provider, whether that is set up, whether this is a login.
    type Situation = (Option<&'static str>, &'static str, bool, bool);

    fn facts((variable, configured, setup_completed, may_set_up): Situation) -> Facts {
        Facts {
            provider_variable: variable.map(str::to_owned),
            provider_type: configured.to_owned(),
            setup_completed,
            may_set_up,
            ..Facts::default()
        }
    }

    fn hints() -> Hints {
        Hints::new(Path::new("/data/toolhive/secrets_key"))
    }

    fn outcome(facts: &Facts) -> (&'static str, &'static str) {
        let Decision { choice, why } = match choose(facts, &hints()) {
            Ok(decision) => decision,
            Err(SecretsError::NotSetUp { .. }) => return ("not set up", ""),
            Err(SecretsError::UnknownProvider { .. }) => return ("unknown", ""),
            Err(other) => panic!("{other}"),
        };
        let choice = match choice {
            Choice::Environment => "environment",
            Choice::Encrypted { set_up: false, .. } => "encrypted",
            Choice::Encrypted { set_up: true, .. } => "set up",
            Choice::OnePassword { .. } => "1password",
        };
        let why = match why {
            Why::Variable => "variable",
            Why::Configured => "configured",
            Why::SettingUp => "setting up",
        };
        (choice, why)
    }

    #[test]
    fn the_provider_is_chosen_by_this_table() {
        let refused = ("not set up", "");
        let table: [(Situation, (&str, &str)); 19] = [
            ((None, "", false, false), refused),
            ((None, "", false, true), ("set up", "setting up")),
            ((Some(""), "", false, false), refused),
            (
                (None, "encrypted", true, false),
                ("encrypted", "configured"),
            ),
            ((None, "encrypted", true, true), ("encrypted", "configured")),
            (
                (None, "environment", true, true),
                ("environment", "configured"),
            ),
            (
                (None, "1password", true, false),
                ("1password", "configured"),
            ),
            ((None, "1password", true, true), ("1password", "configured")),
            ((None, "none", true, false), ("unknown", "")),
            ((None, "environment", false, false), refused),
            (
                (Some("environment"), "", false, false),
                ("environment", "variable"),
            ),
            (
                (Some("environment"), "", false, true),
                ("environment", "variable"),
            ),
            (
                (Some("environment"), "encrypted", true, true),
                ("environment", "variable"),
            ),
            ((Some("encrypted"), "", false, false), refused),
            ((Some("encrypted"), "", false, true), ("set up", "variable")),
            (
                (Some("encrypted"), "1password", true, false),
                ("encrypted", "variable"),
            ),
            (
                (Some("1password"), "encrypted", true, true),
                ("1password", "variable"),
            ),
            ((Some("1password"), "", false, false), refused),
            ((Some("none"), "encrypted", true, false), ("unknown", "")),
        ];
        for (situation, expected) in table {
            assert_eq!(outcome(&facts(situation)), expected, "{situation:?}");
        }
    }

    #[test]
    fn the_key_comes_from_what_is_closest_to_the_person() {
        let path = |name: &str| Some(PathBuf::from(name));
        let mut facts = facts((None, "encrypted", true, false));
        let mut sources = vec![key_source(&facts)];
        let steps: [fn(&mut Facts, Option<PathBuf>); 4] = [
            |facts, path| facts.default_key_file = path,
            |facts, path| facts.credential = path,
            |facts, path| facts.key_file_variable = path,
            |facts, _| facts.has_password_variable = true,
        ];
        let names = ["/default", "/credential", "/variable", ""];
        for (step, name) in steps.into_iter().zip(names) {
            step(&mut facts, path(name));
            sources.push(key_source(&facts));
        }
        assert_eq!(
            sources,
            [
                KeySource::Keyring,
                KeySource::KeyFile("/default".into()),
                KeySource::Credential("/credential".into()),
                KeySource::KeyFile("/variable".into()),
                KeySource::PasswordVariable,
            ]
        );
    }

    #[test]
    fn an_unknown_provider_is_answered_as_the_go_program_does() {
        let error = choose(&facts((Some("none"), "", true, false)), &hints()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid secrets provider type: none (valid types: encrypted, 1password, environment)"
        );
    }

    #[cfg(unix)]
    #[test]
    fn w20_a_machine_with_nothing_set_up_is_told_what_to_type() {
        let error = choose(&facts((None, "", false, false)), &hints()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no secret store is set up; type: thv secret setup, or create a key file, by typing: \
             (umask 077; mkdir -p '/data/toolhive'; head -c 32 /dev/urandom | base64 > '/data/toolhive/secrets_key'), \
             or type: export TOOLHIVE_SECRETS_PASSWORD='<password>' (wherever thv runs, thv serve included)"
        );
    }
}
