//! How a grant reads in the store: JSON with a version, sealed for its binding.

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use thv_secrets::{SealError, Sealer};
use zeroize::Zeroizing;

use super::{Death, Grant, GrantOrigin, RefreshIntent};
use crate::oauth::{Account, ProofKey};
use crate::pin::Pin;

/// The newest layout of the record. A record with a higher number is left alone.
const VERSION: u32 = 2;

/// The layout without a key, which programs before this one can read.
const VERSION_WITHOUT_KEY: u32 = 1;

/// Why a stored record cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It does not open for this binding.
    #[error(transparent)]
    Sealed(#[from] SealError),
    /// It was written by a newer version of this program.
    #[error(
        "the stored login has the format {found}, and this program knows only {VERSION}: a newer one wrote it"
    )]
    Newer {
        /// The version in the record.
        found: u32,
    },
    /// It is not a grant.
    #[error("the stored login is not one: {cause}")]
    Malformed {
        /// What is wrong with it; never a token.
        cause: String,
    },
}

/// The record as JSON, for nobody but [`Grant::seal`] and [`Grant::open`]: it shows its tokens.
#[derive(Serialize, Deserialize)]
struct Record {
    v: u32,
    generation: u64,
    login_id: String,
    origin: GrantOrigin,
    #[serde(default, with = "shown")]
    access_token: Option<SecretString>,
    #[serde(default, with = "shown")]
    refresh_token: Option<SecretString>,
    token_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "shown")]
    proof_key: Option<SecretString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    received_at: Timestamp,
    clock_offset_ms: i64,
    scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Account>,
    #[serde(skip_serializing_if = "Option::is_none")]
    intent: Option<RefreshIntent>,
    /// Programs before this one do not know it, and lose nothing by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forced_at: Option<Timestamp>,
    /// As above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    renewed_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pin: Option<Pin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead: Option<Death>,
}

/// A token in plain text.
pub(crate) mod shown {
    use secrecy::{ExposeSecret, SecretString};
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[expect(clippy::ref_option, reason = "the shape that serde wants")]
    pub(crate) fn serialize<S: Serializer>(
        token: &Option<SecretString>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        token
            .as_ref()
            .map(ExposeSecret::expose_secret)
            .serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SecretString>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(SecretString::from))
    }
}

/// The one member that every version has.
#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

// === impl Grant ===

impl Grant {
    /// Seals the grant for the binding whose associated data these are.
    pub(crate) fn seal(
        &self,
        key: &Sealer,
        associated: &[u8],
    ) -> Result<SecretString, RecordError> {
        let record = Record {
            // Whoever does not know the key would renew without it, and end the login.
            v: match self.proof_key {
                Some(_) => VERSION,
                None => VERSION_WITHOUT_KEY,
            },
            generation: self.generation,
            login_id: self.login_id.clone(),
            origin: self.origin,
            access_token: self.access_token.clone(),
            refresh_token: self.refresh_token.clone(),
            token_type: self.token_type.clone(),
            proof_key: self.proof_key.as_ref().map(|key| key.stored().clone()),
            expires_at: self.expires_at,
            received_at: self.received_at,
            clock_offset_ms: i64::try_from(self.clock_offset.as_millis()).unwrap_or_default(),
            scopes: self.scopes.clone(),
            account: self.account.clone(),
            intent: self.intent.clone(),
            forced_at: self.forced_at,
            renewed_at: self.renewed_at,
            pin: self.pin.clone(),
            dead: self.dead.clone(),
        };
        let plaintext = serde_json::to_vec(&record).map_err(malformed)?;
        let sealed = key.seal(&Zeroizing::new(plaintext), associated)?;
        Ok(SecretString::from(sealed))
    }

    /// Opens what [`Grant::seal`] made for the same binding.
    pub(crate) fn open(
        sealed: &SecretString,
        key: &Sealer,
        associated: &[u8],
    ) -> Result<Self, RecordError> {
        let plaintext = key.open(sealed.expose_secret(), associated)?;
        let plaintext = plaintext.expose_secret();
        let Versioned { v } = serde_json::from_slice(plaintext).map_err(malformed)?;
        if v > VERSION {
            return Err(RecordError::Newer { found: v });
        }
        let record: Record = serde_json::from_slice(plaintext).map_err(malformed)?;
        let proof_key = record.proof_key.as_ref().map(ProofKey::from_stored);
        let proof_key = proof_key
            .transpose()
            .map_err(|fault| RecordError::Malformed {
                cause: fault.to_string(),
            })?;
        Ok(Self {
            generation: record.generation,
            login_id: record.login_id,
            origin: record.origin,
            access_token: record.access_token,
            refresh_token: record.refresh_token,
            token_type: record.token_type,
            proof_key,
            expires_at: record.expires_at,
            received_at: record.received_at,
            clock_offset: SignedDuration::from_millis(record.clock_offset_ms),
            scopes: record.scopes,
            account: record.account,
            intent: record.intent,
            forced_at: record.forced_at,
            renewed_at: record.renewed_at,
            pin: record.pin,
            dead: record.dead,
        })
    }
}

