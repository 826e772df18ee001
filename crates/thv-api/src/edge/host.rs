//! Which requests a browser page could have sent without its person's wish: those with a host
//! name that is not ours (a rebound name) and those of another site's page (W37). Programs
//! send neither an `Origin` nor `Sec-Fetch-Site` and are never refused here, as long as they
//! call us by a name that is ours.

use http::request::Parts;
use http::{HeaderMap, HeaderName, Version, header};

use crate::error::Problem;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Which `Host` values a listener answers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPolicy {
    /// A loopback address: only names that cannot be rebound to it. `bound` is the host that
    /// was asked for, without a port.
    Loopback {
        /// The host that the listener was asked to bind.
        bound: String,
    },
    /// A socket, a pipe, or an address that other machines reach under names we cannot know.
    Any,
}

/// Why a request passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// No browser page, or a page that we served.
    Ours,
    /// A page of another origin.
    OtherSite,
}

// === impl HostPolicy ===

impl HostPolicy {
    /// Refuses a request for a host that is not ours.
    pub(crate) fn check(&self, head: &Parts) -> Result<(), Problem> {
        let mut hosts = head.headers.get_all(header::HOST).iter();
        let host = hosts.next().map(|value| value.to_str().unwrap_or_default());
        if hosts.next().is_some() {
            return Err(Problem::malformed("400 Bad Request: several Host headers"));
        }
        let authority = head.uri.authority().map(http::uri::Authority::as_str);
        if host.is_none() && authority.is_none() && head.version != Version::HTTP_10 {
            return Err(Problem::malformed(
                "400 Bad Request: missing required Host header",
            ));
        }
        match self {
            Self::Any => Ok(()),
            Self::Loopback { bound } => {
                for given in host.into_iter().chain(authority) {
                    if !is_ours(given, bound) {
                        return Err(Problem::forbidden(
                            "403 Forbidden: this server answers to localhost and its own address only",
                        ));
                    }
                }
                Ok(())
            }
        }
    }
}

/// Whether a `Host` value is a name that every machine has for itself.
pub(super) fn is_of_this_machine(host: &str) -> bool {
    without_port(host).is_some_and(|name| {
        ["localhost", "127.0.0.1", "[::1]"]
            .iter()
            .any(|ours| name.eq_ignore_ascii_case(ours))
    })
}

fn is_ours(host: &str, bound: &str) -> bool {
    let Some(name) = without_port(host) else {
        return false;
    };
    let plain = |host: &str| {
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .map_or_else(|| host.to_owned(), str::to_owned)
    };
    is_of_this_machine(host) || plain(name).eq_ignore_ascii_case(&plain(bound))
}

/// The host part of a `Host` value; `None` when it is not `host` or `host:port`.
fn without_port(host: &str) -> Option<&str> {
    let (name, rest) = match host.find(']') {
        Some(end) if host.starts_with('[') => host.split_at_checked(end + 1)?,
        Some(_) => return None,
        None => host.split_at_checked(host.find(':').unwrap_or(host.len()))?,
    };
    let port_is_fine = rest.is_empty()
        || rest
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|digit| digit.is_ascii_digit()));
    (port_is_fine && !name.is_empty()).then_some(name)
}

/// Who sent the request, as far as a browser tells.
pub(crate) fn sender(headers: &HeaderMap) -> Sender {
    let foreign_origin = headers
        .get_all(header::ORIGIN)
        .iter()
        .any(|origin| !is_same_host(origin.to_str().unwrap_or_default(), headers));
    let foreign_site = headers.get_all(SEC_FETCH_SITE).iter().any(|site| {
        matches!(
            site.to_str().unwrap_or("cross-site"),
            "cross-site" | "same-site"
        )
    });
    if foreign_origin || foreign_site {
        Sender::OtherSite
    } else {
        Sender::Ours
    }
}

