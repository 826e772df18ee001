//! Which addresses a discovery record may send us to: this machine's own, and no other, since
//! whoever can write the record must not be able to make us call elsewhere.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use url::{Host, Url};

/// A local address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Tcp(SocketAddr),
    Socket(PathBuf),
}

// === impl Endpoint ===

impl Endpoint {
    /// Reads the address of a record; `None` when it is not one to call.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let url: Url = text.parse().ok()?;
        let bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !bare {
            return None;
        }
        match url.scheme() {
            "http" if matches!(url.path(), "" | "/") => {
                let ip = match url.host()? {
                    Host::Ipv4(ip) => IpAddr::V4(ip),
                    Host::Ipv6(ip) => IpAddr::V6(ip),
                    Host::Domain(_) => return None,
                };
                let port = url.port_or_known_default()?;
                is_own(ip).then(|| Self::Tcp(SocketAddr::new(ip, port)))
            }
            "unix" if url.host().is_none() => socket_path(text, &url).map(Self::Socket),
            _ => None,
        }
    }
}

/// Only an address of this machine can be bound.
fn is_own(ip: IpAddr) -> bool {
    ip.is_loopback()
        || (!ip.is_unspecified() && std::net::UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok())
}

fn socket_path(text: &str, url: &Url) -> Option<PathBuf> {
    // The parser resolves dots away; a path that needs it is not one that a server wrote.
    let decoded = percent_encoding::percent_decode_str(url.path())
        .decode_utf8()
        .ok()?;
    let given = percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .ok()?;
    let has_dots = given.split('/').any(|part| part == "..");
    (decoded.starts_with('/') && decoded.len() > 1 && !has_dots && !decoded.contains('\0'))
        .then(|| PathBuf::from(decoded.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_addresses_and_absolute_sockets_are_called() {
        let tcp = |text: &str| Some(Endpoint::Tcp(text.parse().unwrap()));
        let socket = |text: &str| Some(Endpoint::Socket(PathBuf::from(text)));
        assert_eq!(
            Endpoint::parse("http://127.0.0.1:52341"),
            tcp("127.0.0.1:52341")
        );
        assert_eq!(Endpoint::parse("HTTP://[::1]:9/"), tcp("[::1]:9"));
        assert_eq!(Endpoint::parse("unix:///tmp/a.sock"), socket("/tmp/a.sock"));
        assert_eq!(Endpoint::parse("UNIX:///tmp/a%20b"), socket("/tmp/a b"));
    }

    #[test]
    fn everything_else_is_not() {
        for text in [
            "http://localhost:1",
            "http://192.0.2.7:1",
            "http://0.0.0.0:1",
            "https://127.0.0.1:1",
            "http://user@127.0.0.1:1",
            "http://127.0.0.1:1/path",
            "http://127.0.0.1:1?x",
            "unix://host/tmp/a",
            "unix:///tmp/../etc/a",
            "unix:///tmp/%2e%2e/a",
            "unix:///tmp/a?x",
            "unix:///tmp/a#x",
            "unix:tmp/a",
            "unix:///",
            "npipe://toolhive",
            "ftp://127.0.0.1",
            "not a url",
            "",
        ] {
            assert_eq!(Endpoint::parse(text), None, "{text}");
        }
    }
}
