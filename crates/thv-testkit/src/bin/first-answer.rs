//! How long it takes from exec to the first whole answer, and how much memory the server has then.
//!
//! `first-answer --runs 20 -- target/release/thv` starts `thv serve` on a fresh socket again and again, in the
//! environment it is given, connects as soon as the socket is there and reads one answer. It prints one line of
//! `key=value` pairs: medians in milliseconds and MiB. Blocking sockets and short naps keep the client's own share small.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::exit,
    reason = "a tool for the developer's own terminal that measures real time"
)]

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const USAGE: &str =
    "usage: first-answer [--runs N] [--path PATH] [--clear DIR] [--linger MS] -- BINARY [ARGUMENT…]

  --runs N     start the server N times (20)
  --path PATH  what to ask for (/api/v1beta/registry/default/servers)
  --clear DIR  remove this directory before each start, for first loads
  --linger MS  stay this long after the answer before the memory is read a second time (0)
";

/// Between two tries to connect.
const NAP: Duration = Duration::from_micros(200);
/// After an answer that was not 200: the server is still loading.
const PAUSE: Duration = Duration::from_millis(10);
/// A run that takes longer has failed.
const DEADLINE: Duration = Duration::from_mins(10);

#[derive(Debug)]
struct Options {
    runs: usize,
    path: String,
    clear: Option<PathBuf>,
    linger: Duration,
    command: Vec<String>,
}

#[derive(Debug)]
struct Run {
    listening: Duration,
    answered: Duration,
    bytes: usize,
    resident: u64,
    peak: u64,
    lingering: u64,
}

fn main() -> ExitCode {
    let Some(options) = options(std::env::args().skip(1)) else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    let runs: Vec<Run> = (0..options.runs).map(|_| one(&options)).collect();
    let of = |part: fn(&Run) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(part).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let answered = of(|run| milliseconds(run.answered));
    println!(
        "listening_ms={:.1} median_ms={:.1} min_ms={:.1} max_ms={:.1} bytes={:.0} rss_mib={:.1} peak_mib={:.1} later_mib={:.1}",
        middle(&of(|run| milliseconds(run.listening))),
        middle(&answered),
        answered.first().copied().unwrap_or_default(),
        answered.last().copied().unwrap_or_default(),
        middle(&of(|run| small(run.bytes as u64))),
        middle(&of(|run| small(run.resident) / 1024.0)),
        middle(&of(|run| small(run.peak) / 1024.0)),
        middle(&of(|run| small(run.lingering) / 1024.0)),
    );
    ExitCode::SUCCESS
}

fn options(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options {
        runs: 20,
        path: "/api/v1beta/registry/default/servers".to_owned(),
        clear: None,
        linger: Duration::ZERO,
        command: Vec::new(),
    };
    while let Some(name) = arguments.next() {
        if name == "--" {
            options.command = arguments.collect();
            break;
        }
        let value = arguments.next()?;
        match name.as_str() {
            "--runs" => options.runs = value.parse().ok()?,
            "--path" => options.path = value,
            "--clear" => options.clear = Some(PathBuf::from(value)),
            "--linger" => options.linger = Duration::from_millis(value.parse().ok()?),
            _ => return None,
        }
    }
    (options.runs > 0 && !options.command.is_empty()).then_some(options)
}

fn one(options: &Options) -> Run {
    if let Some(directory) = &options.clear
        && let Err(cause) = std::fs::remove_dir_all(directory)
    {
        assert_eq!(
            cause.kind(),
            io::ErrorKind::NotFound,
            "{}",
            directory.display()
        );
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let socket = directory.path().join("thv.sock");
    let (program, arguments) = options.command.split_first().expect("a command");
    let begun = Instant::now();
    let mut child = Command::new(program)
        .arg("serve")
        .arg(format!("--socket={}", socket.display()))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a program to start");
    let mut listening = None;
    let bytes = loop {
        let late = begun.elapsed() > DEADLINE;
        let ended = child.try_wait().expect("a child of ours");
        assert!(!late && ended.is_none(), "no answer; ended: {ended:?}");
        let Ok(stream) = UnixStream::connect(&socket) else {
            sleep(NAP);
            continue;
        };
        listening.get_or_insert_with(|| begun.elapsed());
        match ask(stream, &options.path) {
            Ok(Some(bytes)) => break bytes,
            Ok(None) => sleep(PAUSE),
            Err(cause) => panic_with(&mut child, &cause),
        }
    };
    let answered = begun.elapsed();
    let (resident, peak) = memory(&child);
    sleep(options.linger);
    let (lingering, _) = memory(&child);
    stop(child);
    Run {
        listening: listening.unwrap_or_default(),
        answered,
        bytes,
        resident,
        peak,
        lingering,
    }
}

/// The length of the whole answer, when it is a good one.
fn ask(mut stream: UnixStream, path: &str) -> io::Result<Option<usize>> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.1 200").then_some(answer.len()))
}

/// `VmRSS` and `VmHWM` in KiB.
fn memory(child: &Child) -> (u64, u64) {
    let path = Path::new("/proc")
        .join(child.id().to_string())
        .join("status");
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    };
    (field("VmRSS:"), field("VmHWM:"))
}

fn stop(mut child: Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a pid"), Signal::TERM).expect("a process of ours");
    child.wait().expect("a child of ours");
}

fn panic_with(child: &mut Child, cause: &io::Error) -> ! {
    let _ = child.kill();
    let _ = child.wait();
    eprintln!("first-answer: {cause}");
    std::process::exit(1)
}

fn middle(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

fn small(number: u64) -> f64 {
    u32::try_from(number).map_or(f64::MAX, f64::from)
}