/// The scheme is not compared: in front of us may stand a proxy that speaks TLS.
fn is_same_host(origin: &str, headers: &HeaderMap) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let default_port = if scheme.eq_ignore_ascii_case("https") {
        ":443"
    } else {
        ":80"
    };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let bare = |value: &str| value.strip_suffix(default_port).unwrap_or(value).to_owned();
    !authority.is_empty() && bare(authority).eq_ignore_ascii_case(&bare(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, Request, StatusCode};

    use crate::error::Door;

    fn request(headers: &[(&'static str, &str)]) -> Parts {
        let mut request = Request::get("/health").body(()).unwrap();
        for (name, value) in headers {
            request
                .headers_mut()
                .append(*name, HeaderValue::from_str(value).unwrap());
        }
        request.into_parts().0
    }

    fn status(policy: &HostPolicy, headers: &[(&'static str, &str)]) -> Option<StatusCode> {
        policy
            .check(&request(headers))
            .err()
            .map(|problem| problem.render(Door::Plain, false).status())
    }

    #[test]
    fn w37_a_loopback_listener_answers_to_its_own_names_only() {
        let policy = HostPolicy::Loopback {
            bound: "127.0.0.2".to_owned(),
        };
        for host in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:8080",
            "127.0.0.2:8080",
        ] {
            assert_eq!(status(&policy, &[("host", host)]), None, "{host}");
        }
        for host in [
            "evil.test",
            "localhost.evil.test",
            "127.0.0.1.evil.test:8080",
            "user@localhost",
            "localhost:80:90",
            "localhost:80x",
            "::1",
            "[::1",
            "[::2]",
            "",
            ":8080",
            "0.0.0.0",
        ] {
            assert_eq!(
                status(&policy, &[("host", host)]),
                Some(StatusCode::FORBIDDEN),
                "{host}"
            );
        }
    }

    #[test]
    fn an_ipv6_bind_matches_with_and_without_brackets() {
        let policy = HostPolicy::Loopback {
            bound: "::1".to_owned(),
        };
        assert_eq!(status(&policy, &[("host", "[::1]:9")]), None);
    }

    #[test]
    fn sockets_and_open_binds_take_any_host() {
        assert_eq!(status(&HostPolicy::Any, &[("host", "evil.test")]), None);
    }

    #[test]
    fn a_request_has_one_host() {
        let policy = HostPolicy::Any;
        assert_eq!(status(&policy, &[]), Some(StatusCode::BAD_REQUEST));
        assert_eq!(
            status(&policy, &[("host", "localhost"), ("host", "evil.test")]),
            Some(StatusCode::BAD_REQUEST)
        );
    }

    #[test]
    fn a_target_with_a_host_of_its_own_is_checked_too() {
        let mut head = request(&[("host", "localhost")]);
        head.uri = "http://evil.test/health".parse().unwrap();
        let policy = HostPolicy::Loopback {
            bound: "127.0.0.1".to_owned(),
        };
        assert!(policy.check(&head).is_err());
    }

    #[test]
    fn w37_pages_of_other_sites_are_told_from_programs_and_our_own_pages() {
        let table: &[(&[(&'static str, &str)], Sender)] = &[
            (&[("host", "localhost:8080")], Sender::Ours),
            (
                &[
                    ("host", "localhost:8080"),
                    ("origin", "http://localhost:8080"),
                ],
                Sender::Ours,
            ),
            (
                &[("host", "thv.corp"), ("origin", "https://thv.corp")],
                Sender::Ours,
            ),
            (
                &[("host", "thv.corp:443"), ("origin", "https://thv.corp")],
                Sender::Ours,
            ),
            (
                &[
                    ("host", "localhost:8080"),
                    ("origin", "http://localhost:3000"),
                ],
                Sender::OtherSite,
            ),
            (
                &[("host", "localhost:8080"), ("origin", "https://evil.test")],
                Sender::OtherSite,
            ),
            (
                &[("host", "localhost"), ("origin", "null")],
                Sender::OtherSite,
            ),
            (&[("host", ""), ("origin", "http://")], Sender::OtherSite),
            (
                &[("host", "localhost"), ("sec-fetch-site", "cross-site")],
                Sender::OtherSite,
            ),
            (
                &[("host", "localhost"), ("sec-fetch-site", "same-site")],
                Sender::OtherSite,
            ),
            (
                &[("host", "localhost"), ("sec-fetch-site", "same-origin")],
                Sender::Ours,
            ),
            (
                &[("host", "localhost"), ("sec-fetch-site", "none")],
                Sender::Ours,
            ),
        ];
        for (headers, expected) in table {
            assert_eq!(sender(&request(headers).headers), *expected, "{headers:?}");
        }
    }
}
