//! An MCP registry on loopback that keeps its promises: cursors, search, versions, `updated_since`, skills and plugins.
//!
//! It writes down every request ([`journal`]), changes while running ([`FakeRegistry::upsert`]) and breaks in the ways
//! real registries break ([`faults`]). Static documents and redirects for `url` sources hang on the same server. With
//! a [`Guard`] it wants a bearer for everything. The routes are in `routes`, what faults do to answers in `serve`.

pub mod faults;
mod guard;
mod routes;
mod serve;
mod store;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::Value;

pub use self::faults::{Fault, Rule};
pub use self::guard::Guard;
use self::store::Store;
use crate::generate::{self, Row};
use crate::journal;
pub use crate::journal::{BearerSeen, Outcome, Recorded};
use crate::listening::{self, Answers, Listening};
use crate::proof::Nonces;
use crate::rules::Armed;

/// The list endpoint of the v0.1 API.
pub const SERVERS: &str = "/v0.1/servers";
/// The list endpoint of the skills extension.
pub const SKILLS: &str = "/v0.1/x/dev.toolhive/skills";
/// The list endpoint of the plugins extension.
pub const PLUGINS: &str = "/v0.1/x/dev.toolhive/plugins";

/// A running registry. It stops when dropped.
#[derive(Debug)]
pub struct FakeRegistry {
    shared: Arc<Shared>,
    address: SocketAddr,
    listening: Mutex<Listening>,
}

/// What the handlers and the test hold together.
#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    store: Mutex<Store>,
    rules: Mutex<Vec<Armed<Fault>>>,
    gatehouse: Mutex<guard::Gatehouse>,
    journal: journal::Journal,
}

