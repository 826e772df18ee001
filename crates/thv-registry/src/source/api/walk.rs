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
use crate::format::FormatError;
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
    /// The page that comes next; `None` behind the last one.
    next: Option<Position>,
    /// The page that was asked for last.
    current: Position,
    /// How often it was asked for in vain.
    tries: u32,
    /// Pages that were read.
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
            current: Position::First,
            tries: 0,
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
        while let Some(position) = self.next.take() {
            self.current = position;
            let answer = self.ask(context, remote, &self.current).await?;
            let credentials = context.credentials.as_ref();
            match context.outbound.judge(remote, credentials, answer) {
                Ok(reply) => return Ok(Some(reply)),
                Err(fault) => self.failed(context, remote, fault).await?,
            }
        }
        Ok(None)
    }

    /// Takes the failure of the current page: after a pause the page comes next once more.
    ///
    /// # Errors
    /// Gives the fault back when it is not one that may pass, when it is the first page's, and
    /// when the page has been asked for often enough.
    pub(super) async fn failed(
        &mut self,
        context: &Context,
        remote: &Remote,
        fault: Fault,
    ) -> Result<(), Fault> {
        let Fault::Unavailable {
            cause, retry_after, ..
        } = &fault
        else {
            return Err(fault);
        };
        self.tries += 1;
        if self.pages == 0 || self.tries >= PAGE_TRIES {
            return Err(fault);
        }
        let backoff = PAGE_RETRY_FIRST * 2_u32.pow(self.tries - 1);
        let pause = retry_after.unwrap_or(backoff).min(PAGE_RETRY_LONGEST);
        debug!(registry = %remote.configured, page = self.pages + 1, %cause, ?pause, "page failed, trying again");
        context.world.clock.sleep(pause).await;
        self.next = Some(self.current.clone());
        Ok(())
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
        self.pages += 1;
        self.tries = 0;
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
            return endless(format!(
                "{} pages in a row brought nothing new",
                self.barren
            ));
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
    let first = context.outbound.judge(remote, credentials, answer)?;
    if is_something_else(&first, extension) {
        debug!(registry = %remote.configured, extension = extension.member(), "no list where the extension would be");
        return Ok(Vec::new());
    }
    let mut page = Some(first);
    walk.next = None;
    let mut items = Vec::new();
    while let Some(reply) = page {
        match parse_extension_page(&reply.body, extension.member()) {
            Ok(read) => {
                let before = items.len();
                items.extend(
                    read.items
                        .iter()
                        .filter_map(|item| ExtensionEntry::new(item).ok())
                        .map(Arc::new),
                );
                walk.turn(remote, read.next_cursor, items.len() - before)?;
            }
            Err(error) => {
                let fault = format_fault(remote, &error);
                walk.failed(context, remote, fault).await?;
            }
        }
        page = walk.next(context, remote).await?;
    }
    latest_items(&mut items);
    Ok(items)
}

/// Whether a registry says with `status` that it has no such extension for us. Refusals count:
/// the list of servers was answered with the same credential just before.
fn is_absence(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        400 | 401 | 403 | 404 | 405 | 406 | 410 | 501
    )
}

/// Whether the answer comes from something that knows no such extension and answers every path:
/// a page for people, an object of another kind, nothing at all.
fn is_something_else(reply: &Reply, extension: Extension) -> bool {
    match parse_extension_page(&reply.body, extension.member()) {
        Ok(_) => false,
        Err(FormatError::NotRegistry { .. }) => true,
        Err(_) => reply.body.is_empty() || !reply.is_json(),
    }
}
