//! Everything about logins to registries, put together: the store, the engine that keeps grants
//! fresh, and the logins. The programs above hold one [`Auth`] and nothing else of this crate.

pub(crate) mod registry;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::Response;
use http_body_util::Full;
use thv_config::world::{Clock, World};
use thv_config::{Config, ConfigError, ConfigStore, Paths, RegistriesStore, RegistrySettings};
use thv_http::Http;
use thv_secrets::Secrets;
use tokio_util::sync::CancellationToken;

use crate::bare_url::{
    ClientChoice, ClientError, FoundLogin, LoginSearch, SearchError, WantedClient, client_for,
    find_login, living_client,
};
use crate::binding::{Binding, NoBinding};
use crate::credentials::{AuthError, CredentialSource, Credentials};
use crate::doctor::{Diagnosis, Doctor, WhereToAsk};
use crate::limits::{GIVE_BACK_INTERVAL, LOOK_INTERVAL, PREPARE_TIME};
use crate::login::budget::PromptBudget;
use crate::login::{
    Adopt, Asked, DEFAULT_CALLBACK_PORT, LoginDone, LoginError, LoginHow, LoginState, LoginView,
    LoginWatch, Logins, NotTaken, Prompter, Replaced, StartedLogin,
};
use crate::logout::{LogoutReceipt, give_back_queued, logout};
use crate::machine::CredentialKind;
use crate::machine::manage::ManageError;
use crate::machine::registry::{Parts, RegistryAt, RegistryCredentials};
use crate::machine::report::report;
use crate::machine::secret::SecretReader;
use crate::machine::way::Way;
use crate::oauth::registration::RegistrationError;
use crate::oauth::{DiscoveryPolicy, KeyCache, discover, requested_scopes};
use crate::refresh::{EngineParts, OAuthService, RefreshEngine, Unwatched, blocking};
use crate::rules::{Configured, LoginRules};
use crate::status::{AuthReport, LiveCheck, PendingLogin};
use crate::tokens::GrantCredentials;
use crate::vault::{ConfiguredStore, Vault, VaultError};

/// The name of the registry that `config.yaml` describes.
pub(crate) const DEFAULT_REGISTRY: &str = "default";

/// Logins to registries: the store, the engine that keeps grants fresh, and the logins.
pub struct Auth {
    clock: Arc<dyn Clock>,
    config: ConfigStore,
    http: Http,
    engine: RefreshEngine,
    logins: Logins,
    doctor: Doctor,
    budget: PromptBudget,
    /// Held while a client is looked after or registered, and until the login can be joined, so that two callers make neither two
    /// clients nor two prompts.
    registering: tokio::sync::Mutex<()>,
    /// One credential per binding, so that all who read a registry share what is known of it.
    credentials: Mutex<Vec<(Binding, Arc<GrantCredentials>)>>,
    machine: Parts,
    /// The same for whole registries.
    registries: Mutex<Vec<Arc<RegistryCredentials>>>,
}

/// Why nobody was logged in or out.
#[derive(Debug, thiserror::Error)]
pub enum AuthFailure {
    /// There is nothing to log in to.
    #[error(transparent)]
    NoBinding(#[from] NoBinding),
    /// The same, and a credential is used that needs no login.
    #[error("no login is configured, and {0}")]
    CredentialInUse(CredentialInUse),
    /// The configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The login failed.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// Logins were started one after the other, and nobody has answered one.
    #[error(
        "the last logins were answered by nobody; no program starts another one before a person logs in or refuses, or begins one with `thv registry login` in a terminal, or {} have passed",
        crate::login::in_words(*retry_after)
    )]
    Unanswered {
        /// When there may be one again, if no person acts before.
        retry_after: Duration,
    },
    /// The client that was registered for the login is not known any more, and there is no new one.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The stored grant cannot be read or deleted.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The configured credential cannot be changed.
    #[error(transparent)]
    Manage(#[from] ManageError),
    /// There is no token to hand out.
    #[error(transparent)]
    Credential(#[from] AuthError),
    /// The token is of no use without its key, which is not handed out.
    #[error(
        "the registry's token is bound to a key that thv keeps (DPoP), and is worth nothing to other programs"
    )]
    BoundToken,
    /// A token was asked for another origin than its own.
    #[error(transparent)]
    WrongOrigin(#[from] registry::WrongOrigin),
}

