//! What logging in and out fails with, as clients are told. The desktop client shows none of
//! these texts; people with other clients, and logs, do, so each says what happened and what to
//! do about it.

use std::time::Duration;

use http::StatusCode;
use thv_auth::login::{LoginError, NotTaken};
use thv_auth::machine::manage::ManageError;
use thv_auth::oauth::registration::RegistrationError;
use thv_auth::vault::VaultError;
use thv_auth::{AuthFailure, ClientError};

use super::{Problem, whole_seconds};

/// When there may be room for another login: one of those under way may end at any time.
const FULL_PAUSE: Duration = Duration::from_secs(30);

const NOT_CONFIGURED: &str = "Registry OAuth not configured; call PUT /api/v1beta/registry/default with a client ID and issuer URL first";

// === impl Problem ===

impl Problem {
    /// What a login failed with.
    pub(crate) fn login_failed(failure: &AuthFailure) -> Self {
        Self::from_auth("Login failed", failure)
    }

    /// What a logout failed with.
    pub(crate) fn logout_failed(failure: &AuthFailure) -> Self {
        Self::from_auth("Logout failed", failure)
    }

    /// What looking at a login failed with.
    pub(crate) fn no_report(failure: &AuthFailure) -> Self {
        Self::from_auth("The login cannot be looked at", failure)
    }

    /// No login has the name, or none any more.
    pub(crate) fn no_such_login() -> Self {
        Self::by_door(
            StatusCode::NOT_FOUND,
            "login_not_found",
            "no login has this id, or it ended more than a quarter of an hour ago; start one with POST to …/auth/logins",
        )
    }

    /// A redirect that was handed over was not taken.
    pub(crate) fn callback_refused(why: NotTaken) -> Self {
        let (status, code) = match why {
            NotTaken::OtherAddress => (StatusCode::BAD_REQUEST, "callback_other_address"),
            NotTaken::OtherLogin => (StatusCode::BAD_REQUEST, "callback_other_login"),
            NotTaken::Malformed => (StatusCode::BAD_REQUEST, "callback_malformed"),
            NotTaken::ForeignIssuer => (StatusCode::BAD_REQUEST, "callback_foreign_issuer"),
            NotTaken::Used => (StatusCode::GONE, "callback_used"),
        };
        Self::by_door(status, code, format!("The callback was not taken: {why}"))
    }

    fn from_auth(what: &str, failure: &AuthFailure) -> Self {
        let (status, code) = match failure {
            AuthFailure::NoBinding(_) => {
                return Self::by_door(
                    StatusCode::BAD_REQUEST,
                    "login_not_configured",
                    NOT_CONFIGURED,
                );
            }
            AuthFailure::CredentialInUse(used) => {
                return Self::by_door(
                    StatusCode::BAD_REQUEST,
                    "login_not_configured",
                    format!("{NOT_CONFIGURED}; {used}"),
                );
            }
            AuthFailure::Unanswered { retry_after } => {
                return Self {
                    retry_after: Some(whole_seconds(*retry_after)),
                    ..Self::by_door(
                        StatusCode::TOO_MANY_REQUESTS,
                        "login_prompts_unanswered",
                        format!("{what}: {failure}"),
                    )
                };
            }
            AuthFailure::Config(_)
            | AuthFailure::Manage(
                ManageError::Settings(_) | ManageError::Secret { .. } | ManageError::Config(_),
            ) => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
            AuthFailure::Login(error) => of_login(error),
            AuthFailure::Client(error) => of_client(error),
            AuthFailure::Vault(error) => of_store(error),
            AuthFailure::Manage(ManageError::Store(error)) => {
                of_store(&VaultError::Store(error.clone()))
            }
            AuthFailure::Credential(error) => (StatusCode::SERVICE_UNAVAILABLE, error.reason()),
            AuthFailure::WrongOrigin(_) => (StatusCode::FORBIDDEN, "wrong_origin"),
            AuthFailure::BoundToken => (StatusCode::CONFLICT, "token_bound"),
        };
        let retry_after =
            (status == StatusCode::TOO_MANY_REQUESTS).then(|| whole_seconds(FULL_PAUSE));
        Self {
            retry_after,
            hint: match failure {
                AuthFailure::Login(error) => hint(error),
                _ => None,
            },
            ..Self::by_door(status, code, format!("{what}: {failure}"))
        }
    }
}

