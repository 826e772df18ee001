//! A credential command: a program of the user's that is asked for a token.
//!
//! One JSON object on its standard input, one on its standard output, each with a `version`:
//! `{"version":1,"kind":"get","registry":{"name":"default","url":"https://registry.example"}}` is answered by
//! `{"version":1,"token":"…","expires_in":3600,"account":"ci"}`, or by `{"version":1,"error":"denied","message":"…"}` with one of the
//! errors `not_found`, `denied` and `unavailable`. Running it is `program`'s part.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::json;
use thv_config::disk::{Fingerprint, fingerprint};
use thv_config::world::{Clock, Env};

use super::fetched::{Fetch, FetchError, Fetched};
use super::program::{Printed, Program};
use super::secret::{Alphabet, checked};
use crate::oauth::answer::shown;
use crate::oauth::json::Members;

/// The version of the exchange.
const VERSION: &str = "1";

/// Longest explanation of a command that is shown, in characters.
const MESSAGE_MAX: usize = 300;

/// Longest lifetime that is believed, as with tokens of a provider: ten years.
const LIFETIME_MAX: Duration = Duration::from_hours(10 * 365 * 24);

/// Asks a command.
#[derive(Debug)]
pub(crate) struct CommandFetch {
    pub(crate) program: Program,
    /// The registry's name and URL, which the command is told.
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) env: Arc<dyn Env>,
}

impl Fetch for CommandFetch {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        async move {
            let question = json!({
                "version": 1, "kind": "get", "registry": {"name": self.name, "url": self.url},
            });
            let mut question = question.to_string();
            question.push('\n');
            let printed = self
                .program
                .run(question.as_bytes(), &self.clock, &self.env)
                .await;
            let printed = printed.map_err(|fault| FetchError::Unusable {
                cause: fault.to_string(),
            })?;
            read(&printed, self.clock.now()).map_err(|fault| fault.said_of(&self.program))
        }
        .boxed()
    }

    fn marks(&self) -> Vec<Option<Fingerprint>> {
        vec![fingerprint(&self.program.path)]
    }

    fn auth_type(&self) -> &'static str {
        "bearer"
    }
}

/// What is wrong with what a command printed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unreadable {
    /// It is not what the protocol asks for.
    Garbled(String),
    /// It refuses.
    Refused(String),
    /// It cannot tell now.
    Unavailable(String),
}

impl Unreadable {
    fn said_of(self, program: &Program) -> FetchError {
        let path = program.path.display();
        match self {
            Self::Garbled(cause) => FetchError::Unusable {
                cause: format!("{path} printed no usable answer: {cause}"),
            },
            Self::Refused(cause) => FetchError::RefusedForNow {
                cause: format!("{path} gives no token: {cause}"),
            },
            Self::Unavailable(cause) => FetchError::Transient {
                cause: format!("{path} has no token now: {cause}"),
                retry_after: None,
            },
        }
    }
}

fn read(printed: &Printed, now: Timestamp) -> Result<Fetched, Unreadable> {
    let garbled = |cause: String| match &printed.failure {
        Some(failure) => Unreadable::Garbled(format!("it ended with {failure}")),
        None => Unreadable::Garbled(cause),
    };
    let members = Members::parse(&printed.stdout).map_err(|fault| garbled(fault.to_string()))?;
    if members.raw("version") != Some(VERSION) {
        return Err(garbled(format!("its `version` is not {VERSION}")));
    }
    let text = |member| {
        members
            .text(member)
            .map_err(|fault| garbled(fault.to_string()))
    };
    if let Some(error) = text("error")? {
        let message = text("message")?.and_then(|message| shown(&message, MESSAGE_MAX));
        let said = message.unwrap_or_else(|| "it does not say why".to_owned());
        return Err(match error.as_str() {
            "not_found" | "denied" => Unreadable::Refused(said),
            "unavailable" => Unreadable::Unavailable(said),
            _ => garbled("its `error` is none of those that are known".to_owned()),
        });
    }
    if printed.failure.is_some() {
        return Err(garbled(String::new()));
    }
    let token = text("token")?.ok_or_else(|| garbled("it has no `token`".to_owned()))?;
    let token = checked(token.into(), "its `token`", Alphabet::Token)
        .map_err(|fault| garbled(fault.to_string()))?;
    Ok(Fetched {
        token,
        expires_in: lifetime(&members, now).map_err(garbled)?,
        scopes: Vec::new(),
        account: text("account")?.and_then(|account| shown(&account, MESSAGE_MAX)),
    })
}

