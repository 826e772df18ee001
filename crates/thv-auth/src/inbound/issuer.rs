//! What the issuer publishes about itself: its discovery document and its signing keys, fetched when needed and kept.
//!
//! Many requests that need the same thing share one fetch. A fetch that fails is tried again by the next request; keys
//! that were fetched once stay in use while the issuer is down.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::StatusCode;
use serde::Deserialize;
use thv_config::world::Clock;
use thv_http::{Http, Reply, Request, display_url, parse_url};
use url::Url;

use super::flight::Flight;
use super::jwks::KeySet;
use super::policy::{Checked, ISSUER_LIMITS};
use super::token::TokenFault;

/// How often discovery is tried for one waiting request.
const DISCOVERY_TRIES: u32 = 3;

/// Wait after the first failed try; it doubles from try to try up to [`DISCOVERY_WAIT_MAX`].
const DISCOVERY_WAIT: Duration = Duration::from_millis(500);

/// Longest wait between two tries.
const DISCOVERY_WAIT_MAX: Duration = Duration::from_secs(2);

/// Shortest time between two fetches of the keys once there are some: a caller who makes up key ids must not be able to
/// make us ask the issuer for each.
const KEYS_REFETCH_MIN: Duration = Duration::from_secs(30);

/// Keys older than this are fetched again, so that one which the issuer withdrew is not believed for ever.
const KEYS_AGE_MAX: Duration = Duration::from_hours(1);

/// Where things are, as the issuer says.
#[derive(Clone, Debug)]
struct Metadata {
    jwks_url: Option<Url>,
    introspection_url: Option<Url>,
}

/// The issuer, with what is known of it so far.
#[derive(Debug)]
pub(super) struct Issuer {
    fetcher: Fetcher,
    metadata: Mutex<Option<Arc<Metadata>>>,
    keys: Mutex<Keys>,
    discovering: Flight<Result<Arc<Metadata>, TokenFault>>,
    fetching_keys: Flight<Result<Arc<KeySet>, TokenFault>>,
}

/// Times are readings of the monotonic clock.
#[derive(Debug, Default)]
struct Keys {
    known: Option<(Arc<KeySet>, Duration)>,
    last_attempt: Option<Duration>,
}

/// What a fetch needs, separate from what it finds so that it can outlive the request that started it.
#[derive(Clone, Debug)]
struct Fetcher {
    http: Http,
    clock: Arc<dyn Clock>,
    policy: Arc<Checked>,
}

impl Issuer {
    pub(super) fn new(http: Http, clock: Arc<dyn Clock>, policy: Arc<Checked>) -> Self {
        Self {
            fetcher: Fetcher {
                http,
                clock,
                policy,
            },
            metadata: Mutex::default(),
            keys: Mutex::default(),
            discovering: Flight::new(),
            fetching_keys: Flight::new(),
        }
    }

    /// Keys among which `kid` is, if the issuer has it: known ones when they will do, else freshly fetched.
    pub(super) async fn keys_for(&self, kid: &str) -> Result<Arc<KeySet>, TokenFault> {
        let known = {
            let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.fetcher.clock.monotonic();
            let may_ask = keys
                .last_attempt
                .is_none_or(|last| now.saturating_sub(last) >= KEYS_REFETCH_MIN);
            match &keys.known {
                None => None,
                Some((known, fetched)) => {
                    let fresh = now.saturating_sub(*fetched) < KEYS_AGE_MAX;
                    if !may_ask || (fresh && known.has(kid)) {
                        return Ok(Arc::clone(known));
                    }
                    Some(Arc::clone(known))
                }
            }
        };
        match (self.fetch_keys().await, known) {
            (Err(fault), Some(known)) => {
                tracing::warn!(%fault, "the signing keys of callers' tokens could not be renewed; the known ones stay in use");
                Ok(known)
            }
            (fetched, _) => fetched,
        }
    }

    /// Where to ask about tokens that are no JWT: as configured, else as the issuer says, and only if we have a name there.
    pub(super) async fn introspection_url(&self) -> Result<Url, TokenFault> {
        let policy = &self.fetcher.policy;
        if let Some(url) = &policy.introspection_url {
            return Ok(url.clone());
        }
        if policy.client.is_none() || policy.discovery_url.is_none() {
            return Err(TokenFault::NoJwt);
        }
        self.metadata()
            .await?
            .introspection_url
            .clone()
            .ok_or(TokenFault::NoJwt)
    }

