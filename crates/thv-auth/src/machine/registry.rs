//! The credential of one registry, whichever way it comes: [`RegistryCredentials`] makes the choice of [`way`](super::way) and makes it
//! anew when settings or environment say something else.
//!
//! Each kind of credential does its own work; here it is only made, and asked. A change of the choice is a change of identity, which
//! whoever reads the registry notices as it notices another login.

mod make;

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use thv_config::disk::{Fingerprint, fingerprint};
use thv_config::world::World;
use thv_config::{Config, RegistriesStore, RegistrySource};
use thv_http::{Bearer, Http};
use url::{Origin, Url};

use self::make::{Configured, make};
use super::environment::Injected;
use super::fetched::{FetchTrouble, FetchedCredentials};
use super::given::GivenCredentials;
use super::secret::SecretReader;
use super::settings::CredentialSettings;
use super::way::Choice;
use crate::binding::Binding;
use crate::credentials::{Anonymous, AuthError, AuthStatus, Credentials, LoginReason};
use crate::limits::LOOK_INTERVAL;
use crate::refresh::blocking;
use crate::tokens::GrantCredentials;

/// A registry as its credential sees it. Two equal values have the same credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryAt {
    /// The registry's name, under which it has settings.
    pub name: String,
    /// Its URL, letter by letter as configured.
    pub configured_url: String,
    /// The same as a URL: its origin is the only one that may see a token.
    pub url: Url,
    /// Whether its hosts may have private addresses.
    pub allow_private_ip: bool,
    /// The login that is configured for it.
    pub login: Option<Binding>,
}

/// What credentials are made with.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) world: World,
    pub(crate) http: Http,
    pub(crate) settings: RegistriesStore,
    pub(crate) reader: SecretReader,
    /// Whether tokens are fetched that nobody waits for.
    pub(crate) ahead: Arc<AtomicBool>,
    /// The origin that a token of the environment is for, when it names none.
    pub(crate) injected_for: Arc<OnceLock<Origin>>,
}

/// The credential of one registry.
pub struct RegistryCredentials {
    parts: Parts,
    at: RegistryAt,
    login: Option<Arc<GrantCredentials>>,
    current: RwLock<Arc<Chosen>>,
    looked: Mutex<Looked>,
    /// Lets one task look while the others wait for what it sees.
    turn: tokio::sync::Mutex<()>,
}

/// The last look at the settings.
#[derive(Debug, Default)]
struct Looked {
    at: Option<Duration>,
    mark: Option<Fingerprint>,
    /// Whether the settings could not be read, so that they are tried again although they look the same.
    failed: bool,
}

/// A choice and what came of it.
pub(crate) struct Chosen {
    pub(crate) choice: Choice,
    /// Whether the settings have been read.
    pub(crate) is_known: bool,
    settings: Option<CredentialSettings>,
    pub(crate) credential: Credential,
}

/// A credential of any kind.
pub(crate) enum Credential {
    None(Anonymous),
    Login(Arc<GrantCredentials>),
    Given(GivenCredentials),
    Fetched(FetchedCredentials),
    Broken(Broken),
}

/// The credential of settings that are not whole.
#[derive(Debug)]
pub(crate) struct Broken {
    cause: String,
}

// === impl RegistryAt ===

impl RegistryAt {
    /// The registry `name` at `configured_url`; `None` where that is no http or https URL.
    pub fn new(
        name: &str,
        configured_url: &str,
        allow_private_ip: bool,
        login: Option<Binding>,
    ) -> Option<Self> {
        let url = Url::parse(configured_url).ok()?;
        let is_remote = matches!(url.scheme(), "http" | "https") && url.has_host();
        is_remote.then(|| Self {
            name: name.to_owned(),
            configured_url: configured_url.to_owned(),
            url,
            allow_private_ip,
            login,
        })
    }

