//! The user's secrets: setting their store up, listing names, creating, changing and deleting. No
//! answer ever holds a secret's value; what a store can do and whose a name is, is decided in
//! `thv_secrets`.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use thv_secrets::{SecretsError, SetUp, StoreKind, UserSecrets};
use utoipa::ToSchema;

use crate::error::Problem;
use crate::head::Head;
use crate::reply;
use crate::state::{Shared, State};
use crate::wire::input::{self, Object, Unreadable};
use crate::wire::json;

/// Index of the path segment that names the key.
const KEY: usize = 5;

/// Which provider keeps the secrets from now on.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "the shape of a body that is read by hand")]
pub(crate) struct SetupSecretsRequest {
    /// `encrypted`, `1password` or `environment`.
    #[schema(example = "encrypted")]
    provider_type: String,
    /// The password of an encrypted store that has none yet; made up without it.
    password: Option<String>,
}

/// What a set-up came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SetupSecretsResponse {
    /// The provider.
    #[schema(example = "encrypted")]
    provider_type: &'static str,
    /// What was done, and where the key lies unless that is the keyring.
    message: String,
}

/// The provider in use.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretsProviderResponse {
    /// Always `default`.
    #[schema(example = "default")]
    name: &'static str,
    /// `encrypted`, `1password` or `environment`.
    #[schema(example = "encrypted")]
    provider_type: &'static str,
    /// What it can do.
    capabilities: ProviderCapabilities,
}

/// What a provider can do.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "the shape on the wire")]
pub(crate) struct ProviderCapabilities {
    /// Secrets can be read.
    can_read: bool,
    /// Secrets can be created and changed.
    can_write: bool,
    /// Secrets can be deleted.
    can_delete: bool,
    /// Names can be listed.
    can_list: bool,
    /// All can be removed at once.
    can_cleanup: bool,
}

/// The user's secrets.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListSecretsResponse {
    /// One each, in name order.
    keys: Vec<SecretKeyResponse>,
}

/// One secret, without its value.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretKeyResponse {
    /// Its name.
    #[schema(example = "GITHUB_TOKEN")]
    key: String,
    /// What the provider says about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    description: Option<String>,
}

/// A new secret.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "the shape of a body that is read by hand")]
pub(crate) struct CreateSecretRequest {
    /// Its name.
    #[schema(example = "GITHUB_TOKEN")]
    key: String,
    /// Its value.
    value: String,
}

/// Another value for a secret.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "the shape of a body that is read by hand")]
pub(crate) struct UpdateSecretRequest {
    /// The value.
    value: String,
}

/// A secret that was stored.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StoredSecretResponse {
    /// Its name.
    #[schema(example = "GITHUB_TOKEN")]
    key: String,
    /// What was done.
    #[schema(example = "Secret created successfully")]
    message: &'static str,
}

/// Set up the secrets provider
///
/// Doing it again changes nothing: a key that exists is kept. On a machine without a keyring the key of the encrypted
/// store is put into a file, and the message says so.
#[utoipa::path(
    post,
    path = "/api/v1beta/secrets",
    operation_id = "setupSecretsProvider",
    tag = "secrets",
    request_body(content = SetupSecretsRequest, description = "The provider"),
    responses(
        (status = 201, description = "The provider is in use", body = SetupSecretsResponse),
        (status = 400, description = "There is no such provider, or it cannot be used as it is", body = String, content_type = "text/plain"),
        (status = 409, description = "The secrets that are there have another password, or their keyring is locked", body = String, content_type = "text/plain"),
        (status = 500, description = "The store cannot be written", body = String, content_type = "text/plain"),
        (status = 503, description = "The store is in use, or the keyring does not answer", body = String, content_type = "text/plain")
    )
)]
pub(crate) async fn set_up(state: State, request: Request) -> Result<Response, Problem> {
    let (_, body) = Head::with_body(request).await;
    let request = read(&body)?;
    let provider = request.text("provider_type").map_err(unreadable)?;
    let password = secret(&request, "password")?;
    let provider = match provider {
        None | Some("") => return Err(Problem::bad_request("provider type cannot be empty")),
        Some(provider) => StoreKind::parse(provider).map_err(|error| Problem::secrets(&error))?,
    };
    let done = blocking(&state, move |secrets| {
        secrets.secrets().set_up(provider, password)
    })
    .await?;
    Ok(created(&SetupSecretsResponse {
        provider_type: provider.as_str(),
        message: message(&done),
    }))
}

