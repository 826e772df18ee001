//! Looking at a registry before it is set: is it there, and what is it?
//!
//! A probe reads one page or one document, under a short deadline, and changes nothing.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use thv_auth::Anonymous;
use thv_config::{Config, RegistrySource, disk};
use thv_http::{HttpError, Reply};
use url::Url;

use super::api::join;
use super::document::{file_error, read};
use super::outbound::{Bounds, Outbound};
use super::{Remote, SourceKind};
use crate::error::Fault;
use crate::format::FormatError;
use crate::format::page::parse_page;
use crate::limits::{MAX_DOCUMENT_BYTES, MAX_PAGE_BYTES, PROBE_TIME};

/// Where a registry that is configured so can be asked a small question: one row of its list, or its document. `None` for one
/// that is on this machine, or whose URL is none.
pub fn question_url(config: &Config) -> Option<Url> {
    match &config.source {
        RegistrySource::Api(url) => {
            let remote = Remote::new(url, config.allow_private_ip).ok()?;
            Some(page_url(&remote.url))
        }
        RegistrySource::Url(url) => Some(Remote::new(url, config.allow_private_ip).ok()?.url),
        RegistrySource::BuiltIn | RegistrySource::File(_) => None,
    }
}

/// Why a source is not taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Nothing answered; trying later may help.
    Unreachable { cause: String, timed_out: bool },
    /// Something answered, and it is no registry of this kind.
    NotRegistry { cause: String },
    /// The request itself is not allowed or cannot be made.
    NotAllowed { cause: String },
    /// Our own configuration stands in the way.
    Configuration { cause: String },
}

/// Checks that `path` holds a registry document; gives back its absolute form.
pub(crate) async fn file(path: &Path) -> Result<PathBuf, Refusal> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || file_blocking(&path))
        .await
        .map_err(|error| Refusal::Configuration {
            cause: error.to_string(),
        })?
}

fn file_blocking(path: &Path) -> Result<PathBuf, Refusal> {
    let path = std::path::absolute(path).map_err(|error| Refusal::NotAllowed {
        cause: format!("local registry file not found or not accessible: {error}"),
    })?;
    let bytes =
        disk::read_bounded(&path, MAX_DOCUMENT_BYTES).map_err(|error| Refusal::NotAllowed {
            cause: format!(
                "local registry file not found or not accessible: {} ({})",
                file_error(&error),
                path.display()
            ),
        })?;
    let is_json = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    if !is_json {
        return Err(Refusal::NotRegistry {
            cause: "file must be a JSON file (*.json)".to_owned(),
        });
    }
    document(&bytes)?;
    Ok(path)
}

fn document(bytes: &[u8]) -> Result<(), Refusal> {
    match read(bytes, None, Timestamp::UNIX_EPOCH) {
        Ok(_) => Ok(()),
        Err(error) => Err(Refusal::NotRegistry {
            cause: format_cause(&error),
        }),
    }
}

fn format_cause(error: &FormatError) -> String {
    match error {
        FormatError::Legacy => "registry file appears to be in the legacy ToolHive format; run `thv registry convert --in <path> --in-place` to migrate to the upstream MCP format".to_owned(),
        error => error.to_string(),
    }
}

/// Checks that `remote` is a registry document. A registry that asks for a login is taken at
/// its word.
pub(crate) async fn url(outbound: &Outbound, remote: &Remote) -> Result<(), Refusal> {
    let reply = get(outbound, remote, remote.url.clone(), MAX_DOCUMENT_BYTES).await?;
    if asks_for_login(&reply) {
        return Ok(());
    }
    succeeded(&reply)?;
    tokio::task::spawn_blocking(move || document(&reply.body))
        .await
        .map_err(|error| Refusal::Configuration {
            cause: error.to_string(),
        })?
}

/// Checks that `remote` speaks the registry API, with one page of one row.
pub(crate) async fn api(outbound: &Outbound, remote: &Remote) -> Result<(), Refusal> {
    let reply = get(outbound, remote, page_url(&remote.url), MAX_PAGE_BYTES).await?;
    if asks_for_login(&reply) {
        return Ok(());
    }
    succeeded(&reply)?;
    match parse_page(&reply.body) {
        Ok(_) => Ok(()),
        Err(error) => Err(Refusal::NotRegistry {
            cause: format_cause(&error),
        }),
    }
}

/// What a read of the registry at `url` asks first, and what therefore tells whether it wants a login: the document, or the first
/// page of the API. `None` for what is no address of a registry.
pub fn first_request(url: &str) -> Option<Url> {
    let parsed = Url::parse(url).ok()?;
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return None;
    }
    Some(if is_document(url) {
        parsed
    } else {
        page_url(&parsed)
    })
}

fn is_document(configured: &str) -> bool {
    configured.strip_suffix(".json").is_some()
}

/// Which kind of registry is at `remote`, for an input that does not say.
pub(crate) async fn detect(outbound: &Outbound, remote: &Remote) -> Result<SourceKind, Refusal> {
    if is_document(&remote.configured) {
        return Ok(SourceKind::Url);
    }
    let reply = get(outbound, remote, page_url(&remote.url), MAX_PAGE_BYTES).await?;
    let is_api = asks_for_login(&reply)
        || (reply.status.is_success()
            && reply.is_json()
            && parse_page(&reply.body).is_ok_and(|page| page.has_metadata));
    Ok(if is_api {
        SourceKind::Api
    } else {
        SourceKind::Url
    })
}

fn page_url(base: &Url) -> Url {
    let mut url = join(base, ["servers"]);
    url.set_query(Some("limit=1&version=latest"));
    url
}

async fn get(outbound: &Outbound, remote: &Remote, url: Url, bytes: u64) -> Result<Reply, Refusal> {
    let bounds = Bounds {
        time: PROBE_TIME,
        bytes,
    };
    let headers = http::HeaderMap::new();
    let answer = outbound
        .get(remote, url, &Anonymous, &headers, bounds)
        .await
        .map_err(|fault| match fault {
            Fault::Configuration { cause } => Refusal::Configuration { cause },
            fault => Refusal::Configuration {
                cause: fault.to_string(),
            },
        })?;
    answer.map_err(|error| refusal(&error))
}

fn refusal(error: &HttpError) -> Refusal {
    let cause = error.to_string();
    match error {
        HttpError::Blocked { .. } => Refusal::Unreachable {
            cause,
            timed_out: false,
        },
        error if error.is_unreachable() => Refusal::Unreachable {
            cause,
            timed_out: error.is_timeout(),
        },
        HttpError::TooLarge { .. } => Refusal::NotRegistry { cause },
        _ => Refusal::NotAllowed { cause },
    }
}

fn asks_for_login(reply: &Reply) -> bool {
    matches!(reply.status.as_u16(), 401 | 403)
}

fn succeeded(reply: &Reply) -> Result<(), Refusal> {
    if reply.status.is_success() {
        return Ok(());
    }
    let cause = format!("it answered {}", reply.status);
    Err(if reply.status.is_server_error() {
        Refusal::Unreachable {
            cause,
            timed_out: false,
        }
    } else {
        Refusal::NotRegistry { cause }
    })
}
