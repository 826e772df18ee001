//! Where the clients are kept that this program has registered for itself: one sealed record per issuer and set of redirect
//! URIs, beside the grants and replaced by compare-and-swap like them.
//!
//! A client that is registered where there is one waits beside it until somebody has logged in as it: until then it may turn out
//! to be of no use, and grants may depend on the secret of the one before.
//!
//! A client outlives logins and logouts, so that a provider does not collect one per login. How one is registered is in
//! [`crate::oauth::registration`]; when, in `bare_url`.

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thv_secrets::{Patience, SealError, Sealer, SecretMap, SecretName, SecretsError};
use zeroize::Zeroizing;

use super::{SEAL_PURPOSE, Vault, VaultError, edit};
use crate::binding::hex;
use crate::grant::RecordError;
use crate::oauth::ClientAuthentication;
use crate::oauth::registration::Registration;

/// The names of all these records begin with this, in the `registry` scope.
const PREFIX: &str = "REGISTRY_CLIENT_";

/// The names of the records of clients that nobody has logged in as begin with this, where another one is in their place.
const NEXT_PREFIX: &str = "REGISTRY_CLIENT_NEXT_";

/// The names of what leads from a client identifier to its record begin with this.
const INDEX_PREFIX: &str = "REGISTRY_CLIENT_ID_";

/// The layout of the record. A record with a higher number is left alone.
const VERSION: u32 = 1;

/// The one member that every version has.
#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

/// The clients of one issuer and set of redirect URIs.
#[derive(Clone, Debug, Default)]
pub struct KeptClients {
    /// The one that logins are made as.
    pub current: Option<Registration>,
    /// One that was registered since, which nobody has logged in as yet.
    pub next: Option<Registration>,
}

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
    /// The clients that this program has registered at `issuer` for exactly these redirect URIs. A record that cannot be read
    /// counts as none, unless a newer version of this program wrote it.
    pub fn registrations(
        &self,
        issuer: &str,
        redirect_uris: &[String],
    ) -> Result<KeptClients, VaultError> {
        let store = match self.source.open(Patience::Request) {
            Ok(store) => store,
            Err(SecretsError::NotSetUp { .. }) => return Ok(KeptClients::default()),
            Err(error) => return Err(error.into()),
        };
        let read = |prefix| {
            let name = name_of(prefix, issuer, redirect_uris);
            match store.get(&name)? {
                Some(sealed) => known(open(&sealed, &store.sealer(SEAL_PURPOSE)?, &name)),
                None => Ok(None),
            }
        };
        Ok(KeptClients {
            current: read(PREFIX)?,
            next: read(NEXT_PREFIX)?,
        })
    }

    /// The client `client_id` at `issuer`, if this program has registered it. A record that cannot be read counts as none, unless
    /// a newer version of this program wrote it.
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
        let client = known(open(&sealed, &key, &name))?;
        Ok(client.filter(|client| client.issuer == issuer && client.client_id == client_id))
    }

    /// Keeps `client`, which was registered when these were the clients that were kept: beside the one that logins are made as,
    /// or in its place where there is none. Fails with [`VaultError::Moved`] when somebody else has registered meanwhile.
    pub fn keep_registration(
        &self,
        seen: &KeptClients,
        client: &Registration,
    ) -> Result<(), VaultError> {
        let store = self.source.open(Patience::Login)?;
        let key = store.sealer(SEAL_PURPOSE)?;
        edit(store.as_ref(), |secrets| {
            let now = KeptClients::within(secrets, &key, client)?;
            if now.ids() != seen.ids() {
                return Err(VaultError::Moved);
            }
            let prefix = match now.current {
                Some(_) => NEXT_PREFIX,
                None => PREFIX,
            };
            forget(secrets, now.next.as_ref());
            put(secrets, &key, prefix, client)
        })
    }

    /// Somebody has logged in as `client`: it takes the place of the one before, which is forgotten.
    pub fn settle_registration(&self, client: &Registration) -> Result<(), VaultError> {
        let store = self.source.open(Patience::Login)?;
        let key = store.sealer(SEAL_PURPOSE)?;
        edit(store.as_ref(), |secrets| {
            let now = KeptClients::within(secrets, &key, client)?;
            let is_next = now.next.as_ref().is_some_and(|next| is_same(next, client));
            if is_next {
                let name = name_of(NEXT_PREFIX, &client.issuer, &client.redirect_uris);
                secrets.remove(&name);
            }
            forget(secrets, now.current.as_ref());
            put(secrets, &key, PREFIX, client)
        })
    }
}

