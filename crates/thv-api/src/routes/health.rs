//! `GET /health`: that we live, and who we are. It needs no container engine and no catalog
//! (W42): whatever else is wrong, clients can talk to us.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderName, StatusCode};

use crate::state::State;

/// Tells one run of a server from another.
pub(crate) const NONCE_HEADER: HeaderName = HeaderName::from_static("x-toolhive-nonce");

/// Health check
///
/// Answers as soon as the server listens. `X-Toolhive-Nonce` names this run of the server.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "getHealth",
    tag = "system",
    responses((
        status = 204,
        description = "The server is there",
        headers(("X-Toolhive-Nonce" = Option<String>, description = "32 hexadecimal digits, new for each run"))
    ))
)]
pub(crate) async fn health(state: State) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if let Some(nonce) = &state.nonce {
        response.headers_mut().insert(NONCE_HEADER, nonce.clone());
    }
    response
}