/// The credential that a registry is read with in place of a login. `Display` is a clause that names it, and what takes it away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialInUse {
    /// Where it comes from.
    pub way: Way,
    /// Which kind it is, where that is known.
    pub kind: Option<CredentialKind>,
}

impl fmt::Display for CredentialInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.map_or("no whole one", CredentialKind::as_str);
        let (whence, remove) = match self.way {
            Way::Environment => ("THV_REGISTRY_TOKEN", "unset that variable"),
            Way::Configured | Way::Login | Way::None => (
                "thv config set-registry-credential",
                "type `thv config unset-registry-credential`",
            ),
        };
        write!(
            f,
            "the registry is read with a credential that needs none ({kind}, by {whence}); to log in instead, {remove}"
        )
    }
}

// === impl Auth ===

impl Auth {
    /// Logins that are configured in `config` and kept in the store that `secrets` opens.
    pub fn new(
        world: &World,
        paths: &Paths,
        config: &ConfigStore,
        secrets: Secrets,
        http: &Http,
    ) -> Arc<Self> {
        let source = Arc::new(ConfiguredStore::new(secrets.clone(), paths, config));
        let machine = Parts {
            world: world.clone(),
            http: http.clone(),
            settings: RegistriesStore::new(paths.registries_file(), world.clone()),
            reader: SecretReader::new(source.clone(), secrets.clone(), Arc::clone(&world.env)),
            ahead: Arc::default(),
            injected_for: Arc::default(),
        };
        let vault = Vault::new(source, Arc::clone(&world.clock));
        let keys = KeyCache::new();
        let service = OAuthService::new(http.clone(), Arc::clone(&world.clock), vault.clone());
        let engine = RefreshEngine::new(EngineParts {
            world: world.clone(),
            vault: vault.clone(),
            service: Arc::new(service),
            lock_dir: RefreshEngine::lock_dir(paths),
            steps: Arc::new(Unwatched),
        });
        engine.renew_ahead(false);
        let doctor = Doctor::new(world, paths, config, secrets, http, engine.clone());
        Arc::new(Self {
            clock: Arc::clone(&world.clock),
            config: config.clone(),
            http: http.clone(),
            engine,
            budget: PromptBudget::new(paths.login_prompts_file(), Arc::clone(&world.clock)),
            logins: Logins::new(world.clone(), http.clone(), vault, keys),
            doctor,
            registering: tokio::sync::Mutex::default(),
            credentials: Mutex::default(),
            machine,
            registries: Mutex::default(),
        })
    }

