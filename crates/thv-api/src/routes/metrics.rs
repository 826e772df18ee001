//! `GET /metrics`, only when the server was started with it.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, header};

use crate::error::Problem;
use crate::metrics::MEDIA_TYPE;
use crate::state::State;

/// Get metrics
///
/// Request and catalog metrics as a text that Prometheus reads.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "getMetrics",
    tag = "system",
    responses(
        (status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text"),
        (status = 404, description = "The server was started without metrics", body = String, content_type = "text/plain")
    )
)]
pub(crate) async fn metrics(state: State) -> Result<Response, Problem> {
    let metrics = state.metrics.as_ref().ok_or_else(Problem::no_such_page)?;
    for name in state.registries.names() {
        if let Some(registry) = state.registries.get(&name) {
            let status = registry.status();
            metrics.catalog(&name, status.counts.servers, status.checked_at);
        }
    }
    let text = metrics
        .text()
        .map_err(|_| Problem::internal("the metrics could not be written"))?;
    let mut response = Response::new(Body::from(text));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    Ok(response)
}
