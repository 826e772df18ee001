//! The desktop client's door, over a registry in a file.

mod common;

use common::{CATALOG, House, house, house_of, house_with, options};
use http::Method;

async fn post(house: &House, target: &str) -> common::Answer {
    house.call(Method::POST, target, "").await
}

#[tokio::test]
async fn health_names_the_run_and_has_no_body() {
    let mut options = options();
    let nonce = thv_api::Nonce::random().unwrap();
    options.nonce = Some(nonce.clone());
    let house = house_with(CATALOG, options).await;
    for path in ["/health", "/health/"] {
        let answer = house.get(path).await;
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("x-toolhive-nonce"), Some(nonce.as_str()));
        assert_eq!(answer.header("content-type"), None);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(
            answer.header("cross-origin-resource-policy"),
            Some("same-origin")
        );
        assert!(answer.body.is_empty());
    }
}

#[tokio::test]
async fn w42_health_and_registries_need_no_container_engine() {
    let house = house().await;
    assert_eq!(house.get("/health").await.status, 204);
    assert_eq!(house.get("/api/v1beta/registry").await.status, 200);
}

#[tokio::test]
async fn the_version_is_told() {
    let answer = house().await.get("/api/v1beta/version").await;
    assert_eq!(answer.text(), "{\"version\":\"v1.2.3\"}\n");
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn the_collection_has_every_key_in_order() {
    let house = house().await;
    let source = house.path().join("registry.json").display().to_string();
    for path in ["/api/v1beta/registry", "/api/v1beta/registry/"] {
        let answer = house.get(path).await;
        assert_eq!(
            answer.text(),
            format!(
                "{{\"registries\":[{{\"name\":\"default\",\"version\":\"2.0.0\",\"last_updated\":\"2026-05-05T12:00:00Z\",\"server_count\":3,\"type\":\"file\",\"source\":\"{source}\",\"auth_status\":\"none\",\"auth_type\":\"\"}}]}}\n"
            )
        );
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn the_item_ends_with_the_catalog() {
    let answer = house().await.get("/api/v1beta/registry/default").await;
    assert_eq!(answer.status, 200);
    let text = answer.text();
    assert!(
        text.starts_with("{\"name\":\"default\",\"version\":\"2.0.0\","),
        "{text}"
    );
    assert!(
        text.contains(",\"auth_type\":\"\",\"registry\":{\"version\":"),
        "{text}"
    );
    assert!(text.ends_with("}\n"));
    let registry = &answer.json()["registry"];
    assert!(registry["servers"]["io.github.acme/notes"].is_object());
    assert!(registry["remote_servers"]["org.other/notes"].is_object());
}

#[tokio::test]
async fn the_servers_are_containers_and_remotes() {
    let house = house().await;
    for path in [
        "/api/v1beta/registry/default/servers",
        "/api/v1beta/registry/default/servers/",
    ] {
        let list = house.get(path).await.json();
        assert_eq!(list["servers"][0]["name"], "io.github.acme/notes");
        assert_eq!(list["remote_servers"][0]["name"], "io.github.acme/weather");
        assert_eq!(list["servers"].as_array().unwrap().len(), 1);
        assert_eq!(list["remote_servers"].as_array().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_server_is_found_by_its_full_and_by_its_short_name() {
    let house = house().await;
    let container = house
        .get("/api/v1beta/registry/default/servers/io.github.acme%2Fnotes")
        .await;
    assert_eq!(container.json()["is_remote"], false);
    assert_eq!(
        container.json()["server"]["image"],
        "reg.acme.test/notes:2.4.1"
    );
    assert!(container.text().contains("Notes \\u003cstore\\u003e"));
    let remote = house
        .get("/api/v1beta/registry/default/servers/weather")
        .await;
    assert_eq!(remote.json()["is_remote"], true);
    assert_eq!(
        remote.json()["remote_server"]["url"],
        "https://weather.acme.test/mcp"
    );
    assert!(remote.json().get("server").is_none());
}

#[tokio::test]
async fn a_server_that_is_not_found_says_why() {
    let house = house().await;
    let table = [
        ("nothing", 404, "Server not found\n"),
        ("io.github.acme%252Fnotes", 404, "Server not found\n"),
        ("%zz", 400, "Invalid server name encoding\n"),
        (
            "notes",
            404,
            "Server not found: multiple servers match 'notes': io.github.acme/notes, org.other/notes — use the full name\n",
        ),
    ];
    for (name, status, text) in table {
        let answer = house
            .get(&format!("/api/v1beta/registry/default/servers/{name}"))
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (status, text),
            "{name}"
        );
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
    }
    let omitted = house
        .get("/api/v1beta/registry/default/servers/scripts")
        .await;
    assert_eq!(omitted.status, 404);
    assert!(
        omitted
            .text()
            .starts_with("Server not found: io.github.acme/scripts is in the registry")
    );
}

#[tokio::test]
async fn an_unknown_registry_is_404_before_anything_else() {
    let house = house().await;
    for path in [
        "/api/v1beta/registry/other",
        "/api/v1beta/registry/auth",
        "/api/v1beta/registry/other/servers",
        "/api/v1beta/registry/other/servers/x",
        "/api/v1beta/registry/%zz",
    ] {
        let answer = house.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (404, "Registry not found\n"),
            "{path}"
        );
    }
    for (method, target) in [
        (Method::PUT, "/api/v1beta/registry/other"),
        (Method::DELETE, "/api/v1beta/registry/other"),
        (Method::POST, "/api/v1beta/registry/other/refresh"),
    ] {
        let answer = house.call(method, target, "not json").await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (404, "Registry not found\n"),
            "{target}"
        );
    }
}

#[tokio::test]
async fn what_is_not_on_offer_says_so() {
    let house = house().await;
    let added = post(&house, "/api/v1beta/registry").await;
    assert_eq!(added.status, 501);
    assert_eq!(
        added.text(),
        "Adding custom registries is not currently supported\n"
    );
    let removed = house
        .call(Method::DELETE, "/api/v1beta/registry/default", "")
        .await;
    assert_eq!(removed.status, 400);
    assert_eq!(removed.text(), "Cannot remove the default registry\n");
    assert_eq!(
        post(&house, "/api/v1beta/registry/auth/login").await.status,
        404
    );
    assert_eq!(house.get("/api/v1beta/secrets/default").await.status, 404);
}

#[tokio::test]
async fn w46_a_refresh_that_fails_says_so_and_leaves_the_catalog() {
    let house = house().await;
    assert_eq!(
        house
            .get("/api/v1beta/registry/default/servers")
            .await
            .status,
        200
    );
    let refreshed = post(&house, "/api/v1beta/registry/default/refresh").await;
    assert_eq!(refreshed.text(), "{\"status\":\"refreshed\"}\n");
    house.file("registry.json", "{broken");
    let failed = post(&house, "/api/v1beta/registry/default/refresh").await;
    assert_eq!(failed.status, 503);
    assert_eq!(failed.json()["code"], "registry_unavailable");
}

#[tokio::test]
async fn w22_a_legacy_file_is_told_on_every_route() {
    let legacy = r#"{"version":"1.0.0","servers":{"a":{"image":"x"}}}"#;
    let house = house_with(legacy, options()).await;
    for path in [
        "/api/v1beta/registry",
        "/api/v1beta/registry/default",
        "/api/v1beta/registry/default/servers",
        "/api/v1beta/registry/default/servers/x",
        "/registry/default/v0.1/servers",
        "/registry/default/v0.1/servers/x/versions/latest",
        "/registry/default/v0.1/x/dev.toolhive/skills",
        "/registry/default/v0.1/x/dev.toolhive/skills/a/b",
        "/registry/default/v0.1/x/dev.toolhive/plugins",
        "/registry/default/v0.1/x/dev.toolhive/plugins/a/b",
        "/v0.1/servers",
        "/v0.1/servers/x/versions",
        "/v0.1/servers/x/versions/latest",
        "/v0.1/x/dev.toolhive/skills",
        "/v0.1/x/dev.toolhive/plugins/a/b",
    ] {
        let answer = house.get(path).await;
        assert_eq!(answer.status, 502, "{path}: {}", answer.text());
        assert_eq!(answer.json()["code"], "registry_legacy_format", "{path}");
    }
}

#[tokio::test]
async fn w22_a_missing_file_is_unavailable_on_every_route() {
    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "local_registry_path: {}/gone.json\n",
        directory.path().display()
    );
    let house = house_of(directory, &config, options()).await;
    for path in [
        "/api/v1beta/registry",
        "/api/v1beta/registry/default/servers/x",
        "/registry/default/v0.1/servers",
        "/registry/default/v0.1/x/dev.toolhive/skills",
        "/v0.1/servers/x/versions/latest",
    ] {
        let answer = house.get(path).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.text());
        assert_eq!(answer.json()["code"], "registry_unavailable", "{path}");
    }
}

#[tokio::test]
async fn a_source_is_set_and_reset() {
    let house = house().await;
    let other = house.file("other.json", &CATALOG.replace("2.0.0", "7.0.0"));
    let body = format!("{{\"Local_Path\":\"{}\"}} trailing", other.display());
    let set = house
        .call(Method::PUT, "/api/v1beta/registry/default", &body)
        .await;
    assert_eq!(
        (set.status.as_u16(), set.text()),
        (200, "{\"type\":\"file\"}\n")
    );
    let list = house.get("/api/v1beta/registry").await.json();
    assert_eq!(list["registries"][0]["version"], "7.0.0");
    assert!(house.config_text().contains("other.json"));
    let reset = house
        .call(Method::PUT, "/api/v1beta/registry/default", "{}")
        .await;
    assert_eq!(reset.text(), "{\"type\":\"default\"}\n");
    let list = house.get("/api/v1beta/registry").await.json();
    assert_eq!(list["registries"][0]["type"], "default");
    assert_eq!(list["registries"][0]["source"], "");
}

#[tokio::test]
async fn an_update_that_cannot_be_meant_is_refused_in_plain_text_and_changes_nothing() {
    let house = house().await;
    let before = house.config_text();
    let table = [
        ("", 400, "Invalid request body\n"),
        ("[]", 400, "Invalid request body\n"),
        (
            r#"{"url":"https://a.test","local_path":"/x.json"}"#,
            400,
            "cannot specify more than one registry type (url, api_url, or local_path)\n",
        ),
        (
            r#"{"api_url":"https://a.test","auth":{"issuer":"","client_id":"x"}}"#,
            400,
            "auth.issuer and auth.client_id are required\n",
        ),
        (
            r#"{"api_url":"http://a.test"}"#,
            400,
            "failed to set registry API: registry API URL must start with https:// when not allowing private IPs\n",
        ),
    ];
    for (body, status, text) in table {
        let answer = house
            .call(Method::PUT, "/api/v1beta/registry/default", body)
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (status, text),
            "{body}"
        );
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
    }
    let login =
        r#"{"api_url":"https://a.test","auth":{"issuer":"https://i.test","client_id":"x"}}"#;
    let answer = house
        .call(Method::PUT, "/api/v1beta/registry/default", login)
        .await;
    assert_eq!(answer.status, 501);
    assert_eq!(house.config_text(), before);
}

