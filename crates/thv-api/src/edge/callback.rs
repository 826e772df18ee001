//! The one opening for browsers that come under another name: back from the identity provider, to the callback of a server
//! with a public address. They are sent from another site by design and have no token of a caller; what protects the callback
//! is the `state` that only the right login knows. Nothing else is reached under the public name.

use http::request::Parts;
use http::{Method, header};
use thv_auth::login::PublicUrl;

use super::HostPolicy;
use super::host::is_of_this_machine;

/// The public name and the callback's paths.
#[derive(Clone, Debug)]
pub(crate) struct Callback {
    host: String,
    is_https: bool,
    paths: Vec<String>,
}

// === impl Callback ===

impl Callback {
    pub(crate) fn new(public: &PublicUrl) -> Self {
        Self {
            host: public.host().to_owned(),
            is_https: public.redirect_uri().starts_with("https:"),
            paths: public.callback_paths(),
        }
    }

    /// Whether `head` is of a browser that comes back: a GET of the callback or of a result page, under the public name or,
    /// through a proxy that puts its own in its place, under one of `ours`.
    pub(super) fn admits(&self, head: &Parts, ours: &HostPolicy) -> bool {
        head.method == Method::GET
            && self.is_path(head.uri.path())
            && (self.is_host(head) || ours.check(head).is_ok())
    }

    fn is_path(&self, path: &str) -> bool {
        self.paths.iter().any(|callback| {
            path.strip_prefix(callback.as_str()).is_some_and(|below| {
                below.is_empty()
                    || below
                        .strip_prefix('/')
                        .is_some_and(|mark| !mark.contains('/'))
            })
        })
    }

    /// Whether `head` is for the public name, and that is none of this machine's own: whoever asks for it may be anybody.
    pub(super) fn is_for_strangers(&self, head: &Parts) -> bool {
        let hosts = head.headers.get_all(header::HOST).iter();
        let hosts = hosts.filter_map(|host| host.to_str().ok());
        let authority = head.uri.authority().map(http::uri::Authority::as_str);
        !is_of_this_machine(&self.host) && hosts.chain(authority).any(|host| self.names(host))
    }

    fn is_host(&self, head: &Parts) -> bool {
        let mut hosts = head.headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        host.to_str().is_ok_and(|host| self.names(host))
            && head
                .uri
                .authority()
                .is_none_or(|authority| self.names(authority.as_str()))
    }

    /// Whether `host` is the public name. Some proxies add the port that the scheme implies anyway, and a name with the
    /// root's dot at its end is the same one.
    fn names(&self, host: &str) -> bool {
        let implied = if self.is_https { ":443" } else { ":80" };
        let host = host.strip_suffix(implied).unwrap_or(host);
        let host = host.strip_suffix('.').unwrap_or(host);
        host.eq_ignore_ascii_case(&self.host)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn admits(method: Method, target: &str, hosts: &[&str]) -> bool {
        let public = PublicUrl::parse("https://thv.example/base").unwrap();
        let mut request = Request::builder().method(method).uri(target);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        let ours = HostPolicy::Loopback {
            bound: "127.0.0.1".to_owned(),
        };
        let (head, ()) = request.body(()).unwrap().into_parts();
        Callback::new(&public).admits(&head, &ours)
    }

    #[test]
    fn only_the_callback_is_reached_under_the_public_name() {
        let public = &["thv.example"];
        for target in [
            "/base/oauth/callback?code=x",
            "/oauth/callback?code=x",
            "/oauth/callback/0123",
            "/base/oauth/callback/0123",
        ] {
            assert!(admits(Method::GET, target, public), "{target}");
            assert!(admits(Method::GET, target, &["THV.example"]), "{target}");
            let with_port = &["thv.example:443"];
            assert!(admits(Method::GET, target, with_port), "{target}");
            assert!(admits(Method::GET, target, &["127.0.0.1:8080"]), "{target}");
            assert!(!admits(Method::POST, target, public), "{target}");
            for hosts in [
                &[] as &[&str],
                &["evil.example"],
                &["thv.example:444"],
                &["thv.example", "thv.example"],
                &["thv.example.evil.example"],
            ] {
                assert!(!admits(Method::GET, target, hosts), "{target} {hosts:?}");
            }
        }
        for target in [
            "/",
            "/health",
            "/v0.1/servers",
            "/api/v1beta/registry",
            "/oauth/callbackx",
            "/oauth/callback/a/b",
            "/base/api/v1beta/registry",
            "/oauth/callback/../../api/v1beta/registry",
        ] {
            assert!(!admits(Method::GET, target, public), "{target}");
        }
        let strangers = |public: &str, host: &str| {
            let public = PublicUrl::parse(public).unwrap();
            let request = Request::get("/api/v1beta/registry").header(header::HOST, host);
            let (head, ()) = request.body(()).unwrap().into_parts();
            Callback::new(&public).is_for_strangers(&head)
        };
        for (public, host, expected) in [
            ("https://thv.example/base", "thv.example", true),
            ("https://thv.example/base", "THV.example:443", true),
            ("https://thv.example/base", "thv.example.", true),
            ("https://thv.example/base", "thv.example.:443", true),
            ("https://thv.example/base", "localhost", false),
            ("https://thv.example/base", "192.168.1.2:8080", false),
            ("http://localhost:8080/base", "localhost:8080", false),
        ] {
            assert_eq!(strangers(public, host), expected, "{public} {host}");
        }
        let elsewhere = "http://evil.example/oauth/callback?code=x";
        assert!(!admits(Method::GET, elsewhere, public));
    }
}
