//! Skills and plugins of the standard door, as the `dev.toolhive` extension of the registry API
//! has them, so that another `thv` reads them from us.

use std::borrow::Cow;
use std::sync::Arc;

use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use thv_registry::{Extension, ExtensionEntry, Served};
use utoipa::ToSchema;

use super::{CursorMetadata, Rows};
use crate::error::{ErrorBody, Problem};
use crate::head::{BadEscape, Head};
use crate::paging::CursorPage;
use crate::reply;
use crate::routes::toolhive::extensions::is_found;
use crate::state::State;

/// Indices of the path segments that name an item.
const ITEM: (usize, usize) = (4, 5);

/// A page of skills.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SkillList {
    /// The skills, by namespace and name.
    #[schema(value_type = Vec<Object>)]
    skills: Vec<Value>,
    /// Where the page lies in the list.
    metadata: CursorMetadata,
}

/// A page of plugins.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PluginList {
    /// The plugins, by namespace and name.
    #[schema(value_type = Vec<Object>)]
    plugins: Vec<Value>,
    /// Where the page lies in the list.
    metadata: CursorMetadata,
}

/// List skills
#[utoipa::path(
    get,
    path = "/v0.1/x/dev.toolhive/skills",
    operation_id = "listSkills",
    tag = "standard",
    params(
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the page before"),
        ("limit" = Option<i64>, Query, description = "Rows on a page, 30 unless told, at most 100"),
        ("search" = Option<String>, Query, description = "Text to find in names, namespaces and descriptions, whatever the case")
    ),
    responses(
        (status = 200, description = "The page", body = SkillList),
        (status = 304, description = "Unchanged since the entity tag in `If-None-Match`"),
        (status = 400, description = "A parameter cannot be read", body = ErrorBody<'static>),
        (status = 502, description = "The registry is in the legacy format", body = ErrorBody<'static>),
        (status = 503, description = "The registry needs a login, or cannot be reached", body = ErrorBody<'static>)
    )
)]
pub(crate) async fn skills(state: State, head: Head) -> Result<Response, Problem> {
    answer_list(&head, &state.default_catalog().await?, Extension::Skills).await
}

/// List plugins
#[utoipa::path(
    get,
    path = "/v0.1/x/dev.toolhive/plugins",
    operation_id = "listPlugins",
    tag = "standard",
    params(
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the page before"),
        ("limit" = Option<i64>, Query, description = "Rows on a page, 30 unless told, at most 100"),
        ("search" = Option<String>, Query, description = "Text to find in names, namespaces and descriptions, whatever the case")
    ),
    responses(
        (status = 200, description = "The page", body = PluginList),
        (status = 304, description = "Unchanged since the entity tag in `If-None-Match`"),
        (status = 400, description = "A parameter cannot be read", body = ErrorBody<'static>),
        (status = 502, description = "The registry is in the legacy format", body = ErrorBody<'static>),
        (status = 503, description = "The registry needs a login, or cannot be reached", body = ErrorBody<'static>)
    )
)]
pub(crate) async fn plugins(state: State, head: Head) -> Result<Response, Problem> {
    answer_list(&head, &state.default_catalog().await?, Extension::Plugins).await
}

/// Get a skill
#[utoipa::path(
    get,
    path = "/v0.1/x/dev.toolhive/skills/{namespace}/{skillName}",
    operation_id = "getSkill",
    tag = "standard",
    params(
        ("namespace" = String, Path, description = "Namespace of the skill"),
        ("skillName" = String, Path, description = "Name of the skill")
    ),
    responses(
        (status = 200, description = "The skill", body = Object),
        (status = 304, description = "Unchanged since the entity tag in `If-None-Match`"),
        (status = 404, description = "No skill has this name", body = ErrorBody<'static>),
        (status = 502, description = "The registry is in the legacy format", body = ErrorBody<'static>),
        (status = 503, description = "The registry needs a login, or cannot be reached", body = ErrorBody<'static>)
    )
)]
pub(crate) async fn skill(state: State, head: Head) -> Result<Response, Problem> {
    item(state, head, Extension::Skills).await
}

/// Get a plugin
#[utoipa::path(
    get,
    path = "/v0.1/x/dev.toolhive/plugins/{namespace}/{pluginName}",
    operation_id = "getPlugin",
    tag = "standard",
    params(
        ("namespace" = String, Path, description = "Namespace of the plugin"),
        ("pluginName" = String, Path, description = "Name of the plugin")
    ),
    responses(
        (status = 200, description = "The plugin", body = Object),
        (status = 304, description = "Unchanged since the entity tag in `If-None-Match`"),
        (status = 404, description = "No plugin has this name", body = ErrorBody<'static>),
        (status = 502, description = "The registry is in the legacy format", body = ErrorBody<'static>),
        (status = 503, description = "The registry needs a login, or cannot be reached", body = ErrorBody<'static>)
    )
)]
pub(crate) async fn plugin(state: State, head: Head) -> Result<Response, Problem> {
    item(state, head, Extension::Plugins).await
}

async fn item(state: State, head: Head, extension: Extension) -> Result<Response, Problem> {
    let served = state.default_catalog().await?;
    let (namespace, name) = (head.segment(ITEM.0), head.segment(ITEM.1));
    answer_item(&head, &served, extension, namespace, name).await
}

/// The answer to a list query of the standard API.
pub(crate) async fn answer_list(
    head: &Head,
    served: &Served,
    extension: Extension,
) -> Result<Response, Problem> {
    let page = CursorPage::of(head)?;
    let search = head.query("search").unwrap_or_default().to_lowercase();
    let tag = reply::quoted(served.snapshot.digest());
    Ok(reply::rendered(head, &tag, served, || {
        let items = served.snapshot.extension(extension);
        let after = page
            .after
            .as_deref()
            .map(|key| key.split_once('\n').unwrap_or((key, "")));
        let first = after.map_or(0, |after| {
            items.partition_point(|item| (item.namespace(), item.name()) <= after)
        });
        let rows = items
            .iter()
            .skip(first)
            .filter(|item| is_found(item, &search));
        let write = |item: &Arc<ExtensionEntry>, body: &mut Vec<u8>| {
            body.extend_from_slice(&item.raw());
            format!("{}\n{}", item.namespace(), item.name())
        };
        Rows::take(extension.member(), rows, page.limit, write).into_body()
    })
    .await)
}

/// The answer to a query for one item. A name that cannot be decoded names none.
pub(crate) async fn answer_item(
    head: &Head,
    served: &Served,
    extension: Extension,
    namespace: Result<Cow<'_, str>, BadEscape>,
    name: Result<Cow<'_, str>, BadEscape>,
) -> Result<Response, Problem> {
    let found = namespace
        .ok()
        .zip(name.ok())
        .and_then(|(namespace, name)| served.snapshot.extension_item(extension, &namespace, &name));
    let item = found.ok_or_else(|| {
        Problem::not_found(match extension {
            Extension::Skills => "Skill not found",
            Extension::Plugins => "Plugin not found",
        })
    })?;
    let tag = reply::quoted(served.snapshot.digest());
    Ok(reply::rendered(head, &tag, served, || super::line(item.raw())).await)
}
