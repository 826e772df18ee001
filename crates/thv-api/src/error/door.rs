//! Which family of routes a request belongs to: the families write errors in different forms.

/// A family of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Door {
    /// `/api/**` but for [`Door::V1`], `/health` and whatever is not a route.
    Plain,
    /// `/api/v1/**`, this program's own: every error is a problem document (RFC 9457).
    V1,
    /// `/registry/{name}/v0.1/**`
    ToolHive,
    /// `/v0.1/**`
    Standard,
}

// === impl Door ===

impl Door {
    /// The door that `path` belongs to.
    pub(crate) fn of(path: &str) -> Self {
        if path.starts_with("/v0.1/") {
            Self::Standard
        } else if path.starts_with("/api/v1/") {
            Self::V1
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
            Self::V1 => "v1",
            Self::ToolHive => "toolhive",
            Self::Standard => "standard",
        }
    }
}
