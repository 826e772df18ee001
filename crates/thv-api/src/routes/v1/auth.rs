//! Where the login to a registry stands: the whole picture, in every state, without asking anybody
//! outside and without spending anything.

use std::sync::Arc;

use axum::response::Response;
use http::{HeaderValue, header};
use jiff::Timestamp;
use serde::Serialize;
use thv_auth::machine::Way;
use thv_auth::status::{AuthReport, AuthState};
use thv_auth::{AuthFailure, LoginReason};
use thv_registry::{CatalogStatus, Fault, Registry};
use utoipa::ToSchema;

use super::report::AuthReportSchema;
use crate::error::{Action, ActionBody, Problem, ProblemBody, what_helps};
use crate::head::Head;
use crate::reply;
use crate::state::{About, Shared, State};
use crate::wire::json;

/// Index of the path segment that names the registry.
const NAME: usize = 3;

/// The login to a registry.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RegistryAuth)]
pub(crate) struct RegistryAuthBody<'a> {
    /// Name of the registry.
    #[schema(example = "default")]
    registry: &'a str,
    #[serde(flatten)]
    #[schema(value_type = AuthReportSchema)]
    report: AuthReport,
    /// Since when reads have met this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, nullable = false)]
    since: Option<Timestamp>,
    /// What can be done about it.
    actions: Vec<ActionBody>,
}

/// Get the state of a registry's login
///
/// Answers in every state, from what is stored and from what the last attempts met.
#[utoipa::path(
    get,
    path = "/api/v1/registries/{name}/auth",
    operation_id = "getRegistryAuth",
    tag = "registry",
    params(
        ("name" = String, Path, description = "Registry name"),
        ("check" = Option<String>, Query, description = "`live` asks the registry with the current token; the identity provider is never asked. Who asks within two seconds gets the same answer")
    ),
    responses(
        (status = 200, description = "The state of the login", body = RegistryAuthBody<'static>),
        (status = 404, description = "No registry has this name", body = ProblemBody<'static>, content_type = "application/problem+json"),
        (status = 500, description = "The configuration cannot be read", body = ProblemBody<'static>, content_type = "application/problem+json")
    )
)]
pub(crate) async fn report(state: State, head: Head) -> Result<Response, Problem> {
    let registry = state.registry(head.segment(NAME))?;
    let wants_live = head.query("check").is_some_and(|check| check == "live");
    let report = match state.auth.report().await {
        Ok(report) if wants_live => with_live(&state, &registry, report).await?,
        Ok(report) => report,
        // Settings that no login can be made with are none.
        Err(AuthFailure::NoBinding(why)) => AuthReport {
            detail: Some(why.to_string()),
            ..AuthReport::anonymous()
        },
        Err(failure) => return Err(Problem::no_report(&failure)),
    };
    let body = RegistryAuthBody::new(registry.name(), report, &registry.status());
    let mut response = reply::ok(json::line(&body));
    // It names a person, and is outdated at once.
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The same with what the registry says to the current token, which is asked once for all who want to know.
async fn with_live(
    state: &Shared,
    registry: &Registry,
    report: AuthReport,
) -> Result<AuthReport, Problem> {
    let about = About::of(registry, Ok(&report));
    let auth = Arc::clone(&state.auth);
    let asking = state.live.answer(about, || async move {
        Box::pin(auth.live_report(thv_registry::question_url)).await
    });
    match asking.await.as_deref() {
        Some(Ok(AuthReport {
            live: Some(live), ..
        })) => Ok(report.with_live(live.clone())),
        Some(Err(failure)) => Err(Problem::no_report(failure)),
        Some(Ok(_)) | None => Ok(report),
    }
}

// === impl RegistryAuthBody ===

impl<'a> RegistryAuthBody<'a> {
    /// The store's word on the login, with the registry's: it may refuse what looks good here, and
    /// may want a login where none is configured.
    fn new(registry: &'a str, mut report: AuthReport, catalog: &CatalogStatus) -> Self {
        let fault = catalog.fault.as_ref();
        if let Some((Fault::AuthRequired { reason, .. }, _)) = fault
            && matches!(
                reason,
                LoginReason::Rejected
                    | LoginReason::CredentialRejected
                    | LoginReason::InjectedRejected
                    | LoginReason::NotConfigured
            )
            && matches!(report.state, AuthState::None | AuthState::Authenticated)
        {
            report.refused(*reason);
        }
        let is_met = |fault: &Fault| match report.state {
            AuthState::LoginRequired => matches!(fault, Fault::AuthRequired { .. }),
            AuthState::ProviderUnavailable
            | AuthState::StoreUnavailable
            | AuthState::CredentialUnusable => {
                matches!(fault, Fault::Unavailable { .. })
            }
            AuthState::None | AuthState::Authenticated | AuthState::Ready => false,
        };
        Self {
            registry,
            since: fault
                .filter(|(fault, _)| is_met(fault))
                .map(|(_, since)| *since),
            actions: Action::all_for(actions(&report), registry),
            report,
        }
    }
}

fn actions(report: &AuthReport) -> &'static [Action] {
    let way = report.credential.as_ref().map(|credential| credential.way);
    if matches!(way, Some(Way::Environment | Way::Configured)) {
        // No login changes it, and it is configured where this server runs.
        return &[];
    }
    match report.state {
        AuthState::None | AuthState::Ready => &[],
        AuthState::StoreUnavailable | AuthState::CredentialUnusable => &[Action::Examine],
        AuthState::LoginRequired if report.issuer.is_none() => {
            what_helps(LoginReason::NotConfigured)
        }
        AuthState::LoginRequired => &[Action::LogIn, Action::StartLogin, Action::Examine],
        AuthState::Authenticated => &[Action::LogOut, Action::LogIn],
        AuthState::ProviderUnavailable => &[Action::LogOut, Action::LogIn, Action::Examine],
    }
}
