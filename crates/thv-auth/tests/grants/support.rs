//! A home with an encrypted store, a provider that shares its clock, and engines on both.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, ToSpan as _};
use secrecy::{ExposeSecret as _, SecretString};
use thv_auth::binding::Binding;
use thv_auth::credentials::{AuthError, Credentials as _};
use thv_auth::grant::{Grant, TokenFingerprint};
use thv_auth::oauth::{
    self, ClientAuthentication, DiscoveryPolicy, ProofKey, Prover, RedirectUri, Servers,
};
use thv_auth::refresh::{EngineParts, OAuthService, RefreshEngine, Step, Steps, Unwatched};
use thv_auth::tokens::GrantCredentials;
use thv_auth::vault::{ConfiguredStore, StoreSource, Vault, new_login_id};
use thv_config::disk::Fingerprint;
use thv_config::world::{Clock, ManualClock, MapEnv, Sleep, SystemClock, World};
use thv_config::{ConfigStore, Paths};
use thv_http::{Http, HttpOptions};
use thv_secrets::{
    Capabilities, Listed, Patience, Sealer, SecretMap, SecretName, SecretStore, Secrets,
    SecretsError, StoreKind,
};
use thv_testkit::browse::Browser;
use thv_testkit::provider::{CLIENT, Options, Provider};

pub(crate) const REGISTRY: &str = "https://registry.example/v0.1";
pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// A user's machine.
pub(crate) struct Machine {
    pub(crate) clock: ManualClock,
    pub(crate) provider: Provider,
    pub(crate) binding: Binding,
    pub(crate) place: Place,
    pub(crate) home: tempfile::TempDir,
}

/// What processes on one machine share.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) world: World,
    pub(crate) paths: Paths,
    pub(crate) config: ConfigStore,
    pub(crate) http: Http,
    pub(crate) source: Arc<dyn StoreSource>,
}

/// Logs nothing, remembers everything.
#[derive(Debug, Default)]
pub(crate) struct Recorder(pub(crate) Mutex<Vec<Step>>);

impl Steps for Recorder {
    fn reached(&self, step: Step) {
        self.0.lock().unwrap().push(step);
    }
}

impl Machine {
    /// A machine whose clock stands still, and a provider whose tokens live for an hour.
    pub(crate) async fn new() -> Self {
        Self::with(&[("TOOLHIVE_SECRETS_PASSWORD", "correct horse")]).await
    }

    /// A machine with these variables in its environment.
    pub(crate) async fn with(variables: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(SystemClock::new().now());
        let providers_clock = clock.clone();
        let provider = Provider::with(Options {
            clock: Some(Arc::new(move || providers_clock.now().as_second())),
            ..Options::default()
        })
        .await;
        provider.behave(|behaviour| behaviour.access_ttl = HOUR);
        let place = Place::at(home.path(), Arc::new(clock.clone()), variables);
        place.set_up(&provider.issuer());
        Self {
            binding: Binding::new(REGISTRY, &provider.issuer(), CLIENT).unwrap(),
            clock,
            provider,
            place,
            home,
        }
    }

    /// A process of its own, as far as memory goes.
    pub(crate) fn engine(&self) -> RefreshEngine {
        self.place.engine(Arc::new(Unwatched))
    }

    /// The same, with its credential for the registry.
    pub(crate) fn process(&self) -> Process {
        Process::on(self.engine(), &self.binding)
    }

    /// Logs in as alice does, and stores the grant.
    pub(crate) async fn log_in(&self) -> Grant {
        self.place.log_in(&self.binding, "alice").await
    }

    pub(crate) fn vault(&self) -> Vault {
        self.place.vault()
    }

    pub(crate) fn stored(&self) -> Option<Grant> {
        self.vault().load(&self.binding).unwrap()
    }

    /// How often a refresh token was spent.
    pub(crate) fn refreshes(&self) -> usize {
        self.provider.token_count("refresh_token")
    }

