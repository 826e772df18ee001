//! What makes a token good, as pure decisions: the `Authorization` header, a JWT's header, signature and claims.

use http::HeaderValue;
use jiff::Timestamp;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::jwks::{KeySet, is_accepted};

/// Tokens are accepted this many seconds before their `nbf`: the issuer's clock may run ahead of ours. `exp` gets no such leave.
const NOT_BEFORE_LEEWAY: f64 = 30.0;

/// Longest token looked at, in bytes. Larger ones do not fit into what servers accept as a header either.
const TOKEN_MAX: usize = 64 * 1024;

/// Why a header holds no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// There is no header.
    #[error("authorization header required")]
    Missing,
    /// It is of another scheme, or no text.
    #[error("invalid authorization header format, expected 'Bearer <token>'")]
    Format,
    /// The scheme stands alone.
    #[error("empty token in authorization header")]
    Empty,
}

/// Why a token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenFault {
    #[error("the token is no JWT and there is no introspection endpoint to ask about it")]
    NoJwt,
    #[error("the token's header cannot be read or names an unknown algorithm")]
    BadHeader,
    #[error("the token is signed with {0:?}; only RSA and ECDSA are accepted")]
    Algorithm(Algorithm),
    #[error("the token names no key (`kid`)")]
    NoKeyId,
    #[error("the issuer has no key {kid:?} for this algorithm")]
    UnknownKey { kid: String },
    #[error("the token's signature is not valid")]
    Signature,
    #[error("the token's claims cannot be read")]
    BadClaims,
    #[error("the token has no expiry (`exp`)")]
    NoExpiry,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet (`nbf`)")]
    NotYetValid,
    #[error("the token was issued by somebody else (`iss`)")]
    Issuer,
    #[error("the token is meant for somebody else (`aud`)")]
    Audience,
    #[error("the introspection endpoint calls the token inactive")]
    Inactive,
    #[error("the issuer cannot be asked: {cause}")]
    Unavailable { cause: String },
}

/// What a token's claims are held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    pub(super) issuer: Option<&'a str>,
    pub(super) audience: Option<&'a str>,
}

/// Which claims must be there at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A JWT speaks for itself: `exp`, and `iss` when an issuer is expected, are required.
    Jwt,
    /// An introspection endpoint vouches for what it calls active; RFC 7662 section 2.2 lets it leave both out.
    Introspection,
}

/// The id of the key and the algorithm that a JWT's header names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SignedBy {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
}

/// The token in an `Authorization` header (RFC 6750 section 2.1). The scheme is compared with its case.
pub fn bearer_token(header: Option<&HeaderValue>) -> Result<&str, HeaderFault> {
    let text = header
        .ok_or(HeaderFault::Missing)?
        .to_str()
        .map_err(|_| HeaderFault::Format)?;
    if text.is_empty() {
        return Err(HeaderFault::Missing);
    }
    let token = text
        .strip_prefix("Bearer ")
        .ok_or(HeaderFault::Format)?
        .trim();
    if token.is_empty() {
        Err(HeaderFault::Empty)
    } else {
        Ok(token)
    }
}

/// Whether the token has the form of a signed JWT: three parts, the first an encoded JSON object. Other tokens mean
/// nothing to us and something to their issuer.
pub(super) fn looks_like_jwt(token: &str) -> bool {
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(_signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    // `{"` and `{ ` both start with these two letters in base64.
    header.starts_with("ey") && !claims.is_empty()
}

/// Reads whom a JWT claims to be signed by. Nothing in it is believed yet.
pub(super) fn signed_by(token: &str) -> Result<SignedBy, TokenFault> {
    if token.len() > TOKEN_MAX {
        return Err(TokenFault::BadHeader);
    }
    let header = decode_header(token).map_err(|_| TokenFault::BadHeader)?;
    if !is_accepted(header.alg) {
        return Err(TokenFault::Algorithm(header.alg));
    }
    // RFC 7515 section 4.1.11: what is critical and not understood ends it; we understand no extension.
    if header.crit.is_some() {
        return Err(TokenFault::BadHeader);
    }
    match header.kid {
        Some(kid) if !kid.is_empty() => Ok(SignedBy {
            kid,
            algorithm: header.alg,
        }),
        _ => Err(TokenFault::NoKeyId),
    }
}

/// Checks the signature with the keys that fit and returns the claims, themselves still unchecked.
pub(super) fn signed_claims(
    token: &str,
    by: &SignedBy,
    keys: &KeySet,
) -> Result<Map<String, Value>, TokenFault> {
    let mut validation = Validation::new(by.algorithm);
    // The library reads the system's clock; claims are held against ours, in `check_claims`.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let mut fault = TokenFault::UnknownKey {
        kid: by.kid.chars().take(64).collect(),
    };
    for key in keys.find(&by.kid, by.algorithm) {
        match decode::<Map<String, Value>>(token, key, &validation) {
            Ok(good) => return Ok(good.claims),
            Err(cause) => {
                fault = match cause.kind() {
                    ErrorKind::Json(_) | ErrorKind::Utf8(_) => TokenFault::BadClaims,
                    _ => TokenFault::Signature,
                }
            }
        }
    }
    Err(fault)
}

