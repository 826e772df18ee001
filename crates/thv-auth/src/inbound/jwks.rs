//! The issuer's signing keys, as its JWK set lists them (RFC 7517).
//!
//! Reading only; when the set is fetched is decided in `issuer`.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// Keys that can check a signature.
#[derive(Clone, Debug, Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
}

#[derive(Clone, Debug)]
struct Key {
    id: String,
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// The algorithms tokens may be signed with: RSA and ECDSA. Shared secrets have no place where the keys are public.
pub(super) fn is_accepted(algorithm: Algorithm) -> bool {
    RSA.contains(&algorithm) || matches!(algorithm, Algorithm::ES256 | Algorithm::ES384)
}

impl KeySet {
    /// Reads a JWK set. Keys of kinds we do not use, without an id, or damaged, are left out: an issuer may list them for others.
    pub(super) fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Listed {
            keys: Vec<Value>,
        }
        let listed: Listed = serde_json::from_slice(json)?;
        let keys = listed
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value(key).ok())
            .filter_map(|key| usable(&key));
        Ok(Self {
            keys: keys.collect(),
        })
    }

    /// Whether a key of this id is listed, whatever its kind.
    pub(super) fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id == id)
    }

    /// The keys of this id that fit the algorithm. Ids should be unique and are not always.
    pub(super) fn find<'a>(
        &'a self,
        id: &'a str,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a DecodingKey> {
        self.keys
            .iter()
            .filter(move |key| key.id == id && key.algorithms.contains(&algorithm))
            .map(|key| &key.decoding)
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

fn usable(jwk: &Jwk) -> Option<Key> {
    let common = &jwk.common;
    let for_signatures = match &common.public_key_use {
        None | Some(PublicKeyUse::Signature) => true,
        Some(_) => false,
    };
    let may_verify = common
        .key_operations
        .as_ref()
        .is_none_or(|allowed| allowed.contains(&KeyOperations::Verify));
    if !for_signatures || !may_verify {
        return None;
    }
    let by_kind: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &RSA,
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return None,
        },
        _ => return None,
    };
    let algorithms = match common.key_algorithm {
        None => by_kind.to_vec(),
        Some(named) => {
            let named = named.to_string().parse::<Algorithm>().ok()?;
            by_kind
                .iter()
                .copied()
                .filter(|algorithm| *algorithm == named)
                .collect()
        }
    };
    Some(Key {
        id: common.key_id.clone()?,
        algorithms,
        decoding: DecodingKey::from_jwk(jwk).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EC: &str = r#""kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM""#;

    fn set(keys: &[&str]) -> KeySet {
        KeySet::parse(format!("{{\"keys\":[{}]}}", keys.join(",")).as_bytes()).expect("set")
    }

    #[test]
    fn keys_that_do_not_check_signatures_are_left_out() {
        let keys = set(&[
            &format!(r#"{{{EC},"kid":"plain"}}"#),
            &format!(r#"{{{EC},"kid":"sig","use":"sig","alg":"ES256"}}"#),
            &format!(r#"{{{EC},"kid":"enc","use":"enc"}}"#),
            &format!(r#"{{{EC},"kid":"sign-only","key_ops":["sign"]}}"#),
            &format!("{{{EC}}}"),
            r#"{"kty":"oct","k":"c2VjcmV0","kid":"shared"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"ed"}"#,
            r#"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA","kid":"curve"}"#,
            r#"{"kty":"new","kid":"future"}"#,
            "7",
        ]);
        assert_eq!(keys.len(), 2);
        assert_eq!(keys.find("plain", Algorithm::ES256).count(), 1);
        assert_eq!(keys.find("sig", Algorithm::ES256).count(), 1);
        assert_eq!(keys.find("plain", Algorithm::ES384).count(), 0);
        assert_eq!(keys.find("plain", Algorithm::RS256).count(), 0);
    }

    #[test]
    fn only_public_key_signatures_are_accepted() {
        for algorithm in [
            Algorithm::HS256,
            Algorithm::HS384,
            Algorithm::HS512,
            Algorithm::EdDSA,
        ] {
            assert!(!is_accepted(algorithm), "{algorithm:?}");
        }
        for algorithm in RSA.into_iter().chain([Algorithm::ES256, Algorithm::ES384]) {
            assert!(is_accepted(algorithm), "{algorithm:?}");
        }
    }

    #[test]
    fn what_is_no_key_set_is_an_error() {
        for json in ["", "[]", "{}", r#"{"keys":7}"#, "<html>"] {
            assert!(KeySet::parse(json.as_bytes()).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn no_input_makes_the_reader_panic(json in ".*") {
            let _ = KeySet::parse(json.as_bytes());
            let _ = KeySet::parse(format!("{{\"keys\":[{{\"kty\":{json:?},\"kid\":\"a\"}}]}}").as_bytes());
        }
    }
}
