//! A grant: what a provider gave us for one binding, and what is known of its fate.
//!
//! It is one value that is sealed, stored and deleted as a whole. How it reads on disk is decided in `record`; where it is
//! kept and who may replace it, in [`crate::vault`]; when it is renewed, in [`crate::refresh`].

mod record;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::credentials::LoginReason;
use crate::limits::FORCED_FLOOR_ACROSS;
use crate::oauth::dpop::TOKEN_TYPE;
use crate::oauth::{Account, ProofKey, TokenHint, TokenSet};
use crate::pin::Pin;
use crate::skew::{believed, shifted};

pub use record::RecordError;
pub(crate) use record::shown;

/// What a provider gave us for one [`Binding`](crate::binding::Binding). Never empty: it holds an access token, a refresh
/// token or both. Never printed with its tokens.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Numbers the stored states of this binding's record: each write has a number of its own, and none is used twice.
    pub generation: u64,
    /// Names the login that this grant comes from: 32 hex digits that stay the same through all renewals.
    pub login_id: String,
    /// How it got here.
    pub origin: GrantOrigin,
    /// The token to read with; a grant taken over from the Go program may have none yet.
    pub access_token: Option<SecretString>,
    /// The token to renew with.
    pub refresh_token: Option<SecretString>,
    /// The type of the access token, `Bearer` or `DPoP` in some spelling.
    pub token_type: String,
    /// The key that was shown at the login. The refresh token is bound to it (RFC 9449 section 5), and the access token where its type
    /// says so.
    pub proof_key: Option<ProofKey>,
    /// When the access token expires, by the provider's clock; `None` when nobody said.
    pub expires_at: Option<Timestamp>,
    /// When the access token was received, by the provider's clock.
    pub received_at: Timestamp,
    /// How far the provider's clock was ahead of ours then.
    pub clock_offset: SignedDuration,
    /// The granted scopes, as far as the provider named them.
    pub scopes: Vec<String>,
    /// Who logged in, when an ID token told.
    pub account: Option<Account>,
    /// A renewal that began and of which no end is known.
    pub intent: Option<RefreshIntent>,
    /// When the registry's refusal of the access token before this one forced the renewal that brought it, by our clock. Another process
    /// does not force the next one at once.
    pub forced_at: Option<Timestamp>,
    /// When the tokens were last renewed, by our clock; absent where they are those of the login.
    pub renewed_at: Option<Timestamp>,
    /// What must stay as it was at the login; absent for tokens that came another way.
    pub pin: Option<Pin>,
    /// Why it can be used no longer. A dead grant is kept until the next login, so that it is not tried again.
    pub dead: Option<Death>,
}

/// How a grant got here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantOrigin {
    /// Somebody logged in with this program.
    Login,
    /// Taken over from a login with the Go program.
    TakenOver,
    /// Given in the environment; read only, and never stored.
    Environment,
}

/// A note written before a refresh token is spent (RFC 6749 section 6): whoever finds it without its owner knows that the
/// token may be spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshIntent {
    /// The generation that was read before.
    pub generation: u64,
    /// SHA-256 of the refresh token, 64 hex digits.
    pub token: String,
    /// When it was written, by our clock.
    pub at: Timestamp,
}

/// The end of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// Why.
    pub reason: DeathReason,
    /// When it was noticed, by our clock.
    pub at: Timestamp,
}

/// Why a grant can be used no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeathReason {
    /// The provider said that the refresh token is not valid (`invalid_grant`).
    Revoked,
    /// The same, after a renewal whose answer was never seen: that renewal may have replaced the token.
    OutcomeUnknown,
    /// A renewal brought tokens of somebody else.
    AccountMismatch,
    /// The registry names another issuer, or the issuer another host for tokens.
    IssuerChanged,
    /// A renewal brought a token that is not bound to the login's key, where that is required.
    NotBound,
}

// === impl Grant ===

impl Grant {
    /// The grant of a login that has just ended with `tokens`, at `now` by our clock. Its generation is decided when it is
    /// stored.
    pub fn of_login(
        tokens: TokenSet,
        account: Option<Account>,
        asked: &[String],
        login_id: String,
        now: Timestamp,
    ) -> Self {
        let clock_offset = offset_of(&tokens, now).unwrap_or_default();
        let received_at = shifted(now, clock_offset);
        Self {
            generation: 0,
            login_id,
            origin: GrantOrigin::Login,
            expires_at: expiry(&tokens, received_at),
            received_at,
            clock_offset,
            scopes: tokens.scopes.unwrap_or_else(|| asked.to_vec()),
            token_type: tokens.token_type,
            proof_key: None,
            access_token: Some(tokens.access_token),
            refresh_token: tokens.refresh_token,
            account,
            intent: None,
            forced_at: None,
            renewed_at: None,
            pin: None,
            dead: None,
        }
    }

