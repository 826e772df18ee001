//! W22: one classifier. The same condition of the source gives the same status and code on every route and in every command.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use serde_json::json;
use thv_testkit::binary::Server;
use thv_testkit::client::{Answer, Call};
use thv_testkit::fixture;
use thv_testkit::generate;
use thv_testkit::registry::{FakeRegistry, Fault, Rule};
use thv_testkit::wait::all;

const THV: &str = env!("CARGO_BIN_EXE_thv");

/// Every route that needs a catalog, on all three doors.
const ROUTES: [&str; 13] = [
    "/api/v1beta/registry",
    "/api/v1beta/registry/default",
    "/api/v1beta/registry/default/servers",
    "/api/v1beta/registry/default/servers/osv",
    "/registry/default/v0.1/servers",
    "/registry/default/v0.1/servers/osv/versions/latest",
    "/registry/default/v0.1/x/dev.toolhive/skills",
    "/registry/default/v0.1/x/dev.toolhive/skills/a/b",
    "/registry/default/v0.1/x/dev.toolhive/plugins",
    "/registry/default/v0.1/x/dev.toolhive/plugins/a/b",
    "/v0.1/servers",
    "/v0.1/servers/a%2Fb/versions",
    "/v0.1/servers/a%2Fb/versions/latest",
];

/// What every route has to say.
struct Expected {
    status: u16,
    code: &'static str,
    exit: i32,
}

const AUTH_REQUIRED: Expected = Expected {
    status: 503,
    code: "registry_auth_required",
    exit: 3,
};
const UNAVAILABLE: Expected = Expected {
    status: 503,
    code: "registry_unavailable",
    exit: 5,
};
const LEGACY: Expected = Expected {
    status: 502,
    code: "registry_legacy_format",
    exit: 1,
};

/// Asks every route and the forced refresh, then two commands.
async fn check(server: &Server, expected: &Expected, condition: &str, place: &str) {
    // Until the first load has come to something, the collection tells of the wait and not of its end.
    let _ = server.get("/v0.1/servers").await;
    let asked = ROUTES.iter().map(|route| {
        let call = Call::get(route).header("accept", "application/json");
        async move { (*route, call.to(server.address()).await) }
    });
    let mut failures = Vec::new();
    let mut judge = |route: &str, answer: &Answer| {
        if (answer.status, answer.code().as_str()) != (expected.status, expected.code) {
            failures.push(format!(
                "{route}: {} {}",
                answer.status,
                answer.text().trim_end()
            ));
        }
    };
    for (route, answer) in all(asked).await {
        judge(route, &answer);
        if expected.code == "registry_unavailable"
            && answer.code() == expected.code
            && !place.is_empty()
        {
            let message = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(
                message.contains(&format!("upstream registry at {place}"))
                    && message.contains(" is unavailable: "),
                "{message}"
            );
        }
    }
    let refresh = server
        .post("/api/v1beta/registry/default/refresh", &json!({}))
        .await;
    judge("POST refresh", &refresh);
    assert!(
        failures.is_empty(),
        "{condition}: expected {} {} from\n  {}",
        expected.status,
        expected.code,
        failures.join("\n  ")
    );

    assert_eq!(
        server.get("/health").await.status,
        204,
        "{condition}: health does not depend on the registry"
    );
    for command in [
        &["registry", "list"][..],
        &["search", "osv"],
        &["registry", "info", "osv"],
    ] {
        let ran = server.cli(command).await;
        assert_eq!(
            ran.code, expected.exit,
            "{condition}: thv {command:?}: {ran:?}"
        );
        assert!(ran.stderr.starts_with("Error: "), "{condition}: {ran:?}");
        assert_eq!(ran.stdout, "", "{condition}");
    }
}

async fn over_broken_api(fault: Fault) -> (FakeRegistry, Server) {
    let registry = FakeRegistry::with_servers(20).await;
    registry.set_extensions(generate::skills(2, 1), generate::plugins(2, 1));
    registry.break_all(fault);
    let server = Server::in_new_home(THV, |home| home.use_api(&registry.url())).await;
    (registry, server)
}

