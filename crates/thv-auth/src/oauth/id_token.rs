//! Who logged in: the checks of an ID token (OIDC Core section 3.1.3.7).
//!
//! A token is a claim until its signature, issuer, audience, time and nonce are checked; then it is an [`Account`]. It is never
//! sent to a registry.

use std::time::Duration;

use jiff::Timestamp;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use thv_http::{Http, secrecy};

use crate::binding::Binding;
use crate::oauth::answer::shown;
use crate::oauth::error::IdTokenError;
use crate::oauth::json::Members;
use crate::oauth::jwks::{KeyCache, Want};
use crate::oauth::metadata::Provider;

/// How far the provider's clock may be from the time we take for its own.
const LEEWAY: Duration = Duration::from_mins(1);

/// Longest subject (OIDC Core section 2).
const SUBJECT_MAX: usize = 255;

/// Longest e-mail address or name that is kept, in characters.
const SHOWN_MAX: usize = 320;

/// Most keys tried for a token that names none.
const TRIED_MAX: usize = 10;

/// A person or service at an identity provider. `issuer` and `sub` identify it; the rest is for people to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The issuer.
    pub issuer: String,
    /// The issuer's name for it, unique and never given anew.
    pub sub: String,
    /// Its e-mail address, if the provider says.
    pub email: Option<String>,
    /// Its name, if the provider says.
    pub name: Option<String>,
}

impl Account {
    /// Whether both are the same person.
    pub fn is_same(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.sub == other.sub
    }

    /// What people know it by: its e-mail address, else its name, else what the issuer calls it.
    pub fn shown(&self) -> &str {
        let name = self.email.as_ref().or(self.name.as_ref());
        name.unwrap_or(&self.sub)
    }
}

/// Checks an ID token and reads who it is about.
///
/// `now` should be the provider's time rather than this machine's, whose clock may be a day off. `nonce` is the attempt's; a refresh has
/// none. A token whose key is not among the kept ones makes the keys be fetched once more, as providers rotate them.
pub async fn verify_id_token(
    http: &Http,
    keys: &KeyCache,
    provider: &Provider,
    binding: &Binding,
    token: &SecretString,
    nonce: Option<&SecretString>,
    now: Timestamp,
) -> Result<Account, IdTokenError> {
    let claims = verified_claims(http, keys, provider, binding, token, now).await?;
    check_claims(&claims, provider, &binding.client_id, nonce, now)
}

async fn verified_claims(
    http: &Http,
    keys: &KeyCache,
    provider: &Provider,
    binding: &Binding,
    token: &SecretString,
    now: Timestamp,
) -> Result<Members, IdTokenError> {
    let token = token.expose_secret();
    let header = jsonwebtoken::decode_header(token)
        .map_err(|_| refused("it is no signed token with an algorithm that is accepted"))?;
    if !is_accepted(header.alg) {
        return Err(refused("its algorithm is not accepted"));
    }
    let url = provider
        .jwks_uri
        .as_ref()
        .ok_or_else(|| refused("the provider publishes no keys"))?;
    let policy = provider.policy_for(url, binding.allow_private_ip);
    let mut want = Want::Kept;
    loop {
        let (set, fetched) = keys
            .keys(http, url, policy, now, want)
            .await
            .map_err(|cause| IdTokenError::Keys { cause })?;
        let fitting = set
            .iter()
            .filter(|key| fits(key, header.alg, header.kid.as_deref()))
            .take(TRIED_MAX);
        for key in fitting {
            if let Some(claims) = claims_signed_with(token, key, header.alg) {
                return Ok(claims);
            }
        }
        if fetched {
            return Err(refused("no key of the provider has signed it"));
        }
        want = Want::Fresh;
    }
}

/// Only signatures that a public key checks. `none` is no algorithm here, and a shared secret we do not have.
fn is_accepted(algorithm: Algorithm) -> bool {
    !matches!(
        algorithm,
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512
    )
}

