//! One connection pool with one set of rules: the only file that knows `reqwest`.
//!
//! A transport sends one hop and hands back the head and the stream of the body. It follows no redirect, knows no total time
//! limit and judges no URL: that is `client`'s work. The address rule and the proxy are fixed for the life of a
//! transport, so that a pooled connection can never serve a request under a stricter rule.

use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, Client, ClientBuilder, Identity, redirect};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::client_certificate::{Pem, unusable as unusable_certificate};
use crate::error::{HttpError, Phase};
use crate::limits::CONNECT;
use crate::proxy::ProxyRules;
use crate::request::Payload;
use crate::resolve::AddressRule;
use crate::trust::Bundle;

/// How a transport reaches its hosts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reach<'a> {
    /// Straight, to the addresses the rule allows.
    Direct(AddressRule),
    /// Through the proxy that the environment names; the proxy resolves the names.
    Proxied(&'a ProxyRules),
    /// To whoever listens on this Unix socket or named pipe.
    Socket(&'a Path),
}

/// A connection pool.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    client: Client,
}

/// One hop, ready to be sent.
pub(crate) struct Hop<'a> {
    pub(crate) method: http::Method,
    pub(crate) url: &'a Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<&'a Payload>,
}

/// The head of an answer and the stream of its body.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The address at the other end; a proxy's when there is one, none on a socket.
    pub(crate) peer: Option<std::net::IpAddr>,
    /// The announced length of the body, when it will not be decompressed.
    pub(crate) length: Option<u64>,
    pub(crate) body: BoxStream<'static, Result<Bytes, HttpError>>,
}

impl Transport {
    /// Builds a pool. Reads the system's certificate authorities from disk, so that it belongs on a blocking thread.
    pub(crate) fn new(
        reach: Reach<'_>,
        user_agent: &str,
        bundles: &[Bundle],
        certificate: Option<&Pem>,
    ) -> Result<Self, HttpError> {
        let mut builder = base(user_agent);
        match reach {
            Reach::Direct(rule) => {
                builder = builder
                    .no_proxy()
                    .dns_resolver(Arc::new(FilteredResolver(rule)));
            }
            Reach::Proxied(rules) => {
                builder = builder.no_proxy();
                if let Some(proxy) = rules.http() {
                    builder =
                        builder.proxy(reqwest::Proxy::http(proxy.expose_secret()).map_err(setup)?);
                }
                if let Some(proxy) = rules.https() {
                    builder =
                        builder.proxy(reqwest::Proxy::https(proxy.expose_secret()).map_err(setup)?);
                }
            }
            Reach::Socket(path) => {
                return Ok(Self {
                    client: over_socket(builder, path).build().map_err(setup)?,
                });
            }
        }
        let mut extra = Vec::new();
        for bundle in bundles {
            extra.extend(certificates(bundle)?);
        }
        if !extra.is_empty() {
            builder = builder.tls_certs_merge(extra);
        }
        if let Some(certificate) = certificate {
            builder = builder.identity(identity(certificate)?);
        }
        Ok(Self {
            client: builder.build().map_err(setup)?,
        })
    }

    /// Sends one hop and waits for the head of the answer. Dropping the future, or the body later, closes the connection.
    pub(crate) async fn send(&self, hop: Hop<'_>) -> Result<Answer, HttpError> {
        let host = hop.url.host_str().unwrap_or_default().to_owned();
        let mut request = self
            .client
            .request(hop.method, hop.url.clone())
            .headers(hop.headers);
        match hop.body {
            None => {}
            Some(Payload::Form(form)) => request = request.body(form.expose_secret().to_owned()),
            Some(Payload::Raw(bytes)) => request = request.body(bytes.clone()),
        }
        let response = request.send().await.map_err(|cause| fault(&host, &cause))?;
        let length = response.content_length();
        Ok(Answer {
            status: response.status(),
            peer: response.remote_addr().map(|address| address.ip()),
            length,
            headers: response.headers().clone(),
            body: response
                .bytes_stream()
                .map(move |piece| piece.map_err(|cause| fault(&host, &cause)))
                .boxed(),
        })
    }
}

/// A header value that the client library will not print.
pub(crate) fn secret_header(value: &SecretString) -> Result<HeaderValue, HttpError> {
    let mut header =
        HeaderValue::from_str(value.expose_secret()).map_err(|_| HttpError::Setup {
            cause: "the credential holds characters that no header can carry".to_owned(),
        })?;
    header.set_sensitive(true);
    Ok(header)
}

/// Headers that say who we are; they stay behind when a redirect leaves the origin.
pub(crate) const IDENTIFYING: [HeaderName; 3] = [
    http::header::AUTHORIZATION,
    http::header::COOKIE,
    http::header::PROXY_AUTHORIZATION,
];

fn base(user_agent: &str) -> ClientBuilder {
    Client::builder()
        .user_agent(user_agent)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT)
}

