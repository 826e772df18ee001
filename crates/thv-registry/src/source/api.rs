//! Registries that speak the MCP Registry API, v0.1.
//!
//! A first load walks the list to its end. Later loads ask for what changed since the newest
//! change seen, where the registry honours that; whether it does shows in its first answer, and
//! a registry that ignores the question has thereby begun a whole walk. From time to time, and
//! when a person asks for it, the catalog is walked whole again.

mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use thv_http::Reply;
use tracing::{debug, info, warn};
use url::Url;

use self::walk::{Query, Walk, extension_items};
use super::document::{format_fault, loaded, unchanged};
use super::outbound::{Bounds, unavailable};
use super::{Context, Depth, Difference, Known, Loaded, Remote};
use crate::assemble::{Assembler, Delta, Recogniser, changed_at};
use crate::cache::{Changes, Marks};
use crate::entry::{Entry, Extension, ExtensionEntry};
use crate::error::Fault;
use crate::format::page::{LifeCycle, Page, parse_page, parse_server_response};
use crate::limits::{
    DETAIL_TIME, MAX_PAGE_BYTES, MAX_WITHDRAWN_CHECKS, RECONCILE_AFTER, UPDATED_SINCE_OVERLAP,
};
use crate::snapshot::{Edition, Snapshot};

/// The version that `v1beta` tells for registries that have none.
const API_EDITION: &str = "1.0.0";

type Extensions = BTreeMap<Extension, Vec<Arc<ExtensionEntry>>>;

pub(crate) async fn load(
    context: &Context,
    remote: &Remote,
    known: Option<&Known>,
    depth: Depth,
) -> Result<Loaded, Fault> {
    let now = context.world.clock.now();
    let since = known.and_then(|known| changes_since(known, depth, now));
    match (known, since) {
        (Some(known), Some(since)) => load_changes(context, remote, known, since).await,
        _ => load_whole(context, remote, known, None, depth).await,
    }
}

/// From when on changes are asked for; `None` where the catalog must be walked whole.
fn changes_since(known: &Known, depth: Depth, now: Timestamp) -> Option<Timestamp> {
    let marks = &known.marks;
    let due = now.duration_since(marks.whole_at).unsigned_abs() >= RECONCILE_AFTER;
    if depth == Depth::Whole || due {
        return None;
    }
    // A row dated later than our last look has a wrong date, or we have a wrong clock; asking from
    // its date on would miss everything until then.
    let newest = marks.newest_change?.min(marks.checked_at);
    newest.checked_sub(UPDATED_SINCE_OVERLAP).ok()
}

async fn load_whole(
    context: &Context,
    remote: &Remote,
    known: Option<&Known>,
    begun: Option<Walk>,
    depth: Depth,
) -> Result<Loaded, Fault> {
    let now = context.world.clock.now();
    let base = known.map(|known| Arc::clone(&known.snapshot));
    let mut assembler = Assembler::new(base.as_deref(), now, false);
    let mut walk = begun.unwrap_or_else(|| Walk::new(Query::Servers { since: None }));
    let mut first_page = walk.take_begun();
    loop {
        let reply = match first_page.take() {
            Some(reply) => reply,
            None => match walk.next(context, remote).await? {
                Some(reply) => reply,
                None => break,
            },
        };
        let (filled, page) = digest_page(remote, assembler, reply).await?;
        assembler = filled;
        match page {
            Ok(page) => walk.turn(remote, page.next_cursor, page.news)?,
            Err(fault) => walk.failed(context, remote, fault).await?,
        }
        debug!(registry = %remote.configured, servers = assembler.len(), "loading");
    }
    for (extension, items) in extensions(context, remote, base.as_deref(), depth).await? {
        assembler.set_extension(extension, items);
    }
    let marks = Marks {
        newest_change: assembler.newest(),
        incremental: known.is_some_and(|known| known.marks.incremental),
        ..Marks::default()
    };
    let edition = edition(now);
    let snapshot = tokio::task::spawn_blocking(move || assembler.finish(edition))
        .await
        .map_err(|error| unavailable(remote, error.to_string(), None))?;
    let loaded = loaded(context, known, snapshot, marks, Snapshot::has_content_of);
    info!(
        registry = %remote.configured,
        servers = loaded.known.snapshot.entries().len(),
        bad_rows = loaded.known.snapshot.bad_rows(),
        "catalog loaded"
    );
    Ok(loaded)
}

/// What one page brought to a whole load.
struct Digested {
    next_cursor: Option<String>,
    /// How many names were new.
    news: usize,
}