/// Show the secrets provider
#[utoipa::path(
    get,
    path = "/api/v1beta/secrets/default",
    operation_id = "getSecretsProvider",
    tag = "secrets",
    responses(
        (status = 200, description = "The provider in use and what it can do", body = SecretsProviderResponse),
        (status = 404, description = "None is set up", body = String, content_type = "text/plain")
    )
)]
pub(crate) async fn provider(state: State) -> Result<Response, Problem> {
    let provider = blocking(&state, UserSecrets::provider).await?;
    let can = provider.capabilities;
    Ok(reply::ok(json::line(&SecretsProviderResponse {
        name: "default",
        provider_type: provider.kind.as_str(),
        capabilities: ProviderCapabilities {
            can_read: can.read,
            can_write: can.write,
            can_delete: can.delete,
            can_list: can.list,
            can_cleanup: can.cleanup,
        },
    })))
}

/// List the secrets
///
/// Names only. Secrets that belong to the program itself are not among them.
#[utoipa::path(
    get,
    path = "/api/v1beta/secrets/default/keys",
    operation_id = "listSecrets",
    tag = "secrets",
    responses(
        (status = 200, description = "The names, in order", body = ListSecretsResponse),
        (status = 404, description = "No provider is set up", body = String, content_type = "text/plain"),
        (status = 405, description = "The provider lists nothing", body = String, content_type = "text/plain"),
        (status = 409, description = "The store has to be unlocked first", body = String, content_type = "text/plain"),
        (status = 502, description = "1Password cannot be asked", body = String, content_type = "text/plain"),
        (status = 503, description = "The keyring does not answer", body = String, content_type = "text/plain")
    )
)]
pub(crate) async fn list(state: State) -> Result<Response, Problem> {
    let listed = blocking(&state, UserSecrets::list).await?;
    let keys = listed.into_iter().map(|secret| SecretKeyResponse {
        key: secret.name.to_string(),
        description: secret.description,
    });
    Ok(reply::ok(json::line(&ListSecretsResponse {
        keys: keys.collect(),
    })))
}

/// Create a secret
#[utoipa::path(
    post,
    path = "/api/v1beta/secrets/default/keys",
    operation_id = "createSecret",
    tag = "secrets",
    request_body(content = CreateSecretRequest, description = "Name and value"),
    responses(
        (status = 201, description = "The secret is stored", body = StoredSecretResponse),
        (status = 400, description = "Name or value is missing, or the name is reserved", body = String, content_type = "text/plain"),
        (status = 404, description = "No provider is set up", body = String, content_type = "text/plain"),
        (status = 405, description = "The provider takes no secrets", body = String, content_type = "text/plain"),
        (status = 409, description = "There is one of that name, or the store has to be unlocked first", body = String, content_type = "text/plain"),
        (status = 503, description = "The store is in use; try again", body = String, content_type = "text/plain")
    )
)]
pub(crate) async fn create(state: State, request: Request) -> Result<Response, Problem> {
    let (_, body) = Head::with_body(request).await;
    let request = read(&body)?;
    let key = request.text("key").map_err(unreadable)?;
    let value = secret(&request, "value")?;
    let (Some(key), Some(value)) = (key.filter(|key| !key.is_empty()), value) else {
        return Err(Problem::bad_request("both 'key' and 'value' are required"));
    };
    let key = key.to_owned();
    let name = key.clone();
    blocking(&state, move |secrets| secrets.create(&name, &value)).await?;
    Ok(created(&StoredSecretResponse {
        key,
        message: "Secret created successfully",
    }))
}

