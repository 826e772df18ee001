//! The provider as a renewal and a logout need it, and the real one over HTTP.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use thv_config::world::Clock;
use thv_http::Http;
use url::Url;

use crate::binding::Binding;
use crate::limits::DISCOVERY_TTL;
use crate::oauth::{
    self, DiscoveryError, DiscoveryPolicy, Provider, RevocationOutcome, TokenError, TokenHint,
    TokenSet,
};

/// Who renews tokens and takes them back.
pub trait TokenService: Debug + Send + Sync + 'static {
    /// Finds the provider's endpoints, so that nothing but the renewal itself can fail afterwards. The error says why that
    /// is not possible now.
    fn prepare<'a>(&'a self, binding: &'a Binding) -> BoxFuture<'a, Result<(), String>>;

    /// Spends `token` for new ones, with the scopes that were `granted` last.
    fn refresh<'a>(
        &'a self,
        binding: &'a Binding,
        token: &'a SecretString,
        granted: &'a [String],
    ) -> BoxFuture<'a, Result<TokenSet, TokenError>>;

    /// Gives `token` back.
    fn revoke<'a>(
        &'a self,
        binding: &'a Binding,
        token: &'a SecretString,
        hint: TokenHint,
    ) -> BoxFuture<'a, RevocationOutcome>;

    /// Where a browser ends the session that it has at the provider (`OpenID` Connect RP-Initiated Logout 1.0 section 2), if the
    /// provider offers that. No ID token is in it: an address is no place for one.
    fn end_session_url<'a>(&'a self, _binding: &'a Binding) -> BoxFuture<'a, Option<Url>> {
        async { None }.boxed()
    }
}

/// Identity providers over HTTP; their endpoints are remembered for [`DISCOVERY_TTL`]. Clones share what they remember.
#[derive(Clone)]
pub struct OAuthService {
    http: Http,
    clock: Arc<dyn Clock>,
    providers: Arc<Mutex<HashMap<String, Remembered>>>,
}

#[derive(Clone)]
struct Remembered {
    provider: Arc<Provider>,
    /// Until when, on the monotonic clock.
    until: Duration,
}

// === impl OAuthService ===

impl OAuthService {
    /// Providers as `http` reaches them.
    pub fn new(http: Http, clock: Arc<dyn Clock>) -> Self {
        Self {
            http,
            clock,
            providers: Arc::default(),
        }
    }

    /// The provider that is the issuer, remembered or discovered.
    async fn provider(&self, issuer: &str) -> Result<Arc<Provider>, DiscoveryError> {
        if let Some(provider) = self.remembered(issuer) {
            return Ok(provider);
        }
        let provider = oauth::discover(&self.http, issuer, DiscoveryPolicy::DEFAULT).await?;
        let provider = Arc::new(provider);
        let remembered = Remembered {
            provider: Arc::clone(&provider),
            until: self.clock.monotonic().saturating_add(DISCOVERY_TTL),
        };
        self.lock().insert(issuer.to_owned(), remembered);
        Ok(provider)
    }

    fn remembered(&self, issuer: &str) -> Option<Arc<Provider>> {
        let now = self.clock.monotonic();
        let mut providers = self.lock();
        providers.retain(|_, remembered| now < remembered.until);
        providers
            .get(issuer)
            .map(|remembered| Arc::clone(&remembered.provider))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Remembered>> {
        self.providers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenService for OAuthService {
    fn prepare<'a>(&'a self, binding: &'a Binding) -> BoxFuture<'a, Result<(), String>> {
        async move {
            match self.provider(&binding.issuer).await {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        }
        .boxed()
    }

    fn refresh<'a>(
        &'a self,
        binding: &'a Binding,
        token: &'a SecretString,
        granted: &'a [String],
    ) -> BoxFuture<'a, Result<TokenSet, TokenError>> {
        async move {
            let provider = self.provider(&binding.issuer).await;
            let provider = provider.map_err(|error| TokenError::Transient {
                cause: error.to_string(),
                unsent: true,
                retry_after: None,
            })?;
            let granted = (!granted.is_empty()).then_some(granted);
            oauth::refresh(&self.http, &provider, binding, token, granted).await
        }
        .boxed()
    }

    fn revoke<'a>(
        &'a self,
        binding: &'a Binding,
        token: &'a SecretString,
        hint: TokenHint,
    ) -> BoxFuture<'a, RevocationOutcome> {
        async move {
            match self.provider(&binding.issuer).await {
                Ok(provider) => oauth::revoke(&self.http, &provider, binding, token, hint).await,
                Err(error) => RevocationOutcome::Failed {
                    transient: error.is_transient(),
                    cause: error.to_string(),
                },
            }
        }
        .boxed()
    }

    fn end_session_url<'a>(&'a self, binding: &'a Binding) -> BoxFuture<'a, Option<Url>> {
        async move {
            let provider = self.provider(&binding.issuer).await.ok()?;
            let mut url = provider.end_session_endpoint.clone()?;
            url.query_pairs_mut()
                .append_pair("client_id", &binding.client_id);
            Some(url)
        }
        .boxed()
    }
}

impl Debug for OAuthService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthService").finish_non_exhaustive()
    }
}
