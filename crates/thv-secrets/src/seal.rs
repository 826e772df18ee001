//! Sealing: a value that opens only for the key and the purpose it was closed for.
//!
//! AES-256-GCM with a random nonce. The associated data is what the value is bound to: a sealed
//! value copied to another place, where other associated data is expected, does not open. The text
//! begins with its version, so that a later format can be told apart and refused politely.

use std::fmt;

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use secrecy::SecretSlice;
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

/// Length of a key in bytes.
pub const KEY_BYTES: usize = 32;
pub(crate) const NONCE_BYTES: usize = 12;
pub(crate) const TAG_BYTES: usize = 16;
/// What a sealed text begins with.
const VERSION: &str = "thv1.";

/// Why a sealed value did not open, or none could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The text is sealed in a way this program does not know: probably by a newer one.
    #[error("the value is sealed in a format this program does not know")]
    UnknownVersion,
    /// The text is no sealed value.
    #[error("the value is not a sealed value")]
    Malformed,
    /// Another key, other associated data, or a changed text; which one cannot be told.
    #[error("the sealed value was made for another purpose or with another key, or was changed")]
    Refused,
    /// The operating system has no randomness to give.
    #[error("the operating system gives no random bytes: {cause}")]
    NoRandomness {
        /// What it said.
        cause: String,
    },
}

/// Seals and opens values with one key.
#[derive(Clone)]
pub struct Sealer {
    key: Zeroizing<[u8; KEY_BYTES]>,
}

impl Sealer {
    /// A sealer with the given key.
    pub fn new(key: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        Self { key }
    }

    /// A sealer whose key is derived from `master` for `purpose`: the extraction step of HKDF
    /// (RFC 5869 section 2.2) with SHA-256 and the purpose as salt. Different purposes cannot open
    /// each other's values, and none of them reveals `master`.
    pub fn derived(master: &[u8; KEY_BYTES], purpose: &str) -> Self {
        let salt = format!("thv seal: {purpose}");
        let (mut extracted, _) = Hkdf::<Sha256>::extract(Some(salt.as_bytes()), master);
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        key.copy_from_slice(&extracted);
        extracted.as_mut_slice().zeroize();
        Self { key }
    }

