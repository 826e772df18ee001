//! Which answer a request gets, before any fault.

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::journal::query_of;
use super::store::{ListQuery, Store};

/// An answer with its whole body, so that a fault can cut it.
pub(super) type Whole = Response<Bytes>;

/// The honest answer.
pub(super) fn answer(store: &Store, parts: &Parts) -> Whole {
    let path = parts.uri.path();
    if let Some(document) = store.documents.get(path) {
        return static_document(document, parts);
    }
    if let Some(target) = store.redirects.get(path) {
        return redirect(target);
    }
    if parts.method == Method::HEAD {
        return json_text(StatusCode::OK, String::new());
    }
    if parts.method != Method::GET {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    }
    let segments: Vec<String> = path
        .trim_matches('/')
        .split('/')
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let query = query_of(parts.uri.query().unwrap_or_default());
    match segments.as_slice() {
        ["v0.1", "servers"] => list(store, &query),
        ["v0.1", "servers", name, "versions"] => found(store.versions(name), "Server not found"),
        ["v0.1", "servers", name, "versions", version] => {
            found(store.version(name, version), "Server not found")
        }
        [
            "v0.1",
            "x",
            "dev.toolhive",
            kind @ ("skills" | "plugins"),
            rest @ ..,
        ] => extension(store, kind, rest, &query),
        _ => problem(StatusCode::NOT_FOUND, "endpoint not found"),
    }
}

/// 200 with `body` as JSON.
pub(super) fn json_text(status: StatusCode, body: String) -> Whole {
    typed(status, "application/json", Bytes::from(body))
}

/// The registry's error body.
pub(super) fn problem(status: StatusCode, text: &str) -> Whole {
    json_text(status, json!({"error": text}).to_string())
}

/// 302 to `target`.
pub(super) fn redirect(target: &str) -> Whole {
    let mut answer = json_text(StatusCode::FOUND, String::new());
    answer
        .headers_mut()
        .insert(header::LOCATION, target.parse().expect("a header value"));
    answer
}

/// An answer of any media type.
pub(super) fn typed(status: StatusCode, media_type: &str, body: Bytes) -> Whole {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, media_type)
        .body(body)
        .expect("a plain answer")
}

fn found(body: Option<String>, missing: &str) -> Whole {
    match body {
        Some(body) => json_text(StatusCode::OK, body),
        None => problem(StatusCode::NOT_FOUND, missing),
    }
}

fn static_document(document: &super::store::StaticDocument, parts: &Parts) -> Whole {
    let known = parts
        .headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|tag| tag.as_bytes() == document.etag.as_bytes());
    let mut answer = if known {
        typed(StatusCode::NOT_MODIFIED, &document.media_type, Bytes::new())
    } else {
        typed(StatusCode::OK, &document.media_type, document.body.clone())
    };
    answer
        .headers_mut()
        .insert(header::ETAG, document.etag.parse().expect("a header value"));
    answer
}

fn list(store: &Store, query: &[(String, String)]) -> Whole {
    let query = match list_query(query) {
        Ok(query) => query,
        Err(text) => return problem(StatusCode::UNPROCESSABLE_ENTITY, text),
    };
    json_text(StatusCode::OK, store.page(&query).0)
}

/// Reads the list's parameters, as strictly as the official registry does.
pub(super) fn list_query(pairs: &[(String, String)]) -> Result<ListQuery, &'static str> {
    let mut query = ListQuery::default();
    for (key, value) in pairs {
        match key.as_str() {
            "cursor" if !value.is_empty() => query.cursor = Some(value.clone()),
            "search" if !value.is_empty() => query.search = Some(value.clone()),
            "version" if !value.is_empty() => query.version = Some(value.clone()),
            "limit" => match value.parse::<usize>() {
                Ok(limit @ 1..=100) => query.limit = Some(limit),
                _ => return Err("limit must be between 1 and 100"),
            },
            "updated_since" => match value.parse() {
                Ok(time) => query.updated_since = Some(time),
                Err(_) => return Err("updated_since must be RFC 3339"),
            },
            _ => {}
        }
    }
    Ok(query)
}

fn extension(store: &Store, kind: &str, rest: &[&str], query: &[(String, String)]) -> Whole {
    let Some(extensions) = &store.extensions else {
        return problem(StatusCode::NOT_FOUND, "endpoint not found");
    };
    let items = if kind == "skills" {
        &extensions.skills
    } else {
        &extensions.plugins
    };
    match rest {
        [] => extension_page(items, kind, query),
        [namespace, name] | [namespace, name, "versions", _] => {
            let item = items
                .iter()
                .find(|item| item["namespace"] == *namespace && item["name"] == *name);
            found(item.map(Value::to_string), "not found")
        }
        _ => problem(StatusCode::NOT_FOUND, "endpoint not found"),
    }
}

fn extension_page(items: &[Value], kind: &str, query: &[(String, String)]) -> Whole {
    let text = |name: &str| {
        query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let start = text("cursor")
        .and_then(|cursor| cursor.parse().ok())
        .unwrap_or(0_usize);
    let limit = text("limit")
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(30_usize)
        .clamp(1, 100);
    let page: Vec<&Value> = items.iter().skip(start).take(limit).collect();
    let mut metadata = json!({"count": page.len()});
    if start + page.len() < items.len() {
        metadata["nextCursor"] = (start + page.len()).to_string().into();
    }
    json_text(
        StatusCode::OK,
        json!({kind: page, "metadata": metadata}).to_string(),
    )
}
