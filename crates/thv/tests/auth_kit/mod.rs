//! A protected registry, its identity provider, and a machine on which somebody uses `thv`: the stage of every test about
//! logins. The person in front of the browser is `thv_testkit::browse`; what opens browsers is a stand-in that writes down
//! every address, so that a test also knows when nothing was opened.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use thv_testkit::binary::{Ran, Server, Setup, cli_with};
use thv_testkit::browse::Browser;
use thv_testkit::client::{Address, Answer, Call, Method};
use thv_testkit::home::Home;
use thv_testkit::opener::Opener;
pub(crate) use thv_testkit::port::free_port;
use thv_testkit::provider::{CLIENT, Provider, paths};
use thv_testkit::registry::{FakeRegistry, Guard};
use thv_testkit::running::Running;
use thv_testkit::wait::{PATIENCE, until, until_true};
use tokio::task::JoinHandle;

pub(crate) const THV: &str = env!("CARGO_BIN_EXE_thv");
pub(crate) const PASSWORD: &str = "correct-horse-battery-staple";
pub(crate) const COLLECTION: &str = "/api/v1beta/registry";
pub(crate) const DEFAULT: &str = "/api/v1beta/registry/default";
pub(crate) const REFRESH: &str = "/api/v1beta/registry/default/refresh";
pub(crate) const LOGIN: &str = "/api/v1beta/registry/auth/login";
pub(crate) const LOGOUT: &str = "/api/v1beta/registry/auth/logout";
pub(crate) const AUTH: &str = "/api/v1/registries/default/auth";
pub(crate) const STANDARD: &str = "/v0.1/servers";

/// Everything one user has: a home, a provider to log in at, a registry that wants its tokens.
pub(crate) struct Stage {
    pub(crate) provider: Provider,
    pub(crate) registry: FakeRegistry,
    pub(crate) home: Arc<Home>,
    pub(crate) opener: Opener,
    /// Where redirects of logins arrive.
    pub(crate) port: u16,
}

impl Stage {
    /// A configured registry of six servers, and nobody logged in.
    pub(crate) async fn new() -> Self {
        let registry = FakeRegistry::with_servers(6).await;
        let provider = Provider::for_resources(&[&registry.url()]).await;
        registry.protect(Guard::of(&provider, &registry.url()));
        let home = Arc::new(Home::new());
        let stage = Stage {
            opener: Opener::install(&home),
            provider,
            registry,
            home,
            port: free_port(),
        };
        stage.home.write_config(&stage.config());
        stage
    }

    /// The same with access tokens that live this many seconds.
    pub(crate) async fn with_tokens_of(seconds: u64) -> Self {
        let stage = Self::new().await;
        stage.live_for(seconds);
        stage
    }

    pub(crate) fn live_for(&self, seconds: u64) {
        self.provider
            .behave(|behaviour| behaviour.access_ttl = Duration::from_secs(seconds));
    }

    /// The configuration of this registry.
    pub(crate) fn config(&self) -> String {
        self.config_for(&self.registry.url())
    }

    pub(crate) fn config_for(&self, registry: &str) -> String {
        config(registry, &self.provider.issuer(), registry, self.port)
    }

