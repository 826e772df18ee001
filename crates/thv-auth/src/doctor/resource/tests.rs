//! Documents by hand, read as a login reads them, and what is said of them.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use serde_json::{Value, json};
use thv_http::HttpError;
use url::Url;

use super::super::check::Outcome;
use super::super::host::tests::reply;
use super::*;
use crate::oauth::resource::{Resource, read};

const REGISTRY: &str = "https://r.example/mcp";
const PLACE: &str = "https://r.example/.well-known/oauth-protected-resource/mcp";
const OF_US: &str = "https://id.example";

fn honest() -> Value {
    json!({
        "resource": REGISTRY,
        "authorization_servers": [OF_US],
        "scopes_supported": ["registry:read", "registry:write"],
    })
}

fn login() -> Binding {
    let mut binding = Binding::new(REGISTRY, OF_US, "thv-cli").expect("a binding");
    binding.resource = Some(REGISTRY.to_owned());
    binding.scopes = ["openid", "registry:read"].map(str::to_owned).to_vec();
    binding
}

/// As for a login that somebody has configured.
fn by_hand() -> Held {
    Held {
        strict: false,
        relaxed: [Relaxation::ResourceParentPath].into(),
    }
}

fn challenge(field: &str) -> BearerChallenge {
    let field = field.parse().expect("a field");
    BearerChallenge::of(&HeaderMap::from_iter([(WWW_AUTHENTICATE, field)])).unwrap_or_default()
}

/// `document` at the well-known place of the registry, behind `challenge`.
fn sight_of(document: &Value, challenge: BearerChallenge) -> ResourceSight {
    let place = Url::parse(PLACE).expect("a url");
    let mut answer = reply(
        200,
        &[("content-type", "application/json")],
        &document.to_string(),
    );
    answer.url = place.clone();
    let url = Url::parse(REGISTRY).expect("a url");
    let resource = Resource {
        url: &url,
        configured: REGISTRY,
        allow_private_ip: false,
    };
    let relaxations = Relaxations::from([Relaxation::ResourceParentPath]);
    let found = read(&answer, &resource, &place, &relaxations);
    ResourceSight {
        configured: REGISTRY.to_owned(),
        challenge,
        found: found.map_err(|fault| ResourceError {
            attempts: vec![(PLACE.to_owned(), fault)],
        }),
    }
}

fn none(faults: impl IntoIterator<Item = ResourceFault>) -> ResourceSight {
    ResourceSight {
        configured: REGISTRY.to_owned(),
        challenge: BearerChallenge::default(),
        found: Err(ResourceError {
            attempts: faults
                .into_iter()
                .map(|fault| (PLACE.to_owned(), fault))
                .collect(),
        }),
    }
}

fn of(document: &Value) -> Vec<Check> {
    let sight = sight_of(document, challenge("Bearer"));
    judge(&sight, Wanted::Login(&login(), &by_hand()))
}

fn outcomes(checks: &[Check]) -> Vec<Outcome> {
    checks.iter().map(|check| check.outcome).collect()
}

#[test]
fn a_registry_that_says_what_is_configured_is_ok_and_told_from_where() {
    let checks = of(&honest());
    assert_eq!(outcomes(&checks), [Outcome::Ok; 3], "{checks:#?}");
    let ids: Vec<_> = checks.iter().map(|check| check.id).collect();
    assert_eq!(ids, [METADATA, ISSUER, SCOPES]);
    assert!(checks[0].evidence.contains(PLACE), "{checks:#?}");
    assert!(checks[1].evidence.contains("byte by byte"), "{checks:#?}");
}

