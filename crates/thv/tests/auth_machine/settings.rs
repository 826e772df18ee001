//! Settings that are not whole, the choice between ways, and what a logout leaves.

use super::{done, stage, use_client_secret};
use crate::auth_kit::{AUTH, STANDARD, Stage, names, report, until_status};
use serde_json::{Value, json};
use thv_testkit::binary::Server;
use thv_testkit::wait::{PATIENCE, until};

#[tokio::test]
async fn settings_that_are_not_whole_are_told_and_nobody_else_is_used() {
    let stage = Stage::new().await;
    stage.logged_in_by_cli().await;
    let path = stage.home.config_file().with_file_name("registries.json");
    let entry = |credential: Value| {
        json!({"version": 1, "registries": {"default": {"url": stage.registry.url(), "credential": credential}}})
            .to_string()
    };
    let private = |text: String| {
        std::fs::write(&path, text).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    };
    let server = stage.server().await;
    assert_eq!(names(&server).await.len(), 6);
    // Nothing is to be asked any more when what was asked is forgotten.
    stage.until_cached().await;
    for (text, part) in [
        (
            entry(json!({"type": "client_credentials", "client_id": "x"})),
            "server",
        ),
        (entry(json!({"type": "carrier_pigeon"})), "carrier_pigeon"),
        ("{\"version\": 9}".to_owned(), "newer version"),
        ("{".to_owned(), "broken"),
    ] {
        private(text);
        stage.registry.clear_journal();
        let answer = until_status(&server, STANDARD, 503).await;
        assert_eq!(answer.json()["reason"], "credential_unusable", "{answer:?}");
        assert!(answer.text().contains(part), "{answer:?}");
        let told = report(&server).await;
        assert_eq!(told["state"], "credential_unusable", "{told}");
        let ran = stage.cli(&["registry", "list", "--refresh"]).await;
        assert_eq!(ran.code, 3, "{}", ran.transcript());
        assert!(stage.registry.bearers().is_empty());
        std::fs::remove_file(&path).unwrap();
        until_status(&server, STANDARD, 200).await;
        assert_eq!(report(&server).await["credential"]["way"], "login");
    }
}

#[tokio::test]
async fn a_configured_credential_is_chosen_over_a_login_and_gives_way_when_it_is_removed() {
    let stage = Stage::new().await;
    stage.logged_in_by_cli().await;
    use_client_secret(&stage).await;
    let ran = stage.cli_login(&[]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert!(
        ran.stderr.contains("not read with this login"),
        "{}",
        ran.stderr
    );
    let server = stage.server().await;
    assert_catalog_of(&server, "configured").await;
    let ran = stage.cli(&["registry", "status"]).await;
    assert!(
        ran.stdout.contains("client_credentials, configured"),
        "{}",
        ran.stdout
    );
    done(&stage, &["config", "unset-registry-credential"], "").await;
    until("the login to be used", PATIENCE, || async {
        let told = report(&server).await;
        (told["credential"]["way"] == "login").then_some(())
    })
    .await;
    assert_catalog_of(&server, "login").await;
    let answer = server.get(AUTH).await;
    assert_eq!(answer.json()["source"], "login");
}

async fn assert_catalog_of(server: &Server, way: &str) {
    assert_eq!(names(server).await.len(), 6, "{}", server.stderr());
    assert_eq!(report(server).await["credential"]["way"], way);
}

#[tokio::test]
async fn a_logout_keeps_what_is_configured_and_says_so() {
    let stage = stage().await;
    use_client_secret(&stage).await;
    let ran = stage.cli(&["registry", "logout", "--format", "json"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert_eq!(
        ran.json()["credential"]["outcome"],
        "kept",
        "{}",
        ran.stdout
    );
    let ran = stage.cli(&["registry", "list"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
}