    /// What every process of this user has in its environment.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let mut env = self.opener.env();
        env.push(("TOOLHIVE_SECRETS_PASSWORD".to_owned(), PASSWORD.to_owned()));
        env
    }

    pub(crate) fn setup(&self) -> Setup {
        Setup::new(THV, &self.home).envs(self.env())
    }

    pub(crate) async fn server(&self) -> Server {
        self.setup().start().await
    }

    /// A server that somebody has logged in to, and that has done what it does by itself after that: a moment later it reads
    /// the catalog once more, which must not be counted as something of the test's.
    pub(crate) async fn logged_in_server(&self) -> Server {
        let server = self.just_logged_in_server().await;
        self.until_cached().await;
        server
    }

    /// The same for a registry whose catalog nobody gets.
    pub(crate) async fn just_logged_in_server(&self) -> Server {
        let server = self.server().await;
        let answer = self.log_in(&server).await;
        assert_eq!(answer.status, 200, "{answer:?}\n{}", server.stderr());
        server
    }

    /// Logs in through the server, as `alice` unless the provider was told of another user.
    pub(crate) async fn log_in(&self, server: &Server) -> Answer {
        let login = self.start_login(server).await;
        answer_login(&login.url).await;
        login.answer().await
    }

    /// Starts a login through the server and waits until the browser is opened.
    pub(crate) async fn start_login(&self, server: &Server) -> PendingLogin {
        let before = self.opener.urls().len();
        let mut request = posted(server.address(), LOGIN);
        let url = tokio::select! {
            url = self.opener.url(before + 1) => url,
            ended = &mut request => panic!("no browser was opened: {ended:?}\n{}", server.stderr()),
        };
        PendingLogin { url, request }
    }

    /// A person comes to the machine: what programs have left unanswered no longer counts. No command of a test has a terminal,
    /// which is what a person is known by.
    pub(crate) fn a_person_comes(&self) {
        let _ = std::fs::remove_file(self.home.join("state/toolhive/login-prompts.json"));
    }

    /// Runs a command of this user.
    pub(crate) async fn cli(&self, arguments: &[&str]) -> Ran {
        self.cli_with(arguments, &[]).await
    }

    pub(crate) async fn cli_with(&self, arguments: &[&str], more: &[(&str, &str)]) -> Ran {
        let env = self.env();
        let mut env: Vec<(&str, &str)> = env
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        env.extend_from_slice(more);
        cli_with(THV, &self.home, arguments, &env, b"").await
    }

    /// Starts a command and does not wait for it.
    pub(crate) fn start_cli(&self, arguments: &[&str]) -> Running {
        Running::start(THV, &self.home, arguments, self.env())
    }

    /// `thv registry login --no-browser` with more flags, and a person who logs in.
    pub(crate) async fn cli_login(&self, more: &[&str]) -> Ran {
        let mut arguments = vec!["registry", "login", "--no-browser"];
        arguments.extend_from_slice(more);
        let running = self.start_cli(&arguments);
        let url = self.printed_url(&running).await;
        answer_login(&url).await;
        running.ended().await
    }

    pub(crate) async fn printed_url(&self, running: &Running) -> String {
        running.word_on_stderr(&self.provider.issuer()).await
    }

    pub(crate) async fn logged_in_by_cli(&self) {
        let ran = self.cli_login(&[]).await;
        assert_eq!(ran.code, 0, "{}", ran.transcript());
    }

    /// The paths of every read of the catalog.
    pub(crate) fn reads(&self) -> Vec<String> {
        let name = self.registry.live_names()[0].replace('/', "%2F");
        vec![
            DEFAULT.to_owned(),
            format!("{DEFAULT}/servers"),
            format!("{DEFAULT}/servers/{name}"),
            "/registry/default/v0.1/servers".to_owned(),
            format!("/registry/default/v0.1/servers/{name}/versions/latest"),
            "/registry/default/v0.1/x/dev.toolhive/skills".to_owned(),
            "/registry/default/v0.1/x/dev.toolhive/plugins".to_owned(),
            STANDARD.to_owned(),
            format!("{STANDARD}/{name}/versions"),
            format!("{STANDARD}/{name}/versions/latest"),
            "/v0.1/x/dev.toolhive/skills".to_owned(),
            "/v0.1/x/dev.toolhive/plugins".to_owned(),
            // It has the least patience with a first load: not to be the one that asks for it.
            COLLECTION.to_owned(),
        ]
    }

    pub(crate) fn refreshes(&self) -> usize {
        self.provider.token_count("refresh_token")
    }

    pub(crate) fn authorizations(&self) -> usize {
        self.provider.requests_for(paths::AUTHORIZE).len()
    }

    /// The secret store as it is on disk.
    pub(crate) fn store_bytes(&self) -> Vec<u8> {
        std::fs::read(self.home.join("data/toolhive/secrets_encrypted")).unwrap_or_default()
    }

    /// Waits until a catalog is kept on disk, which is the last that comes of a load.
    pub(crate) async fn until_cached(&self) {
        let is_catalog = |(path, bytes): &(String, Vec<u8>)| {
            let extension = std::path::Path::new(path).extension();
            extension.is_some_and(|extension| extension == "thv") && !bytes.is_empty()
        };
        until_true("a catalog on disk", || self.cached().iter().any(is_catalog)).await;
    }

    /// Waits until the access tokens there are have expired for everybody. They live this many seconds.
    pub(crate) async fn until_expired(&self, seconds: i64) {
        let asked = || self.provider.requests_for(paths::TOKEN).len();
        let mut known = asked();
        let mut end = self.provider.now() + seconds + 1;
        until_true("the token to expire", || {
            let now = self.provider.now();
            if asked() != known {
                // A renewal had begun, whose token is still on its way to the program.
                known = asked();
                end = now + seconds + 2;
            }
            now >= end
        })
        .await;
    }

    /// Every file below the cache directory, with its bytes.
    pub(crate) fn cached(&self) -> Vec<(String, Vec<u8>)> {
        files_below(&self.home.cache_dir())
    }
}

/// Does what a person does with the address of a login. Whether its last page is still there when a machine that stands
/// still asks for it is not the question: whoever waits for the login is told how it ended.
async fn answer_login(url: &str) {
    let _ = Browser::default().try_open(url).await;
}

