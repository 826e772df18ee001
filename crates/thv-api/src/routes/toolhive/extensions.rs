//! Skills and plugins, one page at a time or one by name. The two differ in nothing but their
//! words, so each handler is a name for a shared one.

use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use thv_registry::{Extension, ExtensionEntry};
use utoipa::ToSchema;

use super::{ITEM, NAME, PageMetadata};
use crate::error::{ErrorBody, Problem};
use crate::head::Head;
use crate::paging::NumberedPage;
use crate::reply;
use crate::routes::standard;
use crate::state::State;

/// A page of skills.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SkillsResponse {
    /// The skills, by namespace and name.
    #[schema(value_type = Vec<Object>)]
    skills: Vec<Value>,
    /// Where the page lies in the list.
    metadata: PageMetadata,
}

/// A page of plugins.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PluginsResponse {
    /// The plugins, by namespace and name.
    #[schema(value_type = Vec<Object>)]
    plugins: Vec<Value>,
    /// Where the page lies in the list.
    metadata: PageMetadata,
}

/// List available registry skills
#[utoipa::path(
    get,
    path = "/registry/{registryName}/v0.1/x/dev.toolhive/skills",
    operation_id = "listSkillsByPage",
    tag = "registry-skills",
    params(
        ("registryName" = String, Path, description = "Registry name"),
        ("q" = Option<String>, Query, description = "Text to find in names, namespaces and descriptions, whatever the case"),
        ("page" = Option<i64>, Query, description = "Number of the page, from 1"),
        ("limit" = Option<i64>, Query, description = "Rows on a page, 50 unless told, at most 200")
    ),
    responses(
        (status = 200, description = "The page", body = SkillsResponse),
        (status = 304, description = "Unchanged since the entity tag in `If-None-Match`"),
        (status = 404, description = "No registry has this name", body = ErrorBody<'static>),
        (status = 502, description = "The registry is in the legacy format", body = ErrorBody<'static>),
        (status = 503, description = "The registry needs a login, or cannot be reached", body = ErrorBody<'static>)
    )
)]
pub(crate) async fn skills(state: State, head: Head) -> Result<Response, Problem> {
    list(state, head, Extension::Skills).await
}

/// List available registry plugins
#[utoipa::path(
    get,
    path = "/registry/{registryName}/v0.1/x/dev.toolhive/plugins",
    operation_id = "listPluginsByPage",
    tag = "registry-plugins",
    params(
        ("registryName" = String, Path, description = "Registry name"),
        ("q" = Option<String>, Query, description = "Text to find in names, namespaces and descriptions, whatever the case"),
        ("page" = Option<i64>, Query, description = "Number of the page, from 1"),
        ("limit" = Option<i64>, Query, description = "Rows on a page, 50 unless told, at most 200")
    ),
    responses(
        (status = 200, description = "The page", body = PluginsResponse),
        (status = 304, description = "Unchanged since the entity tag in `If-None-Match`"),
        (status = 404, description = "No registry has this name", body = ErrorBody<'static>),
        (status = 502, description = "The registry is in the legacy format", body = ErrorBody<'static>),
        (status = 503, description = "The registry needs a login, or cannot be reached", body = ErrorBody<'static>)
    )
)]
pub(crate) async fn plugins(state: State, head: Head) -> Result<Response, Problem> {
    list(state, head, Extension::Plugins).await
}

/// Get a registry skill
#[utoipa::path(
    get,
    path = "/registry/{registryName}/v0.1/x/dev.toolhive/skills/{namespace}/{skillName}",
    operation_id = "getRegistrySkill",
    tag = "registry-skills",
    params(
        ("registryName" = String, Path, description = "Registry name"),
        ("namespace" = String, Path, description = "Namespace of the skill"),
        ("skillName" = String, Path, description = "Name of the skill")
    ),
    responses(
        (status = 200, description = "The skill", body = Object),
        (status = 304, description = "Unchanged since the entity tag in `If-None-Match`"),
        (status = 404, description = "No registry or no skill has this name", body = ErrorBody<'static>),
        (status = 502, description = "The registry is in the legacy format", body = ErrorBody<'static>),
        (status = 503, description = "The registry needs a login, or cannot be reached", body = ErrorBody<'static>)
    )
)]
pub(crate) async fn skill(state: State, head: Head) -> Result<Response, Problem> {
    get(state, head, Extension::Skills).await
}

/// Get a registry plugin
#[utoipa::path(
    get,
    path = "/registry/{registryName}/v0.1/x/dev.toolhive/plugins/{namespace}/{pluginName}",
    operation_id = "getRegistryPlugin",
    tag = "registry-plugins",
    params(
        ("registryName" = String, Path, description = "Registry name"),
        ("namespace" = String, Path, description = "Namespace of the plugin"),
        ("pluginName" = String, Path, description = "Name of the plugin")
    ),
    responses(
        (status = 200, description = "The plugin", body = Object),
        (status = 304, description = "Unchanged since the entity tag in `If-None-Match`"),
        (status = 404, description = "No registry or no plugin has this name", body = ErrorBody<'static>),
        (status = 502, description = "The registry is in the legacy format", body = ErrorBody<'static>),
        (status = 503, description = "The registry needs a login, or cannot be reached", body = ErrorBody<'static>)
    )
)]
pub(crate) async fn plugin(state: State, head: Head) -> Result<Response, Problem> {
    get(state, head, Extension::Plugins).await
}

async fn list(state: State, head: Head, extension: Extension) -> Result<Response, Problem> {
    let served = state.catalog(head.segment(NAME)).await?;
    if super::speaks_standard(&head) {
        return standard::extensions::answer_list(&head, &served, extension).await;
    }
    let page = NumberedPage::of(&head);
    let query = head.query("q").unwrap_or_default().to_lowercase();
    let tag = reply::quoted(served.snapshot.digest());
    let render = || {
        let found: Vec<_> = served
            .snapshot
            .extension(extension)
            .iter()
            .filter(|item| is_found(item, &query))
            .collect();
        let rows = found.iter().skip(page.offset()).take(page.len());
        super::page_body(
            extension.member(),
            rows.map(|item| item.raw()),
            found.len(),
            page,
        )
    };
    Ok(reply::rendered(&head, &tag, &served, render).await)
}

async fn get(state: State, head: Head, extension: Extension) -> Result<Response, Problem> {
    let served = state.catalog(head.segment(NAME)).await?;
    standard::extensions::answer_item(
        &head,
        &served,
        extension,
        head.segment(ITEM.0),
        head.segment(ITEM.1),
    )
    .await
}

/// Whether an item holds `query`, which is in lower case.
pub(crate) fn is_found(item: &ExtensionEntry, query: &str) -> bool {
    query.is_empty()
        || [item.name(), item.namespace(), item.description()]
            .iter()
            .any(|text| text.to_lowercase().contains(query))
}
