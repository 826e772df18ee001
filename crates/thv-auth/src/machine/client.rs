//! Asking an authorization server for a token as a client of our own: who we are, what the grant is, and what the answer is worth.
//!
//! The three grants differ in a few parameters, which [`Grant`] holds. The form and its answer are `oauth::direct`'s part.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use thv_config::disk::{Fingerprint, fingerprint};
use thv_config::world::Clock;
use thv_http::{Http, PlainHttp, Policy, Redirects};

use super::assertion::assertion;
use super::fetched::{Fetch, FetchError, Fetched};
use super::secret::{Alphabet, SecretFault, SecretReader, Slot};
use super::settings::{
    ClientAuthentication, CredentialSettings, ServerSettings, SubjectSource, TargetSettings,
};
use super::subject;
use super::token_host::TokenHost;
use crate::limits::DISCOVERY_TTL;
use crate::oauth::direct::DirectRequest;
use crate::oauth::token_server::{TokenServer, discover_token_server};
use crate::oauth::{DiscoveryPolicy, TokenError};
use crate::refresh::blocking;
use crate::skew::{Skew, shifted};

/// The type of a workload's token when the settings do not say (RFC 8693 section 3).
const JWT_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";

/// The type of token that is wanted in exchange: one for a resource server.
const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The type of a client assertion (RFC 7523 section 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Asks an authorization server.
#[derive(Debug)]
pub(crate) struct ClientFetch {
    pub(crate) http: Http,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) reader: SecretReader,
    pub(crate) server: ServerSettings,
    pub(crate) client_id: Option<String>,
    pub(crate) authentication: Option<ClientAuthentication>,
    pub(crate) target: TargetSettings,
    /// The registry's URL as the configuration spells it: the resource, where the target names none.
    pub(crate) registry: String,
    pub(crate) grant: Grant,
    pub(crate) allow_private_ip: bool,
    pub(crate) memory: Memory,
    pub(crate) token_host: TokenHost,
}

/// What the token is given for.
#[derive(Clone, Debug)]
pub(crate) enum Grant {
    /// The client itself.
    ClientCredentials,
    /// The workload's token, in exchange.
    TokenExchange {
        subject: SubjectSource,
        token_type: Option<String>,
    },
    /// The workload's token, as the grant.
    JwtBearer { subject: SubjectSource },
}

/// What is remembered from one fetch to the next.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The server, and until when on the monotonic clock it is believed to be as it was.
    server: Mutex<Option<(TokenServer, Duration)>>,
    skew: Skew,
}

/// What a report tells of settings that name an authorization server; empty for others.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientFacts {
    pub(crate) issuer: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) resource: Option<String>,
    pub(crate) audience: Option<String>,
    pub(crate) scopes: Vec<String>,
}

impl ClientFacts {
    /// Those of `settings` for the registry at `configured_url`.
    pub(crate) fn of(settings: &CredentialSettings, configured_url: &str) -> Self {
        let (server, client_id, target) = match settings {
            CredentialSettings::ClientCredentials(client) => {
                (&client.server, Some(&client.client_id), &client.target)
            }
            CredentialSettings::TokenExchange(workload)
            | CredentialSettings::JwtBearer(workload) => (
                &workload.server,
                workload.client_id.as_ref(),
                &workload.target,
            ),
            CredentialSettings::Bearer(_)
            | CredentialSettings::ApiKey(_)
            | CredentialSettings::Command(_) => return Self::default(),
        };
        Self {
            issuer: Some(server.name().to_owned()),
            client_id: client_id.cloned(),
            resource: target.resource_for(configured_url),
            audience: target.audience.clone(),
            scopes: target.scopes.clone(),
        }
    }
}

impl Fetch for ClientFetch {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        self.ask().boxed()
    }

    fn marks(&self) -> Vec<Option<Fingerprint>> {
        let mut marks = match &self.authentication {
            Some(ClientAuthentication::PrivateKeyJwt { key_file, .. }) => {
                vec![fingerprint(key_file)]
            }
            Some(by_secret) => by_secret
                .secret()
                .map(|secret| self.reader.marks(secret))
                .unwrap_or_default(),
            None => Vec::new(),
        };
        if let Some(subject) = self.grant.subject() {
            marks.extend(subject::marks(subject));
        }
        // Where another host is confirmed.
        marks.push(fingerprint(&self.token_host.file()));
        marks
    }

    fn auth_type(&self) -> &'static str {
        "oauth"
    }

    fn token_host(&self) -> Option<&TokenHost> {
        Some(&self.token_host)
    }
}

