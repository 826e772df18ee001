//! Who logged in last to a registry, kept beside the grants: a login with other settings (scopes, client, resource) has a record of its
//! own, and is no less a login of somebody. Written with the grant of a login, and deleted with everything else at a logout.

use secrecy::ExposeSecret as _;
use thv_http::secrecy;
use thv_secrets::{Patience, SecretMap, SecretName};

use super::{SEAL_PURPOSE, Vault, VaultError, edit, put, record_name};
use crate::binding::Binding;
use crate::grant::Grant;
use crate::oauth::Account;

const PREFIX: &str = "REGISTRY_ACCOUNT_";

/// What became of the grant of a new login.
pub(crate) enum Arrival {
    /// It is stored.
    Stored {
        /// As it was stored.
        grant: Box<Grant>,
        /// The grant whose place it took, where that was known to be somebody else's.
        other: Option<Box<Grant>>,
        /// Who that was, or who logged in last with other settings.
        replaced: Option<Account>,
    },
    /// It is not: this account logged in before, and the login may not take its place.
    Refused(Account),
}

impl Vault {
    /// Writes the grant of a new login as [`Vault::replace`] does, unless somebody logged in before of whom `admits` says no. `before`
    /// is what is configured, which may be something else than what the grant is for. Nobody writes in between.
    pub(crate) fn arrive(
        &self,
        before: &Binding,
        binding: &Binding,
        grant: &Grant,
        admits: impl Fn(&Account) -> bool,
    ) -> Result<Arrival, VaultError> {
        let store = self.source.open(Patience::Login)?;
        let key = store.sealer(SEAL_PURPOSE)?;
        let arrival = edit(store.as_ref(), |secrets| {
            let sealed = secrets.get(&record_name(before));
            let known =
                sealed.and_then(|sealed| Grant::open(sealed, &key, &before.associated_data()).ok());
            let who = known.as_ref().and_then(|known| known.account.clone());
            let who = who.or_else(|| noted(secrets, binding));
            if let Some(who) = &who
                && !admits(who)
            {
                return Ok(Arrival::Refused(who.clone()));
            }
            let stored = put(secrets, &key, binding, grant, true, |_| true)?;
            let is_other = |who: &Account| {
                let now = grant.account.as_ref();
                now.is_some_and(|now| !now.is_same(who))
            };
            let replaced = who.filter(is_other);
            let belongs = |known: &Grant| known.account.as_ref().is_some_and(is_other);
            Ok(Arrival::Stored {
                grant: Box::new(stored),
                other: known.filter(belongs).map(Box::new),
                replaced,
            })
        });
        self.touched();
        arrival
    }
}

/// Notes who has logged in.
pub(super) fn note(secrets: &mut SecretMap, binding: &Binding, account: &Account) {
    // Text and nothing but text: writing it does not fail.
    if let Ok(text) = serde_json::to_string(account) {
        secrets.set(&name_of(binding), text.into());
    }
}

fn noted(secrets: &SecretMap, binding: &Binding) -> Option<Account> {
    read(secrets.get(&name_of(binding))?.expose_secret())
}

/// A note that cannot be read says nothing.
fn read(note: &str) -> Option<Account> {
    serde_json::from_str(note).ok()
}

/// Whether that is the name of such a note.
pub(super) fn is_note(name: &str) -> bool {
    name.starts_with(SecretName::registry(PREFIX).as_str())
}

fn name_of(binding: &Binding) -> SecretName {
    SecretName::registry(&format!("{PREFIX}{}", binding.place()))
}
