//! Answers of a provider's endpoints: a verdict, no answer at all, or something to read.
//!
//! Only a JSON `error` is a verdict (RFC 6749 section 5.2). Pages of proxies, empty bodies and servers in trouble say nothing about
//! the token that was sent. Pure decisions over one [`Reply`]; the members of a success are read in `token`.

use std::time::Duration;

use http::HeaderMap;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;
use thv_http::Reply;

use crate::oauth::error::TokenError;
use crate::oauth::json::Members;

/// Longest `error` code believed to be one.
const ERROR_CODE_MAX: usize = 128;

/// Longest explanation of the provider that is shown, in characters.
const DESCRIPTION_MAX: usize = 300;

/// Longest wait that a server can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// A secret shorter than this is not looked for in a provider's explanation: it would be found by chance.
const SECRET_MIN: usize = 6;

/// Codes that ask for patience and are no verdict on what was sent.
const PATIENCE: &[&str] = &[
    "server_error",
    "temporarily_unavailable",
    "slow_down",
    "authorization_pending",
];

/// Judges whatever is not a JSON answer with status 200. `secrets` are those that were sent; an explanation that
/// repeats one is dropped.
pub(crate) fn judge_failure(reply: &Reply, secrets: &[&str]) -> TokenError {
    let status = reply.status;
    let retry_after = retry_after(reply);
    let transient = |cause: String| TokenError::Transient {
        cause,
        unsent: false,
        retry_after,
    };
    if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) {
        return transient(format!("the identity provider answered {status}"));
    }
    let no_answer = || {
        transient(format!(
            "the identity provider answered {status} and nothing that an OAuth server says"
        ))
    };
    if !status.is_client_error() {
        return no_answer();
    }
    let Ok(members) = Members::parse(&reply.body) else {
        return no_answer();
    };
    let Some(error) = members.text("error").ok().flatten() else {
        return no_answer();
    };
    if !is_error_code(&error) || repeats_a_secret(&error, secrets) {
        return no_answer();
    }
    if PATIENCE.contains(&error.as_str()) {
        return transient(format!("the identity provider answered `{error}`"));
    }
    let description = members
        .text("error_description")
        .ok()
        .flatten()
        .filter(|text| !repeats_a_secret(text, secrets))
        .and_then(|text| shown(&text, DESCRIPTION_MAX));
    TokenError::Verdict { error, description }
}

/// Whether an answer with status 200 is JSON to its end, by what it says and by what it is.
pub(crate) fn check_success(reply: &Reply) -> Result<(), TokenError> {
    let named_json = reply.is_json() || !reply.headers.contains_key(http::header::CONTENT_TYPE);
    let is_json = named_json && serde_json::from_slice::<&RawValue>(&reply.body).is_ok();
    if is_json {
        Ok(())
    } else {
        Err(TokenError::transient(
            "the identity provider answered 200 and nothing that an OAuth server says",
        ))
    }
}

/// The server's clock, from its `Date` header (RFC 9110 section 6.6.1).
pub(crate) fn server_date(reply: &Reply) -> Option<Timestamp> {
    date_in(&reply.headers)
}

/// The clock of whoever answered. An answer out of a cache shows when it was made, and its `Age` how long ago that was (RFC 9111 section
/// 5.1).
pub(crate) fn date_in(headers: &HeaderMap) -> Option<Timestamp> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let date = text(http::header::DATE)?;
    let date = DateTimeParser::new().parse_timestamp(date).ok()?;
    match text(http::header::AGE) {
        None => Some(date),
        Some(age) => date
            .checked_add(SignedDuration::from_secs(age.parse::<u32>().ok()?.into()))
            .ok(),
    }
}