/// The cause without the text around it, which may hold a token.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn malformed(error: serde_json::Error) -> RecordError {
    RecordError::Malformed {
        cause: format!(
            "{:?} at line {}, column {}",
            error.classify(),
            error.line(),
            error.column()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::tests::grant;

    fn sealer() -> Sealer {
        Sealer::derived(&[7; 32], "test")
    }

    #[test]
    fn a_sealed_grant_opens_for_its_binding_and_for_no_other() {
        let mut grant = grant("a-token", Some("r-token"), Some(3600));
        grant.account = Some(Account {
            issuer: "https://id.example".into(),
            sub: "ann".into(),
            email: Some("ann@example.com".into()),
            name: None,
        });
        grant.intent = Some(RefreshIntent {
            generation: 3,
            token: grant.refresh_fingerprint().unwrap().to_hex(),
            at: Timestamp::UNIX_EPOCH,
        });
        let sealed = grant.seal(&sealer(), b"binding").unwrap();
        assert!(!sealed.expose_secret().contains("token"));
        let opened = Grant::open(&sealed, &sealer(), b"binding").unwrap();
        assert_eq!(opened.access_fingerprint(), grant.access_fingerprint());
        assert_eq!(opened.refresh_fingerprint(), grant.refresh_fingerprint());
        assert_eq!(opened.expires_at, grant.expires_at);
        assert_eq!(opened.account, grant.account);
        assert!(opened.has_unknown_outcome());
        assert!(matches!(
            Grant::open(&sealed, &sealer(), b"another"),
            Err(RecordError::Sealed(SealError::Refused))
        ));
    }

    #[test]
    fn f89_a_key_is_stored_with_its_tokens_and_only_then_is_the_record_of_the_newer_layout() {
        let version = |grant: &Grant| {
            let sealed = grant.seal(&sealer(), b"b").unwrap();
            let plain = sealer().open(sealed.expose_secret(), b"b").unwrap();
            let record: serde_json::Value = serde_json::from_slice(plain.expose_secret()).unwrap();
            (record["v"].clone(), Grant::open(&sealed, &sealer(), b"b"))
        };
        let mut grant = grant("a", Some("r"), Some(60));
        assert_eq!(version(&grant).0, 1);
        grant.forced_at = Timestamp::from_second(1_000_000).ok();
        let (noted, opened) = version(&grant);
        assert_eq!(
            noted, 1,
            "whoever does not know when a renewal was forced loses nothing"
        );
        assert_eq!(opened.unwrap().forced_at, grant.forced_at);
        grant.proof_key = Some(ProofKey::generate().unwrap());
        let (version, opened) = version(&grant);
        assert_eq!(version, 2);
        assert_eq!(opened.unwrap().proof_key, grant.proof_key);
        let damaged = sealer()
            .seal(br#"{"v":2,"generation":1,"login_id":"l","origin":"login","token_type":"DPoP","proof_key":"canary","received_at":"2026-01-01T00:00:00Z","clock_offset_ms":0,"scopes":[]}"#, b"b")
            .unwrap();
        let error = Grant::open(&damaged.into(), &sealer(), b"b").unwrap_err();
        assert!(!error.to_string().contains("canary"), "{error}");
    }

    #[test]
    fn f89_a_record_of_a_newer_version_is_named_and_not_read() {
        let sealed = sealer()
            .seal(br#"{"v":3,"generation":"odd"}"#, b"b")
            .unwrap();
        let error = Grant::open(&sealed.into(), &sealer(), b"b").unwrap_err();
        assert_eq!(error, RecordError::Newer { found: 3 });
    }

    #[test]
    fn a_malformed_record_is_described_without_its_content() {
        let sealed = sealer()
            .seal(br#"{"v":1,"generation":"canary"}"#, b"b")
            .unwrap();
        let error = Grant::open(&sealed.into(), &sealer(), b"b").unwrap_err();
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}
