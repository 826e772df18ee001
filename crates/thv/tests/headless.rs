//! A machine without a desktop, where nothing below the home directory can be written: a container with a read-only file
//! system, a service without rights. There is no display, no message bus and no runtime directory, and the program runs as a
//! user who owns nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

mod auth_kit;

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use auth_kit::{PASSWORD, STANDARD, Stage, THV, end_of, names};
use serde_json::json;
use tempfile::TempDir;
use thv_testkit::binary::{Ran, Server, Setup, cli_with};
use thv_testkit::browse::browse;
use thv_testkit::provider::{CLIENT, paths};
use thv_testkit::running::Running;
use thv_testkit::unprivileged;

const LOGINS: &str = "/api/v1/registries/default/auth/logins";
/// Less than any wait for a person, or for a keyring at a login.
const AT_ONCE: Duration = Duration::from_secs(9);

/// Whose a file of a process is.
fn owner(pid: u32, file: &str) -> u32 {
    let path = format!("/proc/{pid}/{file}");
    std::fs::metadata(&path).expect("a process").uid()
}

/// A user who owns nothing, with a home that cannot be written to and a folder elsewhere that can.
struct Headless {
    stage: Stage,
    /// The program, run as that user.
    thv: String,
    writable: TempDir,
}

impl Headless {
    /// A protected registry is configured, and nothing about secrets.
    async fn new() -> Self {
        Self::configured("").await
    }

    /// A protected registry is configured, and the encrypted store.
    async fn set_up() -> Self {
        Self::configured("secrets:\n    provider_type: encrypted\n    setup_completed: true\n")
            .await
    }

    async fn configured(more: &str) -> Self {
        let stage = Stage::new().await;
        stage.provider.behave(|provider| {
            provider.offers_device = true;
            provider.device_interval = 1;
        });
        stage
            .home
            .write_config(&format!("{}{more}", stage.config()));
        Self::of(stage)
    }

    /// A registry that anybody may read is configured.
    async fn with_open_registry() -> Self {
        let stage = Stage::new().await;
        stage.registry.unprotect();
        stage.home.use_api(&stage.registry.url());
        Self::of(stage)
    }

    fn of(stage: Stage) -> Self {
        let thv: PathBuf = unprivileged::install(THV, stage.home.path());
        unprivileged::close_to_writers(stage.home.path());
        let writable = tempfile::Builder::new()
            .prefix("thv-w")
            .tempdir()
            .expect("a temporary directory");
        unprivileged::open_to_all(writable.path());
        Headless {
            stage,
            thv: thv.display().to_string(),
            writable,
        }
    }

    /// The variables that lead away from the home.
    fn elsewhere(&self, names: &[&str]) -> Vec<(String, String)> {
        let place = |name: &&str| {
            let path = self.writable.path().join(name);
            (format!("XDG_{name}_HOME"), path.display().to_string())
        };
        names.iter().map(place).collect()
    }

    fn everything_but_configuration_elsewhere(&self) -> Vec<(String, String)> {
        let mut env = self.elsewhere(&["DATA", "STATE", "CACHE"]);
        env.push(("TOOLHIVE_SECRETS_PASSWORD".to_owned(), PASSWORD.to_owned()));
        env
    }

    /// Runs a command that has to end at once, whatever it has to say.
    async fn cli(&self, arguments: &[&str], env: &[(String, String)]) -> Ran {
        let env: Vec<_> = env
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let start = Instant::now();
        let ran = cli_with(&self.thv, &self.stage.home, arguments, &env, b"v\n").await;
        assert!(
            start.elapsed() < AT_ONCE,
            "{arguments:?}: {}",
            ran.transcript()
        );
        ran
    }

    async fn server(&self, env: Vec<(String, String)>) -> Server {
        Setup::new(&self.thv, &self.stage.home)
            .envs(env)
            .start()
            .await
    }
}

impl Drop for Headless {
    fn drop(&mut self) {
        // Who is not root cannot remove what is in a closed folder.
        unprivileged::open_to_all(self.stage.home.path());
    }
}

#[tokio::test]
async fn what_needs_no_login_works_where_nothing_can_be_written() {
    let machine = Headless::with_open_registry().await;
    for (arguments, words) in [
        (&["version"] as &[&str], "ToolHive"),
        (&["config", "get-registry"], "http://127.0.0.1:"),
        (&["registry", "list", "--format", "json"], "\"name\""),
        (&["registry", "status"], "ready"),
        (&["registry", "refresh"], "6 servers"),
        (&["search", "a"], ""),
    ] {
        let ran = machine.cli(arguments, &[]).await;
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.transcript());
        assert!(
            ran.stdout.contains(words),
            "{arguments:?}: {}",
            ran.transcript()
        );
    }
}

#[tokio::test]
async fn what_has_to_be_written_fails_at_once_and_says_where_and_what_to_do() {
    let machine = Headless::new().await;
    let password = [("TOOLHIVE_SECRETS_PASSWORD".to_owned(), PASSWORD.to_owned())];
    for (arguments, env, code, words) in [
        (
            &["registry", "list"] as &[&str],
            &[] as &[_],
            3,
            &["needs a login", "`thv registry login`"] as &[&str],
        ),
        (
            &["registry", "login", "--no-browser"],
            &[],
            6,
            &["Permission denied", "XDG_DATA_HOME"],
        ),
        (
            &["registry", "login", "--no-browser"],
            &password,
            6,
            &["Permission denied", "XDG_DATA_HOME"],
        ),
        (
            &["registry", "login", "--device"],
            &password,
            6,
            &["Permission denied", "XDG_DATA_HOME"],
        ),
        (&["secret", "set", "NAME"], &[], 6, &["`thv secret setup`"]),
        (
            &["secret", "set", "NAME"],
            &password,
            6,
            &["`thv secret setup`"],
        ),
        (
            &["secret", "provider", "encrypted"],
            &password,
            6,
            &["Permission denied", "XDG_DATA_HOME"],
        ),
        (
            &["config", "unset-registry"],
            &[],
            1,
            &["Permission denied", "XDG_CONFIG_HOME"],
        ),
        (
            &["serve", "--port", "0"],
            &[],
            1,
            &["Permission denied", "XDG_STATE_HOME"],
        ),
    ] {
        let ran = machine.cli(arguments, env).await;
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.transcript());
        for word in words {
            assert!(
                ran.stderr.contains(word),
                "{arguments:?}, {word}: {}",
                ran.transcript()
            );
        }
    }
    assert_eq!(machine.stage.authorizations(), 0);
    assert!(
        machine
            .stage
            .provider
            .requests_for(paths::DEVICE_AUTHORIZATION)
            .is_empty()
    );
}

