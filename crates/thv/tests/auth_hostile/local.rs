//! Other users of the same machine who find our port or our socket (case 67).

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use rustix::process::{getegid, geteuid};
use serde_json::{Value, json};
use thv_testkit::binary::{Ran, Setup, cli_with};
use thv_testkit::client::{Answer, Call};
use thv_testkit::home::Home;
use thv_testkit::registry::FakeRegistry;
use thv_testkit::unprivileged;

use crate::auth_kit::{DEFAULT, REFRESH, STANDARD, THV};

/// Somebody who owns nothing but a home.
struct Stranger {
    home: Home,
    thv: String,
}

impl Stranger {
    fn new() -> Self {
        let home = Home::new();
        let thv = unprivileged::install(THV, home.path());
        unprivileged::open_to_all(home.path());
        Stranger {
            thv: thv.display().to_string(),
            home,
        }
    }

    /// Somebody else of the group of whoever runs the tests, whom the mode of a socket lets pass.
    fn of_our_group() -> Self {
        let stranger = Self::new();
        let script = std::fs::read_to_string(&stranger.thv).unwrap();
        let group = format!("--regid {}", getegid().as_raw());
        std::fs::write(&stranger.thv, script.replace("--regid 65534", &group)).unwrap();
        stranger
    }

    /// Has the server at `url` fetch its registry.
    async fn refreshes(&self, url: &str) -> Ran {
        let env = [("TOOLHIVE_API_URL", url)];
        cli_with(&self.thv, &self.home, &["registry", "refresh"], &env, b"").await
    }
}

/// A user with a configured registry.
async fn user() -> (FakeRegistry, Arc<Home>) {
    let registry = FakeRegistry::with_servers(6).await;
    let home = Arc::new(Home::new());
    home.use_api(&registry.url());
    (registry, home)
}

fn record(home: &Home) -> Value {
    serde_json::from_slice(&std::fs::read(home.server_record()).unwrap()).unwrap()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o777
}

#[tokio::test]
async fn case_67_another_user_at_the_socket_is_not_listened_to() {
    if !geteuid().is_root() {
        // Only root can be somebody else.
        return;
    }
    let (registry, home) = user().await;
    let open = tempfile::tempdir().unwrap();
    unprivileged::open_to_all(open.path());
    let socket = open.path().join("thv.sock");
    let server = Setup::new(THV, &home).socket(&socket).start().await;
    assert_eq!(server.get(STANDARD).await.status, 200);
    let asked = registry.list_count();
    let url = format!("unix://{}", socket.display());
    let stranger = Stranger::of_our_group();
    let ran = stranger.refreshes(&url).await;
    let refused = format!("cannot ask the server at {url}");
    assert!(ran.stderr.contains(&refused), "{}", ran.transcript());
    assert_eq!(registry.list_count(), asked, "{}", ran.transcript());
    assert!(
        server
            .stderr()
            .contains("a connection of another user is closed"),
        "{}",
        server.stderr()
    );
    // Its own user is served as before.
    assert_eq!(server.get(STANDARD).await.status, 200);
    let env = [("TOOLHIVE_API_URL", url.as_str())];
    let ran = cli_with(THV, &home, &["registry", "refresh"], &env, b"").await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    // An operator who wants others there says so by the mode, as with any socket.
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    let ran = stranger.refreshes(&url).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
}

#[tokio::test]
async fn case_67_root_is_let_in_at_the_socket_of_a_user() {
    let stranger = Stranger::new();
    let socket = stranger.home.join("thv.sock");
    let home = Arc::new(stranger.home);
    let server = Setup::new(&stranger.thv, &home)
        .socket(&socket)
        .start()
        .await;
    assert_eq!(
        server.get("/health").await.status,
        204,
        "{}",
        server.stderr()
    );
}