/// How long the server asks us to wait (RFC 9110 section 10.2.3). A date is read against the server's own clock.
fn retry_after(reply: &Reply) -> Option<Duration> {
    let text = reply
        .headers
        .get(http::header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs)
    } else {
        let until = DateTimeParser::new().parse_timestamp(text).ok()?;
        Duration::try_from(until.duration_since(server_date(reply)?)).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// Text from a stranger, fit to be shown on one line; `None` when nothing is left.
pub(crate) fn shown(text: &str, max: usize) -> Option<String> {
    let clean: String = text
        .chars()
        .filter(|c| !c.is_control() && !is_direction_mark(*c))
        .take(max)
        .collect();
    let clean = clean.trim();
    (!clean.is_empty()).then(|| clean.to_owned())
}

/// Marks that turn the direction of the text around them (Unicode TR 9), with which a shown line could lie.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn is_error_code(text: &str) -> bool {
    (1..=ERROR_CODE_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.:/#".contains(&byte))
}

fn repeats_a_secret(text: &str, secrets: &[&str]) -> bool {
    secrets
        .iter()
        .filter(|secret| secret.len() >= SECRET_MIN)
        .any(|secret| {
            let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            text.contains(*secret) || text.contains(&encoded)
        })
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;

    use super::*;

    fn reply(status: u16, content_type: &str, body: &[u8]) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert(
            http::header::CONTENT_TYPE,
            content_type.parse().expect("header"),
        );
        Reply {
            status: StatusCode::from_u16(status).expect("status"),
            headers,
            body: body.to_vec().into(),
            url: url::Url::parse("https://id.example/token").expect("url"),
        }
    }

    fn judge(status: u16, content_type: &str, body: &str) -> TokenError {
        judge_failure(
            &reply(status, content_type, body.as_bytes()),
            &["refresh-1", "code/2+x"],
        )
    }

    #[test]
    fn only_a_json_error_is_a_verdict() {
        for (status, content_type, body) in [
            (400, "application/json", r#"{"error":"invalid_grant"}"#),
            (401, "application/json", r#"{"error":"invalid_client"}"#),
            (403, "application/json", r#"{"error":"invalid_grant"}"#),
            (400, "text/plain", r#"{"error":"invalid_grant"}"#),
        ] {
            assert!(
                judge(status, content_type, body).verdict().is_some(),
                "{status} {body}"
            );
        }
        for (status, content_type, body) in [
            (400, "text/html", "<html>Bad request</html>"),
            (400, "application/json", ""),
            (400, "application/json", "{}"),
            (400, "application/json", "[\"invalid_grant\"]"),
            (400, "application/json", r#"{"error":null}"#),
            (400, "application/json", r#"{"error":{"code":1}}"#),
            (400, "application/json", r#"{"error":""}"#),
            (400, "application/json", r#"{"error":"a","error":"b"}"#),
            (400, "application/json", r#"{"error":"Bad Request"}"#),
            (
                400,
                "application/json",
                r#"{"error":"temporarily_unavailable"}"#,
            ),
            (
                404,
                "application/json",
                r#"{"status":404,"error":"Not Found"}"#,
            ),
            (429, "application/json", r#"{"error":"invalid_grant"}"#),
            (500, "application/json", r#"{"error":"invalid_grant"}"#),
            (503, "text/html", "<html>"),
            (204, "application/json", r#"{"error":"invalid_grant"}"#),
            (304, "application/json", r#"{"error":"invalid_grant"}"#),
        ] {
            let judged = judge(status, content_type, body);
            assert!(
                matches!(judged, TokenError::Transient { unsent: false, .. }),
                "{status} {body}: {judged:?}"
            );
        }
    }

    #[test]
    fn explanations_are_cleaned_and_never_repeat_what_was_sent() {
        let described = |text: &str| {
            let body = serde_json::json!({"error": "invalid_grant", "error_description": text});
            match judge(400, "application/json", &body.to_string()) {
                TokenError::Verdict { description, .. } => description,
                other => panic!("{other}"),
            }
        };
        assert_eq!(described("expired"), Some("expired".to_owned()));
        assert_eq!(
            described("two\r\nlines\u{202e}"),
            Some("twolines".to_owned())
        );
        assert_eq!(described(" \u{7}"), None);
        assert_eq!(described("token refresh-1 was used"), None);
        assert_eq!(described("code%2F2%2Bx is unknown"), None);
        assert_eq!(
            described(&"x".repeat(1000)).map(|text| text.len()),
            Some(300)
        );
        assert!(
            judge(400, "application/json", r#"{"error":"refresh-1"}"#)
                .verdict()
                .is_none()
        );
    }

    #[test]
    fn a_success_is_json_by_name_and_by_nature() {
        assert!(check_success(&reply(200, "application/json; charset=utf-8", b"{}")).is_ok());
        assert!(check_success(&reply(200, "application/json", b"{\"a\":\"\xff\"}")).is_err());
        for (content_type, body) in [
            ("text/html", "{}"),
            ("application/json", "<html>"),
            ("application/json", ""),
            ("application/json", "{} trailing"),
        ] {
            assert!(
                matches!(
                    check_success(&reply(200, content_type, body.as_bytes())),
                    Err(TokenError::Transient { .. })
                ),
                "{content_type} {body}"
            );
        }
    }

    #[test]
    fn the_servers_clock_is_read() {
        let mut answer = reply(200, "application/json", b"{}");
        assert_eq!(server_date(&answer), None);
        answer.headers.insert(
            http::header::DATE,
            "Mon, 23 Nov 2026 12:00:30 GMT".parse().expect("header"),
        );
        assert_eq!(
            server_date(&answer),
            Some("2026-11-23T12:00:30Z".parse().expect("timestamp"))
        );
        let age = "90".parse().expect("header");
        answer.headers.insert(http::header::AGE, age);
        assert_eq!(
            server_date(&answer),
            Some("2026-11-23T12:02:00Z".parse().expect("timestamp"))
        );
        answer
            .headers
            .insert(http::header::AGE, "-1".parse().expect("header"));
        assert_eq!(server_date(&answer), None);
        answer.headers.remove(http::header::AGE);
        answer
            .headers
            .insert(http::header::DATE, "yesterday".parse().expect("header"));
        assert_eq!(server_date(&answer), None);
    }

    #[test]
    fn the_wait_a_server_asks_for_is_known_and_bounded() {
        for (text, date, seconds) in [
            ("7", None, Some(7)),
            ("99999999999999999999", None, Some(3600)),
            ("Mon, 23 Nov 2026 12:00:30 GMT", None, None),
            (
                "Mon, 23 Nov 2026 12:00:30 GMT",
                Some("Mon, 23 Nov 2026 12:00:00 GMT"),
                Some(30),
            ),
            ("soon", None, None),
        ] {
            let mut answer = reply(503, "text/plain", b"");
            let headers = &mut answer.headers;
            headers.insert(http::header::RETRY_AFTER, text.parse().expect("header"));
            if let Some(date) = date {
                headers.insert(http::header::DATE, date.parse().expect("header"));
            }
            let TokenError::Transient { retry_after, .. } = judge_failure(&answer, &[]) else {
                panic!("503 is no verdict");
            };
            assert_eq!(retry_after, seconds.map(Duration::from_secs), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(body in proptest::collection::vec(any::<u8>(), 0..300), status in 100_u16..600) {
            let answer = reply(status, "application/json", &body);
            let _ = judge_failure(&answer, &["secret"]);
            let _ = check_success(&answer);
        }
    }
}
