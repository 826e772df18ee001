//! What a registry says of itself to those who want in: protected-resource metadata (RFC 9728).
//!
//! [`discover_resource`] looks in the places that the standard names and takes the first document that is about this registry
//! and no other. Which of the authorization servers in it is used is decided in `bare_url`; none of them is contacted here.

use std::time::Duration;

use http::StatusCode;
use thv_http::{Http, HttpError, Limits, Policy, Redirects, Reply, Request};
use url::Url;

use crate::oauth::answer::shown;
use crate::oauth::challenge::is_scope;
use crate::oauth::issuer::is_same_issuer;
use crate::oauth::json::Members;
use crate::relaxation::{Relaxation, Relaxations};

/// The name of the document below `/.well-known` (RFC 9728 section 3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// What one document may cost in time. A person or the start of a program waits for it.
const TOTAL: Duration = Duration::from_secs(5);

/// Most authorization servers, and most scopes, that are read from one document.
const LIST_MAX: usize = 32;

/// The registry whose metadata are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource<'r> {
    /// Its URL.
    pub url: &'r Url,
    /// The same, as a person typed it.
    pub configured: &'r str,
    /// Whether it may have a private address.
    pub allow_private_ip: bool,
}

/// A document that is about the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceMetadata {
    /// The registry's identifier in the document's own spelling: what `resource` is (RFC 8707).
    pub resource: String,
    /// Issuers of the authorization servers whose tokens the registry takes; may be empty.
    pub authorization_servers: Vec<String>,
    /// The scopes that it lists, if it does.
    pub scopes_supported: Option<Vec<String>>,
    /// Where the document is.
    pub url: Url,
    /// What had to be conceded.
    pub relaxed: Relaxations,
}

/// Why a registry's metadata are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", shown_attempts(.attempts))]
pub struct ResourceError {
    /// What was tried, in order.
    pub attempts: Vec<(String, ResourceFault)>,
}

/// Why one document could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceFault {
    /// The address that the registry gave must not be asked.
    #[error("it is not on the registry's own origin")]
    Elsewhere,
    /// No answer came.
    #[error("{0}")]
    Http(#[from] HttpError),
    /// An answer other than 200.
    #[error("the answer has status {0}")]
    Status(u16),
    /// An answer that is no usable JSON document.
    #[error("the document cannot be used: {cause}")]
    Document {
        /// What is wrong with it.
        cause: String,
    },
    /// The document is about something else (RFC 9728 section 3.3).
    #[error("the document is about `{found}` and not about `{expected}`")]
    OtherResource {
        /// The registry.
        expected: String,
        /// What the document names.
        found: String,
    },
    /// The registry takes tokens in no way that is safe to use (RFC 9728 section 2, `bearer_methods_supported`).
    #[error("the registry takes no bearer tokens in the Authorization header")]
    NoHeaderMethod,
}

impl ResourceMetadata {
    /// Whether `issuer` is one of the registry's.
    pub fn names(&self, issuer: &str) -> bool {
        let mut listed = self.authorization_servers.iter();
        listed.any(|listed| is_same_issuer(issuer, listed))
    }
}

impl ResourceError {
    /// Whether trying again later can help.
    pub fn is_transient(&self) -> bool {
        self.attempts.iter().any(|(_, fault)| match fault {
            ResourceFault::Http(error) => error.is_unreachable(),
            ResourceFault::Status(status) => *status >= 500 || matches!(status, 408 | 425 | 429),
            _ => false,
        })
    }

    /// Whether a document was there and must not be used.
    pub fn breaks_a_rule(&self) -> bool {
        self.attempts.iter().any(|(_, fault)| {
            matches!(
                fault,
                ResourceFault::OtherResource { .. }
                    | ResourceFault::NoHeaderMethod
                    | ResourceFault::Document { .. }
            )
        })
    }

    /// Whether there was simply no document anywhere.
    pub fn is_absent(&self) -> bool {
        self.attempts
            .iter()
            .all(|(_, fault)| matches!(fault, ResourceFault::Status(404 | 410)))
    }
}

