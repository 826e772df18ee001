//! An answer of a token endpoint that is none of success: a byte for the status, a line for `Retry-After`, and the body.

#![no_main]

use http::{HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;
use thv_auth::foreign::token_answer;
use thv_auth::oauth::TokenError;

const STATUSES: [StatusCode; 10] = [
    StatusCode::NO_CONTENT,
    StatusCode::FOUND,
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// What was sent.
const SECRET: &str = "canary-refresh-token";

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let status = STATUSES[usize::from(*first) % STATUSES.len()];
    let (line, body) = match rest.iter().position(|byte| *byte == b'\n') {
        Some(end) => rest.split_at(end),
        None => (&[] as &[u8], rest),
    };
    let answered = token_answer(status, HeaderValue::from_bytes(line).ok(), body, SECRET);
    let error = answered.expect_err("it is no success");
    assert!(!error.to_string().contains(SECRET), "{error}");
    match error {
        TokenError::Verdict { error, description } => {
            assert!(status.is_client_error(), "{status}");
            assert!(
                error.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                "{error:?}"
            );
            let description = description.unwrap_or_default();
            assert!(!description.contains(char::is_control), "{description:?}");
            assert!(description.chars().count() <= 300, "{description:?}");
        }
        TokenError::Transient {
            unsent,
            retry_after,
            ..
        } => {
            assert!(!unsent);
            assert!(
                retry_after.is_none_or(|wait| wait.as_secs() <= 3600),
                "{retry_after:?}"
            );
        }
        TokenError::Malformed { .. } => {}
    }
});
