//! A desktop session of its own for one test: a message bus and, on it, a real GNOME keyring.
//!
//! `scripts/test` installs both; without them the tests that need a keyring fail, they are not skipped. Programs find
//! them through the environment of [`Session::env`] only.

use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::wait::{PATIENCE, until};

/// A bus, perhaps with a keyring. Both end when it is dropped.
#[derive(Debug)]
pub struct Session {
    folder: TempDir,
    address: String,
    bus: Child,
    keyring: Option<Child>,
}

impl Session {
    /// A bus with an unlocked, empty keyring.
    ///
    /// # Panics
    /// When one of the programs is missing or does not get ready.
    pub async fn unlocked() -> Self {
        let mut session = Self::without_keyring();
        session.unlock("test-password").await;
        session
    }

    /// A bus on which nothing offers secrets, and on which nothing is started on demand.
    ///
    /// # Panics
    /// When the bus does not get ready.
    pub fn without_keyring() -> Self {
        // Sockets live here, so the path has to be short.
        let folder = tempfile::Builder::new()
            .prefix("kr-")
            .tempdir()
            .expect("a temporary directory");
        for name in ["run", "data/keyrings", "services"] {
            std::fs::create_dir_all(folder.path().join(name)).expect("a directory of ours");
        }
        std::fs::set_permissions(
            folder.path().join("run"),
            std::fs::Permissions::from_mode(0o700),
        )
        .expect("a directory of ours");
        let config = folder.path().join("bus.conf");
        std::fs::write(&config, bus_config(folder.path())).expect("a file of ours");
        let mut bus = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--nopidfile", "--print-address=1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon: scripts/test installs it");
        let mut address = String::new();
        BufReader::new(bus.stdout.take().expect("a pipe"))
            .read_line(&mut address)
            .expect("the bus's address");
        Session {
            folder,
            address: address.trim().to_owned(),
            bus,
            keyring: None,
        }
    }

    /// Starts the keyring with this password; a wrong one for the keyring that is there leaves it locked.
    ///
    /// # Panics
    /// When the keyring does not get ready.
    pub async fn unlock(&mut self, password: &str) {
        self.stop_keyring();
        let mut keyring = Command::new("gnome-keyring-daemon")
            .args(["--unlock", "--components=secrets", "--foreground"])
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .envs(self.env())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("gnome-keyring-daemon: scripts/test installs it");
        keyring
            .stdin
            .take()
            .expect("a pipe")
            .write_all(password.as_bytes())
            .expect("a daemon that reads its password");
        self.keyring = Some(keyring);
        until("the keyring to be on the bus", PATIENCE, || {
            std::future::ready(self.is_offered().then_some(()))
        })
        .await;
    }

    /// Ends the keyring; its file stays for the next [`Session::unlock`].
    pub fn stop_keyring(&mut self) {
        if let Some(mut keyring) = self.keyring.take() {
            let _ = keyring.kill();
            let _ = keyring.wait();
        }
    }

    /// Stops the keyring from answering, without ending it: every call to it hangs until [`Session::thaw`].
    pub fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Lets a frozen keyring answer again.
    pub fn thaw(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    /// The variables that lead a program to this session. `XDG_DATA_HOME` is the keyring's own business and not among
    /// those a test should set.
    pub fn env(&self) -> Vec<(String, String)> {
        let inside = |name: &str| self.folder.path().join(name).display().to_string();
        vec![
            ("DBUS_SESSION_BUS_ADDRESS".to_owned(), self.address.clone()),
            ("XDG_RUNTIME_DIR".to_owned(), inside("run")),
            ("XDG_DATA_HOME".to_owned(), inside("data")),
        ]
    }

    /// The variables for a program that has a home of its own: only the way to the bus.
    pub fn bus_env(&self) -> Vec<(String, String)> {
        let mut env = self.env();
        env.truncate(1);
        env
    }

    fn is_offered(&self) -> bool {
        Command::new("dbus-send")
            .arg(format!("--bus={}", self.address))
            .args([
                "--print-reply",
                "--dest=org.freedesktop.DBus",
                "/",
                "org.freedesktop.DBus.NameHasOwner",
                "string:org.freedesktop.secrets",
            ])
            .output()
            .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("true"))
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = self.keyring.as_ref().expect("a running keyring").id();
        crate::running::send(pid, signal);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop_keyring();
        let _ = self.bus.kill();
        let _ = self.bus.wait();
    }
}

/// A session bus with nothing from the machine: no services to start on demand, or a locked keyring would be started
/// by whoever asks for secrets first.
fn bus_config(folder: &Path) -> String {
    format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={folder}/run/bus</listen>
  <auth>EXTERNAL</auth>
  <servicedir>{folder}/services</servicedir>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#,
        folder = folder.display()
    )
}
