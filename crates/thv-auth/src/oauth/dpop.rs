//! Tokens that are bound to a key of ours (RFC 9449): the key, the proofs made with it, and what servers want in the next one.
//!
//! A [`ProofKey`] is made for one login and kept in its grant. A [`Prover`] is that key in use: `ask` sends a request to a token
//! endpoint with a proof, and as a [`Proof`] it goes with a token to a registry. Who gets a key, and what becomes of tokens that are
//! not bound to it, is decided at the login and at the renewal.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use thv_config::world::Clock;
use thv_http::{Http, HttpError, Proof, Reply, Request, secrecy};
use url::Url;

use crate::oauth::answer::date_in;
use crate::oauth::challenge::ProofChallenge;
use crate::oauth::json::Members;
use crate::skew::{believed, shifted};

/// The algorithm of our keys, as metadata name it (RFC 9449 section 5.1): the one that every server with `DPoP` has.
pub const ALGORITHM: &str = "ES256";

/// The token type of a bound access token (RFC 9449 section 5).
pub(crate) const TOKEN_TYPE: &str = "DPoP";

/// The media type in a proof's header (RFC 9449 section 4.2).
const TYPE: &str = "dpop+jwt";

/// The header in which servers say what the next proof has to hold (RFC 9449 section 8).
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The error of a server that wants a proof with its nonce (RFC 9449 section 8).
pub(super) const USE_NONCE: &str = "use_dpop_nonce";

/// Longest nonce that is sent back, in bytes: some servers put sealed times into theirs.
const NONCE_MAX: usize = 1024;

/// The error of a server that does not take a proof (RFC 9449 sections 5 and 7.1); one that was made at another time, for example.
pub(super) const INVALID_PROOF: &str = "invalid_dpop_proof";

/// By how much a clock has to be off for that to be why a proof is not taken: servers have some patience.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(5);

/// How many servers are remembered. A program reads a few registries, each with one issuer.
const SERVERS_MAX: usize = 64;

/// Whether the tokens of a registry are bound to a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DpopUse {
    /// Where the provider offers it. A token that is not bound all the same is used, and shown in the status.
    #[default]
    Auto,
    /// Always: a token that is not bound is none.
    Required,
    /// Never: for tokens that other programs are to have.
    Off,
}

/// A word that means no [`DpopUse`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of auto, required and off")]
pub struct UnknownDpopUse(String);

/// A key pair for the tokens of one login. Clones are the same key, and none prints its private half.
#[derive(Clone)]
pub struct ProofKey {
    inner: Arc<Key>,
}

struct Key {
    /// PKCS #8 in base64, as it is stored.
    stored: SecretString,
    signing: EncodingKey,
    public: Jwk,
    thumbprint: String,
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofKeyFault {
    /// The system gave no randomness.
    #[error("no key can be made on this machine")]
    NotMade,
    /// The stored text is no P-256 key.
    #[error("the stored key is none")]
    NotOne,
}

/// What servers of one kind want in the next proof, by their origin. Clones share it. Authorization servers and registries are kept
/// apart, even on one origin (RFC 9449 section 9).
#[derive(Clone, Debug, Default)]
pub struct Servers {
    known: Arc<Mutex<HashMap<String, Server>>>,
}

#[derive(Clone, Debug, Default)]
struct Server {
    nonce: Option<String>,
    /// How far its clock is ahead of ours, by its last answer.
    offset: Option<SignedDuration>,
    /// Whether it knows nothing of proofs, and takes the token as a bearer token.
    takes_bearer: bool,
}

/// A key in use with servers of one kind.
#[derive(Clone)]
pub struct Prover {
    key: ProofKey,
    servers: Servers,
    clock: Arc<dyn Clock>,
    offset: SignedDuration,
    strict: bool,
}

/// What an answer has shown for the next proof.
#[derive(Clone, Copy, Debug)]
struct Learnt {
    /// A nonce.
    nonce: bool,
    /// That the proof was made at the wrong time.
    clock: bool,
}

impl Learnt {
    /// Whether that is what this error is about.
    fn helps_against(self, error: Option<&str>) -> bool {
        match error {
            Some(USE_NONCE) => self.nonce,
            Some(INVALID_PROOF) => self.clock,
            _ => false,
        }
    }
}

/// The claims of a proof (RFC 9449 section 4.2).
#[derive(Serialize)]
struct Claims<'a> {
    jti: &'a str,
    htm: &'a str,
    htu: &'a str,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

// === impl DpopUse ===

impl DpopUse {
    /// The word for it, in settings and flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Required => "required",
            Self::Off => "off",
        }
    }
}

