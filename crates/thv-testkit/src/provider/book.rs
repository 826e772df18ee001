//! What the provider remembers: codes, families of refresh tokens, opaque access tokens, and every secret it saw.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::behaviour::User;
use crate::jwt;
use crate::proof::Proofs;

/// Why a family of tokens came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A refresh token that had been used came again.
    Reused,
    /// A code that had been used came again.
    CodeReplayed,
    /// The client revoked it.
    Revoked,
    /// The test did, in the role of an administrator.
    ByAdministrator,
}

/// Everything that came from one login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// The client it belongs to.
    pub client: String,
    /// Who signed in.
    pub subject: String,
    /// What was granted.
    pub scopes: Vec<String>,
    /// For which resources.
    pub resources: Vec<String>,
    /// How often it was refreshed.
    pub refreshes: usize,
    /// The thumbprint of the key that its tokens are bound to.
    pub key: Option<String>,
    /// Why it no longer lives; `None` while it does.
    pub ended: Option<Ended>,
    pub(super) nonce: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Code {
    pub(super) family: Family,
    pub(super) redirect_uri: String,
    pub(super) challenge: String,
    /// The key that the authorization request named (RFC 9449 section 10).
    pub(super) key: Option<String>,
    pub(super) refreshable: bool,
    pub(super) expires: i64,
    /// The family it became.
    pub(super) used: Option<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct Refresh {
    pub(super) family: usize,
    pub(super) expires: Option<i64>,
    pub(super) used: bool,
}

/// What a person has made of a device code.
#[derive(Clone, Debug)]
pub(super) enum Decision {
    /// Nothing yet.
    Open,
    /// Somebody signed in under this name and agreed.
    Agreed(String),
    /// Somebody refused.
    Refused,
}

/// A code that somebody is to type in.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) user_code: String,
    pub(super) family: Family,
    pub(super) refreshable: bool,
    pub(super) expires: i64,
    /// The shortest pause between two polls, in seconds.
    pub(super) interval: i64,
    /// When it was polled last.
    pub(super) polled: Option<i64>,
    pub(super) decision: Decision,
    pub(super) used: bool,
}

/// The whole memory, behind one lock: each request is handled in one step, as a real provider's transaction.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) codes: HashMap<String, Code>,
    /// By their device codes.
    pub(super) devices: HashMap<String, Device>,
    pub(super) families: Vec<Family>,
    pub(super) refresh: HashMap<String, Refresh>,
    /// Opaque access tokens and what they stand for.
    pub(super) opaque: HashMap<String, (usize, Value)>,
    pub(super) access: HashMap<String, usize>,
    /// What the users to come will do, in order.
    pub(super) users: std::collections::VecDeque<User>,
    /// Identifiers of assertions that were used.
    pub(super) assertions: BTreeSet<String>,
    pub(super) proofs: Proofs,
    secrets: BTreeSet<String>,
}

impl Book {
    /// Makes up a secret and remembers it.
    pub(super) fn secret(&mut self) -> String {
        let secret = jwt::random(32);
        self.remember(&secret);
        secret
    }

    /// Remembers a secret, for tests that look for leaks.
    pub(super) fn remember(&mut self, secret: &str) {
        // Short ones are a test's own odd input and would be found everywhere.
        if secret.len() >= 16 {
            self.secrets.insert(secret.to_owned());
        }
    }

    pub(super) fn secrets(&self) -> Vec<String> {
        self.secrets.iter().cloned().collect()
    }

    pub(super) fn end(&mut self, family: usize, why: Ended) {
        self.families[family].ended.get_or_insert(why);
    }

    /// A refresh token for a family.
    pub(super) fn refresh_token(&mut self, family: usize, expires: Option<i64>) -> String {
        let token = self.secret();
        self.refresh.insert(
            token.clone(),
            Refresh {
                family,
                expires,
                used: false,
            },
        );
        token
    }

    /// What an opaque token stands for, while its family lives.
    pub(super) fn introspect(&self, token: &str) -> Option<Value> {
        let (family, claims) = self.opaque.get(token)?;
        self.families[*family]
            .ended
            .is_none()
            .then(|| claims.clone())
    }
}