    /// The secrets in the store, by name.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.edit(|secrets| names = secrets.names().map(str::to_owned).collect());
        names
    }

    pub(crate) fn edit(&self, mut change: impl FnMut(&mut SecretMap)) {
        let store = self.place.source.open(Patience::Request).unwrap();
        store
            .update(&mut |secrets| {
                change(secrets);
                Ok(())
            })
            .unwrap();
    }

    /// Rewrites the clients that are kept as a later version of this program would have them; their names and bytes.
    pub(crate) fn make_clients_newer(&self) -> Vec<(SecretName, String)> {
        let store = self.place.source.open(Patience::Request).unwrap();
        let key = store.sealer("registry grants").unwrap();
        let mut newer = Vec::new();
        self.edit(|secrets| {
            let clients: Vec<SecretName> = secrets
                .names()
                .filter(|name| name.contains("REGISTRY_CLIENT_") && !name.contains("_ID_"))
                .map(|name| SecretName::stored(name).unwrap())
                .collect();
            for name in clients {
                let associated = [b"thv registry client 1\0", name.as_str().as_bytes()].concat();
                let sealed = secrets.get(&name).unwrap().expose_secret();
                assert!(key.open(sealed, &associated).is_ok());
                let plaintext = br#"{"v":2,"client_id":["c1"]}"#;
                let sealed = key.seal(plaintext, &associated).unwrap();
                secrets.set(&name, sealed.clone().into());
                newer.push((name, sealed));
            }
        });
        newer
    }
}

impl Place {
    pub(crate) fn at(home: &Path, clock: Arc<dyn Clock>, variables: &[(&str, &str)]) -> Self {
        let env = variables
            .iter()
            .fold(MapEnv::new().with_home(home), |env, (name, value)| {
                env.with_var(*name, *value)
            });
        let world = World {
            clock,
            env: Arc::new(env.clone()),
        };
        let paths = Paths::from_env(&env).unwrap();
        let config = ConfigStore::new(paths.config_file(), world.clone());
        let secrets = Secrets::with_keyrings(world.clone(), &paths, config.clone(), Vec::new());
        let source = ConfiguredStore::new(secrets, &paths, &config);
        let options = HttpOptions {
            user_agent: "thv-test/1.0".to_owned(),
            extra_ca: None,
            insecure_urls: false,
        };
        let http = Http::new(options, &World::new(SystemClock::new(), env)).unwrap();
        Self {
            world,
            paths,
            config,
            http,
            source: Arc::new(source),
        }
    }

    /// The configuration of a registry with a login, and a secret store.
    pub(crate) fn set_up(&self, issuer: &str) {
        let text = format!(
            "secrets:\n    provider_type: encrypted\n    setup_completed: true\nregistry_api_url: {REGISTRY}\n\
             registry_auth:\n    type: oauth\n    oauth:\n        issuer: {issuer}\n        client_id: {CLIENT}\n        \
             cached_refresh_token_ref: REGISTRY_OAUTH_00000000\n        cached_token_expiry: \"2026-01-01T00:00:00Z\"\n"
        );
        thv_config::disk::write_atomic(self.config.path(), text.as_bytes()).unwrap();
    }

    pub(crate) fn vault(&self) -> Vault {
        Vault::new(Arc::clone(&self.source), Arc::clone(&self.world.clock))
    }

    pub(crate) fn engine(&self, steps: Arc<dyn Steps>) -> RefreshEngine {
        RefreshEngine::new(EngineParts {
            world: self.world.clone(),
            vault: self.vault(),
            service: Arc::new(OAuthService::new(
                self.http.clone(),
                Arc::clone(&self.world.clock),
                self.vault(),
            )),
            lock_dir: RefreshEngine::lock_dir(&self.paths),
            steps,
        })
    }

    pub(crate) async fn log_in(&self, binding: &Binding, user: &str) -> Grant {
        let grant = self.authorise(binding, user).await;
        let vault = self.vault();
        let binding = binding.clone();
        tokio::task::spawn_blocking(move || vault.replace(&binding, &grant).unwrap())
            .await
            .unwrap()
    }

    /// A login up to the grant, which is not stored.
    pub(crate) async fn authorise(&self, binding: &Binding, user: &str) -> Grant {
        let provider = oauth::discover(&self.http, &binding.issuer, DiscoveryPolicy::DEFAULT)
            .await
            .unwrap();
        let redirect = RedirectUri::registered(8666);
        let binds = !provider.dpop_signing_alg_values_supported.is_empty();
        let prover = binds.then(|| {
            Prover::new(
                ProofKey::generate().unwrap(),
                Servers::new(),
                Arc::clone(&self.world.clock),
                SignedDuration::ZERO,
            )
        });
        let attempt = oauth::begin(
            &provider,
            binding,
            &redirect,
            &binding.scopes,
            prover.as_ref().map(Prover::key),
        )
        .unwrap();
        let mut browser = Browser::default();
        user.clone_into(&mut browser.user);
        let back = browser
            .open_until(attempt.authorization_url.as_str(), redirect.as_str())
            .await;
        let back = url::Url::parse(&back).unwrap();
        let code = back
            .query_pairs()
            .find(|(name, _)| name == "code")
            .unwrap()
            .1
            .into_owned();
        let tokens = oauth::exchange(
            &self.http,
            &provider,
            binding,
            &ClientAuthentication::None,
            &attempt,
            code.into(),
            prover.as_ref(),
        )
        .await
        .unwrap();
        let now = self.world.clock.now();
        Grant {
            proof_key: prover.map(|prover| prover.key().clone()),
            ..Grant::of_login(tokens, None, &binding.scopes, new_login_id().unwrap(), now)
        }
    }
}