    /// Closes `plaintext` for whoever knows the key and `associated`. The text is ASCII without
    /// spaces, about four thirds as long as `plaintext`.
    pub fn seal(&self, plaintext: &[u8], associated: &[u8]) -> Result<String, SealError> {
        let bytes = encrypt(&self.key, plaintext, associated)?;
        Ok(format!("{VERSION}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Opens what [`Sealer::seal`] closed with the same key and `associated`.
    pub fn open(&self, sealed: &str, associated: &[u8]) -> Result<SecretSlice<u8>, SealError> {
        let Some(encoded) = sealed.strip_prefix(VERSION) else {
            return Err(match sealed.split_once('.') {
                Some((version, _)) if version.starts_with("thv") => SealError::UnknownVersion,
                _ => SealError::Malformed,
            });
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| SealError::Malformed)?;
        decrypt(&self.key, &bytes, associated).map(|mut plaintext| {
            let bytes: Vec<u8> = std::mem::take(&mut *plaintext);
            SecretSlice::from(bytes)
        })
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sealer(..)")
    }
}

/// `nonce ‖ ciphertext ‖ tag` with a fresh random nonce.
pub(crate) fn encrypt(
    key: &[u8; KEY_BYTES],
    plaintext: &[u8],
    associated: &[u8],
) -> Result<Vec<u8>, SealError> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|error| SealError::NoRandomness {
        cause: error.to_string(),
    })?;
    encrypt_with(key, nonce, plaintext, associated)
}

/// The same with a given nonce, which must never be used twice with one key.
fn encrypt_with(
    key: &[u8; KEY_BYTES],
    nonce: [u8; NONCE_BYTES],
    plaintext: &[u8],
    associated: &[u8],
) -> Result<Vec<u8>, SealError> {
    let payload = Payload {
        msg: plaintext,
        aad: associated,
    };
    // Fails only beyond 64 GiB.
    let sealed = Aes256Gcm::new(key.into())
        .encrypt((&nonce).into(), payload)
        .map_err(|_| SealError::Malformed)?;
    let mut bytes = Vec::with_capacity(NONCE_BYTES + sealed.len());
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(&sealed);
    Ok(bytes)
}

/// Opens `nonce ‖ ciphertext ‖ tag`.
pub(crate) fn decrypt(
    key: &[u8; KEY_BYTES],
    bytes: &[u8],
    associated: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (nonce, sealed) = bytes
        .split_first_chunk::<NONCE_BYTES>()
        .filter(|(_, sealed)| sealed.len() >= TAG_BYTES)
        .ok_or(SealError::Malformed)?;
    let payload = Payload {
        msg: sealed,
        aad: associated,
    };
    Aes256Gcm::new(key.into())
        .decrypt(nonce.into(), payload)
        .map(Zeroizing::new)
        .map_err(|_| SealError::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    fn sealer(byte: u8) -> Sealer {
        Sealer::new(Zeroizing::new([byte; KEY_BYTES]))
    }

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn a_sealed_value_opens_for_its_own_purpose_only() {
        let sealed = sealer(1).seal(b"token", b"registry a").unwrap();
        let opened = sealer(1).open(&sealed, b"registry a").unwrap();
        assert_eq!(opened.expose_secret(), b"token");
        for refused in [
            sealer(1).open(&sealed, b"registry b"),
            sealer(1).open(&sealed, b""),
            sealer(2).open(&sealed, b"registry a"),
        ] {
            assert_eq!(refused.unwrap_err(), SealError::Refused);
        }
    }

    #[test]
    fn two_seals_of_one_value_differ() {
        let first = sealer(1).seal(b"token", b"").unwrap();
        assert_ne!(first, sealer(1).seal(b"token", b"").unwrap());
    }

    #[test]
    fn case_89_a_newer_format_is_told_apart_from_rubbish() {
        let opened = |text| sealer(1).open(text, b"").unwrap_err();
        assert_eq!(opened("thv2.AAAA"), SealError::UnknownVersion);
        for rubbish in [
            "",
            "thv1.",
            "thv1.!",
            "thv1.AAAA",
            "eyJhbGciOi.x.y",
            "plain",
        ] {
            assert_eq!(opened(rubbish), SealError::Malformed, "{rubbish}");
        }
    }

    #[test]
    fn a_changed_character_is_refused() {
        let sealed = sealer(1).seal(b"token", b"a").unwrap();
        for at in VERSION.len()..sealed.len() - 1 {
            let mut text = sealed.clone().into_bytes();
            text[at] = if text[at] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(text).unwrap();
            assert_eq!(sealer(1).open(&text, b"a").unwrap_err(), SealError::Refused);
        }
    }

    #[test]
    fn derived_keys_differ_by_purpose_and_by_master() {
        let sealed = Sealer::derived(&[7; 32], "grants").seal(b"x", b"").unwrap();
        assert!(
            Sealer::derived(&[7; 32], "grants")
                .open(&sealed, b"")
                .is_ok()
        );
        for other in [
            Sealer::derived(&[7; 32], "other"),
            Sealer::derived(&[8; 32], "grants"),
            Sealer::new(Zeroizing::new([7; 32])),
        ] {
            assert_eq!(other.open(&sealed, b"").unwrap_err(), SealError::Refused);
        }
    }

    #[test]
    fn a_sealer_does_not_print_its_key() {
        assert_eq!(format!("{:?}", sealer(0x41)), "Sealer(..)");
    }

    #[test]
    fn appendix_a_the_file_vector_holds_both_ways() {
        let key: [u8; 32] =
            unhex("4104d36f8da2c254349f85836793ebe029e0c957063a34c91c2e9203187b5631")
                .try_into()
                .unwrap();
        let file = unhex(
            "000102030405060708090a0b74e58f05683606559ad639c95d07318bb35be3a435fc85a5168daa1966e21b29dc03c83d4c",
        );
        let plaintext = br#"{"secrets":{"a":"b"}}"#;
        let nonce = std::array::from_fn(|at| u8::try_from(at).unwrap());
        assert_eq!(encrypt_with(&key, nonce, plaintext, b"").unwrap(), file);
        assert_eq!(decrypt(&key, &file, b"").unwrap().as_slice(), plaintext);
    }

    proptest! {
        #[test]
        fn any_text_opens_or_is_refused_without_a_panic(text in "(thv1\\.)?[A-Za-z0-9_.-]{0,120}") {
            prop_assert!(sealer(1).open(&text, b"").is_err());
        }
    }
}
