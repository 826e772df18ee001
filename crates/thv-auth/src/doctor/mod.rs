//! Why a login or a registry does not work: every condition looked at by itself, each with evidence and what to do about it.
//!
//! [`Doctor`] looks; what it saw is judged by functions from values to [`Check`]s, in `machine` (this computer), `host` (the way
//! to a host and its clock), `issuer` (the identity provider's metadata), `resource` (the registry's metadata), `login` (the
//! grant and what the registry says) and `credential` (what needs no login). An examination changes nothing that anybody keeps, starts no login, asks no token endpoint, and ends within a minute whatever
//! the network does.

mod check;
mod credential;
mod host;
mod issuer;
mod login;
mod machine;
mod resource;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::ACCEPT;
use thv_config::disk::FileLock;
use thv_config::holder::{Hold, lock_holder};
use thv_config::{Config, ConfigError, ConfigStore, Paths, RegistriesStore, RegistrySource, World};
use thv_http::{Bearer, Http, HttpError, Limits, PlainHttp, Policy, Redirects, Reply, Request};
use thv_secrets::{Patience, Secrets, setup_lock};
use url::Url;

pub use check::{Check, Diagnosis, Outcome};

use crate::auth::DEFAULT_REGISTRY;
use crate::binding::Binding;
use crate::grant::Grant;
use crate::login::{DEFAULT_CALLBACK_PORT, look_at_port};
use crate::machine::settings::ServerSettings;
use crate::oauth::challenge::BearerChallenge;
use crate::oauth::error::MetadataFault;
use crate::oauth::metadata::{Sighting, sight};
use crate::oauth::resource::{
    Resource, ResourceError, ResourceFault, ResourceMetadata, discover_resource,
};
use crate::oauth::{DiscoveryPolicy, parse_issuer};
use crate::pin::Pin;
use crate::refresh::{RefreshEngine, blocking, grant_lock};
use crate::relaxation::{Relaxation, Relaxations};
use crate::rules::LoginRules;
use crate::skew::shifted;
use crate::status::LiveCheck;
pub(crate) use credential::InPlaceOfLogin;
use host::{HostSight, ISSUER, REGISTRY};
use login::TokenFix;
pub(crate) use login::proof_fault;
use resource::{Held, ResourceSight, Wanted};

/// How long a name may take to be looked up. Resolvers give up after about as long.
const LOOKUP: Duration = Duration::from_secs(5);

/// How long the registry may take to answer a question.
const QUESTION: Duration = Duration::from_secs(10);

/// The pause between two looks at a lock. Locks are held for far less than that, except by a renewal.
const SECOND_LOOK: Duration = Duration::from_millis(400);

/// Why nothing of a login is looked at.
const NO_LOGIN: &str = "no login is configured, or another credential counts in its place";

/// Where a registry is asked for a page of one row, or for its document; `None` for one that is on this machine. What a
/// registry's addresses are is known to the crate above.
pub type WhereToAsk = fn(&Config) -> Option<Url>;

/// Looks into one user's set-up.
pub struct Doctor {
    world: World,
    paths: Paths,
    config: ConfigStore,
    secrets: Secrets,
    http: Http,
    registries: RegistriesStore,
    engine: RefreshEngine,
}

/// What was learnt on the network.
struct Abroad {
    registry: Vec<Check>,
    issuer: Vec<Check>,
}

// === impl Doctor ===

impl Doctor {
    pub(crate) fn new(
        world: &World,
        paths: &Paths,
        config: &ConfigStore,
        secrets: Secrets,
        http: &Http,
        engine: RefreshEngine,
    ) -> Self {
        Self {
            world: world.clone(),
            paths: paths.clone(),
            config: config.only_looking(),
            secrets,
            http: http.clone(),
            registries: RegistriesStore::new(paths.registries_file(), world.clone()),
            engine,
        }
    }

