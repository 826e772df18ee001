//! A foreign server program in the foreground: started without rights, in a folder of its own, and ended with the test.
//!
//! What it is told stands in the files that `nginx` and `squid` write; here are only its start, its log and its end.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::unprivileged;
use crate::wait::{PATIENCE, until};

/// The folder and the process. Dropped, the process is killed and reaped; the kernel kills it when the test dies.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    folder: TempDir,
}

/// A folder that a process without rights can write to.
pub(crate) fn folder(program: &str) -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix(&format!("{program}-"))
        .tempdir()
        .expect("a temporary directory");
    unprivileged::open_to_all(folder.path());
    folder
}

impl Daemon {
    /// Starts `program` and waits until it answers on this port of 127.0.0.1.
    ///
    /// # Panics
    /// When the program is missing, ends, or does not get ready; with what it wrote.
    pub(crate) async fn start(
        program: &'static str,
        folder: TempDir,
        arguments: &[&str],
        port: u16,
    ) -> Self {
        let said = std::fs::File::create(folder.path().join("said")).expect("a file of ours");
        // System programs are in places that a user's PATH may lack.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        unprivileged::give_up_rights(&mut command);
        let child = command
            .arg("--")
            .arg(program)
            .args(arguments)
            .env_clear()
            .env("PATH", path)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(said.try_clone().expect("a file of ours"))
            .stderr(said)
            .spawn()
            .expect("setpriv, of util-linux");
        let mut daemon = Daemon { child, folder };
        until(&format!("{program} to listen"), PATIENCE, || {
            let ended = daemon.child.try_wait().ok().flatten();
            assert!(
                ended.is_none(),
                "{program} ended (scripts/test installs it): {}",
                daemon.said()
            );
            let listens = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
            std::future::ready(listens.then_some(()))
        })
        .await;
        daemon
    }

    /// A file in its folder, as it is now; empty when there is none.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn said(&self) -> String {
        [self.read("said"), self.read("error.log")].concat()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A path as text.
pub(crate) fn text(path: &Path) -> String {
    path.display().to_string()
}