impl FromStr for DpopUse {
    type Err = UnknownDpopUse;

    fn from_str(word: &str) -> Result<Self, UnknownDpopUse> {
        [Self::Auto, Self::Required, Self::Off]
            .into_iter()
            .find(|known| known.as_str() == word)
            .ok_or_else(|| UnknownDpopUse(word.to_owned()))
    }
}

// === impl ProofKey ===

impl ProofKey {
    /// A new key, of no other login.
    pub fn generate() -> Result<Self, ProofKeyFault> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|_| ProofKeyFault::NotMade)?;
        let der = pair.to_pkcs8v1().map_err(|_| ProofKeyFault::NotMade)?;
        Self::of_der(der.as_ref())
    }

    /// The key that [`stored`](Self::stored) gave.
    pub fn from_stored(text: &SecretString) -> Result<Self, ProofKeyFault> {
        let der = STANDARD
            .decode(text.expose_secret())
            .map_err(|_| ProofKeyFault::NotOne)?;
        Self::of_der(&der)
    }

    /// The private key as text, for a sealed record and for nothing else.
    pub fn stored(&self) -> &SecretString {
        &self.inner.stored
    }

    /// The thumbprint by which servers know the key (RFC 7638): 43 characters, and public.
    pub fn thumbprint(&self) -> &str {
        &self.inner.thumbprint
    }

    fn of_der(der: &[u8]) -> Result<Self, ProofKeyFault> {
        let signing = EncodingKey::from_ec_der(der);
        let mut public = Jwk::from_encoding_key(&signing, Algorithm::ES256)
            .map_err(|_| ProofKeyFault::NotOne)?;
        // The header's `alg` says it, and some servers take no member that they do not expect.
        public.common.key_algorithm = None;
        let thumbprint = public
            .thumbprint(ThumbprintHash::SHA256)
            .map_err(|_| ProofKeyFault::NotOne)?;
        Ok(Self {
            inner: Arc::new(Key {
                stored: STANDARD.encode(der).into(),
                signing,
                public,
                thumbprint,
            }),
        })
    }

    fn sign(&self, claims: &Claims<'_>) -> Result<SecretString, String> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(TYPE.to_owned());
        header.jwk = Some(self.inner.public.clone());
        jsonwebtoken::encode(&header, claims, &self.inner.signing)
            .map(SecretString::from)
            .map_err(|_| "its key cannot sign".to_owned())
    }
}

impl PartialEq for ProofKey {
    fn eq(&self, other: &Self) -> bool {
        self.inner.thumbprint == other.inner.thumbprint
    }
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProofKey")
            .field(&self.inner.thumbprint)
            .finish()
    }
}

// === impl Servers ===

impl Servers {
    /// Nothing known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the server at `url` has shown that it knows nothing of proofs.
    pub fn takes_bearer(&self, url: &Url) -> bool {
        self.of(url).takes_bearer
    }

    fn of(&self, url: &Url) -> Server {
        let known = self.lock();
        known.get(&key_of(url)).cloned().unwrap_or_default()
    }

