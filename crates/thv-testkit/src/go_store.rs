//! The encrypted secrets file as the Go program writes and reads it, with nothing but the cryptography: AES-256-GCM under
//! the SHA-256 of the password, the nonce first, no header and no associated data.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand::fill;
use serde_json::{Value, json};

use crate::jwt::sha256;

/// The bytes of a file that holds `secrets`, an object of names and values.
///
/// # Panics
/// When there is no randomness.
pub fn seal(password: &str, secrets: &Value) -> Vec<u8> {
    let mut nonce = [0_u8; NONCE_LEN];
    fill(&mut nonce).expect("random bytes");
    let mut sealed = json!({ "secrets": secrets }).to_string().into_bytes();
    key(password)
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::empty(),
            &mut sealed,
        )
        .expect("a sealed file");
    [nonce.to_vec(), sealed].concat()
}

/// The secrets in a file: an object of names and values.
///
/// # Panics
/// When the file does not open with this password.
pub fn open(password: &str, file: &[u8]) -> Value {
    let (nonce, sealed) = file.split_at(NONCE_LEN);
    let mut sealed = sealed.to_vec();
    let plain = key(password)
        .open_in_place(
            Nonce::try_assume_unique_for_key(nonce).expect("a nonce"),
            Aad::empty(),
            &mut sealed,
        )
        .expect("a file that opens");
    let mut document: Value = serde_json::from_slice(plain).expect("JSON");
    document["secrets"].take()
}

fn key(password: &str) -> LessSafeKey {
    let bytes = sha256(password.as_bytes());
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &bytes).expect("a key of 32 bytes"))
}
