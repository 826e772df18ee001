//! Changing registries: which source `default` reads, and the changes that are not on offer.
//! Errors of the update are plain text unless JSON is asked for: the desktop client shows a
//! text beside the field it belongs to and loses an object.

use axum::response::Response;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thv_registry::{ChangeError, SourceRequest};
use utoipa::ToSchema;

use super::NAME;
use crate::error::Problem;
use crate::head::Head;
use crate::reply;
use crate::state::State;
use crate::wire::input::{self, Object, Unreadable};
use crate::wire::json;

/// Which source a registry shall read: at most one of `url`, `api_url` and `local_path`. With
/// none of them the built-in registry is used again.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct UpdateRegistryRequest {
    /// URL of a registry document.
    url: Option<String>,
    /// Base URL of an MCP Registry API.
    api_url: Option<String>,
    /// Path of a registry document on the server's machine.
    local_path: Option<String>,
    /// Whether `url` or `api_url` may lead to a private address, and may be http.
    allow_private_ip: Option<bool>,
    /// How to log in to `api_url`.
    auth: Option<UpdateRegistryAuthRequest>,
}

/// How to log in to a registry.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct UpdateRegistryAuthRequest {
    /// Issuer URL.
    issuer: String,
    /// Client identifier.
    client_id: String,
    /// Audience to ask tokens for.
    #[expect(
        dead_code,
        reason = "documented and read for its type; no login uses it yet"
    )]
    audience: Option<String>,
    /// Scopes to ask for.
    #[expect(
        dead_code,
        reason = "documented and read for its type; no login uses it yet"
    )]
    scopes: Option<Vec<String>>,
}

/// What an update came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UpdateRegistryResponse {
    /// Where the registry comes from now: `default`, `file`, `url` or `api`.
    #[serde(rename = "type")]
    #[schema(example = "api")]
    kind: &'static str,
}

/// Update registry configuration
///
/// The new source is checked before anything is written; each key is taken at its word.
#[utoipa::path(
    put,
    path = "/api/v1beta/registry/{name}",
    operation_id = "updateRegistry",
    tag = "registry",
    params(("name" = String, Path, description = "Registry name")),
    request_body(content = UpdateRegistryRequest, description = "The source to read"),
    responses(
        (status = 200, description = "The source was set", body = UpdateRegistryResponse),
        (status = 400, description = "What was asked for cannot be meant", body = String, content_type = "text/plain"),
        (status = 404, description = "No registry has this name", body = String, content_type = "text/plain"),
        (status = 501, description = "Logging in to registries is not supported yet", body = String, content_type = "text/plain"),
        (status = 502, description = "What is there is no registry", body = String, content_type = "text/plain"),
        (status = 504, description = "Nothing answers there", body = String, content_type = "text/plain")
    )
)]
pub(crate) async fn put(
    state: State,
    request: axum::extract::Request,
) -> Result<Response, Problem> {
    let (head, body) = Head::with_body(request).await;
    state.registry(head.segment(NAME))?;
    let request = UpdateRegistryRequest::read(&body)
        .map_err(|_| Problem::bad_request("Invalid request body"))?;
    let source = request.source()?;
    if let Some(auth) = &request.auth {
        configure_login(auth)?;
    }
    let kind = state
        .registries
        .set(&source)
        .await
        .map_err(|error| refused(&error, &source))?;
    Ok(reply::ok(json::line(&UpdateRegistryResponse {
        kind: kind.as_str(),
    })))
}

/// Remove a registry
///
/// The default registry stays, and there is no other.
#[utoipa::path(
    delete,
    path = "/api/v1beta/registry/{name}",
    operation_id = "removeRegistry",
    tag = "registry",
    params(("name" = String, Path, description = "Registry name")),
    responses(
        (status = 400, description = "The default registry cannot be removed", body = String, content_type = "text/plain"),
        (status = 404, description = "No registry has this name", body = String, content_type = "text/plain")
    )
)]
pub(crate) async fn delete(state: State, head: Head) -> Result<Response, Problem> {
    state.registry(head.segment(NAME))?;
    Err(Problem::bad_request("Cannot remove the default registry"))
}

/// Add a registry
#[utoipa::path(
    post,
    path = "/api/v1beta/registry",
    operation_id = "addRegistry",
    tag = "registry",
    responses((status = 501, description = "Not on offer", body = String, content_type = "text/plain"))
)]
pub(crate) async fn add() -> Problem {
    Problem::not_implemented("Adding custom registries is not currently supported")
}

