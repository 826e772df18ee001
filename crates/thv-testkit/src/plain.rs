//! Answers with whole bodies, as all the fakes give them.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde_json::Value;

use crate::listening::Whole;

/// An answer of any media type.
pub(crate) fn typed(status: StatusCode, media_type: &str, body: impl Into<Bytes>) -> Whole {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, media_type)
        .body(body.into())
        .expect("a plain answer")
}

/// JSON.
pub(crate) fn json(status: StatusCode, body: &Value) -> Whole {
    typed(status, "application/json", body.to_string())
}

/// A page for people.
pub(crate) fn page(status: StatusCode, text: &str) -> Whole {
    typed(
        status,
        "text/html; charset=utf-8",
        format!("<!doctype html><title>A provider of the tests</title><p>{text}"),
    )
}

/// 302 to `target`.
pub(crate) fn redirect(target: &str) -> Whole {
    redirect_with(StatusCode::FOUND, target)
}

/// A redirect of any kind.
pub(crate) fn redirect_with(status: StatusCode, target: &str) -> Whole {
    let mut answer = typed(status, "text/plain", Bytes::new());
    answer
        .headers_mut()
        .insert(header::LOCATION, target.parse().expect("a header value"));
    answer
}