    fn note(&self, url: &Url, change: impl FnOnce(&mut Server)) {
        let mut known = self.lock();
        let key = key_of(url);
        // What is forgotten is learnt again with one request.
        if known.len() >= SERVERS_MAX && !known.contains_key(&key) {
            known.clear();
        }
        change(known.entry(key).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Server>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key_of(url: &Url) -> String {
    url.origin().ascii_serialization()
}

// === impl Prover ===

impl Prover {
    /// `key` in use with `servers`, whose clocks are `offset` ahead of `clock` as long as they have not shown otherwise.
    pub fn new(
        key: ProofKey,
        servers: Servers,
        clock: Arc<dyn Clock>,
        offset: SignedDuration,
    ) -> Self {
        Self {
            key,
            servers,
            clock,
            offset,
            strict: false,
        }
    }

    /// Never sends the token as a bearer token, whatever the server says.
    #[must_use]
    pub fn strict(mut self, yes: bool) -> Self {
        self.strict = yes;
        self
    }

    /// The key that proofs are made with.
    pub fn key(&self) -> &ProofKey {
        &self.key
    }

    /// A proof for one request (RFC 9449 section 4.2).
    fn proof(
        &self,
        method: &Method,
        url: &Url,
        token: Option<&SecretString>,
    ) -> Result<SecretString, String> {
        let mut unique = [0; 16];
        getrandom::fill(&mut unique).map_err(|error| format!("there is no randomness: {error}"))?;
        let mut target = url.clone();
        target.set_query(None);
        target.set_fragment(None);
        let Server { nonce, offset, .. } = self.servers.of(url);
        let now: Timestamp = shifted(self.clock.now(), offset.unwrap_or(self.offset));
        self.key.sign(&Claims {
            jti: &crate::binding::hex(&unique),
            htm: method.as_str(),
            htu: target.as_str(),
            iat: now.as_second(),
            ath: token.map(|token| {
                URL_SAFE_NO_PAD.encode(Sha256::digest(token.expose_secret().as_bytes()))
            }),
            nonce: nonce.as_deref(),
        })
    }

    /// Takes from an answer what the next proof to the same server needs.
    fn learn(&self, url: &Url, headers: &HeaderMap) -> Learnt {
        let nonce = nonce_in(headers);
        let now = self.clock.now();
        let offset = date_in(headers).and_then(|theirs| believed(now, theirs));
        let before = self.servers.of(url).offset.unwrap_or(self.offset);
        self.servers.note(url, |server| {
            server.nonce = nonce.map(str::to_owned).or(server.nonce.take());
            server.offset = offset.or(server.offset);
        });
        Learnt {
            nonce: nonce.is_some(),
            clock: offset.is_some_and(|now| (now - before).abs() >= CLOCKS_DIFFER),
        }
    }
}

impl fmt::Debug for Prover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prover")
            .field("key", &self.key)
            .field("strict", &self.strict)
            .finish_non_exhaustive()
    }
}

impl Proof for Prover {
    fn prove(
        &self,
        method: &Method,
        url: &Url,
        token: &SecretString,
    ) -> Result<Option<SecretString>, String> {
        if !self.strict && self.servers.takes_bearer(url) {
            return Ok(None);
        }
        self.proof(method, url, Some(token)).map(Some)
    }

    fn answered(&self, url: &Url, proven: bool, status: StatusCode, headers: &HeaderMap) -> bool {
        let learnt = self.learn(url, headers);
        if status != StatusCode::UNAUTHORIZED {
            return false;
        }
        match (proven, ProofChallenge::of(headers)) {
            (true, Some(challenge)) => learnt.helps_against(challenge.error.as_deref()),
            // It does not know the scheme, and takes the token without a proof or not at all (RFC 9449 section 7.2).
            (true, None) if !self.strict => {
                self.servers.note(url, |server| server.takes_bearer = true);
                true
            }
            (false, Some(_)) => {
                self.servers.note(url, |server| server.takes_bearer = false);
                true
            }
            // It may be about the token alone; a server that learns of proofs one day is not to be missed.
            (false, None) => {
                self.servers.note(url, |server| server.takes_bearer = false);
                false
            }
            (true, None) => false,
        }
    }
}

/// Sends a POST to a token endpoint, with a proof where there is a key: once more where the server wants its nonce in it (RFC 9449
/// section 8) or has shown that our clock is wrong, and no third time.
pub(crate) async fn ask(
    http: &Http,
    request: Request,
    prover: Option<&Prover>,
) -> Result<Reply, HttpError> {
    let Some(prover) = prover else {
        return http.send(request).await;
    };
    let reply = http.send(proven(request.clone(), prover)?).await?;
    let learnt = prover.learn(&reply.url, &reply.headers);
    if !learnt.helps_against(error_of(&reply).as_deref()) {
        return Ok(reply);
    }
    let reply = http.send(proven(request, prover)?).await?;
    prover.learn(&reply.url, &reply.headers);
    Ok(reply)
}

fn proven(request: Request, prover: &Prover) -> Result<Request, HttpError> {
    let proof = prover
        .proof(&Method::POST, request.url(), None)
        .map_err(|cause| HttpError::Proof { cause })?;
    request.proof(&proof)
}

fn error_of(reply: &Reply) -> Option<String> {
    let members = Members::parse(&reply.body).ok();
    members
        .filter(|_| reply.status.is_client_error())
        .and_then(|members| members.text("error").ok().flatten())
}

/// The nonce of an answer, if there is exactly one and it is well-formed (RFC 9449 section 8.1).
fn nonce_in(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(DPOP_NONCE).iter();
    let nonce = values.next()?.to_str().ok()?.trim();
    let is_one = values.next().is_none()
        && (1..=NONCE_MAX).contains(&nonce.len())
        && nonce
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
    is_one.then_some(nonce)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation};
    use proptest::prelude::*;
    use thv_config::world::ManualClock;

