//! The server of this user, asked by a command. Where one runs is told by `TOOLHIVE_API_URL` or by
//! the discovery record; what it answers becomes a `CommandError`. Starting one is `serve`'s work.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::header::{ACCEPT, HeaderValue};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use thv_api::discovery::{CallerToken, Discovery, Record};
use thv_config::Paths;
use thv_config::world::World;
use thv_http::{Bearer, Http, HttpOptions, Limits, Policy, Reply, Request};
use url::Url;

use crate::failure::{CommandError, ServerCode};
use crate::wire_up;

/// The variable that names the server to ask, as in the Go program.
const API_URL: &str = "TOOLHIVE_API_URL";

/// How long a server may take to fetch its registry for us: as long as ours gives itself.
const PATIENCE: Duration = Duration::from_mins(10);

/// A server and how to reach it.
#[derive(Debug)]
pub(crate) struct RunningServer {
    /// The address as people know it.
    pub(crate) shown: String,
    base: Url,
    socket: Option<PathBuf>,
    /// What it wants of its callers, out of the record that it wrote.
    token: Option<CallerToken>,
    http: Http,
}

/// A structured error of the server.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal {
    code: String,
    message: String,
    /// In place of a message, when the server wants a token (RFC 6750 section 3).
    error_description: String,
}

impl RunningServer {
    /// The server of this user, if one runs.
    pub(crate) async fn find(world: &World, paths: &Paths) -> Result<Option<Self>, CommandError> {
        let discovery = Discovery::new(paths.server_record(), Arc::clone(&world.clock));
        if let Some(told) = world.env.var(API_URL).filter(|told| !told.is_empty()) {
            // The token is for the server that wrote it, and for no other that somebody names.
            let is_told = |record: &Record| record.url == told.trim_end_matches('/');
            let record = discovery.running_if(is_told).await;
            let token = record.and_then(|record| record.token);
            return Self::at(&told, token, world).map(Some);
        }
        let record = discovery.running().await;
        record
            .map(|record| Self::at(&record.url, record.token, world))
            .transpose()
    }

    fn at(address: &str, token: Option<CallerToken>, world: &World) -> Result<Self, CommandError> {
        let (base, socket) = target(address).ok_or_else(|| CommandError::Ask {
            url: address.to_owned(),
            cause: "it is no http:// or unix:// address".to_owned(),
        })?;
        let options = HttpOptions {
            user_agent: wire_up::user_agent(),
            extra_ca: None,
            insecure_urls: false,
        };
        let shown = match &socket {
            Some(_) => address.to_owned(),
            None => thv_http::display_url(&base)
                .trim_end_matches('/')
                .to_owned(),
        };
        let http = Http::new(options, world).map_err(|error| CommandError::Ask {
            url: shown.clone(),
            cause: error.to_string(),
        })?;
        Ok(Self {
            shown,
            base,
            socket,
            token,
            http,
        })
    }

    /// Has the server fetch its registry now.
    pub(crate) async fn refresh(&self, registry: &str) -> Result<(), CommandError> {
        let path = format!("/api/v1beta/registry/{registry}/refresh");
        let limits = Limits {
            head: PATIENCE,
            ..Limits::DEFAULT.with_total(PATIENCE)
        };
        self.ask(Method::POST, &path, limits).await.map(drop)
    }

    /// Which version the server is, with its `v`.
    pub(crate) async fn version(&self) -> Result<String, CommandError> {
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let reply = self
            .ask(Method::GET, "/api/v1beta/version", Limits::PROBE)
            .await?;
        let told: Result<Version, _> = serde_json::from_slice(&reply.body);
        told.map(|told| told.version)
            .map_err(|_| self.unreachable("it does not tell its version".to_owned()))
    }

    async fn ask(&self, method: Method, path: &str, limits: Limits) -> Result<Reply, CommandError> {
        let url = self
            .base
            .join(path)
            .map_err(|error| self.unreachable(error.to_string()))?;
        let bearer = self
            .token
            .as_ref()
            .map(|token| Bearer::for_url(token.secret().clone(), &url));
        let mut request = Request::new(method, url)
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .policy(Policy::PRIVATE)
            .limits(limits);
        if let Some(bearer) = bearer {
            request = request.bearer(bearer);
        }
        if let Some(socket) = &self.socket {
            request = request.over_socket(socket);
        }
        let reply = self
            .http
            .send(request)
            .await
            .map_err(|error| self.unreachable(error.to_string()))?;
        if reply.status.is_success() {
            Ok(reply)
        } else {
            Err(self.refused(&reply))
        }
    }

    fn unreachable(&self, cause: String) -> CommandError {
        CommandError::Ask {
            url: self.shown.clone(),
            cause,
        }
    }

    fn refused(&self, reply: &Reply) -> CommandError {
        let refusal: Refusal = serde_json::from_slice(&reply.body).unwrap_or_default();
        let code = match refusal.code.as_str() {
            "registry_auth_required" => ServerCode::AuthRequired,
            "registry_unavailable" => ServerCode::Unavailable,
            _ => ServerCode::Other,
        };
        let told = [refusal.message, refusal.error_description];
        let message = told
            .into_iter()
            .find(|text| !text.is_empty())
            .unwrap_or_else(|| format!("status {}", reply.status));
        CommandError::Server {
            url: self.shown.clone(),
            code,
            message,
        }
    }
}

/// Base URL and socket of an address out of a discovery record or of a person. In the path of a
/// socket, characters that mean something in a URL are percent-encoded.
fn target(address: &str) -> Option<(Url, Option<PathBuf>)> {
    let url = Url::parse(address).ok()?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Some((url, None)),
        "unix" if !url.has_host() && url.path().starts_with('/') => {
            let path = percent_decode_str(url.path()).decode_utf8().ok()?;
            Some((
                Url::parse("http://localhost").ok()?,
                Some(PathBuf::from(path.into_owned())),
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_records_and_people_are_understood() {
        let (base, socket) = target("http://127.0.0.1:8080").unwrap();
        assert_eq!((base.as_str(), socket), ("http://127.0.0.1:8080/", None));
        let (_, socket) = target("unix:///tmp/a%20b.sock").unwrap();
        assert_eq!(socket, Some(PathBuf::from("/tmp/a b.sock")));
        for address in ["unix://relative", "ftp://127.0.0.1", "127.0.0.1:8080", ""] {
            assert!(target(address).is_none(), "{address}");
        }
    }
}
