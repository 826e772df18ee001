//! Listening on a TCP port: the host that was given and no other, IPv4 before IPv6 where a name
//! stands for both.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpListener;

use super::{Acceptor, ListenError, Listener};
use crate::edge::HostPolicy;

/// Binds `host:port`.
pub(super) async fn bind(host: &str, port: u16) -> Result<Listener, ListenError> {
    let failed = |cause: io::Error| ListenError::Bind {
        address: format!("{host}:{port}"),
        cause,
    };
    let listener = bind_first(unbracketed(host), port).await.map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    Ok(Listener {
        acceptor: Acceptor::Tcp(listener),
        url: format!("http://{}", reachable(local)),
        hosts: if local.ip().is_loopback() {
            HostPolicy::Loopback {
                bound: unbracketed(host).to_owned(),
            }
        } else {
            HostPolicy::Any
        },
    })
}

async fn bind_first(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// An address bound to every interface is reached over loopback from here.
fn reachable(local: SocketAddr) -> SocketAddr {
    let ip = match local.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, local.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn port_zero_takes_a_free_port_and_tells_it() {
        let listener = bind("127.0.0.1", 0).await.unwrap();
        let url: url::Url = listener.url().parse().unwrap();
        assert_eq!(url.host_str(), Some("127.0.0.1"));
        assert_ne!(url.port(), Some(0));
        assert_eq!(
            listener.host_policy(),
            HostPolicy::Loopback {
                bound: "127.0.0.1".to_owned()
            }
        );
    }

    #[tokio::test]
    async fn a_taken_port_is_told_with_its_address() {
        let first = bind("127.0.0.1", 0).await.unwrap();
        let port = first.url().rsplit(':').next().unwrap().parse().unwrap();
        let error = bind("127.0.0.1", port).await.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("cannot listen on 127.0.0.1:{port}: ")),
            "{error}"
        );
    }

    #[test]
    fn an_open_address_is_told_as_loopback() {
        let told = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(told("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(told("[::]:1"), "[::1]:1");
        assert_eq!(told("10.1.2.3:1"), "10.1.2.3:1");
    }
}
