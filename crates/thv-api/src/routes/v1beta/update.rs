//! Changing registries: which source `default` reads, and the changes that are not on offer.
//! Errors of the update are plain text unless JSON is asked for: the desktop client shows a
//! text beside the field it belongs to and loses an object.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thv_registry::{ChangeError, LoginRequest, SourceRequest};
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
    /// How to log in to `url` or `api_url`. Without it there is no login any more.
    auth: Option<UpdateRegistryAuthRequest>,
}

/// How to log in to a registry.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct UpdateRegistryAuthRequest {
    /// Issuer URL.
    issuer: String,
    /// Client identifier.
    client_id: String,
    /// Audience to ask tokens for; without it the one there is stays, as long as issuer and
    /// client do.
    audience: Option<String>,
    /// Scopes to ask for; without them those there are stay, as long as issuer and client do.
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
/// The new source and the issuer of its login are checked before anything is written, and written
/// together; each key is taken at its word. A login that waits for the registry of before is ended.
#[utoipa::path(
    put,
    path = "/api/v1beta/registry/{name}",
    operation_id = "updateRegistry",
    tag = "registry",
    params(("name" = String, Path, description = "Registry name")),
    request_body(content = UpdateRegistryRequest, description = "The source to read"),
    responses(
        (status = 200, description = "The source was set", body = UpdateRegistryResponse),
        (status = 400, description = "What was asked for cannot be meant, or the issuer does not answer as one", body = String, content_type = "text/plain"),
        (status = 404, description = "No registry has this name", body = String, content_type = "text/plain"),
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
    let login = request
        .auth
        .map(UpdateRegistryAuthRequest::login)
        .transpose()?;
    let before = state.default_registry()?;
    let kind = state
        .registries
        .set(&source, login.as_ref())
        .await
        .map_err(|error| refused(&error, &source))?;
    if !Arc::ptr_eq(&before, &state.default_registry()?) {
        // A login that still waits is one to the registry of before.
        state.auth.cancel_logins().await;
    }
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

fn refused(error: &ChangeError, source: &SourceRequest) -> Problem {
    match source {
        SourceRequest::BuiltIn if !matches!(error, ChangeError::Login { .. }) => {
            tracing::warn!(%error, "the registry could not be reset");
            Problem::bad_request("failed to reset registry configuration")
        }
        SourceRequest::BuiltIn => Problem::from_change(error, ""),
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

    /// The login that is meant. Settings that are blank count as absent.
    fn login(self) -> Result<LoginRequest, Problem> {
        let is_blank = |text: &str| text.trim().is_empty();
        if is_blank(&self.issuer) || is_blank(&self.client_id) {
            return Err(Problem::bad_request(
                "auth.issuer and auth.client_id are required",
            ));
        }
        let mut scopes = self.scopes.unwrap_or_default();
        scopes.retain(|scope| !is_blank(scope));
        Ok(LoginRequest {
            issuer: self.issuer,
            client_id: self.client_id,
            audience: self.audience.filter(|audience| !is_blank(audience)),
            scopes: Some(scopes).filter(|scopes| !scopes.is_empty()),
            callback_port: None,
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
        let login = |body| read(body).unwrap().auth.unwrap().login();
        let incomplete = [
            r#"{"auth":{}}"#,
            r#"{"auth":{"issuer":"https://idp.test"}}"#,
            r#"{"auth":{"client_id":"thv"}}"#,
            r#"{"auth":{"issuer":" ","client_id":"thv"}}"#,
        ];
        for body in incomplete {
            assert_eq!(
                login(body).unwrap_err(),
                Problem::bad_request("auth.issuer and auth.client_id are required"),
                "{body}"
            );
        }
        let expected = |audience: Option<&str>, scopes: Option<&[&str]>| LoginRequest {
            issuer: "https://idp.test".to_owned(),
            client_id: "thv".to_owned(),
            audience: audience.map(str::to_owned),
            scopes: scopes.map(|scopes| scopes.iter().map(|&scope| scope.to_owned()).collect()),
            callback_port: None,
        };
        let complete = [
            (
                r#"{"auth":{"issuer":"https://idp.test","client_id":"thv"}}"#,
                expected(None, None),
            ),
            (
                r#"{"auth":{"issuer":"https://idp.test","client_id":"thv","audience":"","scopes":[null]}}"#,
                expected(None, None),
            ),
            (
                r#"{"auth":{"issuer":"https://idp.test","client_id":"thv","audience":"a","scopes":["b",""]}}"#,
                expected(Some("a"), Some(&["b"])),
            ),
        ];
        for (body, expected) in complete {
            assert_eq!(login(body).unwrap(), expected, "{body}");
        }
    }
}
