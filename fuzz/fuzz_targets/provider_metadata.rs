//! The document of an issuer: what a login takes from it, and that the examination fails where the login would.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thv_auth::doctor::Outcome;
use thv_auth::foreign::provider_metadata;

const ISSUER: &str = "https://id.example";

fuzz_target!(|bytes: &[u8]| {
    for is_openid in [true, false] {
        let read = provider_metadata(ISSUER, is_openid, bytes);
        let (provider, checks) = read.expect("the issuer is one");
        let has_failed = checks.iter().any(|check| check.outcome == Outcome::Failed);
        assert_eq!(provider.is_err(), has_failed, "{provider:?} {checks:?}");
        for check in &checks {
            assert!(!check.evidence.contains(char::is_control), "{check:?}");
        }
        let Ok(provider) = provider else { continue };
        assert!(provider.issuer == ISSUER || provider.issuer == "https://id.example/");
        let endpoints = [
            Some(&provider.authorization_endpoint),
            Some(&provider.token_endpoint),
            provider.jwks_uri.as_ref(),
            provider.device_authorization_endpoint.as_ref(),
            provider.revocation_endpoint.as_ref(),
            provider.end_session_endpoint.as_ref(),
            provider.registration_endpoint.as_ref(),
        ];
        for endpoint in endpoints.into_iter().flatten() {
            assert_eq!(endpoint.scheme(), "https");
            assert!(endpoint.username().is_empty() && endpoint.password().is_none());
            assert!(endpoint.fragment().is_none());
        }
    }
});
