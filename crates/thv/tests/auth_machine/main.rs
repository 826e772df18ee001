//! Credentials that need no person: each way from the command line to a catalog behind a registry that checks the audience, and what
//! clients are told when a way fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

#[path = "../auth_kit/mod.rs"]
mod auth_kit;
mod checks;
mod client;
#[cfg(unix)]
mod command;
mod given;
mod handing_out;
mod settings;
mod workload;

use auth_kit::{Stage, THV, info, names};
use serde_json::Value;
use thv_testkit::binary::{Ran, Server, cli_with};
use thv_testkit::provider::Client;
use thv_testkit::registry::Guard;

pub(crate) const SECRET: &str = "a-client-secret-of-some-length";
pub(crate) const TOKEN: &str = "a-static-token-that-nobody-may-see";

/// A stage whose registry has no login configured.
pub(crate) async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.home.use_api(&stage.registry.url());
    stage
}

/// The same with a registry that takes one static token only.
pub(crate) async fn static_stage(header: Option<&str>) -> Stage {
    let stage = stage().await;
    stage.registry.protect(Guard::of_key(header, TOKEN));
    stage
}

pub(crate) async fn piped(stage: &Stage, arguments: &[&str], stdin: &str) -> Ran {
    let env = stage.env();
    let env: Vec<(&str, &str)> = env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    cli_with(THV, &stage.home, arguments, &env, stdin.as_bytes()).await
}

pub(crate) async fn done(stage: &Stage, arguments: &[&str], stdin: &str) {
    let ran = piped(stage, arguments, stdin).await;
    assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.transcript());
}

/// The service client that proves itself with a secret kept in the store.
pub(crate) async fn use_client_secret(stage: &Stage) {
    stage
        .provider
        .register(Client::public("ci", &[]).basic(SECRET));
    done(
        stage,
        &[
            "config",
            "set-registry-credential",
            "client-credentials",
            "--issuer",
            &stage.provider.issuer(),
            "--client-id",
            "ci",
            "--secret-stdin",
            "--resource",
            &stage.registry.url(),
            "--scopes",
            "registry:read",
        ],
        &format!("{SECRET}\n"),
    )
    .await;
}

pub(crate) fn grants(stage: &Stage) -> usize {
    stage.provider.token_count("client_credentials")
}

pub(crate) async fn assert_catalog(stage: &Stage, server: &Server, auth_type: &str) {
    assert_eq!(names(server).await.len(), 6, "{}", server.stderr());
    let told = info(server).await;
    assert_eq!(told["auth_type"], auth_type, "{told}");
    assert_eq!(told["auth_status"], "authenticated", "{told}");
    let ran = stage.cli(&["registry", "list", "--format", "json"]).await;
    assert_eq!(
        ran.json().as_array().map(Vec::len),
        Some(6),
        "{}",
        ran.transcript()
    );
    assert!(stage.opener.urls().is_empty(), "a browser was opened");
    assert_eq!(stage.authorizations(), 0);
}

pub(crate) fn registries_file(stage: &Stage) -> Value {
    let path = stage.home.config_file().with_file_name("registries.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
