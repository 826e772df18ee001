//! Where the browser returns to after a login (RFC 8252 section 7.3).
//!
//! A loopback address of ours, in the spelling that was sent to the provider. Who listens there is the login's part.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use url::Url;

/// The path that the Go program's clients are registered with.
const REGISTERED_PATH: &str = "/callback";

/// Which of our names stands in the URI: providers compare all but the port literally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopbackName {
    /// `localhost`, which the Go program's clients are registered with. A listener must cover both address families.
    Localhost,
    /// `127.0.0.1`, which RFC 8252 prefers.
    Ipv4,
}

/// A redirect URI on this machine, or of a server of ours that is reached from outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RedirectUri {
    text: String,
    port: u16,
    path: String,
}

impl RedirectUri {
    /// `http://localhost:<port>/callback`: what clients of the Go program are registered with.
    pub fn registered(port: u16) -> Self {
        Self::new(LoopbackName::Localhost, port, REGISTERED_PATH.to_owned())
    }

    /// A URI that only one issuer is ever given (RFC 8252 section 8.10), for clients whose registration allows it:
    /// `/callback/` and 22 characters made from the issuer's identifier.
    pub fn for_issuer(name: LoopbackName, port: u16, issuer: &str) -> Self {
        let digest = Sha256::digest(issuer);
        let mark = URL_SAFE_NO_PAD.encode(digest.get(..16).unwrap_or_default());
        Self::new(name, port, format!("{REGISTERED_PATH}/{mark}"))
    }

    /// A URI at a server of ours that browsers reach under another address; `None` when `text` is no URL. It has no port of
    /// its own to listen on.
    pub(crate) fn hosted(text: String) -> Option<Self> {
        let path = Url::parse(&text).ok()?.path().to_owned();
        Some(Self {
            text,
            port: 0,
            path,
        })
    }

    fn new(name: LoopbackName, port: u16, path: String) -> Self {
        let host = match name {
            LoopbackName::Localhost => "localhost",
            LoopbackName::Ipv4 => "127.0.0.1",
        };
        Self {
            text: format!("http://{host}:{port}{path}"),
            port,
            path,
        }
    }

    /// The URI, exactly as it is sent in the authorization request and again with the code.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The port to listen on; 0 when there is none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The query of `redirect`, an address of a browser that the provider sent back here; `None` when it is another one.
    pub fn query_of(&self, redirect: &str) -> Option<String> {
        let given = Url::parse(redirect.trim()).ok()?;
        let ours = Url::parse(&self.text).ok()?;
        let is_ours = given.origin() == ours.origin()
            && given.path() == ours.path()
            && given.username().is_empty()
            && given.password().is_none();
        is_ours.then(|| given.query().unwrap_or_default().to_owned())
    }

    /// The only path on which a response is one.
    pub fn path(&self) -> &str {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registered_form_is_the_go_programs() {
        let uri = RedirectUri::registered(8666);
        assert_eq!(uri.as_str(), "http://localhost:8666/callback");
        assert_eq!((uri.port(), uri.path()), (8666, "/callback"));
    }

    #[test]
    fn issuers_do_not_share_a_path() {
        let one = RedirectUri::for_issuer(LoopbackName::Ipv4, 1, "https://a.example");
        let other = RedirectUri::for_issuer(LoopbackName::Ipv4, 1, "https://b.example");
        assert_ne!(one.path(), other.path());
        assert_eq!(one.path().len(), "/callback/".len() + 22);
        assert_eq!(one.as_str(), format!("http://127.0.0.1:1{}", one.path()));
        assert!(url::Url::parse(one.as_str()).is_ok_and(|url| url.path() == one.path()));
    }
}
