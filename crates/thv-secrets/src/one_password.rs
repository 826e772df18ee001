//! The vaults of a 1Password service account, read through 1Password's own program `op`: read-only.
//!
//! A secret's name is its reference, `op://<vault>/<item>/<field>`. The program gets the service account's
//! token in its environment, and of ours nothing else that it does not need. Names that belong to the system
//! never come here: see [`crate::select::Choice::OnePassword`].

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use thv_config::World;
use zeroize::Zeroizing;

use crate::environment::Variables;
use crate::error::SecretsError;
use crate::hint::Hints;
use crate::program::{self, NoAnswer, Question};
use crate::scope::SecretName;
use crate::seal::Sealer;
use crate::store::{Listed, SecretMap, SecretStore, StoreKind};

/// Holds the service account's token.
pub const TOKEN_VARIABLE: &str = "OP_SERVICE_ACCOUNT_TOKEN";
/// Names another program than the first `op` on the `PATH`.
pub const PROGRAM_VARIABLE: &str = "THV_OP_PROGRAM";
/// What every reference to a secret begins with.
const REFERENCE: &str = "op://";
/// What the program needs of our environment besides the token, to find its configuration and its way out.
const PASSED_ON: [&str; 9] = [
    "HOME",
    "PATH",
    "XDG_CONFIG_HOME",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "LOCALAPPDATA",
];
/// One secret is one question over the network.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// A list asks for every item; still within the time that a request has.
const LIST_LIMIT: Duration = Duration::from_secs(40);
/// A secret is a password or a key, at most a certificate chain.
const VALUE_MAX_BYTES: u64 = 1024 * 1024;
/// Thousands of items with their fields.
const LIST_MAX_BYTES: u64 = 32 * 1024 * 1024;

/// How the program says that there is no such vault, item or field. The Go program knows the first two.
const NOT_FOUND: [&str; 5] = [
    "not found",
    "does not exist",
    "isn't a",
    "could not find",
    "could not be found",
];

/// The store of the provider `1password`.
pub(crate) struct OnePasswordStore {
    world: World,
    variables: Variables,
    hints: Hints,
}

/// An item as the program lists it; everything else of it is ignored, its values too.
#[derive(Deserialize)]
struct Item {
    id: String,
    #[serde(default)]
    title: String,
    vault: Vault,
    #[serde(default)]
    fields: Vec<Field>,
}

#[derive(Deserialize)]
struct Vault {
    id: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Field {
    id: String,
    #[serde(default)]
    label: String,
}

impl OnePasswordStore {
    pub(crate) fn new(world: World, variables: Variables, hints: Hints) -> Self {
        Self {
            world,
            variables,
            hints,
        }
    }

    /// Runs the program, signed in as the service account.
    fn ask(
        &self,
        arguments: &[&str],
        input: &[u8],
        limit: Duration,
        max_bytes: u64,
    ) -> Result<Result<Zeroizing<Vec<u8>>, NoAnswer>, SecretsError> {
        let env = &self.world.env;
        let token = env
            .var(TOKEN_VARIABLE)
            .filter(|token| !token.is_empty())
            .map(Zeroizing::new)
            .ok_or_else(|| self.unusable(format!("{TOKEN_VARIABLE} is not set"), false))?;
        let program = match env.var(PROGRAM_VARIABLE).filter(|path| !path.is_empty()) {
            Some(path) => PathBuf::from(path),
            None => self.find_program()?,
        };
        let passed: Vec<(&str, OsString)> = PASSED_ON
            .into_iter()
            .filter_map(|name| Some((name, OsString::from(env.var(name)?))))
            .collect();
        let mut variables: Vec<(&str, &OsStr)> = passed
            .iter()
            .map(|(name, value)| (*name, value.as_os_str()))
            .collect();
        variables.push((TOKEN_VARIABLE, OsStr::new(token.as_str())));
        let question = Question {
            program: &program,
            arguments,
            variables: &variables,
            input,
            limit,
            max_bytes,
        };
        Ok(program::ask(&question, self.world.clock.as_ref()))
    }

