//! The JSON bodies of errors: the structured one that clients of the Go program know, with
//! members added behind, and the problem document of the doors that are ours alone.

use http::StatusCode;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) actions: Vec<ActionBody>,
    /// Name of the registry, where a login to it is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "default")]
    pub(crate) registry: Option<&'a str>,
    /// Since when reads have met this, as far as this run of the server knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, nullable = false)]
    pub(crate) since: Option<Timestamp>,
    /// The ways of a login, where one helps: `browser`, `paste`, and `device`, which not every identity provider has.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false, example = json!(["browser", "device", "paste"]))]
    pub(crate) login_methods: &'a [&'static str],
}

/// Something that helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Log in.
    LogIn,
    /// Start a login that nobody has to wait for, and show people what it takes.
    StartLogin,
    /// Log out.
    LogOut,
    /// Find out what is wrong.
    Examine,
    /// Say how to log in.
    Configure,
}

/// A request to this server that would help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Action)]
pub(crate) struct ActionBody {
    /// Method.
    #[schema(example = "POST")]
    method: &'static str,
    /// Path on this server.
    #[schema(example = "/api/v1beta/registry/auth/login")]
    href: String,
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
    /// The request, for the registry of this name. The routes of logins that a client waits for know but one registry.
    pub(crate) fn for_registry(self, registry: &str) -> ActionBody {
        let name = utf8_percent_encode(registry, NON_ALPHANUMERIC);
        let (method, href) = match self {
            Self::LogIn => ("POST", "/api/v1beta/registry/auth/login".to_owned()),
            Self::StartLogin => ("POST", format!("/api/v1/registries/{name}/auth/logins")),
            Self::LogOut => ("POST", "/api/v1beta/registry/auth/logout".to_owned()),
            Self::Examine => ("GET", format!("/api/v1/registries/{name}/auth/doctor")),
            Self::Configure => ("PUT", format!("/api/v1beta/registry/{name}")),
        };
        ActionBody { method, href }
    }

    /// The requests, the best first.
    pub(crate) fn all_for(actions: &[Self], registry: &str) -> Vec<ActionBody> {
        let actions = actions.iter();
        actions
            .map(|action| action.for_registry(registry))
            .collect()
    }
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
