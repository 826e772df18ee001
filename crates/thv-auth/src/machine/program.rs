//! Running a program of the user's: which one may be run, and what it gets and costs.
//!
//! It is found by an absolute path, belongs to the user or to the system, and can be replaced by nobody else. It gets its input on
//! standard input, a small environment and nothing secret; its time and its output are bounded, and its children end with it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use thv_config::world::{Clock, Env};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

use crate::limits::{COMMAND_DEADLINE, COMMAND_MAX_BYTES};
use crate::refresh::blocking;

/// What programs need to find the user's files and the way to the network. Nothing in it is meant to hold a secret.
const ENVIRONMENT: [&str; 30] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "APPDATA",
    "LOCALAPPDATA",
    "PROGRAMDATA",
    "SYSTEMROOT",
    "TEMP",
    "TMP",
    "USERNAME",
    "USERPROFILE",
];

/// A program and what it is given.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<String>,
    /// Names of variables beside [`ENVIRONMENT`].
    pub(crate) environment: Vec<String>,
}

/// Why a program gave no output.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProgramFault {
    /// It must not be run, or cannot be.
    #[error("{} is not run: {cause}", path.display())]
    NotRun {
        /// The program.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// It was run and did not keep to its bounds.
    #[error("{} {cause}", path.display())]
    OutOfBounds {
        /// The program.
        path: PathBuf,
        /// Which bound it broke.
        cause: String,
    },
}

/// What a program printed, and whether it said that all went well.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) stdout: Zeroizing<Vec<u8>>,
    /// How it ended, for people; `None` for the exit code 0.
    pub(crate) failure: Option<String>,
}

impl Program {
    /// Runs it with `input` on its standard input, and waits for its end.
    pub(crate) async fn run(
        &self,
        input: &[u8],
        clock: &Arc<dyn Clock>,
        env: &Arc<dyn Env>,
    ) -> Result<Printed, ProgramFault> {
        let path = self.path.clone();
        let not_run = |cause: String| ProgramFault::NotRun {
            path: self.path.clone(),
            cause,
        };
        let real = blocking(move || checked(&path)).await.map_err(not_run)?;
        let mut command = Command::new(&real);
        command
            .args(&self.args)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        if let Some(directory) = real.parent() {
            command.current_dir(directory);
        }
        let names = ENVIRONMENT.iter().copied();
        for name in names.chain(self.environment.iter().map(String::as_str)) {
            if let Some(value) = env.var(name) {
                command.env(name, value);
            }
        }
        #[cfg(unix)]
        command.process_group(0);
        let child = command
            .spawn()
            .map_err(|error| not_run(error.to_string()))?;
        let mut group = Group(child);
        let done = tokio::select! {
            done = talk(&mut group.0, input) => done,
            () = clock.sleep(COMMAND_DEADLINE) => {
                Err(format!("did not end within {COMMAND_DEADLINE:?} and was ended"))
            }
        };
        done.map_err(|cause| ProgramFault::OutOfBounds {
            path: self.path.clone(),
            cause,
        })
    }
}

async fn talk(child: &mut Child, input: &[u8]) -> Result<Printed, String> {
    let stdin = child.stdin.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program that does not want to know is its own affair.
            let _ = stdin.write_all(input).await;
            let _ = stdin.shutdown().await;
        }
    };
    let stdout = child.stdout.take();
    let read = async {
        // Grown to its limit at once: growing by and by would leave copies of a token behind.
        let limit = usize::try_from(COMMAND_MAX_BYTES).unwrap_or(usize::MAX);
        let mut printed = Zeroizing::new(Vec::with_capacity(limit.saturating_add(2)));
        if let Some(stdout) = stdout {
            let mut bounded = stdout.take(COMMAND_MAX_BYTES.saturating_add(1));
            bounded
                .read_to_end(&mut printed)
                .await
                .map_err(|error| format!("could not be read from: {error}"))?;
        }
        if printed.len() > limit {
            return Err(format!(
                "printed more than {COMMAND_MAX_BYTES} bytes and was ended"
            ));
        }
        Ok(printed)
    };
    let ((), stdout) = tokio::join!(write, read);
    let stdout = stdout?;
    let status = child
        .wait()
        .await
        .map_err(|error| format!("could not be waited for: {error}"))?;
    Ok(Printed {
        stdout,
        failure: (!status.success()).then(|| status.to_string()),
    })
}

/// A running program; it and what it has started end with this value.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(group) = self
            .0
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(rustix::process::Pid::from_raw)
        {
            // It may have ended by itself meanwhile.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.0.start_kill();
    }
}

/// The program behind `path`, if nobody but its owner and the system can have put it there. Blocks.
fn checked(path: &Path) -> Result<PathBuf, String> {
    if !path.is_absolute() {
        return Err("its path is not absolute".to_owned());
    }
    let real = std::fs::canonicalize(path).map_err(|error| error.to_string())?;
    let metadata = std::fs::metadata(&real).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no regular file".to_owned());
    }
    #[cfg(unix)]
    {
        check_owner(&real, &metadata)?;
        for directory in real.ancestors().skip(1) {
            let metadata = std::fs::metadata(directory).map_err(|error| error.to_string())?;
            check_owner(directory, &metadata)?;
        }
    }
    Ok(real)
}

/// What others can write, they can replace; in a directory with the sticky bit, only what is theirs.
#[cfg(unix)]
fn check_owner(path: &Path, metadata: &std::fs::Metadata) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt as _;
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != own {
        return Err(format!("{} belongs to another user", path.display()));
    }
    let is_sticky = metadata.is_dir() && metadata.mode() & 0o1000 != 0;
    if metadata.mode() & 0o022 != 0 && !is_sticky {
        return Err(format!(
            "{} can be written by others; type: chmod go-w '{}'",
            path.display(),
            path.display()
        ));
    }
    Ok(())
}
