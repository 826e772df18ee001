//! A real nginx on loopback: the reverse proxy in front of `thv serve`, or the TLS in front of fakes that speak plain HTTP.
//!
//! `scripts/test` installs it; without it the tests that need one fail, they are not skipped.

use serde::Deserialize;

use crate::daemon::{Daemon, folder, text};

/// A running nginx. It ends when dropped.
#[derive(Debug)]
pub struct Nginx {
    daemon: Daemon,
    /// The port its servers listen on.
    pub port: u16,
}

/// A request as nginx saw it.
#[derive(Clone, Debug, Deserialize)]
pub struct Seen {
    /// The address of the client.
    pub from: String,
    /// `SUCCESS` when the client showed a certificate that is trusted, `NONE` when it showed none.
    pub certificate: String,
    /// The name it asked for.
    pub host: String,
    /// Method and path with query.
    pub request: String,
    /// The status of the answer.
    pub status: String,
    /// Who it said it is.
    pub agent: String,
}

impl Nginx {
    /// Starts nginx with these `server` blocks, in which `PORT` stands for the address to listen on.
    ///
    /// # Panics
    /// When nginx is missing or refuses the blocks, with what it says about them.
    pub async fn start(port: u16, servers: &str) -> Self {
        let folder = folder("nginx");
        let at = text(folder.path());
        let servers = servers.replace("PORT", &format!("127.0.0.1:{port}"));
        // One process, so that its end is the end of it.
        let config = format!(
            r#"daemon off;
master_process off;
pid {at}/pid;
error_log {at}/error.log;
events {{ worker_connections 256; }}
http {{
  log_format seen escape=json '{{"from":"$remote_addr","certificate":"$ssl_client_verify","host":"$host",'
    '"request":"$request_method $request_uri","status":"$status","agent":"$http_user_agent"}}';
  access_log {at}/access.log seen;
  client_body_temp_path {at}/body;
  proxy_temp_path {at}/proxy;
  fastcgi_temp_path {at}/fastcgi;
  uwsgi_temp_path {at}/uwsgi;
  scgi_temp_path {at}/scgi;
  server_tokens off;
{servers}
}}
"#
        );
        std::fs::write(folder.path().join("nginx.conf"), config).expect("a file of ours");
        let config = format!("{at}/nginx.conf");
        // Before the configuration is read, messages go where only root may write.
        let first_log = format!("{at}/error.log");
        let arguments = ["-c", &config, "-p", &at, "-e", &first_log];
        let daemon = Daemon::start("nginx", folder, &arguments, port).await;
        Nginx { daemon, port }
    }

    /// What it wrote to its error log so far.
    pub fn errors(&self) -> String {
        self.daemon.read("error.log")
    }

    /// What it was asked so far, in the order of the answers.
    pub fn requests(&self) -> Vec<Seen> {
        let log = self.daemon.read("access.log");
        // The last line may be half written.
        log.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}
