//! The scopes that a registry has asked for beyond those of a login, kept until somebody logs in again (RFC 6750 section 3.1,
//! `insufficient_scope`).
//!
//! They are a note beside the grant and no part of it: a renewal that is in flight does not find its record moved. They lead to no
//! login by themselves.

use secrecy::ExposeSecret as _;
use thv_secrets::{Patience, SecretName, SecretsError};

use super::{Vault, VaultError, edit};
use crate::binding::Binding;
use crate::limits::STEP_UP_SCOPES_MAX;
use crate::oauth::challenge::is_scope;

impl Vault {
    /// Notes that the registry wants `scopes` too. Those that the login asks for anyway are not noted, nor are more than a
    /// login may grow by. Whether anything new was noted.
    pub fn want_scopes(&self, binding: &Binding, scopes: &[String]) -> Result<bool, VaultError> {
        let store = self.source.open(Patience::Request)?;
        if !store.capabilities().write {
            return Ok(false);
        }
        let name = note_of(binding);
        let known = store.get(&name)?.map(|note| read(note.expose_secret()));
        let known = known.unwrap_or_default();
        let wanted = grown(binding, &known, scopes);
        if wanted == known {
            return Ok(false);
        }
        edit(store.as_ref(), |secrets| {
            secrets.set(&name, wanted.join(" ").into());
            Ok(true)
        })
    }

    /// What the registry wanted beyond the scopes of `binding`.
    pub fn wanted_scopes(&self, binding: &Binding) -> Result<Vec<String>, VaultError> {
        let store = match self.source.open(Patience::Request) {
            Ok(store) => store,
            Err(SecretsError::NotSetUp { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let note = store.get(&note_of(binding))?;
        let noted = note.map(|note| read(note.expose_secret()));
        // What was noted is a stranger's wish still.
        Ok(grown(binding, &[], &noted.unwrap_or_default()))
    }
}

/// The noted scopes with `more`, within what a login may grow by.
fn grown(binding: &Binding, noted: &[String], more: &[String]) -> Vec<String> {
    let mut grown = noted.to_vec();
    for scope in more {
        let is_new = is_scope(scope) && !binding.scopes.contains(scope) && !grown.contains(scope);
        if is_new && binding.scopes.len() + grown.len() < STEP_UP_SCOPES_MAX {
            grown.push(scope.clone());
        }
    }
    grown
}

fn read(note: &str) -> Vec<String> {
    note.split_whitespace().map(str::to_owned).collect()
}

fn note_of(binding: &Binding) -> SecretName {
    let key = binding.key();
    let digits = key.rsplit('_').next().unwrap_or_default();
    SecretName::registry(&format!("REGISTRY_SCOPES_{digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_grows_by_what_is_new_and_not_without_end() {
        let mut binding =
            Binding::new("https://r.example", "https://id.example", "thv").expect("binding");
        binding.scopes = vec!["a".to_owned()];
        let texts = |scopes: &[&str]| -> Vec<String> {
            scopes.iter().map(|&scope| scope.to_owned()).collect()
        };
        assert_eq!(
            grown(&binding, &[], &texts(&["a", "b", "b", "c d", ""])),
            ["b"]
        );
        assert_eq!(grown(&binding, &texts(&["b"]), &texts(&["c"])), ["b", "c"]);
        let many: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        assert_eq!(grown(&binding, &[], &many).len(), STEP_UP_SCOPES_MAX - 1);
        assert!(note_of(&binding).as_str().contains("REGISTRY_SCOPES_"));
    }
}
