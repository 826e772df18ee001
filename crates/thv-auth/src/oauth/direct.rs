//! A request to the token endpoint that no login came before: client credentials (RFC 6749 section 4.4), token exchange (RFC 8693), and
//! assertions as grants (RFC 7523).
//!
//! One form, one answer, judged as every answer of a token endpoint. Where the assertions and secrets come from is not known here.

use http::header::{ACCEPT, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use thv_http::{Http, Limits, Policy, Request};
use url::{Url, form_urlencoded};

use crate::oauth::answer::{check_success, judge_failure, server_date};
use crate::oauth::error::TokenError;
use crate::oauth::json::Members;
use crate::oauth::token::TokenSet;

/// One request.
#[derive(Debug)]
pub(crate) struct DirectRequest {
    /// The token endpoint.
    pub(crate) endpoint: Url,
    /// What may be contacted.
    pub(crate) policy: Policy,
    /// The parameters that anybody may see.
    pub(crate) parameters: Vec<(&'static str, String)>,
    /// The parameters that nobody may.
    pub(crate) secrets: Vec<(&'static str, SecretString)>,
    /// Client identifier and secret, where they go by HTTP Basic.
    pub(crate) basic: Option<(String, SecretString)>,
}

/// What asking for a token may cost, as for a login's token.
const LIMITS: Limits = crate::oauth::client::TOKEN_LIMITS;

impl DirectRequest {
    /// Asks once.
    pub(crate) async fn send(&self, http: &Http) -> Result<TokenSet, TokenError> {
        let plain = self
            .parameters
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        let secret = self
            .secrets
            .iter()
            .map(|(name, value)| (*name, value.expose_secret()));
        let mut request = Request::post_form(self.endpoint.clone(), plain.chain(secret))
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .policy(self.policy)
            .limits(LIMITS);
        if let Some((id, secret)) = &self.basic {
            // RFC 6749 section 2.3.1: both are form-encoded before they are joined.
            request = request.basic(encoded(id), encoded(secret.expose_secret()).into());
        }
        let reply = http.send(request).await?;
        if reply.status != http::StatusCode::OK {
            let sent: Vec<&str> = self
                .secrets
                .iter()
                .map(|(_, secret)| secret.expose_secret())
                .chain(self.basic.iter().map(|(_, secret)| secret.expose_secret()))
                .collect();
            return Err(judge_failure(&reply, &sent));
        }
        check_success(&reply)?;
        let members = Members::parse(&reply.body)
            .map_err(|fault| TokenError::malformed(fault.to_string()))?;
        let mut tokens = TokenSet::read(&members).map_err(TokenError::malformed)?;
        tokens.server_date = server_date(&reply);
        Ok(tokens)
    }
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