/// Looks for the metadata of `resource`: where its challenge points (`pointers`), then at the well-known places with the path
/// inserted and without (RFC 9728 section 3.1). An address that leads to another origin is not asked.
pub async fn discover_resource(
    http: &Http,
    resource: &Resource<'_>,
    pointers: &[String],
    relaxations: &Relaxations,
) -> Result<ResourceMetadata, ResourceError> {
    let mut attempts = Vec::new();
    let mut places: Vec<Url> = Vec::new();
    for pointer in pointers {
        match checked_pointer(pointer, resource.url) {
            Some(url) if !places.contains(&url) => places.push(url),
            Some(_) => {}
            None => {
                let shown = shown(pointer, 200).unwrap_or_default();
                tracing::warn!(
                    pointer = shown,
                    "a registry's `resource_metadata` is not followed"
                );
                attempts.push((shown, ResourceFault::Elsewhere));
            }
        }
    }
    for place in well_known(resource.url) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    for place in places {
        match fetch(http, resource, &place, relaxations).await {
            Ok(metadata) => return Ok(metadata),
            Err(fault) => {
                tracing::debug!(url = %place, %fault, "no resource metadata here");
                let is_out_of_reach =
                    matches!(&fault, ResourceFault::Http(error) if error.is_unreachable());
                attempts.push((place.into(), fault));
                if is_out_of_reach {
                    break;
                }
            }
        }
    }
    Err(ResourceError { attempts })
}

/// Fetches the document at `place`, which has to be on the registry's origin.
pub async fn fetch(
    http: &Http,
    resource: &Resource<'_>,
    place: &Url,
    relaxations: &Relaxations,
) -> Result<ResourceMetadata, ResourceFault> {
    if place.origin() != resource.url.origin() {
        return Err(ResourceFault::Elsewhere);
    }
    let request = Request::get(place.clone())
        .header(
            http::header::ACCEPT,
            http::HeaderValue::from_static("application/json"),
        )
        .policy(Policy::for_registry(resource.allow_private_ip).with_redirects(Redirects::SameHost))
        .limits(Limits::PROBE.with_total(TOTAL));
    let reply = http.send(request).await?;
    read(&reply, resource, place, relaxations)
}

/// The well-known places, path inserted first.
fn well_known(resource: &Url) -> Vec<Url> {
    let path = resource.path().trim_end_matches('/');
    let at = |path: &str| {
        let mut url = resource.clone();
        url.set_path(path);
        url.set_query(None);
        url.set_fragment(None);
        url
    };
    let mut places = Vec::new();
    if !path.is_empty() {
        places.push(at(&format!("{WELL_KNOWN}{path}")));
    }
    places.push(at(WELL_KNOWN));
    places
}

/// The address in a challenge, where it is one on the registry's own origin. A registry that could send us elsewhere could make
/// us ask hosts for it.
fn checked_pointer(pointer: &str, resource: &Url) -> Option<Url> {
    let url = Url::parse(pointer).ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none();
    let is_web = matches!(url.scheme(), "http" | "https");
    (is_plain && is_web && url.fragment().is_none() && url.origin() == resource.origin())
        .then_some(url)
}

fn read(
    reply: &Reply,
    resource: &Resource<'_>,
    place: &Url,
    relaxations: &Relaxations,
) -> Result<ResourceMetadata, ResourceFault> {
    if reply.url.origin() != resource.url.origin() {
        return Err(ResourceFault::Elsewhere);
    }
    if reply.status != StatusCode::OK {
        return Err(ResourceFault::Status(reply.status.as_u16()));
    }
    let document = |cause: String| ResourceFault::Document { cause };
    let members = Members::of(reply).map_err(document)?;
    let texts = |member| {
        members
            .texts(member)
            .map_err(|fault| document(fault.to_string()))
    };
    let named = members
        .text("resource")
        .map_err(|fault| document(fault.to_string()))?
        .ok_or_else(|| document("it names no `resource`".to_owned()))?;
    let relaxed = check_resource(&named, resource, relaxations)?;
    let methods = texts("bearer_methods_supported")?;
    if methods.is_some_and(|methods| !methods.iter().any(|method| method == "header")) {
        return Err(ResourceFault::NoHeaderMethod);
    }
    let mut authorization_servers = texts("authorization_servers")?.unwrap_or_default();
    authorization_servers.truncate(LIST_MAX);
    let scopes_supported = texts("scopes_supported")?.map(|scopes| {
        let good = scopes.into_iter().filter(|scope| is_scope(scope));
        good.take(LIST_MAX).collect()
    });
    Ok(ResourceMetadata {
        resource: named,
        authorization_servers,
        scopes_supported,
        url: place.clone(),
        relaxed,
    })
}