    /// Examines everything. `instead` is the credential that counts in place of a login; `is_logging_in` says of a binding whether a login to it runs in this process, which then holds the
    /// port.
    pub(crate) async fn examine(
        &self,
        where_to_ask: WhereToAsk,
        instead: Option<InPlaceOfLogin>,
        is_logging_in: impl Fn(&Binding) -> bool,
    ) -> Diagnosis {
        let config = self.config.load_async().await;
        let path = self.config.path().to_owned();
        let looked_at = path.clone();
        let exists = blocking(move || looked_at.exists()).await;
        let mut checks = vec![machine::config_file(&path, exists, &config)];
        let config = config.unwrap_or_else(|_| {
            checks.push(Check::skipped(
                "config.values",
                "the configuration cannot be read",
            ));
            Config::default()
        });
        if checks.len() == 1 {
            checks.push(machine::config_values(&config));
        }
        let instead = instead.map(Arc::new);
        checks.extend(self.credential(instead.as_ref()).await);
        let instead = instead.as_deref();
        let binding = Binding::of(&config).ok().filter(|_| instead.is_none());
        let (store, locks, trust, port, abroad) = tokio::join!(
            self.store(),
            self.locks(binding.as_ref()),
            self.http.trust(),
            self.callback_port(&config, binding.as_ref(), is_logging_in),
            self.abroad(&config, binding.as_ref(), where_to_ask, instead),
        );
        checks.extend(store);
        checks.extend(locks);
        checks.push(port);
        checks.push(machine::trust(&trust));
        checks.extend(abroad.issuer);
        checks.extend(abroad.registry);
        Diagnosis::of(self.world.clock.now(), checks)
    }

    /// What the registry says to the token that is stored now. The token endpoint is not asked, and nothing is changed.
    pub(crate) async fn ask_live(
        &self,
        where_to_ask: WhereToAsk,
    ) -> Result<LiveCheck, ConfigError> {
        let config = self.config.load_async().await?;
        let Some(url) = where_to_ask(&config) else {
            return Ok(LiveCheck::no_token());
        };
        let Ok(binding) = Binding::of(&config) else {
            return Ok(LiveCheck::of(&self.ask(&config, &url, None).await));
        };
        let (_, stored) = self.grant_of(&binding).await;
        Ok(match stored.filter(|grant| self.is_usable(grant)) {
            Some(grant) => {
                let bearer = self.engine.inner().bearer_of(&grant, &binding);
                LiveCheck::of(&self.ask(&config, &url, bearer).await)
            }
            None => LiveCheck::no_token(),
        })
    }

    /// What the registry says to `bearer`.
    pub(crate) async fn ask_with(
        &self,
        where_to_ask: WhereToAsk,
        bearer: Bearer,
    ) -> Result<LiveCheck, ConfigError> {
        let config = self.config.load_async().await?;
        Ok(match where_to_ask(&config) {
            Some(url) => LiveCheck::of(&self.ask(&config, &url, Some(bearer)).await),
            None => LiveCheck::no_token(),
        })
    }

    /// What the store holds, as a check, and the grant if there is one.
    async fn grant_of(&self, binding: &Binding) -> (Check, Option<Grant>) {
        let (vault, bound) = (self.engine.vault().clone(), binding.clone());
        let stored = blocking(move || vault.peek(&bound)).await;
        let check = login::grant(&stored, self.world.clock.now());
        (check, stored.ok().flatten())
    }

    /// Whether the token of `grant` could be shown now.
    fn is_usable(&self, grant: &Grant) -> bool {
        grant.is_usable(shifted(self.world.clock.now(), grant.clock_offset))
    }

    async fn store(&self) -> Vec<Check> {
        let secrets = self.secrets.clone();
        let examined = blocking(move || secrets.examine(Patience::Request)).await;
        let file = self.paths.secrets_file();
        let looked_at = file.clone();
        let mode = blocking(move || mode(&looked_at)).await;
        let mut checks = machine::store(&examined);
        checks.extend(machine::store_mode(&file, mode));
        checks
    }

