//! `thv secret setup`, `provider`, `reset-keyring` and `upgrade-store`: which store keeps the secrets, where
//! its key is, and in which form its file is.

use secrecy::SecretString;
use thv_secrets::keyring::KeyringError;
use thv_secrets::select::KeySource;
use thv_secrets::{Form, SecretsError, SetUp, StoreKind, UserSecrets};

use crate::failure::CommandError;
use crate::input;
use crate::output::{NOTICE, Output};

const BANNER: &str = "\
Secrets can be kept in one of three places:

  encrypted    a file on this machine, encrypted with a key from the keyring, a key file or a variable
  1password    the vaults of a 1Password service account (read-only)
  environment  variables named TOOLHIVE_SECRET_<name> (read-only)
";

/// Asks which provider it shall be, until the answer is one.
pub(super) fn ask(secrets: &UserSecrets, output: &mut Output) -> Result<(), CommandError> {
    output.remark(BANNER);
    let provider = loop {
        let prompt = "Enter provider (encrypted/1password/environment): ";
        let Some(answer) = input::answer(prompt, output)? else {
            return Err(CommandError::Usage(
                "no provider was named; without a terminal use `thv secret provider <name>`"
                    .to_owned(),
            ));
        };
        match StoreKind::parse(&answer) {
            Ok(provider) => break provider,
            Err(error) => output.remark(&error.to_string()),
        }
    };
    let done = set_up(secrets, provider, None)?;
    output.remark(&format!(
        "✓ Secrets provider '{provider}' has been successfully configured!"
    ));
    tell_where_the_key_is(&done, output);
    Ok(())
}

/// Sets the provider up without asking which.
pub(super) fn provider(
    secrets: &UserSecrets,
    name: &str,
    password_stdin: bool,
    output: &mut Output,
) -> Result<(), CommandError> {
    let provider = StoreKind::parse(name)?;
    if password_stdin && provider != StoreKind::Encrypted {
        return Err(CommandError::Usage(
            "--password-stdin goes with the encrypted provider".to_owned(),
        ));
    }
    let password = if password_stdin {
        let password = input::secret("Enter password (input will be hidden): ")?;
        if secrecy::ExposeSecret::expose_secret(&password).is_empty() {
            return Err(CommandError::EmptySecret);
        }
        Some(password)
    } else {
        None
    };
    let done = set_up(secrets, provider, password)?;
    tell_where_the_key_is(&done, output);
    Ok(())
}

/// Sets up. Where there are secrets whose password is nowhere to be found, a person is asked for it.
fn set_up(
    secrets: &UserSecrets,
    provider: StoreKind,
    password: Option<SecretString>,
) -> Result<SetUp, CommandError> {
    match secrets.secrets().set_up(provider, password) {
        Err(SecretsError::Locked { .. } | SecretsError::KeyringUnavailable { .. })
            if input::is_terminal() =>
        {
            let prompt =
                "Enter the password of the secrets that are there (input will be hidden): ";
            let password = input::secret(prompt)?;
            Ok(secrets.secrets().set_up(provider, Some(password))?)
        }
        settled => Ok(settled?),
    }
}

/// Silent where all is as people expect.
fn tell_where_the_key_is(done: &SetUp, output: &mut Output) {
    if let Some(place) = &done.key
        && place.source != KeySource::Keyring
    {
        output.remark(&format!(
            "The key of the secrets comes from {}.",
            place.described
        ));
    }
}

pub(super) fn reset_keyring(
    secrets: &UserSecrets,
    yes: bool,
    output: &mut Output,
) -> Result<(), CommandError> {
    let cleared = match secrets.secrets().reset_keyring(yes) {
        Err(SecretsError::Abandoned { reason }) => {
            return Err(CommandError::KeyringInUse { reason });
        }
        settled => settled?,
    };
    let mut kept = Vec::new();
    for keyring in cleared {
        match keyring.outcome {
            Ok(_) => {}
            Err(KeyringError::Absent { cause }) => output.remark_styled(
                NOTICE,
                "Note",
                &format!("{} is not there: {cause}", keyring.keyring),
            ),
            Err(error) => kept.push(format!("{}: {error}", keyring.keyring)),
        }
    }
    if kept.is_empty() {
        return Ok(());
    }
    Err(CommandError::KeyringKept {
        cause: kept.join("; "),
    })
}

pub(super) fn upgrade(
    secrets: &UserSecrets,
    undo: bool,
    output: &mut Output,
) -> Result<(), CommandError> {
    let wanted = if undo {
        Form::One
    } else {
        Form::two().map_err(|error| SecretsError::NoRandomness {
            cause: error.to_string(),
        })?
    };
    let done = secrets.secrets().rewrite(wanted)?;
    output.remark(&format!("The secrets file is in form {}.", done.form));
    if let Some(backup) = done.backup {
        output.remark(&format!("The file as it was is {}.", backup.display()));
        if !undo {
            output.remark("Delete it once all works: it still opens as easily as before.");
        }
    }
    Ok(())
}
