//! Why a login or a registry does not work: every condition looked at by itself, each with evidence and what to do about it.
//!
//! [`Doctor`] looks; what it saw is judged by functions from values to [`Check`]s, in `machine` (this computer), `host` (the way
//! to a host and its clock), `issuer` (the identity provider's metadata), `resource` (the registry's metadata) and `login` (the
//! grant and what the registry says). An examination changes nothing that anybody keeps, starts no login, asks no token endpoint, and ends within a minute whatever
//! the network does.

mod check;
mod host;
mod issuer;
mod login;
mod machine;
mod resource;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use http::header::ACCEPT;
use thv_config::disk::FileLock;
use thv_config::holder::{Hold, lock_holder};
use thv_config::{Config, ConfigError, ConfigStore, Paths, RegistriesStore, RegistrySource, World};
use thv_http::{Http, HttpError, Limits, Policy, Reply, Request};
use thv_secrets::{Patience, Secrets, setup_lock};
use url::Url;

pub use check::{Check, Diagnosis, Outcome};

use crate::auth::DEFAULT_REGISTRY;
use crate::binding::Binding;
use crate::grant::Grant;
use crate::login::{DEFAULT_CALLBACK_PORT, look_at_port};
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
use host::{HostSight, ISSUER, REGISTRY};
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

/// A credential that counts in place of a login, as far as it is known without fetching a token.
#[derive(Clone, Debug)]
pub(crate) struct InPlaceOfLogin {
    /// What it is and why it counts, for people.
    pub(crate) words: String,
    /// Why it cannot be used.
    pub(crate) fault: Option<String>,
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
        checks.extend(instead.as_ref().map(login::in_place_of_login));
        let is_replaced = instead.is_some();
        let binding = Binding::of(&config).ok().filter(|_| !is_replaced);
        let (store, locks, trust, port, abroad) = tokio::join!(
            self.store(),
            self.locks(binding.as_ref()),
            self.http.trust(),
            self.callback_port(&config, binding.as_ref(), is_logging_in),
            self.abroad(&config, binding.as_ref(), where_to_ask, is_replaced),
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
            Some(grant) => LiveCheck::of(&self.ask(&config, &url, Some((&binding, &grant))).await),
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
        is_replaced: bool,
    ) -> Abroad {
        let (issuer, registry) = tokio::join!(
            self.issuer(binding),
            self.registry(config, binding, where_to_ask, is_replaced),
        );
        Abroad { registry, issuer }
    }

    async fn issuer(&self, binding: Option<&Binding>) -> Vec<Check> {
        let Some(binding) = binding else {
            let why = NO_LOGIN;
            let mut checks = issuer::skipped(why);
            checks.extend(ISSUER.skipped(why));
            return checks;
        };
        let mut checks = vec![issuer::url(&binding.issuer)];
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

    async fn registry(
        &self,
        config: &Config,
        binding: Option<&Binding>,
        where_to_ask: WhereToAsk,
        is_replaced: bool,
    ) -> Vec<Check> {
        let Some(url) = where_to_ask(config) else {
            let why = "the registry is on this machine";
            let mut checks = REGISTRY.skipped(why);
            checks.push(Check::skipped("registry.challenge", why));
            checks.extend(resource::skipped(why));
            checks.extend(["login.grant", "registry.token"].map(|id| Check::skipped(id, why)));
            return checks;
        };
        let (way, (host, answer)) = tokio::join!(self.http.way_to(&url, LOOKUP), async {
            let asked = self.world.clock.monotonic();
            let answer = self.ask(config, &url, None).await;
            let took = self.world.clock.monotonic().saturating_sub(asked);
            ((took, self.world.clock.now()), answer)
        });
        let host = HostSight {
            url: url.clone(),
            way,
            answer,
            took: host.0,
            at: host.1,
        };
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
            None if is_replaced => Wanted::Credential,
            None => Wanted::Nothing,
        };
        checks.push(login::challenge(&host.answer, wanted));
        checks.extend(self.resource(config, &host.answer, wanted).await);
        let (Some(binding), Some((check, grant))) = (binding, stored) else {
            let why = NO_LOGIN;
            checks.extend(["login.grant", "registry.token"].map(|id| Check::skipped(id, why)));
            return checks;
        };
        checks.push(check);
        let answer = match grant.filter(|grant| self.is_usable(grant)) {
            Some(grant) if host.answer.is_ok() => {
                Some(self.ask(config, &url, Some((binding, &grant))).await)
            }
            _ => None,
        };
        checks.push(login::token(answer.as_ref()));
        checks
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

    /// One question to the registry, with the token of `login` if there is one. It goes to the registry's own origin or
    /// nowhere.
    async fn ask(
        &self,
        config: &Config,
        url: &Url,
        login: Option<(&Binding, &Grant)>,
    ) -> Result<Reply, HttpError> {
        let mut request = Request::get(url.clone())
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .policy(Policy::for_registry(config.allow_private_ip))
            .limits(Limits::PROBE.with_total(QUESTION));
        let inner = self.engine.inner();
        if let Some(bearer) = login.and_then(|(binding, grant)| inner.bearer_of(grant, binding)) {
            request = request.bearer(bearer);
        }
        self.http.send(request).await
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
