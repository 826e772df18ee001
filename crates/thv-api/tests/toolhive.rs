//! The ToolHive-shaped door, over a registry in a file.

mod common;

use common::{house, house_with, options};

const SERVERS: &str = "/registry/default/v0.1/servers";
const SKILLS: &str = "/registry/default/v0.1/x/dev.toolhive/skills";

#[tokio::test]
async fn servers_come_bare_and_in_numbered_pages() {
    let house = house().await;
    let answer = house.get(SERVERS).await;
    let list = answer.json();
    assert_eq!(
        list["metadata"],
        serde_json::json!({"total":4,"page":1,"limit":50})
    );
    assert_eq!(list["servers"][0]["name"], "io.github.acme/notes");
    assert!(
        answer
            .text()
            .contains("\"metadata\":{\"total\":4,\"page\":1,\"limit\":50}}\n")
    );
    let second = house.get(&format!("{SERVERS}?page=2&limit=3")).await.json();
    assert_eq!(second["servers"].as_array().unwrap().len(), 1);
    assert_eq!(second["servers"][0]["name"], "org.other/notes");
}

#[tokio::test]
async fn w28_the_original_text_of_a_server_is_served() {
    let house = house().await;
    let one = house
        .get("/registry/default/v0.1/servers/io.github.acme%2Fscripts/versions/latest")
        .await;
    assert_eq!(one.json()["version"], "0.1.0");
    assert_eq!(one.json()["packages"][0]["registryType"], "npm");
    assert!(one.text().ends_with("}\n"));
}

#[tokio::test]
async fn servers_are_filtered_before_they_are_paged() {
    let house = house().await;
    let found = house
        .get(&format!("{SERVERS}?q=NOTES&limit=1"))
        .await
        .json();
    assert_eq!(
        found["metadata"],
        serde_json::json!({"total":2,"page":1,"limit":1})
    );
    let none = house.get(&format!("{SERVERS}?q=nothing")).await;
    assert!(
        none.text().starts_with("{\"servers\":[],"),
        "{}",
        none.text()
    );
}

#[tokio::test]
async fn f30_a_page_past_the_end_is_an_empty_list() {
    let house = house().await;
    for list in [SERVERS, SKILLS] {
        let answer = house
            .get(&format!("{list}?page=9223372036854775807&limit=1"))
            .await;
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains(":[],"), "{}", answer.text());
        assert_eq!(answer.json()["metadata"]["page"], i64::MAX);
    }
}

#[tokio::test]
async fn skills_and_plugins_are_listed_and_found() {
    let house = house().await;
    let skills = house.get(&format!("{SKILLS}?q=REVIEW")).await.json();
    assert_eq!(skills["skills"][0]["name"], "review");
    assert_eq!(skills["metadata"]["total"], 1);
    let skill = house
        .get(&format!("{SKILLS}/io.github.acme/plan"))
        .await
        .json();
    assert_eq!(skill["description"], "Plans work");
    let plugins = house
        .get("/registry/default/v0.1/x/dev.toolhive/plugins")
        .await
        .json();
    assert_eq!(plugins["plugins"][0]["name"], "bundle");
}

#[tokio::test]
async fn w22_absence_is_404_with_its_own_words() {
    let house = house().await;
    let table = [
        (
            "/registry/other/v0.1/servers".to_owned(),
            404,
            "not_found",
            "Registry not found",
        ),
        (
            format!("{SERVERS}/x/versions/latest"),
            404,
            "not_found",
            "Server not found",
        ),
        (
            format!("{SERVERS}/%zz/versions/latest"),
            400,
            "bad_request",
            "Invalid server name encoding",
        ),
        (format!("{SKILLS}/a/b"), 404, "not_found", "Skill not found"),
        (
            "/registry/default/v0.1/x/dev.toolhive/plugins/a/b".to_owned(),
            404,
            "not_found",
            "Plugin not found",
        ),
    ];
    for (path, status, code, message) in table {
        let answer = house.get(&path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(
            answer.text(),
            format!("{{\"code\":\"{code}\",\"message\":\"{message}\"}}\n"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn w29_a_standard_query_gets_a_standard_answer() {
    let house = house().await;
    for query in [
        "version=latest",
        "cursor=",
        "search=acme",
        "updated_since=2020-01-01T00:00:00Z",
    ] {
        let list = house.get(&format!("{SERVERS}?{query}")).await.json();
        assert!(
            list["servers"][0]["server"]["name"].is_string(),
            "{query}: {list}"
        );
        assert!(list["metadata"]["count"].is_number(), "{query}");
    }
}

#[tokio::test]
async fn an_empty_registry_has_empty_arrays() {
    let empty = r#"{"version":"1.0.0","meta":{"last_updated":""},"data":{"servers":[{"name":"a/b","version":"1"}]}}"#;
    let house = house_with(empty, options()).await;
    let skills = house.get(SKILLS).await;
    assert_eq!(
        skills.text(),
        "{\"skills\":[],\"metadata\":{\"total\":0,\"page\":1,\"limit\":50}}\n"
    );
    let list = house.get("/api/v1beta/registry/default/servers").await;
    assert_eq!(list.text(), "{\"servers\":[]}\n");
}