#[test]
fn a_document_about_something_else_is_told_with_both_texts_and_the_place_of_the_difference() {
    for (named, from) in [
        ("https://r.example/mcp2", "byte 22"),
        ("https://evil.example/mcp", "byte 9"),
    ] {
        let mut document = honest();
        document["resource"] = json!(named);
        let checks = of(&document);
        assert_eq!(
            outcomes(&checks),
            [Outcome::Warning, Outcome::Skipped, Outcome::Skipped],
            "{checks:#?}"
        );
        let Check { evidence, fix, .. } = &checks[0];
        for part in [REGISTRY, named, from] {
            assert!(evidence.contains(part), "{part} in {evidence}");
        }
        let typed = format!("thv registry login --registry {named}");
        let is_here = named.starts_with("https://r.example/");
        assert_eq!(fix.as_deref().unwrap().contains(&typed), is_here, "{fix:?}");
        let sight = sight_of(&document, challenge("Bearer"));
        let checks = judge(&sight, Wanted::Nothing);
        assert_eq!(checks[0].outcome, Outcome::Failed, "no login can be found");
        let strict = Held {
            strict: true,
            relaxed: Relaxations::new(),
        };
        let login = login();
        let checks = judge(&sight, Wanted::Login(&login, &strict));
        assert_eq!(checks[0].outcome, Outcome::Failed, "none would be made");
    }
    for (named, from) in [
        ("https://r.example", "byte 18"),
        ("https://r.example/mcp/", "byte 22"),
        ("https://R.example/mcp", "byte 9"),
    ] {
        let mut document = honest();
        document["resource"] = json!(named);
        let Check {
            outcome, evidence, ..
        } = &of(&document)[0];
        assert_eq!(*outcome, Outcome::Warning, "{evidence}");
        for part in [from, "allow_resource_parent_path"] {
            assert!(evidence.contains(part), "{part} in {evidence}");
        }
    }
}

#[test]
fn a_token_for_another_resource_than_the_registry_is_named() {
    let mut binding = login();
    binding.resource = Some("api://registry".to_owned());
    let sight = sight_of(&honest(), challenge("Bearer"));
    let relaxed = Held::default();
    let check = &judge(&sight, Wanted::Login(&binding, &relaxed))[0];
    assert_eq!(check.outcome, Outcome::Warning, "{check:?}");
    assert!(check.evidence.contains("api://registry"), "{check:?}");
    let fix = format!("thv registry login --audience {REGISTRY}");
    assert_eq!(check.fix.as_deref(), Some(fix.as_str()));
    // Nobody who configures a login by hand has to ask for a resource.
    binding.resource = None;
    let check = &judge(&sight, Wanted::Login(&binding, &relaxed))[0];
    assert_eq!(check.outcome, Outcome::Ok, "{check:?}");
}

#[test]
fn a_pointer_that_is_not_followed_is_named() {
    let elsewhere = challenge("Bearer resource_metadata=\"https://evil.example/x?secret=1\"");
    let sight = sight_of(&honest(), elsewhere);
    let check = &judge(&sight, Wanted::Credential)[0];
    assert_eq!(check.outcome, Outcome::Warning, "{check:?}");
    assert!(check.evidence.contains("https://evil.example/x?…"));
    let there = challenge(&format!("Bearer resource_metadata=\"{PLACE}\""));
    let check = &judge(&sight_of(&honest(), there), Wanted::Credential)[0];
    assert_eq!(check.outcome, Outcome::Ok, "{check:?}");
}

