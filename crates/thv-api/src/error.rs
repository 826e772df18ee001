//! The one place where something that went wrong becomes a status, a code and a text. Handlers
//! and the edge return a [`Problem`]; how it is written (text, JSON, nothing) depends on the
//! door it leaves through and on what the client asked for.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use thv_registry::{ChangeError, Fault, LookupError, LookupFault};

use crate::head::BadEscape;
use crate::wire::{json, text};

const LEGACY_HINT: &str = "registry file appears to be in the legacy ToolHive format; run `thv registry convert --in <path> --in-place` to migrate to the upstream MCP format";

const AUTH_REQUIRED: &str =
    "Registry authentication required. POST to /api/v1beta/registry/auth/login to authenticate.";

/// Something that went wrong, as a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    form: Form,
    retry_after: Option<Duration>,
    allow: &'static [&'static str],
    close: bool,
}

/// How a problem is written for a client that did not name a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// JSON at every door: clients branch on the code.
    Structured,
    /// Text at the desktop client's door, JSON at the others.
    ByDoor,
    /// Text at both ToolHive-shaped doors.
    Text,
    /// No body.
    Empty,
}

/// Which family of routes a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Door {
    /// `/api/**`, `/health` and whatever is not a route.
    Plain,
    /// `/registry/{name}/v0.1/**`
    ToolHive,
    /// `/v0.1/**`
    Standard,
}

/// A structured error.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = RegistryErrorResponse)]
pub(crate) struct ErrorBody<'a> {
    /// Which error it is, for programs.
    #[schema(example = "not_found")]
    pub(crate) code: &'a str,
    /// What went wrong, for people.
    pub(crate) message: &'a str,
    /// The message again, at the standard door only, whose clients read it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) error: Option<&'a str>,
}

// === impl Problem ===

impl Problem {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>, form: Form) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            form,
            retry_after: None,
            allow: &[],
            close: false,
        }
    }

    fn by_door(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self::new(status, code, message, Form::ByDoor)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::by_door(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::by_door(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(crate) fn registry_not_found() -> Self {
        Self::not_found("Registry not found")
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::by_door(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
    }

    pub(crate) fn not_implemented(message: impl Into<String>) -> Self {
        Self::by_door(StatusCode::NOT_IMPLEMENTED, "not_implemented", message)
    }

    /// No route has the path.
    pub(crate) fn no_such_page() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "404 page not found",
            Form::Text,
        )
    }

    /// The path takes only the methods `allow`.
    pub(crate) fn method_not_allowed(allow: &'static [&'static str]) -> Self {
        Self {
            allow,
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                format!("this path takes only {}", allow.join(", ")),
                Form::Empty,
            )
        }
    }

    /// The request comes from a page of another site or from a rebound name.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message, Form::Text)
    }

    /// The request head is none that HTTP/1.1 knows.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message, Form::Text)
    }

    /// A change came in a content type that an HTML form can send.
    pub(crate) fn form_refused() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "415 Unsupported Media Type: send the request with Content-Type: application/json",
            Form::Text,
        )
    }

    /// A panic was caught.
    pub(crate) fn panicked() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "Internal Server Error",
            Form::Text,
        )
    }

    /// The request body is larger than [`MAX_BODY_BYTES`](crate::limits::MAX_BODY_BYTES).
    pub(crate) fn body_too_large() -> Self {
        Self {
            close: true,
            ..Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "payload_too_large",
                "Request Entity Too Large",
                Form::Text,
            )
        }
    }

    /// The request body did not arrive within [`BODY_TIME`](crate::limits::BODY_TIME).
    pub(crate) fn body_too_slow() -> Self {
        Self {
            close: true,
            ..Self::new(
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                "Request Timeout",
                Form::Text,
            )
        }
    }

    /// The request body broke off.
    pub(crate) fn body_broken() -> Self {
        Self {
            close: true,
            ..Self::malformed("Invalid request body")
        }
    }

    /// No answer began within [`ROUTE_TIME`](crate::limits::ROUTE_TIME), or a refresh's own time.
    pub(crate) fn route_too_slow() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            "the answer took too long",
            Form::Empty,
        )
    }

    /// What setting the source `input` failed with.
    pub(crate) fn from_change(error: &ChangeError, input: &str) -> Self {
        let said = error.to_string();
        let (status, code, message) = match error {
            ChangeError::Invalid { .. } => (StatusCode::BAD_REQUEST, "bad_request", said),
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

    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The answer through `door`, for a client that did or did not ask for JSON.
    pub(crate) fn render(&self, door: Door, wants_json: bool) -> Response {
        let as_json = wants_json
            || match self.form {
                Form::Structured => true,
                Form::ByDoor => door != Door::Plain,
                Form::Text => door == Door::Standard,
                Form::Empty => false,
            };
        let mut response = if as_json {
            self.as_json(door)
        } else if self.form == Form::Empty {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = self.status;
            response
        } else {
            text::response(self.status, &self.message)
        };
        let headers = response.headers_mut();
        for method in self.allow {
            headers.append(header::ALLOW, HeaderValue::from_static(method));
        }
        if let Some(pause) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(pause)));
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn as_json(&self, door: Door) -> Response {
        let body = json::line(&ErrorBody {
            code: self.code,
            message: &self.message,
            error: (door == Door::Standard).then_some(self.message.as_str()),
        });
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(json::MEDIA_TYPE),
        );
        response
    }
}

/// At least one second: a zero would ask the client to try at once.
fn whole_seconds(pause: Duration) -> u64 {
    pause.as_secs() + u64::from(pause.subsec_nanos() > 0 || pause.is_zero())
}

/// Leaves the problem to the edge, which knows the door and what the client asked for.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::AuthRequired { .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "registry_auth_required",
                AUTH_REQUIRED,
                Form::Structured,
            ),
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
            } => Self {
                retry_after,
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

// === impl Door ===

impl Door {
    /// The door that `path` belongs to.
    pub(crate) fn of(path: &str) -> Self {
        if path.starts_with("/v0.1/") {
            Self::Standard
        } else if path.starts_with("/registry/") {
            Self::ToolHive
        } else {
            Self::Plain
        }
    }

    /// A short name, for logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "api",
            Self::ToolHive => "toolhive",
            Self::Standard => "standard",
        }
    }
}

#[cfg(test)]
mod tests;
