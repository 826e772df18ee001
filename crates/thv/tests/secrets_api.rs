//! The secrets routes as a desktop client meets them, with the real program: a machine without a keyring, one with a
//! real one, and a store that others change meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use thv_testkit::binary::{Server, Setup, cli, cli_with};
use thv_testkit::client::{Answer, Call};
use thv_testkit::go_store;
use thv_testkit::home::Home;
use thv_testkit::keyring::Session;

const THV: &str = env!("CARGO_BIN_EXE_thv");
/// The folder of the stand-in for 1Password's program.
const OP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/op");

const SETUP: &str = "/api/v1beta/secrets";
const PROVIDER: &str = "/api/v1beta/secrets/default";
const KEYS: &str = "/api/v1beta/secrets/default/keys";

const STORE: &str = "data/toolhive/secrets_encrypted";
const KEY_FILE: &str = "data/toolhive/secrets_key";
const PASSWORD: (&str, &str) = ("TOOLHIVE_SECRETS_PASSWORD", "correct horse");

async fn server(home: &Arc<Home>) -> Server {
    Setup::new(THV, home).start().await
}

async fn with_password(home: &Arc<Home>) -> Server {
    let server = Setup::new(THV, home)
        .env(PASSWORD.0, PASSWORD.1)
        .start()
        .await;
    let answer = set_up(&server, &json!({"provider_type": "encrypted"})).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    server
}

async fn set_up(server: &Server, body: &Value) -> Answer {
    server.post(SETUP, body).await
}

async fn call(server: &Server, method: Method, path: &str, body: &Value) -> Answer {
    Call::new(method, path)
        .json(body)
        .to(server.address())
        .await
}

async fn delete(server: &Server, key: &str) -> Answer {
    server.address().delete(&format!("{KEYS}/{key}")).await
}

async fn keys(server: &Server) -> Vec<String> {
    let answer = server.get(KEYS).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let keys = answer.json()["keys"].as_array().unwrap().clone();
    keys.iter()
        .map(|key| key["key"].as_str().unwrap().to_owned())
        .collect()
}

/// A text error: status, and the message without its line feed.
#[track_caller]
fn assert_text(answer: &Answer, status: u16, message: &str) {
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (status, format!("{message}\n").as_str())
    );
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
}

// === Setting up

#[tokio::test]
async fn rule_12_a_desktop_client_starts_on_a_machine_without_a_keyring() {
    let home = Arc::new(Home::new());
    let running = server(&home).await;
    assert_text(
        &running.get(PROVIDER).await,
        404,
        "secrets provider not configured. Please run 'thv secret setup' to configure a secrets provider first",
    );
    let encrypted = json!({"provider_type": "encrypted"});
    let first = set_up(&running, &encrypted).await;
    assert_eq!(first.status, 201, "{}", first.text());
    let key_file = home.join(KEY_FILE);
    assert_eq!(
        first.json(),
        json!({
            "provider_type": "encrypted",
            "message": format!("Secrets provider setup successfully; its key comes from the key file {}", key_file.display()),
        })
    );
    assert_eq!(
        running.get(PROVIDER).await.text(),
        "{\"name\":\"default\",\"provider_type\":\"encrypted\",\"capabilities\":{\"can_read\":true,\"can_write\":true,\"can_delete\":true,\"can_list\":true,\"can_cleanup\":true}}\n"
    );
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&key_file), 0o600);
    assert_eq!(mode(key_file.parent().unwrap()), 0o700);
    assert_eq!(mode(&home.join(STORE)), 0o600);

    let before = (
        std::fs::read(&key_file).unwrap(),
        std::fs::read(home.join(STORE)).unwrap(),
    );
    for _ in 0..3 {
        let again = set_up(&running, &encrypted).await;
        assert_eq!(again.status, 201);
        let message = again.json()["message"].as_str().unwrap().to_owned();
        assert!(
            message.starts_with("Secrets provider reconfigured successfully"),
            "{message}"
        );
    }
    assert_eq!(
        before,
        (
            std::fs::read(&key_file).unwrap(),
            std::fs::read(home.join(STORE)).unwrap()
        )
    );
    let stored = running.post(KEYS, &json!({"key": "A", "value": "1"})).await;
    assert_eq!(stored.status, 201);
    running.stop().await;
    let again = server(&home).await;
    assert_eq!(keys(&again).await, ["A"]);
}