    async fn locks(&self, binding: Option<&Binding>) -> Vec<Check> {
        let mut locks = vec![
            ("lock.config", self.config.lock_file()),
            ("lock.secrets", FileLock::beside(&self.paths.secrets_file())),
            ("lock.secrets_setup", setup_lock(&self.paths.secrets_file())),
        ];
        locks.extend(binding.map(|binding| {
            let directory = RefreshEngine::lock_dir(&self.paths);
            ("lock.grant", grant_lock(&directory, binding))
        }));
        let look = |locks: &[(&'static str, PathBuf)]| {
            let paths: Vec<PathBuf> = locks.iter().map(|(_, path)| path.clone()).collect();
            blocking(move || {
                paths
                    .iter()
                    .map(|path| lock_holder(path))
                    .collect::<Vec<_>>()
            })
        };
        let first = look(&locks).await;
        // The store is examined at the same time, under its own lock.
        let second = if first.iter().all(|hold| matches!(hold, Ok(Hold::Free))) {
            first.iter().map(|_| Ok(Hold::Free)).collect()
        } else {
            self.world.clock.sleep(SECOND_LOOK).await;
            look(&locks).await
        };
        locks
            .iter()
            .zip(first.iter().zip(&second))
            .map(|((id, path), (first, second))| machine::lock(id, path, first, second))
            .collect()
    }

    async fn callback_port(
        &self,
        config: &Config,
        binding: Option<&Binding>,
        is_logging_in: impl Fn(&Binding) -> bool,
    ) -> Check {
        let Some(binding) = binding else {
            return Check::skipped("login.callback_port", NO_LOGIN);
        };
        let oauth = config.auth.as_ref().and_then(|auth| auth.oauth.as_ref());
        let port = oauth
            .and_then(|oauth| oauth.callback_port)
            .unwrap_or(DEFAULT_CALLBACK_PORT);
        let sight = look_at_port(&self.http, port).await;
        machine::callback_port(port, &sight, is_logging_in(binding))
    }

    async fn abroad(
        &self,
        config: &Config,
        binding: Option<&Binding>,
        where_to_ask: WhereToAsk,
        instead: Option<&InPlaceOfLogin>,
    ) -> Abroad {
        let (issuer, registry) = tokio::join!(
            self.issuer(binding, instead),
            self.registry(config, binding, where_to_ask, instead),
        );
        Abroad { registry, issuer }
    }

    /// What is said of a credential that counts in place of a login, from this machine alone.
    async fn credential(&self, instead: Option<&Arc<InPlaceOfLogin>>) -> Vec<Check> {
        let Some(instead) = instead.cloned() else {
            return Vec::new();
        };
        let (env, now) = (Arc::clone(&self.world.env), self.world.clock.now());
        blocking(move || instead.examine(env.as_ref(), now)).await
    }

    async fn issuer(
        &self,
        binding: Option<&Binding>,
        instead: Option<&InPlaceOfLogin>,
    ) -> Vec<Check> {
        if let Some(instead) = instead
            && let Some(server) = instead.server()
        {
            return self.server(server, instead).await;
        }
        let Some(binding) = binding else {
            let why = if instead.is_some() {
                "the credential in use asks no identity provider"
            } else {
                NO_LOGIN
            };
            let mut checks = issuer::skipped(why);
            checks.extend(ISSUER.skipped(why));
            return checks;
        };
        let mut checks = vec![issuer::url(&binding.issuer, issuer::BY_HAND)];
        let Ok(url) = parse_issuer(&binding.issuer) else {
            let why = "the issuer is none";
            checks.extend(ISSUER.skipped(why));
            checks.extend(issuer::skipped(why).into_iter().skip(1));
            return checks;
        };
        let (way, seen) = tokio::join!(
            self.http.way_to(&url, LOOKUP),
            sight(
                &self.http,
                &*self.world.clock,
                &binding.issuer,
                DiscoveryPolicy::DEFAULT
            ),
        );
        if let Some(host) = best(&seen, way) {
            checks.extend(ISSUER.judge(&host));
        } else {
            checks.extend(ISSUER.skipped("it was not asked"));
        }
        checks.extend(issuer::judge(&binding.issuer, &binding.scopes, &seen));
        checks
    }

    /// The authorization server of a credential that needs no login. Where its token endpoint is named outright, metadata do not count, and
    /// its host is asked for some to see that it answers.
    async fn server(&self, server: &ServerSettings, instead: &InPlaceOfLogin) -> Vec<Check> {
        let describe = &instead.described();
        let mut checks = match &server.issuer {
            Some(issuer) => vec![issuer::url(issuer, describe)],
            // The name is that of the endpoint, for which other rules hold.
            None => issuer::skipped("only the token endpoint is named")
                .into_iter()
                .take(1)
                .collect(),
        };
        if let Ok(Some(endpoint)) = server.endpoint() {
            let mut asked = endpoint;
            asked.set_path("/.well-known/oauth-authorization-server");
            asked.set_query(None);
            let request = Request::get(asked.clone())
                .policy(Policy {
                    allow_private_ip: true,
                    plain_http: PlainHttp::Loopback,
                    redirects: Redirects::SameHost,
                })
                .limits(Limits::PROBE.with_total(QUESTION));
            checks.extend(ISSUER.judge(&self.host(asked, request).await));
            let why = "the token endpoint is named outright; it was asked for no token";
            checks.extend(issuer::skipped(why).into_iter().skip(1));
            return checks;
        }
        let Ok(url) = parse_issuer(server.name()) else {
            let why = "the issuer is none";
            checks.extend(ISSUER.skipped(why));
            checks.extend(issuer::skipped(why).into_iter().skip(1));
            return checks;
        };
        let policy = DiscoveryPolicy::DEFAULT;
        let (way, seen) = tokio::join!(
            self.http.way_to(&url, LOOKUP),
            sight(&self.http, &*self.world.clock, server.name(), policy),
        );
        match best(&seen, way) {
            Some(host) => checks.extend(ISSUER.judge(&host)),
            None => checks.extend(ISSUER.skipped("it was not asked")),
        }
        checks.extend(issuer::judge_server(server.name(), describe, &seen));
        let endpoint = issuer::token_endpoint(server.name(), &seen);
        checks.extend(endpoint.map(|endpoint| {
            credential::token_host(instead.token_host.as_deref(), &endpoint, describe)
        }));
        checks
    }

    /// The host at `url` as `request` finds it.
    async fn host(&self, url: Url, request: Request) -> HostSight {
        let clock = &self.world.clock;
        let (way, (answer, took, at)) = tokio::join!(self.http.way_to(&url, LOOKUP), async {
            let asked = clock.monotonic();
            let answer = self.http.send(request).await;
            (answer, clock.monotonic().saturating_sub(asked), clock.now())
        });
        HostSight {
            url,
            way,
            answer,
            took,
            at,
        }
    }

    async fn registry(
        &self,
        config: &Config,
        binding: Option<&Binding>,
        where_to_ask: WhereToAsk,
        instead: Option<&InPlaceOfLogin>,
    ) -> Vec<Check> {
        let Some(url) = where_to_ask(config) else {
            let why = "the registry is on this machine";
            let mut checks = REGISTRY.skipped(why);
            checks.push(Check::skipped("registry.challenge", why));
            checks.extend(resource::skipped(why));
            checks.extend(["login.grant", "registry.token"].map(|id| Check::skipped(id, why)));
            return checks;
        };
        let host = self.host(url.clone(), question(config, &url, None)).await;
        let mut checks = REGISTRY.judge(&host);
        let stored = match binding {
            Some(binding) => Some(self.grant_of(binding).await),
            None => None,
        };
        let grant = stored.as_ref().and_then(|(_, grant)| grant.as_ref());
        let pin = grant.and_then(|grant| grant.pin.as_ref());
        let rules = match binding {
            Some(binding) => self.rules_for(binding).await,
            None => LoginRules::default(),
        };
        let held = Held {
            strict: rules.strict,
            relaxed: not_applied(&rules, pin),
        };
        let wanted = match binding {
            Some(binding) => Wanted::Login(binding, &held),
            None if instead.is_some() => Wanted::Credential,
            None => Wanted::Nothing,
        };
        checks.push(login::challenge(&host.answer, wanted));
        checks.extend(self.resource(config, &host.answer, wanted).await);
        if let Some(instead) = instead {
            checks.push(Check::skipped("login.grant", NO_LOGIN));
            checks.push(self.token_of(instead, config, &url).await);
            return checks;
        }
        let (Some(binding), Some((check, grant))) = (binding, stored) else {
            let why = NO_LOGIN;
            checks.extend(["login.grant", "registry.token"].map(|id| Check::skipped(id, why)));
            return checks;
        };
        checks.push(check);
        let answer = match grant.filter(|grant| self.is_usable(grant)) {
            Some(grant) if host.answer.is_ok() => {
                let bearer = self.engine.inner().bearer_of(&grant, binding);
                Ok(self.ask(config, &url, bearer).await)
            }
            _ => Err("there is no token that is good now"),
        };
        checks.push(login::token(
            answer.as_ref().map_err(|why| *why),
            TokenFix::of_login,
        ));
        checks
    }

    /// What the registry says to the token of a credential that needs no login, where one is at hand.
    async fn token_of(&self, instead: &InPlaceOfLogin, config: &Config, url: &Url) -> Check {
        let answer = match &instead.at_hand {
            Ok(bearer) => Ok(self.ask(config, url, Some(bearer.clone())).await),
            Err(why) => Err(why.as_str()),
        };
        let fixing = instead.clone();
        let refused = blocking(move || fixing.if_refused()).await;
        login::token(answer.as_ref().map_err(|why| *why), || TokenFix {
            refused,
            forbidden: "ask the registry's operator for access".to_owned(),
        })
    }

    /// The rules that are settled for logins to what `binding` names. A file that cannot be read settles nothing.
    async fn rules_for(&self, binding: &Binding) -> LoginRules {
        let (store, url) = (self.registries.clone(), binding.configured_url.clone());
        let found = blocking(move || store.load_for(DEFAULT_REGISTRY, &url)).await;
        found
            .ok()
            .flatten()
            .map(|settings| LoginRules::read(&settings))
            .unwrap_or_default()
    }

    /// What the registry says of itself, looked for where it points and at the well-known places, without a token.
    async fn resource(
        &self,
        config: &Config,
        answer: &Result<Reply, HttpError>,
        wanted: Wanted<'_>,
    ) -> Vec<Check> {
        let (RegistrySource::Url(configured) | RegistrySource::Api(configured)) = &config.source
        else {
            return resource::skipped("the registry is on this machine");
        };
        let Ok(url) = Url::parse(configured) else {
            return resource::skipped("the registry's URL is none");
        };
        let reply = match answer {
            Ok(reply) if matches!(reply.status.as_u16(), 401 | 403) => reply,
            Ok(_) => return resource::skipped("it asks for no login"),
            Err(_) => return resource::skipped("the registry did not answer"),
        };
        let challenge = BearerChallenge::of_registry(reply, &url);
        let found = discover_resource(
            &self.http,
            &Resource {
                url: &url,
                configured,
                allow_private_ip: config.allow_private_ip,
            },
            &challenge.resource_metadata,
            // What a login would refuse is found all the same, and named.
            &Relaxations::from([Relaxation::ResourceParentPath]),
        )
        .await;
        let sight = ResourceSight {
            configured: configured.clone(),
            challenge,
            found,
        };
        resource::judge(&sight, wanted)
    }

    /// One question to the registry, with `bearer` if there is one. It goes to the registry's own origin or
    /// nowhere.
    async fn ask(
        &self,
        config: &Config,
        url: &Url,
        bearer: Option<Bearer>,
    ) -> Result<Reply, HttpError> {
        self.http.send(question(config, url, bearer)).await
    }
}

fn question(config: &Config, url: &Url, bearer: Option<Bearer>) -> Request {
    let request = Request::get(url.clone())
        .header(ACCEPT, HeaderValue::from_static("application/json"))
        .policy(Policy::for_registry(config.allow_private_ip))
        .limits(Limits::PROBE.with_total(QUESTION));
    match bearer {
        Some(bearer) => request.bearer(bearer),
        None => request,
    }
}

/// What is said of an issuer's documents, for [`crate::foreign`].
pub(crate) fn judge_provider(issuer: &str, seen: &[Sighting]) -> Vec<Check> {
    issuer::judge(issuer, &[], seen)
}

/// What is said of a registry's document, for [`crate::foreign`].
pub(crate) fn judge_resource(
    registry: &str,
    found: Result<ResourceMetadata, ResourceFault>,
) -> Vec<Check> {
    let sight = ResourceSight {
        configured: registry.to_owned(),
        challenge: BearerChallenge::default(),
        found: found.map_err(|fault| ResourceError {
            attempts: vec![(registry.to_owned(), fault)],
        }),
    };
    let issuer = "https://id.example";
    match Binding::new(registry, issuer, "thv-cli") {
        Ok(binding) => resource::judge(&sight, Wanted::Login(&binding, &Held::default())),
        Err(_) => resource::judge(&sight, Wanted::Nothing),
    }
}

impl fmt::Debug for Doctor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doctor").finish_non_exhaustive()
    }
}

