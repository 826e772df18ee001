//! A machine on which somebody logs in, and the browser in front of it.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use thv_auth::binding::Binding;
use thv_auth::grant::Grant;
use thv_auth::login::{LoginDone, LoginError, LoginHow, Logins, Prompter, RESOURCE_LOGIN_TIME};
use thv_auth::oauth::KeyCache;
use thv_auth::opener::Opener;
use thv_auth::vault::{ConfiguredStore, Vault};
use thv_auth::{Auth, AuthFailure};
use thv_config::world::{Clock, ManualClock, MapEnv, SystemClock, World};
use thv_config::{ConfigStore, Paths};
use thv_http::{Http, HttpOptions};
use thv_secrets::Secrets;
use thv_testkit::browse::browse;
use thv_testkit::client::{Address, Answer};
use thv_testkit::provider::{CLIENT, Options, Provider, paths};
use thv_testkit::wait;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use url::Url;

/// What makes the encrypted store usable.
pub(crate) const PASSWORD: &[(&str, &str)] = &[("TOOLHIVE_SECRETS_PASSWORD", "correct horse")];

pub(crate) const REGISTRY: &str = "https://registry.example/v0.1";

/// A home with a password for its secrets, a clock that stands still, and a provider that shares it.
pub(crate) struct Machine {
    pub(crate) clock: ManualClock,
    pub(crate) provider: Provider,
    pub(crate) binding: Binding,
    pub(crate) vault: Vault,
    pub(crate) logins: Logins,
    pub(crate) home: tempfile::TempDir,
}

/// A home in which a registry and a login to it are configured, and all that this crate makes of them.
pub(crate) struct House {
    pub(crate) clock: ManualClock,
    pub(crate) provider: Provider,
    pub(crate) config: ConfigStore,
    pub(crate) vault: Vault,
    pub(crate) auth: Arc<Auth>,
    pub(crate) http: Http,
    _home: tempfile::TempDir,
}

/// A login that runs, and the address it gave out.
pub(crate) struct Running {
    pub(crate) url: Url,
    pub(crate) task: JoinHandle<Result<LoginDone, LoginError>>,
}

/// Remembers what it was asked to open.
#[derive(Debug, Default)]
pub(crate) struct RecordingOpener {
    pub(crate) opened: Mutex<Vec<Url>>,
    pub(crate) fails: bool,
}

impl Opener for RecordingOpener {
    fn open(&self, url: &Url) -> Result<(), String> {
        self.opened.lock().unwrap().push(url.clone());
        if self.fails {
            return Err("there is no display".to_owned());
        }
        Ok(())
    }
}

impl Machine {
    pub(crate) async fn new() -> Self {
        Self::with(PASSWORD).await
    }

    /// A machine with these variables in its environment.
    pub(crate) async fn with(variables: &[(&str, &str)]) -> Self {
        log();
        let home = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(SystemClock::new().now());
        let provider = provider_at(&clock).await;
        let (vault, logins) = logins_of(home.path(), variables, clock.clone());
        Self {
            binding: Binding::new(REGISTRY, &provider.issuer(), CLIENT).unwrap(),
            clock,
            provider,
            vault,
            logins,
            home,
        }
    }

    /// Starts a login on any port and waits until it gave out its address.
    pub(crate) async fn start(&self) -> Running {
        self.start_as(LoginHow {
            callback_port: Some(0),
            ..LoginHow::default()
        })
        .await
    }

    /// The same, in a way of one's own; its announcement is replaced.
    pub(crate) async fn start_as(&self, how: LoginHow) -> Running {
        let (sender, mut announced) = mpsc::unbounded_channel();
        let how = LoginHow {
            announce: Some(Arc::new(move |url| {
                let _ = sender.send(url.clone());
            })),
            ..how
        };
        let logins = self.logins.clone();
        let binding = self.binding.clone();
        let mut task = tokio::spawn(async move { logins.login(&binding, how).await });
        tokio::select! {
            Some(url) = announced.recv() => Running { url, task },
            ended = &mut task => panic!("no address was given out: {ended:?}"),
        }
    }

    /// A login that fails before it gives out an address.
    pub(crate) async fn refused(&self, how: LoginHow) -> LoginError {
        let how = LoginHow {
            announce: Some(Arc::new(|url| panic!("{url} was given out"))),
            callback_port: how.callback_port.or(Some(0)),
            ..how
        };
        self.logins
            .login(&self.binding, how)
            .await
            .expect_err("a login that cannot begin")
    }

