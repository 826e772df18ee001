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
        let real = blocking(move || may_run(&path)).await.map_err(not_run)?;
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
pub(crate) fn may_run(path: &Path) -> Result<PathBuf, String> {
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
        use std::os::unix::fs::PermissionsExt as _;
        if metadata.permissions().mode() & 0o111 == 0 {
            return Err(format!(
                "it cannot be executed; type: chmod u+x '{}'",
                path.display()
            ));
        }
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

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::time::Duration;

    use thv_config::disk::create_private_dir;
    use thv_config::world::{ManualClock, MapEnv, SystemClock};
    use thv_testkit::home::write_program;

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
    }

    fn script(directory: &Path, text: &str) -> PathBuf {
        let path = directory.join("bin").join("helper");
        create_private_dir(&directory.join("bin")).expect("a directory");
        write_program(&path, text);
        mode(&path, 0o700);
        path
    }

    fn program(path: &Path) -> Program {
        Program {
            path: path.to_owned(),
            args: vec!["a b".to_owned(), "$HOME".to_owned()],
            environment: vec!["WANTED".to_owned()],
        }
    }

    #[test]
    fn case_82_what_others_can_replace_is_not_run() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = script(directory.path(), "#!/bin/sh\n");
        assert!(may_run(&path).is_ok());
        for bad in [0o720, 0o702, 0o777] {
            mode(&path, bad);
            assert!(may_run(&path).is_err(), "{bad:o}");
        }
        mode(&path, 0o700);
        let parent = directory.path().join("bin");
        mode(&parent, 0o777);
        assert!(may_run(&path).is_err(), "anybody can rename in there");
        mode(&parent, 0o1777);
        assert!(
            may_run(&path).is_ok(),
            "a sticky directory protects what is ours"
        );
        mode(&parent, 0o700);
        let link = directory.path().join("link");
        symlink(&path, &link).expect("a link");
        assert_eq!(may_run(&link).ok(), fs::canonicalize(&path).ok());
        mode(&path, 0o702);
        assert!(may_run(&link).is_err(), "the link's target counts");
        assert!(may_run(Path::new("bin/helper")).is_err());
        assert!(may_run(&parent).is_err(), "a directory is no program");
        assert!(may_run(&directory.path().join("absent")).is_err());
    }

    #[tokio::test]
    async fn it_gets_its_arguments_as_they_are_and_a_small_environment() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = script(
            directory.path(),
            "#!/bin/sh\ncat; printf '%s|' \"$@\"; env\nexit 3\n",
        );
        let env: Arc<dyn Env> = Arc::new(MapEnv::from([
            ("PATH", "/usr/bin:/bin"),
            ("WANTED", "yes"),
            ("TOOLHIVE_SECRETS_PASSWORD", "s3cret"),
        ]));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let printed = program(&path)
            .run(b"in|", &clock, &env)
            .await
            .expect("printed");
        let text = String::from_utf8(printed.stdout.to_vec()).expect("text");
        assert!(text.starts_with("in|a b|$HOME|"), "{text}");
        assert!(text.contains("WANTED=yes"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
        assert!(printed.failure.is_some_and(|failure| failure.contains('3')));
    }

    #[tokio::test]
    async fn case_82_one_that_hangs_ends_in_time_and_so_do_its_children() {
        let directory = tempfile::tempdir().expect("a directory");
        let alive = directory.path().join("alive");
        let path = script(
            directory.path(),
            &format!(
                "#!/bin/sh\n(while :; do : >> '{0}'; sleep 0.05; done) &\necho begun >> '{0}'\nwait\n",
                alive.display()
            ),
        );
        let clock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let dyn_clock: Arc<dyn Clock> = Arc::new(clock.clone());
        let env: Arc<dyn Env> = Arc::new(MapEnv::from([("PATH", "/usr/bin:/bin")]));
        let program = program(&path);
        let (outcome, ()) = tokio::join!(program.run(b"", &dyn_clock, &env), async {
            clock.asleep(1).await;
            while !alive.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            clock.advance(COMMAND_DEADLINE);
        });
        assert!(
            matches!(outcome, Err(ProgramFault::OutOfBounds { .. })),
            "{outcome:?}"
        );
        // What is gone does not make the file again.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let _ = fs::remove_file(&alive);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!alive.exists(), "a child of the program lives");
    }
}
