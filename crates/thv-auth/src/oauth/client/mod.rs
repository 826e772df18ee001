//! The requests of a login and its life: authorization, code redemption, refresh, and the question whether the provider still
//! knows us.
//!
//! The only place that meets the `oauth2` crate, which writes the requests and checks their shape at compile time. Who answers,
//! and what an answer is worth, is looked after in `wire`.

mod wire;

use std::borrow::Cow;

use oauth2::{
    AuthUrl, AuthorizationCode, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    RefreshToken, Scope, TokenUrl,
};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq as _;
use thv_http::{Http, Limits, secrecy};
use url::Url;

pub(crate) use self::wire::TOKEN_LIMITS;
use self::wire::{TokenEndpoint, client};
use crate::binding::{Binding, DEFAULT_SCOPES};
use crate::oauth::answer::judge_failure;
use crate::oauth::authentication::ClientAuthentication;
use crate::oauth::dpop::{ProofKey, Prover};
use crate::oauth::error::{BeginError, TokenError};
use crate::oauth::issuer::is_same_issuer;
use crate::oauth::metadata::Provider;
use crate::oauth::redirect_uri::RedirectUri;
use crate::oauth::registration::Registration;
use crate::oauth::response::{ResponseIssuerError, check_response_issuer};
use crate::oauth::token::TokenSet;

/// The scope that asks for a refresh token (OIDC Core section 11).
const OFFLINE_ACCESS: &str = "offline_access";

/// The scope that asks for an ID token.
const OPENID: &str = "openid";

/// Everything that belongs to one authorization request and to no other (RFC 9700 section 2.1).
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The `state` that the response must bring back.
    pub state: SecretString,
    /// The `nonce` that the ID token must hold; absent when no ID token is asked for.
    pub nonce: Option<SecretString>,
    /// The PKCE verifier.
    pub verifier: SecretString,
    /// Where the response arrives, and nowhere else.
    pub redirect_uri: RedirectUri,
    /// The issuer in its metadata's spelling: the only one whose response this attempt accepts.
    pub issuer: String,
    /// Whether that issuer promised to name itself in the response (RFC 9207).
    pub iss_parameter_supported: bool,
    /// The scopes asked for.
    pub scopes: Vec<String>,
    /// What the browser is to open.
    pub authorization_url: Url,
}

impl Attempt {
    /// Whether `state` is this attempt's, in a time that does not tell how much of it is right.
    pub fn accepts_state(&self, state: &str) -> bool {
        self.state
            .expose_secret()
            .as_bytes()
            .ct_eq(state.as_bytes())
            .into()
    }

    /// Whether a response with this `iss` parameter, or none, is from the issuer that was asked.
    pub fn check_issuer(&self, received: Option<&str>) -> Result<(), ResponseIssuerError> {
        check_response_issuer(self.iss_parameter_supported, received, &self.issuer)
    }
}

/// Makes an authorization request: code flow, PKCE with S256, `state`, and with `openid` a `nonce`. With a `key` the code is bound to it,
/// where the provider knows that (RFC 9449 section 10).
pub fn begin(
    provider: &Provider,
    binding: &Binding,
    redirect_uri: &RedirectUri,
    scopes: &[String],
    key: Option<&ProofKey>,
) -> Result<Attempt, BeginError> {
    if !is_same_issuer(&binding.issuer, &provider.issuer) {
        return Err(BeginError::OtherIssuer {
            expected: binding.issuer.clone(),
            found: provider.issuer.clone(),
        });
    }
    let return_to =
        RedirectUrl::new(redirect_uri.as_str().to_owned()).map_err(|_| BeginError::RedirectUri)?;
    let scopes = requested_scopes(provider, scopes);
    let asks_for = |scope: &str| scopes.iter().any(|asked| asked == scope);
    let nonce = asks_for(OPENID).then(CsrfToken::new_random);
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();

    let client =
        client(binding).set_auth_uri(AuthUrl::from_url(provider.authorization_endpoint.clone()));
    let mut request = client
        .authorize_url(CsrfToken::new_random)
        .set_redirect_uri(Cow::Owned(return_to))
        .set_pkce_challenge(challenge)
        .add_scopes(scopes.iter().cloned().map(Scope::new));
    for (name, value) in target_parameters(binding) {
        request = request.add_extra_param(name, value);
    }
    if let Some(key) = key {
        request = request.add_extra_param("dpop_jkt", key.thumbprint().to_owned());
    }
    if let Some(nonce) = &nonce {
        request = request.add_extra_param("nonce", nonce.secret().clone());
    }
    // Without it, providers that follow OIDC Core section 11 drop `offline_access` and say nothing.
    if asks_for(OPENID) && asks_for(OFFLINE_ACCESS) {
        request = request.add_extra_param("prompt", "consent");
    }
    let (authorization_url, state) = request.url();
    Ok(Attempt {
        state: state.into_secret().into(),
        nonce: nonce.map(|nonce| nonce.into_secret().into()),
        verifier: verifier.into_secret().into(),
        redirect_uri: redirect_uri.clone(),
        issuer: provider.issuer.clone(),
        iss_parameter_supported: provider.iss_parameter_supported,
        scopes,
        authorization_url,
    })
}

