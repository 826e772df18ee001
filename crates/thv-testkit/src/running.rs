//! A command that waits for somebody, a login for example: started, watched while it runs, and ended.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::binary::Ran;
use crate::home::Home;
use crate::wait::{PATIENCE, PAUSE, until, until_true};

/// A command that is still running, because it waits for somebody. Dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Drained,
    stderr: Drained,
}

impl Running {
    /// Starts a command of `binary` in `home`, with extra environment variables, and does not wait for it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(
        binary: impl AsRef<Path>,
        home: &Home,
        arguments: &[&str],
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        Self::spawn(binary.as_ref(), home, arguments, env, Stdio::null())
    }

    /// Like [`Running::start`], with a pipe for [`Running::type_line`] as standard input.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_typing(
        binary: impl AsRef<Path>,
        home: &Home,
        arguments: &[&str],
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        Self::spawn(binary.as_ref(), home, arguments, env, Stdio::piped())
    }

    fn spawn(
        binary: &Path,
        home: &Home,
        arguments: &[&str],
        env: impl IntoIterator<Item = (String, String)>,
        stdin: Stdio,
    ) -> Self {
        let mut child = Command::new(binary)
            .args(arguments)
            .env_clear()
            .envs(home.env())
            .envs(env)
            .current_dir(home.path())
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary under test");
        let stderr = drain(child.stderr.take().expect("a pipe"));
        let stdout = drain(child.stdout.take().expect("a pipe"));
        Running {
            child,
            stdout,
            stderr,
        }
    }

    /// Writes a line to its standard input.
    ///
    /// # Panics
    /// When it was started without one, or reads no more.
    pub fn type_line(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{line}").expect("a reader");
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// The first word on stderr that starts with `prefix`, as soon as it is there: an authorization URL for example.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn word_on_stderr(&self, prefix: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.stderr.is_complete();
            let text = self.stderr();
            let complete = text.rfind('\n').map_or("", |end| &text[..end]);
            let mut words = complete.split_whitespace();
            if let Some(word) = words.find(|word| word.starts_with(prefix)) {
                return word.to_owned();
            }
            assert!(
                !ended && Instant::now() < deadline,
                "no {prefix} on stderr, but:\n{text}"
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal, `INT` for Ctrl-C.
    pub fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> Ran {
        let child = &mut self.child;
        let status = until("the command to end", Duration::from_mins(2), || {
            std::future::ready(child.try_wait().ok().flatten())
        })
        .await;
        until_true("its last words", || {
            self.stderr.is_complete() && self.stdout.is_complete()
        })
        .await;
        Ran {
            code: status.code().unwrap_or(-1),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .expect("a pid");
    kill_process(pid, signal).expect("a process of ours");
}

/// What a process writes to one stream, collected on a thread of its own, so that it never blocks on a full pipe.
#[derive(Debug)]
pub(crate) struct Drained {
    text: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Drained {
    pub(crate) fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// Whether the stream has ended.
    pub(crate) fn is_complete(&self) -> bool {
        self.reader.is_finished()
    }
}

pub(crate) fn drain(stream: impl std::io::Read + Send + 'static) -> Drained {
    let text = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&text);
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { return };
            let mut sink = sink.lock().unwrap();
            sink.push_str(&String::from_utf8_lossy(&line));
            sink.push('\n');
        }
    });
    Drained { text, reader }
}
