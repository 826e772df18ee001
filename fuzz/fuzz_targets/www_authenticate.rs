//! A `WWW-Authenticate` field, alone and among others.

#![no_main]

use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use libfuzzer_sys::fuzz_target;
use thv_auth::oauth::challenge::{BearerChallenge, parse_challenges};

fuzz_target!(|bytes: &[u8]| {
    let challenges = parse_challenges(bytes);
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let fields = [value, HeaderValue::from_static("Bearer scope=\"a b\"")];
    let headers: HeaderMap = fields
        .map(|value| (WWW_AUTHENTICATE, value))
        .into_iter()
        .collect();
    let said = BearerChallenge::of(&headers).expect("the second field is a challenge");
    assert!(said.resource_metadata.len() <= 4);
    let scopes = said.scope.expect("the second field has scopes");
    assert!((1..=32).contains(&scopes.len()));
    assert!(
        scopes
            .iter()
            .all(|scope| !scope.contains(|c: char| !c.is_ascii_graphic()))
    );
    if challenges.is_err() {
        assert_eq!(
            scopes,
            ["a", "b"],
            "a field that cannot be read says nothing"
        );
    }
});
