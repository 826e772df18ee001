//! A successful answer of a token endpoint.

#![no_main]

use http::StatusCode;
use libfuzzer_sys::fuzz_target;
use secrecy::ExposeSecret;
use thv_auth::foreign::token_answer;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tokens) = token_answer(StatusCode::OK, None, bytes, "canary-refresh-token") else {
        return;
    };
    let token = [
        Some(&tokens.access_token),
        tokens.refresh_token.as_ref(),
        tokens.id_token.as_ref(),
    ];
    for token in token.into_iter().flatten() {
        let token = token.expose_secret();
        assert!(!token.is_empty() && token.len() <= 64 * 1024);
        assert!(token.bytes().all(|byte| byte.is_ascii_graphic()));
        // Shorter texts may be names of ours, and scopes are shown.
        let is_shown = tokens
            .scopes
            .iter()
            .flatten()
            .any(|scope| scope.contains(token));
        if token.len() >= 32 && !is_shown {
            assert!(!format!("{tokens:?}").contains(token), "a token is printed");
        }
    }
    assert!(tokens.expires_in.is_none_or(|lifetime| !lifetime.is_zero()));
    for scope in tokens.scopes.iter().flatten() {
        assert!(!scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic()));
    }
});
