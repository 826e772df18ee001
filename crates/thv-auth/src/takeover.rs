//! The logins that the Go program stores, and how they become ours.
//!
//! It keeps a refresh token under `REGISTRY_OAUTH_` and eight hex digits, and an access token with its expiry under the same
//! name with `_AT`; both in the `registry` scope or, from older versions, under the bare name. The name says registry and
//! issuer, so that a login for another registry is never found here, whatever reference the configuration holds. The same
//! names in the environment are inputs that cannot be taken away.

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use thv_secrets::{SecretMap, SecretName, SecretStore, SecretsError};

use crate::binding::Binding;
use crate::grant::{Grant, GrantOrigin, TokenFingerprint};
use crate::vault::WipedTokens;

/// A login as the Go program stores it. Holds at least one token.
#[derive(Debug)]
pub(crate) struct GoLogin {
    refresh: Option<SecretString>,
    access: Option<AccessToken>,
}

#[derive(Debug)]
struct AccessToken {
    token: SecretString,
    expires_at: Timestamp,
}

/// What the store and its environment hold for the binding.
pub(crate) fn read(
    store: &dyn SecretStore,
    binding: &Binding,
) -> Result<Option<GoLogin>, SecretsError> {
    let [refresh, access] = names(binding);
    let refresh = store.get(&refresh)?;
    let access = store.get(&access)?;
    Ok(GoLogin::of(refresh.as_ref(), access.as_ref()))
}

/// What the store itself holds for the binding.
pub(crate) fn find(secrets: &SecretMap, binding: &Binding) -> Option<GoLogin> {
    let [refresh, access] = names(binding);
    GoLogin::of(secrets.get_or_bare(&refresh), secrets.get_or_bare(&access))
}

/// Takes the login out of the store. A refresh token there is newer than `before`, as ours replaced all that was there; an
/// access token alone is worth less than a grant that lives.
pub(crate) fn take(
    secrets: &mut SecretMap,
    binding: &Binding,
    before: Option<&Grant>,
) -> Option<GoLogin> {
    let login = find(secrets, binding)?;
    for name in names(binding) {
        secrets.remove(&name);
        if let Some(bare) = name.bare() {
            secrets.remove(&bare);
        }
    }
    let is_alive = before.is_some_and(|before| before.dead.is_none());
    (login.refresh.is_some() || !is_alive).then_some(login)
}

fn names(binding: &Binding) -> [SecretName; 2] {
    let name = binding.go_name();
    [
        SecretName::registry(&name),
        SecretName::registry(&format!("{name}_AT")),
    ]
}

// === impl GoLogin ===

impl GoLogin {
    fn of(refresh: Option<&SecretString>, access: Option<&SecretString>) -> Option<Self> {
        let login = Self {
            refresh: refresh
                .filter(|token| !token.expose_secret().is_empty())
                .cloned(),
            access: access.and_then(AccessToken::parse),
        };
        (login.refresh.is_some() || login.access.is_some()).then_some(login)
    }

    /// The grant under the name `login_id`, found at `now`.
    pub(crate) fn into_grant(self, login_id: String, now: Timestamp) -> Grant {
        let (access_token, expires_at) = match self.access {
            Some(access) => (Some(access.token), Some(access.expires_at)),
            None => (None, None),
        };
        Grant {
            generation: 0,
            login_id,
            origin: GrantOrigin::TakenOver,
            access_token,
            refresh_token: self.refresh,
            token_type: "Bearer".to_owned(),
            proof_key: None,
            expires_at,
            received_at: now,
            clock_offset: SignedDuration::ZERO,
            scopes: Vec::new(),
            account: None,
            intent: None,
            pin: None,
            forced_at: None,
            renewed_at: None,
            dead: None,
        }
    }

    /// The grant of tokens that were given in the environment: named by them, so that other ones are another login.
    pub(crate) fn into_environment_grant(self, now: Timestamp) -> Grant {
        let token = self
            .refresh
            .as_ref()
            .or(self.access.as_ref().map(|access| &access.token));
        let fingerprint = token.map(TokenFingerprint::of);
        let login_id = fingerprint.map_or_else(String::new, |token| {
            token.to_hex().chars().take(32).collect()
        });
        Grant {
            generation: fingerprint.map_or(0, TokenFingerprint::as_generation),
            origin: GrantOrigin::Environment,
            ..self.into_grant(login_id, now)
        }
    }

