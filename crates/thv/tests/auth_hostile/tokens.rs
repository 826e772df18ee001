//! Answers of the token endpoint that are not what they should be, and where tokens must not be found (cases 42, 43, 72, 75).

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use thv_testkit::browse::browse;
use thv_testkit::client::Answer;
use thv_testkit::provider::{Behaviour, Fault, Rule, paths};

use crate::auth_kit::{
    AUTH, LOGOUT, REFRESH, STANDARD, Stage, assert_needs_login, end_of, names, report,
};

fn raw(status: u16, media_type: &str, body: impl Into<String>) -> Fault {
    Fault::Raw {
        status,
        media_type: media_type.to_owned(),
        body: body.into(),
    }
}

/// A login that comes to nothing because of the token endpoint.
async fn refused(fault: Fault) -> Answer {
    let stage = Stage::new().await;
    stage
        .provider
        .break_with(Rule::always(fault.clone()).on(paths::TOKEN));
    let server = stage.server().await;
    let answer = stage.log_in(&server).await;
    assert_eq!(answer.status, 502, "{fault:?}: {answer:?}");
    assert_eq!(
        stage.provider.token_count("authorization_code"),
        1,
        "{fault:?}"
    );
    assert_needs_login(&server.get(STANDARD).await, "never_logged_in");
    assert_eq!(report(&server).await["state"], "login_required");
    answer
}

#[tokio::test]
async fn c42_answers_that_are_no_tokens() {
    let token = |token: &str| {
        json!({"access_token": token, "token_type": "Bearer", "expires_in": 60}).to_string()
    };
    for body in [
        token(""),
        token("a\r\nX-Evil: 1"),
        token("t\u{f6}ken"),
        token(&"x".repeat(2 * 1024 * 1024)),
        r#"{"access_token":["a"],"token_type":"Bearer"}"#.to_owned(),
        r#"{"access_token":"aaaa","access_token":"bbbb","token_type":"Bearer"}"#.to_owned(),
        r#"{"access_token":"aaaa","token_type":"mac"}"#.to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
    ] {
        refused(raw(200, "application/json", body)).await;
    }
}

#[tokio::test]
async fn c43_pages_in_place_of_tokens_at_a_login() {
    for fault in [
        Fault::Html(200),
        Fault::Html(400),
        Fault::Empty,
        Fault::Garbage,
        Fault::Huge(20 * 1024 * 1024),
        Fault::Cut,
        raw(
            200,
            "text/html",
            r#"{"access_token":"aaaaaaaaaaaaaaaa","token_type":"Bearer"}"#,
        ),
    ] {
        refused(fault).await;
    }
}

/// A login whose answer is changed: what the report says of it.
async fn report_with(change: impl FnOnce(&mut Behaviour)) -> Value {
    let stage = Stage::new().await;
    stage.provider.behave(change);
    let server = stage.server().await;
    let answer = stage.log_in(&server).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(names(&server).await.len(), 6);
    report(&server).await
}

#[tokio::test]
async fn c42_lifetimes_that_make_no_sense_are_unknown_ones() {
    for lifetime in [json!(-1), json!(null), json!(1e308), json!("soon")] {
        let report =
            report_with(|behaviour| behaviour.answer_with("expires_in", lifetime.clone())).await;
        assert_eq!(report["expires_at"], Value::Null, "{lifetime}: {report}");
    }
    let report = report_with(|behaviour| behaviour.answer_with("expires_in", "3600")).await;
    assert!(report["expires_at"].is_string(), "{report}");
    let moment = |member: &str| report[member].as_str().map(str::to_owned);
    assert!(moment("next_refresh_at") < moment("expires_at"), "{report}");
    assert!(
        moment("next_refresh_at") > moment("received_at"),
        "{report}"
    );
    let report = report_with(|behaviour| behaviour.answer_without("expires_in")).await;
    assert_eq!(report["expires_at"], Value::Null, "{report}");
}

