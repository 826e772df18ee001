//! What an authorization response says, as a pure decision over its query (RFC 6749 section 4.1.2, RFC 9207).
//!
//! The order is the protection: whose login it answers is asked first, who answers second, and only then what the answer is.
//! Whether a response was used before, and what follows from it, is decided in `session`.

use std::borrow::Cow;

use secrecy::SecretString;
use url::form_urlencoded;

use crate::oauth::Attempt;
use crate::oauth::answer::shown;

/// Longest description of an identity provider that is passed on to people, in characters.
const DESCRIPTION_LENGTH: usize = 200;

/// Longest error code that is taken for one.
const ERROR_CODE_LENGTH: usize = 64;

/// What a query turned out to be.
#[derive(Debug)]
pub(crate) enum Response {
    /// It knows nothing that only the answer to our request can know.
    Forged,
    /// It answers our request, and is unusable all the same.
    Malformed,
    /// It answers our request with an error that may be anybody's.
    ForeignError,
    /// It answers our request with a code that is another issuer's.
    ForeignCode {
        /// What is wrong with the issuer.
        cause: String,
    },
    /// The issuer refused.
    Refused(Refusal),
    /// The issuer granted.
    Granted(SecretString),
}

/// An error of the authorization endpoint (RFC 6749 section 4.1.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The error code; `invalid_error_code` when it is none.
    pub(crate) code: String,
    /// What the issuer adds for people, reduced to one short line.
    pub(crate) description: Option<String>,
}

/// The values of one parameter.
enum Parameter<'q> {
    Absent,
    Once(Cow<'q, str>),
    Repeated,
}

/// Reads the query of a request to the redirect URI of `attempt`.
pub(crate) fn read(attempt: &Attempt, query: &str) -> Response {
    match parameter(query, "state") {
        Parameter::Once(state) if attempt.accepts_state(&state) => {}
        _ => return Response::Forged,
    }
    let issuer = match parameter(query, "iss") {
        Parameter::Absent => None,
        Parameter::Once(issuer) => Some(issuer),
        Parameter::Repeated => return Response::Malformed,
    };
    let issuer = attempt.check_issuer(issuer.as_deref());
    match (parameter(query, "code"), parameter(query, "error"), issuer) {
        (Parameter::Once(_), Parameter::Absent, Err(cause)) => Response::ForeignCode {
            cause: cause.to_string(),
        },
        (Parameter::Absent, Parameter::Once(_), Err(_)) => Response::ForeignError,
        (Parameter::Once(code), Parameter::Absent, Ok(())) if is_code(&code) => {
            Response::Granted(code.into_owned().into())
        }
        (Parameter::Absent, Parameter::Once(error), Ok(())) => {
            Response::Refused(Refusal::read(&error, query))
        }
        _ => Response::Malformed,
    }
}

/// The `state` of a response, if it has just one.
pub(super) fn state_of(query: &str) -> Option<Cow<'_, str>> {
    match parameter(query, "state") {
        Parameter::Once(state) => Some(state),
        Parameter::Absent | Parameter::Repeated => None,
    }
}

impl Refusal {
    fn read(code: &str, query: &str) -> Self {
        let is_code = !code.is_empty()
            && code.len() <= ERROR_CODE_LENGTH
            && code
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        let description = match parameter(query, "error_description") {
            Parameter::Once(text) => Some(text),
            Parameter::Absent | Parameter::Repeated => None,
        };
        Self {
            code: if is_code { code } else { "invalid_error_code" }.to_owned(),
            description: description.and_then(|text| shown(&text, DESCRIPTION_LENGTH)),
        }
    }
}

