//! The forms of the secrets file, from bytes to secrets and back.
//!
//! The first form is the Go program's: `nonce ‖ ciphertext ‖ tag` of AES-256-GCM under the SHA-256 of the
//! password, with no header. The second, which only this program reads, begins with a header that names
//! itself and how the key is derived (Argon2id, RFC 9106), and the header is authenticated with the rest.
//! Files, locks and where passwords come from are the business of others.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use crate::key::FileKey;
use crate::plaintext;
use crate::seal::{self, KEY_BYTES, NONCE_BYTES, SealError, TAG_BYTES};
use crate::store::SecretMap;

/// The most that the secrets of a file may be together, as JSON.
pub const PLAINTEXT_MAX_BYTES: u64 = 32 * 1024 * 1024;
/// The most that a secrets file may be.
pub(crate) const FILE_MAX_BYTES: u64 =
    PLAINTEXT_MAX_BYTES + (HEADER_BYTES + NONCE_BYTES + TAG_BYTES) as u64;

/// What a file with a header begins with; the byte behind it is the form's number. The first form begins with
/// random bytes, which are these once in 2^88.
const MAGIC: &[u8; 11] = b"thv-secrets";
const SALT_BYTES: usize = 16;
/// Magic, number, memory, passes, lanes, salt.
const HEADER_BYTES: usize = MAGIC.len() + 1 + 3 * 4 + SALT_BYTES;

/// RFC 9106 section 4, the recommendation for memory-constrained machines: 64 MiB, three passes, four lanes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;
/// A header beyond these costs is not worked off: whoever can write the file could stop the program with it.
const MEMORY_MAX_KIB: u32 = 256 * 1024;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;

/// In which form a secrets file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The Go program's: the key is the SHA-256 of the password.
    One,
    /// Ours alone: the key is derived slowly.
    Two(Derivation),
}

/// How the key of a file of the second form is derived from its password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Derivation {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: [u8; SALT_BYTES],
}

/// Why bytes are no secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The password is another one, or the bytes were changed.
    #[error("it does not open with this password")]
    Refused,
    /// The bytes are no secrets file, or one of a newer version.
    #[error("{0}")]
    Unusable(String),
    /// There are more secrets than a file may hold.
    #[error("the secrets are more than {PLAINTEXT_MAX_BYTES} bytes")]
    TooLarge,
    /// The operating system has no randomness to give.
    #[error("the operating system gives no random bytes: {0}")]
    NoRandomness(String),
}

impl Form {
    /// The form of `bytes`, which are not empty.
    pub fn of(bytes: &[u8]) -> Result<Self, FormError> {
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return Ok(Self::One);
        };
        match rest.split_first() {
            Some((2, rest)) => Derivation::read(rest).map(Self::Two),
            Some((number, _)) => Err(FormError::Unusable(format!(
                "it is in form {number}, which a newer version of thv wrote"
            ))),
            None => Err(FormError::Unusable("it ends within its header".to_owned())),
        }
    }

    /// The second form with a salt of its own.
    pub fn two() -> Result<Self, FormError> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|error| FormError::NoRandomness(error.to_string()))?;
        Ok(Self::Two(Derivation {
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt,
        }))
    }

    /// Its number.
    pub fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two(_) => 2,
        }
    }

    fn header(self) -> Vec<u8> {
        let Self::Two(derivation) = self else {
            return Vec::new();
        };
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        header.push(self.number());
        for number in [derivation.memory_kib, derivation.passes, derivation.lanes] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        header.extend_from_slice(&derivation.salt);
        header
    }
}

impl fmt::Display for Form {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::One => "1 (SHA-256, shared with the Go program)",
            Self::Two(_) => "2 (Argon2id, this program only)",
        })
    }
}