/// How a login ended that came to nothing, as clients are told in the login itself.
#[derive(Debug)]
pub(crate) struct EndOfLogin {
    pub(crate) state: &'static str,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<&'static str>,
}

// === impl EndOfLogin ===

impl EndOfLogin {
    pub(crate) fn of(error: &LoginError) -> Self {
        let state = match error {
            LoginError::Denied { .. } => "denied",
            LoginError::Expired { .. } | LoginError::CodeExpired => "expired",
            LoginError::Cancelled | LoginError::Withdrawn | LoginError::Abandoned => "cancelled",
            _ => "failed",
        };
        Self {
            state,
            code: of_login(error).1,
            message: error.to_string(),
            hint: hint(error),
        }
    }
}

/// What to do next, where the message does not say it.
fn hint(error: &LoginError) -> Option<&'static str> {
    match error {
        LoginError::Denied { .. } => {
            Some("Start another login, as somebody whom the identity provider lets in.")
        }
        LoginError::Expired { .. } => Some("Start another login and finish it in time."),
        LoginError::CodeExpired => Some(
            "Start another login, and finish it sooner or in a browser: the identity provider decides for how long a code is good.",
        ),
        LoginError::Cancelled => Some("Start another login if it is still wanted."),
        LoginError::ForeignIssuer { .. } => Some(
            "Start another login, and if this comes again ask the registry's operator which identity provider is right.",
        ),
        LoginError::Exchange {
            transient: true, ..
        } => {
            Some("The identity provider is in trouble or out of reach; start another login later.")
        }
        LoginError::Exchange { code: None, .. } => Some(
            "Tell who runs the identity provider what is wrong with its answer; the settings here have no part in it.",
        ),
        LoginError::Exchange { .. } => Some(
            "Have the client ID and its registration at the identity provider checked: public client, PKCE, this redirect URI.",
        ),
        LoginError::IdToken { .. } => {
            Some("Have the identity provider's keys and the clock of this machine checked.")
        }
        LoginError::AccountMismatch { .. } => Some(
            "Log in as the account from before, log out first, or start a login with `switch_account`; on the command line `thv registry login --switch-account`.",
        ),
        LoginError::StoreUnusable { .. } | LoginError::NotStored { .. } => {
            Some("`thv secret status` says which store is meant, and what is wrong with it.")
        }
        LoginError::NotConfigured { .. } => {
            Some("Make config.yaml writable for the server, and start another login.")
        }
        LoginError::Discovery {
            transient: true, ..
        } => Some(
            "Start another login when the identity provider is back; a proxy and a private authority may be missing in the server's settings.",
        ),
        LoginError::Discovery { .. } => Some(
            "Have the issuer checked, character by character; it is set with PUT /api/v1beta/registry/default.",
        ),
        LoginError::NoDeviceCode { .. } => {
            Some("Log in with a browser, on this machine or another one.")
        }
        LoginError::PortBusy { is_ours: true, .. } => Some(
            "Finish or cancel that login, or end that program; or use another port with `thv registry login --callback-port`, or log in with `--device`, which needs none.",
        ),
        LoginError::PortBusy { is_ours: false, .. } => Some(
            "Finish or cancel that login, or end that program; or log in with `thv registry login --device`, which needs no port, where the identity provider has device codes.",
        ),
        LoginError::Listener { .. } => Some(
            "Log in with `thv registry login --device`, which needs no port, where the identity provider has device codes.",
        ),
        _ => None,
    }
}