impl Grant {
    fn subject(&self) -> Option<&SubjectSource> {
        match self {
            Self::ClientCredentials => None,
            Self::TokenExchange { subject, .. } | Self::JwtBearer { subject } => Some(subject),
        }
    }
}

impl ClientFetch {
    async fn ask(&self) -> Result<Fetched, FetchError> {
        let server = self.server().await?;
        if self.server.token_endpoint.is_none() {
            let checked = self.token_host.check(&server.token_endpoint).await;
            checked.map_err(|changed| {
                // Whoever confirms it confirms what the metadata say then.
                *self.lock() = None;
                FetchError::OtherHost {
                    cause: changed.to_string(),
                }
            })?;
        }
        let mut request = DirectRequest {
            policy: self.policy(&server),
            endpoint: server.token_endpoint.clone(),
            parameters: Vec::new(),
            secrets: Vec::new(),
            basic: None,
        };
        let account = self.add_grant(&mut request, &server).await?;
        self.add_client(&mut request, &server).await?;
        self.add_target(&mut request);
        let tokens = request.send(&self.http).await.map_err(judged)?;
        // Before, a wrong word of the issuer would have been kept as well.
        if self.server.token_endpoint.is_none() {
            self.token_host.keep(&server.token_endpoint).await;
        }
        if let Some(date) = tokens.server_date {
            self.memory.skew.observe(self.clock.now(), date);
        }
        Ok(Fetched {
            token: tokens.access_token,
            expires_in: tokens.expires_in,
            scopes: tokens.scopes.unwrap_or_default(),
            account,
        })
    }

