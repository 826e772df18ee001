//! The list of routes, and nothing else. Paths are matched as they were sent, still encoded. A
//! path that answers with a slash at its end too has a line for that.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use tower::Service;

use crate::error::Problem;
use crate::routes::{callback, docs, health, metrics, standard, toolhive, v1, v1beta, version};
use crate::state::Shared;

/// One route: its path, the methods it takes, what answers.
pub(crate) type Route = (
    &'static str,
    &'static [&'static str],
    MethodRouter<Arc<Shared>>,
);

/// The routes over the state. Segments of a path are read by the handlers, so that nothing is
/// captured or decoded here: axum's own router does both for every request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Router {
    table: matchit::Router<MethodRouter>,
}

// === impl Router ===

impl Router {
    /// All routes, over `shared`.
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        let mut router = Self::default();
        for (path, allow, methods) in routes() {
            let refuse = move || async move { Problem::method_not_allowed(allow) };
            let methods = methods.fallback(refuse).with_state(Arc::clone(shared));
            router.add(path, methods);
        }
        router
    }

    /// Adds the pages that a browser comes back to after a login.
    pub(crate) fn add_callback(&mut self, paths: &[String], shared: &Arc<Shared>) {
        for path in paths {
            let refuse = || async { Problem::method_not_allowed(&["GET"]) };
            let receive = get(callback::receive).fallback(refuse);
            let result = get(callback::result).fallback(refuse);
            self.add(path, receive.with_state(Arc::clone(shared)));
            self.add(
                &format!("{path}/{{mark}}"),
                result.with_state(Arc::clone(shared)),
            );
        }
    }

    /// Adds one route. A path that is there already keeps what it has.
    pub(crate) fn add(&mut self, path: &str, methods: MethodRouter) {
        let added = self.table.insert(path, methods);
        debug_assert!(added.is_ok(), "{path}: {added:?}");
    }

    /// Runs the handler of the request's path.
    pub(crate) async fn call(&self, request: Request) -> Response {
        let Ok(found) = self.table.at(request.uri().path()) else {
            return Problem::no_such_page().into_response();
        };
        let mut methods = found.value.clone();
        match methods.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// All routes.
#[rustfmt::skip]
pub(crate) fn routes() -> Vec<Route> {
    use v1::logins;
    use v1beta::{auth, registry, secrets, servers, update};
    let collection = || get(registry::list).post(update::add);
    let item = || get(registry::get).put(update::put).delete(update::delete);
    vec![
        ("/health", &["GET"], get(health::health)),
        ("/health/", &["GET"], get(health::health)),
        ("/metrics", &["GET"], get(metrics::metrics)),

        ("/api/openapi.json", &["GET"], get(docs::openapi)),
        ("/api/doc", &["GET"], get(docs::page)),
        ("/api/doc/", &["GET"], get(docs::page)),
        ("/api/doc/{file}", &["GET"], get(docs::file)),

        ("/api/v1beta/version", &["GET"], get(version::version)),
        ("/api/v1beta/version/", &["GET"], get(version::version)),
        ("/api/v1beta/registry", &["GET", "POST"], collection()),
        ("/api/v1beta/registry/", &["GET", "POST"], collection()),
        (auth::LOGIN_PATH, &["POST"], post(auth::login)),
        ("/api/v1beta/registry/auth/logout", &["POST"], post(auth::logout)),
        ("/api/v1beta/registry/{name}", &["GET", "PUT", "DELETE"], item()),
        ("/api/v1beta/registry/{name}/refresh", &["POST"], post(registry::refresh)),
        ("/api/v1beta/registry/{name}/servers", &["GET"], get(servers::list)),
        ("/api/v1beta/registry/{name}/servers/", &["GET"], get(servers::list)),
        ("/api/v1beta/registry/{name}/servers/{serverName}", &["GET"], get(servers::get)),

        ("/api/v1beta/secrets", &["POST"], post(secrets::set_up)),
        ("/api/v1beta/secrets/", &["POST"], post(secrets::set_up)),
        ("/api/v1beta/secrets/default", &["GET"], get(secrets::provider)),
        ("/api/v1beta/secrets/default/keys", &["GET", "POST"], get(secrets::list).post(secrets::create)),
        ("/api/v1beta/secrets/default/keys/{key}", &["PUT", "DELETE"], put(secrets::update).delete(secrets::delete)),

        ("/api/v1/events", &["GET"], get(v1::events::follow)),
        ("/api/v1/registries/{name}/auth", &["GET"], get(v1::auth::report)),
        ("/api/v1/registries/{name}/auth/logins", &["POST"], post(logins::start)),
        ("/api/v1/registries/{name}/auth/logins/{id}", &["GET", "DELETE"], get(logins::get).delete(logins::cancel)),
        ("/api/v1/registries/{name}/auth/logins/{id}/events", &["GET"], get(logins::events)),
        ("/api/v1/registries/{name}/auth/logins/{id}/callback", &["POST"], post(logins::callback)),

        ("/registry/{registryName}/v0.1/servers", &["GET"], get(toolhive::servers::list)),
        ("/registry/{registryName}/v0.1/servers/{serverName}/versions/latest", &["GET"], get(toolhive::servers::latest)),
        ("/registry/{registryName}/v0.1/x/dev.toolhive/skills", &["GET"], get(toolhive::extensions::skills)),
        ("/registry/{registryName}/v0.1/x/dev.toolhive/skills/{namespace}/{skillName}", &["GET"], get(toolhive::extensions::skill)),
        ("/registry/{registryName}/v0.1/x/dev.toolhive/plugins", &["GET"], get(toolhive::extensions::plugins)),
        ("/registry/{registryName}/v0.1/x/dev.toolhive/plugins/{namespace}/{pluginName}", &["GET"], get(toolhive::extensions::plugin)),

        ("/v0.1/servers", &["GET"], get(standard::servers::list)),
        ("/v0.1/servers/{serverName}/versions", &["GET"], get(standard::servers::versions)),
        ("/v0.1/servers/{serverName}/versions/{version}", &["GET"], get(standard::servers::version)),
        ("/v0.1/x/dev.toolhive/skills", &["GET"], get(standard::extensions::skills)),
        ("/v0.1/x/dev.toolhive/skills/{namespace}/{skillName}", &["GET"], get(standard::extensions::skill)),
        ("/v0.1/x/dev.toolhive/plugins", &["GET"], get(standard::extensions::plugins)),
        ("/v0.1/x/dev.toolhive/plugins/{namespace}/{pluginName}", &["GET"], get(standard::extensions::plugin)),
    ]
}
