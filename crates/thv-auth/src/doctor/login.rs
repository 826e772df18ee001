//! Judgements about the login itself: the stored grant, what the registry says without a token, and what it says to the one
//! that we have.

use jiff::Timestamp;
use thv_http::{HttpError, Reply};

use super::check::Check;
use super::resource::Wanted;
use crate::grant::Grant;
use crate::machine::mend::GO_WITHOUT;
use crate::oauth::challenge::BearerChallenge;
use crate::oauth::challenge::ProofChallenge;
use crate::skew::shifted;
use crate::vault::VaultError;

/// What a person types to log in.
const LOG_IN: &str = "thv registry login";

/// The stored grant, by our clock.
pub(super) fn grant(stored: &Result<Option<Grant>, VaultError>, now: Timestamp) -> Check {
    const ID: &str = "login.grant";
    let grant = match stored {
        Ok(Some(grant)) => grant,
        Ok(None) => return Check::warning(ID, "nobody is logged in", LOG_IN),
        Err(VaultError::Store(_)) => {
            return Check::skipped(ID, "the secret store cannot be used");
        }
        Err(error) => return Check::failed(ID, error.to_string(), LOG_IN),
    };
    if let Some(death) = &grant.dead {
        return Check::failed(
            ID,
            format!("the login ended: {}", death.reason.login_reason()),
            LOG_IN,
        );
    }
    let who = grant.account.as_ref().map_or_else(
        || "somebody is logged in".to_owned(),
        |account| format!("{} is logged in", account.shown()),
    );
    let until = match grant.expires_at {
        Some(expiry) => {
            let ours = shifted(expiry, -grant.clock_offset);
            let ours = ours.round(jiff::Unit::Second).unwrap_or(ours);
            format!("the token is good until {ours}")
        }
        None => "the token has no known end".to_owned(),
    };
    let renewal = if grant.refresh_token.is_some() {
        "it is renewed by itself"
    } else {
        "it cannot be renewed"
    };
    let evidence = format!("{who}; {until}; {renewal}");
    let usable = grant.is_usable(shifted(now, grant.clock_offset));
    if grant.has_unknown_outcome() {
        Check::warning(
            ID,
            format!("{evidence}; a renewal began and its end is not known"),
            format!("if reads fail: `{LOG_IN}`"),
        )
    } else if usable || grant.refresh_token.is_some() {
        Check::ok(ID, evidence)
    } else {
        Check::failed(ID, format!("{evidence}, and it has expired"), LOG_IN)
    }
}

/// What the registry says to somebody without a token.
pub(super) fn challenge(answer: &Result<Reply, HttpError>, wanted: Wanted<'_>) -> Check {
    const ID: &str = "registry.challenge";
    let is_configured = !matches!(wanted, Wanted::Nothing);
    let Ok(reply) = answer else {
        return Check::skipped(ID, "the registry did not answer");
    };
    let status = reply.status;
    match status.as_u16() {
        401 if reply.headers.contains_key(http::header::WWW_AUTHENTICATE) && is_configured => {
            let is_login = matches!(wanted, Wanted::Login(..));
            if is_login && BearerChallenge::of(&reply.headers).is_none() {
                Check::warning(
                    ID,
                    "it answers 401, and its `WWW-Authenticate` asks for no bearer token (RFC 6750 section 3) or cannot be read",
                    "tell the registry's operator",
                )
            } else {
                Check::ok(ID, "it asks for a login, as configured")
            }
        }
        401 | 403 if !is_configured => Check::failed(
            ID,
            format!("it answers {status}: it wants a login, and none is configured"),
            "thv registry login --issuer URL --client-id ID",
        ),
        401 => Check::warning(
            ID,
            "it answers 401 without `WWW-Authenticate`, which RFC 9110 section 11.6.1 asks for",
            "tell the registry's operator",
        ),
        403 => Check::ok(ID, "it answers 403 without a token"),
        200 if matches!(wanted, Wanted::Credential) => Check::warning(
            ID,
            "a credential is used, and the registry answers without one",
            format!("if it is public: `{GO_WITHOUT}`, or unset THV_REGISTRY_TOKEN"),
        ),
        200 if is_configured => Check::warning(
            ID,
            "a login is configured, and the registry answers without one",
            "if it is public: `thv config unset-registry-auth`",
        ),
        200..=299 => Check::ok(ID, "it asks for no login"),
        500..=599 => Check::skipped(ID, format!("it answered {status}")),
        _ => Check::failed(
            ID,
            format!("it answered {status} where a list of servers should be"),
            "check the registry's address: `thv config set-registry URL`",
        ),
    }
}