    pub(crate) fn into_tokens(self) -> WipedTokens {
        WipedTokens {
            refresh: self.refresh,
            access: self.access.map(|access| access.token),
            pin: None,
        }
    }
}

// === impl AccessToken ===

impl AccessToken {
    /// Reads `<token>|<RFC 3339>`, split at the last bar. Anything else, the empty value included, is no token.
    fn parse(value: &SecretString) -> Option<Self> {
        let (token, expiry) = value.expose_secret().rsplit_once('|')?;
        let expires_at = expiry.parse().ok()?;
        (!token.is_empty()).then(|| Self {
            token: token.to_owned().into(),
            expires_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> Binding {
        Binding::new(
            "https://registry.example.com",
            "https://auth.example.com",
            "thv",
        )
        .unwrap()
    }

    fn map(entries: &[(&str, &str)]) -> SecretMap {
        entries
            .iter()
            .map(|(name, value)| ((*name).to_owned(), SecretString::from((*value).to_owned())))
            .collect()
    }

    #[test]
    fn f13_scoped_and_bare_names_are_both_found_and_both_removed() {
        let mut secrets = map(&[
            ("__thv_registry_REGISTRY_OAUTH_e037e405", "new"),
            ("REGISTRY_OAUTH_e037e405", "old"),
            ("REGISTRY_OAUTH_e037e405_AT", "at|2026-03-19T16:22:54Z"),
            ("REGISTRY_OAUTH_d0667e63", "of another registry"),
        ]);
        let login = take(&mut secrets, &binding(), None).unwrap();
        assert_eq!(login.refresh.as_ref().unwrap().expose_secret(), "new");
        let grant = login.into_grant("id".into(), Timestamp::UNIX_EPOCH);
        assert_eq!(
            grant.expires_at.unwrap().to_string(),
            "2026-03-19T16:22:54Z"
        );
        assert_eq!(
            secrets.names().collect::<Vec<_>>(),
            ["REGISTRY_OAUTH_d0667e63"]
        );
    }

    #[test]
    fn d7_empty_absent_and_malformed_access_tokens_are_misses() {
        for value in ["", "token", "token|", "token|soon", "|2026-03-19T16:22:54Z"] {
            let secrets = map(&[("__thv_registry_REGISTRY_OAUTH_e037e405_AT", value)]);
            assert!(find(&secrets, &binding()).is_none(), "{value:?}");
        }
        let odd = "a|b|2026-03-19T16:22:54Z";
        let secrets = map(&[("__thv_registry_REGISTRY_OAUTH_e037e405_AT", odd)]);
        let access = find(&secrets, &binding()).unwrap().access.unwrap();
        assert_eq!(access.token.expose_secret(), "a|b");
    }

    #[test]
    fn an_access_token_alone_does_not_replace_a_living_grant() {
        let entries = [(
            "__thv_registry_REGISTRY_OAUTH_e037e405_AT",
            "at|2026-03-19T16:22:54Z",
        )];
        let living = crate::grant::tests::grant("a", Some("r"), None);
        let mut secrets = map(&entries);
        assert!(take(&mut secrets, &binding(), Some(&living)).is_none());
        assert!(secrets.is_empty());
        assert!(take(&mut map(&entries), &binding(), None).is_some());
    }

    #[test]
    fn a_login_in_the_environment_is_named_by_its_token() {
        let of = |token: &str| {
            let secrets = map(&[("REGISTRY_OAUTH_e037e405", token)]);
            let login = find(&secrets, &binding()).unwrap();
            login.into_environment_grant(Timestamp::UNIX_EPOCH)
        };
        assert_eq!(of("a").generation, of("a").generation);
        assert_ne!(of("a").login_id, of("b").login_id);
        assert_eq!(of("a").origin, GrantOrigin::Environment);
    }
}
