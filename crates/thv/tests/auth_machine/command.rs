//! Tokens from a command.

use super::{TOKEN, assert_catalog, done, static_stage};
use crate::auth_kit::{PASSWORD, Stage, report};
use serde_json::{Value, json};

async fn use_command(stage: &Stage, script: &str) -> String {
    let path = write_command(stage, script);
    done(
        stage,
        &[
            "config",
            "set-registry-credential",
            "command",
            &path,
            "--flag",
        ],
        "",
    )
    .await;
    path
}

fn write_command(stage: &Stage, script: &str) -> String {
    let path = stage.home.write_program("helper", script);
    path.display().to_string()
}

#[tokio::test]
async fn a_command_gives_the_token_and_sees_nothing_secret() {
    let stage = static_stage(None).await;
    let seen = stage.home.join("seen");
    let script = format!(
        "#!/bin/sh\n(cat; echo; env; echo \"$@\") > '{}'\necho '{{\"version\":1,\"token\":\"{TOKEN}\",\"expires_in\":600,\"account\":\"ci-robot\"}}'\n",
        seen.display()
    );
    use_command(&stage, &script).await;
    let server = stage.server().await;
    assert_catalog(&stage, &server, "bearer").await;
    let told = report(&server).await;
    assert_eq!(told["account"]["sub"], "ci-robot", "{told}");
    let seen = std::fs::read_to_string(seen).unwrap();
    let question: Value = serde_json::from_str(seen.lines().next().unwrap()).unwrap();
    assert_eq!(
        question,
        json!({"version": 1, "kind": "get", "registry": {"name": "default", "url": stage.registry.url()}})
    );
    assert!(seen.contains("--flag"), "{seen}");
    assert!(!seen.contains(PASSWORD), "{seen}");
}

#[tokio::test]
async fn case_82_a_command_that_does_not_keep_to_the_rules_gives_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let stage = static_stage(None).await;
    let path = use_command(&stage, "#!/bin/sh\nyes | head -c 100000000\n").await;
    let refused = |part: &'static str| {
        let stage = &stage;
        async move {
            let ran = stage.cli(&["registry", "list"]).await;
            assert_eq!(ran.code, 3, "{}", ran.transcript());
            assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
            assert!(stage.registry.bearers().is_empty());
        }
    };
    refused("printed more than").await;
    write_command(&stage, "#!/bin/sh\necho garbage\n");
    refused("it is not JSON").await;
    write_command(
        &stage,
        "#!/bin/sh\necho '{\"version\":1,\"error\":\"denied\",\"message\":\"ask the vault\"}'\nexit 1\n",
    );
    let ran = stage.cli(&["registry", "status"]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    assert!(ran.stdout.contains("ask the vault"), "{}", ran.stdout);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    refused("can be written by others").await;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    refused("is not run").await;
    std::fs::remove_file(&path).unwrap();
    refused("is not run").await;
}
