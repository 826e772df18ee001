//! The token check of callers, when the server was started with OIDC options: how a refusal is
//! written. What makes a token good is decided in `thv_auth::inbound`.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use thv_auth::inbound::{CallerVerifier, Denied};

#[derive(Serialize)]
struct Refusal<'a> {
    error: &'a str,
    error_description: &'a str,
}

/// Lets the request pass or gives the 401 to send instead, with the challenge of RFC 6750
/// section 3.
pub(crate) async fn check(verifier: &CallerVerifier, headers: &HeaderMap) -> Result<(), Response> {
    match verifier.verify(headers.get(header::AUTHORIZATION)).await {
        Ok(()) => Ok(()),
        Err(denied) => Err(refuse(&denied, verifier.realm())),
    }
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

    use super::*;

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