/// From `expires_in` in seconds or `expires_at` (RFC 3339). What has expired is no answer.
fn lifetime(members: &Members, now: Timestamp) -> Result<Option<Duration>, String> {
    let lifetime = match (members.raw("expires_in"), members.raw("expires_at")) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err("it has `expires_in` and `expires_at`".to_owned()),
        (Some(seconds), None) => seconds
            .parse()
            .map(Duration::from_secs)
            .map_err(|_| "its `expires_in` is no whole number of seconds".to_owned())?,
        (None, Some(at)) => {
            let at: Timestamp = serde_json::from_str(at)
                .map_err(|_| "its `expires_at` is no time of RFC 3339".to_owned())?;
            Duration::try_from(at.duration_since(now)).unwrap_or_default()
        }
    };
    if lifetime.is_zero() {
        return Err("its token has expired already".to_owned());
    }
    Ok((lifetime <= LIFETIME_MAX).then_some(lifetime))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;
    use zeroize::Zeroizing;

    use super::*;

    fn read_text(text: &str, failure: Option<&str>) -> Result<Fetched, Unreadable> {
        let printed = Printed {
            stdout: Zeroizing::new(text.as_bytes().to_vec()),
            failure: failure.map(str::to_owned),
        };
        read(&printed, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_token_is_read_with_its_lifetime() {
        for (more, lifetime) in [
            ("", None),
            (r#","expires_in":60"#, Some(60)),
            (r#","expires_at":"1970-01-01T00:01:00Z""#, Some(60)),
            (r#","expires_in":999999999999"#, None),
        ] {
            let text = format!(r#"{{"version":1,"token":"s3cret","account":"ci","new":1{more}}}"#);
            let fetched = read_text(&text, None).expect("a token");
            assert_eq!(fetched.token.expose_secret(), "s3cret");
            assert_eq!(
                fetched.expires_in,
                lifetime.map(Duration::from_secs),
                "{more}"
            );
            assert_eq!(fetched.account.as_deref(), Some("ci"));
        }
    }

    #[test]
    fn case_82_what_is_no_answer_of_the_protocol_is_refused_and_not_quoted() {
        for (text, failure) in [
            ("", None),
            ("s3cret", None),
            (r#"["s3cret"]"#, None),
            (r#"{"token":"s3cret"}"#, None),
            (r#"{"version":2,"token":"s3cret"}"#, None),
            (r#"{"version":1}"#, None),
            (r#"{"version":1,"token":""}"#, None),
            (r#"{"version":1,"token":"s3cret and"}"#, None),
            (r#"{"version":1,"token":"s3cret\r\nX: y"}"#, None),
            (r#"{"version":1,"token":["s3cret"]}"#, None),
            (r#"{"version":1,"token":"s3cret","token":"s3cret2"}"#, None),
            (
                r#"{"version":1,"token":"s3cret","expires_in":"s3cret"}"#,
                None,
            ),
            (r#"{"version":1,"token":"s3cret","expires_in":0}"#, None),
            (r#"{"version":1,"token":"s3cret","expires_in":-1}"#, None),
            (
                r#"{"version":1,"token":"s3cret","expires_at":"1969-01-01T00:00:00Z"}"#,
                None,
            ),
            (
                r#"{"version":1,"token":"s3cret","expires_in":1,"expires_at":"2030-01-01T00:00:00Z"}"#,
                None,
            ),
            (r#"{"version":1,"error":"s3cret"}"#, None),
            (r#"{"version":1,"token":"s3cret"}"#, Some("exit status: 1")),
        ] {
            match read_text(text, failure) {
                Err(Unreadable::Garbled(cause)) => assert!(!cause.contains("s3cret"), "{cause}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_error_is_told_by_its_kind_whatever_the_exit_code() {
        let refused = read_text(
            r#"{"version":1,"error":"denied","message":"log in\nto the vault"}"#,
            Some("exit status: 1"),
        );
        assert_eq!(
            refused.expect_err("refused"),
            Unreadable::Refused("log into the vault".to_owned())
        );
        let unavailable = read_text(r#"{"version":1,"error":"unavailable"}"#, None);
        assert_eq!(
            unavailable.expect_err("unavailable"),
            Unreadable::Unavailable("it does not say why".to_owned())
        );
    }

    proptest! {
        #[test]
        fn no_output_panics_and_no_odd_token_gets_through(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            token in any::<String>(),
            expiry in prop_oneof![any::<i64>().prop_map(|n| n.to_string()), any::<String>().prop_map(|s| json!(s).to_string())],
        ) {
            let _ = read_text(&String::from_utf8_lossy(&bytes), None);
            let text = format!(
                "{{\"version\":1,\"token\":{},\"expires_at\":{expiry}}}",
                json!(token)
            );
            if let Ok(fetched) = read_text(&text, None) {
                let sent = http::HeaderValue::from_str(fetched.token.expose_secret());
                prop_assert!(sent.is_ok());
                prop_assert!(fetched.expires_in.is_none_or(|lifetime| lifetime <= LIFETIME_MAX));
            }
        }
    }
}
