//! The one opening for pages of other origins: reading the standard door, for the origins that
//! the person who started the server named. Nothing else ever carries a CORS header.

use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::error::Door;

/// Headers of an answer that a page may read besides the safe-listed ones.
const EXPOSED: &str = "ETag, Retry-After, X-Toolhive-Stale-Since";

/// How long a browser may remember a preflight answer, in seconds.
const PREFLIGHT_AGE: &str = "600";

/// The origins whose pages may read the standard door.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CorsOrigins {
    any: bool,
    named: Vec<String>,
}

/// What a page of a named origin is granted.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    origin: HeaderValue,
    varies: bool,
}

// === impl CorsOrigins ===

impl CorsOrigins {
    /// `*` among the origins stands for every one of them.
    pub(crate) fn new(origins: &[String]) -> Self {
        Self {
            any: origins.iter().any(|origin| origin == "*"),
            named: origins
                .iter()
                .map(|origin| origin.trim_end_matches('/').to_owned())
                .collect(),
        }
    }

    /// What the page that sent `head` is granted, if it may read the standard door at all.
    pub(crate) fn grant(&self, head: &Parts) -> Option<Grant> {
        if Door::of(head.uri.path()) != Door::Standard {
            return None;
        }
        let reads = head.method == Method::GET || is_preflight(head);
        let origin = head.headers.get(header::ORIGIN)?;
        if !reads {
            return None;
        }
        if self.any {
            return Some(Grant {
                origin: HeaderValue::from_static("*"),
                varies: false,
            });
        }
        let named = origin.to_str().ok()?;
        self.named
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(named))
            .then(|| Grant {
                origin: origin.clone(),
                varies: true,
            })
    }

    /// Whether answers of the standard door differ by origin, so that caches must know.
    pub(crate) fn by_name(&self) -> bool {
        !self.any && !self.named.is_empty()
    }
}

/// Whether a browser asks for leave before the request proper.
pub(crate) fn is_preflight(head: &Parts) -> bool {
    head.method == Method::OPTIONS
        && head
            .headers
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

// === impl Grant ===

impl Grant {
    /// Adds the grant to an answer.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.origin);
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED),
        );
        if self.varies {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
    }

    /// The answer to a preflight.
    pub(crate) fn preflight(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, OPTIONS"),
        );
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("Authorization, Content-Type, If-None-Match"),
        );
        headers.insert(
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from_static(PREFLIGHT_AGE),
        );
        self.write(headers);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn asked(method: Method, path: &str, origin: &str) -> Parts {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::ORIGIN, origin)
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET")
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    fn named() -> CorsOrigins {
        CorsOrigins::new(&["https://ide.test/".to_owned()])
    }

    #[test]
    fn only_named_origins_read_only_the_standard_door() {
        let cors = named();
        let granted = |method: Method, path: &str, origin: &str| {
            cors.grant(&asked(method, path, origin)).is_some()
        };
        assert!(granted(Method::GET, "/v0.1/servers", "https://ide.test"));
        assert!(granted(
            Method::OPTIONS,
            "/v0.1/servers",
            "https://ide.test"
        ));
        assert!(!granted(Method::GET, "/v0.1/servers", "https://evil.test"));
        assert!(!granted(Method::POST, "/v0.1/servers", "https://ide.test"));
        assert!(!granted(
            Method::GET,
            "/api/v1beta/registry",
            "https://ide.test"
        ));
        assert!(!granted(
            Method::GET,
            "/registry/default/v0.1/servers",
            "https://ide.test"
        ));
    }

    #[test]
    fn a_named_origin_is_echoed_and_told_to_caches() {
        let grant = named()
            .grant(&asked(Method::GET, "/v0.1/servers", "https://ide.test"))
            .unwrap();
        let mut headers = HeaderMap::new();
        grant.write(&mut headers);
        assert_eq!(
            headers[header::ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://ide.test"
        );
        assert_eq!(headers[header::VARY], "Origin");
    }

    #[test]
    fn a_star_stands_for_every_origin() {
        let cors = CorsOrigins::new(&["*".to_owned()]);
        let grant = cors
            .grant(&asked(Method::OPTIONS, "/v0.1/servers", "https://any.test"))
            .unwrap();
        let response = grant.preflight();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!response.headers().contains_key(header::VARY));
    }

    #[test]
    fn without_origins_nothing_is_granted() {
        let cors = CorsOrigins::default();
        assert!(
            cors.grant(&asked(Method::GET, "/v0.1/servers", "https://ide.test"))
                .is_none()
        );
    }
}
