//! Walking a list of the registry API to its end, and knowing when it has none.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use thv_http::{HttpError, Reply};
use tracing::debug;

use super::super::outbound::{Bounds, unavailable};
use super::super::{Context, Remote};
use super::join;
use crate::assemble::latest_items;
use crate::entry::{Extension, ExtensionEntry};
use crate::error::Fault;
use crate::format::page::parse_extension_page;
use crate::limits::{
    MAX_BARREN_PAGES, MAX_PAGE_BYTES, MAX_ROWS, PAGE_LIMIT, PAGE_RETRY_FIRST, PAGE_RETRY_LONGEST,
    PAGE_TIME, PAGE_TRIES,
};
use crate::source::document::format_fault;

/// Which list is walked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Query {
    Servers { since: Option<Timestamp> },
    Extension(Extension),
}

/// A walk that is under way.
#[derive(Debug)]
pub(super) struct Walk {
    query: Query,
    /// The cursor of the page that comes next; `None` once inside is the end.
    next: Option<Position>,
    pages: usize,
    barren: usize,
    rows: usize,
    cursors: HashSet<u64>,
    begun: Option<Reply>,
}

#[derive(Clone, Debug)]
enum Position {
    First,
    At(String),
}

// === impl Walk ===

impl Walk {
    pub(super) fn new(query: Query) -> Self {
        Self {
            query,
            next: Some(Position::First),
            pages: 0,
            barren: 0,
            rows: 0,
            cursors: HashSet::new(),
            begun: None,
        }
    }

    /// This walk, with a first page that was fetched already and still has to be read.
    pub(super) fn begun_with(mut self, reply: Reply) -> Self {
        self.begun = Some(reply);
        self
    }

    pub(super) fn take_begun(&mut self) -> Option<Reply> {
        self.begun.take()
    }

    /// The next page; `None` behind the last one. A page behind the first is asked for again
    /// after a failure that may pass.
    pub(super) async fn next(
        &mut self,
        context: &Context,
        remote: &Remote,
    ) -> Result<Option<Reply>, Fault> {
        let Some(position) = self.next.take() else {
            return Ok(None);
        };
        let mut tries = 1;
        let mut wait = PAGE_RETRY_FIRST;
        loop {
            let answer = self.ask(context, remote, &position).await?;
            let credentials = context.credentials.as_ref();
            match context.outbound.judge(remote, credentials, answer) {
                Ok(reply) => {
                    self.pages += 1;
                    return Ok(Some(reply));
                }
                Err(Fault::Unavailable {
                    cause, retry_after, ..
                }) if self.pages > 0 && tries < PAGE_TRIES => {
                    let pause = retry_after.unwrap_or(wait).min(PAGE_RETRY_LONGEST);
                    debug!(registry = %remote.configured, page = self.pages + 1, %cause, ?pause, "page failed, trying again");
                    context.world.clock.sleep(pause).await;
                    tries += 1;
                    wait *= 2;
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    async fn ask(
        &self,
        context: &Context,
        remote: &Remote,
        position: &Position,
    ) -> Result<Result<Reply, HttpError>, Fault> {
        let mut url = match self.query {
            Query::Servers { .. } => join(&remote.url, ["servers"]),
            Query::Extension(extension) => {
                join(&remote.url, ["x", "dev.toolhive", extension.member()])
            }
        };
        {
            let mut pairs = url.query_pairs_mut();
            if let Position::At(cursor) = position {
                pairs.append_pair("cursor", cursor);
            }
            pairs.append_pair("limit", &PAGE_LIMIT.to_string());
            if let Query::Servers { since } = self.query {
                pairs.append_pair("version", "latest");
                if let Some(since) = since {
                    pairs.append_pair("updated_since", &since.to_string());
                }
            }
        }
        let bounds = Bounds {
            time: PAGE_TIME,
            bytes: MAX_PAGE_BYTES,
        };
        let credentials = context.credentials.as_ref();
        context
            .outbound
            .get(remote, url, credentials, &HeaderMap::new(), bounds)
            .await
    }

    /// Notes what the page brought and where the next one is.
    ///
    /// # Errors
    /// A walk that cannot end is a fault: a cursor that was there before, page upon page without
    /// anything new, more rows than any registry has.
    pub(super) fn turn(
        &mut self,
        remote: &Remote,
        cursor: Option<String>,
        news: usize,
    ) -> Result<(), Fault> {
        self.rows += news;
        self.barren = if news == 0 { self.barren + 1 } else { 0 };
        let Some(cursor) = cursor.filter(|cursor| !cursor.is_empty()) else {
            return Ok(());
        };
        let endless = |cause: String| Err(unavailable(remote, cause, None));
        let mut hasher = DefaultHasher::new();
        cursor.hash(&mut hasher);
        if !self.cursors.insert(hasher.finish()) {
            return endless(format!("it repeats a cursor after {} pages", self.pages));
        }
        if self.barren >= MAX_BARREN_PAGES {
            return endless(format!("{} pages in a row brought nothing new", self.barren));
        }
        if self.rows > MAX_ROWS {
            return endless(format!("it lists more than {MAX_ROWS} servers"));
        }
        self.next = Some(Position::At(cursor));
        Ok(())
    }
}

/// All items of an extension; none where the registry does not have it or does not show it.
pub(super) async fn extension_items(
    context: &Context,
    remote: &Remote,
    extension: Extension,
) -> Result<Vec<Arc<ExtensionEntry>>, Fault> {
    let mut walk = Walk::new(Query::Extension(extension));
    let answer = walk.ask(context, remote, &Position::First).await?;
    if let Ok(reply) = &answer
        && is_absence(reply.status)
    {
        return Ok(Vec::new());
    }
    let credentials = context.credentials.as_ref();
    let mut page = Some(context.outbound.judge(remote, credentials, answer)?);
    walk.pages = 1;
    walk.next = None;
    let mut items = Vec::new();
    while let Some(reply) = page {
        let read = parse_extension_page(&reply.body, extension.member())
            .map_err(|error| format_fault(remote, &error))?;
        let before = items.len();
        items.extend(
            read.items
                .iter()
                .filter_map(|item| ExtensionEntry::new(item).ok())
                .map(Arc::new),
        );
        walk.turn(remote, read.next_cursor.clone(), items.len() - before)?;
        page = walk.next(context, remote).await?;
    }
    latest_items(&mut items);
    Ok(items)
}

/// Whether a registry says with `status` that it has no such extension for us. Refusals count:
/// the list of servers was answered with the same credential just before.
fn is_absence(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 401 | 403 | 404 | 405 | 406 | 410 | 501)
}
