//! Logins whose answer arrives at a server of ours that people reach under a public address, behind a reverse proxy for example.
//!
//! [`PublicUrl`] is that address; here is also which waiting login an answer belongs to. What the answer says, and what the
//! browser is shown, is `session`'s part, the same as on loopback.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use thv_http::is_loopback_url;
use url::Url;

use super::Logins;
use super::callback::state_of;
use super::page::Page;
use super::session::Session;

/// Where answers arrive, below the public address.
const CALLBACK_PATH: &str = "/oauth/callback";

/// The address under which browsers reach a server of ours.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicUrl {
    /// Without a slash at its end.
    base: String,
    host: String,
    base_path: String,
}

// === impl PublicUrl ===

impl PublicUrl {
    /// Reads an address: https, or http on this machine; a path, if any, of letters, digits and `-._~/`.
    ///
    /// # Errors
    /// A clause for people that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "it is no URL")?;
        let is_safe = url.scheme() == "https" || url.scheme() == "http" && is_loopback_url(&url);
        if !is_safe {
            return Err("it must use https; plain http is for this machine only");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it has a user name");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("it has a query or a fragment");
        }
        let base_path = url.path().trim_end_matches('/');
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        if !base_path.bytes().all(is_plain) || base_path.contains("//") {
            return Err("its path has other characters than letters, digits and -._~/");
        }
        let host = url.host_str().ok_or("it has no host")?;
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        Ok(Self {
            base: format!("{}://{host}{base_path}", url.scheme()),
            host,
            base_path: base_path.to_owned(),
        })
    }

    /// The redirect URI, as it has to be registered with the identity provider.
    pub fn redirect_uri(&self) -> String {
        format!("{}{CALLBACK_PATH}", self.base)
    }

    /// The `Host` of requests that come under this address: a name and, if it is not the scheme's own, a port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The paths on which answers can arrive: as browsers ask for it and, where a proxy takes the address's own path off,
    /// without that. Each has the result pages one segment below it.
    pub fn callback_paths(&self) -> Vec<String> {
        let mut paths = vec![format!("{}{CALLBACK_PATH}", self.base_path)];
        if !self.base_path.is_empty() {
            paths.push(CALLBACK_PATH.to_owned());
        }
        paths
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

impl fmt::Debug for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicUrl({self})")
    }
}

// === impl Logins ===

impl Logins {
    /// The answer to a browser that comes back to the public address, with the query of its request. An answer that belongs to
    /// no login that waits for one here changes nothing.
    pub fn receive(&self, query: &str) -> Response<Full<Bytes>> {
        let waiting = state_of(query)
            .and_then(|state| self.hosted(|session| session.attempt().accepts_state(&state)));
        match waiting {
            Some(session) => session.receive(query),
            None => Page::Forged.response(),
        }
    }

    /// The page that says how the login ended whose answer was sent on to `mark`; it comes when that is known.
    pub async fn received(&self, mark: &str) -> Response<Full<Bytes>> {
        match self.hosted(|session| session.has_mark(mark)) {
            Some(session) => session.result().await,
            None => Page::NotFound.response(),
        }
    }

    fn hosted(&self, is_it: impl Fn(&Session) -> bool) -> Option<Arc<Session>> {
        let directory = self.inner.lock();
        directory
            .running()
            .filter_map(|login| login.progress.stage().session.clone())
            .find(|session| session.is_hosted() && is_it(session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_gives_the_redirect_uri_and_its_paths() {
        for (text, redirect, host, paths) in [
            (
                "https://thv.example",
                "https://thv.example/oauth/callback",
                "thv.example",
                &["/oauth/callback"] as &[&str],
            ),
            (
                "https://THV.example:8443/base/",
                "https://thv.example:8443/base/oauth/callback",
                "thv.example:8443",
                &["/base/oauth/callback", "/oauth/callback"],
            ),
            (
                "https://thv.example:443/a/b",
                "https://thv.example/a/b/oauth/callback",
                "thv.example",
                &["/a/b/oauth/callback", "/oauth/callback"],
            ),
            (
                "http://localhost:9000",
                "http://localhost:9000/oauth/callback",
                "localhost:9000",
                &["/oauth/callback"],
            ),
        ] {
            let url = PublicUrl::parse(text).expect("an address");
            assert_eq!(url.redirect_uri(), redirect);
            assert_eq!(url.host(), host);
            assert_eq!(url.callback_paths(), paths, "{text}");
        }
    }

    #[test]
    fn other_addresses_are_refused() {
        for text in [
            "",
            "thv.example",
            "http://thv.example",
            "ftp://thv.example",
            "https://u:p@thv.example",
            "https://thv.example/?x=1",
            "https://thv.example/#x",
            "https://thv.example/{x}",
            "https://thv.example/a%2Fb",
            "https://thv.example//a",
        ] {
            assert!(PublicUrl::parse(text).is_err(), "{text}");
        }
    }
}
