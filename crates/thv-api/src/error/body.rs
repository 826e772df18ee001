//! The JSON bodies of errors: the structured one that clients of the Go program know, with
//! members added behind, and the problem document of the doors that are ours alone.

use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

/// A structured error.
#[derive(Debug, Serialize, ToSchema)]
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
    /// Why, in one word: what a login is needed for, or that the identity provider or the secret
    /// store is what cannot be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "never_logged_in")]
    pub(crate) reason: Option<&'a str>,
    /// What a person can do about it, where the message does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) hint: Option<&'a str>,
    /// What helps, the best first.
    #[serde(skip_serializing_if = "<[Action]>::is_empty")]
    pub(crate) actions: &'a [Action],
}

/// A request to this server that would help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Action {
    /// Method.
    #[schema(example = "POST")]
    method: &'static str,
    /// Path on this server.
    #[schema(example = "/api/v1beta/registry/auth/login")]
    href: &'static str,
}

/// A problem document (RFC 9457) that is a structured error too.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProblemDocument)]
pub(crate) struct ProblemBody<'a> {
    /// Always `about:blank`: the code says which problem it is.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What went wrong, for people.
    detail: &'a str,
    #[serde(flatten)]
    body: ErrorBody<'a>,
}

// === impl Action ===

impl Action {
    /// Log in.
    pub(crate) const LOG_IN: Self = Self {
        method: "POST",
        href: "/api/v1beta/registry/auth/login",
    };

    /// Start a login that nobody has to wait for, and show people what it takes.
    pub(crate) const START_LOGIN: Self = Self {
        method: "POST",
        href: "/api/v1/registries/default/auth/logins",
    };

    /// Log out.
    pub(crate) const LOG_OUT: Self = Self {
        method: "POST",
        href: "/api/v1beta/registry/auth/logout",
    };

    /// Find out what is wrong.
    pub(crate) const EXAMINE: Self = Self {
        method: "GET",
        href: "/api/v1/registries/default/auth/doctor",
    };

    /// Say how to log in.
    pub(crate) const CONFIGURE: Self = Self {
        method: "PUT",
        href: "/api/v1beta/registry/default",
    };
}

// === impl ProblemBody ===

impl<'a> ProblemBody<'a> {
    /// Media type of problem documents.
    pub(crate) const MEDIA_TYPE: &'static str = "application/problem+json";

    pub(crate) fn new(status: StatusCode, body: ErrorBody<'a>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: body.message,
            body,
        }
    }
}