/// What to do about a token that the registry does not take.
#[derive(Clone, Debug)]
pub(super) struct TokenFix {
    /// When it refuses the token.
    pub(super) refused: String,
    /// When it takes the token and refuses the request.
    pub(super) forbidden: String,
}

impl TokenFix {
    /// That of a login.
    pub(super) fn of_login() -> Self {
        Self {
            refused: format!(
                "`{LOG_IN}`; if it stays so, compare audience and issuer with the registry's operator"
            ),
            forbidden: format!(
                "ask the registry's operator which permission the account lacks; if it is a scope that was not asked for: `{LOG_IN} --scopes SCOPES`"
            ),
        }
    }
}

/// What the registry says to the token that we have; the error is why there is none that could be shown.
pub(super) fn token(
    answer: Result<&Result<Reply, HttpError>, &str>,
    fix: impl FnOnce() -> TokenFix,
) -> Check {
    const ID: &str = "registry.token";
    let reply = match answer {
        Err(why) => return Check::skipped(ID, why),
        Ok(Err(error)) => return Check::skipped(ID, error.to_string()),
        Ok(Ok(reply)) => reply,
    };
    if let Some(fault) = proof_fault(reply) {
        let fix =
            "set this machine's clock, if it is wrong; otherwise tell the registry's operator";
        return Check::failed(ID, fault, fix);
    }
    match reply.status.as_u16() {
        200..=299 => Check::ok(ID, "the registry takes it"),
        401 => Check::failed(
            ID,
            format!(
                "the registry refuses it with 401{}",
                said(reply).unwrap_or_default()
            ),
            fix().refused,
        ),
        403 => Check::failed(
            ID,
            format!(
                "the registry refuses it with 403{}: the account, or its scopes, are not enough",
                said(reply).unwrap_or_default()
            ),
            fix().forbidden,
        ),
        status => Check::skipped(ID, format!("the registry answered {status}")),
    }
}

/// What an answer says that refuses the proof of the token's key, and not the token (RFC 9449 section 7.1).
pub(crate) fn proof_fault(reply: &Reply) -> Option<String> {
    let error = ProofChallenge::refusal(reply.status, &reply.headers)?;
    Some(format!(
        "it does not take the proof of the token's key (`{error}`, RFC 9449 section 7.1)"
    ))
}