/// Change a secret
#[utoipa::path(
    put,
    path = "/api/v1beta/secrets/default/keys/{key}",
    operation_id = "updateSecret",
    tag = "secrets",
    params(("key" = String, Path, description = "Name of the secret")),
    request_body(content = UpdateSecretRequest, description = "The value"),
    responses(
        (status = 200, description = "The secret has the value", body = StoredSecretResponse),
        (status = 400, description = "The value is missing, or the name is reserved", body = String, content_type = "text/plain"),
        (status = 404, description = "There is no such secret, or no provider is set up", body = String, content_type = "text/plain"),
        (status = 405, description = "The provider takes no secrets", body = String, content_type = "text/plain"),
        (status = 409, description = "The store has to be unlocked first", body = String, content_type = "text/plain"),
        (status = 503, description = "The store is in use; try again", body = String, content_type = "text/plain")
    )
)]
pub(crate) async fn update(state: State, request: Request) -> Result<Response, Problem> {
    let (head, body) = Head::with_body(request).await;
    let key = key(&head)?;
    let value =
        secret(&read(&body)?, "value")?.ok_or_else(|| Problem::bad_request("value is required"))?;
    let name = key.clone();
    blocking(&state, move |secrets| secrets.update(&name, &value)).await?;
    Ok(reply::ok(json::line(&StoredSecretResponse {
        key,
        message: "Secret updated successfully",
    })))
}

/// Delete a secret
#[utoipa::path(
    delete,
    path = "/api/v1beta/secrets/default/keys/{key}",
    operation_id = "deleteSecret",
    tag = "secrets",
    params(("key" = String, Path, description = "Name of the secret")),
    responses(
        (status = 204, description = "The secret is gone"),
        (status = 400, description = "The name is reserved", body = String, content_type = "text/plain"),
        (status = 404, description = "There is no such secret, or no provider is set up", body = String, content_type = "text/plain"),
        (status = 405, description = "The provider deletes nothing", body = String, content_type = "text/plain"),
        (status = 409, description = "The store has to be unlocked first", body = String, content_type = "text/plain"),
        (status = 503, description = "The store is in use; try again", body = String, content_type = "text/plain")
    )
)]
pub(crate) async fn delete(state: State, head: Head) -> Result<Response, Problem> {
    let key = key(&head)?;
    blocking(&state, move |secrets| secrets.delete(&key)).await?;
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

fn key(head: &Head) -> Result<String, Problem> {
    let key = head
        .segment(KEY)
        .map_err(|_| Problem::bad_request("Invalid secret key encoding"))?;
    if key.is_empty() {
        return Err(Problem::bad_request("secret key is required"));
    }
    Ok(key.into_owned())
}

fn read(body: &Bytes) -> Result<Object, Problem> {
    input::read_object(body).map_err(unreadable)
}

fn unreadable(error: Unreadable) -> Problem {
    Problem::bad_request(format!("invalid request body: {error}"))
}

/// The member `name` as a secret; an empty one counts as missing.
fn secret(request: &Object, name: &str) -> Result<Option<SecretString>, Problem> {
    let text = request.text(name).map_err(unreadable)?;
    Ok(text.filter(|text| !text.is_empty()).map(SecretString::from))
}

fn created<T: Serialize>(body: &T) -> Response {
    let mut response = reply::ok(json::line(body));
    *response.status_mut() = StatusCode::CREATED;
    response
}

fn message(done: &SetUp) -> String {
    let what = if done.was_completed {
        "Secrets provider reconfigured successfully"
    } else {
        "Secrets provider setup successfully"
    };
    match &done.key {
        Some(place) if place.source != thv_secrets::select::KeySource::Keyring => {
            format!("{what}; its key comes from {}", place.described)
        }
        _ => what.to_owned(),
    }
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(
    state: &Shared,
    work: impl FnOnce(&UserSecrets) -> Result<T, SecretsError> + Send + 'static,
) -> Result<T, Problem> {
    let secrets = Arc::clone(&state.secrets);
    match tokio::task::spawn_blocking(move || work(&secrets)).await {
        Ok(outcome) => outcome.map_err(|error| Problem::secrets(&error)),
        Err(error) => Err(Problem::internal(error.to_string())),
    }
}
