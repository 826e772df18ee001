//! Another program, asked one question: its input is written, its output is read, and both its time and its
//! output are bounded. What is asked, and what an answer means, is the caller's business. Blocks.

use std::ffi::OsStr;
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use thv_config::Clock;
use zeroize::Zeroizing;

/// Time between two looks whether a program that has closed its output has ended.
const END_POLL: Duration = Duration::from_millis(5);
/// How long the complaints of a program that has ended may take to arrive here.
const COMPLAINT_TIME: Duration = Duration::from_secs(5);
/// What is kept of a program's complaints.
const COMPLAINT_MAX_BYTES: u64 = 4096;

/// One question to a program.
pub(crate) struct Question<'a> {
    pub(crate) program: &'a Path,
    pub(crate) arguments: &'a [&'a str],
    /// The program sees these variables and no others.
    pub(crate) variables: &'a [(&'a str, &'a OsStr)],
    pub(crate) input: &'a [u8],
    /// How long it may take.
    pub(crate) limit: Duration,
    /// How many bytes it may answer.
    pub(crate) max_bytes: u64,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The program cannot be started.
    NotStarted(String),
    /// It took longer than it may, and was ended.
    TimedOut,
    /// It answered more than it may.
    TooLong,
    /// It ended with an error, and said this about it.
    Failed(String),
    /// Reading from it failed.
    Broken(String),
}

/// Asks.
pub(crate) fn ask(
    question: &Question<'_>,
    clock: &dyn Clock,
) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
    let mut child = Command::new(question.program)
        .args(question.arguments)
        .env_clear()
        .envs(question.variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| NoAnswer::NotStarted(error.to_string()))?;
    let answer = converse(&mut child, question, clock);
    if answer.is_err() {
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
    answer
}

fn converse(
    child: &mut Child,
    question: &Question<'_>,
    clock: &dyn Clock,
) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
    let max_bytes = question.max_bytes;
    let output = reader(child.stdout.take(), move |pipe| read(pipe, max_bytes));
    let complaint = reader(child.stderr.take(), beginning);
    if let Some(mut stdin) = child.stdin.take() {
        let input = Zeroizing::new(question.input.to_vec());
        std::thread::spawn(move || {
            // A program that does not want its input may close it.
            let _ = stdin.write_all(&input);
        });
    }
    let started = clock.monotonic();
    let bytes = match output.recv_timeout(question.limit) {
        Ok(Ok(Some(bytes))) => bytes,
        Ok(Ok(None)) => return Err(NoAnswer::TooLong),
        Ok(Err(error)) => return Err(NoAnswer::Broken(error.to_string())),
        Err(_) => return Err(NoAnswer::TimedOut),
    };
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if clock.monotonic().saturating_sub(started) >= question.limit => {
                return Err(NoAnswer::TimedOut);
            }
            Ok(None) => clock.pause(END_POLL),
            Err(error) => return Err(NoAnswer::Broken(error.to_string())),
        }
    };
    if status.success() {
        return Ok(bytes);
    }
    let said = match complaint.recv_timeout(COMPLAINT_TIME) {
        Ok(Ok(Some(bytes))) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        _ => String::new(),
    };
    Err(NoAnswer::Failed(if said.is_empty() {
        status.to_string()
    } else {
        said
    }))
}

type Reading = io::Result<Option<Zeroizing<Vec<u8>>>>;

/// Reads on a thread of its own.
fn reader<P: Read + Send + 'static>(
    pipe: Option<P>,
    read: impl FnOnce(P) -> Reading + Send + 'static,
) -> mpsc::Receiver<Reading> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        // Nobody receives after the deadline.
        let _ = sender.send(pipe.map_or(Ok(None), read));
    });
    receiver
}

/// What is said first, of however much.
fn beginning(mut pipe: impl Read) -> Reading {
    let mut bytes = Zeroizing::new(Vec::new());
    pipe.by_ref()
        .take(COMPLAINT_MAX_BYTES)
        .read_to_end(&mut bytes)?;
    // A program that cannot go on complaining would not end.
    io::copy(&mut pipe, &mut io::sink())?;
    Ok(Some(bytes))
}

/// Everything; `None` when there is more than `max_bytes`.
fn read(pipe: impl Read, max_bytes: u64) -> Reading {
    let mut bytes = Zeroizing::new(Vec::new());
    pipe.take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)?;
    let fits = u64::try_from(bytes.len()).unwrap_or(u64::MAX) <= max_bytes;
    Ok(fits.then_some(bytes))
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use thv_config::SystemClock;

    fn sh(script: &str, input: &[u8], limit: Duration) -> Result<String, NoAnswer> {
        let question = Question {
            program: Path::new("/bin/sh"),
            arguments: &["-c", script],
            variables: &[("GIVEN", OsStr::new("value"))],
            input,
            limit,
            max_bytes: 16,
        };
        ask(&question, &SystemClock::new())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn a_program_gets_its_input_and_its_variables_and_nothing_else() {
        assert_eq!(sh("cat", b"in", LONG).unwrap(), "in");
        assert_eq!(sh("echo $GIVEN$HOME", b"", LONG).unwrap(), "value\n");
        // One that does not read a long input ends all the same.
        assert_eq!(sh("echo x", &vec![b'i'; 1 << 20], LONG).unwrap(), "x\n");
    }

    #[test]
    fn each_way_to_fail_is_told_apart() {
        assert_eq!(
            sh("echo why >&2; exit 3", b"", LONG),
            Err(NoAnswer::Failed("why".to_owned()))
        );
        let long = sh("yes complaint | head -c 100000 >&2; exit 3", b"", LONG);
        let Err(NoAnswer::Failed(said)) = long else {
            panic!("{long:?}");
        };
        assert!(
            said.starts_with("complaint") && said.len() <= 4096,
            "{said}"
        );
        assert_eq!(
            sh("exit 3", b"", LONG),
            Err(NoAnswer::Failed("exit status: 3".to_owned()))
        );
        assert_eq!(
            sh("echo 1234567890123456", b"", LONG),
            Err(NoAnswer::TooLong)
        );
        let short = Duration::from_millis(50);
        assert_eq!(sh("exec sleep 60", b"", short), Err(NoAnswer::TimedOut));
        assert_eq!(
            sh("exec >&-; exec sleep 60", b"", short),
            Err(NoAnswer::TimedOut)
        );
        let absent = Question {
            program: Path::new("/nonexistent/program"),
            arguments: &[],
            variables: &[],
            input: b"",
            limit: short,
            max_bytes: 16,
        };
        assert!(matches!(
            ask(&absent, &SystemClock::new()),
            Err(NoAnswer::NotStarted(_))
        ));
    }
}
