//! The real program, as a user starts it: `thv serve` in a home of its own, and single commands beside it.
//!
//! A server is found the way other programs find it, through its discovery record; it is killed by its own pid
//! when the handle drops.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::client::{Address, Answer};
use crate::home::Home;
use crate::running::{Drained, drain, send};
use crate::wait::{PATIENCE, until, until_true};

/// How to start a server.
#[derive(Debug)]
pub struct Setup {
    binary: PathBuf,
    home: Arc<Home>,
    arguments: Vec<String>,
    env: Vec<(String, String)>,
    listen: Listen,
}

#[derive(Debug)]
enum Listen {
    AnyPort,
    Socket(PathBuf),
    Given,
}

impl Setup {
    /// `thv serve --port 0` in `home`. `binary` is `env!("CARGO_BIN_EXE_thv")` of the test.
    pub fn new(binary: &str, home: &Arc<Home>) -> Self {
        Setup {
            binary: PathBuf::from(binary),
            home: Arc::clone(home),
            arguments: Vec::new(),
            env: Vec::new(),
            listen: Listen::AnyPort,
        }
    }

    /// Adds an argument to `serve`.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets several environment variables.
    #[must_use]
    pub fn envs(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.env.extend(variables);
        self
    }

    /// Listens on a unix socket in place of a port.
    #[must_use]
    pub fn socket(mut self, path: &Path) -> Self {
        self.listen = Listen::Socket(path.to_owned());
        self
    }

    /// Adds no address argument at all: the caller's arguments have one.
    #[must_use]
    pub fn listen_as_given(mut self) -> Self {
        self.listen = Listen::Given;
        self
    }

    /// Starts the server and waits until its record names it.
    ///
    /// # Panics
    /// When it ends instead, or takes too long; with what it said on stderr.
    pub async fn start(self) -> Server {
        let record = self.record();
        let mut server = self.spawn();
        let pid = u64::from(server.child.id());
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(bytes) = std::fs::read(&record)
                && let Ok(found) = serde_json::from_slice::<Value>(&bytes)
                && found["pid"].as_u64() == Some(pid)
                && let Some(url) = found["url"].as_str()
            {
                server.address = Some(Address::from_record(url));
                return server;
            }
            if let Ok(Some(status)) = server.child.try_wait() {
                until_true("its last words", || server.stderr.is_complete()).await;
                panic!(
                    "the server ended with {status} before it was ready:\n{}",
                    server.stderr()
                );
            }
            assert!(
                Instant::now() < deadline,
                "no discovery record after {PATIENCE:?}:\n{}",
                server.stderr()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Where the server will say how to reach it: in the home, unless the environment leads elsewhere.
    fn record(&self) -> PathBuf {
        let elsewhere = |(name, _): &&(String, String)| name == "XDG_STATE_HOME";
        match self.env.iter().rfind(elsewhere) {
            Some((_, place)) => Path::new(place).join("toolhive/server/server.json"),
            None => self.home.server_record(),
        }
    }

    /// Starts the server and does not wait for anything.
    pub fn spawn(self) -> Server {
        let mut command = Command::new(&self.binary);
        command
            .arg("serve")
            .env_clear()
            .envs(self.home.env())
            .envs(self.env)
            .current_dir(self.home.path());
        match &self.listen {
            Listen::AnyPort => {
                command.args(["--port", "0"]);
            }
            Listen::Socket(path) => {
                command.arg(format!("--socket={}", path.display()));
            }
            Listen::Given => {}
        }
        command.args(&self.arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|cause| panic!("{}: {cause}", self.binary.display()));
        let stderr = drain(child.stderr.take().expect("a pipe"));
        let stdout = drain(child.stdout.take().expect("a pipe"));
        Server {
            binary: self.binary,
            home: self.home,
            child,
            stdout,
            stderr,
            address: None,
        }
    }
}

/// A server process. Dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Server {
    binary: PathBuf,
    home: Arc<Home>,
    child: Child,
    stdout: Drained,
    stderr: Drained,
    address: Option<Address>,
}

impl Server {
    /// `thv serve --port 0` in a fresh home prepared by `prepare`.
    pub async fn in_new_home(binary: &str, prepare: impl FnOnce(&Home)) -> Server {
        let home = Arc::new(Home::new());
        prepare(&home);
        Setup::new(binary, &home).start().await
    }

    /// Where it listens.
    ///
    /// # Panics
    /// When it was only spawned, not waited for.
    pub fn address(&self) -> &Address {
        self.address.as_ref().expect("a server that was waited for")
    }

    /// Its base URL, when it listens on TCP.
    ///
    /// # Panics
    /// When it listens on a socket.
    pub fn url(&self) -> String {
        match self.address() {
            Address::Tcp(address) => format!("http://{address}"),
            Address::Unix(path) => panic!("{} is no URL", path.display()),
        }
    }

    /// The home it lives in.
    pub fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// What it wrote to stdout so far; a server writes nothing there.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Answer {
        self.address().get(path).await
    }

    /// `PUT path` with a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.address().put(path, body).await
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.address().post(path, body).await
    }

    /// Asks it to stop, as a desktop client or a service manager would.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends any signal to this process.
    pub fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    /// Waits for the process to end and for its last words.
    pub async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let status = until("the server to end", PATIENCE, || {
            std::future::ready(child.try_wait().ok().flatten())
        })
        .await;
        until_true("its last words", || {
            self.stderr.is_complete() && self.stdout.is_complete()
        })
        .await;
        status
    }

    /// Stops it gracefully and waits.
    pub async fn stop(mut self) -> ExitStatus {
        self.terminate();
        self.ended().await
    }

    /// Runs a command of the same binary in the same home.
    pub async fn cli(&self, arguments: &[&str]) -> Ran {
        cli(&self.binary, &self.home, arguments).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Ran {
    /// The output as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|cause| panic!("JSON expected ({cause}), got {self:?}"))
    }

    /// All three as one text, for snapshots.
    pub fn transcript(&self) -> String {
        let mut text = format!("exit {}\n", self.code);
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !stream.is_empty() {
                let _ = writeln!(text, "--- {name}\n{}", stream.trim_end());
            }
        }
        text
    }
}

/// Runs one command of `binary` in `home`.
pub async fn cli(binary: impl AsRef<Path>, home: &Home, arguments: &[&str]) -> Ran {
    cli_with(binary, home, arguments, &[], b"").await
}

/// Runs one command with extra environment variables and a standard input.
///
/// # Panics
/// When it does not end within two minutes.
pub async fn cli_with(
    binary: impl AsRef<Path>,
    home: &Home,
    arguments: &[&str],
    env: &[(&str, &str)],
    input: &[u8],
) -> Ran {
    use tokio::io::AsyncWriteExt as _;
    let mut child = tokio::process::Command::new(binary.as_ref())
        .args(arguments)
        .env_clear()
        .envs(home.env())
        .envs(env.iter().copied())
        .current_dir(home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary under test");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    tokio::spawn(async move {
        // A command that reads nothing closes the pipe early; that is its right.
        let _ = stdin.write_all(&input).await;
    });
    let output = tokio::time::timeout(Duration::from_mins(2), child.wait_with_output())
        .await
        .unwrap_or_else(|_| panic!("thv {arguments:?} did not end"))
        .expect("an output");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
