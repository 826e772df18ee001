//! Signed tokens, made and checked with nothing but the cryptography: no JWT library, so that a test cannot agree
//! with a mistake in the one the product uses.
//!
//! Signing is ES256 only; checking also knows RS256, which real providers use by default.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SystemRandom, fill};
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Base64url without padding.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes behind base64url without padding.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

/// A short name for a secret that does not give it away: the first 16 characters of its SHA-256 in base64url.
pub fn fingerprint(secret: &str) -> String {
    encode(&sha256(secret.as_bytes()))
        .chars()
        .take(16)
        .collect()
}

/// `bytes` random bytes in base64url.
pub fn random(bytes: usize) -> String {
    let mut buffer = vec![0_u8; bytes];
    fill(&mut buffer).expect("random bytes");
    encode(&buffer)
}

/// A P-256 key with a name.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    id: String,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.id).finish()
    }
}

impl SigningKey {
    /// A new key.
    pub fn generate(id: &str) -> Self {
        SigningKey {
            pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a new key"),
            id: id.to_owned(),
        }
    }

    /// The `kid`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public half, as a member of a JWKS.
    pub fn public_jwk(&self) -> Value {
        // 0x04, then the two coordinates of 32 bytes.
        let point = self.pair.public_key().as_ref();
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id,
            "x": encode(&point[1..33]), "y": encode(&point[33..]),
        })
    }

    /// The private half as PEM (PKCS #8), for a program under test that signs with it.
    pub fn private_pem(&self) -> String {
        let der = self.pair.to_pkcs8v1().expect("a key");
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).expect("base64"))
            .collect();
        format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            lines.join("\n")
        )
    }

    /// The token.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        let signature = self
            .pair
            .sign(&SystemRandom::new(), message.as_bytes())
            .expect("a signature");
        format!("{message}.{}", encode(signature.as_ref()))
    }
}

/// Header and claims without a signature and without the last dot.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    format!(
        "{}.{}",
        encode(header.to_string().as_bytes()),
        encode(claims.to_string().as_bytes())
    )
}

/// Header and claims of a token, unchecked.
pub fn read(token: &str) -> Option<(Value, Value)> {
    let mut parts = token.split('.');
    let header = serde_json::from_slice(&decode(parts.next()?)?).ok()?;
    let claims = serde_json::from_slice(&decode(parts.next()?)?).ok()?;
    parts.next()?;
    parts.next().is_none().then_some((header, claims))
}

/// Header and claims of a token that one of `keys` (members of a JWKS) has signed; otherwise why not.
pub fn verify(token: &str, keys: &[Value]) -> Result<(Value, Value), String> {
    let (header, claims) = read(token).ok_or("not a JWT")?;
    let (message, signature) = token.rsplit_once('.').ok_or("not a JWT")?;
    let signature = decode(signature).ok_or("a signature that is not base64url")?;
    let key = keys
        .iter()
        .find(|key| key["kid"] == header["kid"])
        .ok_or_else(|| format!("no key {}", header["kid"]))?;
    let part = |name: &str| key[name].as_str().and_then(decode).unwrap_or_default();
    let fits = match (header["alg"].as_str(), key["kty"].as_str()) {
        (Some("ES256"), Some("EC")) => {
            let point = [vec![4], part("x"), part("y")].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(message.as_bytes(), &signature)
        }
        (Some("RS256"), Some("RSA")) => PublicKeyComponents {
            n: part("n"),
            e: part("e"),
        }
        .verify(&RSA_PKCS1_2048_8192_SHA256, message.as_bytes(), &signature),
        (algorithm, _) => return Err(format!("algorithm {algorithm:?}")),
    };
    fits.map_err(|_| "the signature does not fit".to_owned())?;
    Ok((header, claims))
}