/// The rules that do not hold for a login. A registry that named the issuer at the login has to name it still, whatever was settled.
fn not_applied(rules: &LoginRules, pin: Option<&Pin>) -> Relaxations {
    let mut relaxed: Relaxations = [Relaxation::ResourceParentPath, Relaxation::UnlistedIssuer]
        .into_iter()
        .filter(|rule| rules.relaxes(*rule))
        .collect();
    if let Some(pin) = pin {
        relaxed.extend(pin.relaxations());
        if pin.resource_metadata.is_some() {
            relaxed.remove(&Relaxation::UnlistedIssuer);
        }
    }
    relaxed
}

/// The host of the issuer as the answer shows it that says most: one that came, if any did.
fn best(seen: &[Sighting], way: Result<thv_http::Way, HttpError>) -> Option<HostSight> {
    let sighting = seen
        .iter()
        .find(|sighting| sighting.provider.is_ok())
        .or_else(|| seen.iter().find(|sighting| sighting.reply.is_ok()))
        .or_else(|| seen.first())?;
    let answer = match &sighting.reply {
        Ok(reply) => Ok(reply.clone()),
        Err(MetadataFault::Http(error)) => Err(error.clone()),
        Err(_) => return None,
    };
    Some(HostSight {
        url: sighting.url.clone(),
        way,
        answer,
        took: sighting.took,
        at: sighting.at,
    })
}

#[cfg(unix)]
fn mode(file: &std::path::Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    Some(std::fs::metadata(file).ok()?.permissions().mode())
}

#[cfg(not(unix))]
fn mode(_file: &std::path::Path) -> Option<u32> {
    None
}