    /// For a program that stays: follows the store until `stop`, so that what other processes do shows within a second,
    /// and renews tokens before somebody has to wait for that.
    pub fn start(self: &Arc<Self>, stop: CancellationToken) {
        self.engine.renew_ahead(true);
        let engine = self.engine.clone();
        let clock = Arc::clone(&self.clock);
        let ending = stop.clone();
        tokio::spawn(async move {
            loop {
                if let Err(error) = give_back_queued(&engine).await {
                    tracing::debug!(%error, "the tokens to give back cannot be read");
                }
                tokio::select! {
                    () = ending.cancelled() => return,
                    () = clock.sleep(GIVE_BACK_INTERVAL) => {}
                }
            }
        });
        self.machine.ahead.store(true, Ordering::Relaxed);
        drop(self.engine.spawn_watch(stop.clone()));
        let auth = Arc::clone(self);
        drop(tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = auth.clock.sleep(LOOK_INTERVAL) => {}
                }
                for registry in auth.known_registries() {
                    registry.look().await;
                }
            }
        }));
    }

    /// Asks no identity provider from now on: for a program that looks and changes nothing.
    pub fn renew_nothing(&self) {
        self.engine.renew_nothing();
    }

    /// Waits for the renewals in flight, before the program ends: a token that is spent has to be replaced in the store. And for tokens
    /// that are being given back.
    pub async fn finish(&self) {
        tokio::join!(self.engine.finish(), self.logins.finish());
    }

    /// Logs in to the configured registry, or joins a login to it that is under way. Dropping
    /// the future leaves it. A program may not do so again and again while nobody answers.
    pub async fn login(&self, how: LoginHow, by: Prompter) -> Result<LoginDone, AuthFailure> {
        let (binding, is_new, outcome) = loop {
            let Ready { binding, how, turn } = self.equip(how.clone(), by).await?;
            let is_new = turn.is_some();
            let outcome = self.logins.login_in_turn(&binding, how, turn).await;
            if let Some(outcome) = outcome {
                break (binding, is_new, outcome);
            }
        };
        match &outcome {
            Err(error) if is_new && error.asked_nobody() => self.give_back(&binding, by).await,
            Err(error) if is_new || error.was_answered() => {
                let error = error.clone();
                self.count(&binding, move |budget, key| budget.ended(key, by, &error))
                    .await;
            }
            _ => {}
        }
        Ok(outcome?)
    }

    /// Starts a login to the configured registry that nobody has to wait for, or joins one that is
    /// under way. It is known by its name from then on, and opens nothing by itself. A program may not
    /// do so again and again while nobody answers.
    pub async fn start_login(
        &self,
        how: LoginHow,
        by: Prompter,
    ) -> Result<StartedLogin, AuthFailure> {
        let (binding, is_new, started) = loop {
            let Ready { binding, how, turn } = self.equip(how.clone(), by).await?;
            let is_new = turn.is_some();
            let started = self.logins.start_in_turn(&binding, &how, turn).await;
            if let Some(started) = started {
                break (binding, is_new, started);
            }
        };
        match &started {
            Ok(started) if !started.joined => self.watch_for_answer(&binding, &started.view, by),
            _ if is_new => self.give_back(&binding, by).await,
            _ => {}
        }
        Ok(started?)
    }

    /// Counts one more prompt, unless there were too many.
    async fn take_prompt(&self, binding: &Binding, by: Prompter) -> Result<(), AuthFailure> {
        let taken = self.count(binding, move |budget, key| budget.take(key, by));
        let taken = taken.await.unwrap_or(Ok(()));
        taken.map_err(|retry_after| AuthFailure::Unanswered { retry_after })
    }

    async fn give_back(&self, binding: &Binding, by: Prompter) {
        self.count(binding, move |budget, key| budget.give_back(key, by))
            .await;
    }

    /// A person is here and logs in: whatever went unanswered before no longer counts. For who can be seen to be there only.
    pub async fn person_is_here(&self) {
        if let Ok(config) = self.config.load_async().await
            && let Ok(binding) = Binding::of(&config)
        {
            self.count(&binding, PromptBudget::answered).await;
        }
    }

    /// Whether somebody has answered the login that is under way: the answer is spent, and what it brings is being stored.
    pub async fn is_completing(&self) -> bool {
        let config = self.config.load_async().await;
        let binding = config.ok().and_then(|config| Binding::of(&config).ok());
        binding.is_some_and(|binding| self.logins.is_completing(&binding))
    }

    /// A refusal, too, shows that somebody is there. That a login has succeeded is noted when it
    /// is settled.
    fn watch_for_answer(&self, binding: &Binding, login: &LoginView, by: Prompter) {
        let Some(watch) = self.logins.watch(login.id.as_str()) else {
            return;
        };
        let (budget, key) = (self.budget.clone(), prompt_key(binding));
        tokio::spawn(async move {
            let Err(error) = watch.outcome().await else {
                return;
            };
            let _ = tokio::task::spawn_blocking(move || budget.ended(&key, by, &error)).await;
        });
    }

    /// Does something with the budget of prompts, on a thread where that may block. `None` when
    /// the runtime goes down.
    async fn count<T: Send + 'static>(
        &self,
        binding: &Binding,
        work: impl FnOnce(&PromptBudget, &str) -> T + Send + 'static,
    ) -> Option<T> {
        let (budget, key) = (self.budget.clone(), prompt_key(binding));
        tokio::task::spawn_blocking(move || work(&budget, &key))
            .await
            .ok()
    }

    /// The login that began last in this process, running or ended; none before the first one.
    pub fn latest_login(&self) -> Option<LoginView> {
        self.logins.latest()
    }

    /// The login of this name, running or ended a while ago.
    pub fn watch_login(&self, id: &str) -> Option<LoginWatch> {
        self.logins.watch(id)
    }

    /// Gives the login of this name the address that the identity provider sent a browser back to.
    pub fn hand_over(&self, id: &str, redirect: &str) -> Option<Result<(), NotTaken>> {
        self.logins.hand_over(id, redirect)
    }

    /// Ends the login of this name; its port is free when this returns. Where nothing was opened for it on this machine, its prompt
    /// counts half from then on.
    pub async fn withdraw_login(&self, id: &str) -> Option<LoginView> {
        let is_unseen = self.logins.is_unopened(id);
        let view = self.logins.withdraw(id).await?;
        if is_unseen && view.state == LoginState::Failed(LoginError::Withdrawn) {
            self.count(&view.binding, PromptBudget::withdrawn).await;
        }
        Some(view)
    }

    /// The answer to a browser that comes back to the public address of this server; see
    /// [`PublicUrl`](crate::login::PublicUrl).
    pub fn receive_callback(&self, query: &str) -> Response<Full<Bytes>> {
        self.logins.receive(query)
    }

    /// The page to which that answer sends the browser on.
    pub async fn callback_result(&self, mark: &str) -> Response<Full<Bytes>> {
        self.logins.received(mark).await
    }

    /// What a login to the configured registry is for, and how it is made. Where none is configured, it says what is used instead.
    async fn equip(&self, how: LoginHow, by: Prompter) -> Result<Ready<'_>, AuthFailure> {
        match self.equip_configured(how, by).await {
            Err(AuthFailure::NoBinding(NoBinding::NotConfigured)) => {
                Err(self.credential_in_use().await.map_or(
                    NoBinding::NotConfigured.into(),
                    AuthFailure::CredentialInUse,
                ))
            }
            outcome => outcome,
        }
    }

    /// The configuration's part
    /// of it, what ends it early, and what is to be known of it before anybody reads again.
    async fn equip_configured(
        &self,
        how: LoginHow,
        by: Prompter,
    ) -> Result<Ready<'_>, AuthFailure> {
        let configured = Binding::of(&self.config.load_async().await?)?;
        let mut settings = self.settings_of(&configured).await?;
        how.change.apply(&mut settings);
        let Ready { binding, how, turn } = self.settled(how, by).await?;
        let (change, registries) = (how.change.clone(), self.machine.settings.clone());
        let url = binding.configured_url.clone();
        let asked = how.asked.as_ref().map(|asked| &asked.binding);
        let asked = asked.unwrap_or(&binding).clone();
        let wanted = Wanted {
            config: self.config.clone(),
            bindings: [binding.clone(), asked.clone()],
        };
        let engine = self.engine.clone();
        let (budget, key) = (self.budget.clone(), prompt_key(&binding));
        let then = how.settle;
        let how = LoginHow {
            rules: LoginRules::read(&settings),
            replaced: Some(wanted.replaced(Arc::clone(&self.clock))),
            still_wanted: Some(Arc::new(move || wanted.is_still())),
            settle: Some(Arc::new(move || {
                let credentials = GrantCredentials::new(&engine, &asked);
                let then = then.clone();
                let (budget, key) = (budget.clone(), key.clone());
                let (change, registries) = (change.clone(), registries.clone());
                let url = url.clone();
                async move {
                    let settling = tokio::task::spawn_blocking(move || {
                        budget.answered(&key);
                        settle(&registries, &url, |settings| change.apply(settings))
                    });
                    if let Ok(Err(error)) = settling.await {
                        tracing::warn!(%error, "the rules of this login do not hold for the next one");
                    }
                    credentials.look().await;
                    if let Some(then) = then {
                        then().await;
                    }
                }
                .boxed()
            })),
            ..how
        };
        Ok(Ready { binding, how, turn })
    }

    /// The settings of the registry that `binding` names, as they stand.
    async fn settings_of(&self, binding: &Binding) -> Result<RegistrySettings, ConfigError> {
        let (store, url) = (
            self.machine.settings.clone(),
            binding.configured_url.clone(),
        );
        blocking(move || {
            let found = store.load_for(DEFAULT_REGISTRY, &url)?;
            Ok(found.unwrap_or_else(|| RegistrySettings::for_url(url)))
        })
        .await
    }

    /// Notes how the login of the configured registry came to be configured, which decides on the rules for it.
    pub async fn note_configured(&self, how: Configured) -> Result<(), AuthFailure> {
        let binding = Binding::of(&self.config.load_async().await?)?;
        let store = self.machine.settings.clone();
        let noted = blocking(move || {
            settle(&store, &binding.configured_url, |settings| {
                how.apply(settings);
            })
        });
        Ok(noted.await?)
    }

    /// What is logged in to, as whom and for what. One is made ready at a time, so that two do not register two clients; it may
    /// take so long only, so that a provider that does not answer holds nobody else up. Dropping the future gives up the turn.
    async fn settled(&self, how: LoginHow, by: Prompter) -> Result<Ready<'_>, AuthFailure> {
        let joining = |binding, how| Ready {
            binding,
            how,
            turn: None,
        };
        let binding = Binding::of(&self.config.load_async().await?)?;
        if self.logins.pending(&binding).is_some() {
            // Whoever joins a login brings nothing to it, and need not wait for the provider.
            return Ok(joining(binding, how));
        }
        let mut deadline = self.clock.sleep(PREPARE_TIME);
        let turn = tokio::select! {
            biased;
            turn = self.registering.lock() => turn,
            () = deadline.as_mut() => return Err(not_discovered(&binding)),
        };
        let config = self.config.load_async().await?;
        let binding = Binding::of(&config)?;
        if self.logins.pending(&binding).is_some() {
            return Ok(joining(binding, how));
        }
        // Before the provider is asked anything: whoever leaves meanwhile has prompted somebody, too.
        self.take_prompt(&binding, by).await?;
        let made = tokio::select! {
            biased;
            made = Box::pin(self.made_ready(&config, &binding, how)) => made,
            () = deadline => Err(not_discovered(&binding)),
        };
        // Where a client may have been registered for it, it counts: not every try leaves one at the provider.
        let counts = matches!(
            &made,
            Err(AuthFailure::Client(ClientError::Registration(
                RegistrationError::Unusable { .. }
            )))
        );
        if made.is_err() && !counts {
            self.give_back(&binding, by).await;
        }
        Ok(Ready {
            how: made?,
            binding,
            turn: Some(turn),
        })
    }

    /// How a login to what is configured is made, and what it asks for.
    async fn made_ready(
        &self,
        config: &Config,
        binding: &Binding,
        how: LoginHow,
    ) -> Result<LoginHow, AuthFailure> {
        let oauth = config.auth.as_ref().and_then(|auth| auth.oauth.as_ref());
        let how = LoginHow {
            callback_port: how
                .callback_port
                .or_else(|| oauth.and_then(|oauth| oauth.callback_port)),
            ..how
        };
        let mut asked = self.stepped_up(binding).await;
        if let Some(client_id) = &how.client_id {
            asked.client_id.clone_from(client_id);
        }
        let (asked, how) = self.with_client(asked, how).await?;
        if asked == *binding {
            return Ok(how);
        }
        // It will have to be configured, and nobody is to log in for nothing.
        let config = self.config.clone();
        if let Err(error) = blocking(move || config.prove_writable()).await {
            if asked.client_id == binding.client_id {
                tracing::warn!(%error, "the login asks for no more scopes than are configured");
                return Ok(how);
            }
            return Err(LoginError::Settings {
                cause: format!("another client would have to be configured for it, and {error}"),
            }
            .into());
        }
        let asked = Asked {
            adopt: adopting(&self.config, binding, &asked),
            before: binding.clone(),
            binding: asked,
        };
        Ok(LoginHow {
            asked: Some(asked),
            ..how
        })
    }

    /// Looks for a login to a registry of which only the URL is known. Changes nothing and opens nothing.
    pub async fn find_login(&self, search: &LoginSearch) -> Result<FoundLogin, SearchError> {
        find_login(&self.http, search).await
    }

    /// The client to configure for a login that was found; registers this program where that is needed. What the
    /// registration brings is kept before this returns.
    pub async fn client_for(
        &self,
        found: &FoundLogin,
        choice: &ClientChoice,
    ) -> Result<String, ClientError> {
        let getting = async {
            let _turn = self.registering.lock().await;
            let vault = self.engine.vault();
            client_for(&self.http, vault, found, choice, self.clock.now()).await
        };
        tokio::select! {
            biased;
            client = Box::pin(getting) => client,
            () = self.clock.sleep(PREPARE_TIME) => {
                Err(RegistrationError::Transient { cause: not_ready() }.into())
            }
        }
    }

    /// The login with the scopes that the registry has asked for since the last one beside those that are configured.
    async fn stepped_up(&self, binding: &Binding) -> Binding {
        let (vault, bound) = (self.engine.vault().clone(), binding.clone());
        let wanted = blocking(move || vault.wanted_scopes(&bound)).await;
        // A store that cannot be read is told by the login itself.
        let wanted = wanted.unwrap_or_default();
        Binding {
            scopes: [binding.scopes.as_slice(), &wanted].concat(),
            ..binding.clone()
        }
    }

    /// The login as the client that is asked for. Where this program has registered that client and the provider has forgotten
    /// it, or it is one for another place to come back to, a new one is registered, once, and takes its place when somebody has
    /// logged in as it.
    async fn with_client(
        &self,
        binding: Binding,
        how: LoginHow,
    ) -> Result<(Binding, LoginHow), AuthFailure> {
        let vault = self.engine.vault().clone();
        let (issuer, client_id) = (binding.issuer.clone(), binding.client_id.clone());
        let ours = blocking(move || vault.registration_of(&issuer, &client_id)).await;
        let registered = match ours {
            Ok(Some(registered)) => registered,
            Err(error @ VaultError::Record(_)) => return Err(ClientError::Store(error).into()),
            // A store that cannot be read is told by the login itself.
            Ok(None) | Err(_) => return Ok((binding, how)),
        };
        let provider = discover(&self.http, &binding.issuer, DiscoveryPolicy::DEFAULT)
            .await
            .map_err(|error| LoginError::Discovery {
                issuer: binding.issuer.clone(),
                cause: error.to_string(),
                transient: error.is_transient(),
            })?;
        // Any port will do for a loopback address (RFC 8252 section 7.3).
        let port = match how.callback_port {
            Some(0) => registered.port(),
            port => port,
        };
        let wanted = WantedClient {
            provider: &provider,
            port: port.unwrap_or(DEFAULT_CALLBACK_PORT),
            public: how.public.clone(),
            scopes: requested_scopes(&provider, &binding.scopes),
            allow_private_ip: binding.allow_private_ip,
            anew: false,
            preferred: Some(&binding.client_id),
            now: self.clock.now(),
        };
        let client = living_client(&self.http, self.engine.vault(), &wanted).await?;
        let registration = client.registration;
        let how = LoginHow {
            next_client: client.is_next.then(|| registration.clone()),
            redirect: client.form,
            is_our_client: true,
            authentication: registration.authentication,
            secret_host: Some(registration.token_host),
            ..how
        };
        let client_id = registration.client_id;
        Ok((
            Binding {
                client_id,
                ..binding
            },
            how,
        ))
    }

    /// Logs out of the configured registry. A login that is under way is ended first; a token that was given to us to keep is
    /// deleted, and other configured credentials stay.
    pub async fn logout(&self) -> Result<LogoutReceipt, AuthFailure> {
        let config = self.config.load_async().await?;
        let credential = match RegistryAt::of(DEFAULT_REGISTRY, &config) {
            Some(at) => self.forget_token(&at).await?,
            None => None,
        };
        let binding = match (Binding::of(&config), credential) {
            (Ok(binding), _) => binding,
            (Err(_), Some(credential)) => {
                return Ok(LogoutReceipt::default().with_credential(Some(credential)));
            }
            (Err(error), None) => return Err(error.into()),
        };
        self.logins.cancel(&binding).await;
        // One that was past its end has configured what it asked for meanwhile.
        let now = self.config.load_async().await.ok();
        let now = now.and_then(|config| Binding::of(&config).ok());
        let binding = now.unwrap_or(binding);
        let receipt = logout(&self.engine, &self.config, &binding).await?;
        self.of(&binding).look().await;
        Ok(receipt.with_credential(credential))
    }

    /// Gives back the tokens of earlier logouts whose provider could not be told of them, as far as that is due: for commands
    /// that log in or out, where no server does it. A command or a request that only looks does not. What goes wrong is for the
    /// next time.
    ///
    /// Returns how many tokens still wait.
    pub async fn give_back_queued(&self) -> usize {
        let waiting = give_back_queued(&self.engine).await;
        waiting.unwrap_or_else(|error| {
            tracing::debug!(%error, "the tokens to give back cannot be read");
            0
        })
    }

    /// Ends logins that are under way: the registry was replaced, or the program ends.
    pub async fn cancel_logins(&self) {
        self.logins.cancel_all().await;
    }

    /// Everything that is known of the credential of the configured registry, without asking anybody outside.
    pub async fn report(&self) -> Result<AuthReport, AuthFailure> {
        let config = self.config.load_async().await?;
        let Some(at) = RegistryAt::of(DEFAULT_REGISTRY, &config) else {
            return self.report_on_login(&config).await;
        };
        let credentials = self.registry(&at);
        credentials.look().await;
        let chosen = credentials.chosen();
        let report = match chosen.choice.way {
            Way::Environment | Way::Configured => report(&self.engine, &credentials, &chosen).await,
            Way::Login | Way::None => self.report_on_login(&config).await?,
        };
        Ok(report.with_credential(chosen.choice.clone()))
    }

    async fn report_on_login(&self, config: &Config) -> Result<AuthReport, AuthFailure> {
        match Binding::of(config) {
            Ok(binding) => {
                let pending = self.logins.pending(&binding).map(|pending| PendingLogin {
                    started_at: pending.since,
                    expires_at: pending.expires_at,
                });
                let report = AuthReport::of(&self.engine, &binding).await;
                let report = report.with_pending_login(pending);
                // Settings that cannot be read are told by the next login.
                Ok(match self.settings_of(&binding).await {
                    Ok(settings) => report.with_rules(&LoginRules::read(&settings)),
                    Err(_) => report,
                })
            }
            Err(NoBinding::NotConfigured) => Ok(AuthReport::anonymous()),
            Err(error) => Err(error.into()),
        }
    }

    /// The same with what the registry says to the current token: one request to it, none to the provider.
    pub async fn live_report(&self, where_to_ask: WhereToAsk) -> Result<AuthReport, AuthFailure> {
        let report = self.report().await?;
        let used = self.used_in_place_of_login().await;
        let live = match used.map(|chosen| chosen.at_hand()) {
            None => Box::pin(self.doctor.ask_live(where_to_ask)).await?,
            Some(Err(why)) => LiveCheck::no_token_because(why),
            Some(Ok(bearer)) => Box::pin(self.doctor.ask_with(where_to_ask, bearer)).await?,
        };
        Ok(report.with_live(live))
    }

    /// Looks into everything that a login and a read of the registry depend on, and changes none of it.
    pub async fn diagnose(&self, where_to_ask: WhereToAsk) -> Diagnosis {
        let is_logging_in = |binding: &Binding| self.logins.pending(binding).is_some();
        let instead = self.in_place_of_login().await;
        Box::pin(self.doctor.examine(where_to_ask, instead, is_logging_in)).await
    }

    fn of(&self, binding: &Binding) -> Arc<GrantCredentials> {
        let mut known = self
            .credentials
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, credentials)) = known.iter().find(|(known, _)| known == binding) {
            return Arc::clone(credentials);
        }
        let credentials = Arc::new(GrantCredentials::new(&self.engine, binding));
        // Only the registry of now matters; what an earlier one had is found in the store again.
        known.clear();
        known.push((binding.clone(), Arc::clone(&credentials)));
        credentials
    }
}