    /// This grant after a renewal that brought `tokens`, at `now` by our clock. A refresh token that is not replaced stays in
    /// force (RFC 6749 section 6), and so do scopes that are not named.
    #[must_use]
    pub fn renewed(&self, tokens: TokenSet, now: Timestamp) -> Self {
        let clock_offset = offset_of(&tokens, now).unwrap_or(self.clock_offset);
        let received_at = shifted(now, clock_offset);
        Self {
            expires_at: expiry(&tokens, received_at),
            received_at,
            clock_offset,
            scopes: tokens.scopes.unwrap_or_else(|| self.scopes.clone()),
            token_type: tokens.token_type,
            access_token: Some(tokens.access_token),
            refresh_token: tokens.refresh_token.or_else(|| self.refresh_token.clone()),
            intent: None,
            forced_at: None,
            renewed_at: Some(now),
            dead: None,
            ..self.clone()
        }
    }

    /// Whether the access token can be sent at `now` by the provider's clock.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.dead.is_none()
            && self.access_token.is_some()
            && self.expires_at.is_none_or(|expiry| now < expiry)
    }

    /// Whether the access token is bound to the key (RFC 9449 section 5).
    pub fn is_bound(&self) -> bool {
        self.proof_key.is_some() && self.token_type.eq_ignore_ascii_case(TOKEN_TYPE)
    }

    /// How long the access token lives in all; `None` when nobody said when it ends.
    pub fn lifetime(&self) -> Option<Duration> {
        let life = self.expires_at?.duration_since(self.received_at);
        Some(life.try_into().unwrap_or_default())
    }

    /// The tokens in the order in which they are given back: the refresh token ends what was issued with it.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = (&SecretString, TokenHint)> {
        let refresh = self.refresh_token.as_ref();
        let access = self.access_token.as_ref();
        [
            (refresh, TokenHint::RefreshToken),
            (access, TokenHint::AccessToken),
        ]
        .into_iter()
        .filter_map(|(token, hint)| Some((token?, hint)))
    }

    /// Which access token this is, without showing it.
    pub fn access_fingerprint(&self) -> Option<TokenFingerprint> {
        self.access_token.as_ref().map(TokenFingerprint::of)
    }

    /// Which refresh token this is, without showing it.
    pub fn refresh_fingerprint(&self) -> Option<TokenFingerprint> {
        self.refresh_token.as_ref().map(TokenFingerprint::of)
    }

    /// Whether a refusal by the registry has forced a renewal so shortly before `now`, by our clock, that it forces no other. A clock that
    /// was set back proves nothing.
    pub fn was_just_forced(&self, now: Timestamp) -> bool {
        let ago = self.forced_at.map(|at| now.duration_since(at));
        ago.and_then(|ago| Duration::try_from(ago).ok())
            .is_some_and(|ago| ago < FORCED_FLOOR_ACROSS)
    }

    /// When the last renewal ended of which the grant tells, whichever process made it, and how: `renewed`, or the word of what
    /// is missing since.
    pub fn last_renewal(&self) -> Option<(Timestamp, &'static str)> {
        match &self.dead {
            Some(Death {
                reason: DeathReason::IssuerChanged,
                ..
            })
            | None => self.renewed_at.map(|at| (at, "renewed")),
            Some(death) => Some((death.at, death.reason.login_reason().as_str())),
        }
    }

    /// Whether a renewal with this very refresh token began and was never heard of again.
    pub fn has_unknown_outcome(&self) -> bool {
        let token = self.refresh_fingerprint();
        match (&self.intent, token) {
            (Some(intent), Some(token)) => intent.token == token.to_hex(),
            _ => false,
        }
    }
}

/// How far the provider's clock is ahead, where it showed one that can be believed.
fn offset_of(tokens: &TokenSet, now: Timestamp) -> Option<SignedDuration> {
    believed(now, tokens.server_date?)
}

/// A lifetime of nothing says nothing: the token was worth issuing.
fn expiry(tokens: &TokenSet, received_at: Timestamp) -> Option<Timestamp> {
    let life = tokens.expires_in.filter(|life| !life.is_zero())?;
    received_at.checked_add(life).ok()
}

// === impl DeathReason ===

impl DeathReason {
    /// What a person is told.
    pub fn login_reason(self) -> LoginReason {
        match self {
            Self::Revoked => LoginReason::GrantRevoked,
            Self::OutcomeUnknown => LoginReason::GrantOutcomeUnknown,
            Self::AccountMismatch => LoginReason::AccountMismatch,
            Self::IssuerChanged => LoginReason::IssuerChanged,
            Self::NotBound => LoginReason::NotBound,
        }
    }
}