#[tokio::test]
async fn w22_api_with_401_and_403_asks_for_a_login_on_every_route() {
    for status in [401, 403] {
        let (_registry, server) = over_broken_api(Fault::Status(status)).await;
        check(&server, &AUTH_REQUIRED, &format!("api, {status}"), "").await;
        let answer = server.get("/api/v1beta/registry/default/servers").await;
        let body = answer.json();
        assert_eq!(body["code"], "registry_auth_required");
        assert_eq!(
            body["message"],
            "Registry authentication required. POST to /api/v1beta/registry/auth/login to authenticate."
        );
        assert_eq!(body["reason"], "login_not_configured");
        assert!(
            !server.stderr().contains("registry authentication required"),
            "the desktop client takes these words on stderr for a failed start: {}",
            server.stderr()
        );
    }
}

#[tokio::test]
async fn w22_api_with_404_is_unavailable_and_not_an_absence() {
    let (registry, server) = over_broken_api(Fault::Status(404)).await;
    check(&server, &UNAVAILABLE, "api, 404", &registry.url()).await;
}

#[tokio::test]
async fn w22_api_with_500_is_unavailable_on_every_route() {
    let (registry, server) = over_broken_api(Fault::Status(500)).await;
    check(&server, &UNAVAILABLE, "api, 500", &registry.url()).await;
}

#[tokio::test]
async fn f27_a_wrong_address_of_an_api_is_told_and_is_no_server_error() {
    let registry = FakeRegistry::start().await;
    registry.put_document_as("/", "text/html", "<!doctype html><title>A site</title>");
    let wrong = registry.at("/elsewhere");
    let server = Server::in_new_home(THV, |home| home.use_api(&wrong)).await;
    check(&server, &UNAVAILABLE, "api, a wrong address", &wrong).await;
}

#[tokio::test]
async fn w22_api_that_refuses_connections_is_unavailable_on_every_route() {
    let registry = FakeRegistry::with_servers(3).await;
    registry.refuse().await;
    let server = Server::in_new_home(THV, |home| home.use_api(&registry.url())).await;
    check(&server, &UNAVAILABLE, "api, refused", &registry.url()).await;
}

#[tokio::test]
async fn w22_api_that_cuts_its_answers_is_unavailable_on_every_route() {
    let (registry, server) = over_broken_api(Fault::CutBody).await;
    check(&server, &UNAVAILABLE, "api, cut", &registry.url()).await;
}

#[tokio::test]
async fn w22_api_with_bad_json_is_unavailable_on_every_route() {
    for (fault, name) in [(Fault::BadJson, "bad JSON"), (Fault::Html, "HTML")] {
        let (registry, server) = over_broken_api(fault).await;
        check(
            &server,
            &UNAVAILABLE,
            &format!("api, {name}"),
            &registry.url(),
        )
        .await;
    }
}

#[tokio::test]
async fn w22_api_with_a_legacy_document_says_so_on_every_route() {
    let (_registry, server) = over_broken_api(Fault::Legacy).await;
    check(&server, &LEGACY, "api, legacy", "").await;
}

#[tokio::test]
async fn w22_api_that_never_answers_is_unavailable_on_every_route_within_the_readers_patience() {
    let (_registry, server) = over_broken_api(Fault::Hang).await;
    let asked = ROUTES.iter().map(|route| {
        let call = Call::get(route).header("accept", "application/json");
        let address = server.address().clone();
        async move { (*route, call.to(&address).await) }
    });
    let started = std::time::Instant::now();
    for (route, answer) in all(asked).await {
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "registry_unavailable"),
            "{route}: {answer:?}"
        );
    }
    assert!(started.elapsed().as_secs() < 20, "nobody waits for ever");
}

#[tokio::test]
async fn w22_url_sources_are_classified_like_api_sources() {
    let registry = FakeRegistry::start().await;
    let document = fixture::registry_document(fixture::every_kind());
    for (fault, expected, name) in [
        (Some(Fault::Status(500)), UNAVAILABLE, "500"),
        (Some(Fault::Status(404)), UNAVAILABLE, "404"),
        (Some(Fault::BadJson), UNAVAILABLE, "bad JSON"),
        (Some(Fault::CutBody), UNAVAILABLE, "cut"),
        (Some(Fault::Legacy), LEGACY, "legacy"),
        (None, UNAVAILABLE, "refused"),
    ] {
        registry.put_document("/registry.json", document.clone());
        match fault {
            Some(fault) => registry.break_with(Rule::always(fault)),
            None => registry.refuse().await,
        }
        let url = registry.at("/registry.json");
        let server = Server::in_new_home(THV, |home| home.use_url(&url)).await;
        check(&server, &expected, &format!("url, {name}"), "").await;
        registry.heal();
    }
}

