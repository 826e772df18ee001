//! Listening on a Unix socket, for its user alone unless somebody has opened it to others. The file at its path is removed only when it is a socket that
//! nobody answers at, and at the end only when it is still the one we made (W39): a successor
//! may have put its own there meanwhile.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use tokio::net::{UnixListener, UnixStream};

use super::{Acceptor, ListenError, Listener};
use crate::edge::HostPolicy;
use crate::limits;

/// The mode that clients of the Go program find. What it lets the user's own group do, [`admits`] does not, from the first
/// connection on, which may come before the mode is set.
const SOCKET_MODE: u32 = 0o660;

/// The mode of a missing parent directory, as in the Go program.
const PARENT_MODE: u32 = 0o750;

/// The user who may do everything anyway.
const ROOT: u32 = 0;

/// The mode's bits by which a group, and everybody, may connect.
const GROUP_CONNECTS: u32 = 0o020;
const ALL_CONNECT: u32 = 0o002;

/// A listening socket and the file that is its name.
#[derive(Debug)]
pub(super) struct Bound {
    listener: UnixListener,
    file: SocketFile,
}

#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: Identity,
    /// The group that it was made in: the process's own, or its directory's.
    group: u32,
}

/// Device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity(u64, u64);

/// Binds a socket at `path`, creating missing parent directories.
pub(super) async fn bind(path: &Path) -> Result<Listener, ListenError> {
    let given = path.to_owned();
    let failed = |cause: io::Error| ListenError::Bind {
        address: given.display().to_string(),
        cause,
    };
    let path = {
        let given = given.clone();
        blocking(move || absolute(&given)).await.map_err(failed)?
    };
    let Some(url) = path.to_str().map(url_of) else {
        return Err(ListenError::PathNotText { path });
    };
    make_room(&path).await?;
    let bound = blocking(move || bind_at(path)).await.map_err(failed)?;
    Ok(Listener {
        acceptor: Acceptor::Unix(bound),
        url,
        hosts: HostPolicy::Any,
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

/// The path with its directory resolved, so that readers of the record find it from anywhere.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path does not name a file",
        ));
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(PARENT_MODE)
        .create(parent)?;
    Ok(parent.canonicalize()?.join(name))
}

fn url_of(path: &str) -> String {
    let escaped = path
        .split('/')
        .map(|part| {
            percent_encoding::utf8_percent_encode(part, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
                .replace("%2D", "-")
                .replace("%2E", ".")
                .replace("%5F", "_")
        })
        .collect::<Vec<_>>()
        .join("/");
    format!("unix://{escaped}")
}

/// Sees to it that nothing lies at `path`, or says why something must stay there.
async fn make_room(path: &Path) -> Result<(), ListenError> {
    let failed = |cause: io::Error| ListenError::Bind {
        address: path.display().to_string(),
        cause,
    };
    let tries = limits::PREDECESSOR_TIME.as_millis() / limits::PREDECESSOR_PAUSE.as_millis();
    for _ in 0..=tries {
        let there = {
            let path = path.to_owned();
            blocking(move || occupant(&path)).await.map_err(failed)?
        };
        let identity = match there {
            Occupant::Nothing => return Ok(()),
            Occupant::OtherFile => {
                return Err(ListenError::NotASocket {
                    path: path.to_owned(),
                });
            }
            Occupant::Socket(identity) => identity,
        };
        let connected =
            tokio::time::timeout(limits::PREDECESSOR_TIME, UnixStream::connect(path)).await;
        match connected {
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let path = path.to_owned();
                blocking(move || remove(&path, identity))
                    .await
                    .map_err(failed)?;
                return Ok(());
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(Err(error)) => return Err(failed(error)),
            // Somebody answers; it may be a predecessor on its way out.
            Ok(Ok(_)) | Err(_) => tokio::time::sleep(limits::PREDECESSOR_PAUSE).await,
        }
    }
    Err(ListenError::SocketInUse {
        path: path.to_owned(),
    })
}

enum Occupant {
    Nothing,
    Socket(Identity),
    OtherFile,
}

fn occupant(path: &Path) -> io::Result<Occupant> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.file_type().is_socket() => {
            Ok(Occupant::Socket(Identity(metadata.dev(), metadata.ino())))
        }
        Ok(_) => Ok(Occupant::OtherFile),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Occupant::Nothing),
        Err(error) => Err(error),
    }
}

