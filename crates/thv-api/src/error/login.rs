//! What logging in and out fails with, as clients are told. The desktop client shows none of
//! these texts; people with other clients, and logs, do, so each says what happened and what to
//! do about it.

use http::StatusCode;
use thv_auth::login::LoginError;
use thv_auth::oauth::registration::RegistrationError;
use thv_auth::vault::VaultError;
use thv_auth::{AuthFailure, ClientError};

use super::Problem;

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

    fn from_auth(what: &str, failure: &AuthFailure) -> Self {
        let (status, code) = match failure {
            AuthFailure::NoBinding(_) => {
                return Self::by_door(
                    StatusCode::BAD_REQUEST,
                    "login_not_configured",
                    NOT_CONFIGURED,
                );
            }
            AuthFailure::Config(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
            AuthFailure::Login(error) => of_login(error),
            AuthFailure::Client(error) => of_client(error),
            AuthFailure::Vault(error) => of_store(error),
        };
        Self::by_door(status, code, format!("{what}: {failure}"))
    }
}

/// 409 is for what the person at this machine can change, 502 for what only the identity provider
/// can.
fn of_login(error: &LoginError) -> (StatusCode, &'static str) {
    match error {
        LoginError::StoreUnusable { .. } => (StatusCode::CONFLICT, "store_unusable"),
        LoginError::PortBusy { .. } => (StatusCode::CONFLICT, "callback_port_busy"),
        LoginError::Cancelled | LoginError::Abandoned => (StatusCode::CONFLICT, "login_cancelled"),
        LoginError::Settings { .. } => (StatusCode::BAD_REQUEST, "login_settings_invalid"),
        LoginError::Denied { .. } => (StatusCode::FORBIDDEN, "login_denied"),
        LoginError::Expired { .. } => (StatusCode::GATEWAY_TIMEOUT, "login_expired"),
        LoginError::Discovery { .. } => (StatusCode::BAD_GATEWAY, "identity_provider_unavailable"),
        LoginError::ForeignIssuer { .. }
        | LoginError::Exchange { .. }
        | LoginError::IdToken { .. } => (StatusCode::BAD_GATEWAY, "identity_provider_refused"),
        LoginError::NothingToOpen { .. } => (StatusCode::NOT_IMPLEMENTED, "no_browser"),
        LoginError::NotStored { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "login_not_stored"),
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
        ClientError::MetadataDocument { .. } => (StatusCode::BAD_REQUEST, "login_settings_invalid"),
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
    use std::time::Duration;

    use thv_auth::binding::NoBinding;
    use thv_auth::login::PortHolder;

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
                    holder: PortHolder::Unknown,
                },
                409,
                "callback_port_busy",
            ),
            (LoginError::Cancelled, 409, "login_cancelled"),
            (LoginError::Abandoned, 409, "login_cancelled"),
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
            assert_eq!(problem.message, format!("Login failed: {said}"));
            assert_eq!(
                problem.render(Door::Plain, false).headers()["content-type"],
                "text/plain; charset=utf-8"
            );
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
                assert_eq!(problem.message, NOT_CONFIGURED);
            }
        }
    }
}
