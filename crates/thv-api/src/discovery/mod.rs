//! The record by which one server of a user is found: written when a server has bound its
//! address, looked at before another one binds, removed by nobody but its owner (W38). The
//! file format is shared with the Go program.

mod check;
mod endpoint;
mod probe;
mod record;
mod token;

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thv_auth::doctor::Check;
use thv_config::disk::{FileLock, LockError};
use thv_config::world::Clock;

pub use record::Record;
pub use token::CallerToken;

use crate::limits;
use endpoint::Endpoint;
use record::Found;

/// What names one run of a server: 32 hexadecimal digits, new for each run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(String);

/// Why a server may not start, or cannot tell that it did.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another server of this user is running. The desktop client looks for these words.
    #[error("another ToolHive server is already running at {url} (PID {pid})")]
    AlreadyRunning {
        /// Where it listens.
        url: String,
        /// Its process.
        pid: u32,
    },
    /// Other users could have written the record, and it cannot be read, so that a running
    /// server may hide behind it.
    #[error(
        "the server record {} was open to other users and cannot be read ({cause}); remove it if no server is running",
        path.display()
    )]
    Untrusted {
        /// The record.
        path: PathBuf,
        /// Why it cannot be read.
        cause: String,
    },
    /// Somebody else holds the record's lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The record or its directory cannot be written.
    #[error("cannot write the server record {}: {cause}", path.display())]
    Io {
        /// The record.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The system has no random numbers to give.
    #[error("no random bytes can be had: {cause}")]
    Random {
        /// What the system said.
        cause: String,
    },
}

/// The place of the record, and what it takes to judge it.
#[derive(Clone, Debug)]
pub struct Discovery {
    path: PathBuf,
    clock: Arc<dyn Clock>,
}

/// The right to become the server of this user. Nobody else gets it while this value lives, so
/// bind at once and then [`publish`](Claim::publish).
#[derive(Debug)]
#[must_use = "the claim ends when it is dropped"]
pub struct Claim {
    discovery: Discovery,
    _lock: FileLock,
}

/// A record that is ours. [`release`](Published::release) it first of all when stopping.
#[derive(Debug)]
pub struct Published {
    discovery: Discovery,
    nonce: Nonce,
}

/// What stands behind a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody, or nobody any more.
    Vacant,
    /// A process is there, but no server answers.
    Silent,
    /// The server that wrote the record answers.
    Running,
}

// === impl Discovery ===

impl Discovery {
    /// Discovery by the record at `path` (see `Paths::server_record`).
    pub fn new(path: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { path, clock }
    }

    /// The record of the server that is running now, if one is.
    pub async fn running(&self) -> Option<Record> {
        self.running_if(|_| true).await
    }

    /// The same where its record is `meant`; another one is not asked whether it runs.
    pub async fn running_if(&self, meant: impl FnOnce(&Record) -> bool) -> Option<Record> {
        let path = self.path.clone();
        match blocking(move || record::read(&path)).await {
            Ok(Found::Record(record))
                if meant(&record) && self.judge(&record).await == State::Running =>
            {
                Some(record)
            }
            _ => None,
        }
    }

    /// What is to be said of the record and the server behind it, to somebody who looks for what does not work.
    pub async fn check(&self) -> Check {
        let path = self.path.clone();
        let found = blocking(move || record::read(&path)).await;
        let state = match &found {
            Ok(Found::Record(record)) => self.judge(record).await,
            _ => State::Vacant,
        };
        check::judge(&self.path, &found, state)
    }

    /// Takes the right to be the server. A predecessor that is on its way out is waited for a
    /// moment: whoever restarts a server does not wait between the stop and the start.
    ///
    /// # Errors
    /// [`ClaimError::AlreadyRunning`] when another server runs and stays.
    pub async fn claim(&self) -> Result<Claim, ClaimError> {
        let start = self.clock.monotonic();
        loop {
            let (found, lock) = self.look().await?;
            let Found::Record(record) = found else {
                return Ok(self.claimed(lock));
            };
            // Nobody holds a lock across a probe: the predecessor needs it to let go.
            drop(lock);
            let state = self.judge(&record).await;
            let waited = self.clock.monotonic().saturating_sub(start) >= limits::PREDECESSOR_TIME;
            match state {
                State::Running if waited => {
                    return Err(ClaimError::AlreadyRunning {
                        url: record.url,
                        pid: record.pid,
                    });
                }
                State::Silent if waited => tracing::warn!(
                    pid = record.pid,
                    url = %record.url,
                    "a process that the server record names does not answer; its record is replaced"
                ),
                State::Running | State::Silent => {
                    self.clock.sleep(limits::PREDECESSOR_PAUSE).await;
                    continue;
                }
                State::Vacant => {}
            }
            let (found, lock) = self.look().await?;
            match found {
                Found::Record(now) if now != record => {}
                _ => return Ok(self.claimed(lock)),
            }
        }
    }

