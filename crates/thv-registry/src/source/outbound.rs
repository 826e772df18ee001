//! How registries are asked, and the one judgement of what an answer means.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, HeaderValue};
use http::{HeaderMap, StatusCode};
use thv_auth::{AuthError, AuthStatus, Credentials, LoginReason};
use thv_config::world::World;
use thv_http::{Http, HttpError, HttpOptions, Limits, Policy, Reply, Request};
use url::Url;

use super::Remote;
use crate::error::Fault;
use crate::limits::{IDLE_TIME, MAX_REDIRECTS};

/// The HTTP client of all registries that share its settings.
#[derive(Debug)]
pub(crate) struct Outbound {
    world: World,
    extra_ca: Option<PathBuf>,
    http: Result<Http, HttpError>,
}

/// How long and how large an answer may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) time: Duration,
    pub(crate) bytes: u64,
}

// === impl Outbound ===

impl Outbound {
    pub(crate) fn new(world: World, user_agent: String, extra_ca: Option<PathBuf>) -> Arc<Self> {
        let insecure = world.env.var("INSECURE_DISABLE_URL_VALIDATION");
        let options = HttpOptions {
            user_agent,
            extra_ca: extra_ca.clone(),
            insecure_urls: insecure.is_some_and(|value| value.eq_ignore_ascii_case("true")),
        };
        Arc::new(Self {
            http: Http::new(options, &world),
            world,
            extra_ca,
        })
    }

    pub(crate) fn extra_ca(&self) -> Option<&PathBuf> {
        self.extra_ca.as_ref()
    }

    /// Sends a GET to a registry, with its credential; any status is an answer.
    pub(crate) async fn get(
        &self,
        remote: &Remote,
        url: Url,
        credentials: &dyn Credentials,
        headers: &HeaderMap,
        bounds: Bounds,
    ) -> Result<Result<Reply, HttpError>, Fault> {
        let bearer = credentials
            .bearer()
            .await
            .map_err(|error| credential_fault(remote, &error))?;
        let http = self.http.as_ref().map_err(set_up_fault)?;
        let limits = Limits {
            total: bounds.time,
            head: bounds.time,
            idle: IDLE_TIME.min(bounds.time),
            max_bytes: bounds.bytes,
            max_redirects: MAX_REDIRECTS,
        };
        let mut request = Request::get(url)
            .policy(Policy::for_registry(remote.allow_private_ip))
            .limits(limits)
            .header(ACCEPT, HeaderValue::from_static("application/json"));
        for (name, value) in headers {
            request = request.header(name.clone(), value.clone());
        }
        if let Some(bearer) = bearer {
            request = request.bearer(bearer);
        }
        match http.send(request).await {
            Err(
                error @ (HttpError::Trust { .. }
                | HttpError::Proxy { .. }
                | HttpError::Setup { .. }),
            ) => Err(set_up_fault(&error)),
            answer => Ok(answer),
        }
    }

    /// What an answer of a registry means. Every kind of source and every route is judged here.
    pub(crate) fn judge(
        &self,
        remote: &Remote,
        credentials: &dyn Credentials,
        answer: Result<Reply, HttpError>,
    ) -> Result<Reply, Fault> {
        let reply = answer.map_err(|error| unavailable(remote, error.to_string(), None))?;
        match reply.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Fault::AuthRequired {
                source_name: remote.configured.clone(),
                reason: match credentials.status() {
                    AuthStatus::None => LoginReason::NotConfigured,
                    AuthStatus::Configured | AuthStatus::Authenticated => LoginReason::Rejected,
                },
            }),
            status if status.is_success() => Ok(reply),
            status => {
                let retry_after = reply.retry_after(self.world.clock.as_ref());
                Err(unavailable(
                    remote,
                    format!("it answered {status}"),
                    retry_after,
                ))
            }
        }
    }
}

/// A fault of our own side: nothing was asked of the registry.
fn set_up_fault(error: &HttpError) -> Fault {
    Fault::Configuration {
        cause: error.to_string(),
    }
}

/// The fault of a registry that cannot be read, for `cause`.
pub(crate) fn unavailable(
    remote: &Remote,
    cause: impl Into<String>,
    retry_after: Option<Duration>,
) -> Fault {
    Fault::Unavailable {
        url: Some(remote.configured.clone()),
        cause: cause.into(),
        retry_after,
    }
}

fn credential_fault(remote: &Remote, error: &AuthError) -> Fault {
    match error {
        AuthError::LoginRequired { reason } => Fault::AuthRequired {
            source_name: remote.configured.clone(),
            reason: *reason,
        },
        AuthError::Unreachable { .. } | AuthError::Store { .. } => {
            unavailable(remote, error.to_string(), None)
        }
    }
}
