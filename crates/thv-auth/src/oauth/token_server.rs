//! An authorization server as a client needs it that nobody logs in with: the token endpoint and what proves a client there.
//!
//! The documents are those of `metadata` (RFC 8414, OIDC Discovery) and so are the rules for them, but for what only logins need: there may be
//! no authorization endpoint and nothing about PKCE.

use std::time::Duration;

use jiff::Timestamp;
use thv_http::{Http, Policy, Reply};
use url::Url;

use crate::oauth::answer::server_date;
use crate::oauth::error::{DiscoveryError, MetadataFault};
use crate::oauth::issuer::parse_endpoint;
use crate::oauth::metadata::{DiscoveryPolicy, document_of, endpoint_policy, look_for};

/// A token endpoint and who is behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenServer {
    /// The issuer in its document's spelling: the audience of assertions (RFC 7523 section 3).
    pub(crate) issuer: String,
    /// Where tokens are asked for.
    pub(crate) token_endpoint: Url,
    /// The ways of client authentication that the document lists, if it does.
    pub(crate) authentication_methods: Option<Vec<String>>,
    /// The server's clock when it answered.
    pub(crate) server_date: Option<Timestamp>,
}

impl TokenServer {
    /// The rules for a request to the token endpoint, as for a login's.
    pub(crate) fn policy(&self, allow_private_ip: bool) -> Policy {
        endpoint_policy(&self.issuer, &self.token_endpoint, allow_private_ip)
    }
}

/// Finds the server that is the issuer, in the time `total`.
pub(crate) async fn discover_token_server(
    http: &Http,
    issuer: &str,
    total: Duration,
) -> Result<TokenServer, DiscoveryError> {
    let policy = DiscoveryPolicy {
        total,
        ..DiscoveryPolicy::DEFAULT
    };
    look_for(http, issuer, policy, |reply, candidate| {
        read(reply, issuer, &candidate.url)
    })
    .await
}

/// What the document that was found at `url` says of the issuer `configured`.
pub(crate) fn read(
    reply: &Reply,
    configured: &str,
    url: &Url,
) -> Result<TokenServer, MetadataFault> {
    let (members, issuer) = document_of(reply, configured)?;
    let member = "token_endpoint";
    let named = members
        .text(member)
        .map_err(|fault| MetadataFault::Document {
            cause: fault.to_string(),
        })?
        .ok_or(MetadataFault::Missing { member })?;
    let token_endpoint =
        parse_endpoint(&named, url).map_err(|cause| MetadataFault::Endpoint { member, cause })?;
    Ok(TokenServer {
        issuer,
        token_endpoint,
        authentication_methods: members
            .texts("token_endpoint_auth_methods_supported")
            .ok()
            .flatten(),
        server_date: server_date(reply),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ISSUER: &str = "https://login.example.com";

    fn read_changed(member: &str, value: &Value) -> Result<TokenServer, MetadataFault> {
        let mut document = json!({
            "issuer": ISSUER,
            "token_endpoint": "https://api.example.net/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        });
        document[member] = value.clone();
        let url = Url::parse(ISSUER).expect("url");
        let reply = Reply {
            status: http::StatusCode::OK,
            headers: http::HeaderMap::from_iter([(
                http::header::CONTENT_TYPE,
                http::HeaderValue::from_static("application/json"),
            )]),
            body: document.to_string().into(),
            url: url.clone(),
        };
        read(&reply, ISSUER, &url)
    }

    #[test]
    fn a_server_that_nobody_logs_in_at_is_read() {
        let server = read_changed("x", &json!(1)).expect("a server");
        assert_eq!(server.issuer, ISSUER);
        assert_eq!(
            server.token_endpoint.as_str(),
            "https://api.example.net/token"
        );
        let methods = server.authentication_methods.expect("methods");
        assert_eq!(methods, ["client_secret_post"]);
        assert!(read_changed("issuer", &json!("https://login.example.com/")).is_ok());
        let odd = read_changed("token_endpoint_auth_methods_supported", &json!("x"));
        assert_eq!(odd.expect("a server").authentication_methods, None);
    }

    #[test]
    fn case_1_and_9_a_foreign_document_and_an_odd_endpoint_are_refused() {
        for (member, value) in [
            ("issuer", json!("https://login.example.org")),
            ("issuer", json!("https://LOGIN.example.com")),
            ("issuer", json!("https://login.example.com:443")),
            ("issuer", Value::Null),
            ("issuer", json!(["https://login.example.com"])),
            ("token_endpoint", Value::Null),
            ("token_endpoint", json!("http://api.example.net/token")),
            ("token_endpoint", json!("http://127.0.0.1/token")),
            ("token_endpoint", json!("https://me@api.example.net/token")),
            ("token_endpoint", json!("https://api.example.net/token#x")),
            ("token_endpoint", json!("javascript:alert(1)")),
            ("token_endpoint", json!("/token")),
        ] {
            assert!(read_changed(member, &value).is_err(), "{member} {value}");
        }
    }
}