/// Whether `key` may check a signature of `algorithm`: its name, its own algorithm, its kind and its curve must agree.
fn fits(key: &Jwk, algorithm: Algorithm, kid: Option<&str>) -> bool {
    if kid.is_some() && key.common.key_id.as_deref() != kid {
        return false;
    }
    if key
        .common
        .key_algorithm
        .is_some_and(|of_key| of_key != KeyAlgorithm::from(algorithm))
    {
        return false;
    }
    match &key.algorithm {
        AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa.algorithms().contains(&algorithm),
        AlgorithmParameters::EllipticCurve(key) => matches!(
            (&key.curve, algorithm),
            (EllipticCurve::P256, Algorithm::ES256) | (EllipticCurve::P384, Algorithm::ES384)
        ),
        AlgorithmParameters::OctetKeyPair(key) => {
            key.curve == EllipticCurve::Ed25519 && algorithm == Algorithm::EdDSA
        }
        _ => false,
    }
}

/// The claims, if `key` has signed them. Everything else about them is checked by [`check_claims`].
fn claims_signed_with(token: &str, key: &Jwk, algorithm: Algorithm) -> Option<Members> {
    let key = DecodingKey::from_jwk(key).ok()?;
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    jsonwebtoken::decode::<Members>(token, &key, &validation)
        .ok()
        .map(|data| data.claims)
}

fn check_claims(
    claims: &Members,
    provider: &Provider,
    client_id: &str,
    nonce: Option<&SecretString>,
    now: Timestamp,
) -> Result<Account, IdTokenError> {
    let text = |member| {
        claims
            .text(member)
            .map_err(|fault| refused(&fault.to_string()))
    };
    if text("iss")?.as_deref() != Some(provider.issuer.as_str()) {
        return Err(refused("it is from another issuer"));
    }
    check_audience(claims, text("azp")?.as_deref(), client_id)?;
    check_time(claims, now)?;
    if let Some(nonce) = nonce {
        let found = text("nonce")?.unwrap_or_default();
        if !bool::from(nonce.expose_secret().as_bytes().ct_eq(found.as_bytes())) {
            return Err(refused("its `nonce` is not of this login"));
        }
    }
    let subject = text("sub")?
        .filter(|subject| {
            (1..=SUBJECT_MAX).contains(&subject.len())
                && subject.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        })
        .ok_or_else(|| refused("it has no usable `sub`"))?;
    // Merely for people: other types than text count as absent.
    let for_people = |member| {
        claims
            .text(member)
            .ok()
            .flatten()
            .and_then(|text| shown(&text, SHOWN_MAX))
    };
    Ok(Account {
        issuer: provider.issuer.clone(),
        sub: subject,
        email: for_people("email"),
        name: for_people("name"),
    })
}

fn check_audience(
    claims: &Members,
    authorized_party: Option<&str>,
    client_id: &str,
) -> Result<(), IdTokenError> {
    let audience = match claims.text("aud") {
        Ok(audience) => audience.map(|one| vec![one]),
        Err(_) => claims
            .texts("aud")
            .map_err(|_| refused("its `aud` is neither text nor a list of texts"))?,
    }
    .unwrap_or_default();
    if !audience.iter().any(|one| one == client_id) {
        return Err(refused("it is not for this client"));
    }
    let needs_party = audience.len() > 1;
    match authorized_party {
        Some(party) if party != client_id => Err(refused("it was given to another client")),
        None if needs_party => Err(refused(
            "it is for several clients and names none as its own",
        )),
        _ => Ok(()),
    }
}

fn check_time(claims: &Members, now: Timestamp) -> Result<(), IdTokenError> {
    let seconds = |member: &'static str| -> Result<Option<f64>, IdTokenError> {
        claims
            .raw(member)
            .map(|raw| raw.parse::<f64>().ok().filter(|number| number.is_finite()))
            .map(|number| number.ok_or_else(|| refused(&format!("its `{member}` is no time"))))
            .transpose()
    };
    let now = now.as_duration().as_secs_f64();
    let leeway = LEEWAY.as_secs_f64();
    let expires = seconds("exp")?.ok_or_else(|| refused("it has no `exp`"))?;
    if expires + leeway <= now {
        return Err(refused(
            "it has expired (if this machine's clock is wrong, set it)",
        ));
    }
    if seconds("nbf")?.is_some_and(|not_before| not_before - leeway > now) {
        return Err(refused(
            "it is not valid yet (if this machine's clock is wrong, set it)",
        ));
    }
    Ok(())
}

fn refused(cause: &str) -> IdTokenError {
    IdTokenError::Refused {
        cause: cause.to_owned(),
    }
}