/// Redeems the code of an authorization response, once: a code that was sent is spent, whatever came of it.
pub async fn exchange(
    http: &Http,
    provider: &Provider,
    binding: &Binding,
    authentication: &ClientAuthentication,
    attempt: &Attempt,
    code: SecretString,
    prover: Option<&Prover>,
) -> Result<TokenSet, TokenError> {
    if provider.issuer != attempt.issuer {
        return Err(TokenError::malformed(
            "the code is not for this identity provider",
        ));
    }
    let return_to = RedirectUrl::new(attempt.redirect_uri.as_str().to_owned())
        .map_err(|error| TokenError::malformed(error.to_string()))?;
    let endpoint = TokenEndpoint::new(
        http,
        provider,
        binding,
        authentication,
        prover,
        vec![code.clone(), attempt.verifier.clone()],
    );
    let client = client(binding).set_token_uri(TokenUrl::from_url(endpoint.url.clone()));
    let mut request = client
        .exchange_code(AuthorizationCode::new(code.expose_secret().to_owned()))
        .set_redirect_uri(Cow::Owned(return_to))
        .set_pkce_verifier(PkceCodeVerifier::new(
            attempt.verifier.expose_secret().to_owned(),
        ));
    for (name, value) in token_parameters(binding, &attempt.scopes) {
        request = request.add_extra_param(name, value);
    }
    let answer = request.request_async(&endpoint).await;
    endpoint.finish(answer)
}

/// Refreshes, with the parameters that the code was redeemed with (RFC 6749 section 6), and with the key (RFC 9449 section 5).
///
/// `granted` are the scopes that the provider named last, if it did: one that it did not grant is not asked for again, which would be
/// refused as `invalid_scope`.
pub async fn refresh(
    http: &Http,
    provider: &Provider,
    binding: &Binding,
    authentication: &ClientAuthentication,
    refresh_token: &SecretString,
    granted: Option<&[String]>,
    prover: Option<&Prover>,
) -> Result<TokenSet, TokenError> {
    let scopes = refreshed_scopes(requested_scopes(provider, &binding.scopes), granted);
    let endpoint = TokenEndpoint::new(
        http,
        provider,
        binding,
        authentication,
        prover,
        vec![refresh_token.clone()],
    );
    let client = client(binding).set_token_uri(TokenUrl::from_url(endpoint.url.clone()));
    let token = RefreshToken::new(refresh_token.expose_secret().to_owned());
    let mut request = client.exchange_refresh_token(&token);
    for (name, value) in token_parameters(binding, &scopes) {
        request = request.add_extra_param(name, value);
    }
    let answer = request.request_async(&endpoint).await;
    endpoint.finish(answer)
}

/// Whether a provider knows a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientStanding {
    /// It does: it refused something else than the client.
    Known,
    /// It does not (`invalid_client`): it has forgotten the client, or its secret.
    Unknown,
    /// Nothing was learnt.
    Unclear,
}