    /// The registry `name` that `config` describes; `None` where it is on this machine and needs no credential.
    pub fn of(name: &str, config: &Config) -> Option<Self> {
        match &config.source {
            RegistrySource::Url(url) | RegistrySource::Api(url) => {
                let login = Binding::of(config).ok();
                Self::new(name, url, config.allow_private_ip, login)
            }
            RegistrySource::BuiltIn | RegistrySource::File(_) => None,
        }
    }
}

// === impl RegistryCredentials ===

impl RegistryCredentials {
    /// The credential of the registry `at`, whose logins are `login`. Inside a runtime the settings are read at once, in the background.
    pub(crate) fn new(
        parts: Parts,
        at: RegistryAt,
        login: Option<Arc<GrantCredentials>>,
    ) -> Arc<Self> {
        let injected = Injected::of(parts.world.env.as_ref(), &at.url, &parts.injected_for);
        let first = make(
            &parts,
            &at,
            login.as_ref(),
            injected,
            &Configured::Absent,
            false,
        );
        let credentials = Arc::new(Self {
            parts,
            at,
            login,
            current: RwLock::new(Arc::new(first)),
            looked: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        });
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let looking = Arc::clone(&credentials);
            drop(runtime.spawn(async move { looking.look().await }));
        }
        credentials
    }

    /// The registry.
    pub fn registry(&self) -> &RegistryAt {
        &self.at
    }

    /// Which way is taken, as of the last look.
    pub fn choice(&self) -> Choice {
        self.chosen().choice.clone()
    }

    pub(crate) fn chosen(&self) -> Arc<Chosen> {
        let current = self.current.read();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the settings again at the next look, whatever was seen before.
    pub(crate) fn forget_look(&self) {
        *self.lock() = Looked::default();
    }

    /// Looks at the settings, and has the credential look at its own, unless that has just been done.
    pub async fn look(&self) {
        self.look_at_settings().await;
        match &self.chosen().credential {
            Credential::Login(login) => login.look().await,
            Credential::Given(given) => given.look().await,
            Credential::Fetched(fetched) => fetched.look().await,
            Credential::None(_) | Credential::Broken(_) => {}
        }
    }

    async fn look_at_settings(&self) {
        if !self.is_due() {
            return;
        }
        let is_known = self.chosen().is_known;
        let _turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(_) if is_known => return,
            Err(_) => self.turn.lock().await,
        };
        if !self.is_due() {
            return;
        }
        let mark = {
            let path = self.parts.settings.path().to_owned();
            blocking(move || fingerprint(&path)).await
        };
        let now = self.parts.world.clock.monotonic();
        {
            let mut looked = self.lock();
            if looked.at.is_some() && looked.mark == mark && !looked.failed {
                looked.at = Some(now);
                return;
            }
        }
        let (store, at) = (self.parts.settings.clone(), self.at.clone());
        let read = blocking(move || store.load(&at.name)).await;
        let failed = read.is_err();
        let configured = Configured::of(read, &self.at);
        let injected = Injected::of(
            self.parts.world.env.as_ref(),
            &self.at.url,
            &self.parts.injected_for,
        );
        let login = self.login.as_ref();
        let next = make(&self.parts, &self.at, login, injected, &configured, true);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let is_same = current.choice == next.choice && current.settings == next.settings;
        // What a credential of the same settings has fetched and learnt stays.
        if !(is_same && current.is_known) {
            tracing::debug!(registry = %self.at.name, way = ?next.choice.way, why = %next.choice.why, "credential chosen");
            *current = Arc::new(next);
        }
        drop(current);
        *self.lock() = Looked {
            at: Some(now),
            mark,
            failed,
        };
    }

    fn is_due(&self) -> bool {
        let now = self.parts.world.clock.monotonic();
        let at = self.lock().at;
        at.is_none_or(|at| now.saturating_sub(at) >= LOOK_INTERVAL)
    }

    fn lock(&self) -> MutexGuard<'_, Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Chosen ===

