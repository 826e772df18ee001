//! Sending: hop by hop, each judged anew, the whole under one time limit.
//!
//! [`Http`] owns the connection pools and picks one per hop. What may be contacted is decided in `policy`, where a redirect
//! leads in `redirect`, how much is read in `body`; bytes are moved by `transport`.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};
use thv_config::world::{Clock, World};
use tokio::sync::OnceCell;
use url::Url;

use crate::body::read_bounded;
use crate::client_certificate::ClientCertificate;
use crate::error::{HttpError, Phase};
use crate::policy::{DPOP, PlainHttp, Policy};
use crate::proxy::ProxyRules;
use crate::redirect::next_hop;
use crate::request::{Reply, Request};
use crate::resolve::AddressRule;
use crate::transport::{Answer, Hop, IDENTIFYING, Reach, Transport, secret_header};
use crate::trust::TrustSettings;

/// Settings that hold for every request of one [`Http`].
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The `User-Agent` of every request that does not bring its own.
    pub user_agent: String,
    /// A CA bundle (PEM, or one certificate in DER) trusted beside the system's roots: `ca_certificate_path`.
    pub extra_ca: Option<PathBuf>,
    /// Whether `http` is accepted wherever a policy would want https (`INSECURE_DISABLE_URL_VALIDATION`). Credentials stay
    /// off unencrypted connections all the same.
    pub insecure_urls: bool,
}

/// The door to the outside. Cheap to clone; clones share their connections.
///
/// Proxy variables, `SSL_CERT_FILE` and the client certificate's files are taken from the world's environment when it is made. Certificate
/// authorities are read at the first request that needs them, so that making one costs nothing and a bad CA file is an error
/// of the requests and not of the program.
#[derive(Clone)]
pub struct Http {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    user_agent: String,
    insecure_urls: bool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) proxy: Arc<ProxyRules>,
    pub(crate) trust: TrustSettings,
    certificate: ClientCertificate,
    public: OnceCell<Transport>,
    any: OnceCell<Transport>,
    proxied: OnceCell<Transport>,
}

/// Which pool serves a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Direct(AddressRule),
    Proxied,
}

/// The answer to one hop.
struct Answered {
    answer: Answer,
    /// Whether a proof of the token's key went with the request.
    proven: bool,
}

impl Http {
    /// Makes a client; fails only when the user agent cannot be a header.
    pub fn new(options: HttpOptions, world: &World) -> Result<Self, HttpError> {
        HeaderValue::from_str(&options.user_agent).map_err(|_| HttpError::Setup {
            cause: "the user agent holds characters that no header can carry".to_owned(),
        })?;
        Ok(Self {
            inner: Arc::new(Inner {
                user_agent: options.user_agent,
                insecure_urls: options.insecure_urls,
                clock: Arc::clone(&world.clock),
                proxy: Arc::new(ProxyRules::from_env(&*world.env)),
                trust: TrustSettings::new(options.extra_ca, &*world.env),
                certificate: ClientCertificate::from_env(&*world.env),
                public: OnceCell::new(),
                any: OnceCell::new(),
                proxied: OnceCell::new(),
            }),
        })
    }

    /// Sends `request`, follows the redirects its policy allows and reads the whole answer. Any status is `Ok`.
    ///
    /// Dropping the future closes the connection, so that the other side notices.
    pub async fn send(&self, request: Request) -> Result<Reply, HttpError> {
        let limit = request.limits.total;
        within(
            &*self.inner.clock,
            limit,
            Phase::Total,
            self.inner.exchange(request),
        )
        .await
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("user_agent", &self.inner.user_agent)
            .field("proxy", &self.inner.proxy)
            .field("trust", &self.inner.trust)
            .finish_non_exhaustive()
    }
}

impl Inner {
    async fn exchange(&self, mut request: Request) -> Result<Reply, HttpError> {
        if let Some(socket) = request.socket.clone() {
            return self.exchange_over_socket(&socket, request).await;
        }
        if self.insecure_urls {
            request.policy.plain_http = PlainHttp::Allow;
        }
        let mut redirects_left = request.limits.max_redirects;
        let mut may_prove_anew = true;
        loop {
            let Answered { answer, proven } = self.hop(&request).await?;
            let wants_another_proof = request.credential.as_ref().is_some_and(|credential| {
                let (status, headers) = (answer.status, &answer.headers);
                credential.wants_another_proof(&request.url, proven, status, headers)
            });
            if wants_another_proof && may_prove_anew {
                may_prove_anew = false;
                continue;
            }
            let next = next_hop(
                &request.method,
                &request.url,
                answer.status,
                &answer.headers,
                request.policy,
            )?;
            let Some(next) = next else {
                return self.finish(request, answer).await;
            };
            redirects_left = redirects_left
                .checked_sub(1)
                .ok_or(HttpError::TooManyRedirects {
                    limit: request.limits.max_redirects,
                })?;
            if next.origin() != request.url.origin() {
                request.credential = None;
                for name in IDENTIFYING {
                    request.headers.remove(name);
                }
            }
            request.url = next;
        }
    }

