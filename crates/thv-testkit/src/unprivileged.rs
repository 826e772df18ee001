//! Running something as a user who owns nothing: modes of files mean nothing to root, who runs the tests in a container.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::home::write_program;

/// `nobody` and its group, on every distribution.
const NOBODY: &str = "65534";

/// Completes the arguments of `setpriv`, when this process has rights to give up.
pub(crate) fn give_up_rights(setpriv: &mut Command) {
    setpriv.args(["--no-new-privs"]);
    if rustix::process::geteuid().is_root() {
        setpriv.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
    }
}

/// Lets everybody read and write a folder.
pub fn open_to_all(folder: &Path) {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777))
        .expect("a folder of ours");
}

/// Lets everybody read a folder and those below it, and nobody but root write to them.
pub fn close_to_writers(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("a folder of ours") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            close_to_writers(&path);
        }
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o555))
        .expect("a folder of ours");
}

/// An executable in `folder` that runs `binary` with all its arguments and its environment, as a user who owns nothing.
///
/// # Panics
/// When the binary cannot be put where that user can read it.
pub fn install(binary: &str, folder: &Path) -> PathBuf {
    let reachable = folder.join("thv-binary");
    // A link costs nothing; it needs the same file system.
    if std::fs::hard_link(binary, &reachable).is_err() {
        std::fs::copy(binary, &reachable).expect("a copy of the binary");
    }
    let mut setpriv = Command::new("/usr/bin/setpriv");
    setpriv.args(["--pdeathsig", "KILL"]);
    give_up_rights(&mut setpriv);
    let words: Vec<_> = std::iter::once(setpriv.get_program())
        .chain(setpriv.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    let script = format!(
        "#!/bin/sh\nexec {} -- '{}' \"$@\"\n",
        words.join(" "),
        reachable.display()
    );
    let path = folder.join("thv");
    write_program(&path, &script);
    path
}
