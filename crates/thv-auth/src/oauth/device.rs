//! The device authorization grant (RFC 8628): a code that a person types in on another device.
//!
//! [`begin_device`] asks for the code, [`poll_device`] asks once what became of it, and [`Pace`] is the pure decision how long
//! to wait in between. Who waits, and what else may finish the login meanwhile, is the login's part.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use thv_http::secrecy;
use thv_http::{Http, Limits, Reply};
use url::Url;

use super::client::{requested_scopes, target_parameters};
use crate::binding::Binding;
use crate::oauth::answer::{check_success, judge_failure, server_date, shown};
use crate::oauth::authentication::ClientAuthentication;
use crate::oauth::dpop::{ProofKey, Prover, ask};
use crate::oauth::error::TokenError;
use crate::oauth::issuer::parse_endpoint;
use crate::oauth::json::Members;
use crate::oauth::metadata::Provider;
use crate::oauth::token::TokenSet;

/// The grant type of a poll.
pub(crate) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// What asking for a code may take: a person waits for it, and for the browser's way beside it.
const BEGIN_TIME: Duration = Duration::from_secs(5);

/// What one poll may take. A provider that holds polls open answers within this time or is asked again.
const POLL_LIMITS: Limits = Limits {
    total: Duration::from_secs(20),
    head: Duration::from_secs(20),
    idle: Duration::from_secs(10),
    max_bytes: 1024 * 1024,
    max_redirects: 0,
};

/// The pause between two polls when the provider names none (RFC 8628 section 3.2), or none that could be meant.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

/// The shortest pause that is believed.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// What `slow_down` adds, for good (RFC 8628 section 3.5).
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// Up to which pause polls that get no answer are spaced out, by doubling. A pause that is longer already stays.
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);

/// Longest life of a code that is believed.
const LONGEST_LIFE: Duration = Duration::from_mins(30);

/// Longest code that a person can be asked to type, in characters.
const USER_CODE_MAX: usize = 40;

/// Longest device code, in bytes.
const DEVICE_CODE_MAX: usize = 8 * 1024;

/// A code that waits for a person (RFC 8628 section 3.2).
#[derive(Clone, Debug)]
pub struct DeviceAuthorization {
    device_code: SecretString,
    /// What the person types in, or compares.
    pub user_code: String,
    /// Where.
    pub verification_uri: Url,
    /// The same with the code in it, on the same host.
    pub verification_uri_complete: Option<Url>,
    /// How long the code is good, at most 30 minutes.
    pub lifetime: Duration,
    /// The pause between two polls, at least a second.
    pub interval: Duration,
    /// The scopes asked for.
    pub scopes: Vec<String>,
}

/// Why there is no code.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeviceError {
    /// The provider has no such endpoint.
    #[error("the identity provider does not offer device codes")]
    NotOffered,
    /// It was not to be had.
    #[error("no device code was given: {0}")]
    Refused(#[from] TokenError),
    /// The answer must not be shown to a person, or cannot be used.
    #[error("the device code cannot be used: {cause}")]
    Unusable {
        /// The rule it breaks.
        cause: String,
    },
}

/// What became of the code so far.
#[derive(Clone, Debug)]
pub enum Poll {
    /// A person has agreed.
    Granted(Box<TokenSet>),
    /// Nobody has decided yet.
    Pending,
    /// The same, and the provider wants to be asked less often.
    SlowDown,
    /// No usable answer came.
    NoAnswer {
        /// How long the provider asks us to wait, if it does.
        retry_after: Option<Duration>,
    },
    /// A person has refused.
    Denied {
        /// What the provider adds for people.
        description: Option<String>,
    },
    /// The code is too old.
    Expired,
    /// No token will come of this code.
    Failed(TokenError),
}

/// How long to wait before the next poll. The pause only ever grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    interval: Duration,
}

impl Pace {
    /// The pace that the provider asks for.
    pub fn of(authorization: &DeviceAuthorization) -> Self {
        Self {
            interval: authorization.interval,
        }
    }

    /// The pause that polls are made at now.
    pub fn interval(self) -> Duration {
        self.interval
    }

