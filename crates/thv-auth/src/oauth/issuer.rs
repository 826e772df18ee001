//! Issuers and the endpoints they name, as text: what is well-formed, what may be contacted, what is the same.
//!
//! Pure rules over strings. Fetching documents and reading their members is `metadata`'s part.

use thv_http::is_loopback_url;
use url::Url;

use crate::oauth::answer::shown;

/// Longest URL accepted, in bytes: what browsers and command lines carry without harm.
const URL_MAX: usize = 2048;

/// Checks an issuer as a person may configure it: https, or http on this machine; no user name, query or fragment.
pub fn parse_issuer(issuer: &str) -> Result<Url, &'static str> {
    check_url(issuer)?;
    let url = Url::parse(issuer).map_err(|_| "it is no URL")?;
    if url.query().is_some() {
        return Err("it has a query");
    }
    if url.scheme() == "http" && !is_loopback_url(&url) {
        return Err("it must use https; plain http is for this machine only");
    }
    Ok(url)
}

/// Whether a document is of the configured issuer: byte by byte, but an empty path and `/` are one, as many providers
/// and their users disagree about that slash alone.
pub(crate) fn is_same_issuer(configured: &str, found: &str) -> bool {
    configured == found
        || root_issuer(configured).is_some_and(|root| Some(root) == root_issuer(found))
}

/// The issuer without its slash, if it has no path beyond it.
fn root_issuer(issuer: &str) -> Option<&str> {
    let bare = issuer.strip_suffix('/').unwrap_or(issuer);
    let (_, authority) = bare.split_once("://")?;
    (!authority.is_empty() && !authority.contains(['/', '?', '#'])).then_some(bare)
}

/// Checks an endpoint that a document names. It is handed to a browser or given secrets, so that anything unusual is refused.
pub(crate) fn parse_endpoint(text: &str, issuer: &Url) -> Result<Url, &'static str> {
    check_url(text)?;
    let url = Url::parse(text).map_err(|_| "it is no URL")?;
    // A document from elsewhere does not get to name services of this machine.
    if url.scheme() == "http" && !both_loopback(&url, issuer) {
        return Err("it must use https");
    }
    Ok(url)
}

/// The rules that issuers and endpoints share, most of them over the text itself, as parsing would repair it.
fn check_url(text: &str) -> Result<(), &'static str> {
    if text.len() > URL_MAX {
        return Err("it is longer than 2048 bytes");
    }
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    if !text.bytes().all(plain) {
        return Err("it holds characters that no URL has");
    }
    let (scheme, rest) = text.split_once("://").ok_or("it is no http(s) URL")?;
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return Err("it is no http(s) URL");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err("it has no host");
    }
    if authority.contains('@') {
        return Err("it has a user name");
    }
    if text.contains('#') {
        return Err("it has a fragment");
    }
    Ok(())
}

pub(crate) fn both_loopback(one: &Url, other: &Url) -> bool {
    is_loopback_url(one) && is_loopback_url(other)
}

/// An issuer for people: on one line, short, and without what could be a password.
pub(crate) fn shown_issuer(issuer: &str) -> String {
    let shown = shown(issuer, 200).unwrap_or_default();
    match (shown.split_once("://"), shown.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f6_issuers_are_https_or_on_this_machine() {
        for good in [
            "https://id.example",
            "https://id.example/tenant/",
            "http://localhost:8080",
            "http://127.0.0.1:1/x",
            "http://[::1]:1",
        ] {
            assert!(parse_issuer(good).is_ok(), "{good}");
        }
        for bad in [
            "http://id.example",
            "http://localhost.evil.example",
            "https://",
            "https:///x",
            "id.example",
            "ftp://id.example",
            "https://me:pw@id.example",
            "https://id.example?x=1",
            "https://id.example#x",
            "https://id.example/ x",
            "",
        ] {
            assert!(parse_issuer(bad).is_err(), "{bad}");
        }
        assert_eq!(
            shown_issuer("https://me:pw@id.example"),
            "https://…@id.example"
        );
    }

    #[test]
    fn issuers_differ_by_anything_but_the_root_slash() {
        assert!(is_same_issuer("https://a.example/", "https://a.example"));
        assert!(!is_same_issuer(
            "https://a.example/t/",
            "https://a.example/t"
        ));
        assert!(!is_same_issuer("https://a.example//", "https://a.example"));
        assert!(!is_same_issuer("https://", "https:///"));
    }
}
