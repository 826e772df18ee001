//! The keychain of macOS, through its own program `security`.
//!
//! The Go program uses the same program, and an item's list of trusted programs holds it: reading the item in any
//! other way would ask the person each time. The password is an argument of nobody's process: it goes in by standard
//! input, encoded, as the Go program encodes it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use thv_config::{Clock, World};
use zeroize::Zeroizing;

use super::{ENTRY, Keyring, KeyringError};
use crate::program::{self, NoAnswer, Question};

/// The Go program's two encodings: base64 is written, hexadecimal digits are what older versions wrote.
const BASE64: &str = "go-keyring-base64:";
const HEXADECIMAL: &str = "go-keyring-encoded:";
/// The keychain may be waiting for a person. Whoever asks it has a deadline of their own, which is shorter.
const LIMIT: Duration = Duration::from_mins(1);
const ANSWER_MAX_BYTES: u64 = 64 * 1024;

/// The login keychain of this user.
pub struct Keychain {
    program: PathBuf,
    home: OsString,
    clock: Arc<dyn Clock>,
}

impl Keychain {
    /// The keychain that `security` finds for the user with this environment.
    pub fn new(program: impl Into<PathBuf>, world: &World) -> Self {
        Self {
            program: program.into(),
            home: world.env.home_dir().unwrap_or_default().into(),
            clock: Arc::clone(&world.clock),
        }
    }

    fn ask(&self, arguments: &[&str], input: &[u8]) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        let question = Question {
            program: &self.program,
            arguments,
            variables: &[
                ("HOME", &self.home),
                ("PATH", OsStr::new("/usr/bin:/bin:/usr/sbin:/sbin")),
            ],
            input,
            limit: LIMIT,
            max_bytes: ANSWER_MAX_BYTES,
        };
        program::ask(&question, self.clock.as_ref())
    }
}

impl fmt::Debug for Keychain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Keychain")
    }
}

impl Keyring for Keychain {
    fn name(&self) -> &'static str {
        "the keychain"
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn password(&self, _may_ask: bool) -> Result<Option<SecretString>, KeyringError> {
        let find = ["find-generic-password", "-s", ENTRY, "-w", "-a", ENTRY];
        match self.ask(&find, b"") {
            Ok(answer) => decode(&answer),
            Err(NoAnswer::Failed(said)) if said.contains("could not be found") => Ok(None),
            Err(failure) => Err(trouble(failure)),
        }
    }

    fn offer_password(
        &self,
        password: &SecretString,
        still_wanted: &dyn Fn() -> bool,
    ) -> Result<(), KeyringError> {
        if !still_wanted() {
            return Err(KeyringError::Failed {
                cause: "it was unlocked too late".to_owned(),
            });
        }
        let encoded = Zeroizing::new(STANDARD.encode(password.expose_secret()));
        // Without `-U` an item that is there stays.
        let command = Zeroizing::new(format!(
            "add-generic-password -s {ENTRY} -a {ENTRY} -w {BASE64}{}\n",
            encoded.as_str()
        ));
        match self.ask(&["-i"], command.as_bytes()) {
            Ok(_) => Ok(()),
            Err(NoAnswer::Failed(said)) if said.contains("already exists") => Ok(()),
            Err(failure) => Err(trouble(failure)),
        }
    }

    fn clear(&self) -> Result<bool, KeyringError> {
        let delete = ["delete-generic-password", "-s", ENTRY, "-a", ENTRY];
        match self.ask(&delete, b"") {
            Ok(_) => Ok(true),
            Err(NoAnswer::Failed(said)) if said.contains("could not be found") => Ok(false),
            Err(failure) => Err(trouble(failure)),
        }
    }
}