/// Removes the socket at `path` if it is still the one meant.
fn remove(path: &Path, identity: Identity) -> io::Result<()> {
    match occupant(path)? {
        Occupant::Socket(found) if found == identity => std::fs::remove_file(path),
        _ => Ok(()),
    }
}

fn bind_at(path: PathBuf) -> io::Result<Bound> {
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    let metadata = path.symlink_metadata()?;
    let file = SocketFile {
        identity: Identity(metadata.dev(), metadata.ino()),
        group: metadata.gid(),
        path,
    };
    std::fs::set_permissions(&file.path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    listener.set_nonblocking(true)?;
    Ok(Bound {
        listener: UnixListener::from_std(listener)?,
        file,
    })
}

/// Whether a process of `peer` may talk to a server of `ours`, whoever else may.
fn admits(peer: u32, ours: u32) -> bool {
    peer == ours || peer == ROOT
}

/// Whether somebody has opened the socket since it was made, to everybody or to another group than `at_first`: for a reverse
/// proxy, for example. Then the system decides, by the mode, who gets this far.
fn is_opened(mode: u32, group: u32, at_first: u32) -> bool {
    mode & ALL_CONNECT != 0 || mode & GROUP_CONNECTS != 0 && group != at_first
}

// === impl Bound ===

impl Bound {
    /// The next connection of somebody who may have one. Those of others are closed.
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            match stream.peer_cred() {
                Ok(peer) if admits(peer.uid(), geteuid().as_raw()) => return Ok(stream),
                Ok(_) if self.file.is_opened().await => return Ok(stream),
                Ok(peer) => {
                    tracing::warn!(uid = peer.uid(), "a connection of another user is closed");
                }
                Err(error) => tracing::warn!(%error, "a connection of nobody knows whom is closed"),
            }
        }
    }
}

// === impl SocketFile ===

impl SocketFile {
    /// As it is now: what somebody closes again is closed.
    async fn is_opened(&self) -> bool {
        let Ok(file) = tokio::fs::symlink_metadata(&self.path).await else {
            return false;
        };
        Identity(file.dev(), file.ino()) == self.identity
            && is_opened(file.mode(), file.gid(), self.group)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path, self.identity) {
            tracing::debug!(%error, path = %self.path.display(), "the socket could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_made_with_its_directory_and_removed_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a b/thv.sock");
        let listener = bind(&path).await.unwrap();
        let mode = path.metadata().unwrap().mode() & 0o777;
        assert_eq!(mode, SOCKET_MODE);
        assert!(listener.url().starts_with("unix:///"), "{}", listener.url());
        assert!(
            listener.url().ends_with("/a%20b/thv.sock"),
            "{}",
            listener.url()
        );
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn case_67_a_socket_is_for_its_user_and_root() {
        for (peer, ours, admitted) in [
            (1000, 1000, true),
            (0, 1000, true),
            (0, 0, true),
            (1001, 1000, false),
            (1000, 0, false),
            (u32::MAX, 1000, false),
        ] {
            assert_eq!(admits(peer, ours), admitted, "{peer} at {ours}");
        }
    }

    #[test]
    fn case_67_an_operator_can_open_a_socket_to_a_group_or_to_all() {
        const OURS: u32 = 1000;
        for (mode, group, opened) in [
            (SOCKET_MODE, OURS, false),
            (0o600, 33, false),
            (SOCKET_MODE, 33, true),
            (0o666, OURS, true),
            (0o664, OURS, false),
            (0o140_660, 33, true),
        ] {
            assert_eq!(is_opened(mode, group, OURS), opened, "{mode:o} {group}");
        }
    }

    #[tokio::test]
    async fn w39_a_file_that_is_no_socket_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        thv_config::disk::write_atomic(&path, b"keep me").unwrap();
        let error = bind(&path).await.unwrap_err();
        assert!(matches!(error, ListenError::NotASocket { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"keep me");
    }

    #[tokio::test]
    async fn a_socket_that_nobody_answers_at_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("thv.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _listener = bind(&path).await.unwrap();
        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn w38_a_socket_that_somebody_answers_at_is_refused_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("thv.sock");
        let _first = bind(&path).await.unwrap();
        let error = bind(&path).await.unwrap_err();
        assert!(matches!(error, ListenError::SocketInUse { .. }), "{error}");
        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_successors_socket_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("thv.sock");
        let first = bind(&path).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let _second = bind(&path).await.unwrap();
        drop(first);
        UnixStream::connect(&path).await.unwrap();
    }
}