    /// The first `op` in an absolute directory of the `PATH`. Where we happen to stand is nobody's `PATH`.
    fn find_program(&self) -> Result<PathBuf, SecretsError> {
        let name = format!("op{}", std::env::consts::EXE_SUFFIX);
        let path = self.world.env.var("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(&name))
            .find(|program| program.is_file())
            .ok_or_else(|| self.unusable("its program `op` is not on the PATH".to_owned(), false))
    }

    fn read(&self, reference: &str) -> Result<Option<SecretString>, SecretsError> {
        let arguments = ["read", "--no-newline", reference];
        match self.ask(&arguments, b"", READ_LIMIT, VALUE_MAX_BYTES)? {
            Ok(bytes) => match std::str::from_utf8(&bytes) {
                Ok("") => Ok(None),
                Ok(value) => Ok(Some(value.into())),
                Err(_) => Err(self.unusable("the secret is no text".to_owned(), false)),
            },
            Err(NoAnswer::Failed(said)) if is_not_found(&said) => Ok(None),
            Err(failure) => Err(self.failed(failure, READ_LIMIT)),
        }
    }

    fn items(&self) -> Result<Vec<Item>, SecretsError> {
        let limit = LIST_LIMIT / 2;
        let listed = self
            .ask(
                &["item", "list", "--format", "json"],
                b"",
                limit,
                LIST_MAX_BYTES,
            )?
            .map_err(|failure| self.failed(failure, limit))?;
        let overview: Vec<Item> = serde_json::from_slice(&listed).map_err(|_| self.garbled())?;
        if overview.is_empty() {
            return Ok(overview);
        }
        let fields = self
            .ask(
                &["item", "get", "-", "--format", "json"],
                &listed,
                limit,
                LIST_MAX_BYTES,
            )?
            .map_err(|failure| self.failed(failure, limit))?;
        serde_json::Deserializer::from_slice(&fields)
            .into_iter::<Item>()
            .collect::<Result<_, _>>()
            .map_err(|_| self.garbled())
    }

    fn failed(&self, failure: NoAnswer, limit: Duration) -> SecretsError {
        match failure {
            NoAnswer::NotStarted(cause) => {
                self.unusable(format!("its program cannot be started: {cause}"), false)
            }
            NoAnswer::TimedOut => {
                self.unusable(format!("its program did not answer within {limit:?}"), true)
            }
            NoAnswer::TooLong => self.unusable("its program said too much".to_owned(), false),
            NoAnswer::Failed(said) => self.unusable(first_line(&said), false),
            NoAnswer::Broken(cause) => self.unusable(cause, true),
        }
    }

    fn garbled(&self) -> SecretsError {
        self.unusable("its program did not answer as expected".to_owned(), false)
    }

    fn unusable(&self, cause: String, transient: bool) -> SecretsError {
        SecretsError::OnePassword {
            cause,
            hint: self.hints.one_password(),
            transient,
        }
    }
}

impl fmt::Debug for OnePasswordStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OnePasswordStore")
    }
}

impl SecretStore for OnePasswordStore {
    fn kind(&self) -> StoreKind {
        StoreKind::OnePassword
    }

    /// A name that is no reference cannot be in a vault; only the environment can stand in for it.
    fn get(&self, name: &SecretName) -> Result<Option<SecretString>, SecretsError> {
        let stand_in = || {
            let variables = self.variables.as_fallback();
            variables.and_then(|variables| variables.get(name))
        };
        if name.is_system() {
            return Ok(stand_in());
        }
        if !name.as_str().starts_with(REFERENCE) {
            return match stand_in() {
                Some(value) => Ok(Some(value)),
                None => Err(SecretsError::InvalidReference {
                    name: name.to_string(),
                }),
            };
        }
        Ok(self.read(name.as_str())?.or_else(stand_in))
    }

    fn list(&self) -> Result<Vec<Listed>, SecretsError> {
        let mut listed = Vec::new();
        for item in self.items()? {
            for field in item.fields {
                let reference = format!("{REFERENCE}{}/{}/{}", item.vault.id, item.id, field.id);
                let label = if field.label.is_empty() {
                    &field.id
                } else {
                    &field.label
                };
                listed.push(Listed {
                    name: SecretName::user(&reference)?,
                    description: Some(format!("{} :: {} :: {label}", item.vault.name, item.title)),
                });
            }
        }
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(listed)
    }

    fn update(
        &self,
        _change: &mut dyn FnMut(&mut SecretMap) -> Result<(), SecretsError>,
    ) -> Result<(), SecretsError> {
        Err(self.hints.read_only(StoreKind::OnePassword))
    }

    /// Nothing can be written here; that the account can be used is proved by listing its vaults.
    fn probe(&self) -> Result<(), SecretsError> {
        self.ask(
            &["vault", "list", "--format", "json"],
            b"",
            READ_LIMIT,
            LIST_MAX_BYTES,
        )?
        .map(drop)
        .map_err(|failure| self.failed(failure, READ_LIMIT))
    }

    fn sealer(&self, _purpose: &str) -> Result<Sealer, SecretsError> {
        Err(self.hints.read_only(StoreKind::OnePassword))
    }
}

fn is_not_found(said: &str) -> bool {
    NOT_FOUND.iter().any(|words| said.contains(words))
}

/// What the program complains about, short enough to be shown.
fn first_line(said: &str) -> String {
    let line = said.lines().next().unwrap_or_default();
    line.chars()
        .filter(|character| !character.is_control())
        .take(200)
        .collect()
}

#[cfg(unix)]
#[cfg(test)]
mod tests;