    /// The pause before the poll that follows `poll`.
    pub fn after(&mut self, poll: &Poll) -> Duration {
        match poll {
            Poll::SlowDown => self.interval = self.interval.saturating_add(SLOW_DOWN),
            Poll::NoAnswer { .. } => {
                let doubled = self.interval.saturating_mul(2).min(LONGEST_BACKOFF);
                self.interval = self.interval.max(doubled);
            }
            _ => {}
        }
        match poll {
            Poll::NoAnswer {
                retry_after: Some(pause),
            } => self.interval.max(*pause),
            _ => self.interval,
        }
    }
}

/// Asks for a code (RFC 8628 section 3.1).
pub async fn begin_device(
    http: &Http,
    provider: &Provider,
    binding: &Binding,
    authentication: &ClientAuthentication,
) -> Result<DeviceAuthorization, DeviceError> {
    let endpoint = provider
        .device_authorization_endpoint
        .as_ref()
        .ok_or(DeviceError::NotOffered)?;
    let scopes = requested_scopes(provider, &binding.scopes);
    let mut fields = vec![("client_id", binding.client_id.clone())];
    fields.extend(target_parameters(binding));
    if !scopes.is_empty() {
        fields.push(("scope", scopes.join(" ")));
    }
    let fields = fields.iter().map(|(name, value)| (*name, value.as_str()));
    // A secret was given for the token endpoint's host.
    let nobody = ClientAuthentication::None;
    let authentication = if endpoint.origin() == provider.token_endpoint.origin() {
        authentication
    } else {
        &nobody
    };
    let request = authentication
        .post_form(endpoint.clone(), &binding.client_id, fields)
        .header(
            http::header::ACCEPT,
            http::HeaderValue::from_static("application/json"),
        )
        .policy(provider.policy_for(endpoint, binding.allow_private_ip))
        .limits(Limits::PROBE.with_total(BEGIN_TIME));
    let reply = http.send(request).await.map_err(TokenError::from)?;
    if reply.status != http::StatusCode::OK {
        return Err(judge_failure(&reply, &[]).into());
    }
    check_success(&reply)?;
    let members = Members::parse(&reply.body).map_err(|fault| unusable(fault.to_string()))?;
    let issuer = Url::parse(&provider.issuer).map_err(|fault| unusable(fault.to_string()))?;
    read_authorization(&members, &issuer, scopes)
}

/// Asks once what became of the code (RFC 8628 section 3.4).
pub async fn poll_device(
    http: &Http,
    provider: &Provider,
    binding: &Binding,
    authentication: &ClientAuthentication,
    authorization: &DeviceAuthorization,
    prover: Option<&Prover>,
) -> Poll {
    let code = authorization.device_code.expose_secret();
    let mut fields = vec![
        ("grant_type", GRANT_TYPE.to_owned()),
        ("client_id", binding.client_id.clone()),
    ];
    fields.extend(target_parameters(binding));
    let fields = fields.iter().map(|(name, value)| (*name, value.as_str()));
    let endpoint = &provider.token_endpoint;
    let fields = fields.chain([("device_code", code)]);
    let request = authentication
        .post_form(endpoint.clone(), &binding.client_id, fields)
        .header(
            http::header::ACCEPT,
            http::HeaderValue::from_static("application/json"),
        )
        .policy(provider.policy_for(endpoint, binding.allow_private_ip))
        .limits(POLL_LIMITS);
    match ask(http, request, prover).await {
        Ok(reply) => read_poll(&reply, code, prover.map(Prover::key)),
        Err(_) => Poll::NoAnswer { retry_after: None },
    }
}