/// The one place where login settings of an update are dealt with.
fn configure_login(auth: &UpdateRegistryAuthRequest) -> Result<(), Problem> {
    if auth.issuer.is_empty() || auth.client_id.is_empty() {
        return Err(Problem::bad_request(
            "auth.issuer and auth.client_id are required",
        ));
    }
    Err(Problem::not_implemented(
        "logging in to a registry comes with a later release of this server; nothing was changed",
    ))
}

fn refused(error: &ChangeError, source: &SourceRequest) -> Problem {
    match source {
        SourceRequest::BuiltIn => {
            tracing::warn!(%error, "the registry could not be reset");
            Problem::bad_request("failed to reset registry configuration")
        }
        SourceRequest::File { path: input }
        | SourceRequest::Url { url: input, .. }
        | SourceRequest::Api { url: input, .. }
        | SourceRequest::Detect { input, .. } => Problem::from_change(error, input),
    }
}

// === impl UpdateRegistryRequest ===

impl UpdateRegistryRequest {
    fn read(body: &Bytes) -> Result<Self, Unreadable> {
        let object = input::read_object(body)?;
        Ok(Self {
            url: object.text("url")?.map(str::to_owned),
            api_url: object.text("api_url")?.map(str::to_owned),
            local_path: object.text("local_path")?.map(str::to_owned),
            allow_private_ip: object.flag("allow_private_ip")?,
            auth: object
                .object("auth")?
                .map(UpdateRegistryAuthRequest::read)
                .transpose()?,
        })
    }

    /// The one source that is meant. `allow_private_ip` counts for `url` and `api_url`.
    fn source(&self) -> Result<SourceRequest, Problem> {
        let allow_private_ip = self.allow_private_ip.unwrap_or_default();
        match (&self.url, &self.api_url, &self.local_path) {
            (None, None, None) => Ok(SourceRequest::BuiltIn),
            (Some(url), None, None) => Ok(SourceRequest::Url {
                url: url.clone(),
                allow_private_ip,
            }),
            (None, Some(url), None) => Ok(SourceRequest::Api {
                url: url.clone(),
                allow_private_ip,
            }),
            (None, None, Some(path)) => Ok(SourceRequest::File { path: path.clone() }),
            _ => Err(Problem::bad_request(
                "cannot specify more than one registry type (url, api_url, or local_path)",
            )),
        }
    }
}

// === impl UpdateRegistryAuthRequest ===

impl UpdateRegistryAuthRequest {
    fn read(object: &Object) -> Result<Self, Unreadable> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Ok(Self {
            issuer: owned(object.text("issuer")?).unwrap_or_default(),
            client_id: owned(object.text("client_id")?).unwrap_or_default(),
            audience: owned(object.text("audience")?),
            scopes: object
                .texts("scopes")?
                .map(|scopes| scopes.into_iter().map(str::to_owned).collect()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &'static str) -> Result<UpdateRegistryRequest, Unreadable> {
        UpdateRegistryRequest::read(&Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn w30_each_key_names_its_own_kind_of_source() {
        let source = |body| read(body).unwrap().source();
        assert_eq!(source("{}"), Ok(SourceRequest::BuiltIn));
        assert_eq!(
            source(r#"{"url":"/etc/x.json","allow_private_ip":true}"#),
            Ok(SourceRequest::Url {
                url: "/etc/x.json".to_owned(),
                allow_private_ip: true
            })
        );
        assert_eq!(
            source(r#"{"API_URL":"https://r.test"}"#),
            Ok(SourceRequest::Api {
                url: "https://r.test".to_owned(),
                allow_private_ip: false
            })
        );
        assert_eq!(
            source(r#"{"local_path":"https://r.test","url":null}"#),
            Ok(SourceRequest::File {
                path: "https://r.test".to_owned()
            })
        );
        assert!(source(r#"{"url":"u","api_url":"a"}"#).is_err());
    }

    #[test]
    fn an_unreadable_body_is_told_from_a_wrong_one() {
        assert!(read("").is_err());
        assert!(read(r#"{"url":1}"#).is_err());
        assert!(read(r#"{"auth":"x"}"#).is_err());
        assert!(read(r#"{"auth":{"scopes":["a",null]}}"#).is_ok());
    }

    #[test]
    fn login_settings_are_complete_or_refused_by_name() {
        let login = |body| configure_login(&read(body).unwrap().auth.unwrap()).unwrap_err();
        assert_eq!(
            login(r#"{"auth":{"issuer":"https://idp.test"}}"#),
            Problem::bad_request("auth.issuer and auth.client_id are required")
        );
        let complete = login(r#"{"auth":{"issuer":"https://idp.test","client_id":"thv"}}"#);
        assert_eq!(complete.status(), http::StatusCode::NOT_IMPLEMENTED);
    }
}