/// One process: an engine and its credential.
pub(crate) struct Process {
    pub(crate) engine: RefreshEngine,
    pub(crate) credentials: Arc<GrantCredentials>,
}

impl Process {
    pub(crate) fn on(engine: RefreshEngine, binding: &Binding) -> Self {
        Self {
            credentials: Arc::new(GrantCredentials::new(&engine, binding)),
            engine,
        }
    }

    /// The access token that a request would carry.
    pub(crate) async fn token(&self) -> Result<TokenFingerprint, AuthError> {
        let bearer = self.credentials.bearer().await?.expect("a bearer");
        Ok(TokenFingerprint::of(bearer.token()))
    }
}

/// A store that can be told to fail.
#[derive(Clone, Debug)]
pub(crate) struct Faulty {
    inner: Arc<dyn StoreSource>,
    /// How many more writes succeed.
    pub(crate) writes_left: Arc<AtomicI64>,
}

impl Faulty {
    pub(crate) fn over(inner: Arc<dyn StoreSource>) -> Self {
        Self {
            inner,
            writes_left: Arc::new(AtomicI64::new(i64::MAX)),
        }
    }

    pub(crate) fn allow_writes(&self, count: i64) {
        self.writes_left.store(count, Ordering::SeqCst);
    }
}

impl StoreSource for Faulty {
    fn open(&self, patience: Patience) -> Result<Arc<dyn SecretStore>, SecretsError> {
        Ok(Arc::new(FaultyStore {
            inner: self.inner.open(patience)?,
            writes_left: Arc::clone(&self.writes_left),
        }))
    }

    fn open_for_login(&self) -> Result<Arc<dyn SecretStore>, SecretsError> {
        self.inner.open_for_login()
    }

    fn marks(&self) -> Vec<Option<Fingerprint>> {
        self.inner.marks()
    }
}

#[derive(Debug)]
struct FaultyStore {
    inner: Arc<dyn SecretStore>,
    writes_left: Arc<AtomicI64>,
}

impl SecretStore for FaultyStore {
    fn kind(&self) -> StoreKind {
        self.inner.kind()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn get(&self, name: &SecretName) -> Result<Option<SecretString>, SecretsError> {
        self.inner.get(name)
    }

    fn list(&self) -> Result<Vec<Listed>, SecretsError> {
        self.inner.list()
    }

    fn update(
        &self,
        change: &mut dyn FnMut(&mut SecretMap) -> Result<(), SecretsError>,
    ) -> Result<(), SecretsError> {
        if self.writes_left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(SecretsError::Io {
                action: "write",
                path: PathBuf::from("/full"),
                cause: "No space left on device".to_owned(),
            });
        }
        self.inner.update(change)
    }

    fn probe(&self) -> Result<(), SecretsError> {
        self.inner.probe()
    }

    fn sealer(&self, purpose: &str) -> Result<Sealer, SecretsError> {
        self.inner.sealer(purpose)
    }
}

/// The machine's clock, ahead by one hour for each byte of a file: several processes can be moved with it.
#[derive(Clone, Debug)]
pub(crate) struct SharedClock {
    system: SystemClock,
    file: PathBuf,
}

impl SharedClock {
    pub(crate) fn at(home: &Path) -> Self {
        Self {
            system: SystemClock::new(),
            file: home.join("hours"),
        }
    }

    pub(crate) fn hours(&self) -> u64 {
        std::fs::metadata(&self.file).map_or(0, |metadata| metadata.len())
    }

    pub(crate) fn advance_an_hour(&self) {
        let hours = usize::try_from(self.hours()).unwrap() + 1;
        thv_config::disk::write_atomic(&self.file, &vec![b'.'; hours]).unwrap();
    }
}

impl Clock for SharedClock {
    fn now(&self) -> Timestamp {
        let hours = i64::try_from(self.hours()).unwrap();
        self.system.now() + hours.hours()
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        self.system.sleep(duration)
    }

    fn pause(&self, duration: Duration) {
        self.system.pause(duration);
    }
}

/// A token as a provider of the Go program's time would have left it.
pub(crate) fn secret(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}

pub(crate) fn shown(token: Option<&SecretString>) -> String {
    token.map_or_else(String::new, |token| token.expose_secret().to_owned())
}
