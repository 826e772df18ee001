//! Where the clients are kept that this program has registered for itself: one sealed record per issuer and set of redirect
//! URIs, beside the grants and replaced by compare-and-swap like them.
//!
//! A client outlives logins and logouts, so that a provider does not collect one per login. How one is registered is in
//! [`crate::oauth::registration`]; when, in `bare_url`.

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thv_secrets::{Patience, SealError, Sealer, SecretName, SecretsError};
use zeroize::Zeroizing;

use super::{SEAL_PURPOSE, Vault, VaultError, edit};
use crate::binding::hex;
use crate::grant::RecordError;
use crate::oauth::ClientAuthentication;
use crate::oauth::registration::Registration;

/// The names of all these records begin with this, in the `registry` scope.
const PREFIX: &str = "REGISTRY_CLIENT_";

/// The names of what leads from a client identifier to its record begin with this.
const INDEX_PREFIX: &str = "REGISTRY_CLIENT_ID_";

/// The layout of the record. A record with a higher number is left alone.
const VERSION: u32 = 1;

/// The record as JSON, for nobody but this file: it shows the secret.
#[derive(Serialize, Deserialize)]
struct Record {
    v: u32,
    issuer: String,
    redirect_uris: Vec<String>,
    client_id: String,
    method: Method,
    #[serde(default, with = "crate::grant::shown")]
    secret: Option<SecretString>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret_expires_at: Option<Timestamp>,
    token_host: String,
}

/// How the client proves itself, in the words of RFC 7591 section 2.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Method {
    None,
    ClientSecretBasic,
    ClientSecretPost,
}

