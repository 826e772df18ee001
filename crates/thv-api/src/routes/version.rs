//! `GET /api/v1beta/version`.

use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::reply;
use crate::state::State;
use crate::wire::json;

/// The server's version.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionResponse<'a> {
    /// `vX.Y.Z` for releases.
    #[schema(example = "v0.1.0")]
    version: &'a str,
}

/// Get server version
#[utoipa::path(
    get,
    path = "/api/v1beta/version",
    operation_id = "getVersion",
    tag = "version",
    responses((status = 200, description = "The version", body = VersionResponse<'static>))
)]
pub(crate) async fn version(state: State) -> Response {
    reply::ok(json::line(&VersionResponse {
        version: &state.version,
    }))
}