impl Shared {
    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl FakeRegistry {
    /// An empty registry on a free port of 127.0.0.1.
    pub async fn start() -> Self {
        Self::start_on(0).await
    }

    /// An empty registry on the given port of 127.0.0.1.
    pub async fn start_on(port: u16) -> Self {
        let (address, listener) = listening::bind(port).await;
        let shared = Arc::new(Shared {
            address,
            store: Mutex::default(),
            rules: Mutex::default(),
            gatehouse: Mutex::default(),
            journal: journal::Journal::default(),
        });
        let listening = listening::open(listener, Arc::clone(&shared) as Arc<dyn Answers>);
        FakeRegistry {
            shared,
            address,
            listening: Mutex::new(listening),
        }
    }

    /// A registry with `count` generated servers.
    pub async fn with_servers(count: usize) -> Self {
        let registry = Self::start().await;
        registry.extend(generate::servers(count, 1));
        registry
    }

    /// The base URL, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URL of a path on this server.
    pub fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Adds rows, replacing those of the same name and version.
    pub fn extend(&self, rows: impl IntoIterator<Item = Row>) {
        let mut store = self.store();
        for row in rows {
            store.upsert(row);
        }
    }

    /// Adds or replaces one row. A new latest version demotes the older ones of that name.
    pub fn upsert(&self, row: Row) {
        self.store().upsert(row);
    }

    /// Marks every version of a server as deleted at the given time.
    pub fn delete(&self, name: &str, updated_at: &str) {
        self.store().set_status(name, "deleted", updated_at);
    }

    /// Marks every version of a server with a status at the given time.
    pub fn set_status(&self, name: &str, status: &str, updated_at: &str) {
        self.store().set_status(name, status, updated_at);
    }

    /// Takes a server out without a trace, as a registry without tombstones would.
    pub fn forget(&self, name: &str) {
        self.store().forget(name);
    }

    /// The names a client should end up with, sorted: latest versions that are not deleted.
    pub fn live_names(&self) -> Vec<String> {
        self.store().live_names()
    }

    /// Offers the `ToolHive` skills and plugins extension; without this call both answer 404.
    pub fn set_extensions(&self, skills: Vec<Value>, plugins: Vec<Value>) {
        self.store().extensions = Some(store::Extensions { skills, plugins });
    }

    /// Whether `updated_since` is understood (it is, at first). Otherwise the parameter is ignored, as by many
    /// subregistries.
    pub fn honour_updated_since(&self, yes: bool) {
        self.store().ignores_updated_since = !yes;
    }

    /// Whether rows carry the registry's own `_meta` (they do, at first); it is optional for subregistries.
    pub fn send_official_meta(&self, yes: bool) {
        self.store().omits_official_meta = !yes;
    }

    /// The largest page given, whatever `limit` asks for; 100 at first.
    pub fn set_page_cap(&self, rows: usize) {
        self.store().page_cap = rows;
    }

    /// Puts a document at `path`, with an `ETag` derived from its bytes.
    pub fn put_document(&self, path: &str, body: impl Into<Bytes>) {
        self.store().documents.insert(
            path.to_owned(),
            store::StaticDocument::new(body.into(), "application/json"),
        );
    }

    /// Puts a document of any media type at `path`.
    pub fn put_document_as(&self, path: &str, media_type: &str, body: impl Into<Bytes>) {
        self.store().documents.insert(
            path.to_owned(),
            store::StaticDocument::new(body.into(), media_type),
        );
    }

    /// Answers `path` with 302 to `target`.
    pub fn put_redirect(&self, path: &str, target: &str) {
        self.store()
            .redirects
            .insert(path.to_owned(), target.to_owned());
    }

    /// Adds a row to the end of every list page as is, valid or not.
    pub fn add_raw_row(&self, raw: &str) {
        self.store().raw_rows.push(raw.to_owned());
    }

    /// Every later request that fits `rule` fails in its way.
    pub fn break_with(&self, rule: Rule) {
        self.shared.rules.lock().unwrap().push(Armed::new(rule));
    }

    /// Every later request fails in this way.
    pub fn break_all(&self, fault: Fault) {
        self.break_with(Rule::always(fault));
    }

    /// Takes all rules away; requests that hang stay hanging.
    pub fn heal(&self) {
        self.shared.rules.lock().unwrap().clear();
    }

    /// Which nonces proofs need from now on.
    pub fn want_nonces(&self, nonces: Nonces) {
        self.shared.gatehouse.lock().unwrap().proofs.nonces = nonces;
    }

    /// Wants a bearer that satisfies `guard` for everything but [`FakeRegistry::leave_open`]; replaces an older guard.
    pub fn protect(&self, guard: Guard) {
        self.shared.gatehouse.lock().unwrap().guard = Some(guard);
    }

    /// Wants nothing any more.
    pub fn unprotect(&self) {
        *self.shared.gatehouse.lock().unwrap() = guard::Gatehouse::default();
    }

    /// Answers requests without a token with these `WWW-Authenticate` fields.
    pub fn challenge_with(&self, challenges: &[&str]) {
        let challenges = challenges.iter().map(|&text| text.to_owned()).collect();
        self.shared.gatehouse.lock().unwrap().challenges = Some(challenges);
    }

    /// Publishes this as its resource metadata (RFC 9728).
    pub fn describe(&self, metadata: Value) {
        self.shared.gatehouse.lock().unwrap().described = Some(metadata);
    }

    /// Lets everybody read the paths that start with `prefix`.
    pub fn leave_open(&self, prefix: &str) {
        self.shared
            .gatehouse
            .lock()
            .unwrap()
            .open_paths
            .push(prefix.to_owned());
    }

    /// Refuses the next `count` good tokens with 401 `invalid_token`, as a registry does whose view of a session is
    /// newer than the token.
    pub fn refuse_good_tokens(&self, count: usize) {
        self.shared.gatehouse.lock().unwrap().refuse = count;
    }

    /// Refuses this token for good, whatever it says; others are not touched.
    pub fn ban(&self, token: &str) {
        self.ban_fingerprint(&crate::jwt::fingerprint(token));
    }

    /// Like [`FakeRegistry::ban`], for a token known from the journal only.
    pub fn ban_fingerprint(&self, fingerprint: &str) {
        self.shared
            .gatehouse
            .lock()
            .unwrap()
            .banned
            .push(fingerprint.to_owned());
    }

    /// The bearers that came, in order; empty when no request had an `Authorization` header.
    pub fn bearers(&self) -> Vec<BearerSeen> {
        self.requests()
            .into_iter()
            .filter_map(|request| request.bearer)
            .collect()
    }

    /// Closes the port and every connection: new connections are refused. The port stays reserved.
    pub async fn refuse(&self) {
        let old = std::mem::replace(&mut *self.listening.lock().unwrap(), Listening::Moving);
        let new = old.close(self.address).await;
        *self.listening.lock().unwrap() = new;
    }

    /// Listens again after [`FakeRegistry::refuse`].
    pub fn accept_again(&self) {
        let mut listening = self.listening.lock().unwrap();
        let old = std::mem::replace(&mut *listening, Listening::Moving);
        *listening = old.reopen(Arc::clone(&self.shared) as Arc<dyn Answers>);
    }

    /// Everything asked so far, in order of arrival.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.journal.all()
    }

    /// The requests asked so far whose path is exactly `path`.
    pub fn requests_for(&self, path: &str) -> Vec<Recorded> {
        let mut all = self.requests();
        all.retain(|request| request.path == path);
        all
    }

    /// How many requests came for the server list.
    pub fn list_count(&self) -> usize {
        self.requests_for(SERVERS).len()
    }

    /// Forgets what was asked so far.
    pub fn clear_journal(&self) {
        self.shared.journal.clear();
    }

    fn store(&self) -> std::sync::MutexGuard<'_, Store> {
        self.shared.store.lock().unwrap()
    }
}