    /// Logs in as a person would.
    pub(crate) async fn log_in(&self) -> LoginDone {
        let running = self.start().await;
        let page = running.browse().await;
        assert_eq!(page.status, 200, "{page:?}");
        running.done().await
    }

    pub(crate) fn stored(&self) -> Option<Grant> {
        self.vault.load(&self.binding).expect("a readable store")
    }

    pub(crate) fn codes_redeemed(&self) -> usize {
        self.provider.token_count("authorization_code")
    }

    /// Fails when a secret that passed the provider is in the log.
    pub(crate) fn assert_no_leaks(&self) {
        let log = String::from_utf8_lossy(&log().0.lock().unwrap()).into_owned();
        assert!(log.contains("logged in"), "nothing was logged");
        let secrets = self.provider.secrets();
        assert!(!secrets.is_empty());
        for secret in secrets {
            assert!(!log.contains(&secret), "a secret was logged");
        }
    }
}

/// A provider that has the time of `clock`.
async fn provider_at(clock: &ManualClock) -> Provider {
    let clock = clock.clone();
    Provider::with(Options {
        clock: Some(Arc::new(move || clock.now().as_second())),
        ..Options::default()
    })
    .await
}

impl House {
    /// Logins as a client that somebody has registered.
    pub(crate) async fn new() -> Self {
        Self::with_client(CLIENT).await
    }

    pub(crate) async fn with_client(client_id: &str) -> Self {
        log();
        let home = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(SystemClock::new().now());
        let provider = provider_at(&clock).await;
        let env = PASSWORD.iter().fold(
            MapEnv::new().with_home(home.path()),
            |env, (name, value)| env.with_var(*name, *value),
        );
        let world = World::new(clock.clone(), env.clone());
        let paths = Paths::from_env(&env).unwrap();
        let config = ConfigStore::new(paths.config_file(), world.clone());
        let text = format!(
            "registry_api_url: {REGISTRY}\nregistry_auth:\n    type: oauth\n    oauth:\n        issuer: {}\n        client_id: {client_id}\n",
            provider.issuer()
        );
        thv_config::disk::write_atomic(config.path(), text.as_bytes()).unwrap();
        let secrets = Secrets::with_keyrings(world.clone(), &paths, config.clone(), Vec::new());
        let store = ConfiguredStore::new(secrets.clone(), &paths, &config);
        let options = HttpOptions {
            user_agent: "thv-test/1.0".to_owned(),
            extra_ca: None,
            insecure_urls: false,
        };
        let http = Http::new(options, &World::new(SystemClock::new(), env)).unwrap();
        let vault = Vault::new(Arc::new(store), Arc::clone(&world.clock));
        vault.probe().unwrap();
        Self {
            auth: Auth::new(&world, &paths, &config, secrets, &http),
            vault,
            http,
            clock,
            provider,
            config,
            _home: home,
        }
    }

    /// Configures something else.
    pub(crate) fn write_config(&self, text: &str) {
        thv_config::disk::write_atomic(self.config.path(), text.as_bytes()).unwrap();
    }

    /// What is configured.
    pub(crate) fn binding(&self) -> Binding {
        let config = self.config.load().unwrap();
        Binding::of(&config).unwrap()
    }

    pub(crate) fn config_text(&self) -> String {
        std::fs::read_to_string(self.config.path()).unwrap()
    }

    /// Starts a login and waits until it gave out its address.
    pub(crate) async fn start(&self) -> (Url, JoinHandle<Result<LoginDone, AuthFailure>>) {
        self.start_as(any_port()).await
    }

    /// The same, in a way of one's own; its announcement is replaced.
    pub(crate) async fn start_as(
        &self,
        how: LoginHow,
    ) -> (Url, JoinHandle<Result<LoginDone, AuthFailure>>) {
        let (sender, mut announced) = mpsc::unbounded_channel();
        let how = LoginHow {
            announce: Some(Arc::new(move |url| {
                let _ = sender.send(url.clone());
            })),
            ..how
        };
        let auth = Arc::clone(&self.auth);
        let mut task = tokio::spawn(async move { auth.login(how, Prompter::Person).await });
        tokio::select! {
            Some(url) = announced.recv() => (url, task),
            ended = &mut task => panic!("no address was given out: {ended:?}"),
        }
    }