/// The password in an answer: encoded, or as it is.
fn decode(answer: &[u8]) -> Result<Option<SecretString>, KeyringError> {
    let no_text = || KeyringError::Failed {
        cause: "the item toolhive is no text".to_owned(),
    };
    let text = std::str::from_utf8(answer)
        .map_err(|_| no_text())?
        .trim_end_matches('\n');
    let bytes = if let Some(encoded) = text.strip_prefix(BASE64) {
        STANDARD.decode(encoded).map_err(|_| no_text())?
    } else if let Some(digits) = text.strip_prefix(HEXADECIMAL) {
        unhex(digits).ok_or_else(no_text)?
    } else {
        text.as_bytes().to_vec()
    };
    let bytes = Zeroizing::new(bytes);
    match std::str::from_utf8(&bytes) {
        Ok("") => Ok(None),
        Ok(password) => Ok(Some(password.into())),
        Err(_) => Err(no_text()),
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = digits
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect::<Option<_>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

fn trouble(failure: NoAnswer) -> KeyringError {
    match failure {
        NoAnswer::Failed(said) if said.contains("User interaction is not allowed") => {
            KeyringError::Locked
        }
        NoAnswer::NotStarted(cause) => KeyringError::Absent { cause },
        NoAnswer::Failed(said) => KeyringError::Failed {
            cause: said.lines().next().unwrap_or_default().to_owned(),
        },
        NoAnswer::TimedOut => KeyringError::Failed {
            cause: format!("it did not answer within {LIMIT:?}"),
        },
        NoAnswer::TooLong => KeyringError::Failed {
            cause: "it answered too much".to_owned(),
        },
        NoAnswer::Broken(cause) => KeyringError::Failed { cause },
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use thv_config::disk::write_atomic;
    use thv_config::{MapEnv, SystemClock};

    const STAND_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/keychain/security");

    fn keychain(home: &Path) -> Keychain {
        let world = World::new(SystemClock::new(), MapEnv::new().with_home(home));
        Keychain::new(STAND_IN, &world)
    }

    fn held(keychain: &Keychain) -> Option<String> {
        let password = keychain.password(false).unwrap();
        password.map(|password| password.expose_secret().to_owned())
    }

    #[test]
    fn a_password_is_kept_as_the_go_program_keeps_it_and_is_in_no_argument() {
        let home = tempfile::tempdir().unwrap();
        let keychain = keychain(home.path());
        assert_eq!(held(&keychain), None);
        keychain
            .offer_password(&"pass word".into(), &|| true)
            .unwrap();
        let kept = std::fs::read_to_string(home.path().join("keychain")).unwrap();
        assert_eq!(kept, "go-keyring-base64:cGFzcyB3b3Jk\n");
        assert_eq!(held(&keychain).as_deref(), Some("pass word"));
        keychain
            .offer_password(&"another".into(), &|| true)
            .unwrap();
        assert_eq!(held(&keychain).as_deref(), Some("pass word"));
        let commands = std::fs::read_to_string(home.path().join("commands")).unwrap();
        assert!(!commands.contains("cGFzcyB3b3Jk"), "{commands}");
        assert!(keychain.clear().unwrap());
        assert!(!keychain.clear().unwrap());
        assert!(keychain.offer_password(&"late".into(), &|| false).is_err());
        assert_eq!(held(&keychain), None);
    }

    #[test]
    fn every_encoding_of_the_go_program_is_read() {
        let home = tempfile::tempdir().unwrap();
        let keychain = keychain(home.path());
        for (kept, password) in [
            ("go-keyring-base64:cGFzcyB3b3Jk\n", Some("pass word")),
            ("go-keyring-encoded:7061737320776f7264\n", Some("pass word")),
            ("pass word\n", Some("pass word")),
            ("\n", None),
        ] {
            write_atomic(&home.path().join("keychain"), kept.as_bytes()).unwrap();
            assert_eq!(held(&keychain).as_deref(), password, "{kept}");
        }
        for broken in [
            "go-keyring-base64:!",
            "go-keyring-encoded:7",
            "go-keyring-encoded:zz",
        ] {
            write_atomic(&home.path().join("keychain"), broken.as_bytes()).unwrap();
            assert!(keychain.password(false).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_locked_keychain_is_told_apart_from_an_empty_one() {
        let home = tempfile::tempdir().unwrap();
        write_atomic(&home.path().join("locked"), b"").unwrap();
        let keychain = keychain(home.path());
        assert_eq!(keychain.password(false).unwrap_err(), KeyringError::Locked);
        assert_eq!(keychain.clear().unwrap_err(), KeyringError::Locked);
    }
}
