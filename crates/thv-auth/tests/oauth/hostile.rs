//! Token endpoints that answer with something else than tokens, or with tokens that must not be used.

use thv_auth::oauth::{Provider, TokenError};

use crate::provider::{Answer, Fake};
use crate::token::{CODE, REFRESH, redeem, refreshed};

/// How an answer is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Verdict,
    Transient,
    Malformed,
}

/// Redeems a code and refreshes against `answer`: both are taken alike, with one request each, and repeat no secret.
async fn meet(fake: &Fake, provider: &Provider, what: &str, answer: Answer, taken: Taken) {
    fake.set("/token", answer);
    let before = fake.seen().len();
    for result in [
        redeem(fake, provider).await,
        refreshed(fake, provider).await,
    ] {
        let error = result.expect_err(what);
        let got = match &error {
            TokenError::Verdict { .. } => Taken::Verdict,
            TokenError::Transient { unsent, .. } => {
                assert!(!unsent, "{what}");
                Taken::Transient
            }
            TokenError::Malformed { .. } => Taken::Malformed,
        };
        assert_eq!(got, taken, "{what}: {error}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("s3cr"), "{what}: {shown}");
    }
    assert_eq!(fake.seen().len(), before + 2, "{what}: one request each");
    assert!(fake.paths().iter().all(|path| path == "/token"), "{what}");
}

fn json(status: u16, body: impl Into<Vec<u8>>) -> Answer {
    Answer::text(status, "application/json", body)
}

/// An honest answer with more members.
fn tokens_and(members: &str) -> Answer {
    json(
        200,
        format!("{{\"access_token\":\"s3cret-a\",\"token_type\":\"Bearer\"{members}}}"),
    )
}

#[tokio::test]
async fn an_oauth_error_is_a_verdict() {
    let (fake, provider) = Fake::discovered().await;
    let echo = format!(r#"{{"error":"invalid_grant","error_description":"{REFRESH} and {CODE}"}}"#);
    for (what, answer) in [
        ("with 400", json(400, r#"{"error":"invalid_grant"}"#)),
        ("with 401", json(401, r#"{"error":"invalid_client"}"#)),
        ("with 403", json(403, r#"{"error":"invalid_grant"}"#)),
        ("an echo of the secrets", json(400, echo)),
    ] {
        meet(&fake, &provider, what, answer, Taken::Verdict).await;
    }
}

#[tokio::test]
async fn what_no_oauth_server_says_is_no_verdict() {
    let (fake, provider) = Fake::discovered().await;
    let html = |status| Answer::text(status, "text/html", "<html>x</html>");
    let other = format!("{}/other", fake.base);
    let huge = format!("{{\"access_token\":\"{}\"}}", "a".repeat(20 << 20));
    for (what, answer) in [
        ("HTML with 200", html(200)),
        ("HTML with 400", html(400)),
        ("HTML called JSON", json(200, "<html>")),
        ("an empty 200", json(200, "")),
        ("nothing at all", json(204, "")),
        ("half an answer", json(200, r#"{"access_token":"a""#)),
        ("garbage", json(200, "\u{0}\u{1}\u{2}")),
        (
            "no UTF-8",
            json(200, b"{\"access_token\":\"\xff\"}".as_slice()),
        ),
        ("500", json(500, r#"{"error":"invalid_grant"}"#)),
        ("429", json(429, r#"{"error":"invalid_grant"}"#)),
        ("a framework", json(404, r#"{"error":"Not Found"}"#)),
        (
            "trouble",
            json(400, r#"{"error":"temporarily_unavailable"}"#),
        ),
        ("20 MB", json(200, huge)),
        ("a redirect", Answer::redirect(307, other.clone())),
        ("a redirect to GET", Answer::redirect(302, other)),
    ] {
        meet(&fake, &provider, what, answer, Taken::Transient).await;
    }
}

#[tokio::test]
async fn tokens_that_are_not_clean_are_not_used() {
    let (fake, provider) = Fake::discovered().await;
    let access_token = |token: &str| {
        json(
            200,
            format!(r#"{{"access_token":{token},"token_type":"Bearer"}}"#),
        )
    };
    let long = format!("\"{}\"", "a".repeat(100_000));
    for (what, answer) in [
        (
            "an error with 200",
            json(200, r#"{"error":"invalid_grant"}"#),
        ),
        ("tokens and an error", tokens_and(r#","error":"x""#)),
        ("an array", json(200, "[]")),
        ("no token", json(200, "{}")),
        ("a long token", access_token(&long)),
        ("an empty token", access_token("\"\"")),
        ("a list of tokens", access_token(r#"["s3cret"]"#)),
        ("a number", access_token("7")),
        ("a line break", access_token(r#""s3cret\r\nX: 1""#)),
        ("non-ASCII", access_token("\"s3crét\"")),
        ("two tokens", tokens_and(r#","access_token":"b""#)),
        ("two types", tokens_and(r#","token_type":"mac""#)),
        ("two unknown members", tokens_and(r#","x":1,"x":2"#)),
        (
            "another type",
            json(200, r#"{"access_token":"s3cret","token_type":"DPoP"}"#),
        ),
        (
            "a bad refresh token",
            tokens_and(r#","refresh_token":"s3cret\n""#),
        ),
        ("a bad scope", tokens_and(r#","scope":"s3cret\u0007""#)),
    ] {
        meet(&fake, &provider, what, answer, Taken::Malformed).await;
    }
}