    fn claimed(&self, lock: FileLock) -> Claim {
        Claim {
            discovery: self.clone(),
            _lock: lock,
        }
    }

    /// Secures the record's directory, locks the record and reads it.
    async fn look(&self) -> Result<(Found, FileLock), ClaimError> {
        let path = self.path.clone();
        let clock = Arc::clone(&self.clock);
        blocking_claim(&self.path, move || {
            let tightened = record::secure_directory(&path).map_err(|cause| ClaimError::Io {
                path: path.clone(),
                cause,
            })?;
            let lock = lock(&path, clock.as_ref())?;
            match record::read(&path) {
                Ok(found) => Ok((found, lock)),
                Err(cause) if tightened => Err(ClaimError::Untrusted {
                    path,
                    cause: cause.to_string(),
                }),
                Err(cause) => {
                    tracing::debug!(%cause, path = %path.display(), "the server record cannot be read");
                    Ok((Found::Nothing, lock))
                }
            }
        })
        .await
    }

    async fn judge(&self, record: &Record) -> State {
        let Some(endpoint) = Endpoint::parse(&record.url) else {
            tracing::debug!(url = %record.url, "the server record names no local address");
            return if record.is_process_alive() {
                State::Silent
            } else {
                State::Vacant
            };
        };
        if probe::answers(&endpoint, &record.nonce).await {
            State::Running
        } else if record.is_process_alive() {
            State::Silent
        } else {
            State::Vacant
        }
    }
}

fn lock(path: &Path, clock: &dyn Clock) -> Result<FileLock, LockError> {
    FileLock::acquire(&FileLock::beside(path), clock, limits::RECORD_LOCK_TIME)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

async fn blocking_claim<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, ClaimError> + Send + 'static,
) -> Result<T, ClaimError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ClaimError::Io {
            path: path.to_owned(),
            cause: io::Error::other(error),
        })?
}

// === impl Claim ===

impl Claim {
    /// Writes the record: this process serves at `url`, and wants `token` of its callers if there is one.
    pub async fn publish(
        self,
        url: &str,
        nonce: &Nonce,
        token: Option<CallerToken>,
    ) -> Result<Published, ClaimError> {
        let record = Record {
            url: url.to_owned(),
            pid: std::process::id(),
            nonce: nonce.as_str().to_owned(),
            // Readers of the Go program's kind expect a fraction even when it is nought.
            started_at: format!("{:.9}", self.discovery.clock.now()),
            token,
        };
        let path = self.discovery.path.clone();
        blocking_claim(&self.discovery.path, move || {
            record::write(&path, &record).map_err(|cause| ClaimError::Io { path, cause })
        })
        .await?;
        Ok(Published {
            discovery: self.discovery,
            nonce: nonce.clone(),
        })
    }
}

// === impl Published ===

impl Published {
    /// Removes the record, if it is still ours. Safe to call when it is not.
    pub async fn release(self) {
        let path = self.discovery.path.clone();
        let clock = Arc::clone(&self.discovery.clock);
        let nonce = self.nonce.clone();
        let released = blocking_claim(&self.discovery.path, move || {
            let _lock = lock(&path, clock.as_ref())?;
            match record::read(&path) {
                Ok(Found::Record(record)) if record.nonce == nonce.as_str() => {
                    std::fs::remove_file(&path).map_err(|cause| ClaimError::Io { path, cause })
                }
                _ => Ok(()),
            }
        })
        .await;
        if let Err(error) = released {
            tracing::warn!(%error, "the server record stays behind");
        }
    }
}

/// So many random bytes, as hexadecimal digits.
fn random_hex<const BYTES: usize>() -> Result<String, ClaimError> {
    let mut bytes = [0_u8; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| ClaimError::Random {
        cause: error.to_string(),
    })?;
    let mut text = String::with_capacity(2 * BYTES);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

// === impl Nonce ===

impl Nonce {
    /// A new one from the system's random numbers.
    pub fn random() -> Result<Self, ClaimError> {
        random_hex::<16>().map(Self)
    }

    /// The 32 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests;
