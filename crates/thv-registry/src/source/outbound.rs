//! How registries are asked, and the one judgement of what an answer means.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, HeaderValue};
use http::{HeaderMap, StatusCode};
use thv_auth::oauth::challenge::{BearerChallenge, ProofChallenge};
use thv_auth::{AuthError, AuthStatus, Credentials, LoginReason};
use thv_config::world::World;
use thv_http::{Bearer, Http, HttpError, HttpOptions, Limits, Policy, Reply, Request};
use url::Url;

use super::Remote;
use crate::error::{Blame, Fault};
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
        let bearer = bearer_of(remote, credentials).await?;
        let answer = self
            .send(remote, &url, headers, bounds, bearer.clone())
            .await?;
        let (Some(sent), Ok(reply)) = (bearer, &answer) else {
            return Ok(answer);
        };
        refused_proof(remote, &sent, reply)?;
        if reply.status != StatusCode::UNAUTHORIZED {
            note_answer(credentials, &sent, reply).await;
            return Ok(answer);
        }
        // RFC 6750, section 3.1: the token may have ended before its time. One more try with
        // another one, and no more.
        if !credentials.rejected(&sent).await {
            return Ok(answer);
        }
        let bearer = bearer_of(remote, credentials).await?;
        let answer = self
            .send(remote, &url, headers, bounds, bearer.clone())
            .await?;
        if let (Some(sent), Ok(reply)) = (bearer, &answer) {
            refused_proof(remote, &sent, reply)?;
            match reply.status {
                StatusCode::UNAUTHORIZED => {
                    credentials.rejected(&sent).await;
                }
                _ => note_answer(credentials, &sent, reply).await,
            }
        }
        Ok(answer)
    }

    async fn send(
        &self,
        remote: &Remote,
        url: &Url,
        headers: &HeaderMap,
        bounds: Bounds,
        bearer: Option<Bearer>,
    ) -> Result<Result<Reply, HttpError>, Fault> {
        let http = self.http.as_ref().map_err(set_up_fault)?;
        let limits = Limits {
            total: bounds.time,
            head: bounds.time,
            idle: IDLE_TIME.min(bounds.time),
            max_bytes: bounds.bytes,
            max_redirects: MAX_REDIRECTS,
        };
        let mut request = Request::get(url.clone())
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
                | HttpError::ClientCertificate { .. }
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
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(refusal(remote, credentials, reply.status))
            }
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

/// The fault of a registry that refuses the proof of the token's key, and not the token: no other token will help.
fn refused_proof(remote: &Remote, sent: &Bearer, reply: &Reply) -> Result<(), Fault> {
    let refused = sent
        .is_bound()
        .then(|| ProofChallenge::refusal(reply.status, &reply.headers))
        .flatten();
    let Some(error) = refused else {
        return Ok(());
    };
    let cause = format!(
        "it does not take the proof of the token's key (`{error}`, RFC 9449); if the clock of this machine is wrong, set it"
    );
    Err(unavailable(remote, cause, None))
}

/// Tells the credential what an answer other than 401 says of it (RFC 6750, section 3.1).
async fn note_answer(credentials: &dyn Credentials, sent: &Bearer, reply: &Reply) {
    if reply.status.is_success() {
        credentials.accepted(sent);
    }
    if reply.status != StatusCode::FORBIDDEN || reply.url.origin() != *sent.origin() {
        return;
    }
    if let Some(challenge) = BearerChallenge::of(&reply.headers)
        && challenge.is_insufficient_scope()
    {
        let scopes = challenge.scope.unwrap_or_default();
        credentials.lacks_scopes(sent, &scopes).await;
    }
}

/// A fault of our own side: nothing was asked of the registry.
fn set_up_fault(error: &HttpError) -> Fault {
    Fault::Configuration {
        cause: error.to_string(),
    }
}

async fn bearer_of(
    remote: &Remote,
    credentials: &dyn Credentials,
) -> Result<Option<Bearer>, Fault> {
    let bearer = credentials.bearer().await;
    bearer.map_err(|error| credential_fault(remote, &error))
}

/// What a registry means that lets nobody in, or not us.
fn refusal(remote: &Remote, credentials: &dyn Credentials, status: StatusCode) -> Fault {
    let auth_required = |reason| Fault::AuthRequired {
        source_name: remote.configured.clone(),
        reason,
    };
    match (credentials.status(), credentials.login_needed()) {
        (_, Some(reason)) => auth_required(reason),
        (AuthStatus::None, None) => auth_required(LoginReason::NotConfigured),
        // The token is refused, and a new one could not be had: its provider or the store is
        // down, which no login would mend.
        (AuthStatus::Authenticated, None) if status == StatusCode::UNAUTHORIZED => {
            Fault::Unavailable {
                url: Some(remote.configured.clone()),
                cause: "it refuses the access token, and a new one cannot be had now".to_owned(),
                retry_after: None,
                blame: Blame::IdentityProvider,
            }
        }
        (AuthStatus::Configured | AuthStatus::Authenticated, None) => {
            auth_required(match credentials.auth_type() {
                Some(_) => LoginReason::CredentialRejected,
                None => LoginReason::Rejected,
            })
        }
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
        blame: Blame::Registry,
    }
}

fn blamed(remote: &Remote, error: &AuthError, blame: Blame) -> Fault {
    Fault::Unavailable {
        url: Some(remote.configured.clone()),
        cause: error.to_string(),
        retry_after: None,
        blame,
    }
}

fn credential_fault(remote: &Remote, error: &AuthError) -> Fault {
    match error {
        AuthError::LoginRequired { reason } => Fault::AuthRequired {
            source_name: remote.configured.clone(),
            reason: *reason,
        },
        AuthError::Unreachable { .. } => blamed(remote, error, Blame::IdentityProvider),
        AuthError::Store { locked, .. } => {
            blamed(remote, error, Blame::SecretStore { locked: *locked })
        }
        AuthError::Unusable { .. } => blamed(remote, error, Blame::Credential),
    }
}