/// Whether a document that names `named` is about the registry: the same text, but for a slash where the registry's URL has no
/// path, and but for one that a person typed behind it.
fn check_resource(
    named: &str,
    resource: &Resource<'_>,
    relaxations: &Relaxations,
) -> Result<Relaxations, ResourceFault> {
    let is_bare_host = resource.url.path() == "/";
    let same = [resource.configured, resource.url.as_str()]
        .into_iter()
        .any(|ours| {
            let bare = ours.strip_suffix('/').unwrap_or(ours);
            named == ours
                || named == bare
                || (is_bare_host && named.strip_suffix('/') == Some(bare))
        });
    if same {
        return Ok(Relaxations::new());
    }
    if relaxations.contains(&Relaxation::ResourceParentPath) && is_parent(named, resource.url) {
        return Ok(Relaxations::from([Relaxation::ResourceParentPath]));
    }
    Err(ResourceFault::OtherResource {
        expected: resource.configured.to_owned(),
        found: shown(named, 200).unwrap_or_default(),
    })
}

/// Whether `named` is the same origin with a path that leads to the registry's.
fn is_parent(named: &str, registry: &Url) -> bool {
    let Ok(url) = Url::parse(named) else {
        return false;
    };
    let parent = url.path().trim_end_matches('/');
    let below = registry.path().strip_prefix(parent);
    url.origin() == registry.origin()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
        && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn shown_attempts(attempts: &[(String, ResourceFault)]) -> String {
    let shown: Vec<String> = attempts
        .iter()
        .map(|(url, fault)| format!("at {url}: {fault}"))
        .collect();
    shown.join("; ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect(text)
    }

    fn about(named: &str, configured: &str, relaxed: bool) -> bool {
        let url = url(configured);
        let resource = Resource {
            url: &url,
            configured,
            allow_private_ip: false,
        };
        let relaxations = relaxed
            .then_some(Relaxation::ResourceParentPath)
            .into_iter()
            .collect();
        check_resource(named, &resource, &relaxations).is_ok()
    }

    #[test]
    fn case_03_only_a_document_about_this_very_registry_is_used() {
        for (named, configured) in [
            ("https://r.example", "https://r.example"),
            ("https://r.example/", "https://r.example"),
            ("https://r.example", "https://r.example/"),
            ("https://r.example/a", "https://r.example/a"),
            ("https://r.example/a", "https://r.example/a/"),
            ("https://r.example", "https://R.example"),
        ] {
            assert!(about(named, configured, false), "{named} {configured}");
        }
        for (named, configured) in [
            ("https://r.example/a/", "https://r.example/a"),
            ("https://r.example//", "https://r.example"),
            ("https://r.example", "https://r.example/a"),
            ("https://r.example/b", "https://r.example/a"),
            ("https://r.example/a/b", "https://r.example/a"),
            ("https://r.example:443", "https://r.example"),
            ("https://r.example:8443", "https://r.example"),
            ("https://other.example", "https://r.example"),
            ("https://r.example.", "https://r.example"),
            ("http://r.example", "https://r.example"),
            ("https://r.example?x", "https://r.example"),
            ("https://r.example#x", "https://r.example"),
            ("https://R.example", "https://r.example"),
            ("", "https://r.example"),
        ] {
            assert!(!about(named, configured, false), "{named} {configured}");
        }
    }

    #[test]
    fn a_parent_path_is_taken_only_where_that_was_relaxed() {
        for (named, configured, taken) in [
            ("https://r.example", "https://r.example/a/b", true),
            ("https://r.example/a", "https://r.example/a/b", true),
            ("https://r.example/a/", "https://r.example/a/b", true),
            ("https://r.example/a", "https://r.example/ab", false),
            ("https://r.example/a/b/c", "https://r.example/a/b", false),
            ("https://other.example", "https://r.example/a", false),
            ("http://r.example", "https://r.example/a", false),
            ("https://me@r.example", "https://r.example/a", false),
            ("https://r.example?x", "https://r.example/a", false),
        ] {
            assert!(!about(named, configured, false), "{named} {configured}");
            assert_eq!(
                about(named, configured, true),
                taken,
                "{named} {configured}"
            );
        }
    }

    #[test]
    fn case_04_pointers_to_elsewhere_are_not_followed() {
        let registry = url("https://r.example/a");
        assert!(checked_pointer("https://r.example/x?y", &registry).is_some());
        for bad in [
            "https://evil.example/x",
            "http://r.example/x",
            "https://r.example:8443/x",
            "https://me:pw@r.example/x",
            "https://r.example/x#y",
            "file:///etc/passwd",
            "data:application/json,{}",
            "javascript:alert(1)",
            "//r.example/x",
            "/x",
            "",
        ] {
            assert_eq!(checked_pointer(bad, &registry), None, "{bad}");
        }
    }

    #[test]
    fn documents_are_looked_for_in_order() {
        let places = |text: &str| -> Vec<String> {
            well_known(&url(text)).into_iter().map(Into::into).collect()
        };
        assert_eq!(
            places("https://r.example/a/b/?q=1"),
            [
                "https://r.example/.well-known/oauth-protected-resource/a/b",
                "https://r.example/.well-known/oauth-protected-resource",
            ]
        );
        assert_eq!(
            places("https://r.example"),
            ["https://r.example/.well-known/oauth-protected-resource"]
        );
    }

    fn read_text(body: &str) -> Result<ResourceMetadata, ResourceFault> {
        let registry = url("https://r.example");
        let mut headers = http::HeaderMap::new();
        headers.insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/json"),
        );
        let reply = Reply {
            status: StatusCode::OK,
            headers,
            body: body.to_owned().into_bytes().into(),
            url: registry.clone(),
        };
        let resource = Resource {
            url: &registry,
            configured: "https://r.example",
            allow_private_ip: false,
        };
        read(&reply, &resource, &registry, &Relaxations::new())
    }

    #[test]
    fn documents_are_read_or_refused() {
        let metadata = read_text(
            r#"{"resource":"https://r.example","authorization_servers":["https://a.example"],"scopes_supported":["x","bad scope"],"bearer_methods_supported":["body","header"],"resource_name":"R"}"#,
        )
        .expect("metadata");
        assert_eq!(metadata.authorization_servers, ["https://a.example"]);
        assert_eq!(metadata.scopes_supported, Some(vec!["x".to_owned()]));
        for body in [
            "",
            "[]",
            "{}",
            r#"{"resource":["https://r.example"]}"#,
            r#"{"resource":"https://r.example","resource":"https://r.example"}"#,
            r#"{"resource":"https://r.example","authorization_servers":"https://a.example"}"#,
            r#"{"resource":"https://r.example","bearer_methods_supported":["query"]}"#,
            r#"{"resource":"https://r.example","bearer_methods_supported":[]}"#,
        ] {
            assert!(read_text(body).is_err(), "{body}");
        }
        let bare = read_text(r#"{"resource":"https://r.example/"}"#).expect("metadata");
        assert!(bare.authorization_servers.is_empty());
        assert_eq!(bare.resource, "https://r.example/");
    }

    proptest! {
        #[test]
        fn no_document_panics(body in ".{0,200}", named in ".{0,60}") {
            let _ = read_text(&body);
            let _ = about(&named, "https://r.example/a", true);
            let _ = checked_pointer(&named, &url("https://r.example/a"));
        }

        #[test]
        fn a_document_about_another_origin_is_never_used(named in "https?://[a-z.:0-9]{1,12}(/[a-z/]{0,6})?") {
            if about(&named, "https://r.example/a", true) {
                prop_assert_eq!(url(&named).origin(), url("https://r.example").origin());
            }
        }
    }
}