    /// Logs in as a person would.
    pub(crate) async fn log_in(&self) -> LoginDone {
        let (url, task) = self.start().await;
        let _ = browse(url.as_str()).await;
        task.await.unwrap().expect("a login")
    }
}

/// A login on any port, for as long as one that nobody waits for.
pub(crate) fn any_port() -> LoginHow {
    LoginHow {
        callback_port: Some(0),
        time: Some(RESOURCE_LOGIN_TIME),
        ..LoginHow::default()
    }
}

/// The vault and the logins of whoever lives in `home`.
pub(crate) fn logins_of(
    home: &Path,
    variables: &[(&str, &str)],
    clock: impl Clock,
) -> (Vault, Logins) {
    let env = variables
        .iter()
        .fold(MapEnv::new().with_home(home), |env, (name, value)| {
            env.with_var(*name, *value)
        });
    let world = World::new(clock, env.clone());
    let paths = Paths::from_env(&env).unwrap();
    let config = ConfigStore::new(paths.config_file(), world.clone());
    let secrets = Secrets::with_keyrings(world.clone(), &paths, config.clone(), Vec::new());
    let store = ConfiguredStore::new(secrets, &paths, &config);
    let vault = Vault::new(Arc::new(store), Arc::clone(&world.clock));
    let options = HttpOptions {
        user_agent: "thv-test/1.0".to_owned(),
        extra_ca: None,
        insecure_urls: false,
    };
    let http = Http::new(options, &World::new(SystemClock::new(), env)).unwrap();
    let logins = Logins::new(world, http, vault.clone(), KeyCache::new());
    (vault, logins)
}

impl Running {
    pub(crate) fn port(&self) -> u16 {
        self.redirect_uri().port().expect("a port")
    }

    pub(crate) fn redirect_uri(&self) -> Url {
        Url::parse(&self.param("redirect_uri")).unwrap()
    }

    /// A parameter of the authorization request.
    pub(crate) fn param(&self, name: &str) -> String {
        self.url
            .query_pairs()
            .find_map(|(key, value)| (key == name).then(|| value.into_owned()))
            .unwrap_or_else(|| panic!("no {name} in the authorization request"))
    }

    /// Asks our listener for a path and query.
    pub(crate) async fn ask(&self, target: &str) -> Answer {
        let address = Address::Tcp((Ipv4Addr::LOCALHOST, self.port()).into());
        address.get(target).await
    }

    /// Logs in at the provider; the path and query it sends the browser to.
    pub(crate) async fn agree(&self) -> String {
        let answer = get(self.url.as_str()).await;
        assert_eq!(answer.status, 302, "{answer:?}");
        let target = answer.header("location");
        let prefix = format!("http://localhost:{}", self.port());
        target
            .strip_prefix(&prefix)
            .unwrap_or_else(|| panic!("{target} is not ours"))
            .to_owned()
    }

    /// What a browser does from the first address to the last page.
    pub(crate) async fn browse(&self) -> Answer {
        let callback = self.agree().await;
        let answer = self.ask(&callback).await;
        if answer.status != 303 {
            return answer;
        }
        self.ask(answer.header("location")).await
    }

    pub(crate) async fn outcome(self) -> Result<LoginDone, LoginError> {
        let port = self.port();
        let outcome = self.task.await.expect("an outcome");
        assert!(is_free(port), "the login has ended and holds its port");
        outcome
    }

    pub(crate) async fn done(self) -> LoginDone {
        self.outcome().await.expect("a login")
    }

    pub(crate) async fn error(self) -> LoginError {
        self.outcome().await.expect_err("no login")
    }
}

pub(crate) async fn get(url: &str) -> Answer {
    let (address, target) = Address::of_url(url).expect("a URL on this machine");
    address.get(&target).await
}

/// Whether nobody listens on the port, in either address family.
pub(crate) fn is_free(port: u16) -> bool {
    let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        && (!v6 || TcpListener::bind((Ipv6Addr::LOCALHOST, port)).is_ok())
}

pub(crate) async fn until_free(port: u16) {
    wait::until_true("the port to be free", || is_free(port)).await;
}

pub(crate) fn authorizations(provider: &Provider) -> usize {
    provider.requests_for(paths::AUTHORIZE).len()
}

/// Everything that all tests of this process log, at the most verbose level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("trace"))
            .with_writer(log.clone())
            .init();
        log
    })
}