    async fn fetch_keys(&self) -> Result<Arc<KeySet>, TokenFault> {
        let jwks_url = match &self.fetcher.policy.jwks_url {
            Some(url) => url.clone(),
            None => self.metadata().await?.jwks_url.clone().ok_or_else(|| {
                unavailable("its discovery document names no key set (`jwks_uri`)")
            })?,
        };
        let fetcher = self.fetcher.clone();
        let answer = self
            .fetching_keys
            .join(|| async move { fetcher.keys(&jwks_url).await.map(Arc::new) }.boxed())
            .await;
        let now = self.fetcher.clock.monotonic();
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.last_attempt = Some(now);
        if let Ok(answer) = &answer {
            keys.known = Some((Arc::clone(answer), now));
        }
        answer
    }

    async fn metadata(&self) -> Result<Arc<Metadata>, TokenFault> {
        if let Some(known) = &*self.metadata.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Arc::clone(known));
        }
        let fetcher = self.fetcher.clone();
        let found = self
            .discovering
            .join(|| async move { fetcher.discover().await.map(Arc::new) }.boxed())
            .await?;
        *self.metadata.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&found));
        Ok(found)
    }
}

impl Fetcher {
    async fn discover(&self) -> Result<Metadata, TokenFault> {
        let url = self
            .policy
            .discovery_url
            .as_ref()
            .ok_or_else(|| unavailable("discovery is switched off"))?;
        let mut wait = DISCOVERY_WAIT;
        let mut tries = 1;
        loop {
            match self
                .get(url)
                .await
                .and_then(|reply| self.read_metadata(&reply.body))
            {
                Err(fault) if tries < DISCOVERY_TRIES => {
                    tracing::debug!(%fault, tries, "OIDC discovery failed and is tried again");
                    self.clock.sleep(wait).await;
                    wait = wait.saturating_mul(2).min(DISCOVERY_WAIT_MAX);
                    tries += 1;
                }
                found => return found,
            }
        }
    }

    fn read_metadata(&self, json: &[u8]) -> Result<Metadata, TokenFault> {
        #[derive(Deserialize)]
        struct Document {
            issuer: String,
            jwks_uri: Option<String>,
            introspection_endpoint: Option<String>,
        }
        let document: Document = serde_json::from_slice(json)
            .map_err(|_| unavailable("its discovery document cannot be read"))?;
        // OpenID Connect Discovery 1.0 section 4.3: a document about another issuer is a mix-up.
        if self.policy.issuer.as_deref() != Some(document.issuer.as_str()) {
            return Err(unavailable(
                "its discovery document is that of another issuer",
            ));
        }
        let endpoint = |text: Option<String>| {
            text.map(|text| parse_url(&text).map_err(|cause| unavailable(cause.to_string())))
                .transpose()
        };
        Ok(Metadata {
            jwks_url: endpoint(document.jwks_uri)?,
            introspection_url: endpoint(document.introspection_endpoint)?,
        })
    }

    async fn keys(&self, url: &Url) -> Result<KeySet, TokenFault> {
        let reply = self.get(url).await?;
        let keys =
            KeySet::parse(&reply.body).map_err(|_| unavailable("its key set cannot be read"))?;
        tracing::debug!(
            url = display_url(url),
            keys = keys.len(),
            "fetched the signing keys of callers' tokens"
        );
        Ok(keys)
    }

    async fn get(&self, url: &Url) -> Result<Reply, TokenFault> {
        let request = Request::get(url.clone())
            .policy(self.policy.reach)
            .limits(ISSUER_LIMITS);
        let reply = self
            .http
            .send(request)
            .await
            .map_err(|cause| unavailable(cause.to_string()))?;
        if reply.status == StatusCode::OK {
            Ok(reply)
        } else {
            Err(unavailable(format!(
                "{} answered {}",
                display_url(url),
                reply.status
            )))
        }
    }
}

fn unavailable(cause: impl Into<String>) -> TokenFault {
    TokenFault::Unavailable {
        cause: cause.into(),
    }
}