fn read_authorization(
    members: &Members,
    issuer: &Url,
    scopes: Vec<String>,
) -> Result<DeviceAuthorization, DeviceError> {
    let text = |member| {
        members
            .text(member)
            .map_err(|fault| unusable(fault.to_string()))
    };
    let device_code = text("device_code")?
        .filter(|code| !code.is_empty() && code.len() <= DEVICE_CODE_MAX)
        .ok_or_else(|| unusable("it has no `device_code`, or too long a one"))?;
    // A code that would be shown otherwise than it is typed is none.
    let user_code = text("user_code")?
        .filter(|code| shown(code, USER_CODE_MAX).as_ref() == Some(code))
        .ok_or_else(|| unusable("it has no `user_code` that a person could type"))?;
    // Some providers kept the name from a draft.
    let uri = match text("verification_uri")? {
        Some(uri) => uri,
        None => {
            text("verification_url")?.ok_or_else(|| unusable("it has no `verification_uri`"))?
        }
    };
    let verification_uri = parse_endpoint(&uri, issuer)
        .map_err(|cause| unusable(format!("its `verification_uri` must not be used: {cause}")))?;
    let verification_uri_complete = text("verification_uri_complete")
        .ok()
        .flatten()
        .and_then(|uri| parse_endpoint(&uri, issuer).ok())
        .filter(|complete| complete.origin() == verification_uri.origin());
    let lifetime = members
        .raw("expires_in")
        .and_then(seconds)
        .filter(|lifetime| !lifetime.is_zero())
        .ok_or_else(|| unusable("its `expires_in` is no time"))?;
    let interval = match members.raw("interval").map(seconds) {
        None | Some(None | Some(Duration::ZERO)) => DEFAULT_INTERVAL,
        Some(Some(interval)) => interval.max(SHORTEST_INTERVAL),
    };
    Ok(DeviceAuthorization {
        device_code: device_code.into(),
        user_code,
        verification_uri,
        verification_uri_complete,
        lifetime: lifetime.min(LONGEST_LIFE),
        interval,
        scopes,
    })
}

/// A number of seconds, or one as text; `None` when it is negative or no number.
fn seconds(raw: &str) -> Option<Duration> {
    let text: String = match raw.strip_prefix('"') {
        Some(_) => serde_json::from_str(raw).ok()?,
        None => raw.to_owned(),
    };
    let seconds: f64 = text.trim().parse().ok()?;
    // What does not fit is longer than all that we believe.
    if seconds >= 1e9 {
        return Some(Duration::from_secs(1_000_000_000));
    }
    Duration::try_from_secs_f64(seconds).ok()
}

fn read_poll(reply: &Reply, code: &str, key: Option<&ProofKey>) -> Poll {
    let is_ok = reply.status == http::StatusCode::OK;
    let said = (is_ok || reply.status.is_client_error())
        .then(|| Members::parse(&reply.body).ok()?.text("error").ok()?)
        .flatten();
    match said.as_deref() {
        Some("authorization_pending") => return Poll::Pending,
        Some("slow_down") => return Poll::SlowDown,
        // Some providers answer with status 200 whatever they say.
        Some("access_denied") if is_ok => return Poll::Denied { description: None },
        Some("expired_token") if is_ok => return Poll::Expired,
        _ => {}
    }
    if is_ok {
        return match read_tokens(reply).and_then(|tokens| tokens.for_holder_of(key)) {
            Ok(tokens) => Poll::Granted(Box::new(tokens)),
            // An answer that is cut off, or a proxy's page, is none; a whole one with unusable tokens is the last.
            Err(TokenError::Transient { retry_after, .. }) => Poll::NoAnswer { retry_after },
            Err(error) => Poll::Failed(error),
        };
    }
    match judge_failure(reply, &[code]) {
        TokenError::Verdict { error, description } if error == "access_denied" => {
            Poll::Denied { description }
        }
        TokenError::Verdict { error, .. } if error == "expired_token" => Poll::Expired,
        TokenError::Transient { retry_after, .. } => Poll::NoAnswer { retry_after },
        error => Poll::Failed(error),
    }
}

fn read_tokens(reply: &Reply) -> Result<TokenSet, TokenError> {
    check_success(reply)?;
    let members =
        Members::parse(&reply.body).map_err(|fault| TokenError::malformed(fault.to_string()))?;
    let tokens = TokenSet::read(&members).map_err(TokenError::malformed)?;
    Ok(TokenSet {
        server_date: server_date(reply),
        ..tokens
    })
}

