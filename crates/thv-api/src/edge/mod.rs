//! What every request passes before and after its handler, in one hand-written function: each
//! step is a few comparisons, and a stack of middleware would box a future per step. The order
//! is: panic guard, a browser that comes back from a login (which skips the next four), host, origin and form, cross-origin grants, the caller's token, the body, the
//! handler under its deadline (a login has its own), the error's form, response headers, the log line and the metrics.

mod body;
mod callback;
mod caller;
mod cors;
mod form;
mod host;
mod watch;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

pub(crate) use callback::Callback;
pub use caller::Callers;
pub use host::HostPolicy;
pub(crate) use watch::Watch;

use crate::error::{Door, Problem};
use crate::head;
use crate::limits;
use crate::router::Router;
use crate::routes::v1beta;
use cors::CorsOrigins;
use host::Sender;

/// The steps around the router, and the router.
#[derive(Debug)]
pub(crate) struct Edge {
    router: Router,
    hosts: HostPolicy,
    origins: CorsOrigins,
    callback: Option<Callback>,
    callers: Option<Callers>,
    watch: Watch,
}

/// What of a request's head is still needed when its answer is there.
#[derive(Clone, Copy, Debug)]
struct Asked {
    door: Door,
    wants_json: bool,
    under_api: bool,
}

// === impl Edge ===

impl Edge {
    pub(crate) fn new(
        router: Router,
        hosts: HostPolicy,
        cors_origins: &[String],
        callback: Option<Callback>,
        callers: Option<Callers>,
        watch: Watch,
    ) -> Self {
        Self {
            router,
            hosts,
            origins: CorsOrigins::new(cors_origins),
            callback,
            callers,
            watch,
        }
    }

    /// Answers one request. Never fails and never panics.
    pub(crate) async fn handle(&self, request: Request) -> Response {
        let path = request.uri().path();
        let asked = Asked {
            door: Door::of(path),
            wants_json: head::wants_json(request.headers()),
            under_api: path.starts_with("/api/"),
        };
        let observed = self.watch.begin(&request, asked.door);
        let answered = AssertUnwindSafe(self.answer(request, asked))
            .catch_unwind()
            .await;
        let mut response = answered.unwrap_or_else(|_| {
            tracing::error!("a request handler panicked");
            Problem::panicked().render(asked.door, asked.wants_json)
        });
        finish(response.headers_mut(), asked.under_api);
        self.watch.end(observed, response.status());
        response
    }

    async fn answer(&self, request: Request, asked: Asked) -> Response {
        let (head, body) = request.into_parts();
        if let Some(callback) = &self.callback {
            if callback.admits(&head, &self.hosts) {
                return self.route(Request::from_parts(head, body), asked).await;
            }
            // On a socket or a foreign address every name would do; this one is open to strangers.
            if callback.is_for_strangers(&head) {
                return Problem::forbidden(
                    "403 Forbidden: only logins come back to this server under its public name",
                )
                .render(asked.door, asked.wants_json);
            }
        }
        if let Err(problem) = self.hosts.check(&head) {
            return problem.render(asked.door, asked.wants_json);
        }
        let grant = self.origins.grant(&head);
        if grant.is_none() && host::sender(&head.headers) == Sender::OtherSite {
            return Problem::forbidden(
                "403 Forbidden: pages of other origins may not call this server",
            )
            .render(asked.door, asked.wants_json);
        }
        if let Err(problem) = form::check(&head) {
            return problem.render(asked.door, asked.wants_json);
        }
        if let Some(grant) = grant {
            if cors::is_preflight(&head) {
                return grant.preflight();
            }
            let mut response = self.dispatch(Request::from_parts(head, body), asked).await;
            grant.write(response.headers_mut());
            return response;
        }
        let mut response = self.dispatch(Request::from_parts(head, body), asked).await;
        if asked.door == Door::Standard && self.origins.by_name() {
            response
                .headers_mut()
                .append(header::VARY, HeaderValue::from_static("Origin"));
        }
        response
    }

    /// Runs the handler and writes its problem, if it has one, in the form asked for.
    async fn dispatch(&self, request: Request, asked: Asked) -> Response {
        if let Some(callers) = &self.callers
            && !is_health(request.uri().path())
            && let Err(refused) = caller::check(callers, request.headers()).await
        {
            return refused;
        }
        self.route(request, asked).await
    }