/// RFC 6749 appendix A.11: one or more printable ASCII characters.
fn is_code(code: &str) -> bool {
    !code.is_empty() && code.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn parameter<'q>(query: &'q str, name: &str) -> Parameter<'q> {
    let mut values = form_urlencoded::parse(query.as_bytes())
        .filter(|(found, _)| found == name)
        .map(|(_, value)| value);
    match (values.next(), values.next()) {
        (None, _) => Parameter::Absent,
        (Some(value), None) => Parameter::Once(value),
        (Some(_), Some(_)) => Parameter::Repeated,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use secrecy::ExposeSecret as _;
    use url::Url;

    use super::*;
    use crate::oauth::RedirectUri;

    const ISS: &str = "iss=https%3A%2F%2Fid.example";
    const EVIL: &str = "iss=https%3A%2F%2Fevil.example";

    /// An attempt at `https://id.example` with the given state.
    pub(in crate::login) fn attempt(state: &str, names_itself: bool) -> Attempt {
        Attempt {
            state: state.into(),
            nonce: None,
            verifier: "verifier".into(),
            redirect_uri: RedirectUri::registered(8666),
            issuer: "https://id.example".into(),
            iss_parameter_supported: names_itself,
            scopes: Vec::new(),
            authorization_url: Url::parse("https://id.example/authorize").expect("url"),
        }
    }

    fn answer(names_itself: bool, query: &str) -> Response {
        read(&attempt("s3cret-State_123456789", names_itself), query)
    }

    fn kind(response: &Response) -> &'static str {
        match response {
            Response::Forged => "forged",
            Response::Malformed => "malformed",
            Response::ForeignError => "foreign error",
            Response::ForeignCode { .. } => "foreign code",
            Response::Refused(_) => "refused",
            Response::Granted(_) => "granted",
        }
    }

    #[test]
    fn state_is_asked_before_anything_else() {
        for query in [
            "",
            "error=access_denied",
            "code=abc",
            "code=abc&state=",
            "code=abc&state=s3cret-State_12345678",
            "code=abc&state=s3cret-State_1234567890",
            "code=abc&state=S3cret-State_123456789",
            "code=abc&state=s3cret-State_123456789&state=s3cret-State_123456789",
            "code=abc&state=x&state=s3cret-State_123456789",
            "code=abc&STATE=s3cret-State_123456789",
            "code=abc&state=s3cret-State_123456789%00",
        ] {
            assert_eq!(kind(&answer(false, query)), "forged", "{query}");
        }
    }

    #[test]
    fn the_rows_of_rfc_9207_hold_for_codes_and_errors() {
        for (promised, iss, code, error) in [
            (true, ISS, "granted", "refused"),
            (true, "", "foreign code", "foreign error"),
            (true, EVIL, "foreign code", "foreign error"),
            (false, ISS, "granted", "refused"),
            (false, "", "granted", "refused"),
            (false, EVIL, "foreign code", "foreign error"),
        ] {
            let state = "state=s3cret-State_123456789";
            let response = answer(promised, &format!("code=abc&{state}&{iss}"));
            assert_eq!(kind(&response), code, "{promised} {iss}");
            let response = answer(promised, &format!("{iss}&error=access_denied&{state}"));
            assert_eq!(kind(&response), error, "{promised} {iss}");
        }
    }

    #[test]
    fn contradictory_responses_are_refused() {
        for extra in [
            "",
            "code=",
            "code=a&code=b",
            "code=a&code=a",
            "code=a&error=access_denied",
            "error=a&error=b",
            "code=a%00b",
            "code=%ff",
            "code=a%0Ab",
            "code=a&iss=https%3A%2F%2Fid.example&iss=https%3A%2F%2Fid.example",
        ] {
            let response = answer(false, &format!("state=s3cret-State_123456789&{extra}"));
            assert_eq!(kind(&response), "malformed", "{extra}");
        }
    }

    #[test]
    fn a_refusal_keeps_only_what_can_be_shown() {
        let response = answer(
            false,
            "state=s3cret-State_123456789&error=access_denied&error_description=Not%20you%1b%5B31m%0A%E2%80%AE%3Cb%3E",
        );
        let Response::Refused(refusal) = response else {
            panic!("{response:?}")
        };
        assert_eq!(refusal.code, "access_denied");
        assert_eq!(refusal.description.as_deref(), Some("Not you[31m<b>"));
        let long = format!(
            "state=s3cret-State_123456789&error=%3Cscript%3E&error_description={}",
            "x".repeat(900)
        );
        let Response::Refused(refusal) = answer(false, &long) else {
            panic!("a refusal")
        };
        assert_eq!(refusal.code, "invalid_error_code");
        assert_eq!(refusal.description.map(|text| text.len()), Some(200));
    }

    #[test]
    fn codes_are_decoded_once_and_never_printed() {
        let response = answer(false, "code=a%252Fb%2Bc+d&state=s3cret-State_123456789");
        assert!(!format!("{response:?}").contains("%2Fb"), "{response:?}");
        let Response::Granted(code) = response else {
            panic!("{response:?}")
        };
        assert_eq!(code.expose_secret(), "a%2Fb+c d");
    }
}
