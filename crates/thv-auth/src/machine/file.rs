//! Files of this machine that hold a token, a secret or a key: who else can change or read them, and reading them.
//!
//! A file that every user can change is not believed, because whoever wrote it would decide who we are. One that others can read, or that its
//! group or another owner can change, works, and is told in the status and by the doctor: containers, agents and user namespaces put
//! files there under numbers that are not ours. Links are followed, and root's files are as good as our own: a platform mounts the tokens of
//! workloads that way.

use std::fmt;
use std::fs::Metadata;
use std::path::Path;

#[cfg(unix)]
use rustix::fs::StatVfsMountFlags;
use secrecy::SecretString;
use thv_config::disk::{ReadError, read_bounded_if};

use super::secret::SecretFault;
use crate::limits::SECRET_MAX_BYTES;

/// The mode of a file that every user can change.
#[cfg(unix)]
const WORLD_WRITABLE: u32 = 0o002;

/// A file, looked at without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileSight {
    /// Nobody else can change or read it.
    Private,
    /// It is used, and there is something to say of it.
    #[cfg_attr(
        not(unix),
        expect(dead_code, reason = "there are no modes to say it of")
    )]
    Exposed(Remark),
    /// It is not there.
    Absent,
    /// It is not used.
    Refused(Remark),
}

/// What is wrong with a file, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remark {
    /// A clause for people.
    pub(crate) cause: String,
    /// What to type.
    pub(crate) fix: String,
}

impl FileSight {
    /// The file behind `path`. Blocks for as long as `stat` does.
    pub(crate) fn of(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => match judge(path, &metadata) {
                refused @ Self::Refused(_) => refused,
                _ if !may_read(path) => unreadable(path, "we may not read it".to_owned()),
                sight => sight,
            },
            Ok(_) => Self::Refused(Remark {
                cause: "it is not a regular file".to_owned(),
                fix: format!("put a file there: {}", path.display()),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::Absent,
            Err(error) => unreadable(path, error.to_string()),
        }
    }
}

fn unreadable(path: &Path, cause: String) -> FileSight {
    FileSight::Refused(Remark {
        cause,
        fix: format!(
            "let the user that this program runs as read {}",
            path.display()
        ),
    })
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; type: {}", self.cause, self.fix)
    }
}

/// The text of a file that holds one secret, without the line ends behind it. Blocks.
pub(crate) fn read_file(path: &Path) -> Result<SecretString, SecretFault> {
    let place = format!("the file {}", path.display());
    let read = read_bounded_if(path, SECRET_MAX_BYTES, |metadata| {
        match judge(path, metadata) {
            FileSight::Refused(remark) => Err(std::io::Error::other(remark.to_string())),
            FileSight::Private | FileSight::Exposed(_) | FileSight::Absent => Ok(()),
        }
    });
    let bytes = match read {
        Ok(bytes) => zeroize::Zeroizing::new(bytes),
        Err(error) => {
            return Err(SecretFault::Unusable {
                place,
                cause: match error {
                    ReadError::Io(error) => error.to_string(),
                    other => other.to_string(),
                },
            });
        }
    };
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).into()),
        Err(_) => Err(SecretFault::Unusable {
            place,
            cause: "it is no text".to_owned(),
        }),
    }
}

#[cfg(unix)]
fn judge(path: &Path, metadata: &Metadata) -> FileSight {
    use std::os::unix::fs::MetadataExt as _;
    let own = rustix::process::geteuid().as_raw();
    let mode = metadata.mode() & 0o7777;
    let is_fixed = || {
        let mount = rustix::fs::statvfs(path);
        mount.is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::RDONLY))
    };
    let is_fixed = mode & WORLD_WRITABLE != 0 && is_fixed();
    by_owner_and_mode(path, metadata.uid(), mode, own, is_fixed)
}

/// Windows has no modes; a file there is as private as its folder.
#[cfg(not(unix))]
fn judge(_path: &Path, _metadata: &Metadata) -> FileSight {
    FileSight::Private
}

/// Whether the file can be opened. A system that cannot say so is no reason not to try.
#[cfg(unix)]
fn may_read(path: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    let access = accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS);
    access != Err(rustix::io::Errno::ACCESS)
}

#[cfg(not(unix))]
fn may_read(_path: &Path) -> bool {
    true
}