/// Holds claims against what is expected and the time (RFC 7519 section 4.1).
pub(super) fn check_claims(
    claims: &Map<String, Value>,
    expected: Expected<'_>,
    source: Source,
    now: Timestamp,
) -> Result<(), TokenFault> {
    let now = seconds(now);
    match claims.get("exp").map(Value::as_f64) {
        Some(Some(expiry)) if now < expiry => {}
        Some(Some(_)) => return Err(TokenFault::Expired),
        Some(None) => return Err(TokenFault::BadClaims),
        None if source == Source::Jwt => return Err(TokenFault::NoExpiry),
        None => {}
    }
    match claims.get("nbf").map(Value::as_f64) {
        None => {}
        Some(Some(start)) if now + NOT_BEFORE_LEEWAY >= start => {}
        Some(Some(_)) => return Err(TokenFault::NotYetValid),
        Some(None) => return Err(TokenFault::BadClaims),
    }
    if let Some(issuer) = expected.issuer {
        match claims.get("iss") {
            Some(Value::String(named)) if named.trim() == issuer => {}
            None if source == Source::Introspection => {}
            _ => return Err(TokenFault::Issuer),
        }
    }
    match expected.audience {
        Some(audience)
            if !claims
                .get("aud")
                .is_some_and(|named| contains(named, audience)) =>
        {
            Err(TokenFault::Audience)
        }
        _ => Ok(()),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "seconds since 1970 fit into 53 bits for all times that `Timestamp` has"
)]
fn seconds(now: Timestamp) -> f64 {
    now.as_second() as f64
}