/// The registry's own words. It got the token, so that its text could repeat it: only the challenge's known members count.
fn said(reply: &Reply) -> Option<String> {
    const CODES: [&str; 3] = ["invalid_request", "invalid_token", "insufficient_scope"];
    let header = reply.headers.get(http::header::WWW_AUTHENTICATE)?;
    let text = header.to_str().ok()?;
    CODES
        .into_iter()
        .find(|code| {
            text.contains(&format!("error=\"{code}\"")) || text.contains(&format!("error={code}"))
        })
        .map(|code| format!(" ({code}, RFC 6750 section 3.1)"))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::super::check::Outcome;
    use super::super::host::tests::reply;
    use super::*;
    use crate::binding::Binding;
    use crate::grant::tests::grant as made;
    use crate::grant::{Death, DeathReason, RefreshIntent};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn a_stored_login_is_judged_by_whether_it_can_still_be_used() {
        let dead = Grant {
            dead: Some(Death {
                reason: DeathReason::Revoked,
                at: at(0),
            }),
            ..made("canary-a", Some("canary-r"), Some(60))
        };
        let mut unknown = made("canary-a", Some("canary-r"), Some(60));
        unknown.intent = unknown.refresh_fingerprint().map(|token| RefreshIntent {
            generation: 1,
            token: token.to_hex(),
            at: at(0),
        });
        let ahead = Grant {
            clock_offset: SignedDuration::from_secs(100),
            ..made("canary-a", None, Some(60))
        };
        for (stored, now, outcome, words) in [
            (None, 0, Outcome::Warning, "nobody"),
            (
                Some(made("canary-a", None, Some(60))),
                59,
                Outcome::Ok,
                "cannot be renewed",
            ),
            (
                Some(made("canary-a", None, Some(60))),
                61,
                Outcome::Failed,
                "expired",
            ),
            (
                Some(made("canary-a", Some("canary-r"), Some(60))),
                61,
                Outcome::Ok,
                "renewed by itself",
            ),
            (
                Some(made("canary-a", None, None)),
                61,
                Outcome::Ok,
                "no known end",
            ),
            (Some(ahead), 0, Outcome::Failed, "expired"),
            (Some(dead), 0, Outcome::Failed, "ended"),
            (Some(unknown), 0, Outcome::Warning, "not known"),
        ] {
            let check = grant(&Ok(stored), at(now));
            assert_eq!(check.outcome, outcome, "{check:?}");
            assert!(check.evidence.contains(words), "{check:?}");
            assert!(!check.evidence.contains("canary"), "{check:?}");
        }
        assert_eq!(
            grant(&Err(VaultError::Moved), at(0)).outcome,
            Outcome::Failed
        );
    }

    #[test]
    fn what_the_registry_says_without_a_token_is_compared_with_the_settings() {
        let asks: &[(&'static str, &str)] = &[("www-authenticate", "Bearer")];
        let asks_otherwise: &[(&'static str, &str)] = &[("www-authenticate", "Basic realm=x")];
        let binding = Binding::new("https://r.example", "https://id.example", "thv-cli").unwrap();
        let relaxed = super::super::resource::Held::default();
        let login = Wanted::Login(&binding, &relaxed);
        for (status, headers, wanted, outcome) in [
            (401, asks, login, Outcome::Ok),
            (401, asks_otherwise, login, Outcome::Warning),
            (401, asks_otherwise, Wanted::Credential, Outcome::Ok),
            (401, &[], login, Outcome::Warning),
            (401, asks, Wanted::Nothing, Outcome::Failed),
            (403, &[], Wanted::Nothing, Outcome::Failed),
            (403, &[], login, Outcome::Ok),
            (200, &[], login, Outcome::Warning),
            (200, &[], Wanted::Nothing, Outcome::Ok),
            (404, &[], login, Outcome::Failed),
            (503, &[], login, Outcome::Skipped),
        ] {
            let check = challenge(&Ok(reply(status, headers, "")), wanted);
            assert_eq!(check.outcome, outcome, "{status} {wanted:?}: {check:?}");
        }
    }

    #[test]
    fn the_token_is_judged_by_the_registry_and_never_repeated() {
        assert_eq!(
            token(Err("none"), TokenFix::of_login).outcome,
            Outcome::Skipped
        );
        let hostile = "Bearer error=\"invalid_token\", error_description=\"canary-a\"";
        for (status, outcome, words) in [
            (200, Outcome::Ok, "takes it"),
            (401, Outcome::Failed, "invalid_token"),
            (403, Outcome::Failed, "403"),
            (500, Outcome::Skipped, "500"),
        ] {
            let answer = Ok(reply(status, &[("www-authenticate", hostile)], "canary-a"));
            let check = token(Ok(&answer), TokenFix::of_login);
            assert_eq!(check.outcome, outcome, "{check:?}");
            assert!(check.evidence.contains(words), "{check:?}");
            assert!(!check.evidence.contains("canary"), "{check:?}");
        }
    }
}