    /// One hop: judged, sent, and judged again by the address that answered.
    async fn hop(&self, request: &Request) -> Result<Answered, HttpError> {
        let url = &request.url;
        request.policy.check(url)?;
        let route = self.route(request.policy, url)?;
        let transport = self.transport(route).await?;
        let sent = self.send_within_limits(&transport, request).await;
        let answered = match (sent, route) {
            (Err(error), Route::Proxied) => return Err(self.proxy.explain(url, error)),
            (sent, _) => sent?,
        };
        if let Route::Direct(rule) = route {
            rule.check_peer(url.host_str().unwrap_or_default(), answered.answer.peer)?;
        }
        Ok(answered)
    }

    async fn send_within_limits(
        &self,
        transport: &Transport,
        request: &Request,
    ) -> Result<Answered, HttpError> {
        let mut headers = request.headers.clone();
        if let Some(credential) = &request.credential {
            for (name, value) in credential.headers_for(&request.method, &request.url)? {
                headers.insert(name, secret_header(&value)?);
            }
        }
        let proven = headers.contains_key(DPOP);
        let hop = Hop {
            method: request.method.clone(),
            url: &request.url,
            headers,
            body: request.body.as_ref(),
        };
        let answer = within(
            &*self.clock,
            request.limits.head,
            Phase::Head,
            transport.send(hop),
        )
        .await?;
        Ok(Answered { answer, proven })
    }

    async fn exchange_over_socket(
        &self,
        socket: &Path,
        request: Request,
    ) -> Result<Reply, HttpError> {
        let transport = Transport::new(Reach::Socket(socket), &self.user_agent, &[], None)?;
        let answered = self.send_within_limits(&transport, &request).await?;
        self.finish(request, answered.answer).await
    }

    async fn finish(&self, request: Request, answer: Answer) -> Result<Reply, HttpError> {
        let body = if request.method == Method::HEAD {
            Bytes::new()
        } else {
            read_bounded(answer.body, answer.length, request.limits, &*self.clock).await?
        };
        Ok(Reply {
            status: answer.status,
            headers: answer.headers,
            body,
            url: request.url,
        })
    }

    fn route(&self, policy: Policy, url: &Url) -> Result<Route, HttpError> {
        if self.proxy.applies_to(url)? {
            return Ok(Route::Proxied);
        }
        let rule = if policy.allow_private_ip {
            AddressRule::Any
        } else {
            AddressRule::PublicOnly
        };
        Ok(Route::Direct(rule))
    }

    pub(crate) async fn transport(&self, route: Route) -> Result<Transport, HttpError> {
        let cell = match route {
            Route::Direct(AddressRule::PublicOnly) => &self.public,
            Route::Direct(AddressRule::Any) => &self.any,
            Route::Proxied => &self.proxied,
        };
        cell.get_or_try_init(|| self.build(route)).await.cloned()
    }

    async fn build(&self, route: Route) -> Result<Transport, HttpError> {
        let (user_agent, trust, certificate, proxy) = (
            self.user_agent.clone(),
            self.trust.clone(),
            self.certificate.clone(),
            Arc::clone(&self.proxy),
        );
        let build = move || {
            let bundles = trust.load()?;
            let certificate = certificate.load()?;
            let reach = match route {
                Route::Direct(rule) => Reach::Direct(rule),
                Route::Proxied => Reach::Proxied(&proxy),
            };
            Transport::new(reach, &user_agent, &bundles, certificate.as_ref())
        };
        tokio::task::spawn_blocking(build)
            .await
            .unwrap_or_else(|_| {
                Err(HttpError::Setup {
                    cause: "it was interrupted".to_owned(),
                })
            })
    }
}

/// Awaits `work`, but not longer than `limit`.
pub(crate) async fn within<T>(
    clock: &dyn Clock,
    limit: Duration,
    which: Phase,
    work: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    tokio::select! {
        biased;
        done = work => done,
        () = clock.sleep(limit) => Err(HttpError::Timeout { limit, which }),
    }
}
