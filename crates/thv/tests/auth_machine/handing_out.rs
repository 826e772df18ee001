//! Handing the token out: to a pipe, and to programs that ask.

use super::{TOKEN, done, grants, piped, stage, static_stage, use_client_secret};
use serde_json::json;

#[tokio::test]
async fn the_token_goes_to_a_pipe_and_for_its_origin_only() {
    let stage = static_stage(None).await;
    let ran = stage.cli(&["registry", "token"]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    done(&stage, &["registry", "login", "--with-token"], TOKEN).await;
    let ran = stage.cli(&["registry", "token"]).await;
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, format!("{TOKEN}\n").as_str()),
        "{}",
        ran.stderr
    );
    let inside = stage.registry.at("/v0.1/servers?x=y");
    let ran = stage.cli(&["registry", "token", "--for", &inside]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let ran = stage
        .cli(&["registry", "token", "--for", "https://other.example"])
        .await;
    assert_ne!(ran.code, 0);
    assert_eq!(ran.stdout, "");
    assert!(
        ran.stderr.contains("https://other.example"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn case_72_other_programs_get_a_token_only_when_they_may_and_for_its_origin() {
    let stage = stage().await;
    use_client_secret(&stage).await;
    let ask = |url: String| {
        let stage = &stage;
        async move {
            let question = json!({"version": 1, "kind": "get", "url": url}).to_string();
            piped(stage, &["registry", "auth-helper"], &question).await
        }
    };
    let ran = ask(stage.registry.url()).await;
    assert_eq!(
        (ran.code, &ran.json()["error"]),
        (1, &json!("disabled")),
        "{}",
        ran.transcript()
    );
    assert_eq!(grants(&stage), 0);
    done(&stage, &["config", "set-auth-helper", "on"], "").await;
    let ran = ask(stage.registry.at("/v0.1/servers")).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let answer = ran.json();
    let value = answer["value"]
        .as_str()
        .unwrap()
        .strip_prefix("Bearer ")
        .unwrap();
    assert!(
        stage
            .provider
            .secrets()
            .iter()
            .any(|secret| secret == value)
    );
    assert_eq!(answer["header"], "Authorization");
    assert!(answer["expires_at"].is_string(), "{answer}");
    let ran = ask("https://other.example/".to_owned()).await;
    assert_eq!(
        (ran.code, &ran.json()["error"]),
        (1, &json!("wrong_origin")),
        "{}",
        ran.transcript()
    );
    let ran = piped(&stage, &["registry", "auth-helper"], "{}").await;
    assert_eq!(
        (ran.code, &ran.json()["error"]),
        (2, &json!("bad_request")),
        "{}",
        ran.transcript()
    );
    done(&stage, &["config", "set-auth-helper", "off"], "").await;
    let ran = ask(stage.registry.url()).await;
    assert_eq!(ran.json()["error"], "disabled", "{}", ran.transcript());
}