// === TokenFingerprint ===

/// SHA-256 of a token: says that two tokens are the same without showing either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenFingerprint([u8; 32]);

impl TokenFingerprint {
    /// The fingerprint of `token`.
    pub fn of(token: &SecretString) -> Self {
        Self(Sha256::digest(token.expose_secret()).into())
    }

    /// 64 hex digits.
    pub fn to_hex(self) -> String {
        crate::binding::hex(&self.0)
    }

    /// A number that stands for the token where a generation is needed.
    pub(crate) fn as_generation(self) -> u64 {
        self.0
            .iter()
            .take(8)
            .fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn tokens(access: &str, refresh: Option<&str>, seconds: Option<u64>) -> TokenSet {
        TokenSet {
            access_token: access.to_owned().into(),
            refresh_token: refresh.map(|token| token.to_owned().into()),
            token_type: "Bearer".to_owned(),
            expires_in: seconds.map(Duration::from_secs),
            scopes: None,
            id_token: None,
            server_date: None,
        }
    }

    pub(crate) fn grant(access: &str, refresh: Option<&str>, seconds: Option<u64>) -> Grant {
        Grant::of_login(
            tokens(access, refresh, seconds),
            None,
            &["openid".to_owned()],
            "login".to_owned(),
            Timestamp::UNIX_EPOCH,
        )
    }

    #[test]
    fn f4_a_renewal_without_refresh_token_or_scopes_keeps_the_old_ones() {
        let old = grant("one", Some("keep"), Some(60));
        let new = old.renewed(tokens("two", None, Some(60)), Timestamp::UNIX_EPOCH);
        assert_eq!(new.refresh_fingerprint(), old.refresh_fingerprint());
        assert_ne!(new.access_fingerprint(), old.access_fingerprint());
        assert_eq!(new.scopes, old.scopes);
        assert_eq!(new.login_id, old.login_id);
    }

    #[test]
    fn f48_expiry_is_counted_on_the_providers_clock() {
        let day = SignedDuration::from_hours(24);
        let mut set = tokens("a", None, Some(60));
        set.server_date = Some(shifted(Timestamp::UNIX_EPOCH, day));
        let grant = Grant::of_login(set, None, &[], String::new(), Timestamp::UNIX_EPOCH);
        assert_eq!(grant.clock_offset, day);
        assert_eq!(grant.lifetime(), Some(Duration::from_mins(1)));
        assert!(grant.is_usable(shifted(Timestamp::UNIX_EPOCH, day)));
        assert!(!grant.is_usable(shifted(
            Timestamp::UNIX_EPOCH,
            day + SignedDuration::from_secs(60)
        )));
    }

    #[test]
    fn a_token_without_an_end_or_with_an_end_at_once_is_usable_until_it_is_refused() {
        assert!(grant("a", None, None).is_usable(Timestamp::MAX));
        assert!(grant("a", None, Some(0)).is_usable(Timestamp::MAX));
    }

    #[test]
    fn case_44_a_renewal_that_was_just_forced_is_known_by_its_time_and_by_no_time_to_come() {
        let mut grant = grant("a", Some("r"), Some(60));
        let at = |second| Timestamp::from_second(second).expect("a time");
        assert!(!grant.was_just_forced(at(1000)));
        grant.forced_at = Some(at(1000));
        for (now, expected) in [(1000, true), (1059, true), (1060, false), (999, false)] {
            assert_eq!(grant.was_just_forced(at(now)), expected, "{now}");
        }
        let renewed = grant.renewed(tokens("b", None, Some(60)), at(1001));
        assert_eq!(renewed.forced_at, None);
    }

    #[test]
    fn a_grant_tells_of_its_last_renewal() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let login = grant("a", Some("r"), Some(60));
        assert_eq!(login.last_renewal(), None);
        let mut renewed = login.renewed(tokens("b", None, Some(60)), at(1001));
        assert_eq!(renewed.last_renewal(), Some((at(1001), "renewed")));
        for (reason, told) in [
            (DeathReason::IssuerChanged, (at(1001), "renewed")),
            (DeathReason::Revoked, (at(2000), "grant_revoked")),
        ] {
            renewed.dead = Some(Death {
                reason,
                at: at(2000),
            });
            assert_eq!(renewed.last_renewal(), Some(told));
        }
    }

    #[test]
    fn a_printed_grant_shows_no_token() {
        let shown = format!("{:?}", grant("canary-a", Some("canary-r"), None));
        assert!(!shown.contains("canary"), "{shown}");
    }
}