fn over_socket(builder: ClientBuilder, path: &Path) -> ClientBuilder {
    // No TLS on a socket: without roots nothing is read from disk.
    // Nor a proxy, and none of what it may know: the library would send that along.
    let builder = builder.tls_certs_only([]).no_proxy();
    #[cfg(unix)]
    return builder.unix_socket(path);
    #[cfg(windows)]
    return builder.windows_named_pipe(path.as_os_str());
}

/// A chain and its key. A mistake in them is found here and not in the middle of a handshake.
fn identity(pem: &Pem) -> Result<Identity, HttpError> {
    let identity = Identity::from_pem(pem.bytes.expose_secret());
    identity
        .and_then(|identity| {
            let trial = Client::builder().tls_certs_only([]);
            trial.identity(identity.clone()).build().map(|_| identity)
        })
        .map_err(|_| {
            unusable_certificate(
                &pem.path,
                "it takes a certificate chain and the key that belongs to it, as PEM text without a passphrase".to_owned(),
            )
        })
}

/// The certificates of one file, each of them known to be usable.
fn certificates(bundle: &Bundle) -> Result<Vec<Certificate>, HttpError> {
    let unusable = |cause: &str| HttpError::Trust {
        path: bundle.path.clone(),
        cause: cause.to_owned(),
    };
    let is_pem = bundle
        .bytes
        .windows(11)
        .any(|window| window == b"-----BEGIN ");
    let parsed = if is_pem {
        Certificate::from_pem_bundle(&bundle.bytes).map_err(|_| unusable("its PEM is damaged"))?
    } else {
        vec![
            Certificate::from_der(&bundle.bytes)
                .map_err(|_| unusable("it is neither PEM nor DER"))?,
        ]
    };
    if parsed.is_empty() {
        return Err(unusable("it holds no certificate"));
    }
    if usable(parsed.clone()) {
        return Ok(parsed);
    }
    if bundle.strict {
        return Err(unusable("it holds something that is no valid certificate"));
    }
    let total = parsed.len();
    let good: Vec<_> = parsed
        .into_iter()
        .filter(|certificate| usable(vec![certificate.clone()]))
        .collect();
    if good.is_empty() {
        return Err(unusable("it holds no valid certificate"));
    }
    tracing::warn!(path = %bundle.path.display(), ignored = total - good.len(), "some CA certificates cannot be used");
    Ok(good)
}

/// The TLS library judges certificates only when a client is built, so one is built, from these alone.
fn usable(certificates: Vec<Certificate>) -> bool {
    Client::builder()
        .no_proxy()
        .tls_certs_only(certificates)
        .build()
        .is_ok()
}

/// [`AddressRule::lookup`] in the form the client library asks for.
#[derive(Debug)]
struct FilteredResolver(AddressRule);

impl Resolve for FilteredResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rule = self.0;
        Box::pin(async move {
            let addresses = rule.lookup(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn setup(cause: reqwest::Error) -> HttpError {
    HttpError::Setup {
        cause: root_cause(&cause.without_url()),
    }
}

/// What a failure of the client library means to us.
fn fault(host: &str, failure: &reqwest::Error) -> HttpError {
    let host = host.to_owned();
    if let Some(ours) = chain(failure).find_map(|cause| cause.downcast_ref::<HttpError>()) {
        return ours.clone();
    }
    let cause = root_cause(failure);
    if failure.is_builder() {
        return HttpError::Setup { cause };
    }
    if failure.is_connect() {
        if failure.is_timeout() {
            return HttpError::Timeout {
                limit: CONNECT,
                which: Phase::Connect,
            };
        }
        if failure.is_dns() {
            return HttpError::Dns { host, cause };
        }
        // The TLS library reports what it dislikes about the peer as invalid data.
        let invalid_data = chain(failure)
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|cause| cause.kind() == io::ErrorKind::InvalidData);
        if invalid_data {
            return HttpError::Tls { host, cause };
        }
        return HttpError::Connect { host, cause };
    }
    HttpError::Protocol { host, cause }
}

/// All causes, outermost first. What an `io::Error` wraps is a cause here, though it does not call it its source.
fn chain(failure: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(
        failure.source(),
        |cause: &&(dyn StdError + 'static)| match cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => (**cause).source(),
        },
    )
}

/// The innermost cause: the outer ones repeat the URL and the library's own layers.
fn root_cause(failure: &reqwest::Error) -> String {
    let Some(root) = chain(failure).last() else {
        return "it is not understood".to_owned();
    };
    match root.downcast_ref::<io::Error>() {
        Some(system) if system.raw_os_error().is_some() => without_os_code(&system.to_string()),
        _ => root.to_string(),
    }
}

/// `Connection refused (os error 111)` as a clause.
fn without_os_code(text: &str) -> String {
    let clause = text.split(" (os error").next().unwrap_or(text);
    let mut letters = clause.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}
