//! The process around the API: its end, its limits on requests, what it needs and what it leaves behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thv_testkit::binary::{Server, Setup};
use thv_testkit::client::{Address, Answer, Call, Method};
use thv_testkit::home::Home;
use thv_testkit::registry::{FakeRegistry, Fault, Outcome};
use thv_testkit::wait::{PATIENCE, until, until_true};

const THV: &str = env!("CARGO_BIN_EXE_thv");
const DEFAULT: &str = "/api/v1beta/registry/default";
const REFRESH: &str = "/api/v1beta/registry/default/refresh";
const RUNNING: &str = "another ToolHive server is already running";

async fn built_in() -> Server {
    Server::in_new_home(THV, |_| {}).await
}

fn exactly(bytes: usize) -> Vec<u8> {
    // Valid JSON of any length: unknown keys are ignored.
    let frame = r#"{"padding":""}"#;
    format!(r#"{{"padding":"{}"}}"#, "x".repeat(bytes - frame.len())).into_bytes()
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            walk(&entry.path(), found);
        } else {
            let meta = entry.metadata().unwrap();
            found.push(format!(
                "{} {} {:?}",
                entry.path().display(),
                meta.len(),
                meta.modified().unwrap()
            ));
        }
    }
    found.sort();
}

#[tokio::test]
async fn w40_a_request_under_way_is_finished_before_the_end() {
    let registry = FakeRegistry::with_servers(5).await;
    let server = Server::in_new_home(THV, |home| home.use_api(&registry.url())).await;
    until("a catalog", PATIENCE, || async {
        (server.get("/v0.1/servers").await.status == 200).then_some(())
    })
    .await;
    registry.break_all(Fault::Slow(Duration::from_millis(700)));
    registry.clear_journal();
    let address = server.address().clone();
    let under_way = tokio::spawn(async move { address.post(REFRESH, &json!({})).await });
    until_true("the refresh", || {
        registry
            .requests()
            .iter()
            .any(|request| request.outcome == Outcome::Pending)
    })
    .await;
    server.terminate();
    let answer = under_way.await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut server = server;
    assert_eq!(server.ended().await.code(), Some(0));
}

#[tokio::test]
async fn f47_signals_end_the_server_soon_and_tidily() {
    use rustix::process::Signal;
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = built_in().await;
        // An idle connection must not hold up the end.
        let mut idle = server.address().connect().await.unwrap();
        idle.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        assert!(
            idle.read_until("\r\n\r\n", PATIENCE)
                .await
                .starts_with("HTTP/1.1 204")
        );
        let started = Instant::now();
        server.signal(signal);
        let home = Arc::clone(server.home());
        assert_eq!(server.ended().await.code(), Some(0), "{}", server.stderr());
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{:?}",
            started.elapsed()
        );
        assert!(!home.server_record().exists());
    }
}

#[tokio::test]
async fn the_server_ends_with_its_parent_when_told_to() {
    let home = Arc::new(Home::new());
    // A shell between us and the server, so that the server's parent can die while we live.
    let mut shell = std::process::Command::new("sh");
    shell
        .args([
            "-c",
            "\"$1\" serve --port 0 --exit-with-parent & wait",
            "sh",
            THV,
        ])
        .env_clear()
        .envs(home.env())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut shell = shell.spawn().unwrap();
    let address = until("the record", PATIENCE, || async {
        let bytes = std::fs::read(home.server_record()).ok()?;
        let record: Value = serde_json::from_slice(&bytes).ok()?;
        Some(Address::from_record(record["url"].as_str()?))
    })
    .await;
    assert_eq!(address.get("/health").await.status, 204);
    shell.kill().unwrap();
    shell.wait().unwrap();
    until_true("the server to follow its parent", || {
        !home.server_record().exists()
    })
    .await;
}