#[tokio::test]
async fn c42_a_scope_that_is_wider_than_asked_shows() {
    let report =
        report_with(|behaviour| behaviour.answer_with("scope", "registry:read admin:everything"))
            .await;
    assert!(
        report["scopes"]["granted"]
            .to_string()
            .contains("admin:everything"),
        "{report}"
    );
    assert!(
        !report["scopes"]["requested"].to_string().contains("admin"),
        "{report}"
    );
    assert_eq!(report["scopes"]["unrequested"], json!(["admin:everything"]));
}

#[tokio::test]
async fn c42_a_scope_that_is_wider_than_asked_is_told_at_the_login_and_in_the_status() {
    let stage = Stage::new().await;
    stage
        .provider
        .behave(|behaviour| behaviour.answer_with("scope", "registry:read admin:everything"));
    let login = stage.start_cli(&["registry", "login", "--no-browser"]);
    let _ = browse(&stage.printed_url(&login).await).await;
    let ran = login.ended().await;
    assert!(
        ran.stderr
            .contains("granted more than was asked for: admin:everything."),
        "{}",
        ran.transcript()
    );
    let status = stage.cli(&["registry", "status"]).await;
    assert!(status.stdout.contains("Unasked"), "{}", status.transcript());
    let server = stage.server().await;
    let login = server
        .post("/api/v1/registries/default/auth/logins", &json!({}))
        .await;
    let login = login.json();
    let _ = browse(login["methods"][0]["authorization_url"].as_str().unwrap()).await;
    let ended = end_of(&server, &login).await;
    assert_eq!(
        ended["outcome"]["unrequested_scopes"],
        json!(["admin:everything"])
    );
}

#[tokio::test]
async fn e72_no_answer_holds_a_token() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    let mut answers = vec![
        server.get(AUTH).await,
        server.get("/api/openapi.json").await,
        server.get("/api/v1beta/secrets/default/keys").await,
    ];
    for path in stage.reads() {
        answers.push(server.get(&path).await);
    }
    for path in [
        "/api/v1/registries/default/auth/token",
        "/api/v1/registries/default/token",
        "/api/v1beta/registry/default/token",
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        answers.push(answer);
    }
    answers.push(server.post(REFRESH, &json!({})).await);
    answers.push(server.post(LOGOUT, &json!({})).await);
    let secrets = stage.provider.secrets();
    for answer in answers {
        let text = format!("{:?} {}", answer.headers, answer.text());
        assert!(
            !secrets.iter().any(|secret| text.contains(secret)),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn f75_files_are_private_whatever_the_umask() {
    let stage = Stage::new().await;
    // A shell that sets the umask and becomes the program.
    let umask = stage.home.write_program(
        "umask.sh",
        &format!(
            "#!/bin/sh\numask 000\nexec '{}' \"$@\"\n",
            crate::auth_kit::THV
        ),
    );
    let server = thv_testkit::binary::Setup::new(umask.to_str().unwrap(), &stage.home)
        .envs(stage.env())
        .start()
        .await;
    assert_eq!(stage.log_in(&server).await.status, 200);
    assert_eq!(names(&server).await.len(), 6);
    assert_eq!(server.post(REFRESH, &json!({})).await.status, 200);
    for folder in ["config", "data", "state/toolhive/server", "cache"] {
        for path in everything_below(&stage.home.join(folder)) {
            // The tests themselves made the configuration.
            if path.ends_with("config/toolhive")
                || path.ends_with("config")
                || path.ends_with("config.yaml")
            {
                continue;
            }
            let mode = std::fs::symlink_metadata(&path)
                .unwrap()
                .permissions()
                .mode()
                & 0o777;
            assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
        }
    }
}

fn everything_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        found.push(entry.path());
        if entry.path().is_dir() {
            found.extend(everything_below(&entry.path()));
        }
    }
    found
}
