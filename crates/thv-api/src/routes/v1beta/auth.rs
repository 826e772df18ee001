//! Logging in to the registry and out of it. A login is the only request for which this server
//! opens a browser, and the only one that waits for a person; everything else about logins is
//! read and decided in `thv_auth`.

use axum::response::Response;
use http::HeaderMap;
use http::header::USER_AGENT;
use serde::Serialize;
use thv_auth::login::Requester;
use thv_auth::logout::LogoutReceipt;
use utoipa::ToSchema;

use crate::error::Problem;
use crate::head::Head;
use crate::login_desk::{Client, LoggedOut, LoginTarget};
use crate::reply;
use crate::routes::v1::logins::settle;
use crate::state::{Shared, State};
use crate::wire::json;

/// Where to log in; not subject to the deadline of other routes.
pub(crate) const LOGIN_PATH: &str = "/api/v1beta/registry/auth/login";

/// In this header clients of the Go program say which one they are.
const CLIENT_TYPE: &str = "x-client-type";

/// What a login came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LoginResponse {
    /// Always `authenticated`.
    #[schema(example = "authenticated")]
    status: &'static str,
}

/// What a logout came to.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct LogoutResponse {
    /// Always `logged_out`.
    #[schema(example = "logged_out")]
    status: &'static str,
    /// What became of each token at the identity provider.
    tokens: Vec<TokenBody>,
    /// How many secrets were deleted from the secret store.
    deleted: usize,
    /// How many of them were logins to other registries or with other clients: what they hold works at its provider until it
    /// expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    unopened: Option<usize>,
    /// Where a browser ends its own session at the identity provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    end_session_url: Option<String>,
    /// Whether the secret store takes no deletions, so that what it held is still there.
    read_only_store: bool,
    /// Whether nothing was done, because the logout followed a login of the desktop client that
    /// had just failed: the login before that stays.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    previous_login_kept: bool,
    /// What became of a credential that is no login: `deleted` for a token that was given to keep,
    /// `kept` for one that is configured or injected and still counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "deleted")]
    credential: Option<&'static str>,
}

/// What became of a token.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenBody {
    /// `refresh_token` or `access_token`.
    #[schema(example = "refresh_token")]
    token: &'static str,
    /// `revoked`, `unsupported`, `failed`, or `queued`: the provider did not answer, and is told later.
    #[schema(example = "revoked")]
    outcome: &'static str,
    /// Why it failed, or waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    cause: Option<String>,
}

/// Log in to the registry
///
/// Opens a browser on the server's machine and waits until somebody has logged in there, for at
/// most five minutes. A request that comes meanwhile joins the login that is under way. It ends
/// when all who wait for it have hung up (unless it was started as a resource), when the registry is
/// replaced, and at a logout. For a program no browser is opened after three that nobody has answered
/// within ten minutes, until a person acts; for the desktop client, where each is a person's click, after ten, for ten minutes.
#[utoipa::path(
    post,
    path = "/api/v1beta/registry/auth/login",
    operation_id = "loginRegistry",
    tag = "registry",
    responses(
        (status = 200, description = "Somebody has logged in, and the login is stored", body = LoginResponse),
        (status = 400, description = "No login is configured, or none can be started with its settings", body = String, content_type = "text/plain"),
        (status = 403, description = "The identity provider, or the person, refused", body = String, content_type = "text/plain"),
        (status = 409, description = "The login could not be stored, the port of its answer is in use, or it was ended by a logout or a change of the registry", body = String, content_type = "text/plain"),
        (status = 429, description = "Too many logins are under way, or too many of the last ones were answered by nobody: `Retry-After` says when there may be another, if no person acts before", body = String, content_type = "text/plain"),
        (status = 500, description = "The login could not be finished on this machine", body = String, content_type = "text/plain"),
        (status = 501, description = "No browser can be opened on this machine, or it has no display", body = String, content_type = "text/plain"),
        (status = 502, description = "The identity provider cannot be asked, or its answers cannot be used", body = String, content_type = "text/plain"),
        (status = 504, description = "Nobody has logged in in time", body = String, content_type = "text/plain")
    )
)]
pub(crate) async fn login(state: State, head: Head) -> Result<Response, Problem> {
    let target = target(&state)?;
    let client = client(head.headers());
    let requester = requester(head.headers());
    let outcome = state
        .desk
        .log_in(target, client, requester, settle(&state))
        .await;
    outcome.map_err(|failure| Problem::login_failed(&failure))?;
    Ok(reply::ok(json::line(&LoginResponse {
        status: "authenticated",
    })))
}

