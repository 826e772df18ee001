//! A real nginx in front of a server under test, as Debian ships it: one process, a directory of its own, and what the test
//! says about its locations.

use std::fmt::Write as _;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::running::{Drained, drain};
use crate::wait::until_true;

/// A running nginx. It ends when dropped.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    said: Drained,
    _directory: TempDir,
}

impl Nginx {
    /// An nginx that listens on `port` of 127.0.0.1 with these `location` blocks.
    ///
    /// # Panics
    /// When it is not installed, or does not get ready.
    pub async fn start(port: u16, locations: &str) -> Self {
        let directory = TempDir::new().expect("a directory");
        let at = |name: &str| directory.path().join(name).display().to_string();
        let mut config = String::new();
        // Its one process has to reach the socket of a server that is of this user alone.
        if rustix::process::geteuid().is_root() {
            config.push_str("user root;\n");
        }
        let _ = write!(
            config,
            "daemon off;\nmaster_process off;\npid {pid};\nerror_log stderr;\nevents {{ worker_connections 64; }}\n\
             http {{\naccess_log off;\n",
            pid = at("pid")
        );
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            let _ = writeln!(config, "{kind}_temp_path {};", at(kind));
        }
        let _ = write!(
            config,
            "server {{\nlisten 127.0.0.1:{port};\n{locations}\n}}\n}}\n"
        );
        let path = directory.path().join("nginx.conf");
        std::fs::write(&path, config).expect("a file");
        let mut child = Command::new("nginx")
            .arg("-e")
            .arg("stderr")
            .arg("-p")
            .arg(directory.path())
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nginx: scripts/test installs it");
        let said = drain(child.stderr.take().expect("a pipe"));
        until_true("nginx to listen, or to say why not", || {
            let ended = matches!(child.try_wait(), Ok(Some(_)));
            assert!(!ended, "nginx ended: {}", said.text());
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
        Nginx {
            child,
            said,
            _directory: directory,
        }
    }

    /// What it wrote to its error log so far.
    pub fn errors(&self) -> String {
        self.said.text()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