impl Vault {
    /// The client that this program has registered at `issuer` for exactly these redirect URIs.
    pub fn registration(
        &self,
        issuer: &str,
        redirect_uris: &[String],
    ) -> Result<Option<Registration>, VaultError> {
        let store = match self.source.open(Patience::Request) {
            Ok(store) => store,
            Err(SecretsError::NotSetUp { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let name = name_of(issuer, redirect_uris);
        let Some(sealed) = store.get(&name)? else {
            return Ok(None);
        };
        let key = store.sealer(SEAL_PURPOSE)?;
        Ok(Some(open(&sealed, &key, &name)?))
    }

    /// The client `client_id` at `issuer`, if this program has registered it. A record that does not open is none.
    pub fn registration_of(
        &self,
        issuer: &str,
        client_id: &str,
    ) -> Result<Option<Registration>, VaultError> {
        let store = match self.source.open(Patience::Request) {
            Ok(store) => store,
            Err(SecretsError::NotSetUp { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(name) = store.get(&index_of(issuer, client_id))? else {
            return Ok(None);
        };
        let Ok(name) = SecretName::stored(name.expose_secret()) else {
            return Ok(None);
        };
        let Some(sealed) = store.get(&name)? else {
            return Ok(None);
        };
        let key = store.sealer(SEAL_PURPOSE)?;
        let client = open(&sealed, &key, &name).ok();
        Ok(client.filter(|client| client.issuer == issuer && client.client_id == client_id))
    }

    /// Keeps `client` in the place of the one with the identifier `expected`, or where there is none. Fails with
    /// [`VaultError::Moved`] when somebody else has registered meanwhile. A record that does not open counts as none.
    pub fn keep_registration(
        &self,
        expected: Option<&str>,
        client: &Registration,
    ) -> Result<(), VaultError> {
        let store = self.source.open(Patience::Login)?;
        let key = store.sealer(SEAL_PURPOSE)?;
        let name = name_of(&client.issuer, &client.redirect_uris);
        edit(store.as_ref(), |secrets| {
            let before = secrets
                .get(&name)
                .and_then(|sealed| open(sealed, &key, &name).ok());
            if before.as_ref().map(|before| before.client_id.as_str()) != expected {
                return Err(VaultError::Moved);
            }
            if let Some(before) = before {
                secrets.remove(&index_of(&before.issuer, &before.client_id));
            }
            secrets.set(&name, seal(client, &key, &name)?);
            let index = index_of(&client.issuer, &client.client_id);
            secrets.set(&index, name.as_str().to_owned().into());
            Ok(())
        })
    }
}

/// Whether the secret of this name is a client's, which a logout leaves.
pub(super) fn is_client_record(name: &str) -> bool {
    name.strip_prefix(super::REGISTRY_SCOPE)
        .is_some_and(|bare| bare.starts_with(PREFIX))
}

/// The name of the record.
fn name_of(issuer: &str, redirect_uris: &[String]) -> SecretName {
    let mut uris: Vec<&str> = redirect_uris.iter().map(String::as_str).collect();
    uris.sort_unstable();
    uris.dedup();
    named(PREFIX, std::iter::once(issuer).chain(uris))
}

/// The name under which the name of a client's record is.
fn index_of(issuer: &str, client_id: &str) -> SecretName {
    named(INDEX_PREFIX, [issuer, client_id])
}

/// `prefix` and 64 hex digits of SHA-256 over the parts, each with its length.
fn named<'p>(prefix: &str, parts: impl IntoIterator<Item = &'p str>) -> SecretName {
    let mut digest = Sha256::new();
    for text in parts {
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text);
    }
    SecretName::registry(&format!("{prefix}{}", hex(&digest.finalize())))
}

fn associated(name: &SecretName) -> Vec<u8> {
    [b"thv registry client 1\0", name.as_str().as_bytes()].concat()
}

fn seal(
    client: &Registration,
    key: &Sealer,
    name: &SecretName,
) -> Result<SecretString, VaultError> {
    let record = Record {
        v: VERSION,
        issuer: client.issuer.clone(),
        redirect_uris: client.redirect_uris.clone(),
        client_id: client.client_id.clone(),
        method: match client.authentication {
            ClientAuthentication::None => Method::None,
            ClientAuthentication::SecretBasic(_) => Method::ClientSecretBasic,
            ClientAuthentication::SecretPost(_) => Method::ClientSecretPost,
        },
        secret: client.authentication.secret().cloned(),
        secret_expires_at: client.secret_expires_at,
        token_host: client.token_host.clone(),
    };
    let plaintext = serde_json::to_vec(&record).map_err(|error| malformed(error.to_string()))?;
    let sealed = key
        .seal(&Zeroizing::new(plaintext), &associated(name))
        .map_err(sealed_error)?;
    Ok(SecretString::from(sealed))
}

fn open(
    sealed: &SecretString,
    key: &Sealer,
    name: &SecretName,
) -> Result<Registration, VaultError> {
    let plaintext = key
        .open(sealed.expose_secret(), &associated(name))
        .map_err(sealed_error)?;
    let record: Record = serde_json::from_slice(plaintext.expose_secret())
        .map_err(|_| malformed("it is not the JSON of a client".to_owned()))?;
    if record.v > VERSION {
        return Err(RecordError::Newer { found: record.v }.into());
    }
    let authentication = match (record.method, record.secret) {
        (Method::None, _) => ClientAuthentication::None,
        (Method::ClientSecretBasic, Some(secret)) => ClientAuthentication::SecretBasic(secret),
        (Method::ClientSecretPost, Some(secret)) => ClientAuthentication::SecretPost(secret),
        (Method::ClientSecretBasic | Method::ClientSecretPost, None) => {
            return Err(malformed("its secret is missing".to_owned()));
        }
    };
    if name_of(&record.issuer, &record.redirect_uris) != *name {
        return Err(malformed("it is kept under another's name".to_owned()));
    }
    Ok(Registration {
        issuer: record.issuer,
        redirect_uris: record.redirect_uris,
        client_id: record.client_id,
        authentication,
        secret_expires_at: record.secret_expires_at,
        token_host: record.token_host,
    })
}

fn malformed(cause: String) -> VaultError {
    RecordError::Malformed { cause }.into()
}

fn sealed_error(error: SealError) -> VaultError {
    RecordError::from(error).into()
}
