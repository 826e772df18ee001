//! The standard door, over a registry in a file.

mod common;

use common::house;

const SERVERS: &str = "/v0.1/servers";

#[tokio::test]
async fn servers_come_in_the_envelope() {
    let list = house().await.get(SERVERS).await.json();
    assert_eq!(list["metadata"], serde_json::json!({"count":4}));
    let first = &list["servers"][0];
    assert_eq!(first["server"]["name"], "io.github.acme/notes");
    assert_eq!(first["server"]["version"], "2.4.1");
    let official = &first["_meta"]["io.modelcontextprotocol.registry/official"];
    assert_eq!(official["status"], "active");
    assert_eq!(official["isLatest"], true);
}

#[tokio::test]
async fn cursors_lead_through_the_whole_list_once() {
    let house = house().await;
    let mut names = Vec::new();
    let mut target = format!("{SERVERS}?limit=1");
    loop {
        let page = house.get(&target).await.json();
        assert_eq!(page["metadata"]["count"], 1);
        names.push(
            page["servers"][0]["server"]["name"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
        match page["metadata"]["nextCursor"].as_str() {
            Some(cursor) => target = format!("{SERVERS}?limit=1&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(
        names,
        [
            "io.github.acme/notes",
            "io.github.acme/scripts",
            "io.github.acme/weather",
            "org.other/notes"
        ]
    );
}

#[tokio::test]
async fn lists_are_searched_and_filtered() {
    let house = house().await;
    let count = |query: &'static str| {
        let house = &house;
        async move {
            let answer = house.get(&format!("{SERVERS}?{query}")).await;
            answer.json()["metadata"]["count"].as_u64().unwrap()
        }
    };
    assert_eq!(count("search=NOTES").await, 2);
    assert_eq!(count("search=scripts&version=latest").await, 1);
    assert_eq!(count("version=3.0.0").await, 1);
    assert_eq!(count("version=3.0.0&search=acme").await, 0);
    assert_eq!(count("version=9").await, 0);
    assert_eq!(count("updated_since=2000-01-01T00:00:00Z").await, 4);
    assert_eq!(count("updated_since=2000-01-01T00:00:00+00:00").await, 4);
    assert_eq!(count("updated_since=2999-01-01T00:00:00Z").await, 0);
    assert_eq!(count("limit=1000").await, 4);
}

#[tokio::test]
async fn parameters_that_cannot_be_read_are_refused() {
    let house = house().await;
    for query in [
        "limit=0",
        "limit=-1",
        "limit=x",
        "cursor=zz",
        "updated_since=yesterday",
    ] {
        let answer = house.get(&format!("{SERVERS}?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        let body = answer.json();
        assert_eq!(body["code"], "bad_request");
        assert_eq!(body["message"], body["error"]);
    }
}

#[tokio::test]
async fn versions_are_listed_and_found() {
    let house = house().await;
    let name = "io.github.acme%2Fnotes";
    let versions = house
        .get(&format!("{SERVERS}/{name}/versions"))
        .await
        .json();
    assert_eq!(versions["servers"][0]["server"]["version"], "2.4.1");
    assert_eq!(versions["metadata"]["count"], 1);
    for version in ["latest", "2.4.1"] {
        let one = house
            .get(&format!("{SERVERS}/{name}/versions/{version}"))
            .await;
        assert_eq!(one.json()["server"]["name"], "io.github.acme/notes");
        assert!(one.json()["_meta"].is_object());
        assert!(one.text().ends_with("}\n"));
    }
    for path in [
        format!("{SERVERS}/{name}/versions/9.9.9"),
        format!("{SERVERS}/notes/versions/latest"),
        format!("{SERVERS}/nothing%2Fhere/versions"),
    ] {
        let answer = house.get(&path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.json()["code"], "not_found");
        assert!(
            answer.json()["error"]
                .as_str()
                .unwrap()
                .starts_with("Server not found")
        );
    }
}

#[tokio::test]
async fn skills_and_plugins_come_by_cursor() {
    let house = house().await;
    let first = house
        .get("/v0.1/x/dev.toolhive/skills?limit=1")
        .await
        .json();
    assert_eq!(first["skills"][0]["name"], "plan");
    let cursor = first["metadata"]["nextCursor"].as_str().unwrap();
    let second = house
        .get(&format!(
            "/v0.1/x/dev.toolhive/skills?limit=1&cursor={cursor}"
        ))
        .await
        .json();
    assert_eq!(second["skills"][0]["name"], "review");
    assert!(second["metadata"].get("nextCursor").is_none());
    let plugin = house
        .get("/v0.1/x/dev.toolhive/plugins/io.github.acme/bundle")
        .await;
    assert_eq!(plugin.json()["name"], "bundle");
    let missing = house.get("/v0.1/x/dev.toolhive/plugins/a/b").await;
    assert_eq!(missing.json()["error"], "Plugin not found");
}
