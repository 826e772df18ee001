//! The provider as a renewal and a logout need it, and the real one over HTTP.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use secrecy::SecretString;
use thv_config::world::Clock;
use thv_http::Http;
use url::Url;

use crate::binding::Binding;
use crate::limits::DISCOVERY_TTL;
use crate::oauth::registration::token_host;
use crate::oauth::{
    self, ClientAuthentication, DiscoveryError, DiscoveryPolicy, ProofKey, Prover, Provider,
    RevocationOutcome, Servers, TokenError, TokenHint, TokenSet,
};
use crate::pin::{Pin, names_another_issuer};
use crate::refresh::blocking;
use crate::vault::Vault;

/// Who renews tokens and takes them back.
pub trait TokenService: Debug + Send + Sync + 'static {
    /// Finds the provider's endpoints, so that nothing but the renewal itself can fail afterwards, and compares them with
    /// those of the login.
    fn prepare<'a>(
        &'a self,
        binding: &'a Binding,
        pin: Option<&'a Pin>,
    ) -> BoxFuture<'a, Result<(), Unprepared>>;

    /// Whether the registry names another issuer than at the login. Asks the registry, without a token.
    fn names_another_issuer<'a>(
        &'a self,
        binding: &'a Binding,
        pin: &'a Pin,
    ) -> BoxFuture<'a, bool>;

    /// Spends a refresh token for new tokens.
    fn refresh<'a>(
        &'a self,
        binding: &'a Binding,
        spent: Spent<'a>,
    ) -> BoxFuture<'a, Result<TokenSet, TokenError>>;

    /// Gives `token` back, to nobody but those who were there at the login.
    fn revoke<'a>(
        &'a self,
        binding: &'a Binding,
        pin: Option<&'a Pin>,
        token: &'a SecretString,
        hint: TokenHint,
    ) -> BoxFuture<'a, RevocationOutcome>;

    /// Where a browser ends the session that it has at the provider (`OpenID` Connect RP-Initiated Logout 1.0 section 2), if the
    /// provider offers that. No ID token is in it: an address is no place for one.
    fn end_session_url<'a>(&'a self, _binding: &'a Binding) -> BoxFuture<'a, Option<Url>> {
        async { None }.boxed()
    }
}

/// A refresh token that is about to be spent, and what goes with it.
#[derive(Clone, Copy, Debug)]
pub struct Spent<'a> {
    /// The token.
    pub token: &'a SecretString,
    /// The scopes that the provider named last.
    pub granted: &'a [String],
    /// The key that the token is bound to.
    pub key: Option<&'a ProofKey>,
    /// How far the provider's clock is ahead of ours.
    pub clock_offset: SignedDuration,
}

/// Why nothing can be asked of the provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unprepared {
    /// Its endpoints are not known now.
    #[error("{0}")]
    Unavailable(String),
    /// Its token endpoint is on another host than at the login.
    #[error(
        "the identity provider's token endpoint is on {found}, and was on {expected} at the login"
    )]
    Moved {
        /// The host of the login.
        expected: String,
        /// The host now.
        found: String,
    },
}

/// Identity providers over HTTP; their endpoints are remembered for [`DISCOVERY_TTL`]. Clones share what they remember.
#[derive(Clone)]
pub struct OAuthService {
    http: Http,
    clock: Arc<dyn Clock>,
    /// Where the secrets of clients are that were registered.
    vault: Vault,
    providers: Arc<Mutex<HashMap<String, Remembered>>>,
    /// What token endpoints want in the next proof.
    servers: Servers,
}

#[derive(Clone)]
struct Remembered {
    provider: Arc<Provider>,
    /// Until when, on the monotonic clock.
    until: Duration,
}

// === impl OAuthService ===

impl OAuthService {
    /// Providers as `http` reaches them, asked by the clients in `vault` and by those that have no secret.
    pub fn new(http: Http, clock: Arc<dyn Clock>, vault: Vault) -> Self {
        Self {
            http,
            clock,
            vault,
            providers: Arc::default(),
            servers: Servers::new(),
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

    /// How the client of `binding` proves itself at `provider`. A secret goes to the host that gave it, and to no other.
    async fn authentication(
        &self,
        binding: &Binding,
        provider: &Provider,
    ) -> Result<ClientAuthentication, String> {
        let vault = self.vault.clone();
        let issuer = provider.issuer.clone();
        let client_id = binding.client_id.clone();
        let registered = blocking(move || vault.registration_of(&issuer, &client_id)).await;
        let Some(client) = registered.map_err(|error| error.to_string())? else {
            return Ok(ClientAuthentication::None);
        };
        // Whether the secret has ended is for the provider to say, whose clock may be right.
        if client.is_of(provider) {
            Ok(client.authentication)
        } else {
            Err(
                "its token endpoint is not on the host that registered this program any more"
                    .to_owned(),
            )
        }
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
    fn prepare<'a>(
        &'a self,
        binding: &'a Binding,
        pin: Option<&'a Pin>,
    ) -> BoxFuture<'a, Result<(), Unprepared>> {
        async move {
            let provider = self.provider(&binding.issuer).await;
            let provider = provider.map_err(|error| Unprepared::Unavailable(error.to_string()))?;
            match pin {
                Some(pin) if !pin.is_token_host_of(&provider) => Err(Unprepared::Moved {
                    expected: pin.token_host.clone(),
                    found: token_host(&provider),
                }),
                _ => Ok(()),
            }
        }
        .boxed()
    }

    fn names_another_issuer<'a>(
        &'a self,
        binding: &'a Binding,
        pin: &'a Pin,
    ) -> BoxFuture<'a, bool> {
        names_another_issuer(&self.http, binding, pin).boxed()
    }

    fn refresh<'a>(
        &'a self,
        binding: &'a Binding,
        spent: Spent<'a>,
    ) -> BoxFuture<'a, Result<TokenSet, TokenError>> {
        async move {
            let unsent = |cause: String| TokenError::Transient {
                cause,
                unsent: true,
                retry_after: None,
            };
            let provider = self.provider(&binding.issuer).await;
            let provider = provider.map_err(|error| unsent(error.to_string()))?;
            let authentication = self.authentication(binding, &provider).await;
            let authentication = authentication.map_err(unsent)?;
            let granted = (!spent.granted.is_empty()).then_some(spent.granted);
            let prover = spent.key.map(|key| {
                let (key, servers) = (key.clone(), self.servers.clone());
                Prover::new(key, servers, Arc::clone(&self.clock), spent.clock_offset)
            });
            oauth::refresh(
                &self.http,
                &provider,
                binding,
                &authentication,
                spent.token,
                granted,
                prover.as_ref(),
            )
            .await
        }
        .boxed()
    }

    fn revoke<'a>(
        &'a self,
        binding: &'a Binding,
        pin: Option<&'a Pin>,
        token: &'a SecretString,
        hint: TokenHint,
    ) -> BoxFuture<'a, RevocationOutcome> {
        async move {
            let failed = |cause: String, transient| RevocationOutcome::Failed { cause, transient };
            let provider = match self.provider(&binding.issuer).await {
                Ok(provider) => provider,
                Err(error) => return failed(error.to_string(), error.is_transient()),
            };
            if pin.is_some_and(|pin| !pin.is_revocation_host_of(&provider)) {
                let cause = "its revocation endpoint is not on a host of the login".to_owned();
                return failed(cause, false);
            }
            match self.authentication(binding, &provider).await {
                Ok(client) => {
                    oauth::revoke(&self.http, &provider, binding, &client, token, hint).await
                }
                Err(cause) => failed(cause, true),
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