// === impl KeptClients ===

impl KeptClients {
    /// The clients in the places where `client` belongs.
    fn within(
        secrets: &SecretMap,
        key: &Sealer,
        client: &Registration,
    ) -> Result<Self, VaultError> {
        let read = |prefix| {
            let name = name_of(prefix, &client.issuer, &client.redirect_uris);
            let opened = secrets.get(&name).map(|sealed| open(sealed, key, &name));
            opened.map_or(Ok(None), known)
        };
        Ok(Self {
            current: read(PREFIX)?,
            next: read(NEXT_PREFIX)?,
        })
    }

    fn ids(&self) -> [Option<&str>; 2] {
        [&self.current, &self.next].map(|client| {
            let client = client.as_ref()?;
            Some(client.client_id.as_str())
        })
    }
}

/// A record that cannot be read is one more reason to register, but for one that is only too new: whoever wrote it uses it.
fn known(opened: Result<Registration, VaultError>) -> Result<Option<Registration>, VaultError> {
    match opened {
        Ok(client) => Ok(Some(client)),
        Err(error @ VaultError::Record(RecordError::Newer { .. })) => Err(error),
        Err(VaultError::Record(error)) => {
            tracing::debug!(%error, "a registered client is not used");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is_same(one: &Registration, other: &Registration) -> bool {
    one.issuer == other.issuer && one.client_id == other.client_id
}

/// Writes the client, and what leads to it from its identifier.
fn put(
    secrets: &mut SecretMap,
    key: &Sealer,
    prefix: &str,
    client: &Registration,
) -> Result<(), VaultError> {
    let name = name_of(prefix, &client.issuer, &client.redirect_uris);
    secrets.set(&name, seal(client, key, &name)?);
    let index = index_of(&client.issuer, &client.client_id);
    secrets.set(&index, name.as_str().to_owned().into());
    Ok(())
}

/// Nothing leads to the client any more.
fn forget(secrets: &mut SecretMap, client: Option<&Registration>) {
    if let Some(client) = client {
        secrets.remove(&index_of(&client.issuer, &client.client_id));
    }
}

/// Whether the secret of this name is a client's, which a logout leaves.
pub(super) fn is_client_record(name: &str) -> bool {
    name.strip_prefix(super::REGISTRY_SCOPE)
        .is_some_and(|bare| bare.starts_with(PREFIX))
}

/// The name of the record.
fn name_of(prefix: &str, issuer: &str, redirect_uris: &[String]) -> SecretName {
    let mut uris: Vec<&str> = redirect_uris.iter().map(String::as_str).collect();
    uris.sort_unstable();
    uris.dedup();
    named(prefix, std::iter::once(issuer).chain(uris))
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
    let plaintext = plaintext.expose_secret();
    let not_one = |_| malformed("it is not the JSON of a client".to_owned());
    let Versioned { v } = serde_json::from_slice(plaintext).map_err(not_one)?;
    if v > VERSION {
        return Err(RecordError::Newer { found: v }.into());
    }
    let record: Record = serde_json::from_slice(plaintext).map_err(not_one)?;
    let authentication = match (record.method, record.secret) {
        (Method::None, _) => ClientAuthentication::None,
        (Method::ClientSecretBasic, Some(secret)) => ClientAuthentication::SecretBasic(secret),
        (Method::ClientSecretPost, Some(secret)) => ClientAuthentication::SecretPost(secret),
        (Method::ClientSecretBasic | Method::ClientSecretPost, None) => {
            return Err(malformed("its secret is missing".to_owned()));
        }
    };
    let places =
        [PREFIX, NEXT_PREFIX].map(|prefix| name_of(prefix, &record.issuer, &record.redirect_uris));
    if !places.contains(name) {
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
