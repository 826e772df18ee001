//! Where a server listens, how others find it, and what happens when there is one already: sockets, ports and the
//! discovery record.

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

use serde_json::Value;
use thv_testkit::binary::{Server, Setup};
use thv_testkit::client::Address;
use thv_testkit::home::Home;
use thv_testkit::wait::{PATIENCE, all, until};

const THV: &str = env!("CARGO_BIN_EXE_thv");
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
async fn the_socket_has_the_mode_of_the_go_program_and_is_gone_afterwards() {
    let home = Arc::new(Home::new());
    let socket = home.join("new/folder/s.sock");
    let server = Setup::new(THV, &home).socket(&socket).start().await;
    assert!(std::fs::metadata(&socket).unwrap().file_type().is_socket());
    assert_eq!(mode(&socket), 0o660);
    server.stop().await;
    assert!(!socket.exists());
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
async fn any_loopback_address_will_do() {
    all(
        ["localhost", "::1", "[::1]", "127.0.0.2"].map(|host| async move {
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
        }),
    )
    .await;
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