impl Chosen {
    pub(crate) fn as_credentials(&self) -> &dyn Credentials {
        match &self.credential {
            Credential::None(none) => none,
            Credential::Login(login) => login.as_ref(),
            Credential::Given(given) => given,
            Credential::Fetched(fetched) => fetched,
            Credential::Broken(broken) => broken,
        }
    }

    /// The token that can be shown now without asking anybody for one, or why there is none. For a credential that needs no person.
    pub(crate) fn at_hand(&self) -> Result<Bearer, String> {
        match &self.credential {
            Credential::Given(given) => given.at_hand(),
            Credential::Fetched(fetched) => fetched.at_hand(),
            Credential::Broken(broken) => Err(broken.cause.clone()),
            Credential::Login(_) | Credential::None(_) => {
                Err("there is no credential that needs no person".to_owned())
            }
        }
    }

    /// What the last attempt to fetch a token met, where it failed.
    pub(crate) fn fetch_trouble(&self) -> Option<FetchTrouble> {
        match &self.credential {
            Credential::Fetched(fetched) => fetched.fetch_trouble(),
            _ => None,
        }
    }

    /// Host and port that its tokens came from first, if any did and its issuer named them, as far as this process knows.
    pub(crate) async fn first_host(&self) -> Option<String> {
        match &self.credential {
            Credential::Fetched(fetched) => fetched.token_host()?.known().await,
            _ => None,
        }
    }

    /// The settings of a configured credential.
    pub(crate) fn settings(&self) -> Option<&CredentialSettings> {
        self.settings.as_ref()
    }
}

impl Credentials for RegistryCredentials {
    fn status(&self) -> AuthStatus {
        self.chosen().as_credentials().status()
    }

    fn identity(&self) -> String {
        self.chosen().as_credentials().identity()
    }

    fn is_still(&self, reader: &str) -> bool {
        self.chosen().as_credentials().is_still(reader)
    }

    fn bearer(&self) -> BoxFuture<'_, Result<Option<Bearer>, AuthError>> {
        async move {
            self.look_at_settings().await;
            self.chosen().as_credentials().bearer().await
        }
        .boxed()
    }

    fn prepare(&self) -> BoxFuture<'_, ()> {
        self.look().boxed()
    }

    fn login_needed(&self) -> Option<LoginReason> {
        let chosen = self.chosen();
        // What is not known to be the way is no reason to ask for a login.
        chosen
            .is_known
            .then(|| chosen.as_credentials().login_needed())
            .flatten()
    }

    fn rejected<'a>(&'a self, bearer: &'a Bearer) -> BoxFuture<'a, bool> {
        async move { self.chosen().as_credentials().rejected(bearer).await }.boxed()
    }

    fn lacks_scopes<'a>(&'a self, bearer: &'a Bearer, scopes: &'a [String]) -> BoxFuture<'a, ()> {
        async move {
            let chosen = self.chosen();
            chosen.as_credentials().lacks_scopes(bearer, scopes).await;
        }
        .boxed()
    }

    fn accepted(&self, bearer: &Bearer) {
        self.chosen().as_credentials().accepted(bearer);
    }

    fn auth_type(&self) -> Option<&'static str> {
        self.chosen().as_credentials().auth_type()
    }
}

impl fmt::Debug for RegistryCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryCredentials")
            .field("name", &self.at.name)
            .field("way", &self.chosen().choice.way)
            .finish_non_exhaustive()
    }
}

impl Credentials for Broken {
    fn status(&self) -> AuthStatus {
        AuthStatus::Configured
    }

    fn identity(&self) -> String {
        "broken".to_owned()
    }

    fn bearer(&self) -> BoxFuture<'_, Result<Option<Bearer>, AuthError>> {
        Box::pin(std::future::ready(Err(self.error())))
    }
}

impl Broken {
    pub(crate) fn error(&self) -> AuthError {
        AuthError::Unusable {
            cause: self.cause.clone(),
        }
    }
}
