//! Changes of registries, catalogs and logins as a stream, so that clients need not poll.

use std::sync::Arc;

use axum::response::Response;

use crate::changes::{AuthChange, CatalogChange, LoginEnded, LoginStarted, RegistryChange};
use crate::error::{Problem, ProblemBody};
use crate::head::Head;
use crate::state::State;
use crate::stream;

/// What an event's data can be, by its type.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[schema(as = Change)]
#[expect(dead_code, reason = "it only describes the events in the document")]
pub(crate) enum Change<'a> {
    /// Data of `registry` events.
    Registry(RegistryChange<'a>),
    /// Data of `catalog` events.
    Catalog(CatalogChange<'a>),
    /// Data of `auth` events.
    Auth(AuthChange<'a>),
    /// Data of `login_started` events.
    LoginStarted(LoginStarted<'a>),
    /// Data of `login_ended` events.
    LoginEnded(LoginEnded<'a>),
}

/// Follow all changes
///
/// Server-sent events of the types `registry`, `catalog` and `auth`, each with the whole new state of what has changed, and
/// `login_started` and `login_ended` of the login that began last, if there was one. The
/// stream begins with the state of everything; with `Last-Event-ID` it begins with what has changed since that event.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    operation_id = "followChanges",
    tag = "registry",
    params(("Last-Event-ID" = Option<String>, Header, description = "Id of the last event that was received")),
    responses(
        (status = 200, description = "The events", body = Change<'static>, content_type = "text/event-stream"),
        (status = 429, description = "Too many clients wait", body = ProblemBody<'static>, content_type = "application/problem+json")
    )
)]
pub(crate) async fn follow(state: State, head: Head) -> Result<Response, Problem> {
    let place = state.following.enter()?;
    let shared = Arc::clone(&state.0);
    let reached = shared
        .changes
        .reached(stream::last_event_id(head.headers()));
    let next = move |reached: u64| {
        let shared = Arc::clone(&shared);
        async move { shared.changes.next(reached).await }
    };
    Ok(stream::response(reached, next, place))
}
