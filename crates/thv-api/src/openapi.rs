//! The `OpenAPI` document, generated from the handlers' annotations. What is served is the copy
//! that is checked in; a test fails when the two differ. To write it anew, run the tests of this
//! crate with `THV_UPDATE_OPENAPI=1`.

use utoipa::OpenApi;

use crate::routes::{docs, health, metrics, standard, toolhive, v1, v1beta, version};

/// The document as it is checked in.
pub(crate) const CHECKED_IN: &str = include_str!("../openapi.json");

#[derive(OpenApi)]
#[openapi(
    info(
        title = "ToolHive API",
        version = "1.0",
        description = "MCP registries over HTTP: what servers, skills and plugins the configured registry holds. \
            Besides the answers listed per operation, any request may be refused with 400 (no or several Host headers), 401 (where callers have to show a token), \
            403 (a page of another origin, or a host that is not this server), 405, 413 (a body over 1 MiB) or 415 (a POST in a content type of HTML forms). \
            Text errors become `RegistryErrorResponse` objects for clients that send `Accept: application/json`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    external_docs(url = "https://registry.modelcontextprotocol.io/docs", description = "The standard MCP Registry API"),
    tags(
        (name = "system", description = "The server itself"),
        (name = "version", description = "The server's version"),
        (name = "registry", description = "Registries, for the desktop client"),
        (name = "secrets", description = "The user's secrets: names only, never values"),
        (name = "registry-servers", description = "Servers in numbered pages"),
        (name = "registry-skills", description = "Skills in numbered pages"),
        (name = "registry-plugins", description = "Plugins in numbered pages"),
        (name = "standard", description = "The standard MCP Registry API")
    ),
    paths(
        health::health,
        metrics::metrics,
        docs::openapi,
        version::version,
        v1beta::registry::list,
        v1beta::update::add,
        v1beta::registry::get,
        v1beta::update::put,
        v1beta::update::delete,
        v1beta::registry::refresh,
        v1beta::auth::login,
        v1beta::auth::logout,
        v1beta::secrets::set_up,
        v1beta::secrets::provider,
        v1beta::secrets::list,
        v1beta::secrets::create,
        v1beta::secrets::update,
        v1beta::secrets::delete,
        v1::events::follow,
        v1::auth::report,
        v1::doctor::diagnose,
        v1::logins::start,
        v1::logins::get,
        v1::logins::cancel,
        v1::logins::events,
        v1::logins::callback,
        v1beta::servers::list,
        v1beta::servers::get,
        toolhive::servers::list,
        toolhive::servers::latest,
        toolhive::extensions::skills,
        toolhive::extensions::skill,
        toolhive::extensions::plugins,
        toolhive::extensions::plugin,
        standard::servers::list,
        standard::servers::versions,
        standard::servers::version,
        standard::extensions::skills,
        standard::extensions::skill,
        standard::extensions::plugins,
        standard::extensions::plugin,
    )
)]
struct Annotations;

/// The document as the handlers are annotated now, indented, with a line feed at its end.
pub fn generate() -> Result<String, serde_json::Error> {
    let mut text = Annotations::openapi().to_pretty_json()?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use thv_config::world::{Env, ProcessEnv};

    use super::*;
    use crate::router::routes;

    #[test]
    fn the_checked_in_document_is_the_generated_one() {
        let generated = generate().unwrap();
        if ProcessEnv.var("THV_UPDATE_OPENAPI").is_some() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
            thv_config::disk::write_atomic(&path, generated.as_bytes()).unwrap();
        } else {
            assert!(
                generated == CHECKED_IN,
                "openapi.json is stale; run `THV_UPDATE_OPENAPI=1 cargo test -p thv-api`"
            );
        }
    }

    #[test]
    fn every_route_is_documented_and_nothing_else_is() {
        let documented: serde_json::Value = serde_json::from_str(&generate().unwrap()).unwrap();
        let documented: BTreeSet<(String, String)> = documented["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap().keys();
                methods.map(|method| (path.clone(), method.to_uppercase()))
            })
            .collect();
        let routed: BTreeSet<(String, String)> = routes()
            .iter()
            .filter(|(path, ..)| !path.starts_with("/api/doc"))
            .flat_map(|(path, methods, _)| {
                let path = path.trim_end_matches('/').to_owned();
                methods
                    .iter()
                    .map(move |method| (path.clone(), (*method).to_owned()))
            })
            .collect();
        assert_eq!(documented, routed);
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let document: serde_json::Value = serde_json::from_str(&generate().unwrap()).unwrap();
        let mut names: Vec<_> = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|methods| methods.as_object().unwrap().values())
            .map(|operation| operation["operationId"].as_str().unwrap().to_owned())
            .collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn the_document_is_openapi_3_1() {
        let document: serde_json::Value = serde_json::from_str(&generate().unwrap()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["info"]["title"], "ToolHive API");
        assert_eq!(document["info"]["version"], "1.0");
        for key in ["components", "info", "externalDocs", "paths"] {
            assert!(document[key].is_object(), "{key}");
        }
    }
}
