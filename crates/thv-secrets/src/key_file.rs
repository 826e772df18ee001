//! The key file: the password of the encrypted store as one line of text in a file of its own.
//!
//! Reading refuses a file that others may write, for whoever can choose the key can read what is written
//! with it. Making one is for machines without a keyring. Which file is meant is decided in
//! [`crate::select`].

use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};
use thv_config::disk::{
    ReadError, close_to_others, create_private_dir, read_bounded, write_atomic,
};
use zeroize::Zeroizing;

use crate::error::SecretsError;
use crate::keyring::Patience;

/// One line of text.
const MAX_BYTES: u64 = 4096;

/// The password in the file: its text without the line ends at its end.
pub(crate) fn read(path: &Path, patience: Patience) -> Result<SecretString, SecretsError> {
    let bytes = read_bounded(path, MAX_BYTES)
        .map(Zeroizing::new)
        .map_err(|error: ReadError| unusable(path, error.to_string()))?;
    check_mode(path, patience).map_err(|cause| unusable(path, cause))?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| unusable(path, "it is not UTF-8 text".to_owned()))?
        .trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(unusable(path, "it is empty".to_owned()));
    }
    Ok(text.into())
}

/// Makes the file, readable by its owner alone, in a directory that is closed to others. A file that is
/// there already is an error, and stays.
pub(crate) fn create(path: &Path, password: &SecretString) -> Result<(), SecretsError> {
    let failed = |error: std::io::Error| SecretsError::Io {
        action: "write",
        path: path.to_owned(),
        cause: error.to_string(),
    };
    let text = password.expose_secret();
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    if text.is_empty() || text.contains(['\r', '\n']) || length >= MAX_BYTES {
        return Err(SecretsError::UnfitPassword {
            path: path.to_owned(),
            limit: MAX_BYTES,
        });
    }
    if path.symlink_metadata().is_ok() {
        return Err(unusable(path, "it is there already".to_owned()));
    }
    if let Some(directory) = path.parent() {
        create_private_dir(directory).map_err(failed)?;
        close_to_others(directory).map_err(failed)?;
    }
    let mut line = Zeroizing::new(Vec::with_capacity(text.len() + 1));
    line.extend_from_slice(text.as_bytes());
    line.push(b'\n');
    write_atomic(path, &line).map_err(failed)
}

fn unusable(path: &Path, cause: String) -> SecretsError {
    SecretsError::KeyFile {
        path: path.to_owned(),
        cause,
    }
}

#[cfg(unix)]
fn check_mode(path: &Path, patience: Patience) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path)
        .map_err(|error| error.to_string())?
        .permissions()
        .mode();
    if mode & 0o022 != 0 {
        return Err(format!(
            "others may change it; type: chmod 600 '{}'",
            path.display()
        ));
    }
    // Said where a person is present, not with every request.
    if mode & 0o044 != 0 && patience == Patience::Login {
        tracing::warn!(path = %path.display(), "others may read the key file; chmod 600 would prevent that");
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_path: &Path, _patience: Patience) -> Result<(), String> {
    Ok(())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_key_file_is_private_and_so_is_its_directory() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("toolhive");
        std::fs::create_dir(&directory).unwrap();
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = directory.join("secrets_key");
        create(&path, &"password".into()).unwrap();
        assert_eq!((mode(&path), mode(&directory)), (0o600, 0o700));
        let read = read(&path, Patience::Request).unwrap();
        assert_eq!(read.expose_secret(), "password");
    }

    #[test]
    fn a_password_that_could_not_be_read_back_is_refused_before_anything_is_written() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("secrets_key");
        let long = "x".repeat(4096);
        for unfit in ["", "\n", "abc\n", "a\rb", long.as_str()] {
            let error = create(&path, &unfit.into()).unwrap_err();
            assert!(
                matches!(error, SecretsError::UnfitPassword { .. }),
                "{error}"
            );
            assert!(!path.exists());
        }
        create(&path, &"x".repeat(4095).into()).unwrap();
        read(&path, Patience::Request).unwrap();
    }

    #[test]
    fn a_key_file_that_is_there_is_never_replaced() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("secrets_key");
        create(&path, &"first".into()).unwrap();
        let error = create(&path, &"second".into()).unwrap_err();
        assert!(matches!(error, SecretsError::KeyFile { .. }), "{error}");
        let read = read(&path, Patience::Request).unwrap();
        assert_eq!(read.expose_secret(), "first");
    }
}