/// Parses one page on a blocking thread into `assembler`, and gives it back.
async fn digest_page(
    remote: &Remote,
    mut assembler: Assembler,
    reply: Reply,
) -> Result<(Assembler, Result<Digested, Fault>), Fault> {
    let parsed = tokio::task::spawn_blocking(move || {
        let page = parse_page(&reply.body).map(|page| {
            assembler.add_bad_rows(page.bad_rows);
            Digested {
                news: page.rows.iter().filter(|row| assembler.add(row)).count(),
                next_cursor: page.next_cursor,
            }
        });
        (assembler, page)
    });
    let (assembler, page) = parsed
        .await
        .map_err(|error| unavailable(remote, error.to_string(), None))?;
    Ok((
        assembler,
        page.map_err(|error| format_fault(remote, &error)),
    ))
}

async fn load_changes(
    context: &Context,
    remote: &Remote,
    known: &Known,
    since: Timestamp,
) -> Result<Loaded, Fault> {
    let now = context.world.clock.now();
    let mut walk = Walk::new(Query::Servers { since: Some(since) });
    let mut delta = Delta::default();
    let mut first = true;
    while let Some(reply) = walk.next(context, remote).await? {
        let page = match parse_page(&reply.body) {
            Ok(page) => page,
            Err(error) => {
                let fault = format_fault(remote, &error);
                walk.failed(context, remote, fault).await?;
                continue;
            }
        };
        match answer_to(&page, since) {
            Answer::Changes => {}
            Answer::Everything if first => {
                debug!(registry = %remote.configured, "updated_since is not honoured");
                let begun = Some(walk.begun_with(reply));
                return load_whole(context, remote, Some(known), begun, Depth::Changes).await;
            }
            Answer::Everything | Answer::Unclear => {
                return load_whole(context, remote, Some(known), None, Depth::Changes).await;
            }
        }
        first = false;
        let names = page.rows.iter().filter_map(|row| row_name(row.server));
        let recogniser = Recogniser::of(names.filter_map(|name| known.snapshot.get(&name)));
        for row in &page.rows {
            delta.add(&known.snapshot, &recogniser, row, now);
        }
        let news = page.rows.len();
        let cursor = page.next_cursor.clone();
        walk.turn(remote, cursor, news)?;
    }
    if delta.withdrawn.len() > MAX_WITHDRAWN_CHECKS {
        return load_whole(context, remote, Some(known), None, Depth::Changes).await;
    }
    settle_withdrawn(context, remote, &mut delta, now).await?;
    let before = Some(known.snapshot.as_ref());
    let extensions = extensions(context, remote, before, Depth::Changes).await?;
    Ok(finish_changes(context, remote, known, &delta, extensions))
}

/// What a page says about the registry's understanding of `updated_since`.
enum Answer {
    /// It holds nothing older than what was asked for.
    Changes,
    /// It holds older rows: the question was ignored, and this is a list of everything.
    Everything,
    /// It holds rows without a time.
    Unclear,
}

fn answer_to(page: &Page<'_>, since: Timestamp) -> Answer {
    let mut answer = Answer::Changes;
    for row in &page.rows {
        match changed_at(row) {
            Some(changed) if changed >= since => {}
            Some(_) => return Answer::Everything,
            None => answer = Answer::Unclear,
        }
    }
    answer
}

fn row_name(server: &serde_json::value::RawValue) -> Option<String> {
    crate::format::server::read_server(server)
        .ok()
        .map(|server| server.name)
}

/// A server whose latest version was withdrawn may have an earlier one that now stands for it.
async fn settle_withdrawn(
    context: &Context,
    remote: &Remote,
    delta: &mut Delta,
    now: Timestamp,
) -> Result<(), Fault> {
    for name in delta.withdrawn.clone() {
        let url = versions_url(remote, &name, Some("latest"));
        let Some(reply) = detail(context, remote, url).await? else {
            continue;
        };
        let row =
            parse_server_response(&reply.body).map_err(|error| format_fault(remote, &error))?;
        if row.official.status != Some(LifeCycle::Deleted)
            && let Ok(entry) = Entry::from_row(&row, now)
            && entry.name() == name
        {
            delta.withdrawn.retain(|withdrawn| *withdrawn != name);
            delta.upserts.push(Arc::new(entry));
        }
    }
    Ok(())
}

fn finish_changes(
    context: &Context,
    remote: &Remote,
    known: &Known,
    delta: &Delta,
    extensions: Extensions,
) -> Loaded {
    let same_extensions = same_items(&known.snapshot, &extensions);
    let marks = Marks {
        checked_at: context.world.clock.now(),
        newest_change: known.marks.newest_change.max(delta.newest),
        incremental: true,
        ..known.marks.clone()
    };
    if delta.upserts.is_empty() && delta.withdrawn.is_empty() && same_extensions {
        let mut loaded = unchanged(context, known);
        loaded.known.marks = marks;
        return loaded;
    }
    info!(
        registry = %remote.configured,
        changed = delta.upserts.len(),
        removed = delta.withdrawn.len(),
        "catalog changed"
    );
    let snapshot = delta.apply(
        &known.snapshot,
        extensions,
        edition(context.world.clock.now()),
    );
    Loaded {
        known: Known {
            snapshot: Arc::new(snapshot),
            marks,
        },
        difference: Difference::Changes(Changes {
            upserts: delta.upserts.clone(),
            removed: delta.withdrawn.clone(),
            extensions: !same_extensions,
        }),
    }
}

