//! Where an answer sends us next, as a pure decision.
//!
//! The client follows redirects by hand: each hop is judged here as a redirect and again by `Policy::check` as a target.

use http::header::LOCATION;
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use crate::error::HttpError;
use crate::policy::{Policy, Redirects};

/// The next URL, or `None` when the answer is the final one (RFC 9110 section 15.4).
pub(crate) fn next_hop(
    method: &Method,
    from: &Url,
    status: StatusCode,
    headers: &HeaderMap,
    policy: Policy,
) -> Result<Option<Url>, HttpError> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let bad = |cause: &str| HttpError::BadRedirect {
        host: from.host_str().unwrap_or_default().to_owned(),
        cause: cause.to_owned(),
    };
    if policy.redirects == Redirects::Refuse {
        return Err(bad("redirects are not followed for this request"));
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(bad("only GET and HEAD are repeated elsewhere"));
    }
    let location = headers
        .get(LOCATION)
        .and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
        .ok_or_else(|| bad("it names no location"))?;
    let mut next = from
        .join(location)
        .map_err(|cause| bad(&format!("its location is no URL ({cause})")))?;
    if from.scheme() == "https" && next.scheme() != "https" {
        return Err(bad("it leads from https to an unencrypted connection"));
    }
    if policy.redirects == Redirects::SameHost && next.host() != from.host() {
        return Err(bad("it leads to another host"));
    }
    // A peer does not choose our credentials; both fail only for URLs without a host, which `Policy::check` refuses.
    let _ = next.set_username("");
    let _ = next.set_password(None);
    next.set_fragment(None);
    Ok(Some(next))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn hop(
        from: &str,
        status: u16,
        location: Option<&str>,
        redirects: Redirects,
    ) -> Result<Option<String>, HttpError> {
        hop_with(&Method::GET, from, status, location, redirects)
    }

    fn hop_with(
        method: &Method,
        from: &str,
        status: u16,
        location: Option<&str>,
        redirects: Redirects,
    ) -> Result<Option<String>, HttpError> {
        let mut headers = HeaderMap::new();
        if let Some(location) = location {
            headers.insert(
                LOCATION,
                HeaderValue::from_bytes(location.as_bytes()).expect("header"),
            );
        }
        let from = Url::parse(from).expect("url");
        let status = StatusCode::from_u16(status).expect("status");
        let next = next_hop(
            method,
            &from,
            status,
            &headers,
            Policy::PRIVATE.with_redirects(redirects),
        )?;
        Ok(next.map(String::from))
    }

    fn refusal(answer: Result<Option<String>, HttpError>) -> String {
        match answer {
            Err(HttpError::BadRedirect { cause, .. }) => cause,
            other => panic!("not a refused redirect: {other:?}"),
        }
    }

    #[test]
    fn locations_are_resolved_against_the_current_url() {
        let from = "https://a.example/v0.1/servers?limit=100";
        for (location, next) in [
            ("/v1/servers", "https://a.example/v1/servers"),
            ("other?x=1", "https://a.example/v0.1/other?x=1"),
            ("//b.example/x", "https://b.example/x"),
            ("https://b.example/x#part", "https://b.example/x"),
            ("https://eve:secret@b.example/x", "https://b.example/x"),
        ] {
            assert_eq!(
                hop(from, 302, Some(location), Redirects::AnyHost),
                Ok(Some(next.to_owned())),
                "{location}"
            );
        }
    }

    #[test]
    fn only_five_statuses_redirect() {
        for status in [200, 204, 300, 304, 305, 306, 400, 401, 500] {
            assert_eq!(
                hop("https://a.example/", status, Some("/x"), Redirects::AnyHost),
                Ok(None),
                "{status}"
            );
        }
        for status in [301, 302, 303, 307, 308] {
            let next = hop("https://a.example/", status, Some("/x"), Redirects::AnyHost);
            assert_eq!(next, Ok(Some("https://a.example/x".to_owned())), "{status}");
        }
    }

    #[test]
    fn no_redirect_leaves_https() {
        for location in [
            "http://a.example/",
            "http://127.0.0.1/",
            "ftp://a.example/",
            "file:///etc/passwd",
        ] {
            let cause = refusal(hop(
                "https://a.example/",
                302,
                Some(location),
                Redirects::AnyHost,
            ));
            assert!(cause.contains("unencrypted"), "{location}: {cause}");
        }
        let up = hop(
            "http://a.example/",
            301,
            Some("https://a.example/"),
            Redirects::SameHost,
        );
        assert_eq!(up, Ok(Some("https://a.example/".to_owned())));
    }

    #[test]
    fn f21_cross_host_redirects_are_refused_where_the_host_must_stay() {
        let from = "https://issuer.example/.well-known/openid-configuration";
        for location in [
            "https://evil.example/x",
            "https://127.0.0.1/x",
            "https://sub.issuer.example/x",
        ] {
            let cause = refusal(hop(from, 302, Some(location), Redirects::SameHost));
            assert!(cause.contains("another host"), "{location}: {cause}");
        }
        let port = hop(
            from,
            302,
            Some("https://issuer.example:8443/x"),
            Redirects::SameHost,
        );
        assert_eq!(port, Ok(Some("https://issuer.example:8443/x".to_owned())));
    }

    #[test]
    fn redirects_that_lead_nowhere_are_errors() {
        assert!(
            refusal(hop("https://a.example/", 302, None, Redirects::AnyHost))
                .contains("no location")
        );
        assert!(
            refusal(hop(
                "https://a.example/",
                302,
                Some("https://[x"),
                Redirects::AnyHost
            ))
            .contains("no URL")
        );
        assert!(
            refusal(hop(
                "https://a.example/",
                302,
                Some("/x"),
                Redirects::Refuse
            ))
            .contains("not followed")
        );
    }

    #[test]
    fn a_post_is_never_repeated_elsewhere() {
        for status in [301, 302, 303, 307, 308] {
            let answer = hop_with(
                &Method::POST,
                "https://a.example/token",
                status,
                Some("/x"),
                Redirects::AnyHost,
            );
            assert!(refusal(answer).contains("only GET and HEAD"), "{status}");
        }
    }
}
