//! Logins as resources: started without anybody waiting, watched by polling or as a stream of events, answered with a
//! redirect that arrived elsewhere, and ended. None of these requests opens anything on this machine: they hand out addresses
//! and codes, and the client shows them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures_util::FutureExt;
use http::{HeaderValue, StatusCode, header};
use thv_auth::login::{LoginView, LoginWatch, Settle};

use super::login_body::LoginBody;
use crate::error::{Problem, ProblemBody};
use crate::head::Head;
use crate::limits;
use crate::reply;
use crate::routes::v1beta::auth::requester;
use crate::state::State;
use crate::stream::{self, Event};
use crate::wire::input::read_object;
use crate::wire::json;

/// Indexes of the path segments that name the registry and the login.
const NAME: usize = 3;
const ID: usize = 6;

/// Start a login to a registry
///
/// Hands out the ways in which the login can be finished, all at once; the first valid answer counts. Opens nothing on the
/// server's machine. A login that is under way is joined. It ends with an answer, with `DELETE`, at a logout, when the
/// registry is replaced, or after ten minutes; a client that goes away does not end it. A login of another account than the one
/// before comes to nothing (`account_mismatch`), unless `switch_account` says that it is meant.
#[utoipa::path(
    post,
    path = "/api/v1/registries/{name}/auth/logins",
    operation_id = "startRegistryLogin",
    tag = "registry",
    params(("name" = String, Path, description = "Registry name")),
    request_body(content = Option<StartRequest>, description = "Nothing is needed"),
    responses(
        (status = 201, description = "The login waits for a person", body = LoginBody<'static>),
        (status = 200, description = "A login was under way and is joined", body = LoginBody<'static>),
        (status = 400, description = "No login is configured, or none can be started with its settings", body = ProblemBody<'static>, content_type = "application/problem+json"),
        (status = 404, description = "No registry has this name", body = ProblemBody<'static>, content_type = "application/problem+json"),
        (status = 409, description = "The login could not be stored, or the port of its answer is in use", body = ProblemBody<'static>, content_type = "application/problem+json"),
        (status = 429, description = "Too many logins are under way, or three that programs started were answered by nobody within ten minutes: there is no other before a person logs in, refuses, or begins a login in a terminal, or before the time of `Retry-After`. One that its client has ended counts half", body = ProblemBody<'static>, content_type = "application/problem+json"),
        (status = 500, description = "No login can be made on this machine", body = ProblemBody<'static>, content_type = "application/problem+json"),
        (status = 502, description = "The identity provider cannot be asked, or its answers cannot be used", body = ProblemBody<'static>, content_type = "application/problem+json")
    )
)]
pub(crate) async fn start(state: State, request: Request) -> Result<Response, Problem> {
    let (head, body) = Head::with_body(request).await;
    let registry = state.registry(head.segment(NAME))?;
    let started = state
        .desk
        .start(
            requester(head.headers()),
            settle(&state),
            switches_account(&body)?,
        )
        .await
        .map_err(|failure| Problem::login_failed(&failure))?;
    let body = LoginBody::new(registry.name(), &started.view).joined(started.joined);
    let mut response = answer(&body);
    if !started.joined {
        *response.status_mut() = StatusCode::CREATED;
    }
    if let Ok(location) = HeaderValue::from_str(body.url()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Get a login
///
/// With `wait`, the answer comes when the login changes, or after so many seconds. An ended login can be asked for during a
/// quarter of an hour.
#[utoipa::path(
    get,
    path = "/api/v1/registries/{name}/auth/logins/{id}",
    operation_id = "getRegistryLogin",
    tag = "registry",
    params(
        ("name" = String, Path, description = "Registry name"),
        ("id" = String, Path, description = "Login id"),
        ("wait" = Option<u64>, Query, description = "Seconds to wait for a change; 50 at most count"),
        ("revision" = Option<u64>, Query, description = "The revision to wait for a change from; the one at the time of the request without it")
    ),
    responses(
        (status = 200, description = "The login", body = LoginBody<'static>),
        (status = 400, description = "A parameter is no number", body = ProblemBody<'static>, content_type = "application/problem+json"),
        (status = 404, description = "No registry or login has this name", body = ProblemBody<'static>, content_type = "application/problem+json"),
        (status = 429, description = "Too many clients wait", body = ProblemBody<'static>, content_type = "application/problem+json")
    )
)]
pub(crate) async fn get(state: State, head: Head) -> Result<Response, Problem> {
    let registry = state.registry(head.segment(NAME))?;
    let watch = watch(&state, &head)?;
    let mut view = watch.view();
    let wait = number(&head, "wait")?.unwrap_or_default();
    let since = number(&head, "revision")?.unwrap_or(view.revision);
    if wait > 0 && since == view.revision && !view.state.is_ended() {
        let _place = state.waiting.enter()?;
        let wait = Duration::from_secs(wait).min(limits::MAX_WAIT);
        // A login that did not change meanwhile is as it was.
        if let Ok(changed) = tokio::time::timeout(wait, watch.changed_from(since)).await {
            view = changed;
        }
    }
    Ok(answer(&LoginBody::new(registry.name(), &view)))
}

/// Follow a login
///
/// Server-sent events of type `login`, each with the login as `getRegistryLogin` gives it and its revision as id. The stream
/// ends with the login; `Last-Event-ID` resumes one that broke off, and gets 204 when there is nothing more to come.
#[utoipa::path(
    get,
    path = "/api/v1/registries/{name}/auth/logins/{id}/events",
    operation_id = "followRegistryLogin",
    tag = "registry",
    params(
        ("name" = String, Path, description = "Registry name"),
        ("id" = String, Path, description = "Login id"),
        ("Last-Event-ID" = Option<String>, Header, description = "Id of the last event that was received")
    ),
    responses(
        (status = 200, description = "The events", body = String, content_type = "text/event-stream"),
        (status = 204, description = "The last event was the last"),
        (status = 404, description = "No registry or login has this name", body = ProblemBody<'static>, content_type = "application/problem+json"),
        (status = 429, description = "Too many clients wait", body = ProblemBody<'static>, content_type = "application/problem+json")
    )
)]
pub(crate) async fn events(state: State, head: Head) -> Result<Response, Problem> {
    let registry = state.registry(head.segment(NAME))?;
    let watch = watch(&state, &head)?;
    let last = stream::last_event_id(head.headers())
        .and_then(|id| id.parse().ok())
        .unwrap_or_default();
    let view = watch.view();
    if view.state.is_ended() && view.revision == last {
        return Ok(stream::nothing_more());
    }
    let place = state.waiting.enter()?;
    let name = registry.name().to_owned();
    let follow = move |last: Option<u64>| {
        let (watch, name) = (watch.clone(), name.clone());
        async move {
            let view = watch.changed_from(last?).await;
            let event = Event {
                id: view.revision.to_string(),
                kind: "login",
                data: json::line(&LoginBody::new(&name, &view)),
            };
            Some((event, (!view.state.is_ended()).then_some(view.revision)))
        }
    };
    Ok(stream::response(Some(last), follow, place))
}

/// Hand over the answer to a login
///
/// Takes the address that the identity provider sent a browser back to, from a client that caught it or a person who copied
/// it. Whether the login succeeds with it shows in the login.
#[utoipa::path(
    post,
    path = "/api/v1/registries/{name}/auth/logins/{id}/callback",
    operation_id = "answerRegistryLogin",
    tag = "registry",
    params(
        ("name" = String, Path, description = "Registry name"),
        ("id" = String, Path, description = "Login id")
    ),
    request_body = CallbackRequest,
    responses(
        (status = 202, description = "The answer counts", body = LoginBody<'static>),
        (status = 400, description = "This is not the answer to this login, which goes on", body = ProblemBody<'static>, content_type = "application/problem+json"),
        (status = 404, description = "No registry or login has this name", body = ProblemBody<'static>, content_type = "application/problem+json"),
        (status = 410, description = "The login has had its answer", body = ProblemBody<'static>, content_type = "application/problem+json")
    )
)]
pub(crate) async fn callback(state: State, request: Request) -> Result<Response, Problem> {
    let (head, body) = Head::with_body(request).await;
    let registry = state.registry(head.segment(NAME))?;
    let watch = watch(&state, &head)?;
    let unreadable = |_| Problem::bad_request("send an object with the text member `url`");
    let body = read_object(&body).map_err(unreadable)?;
    let url = body
        .text("url")
        .map_err(unreadable)?
        .ok_or_else(|| Problem::bad_request("send an object with the text member `url`"))?;
    let taken = state.auth.hand_over(id(&head), url);
    taken
        .ok_or_else(Problem::no_such_login)?
        .map_err(Problem::callback_refused)?;
    let mut response = answer(&LoginBody::new(registry.name(), &watch.view()));
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// End a login
///
/// The port of its answer is free afterwards. A login that has ended stays as it is.
#[utoipa::path(
    delete,
    path = "/api/v1/registries/{name}/auth/logins/{id}",
    operation_id = "cancelRegistryLogin",
    tag = "registry",
    params(
        ("name" = String, Path, description = "Registry name"),
        ("id" = String, Path, description = "Login id")
    ),
    responses(
        (status = 200, description = "How the login ended", body = LoginBody<'static>),
        (status = 404, description = "No registry or login has this name", body = ProblemBody<'static>, content_type = "application/problem+json")
    )
)]
pub(crate) async fn cancel(state: State, head: Head) -> Result<Response, Problem> {
    let registry = state.registry(head.segment(NAME))?;
    let ended = state.auth.withdraw_login(id(&head)).await;
    let view: LoginView = ended.ok_or_else(Problem::no_such_login)?;
    Ok(answer(&LoginBody::new(registry.name(), &view)))
}

/// What a login may be.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = RegistryLoginStart)]
#[expect(dead_code, reason = "it only describes the body in the document")]
pub(crate) struct StartRequest {
    /// Whether it may be of another account than the login that is there.
    #[schema(default = false)]
    switch_account: Option<bool>,
}

fn switches_account(body: &[u8]) -> Result<bool, Problem> {
    if body.is_empty() {
        return Ok(false);
    }
    let flag = read_object(body).and_then(|body| body.flag("switch_account"));
    flag.map(Option::unwrap_or_default).map_err(|_| {
        Problem::bad_request("send nothing, or an object; `switch_account` is true or false")
    })
}

/// What answers a login.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = RegistryLoginCallback)]
#[expect(dead_code, reason = "it only describes the body in the document")]
pub(crate) struct CallbackRequest {
    /// The address that the browser was sent back to, with its query.
    #[schema(example = "http://localhost:8666/callback?code=…&state=…")]
    url: String,
}

/// After a login, the next read must not meet the refusal that made somebody log in.
pub(crate) fn settle(state: &State) -> Settle {
    let shared = Arc::clone(&state.0);
    Arc::new(move || {
        let shared = Arc::clone(&shared);
        async move { shared.read_again().await }.boxed()
    })
}

/// The login's name as it stands in the path; names hold nothing that would be encoded there.
fn id(head: &Head) -> &str {
    head.raw_segment(ID)
}

fn watch(state: &State, head: &Head) -> Result<LoginWatch, Problem> {
    state
        .auth
        .watch_login(id(head))
        .ok_or_else(Problem::no_such_login)
}

fn number(head: &Head, name: &'static str) -> Result<Option<u64>, Problem> {
    head.query(name)
        .map(|text| text.parse())
        .transpose()
        .map_err(|_| Problem::bad_request(format!("`{name}` is no number")))
}

/// A login names a person and holds what only that person may use, so that no cache may keep it.
fn answer(body: &LoginBody<'_>) -> Response {
    let mut response = reply::ok(Body::from(json::line(body)));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