/// 409 is for what the person at this machine can change, 502 for what only the identity provider
/// can.
fn of_login(error: &LoginError) -> (StatusCode, &'static str) {
    match error {
        LoginError::StoreUnusable { .. } => (StatusCode::CONFLICT, "store_unusable"),
        LoginError::PortBusy { .. } => (StatusCode::CONFLICT, "callback_port_busy"),
        LoginError::AccountMismatch { .. } => (StatusCode::CONFLICT, "account_mismatch"),
        LoginError::Cancelled | LoginError::Withdrawn | LoginError::Abandoned => {
            (StatusCode::CONFLICT, "login_cancelled")
        }
        LoginError::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too_many_logins"),
        LoginError::Settings { .. } => (StatusCode::BAD_REQUEST, "login_settings_invalid"),
        LoginError::Denied { .. } => (StatusCode::FORBIDDEN, "login_denied"),
        LoginError::Expired { .. } | LoginError::CodeExpired => {
            (StatusCode::GATEWAY_TIMEOUT, "login_expired")
        }
        LoginError::NoDeviceCode { .. } => (StatusCode::BAD_GATEWAY, "device_code_unavailable"),
        LoginError::Discovery { .. } => (StatusCode::BAD_GATEWAY, "identity_provider_unavailable"),
        LoginError::ForeignIssuer { .. }
        | LoginError::Exchange { .. }
        | LoginError::IdToken { .. } => (StatusCode::BAD_GATEWAY, "identity_provider_refused"),
        LoginError::NothingToOpen { .. } => (StatusCode::NOT_IMPLEMENTED, "no_browser"),
        LoginError::NotStored { .. } | LoginError::NotConfigured { .. } => {
            (StatusCode::INTERNAL_SERVER_ERROR, "login_not_stored")
        }
        LoginError::Listener { .. } | LoginError::Internal { .. } => {
            (StatusCode::INTERNAL_SERVER_ERROR, "internal_error")
        }
    }
}

/// 502 for what the identity provider said or did not say.
fn of_client(error: &ClientError) -> (StatusCode, &'static str) {
    match error {
        ClientError::Registration(RegistrationError::Transient { .. }) => {
            (StatusCode::BAD_GATEWAY, "identity_provider_unavailable")
        }
        ClientError::Registration(_) => (StatusCode::BAD_GATEWAY, "identity_provider_refused"),
        ClientError::Store(error) => of_store(error),
        ClientError::MetadataDocument { .. } | ClientError::NoMetadataDocuments { .. } => {
            (StatusCode::BAD_REQUEST, "login_settings_invalid")
        }
    }
}

fn of_store(error: &VaultError) -> (StatusCode, &'static str) {
    match error {
        VaultError::Store(error) if error.is_transient() => {
            (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable")
        }
        VaultError::Store(error) if error.needs_a_person() => {
            (StatusCode::CONFLICT, "store_unusable")
        }
        VaultError::Moved => (StatusCode::CONFLICT, "login_changed"),
        VaultError::Store(_) | VaultError::Record(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "internal_error")
        }
    }
}

#[cfg(test)]
mod tests {
    use thv_auth::CredentialInUse;
    use thv_auth::binding::NoBinding;
    use thv_auth::login::PortHolder;
    use thv_auth::machine::{CredentialKind, Way};

    use super::*;
    use crate::error::Door;

    fn login(error: LoginError) -> Problem {
        Problem::login_failed(&AuthFailure::Login(error))
    }

