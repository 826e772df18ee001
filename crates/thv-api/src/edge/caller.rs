//! The token check of callers, when the server was started with OIDC options or with a token of its own: how a refusal is
//! written. What makes a token of an issuer good is decided in `thv_auth::inbound`.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use thv_auth::inbound::{CallerVerifier, Denied, bearer_token};

use crate::discovery::CallerToken;

/// The realm of the server's own token (RFC 9110 section 11.5).
const OWN_REALM: &str = "thv";

/// What callers have to show.
#[derive(Clone, Debug)]
pub enum Callers {
    /// A token of an identity provider.
    OfIssuer(Arc<CallerVerifier>),
    /// The token of the discovery record, so that only those are let in who may read that.
    WithToken(CallerToken),
}

#[derive(Serialize)]
struct Refusal<'a> {
    error: &'a str,
    error_description: &'a str,
}

/// Lets the request pass or gives the 401 to send instead, with the challenge of RFC 6750
/// section 3.
pub(crate) async fn check(callers: &Callers, headers: &HeaderMap) -> Result<(), Response> {
    let shown = headers.get(header::AUTHORIZATION);
    match callers {
        Callers::OfIssuer(verifier) => verifier
            .verify(shown)
            .await
            .map_err(|denied| refuse(&denied, verifier.realm())),
        Callers::WithToken(token) => {
            is_shown(token, shown).map_err(|denied| refuse(&denied, OWN_REALM))
        }
    }
}

fn is_shown(token: &CallerToken, header: Option<&HeaderValue>) -> Result<(), Denied> {
    let shown = bearer_token(header).map_err(|fault| Denied {
        code: "invalid_request",
        description: format!("{fault}; the token is in the server's discovery record"),
    })?;
    if token.is(shown) {
        return Ok(());
    }
    Err(Denied {
        code: "invalid_token",
        description: "Invalid token: it is not the one of the server's discovery record".to_owned(),
    })
}

fn refuse(denied: &Denied, realm: &str) -> Response {
    let mut body = crate::wire::json::line(&Refusal {
        error: denied.code,
        error_description: &denied.description,
    });
    body.pop();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(crate::wire::json::MEDIA_TYPE),
    );
    let challenge = format!(
        "Bearer realm=\"{}\", error=\"{}\", error_description=\"{}\"",
        quotable(realm),
        quotable(denied.code),
        quotable(&denied.description)
    );
    headers.insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_str(&challenge).unwrap_or(HeaderValue::from_static("Bearer")),
    );
    response
}

/// Text fit for a quoted string of a challenge (RFC 9110 section 5.6.4): what would need
/// escaping, or is not ASCII, becomes an apostrophe.
fn quotable(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '"' | '\\' => '\'',
            ' '..='~' => character,
            _ => '\'',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use secrecy::ExposeSecret as _;

    use super::*;

    #[tokio::test]
    async fn case_67_only_the_token_of_the_record_lets_a_caller_in() {
        let token = CallerToken::random().unwrap();
        let text = token.secret().expose_secret().to_owned();
        let callers = Callers::WithToken(token);
        let other = text.replace(|digit: char| digit == text.chars().next().unwrap(), "x");
        for (shown, code) in [
            (None, Some("invalid_request")),
            (Some(String::new()), Some("invalid_request")),
            (Some(format!("Basic {text}")), Some("invalid_request")),
            (Some("Bearer ".to_owned()), Some("invalid_request")),
            (Some(format!("Bearer {other}")), Some("invalid_token")),
            (Some(format!("Bearer {text}0")), Some("invalid_token")),
            (Some(format!("Bearer {text}")), None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(shown) = &shown {
                headers.insert(header::AUTHORIZATION, shown.parse().unwrap());
            }
            let refused = check(&callers, &headers).await.err();
            assert_eq!(refused.is_some(), code.is_some(), "{shown:?}");
            if let Some(refused) = refused {
                assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
                let challenge = refused.headers()[header::WWW_AUTHENTICATE]
                    .to_str()
                    .unwrap();
                assert!(challenge.contains(code.unwrap()), "{challenge}");
                assert!(!challenge.contains(&text), "{challenge}");
            }
        }
    }

    #[tokio::test]
    async fn a_refusal_carries_the_challenge_and_has_no_line_feed() {
        let denied = Denied {
            code: "invalid_token",
            description: "Invalid token: kid \"a\"\n unknown".to_owned(),
        };
        let response = refuse(&denied, "https://idp.test");
        assert_eq!(
            response.headers()[header::WWW_AUTHENTICATE],
            "Bearer realm=\"https://idp.test\", error=\"invalid_token\", error_description=\"Invalid token: kid 'a'' unknown\""
        );
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(body.ends_with(b"unknown\"}"));
    }
}