#[tokio::test]
async fn w30_a_url_under_local_path_is_refused_without_asking_the_network() {
    let answer = house()
        .await
        .call(
            Method::PUT,
            "/api/v1beta/registry/default",
            r#"{"local_path":"https://registry.invalid/x.json"}"#,
        )
        .await;
    assert_eq!(answer.status, 400);
    assert!(
        answer
            .text()
            .starts_with("failed to set local registry file: "),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn a_source_that_is_no_registry_is_502_and_one_that_is_away_504() {
    let house = house().await;
    let broken = house.file("broken.json", "{");
    let body = format!("{{\"local_path\":\"{}\"}}", broken.display());
    let answer = house
        .call(Method::PUT, "/api/v1beta/registry/default", &body)
        .await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", away.local_addr().unwrap());
    drop(away);
    let body = format!("{{\"api_url\":\"{url}\",\"allow_private_ip\":true}}");
    let answer = house
        .call(Method::PUT, "/api/v1beta/registry/default", &body)
        .await;
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert!(
        answer
            .text()
            .starts_with(&format!("registry at {url} is unreachable: failed to set registry API: registry error for api ({url}): ")),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn every_error_is_json_for_a_client_that_asks_for_it() {
    let house = house().await;
    let json = [("accept", "application/json")];
    let missing = house.get_with("/api/v1beta/registry/other", &json).await;
    assert_eq!(
        missing.text(),
        "{\"code\":\"not_found\",\"message\":\"Registry not found\"}\n"
    );
    let page = house.get_with("/nowhere", &json).await;
    assert_eq!(page.json()["code"], "not_found");
    assert_eq!(house.get("/nowhere").await.text(), "404 page not found\n");
    let any = house
        .get_with("/api/v1beta/registry/other", &[("accept", "*/*")])
        .await;
    assert_eq!(any.text(), "Registry not found\n");
}