    async fn server(&self) -> Result<TokenServer, FetchError> {
        let unusable = |cause: String| FetchError::Unusable { cause };
        let named = self.server.endpoint();
        if let Some(token_endpoint) = named.map_err(|fault| unusable(fault.cause))? {
            return Ok(TokenServer {
                issuer: self.server.name().to_owned(),
                token_endpoint,
                authentication_methods: None,
                server_date: None,
            });
        }
        let now = self.clock.monotonic();
        if let Some((server, until)) = self.lock().as_ref()
            && now < *until
        {
            return Ok(server.clone());
        }
        let total = DiscoveryPolicy::DEFAULT.total;
        let found = discover_token_server(&self.http, self.server.name(), total).await;
        let server = found.map_err(|error| FetchError::Transient {
            cause: error.to_string(),
            retry_after: None,
        })?;
        if let Some(date) = server.server_date {
            self.memory.skew.observe(self.clock.now(), date);
        }
        *self.lock() = Some((server.clone(), now.saturating_add(DISCOVERY_TTL)));
        Ok(server)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(TokenServer, Duration)>> {
        let server = &self.memory.server;
        server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token endpoint that the settings name outright may be anywhere; one that metadata name, where a login's may be.
    fn policy(&self, server: &TokenServer) -> Policy {
        if self.server.token_endpoint.is_some() {
            Policy {
                allow_private_ip: true,
                plain_http: PlainHttp::Loopback,
                redirects: Redirects::Refuse,
            }
        } else {
            server.policy(self.allow_private_ip)
        }
    }

    /// The grant's own parameters, and whose token it is, where a token says so.
    async fn add_grant(
        &self,
        request: &mut DirectRequest,
        server: &TokenServer,
    ) -> Result<Option<String>, FetchError> {
        let grant_type = match &self.grant {
            Grant::ClientCredentials => "client_credentials",
            Grant::TokenExchange { .. } => "urn:ietf:params:oauth:grant-type:token-exchange",
            Grant::JwtBearer { .. } => "urn:ietf:params:oauth:grant-type:jwt-bearer",
        };
        request
            .parameters
            .push(("grant_type", grant_type.to_owned()));
        let Some(source) = self.grant.subject() else {
            return Ok(None);
        };
        let token =
            subject::subject_token(source, &server.issuer, &self.http, self.reader.env()).await?;
        let account = subject::account(&token);
        match &self.grant {
            Grant::TokenExchange { token_type, .. } => {
                let token_type = token_type.clone().unwrap_or_else(|| JWT_TYPE.to_owned());
                request.parameters.push(("subject_token_type", token_type));
                request
                    .parameters
                    .push(("requested_token_type", ACCESS_TOKEN_TYPE.to_owned()));
                request.secrets.push(("subject_token", token));
            }
            Grant::JwtBearer { .. } => request.secrets.push(("assertion", token)),
            Grant::ClientCredentials => {}
        }
        Ok(account)
    }

    /// Who the client is, and its proof.
    async fn add_client(
        &self,
        request: &mut DirectRequest,
        server: &TokenServer,
    ) -> Result<(), FetchError> {
        let Some(client_id) = &self.client_id else {
            return Ok(());
        };
        match &self.authentication {
            None => {}
            Some(ClientAuthentication::PrivateKeyJwt { key_file, key_id }) => {
                let offset = self.memory.skew.offset().unwrap_or_default();
                let now = shifted(self.clock.now(), offset);
                let (file, kid) = (key_file.clone(), key_id.clone());
                let (client, audience) = (client_id.clone(), server.issuer.clone());
                let made =
                    blocking(move || assertion(&file, kid.as_deref(), &client, &audience, now));
                let made = made.await.map_err(|cause| FetchError::Unusable { cause })?;
                request
                    .parameters
                    .push(("client_assertion_type", ASSERTION_TYPE.to_owned()));
                request.secrets.push(("client_assertion", made));
            }
            Some(authentication) => {
                let secret = self.secret(authentication, client_id).await?;
                if by_basic(authentication, server.authentication_methods.as_deref()) {
                    request.basic = Some((client_id.clone(), secret));
                    return Ok(());
                }
                request.secrets.push(("client_secret", secret));
            }
        }
        request.parameters.push(("client_id", client_id.clone()));
        Ok(())
    }

    async fn secret(
        &self,
        authentication: &ClientAuthentication,
        client_id: &str,
    ) -> Result<SecretString, FetchError> {
        let Some(source) = authentication.secret().cloned() else {
            return Err(FetchError::Unusable {
                cause: "the client has no secret".to_owned(),
            });
        };
        let slot = Slot::of_client(&self.server, client_id);
        let reader = self.reader.clone();
        let read = blocking(move || reader.read(&source, &slot, Alphabet::Secret)).await;
        read.map_err(|fault| match fault {
            SecretFault::Store { cause, locked } => FetchError::Store { cause, locked },
            fault => FetchError::Unusable {
                cause: format!("the client secret is missing: {fault}"),
            },
        })
    }

    fn add_target(&self, request: &mut DirectRequest) {
        if let Some(resource) = self.target.resource_for(&self.registry) {
            request.parameters.push(("resource", resource));
        }
        if let Some(audience) = &self.target.audience {
            request.parameters.push(("audience", audience.clone()));
        }
        if !self.target.scopes.is_empty() {
            request
                .parameters
                .push(("scope", self.target.scopes.join(" ")));
        }
    }
}

/// Whether the secret goes by HTTP Basic: what the settings say, else what the server lists, else what every server must know
/// (RFC 6749 section 2.3.1).
fn by_basic(authentication: &ClientAuthentication, listed: Option<&[String]>) -> bool {
    let lists = |method: &str| listed.is_some_and(|all| all.iter().any(|one| one == method));
    match authentication {
        ClientAuthentication::ClientSecretBasic { .. } => true,
        ClientAuthentication::ClientSecretPost { .. }
        | ClientAuthentication::PrivateKeyJwt { .. } => false,
        ClientAuthentication::ClientSecret { .. } => {
            lists("client_secret_basic") || !lists("client_secret_post")
        }
    }
}

/// A verdict is about us. Whatever else came is no word of the server.
fn judged(error: TokenError) -> FetchError {
    match error {
        TokenError::Verdict {
            error: ref code, ..
        } => FetchError::Refused {
            cause: error.to_string(),
            code: code.clone(),
        },
        TokenError::Transient {
            cause, retry_after, ..
        } => FetchError::Transient { cause, retry_after },
        TokenError::Malformed { .. } => FetchError::Transient {
            cause: error.to_string(),
            retry_after: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::SecretSource;

    #[test]
    fn a_secret_goes_the_way_that_is_configured_or_listed() {
        let secret = SecretSource::Store;
        let auto = ClientAuthentication::ClientSecret {
            secret: secret.clone(),
        };
        let basic = ClientAuthentication::ClientSecretBasic {
            secret: secret.clone(),
        };
        let post = ClientAuthentication::ClientSecretPost { secret };
        let (b, p) = ("client_secret_basic", "client_secret_post");
        for (authentication, listed, expected) in [
            (&auto, None, true),
            (&auto, Some(vec![]), true),
            (&auto, Some(vec!["none"]), true),
            (&auto, Some(vec![p]), false),
            (&auto, Some(vec![p, b]), true),
            (&basic, Some(vec![p]), true),
            (&post, Some(vec![b]), false),
            (&post, None, false),
        ] {
            let listed = listed.map(|all| all.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(
                by_basic(authentication, listed.as_deref()),
                expected,
                "{listed:?}"
            );
        }
    }
}
