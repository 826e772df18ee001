//! The token that a server can want of its callers: random, for one run of it, and told in the discovery record alone, which
//! other users of the machine cannot read. Where it is asked for is in `crate::edge`.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ClaimError, random_hex};

/// The token of one run of a server: 64 hexadecimal digits.
#[derive(Clone)]
pub struct CallerToken(SecretString);

impl CallerToken {
    /// A new one from the system's random numbers.
    pub fn random() -> Result<Self, ClaimError> {
        Ok(Self(random_hex::<32>()?.into()))
    }

    /// The token itself, for a request to the server that wrote the record.
    pub fn secret(&self) -> &SecretString {
        &self.0
    }

    /// Whether a caller has shown this token.
    pub(crate) fn is(&self, shown: &str) -> bool {
        is_same(self.0.expose_secret().as_bytes(), shown.as_bytes())
    }
}

impl PartialEq for CallerToken {
    fn eq(&self, other: &Self) -> bool {
        self.is(other.0.expose_secret())
    }
}

impl Eq for CallerToken {}

impl fmt::Debug for CallerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallerToken([redacted])")
    }
}

impl Serialize for CallerToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

impl<'de> Deserialize<'de> for CallerToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(String::deserialize(deserializer)?.into()))
    }
}

/// Compares in a time that does not tell where the texts differ.
pub(super) fn is_same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .fold(0, |difference, (left, right)| difference | (left ^ right))
            == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_is_its_own_and_is_printed_nowhere() {
        let (one, other) = (
            CallerToken::random().unwrap(),
            CallerToken::random().unwrap(),
        );
        assert_ne!(one, other);
        let text = one.0.expose_secret();
        assert!(text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert!(one.is(text) && !one.is("") && !one.is(&text[..63]));
        assert!(!format!("{one:?}").contains(text));
        let told = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<CallerToken>(&told).unwrap(), one);
    }
}