    async fn route(&self, request: Request, asked: Asked) -> Response {
        let mut request = match body::collect(request).await {
            Ok(request) => request,
            Err(problem) => return problem.render(asked.door, asked.wants_json),
        };
        if *request.method() == Method::HEAD {
            // axum answers HEAD wherever GET is routed; here no route takes it, as none takes
            // OPTIONS. The connection leaves the body of the answer away by itself.
            *request.method_mut() = Method::OPTIONS;
        }
        let time = time_for(&request);
        let answer = self.router.call(request);
        let answered = match time {
            Some(time) => tokio::time::timeout(time, answer).await,
            None => Ok(answer.await),
        };
        match answered {
            Ok(mut response) => match response.extensions_mut().remove::<Problem>() {
                Some(problem) => problem.render(asked.door, asked.wants_json),
                None => response,
            },
            Err(_) => Problem::route_too_slow().render(asked.door, asked.wants_json),
        }
    }
}

/// Health stays open, so that another server of the same user can tell that we live (W38).
fn is_health(path: &str) -> bool {
    path == "/health" || path == "/health/"
}

/// The time an answer may take to begin (F46); `None` for a login, which waits for a person and has
/// a deadline of its own (W14).
fn time_for(request: &Request) -> Option<Duration> {
    let path = request.uri().path();
    if path == v1beta::auth::LOGIN_PATH {
        return None;
    }
    Some(
        if *request.method() == Method::POST && path.trim_end_matches('/').ends_with("/refresh") {
            limits::REFRESH_TIME
        } else {
            limits::ROUTE_TIME
        },
    )
}

fn finish(headers: &mut HeaderMap, under_api: bool) {
    const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    if under_api {
        headers
            .entry(header::CONTENT_TYPE)
            .or_insert(HeaderValue::from_static(crate::wire::json::MEDIA_TYPE));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use axum::routing::any;
    use http::StatusCode;
    use http_body_util::BodyExt;
    use thv_config::world::SystemClock;

    use super::*;

    /// The answer of a handler that takes `time`.
    async fn after(time: Duration, method: Method, path: &str) -> Response {
        let slow = any(move || async move {
            tokio::time::sleep(time).await;
            "done"
        });
        let mut router = Router::default();
        router.add("/api/v1beta/registry/default/servers", slow.clone());
        router.add("/api/v1beta/registry/default/refresh", slow);
        let watch = Watch::new(Arc::new(SystemClock::new()), None);
        let edge = Edge::new(router, HostPolicy::Any, &[], None, None, watch);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .body(Body::empty())
            .unwrap();
        edge.handle(request).await
    }

    #[tokio::test]
    async fn case_73_a_handler_that_panics_is_a_500_without_details_and_the_server_goes_on() {
        async fn fault() -> &'static str {
            tokio::task::yield_now().await;
            panic!("canary-detail")
        }
        let mut router = Router::default();
        for path in [
            "/api/v1beta/faulty",
            "/v0.1/faulty",
            "/registry/default/v0.1/faulty",
        ] {
            router.add(path, any(fault));
        }
        router.add("/api/v1beta/well", any(|| async { "well" }));
        let watch = Watch::new(Arc::new(SystemClock::new()), None);
        let edge = Edge::new(router, HostPolicy::Any, &[], None, None, watch);
        let ask = |path: &str| {
            let request = Request::builder()
                .uri(path)
                .header(header::HOST, "localhost");
            edge.handle(request.body(Body::empty()).unwrap())
        };
        for path in [
            "/api/v1beta/faulty",
            "/v0.1/faulty",
            "/registry/default/v0.1/faulty",
        ] {
            let answer = ask(path).await;
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR, "{path}");
            assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let body = String::from_utf8_lossy(&body);
            assert!(body.contains("Internal Server Error"), "{path}: {body}");
            assert!(!body.contains("canary"), "{path}: {body}");
            assert_eq!(ask("/api/v1beta/well").await.status(), StatusCode::OK);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn f46_a_route_has_a_minute_and_a_refresh_has_more() {
        let list = "/api/v1beta/registry/default/servers";
        let refresh = "/api/v1beta/registry/default/refresh";
        let minute = Duration::from_mins(1);
        let in_time = after(Duration::from_secs(59), Method::GET, list).await;
        assert_eq!(in_time.status(), StatusCode::OK);
        let late = after(Duration::from_secs(61), Method::GET, list).await;
        assert_eq!(late.status(), StatusCode::GATEWAY_TIMEOUT);
        let body = late.into_body().collect().await.unwrap().to_bytes();
        assert!(body.is_empty(), "{body:?}");
        let long = after(minute * 5, Method::POST, refresh).await;
        assert_eq!(long.status(), StatusCode::OK);
        let endless = after(minute * 11, Method::POST, refresh).await;
        assert_eq!(endless.status(), StatusCode::GATEWAY_TIMEOUT);
    }
}