#[tokio::test]
async fn a_server_with_a_place_for_its_record_alone_serves_and_refuses_logins_at_once() {
    let machine = Headless::with_open_registry().await;
    let server = machine.server(machine.elsewhere(&["STATE"])).await;
    assert_eq!(names(&server).await.len(), 6);
    assert_eq!(server.stop().await.code(), Some(0));

    let machine = Headless::new().await;
    let server = machine.server(machine.elsewhere(&["STATE"])).await;
    assert_eq!(server.get(STANDARD).await.status, 503);
    let start = Instant::now();
    let answer = server.post(LOGINS, &json!({})).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (409, "store_unusable"),
        "{answer:?}"
    );
    assert!(answer.text().contains("Permission denied"), "{answer:?}");
    let answer = server.post(auth_kit::LOGIN, &json!({})).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(start.elapsed() < AT_ONCE);
    assert_eq!(machine.stage.authorizations(), 0);
}

#[tokio::test]
async fn a_configuration_that_is_not_ours_to_write_is_told_what_it_lacks_for_a_login() {
    let machine = Headless::new().await;
    let env = machine.everything_but_configuration_elsewhere();
    let arguments = ["registry", "login", "--no-browser"];
    let ran = machine.cli(&arguments, &env).await;
    assert_eq!(ran.code, 6, "{}", ran.transcript());
    for words in ["config.yaml", "Permission denied", "setup_completed: true"] {
        assert!(ran.stderr.contains(words), "{}", ran.transcript());
    }
    assert_eq!(machine.stage.authorizations(), 0);
}

#[tokio::test]
async fn with_places_elsewhere_and_a_password_a_code_logs_in() {
    let machine = Headless::set_up().await;
    let env = machine.everything_but_configuration_elsewhere();
    let arguments = ["registry", "login", "--device"];
    let running = Running::start(&machine.thv, &machine.stage.home, &arguments, env.clone());
    let prefix = format!("{}?", machine.stage.provider.at(paths::DEVICE));
    browse(&running.word_on_stderr(&prefix).await).await;
    let ran = running.ended().await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let ran = machine
        .cli(&["registry", "list", "--format", "json"], &env)
        .await;
    assert_eq!(
        ran.json().as_array().map(Vec::len),
        Some(6),
        "{}",
        ran.transcript()
    );
    for _ in 0..2 {
        let server = machine.server(env.clone()).await;
        assert_eq!(names(&server).await.len(), 6);
        assert!(server.stop().await.success());
    }
    assert!(machine.stage.opener.urls().is_empty());
}

#[tokio::test]
async fn with_places_elsewhere_a_client_logs_in_through_the_server() {
    let machine = Headless::new().await;
    let mut env = machine.everything_but_configuration_elsewhere();
    env.extend(machine.elsewhere(&["CONFIG"]));
    let server = machine.server(env).await;
    let source = json!({
        "api_url": machine.stage.registry.url(),
        "allow_private_ip": true,
        "auth": {
            "issuer": machine.stage.provider.issuer(),
            "client_id": CLIENT,
            "scopes": ["openid", "email", "offline_access", "registry:read"],
            "audience": machine.stage.registry.url(),
        },
    });
    let answer = server.put(auth_kit::DEFAULT, &source).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = server.post(LOGINS, &json!({})).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let login = answer.json();
    let page = browse(login["methods"][0]["authorization_url"].as_str().unwrap()).await;
    assert_eq!(page.answer.status, 200, "{page:?}");
    let ended = end_of(&server, &login).await;
    assert_eq!(ended["state"], "authenticated", "{ended}");
    assert_eq!(names(&server).await.len(), 6);
}

#[tokio::test]
async fn case_83_no_other_program_of_the_user_looks_into_ours_and_a_busy_port_is_still_told_by_whom()
 {
    let machine = Headless::set_up().await;
    let env = machine.everything_but_configuration_elsewhere();
    let server = machine.server(env.clone()).await;
    let login = Running::start(
        &machine.thv,
        &machine.stage.home,
        &["registry", "login", "--no-browser"],
        env.clone(),
    );
    machine.stage.printed_url(&login).await;
    // The kernel gives the files of a process that must not be dumped to root.
    for pid in [server.pid(), login.pid()] {
        for file in ["mem", "environ", "maps", "fd"] {
            assert_eq!(owner(pid, file), 0, "{file}");
        }
    }
    let ran = machine
        .cli(&["registry", "login", "--no-browser"], &env)
        .await;
    let holder = format!("(PID {}), which is waiting for a login", login.pid());
    assert!(ran.stderr.contains(&holder), "{}", ran.transcript());
    let doctor = machine.cli(&["doctor"], &env).await;
    let holder = format!("a login that waits in thv-binary (PID {})", login.pid());
    assert!(doctor.stdout.contains(&holder), "{}", doctor.transcript());
}
