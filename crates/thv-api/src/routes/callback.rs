//! Where a browser comes back to after a login, when the server has a public address. These two pages are for browsers only:
//! what they show and which answers count is decided in `thv_auth::login`, as on loopback.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;

use crate::state::State;

/// The answer of the identity provider.
pub(crate) async fn receive(state: State, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    state.auth.receive_callback(query).map(Body::new)
}

/// How the login ended; the page comes when that is known.
pub(crate) async fn result(state: State, request: Request) -> Response {
    let path = request.uri().path();
    let mark = path.rsplit('/').next().unwrap_or_default();
    state.auth.callback_result(mark).await.map(Body::new)
}