/// A login that can begin, or one to join.
struct Ready<'a> {
    binding: Binding,
    how: LoginHow,
    /// Kept until others can join the login; absent where one is joined.
    turn: Option<tokio::sync::MutexGuard<'a, ()>>,
}

fn not_discovered(binding: &Binding) -> AuthFailure {
    let error = LoginError::Discovery {
        issuer: binding.issuer.clone(),
        cause: not_ready(),
        transient: true,
    };
    error.into()
}

/// Why a login was not ready in time.
fn not_ready() -> String {
    format!(
        "no answer within {} seconds, or another login was waiting for one",
        PREPARE_TIME.as_secs()
    )
}

/// Changes what is settled for the registry at `url`. Blocks.
fn settle(
    store: &RegistriesStore,
    url: &str,
    change: impl FnOnce(&mut RegistrySettings),
) -> Result<(), ConfigError> {
    store.update(DEFAULT_REGISTRY, url, |settings| {
        change(settings);
        Ok(())
    })
}

/// Under which name the prompts of a login are counted: whatever client and scopes it comes to have.
fn prompt_key(binding: &Binding) -> String {
    binding.place()
}

/// What the configuration may say while a login goes on: what it said when the login began, and what that asks for.
#[derive(Clone)]
struct Wanted {
    config: ConfigStore,
    bindings: [Binding; 2],
}