/// A login that waits for somebody.
pub(crate) struct PendingLogin {
    pub(crate) url: String,
    request: JoinHandle<Answer>,
}

impl PendingLogin {
    pub(crate) async fn answer(self) -> Answer {
        self.request.await.expect("an answer")
    }

    /// Waits for the answer without giving up the login.
    pub(crate) async fn ended(&mut self) -> Answer {
        (&mut self.request).await.expect("an answer")
    }

    /// Hangs up.
    pub(crate) async fn drop_it(self) {
        self.request.abort();
        let _ = self.request.await;
    }
}

/// `POST path` on a task of its own; there is no time limit but the login's own.
pub(crate) fn posted(address: &Address, path: &str) -> JoinHandle<Answer> {
    let (address, path) = (address.clone(), path.to_owned());
    tokio::spawn(async move {
        Call::new(Method::POST, &path)
            .json(&json!({}))
            .to(&address)
            .await
    })
}

/// Has the server read its registry again and again until something has come of it.
pub(crate) async fn reading_until(server: &Server, what: &str, fits: impl Fn() -> bool) {
    until_true(what, || {
        drop(posted(server.address(), REFRESH));
        fits()
    })
    .await;
}

pub(crate) fn config(registry: &str, issuer: &str, resource: &str, port: u16) -> String {
    format!(
        "registry_api_url: {registry}
allow_private_registry_ip: true
registry_auth:
    type: oauth
    oauth:
        issuer: {issuer}
        client_id: {CLIENT}
        scopes:
            - openid
            - email
            - offline_access
            - registry:read
        audience: {resource}
        callback_port: {port}
"
    )
}

/// How many clients are connected to the server, those left out whose requests it has not read yet.
pub(crate) fn connections(server: &Server) -> usize {
    let url = server.url();
    let (_, port) = url.rsplit_once(':').expect("a port");
    let local = format!(":{:04X}", port.parse::<u16>().expect("a number"));
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the table of sockets");
    let is_read = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.len() > 4
            && fields[1].ends_with(&local)
            && fields[3] == "01"
            && fields[4].ends_with(":00000000")
    };
    table.lines().filter(is_read).count()
}

/// Waits until so many clients wait for the end of a login.
pub(crate) async fn until_joined(server: &Server, clients: usize) {
    until_true("the requests to be read", || connections(server) >= clients).await;
    // From there it is a few steps to the login, which nothing tells of.
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// Whether somebody listens on the port.
pub(crate) fn is_listening(port: u16) -> bool {
    std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

pub(crate) fn files_below(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.push((path.display().to_string(), bytes));
        }
    }
    found
}

/// The first registry of the collection.
pub(crate) async fn info(server: &Server) -> Value {
    // The collection waits for a catalog much less than other reads do.
    let _ = server.get(STANDARD).await;
    server.get(COLLECTION).await.json()["registries"][0].clone()
}

pub(crate) async fn report(server: &Server) -> Value {
    let answer = server.get(AUTH).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The names at the standard door.
pub(crate) async fn names(server: &Server) -> Vec<String> {
    let answer = server.get(&format!("{STANDARD}?limit=100")).await;
    assert_eq!(answer.status, 200, "{answer:?}\n{}", server.stderr());
    let page = answer.json();
    page["servers"]
        .as_array()
        .expect("servers")
        .iter()
        .map(|row| row["server"]["name"].as_str().expect("a name").to_owned())
        .collect()
}

#[track_caller]
pub(crate) fn assert_needs_login(answer: &Answer, reason: &str) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "registry_auth_required"),
        "{answer:?}"
    );
    assert_eq!(answer.json()["reason"], reason, "{answer:?}");
}

/// How a login that was started as a resource has ended.
pub(crate) async fn end_of(server: &Server, login: &Value) -> Value {
    let url = login["url"].as_str().expect("a url");
    until("the end of the login", PATIENCE, || async {
        let now = server.get(url).await.json();
        let state = now["state"].as_str().expect("a state");
        (!["pending", "completing"].contains(&state)).then_some(now)
    })
    .await
}

/// Waits until `path` answers with this status.
pub(crate) async fn until_status(server: &Server, path: &str, status: u16) -> Answer {
    until(&format!("{status} from {path}"), PATIENCE, || async {
        Some(server.get(path).await).filter(|answer| answer.status == status)
    })
    .await
}

/// The deadline within which a change by another process must show, and what a busy machine adds.
pub(crate) const SHOWS_WITHIN: Duration = Duration::from_secs(15);

/// How this test is named where it holds a port: its name ends in a number of the compiler's.
pub(crate) fn this_process() -> String {
    let name = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
    format!("{} (PID {})", name.trim(), std::process::id())
}
