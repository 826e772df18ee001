//! What secrets fail with, as clients are told. The statuses are those of the Go program where it
//! has one that says something; its 500 for what the caller or a person can change is not.

use http::StatusCode;
use thv_config::ConfigError;
use thv_secrets::SecretsError;

use super::Problem;

const NOT_SET_UP: &str = "secrets provider not configured. Please run 'thv secret setup' to configure a secrets provider first";

// === impl Problem ===

impl Problem {
    /// What a request about secrets failed with.
    pub(crate) fn secrets(error: &SecretsError) -> Self {
        let said = error.to_string();
        let (status, code, message) = match error {
            SecretsError::NotSetUp { .. } => (
                StatusCode::NOT_FOUND,
                "secrets_not_set_up",
                NOT_SET_UP.to_owned(),
            ),
            SecretsError::NotFound { .. } => (
                StatusCode::NOT_FOUND,
                "secret_not_found",
                "secret not found".to_owned(),
            ),
            SecretsError::AlreadyExists { .. } => (
                StatusCode::CONFLICT,
                "secret_exists",
                "secret already exists".to_owned(),
            ),
            SecretsError::Unsupported { .. } | SecretsError::ReadOnly { .. } => {
                (StatusCode::METHOD_NOT_ALLOWED, "provider_read_only", said)
            }
            SecretsError::ReservedName { .. } => {
                (StatusCode::BAD_REQUEST, "secret_name_reserved", said)
            }
            SecretsError::EmptyName
            | SecretsError::InvalidReference { .. }
            | SecretsError::UnfitPassword { .. }
            | SecretsError::UnknownProvider { .. } => {
                (StatusCode::BAD_REQUEST, "bad_request", said)
            }
            SecretsError::TooLarge { .. } => (StatusCode::BAD_REQUEST, "secrets_too_large", said),
            SecretsError::OnePassword { .. } => {
                (StatusCode::BAD_GATEWAY, "secrets_provider_unusable", said)
            }
            SecretsError::Locked { .. }
            | SecretsError::KeyringUnavailable { .. }
            | SecretsError::WrongPassword { .. }
            | SecretsError::OtherPassword { .. }
            | SecretsError::KeyFile { .. }
            | SecretsError::Corrupt { .. } => (StatusCode::CONFLICT, "store_unusable", said),
            SecretsError::KeyringTimedOut { .. }
            | SecretsError::LockTimeout { .. }
            | SecretsError::Config(ConfigError::Locked { .. }) => {
                (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", said)
            }
            SecretsError::Io { .. }
            | SecretsError::Config(_)
            | SecretsError::NoRandomness { .. }
            | SecretsError::Abandoned { .. } => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal_error", said)
            }
        };
        Self::by_door(status, code, message)
    }
}