#[tokio::test]
async fn f50_a_body_may_have_one_mebibyte_and_no_more() {
    let server = built_in().await;
    let put = |body: Vec<u8>| {
        Call::new(Method::PUT, DEFAULT)
            .header("content-type", "application/json")
            .body(body)
            .to(server.address())
    };
    let full = put(exactly(1024 * 1024)).await;
    assert_eq!(full.status, 200, "{full:?}");
    let over = put(exactly(1024 * 1024 + 1)).await;
    assert_eq!(
        (over.status, over.text().as_str()),
        (413, "Request Entity Too Large\n")
    );
}

#[tokio::test]
async fn f50_a_chunked_body_that_is_too_large_is_413() {
    let server = built_in().await;
    let mut raw = server.address().connect().await.unwrap();
    raw.write(
        b"PUT /api/v1beta/registry/default HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
          transfer-encoding: chunked\r\n\r\n",
    )
    .await
    .unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..32 {
        if raw.write(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let _ = raw.write(b"0\r\n\r\n").await;
    let (answer, _) = raw.read_all(PATIENCE).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn f50_a_head_that_drips_is_cut_off_after_ten_seconds() {
    let server = built_in().await;
    let mut raw = server.address().connect().await.unwrap();
    raw.write(b"GET /health HTTP/1.1\r\nhost: local")
        .await
        .unwrap();
    let started = Instant::now();
    let (_, closed) = raw.read_all(Duration::from_secs(40)).await;
    assert!(closed, "still open after {:?}", started.elapsed());
    assert!(
        started.elapsed() > Duration::from_secs(8),
        "not before its time: {:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn f50_a_body_that_drips_is_cut_off_after_thirty_seconds() {
    let server = built_in().await;
    let mut raw = server.address().connect().await.unwrap();
    raw.write(
        b"PUT /api/v1beta/registry/default HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n",
    )
    .await
    .unwrap();
    let started = Instant::now();
    let mut closed = false;
    while !closed && started.elapsed() < Duration::from_mins(1) {
        // Each drop is answered by silence; only the total counts.
        closed = raw.write(b" ").await.is_err() || raw.read_all(Duration::from_secs(1)).await.1;
    }
    assert!(closed, "still open after {:?}", started.elapsed());
    assert!(
        started.elapsed() > Duration::from_secs(25),
        "not before its time: {:?}",
        started.elapsed()
    );
    assert_eq!(server.get("/health").await.status, 204);
}

#[tokio::test]
async fn garbage_on_the_wire_is_answered_or_closed_and_harms_nobody() {
    let server = built_in().await;
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        let mut raw = server.address().connect().await.unwrap();
        raw.write(garbage).await.unwrap();
        let (answer, closed) = raw.read_all(Duration::from_secs(20)).await;
        assert!(closed, "{garbage:?}: {}", String::from_utf8_lossy(&answer));
    }
    let many = format!(
        "GET /health HTTP/1.1\r\nhost: localhost\r\n{}\r\n",
        "x-h: y\r\n".repeat(3000)
    );
    let mut raw = server.address().connect().await.unwrap();
    raw.write(many.as_bytes()).await.unwrap();
    let answer = raw.read_until("\r\n", PATIENCE).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
        "{answer}"
    );
    assert_eq!(server.get("/health").await.status, 204);
}

#[tokio::test]
async fn w42_no_container_engine_is_needed() {
    let home = Arc::new(Home::new());
    let server = Setup::new(THV, &home)
        .env("PATH", "/nonexistent")
        .env("DOCKER_HOST", "unix:///nonexistent")
        .start()
        .await;
    assert_eq!(server.get("/health").await.status, 204);
    assert_eq!(
        server
            .get("/api/v1beta/registry/default/servers")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn w43_requests_leave_no_traces_on_disk() {
    let home = Arc::new(Home::new());
    let server = Setup::new(THV, &home)
        .env("TOOLHIVE_SKIP_UPDATE_CHECK", "false")
        .start()
        .await;
    let list = |home: &Home| {
        let mut found = Vec::new();
        walk(home.path(), &mut found);
        found
    };
    assert_eq!(server.get("/api/v1beta/registry").await.status, 200);
    let before = list(&home);
    for _ in 0..10 {
        for path in [
            "/health",
            "/api/v1beta/version",
            "/api/v1beta/registry",
            "/v0.1/servers",
        ] {
            server.get(path).await;
        }
    }
    assert_eq!(list(&home), before);
    assert!(
        before.iter().all(|path| !path.ends_with("updates.json")),
        "{before:?}"
    );
}

#[tokio::test]
async fn the_log_is_json_lines_on_stderr_and_stdout_stays_empty() {
    let registry = FakeRegistry::start().await;
    registry.refuse().await;
    let home = Arc::new(Home::new());
    home.use_api(&registry.url());
    let server = Setup::new(THV, &home).arg("--debug").start().await;
    server.get("/v0.1/servers?search=needle").await;
    until_true("a log", || !server.stderr().is_empty()).await;
    let log = server.stderr();
    for line in log.lines() {
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|cause| panic!("{cause}: {line}"));
        for key in ["time", "level", "msg"] {
            assert!(line[key].is_string(), "{key} in {line}");
        }
    }
    assert_eq!(server.stdout(), "");
    for trigger in [
        "registry authentication required",
        RUNNING,
        "A new version of ToolHive is available",
    ] {
        assert!(!log.contains(trigger), "{log}");
    }
}

#[tokio::test]
async fn metrics_are_there_when_asked_for() {
    let without = built_in().await;
    assert_eq!(without.get("/metrics").await.status, 404);
    drop(without);
    let home = Arc::new(Home::new());
    let server = Setup::new(THV, &home).arg("--metrics").start().await;
    server.get("/v0.1/servers").await;
    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.status, 200, "{metrics:?}");
    assert!(
        metrics.text().contains("# TYPE ") && metrics.text().trim_end().ends_with("# EOF"),
        "{metrics:?}"
    );
}

#[tokio::test]
async fn connections_are_kept_and_answers_come_in_order() {
    let server = built_in().await;
    let mut raw = server.address().connect().await.unwrap();
    let request = "GET /api/v1beta/version HTTP/1.1\r\nhost: localhost\r\n\r\n";
    raw.write(
        format!(
            "{request}{request}{}",
            request
                .replace("/version", "/registry/nope")
                .replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")
        )
        .as_bytes(),
    )
    .await
    .unwrap();
    let (answers, closed) = raw.read_all(PATIENCE).await;
    let answers = String::from_utf8(answers).unwrap();
    assert!(closed);
    let statuses: Vec<&str> = answers
        .lines()
        .filter(|line| line.starts_with("HTTP/1.1 "))
        .collect();
    assert_eq!(
        statuses,
        [
            "HTTP/1.1 200 OK",
            "HTTP/1.1 200 OK",
            "HTTP/1.1 404 Not Found"
        ]
    );
}

#[tokio::test]
async fn f46_the_overview_answers_soon_while_the_upstream_hangs() {
    let registry = FakeRegistry::with_servers(5).await;
    registry.break_all(Fault::Hang);
    let server = Server::in_new_home(THV, |home| home.use_api(&registry.url())).await;
    let started = Instant::now();
    let answer: Answer = server.get("/api/v1beta/registry").await;
    assert!(
        started.elapsed() < Duration::from_secs(9),
        "every navigation of the desktop client waits for it: {:?}",
        started.elapsed()
    );
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "registry_unavailable"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_is_told_to_go_on() {
    let server = built_in().await;
    let mut raw = server.address().connect().await.unwrap();
    raw.write(
        b"PUT /api/v1beta/registry/default HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
          content-length: 2\r\nexpect: 100-continue\r\n\r\n",
    )
    .await
    .unwrap();
    let go_on = raw.read_until("\r\n\r\n", PATIENCE).await;
    assert!(go_on.starts_with("HTTP/1.1 100 "), "{go_on}");
    raw.write(b"{}").await.unwrap();
    let (answer, _) = raw.read_all(PATIENCE).await;
    assert!(
        String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 200 OK"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}
