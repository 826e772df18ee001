//! What the status and the doctor say of credentials that need no person: whether the registry takes them, what is wrong, and what to do.

use super::{TOKEN, done, grants, piped, stage, static_stage, use_client_secret};
use crate::auth_kit::{AUTH, LOGIN, Stage, names, report};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use thv_testkit::binary::Server;

const DOCTOR: &str = "/api/v1/registries/default/auth/doctor";

/// The check `id` in a diagnosis, as its outcome, evidence and fix in one line.
fn told(diagnosis: &Value, id: &str) -> String {
    let checks = diagnosis["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["id"] == id);
    let check = check.unwrap_or_else(|| panic!("no {id} in {diagnosis:#}"));
    ["outcome", "evidence", "fix"]
        .map(|member| check[member].as_str().unwrap_or_default())
        .join(" | ")
}

async fn doctor(stage: &Stage, env: &[(&str, &str)]) -> (i32, Value) {
    let ran = stage.cli_with(&["doctor", "--format", "json"], env).await;
    (ran.code, ran.json())
}

/// `thv registry status --check` as JSON and as text.
async fn status(stage: &Stage, env: &[(&str, &str)]) -> (Value, String) {
    let check = ["registry", "status", "--check"];
    let json = [&check[..], &["--format", "json"]].concat();
    let json = stage.cli_with(&json, env).await.json()["login"].clone();
    (json, stage.cli_with(&check, env).await.stdout)
}

async fn live(server: &Server) -> Value {
    let answer = server.get(&format!("{AUTH}?check=live")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
}

#[cfg(not(unix))]
fn set_mode(_path: &Path, _mode: u32) {}

/// A bearer token in a file of ours.
async fn with_file(stage: &Stage, text: &str) -> PathBuf {
    let file = stage.home.write("run/token", text);
    set_mode(&file, 0o600);
    let path = file.display().to_string();
    let set = ["config", "set-registry-credential", "bearer", "--file"];
    done(stage, &[&set[..], &[&path]].concat(), "").await;
    file
}

#[tokio::test]
async fn a_token_that_the_registry_takes_is_accepted_wherever_one_asks() {
    let stage = static_stage(None).await;
    let _ = with_file(&stage, TOKEN).await;
    let (code, diagnosis) = doctor(&stage, &[]).await;
    assert_eq!(code, 0, "{diagnosis:#}");
    assert!(told(&diagnosis, "registry.token").starts_with("ok | the registry takes it"));
    let secret = told(&diagnosis, "credential.secret");
    assert!(secret.starts_with("ok | the file "), "{secret}");
    assert!(
        secret.contains("34 bytes") && !secret.contains("nobody else"),
        "{secret}"
    );
    let (login, text) = status(&stage, &[]).await;
    assert_eq!(login["live"]["result"], "accepted", "{login}");
    assert!(login["next_step"].is_null(), "{login}");
    assert!(text.contains("it takes the token"), "{text}");
    let server = stage.server().await;
    assert_eq!(live(&server).await["live"]["result"], "accepted");
    let diagnosis = server.get(DOCTOR).await.json();
    assert!(told(&diagnosis, "registry.token").starts_with("ok"));
    assert!(!diagnosis.to_string().contains(TOKEN));
}

#[tokio::test]
async fn a_token_that_the_registry_refuses_is_named_with_its_file() {
    let stage = static_stage(None).await;
    let file = with_file(&stage, "an-outdated-token").await;
    let file = file.display().to_string();
    let (code, diagnosis) = doctor(&stage, &[]).await;
    assert_eq!(code, 1, "{diagnosis:#}");
    let token = told(&diagnosis, "registry.token");
    assert!(
        token.starts_with("failed") && token.contains("401"),
        "{token}"
    );
    assert!(token.contains(&file), "{token}");
    let (login, text) = status(&stage, &[]).await;
    assert_eq!(login["live"]["result"], "refused", "{login}");
    assert_eq!(login["state"], "login_required", "{login}");
    assert_eq!(login["reason"], "registry_rejected_token", "{login}");
    let step = login["next_step"].as_str().unwrap_or_default();
    assert!(step.contains(&file), "{login}");
    assert!(!text.contains("not needed"), "{text}");
    assert!(text.contains(&format!("To do:      {step}")), "{text}");
    let server = stage.server().await;
    let login = live(&server).await;
    assert_eq!(login["live"]["result"], "refused", "{login}");
    assert_eq!(login["next_step"], step, "{login}");
    let _ = server.get("/v0.1/servers").await;
    assert_eq!(report(&server).await["next_step"], step);
    let token = told(&server.get(DOCTOR).await.json(), "registry.token");
    assert!(token.contains(&file), "{token}");
}

#[tokio::test]
async fn a_token_of_the_environment_is_asked_about_and_its_variable_is_what_to_change() {
    let stage = static_stage(None).await;
    let good = [("THV_REGISTRY_TOKEN", TOKEN)];
    assert_eq!(status(&stage, &good).await.0["live"]["result"], "accepted");
    let (code, diagnosis) = doctor(&stage, &good).await;
    assert_eq!(code, 0, "{diagnosis:#}");
    assert!(told(&diagnosis, "credential.secret").contains("34 bytes"));
    let bad = [("THV_REGISTRY_TOKEN", "an-outdated-token")];
    let half = [("THV_REGISTRY_TOKEN_URL", "https://registry.example")];
    let (login, _) = status(&stage, &bad).await;
    assert_eq!(login["live"]["result"], "refused", "{login}");
    for (env, id) in [
        (&bad[..], "registry.token"),
        (&half[..], "credential.in_place_of_login"),
    ] {
        let (code, diagnosis) = doctor(&stage, env).await;
        assert_eq!(code, 1, "{diagnosis:#}");
        let told = told(&diagnosis, id);
        assert!(told.starts_with("failed"), "{told}");
        let fix = told.rsplit(" | ").next().unwrap_or_default();
        assert!(fix.contains("THV_REGISTRY_TOKEN"), "{told}");
        let step = status(&stage, env).await.0["next_step"].clone();
        assert_eq!(step, fix);
        let ran = stage.cli_with(&["registry", "list"], env).await;
        assert_eq!(ran.code, 3, "{}", ran.transcript());
        assert!(
            !ran.stderr.contains("set-registry-credential"),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains("THV_REGISTRY_TOKEN"), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_told_when_it_is_named_and_when_one_looks() {
    let stage = static_stage(None).await;
    let absent = stage.home.join("run/token").display().to_string();
    let set = ["config", "set-registry-credential"];
    let issuer = stage.provider.issuer();
    let client = ["--issuer", &issuer, "--client-id", "ci", "--private-key"];
    let exchange = ["--issuer", &issuer, "--token-file"];
    for (kind, flags, id) in [
        ("bearer", &["--file"][..], "credential.secret"),
        ("client-credentials", &client, "credential.key"),
        ("token-exchange", &exchange, "credential.workload_token"),
        ("command", &[], "credential.command"),
    ] {
        let line = [&set[..], &[kind], flags, &[&absent]].concat();
        let ran = piped(&stage, &line, "").await;
        assert_eq!(ran.code, 0, "{}", ran.transcript());
        let is_said = ran.stderr.contains(&absent) && ran.stderr.contains(" yet");
        assert!(is_said, "{}", ran.transcript());
        let (code, diagnosis) = doctor(&stage, &[]).await;
        assert_eq!(code, 1, "{diagnosis:#}");
        let found = told(&diagnosis, id);
        assert!(found.starts_with("failed"), "{found}");
        assert!(found.contains(&absent), "{found}");
        let fix = found.rsplit(" | ").next().unwrap_or_default();
        assert!(!fix.is_empty() && !fix.contains("thv doctor"), "{found}");
        let (login, text) = status(&stage, &[]).await;
        if kind != "command" {
            assert_eq!(login["state"], "credential_unusable", "{login}");
            assert!(text.contains("To do:"), "{text}");
        }
        assert_eq!(login["live"]["result"], "no_token", "{login}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_everybody_can_change_is_not_used_and_one_that_others_reach_is_told() {
    let stage = static_stage(None).await;
    let file = with_file(&stage, TOKEN).await;
    for mode in [0o666, 0o602] {
        set_mode(&file, mode);
        let ran = stage.cli(&["registry", "list", "--refresh"]).await;
        assert_eq!(ran.code, 3, "{mode:o}: {}", ran.transcript());
        assert!(ran.stderr.contains("chmod go-w"), "{}", ran.stderr);
        let (_, diagnosis) = doctor(&stage, &[]).await;
        let secret = told(&diagnosis, "credential.secret");
        assert!(secret.starts_with("failed"), "{secret}");
        let (login, _) = status(&stage, &[]).await;
        let step = login["next_step"].as_str().unwrap_or_default();
        assert!(step.contains("chmod go-w"), "{login}");
    }
    assert!(stage.registry.bearers().is_empty());
    // As Kubernetes mounts them: a link to a link to a file that others can read.
    let (data, folder) = (
        stage.home.write("mnt/..1/token", TOKEN),
        stage.home.join("mnt"),
    );
    std::os::unix::fs::symlink("..1", folder.join("..data")).expect("a link");
    std::os::unix::fs::symlink("..data/token", folder.join("token")).expect("a link");
    let link = folder.join("token").display().to_string();
    let set = [
        "config",
        "set-registry-credential",
        "bearer",
        "--file",
        &link,
    ];
    for (mode, said) in [
        (0o644, "can read it"),
        (0o640, "can read it"),
        (0o664, "can change it"),
    ] {
        set_mode(&data, mode);
        let ran = piped(&stage, &set, "").await;
        assert!(ran.stderr.contains(said), "{}", ran.transcript());
        let ran = stage.cli(&["registry", "list", "--refresh"]).await;
        assert_eq!(ran.code, 0, "{mode:o}: {}", ran.transcript());
        let (code, diagnosis) = doctor(&stage, &[]).await;
        assert_eq!(code, 0, "{diagnosis:#}");
        let secret = told(&diagnosis, "credential.secret");
        assert!(
            secret.starts_with("warning") && secret.contains(said),
            "{secret}"
        );
        let (login, text) = status(&stage, &[]).await;
        assert_eq!(login["live"]["result"], "accepted", "{login}");
        assert!(
            login["warnings"][0]
                .as_str()
                .is_some_and(|text| text.contains(said))
        );
        assert!(text.contains("Warning:"), "{text}");
    }
}

#[tokio::test]
async fn the_doctor_looks_at_the_issuer_of_a_client_and_asks_it_for_no_token() {
    let stage = stage().await;
    use_client_secret(&stage).await;
    let (code, diagnosis) = doctor(&stage, &[]).await;
    assert_eq!(code, 0, "{diagnosis:#}");
    for id in [
        "credential.secret",
        "issuer.reachable",
        "issuer.metadata",
        "issuer.identity",
        "issuer.endpoints",
        "issuer.clock",
    ] {
        let found = told(&diagnosis, id);
        assert!(found.starts_with("ok"), "{id}: {found}");
    }
    let token = told(&diagnosis, "registry.token");
    assert!(
        token.starts_with("skipped") && token.contains("fetched none"),
        "{token}"
    );
    assert_eq!(grants(&stage), 0);
    // A server has the token that it reads with.
    let server = stage.server().await;
    let before = live(&server).await;
    assert_eq!(before["live"]["result"], "no_token", "{before}");
    assert!(!names(&server).await.is_empty());
    assert_eq!(live(&server).await["live"]["result"], "accepted");
    let diagnosis = server.get(DOCTOR).await.json();
    assert!(
        told(&diagnosis, "registry.token").starts_with("ok"),
        "{diagnosis:#}"
    );
    assert_eq!(grants(&stage), 1);
    let set = ["config", "set-registry-credential", "client-credentials"];
    let issuer = stage.provider.issuer();
    let named = [
        "--issuer",
        &issuer,
        "--client-id",
        "ci",
        "--secret-name",
        "acme",
    ];
    done(&stage, &[&set[..], &named].concat(), "").await;
    let secret = told(&doctor(&stage, &[]).await.1, "credential.secret");
    assert!(
        secret.starts_with("failed") && secret.contains("`thv secret set acme`"),
        "{secret}"
    );
    stage.provider.refuse().await;
    let (code, diagnosis) = doctor(&stage, &[]).await;
    assert_eq!(code, 1, "{diagnosis:#}");
    for id in ["issuer.reachable", "issuer.metadata"] {
        let found = told(&diagnosis, id);
        assert!(found.starts_with("failed"), "{id}: {found}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_doctor_runs_no_command_and_a_server_tells_what_the_last_run_brought() {
    let stage = static_stage(None).await;
    let script = stage
        .home
        .write("bin/token", "#!/bin/sh\ntouch \"$0.ran\"\necho garbage\n");
    set_mode(&script, 0o700);
    let path = script.display().to_string();
    let set = ["config", "set-registry-credential", "command", &path];
    done(&stage, &set, "").await;
    let (_, diagnosis) = doctor(&stage, &[]).await;
    let command = told(&diagnosis, "credential.command");
    assert!(
        command.starts_with("ok") && command.contains("not run here"),
        "{command}"
    );
    let (login, _) = status(&stage, &[]).await;
    assert_eq!(login["live"]["result"], "no_token", "{login}");
    assert!(!script.with_extension("ran").exists());
    let server = stage.server().await;
    assert_eq!(server.get("/v0.1/servers").await.status, 503);
    let diagnosis = server.get(DOCTOR).await.json();
    let fetch = told(&diagnosis, "credential.last_fetch");
    assert!(
        fetch.starts_with("failed") && fetch.contains("not JSON"),
        "{fetch}"
    );
    let step = report(&server).await["next_step"].clone();
    assert!(
        step.as_str().is_some_and(|step| step.contains(&path)),
        "{step}"
    );
}

#[tokio::test]
async fn a_login_beside_a_credential_names_it_and_what_takes_it_away() {
    let stage = static_stage(None).await;
    let _ = with_file(&stage, TOKEN).await;
    let server = stage.server().await;
    for path in [LOGIN, "/api/v1/registries/default/auth/logins"] {
        let answer = server.post(path, &json!({})).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        let text = answer.text();
        assert!(text.contains("Registry OAuth not configured"), "{text}");
        assert!(text.contains("(bearer, "), "{text}");
        assert!(
            text.contains("thv config unset-registry-credential"),
            "{text}"
        );
    }
    let ran = stage.cli(&["registry", "login"]).await;
    assert_ne!(ran.code, 0, "{}", ran.transcript());
    assert!(
        ran.stderr.contains("unset-registry-credential"),
        "{}",
        ran.transcript()
    );
}

#[tokio::test]
async fn case_125_a_check_with_a_key_that_is_not_there_asks_the_issuer_nothing_and_writes_nothing()
{
    let stage = stage().await;
    let absent = stage.home.join("run/key.pem").display().to_string();
    let set = ["config", "set-registry-credential", "client-credentials"];
    let issuer = stage.provider.issuer();
    let client = ["--issuer", &issuer, "--client-id", "ci", "--private-key"];
    done(&stage, &[&set[..], &client, &[&absent]].concat(), "").await;
    let file = stage.home.config_file().with_file_name("registries.json");
    let before = std::fs::read(&file).unwrap();
    let check = ["registry", "status", "--check"];
    for more in [&[][..], &["--format", "json"]] {
        let ran = stage.cli(&[&check[..], more].concat()).await;
        assert_eq!(ran.code, 3, "{}", ran.transcript());
        assert!(ran.stdout.contains(&absent), "{}", ran.transcript());
        assert!(ran.stdout.contains("not read"), "{}", ran.transcript());
    }
    assert!(stage.provider.requests().is_empty());
    assert!(stage.registry.bearers().is_empty());
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[tokio::test]
async fn case_128_the_doctor_holds_a_token_endpoint_to_no_rule_of_issuers() {
    let stage = stage().await;
    stage
        .provider
        .register(thv_testkit::provider::Client::public("ci", &[]).basic(super::SECRET));
    let set = ["config", "set-registry-credential", "client-credentials"];
    let client = [
        "--client-id",
        "ci",
        "--secret-stdin",
        "--scopes",
        "registry:read",
    ];
    let endpoint = format!(
        "{}?p=b2c",
        stage.provider.at(thv_testkit::provider::paths::TOKEN)
    );
    let named = ["--token-endpoint", &endpoint];
    done(&stage, &[&set[..], &client, &named].concat(), super::SECRET).await;
    let (code, diagnosis) = doctor(&stage, &[]).await;
    assert_eq!(code, 0, "{diagnosis:#}");
    assert!(told(&diagnosis, "issuer.url").starts_with("skipped"));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn case_127_a_file_that_this_program_may_not_read_is_no_fine_one() {
    use thv_testkit::{binary::cli_with, unprivileged};
    let stage = static_stage(None).await;
    let token = with_file(&stage, TOKEN).await;
    set_mode(&token, 0o200);
    let config = stage.home.config_file();
    set_mode(&config.with_file_name("registries.json"), 0o644);
    set_mode(&config, 0o644);
    let thv = unprivileged::install(super::THV, stage.home.path());
    unprivileged::close_to_writers(stage.home.path());
    let status = ["registry", "status", "--check", "--format", "json"];
    let ran = cli_with(&thv, &stage.home, &status, &[], b"").await;
    unprivileged::open_to_all(stage.home.path());
    let login = ran.json()["login"].clone();
    assert_eq!(login["state"], "credential_unusable", "{login}");
    let step = login["next_step"].as_str().unwrap_or_default();
    let is_said = step.contains("let the user") && step.contains("run/token");
    assert!(is_said, "{login}");
}
