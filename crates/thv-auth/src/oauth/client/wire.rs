//! The `oauth2` crate's HTTP client and answer type, made of ours.
//!
//! Requests leave through [`Http`] under our limits and without redirects. The crate sees an answer only when it is a success in
//! JSON; everything else is judged by `answer`, because only some of it is a verdict.

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
    BasicTokenType,
};
use oauth2::{
    AccessToken, AsyncHttpClient, AuthType, ClientId, EndpointNotSet, HttpRequest, HttpResponse,
    RefreshToken, RequestTokenError, Scope, StandardRevocableToken, TokenResponse,
};
use secrecy::{ExposeSecret, SecretString};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thv_http::{Http, Limits, Policy, secrecy};
use url::Url;

use crate::binding::Binding;
use crate::oauth::answer::{check_success, judge_failure, server_date};
use crate::oauth::authentication::ClientAuthentication;
use crate::oauth::dpop::{Prover, ask};
use crate::oauth::error::TokenError;
use crate::oauth::json::Members;
use crate::oauth::metadata::Provider;
use crate::oauth::token::TokenSet;

/// What one request to the token endpoint may cost. Providers that ask a directory behind them are slow at times.
pub(crate) const TOKEN_LIMITS: Limits = Limits {
    total: Duration::from_secs(30),
    head: Duration::from_secs(30),
    idle: Duration::from_secs(10),
    max_bytes: 1024 * 1024,
    max_redirects: 0,
};

pub(super) type Client = oauth2::Client<
    BasicErrorResponse,
    TokenAnswer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
>;

pub(super) type TokenResult =
    Result<TokenAnswer, RequestTokenError<TokenError, BasicErrorResponse>>;

/// A client that names itself in the body. The secret of one that has one is added where the request is sent.
pub(super) fn client(binding: &Binding) -> Client {
    Client::new(ClientId::new(binding.client_id.clone())).set_auth_type(AuthType::RequestBody)
}

/// The token endpoint as the `oauth2` crate's HTTP client: one request, no redirect, and only a usable answer comes through.
#[derive(Debug)]
pub(super) struct TokenEndpoint<'h> {
    http: &'h Http,
    pub(super) url: Url,
    policy: Policy,
    client_id: String,
    authentication: ClientAuthentication,
    prover: Option<&'h Prover>,
    secrets: Vec<SecretString>,
    server_date: OnceLock<Timestamp>,
}

impl<'h> TokenEndpoint<'h> {
    pub(super) fn new(
        http: &'h Http,
        provider: &Provider,
        binding: &Binding,
        authentication: &ClientAuthentication,
        prover: Option<&'h Prover>,
        mut secrets: Vec<SecretString>,
    ) -> Self {
        let url = provider.token_endpoint.clone();
        secrets.extend(authentication.secret().cloned());
        Self {
            http,
            client_id: binding.client_id.clone(),
            authentication: authentication.clone(),
            policy: provider.policy_for(&url, binding.allow_private_ip),
            url,
            prover,
            secrets,
            server_date: OnceLock::new(),
        }
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TokenError> {
        // The crate gives the form as bytes; as a form again it is never printed.
        let form: Vec<_> = url::form_urlencoded::parse(request.body()).collect();
        let fields = form
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_ref()));
        let request = self
            .authentication
            .post_form(self.url.clone(), &self.client_id, fields)
            .header(
                http::header::ACCEPT,
                http::HeaderValue::from_static("application/json"),
            )
            .policy(self.policy)
            .limits(TOKEN_LIMITS);
        let reply = ask(self.http, request, self.prover).await?;
        if let Some(date) = server_date(&reply) {
            let _ = self.server_date.set(date);
        }
        if reply.status != http::StatusCode::OK {
            let secrets: Vec<&str> = self
                .secrets
                .iter()
                .map(ExposeSecret::expose_secret)
                .collect();
            return Err(judge_failure(&reply, &secrets));
        }
        check_success(&reply)?;
        Ok(HttpResponse::new(reply.body.into()))
    }

    pub(super) fn finish(&self, answer: TokenResult) -> Result<TokenSet, TokenError> {
        match answer {
            Ok(answer) => TokenSet {
                server_date: self.server_date.get().copied(),
                ..answer.tokens
            }
            .for_holder_of(self.prover.map(Prover::key)),
            Err(RequestTokenError::Request(error)) => Err(error),
            // Our own reading of the answer, whose texts quote nothing of it.
            Err(RequestTokenError::Parse(error, _)) => {
                Err(TokenError::malformed(error.into_inner().to_string()))
            }
            Err(RequestTokenError::ServerResponse(_) | RequestTokenError::Other(_)) => {
                Err(TokenError::malformed("it could not be read"))
            }
        }
    }
}

impl<'c> AsyncHttpClient<'c> for TokenEndpoint<'_> {
    type Error = TokenError;
    type Future = BoxFuture<'c, Result<HttpResponse, TokenError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// A token answer as the `oauth2` crate wants it. The crate's own token types, which are not wiped from memory, are
/// made only when it asks for them.
#[derive(Debug)]
pub(super) struct TokenAnswer {
    tokens: TokenSet,
    access_token: OnceLock<AccessToken>,
    refresh_token: OnceLock<Option<RefreshToken>>,
    scopes: OnceLock<Option<Vec<Scope>>>,
}

impl TokenResponse for TokenAnswer {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        self.access_token
            .get_or_init(|| AccessToken::new(self.tokens.access_token.expose_secret().to_owned()))
    }

    fn token_type(&self) -> &BasicTokenType {
        &BasicTokenType::Bearer
    }

    fn expires_in(&self) -> Option<Duration> {
        self.tokens.expires_in
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token
            .get_or_init(|| {
                let token = self.tokens.refresh_token.as_ref()?;
                Some(RefreshToken::new(token.expose_secret().to_owned()))
            })
            .as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        self.scopes
            .get_or_init(|| {
                let scopes = self.tokens.scopes.as_ref()?;
                Some(scopes.iter().cloned().map(Scope::new).collect())
            })
            .as_ref()
    }
}

impl<'de> Deserialize<'de> for TokenAnswer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = Members::deserialize(deserializer)?;
        Ok(Self {
            tokens: TokenSet::read(&members).map_err(D::Error::custom)?,
            access_token: OnceLock::new(),
            refresh_token: OnceLock::new(),
            scopes: OnceLock::new(),
        })
    }
}

impl Serialize for TokenAnswer {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("token answers are never written"))
    }
}
