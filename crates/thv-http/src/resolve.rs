//! Name lookup that hands out only addresses the rule allows.
//!
//! The check stands between lookup and connection, so that the address that was judged is the one that is used: a name
//! that changes its answer between two lookups gains nothing. Addresses written in a URL never come here; `policy` judges them.

use std::net::{IpAddr, SocketAddr};

use tokio::net::lookup_host;

use crate::address::special_range;
use crate::error::HttpError;
use crate::policy::is_localhost_name;

/// Which addresses a connection may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressRule {
    /// The public internet.
    PublicOnly,
    /// Any address.
    Any,
}

impl AddressRule {
    /// Looks up `name` and keeps what the rule allows; fails when nothing is left. Ports are zero: the caller fills in its own.
    pub(crate) async fn lookup(self, name: &str) -> Result<Vec<SocketAddr>, HttpError> {
        let found = lookup_host((name, 0))
            .await
            .map_err(|cause| HttpError::Dns {
                host: name.to_owned(),
                cause: cause.to_string(),
            })?;
        self.allowed(name, found.collect())
    }

    /// Checks the address that a connection really has; `None`, an unknown address, is refused too.
    pub(crate) fn check_peer(self, host: &str, peer: Option<IpAddr>) -> Result<(), HttpError> {
        match (self, peer) {
            (Self::Any, _) => Ok(()),
            (Self::PublicOnly, Some(ip)) => match special_range(ip) {
                None => Ok(()),
                Some(range) => Err(blocked(host, ip, range)),
            },
            (Self::PublicOnly, None) => Err(HttpError::Blocked {
                host: host.to_owned(),
                reason: "has an unknown address, maybe a private IP address".to_owned(),
            }),
        }
    }

    fn allowed(self, name: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, HttpError> {
        let local_name = is_localhost_name(name);
        let mut refused = None;
        let kept: Vec<_> = found
            .into_iter()
            // Credentials may go to `localhost` unencrypted, so that it must be this machine whatever a resolver says.
            .filter(|address| !local_name || address.ip().is_loopback())
            .filter(|address| match (self, special_range(address.ip())) {
                (Self::PublicOnly, Some(range)) => {
                    refused.get_or_insert((address.ip(), range));
                    false
                }
                _ => true,
            })
            .collect();
        match (kept.is_empty(), refused) {
            (false, _) => Ok(kept),
            (true, Some((ip, range))) => Err(blocked(name, ip, range)),
            (true, None) => Err(HttpError::Dns {
                host: name.to_owned(),
                cause: "it has no usable address".to_owned(),
            }),
        }
    }
}

fn blocked(host: &str, ip: IpAddr, range: &str) -> HttpError {
    HttpError::Blocked {
        host: host.to_owned(),
        reason: format!("resolves to the private IP address {ip} ({range})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses
            .iter()
            .map(|text| SocketAddr::new(text.parse().expect("ip"), 0))
            .collect()
    }

    #[test]
    fn private_answers_are_dropped_and_public_ones_kept() {
        let kept = AddressRule::PublicOnly
            .allowed("mixed.example", found(&["10.0.0.1", "8.8.8.8", "::1"]));
        assert_eq!(kept, Ok(found(&["8.8.8.8"])));
        let all = found(&["10.0.0.1", "8.8.8.8"]);
        assert_eq!(
            AddressRule::Any.allowed("mixed.example", all.clone()),
            Ok(all)
        );
    }

    #[test]
    fn a_name_with_private_answers_only_is_refused() {
        let refusal = AddressRule::PublicOnly
            .allowed("rebind.example", found(&["169.254.169.254"]))
            .expect_err("refused");
        let text = refusal.to_string();
        assert!(
            text.starts_with(
                "rebind.example resolves to the private IP address 169.254.169.254 (link-local)"
            ),
            "{text}"
        );
        assert!(text.contains("--allow-private-ip"), "{text}");
    }

    #[test]
    fn localhost_is_this_machine_whatever_the_resolver_says() {
        let refusal = AddressRule::Any
            .allowed("localhost", found(&["8.8.8.8"]))
            .expect_err("refused");
        assert!(matches!(refusal, HttpError::Dns { .. }), "{refusal}");
        let kept = AddressRule::Any.allowed("api.localhost.", found(&["8.8.8.8", "127.0.0.1"]));
        assert_eq!(kept, Ok(found(&["127.0.0.1"])));
    }

    #[test]
    fn a_connection_with_a_private_or_unknown_peer_is_refused() {
        let rule = AddressRule::PublicOnly;
        assert!(matches!(
            rule.check_peer("h", Some([10, 0, 0, 1].into())),
            Err(HttpError::Blocked { .. })
        ));
        assert!(matches!(
            rule.check_peer("h", None),
            Err(HttpError::Blocked { .. })
        ));
        assert_eq!(rule.check_peer("h", Some([8, 8, 8, 8].into())), Ok(()));
        assert_eq!(AddressRule::Any.check_peer("h", None), Ok(()));
    }
}
