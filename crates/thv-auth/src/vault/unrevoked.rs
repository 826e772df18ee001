//! Tokens that a logout deleted here and could not give back, because their provider was out of reach: kept until the
//! provider takes them, or it is no longer worth trying.
//!
//! Each is a sealed record of its own beside the grants, out of reach of everything that reads grants: it can be given back and
//! nothing else. Its name is made of the binding and the token, and is sealed into it, so that a record put elsewhere does
//! not open. When one is tried again is decided in [`crate::logout`].

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thv_secrets::{Patience, Scope, Sealer, SecretName, SecretsError};
use zeroize::Zeroizing;

use super::{Vault, VaultError, edit};
use crate::binding::{Binding, hex};
use crate::grant::{RecordError, TokenFingerprint};
use crate::limits::UNREVOKED_MAX;
use crate::oauth::TokenHint;
use crate::pin::Pin;

/// What the sealing key is derived for: not the one of grants, so that neither opens as the other.
const SEAL_PURPOSE: &str = "registry tokens to give back";

/// The names of these records begin with this. They are none of the registry scope, which a logout empties.
const PREFIX: &str = "REVOCATION_";

/// The layout of the record.
const VERSION: u32 = 1;

/// A token to give back.
#[derive(Clone, Debug)]
pub struct Unrevoked {
    /// What it was issued for. It goes to this issuer and to nobody else.
    pub binding: Binding,
    /// What has to be as it was at the login for the token to be sent.
    pub pin: Option<Pin>,
    /// The token.
    pub token: SecretString,
    /// Which kind of token it is.
    pub hint: TokenHint,
    /// When its logout was, by our clock.
    pub since: Timestamp,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried again, by our clock.
    pub next: Timestamp,
}

/// The record as JSON, for nobody but `seal` and `open`: it shows its token.
#[derive(Serialize, Deserialize)]
struct Record {
    v: u32,
    registry: String,
    issuer: String,
    client_id: String,
    audience: Option<String>,
    resource: Option<String>,
    scopes: Vec<String>,
    allow_private_ip: bool,
    pin: Option<Pin>,
    token: String,
    is_refresh_token: bool,
    since: Timestamp,
    tries: u32,
    next: Timestamp,
}

// === impl Unrevoked ===

impl Unrevoked {
    fn name(&self) -> SecretName {
        let digest = Sha256::new()
            .chain_update(self.binding.associated_data())
            .chain_update(TokenFingerprint::of(&self.token).to_hex())
            .finalize();
        SecretName::system(Scope::Auth, &format!("{PREFIX}{}", hex(&digest)))
    }

    fn seal(&self, key: &Sealer, name: &SecretName) -> Result<SecretString, VaultError> {
        let record = Record {
            v: VERSION,
            registry: self.binding.configured_url.clone(),
            issuer: self.binding.issuer.clone(),
            client_id: self.binding.client_id.clone(),
            audience: self.binding.audience.clone(),
            resource: self.binding.resource.clone(),
            scopes: self.binding.scopes.clone(),
            allow_private_ip: self.binding.allow_private_ip,
            pin: self.pin.clone(),
            token: self.token.expose_secret().to_owned(),
            is_refresh_token: self.hint == TokenHint::RefreshToken,
            since: self.since,
            tries: self.tries,
            next: self.next,
        };
        let json = serde_json::to_vec(&record).map_err(|error| malformed(&error))?;
        // Its only other copy is in a string that the allocator blanks.
        let json = Zeroizing::new(json);
        let sealed = key
            .seal(&json, name.as_str().as_bytes())
            .map_err(RecordError::from)?;
        Ok(sealed.into())
    }

    fn open(sealed: &SecretString, key: &Sealer, name: &SecretName) -> Result<Self, VaultError> {
        let json = key
            .open(sealed.expose_secret(), name.as_str().as_bytes())
            .map_err(RecordError::from)?;
        let record: Record =
            serde_json::from_slice(json.expose_secret()).map_err(|error| malformed(&error))?;
        if record.v != VERSION {
            return Err(RecordError::Newer { found: record.v }.into());
        }
        let mut binding = Binding::new(&record.registry, &record.issuer, &record.client_id)
            .map_err(|_| RecordError::Malformed {
                cause: "its registry has no URL".to_owned(),
            })?;
        binding.audience = record.audience;
        binding.resource = record.resource;
        binding.scopes = record.scopes;
        binding.allow_private_ip = record.allow_private_ip;
        Ok(Self {
            binding,
            pin: record.pin,
            token: record.token.into(),
            hint: if record.is_refresh_token {
                TokenHint::RefreshToken
            } else {
                TokenHint::AccessToken
            },
            since: record.since,
            tries: record.tries,
            next: record.next,
        })
    }
}

/// A fault of JSON, told without what it found.
fn malformed(error: &serde_json::Error) -> RecordError {
    RecordError::Malformed {
        cause: format!("its JSON breaks off in column {}", error.column()),
    }
}

// === impl Vault ===

impl Vault {
    /// Keeps these tokens, and returns how many there was room for: beyond [`UNREVOKED_MAX`] none is added.
    pub fn keep_unrevoked(&self, tokens: &[Unrevoked]) -> Result<usize, VaultError> {
        if tokens.is_empty() {
            return Ok(0);
        }
        let store = self.source.open(Patience::Request)?;
        let key = store.sealer(SEAL_PURPOSE)?;
        edit(store.as_ref(), |secrets| {
            let mut kept = 0;
            for token in tokens {
                let name = token.name();
                let there = secrets.names().filter(|name| is_unrevoked(name)).count();
                if there >= UNREVOKED_MAX && secrets.get(&name).is_none() {
                    break;
                }
                secrets.set(&name, token.seal(&key, &name)?);
                kept += 1;
            }
            Ok(kept)
        })
    }

    /// The tokens that wait to be given back. Records that do not open are left alone and not counted.
    pub fn unrevoked(&self) -> Result<Vec<Unrevoked>, VaultError> {
        let store = match self.source.open(Patience::Request) {
            Ok(store) => store,
            Err(SecretsError::NotSetUp { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        if !store.capabilities().write {
            return Ok(Vec::new());
        }
        let names: Vec<SecretName> = store
            .list()?
            .into_iter()
            .map(|listed| listed.name)
            .filter(|name| is_unrevoked(name.as_str()))
            .collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let key = store.sealer(SEAL_PURPOSE)?;
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            let Some(sealed) = store.get(&name)? else {
                continue;
            };
            match Unrevoked::open(&sealed, &key, &name) {
                Ok(token) if token.name() == name => found.push(token),
                Ok(_) => tracing::warn!("a token to give back is under a name that is not its own"),
                Err(error) => tracing::warn!(%error, "a token to give back cannot be read"),
            }
        }
        Ok(found)
    }

    /// Forgets a token: it was given back, or is not tried again.
    pub fn forget_unrevoked(&self, token: &Unrevoked) -> Result<(), VaultError> {
        let store = self.source.open(Patience::Request)?;
        let name = token.name();
        edit(store.as_ref(), |secrets| {
            secrets.remove(&name);
            Ok(())
        })
    }
}

fn is_unrevoked(name: &str) -> bool {
    let scope = SecretName::system(Scope::Auth, PREFIX);
    name.starts_with(scope.as_str())
}