/// Asks the token endpoint for tokens with a code that nobody was given: the provider proves the client before it looks at the code
/// (RFC 6749 section 3.2.1). In a browser a forgotten client would be an error page that leads nowhere.
pub(crate) async fn ask_after_client(
    http: &Http,
    provider: &Provider,
    client: &Registration,
    allow_private_ip: bool,
) -> ClientStanding {
    let (_, verifier) = PkceCodeChallenge::new_random_sha256();
    let code = CsrfToken::new_random();
    let url = provider.token_endpoint.clone();
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", code.secret().as_str()),
        ("code_verifier", verifier.secret().as_str()),
    ];
    if let Some(redirect_uri) = client.redirect_uris.first() {
        form.push(("redirect_uri", redirect_uri));
    }
    let request = client
        .authentication
        .post_form(url.clone(), &client.client_id, form)
        .header(
            http::header::ACCEPT,
            http::HeaderValue::from_static("application/json"),
        )
        .policy(provider.policy_for(&url, allow_private_ip))
        .limits(Limits::PROBE);
    let Ok(reply) = http.send(request).await else {
        return ClientStanding::Unclear;
    };
    match judge_failure(&reply, &[]).verdict() {
        Some("invalid_client") => ClientStanding::Unknown,
        Some(_) => ClientStanding::Known,
        None => ClientStanding::Unclear,
    }
}

/// The scopes to ask for: those given, without repeats, and `offline_access`, unless the provider lists its scopes and
/// that is not among them. An OAuth server that is no `OpenID` provider is asked for what it lists alone, where nobody has chosen
/// the scopes.
pub fn requested_scopes(provider: &Provider, given: &[String]) -> Vec<String> {
    let mut scopes: Vec<String> = Vec::new();
    for scope in given.iter().flat_map(|text| text.split_whitespace()) {
        if !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    }
    let offers = |wanted: &str| match &provider.scopes_supported {
        Some(listed) => listed.iter().any(|scope| scope == wanted),
        None => provider.is_openid,
    };
    if !provider.is_openid && *given == DEFAULT_SCOPES {
        scopes.retain(|scope| offers(scope));
    }
    let offered = offers(OFFLINE_ACCESS);
    if offered && !scopes.iter().any(|scope| scope == OFFLINE_ACCESS) {
        scopes.push(OFFLINE_ACCESS.to_owned());
    }
    scopes
}

/// The scopes that are about the login, not about the registry (`OpenID` Connect Core 1.0 sections 5.4 and 11).
const LOGIN_SCOPES: [&str; 6] = [
    OPENID,
    OFFLINE_ACCESS,
    "profile",
    "email",
    "address",
    "phone",
];

/// What was granted beyond what was `asked`. Scopes that are about the login do not count, and nothing does where nothing was asked:
/// then the provider chooses (RFC 6749 section 3.3).
pub fn unrequested_scopes(asked: &[String], granted: &[String]) -> Vec<String> {
    let asked: Vec<&str> = asked
        .iter()
        .flat_map(|text| text.split_whitespace())
        .collect();
    let is_beyond = |scope: &&String| {
        !asked.is_empty()
            && !asked.contains(&scope.as_str())
            && !LOGIN_SCOPES.contains(&scope.as_str())
    };
    granted.iter().filter(is_beyond).cloned().collect()
}

/// Those of the asked scopes that may be asked again. Providers name the scopes of the access token only, so that those
/// that are not for it stay.
fn refreshed_scopes(asked: Vec<String>, granted: Option<&[String]>) -> Vec<String> {
    let Some(granted) = granted else {
        return asked;
    };
    asked
        .into_iter()
        .filter(|scope| granted.contains(scope) || LOGIN_SCOPES.contains(&scope.as_str()))
        .collect()
}

/// For whom the tokens are to be: the same in every request, and only what is configured.
pub(in crate::oauth) fn target_parameters(binding: &Binding) -> Vec<(&'static str, String)> {
    let named = |name, value: &Option<String>| value.clone().map(|value| (name, value));
    [
        named("resource", &binding.resource),
        named("audience", &binding.audience),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What code redemption and refresh add to their own parameters.
fn token_parameters(binding: &Binding, scopes: &[String]) -> Vec<(&'static str, String)> {
    let mut parameters = target_parameters(binding);
    if !scopes.is_empty() {
        parameters.push(("scope", scopes.join(" ")));
    }
    parameters
}