/// `own` is who we are; `is_fixed` whether its file system is mounted for reading only, so that modes let nobody change it here. The group
/// of somebody else's file may read it: that is how we come to.
#[cfg(unix)]
fn by_owner_and_mode(path: &Path, owner: u32, mode: u32, own: u32, is_fixed: bool) -> FileSight {
    let path = path.display();
    let remark = |cause: &str, fix: String| Remark {
        cause: format!("{cause} (mode {mode:04o})"),
        fix,
    };
    if mode & WORLD_WRITABLE != 0 {
        let fix = format!("chmod go-w '{path}'");
        return if is_fixed {
            FileSight::Exposed(remark(
                "every user could change it where it is not mounted for reading only",
                fix,
            ))
        } else {
            FileSight::Refused(remark("every user of this machine can change it", fix))
        };
    }
    if owner != 0 && owner != own {
        return FileSight::Exposed(Remark {
            cause: format!(
                "it belongs to another user, who can change it (number {owner}, and this program runs as {own})"
            ),
            fix: format!("sudo chown {own} '{path}'"),
        });
    }
    if mode & 0o020 != 0 {
        let fix = format!("chmod g-w '{path}'");
        return FileSight::Exposed(remark("its group can change it", fix));
    }
    if mode & 0o004 != 0 {
        let fix = format!("chmod o-r '{path}'");
        return FileSight::Exposed(remark("every user of this machine can read it", fix));
    }
    if mode & 0o040 != 0 && owner == own {
        let fix = format!("chmod g-r '{path}'");
        return FileSight::Exposed(remark("its group can read it", fix));
    }
    FileSight::Private
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn case_126_what_everybody_can_change_is_refused_and_what_some_can_is_told() {
        let path = Path::new("/run/token");
        for (owner, mode, own, expected) in [
            (1000, 0o600, 1000, "private"),
            (1000, 0o400, 1000, "private"),
            (1000, 0o640, 1000, "its group can read it"),
            (1000, 0o644, 1000, "every user"),
            (1000, 0o660, 1000, "its group can change it"),
            (1000, 0o620, 1000, "its group can change it"),
            (1000, 0o602, 1000, "refused every user"),
            (1000, 0o666, 1000, "refused every user"),
            // Kubernetes: root's, read by way of the group or of everybody.
            (0, 0o644, 1000, "every user"),
            (0, 0o640, 1000, "private"),
            (0, 0o660, 1000, "its group can change it"),
            (0, 0o666, 1000, "refused every user"),
            (0, 0o600, 0, "private"),
            // An agent beside us, a file of the host in a container, and root's in a user namespace.
            (100, 0o640, 1000, "it belongs to another user"),
            (1000, 0o664, 0, "it belongs to another user"),
            (65534, 0o644, 1000, "it belongs to another user"),
            (1001, 0o777, 1000, "refused every user"),
        ] {
            let found = match by_owner_and_mode(path, owner, mode, own, false) {
                FileSight::Private => "private".to_owned(),
                FileSight::Exposed(remark) => remark.to_string(),
                FileSight::Refused(remark) => format!("refused {remark}"),
                FileSight::Absent => "absent".to_owned(),
            };
            assert!(
                found.starts_with(expected),
                "{owner} {mode:o} {own}: {found}"
            );
            assert!(
                found == "private" || found.contains("/run/token'"),
                "{found}"
            );
        }
        for owner in [0, 1000, 1001] {
            let found = by_owner_and_mode(path, owner, 0o777, 1000, true);
            assert!(matches!(found, FileSight::Exposed(_)), "{found:?}");
        }
    }

    #[test]
    fn a_file_that_everybody_can_change_is_not_read_and_the_end_of_a_link_counts() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, link) = (
            directory.path().join("data"),
            directory.path().join("token"),
        );
        thv_config::disk::write_atomic(&path, b"s3cret\n").expect("a file");
        symlink(&path, &link).expect("a link");
        assert_eq!(
            FileSight::of(&directory.path().join("x")),
            FileSight::Absent
        );
        assert!(matches!(
            FileSight::of(directory.path()),
            FileSight::Refused(_)
        ));
        for (mode, is_read) in [
            (0o600, true),
            (0o644, true),
            (0o640, true),
            (0o664, true),
            (0o646, false),
            (0o666, false),
        ] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("a mode");
            match read_file(&link) {
                Ok(text) => assert_eq!(text.expose_secret(), "s3cret"),
                Err(fault) => assert!(fault.to_string().contains("chmod go-w"), "{fault}"),
            }
            assert_eq!(read_file(&link).is_ok(), is_read, "{mode:o}");
        }
    }
}
