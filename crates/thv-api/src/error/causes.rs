//! What registries and their changes fail with, as clients are told.

use http::StatusCode;
use thv_auth::LoginReason;
use thv_registry::{Blame, ChangeError, Fault, LookupError, LookupFault};

use super::{Action, Form, Problem, whole_seconds};
use crate::head::BadEscape;

pub(super) const LEGACY_HINT: &str = "registry file appears to be in the legacy ToolHive format; run `thv registry convert --in <path> --in-place` to migrate to the upstream MCP format";

/// What clients know a missing login by.
pub(super) const AUTH_REQUIRED_CODE: &str = "registry_auth_required";

pub(super) const AUTH_REQUIRED: &str =
    "Registry authentication required. POST to /api/v1beta/registry/auth/login to authenticate.";

// === impl Problem ===

impl Problem {
    /// What setting the source `input` failed with.
    pub(crate) fn from_change(error: &ChangeError, input: &str) -> Self {
        let said = error.to_string();
        let (status, code, message) = match error {
            ChangeError::Invalid { .. } => (StatusCode::BAD_REQUEST, "bad_request", said),
            ChangeError::Login { .. } => (StatusCode::BAD_REQUEST, "login_settings_invalid", said),
            ChangeError::Unreachable { .. } => (
                StatusCode::GATEWAY_TIMEOUT,
                "registry_unreachable",
                format!("registry at {input} is unreachable: {said}"),
            ),
            ChangeError::NotRegistry { .. } => (StatusCode::BAD_GATEWAY, "registry_invalid", said),
            ChangeError::Config(_) | ChangeError::Setup { .. } => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal_error", said)
            }
        };
        Self::by_door(status, code, message)
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::AuthRequired { reason, .. } => Self {
                reason: Some(reason.as_str()),
                actions: what_helps(reason),
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    AUTH_REQUIRED_CODE,
                    AUTH_REQUIRED,
                    Form::Structured,
                )
            },
            Fault::Legacy { url } => Self::new(
                StatusCode::BAD_GATEWAY,
                "registry_legacy_format",
                url.map_or_else(
                    || LEGACY_HINT.to_owned(),
                    |url| format!("registry at {url}: {LEGACY_HINT}"),
                ),
                Form::Structured,
            ),
            Fault::Unavailable {
                url,
                cause,
                retry_after,
                blame,
            } => Self {
                retry_after: retry_after.map(whole_seconds),
                reason: (blame != Blame::Registry).then_some(blame.as_str()),
                actions: if blame == Blame::Registry {
                    &[]
                } else {
                    &[Action::Examine]
                },
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "registry_unavailable",
                    url.map_or_else(
                        || format!("upstream registry is unavailable: {cause}"),
                        |url| format!("upstream registry at {url} is unavailable: {cause}"),
                    ),
                    Form::Structured,
                )
            },
            Fault::Configuration { cause } => {
                Self::internal(format!("Failed to get registry: {cause}"))
            }
        }
    }
}

impl From<LookupError> for Problem {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::NotFound { .. } => Self::not_found("Server not found"),
            LookupError::Ambiguous { .. } => Self::not_found(format!("Server not found: {error}")),
        }
    }
}

impl From<LookupFault> for Problem {
    fn from(fault: LookupFault) -> Self {
        match fault {
            LookupFault::Lookup(error) => error.into(),
            LookupFault::Fault(fault) => fault.into(),
        }
    }
}

impl From<BadEscape> for Problem {
    fn from(_: BadEscape) -> Self {
        Self::bad_request("Invalid server name encoding")
    }
}

/// What a client can do about a missing login.
pub(crate) fn what_helps(reason: LoginReason) -> &'static [Action] {
    match reason {
        LoginReason::NotConfigured => &[Action::Configure, Action::Examine],
        // No login changes it, and it is configured where this server runs.
        LoginReason::CredentialRefused
        | LoginReason::CredentialRejected
        | LoginReason::ScopeInVain
        | LoginReason::InjectedRejected
        | LoginReason::CredentialMoved
        | LoginReason::CredentialOfAnother => &[Action::Examine],
        _ => &[Action::LogIn, Action::StartLogin, Action::Examine],
    }
}