/// Log out of the registry
///
/// Ends a login that is under way, deletes the stored one and the catalog that was read with it,
/// and gives the tokens back to the identity provider, where that takes them.
///
/// The desktop client sends a logout by itself after every login of its that failed. One such
/// logout within ten seconds is answered as if done, with `previous_login_kept`, and does nothing:
/// a new login that failed says nothing of the one before, which may still work. A logout of any
/// other client, a second one, a later one, or one for other settings really logs out; only after
/// a login that was overtaken by other settings it is those that are left alone.
#[utoipa::path(
    post,
    path = "/api/v1beta/registry/auth/logout",
    operation_id = "logoutRegistry",
    tag = "registry",
    responses(
        (status = 200, description = "Nobody is logged in any more", body = LogoutResponse),
        (status = 400, description = "No login is configured", body = String, content_type = "text/plain"),
        (status = 409, description = "The secret store has to be unlocked or set up first", body = String, content_type = "text/plain"),
        (status = 500, description = "The login could not be deleted", body = String, content_type = "text/plain"),
        (status = 503, description = "The secret store is in use; try again", body = String, content_type = "text/plain")
    )
)]
pub(crate) async fn logout(state: State, head: Head) -> Result<Response, Problem> {
    let target = target(&state)?;
    // The one that was read for whoever logs out: after a logout it may be another's already.
    let registry = state.default_registry()?;
    let outcome = state.desk.log_out(&target, client(head.headers())).await;
    let body = match outcome {
        Ok(LoggedOut::Done(receipt)) => {
            registry.forget_catalog().await;
            LogoutResponse::of(receipt)
        }
        Ok(LoggedOut::Kept) => LogoutResponse {
            previous_login_kept: true,
            ..LogoutResponse::of(LogoutReceipt::default())
        },
        Err(failure) => return Err(Problem::logout_failed(&failure)),
    };
    Ok(reply::ok(json::line(&body)))
}

fn target(state: &Shared) -> Result<LoginTarget, Problem> {
    Ok(LoginTarget::of(state.default_registry()?.info()))
}

fn client(headers: &HeaderMap) -> Client {
    match headers.get(CLIENT_TYPE) {
        Some(value) if value == "toolhive-studio" => Client::Studio,
        _ => Client::Other,
    }
}

/// What the program that asks calls itself.
pub(crate) fn requester(headers: &HeaderMap) -> Option<Requester> {
    [CLIENT_TYPE, USER_AGENT.as_str()]
        .into_iter()
        .filter_map(|name| headers.get(name))
        .find_map(|value| Requester::new(&String::from_utf8_lossy(value.as_bytes())))
}

// === impl LogoutResponse ===

impl LogoutResponse {
    fn of(receipt: LogoutReceipt) -> Self {
        let tokens = receipt.tokens.into_iter().map(|token| TokenBody {
            token: token.token,
            outcome: token.outcome,
            cause: token.cause,
        });
        Self {
            status: "logged_out",
            tokens: tokens.collect(),
            deleted: receipt.deleted,
            unopened: (receipt.unopened > 0).then_some(receipt.unopened),
            end_session_url: receipt.end_session_url,
            read_only_store: receipt.read_only_store,
            previous_login_kept: false,
            credential: receipt.credential.map(|credential| credential.outcome),
        }
    }
}