    #[test]
    fn every_end_of_a_login_has_a_status_and_a_code_of_its_own_kind() {
        let text = || "why".to_owned();
        let table = [
            (
                LoginError::StoreUnusable { hint: text() },
                409,
                "store_unusable",
            ),
            (
                LoginError::PortBusy {
                    port: 8666,
                    holder: PortHolder::Unknown { process: None },
                    is_ours: false,
                },
                409,
                "callback_port_busy",
            ),
            (LoginError::Cancelled, 409, "login_cancelled"),
            (LoginError::Abandoned, 409, "login_cancelled"),
            (LoginError::Withdrawn, 409, "login_cancelled"),
            (LoginError::TooMany, 429, "too_many_logins"),
            (
                LoginError::Settings { cause: text() },
                400,
                "login_settings_invalid",
            ),
            (
                LoginError::Denied {
                    code: "access_denied".to_owned(),
                    description: None,
                },
                403,
                "login_denied",
            ),
            (
                LoginError::Expired {
                    limit: Duration::from_mins(5),
                    turned_away: 0,
                },
                504,
                "login_expired",
            ),
            (
                LoginError::Discovery {
                    issuer: "https://id.test".to_owned(),
                    cause: text(),
                    transient: true,
                },
                502,
                "identity_provider_unavailable",
            ),
            (
                LoginError::NoDeviceCode {
                    cause: text(),
                    transient: false,
                },
                502,
                "device_code_unavailable",
            ),
            (
                LoginError::IdToken { cause: text() },
                502,
                "identity_provider_refused",
            ),
            (
                LoginError::NothingToOpen { cause: text() },
                501,
                "no_browser",
            ),
            (
                LoginError::NotConfigured { cause: text() },
                500,
                "login_not_stored",
            ),
            (
                LoginError::NotStored { cause: text() },
                500,
                "login_not_stored",
            ),
            (
                LoginError::Listener {
                    port: 8666,
                    cause: text(),
                },
                500,
                "internal_error",
            ),
        ];
        for (error, status, code) in table {
            let said = error.to_string();
            let problem = login(error);
            assert_eq!(problem.status(), status, "{said}");
            assert_eq!(problem.code, code, "{said}");
            assert_eq!(*problem.message, *format!("Login failed: {said}"));
            assert_eq!(
                problem.render(Door::Plain, false).headers()["content-type"],
                "text/plain; charset=utf-8"
            );
        }
    }

    #[test]
    fn every_end_that_a_person_can_change_says_how() {
        let text = || "why".to_owned();
        let exchange = |transient: bool| LoginError::Exchange {
            cause: text(),
            code: (!transient).then(|| "invalid_client".to_owned()),
            transient,
        };
        let discovery = |transient| LoginError::Discovery {
            issuer: "https://id.test".to_owned(),
            cause: text(),
            transient,
        };
        for (error, state, has_hint) in [
            (
                LoginError::Denied {
                    code: "access_denied".to_owned(),
                    description: None,
                },
                "denied",
                true,
            ),
            (
                LoginError::Expired {
                    limit: Duration::from_mins(10),
                    turned_away: 0,
                },
                "expired",
                true,
            ),
            (LoginError::Cancelled, "cancelled", true),
            (LoginError::Withdrawn, "cancelled", false),
            (LoginError::Abandoned, "cancelled", false),
            (LoginError::ForeignIssuer { cause: text() }, "failed", true),
            (exchange(true), "failed", true),
            (exchange(false), "failed", true),
            (LoginError::CodeExpired, "expired", true),
            (LoginError::IdToken { cause: text() }, "failed", true),
            (LoginError::NotStored { cause: text() }, "failed", true),
            (LoginError::StoreUnusable { hint: text() }, "failed", true),
            (discovery(true), "failed", true),
            (discovery(false), "failed", true),
            (LoginError::Internal { cause: text() }, "failed", false),
        ] {
            let end = EndOfLogin::of(&error);
            assert_eq!(end.state, state, "{error}");
            assert_eq!(end.hint.is_some(), has_hint, "{error}");
            assert_eq!(end.message, error.to_string());
        }
    }

    #[test]
    fn a_login_in_place_of_a_credential_names_it_and_what_takes_it_away() {
        for (way, parts) in [
            (Way::Configured, ["bearer", "unset-registry-credential"]),
            (Way::Environment, ["THV_REGISTRY_TOKEN", "unset"]),
        ] {
            let kind = Some(CredentialKind::Bearer);
            let used = AuthFailure::CredentialInUse(CredentialInUse { way, kind });
            let problem = Problem::login_failed(&used);
            assert_eq!(problem.status(), 400);
            assert!(problem.message.starts_with(NOT_CONFIGURED));
            for part in parts {
                assert!(problem.message.contains(part), "{}", problem.message);
            }
        }
    }

    #[test]
    fn without_settings_login_and_logout_say_how_to_make_some() {
        for failure in [NoBinding::NotConfigured, NoBinding::LocalSource] {
            let failure = AuthFailure::NoBinding(failure);
            for problem in [
                Problem::login_failed(&failure),
                Problem::logout_failed(&failure),
            ] {
                assert_eq!(problem.status(), 400);
                assert_eq!(&*problem.message, NOT_CONFIGURED);
            }
        }
    }
}
