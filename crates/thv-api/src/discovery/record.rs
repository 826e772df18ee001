//! The record file: `{"url","pid","nonce","started_at"}`, readable by its owner alone, in a
//! directory that is closed to others. A server that wants a token of its callers adds `token`. A symbolic link at its path is never followed.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use thv_config::disk::{self, ReadError};

use super::token::CallerToken;
use crate::limits;

#[cfg(unix)]
const DIRECTORY_MODE: u32 = 0o700;
#[cfg(unix)]
const PARENT_MODE: u32 = 0o750;

/// What a running server tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// `http://<loopback address>:<port>`, `unix:///<absolute path>` or `npipe://<name>`.
    pub url: String,
    /// The server's process.
    pub pid: u32,
    /// What its health answer carries as `X-Toolhive-Nonce`.
    pub nonce: String,
    /// When it started, RFC 3339.
    pub started_at: String,
    /// What it wants of its callers, if it wants anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<CallerToken>,
}

/// What lies at the record's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Record(Record),
}

/// Creates the record's directory, or closes it to other users; tells whether that was needed.
pub(super) fn secure_directory(record: &Path) -> io::Result<bool> {
    let directory = record.parent().ok_or_else(no_file)?;
    let parent = directory.parent().ok_or_else(no_file)?;
    create(parent, &directory_options(true))?;
    create(directory, &directory_options(false))?;
    let metadata = directory.symlink_metadata()?;
    if !metadata.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::NotADirectory,
            format!("{} is not a directory", directory.display()),
        ));
    }
    disk::close_to_others(directory)
}

fn create(directory: &Path, options: &std::fs::DirBuilder) -> io::Result<()> {
    match options.create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn directory_options(parent: bool) -> std::fs::DirBuilder {
    let mut options = std::fs::DirBuilder::new();
    options.recursive(parent);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        options.mode(if parent { PARENT_MODE } else { DIRECTORY_MODE });
    }
    options
}

fn no_file() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the record's path names no file in a directory",
    )
}

fn refuse_link(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.file_type().is_symlink() => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a symbolic link",
        )),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reads the record.
pub(super) fn read(path: &Path) -> io::Result<Found> {
    refuse_link(path)?;
    let bytes = match disk::read_bounded(path, limits::MAX_RECORD_BYTES) {
        Ok(bytes) => bytes,
        Err(ReadError::NotFound) => return Ok(Found::Nothing),
        Err(error) => return Err(io::Error::other(error.to_string())),
    };
    Ok(Found::Record(serde_json::from_slice(&bytes)?))
}

/// Writes the record in one piece.
pub(super) fn write(path: &Path, record: &Record) -> io::Result<()> {
    refuse_link(path)?;
    disk::write_atomic(path, &serde_json::to_vec_pretty(record)?)
}

// === impl Record ===

impl Record {
    /// Whether the process exists. One with our own number does not count: we know that we did
    /// not write the record, so the number was used again.
    pub(super) fn is_process_alive(&self) -> bool {
        self.pid != std::process::id() && process_exists(self.pid)
    }
}

#[cfg(unix)]
fn process_exists(pid: u32) -> bool {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    match pid.map(rustix::process::test_kill_process) {
        // A process of another user exists too.
        Some(Ok(()) | Err(rustix::io::Errno::PERM)) => true,
        Some(Err(_)) | None => false,
    }
}

#[cfg(not(unix))]
fn process_exists(_: u32) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_the_shape_that_the_go_program_reads() {
        let record = Record {
            url: "http://127.0.0.1:52341".to_owned(),
            pid: 4242,
            nonce: "0123456789abcdef0123456789abcdef".to_owned(),
            started_at: "2026-03-19T16:22:54.123456789Z".to_owned(),
            token: None,
        };
        let text = String::from_utf8(serde_json::to_vec_pretty(&record).unwrap()).unwrap();
        insta::assert_snapshot!(text, @r#"
        {
          "url": "http://127.0.0.1:52341",
          "pid": 4242,
          "nonce": "0123456789abcdef0123456789abcdef",
          "started_at": "2026-03-19T16:22:54.123456789Z"
        }
        "#);
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_is_neither_read_nor_written() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target");
        disk::write_atomic(&target, b"{}").unwrap();
        let link = directory.path().join("server.json");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(read(&link).is_err());
        let record = Record {
            url: String::new(),
            pid: 1,
            nonce: String::new(),
            started_at: String::new(),
            token: None,
        };
        assert!(write(&link, &record).is_err());
        assert_eq!(std::fs::read(&target).unwrap(), b"{}");
    }

    #[cfg(unix)]
    #[test]
    fn f48_a_loose_directory_is_closed_and_that_is_told() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let record = root.path().join("toolhive/server/server.json");
        assert!(!secure_directory(&record).unwrap());
        let directory = record.parent().unwrap();
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(secure_directory(&record).unwrap());
        assert_eq!(
            directory.metadata().unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_finished_process_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert!(!process_exists(pid));
        assert!(process_exists(1));
        assert!(!process_exists(0));
    }
}
