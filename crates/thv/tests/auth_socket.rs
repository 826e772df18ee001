//! A server that is reached through a UNIX socket only: logins and the catalog, and no port beside it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

mod auth_kit;

use auth_kit::{LOGOUT, Stage, assert_needs_login, end_of, is_listening, names, report};
use serde_json::{Value, json};
use thv_testkit::binary::Server;
use thv_testkit::browse::{Browser, browse};
use thv_testkit::client::{Address, Call, Method};
use thv_testkit::wait::until_true;

const LOGINS: &str = "/api/v1/registries/default/auth/logins";

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.provider.behave(|provider| {
        provider.offers_device = true;
        provider.device_interval = 1;
    });
    stage
}

async fn server(stage: &Stage) -> Server {
    let socket = stage.home.join("api.sock");
    let server = stage.setup().socket(&socket).start().await;
    assert_eq!(server.address(), &Address::Unix(socket));
    server
}

async fn start_login(server: &Server) -> Value {
    let answer = server.post(LOGINS, &json!({})).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

fn text<'a>(login: &'a Value, member: &str) -> &'a str {
    login[member].as_str().expect(member)
}

fn method<'a>(login: &'a Value, kind: &str) -> &'a Value {
    let methods = login["methods"].as_array().unwrap();
    methods
        .iter()
        .find(|method| method["type"] == kind)
        .expect(kind)
}

/// How many TCP ports the process listens on.
fn ports(server: &Server) -> usize {
    let inodes: Vec<String> = std::fs::read_dir(format!("/proc/{}/fd", server.pid()))
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter_map(|target| {
            let target = target.to_string_lossy().into_owned();
            let inode = target.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    assert!(!inodes.is_empty(), "a server without sockets");
    ["tcp", "tcp6"]
        .iter()
        .flat_map(|family| {
            let table = std::fs::read_to_string(format!("/proc/{}/net/{family}", server.pid()));
            let table = table.unwrap_or_default();
            table.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
        })
        .filter(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            // State 0A is LISTEN.
            fields.get(3) == Some(&"0A")
                && fields
                    .get(9)
                    .is_some_and(|inode| inodes.iter().any(|own| own == inode))
        })
        .count()
}

#[tokio::test]
async fn a_redirect_that_was_handed_over_logs_in_through_the_socket() {
    let stage = stage().await;
    let server = server(&stage).await;
    assert_needs_login(&server.get(auth_kit::STANDARD).await, "never_logged_in");
    assert_eq!(ports(&server), 0);
    let login = start_login(&server).await;
    assert!(ports(&server) > 0, "the redirect can also arrive by itself");
    let url = text(method(&login, "browser"), "authorization_url");
    let redirect = Browser::default()
        .open_until(url, "http://localhost:")
        .await;
    let handed_over = Call::new(Method::POST, text(&login, "callback_url"))
        .json(&json!({ "url": redirect }))
        .to(server.address())
        .await;
    assert_eq!(handed_over.status, 202, "{handed_over:?}");
    let ended = end_of(&server, &login).await;
    assert_eq!(ended["state"], "authenticated", "{ended}");
    assert_eq!(names(&server).await, stage.registry.live_names());
    assert_eq!(report(&server).await["account"]["sub"], "alice");
    until_true("the ports to be closed", || ports(&server) == 0).await;
    assert!(!is_listening(stage.port));
    assert!(stage.opener.urls().is_empty());
}

#[tokio::test]
async fn a_code_logs_in_through_the_socket_and_the_command_line_shares_the_login() {
    let stage = stage().await;
    let server = server(&stage).await;
    let login = start_login(&server).await;
    let url = text(method(&login, "device"), "verification_uri_complete");
    browse(url).await;
    let ended = end_of(&server, &login).await;
    assert_eq!(ended["state"], "authenticated", "{ended}");
    assert_eq!(names(&server).await, stage.registry.live_names());
    // The command line finds the server by its record.
    let ran = stage.cli(&["registry", "refresh"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let ran = stage.cli(&["registry", "list", "--format", "json"]).await;
    assert_eq!(
        ran.json().as_array().map(Vec::len),
        Some(6),
        "{}",
        ran.transcript()
    );
    let logout = server.post(LOGOUT, &json!({})).await;
    assert_eq!(logout.status, 200, "{logout:?}");
    assert_needs_login(&server.get(auth_kit::STANDARD).await, "never_logged_in");
    let socket = stage.home.join("api.sock");
    assert!(server.stop().await.success());
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_login_that_is_cancelled_through_the_socket_leaves_no_port_behind() {
    let stage = stage().await;
    let server = server(&stage).await;
    let login = start_login(&server).await;
    let path = text(&login, "poll_url")
        .split('?')
        .next()
        .unwrap()
        .to_owned();
    let cancelled = server.address().delete(&path).await;
    assert!(cancelled.status < 300, "{cancelled:?}");
    until_true("the ports to be closed", || ports(&server) == 0).await;
    assert_eq!(server.get(&path).await.json()["state"], "cancelled");
}
