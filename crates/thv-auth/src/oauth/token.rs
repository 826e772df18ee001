//! What the token endpoint answers, read with care (RFC 6749 section 5).
//!
//! The members of a successful answer become a [`TokenSet`] or a reason to refuse them. Answers of other kinds are
//! judged in `answer`; what follows for a stored grant is decided elsewhere.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use thv_http::secrecy;

use crate::oauth::dpop::{ProofKey, TOKEN_TYPE};
use crate::oauth::error::TokenError;
use crate::oauth::json::Members;

/// Longest token accepted, in bytes. Servers refuse request heads of some 8 to 64 KiB, so that a longer one could not be sent.
const TOKEN_MAX: usize = 64 * 1024;

/// Longest lifetime believed: ten years. What claims more, or nothing sensible, expires at an unknown time.
const LIFETIME_MAX: Duration = Duration::from_hours(10 * 365 * 24);

/// Tokens as the provider issued them.
#[derive(Clone, Debug)]
pub struct TokenSet {
    /// The token to read with.
    pub access_token: SecretString,
    /// The token to refresh with; absent means that the one used stays in force.
    pub refresh_token: Option<SecretString>,
    /// The type as sent: `Bearer` or `DPoP` in some spelling.
    pub token_type: String,
    /// How long the access token lives; `None` when the provider said nothing or nothing sensible.
    pub expires_in: Option<Duration>,
    /// The granted scopes, when the provider named them. Many name only those of the access token, so that a missing
    /// `openid` or `offline_access` means nothing.
    pub scopes: Option<Vec<String>>,
    /// The ID token, unverified.
    pub id_token: Option<SecretString>,
    /// The provider's clock when it answered, from the `Date` header.
    pub server_date: Option<Timestamp>,
}

impl TokenSet {
    /// The granted scopes that were not asked for.
    pub fn scopes_beyond(&self, asked: &[String]) -> Vec<String> {
        self.scopes
            .iter()
            .flatten()
            .filter(|granted| !asked.contains(granted))
            .cloned()
            .collect()
    }

    /// Whether the access token is bound to a key (RFC 9449 section 5).
    pub fn is_bound(&self) -> bool {
        self.token_type.eq_ignore_ascii_case(TOKEN_TYPE)
    }

    /// These tokens, unless they are bound to a key while none was shown.
    pub(crate) fn for_holder_of(self, key: Option<&ProofKey>) -> Result<Self, TokenError> {
        if self.is_bound() && key.is_none() {
            return Err(TokenError::malformed(
                "its `token_type` is DPoP, and no key was shown",
            ));
        }
        Ok(self)
    }

    /// Reads the members of a successful answer.
    pub(crate) fn read(members: &Members) -> Result<Self, String> {
        let text = |member| members.text(member).map_err(|fault| fault.to_string());
        if members.raw("error").is_some() {
            return Err("it has status 200 and yet an `error`".to_owned());
        }
        let token_type = text("token_type")?.unwrap_or_else(|| "Bearer".to_owned());
        let is_known = ["Bearer", TOKEN_TYPE]
            .iter()
            .any(|known| token_type.eq_ignore_ascii_case(known));
        if !is_known {
            return Err("its `token_type` is neither Bearer nor DPoP".to_owned());
        }
        let access_token = text("access_token")?
            .filter(|token| !token.is_empty())
            .ok_or("it has no `access_token`")?;
        let optional = |member| {
            text(member)?
                .filter(|token: &String| !token.is_empty())
                .map(|token| checked_token(member, token))
                .transpose()
        };
        Ok(Self {
            access_token: checked_token("access_token", access_token)?,
            refresh_token: optional("refresh_token")?,
            id_token: optional("id_token")?,
            token_type,
            expires_in: members.raw("expires_in").and_then(lifetime),
            scopes: scopes(members)?,
            server_date: None,
        })
    }
}

fn checked_token(member: &'static str, token: String) -> Result<SecretString, String> {
    let token = SecretString::from(token);
    let text = token.expose_secret();
    if text.len() > TOKEN_MAX {
        return Err(format!("its `{member}` is longer than {TOKEN_MAX} bytes"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "its `{member}` holds characters that no header can carry"
        ));
    }
    Ok(token)
}

/// Reads `expires_in`, a number or a number as text; fractions are cut off.
fn lifetime(raw: &str) -> Option<Duration> {
    let text: String = match raw.strip_prefix('"') {
        Some(_) => serde_json::from_str(raw).ok()?,
        None => raw.to_owned(),
    };
    let digits_first = text.starts_with(|c: char| c.is_ascii_digit());
    let seconds: f64 = digits_first.then(|| text.trim().parse().ok())??;
    let lifetime = Duration::try_from_secs_f64(seconds.floor()).ok()?;
    (lifetime > Duration::ZERO && lifetime <= LIFETIME_MAX).then_some(lifetime)
}

