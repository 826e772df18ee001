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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The key file in its default place, when there is one.
    pub default_key_file: Option<PathBuf>,
    /// Whether the encrypted store may be set up when nothing is: at a login, and only then.
    pub may_set_up: bool,
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
}

/// Where the key of the encrypted file comes from. There is no second choice: a password that is
/// given and wrong is an error, not a reason to look elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// The password in [`PASSWORD_VARIABLE`].
    PasswordVariable,
    /// The password in this file.
    KeyFile(PathBuf),
    /// The password in a keyring: the OS keyring, then the kernel's.
    Keyring,
}

impl KeySource {
    /// The source as people call it.
    pub fn describe(&self) -> String {
        match self {
            Self::PasswordVariable => PASSWORD_VARIABLE.to_owned(),
            Self::KeyFile(path) => format!("the key file {}", path.display()),
            Self::Keyring => "the keyring".to_owned(),
        }
    }
}

/// Decides. The provider variable wins over the configuration; before a set-up it may name only the
/// environment, unless a login is about to set the encrypted store up.
pub fn choose(facts: &Facts, hints: &Hints) -> Result<Choice, SecretsError> {
    let named = facts
        .provider_variable
        .as_deref()
        .filter(|name| !name.is_empty());
    let configured =
        Some(facts.provider_type.as_str()).filter(|name| facts.setup_completed && !name.is_empty());
    let provider = match (named, configured) {
        (Some(named), _) => named,
        (None, Some(configured)) => configured,
        (None, None) => ENCRYPTED,
    };
    match provider {
        ENVIRONMENT => Ok(Choice::Environment),
        ENCRYPTED if configured.is_some() || facts.may_set_up => Ok(Choice::Encrypted {
            key: key_source(facts),
            set_up: configured.is_none(),
        }),
        ENCRYPTED => Err(hints.not_set_up(false)),
        ONE_PASSWORD => Err(SecretsError::UnsupportedProvider {
            provider: provider.to_owned(),
            hint: hints.other_provider(),
        }),
        unknown => Err(SecretsError::UnknownProvider {
            provider: unknown.to_owned(),
        }),
    }
}

/// What is closest to the person wins: the variable, then the file somebody named, then the file in
/// its default place, then the keyring.
fn key_source(facts: &Facts) -> KeySource {
    if facts.has_password_variable {
        return KeySource::PasswordVariable;
    }
    facts
        .key_file_variable
        .clone()
        .or_else(|| facts.default_key_file.clone())
        .map_or(KeySource::Keyring, KeySource::KeyFile)
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
            has_password_variable: false,
            key_file_variable: None,
            default_key_file: None,
            may_set_up,
        }
    }

    fn hints() -> Hints {
        Hints::new(Path::new("/data/toolhive/secrets_key"))
    }

    fn outcome(facts: &Facts) -> &'static str {
        match choose(facts, &hints()) {
            Ok(Choice::Environment) => "environment",
            Ok(Choice::Encrypted { set_up: false, .. }) => "encrypted",
            Ok(Choice::Encrypted { set_up: true, .. }) => "set up",
            Err(SecretsError::NotSetUp { .. }) => "not set up",
            Err(SecretsError::UnsupportedProvider { .. }) => "unsupported",
            Err(SecretsError::UnknownProvider { .. }) => "unknown",
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn the_provider_is_chosen_by_this_table() {
        let table: [(Situation, &str); 17] = [
            ((None, "", false, false), "not set up"),
            ((None, "", false, true), "set up"),
            ((Some(""), "", false, false), "not set up"),
            ((None, "encrypted", true, false), "encrypted"),
            ((None, "encrypted", true, true), "encrypted"),
            ((None, "environment", true, true), "environment"),
            ((None, "1password", true, false), "unsupported"),
            ((None, "none", true, false), "unknown"),
            ((None, "environment", false, false), "not set up"),
            ((Some("environment"), "", false, false), "environment"),
            ((Some("environment"), "", false, true), "environment"),
            (
                (Some("environment"), "encrypted", true, true),
                "environment",
            ),
            ((Some("encrypted"), "", false, false), "not set up"),
            ((Some("encrypted"), "", false, true), "set up"),
            ((Some("encrypted"), "1password", true, false), "encrypted"),
            ((Some("1password"), "encrypted", true, true), "unsupported"),
            ((Some("none"), "encrypted", true, false), "unknown"),
        ];
        for (situation, expected) in table {
            assert_eq!(outcome(&facts(situation)), expected, "{situation:?}");
        }
    }

    #[test]
    fn the_key_comes_from_what_is_closest_to_the_person() {
        let (named, usual) = (PathBuf::from("/run/key"), PathBuf::from("/data/key"));
        let mut facts = facts((None, "encrypted", true, false));
        let mut sources = Vec::new();
        sources.push(key_source(&facts));
        facts.default_key_file = Some(usual.clone());
        sources.push(key_source(&facts));
        facts.key_file_variable = Some(named.clone());
        sources.push(key_source(&facts));
        facts.has_password_variable = true;
        sources.push(key_source(&facts));
        assert_eq!(
            sources,
            [
                KeySource::Keyring,
                KeySource::KeyFile(usual),
                KeySource::KeyFile(named),
                KeySource::PasswordVariable
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
            "no secret store is set up; create a key file, by typing: \
             (umask 077; mkdir -p '/data/toolhive'; head -c 32 /dev/urandom | base64 > '/data/toolhive/secrets_key'), \
             or type: export TOOLHIVE_SECRETS_PASSWORD='<password>' (wherever thv runs, thv serve included), \
             then type: thv registry login"
        );
    }
}