#[tokio::test]
async fn case_67_a_port_with_a_token_is_for_those_who_can_read_the_record() {
    let (registry, home) = user().await;
    let server = Setup::new(THV, &home).arg("--require-token").start().await;
    let record = record(&home);
    let token = record["token"].as_str().unwrap().to_owned();
    assert_eq!(token.len(), 64);
    let file = home.server_record();
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));

    assert_eq!(server.get("/health").await.status, 204);
    for path in [
        STANDARD,
        DEFAULT,
        "/api/v1/registries/default/auth",
        "/nowhere",
    ] {
        for shown in [
            None,
            Some("Bearer x".to_owned()),
            Some(format!("Basic {token}")),
        ] {
            let mut call = Call::get(path);
            if let Some(shown) = &shown {
                call = call.header("authorization", shown);
            }
            let answer: Answer = call.to(server.address()).await;
            assert_eq!(answer.status, 401, "{path} {shown:?}: {answer:?}");
            assert!(
                answer
                    .header("www-authenticate")
                    .starts_with("Bearer realm=\"thv\"")
            );
            assert!(!answer.text().contains(&token), "{answer:?}");
        }
    }
    let before = home.config();
    let answer = server
        .put(DEFAULT, &json!({"api_url": "https://evil.example"}))
        .await;
    assert_eq!((answer.status, home.config()), (401, before));
    let answer = Call::get(STANDARD)
        .header("authorization", &format!("Bearer {token}"))
        .to(server.address())
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");

    let asked = registry.list_count();
    let ran = Stranger::new()
        .refreshes(record["url"].as_str().unwrap())
        .await;
    assert_ne!(ran.code, 0, "{}", ran.transcript());
    assert!(
        ran.stderr.contains("discovery record"),
        "{}",
        ran.transcript()
    );
    assert_eq!(registry.list_count(), asked);
    assert_eq!(server.post(REFRESH, &json!({})).await.status, 401);

    // The commands of the user whose server it is send it, and show it nowhere.
    for env in [
        vec![],
        vec![("TOOLHIVE_API_URL", record["url"].as_str().unwrap())],
    ] {
        let ran = cli_with(THV, &home, &["registry", "refresh"], &env, b"").await;
        assert_eq!(ran.code, 0, "{}", ran.transcript());
    }
    assert!(registry.list_count() > asked);
    let ran = cli_with(THV, &home, &["doctor", "--format", "json"], &[], b"").await;
    let checks = ran.json()["checks"].as_array().unwrap().clone();
    for id in ["server.record", "server.version"] {
        let check = checks.iter().find(|check| check["id"] == id).unwrap();
        assert_eq!(check["outcome"], "ok", "{check}");
    }
    assert!(!(ran.transcript() + &ran.stdout + &server.stderr()).contains(&token));
}

#[tokio::test]
async fn case_67_the_token_of_one_server_is_sent_to_no_other() {
    let (_registry, home) = user().await;
    let server = Setup::new(THV, &home).arg("--require-token").start().await;
    let token = record(&home)["token"].as_str().unwrap().to_owned();
    let other = FakeRegistry::with_servers(1).await;
    let env = [("TOOLHIVE_API_URL", other.url())];
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let _ = cli_with(THV, &home, &["registry", "refresh"], &env, b"").await;
    let requests = other.requests();
    assert!(!requests.is_empty());
    assert!(
        requests
            .iter()
            .all(|request| request.header("authorization").is_none())
    );
    server.stop().await;
    let again = Setup::new(THV, &home).arg("--require-token").start().await;
    assert_ne!(record(&home)["token"], token, "one run, one token");
    drop(again);
    let mut both = Setup::new(THV, &home)
        .arg("--require-token")
        .arg("--oidc-issuer=https://id.example")
        .spawn();
    assert_eq!(both.ended().await.code(), Some(1), "{}", both.stderr());
    assert!(
        both.stderr().contains("--require-token"),
        "{}",
        both.stderr()
    );
}
