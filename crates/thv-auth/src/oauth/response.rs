//! Whose authorization response this is (RFC 9207).
//!
//! A pure decision over what the metadata promised and what the redirect carried. Reading the redirect, and refusing one that
//! carries `iss` twice, is the callback listener's part.

use thiserror::Error;

/// Why an authorization response is not our provider's. Its `error` members, if any, must be neither acted on nor shown.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ResponseIssuerError {
    /// The provider says that it names itself in every response, and this one names nobody.
    #[error("the response lacks the `iss` that {expected} promises to send")]
    Missing {
        /// Who should have answered.
        expected: String,
    },
    /// The response names somebody else.
    #[error("the response is from the issuer `{received}` and not from `{expected}`")]
    Mismatch {
        /// Who should have answered.
        expected: String,
        /// Who did, at most 200 characters.
        received: String,
    },
}

/// Decides the four cases of RFC 9207 section 2.4: a present `iss` is compared byte by byte, an absent one is a fault exactly
/// when `advertised` (`authorization_response_iss_parameter_supported`).
pub fn check_response_issuer(
    advertised: bool,
    received: Option<&str>,
    expected: &str,
) -> Result<(), ResponseIssuerError> {
    match received {
        Some(received) if received == expected => Ok(()),
        Some(received) => Err(ResponseIssuerError::Mismatch {
            expected: expected.to_owned(),
            received: received
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect(),
        }),
        None if advertised => Err(ResponseIssuerError::Missing {
            expected: expected.to_owned(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "https://login.example.com";

    #[test]
    fn the_four_rows_of_rfc_9207() {
        for (advertised, received, accepted) in [
            (true, Some(OURS), true),
            (true, None, false),
            (false, Some(OURS), true),
            (false, None, true),
            (true, Some("https://evil.example"), false),
            (false, Some("https://evil.example"), false),
        ] {
            assert_eq!(
                check_response_issuer(advertised, received, OURS).is_ok(),
                accepted,
                "{advertised} {received:?}"
            );
        }
    }

    #[test]
    fn nothing_is_folded_trimmed_or_decoded() {
        for received in [
            "https://login.example.com/",
            "https://LOGIN.example.com",
            "https://login.example.com:443",
            "https%3A%2F%2Flogin.example.com",
            "https://login.example.com.",
            " https://login.example.com",
            "",
        ] {
            assert!(
                check_response_issuer(false, Some(received), OURS).is_err(),
                "{received}"
            );
        }
    }
}