fn same_items(snapshot: &Snapshot, extensions: &Extensions) -> bool {
    Extension::ALL.iter().all(|extension| {
        let new = extensions.get(extension).map_or(&[][..], Vec::as_slice);
        let old = snapshot.extension(*extension);
        old.len() == new.len()
            && old
                .iter()
                .zip(new)
                .all(|(old, new)| old.record() == new.record())
    })
}

/// All items of all extensions. A registry without an extension has none of its items. One that
/// fails to give them keeps those that were known before, because the servers have come and are
/// not held back for want of an option; but somebody who asked for everything is told.
async fn extensions(
    context: &Context,
    remote: &Remote,
    before: Option<&Snapshot>,
    depth: Depth,
) -> Result<Extensions, Fault> {
    let mut all = Extensions::new();
    for extension in Extension::ALL {
        let items = match extension_items(context, remote, extension).await {
            Err(fault @ Fault::Unavailable { .. }) if depth == Depth::Changes => {
                warn!(registry = %remote.configured, extension = extension.member(), error = %fault, "extension not loaded");
                before.map_or_else(Vec::new, |before| before.extension(extension).to_vec())
            }
            answer => answer?,
        };
        if !items.is_empty() {
            all.insert(extension, items);
        }
    }
    Ok(all)
}

/// All versions of one server, newest first; empty when the registry has no such server.
pub(crate) async fn versions(
    context: &Context,
    remote: &Remote,
    name: &str,
) -> Result<Vec<Arc<Entry>>, Fault> {
    let now = context.world.clock.now();
    let url = versions_url(remote, name, None);
    let Some(reply) = detail(context, remote, url).await? else {
        return Ok(Vec::new());
    };
    let page = parse_page(&reply.body).map_err(|error| format_fault(remote, &error))?;
    let mut versions: Vec<_> = page
        .rows
        .iter()
        .filter_map(|row| Entry::from_row(row, now).ok())
        .filter(|entry| entry.name() == name)
        .map(Arc::new)
        .collect();
    versions.sort_by(|left, right| crate::version_order::compare(right, left));
    Ok(versions)
}

/// One answer about one server; `None` when the registry does not have it.
async fn detail(context: &Context, remote: &Remote, url: Url) -> Result<Option<Reply>, Fault> {
    let bounds = Bounds {
        time: DETAIL_TIME,
        bytes: MAX_PAGE_BYTES,
    };
    let credentials = context.credentials.as_ref();
    let headers = http::HeaderMap::new();
    let answer = context
        .outbound
        .get(remote, url, credentials, &headers, bounds)
        .await?;
    if let Ok(reply) = &answer
        && matches!(reply.status.as_u16(), 404 | 410)
    {
        return Ok(None);
    }
    context
        .outbound
        .judge(remote, credentials, answer)
        .map(Some)
}

/// `…/v0.1/servers/{name}/versions[/{version}]`: name and version are one segment each, so that
/// the slash in a name travels encoded.
fn versions_url(remote: &Remote, name: &str, version: Option<&str>) -> Url {
    let segments = ["servers", name, "versions"].into_iter().chain(version);
    join(&remote.url, segments)
}

/// The URL of `segments` below the API's base.
pub(crate) fn join<'a>(base: &Url, segments: impl IntoIterator<Item = &'a str>) -> Url {
    let mut url = base.clone();
    url.set_query(None);
    url.set_fragment(None);
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push("v0.1").extend(segments);
    }
    url
}

fn edition(now: Timestamp) -> Edition {
    Edition {
        version: API_EDITION.to_owned(),
        last_updated: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_travel_as_one_segment() {
        let remote = Remote {
            configured: "https://r.example/base/".to_owned(),
            url: Url::parse("https://r.example/base/").unwrap(),
            allow_private_ip: false,
        };
        assert_eq!(
            versions_url(&remote, "io.github.x/y", Some("1.0.0+2")).as_str(),
            "https://r.example/base/v0.1/servers/io.github.x%2Fy/versions/1.0.0+2"
        );
        assert_eq!(
            join(&Url::parse("https://r.example").unwrap(), ["servers"]).as_str(),
            "https://r.example/v0.1/servers"
        );
    }
}
