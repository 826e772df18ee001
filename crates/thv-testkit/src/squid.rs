//! A real squid on loopback: the only way out of a corporate network.
//!
//! It lets tunnels through to the names under [`DOMAIN`], which only it can resolve: all of them are this machine. It
//! connects from an address of its own, [`SOURCE`], so that whoever is reached knows who came through it.
//! `scripts/test` installs it; without it the tests that need one fail, they are not skipped.

use crate::daemon::{Daemon, folder, text};

/// What the names end with that the proxy knows.
pub const DOMAIN: &str = "corp.test";
/// Where its connections come from.
pub const SOURCE: &str = "127.0.0.2";

/// Squid's helper for passwords, where Debian has it.
const CHECK_PASSWORD: &str = "/usr/lib/squid/basic_ncsa_auth";

/// A running squid. It ends when dropped.
#[derive(Debug)]
pub struct Squid {
    daemon: Daemon,
    /// What to put into `HTTPS_PROXY`.
    pub url: String,
}

impl Squid {
    /// Starts squid on this port, knowing these hosts of [`DOMAIN`].
    ///
    /// # Panics
    /// When squid is missing or does not get ready.
    pub async fn start(port: u16, hosts: &[&str]) -> Self {
        Self::start_with(port, hosts, None).await
    }

    /// The same, for this user with this password only.
    ///
    /// # Panics
    /// When squid is missing or does not get ready.
    pub async fn start_for(port: u16, hosts: &[&str], user: &str, password: &str) -> Self {
        Self::start_with(port, hosts, Some((user, password))).await
    }

    async fn start_with(port: u16, hosts: &[&str], user: Option<(&str, &str)>) -> Self {
        let folder = folder("squid");
        let at = text(folder.path());
        let members = match user {
            None => String::new(),
            Some((user, password)) => {
                let line = format!("{user}:{}\n", hashed(password));
                std::fs::write(folder.path().join("users"), line).expect("a file of ours");
                format!(
                    "auth_param basic program {CHECK_PASSWORD} {at}/users
auth_param basic children 1
acl members proxy_auth REQUIRED
http_access deny !members
"
                )
            }
        };
        // An unlimited number of files makes it reserve memory for each; name servers are asked for nothing.
        let config = format!(
            "http_port 127.0.0.1:{port}
hosts_file {at}/hosts
dns_nameservers 127.0.0.1
pid_filename none
logformat seen %rm %ru %>Hs
access_log stdio:{at}/access.log seen
cache_log {at}/error.log
cache deny all
cache_mem 8 MB
netdb_filename none
coredump_dir {at}
pinger_enable off
visible_hostname proxy.{DOMAIN}
max_filedescriptors 1024
acl inside dstdomain .{DOMAIN}
acl CONNECT method CONNECT
{members}http_access allow CONNECT inside
http_access deny all
tcp_outgoing_address {SOURCE}
"
        );
        std::fs::write(folder.path().join("squid.conf"), config).expect("a file of ours");
        let names = format!("127.0.0.1 {}\n", hosts.join(" "));
        std::fs::write(folder.path().join("hosts"), names).expect("a file of ours");
        let config = format!("{at}/squid.conf");
        // Its shared memory is named after the service, and two of one name are in each other's way.
        let service = format!("thv{port}");
        let arguments = ["-N", "-n", &service, "-f", &config];
        let daemon = Daemon::start("squid", folder, &arguments, port).await;
        Squid {
            daemon,
            url: format!("http://127.0.0.1:{port}"),
        }
    }

    /// What it was asked so far: `CONNECT registry.corp.test:8443 200`.
    pub fn requests(&self) -> Vec<String> {
        self.daemon
            .read("access.log")
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

/// A password in the form of `htpasswd` files.
fn hashed(password: &str) -> String {
    let output = std::process::Command::new("openssl")
        .args(["passwd", "-apr1", password])
        .output()
        .expect("openssl: scripts/test installs it");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