fn contains(named: &Value, audience: &str) -> bool {
    match named {
        Value::String(one) => one == audience,
        Value::Array(many) => many.iter().any(|one| one.as_str() == Some(audience)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_header_texts_are_those_of_the_contract() {
        let fault = |text: &str| {
            let header = HeaderValue::from_str(text).unwrap();
            bearer_token(Some(&header))
                .map(str::to_owned)
                .map_err(|fault| fault.to_string())
        };
        assert_eq!(
            bearer_token(None).unwrap_err().to_string(),
            "authorization header required"
        );
        let format =
            Err("invalid authorization header format, expected 'Bearer <token>'".to_owned());
        for text in [
            "bearer abc",
            "BEARER abc",
            "Basic abc",
            "Bearer",
            "Bearerabc",
            "abc",
        ] {
            assert_eq!(fault(text), format, "{text}");
        }
        assert_eq!(
            fault("Bearer  "),
            Err("empty token in authorization header".to_owned())
        );
        assert_eq!(fault("Bearer abc"), Ok("abc".to_owned()));
    }

    #[test]
    fn a_jwt_is_known_by_its_form() {
        for token in [
            "eyJhbGciOiJFUzI1NiJ9.e30.c2ln",
            "eyAiYWxnIjoieCJ9.e30.",
            "eyJ.x.y",
        ] {
            assert!(looks_like_jwt(token), "{token}");
        }
        for token in [
            "gho_abc",
            "a.b.c",
            "ey.b",
            "eyJ..x",
            "eyJ.a.b.c",
            "eyJ.a.b.c.d",
            "",
        ] {
            assert!(!looks_like_jwt(token), "{token}");
        }
    }

    #[test]
    fn headers_that_cannot_be_trusted_are_refused() {
        // {"alg":"none"}, {"alg":"HS256","kid":"a"}, {"alg":"ES256"}, {"alg":"ES256","kid":""}, {"alg":"ES256","kid":"a","crit":["x"]}
        assert_eq!(
            signed_by("eyJhbGciOiJub25lIn0.e30."),
            Err(TokenFault::BadHeader)
        );
        assert_eq!(
            signed_by("eyJhbGciOiJIUzI1NiIsImtpZCI6ImEifQ.e30.c2ln"),
            Err(TokenFault::Algorithm(Algorithm::HS256))
        );
        assert_eq!(
            signed_by("eyJhbGciOiJFUzI1NiJ9.e30.c2ln"),
            Err(TokenFault::NoKeyId)
        );
        assert_eq!(
            signed_by("eyJhbGciOiJFUzI1NiIsImtpZCI6IiJ9.e30.c2ln"),
            Err(TokenFault::NoKeyId)
        );
        assert_eq!(
            signed_by("eyJhbGciOiJFUzI1NiIsImtpZCI6ImEiLCJjcml0IjpbIngiXX0.e30.c2ln"),
            Err(TokenFault::BadHeader)
        );
        assert_eq!(
            signed_by(&format!("eyJ{}.e30.c2ln", "a".repeat(TOKEN_MAX))),
            Err(TokenFault::BadHeader)
        );
    }

    fn checked(claims: Value, source: Source) -> Result<(), TokenFault> {
        let Value::Object(claims) = claims else {
            panic!("claims are an object")
        };
        let expected = Expected {
            issuer: Some("https://idp.example"),
            audience: Some("thv"),
        };
        check_claims(
            &claims,
            expected,
            source,
            Timestamp::from_second(1000).unwrap(),
        )
    }

    #[test]
    fn claims_are_held_against_what_is_expected() {
        let with = |changes: Value| {
            let mut claims = json!({"iss": "https://idp.example", "aud": "thv", "exp": 1001});
            for (name, value) in changes.as_object().unwrap() {
                match value {
                    Value::Null => claims.as_object_mut().unwrap().remove(name),
                    value => claims
                        .as_object_mut()
                        .unwrap()
                        .insert(name.clone(), value.clone()),
                };
            }
            claims
        };
        for (changes, jwt, introspection) in [
            (json!({}), Ok(()), Ok(())),
            (json!({"aud": ["other", "thv"]}), Ok(()), Ok(())),
            (json!({"iss": " https://idp.example "}), Ok(()), Ok(())),
            (json!({"exp": 1000.5}), Ok(()), Ok(())),
            (
                json!({"exp": 1000}),
                Err(TokenFault::Expired),
                Err(TokenFault::Expired),
            ),
            (
                json!({"exp": -1}),
                Err(TokenFault::Expired),
                Err(TokenFault::Expired),
            ),
            (
                json!({"exp": "1001"}),
                Err(TokenFault::BadClaims),
                Err(TokenFault::BadClaims),
            ),
            (json!({"exp": null}), Err(TokenFault::NoExpiry), Ok(())),
            (json!({"nbf": 1030}), Ok(()), Ok(())),
            (
                json!({"nbf": 1031}),
                Err(TokenFault::NotYetValid),
                Err(TokenFault::NotYetValid),
            ),
            (
                json!({"nbf": []}),
                Err(TokenFault::BadClaims),
                Err(TokenFault::BadClaims),
            ),
            (
                json!({"iss": "https://idp.example/"}),
                Err(TokenFault::Issuer),
                Err(TokenFault::Issuer),
            ),
            (
                json!({"iss": ["https://idp.example"]}),
                Err(TokenFault::Issuer),
                Err(TokenFault::Issuer),
            ),
            (json!({"iss": null}), Err(TokenFault::Issuer), Ok(())),
            (
                json!({"aud": "thv2"}),
                Err(TokenFault::Audience),
                Err(TokenFault::Audience),
            ),
            (
                json!({"aud": []}),
                Err(TokenFault::Audience),
                Err(TokenFault::Audience),
            ),
            (
                json!({"aud": null}),
                Err(TokenFault::Audience),
                Err(TokenFault::Audience),
            ),
        ] {
            assert_eq!(
                checked(with(changes.clone()), Source::Jwt),
                jwt,
                "{changes}"
            );
            assert_eq!(
                checked(with(changes.clone()), Source::Introspection),
                introspection,
                "{changes}"
            );
        }
    }

    #[test]
    fn what_is_not_configured_is_not_checked() {
        let claims = json!({"exp": 1001}).as_object().unwrap().clone();
        let expected = Expected {
            issuer: None,
            audience: None,
        };
        assert_eq!(
            check_claims(
                &claims,
                expected,
                Source::Jwt,
                Timestamp::from_second(1000).unwrap()
            ),
            Ok(())
        );
    }

    proptest! {
        #[test]
        fn no_token_makes_the_readers_panic(token in ".*", dotted in "ey[A-Za-z0-9_-]*\\.[A-Za-z0-9_-]*\\.[A-Za-z0-9_-]*") {
            for token in [token, dotted] {
                let _ = looks_like_jwt(&token);
                let _ = signed_by(&token);
            }
        }
    }
}
