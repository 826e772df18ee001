//! The process around the API: sockets and ports, the discovery record, limits on requests, who may call, and the end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thv_testkit::binary::{Server, Setup};
use thv_testkit::client::{Address, Answer, Call, Method};
use thv_testkit::fixture;
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

fn record(home: &Home) -> Value {
    serde_json::from_slice(&std::fs::read(home.server_record()).unwrap()).unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

// --- who may call (W37)

#[tokio::test]
async fn w37_only_names_of_this_machine_are_served() {
    let server = built_in().await;
    let Address::Tcp(address) = server.address().clone() else {
        panic!("TCP")
    };
    let port = address.port();
    for path in [
        "/api/v1beta/registry",
        "/v0.1/servers",
        "/registry/default/v0.1/servers",
    ] {
        for host in [
            "evil.test",
            "evil.test:8080",
            &format!("127.0.0.1.evil.test:{port}"),
            &format!("localhost.evil.test:{port}"),
        ] {
            let answer = Call::get(path)
                .header("host", host)
                .to(server.address())
                .await;
            assert_eq!(answer.status, 403, "{path} for {host}: {answer:?}");
        }
        for host in [
            format!("127.0.0.1:{port}"),
            format!("localhost:{port}"),
            format!("LOCALHOST:{port}"),
            format!("[::1]:{port}"),
        ] {
            let answer = Call::get(path)
                .header("host", &host)
                .to(server.address())
                .await;
            assert_eq!(answer.status, 200, "{path} for {host}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn w37_pages_of_other_origins_can_change_nothing() {
    let server = built_in().await;
    let before = server.home().config();
    for (method, path, body) in [
        (Method::POST, REFRESH, ""),
        (Method::POST, "/api/v1beta/registry/auth/logout", ""),
        (Method::POST, "/api/v1beta/registry/auth/login", ""),
        (Method::PUT, DEFAULT, "{}"),
        (Method::DELETE, DEFAULT, ""),
    ] {
        for origin in ["https://evil", "null", "http://localhost.evil.test"] {
            let answer = Call::new(method.clone(), path)
                .header("origin", origin)
                .header("content-type", "application/json")
                .body(body)
                .to(server.address())
                .await;
            assert_eq!(
                answer.status, 403,
                "{method} {path} from {origin}: {answer:?}"
            );
        }
    }
    assert_eq!(server.home().config(), before);
}

#[tokio::test]
async fn w37_pages_of_other_origins_read_nothing() {
    let server = built_in().await;
    for path in [
        "/api/v1beta/registry",
        "/v0.1/servers",
        "/registry/default/v0.1/servers",
    ] {
        let answer = Call::get(path)
            .header("origin", "https://evil")
            .to(server.address())
            .await;
        assert_eq!(
            answer.header("access-control-allow-origin"),
            "",
            "{path}: {answer:?}"
        );
        assert!(
            answer.status == 403 || answer.header("cross-origin-resource-policy") == "same-origin",
            "{path}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn w37_a_form_cannot_change_anything() {
    let server = built_in().await;
    let file = server.home().write(
        "r.json",
        fixture::registry_document([fixture::npm("test.w37/form", "@example/f")]),
    );
    let body = json!({"local_path": file.display().to_string()}).to_string();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ] {
        let answer = Call::new(Method::POST, REFRESH)
            .header("content-type", kind)
            .body("x")
            .to(server.address())
            .await;
        assert!([403, 415].contains(&answer.status), "{kind}: {answer:?}");
        // No form can send a PUT, and a script would need a preflight first.
        let answer = Call::new(Method::PUT, DEFAULT)
            .header("content-type", kind)
            .header("origin", "https://evil.test")
            .body(body.clone())
            .to(server.address())
            .await;
        assert_eq!(answer.status, 403, "{kind}: {answer:?}");
        let answer = Call::new(Method::OPTIONS, DEFAULT)
            .header("origin", "https://evil.test")
            .header("access-control-request-method", "PUT")
            .to(server.address())
            .await;
        assert!(answer.header("access-control-allow-origin").is_empty());
    }
    let answer = Call::new(Method::PUT, DEFAULT)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.clone())
        .to(server.address())
        .await;
    assert_eq!(answer.status, 200, "as curl sends it: {answer:?}");
    for kind in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
    ] {
        let answer = Call::new(Method::PUT, DEFAULT)
            .header("content-type", kind)
            .body(body.clone())
            .to(server.address())
            .await;
        assert_eq!(answer.status, 200, "{kind}: {answer:?}");
    }
}

#[tokio::test]
async fn w37_the_desktop_client_is_unaffected() {
    let home = Arc::new(Home::new());
    let socket = home.join("toolhive-4242.sock");
    let server = Setup::new(THV, &home)
        .listen_as_given()
        .arg("--openapi")
        .arg(&format!("--socket={}", socket.display()))
        .arg("--sentry-dsn=https://key@sentry.example.test/1")
        .arg("--sentry-environment=development")
        .arg("--sentry-traces-sample-rate=1.0")
        .env("TOOLHIVE_SKIP_DESKTOP_CHECK", "true")
        .start()
        .await;
    assert_eq!(server.address(), &Address::Unix(socket));
    let studio = |method: Method, path: &str| {
        Call::new(method, path)
            .header("host", "localhost")
            .header("connection", "keep-alive")
            .header("x-client-type", "toolhive-studio")
            .header("x-client-version", "0.20.0")
            .header("x-client-platform", "linux")
            .header("x-client-release-build", "false")
    };
    assert_eq!(
        studio(Method::GET, "/health")
            .to(server.address())
            .await
            .status,
        204
    );
    let list = studio(Method::GET, "/api/v1beta/registry")
        .to(server.address())
        .await;
    assert_eq!(
        (list.status, list.header("content-encoding")),
        (200, ""),
        "{list:?}"
    );

    // Its transport sends every body in chunks, without a length.
    let mut raw = server.address().connect().await.unwrap();
    raw.write(
        b"PUT /api/v1beta/registry/default HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
          transfer-encoding: chunked\r\nx-client-type: toolhive-studio\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    )
    .await
    .unwrap();
    let (answer, _) = raw.read_all(PATIENCE).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("{\"type\":\"default\"}\n"),
        "{answer}"
    );

    // Its login and logout have no body and no content type.
    let mut raw = server.address().connect().await.unwrap();
    raw.write(b"POST /api/v1beta/registry/default/refresh HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
    let (answer, _) = raw.read_all(PATIENCE).await;
    assert!(
        String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 200 OK\r\n"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(server.stdout(), "");
}

// --- discovery (W38, F48, F49)

#[tokio::test]
async fn f48_the_record_is_private_and_complete() {
    let server = built_in().await;
    let file = server.home().server_record();
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.starts_with("{\n  \"url\": \"http://127.0.0.1:"),
        "{text}"
    );
    let record = record(server.home());
    assert_eq!(record["pid"], server.pid());
    let started = record["started_at"].as_str().unwrap();
    assert!(
        started.ends_with('Z') && started.contains('T') && started.contains('.'),
        "{started}"
    );
}

#[tokio::test]
async fn f48_a_loose_directory_is_tightened_and_a_symlink_refused() {
    let home = Arc::new(Home::new());
    let folder = home.server_record().parent().unwrap().to_owned();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let server = Setup::new(THV, &home).start().await;
    assert_eq!(mode(&folder), 0o700);
    server.stop().await;

    let precious = home.write("precious", "do not touch");
    std::os::unix::fs::symlink(&precious, home.server_record()).unwrap();
    let mut server = Setup::new(THV, &home).spawn();
    until("a refusal or a start", PATIENCE, || {
        let ended = !server.is_running();
        let replaced = !home.server_record().is_symlink();
        std::future::ready((ended || replaced).then_some(()))
    })
    .await;
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "do not touch");
}

#[tokio::test]
async fn w38_a_second_server_is_refused_and_the_first_is_unharmed() {
    let home = Arc::new(Home::new());
    let socket = home.join("first.sock");
    let server = Setup::new(THV, &home).socket(&socket).start().await;
    let before = std::fs::read(home.server_record()).unwrap();
    let inode = std::fs::metadata(&socket).unwrap().ino();
    let other = home.join("second.sock");
    for setup in [
        Setup::new(THV, &home).socket(&socket),
        Setup::new(THV, &home).socket(&other),
        Setup::new(THV, &home),
    ] {
        let mut second = setup.spawn();
        let status = second.ended().await;
        assert_eq!(status.code(), Some(1), "{}", second.stderr());
        let pid = format!("(PID {})", server.pid());
        assert!(
            second.stderr().contains(RUNNING) && second.stderr().contains(&pid),
            "{}",
            second.stderr()
        );
        assert_eq!(server.get("/health").await.status, 204);
        assert_eq!(
            std::fs::read(home.server_record()).unwrap(),
            before,
            "the record is the first one's"
        );
        assert_eq!(
            std::fs::metadata(&socket).unwrap().ino(),
            inode,
            "the socket is the first one's"
        );
    }
    assert!(
        !other.exists(),
        "a server that failed to start leaves nothing behind"
    );
}

#[tokio::test]
async fn w38_the_socket_of_a_server_that_answers_is_never_taken() {
    let first_home = Arc::new(Home::new());
    let socket = first_home.join("shared.sock");
    let server = Setup::new(THV, &first_home).socket(&socket).start().await;
    // Another user's home has no record of the first server; the socket itself still answers.
    let other_home = Arc::new(Home::new());
    let mut second = Setup::new(THV, &other_home).socket(&socket).spawn();
    assert_eq!(second.ended().await.code(), Some(1), "{}", second.stderr());
    assert_eq!(server.get("/health").await.status, 204);
}

#[tokio::test]
async fn w38_only_the_owner_removes_the_record() {
    let server = built_in().await;
    let home = Arc::clone(server.home());
    let mut foreign = record(&home);
    foreign["nonce"] = "f".repeat(32).into();
    foreign["pid"] = std::process::id().into();
    let text = serde_json::to_string_pretty(&foreign).unwrap();
    std::fs::write(home.server_record(), &text).unwrap();
    assert_eq!(server.stop().await.code(), Some(0));
    assert_eq!(
        std::fs::read_to_string(home.server_record()).unwrap(),
        text,
        "the record of another server stays"
    );
}

#[tokio::test]
async fn w38_only_the_owner_removes_the_socket() {
    let home = Arc::new(Home::new());
    let socket = home.join("s.sock");
    let server = Setup::new(THV, &home).socket(&socket).start().await;
    std::fs::remove_file(&socket).unwrap();
    let successor = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert_eq!(server.stop().await.code(), Some(0));
    assert!(
        socket.exists(),
        "the socket under the same name is not ours any more"
    );
    drop(successor);
}

#[tokio::test]
async fn w38_a_record_left_by_a_dead_server_does_not_block() {
    let home = Arc::new(Home::new());
    let socket = home.join("s.sock");
    let server = Setup::new(THV, &home).socket(&socket).start().await;
    let old = record(&home);
    drop(server);
    assert!(
        home.server_record().exists() && socket.exists(),
        "killed, it could not clean up"
    );
    let server = Setup::new(THV, &home).socket(&socket).start().await;
    assert_ne!(record(&home)["nonce"], old["nonce"]);
    assert_eq!(server.get("/health").await.status, 204);
}

#[tokio::test]
async fn w38_lock_files_are_never_deleted() {
    let server = built_in().await;
    let home = Arc::clone(server.home());
    let file = home.path().join("state/toolhive/server/server.json.lock");
    let inode = std::fs::metadata(&file).unwrap().ino();
    server.stop().await;
    assert_eq!(std::fs::metadata(&file).unwrap().ino(), inode);
    assert!(!home.server_record().exists(), "but the record is");
}

#[tokio::test]
async fn w38_a_relative_socket_is_recorded_absolutely() {
    let home = Arc::new(Home::new());
    let server = Setup::new(THV, &home)
        .listen_as_given()
        .arg("--socket=relative.sock")
        .start()
        .await;
    assert_eq!(
        server.address(),
        &Address::Unix(home.path().canonicalize().unwrap().join("relative.sock"))
    );
    assert_eq!(server.get("/health").await.status, 204);
    let mut second = Setup::new(THV, &home).spawn();
    assert_eq!(second.ended().await.code(), Some(1));
    assert!(second.stderr().contains(RUNNING), "{}", second.stderr());
}

#[tokio::test]
async fn f49_a_socket_path_with_spaces_is_found_again() {
    let home = Arc::new(Home::new());
    let socket = home.join("my sockets/thv #1.sock");
    let server = Setup::new(THV, &home).socket(&socket).start().await;
    assert_eq!(server.address(), &Address::Unix(socket));
    let mut second = Setup::new(THV, &home).spawn();
    assert_eq!(second.ended().await.code(), Some(1));
    assert!(second.stderr().contains(RUNNING), "{}", second.stderr());
}

#[tokio::test]
async fn w38_a_successor_waits_for_a_server_on_its_way_out() {
    let home = Arc::new(Home::new());
    let socket = home.join("s.sock");
    let mut old = Setup::new(THV, &home).socket(&socket).start().await;
    old.terminate();
    let new = Setup::new(THV, &home).socket(&socket).start().await;
    assert_eq!(old.ended().await.code(), Some(0));
    assert_eq!(
        new.get("/health").await.status,
        204,
        "the old one took nothing along"
    );
    assert_eq!(record(&home)["pid"], new.pid());
}

#[tokio::test]
async fn w39_a_regular_file_at_the_socket_path_is_kept() {
    let home = Arc::new(Home::new());
    let file = home.write("notes.txt", "years of work");
    let folder = home.join("folder");
    std::fs::create_dir(&folder).unwrap();
    for path in [&file, &folder] {
        let mut server = Setup::new(THV, &home).socket(path).spawn();
        assert_eq!(server.ended().await.code(), Some(1), "{}", server.stderr());
        assert!(
            server.stderr().contains(path.to_str().unwrap()),
            "{}",
            server.stderr()
        );
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "years of work");
    assert!(!home.server_record().exists());
}

#[tokio::test]
async fn the_socket_is_open_to_owner_and_group_and_gone_afterwards() {
    let home = Arc::new(Home::new());
    let socket = home.join("new/folder/s.sock");
    let server = Setup::new(THV, &home).socket(&socket).start().await;
    assert!(std::fs::metadata(&socket).unwrap().file_type().is_socket());
    assert_eq!(mode(&socket), 0o660);
    server.stop().await;
    assert!(!socket.exists());
}

// --- the end (W40, F47)

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
            started.elapsed() < Duration::from_secs(10),
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

// --- limits (F50)

fn exactly(bytes: usize) -> Vec<u8> {
    // Valid JSON of any length: unknown keys are ignored.
    let frame = r#"{"padding":""}"#;
    format!(r#"{{"padding":"{}"}}"#, "x".repeat(bytes - frame.len())).into_bytes()
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
    let (_, closed) = raw.read_all(Duration::from_secs(16)).await;
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
    while !closed && started.elapsed() < Duration::from_secs(36) {
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
        let (answer, closed) = raw.read_all(Duration::from_secs(12)).await;
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

// --- what it needs and what it leaves behind (W42, W43)

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
async fn a_port_that_is_taken_is_an_error_that_says_so() {
    let home = Arc::new(Home::new());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut server = Setup::new(THV, &home)
        .listen_as_given()
        .arg(&format!("--port={port}"))
        .spawn();
    assert_eq!(server.ended().await.code(), Some(1));
    assert!(
        server.stderr().contains(&port.to_string()),
        "{}",
        server.stderr()
    );
    assert!(!home.server_record().exists());
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
        started.elapsed() < Duration::from_secs(7),
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
async fn any_loopback_address_will_do() {
    for host in ["localhost", "::1", "[::1]", "127.0.0.2"] {
        let home = Arc::new(Home::new());
        let server = Setup::new(THV, &home)
            .listen_as_given()
            .arg("--port=0")
            .arg(&format!("--host={host}"))
            .start()
            .await;
        assert_eq!(server.get("/health").await.status, 204, "{host}");
        assert_eq!(
            server.get("/api/v1beta/registry").await.status,
            200,
            "{host}"
        );
        let mut second = Setup::new(THV, &home).spawn();
        assert_eq!(second.ended().await.code(), Some(1), "{host}");
        assert!(
            second.stderr().contains(RUNNING),
            "{host}: {}",
            second.stderr()
        );
    }
}

#[tokio::test]
async fn a_server_on_all_addresses_is_found_by_its_record() {
    let home = Arc::new(Home::new());
    let server = Setup::new(THV, &home)
        .listen_as_given()
        .arg("--port=0")
        .arg("--host=0.0.0.0")
        .start()
        .await;
    let Address::Tcp(address) = server.address() else {
        panic!("TCP")
    };
    assert!(
        address.ip().is_loopback(),
        "a probe asks loopback only: {address}"
    );
    assert_eq!(server.get("/health").await.status, 204);
    let mut second = Setup::new(THV, &home).spawn();
    assert_eq!(second.ended().await.code(), Some(1));
    assert!(second.stderr().contains(RUNNING), "{}", second.stderr());
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

#[tokio::test]
async fn a_second_host_header_or_none_is_a_bad_request() {
    let server = built_in().await;
    for head in [
        "GET /health HTTP/1.1\r\nconnection: close\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost: localhost\r\nhost: evil.test\r\nconnection: close\r\n\r\n",
    ] {
        let mut raw = server.address().connect().await.unwrap();
        raw.write(head.as_bytes()).await.unwrap();
        let (answer, _) = raw.read_all(PATIENCE).await;
        assert!(
            String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 400 "),
            "{head}: {}",
            String::from_utf8_lossy(&answer)
        );
    }
}
