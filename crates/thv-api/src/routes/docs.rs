//! `GET /api/openapi.json` and the page that shows it, `GET /api/doc`, only when the server was
//! started with them. The page and all it loads come from us (W45): it works offline, and its
//! content security policy lets it talk to nobody else.

use std::borrow::Cow;
use std::io::Read;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderValue, header};

use crate::error::Problem;
use crate::head::Head;
use crate::reply;
use crate::state::State;

const PAGE: &str = include_str!("docs.html");
const START: &str = include_str!("docs.js");

/// Name of our own script among the files of the page.
const START_NAME: &str = "start.js";

/// The viewer's files that the page loads.
const VIEWER_FILES: [&str; 2] = ["swagger-ui.css", "swagger-ui-bundle.js"];

/// The viewer sets styles from its scripts and draws icons from data URLs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Index of the path segment that names a file of the page.
const FILE: usize = 2;

#[utoipa::path(
    get,
    path = "/api/openapi.json",
    operation_id = "getOpenApiDocument",
    summary = "Get OpenAPI specification",
    tag = "system",
    responses(
        (status = 200, description = "This document", body = Object),
        (status = 404, description = "The server was started without it", body = String, content_type = "text/plain")
    )
)]
pub(crate) async fn openapi(state: State) -> Result<Response, Problem> {
    if state.openapi {
        Ok(reply::ok(crate::openapi::CHECKED_IN))
    } else {
        Err(Problem::no_such_page())
    }
}

/// `GET /api/doc`
pub(crate) async fn page(state: State) -> Result<Response, Problem> {
    if state.openapi {
        Ok(asset(
            Bytes::from_static(PAGE.as_bytes()),
            "text/html; charset=utf-8",
        ))
    } else {
        Err(Problem::no_such_page())
    }
}

/// `GET /api/doc/{file}`
pub(crate) async fn file(state: State, head: Head) -> Result<Response, Problem> {
    let name = head.raw_segment(FILE);
    if !state.openapi {
        return Err(Problem::no_such_page());
    }
    if name == START_NAME {
        return Ok(asset(
            Bytes::from_static(START.as_bytes()),
            "text/javascript; charset=utf-8",
        ));
    }
    if !VIEWER_FILES.contains(&name) {
        return Err(Problem::no_such_page());
    }
    let file = utoipa_swagger_ui::serve(name, Arc::new(utoipa_swagger_ui::Config::default()))
        .ok()
        .flatten()
        .ok_or_else(|| Problem::internal("the viewer's files are not in this build"))?;
    let bytes = match file.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    if !file.gzpipped {
        return Ok(asset(bytes, &file.content_type));
    }
    if reply::accepts_gzip(head.headers()) {
        let mut response = asset(bytes, &file.content_type);
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return Ok(response);
    }
    let inflated = tokio::task::spawn_blocking(move || {
        let mut inflated = Vec::new();
        GzDecoder::new(&bytes[..]).read_to_end(&mut inflated)?;
        Ok::<_, std::io::Error>(inflated)
    });
    match inflated.await {
        Ok(Ok(inflated)) => Ok(asset(inflated.into(), &file.content_type)),
        Ok(Err(_)) | Err(_) => Err(Problem::internal("the viewer's files cannot be read")),
    }
}

fn asset(bytes: Bytes, media_type: &str) -> Response {
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    let media_type = HeaderValue::from_str(media_type)
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_TYPE, media_type);
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