#[tokio::test]
async fn a_real_keyring_keeps_the_key_and_then_no_file_does() {
    let session = Session::unlocked().await;
    let home = Arc::new(Home::new());
    let running = Setup::new(THV, &home).envs(session.bus_env()).start().await;
    let answer = set_up(&running, &json!({"provider_type": "encrypted"})).await;
    assert_eq!(
        answer.json(),
        json!({"provider_type": "encrypted", "message": "Secrets provider setup successfully"})
    );
    assert!(!home.join(KEY_FILE).exists());
    running.post(KEYS, &json!({"key": "A", "value": "1"})).await;
    assert_eq!(keys(&running).await, ["A"]);
    // The Go program finds its password where it looks for it.
    let found = tokio::process::Command::new("secret-tool")
        .args(["lookup", "service", "toolhive", "username", "toolhive"])
        .envs(session.env())
        .output()
        .await
        .unwrap();
    let password = String::from_utf8(found.stdout).unwrap();
    assert_eq!(password.len(), 44);
    let file = std::fs::read(home.join(STORE)).unwrap();
    assert_eq!(go_store::open(&password, &file), json!({"A": "1"}));
}

#[tokio::test]
async fn w44_a_set_up_that_cannot_be_meant_is_told_so() {
    let home = Arc::new(Home::new());
    let running = with_password(&home).await;
    let refused = [
        (json!({}), 400, "provider type cannot be empty"),
        (
            json!({"provider_type": ""}),
            400,
            "provider type cannot be empty",
        ),
        (
            json!({"provider_type": "none"}),
            400,
            "invalid secrets provider type: none (valid types: encrypted, 1password, environment)",
        ),
        (
            json!({"provider_type": 5}),
            400,
            "invalid request body: the request body is not the JSON expected here",
        ),
        (
            json!({"provider_type": "encrypted", "password": "another"}),
            409,
            "the secrets have a password already, from TOOLHIVE_SECRETS_PASSWORD, and it is not the one given; nothing was changed",
        ),
    ];
    for (body, status, message) in refused {
        assert_text(&set_up(&running, &body).await, status, message);
    }
    let one_password = set_up(&running, &json!({"provider_type": "1password"})).await;
    assert_eq!(one_password.status, 502);
    assert!(
        one_password
            .text()
            .contains("OP_SERVICE_ACCOUNT_TOKEN is not set")
    );
    assert_eq!(
        running.get(PROVIDER).await.json()["provider_type"],
        "encrypted"
    );
}