fn unusable(cause: impl Into<String>) -> DeviceError {
    DeviceError::Unusable {
        cause: cause.into(),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const ISSUER: &str = "https://id.example";

    fn honest() -> Value {
        json!({
            "device_code": "d3vice-c0de",
            "user_code": "WDJB-MJHT",
            "verification_uri": "https://id.example/device",
            "verification_uri_complete": "https://id.example/device?user_code=WDJB-MJHT",
            "expires_in": 900,
            "interval": 7,
        })
    }

    fn read(answer: &Value) -> Result<DeviceAuthorization, DeviceError> {
        let members = Members::parse(answer.to_string().as_bytes()).expect("an object");
        let issuer = Url::parse(ISSUER).expect("a URL");
        read_authorization(&members, &issuer, Vec::new())
    }

    fn with(member: &str, value: Value) -> Result<DeviceAuthorization, DeviceError> {
        let mut answer = honest();
        answer[member] = value;
        read(&answer)
    }

    #[test]
    fn an_honest_answer_is_read_and_the_device_code_never_printed() {
        let authorization = read(&honest()).expect("a code");
        assert_eq!(authorization.user_code, "WDJB-MJHT");
        assert_eq!(authorization.interval, Duration::from_secs(7));
        assert_eq!(authorization.lifetime, Duration::from_mins(15));
        assert!(authorization.verification_uri_complete.is_some());
        assert!(!format!("{authorization:?}").contains("d3vice"));
        let old_name = json!({
            "device_code": "d", "user_code": "u", "expires_in": "60",
            "verification_url": "https://id.example/device",
        });
        assert!(read(&old_name).is_ok());
    }

    #[test]
    fn case_33_addresses_that_a_person_must_not_be_sent_to_are_refused() {
        for uri in [
            "http://id.example/device",
            "http://127.0.0.1:9/device",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "https://u:p@id.example/device",
            "https://id.example/device#x",
            "https://id.example/de vice",
            "",
        ] {
            assert!(with("verification_uri", json!(uri)).is_err(), "{uri}");
        }
        for complete in [
            "https://evil.example/device",
            "javascript:1",
            "http://id.example/x",
        ] {
            let authorization = with("verification_uri_complete", json!(complete));
            let authorization = authorization.expect("a code without it");
            assert_eq!(authorization.verification_uri_complete, None, "{complete}");
        }
    }

    #[test]
    fn case_33_times_are_bounded() {
        for (interval, seconds) in [
            (json!(0), 5),
            (json!(null), 5),
            (json!(-3), 5),
            (json!("x"), 5),
            (json!(0.2), 1),
            (json!("9"), 9),
            (json!(1e300), 1_000_000_000),
        ] {
            let authorization = with("interval", interval.clone()).expect("a code");
            assert_eq!(authorization.interval.as_secs(), seconds, "{interval}");
        }
        for (lifetime, seconds) in [
            (json!(10), Some(10)),
            (json!(1_000_000_000_000_u64), Some(1800)),
            (json!(0), None),
            (json!(-1), None),
            (json!(null), None),
        ] {
            let life = with("expires_in", lifetime.clone()).ok();
            let life = life.map(|authorization| authorization.lifetime.as_secs());
            assert_eq!(life, seconds, "{lifetime}");
        }
    }

    #[test]
    fn codes_that_cannot_be_typed_or_sent_are_refused() {
        for (member, value) in [
            ("user_code", json!("")),
            ("user_code", json!("AB\u{202e}CD")),
            ("user_code", json!("AB\nCD")),
            ("user_code", json!(" AB")),
            ("user_code", json!("x".repeat(41))),
            ("device_code", json!("")),
            ("device_code", json!("x".repeat(DEVICE_CODE_MAX + 1))),
            ("device_code", json!(7)),
        ] {
            assert!(with(member, value.clone()).is_err(), "{member} {value}");
        }
    }

    fn reply(status: u16, body: &str) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert(
            http::header::CONTENT_TYPE,
            "application/json".parse().expect("header"),
        );
        Reply {
            status: StatusCode::from_u16(status).expect("status"),
            headers,
            body: body.to_owned().into_bytes().into(),
            url: Url::parse("https://id.example/token").expect("url"),
        }
    }

    fn kind(poll: &Poll) -> &'static str {
        match poll {
            Poll::Granted(_) => "granted",
            Poll::Pending => "pending",
            Poll::SlowDown => "slow down",
            Poll::NoAnswer { .. } => "no answer",
            Poll::Denied { .. } => "denied",
            Poll::Expired => "expired",
            Poll::Failed(_) => "failed",
        }
    }

    #[test]
    fn what_the_provider_says_of_a_code() {
        for (status, body, expected) in [
            (
                200,
                r#"{"access_token":"at","token_type":"Bearer"}"#,
                "granted",
            ),
            (200, r#"{"token_type":"Bearer"}"#, "failed"),
            (200, "<html>", "no answer"),
            (200, "", "no answer"),
            (400, r#"{"error":"authorization_pending"}"#, "pending"),
            (200, r#"{"error":"authorization_pending"}"#, "pending"),
            (200, r#"{"error":"access_denied"}"#, "denied"),
            (200, r#"{"error":"expired_token"}"#, "expired"),
            (200, r#"{"error":"invalid_grant"}"#, "failed"),
            (428, r#"{"error":"authorization_pending"}"#, "pending"),
            (400, r#"{"error":"slow_down"}"#, "slow down"),
            (429, r#"{"error":"slow_down"}"#, "slow down"),
            (403, r#"{"error":"access_denied"}"#, "denied"),
            (400, r#"{"error":"expired_token"}"#, "expired"),
            (400, r#"{"error":"invalid_grant"}"#, "failed"),
            (401, r#"{"error":"invalid_client"}"#, "failed"),
            (400, r#"{"error":"unauthorized_client"}"#, "failed"),
            (400, "<html>", "no answer"),
            (302, "", "no answer"),
            (500, r#"{"error":"access_denied"}"#, "no answer"),
            (503, "", "no answer"),
        ] {
            let poll = read_poll(&reply(status, body), "d3vice-c0de", None);
            assert_eq!(kind(&poll), expected, "{status} {body}");
        }
    }

    #[test]
    fn the_pause_grows_and_never_drops() {
        let silence = || Poll::NoAnswer { retry_after: None };
        let told = |seconds| Poll::NoAnswer {
            retry_after: Some(Duration::from_secs(seconds)),
        };
        let mut pace = Pace {
            interval: Duration::from_secs(5),
        };
        for (poll, seconds) in [
            (Poll::Pending, 5),
            (Poll::SlowDown, 10),
            (Poll::Pending, 10),
            (Poll::SlowDown, 15),
            (silence(), 30),
            (Poll::Pending, 30),
            (silence(), 60),
            (silence(), 60),
            (Poll::SlowDown, 65),
            (silence(), 65),
            (told(300), 300),
            (told(3), 65),
            (Poll::Pending, 65),
        ] {
            assert_eq!(pace.after(&poll).as_secs(), seconds, "{poll:?}");
        }
    }

    proptest! {
        #[test]
        fn no_sequence_of_answers_makes_the_pause_drop(
            first in 1_u64..100_000,
            answers in proptest::collection::vec(0_u8..4, 0..200),
        ) {
            let mut pace = Pace { interval: Duration::from_secs(first) };
            for answer in answers {
                let before = pace.interval();
                let pause = pace.after(&match answer {
                    0 => Poll::Pending,
                    1 => Poll::SlowDown,
                    2 => Poll::NoAnswer { retry_after: None },
                    _ => Poll::NoAnswer { retry_after: Some(Duration::ZERO) },
                });
                prop_assert!(pace.interval() >= before && pause >= before);
            }
        }

        #[test]
        fn no_answer_makes_the_reader_panic(body in "\\PC{0,200}", status in 100_u16..600) {
            let _ = read_poll(&reply(status, &body), "d3vice-c0de", None);
            if let Ok(members) = Members::parse(body.as_bytes()) {
                let issuer = Url::parse(ISSUER).expect("a URL");
                let _ = read_authorization(&members, &issuer, Vec::new());
            }
        }
    }
}
