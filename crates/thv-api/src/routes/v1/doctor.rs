//! Why the login to a registry does not work: the same examination as `thv doctor` makes, by the server.

use std::sync::Arc;

use axum::response::Response;
use http::{HeaderValue, header};
use serde::Serialize;
use thv_auth::doctor::{Check, Diagnosis};
use utoipa::ToSchema;

use crate::error::{Problem, ProblemBody};
use crate::head::Head;
use crate::reply;
use crate::state::{About, State};
use crate::wire::json;

/// Index of the path segment that names the registry.
const NAME: usize = 3;

/// What an examination found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RegistryDiagnosis)]
pub(crate) struct DiagnosisBody<'a> {
    /// Name of the registry.
    #[schema(example = "default")]
    registry: &'a str,
    #[serde(flatten)]
    #[schema(value_type = DiagnosisSchema)]
    diagnosis: Diagnosis,
}

/// Find out why a registry cannot be read
///
/// Looks at the configuration, the secret store, the locks, the ways to the registry and to its identity provider, the rules of
/// the provider's metadata, the clocks and the token, or at what a credential needs that is used in place of a login. No token is fetched. Takes up to a minute, changes nothing and starts no login. Who asks while an
/// examination is made, or within two seconds after it, is told what that one finds.
#[utoipa::path(
    get,
    path = "/api/v1/registries/{name}/auth/doctor",
    operation_id = "diagnoseRegistryAuth",
    tag = "registry",
    params(("name" = String, Path, description = "Registry name")),
    responses(
        (status = 200, description = "What was found", body = DiagnosisBody<'static>),
        (status = 404, description = "No registry has this name", body = ProblemBody<'static>, content_type = "application/problem+json"),
        (status = 500, description = "The examination broke off", body = ProblemBody<'static>, content_type = "application/problem+json")
    )
)]
pub(crate) async fn diagnose(state: State, head: Head) -> Result<Response, Problem> {
    let registry = state.registry(head.segment(NAME))?;
    let reported = state.auth.report().await;
    let about = About::of(&registry, reported.as_ref());
    let shared = Arc::clone(&state.0);
    let examining = state.examination.answer(about, || async move {
        let _turn = shared.examining.lock().await;
        shared.auth.diagnose(thv_registry::question_url).await
    });
    let diagnosis = examining
        .await
        .ok_or_else(|| Problem::internal("the examination broke off"))?;
    let version = Check::ok("program.version", &state.version);
    let body = DiagnosisBody {
        registry: registry.name(),
        diagnosis: Diagnosis::of(diagnosis.checked_at, vec![version])
            .with(diagnosis.checks.clone()),
    };
    let mut response = reply::ok(json::line(&body));
    // It names a person, and is outdated at once.
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The documentation of `thv_auth::doctor::Diagnosis`, which writes itself.
#[derive(ToSchema)]
#[schema(as = RegistryDiagnosisChecks)]
#[expect(dead_code, reason = "documentation; nobody makes one")]
struct DiagnosisSchema {
    /// When, by this machine's clock.
    #[schema(format = DateTime)]
    checked_at: String,
    /// The worst outcome among the checks.
    #[schema(example = "warning")]
    outcome: String,
    /// The checks, from this machine outwards.
    #[schema(inline)]
    checks: Vec<CheckSchema>,
}

/// One question and its answer.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documentation; nobody makes one")]
struct CheckSchema {
    /// Which question; these names stay as they are.
    #[schema(example = "issuer.identity")]
    id: String,
    /// `ok`, `warning`, `failed`, or `skipped` when there was nothing to check.
    #[schema(example = "failed")]
    outcome: String,
    /// What was seen.
    evidence: String,
    /// What to do about it.
    #[schema(nullable = false)]
    fix: Option<String>,
}
