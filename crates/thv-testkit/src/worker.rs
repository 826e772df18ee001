//! A test's own code in other processes: for locks, for stores that several programs share, and for `kill -9`.
//!
//! A worker is an ignored test of the same test binary, started alone in a new process. The pattern:
//!
//! ```no_run
//! # use serde_json::json;
//! # use thv_testkit::worker;
//! #[test]
//! #[ignore = "runs in a process of its own, started by the test below"]
//! fn counting_worker() {
//!     let Some(task) = worker::task() else { return };
//!     worker::say(&json!({"at": "half", "of": task["count"]}));
//! }
//!
//! # async fn parent() {
//! let mut child = worker::Worker::start("counting_worker", &json!({"count": 3})).await;
//! child.said(|line| line["at"] == "half").await;
//! child.kill().await;
//! # }
//! ```

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::wait::PATIENCE;

const TASK: &str = "THV_TESTKIT_WORKER";
const MARK: &str = "@worker ";

/// In a worker: what it was given; `None` when the test was started by hand.
pub fn task() -> Option<Value> {
    serde_json::from_str(&std::env::var(TASK).ok()?).ok()
}

/// In a worker: tells the parent something.
pub fn say(value: &Value) {
    use std::io::Write as _;
    // The harness prints without line ends of its own, so the mark starts on a new line.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{MARK}{value}\n").as_bytes())
        .and_then(|()| out.flush())
        .expect("the parent's pipe");
}

/// In the parent: a running worker. It is killed when dropped.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    said: Vec<Value>,
}

/// How a worker ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Whether its test passed.
    pub passed: bool,
    /// Everything it said.
    pub said: Vec<Value>,
}

impl Worker {
    /// Starts the ignored test `name` (its full path inside the test binary) in a new process.
    #[expect(clippy::unused_async, reason = "a child's pipes belong to a runtime")]
    pub async fn start(name: &str, task: &Value) -> Self {
        Self::start_with(name, task, &[])
    }

    /// Like [`Worker::start`], with environment variables. Has to be called inside a runtime.
    ///
    /// # Panics
    /// When the process cannot be started.
    pub fn start_with(name: &str, task: &Value, env: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("our own path"))
            .args([
                "--exact",
                name,
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(TASK, task.to_string())
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .expect("our own test binary");
        let stdout = child.stdout.take().expect("a pipe");
        Worker {
            child,
            lines: BufReader::new(stdout).lines(),
            said: Vec::new(),
        }
    }

    /// Its process id; `None` once it has ended and was waited for.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it says something that fits.
    ///
    /// # Panics
    /// When it ends, or takes too long.
    pub async fn said(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        let wanted = async {
            while let Some(value) = self.next().await {
                if fits(&value) {
                    return value;
                }
            }
            panic!("the worker ended; it said {:?}", self.said);
        };
        tokio::time::timeout(PATIENCE, wanted)
            .await
            .expect("a worker that says what is waited for")
    }

    async fn next(&mut self) -> Option<Value> {
        while let Ok(Some(line)) = self.lines.next_line().await {
            if let Some(text) = line.strip_prefix(MARK)
                && let Ok(value) = serde_json::from_str::<Value>(text)
            {
                self.said.push(value.clone());
                return Some(value);
            }
        }
        None
    }

    /// `kill -9`, then waits for the end.
    pub async fn kill(mut self) -> Finished {
        let _ = self.child.start_kill();
        self.finish().await
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it takes longer than five minutes.
    pub async fn finish(mut self) -> Finished {
        let all = async {
            while self.next().await.is_some() {}
            self.child.wait().await.expect("a child of ours")
        };
        let status = tokio::time::timeout(std::time::Duration::from_mins(5), all)
            .await
            .expect("a worker that ends");
        Finished {
            passed: status.success(),
            said: self.said,
        }
    }
}