// === impl Wanted ===

impl Wanted {
    fn is_described_by(&self, config: &Config) -> bool {
        Binding::of(config).is_ok_and(|now| self.bindings.contains(&now))
    }

    /// Whether the configuration still describes it. Blocks.
    fn is_still(&self) -> bool {
        let now: Result<Config, _> = self.config.load();
        now.is_ok_and(|config| self.is_described_by(&config))
    }

    /// Resolves when the configuration describes another login: whoever still waited for this one
    /// would log in for nothing, and its port is not free for the other. A configuration that
    /// cannot be read now says nothing.
    fn replaced(&self, clock: Arc<dyn Clock>) -> Replaced {
        let wanted = self.clone();
        Arc::new(move || {
            let (wanted, clock) = (wanted.clone(), Arc::clone(&clock));
            async move {
                loop {
                    clock.sleep(LOOK_INTERVAL).await;
                    let now = wanted.config.load_async().await;
                    if now.is_ok_and(|config| !wanted.is_described_by(&config)) {
                        return;
                    }
                }
            }
            .boxed()
        })
    }
}

/// Configures what is `asked` for in place of `before`, unless something else is configured by then.
fn adopting(config: &ConfigStore, before: &Binding, asked: &Binding) -> Adopt {
    let (config, before, asked) = (config.clone(), before.clone(), asked.clone());
    Arc::new(move || {
        let changed = config.update(|config: &mut Config| {
            let now = Binding::of(config).ok();
            let Some(oauth) = config.auth.as_mut().and_then(|auth| auth.oauth.as_mut()) else {
                return Ok(false);
            };
            if now.as_ref() != Some(&before) {
                return Ok(now.as_ref() == Some(&asked));
            }
            if asked.scopes != before.scopes {
                oauth.scopes.clone_from(&asked.scopes);
            }
            oauth.client_id.clone_from(&asked.client_id);
            oauth.cached_refresh_token_ref = None;
            oauth.cached_token_expiry = None;
            Ok::<_, ConfigError>(true)
        });
        changed.map_err(|error| error.to_string())
    })
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").finish_non_exhaustive()
    }
}

impl CredentialSource for Auth {
    fn credentials(&self, binding: &Binding) -> Arc<dyn Credentials> {
        self.of(binding)
    }

    fn for_registry(&self, registry: &RegistryAt) -> Arc<dyn Credentials> {
        self.registry(registry)
    }

    fn check<'a>(&'a self, binding: &'a Binding) -> BoxFuture<'a, Result<(), String>> {
        async move {
            discover(&self.http, &binding.issuer, DiscoveryPolicy::DEFAULT)
                .await
                .map(drop)
                .map_err(|error| {
                    format!(
                        "OIDC discovery failed for issuer {}: {error}",
                        binding.issuer
                    )
                })
        }
        .boxed()
    }
}