    use super::*;

    fn prover() -> Prover {
        let at: Timestamp = "2026-11-23T12:00:00Z".parse().expect("a time");
        let ahead = SignedDuration::from_secs(30);
        let key = ProofKey::generate().expect("a key");
        Prover::new(key, Servers::new(), Arc::new(ManualClock::new(at)), ahead)
    }

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    fn answer(status: u16, fields: &[(&'static str, &str)]) -> (StatusCode, HeaderMap) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().expect("a header"));
        }
        (StatusCode::from_u16(status).expect("a status"), headers)
    }

    #[test]
    fn a_proof_says_what_rfc_9449_section_4_2_wants_and_nothing_of_the_query() {
        let prover = prover();
        let target = url("https://r.example/v0.1/servers?search=private#there");
        let token = SecretString::from("the-token");
        let proof = prover
            .proof(&Method::GET, &target, Some(&token))
            .expect("a proof");
        let header = jsonwebtoken::decode_header(proof.expose_secret()).expect("a header");
        assert_eq!(header.typ.as_deref(), Some("dpop+jwt"));
        let jwk = header.jwk.expect("a key");
        let shown = serde_json::to_value(&jwk).expect("JSON");
        let members: Vec<_> = shown.as_object().expect("an object").keys().collect();
        assert_eq!(members, ["crv", "kty", "x", "y"]);
        let mut rules = Validation::new(Algorithm::ES256);
        rules.required_spec_claims.clear();
        rules.validate_exp = false;
        let key = DecodingKey::from_jwk(&jwk).expect("a key");
        let claims = jsonwebtoken::decode::<serde_json::Value>(proof.expose_secret(), &key, &rules)
            .expect("signed")
            .claims;
        assert_eq!(claims["htm"], "GET");
        assert_eq!(claims["htu"], "https://r.example/v0.1/servers");
        assert_eq!(claims["iat"], 1_795_435_230);
        assert_eq!(
            claims["ath"],
            URL_SAFE_NO_PAD.encode(Sha256::digest(b"the-token"))
        );
        assert!(claims.get("nonce").is_none());
        let other = prover.proof(&Method::GET, &target, Some(&token));
        assert_ne!(
            other.expect("a proof").expose_secret(),
            proof.expose_secret()
        );
    }

    #[test]
    fn a_stored_key_is_the_same_key_and_shows_nothing() {
        let key = ProofKey::generate().expect("a key");
        let again = ProofKey::from_stored(key.stored()).expect("the key");
        assert_eq!(again, key);
        assert_eq!(key.thumbprint().len(), 43);
        assert!(!format!("{key:?}").contains(key.stored().expose_secret()));
        assert_ne!(ProofKey::generate().expect("another"), key);
        for text in ["", "!", "AAAA", &"A".repeat(64)] {
            let read = ProofKey::from_stored(&SecretString::from(text));
            assert_eq!(read, Err(ProofKeyFault::NotOne), "{text}");
        }
    }

    #[test]
    fn nonces_are_kept_per_origin_and_only_well_formed_ones() {
        let prover = prover();
        let here = url("https://r.example/a");
        for (fields, expected) in [
            (vec![("dpop-nonce", "one")], Some("one")),
            (
                vec![("dpop-nonce", "two"), ("dpop-nonce", "2")],
                Some("one"),
            ),
            (vec![("dpop-nonce", "with space")], Some("one")),
            (vec![("dpop-nonce", "with\"quote")], Some("one")),
            (vec![("dpop-nonce", "")], Some("one")),
            (vec![("dpop-nonce", "three")], Some("three")),
        ] {
            let (status, headers) = answer(200, &fields);
            assert!(!prover.answered(&here, true, status, &headers));
            let known = prover.servers.of(&url("https://r.example/b")).nonce;
            assert_eq!(known.as_deref(), expected, "{fields:?}");
        }
        let long = "n".repeat(NONCE_MAX + 1);
        let (_, headers) = answer(200, &[("dpop-nonce", &long)]);
        assert_eq!(nonce_in(&headers), None);
        assert_eq!(
            prover.servers.of(&url("https://r.example:8443/")).nonce,
            None
        );
    }

    #[test]
    fn what_a_registry_answers_decides_about_another_try() {
        let here = url("https://r.example/");
        let nonce = ("dpop-nonce", "n");
        let wants_nonce = ("www-authenticate", "DPoP error=\"use_dpop_nonce\"");
        let bad_token = ("www-authenticate", "DPoP error=\"invalid_token\"");
        let bearer = ("www-authenticate", "Bearer error=\"invalid_token\"");
        let bad_proof = ("www-authenticate", "DPoP error=\"invalid_dpop_proof\"");
        let late = ("date", "Mon, 23 Nov 2026 13:00:00 GMT");
        let in_time = ("date", "Mon, 23 Nov 2026 12:00:31 GMT");
        for (fields, status, proven, strict, again, then_bearer) in [
            (vec![wants_nonce, nonce], 401, true, false, true, false),
            (vec![wants_nonce], 401, true, false, false, false),
            (vec![wants_nonce, nonce], 400, true, false, false, false),
            (vec![bad_token, nonce], 401, true, false, false, false),
            (vec![bearer], 401, true, false, true, true),
            (vec![bearer], 401, true, true, false, false),
            (vec![bearer], 403, true, false, false, false),
            (vec![bearer, bad_token], 401, true, false, false, false),
            (vec![], 401, true, false, true, true),
            (vec![bearer], 401, false, false, false, false),
            (vec![bad_proof, late], 401, true, false, true, false),
            (vec![bad_proof, in_time], 401, true, false, false, false),
            (vec![bad_token, late], 401, true, false, false, false),
            (vec![bad_token], 401, false, false, true, false),
        ] {
            let prover = prover().strict(strict);
            let (status, headers) = answer(status, &fields);
            let tried_again = prover.answered(&here, proven, status, &headers);
            assert_eq!(tried_again, again, "{fields:?} {status} {proven} {strict}");
            assert_eq!(
                prover.servers.takes_bearer(&here),
                then_bearer,
                "{fields:?}"
            );
        }
    }

    #[test]
    fn a_server_that_takes_no_bearer_either_is_shown_a_proof_again() {
        let (prover, here) = (prover(), url("https://r.example/"));
        let token = SecretString::from("the-token");
        let (status, headers) = answer(401, &[]);
        for _ in 0..2 {
            assert!(prover.answered(&here, true, status, &headers));
            let as_bearer = prover.prove(&Method::GET, &here, &token);
            assert!(as_bearer.expect("an answer").is_none());
            assert!(!prover.answered(&here, false, status, &headers));
            let proof = prover.prove(&Method::GET, &here, &token);
            assert!(proof.expect("an answer").is_some());
        }
    }

    #[test]
    fn a_proof_is_made_at_the_time_that_its_server_showed_last() {
        let (prover, here) = (prover(), url("https://r.example/"));
        let made_at = |url: &Url| {
            let proof = prover.proof(&Method::GET, url, None).expect("a proof");
            let claims = proof
                .expose_secret()
                .split('.')
                .nth(1)
                .expect("claims")
                .to_owned();
            let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64");
            let claims: serde_json::Value = serde_json::from_slice(&claims).expect("JSON");
            claims["iat"].as_i64().expect("a time") - 1_795_435_200
        };
        assert_eq!(made_at(&here), 30);
        for (date, age, expected) in [
            ("Mon, 23 Nov 2026 11:00:00 GMT", None, -3600),
            ("Mon, 23 Nov 2026 11:00:00 GMT", Some("1800"), -1800),
            ("Mon, 23 Nov 2020 11:00:00 GMT", None, -1800),
        ] {
            let mut fields = vec![("date", date)];
            fields.extend(age.map(|age| ("age", age)));
            let (status, headers) = answer(200, &fields);
            prover.answered(&here, true, status, &headers);
            assert_eq!(made_at(&here), expected, "{date}");
        }
        assert_eq!(made_at(&url("https://other.example/")), 30);
    }

    #[test]
    fn so_many_servers_are_remembered_and_no_more() {
        let servers = Servers::new();
        for number in 0..=SERVERS_MAX {
            let one = url(&format!("https://r{number}.example/"));
            servers.note(&one, |server| server.takes_bearer = true);
        }
        assert_eq!(servers.lock().len(), 1);
    }

    proptest! {
        #[test]
        fn no_answer_panics(nonce in "[ -~]{0,40}", challenge in "[ -~]{0,60}", status in 200_u16..500) {
            let prover = prover();
            let (status, headers) =
                answer(status, &[("dpop-nonce", &nonce), ("www-authenticate", &challenge)]);
            let here = url("https://r.example/");
            let _ = prover.answered(&here, true, status, &headers);
            prop_assert!(prover.proof(&Method::GET, &here, None).is_ok());
        }
    }
}