fn scopes(members: &Members) -> Result<Option<Vec<String>>, String> {
    let Some(text) = members.text("scope").map_err(|fault| fault.to_string())? else {
        return Ok(None);
    };
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ')
    {
        return Err("its `scope` holds characters that no scope has".to_owned());
    }
    let scopes: Vec<String> = text
        .split(' ')
        .filter(|scope| !scope.is_empty())
        .map(str::to_owned)
        .collect();
    Ok((!scopes.is_empty()).then_some(scopes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<TokenSet, String> {
        let members = Members::parse(text.as_bytes()).map_err(|fault| fault.to_string())?;
        TokenSet::read(&members)
    }

    fn with(member: &str) -> Result<TokenSet, String> {
        read(&format!(
            "{{\"access_token\":\"at\",\"token_type\":\"Bearer\",{member}}}"
        ))
    }

    #[test]
    fn lifetimes_are_read_or_unknown() {
        for (text, seconds) in [
            ("3600", Some(3600)),
            ("\"3600\"", Some(3600)),
            ("3600.9", Some(3600)),
            ("3.6e3", Some(3600)),
            ("1", Some(1)),
            ("315360000", Some(315_360_000)),
            ("315360001", None),
            ("0", None),
            ("-1", None),
            ("\"-1\"", None),
            ("1e308", None),
            ("1e999", None),
            ("\"NaN\"", None),
            ("\"inf\"", None),
            ("\"\"", None),
            ("\"soon\"", None),
            ("null", None),
            ("true", None),
            ("[3600]", None),
            ("{}", None),
        ] {
            let set = with(&format!("\"expires_in\":{text}")).expect(text);
            assert_eq!(set.expires_in, seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(with("\"x\":1").expect("plain").expires_in, None);
    }

    #[test]
    fn a_bound_token_is_for_whoever_has_shown_a_key() {
        let bound = || read(r#"{"access_token":"a","token_type":"dpop"}"#).expect("tokens");
        assert!(bound().is_bound());
        let key = ProofKey::generate().expect("a key");
        assert!(bound().for_holder_of(Some(&key)).is_ok());
        assert!(matches!(
            bound().for_holder_of(None),
            Err(TokenError::Malformed { .. })
        ));
        let bearer = read(r#"{"access_token":"a"}"#).expect("tokens");
        assert!(!bearer.is_bound() && bearer.for_holder_of(Some(&key)).is_ok());
    }

    #[test]
    fn hostile_answers_are_malformed() {
        let long = format!("{{\"access_token\":\"{}\"}}", "a".repeat(TOKEN_MAX + 1));
        for text in [
            "{}",
            "[]",
            "null",
            "\"token\"",
            r#"{"access_token":""}"#,
            r#"{"access_token":null}"#,
            r#"{"access_token":["a"]}"#,
            r#"{"access_token":{"a":"b"}}"#,
            r#"{"access_token":1}"#,
            r#"{"access_token":"a\r\nX-Evil: 1"}"#,
            r#"{"access_token":"a b"}"#,
            r#"{"access_token":"a\u0000b"}"#,
            r#"{"access_token":"tökén"}"#,
            r#"{"access_token":"a","access_token":"b"}"#,
            r#"{"access_token":"a","access\u005ftoken":"b"}"#,
            r#"{"access_token":"a","expires_in":1,"expires_in":2}"#,
            r#"{"access_token":"a","error":"invalid_grant"}"#,
            r#"{"access_token":"a","token_type":"mac"}"#,
            r#"{"access_token":"a","token_type":"mac"}"#,
            r#"{"access_token":"a","token_type":""}"#,
            r#"{"access_token":"a","token_type":["Bearer"]}"#,
            r#"{"access_token":"a","refresh_token":"r\n"}"#,
            r#"{"access_token":"a","refresh_token":7}"#,
            r#"{"access_token":"a","id_token":"ü"}"#,
            r#"{"access_token":"a","scope":"a\nb"}"#,
            r#"{"access_token":"a","scope":["a"]}"#,
            &long,
        ] {
            let fault = read(text).expect_err(text);
            assert!(!fault.contains("Evil"), "{fault}");
        }
    }

    #[test]
    fn what_is_merely_unusual_is_read() {
        let set = read(r#"{"access_token":"a","token_type":"bEARER","refresh_token":"","scope":" x  y ","more":{"a":[1]}}"#)
            .expect("set");
        assert_eq!(set.access_token.expose_secret(), "a");
        assert!(set.refresh_token.is_none());
        assert_eq!(set.scopes, Some(vec!["x".to_owned(), "y".to_owned()]));
        assert_eq!(set.scopes_beyond(&["x".to_owned()]), ["y"]);
        let bare =
            read(r#"{"access_token":"a","token_type":null,"refresh_token":null,"scope":null}"#)
                .expect("set");
        assert_eq!(bare.token_type, "Bearer");
        assert_eq!(bare.scopes, None);
        let longest = format!("{{\"access_token\":\"{}\"}}", "a".repeat(TOKEN_MAX));
        assert!(read(&longest).is_ok());
    }

    #[test]
    fn tokens_are_not_printed() {
        let set = with(r#""refresh_token":"s3cret-r","id_token":"s3cret-i""#).expect("set");
        assert!(!format!("{set:?}").contains("s3cret"), "{set:?}");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(members) = Members::parse(&body) {
                let _ = TokenSet::read(&members);
            }
        }

        #[test]
        fn no_object_panics_and_no_odd_token_gets_through(
            token in any::<String>(),
            kind in any::<String>(),
            expires in prop_oneof![any::<f64>().prop_map(|n| n.to_string()), any::<i64>().prop_map(|n| n.to_string()), any::<String>().prop_map(|s| serde_json::json!(s).to_string())],
        ) {
            let body = format!(
                "{{\"access_token\":{},\"token_type\":{},\"expires_in\":{expires}}}",
                serde_json::json!(token),
                serde_json::json!(kind),
            );
            if let Ok(set) = read(&body) {
                prop_assert!(http::HeaderValue::from_str(set.access_token.expose_secret()).is_ok());
                prop_assert!(set.token_type.eq_ignore_ascii_case("bearer"));
                prop_assert!(set.expires_in.is_none_or(|lifetime| lifetime <= LIFETIME_MAX));
            }
        }
    }
}
