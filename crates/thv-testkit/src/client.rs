//! A small HTTP/1.1 client that hides nothing: no redirects, no decompression, no retries, headers as given.
//!
//! It speaks over TCP and unix sockets, and hands out the bare connection for requests that no client library would
//! send.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
pub use http::Method;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Longer than any answer a test waits for.
const DEADLINE: Duration = Duration::from_mins(2);

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Host and port.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Reads the `url` of a discovery record.
    ///
    /// # Panics
    /// When it is neither `http://<ip>:<port>` nor `unix://<path>`.
    pub fn from_record(url: &str) -> Self {
        if let Some(path) = url.strip_prefix("unix://") {
            let path = percent_encoding::percent_decode_str(path)
                .decode_utf8()
                .expect("a path in UTF-8");
            return Address::Unix(PathBuf::from(path.into_owned()));
        }
        let host = url
            .strip_prefix("http://")
            .unwrap_or_else(|| panic!("an address we know, not {url}"));
        Address::Tcp(
            host.trim_end_matches('/')
                .parse()
                .unwrap_or_else(|_| panic!("an IP literal and a port, not {url}")),
        )
    }

    /// The address and the path with query of an `http` URL whose host is loopback. For `localhost` it is the family
    /// that answers, IPv4 first.
    pub fn of_url(url: &str) -> Option<(Self, String)> {
        let url = url::Url::parse(url).ok()?;
        if url.scheme() != "http" {
            return None;
        }
        let port = url.port_or_known_default()?;
        let ip = match url.host()? {
            url::Host::Ipv4(ip) => IpAddr::V4(ip),
            url::Host::Ipv6(ip) => IpAddr::V6(ip),
            url::Host::Domain("localhost") => [
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ]
            .into_iter()
            .find(|ip| std::net::TcpStream::connect((*ip, port)).is_ok())
            .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            url::Host::Domain(_) => return None,
        };
        if !ip.is_loopback() {
            return None;
        }
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Some((Address::Tcp(SocketAddr::new(ip, port)), path))
    }

    fn host(&self) -> String {
        match self {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(_) => "localhost".to_owned(),
        }
    }

    /// A bare connection.
    pub async fn connect(&self) -> io::Result<Connection> {
        Ok(match self {
            Address::Tcp(address) => Connection(Box::new(TcpStream::connect(address).await?)),
            Address::Unix(path) => Connection(Box::new(UnixStream::connect(path).await?)),
        })
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Answer {
        Call::get(path).to(self).await
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Call::new(Method::POST, path).json(body).to(self).await
    }

    /// `PUT path` with a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        Call::new(Method::PUT, path).json(body).to(self).await
    }

    /// `DELETE path`.
    pub async fn delete(&self, path: &str) -> Answer {
        Call::new(Method::DELETE, path).to(self).await
    }
}

/// One request, built up before it is sent.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    /// A request without headers or body.
    pub fn new(method: Method, path: &str) -> Self {
        Call {
            method,
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// A `GET`.
    pub fn get(path: &str) -> Self {
        Call::new(Method::GET, path)
    }

    /// Adds a header; `Host` replaces the one derived from the address.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        self.headers
            .append(name, HeaderValue::from_str(value).expect("a header value"));
        self
    }

    /// A body of any kind; no content type is set.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// A JSON body with its content type.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }

    /// Sends the request on a connection of its own and reads the whole answer.
    ///
    /// # Panics
    /// When there is no complete answer; use [`Call::attempt`] where that is a possible outcome.
    pub async fn to(self, address: &Address) -> Answer {
        let asked = format!("{} {}", self.method, self.path);
        match self.attempt(address).await {
            Ok(answer) => answer,
            Err(cause) => panic!("{asked}: {cause}"),
        }
    }

    /// Sends the request; an error is anything but a complete answer.
    pub async fn attempt(self, address: &Address) -> Result<Answer, String> {
        match tokio::time::timeout(DEADLINE, self.exchange(address)).await {
            Ok(outcome) => outcome.map_err(|cause| cause.to_string()),
            Err(_) => Err(format!("no complete answer within {DEADLINE:?}")),
        }
    }

    async fn exchange(
        self,
        address: &Address,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let connection = address.connect().await?;
        let (mut sender, driver) =
            hyper::client::conn::http1::handshake(TokioIo::new(connection.0)).await?;
        let driver = tokio::spawn(driver);
        let mut request = Request::builder().method(self.method).uri(&self.path);
        if !self.headers.contains_key("host") {
            request = request.header("host", address.host());
        }
        let mut request = request.body(Full::new(self.body))?;
        request.headers_mut().extend(self.headers);
        let answer = sender.send_request(request).await?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        driver.abort();
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    }
}

/// A complete answer.
#[derive(Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers as sent.
    pub headers: HeaderMap,
    /// The body as sent.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON, showing it.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|cause| panic!("JSON expected ({cause}), got {self:?}"))
    }

    /// A header's value; empty when it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The `code` of a structured error; empty when the body is none.
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        let shown: String = text.chars().take(800).collect();
        write!(f, "{} {:?} {shown}", self.status, self.headers)
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A bare connection for requests written by hand.
pub struct Connection(Box<dyn Duplex>);

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    /// Sends bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    /// Reads until the other side closes or `patience` ends; what came, and whether it closed.
    pub async fn read_all(&mut self, patience: Duration) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        let closed = tokio::time::timeout(patience, async {
            let mut chunk = [0_u8; 8192];
            while let Ok(count @ 1..) = self.0.read(&mut chunk).await {
                bytes.extend_from_slice(&chunk[..count]);
            }
        })
        .await
        .is_ok();
        (bytes, closed)
    }

    /// Reads until `wanted` has come, the other side closes, or `patience` ends; what came.
    pub async fn read_until(&mut self, wanted: &str, patience: Duration) -> String {
        let mut bytes = Vec::new();
        let _ = tokio::time::timeout(patience, async {
            let mut chunk = [0_u8; 8192];
            while let Ok(count @ 1..) = self.0.read(&mut chunk).await {
                bytes.extend_from_slice(&chunk[..count]);
                if String::from_utf8_lossy(&bytes).contains(wanted) {
                    break;
                }
            }
        })
        .await;
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