impl Derivation {
    fn read(header: &[u8]) -> Result<Self, FormError> {
        let cut = || FormError::Unusable("it ends within its header".to_owned());
        let (memory, rest) = header.split_first_chunk::<4>().ok_or_else(cut)?;
        let (passes, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let (lanes, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let (salt, _) = rest.split_first_chunk::<SALT_BYTES>().ok_or_else(cut)?;
        let derivation = Self {
            memory_kib: u32::from_le_bytes(*memory),
            passes: u32::from_le_bytes(*passes),
            lanes: u32::from_le_bytes(*lanes),
            salt: *salt,
        };
        let bounded = derivation.memory_kib <= MEMORY_MAX_KIB
            && derivation.passes <= PASSES_MAX
            && derivation.lanes <= LANES_MAX;
        if !bounded || derivation.params().is_err() {
            return Err(FormError::Unusable(
                "its header asks for a key derivation out of all bounds".to_owned(),
            ));
        }
        Ok(derivation)
    }

    fn params(&self) -> argon2::Result<Params> {
        Params::new(self.memory_kib, self.passes, self.lanes, Some(KEY_BYTES))
    }

    /// Argon2id over the SHA-256 of the password: what the first form has as its key, so that the password itself
    /// need not be remembered.
    fn derive(&self, key: &FileKey) -> Result<Zeroizing<[u8; KEY_BYTES]>, FormError> {
        let failed = |error: argon2::Error| FormError::Unusable(error.to_string());
        let params = self.params().map_err(failed)?;
        let mut derived = Zeroizing::new([0; KEY_BYTES]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(key.bytes(), &self.salt, derived.as_mut_slice())
            .map_err(failed)?;
        Ok(derived)
    }
}

/// Opens and closes files, and remembers the last key that was derived: that takes a tenth of a second.
#[derive(Default)]
pub(crate) struct Forms {
    derived: Mutex<Option<Derived>>,
}

struct Derived {
    derivation: Derivation,
    from: Zeroizing<[u8; KEY_BYTES]>,
    key: Zeroizing<[u8; KEY_BYTES]>,
}

impl Forms {
    /// The secrets in `bytes`, which are not empty, and their form.
    pub(crate) fn open(&self, key: &FileKey, bytes: &[u8]) -> Result<(SecretMap, Form), FormError> {
        let form = Form::of(bytes)?;
        let header = form.header();
        let sealed = bytes.get(header.len()..).unwrap_or_default();
        let key = self.key(form, key)?;
        let plain = seal::decrypt(&key, sealed, &header).map_err(|error| match error {
            SealError::Refused => FormError::Refused,
            _ => FormError::Unusable("it is too short to be a secrets file".to_owned()),
        })?;
        Ok((read_content(&plain)?, form))
    }

    /// The bytes of a file in `form` that holds `secrets`.
    pub(crate) fn close(
        &self,
        key: &FileKey,
        form: Form,
        secrets: &SecretMap,
    ) -> Result<Vec<u8>, FormError> {
        let plain = plaintext::render(secrets).map_err(FormError::Unusable)?;
        if u64::try_from(plain.len()).unwrap_or(u64::MAX) > PLAINTEXT_MAX_BYTES {
            return Err(FormError::TooLarge);
        }
        let mut bytes = form.header();
        let key = self.key(form, key)?;
        let sealed = seal::encrypt(&key, &plain, &bytes).map_err(|error| match error {
            SealError::NoRandomness { cause } => FormError::NoRandomness(cause),
            other => FormError::Unusable(other.to_string()),
        })?;
        bytes.extend_from_slice(&sealed);
        Ok(bytes)
    }

    /// Whoever comes while a key is derived waits for it rather than deriving it, too.
    fn key(&self, form: Form, key: &FileKey) -> Result<Zeroizing<[u8; KEY_BYTES]>, FormError> {
        let Form::Two(derivation) = form else {
            return Ok(Zeroizing::new(*key.bytes()));
        };
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = derived.as_ref()
            && known.derivation == derivation
            && *known.from == *key.bytes()
        {
            return Ok(known.key.clone());
        }
        let fresh = derivation.derive(key)?;
        *derived = Some(Derived {
            derivation,
            from: Zeroizing::new(*key.bytes()),
            key: fresh.clone(),
        });
        Ok(fresh)
    }
}

/// The secrets in the bytes of a file in either form: the reader alone, for tools and for fuzzing.
pub fn open(password: &str, bytes: &[u8]) -> Result<SecretMap, FormError> {
    let key = FileKey::from_password(password, String::new(), false);
    Forms::default()
        .open(&key, bytes)
        .map(|(secrets, _)| secrets)
}

/// The secrets in the plain content of a file, which is inside what [`open`] opens.
pub fn read_content(plaintext: &[u8]) -> Result<SecretMap, FormError> {
    plaintext::parse(plaintext).map_err(FormError::Unusable)
}

#[cfg(test)]
mod tests;