#[test]
fn the_configured_issuer_is_looked_for_byte_by_byte() {
    let login = login();
    for (listed, relaxed, outcome, words) in [
        (json!([OF_US]), false, Outcome::Ok, "byte by byte"),
        (
            json!(["https://other.example", OF_US]),
            false,
            Outcome::Ok,
            "byte by byte",
        ),
        (json!([]), false, Outcome::Ok, "names no issuer"),
        (
            json!(["https://id.example/"]),
            false,
            Outcome::Warning,
            "issuer_root_slash",
        ),
        (
            json!(["https://id.example:443"]),
            false,
            Outcome::Failed,
            "byte 19",
        ),
        (
            json!(["https://ID.example"]),
            false,
            Outcome::Failed,
            "byte 9",
        ),
        (
            json!(["https://a.example", "https://b.example"]),
            false,
            Outcome::Failed,
            "`https://a.example`, `https://b.example`",
        ),
        (
            json!(["https://a.example"]),
            true,
            Outcome::Warning,
            "allow_unlisted_issuer",
        ),
    ] {
        let mut document = honest();
        document["authorization_servers"] = listed.clone();
        let relaxed = Held {
            strict: false,
            relaxed: relaxed
                .then_some(Relaxation::UnlistedIssuer)
                .into_iter()
                .collect(),
        };
        let sight = sight_of(&document, challenge("Bearer"));
        let check = &judge(&sight, Wanted::Login(&login, &relaxed))[1];
        assert_eq!(check.outcome, outcome, "{listed}: {check:?}");
        assert!(check.evidence.contains(words), "{listed}: {check:?}");
        assert_eq!(check.fix.is_some(), outcome > Outcome::Ok, "{check:?}");
    }
    let sight = sight_of(&honest(), challenge("Bearer"));
    let check = &judge(&sight, Wanted::Nothing)[1];
    assert!(check.evidence.contains(OF_US), "{check:?}");
    assert_eq!(
        judge(&sight, Wanted::Credential)[1].outcome,
        Outcome::Skipped
    );
}

#[test]
fn scopes_of_the_challenge_are_all_wanted_and_of_the_metadata_one() {
    let login = login();
    for (field, listed, outcome, typed) in [
        ("Bearer", json!(["registry:read"]), Outcome::Ok, None),
        ("Bearer", json!(["a", "registry:read"]), Outcome::Ok, None),
        ("Bearer", json!([]), Outcome::Skipped, None),
        (
            "Bearer",
            json!(["a", "b"]),
            Outcome::Warning,
            Some("openid,registry:read,a,b"),
        ),
        (
            "Bearer scope=\"registry:read\"",
            json!(["a"]),
            Outcome::Ok,
            None,
        ),
        (
            "Bearer scope=\"registry:read x\"",
            json!(["registry:read"]),
            Outcome::Warning,
            Some("openid,registry:read,x"),
        ),
        // What a shell reads more into is not put into a command.
        (
            "Bearer scope=\"$(reboot)\"",
            json!([]),
            Outcome::Warning,
            Some("SCOPES"),
        ),
    ] {
        let mut document = honest();
        document["scopes_supported"] = listed;
        let sight = sight_of(&document, challenge(field));
        let check = &judge(&sight, Wanted::Login(&login, &Held::default()))[2];
        assert_eq!(check.outcome, outcome, "{field}: {check:?}");
        let fix = typed.map(|scopes| format!("thv registry login --scopes {scopes}"));
        assert_eq!(check.fix, fix, "{field}");
    }
}

#[test]
fn no_document_is_no_failure_where_a_login_is_configured() {
    let absent = none([ResourceFault::Status(404), ResourceFault::Status(410)]);
    let (login, relaxed) = (login(), by_hand());
    let configured = Wanted::Login(&login, &relaxed);
    for (wanted, outcome) in [
        (configured, Outcome::Ok),
        (Wanted::Credential, Outcome::Ok),
        (Wanted::Nothing, Outcome::Warning),
    ] {
        let checks = judge(&absent, wanted);
        assert_eq!(checks[0].outcome, outcome, "{checks:?}");
        assert!(checks[0].evidence.contains(PLACE), "{checks:?}");
        assert_eq!(checks[1].outcome, Outcome::Skipped);
    }
    assert!(judge(&absent, configured)[0].evidence.contains("by hand"));
    let down = none([ResourceFault::Http(HttpError::Dns {
        host: "r.example".to_owned(),
        cause: "no such name".to_owned(),
    })]);
    assert_eq!(judge(&down, configured)[0].outcome, Outcome::Skipped);
    let broken = none([ResourceFault::NoHeaderMethod]);
    assert_eq!(judge(&broken, configured)[0].outcome, Outcome::Warning);
    assert_eq!(judge(&broken, Wanted::Nothing)[0].outcome, Outcome::Failed);
}
