//! Every limit of this crate, once, with the reason for its value.

use std::time::Duration;

/// The largest registry document or cache file that is read, in bytes. The whole official
/// registry, all versions, was 78 MB in August 2026.
pub const MAX_DOCUMENT_BYTES: u64 = 256 * 1024 * 1024;

/// The largest single page of a Registry API answer, in bytes. A page of 100 real entries is
/// about 100 kB; the largest entry seen is 59 kB.
pub const MAX_PAGE_BYTES: u64 = 32 * 1024 * 1024;

/// How many rows are asked for per page: the most that the official registry allows.
pub const PAGE_LIMIT: usize = 100;

/// How many rows one walk may yield before it is called endless. The official registry held
/// 80,000 rows in August 2026.
pub const MAX_ROWS: usize = 2_000_000;

/// How many pages in a row may bring nothing new before a walk is called endless: a registry
/// that repeats itself under ever new cursors never ends by itself.
pub const MAX_BARREN_PAGES: usize = 20;

/// How often one page is asked for before the walk gives up. Only pages after the first are
/// tried again, so that a registry that is down is known to be down at once.
pub const PAGE_TRIES: u32 = 5;

/// The wait before a page's second try; it doubles with each further one.
pub const PAGE_RETRY_FIRST: Duration = Duration::from_millis(250);

/// The longest wait that a registry's `Retry-After` can impose within one walk.
pub const PAGE_RETRY_LONGEST: Duration = Duration::from_mins(1);

/// The time one page may take. Reads of 20 to 25 seconds have been seen in the field.
pub const PAGE_TIME: Duration = Duration::from_mins(1);

/// The time a registry document may take.
pub const DOCUMENT_TIME: Duration = Duration::from_mins(2);

/// The time one server's history may take; a person or a client waits for it.
pub const DETAIL_TIME: Duration = Duration::from_secs(10);

/// The time a source may take to prove itself when it is set.
pub const PROBE_TIME: Duration = Duration::from_secs(5);

/// The longest silence between two pieces of a body.
pub const IDLE_TIME: Duration = Duration::from_secs(30);

/// Redirects followed for one request.
pub const MAX_REDIRECTS: u8 = 10;

/// How old a snapshot may be before a read starts a revalidation behind it, where asking for
/// changes is cheap (a validator or `updated_since`).
pub const FRESH_WHEN_CHEAP: Duration = Duration::from_mins(5);

/// The same where every load is a whole one: the hour that registries ask their readers for.
pub const FRESH_WHEN_WHOLE: Duration = Duration::from_hours(1);

/// How long changes are added up before the whole catalog is walked again, which is what finds
/// removals that a registry never reports.
pub const RECONCILE_AFTER: Duration = Duration::from_hours(12);

/// How far `updated_since` reaches back behind the newest change seen: rows move while a walk
/// is under way, and clocks differ.
pub const UPDATED_SINCE_OVERLAP: Duration = Duration::from_mins(5);

/// The wait after a first failure; it doubles up to [`BACKOFF_LONGEST`].
pub const BACKOFF_FIRST: Duration = Duration::from_millis(250);

/// The longest wait between two tries of a source that keeps failing.
pub const BACKOFF_LONGEST: Duration = Duration::from_mins(1);

/// How often the configuration's source file is looked at.
pub const FILE_POLL: Duration = Duration::from_millis(500);

/// How long another process may hold a cache file's lock before this one goes without writing.
pub const CACHE_LOCK_TIME: Duration = Duration::from_secs(5);

/// Cache files of ours that nobody has written for this long are removed.
pub const CACHE_FILE_AGE: Duration = Duration::from_hours(30 * 24);

/// The part of a cache file that may be superseded records before it is written anew.
pub const CACHE_WASTE_DIVISOR: u64 = 2;

/// How many names are given as candidates for an ambiguous short name.
pub const MAX_CANDIDATES: usize = 20;

/// How many withdrawn versions of one load are looked up one by one, to see whether an earlier
/// version stands in; beyond that a whole walk costs less.
pub const MAX_WITHDRAWN_CHECKS: usize = 50;

/// How many reasons for leaving servers out of a view are logged per load, the commonest first;
/// `thv registry status` tells all.
pub const MAX_LOGGED_REASONS: usize = 10;