#[tokio::test]
async fn w22_file_sources_are_classified_like_the_others() {
    let broken = r#"{"version":"1.0.0","data":{"servers":[{"na"#;
    for (content, expected, name) in [
        (None, UNAVAILABLE, "missing"),
        (Some(broken.to_owned()), UNAVAILABLE, "bad JSON"),
        (Some(String::new()), UNAVAILABLE, "empty"),
        (Some(fixture::legacy_document()), LEGACY, "legacy"),
    ] {
        let server = Server::in_new_home(THV, |home| {
            let path = home.join("registry.json");
            if let Some(content) = &content {
                home.write("registry.json", content);
            }
            home.use_file(&path);
        })
        .await;
        check(&server, &expected, &format!("file, {name}"), "").await;
    }
}

#[tokio::test]
async fn f25_a_legacy_file_is_never_an_empty_registry() {
    let server = Server::in_new_home(THV, |home| {
        home.use_document(&fixture::legacy_document());
    })
    .await;
    let answer = server.get("/api/v1beta/registry/default/servers").await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(
        answer.json()["message"],
        "registry file appears to be in the legacy ToolHive format; run `thv registry convert --in <path> --in-place` to \
         migrate to the upstream MCP format"
    );
}

#[tokio::test]
async fn f26_a_legacy_url_is_named_in_the_message() {
    let registry = FakeRegistry::start().await;
    registry.put_document("/registry.json", fixture::legacy_document());
    let url = registry.at("/registry.json");
    let server = Server::in_new_home(THV, |home| home.use_url(&url)).await;
    let message = server.get("/registry/default/v0.1/servers").await.json()["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        message.starts_with(&format!("registry at {url}: ")),
        "{message}"
    );
    assert!(message.contains("thv registry convert"), "{message}");
}

#[tokio::test]
async fn f30_an_absence_confirmed_by_a_working_registry_is_404() {
    let registry = FakeRegistry::with_servers(5).await;
    let server = Server::in_new_home(THV, |home| home.use_api(&registry.url())).await;
    for route in [
        "/api/v1beta/registry/default/servers/nobody",
        "/registry/default/v0.1/servers/nobody/versions/latest",
        "/registry/default/v0.1/x/dev.toolhive/skills/a/b",
        "/registry/default/v0.1/x/dev.toolhive/plugins/a/b",
        "/v0.1/servers/a%2Fb/versions",
        "/v0.1/servers/a%2Fb/versions/latest",
    ] {
        assert_eq!(server.get(route).await.status, 404, "{route}");
    }
}

#[tokio::test]
async fn an_upstream_without_the_extension_has_no_skills_and_no_plugins() {
    let registry = FakeRegistry::with_servers(5).await;
    let server = Server::in_new_home(THV, |home| home.use_api(&registry.url())).await;
    for kind in ["skills", "plugins"] {
        let answer = server
            .get(&format!("/registry/default/v0.1/x/dev.toolhive/{kind}"))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(
            answer.json(),
            json!({kind: [], "metadata": {"total": 0, "page": 1, "limit": 50}})
        );
    }
}

#[tokio::test]
async fn f10_the_server_starts_whatever_the_registry_does() {
    for fault in [Fault::Status(401), Fault::Hang, Fault::Status(500)] {
        let (_registry, server) = over_broken_api(fault.clone()).await;
        let started = std::time::Instant::now();
        assert_eq!(server.get("/health").await.status, 204, "{fault:?}");
        assert_eq!(
            server.get("/api/v1beta/version").await.status,
            200,
            "{fault:?}"
        );
        assert!(
            started.elapsed().as_secs() < 15,
            "{fault:?} delays nothing else"
        );
    }
}
