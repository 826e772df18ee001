//! Registries that are one document: compiled in, a local file, a URL.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ETAG, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use thv_config::disk::{self, ReadError};

use super::outbound::{Bounds, unavailable};
use super::{Context, Depth, Difference, Known, Loaded, Remote};
use crate::assemble::Assembler;
use crate::cache::Marks;
use crate::entry::Extension;
use crate::error::Fault;
use crate::format::FormatError;
use crate::format::page::{Official, Row};
use crate::format::upstream::parse_document;
use crate::limits::{DOCUMENT_TIME, MAX_DOCUMENT_BYTES};
use crate::snapshot::{Edition, Snapshot};

/// The catalog compiled in, in the upstream registry format.
const BUILT_IN: &[u8] = include_bytes!("../../data/catalog.json");

/// Reads a registry document. Rows without a time of their own get the document's.
pub(crate) fn read(
    bytes: &[u8],
    known: Option<&Snapshot>,
    now: Timestamp,
) -> Result<Snapshot, FormatError> {
    let document = parse_document(bytes)?;
    if document.is_empty() {
        return Err(FormatError::Empty);
    }
    let updated = document.last_updated.parse().unwrap_or(now);
    let mut assembler = Assembler::new(known, updated, true);
    for server in document.servers {
        assembler.add(&Row {
            server,
            meta: None,
            official: Official::default(),
        });
    }
    for (extension, items) in [
        (Extension::Skills, document.skills),
        (Extension::Plugins, document.plugins),
    ] {
        for item in items {
            assembler.add_extension_item(extension, item);
        }
    }
    Ok(assembler.finish(Edition {
        version: document.version,
        last_updated: document.last_updated,
    }))
}

async fn read_off_thread(
    context: &Context,
    bytes: Bytes,
    known: Option<&Known>,
) -> Result<Result<Snapshot, FormatError>, String> {
    let known = known.map(|known| Arc::clone(&known.snapshot));
    let now = context.world.clock.now();
    tokio::task::spawn_blocking(move || read(&bytes, known.as_deref(), now))
        .await
        .map_err(|error| error.to_string())
}

pub(crate) async fn load_built_in(
    context: &Context,
    known: Option<&Known>,
) -> Result<Loaded, Fault> {
    let broken = |cause: String| Fault::Configuration {
        cause: format!("built-in catalog: {cause}"),
    };
    let snapshot = read_off_thread(context, Bytes::from_static(BUILT_IN), known)
        .await
        .map_err(broken)?
        .map_err(|error| broken(error.to_string()))?;
    Ok(loaded(
        context,
        known,
        snapshot,
        Marks::default(),
        Snapshot::is_same,
    ))
}

pub(crate) async fn load_file(
    context: &Context,
    path: &Path,
    known: Option<&Known>,
) -> Result<Loaded, Fault> {
    let fault = |cause: String| Fault::Unavailable {
        url: None,
        cause: format!("local registry file {}: {cause}", path.display()),
        retry_after: None,
    };
    let owned = path.to_owned();
    let bytes = tokio::task::spawn_blocking(move || disk::read_bounded(&owned, MAX_DOCUMENT_BYTES))
        .await
        .map_err(|error| fault(error.to_string()))?
        .map_err(|error| fault(file_error(&error)))?;
    let snapshot = read_off_thread(context, Bytes::from(bytes), known)
        .await
        .map_err(fault)?
        .map_err(|error| match error {
            FormatError::Legacy => Fault::Legacy { url: None },
            error => fault(error.to_string()),
        })?;
    Ok(loaded(
        context,
        known,
        snapshot,
        Marks::default(),
        Snapshot::is_same,
    ))
}

pub(crate) fn file_error(error: &ReadError) -> String {
    match error {
        ReadError::NotFound => "it is not there".to_owned(),
        error => error.to_string(),
    }
}

pub(crate) async fn load_url(
    context: &Context,
    remote: &Remote,
    known: Option<&Known>,
    depth: Depth,
) -> Result<Loaded, Fault> {
    let bounds = Bounds {
        time: DOCUMENT_TIME,
        bytes: MAX_DOCUMENT_BYTES,
    };
    let mut headers = HeaderMap::new();
    if let (Some(known), Depth::Changes) = (known, depth) {
        validate(&mut headers, IF_NONE_MATCH, known.marks.etag.as_deref());
        validate(
            &mut headers,
            IF_MODIFIED_SINCE,
            known.marks.last_modified.as_deref(),
        );
    }
    let credentials = context.credentials.as_ref();
    let answer = context
        .outbound
        .get(remote, remote.url.clone(), credentials, &headers, bounds)
        .await?;
    if let (Some(known), Ok(reply)) = (known, &answer)
        && reply.status == StatusCode::NOT_MODIFIED
        && !headers.is_empty()
    {
        return Ok(unchanged(context, known));
    }
    let reply = context.outbound.judge(remote, credentials, answer)?;
    let marks = Marks {
        etag: header(&reply.headers, ETAG),
        last_modified: header(&reply.headers, LAST_MODIFIED),
        ..Marks::default()
    };
    let snapshot = read_off_thread(context, reply.body, known)
        .await
        .map_err(|cause| unavailable(remote, cause, None))?
        .map_err(|error| format_fault(remote, &error))?;
    Ok(loaded(context, known, snapshot, marks, Snapshot::is_same))
}

pub(crate) fn format_fault(remote: &Remote, error: &FormatError) -> Fault {
    match error {
        FormatError::Legacy => Fault::Legacy {
            url: Some(remote.configured.clone()),
        },
        error => unavailable(remote, error.to_string(), None),
    }
}

fn validate(headers: &mut HeaderMap, name: HeaderName, value: Option<&str>) {
    if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
        headers.insert(name, value);
    }
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// The answer of a source that says that nothing changed.
pub(crate) fn unchanged(context: &Context, known: &Known) -> Loaded {
    let mut known = known.clone();
    known.marks.checked_at = context.world.clock.now();
    Loaded {
        known,
        difference: Difference::None,
    }
}

/// The answer of a source that was read whole. A snapshot `same` as the known one is that one,
/// so that what was rendered from it stays.
pub(crate) fn loaded(
    context: &Context,
    known: Option<&Known>,
    snapshot: Snapshot,
    marks: Marks,
    same: fn(&Snapshot, &Snapshot) -> bool,
) -> Loaded {
    let now = context.world.clock.now();
    let marks = Marks {
        checked_at: now,
        whole_at: now,
        ..marks
    };
    match known.filter(|known| same(&known.snapshot, &snapshot)) {
        Some(known) => Loaded {
            known: Known {
                snapshot: Arc::clone(&known.snapshot),
                marks,
            },
            difference: Difference::None,
        },
        None => Loaded {
            known: Known {
                snapshot: Arc::new(snapshot),
                marks,
            },
            difference: Difference::Whole,
        },
    }
}