#[tokio::test]
async fn case_78_secrets_that_do_not_open_are_left_alone() {
    let home = Arc::new(Home::new());
    home.write_config("secrets:\n    provider_type: encrypted\n    setup_completed: true\n");
    let path = home.write(STORE, go_store::seal("another", &json!({"A": "canary"})));
    let before = std::fs::read(&path).unwrap();
    let running = Setup::new(THV, &home)
        .env(PASSWORD.0, PASSWORD.1)
        .start()
        .await;
    let encrypted = json!({"provider_type": "encrypted"});
    for answer in [
        set_up(&running, &encrypted).await,
        running.get(KEYS).await,
        running.post(KEYS, &json!({"key": "B", "value": "2"})).await,
        delete(&running, "A").await,
    ] {
        let text = answer.text();
        assert_eq!(answer.status, 409, "{text}");
        assert!(
            text.contains("does not open with the password from TOOLHIVE_SECRETS_PASSWORD"),
            "{text}"
        );
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
    // What does not need the secrets goes on.
    assert_eq!(running.get("/api/v1beta/registry").await.status, 200);
}

// === Keys

#[tokio::test]
async fn a_secret_is_created_listed_changed_and_deleted_and_never_shown() {
    let home = Arc::new(Home::new());
    let running = with_password(&home).await;
    let created = running
        .post(KEYS, &json!({"key": "GITHUB_TOKEN", "value": "canary-1"}))
        .await;
    assert_eq!(created.status, 201);
    assert_eq!(
        created.text(),
        "{\"key\":\"GITHUB_TOKEN\",\"message\":\"Secret created successfully\"}\n"
    );
    assert_text(
        &running
            .post(KEYS, &json!({"key": "GITHUB_TOKEN", "value": "canary-2"}))
            .await,
        409,
        "secret already exists",
    );
    assert_eq!(
        running.get(KEYS).await.text(),
        "{\"keys\":[{\"key\":\"GITHUB_TOKEN\"}]}\n"
    );
    let path = format!("{KEYS}/GITHUB_TOKEN");
    let updated = call(&running, Method::PUT, &path, &json!({"value": "canary-3"})).await;
    assert_eq!(
        (updated.status, updated.text().as_str()),
        (
            200,
            "{\"key\":\"GITHUB_TOKEN\",\"message\":\"Secret updated successfully\"}\n"
        )
    );
    let file = std::fs::read(home.join(STORE)).unwrap();
    assert_eq!(
        go_store::open(PASSWORD.1, &file),
        json!({"GITHUB_TOKEN": "canary-3"})
    );
    let deleted = delete(&running, "GITHUB_TOKEN").await;
    assert_eq!((deleted.status, deleted.text().as_str()), (204, ""));
    assert_eq!(running.get(KEYS).await.text(), "{\"keys\":[]}\n");
    assert!(!running.stderr().contains("canary"), "{}", running.stderr());
}

#[tokio::test]
async fn w44_every_refusal_has_its_status_and_its_text() {
    let home = Arc::new(Home::new());
    let running = with_password(&home).await;
    let both = "both 'key' and 'value' are required";
    for body in [
        json!({}),
        json!({"key": "A"}),
        json!({"value": "1"}),
        json!({"key": "", "value": "1"}),
        json!({"key": "A", "value": ""}),
        json!({"key": null, "value": "1"}),
    ] {
        assert_text(&running.post(KEYS, &body).await, 400, both);
    }
    let not_json = Call::new(Method::POST, KEYS)
        .header("content-type", "application/json")
        .body("{")
        .to(running.address())
        .await;
    assert_text(
        &not_json,
        400,
        "invalid request body: the request body is not the JSON expected here",
    );
    assert_text(&delete(&running, "absent").await, 404, "secret not found");
    let value = json!({"value": "1"});
    let put = |key: &str, body: Value| {
        let path = format!("{KEYS}/{key}");
        let running = &running;
        async move { call(running, Method::PUT, &path, &body).await }
    };
    assert_text(&put("absent", value.clone()).await, 404, "secret not found");
    assert_text(&put("absent", json!({})).await, 400, "value is required");
    let reserved = |verb: &str| {
        format!(
            "secret name is reserved for system use and cannot be managed via user commands: cannot {verb} \"__thv_auth_x\""
        )
    };
    assert_text(&put("__thv_auth_x", value).await, 400, &reserved("set"));
    assert_text(
        &delete(&running, "__thv_auth_x").await,
        400,
        &reserved("delete"),
    );
    assert_text(
        &running
            .post(KEYS, &json!({"key": "__thv_auth_x", "value": "1"}))
            .await,
        400,
        &reserved("set"),
    );
    let wrong_method = running.address().delete(KEYS).await;
    assert_eq!(wrong_method.status, 405);
    let as_json = Call::new(Method::DELETE, &format!("{KEYS}/absent"))
        .header("accept", "application/json")
        .to(running.address())
        .await;
    assert_eq!(
        as_json.json(),
        json!({"code": "secret_not_found", "message": "secret not found"})
    );
}

#[tokio::test]
async fn w44_a_key_with_a_slash_or_a_percent_sign_is_reached_by_its_encoding() {
    let home = Arc::new(Home::new());
    let running = with_password(&home).await;
    for (key, encoded) in [
        ("team/token", "team%2Ftoken"),
        ("100%", "100%25"),
        ("a%2Fb", "a%252Fb"),
        ("plus+sign", "plus+sign"),
        ("schlüssel", "schl%C3%BCssel"),
    ] {
        let created = running.post(KEYS, &json!({"key": key, "value": "1"})).await;
        assert_eq!(created.status, 201, "{key}");
        let path = format!("{KEYS}/{encoded}");
        let updated = call(&running, Method::PUT, &path, &json!({"value": "2"})).await;
        assert_eq!(updated.json()["key"], key);
        assert_eq!(delete(&running, encoded).await.status, 204, "{key}");
    }
    assert!(keys(&running).await.is_empty());
    assert_eq!(delete(&running, "%zz").await.status, 400);
}

#[tokio::test]
async fn w44_of_many_who_create_one_name_at_once_one_wins() {
    let home = Arc::new(Home::new());
    let running = with_password(&home).await;
    let mut statuses = Vec::new();
    let all = (0..12).map(|number| {
        let body = json!({"key": "A", "value": format!("{number}")});
        let address = running.address().clone();
        tokio::spawn(async move { address.post(KEYS, &body).await.status })
    });
    for call in all.collect::<Vec<_>>() {
        statuses.push(call.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses[0], 201);
    assert!(
        statuses[1..].iter().all(|status| *status == 409),
        "{statuses:?}"
    );
}

#[tokio::test]
async fn w44_a_secret_named_like_a_probe_of_old_is_left_alone() {
    let home = Arc::new(Home::new());
    let running = with_password(&home).await;
    let probe = json!({"key": "setup-validation-test", "value": "mine"});
    running.post(KEYS, &probe).await;
    set_up(&running, &json!({"provider_type": "environment"})).await;
    set_up(&running, &json!({"provider_type": "encrypted"})).await;
    assert_eq!(keys(&running).await, ["setup-validation-test"]);
}

// === Others at the same store

#[tokio::test]
async fn f40_the_server_sees_what_the_command_line_wrote_and_the_reverse() {
    let home = Arc::new(Home::new());
    let running = with_password(&home).await;
    let set = cli_with(
        THV,
        &home,
        &["secret", "set", "FROM_CLI"],
        &[PASSWORD],
        b"1\n",
    )
    .await;
    assert_eq!(set.code, 0, "{set:?}");
    assert_eq!(keys(&running).await, ["FROM_CLI"]);
    running
        .post(KEYS, &json!({"key": "FROM_API", "value": "2"}))
        .await;
    let get = cli_with(THV, &home, &["secret", "get", "FROM_API"], &[PASSWORD], b"").await;
    assert_eq!((get.code, get.stdout.as_str()), (0, "2\n"));
    // A provider that is chosen on the command line is the server's, too.
    cli(THV, &home, &["secret", "provider", "environment"]).await;
    assert_eq!(
        running.get(PROVIDER).await.json()["provider_type"],
        "environment"
    );
    assert_text(
        &running.get(KEYS).await,
        405,
        "secrets provider does not support listing keys",
    );
    for (answer, what) in [
        (
            running.post(KEYS, &json!({"key": "A", "value": "1"})).await,
            "creating",
        ),
        (
            call(
                &running,
                Method::PUT,
                &format!("{KEYS}/A"),
                &json!({"value": "1"}),
            )
            .await,
            "updating",
        ),
        (delete(&running, "A").await, "deleting"),
    ] {
        assert_text(
            &answer,
            405,
            &format!("secrets provider does not support {what} secrets"),
        );
    }
}

#[tokio::test]
async fn a_store_of_the_go_program_is_taken_over_and_can_be_given_back() {
    let home = Arc::new(Home::new());
    home.write_config("secrets:\n    provider_type: encrypted\n    setup_completed: true\n");
    let of_go = json!({
        "API_KEY": "1",
        "BEARER_TOKEN_x": "2",
        "__thv_workloads_BEARER_TOKEN_y": "3",
        "REGISTRY_OAUTH_e037e405": "4",
    });
    let path = home.write(STORE, go_store::seal(PASSWORD.1, &of_go));
    let running = with_password(&home).await;
    running
        .post(KEYS, &json!({"key": "NEW", "value": "5"}))
        .await;
    // The move of old names goes on behind everything else.
    let moved = || go_store::open(PASSWORD.1, &std::fs::read(&path).unwrap());
    let expected = json!({
        "API_KEY": "1",
        "NEW": "5",
        "__thv_workloads_BEARER_TOKEN_x": "2",
        "__thv_workloads_BEARER_TOKEN_y": "3",
        "__thv_registry_REGISTRY_OAUTH_e037e405": "4",
    });
    thv_testkit::wait::until_true("the old names to be moved", || moved() == expected).await;
    assert_eq!(keys(&running).await, ["API_KEY", "NEW"]);
    thv_testkit::wait::until_true("the flag of the migration", || {
        home.config().contains("secret_scope_migration: true")
    })
    .await;
}

#[tokio::test]
async fn onepassword_lists_references_and_takes_nothing() {
    let home = Arc::new(Home::new());
    let running = Setup::new(THV, &home)
        .env("OP_SERVICE_ACCOUNT_TOKEN", "ops_canary")
        .env("PATH", &format!("{OP}:/usr/bin:/bin"))
        .arg("--debug")
        .start()
        .await;
    let answer = set_up(&running, &json!({"provider_type": "1password"})).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(
        running.get(KEYS).await.json(),
        json!({"keys": [
            {"key": "op://v1/i1/password", "description": "Work :: Key :: password"},
            {"key": "op://v1/i1/username", "description": "Work :: Key :: user name"},
        ]})
    );
    assert_text(
        &running.post(KEYS, &json!({"key": "A", "value": "1"})).await,
        405,
        "secrets provider does not support creating secrets",
    );
    assert!(!running.stderr().contains("canary"), "{}", running.stderr());
}
