//! The one place where something that went wrong becomes a status, a code and a text. Handlers
//! and the edge return a [`Problem`]; how it is written (text, JSON, nothing) depends on the
//! door it leaves through and on what the client asked for.

mod body;
mod causes;
mod door;
mod login;
mod secrets;

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use thv_registry::{DEFAULT_REGISTRY, Fault, Registry};

use crate::wire::{json, text};
pub(crate) use body::{Action, ActionBody, ErrorBody, ProblemBody};
use causes::AUTH_REQUIRED_CODE;
pub(crate) use causes::what_helps;
pub(crate) use door::Door;
pub(crate) use login::EndOfLogin;

/// The ways of a login as they are known without asking the identity provider.
const LOGIN_METHODS: [&str; 3] = ["browser", "device", "paste"];

/// Something that went wrong, as a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: Box<str>,
    form: Form,
    reason: Option<&'static str>,
    hint: Option<&'static str>,
    actions: &'static [Action],
    met: Option<Box<Met>>,
    /// In seconds: every problem is carried by value, and has to stay small.
    retry_after: Option<u32>,
    allow: &'static [&'static str],
    close: bool,
}

/// Where a read has met a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Met {
    /// Name of the registry.
    registry: String,
    /// Since when reads of it have met that a login is needed, if they have.
    since: Option<Timestamp>,
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

// === impl Problem ===

impl Problem {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>, form: Form) -> Self {
        Self {
            status,
            code,
            message: message.into().into_boxed_str(),
            form,
            reason: None,
            hint: None,
            actions: &[],
            met: None,
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

    /// As many clients wait as may, [`MAX_WAITING`](crate::limits::MAX_WAITING) or
    /// [`MAX_FOLLOWING`](crate::limits::MAX_FOLLOWING).
    pub(crate) fn too_many_waiting() -> Self {
        Self {
            retry_after: Some(5),
            ..Self::by_door(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_waiting",
                "too many clients wait for changes; ask without waiting, or try again in a moment",
            )
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

    /// The same of a read of `registry`.
    pub(crate) fn of_read<E: Into<Self>>(registry: &Registry) -> impl FnOnce(E) -> Self {
        move |error| {
            let problem = error.into();
            let fault = registry.status().fault;
            let fault = fault.filter(|(fault, _)| matches!(fault, Fault::AuthRequired { .. }));
            let met = Met {
                registry: registry.name().to_owned(),
                since: fault.map(|(_, since)| since),
            };
            Self {
                met: Some(Box::new(met)),
                ..problem
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The answer through `door`, for a client that did or did not ask for JSON.
    pub(crate) fn render(&self, door: Door, wants_json: bool) -> Response {
        let as_json = wants_json
            || door == Door::V1
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
            match self.hint {
                // Clients of the Go program show the text as it is, or log it: what to do next belongs to it.
                Some(hint) => text::response(self.status, &format!("{}. {hint}", self.message)),
                None => text::response(self.status, &self.message),
            }
        };
        let headers = response.headers_mut();
        for method in self.allow {
            headers.append(header::ALLOW, HeaderValue::from_static(method));
        }
        if let Some(pause) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(pause));
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The problem's body as JSON, and its media type.
    fn as_json(&self, door: Door) -> Response {
        let needs_login = self.code == AUTH_REQUIRED_CODE;
        let met = self.met.as_deref();
        let name = met.map_or(DEFAULT_REGISTRY, |met| &*met.registry);
        let body = ErrorBody {
            code: self.code,
            message: &self.message,
            error: (door == Door::Standard).then_some(&*self.message),
            reason: self.reason,
            hint: self.hint,
            actions: Action::all_for(self.actions, name),
            registry: needs_login.then_some(name),
            since: met.and_then(|met| met.since).filter(|_| needs_login),
            login_methods: if self.actions.contains(&Action::StartLogin) {
                &LOGIN_METHODS
            } else {
                &[]
            },
        };
        let (body, media_type) = if door == Door::V1 {
            let problem = ProblemBody::new(self.status, body);
            (json::line(&problem), ProblemBody::MEDIA_TYPE)
        } else {
            (json::line(&body), json::MEDIA_TYPE)
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let media_type = HeaderValue::from_static(media_type);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, media_type);
        response
    }
}

/// At least one second: a zero would ask the client to try at once.
fn whole_seconds(pause: Duration) -> u32 {
    let begun = u64::from(pause.subsec_nanos() > 0 || pause.is_zero());
    u32::try_from(pause.as_secs().saturating_add(begun)).unwrap_or(u32::MAX)
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

#[cfg(test)]
mod tests;
