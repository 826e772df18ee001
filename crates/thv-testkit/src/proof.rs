//! Proofs of a key (RFC 9449), checked as a server has to (section 4.3): with nothing but the cryptography.

use std::collections::BTreeSet;

use http::request::Parts;
use serde_json::{Value, json};

use crate::jwt;

/// How far a proof's time may be off, in seconds.
const SKEW: i64 = 30;

/// Which nonces a server wants in proofs (RFC 9449 section 8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Nonces {
    /// None.
    #[default]
    Unwanted,
    /// This one, until the test gives another.
    Wanted(String),
    /// Another with each request, and none is ever good enough.
    Endless,
}

/// Why a proof is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadProof {
    /// It is none, or for something else.
    Invalid(String),
    /// It lacks this nonce.
    Nonce(String),
}

/// What a server remembers of proofs.
#[derive(Debug, Default)]
pub(crate) struct Proofs {
    pub(crate) nonces: Nonces,
    seen: BTreeSet<String>,
    issued: usize,
}

impl BadProof {
    /// The error code.
    pub(crate) fn error(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid_dpop_proof",
            Self::Nonce(_) => "use_dpop_nonce",
        }
    }
}

impl Proofs {
    /// The thumbprint of the key that the request's proof is made with; `None` without a proof. `token` is the access token that comes
    /// along, if there is one.
    pub(crate) fn check(
        &mut self,
        parts: &Parts,
        url: &str,
        token: Option<&str>,
        now: i64,
    ) -> Result<Option<String>, BadProof> {
        let invalid = |why: &str| BadProof::Invalid(why.to_owned());
        let mut values = parts.headers.get_all("dpop").iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(invalid("two proofs"));
        }
        let text = value.to_str().map_err(|_| invalid("no text"))?;
        let (header, _) = jwt::read(text).ok_or_else(|| invalid("no JWT"))?;
        if header["typ"] != "dpop+jwt" || header["alg"] != "ES256" {
            return Err(invalid("not of the type of proofs"));
        }
        let jwk = &header["jwk"];
        if jwk.get("d").is_some() {
            return Err(invalid("the private key came along"));
        }
        let (_, claims) =
            jwt::verify(text, std::slice::from_ref(jwk)).map_err(BadProof::Invalid)?;
        if claims["htm"] != parts.method.as_str() || claims["htu"] != url {
            return Err(BadProof::Invalid(format!(
                "for {} {}, and not {} {url}",
                claims["htm"], claims["htu"], parts.method
            )));
        }
        let is_fresh = claims["iat"]
            .as_i64()
            .is_some_and(|made| (now - SKEW..=now + SKEW).contains(&made));
        if !is_fresh {
            return Err(invalid("not of this time"));
        }
        let ath = token.map(|token| jwt::encode(&jwt::sha256(token.as_bytes())));
        if claims["ath"].as_str() != ath.as_deref() {
            return Err(invalid("for another token"));
        }
        let unique = claims["jti"].as_str().filter(|jti| jti.len() >= 16);
        let unique = unique.ok_or_else(|| invalid("without a name of its own"))?;
        if !self.seen.insert(unique.to_owned()) {
            return Err(invalid("used before"));
        }
        match &self.nonces {
            Nonces::Wanted(nonce) if claims["nonce"] != nonce.as_str() => {
                return Err(BadProof::Nonce(nonce.clone()));
            }
            Nonces::Endless => {
                self.issued += 1;
                return Err(BadProof::Nonce(format!("nonce-{}", self.issued)));
            }
            Nonces::Wanted(_) | Nonces::Unwanted => {}
        }
        Ok(Some(thumbprint(jwk)))
    }
}

/// The thumbprint of an elliptic-curve key (RFC 7638 section 3).
pub(crate) fn thumbprint(jwk: &Value) -> String {
    // The members that count, in the order of their names.
    let canonical = json!({"crv": jwk["crv"], "kty": jwk["kty"], "x": jwk["x"], "y": jwk["y"]});
    jwt::encode(&jwt::sha256(canonical.to_string().as_bytes()))
}
