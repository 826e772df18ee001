//! Assertions by which a client proves itself with a key of its own (RFC 7523 section 2.2).
//!
//! The key is read for each assertion, so that a replaced one counts at once. Sending an assertion is `client`'s part.

use std::path::Path;

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::file::read_file;
use crate::limits::ASSERTION_LIFETIME;

/// The media type in the header (RFC 7523bis): an assertion made for this is taken for nothing else.
const TYPE: &str = "client-authentication+jwt";

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: &'a str,
    iat: i64,
    exp: i64,
}

/// A fresh assertion of the client `client_id` for `audience`, at `now` by the server's clock. The error is a clause for people. Blocks.
pub(crate) fn assertion(
    key_file: &Path,
    key_id: Option<&str>,
    client_id: &str,
    audience: &str,
    now: Timestamp,
) -> Result<SecretString, String> {
    let pem = read_file(key_file).map_err(|fault| fault.to_string())?;
    let (algorithm, key) = signing_key(pem.expose_secret().as_bytes()).ok_or_else(|| {
        format!(
            "the file {} holds no private key that can be used: RSA or P-256, as PEM without a password",
            key_file.display()
        )
    })?;
    let mut header = Header::new(algorithm);
    header.typ = Some(TYPE.to_owned());
    header.kid = key_id.map(str::to_owned);
    let mut unique = [0; 16];
    getrandom::fill(&mut unique).map_err(|error| format!("there is no randomness: {error}"))?;
    let issued = now.as_second();
    let claims = Claims {
        iss: client_id,
        sub: client_id,
        aud: audience,
        jti: &crate::binding::hex(&unique),
        iat: issued,
        exp: issued.saturating_add(i64::try_from(ASSERTION_LIFETIME.as_secs()).unwrap_or(60)),
    };
    jsonwebtoken::encode(&header, &claims, &key)
        .map(SecretString::from)
        .map_err(|_| format!("the key in the file {} cannot sign", key_file.display()))
}

/// The key and the algorithm that goes with its kind (RFC 7518 section 3.1).
fn signing_key(pem: &[u8]) -> Option<(Algorithm, EncodingKey)> {
    let rsa = || Some((Algorithm::RS256, EncodingKey::from_rsa_pem(pem).ok()?));
    let ec = || Some((Algorithm::ES256, EncodingKey::from_ec_pem(pem).ok()?));
    ec().or_else(rsa)
}
