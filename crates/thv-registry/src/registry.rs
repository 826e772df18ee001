//! One registry: its settings, its catalog, and the loads that keep it.
//!
//! A read looks at the current state and decides; it waits only when there is nothing to serve.
//! Loads run beside the reads and replace the state when they are done.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use thv_auth::{CredentialSource, LoginReason};
use thv_config::disk::{self, Fingerprint};
use thv_config::world::World;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::cache::{CacheFile, Changes};
use crate::entry::Entry;
use crate::error::{Blame, Fault, LookupError, LookupFault};
use crate::flight::{Flight, Flights, Landing, Seat, Wanted};
use crate::limits::MAX_LOGGED_REASONS;
use crate::settings::{RegistryInfo, Settings};
use crate::snapshot::{Counts, Snapshot};
use crate::source::outbound::Outbound;
use crate::source::{Context, Depth, Difference, Known, Loaded, Source, api};
use crate::state::{Decision, Moment, Revalidation, State, is_fresh};

/// One registry: its settings, its catalog, and the loads that keep it.
#[derive(Debug)]
pub struct Registry {
    name: String,
    settings: Settings,
    inner: Arc<Inner>,
}

/// A catalog that can be served.
#[derive(Clone, Debug)]
pub struct Served {
    /// The catalog.
    pub snapshot: Arc<Snapshot>,
    /// Why and since when it may be out of date; `None` when it is not known to be.
    pub stale: Option<Staleness>,
}

/// Why a catalog may be out of date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// When the source last confirmed the catalog.
    pub since: Timestamp,
    /// What stands in the way of asking it again.
    pub why: String,
}

/// Where a catalog stands, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogStatus {
    /// `loading`, `ready`, `stale`, `auth_required`, `legacy_format`, `unavailable` or
    /// `misconfigured`.
    pub state: &'static str,
    /// Whether a load is under way.
    pub loading: bool,
    /// What went wrong, and since when.
    pub fault: Option<(Fault, Timestamp)>,
    /// When the source last confirmed the catalog; `None` for sources on this machine.
    pub checked_at: Option<Timestamp>,
    /// What the catalog holds.
    pub counts: Counts,
    /// Names the content: the same for the same content, also after another start. `None` without a catalog.
    pub digest: Option<String>,
    /// Rows of the last whole load that could not be read.
    pub bad_rows: usize,
    /// Whether later loads ask for changes only.
    pub incremental: bool,
    /// Where the catalog is kept on disk.
    pub cache_file: Option<std::path::PathBuf>,
}

#[derive(Debug)]
struct Inner {
    source: Result<Source, String>,
    context: Context,
    /// What is read and how, and where such catalogs are kept; `None` for sources on this machine.
    cache_place: Option<(PathBuf, String)>,
    /// Known once the credential's identity is.
    cache: OnceLock<CacheFile>,
    /// Who all of this is read for, as soon as somebody is. Whoever logs in after them gets a registry of their own.
    reader: OnceLock<String>,
    /// Orders writes of the cache file.
    cache_turn: Mutex<()>,
    /// The file of a file source as it was just before it was last read.
    file_read: ArcSwapOption<FileLook>,
    revalidation: Revalidation,
    state: ArcSwap<State>,
    /// The number of the latest flight whose outcome is the state. An earlier one that ends after
    /// it has nothing to say any more.
    landed: std::sync::Mutex<u64>,
    /// Wakes those who wait when the state was replaced.
    changed: Notify,
    flights: Flights,
    stop: CancellationToken,
}

/// What a registry's credential says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) identity: String,
    pub(crate) login_needed: Option<LoginReason>,
}

/// What a file looked like; `None` when there was none.
#[derive(Debug)]
struct FileLook(Option<Fingerprint>);

/// Ends a registry's loads when the last handle to it is gone.
impl Drop for Registry {
    fn drop(&mut self) {
        self.inner.stop.cancel();
    }
}

// === impl Registry ===

impl Registry {
    pub(crate) fn new(
        name: &str,
        settings: Settings,
        logins: &dyn CredentialSource,
        world: World,
        outbound: Arc<Outbound>,
        cache_directory: &Path,
        revalidation: Revalidation,
    ) -> Arc<Self> {
        let source = settings.source();
        let credentials = settings.credentials(name, logins);
        let cached = source.as_ref().ok().filter(|source| source.is_cached());
        let cache_place =
            cached.map(|source| (cache_directory.to_owned(), settings.cache_key(source)));
        Arc::new(Self {
            name: name.to_owned(),
            settings,
            inner: Arc::new(Inner {
                source,
                context: Context {
                    world,
                    outbound,
                    credentials,
                },
                cache_place,
                cache: OnceLock::new(),
                reader: OnceLock::new(),
                cache_turn: Mutex::new(()),
                file_read: ArcSwapOption::empty(),
                revalidation,
                state: ArcSwap::from_pointee(State::default()),
                landed: std::sync::Mutex::new(0),
                changed: Notify::new(),
                flights: Flights::default(),
                stop: CancellationToken::new(),
            }),
        })
    }

    /// Name, `default` today.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the registry is, without its content, and where its login stands now.
    pub fn info(&self) -> RegistryInfo {
        let credentials = self.inner.context.credentials.as_ref();
        self.settings.info(&self.name, credentials)
    }

    /// What the credential says of itself: who reads, and what is missing.
    pub(crate) fn standing(&self) -> Standing {
        let credentials = &self.inner.context.credentials;
        Standing {
            identity: credentials.identity(),
            login_needed: credentials.login_needed(),
        }
    }

    /// Forgets the catalog of those who are logged in now, in memory and on disk: somebody logs
    /// out. Call it before the login is deleted, or right after in a process that read with it.
    pub async fn forget_catalog(&self) {
        self.inner.context.credentials.prepare().await;
        self.inner.settle_cache();
        self.inner.withdraw(LoginReason::NeverLoggedIn).await;
    }

    /// Forgets the catalog, in memory and on disk: the credential that it was read with is
    /// definitely gone.
    pub(crate) async fn withdraw(&self, reason: LoginReason) {
        self.inner.withdraw(reason).await;
    }

    /// Whether somebody else is logged in now than the one for whom this was read.
    pub(crate) fn is_anothers(&self) -> bool {
        self.inner.is_anothers()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn outbound(&self) -> &Arc<Outbound> {
        &self.inner.context.outbound
    }

    /// The path of a registry that is a file on this machine.
    pub(crate) fn local_file(&self) -> Option<&Path> {
        match &self.inner.source {
            Ok(Source::File(path)) => Some(path),
            _ => None,
        }
    }

    /// Whether the file of a file source, with this fingerprint now, is another than the one that
    /// was read last.
    pub(crate) fn is_outdated(&self, now: Option<Fingerprint>) -> bool {
        let read = self.inner.file_read.load();
        read.as_ref().is_some_and(|read| read.0 != now)
    }

    /// Begins to load the catalog; nobody needs to wait for it.
    pub(crate) fn start(&self) {
        drop(self.inner.board(Depth::Changes, Wanted::ByRegistry));
    }

    /// Begins to read the source again because it is known to have changed.
    pub(crate) fn reload(&self) {
        drop(self.inner.board(Depth::Whole, Wanted::ByRegistry));
    }

    /// The catalog. Where there is none that may be served, waits for a load, but no longer
    /// than `patience`.
    ///
    /// # Errors
    /// The fault that stands in the way; `Unavailable` when `patience` ran out.
    pub async fn catalog(&self, patience: Duration) -> Result<Served, Fault> {
        let inner = &self.inner;
        if let Some(served) = inner.answer_at_once() {
            return served;
        }
        let clock = &inner.context.world.clock;
        tokio::select! {
            answer = inner.answer() => answer,
            () = clock.sleep(patience) => Err(inner.out_of_patience(patience)),
        }
    }

    /// Reads the whole catalog from its source again and waits for it.
    ///
    /// # Errors
    /// The fault that the load met; what was known before is then still served.
    pub async fn refresh(&self) -> Result<Served, Fault> {
        let seat = self.inner.board(Depth::Whole, Wanted::ByWaiters);
        match seat.decided().await {
            Some(fault) => Err(fault),
            None => self.inner.answer().await,
        }
    }

    /// All versions of the server of this full or short name, the latest first. An API registry
    /// is asked for them; `patience` bounds the wait for the catalog before that.
    ///
    /// # Errors
    /// When no server has the name, or the registry cannot be read.
    pub async fn versions(
        &self,
        name: &str,
        patience: Duration,
    ) -> Result<Vec<Arc<Entry>>, LookupFault> {
        let served = self.catalog(patience).await?;
        let known = served.snapshot.get(name);
        let Ok(Source::Api(remote)) = &self.inner.source else {
            let versions = served.snapshot.versions(name);
            return if versions.is_empty() {
                Err(not_found(name).into())
            } else {
                Ok(versions)
            };
        };
        match api::versions(&self.inner.context, remote, name).await {
            Ok(versions) if !versions.is_empty() => Ok(versions),
            // A registry may offer the list and no histories.
            Ok(_) => known
                .map(|latest| vec![Arc::clone(latest)])
                .ok_or_else(|| not_found(name).into()),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Where the catalog stands.
    pub fn status(&self) -> CatalogStatus {
        let state = self.inner.state.load();
        let known = state.known.as_ref();
        let fault = state.failure.as_ref();
        let word = match (known, fault.map(|failure| &failure.fault)) {
            (None, None) => "loading",
            (Some(_), None) => "ready",
            (_, Some(Fault::AuthRequired { .. })) => "auth_required",
            (_, Some(Fault::Legacy { .. })) => "legacy_format",
            (_, Some(Fault::Configuration { .. })) => "misconfigured",
            (Some(_), Some(fault)) if fault.may_serve_stale() => "stale",
            (_, Some(Fault::Unavailable { .. })) => "unavailable",
        };
        CatalogStatus {
            state: word,
            loading: self.inner.flights.is_loading(),
            fault: fault.map(|failure| (failure.fault.clone(), failure.since)),
            checked_at: known
                .filter(|_| self.inner.cache_place.is_some())
                .map(|known| known.marks.checked_at),
            digest: known.map(|known| known.snapshot.digest().to_owned()),
            counts: known.map_or_else(Counts::default, |known| known.snapshot.counts()),
            bad_rows: known.map_or(0, |known| known.snapshot.bad_rows()),
            incremental: known.is_some_and(|known| known.marks.incremental),
            cache_file: self.inner.cache.get().map(|cache| cache.path().to_owned()),
        }
    }
}

fn not_found(name: &str) -> LookupError {
    LookupError::NotFound {
        query: name.to_owned(),
    }
}

// === impl Inner ===

impl Inner {
    fn moment(&self) -> Moment {
        let clock = &self.context.world.clock;
        Moment {
            now: clock.now(),
            monotonic: clock.monotonic(),
        }
    }

    fn decide(self: &Arc<Self>, state: &State) -> Decision {
        let can_age = self.cache_place.is_some();
        let decision = state.decide(self.moment(), self.revalidation, can_age);
        if let Decision::Serve { load: true, .. } | Decision::Fail { load: true } = decision {
            drop(self.board(Depth::Changes, Wanted::ByRegistry));
        }
        decision
    }

    /// The answer that needs no waiting, if there is one.
    fn answer_at_once(self: &Arc<Self>) -> Option<Result<Served, Fault>> {
        let login_needed = self.context.credentials.login_needed();
        if let Some(reason) = login_needed {
            return Some(Err(self.auth_required(reason)));
        }
        let state = self.state.load();
        if state.waited_for_login() {
            // Somebody has logged in since.
            return None;
        }
        match self.decide(&state) {
            Decision::Serve { stale, .. } => {
                let known = state.known.as_ref()?;
                Some(Ok(serve(known, &state, stale)))
            }
            Decision::Fail { .. } => {
                let failure = state.failure.as_ref()?;
                Some(Err(failure.fault.clone()))
            }
            Decision::Wait { .. } => None,
        }
    }

    async fn answer(self: &Arc<Self>) -> Result<Served, Fault> {
        let mut seat = None;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(answer) = self.answer_at_once() {
                return answer;
            }
            if seat.is_none() {
                if let Decision::Wait { pause } = self.decide(&self.state.load())
                    && !pause.is_zero()
                {
                    self.context.world.clock.sleep(pause).await;
                }
                seat = Some(self.board(Depth::Changes, Wanted::ByWaiters));
            }
            let Some(boarded) = &seat else { continue };
            tokio::select! {
                fault = boarded.decided() => match fault {
                    Some(fault) => return self.answer_after(fault),
                    None => seat = None,
                },
                // What was read from disk may do while the load goes on.
                () = changed => {}
            }
        }
    }

    /// The answer after a load that was waited for has failed.
    fn answer_after(&self, fault: Fault) -> Result<Served, Fault> {
        let state = self.state.load();
        match &state.known {
            Some(known) if fault.may_serve_stale() => Ok(serve(known, &state, true)),
            _ => Err(fault),
        }
    }

    /// Makes the outcome of `flight` the state, unless a later flight was faster.
    fn land(&self, flight: &Flight, outcome: impl FnOnce(&State) -> State) -> bool {
        let mut landed = self.landed();
        if flight.number() < *landed {
            return false;
        }
        *landed = flight.number();
        self.publish(outcome(&self.state.load()));
        true
    }

    /// Makes what was on disk the state, unless something newer is known by now.
    fn land_restored(&self, known: &Known) -> bool {
        let landed = self.landed();
        let is_first = *landed == 0 && !self.state.load().restored;
        if is_first {
            self.publish(State::loaded(known.clone()));
        }
        is_first
    }

    fn landed(&self) -> std::sync::MutexGuard<'_, u64> {
        self.landed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: State) {
        self.state.store(Arc::new(state));
        self.changed.notify_waiters();
    }

    fn out_of_patience(&self, patience: Duration) -> Fault {
        let state = self.state.load();
        if let Some(failure) = &state.failure {
            return failure.fault.clone();
        }
        let url = match &self.source {
            Ok(Source::Url(remote) | Source::Api(remote)) => Some(remote.configured.clone()),
            _ => None,
        };
        Fault::Unavailable {
            url,
            cause: format!(
                "its catalog is still being loaded after {} s",
                patience.as_secs()
            ),
            retry_after: Some(Duration::from_secs(1)),
            blame: Blame::Registry,
        }
    }

    /// A seat in a load of at least this depth; begins one when none is under way.
    fn board(self: &Arc<Self>, depth: Depth, wanted: Wanted) -> Seat {
        self.flights.board(depth, wanted, |flight| {
            let inner = Arc::clone(self);
            let landing = Landing(flight);
            tokio::spawn(async move { inner.fly(&landing.0).await });
        })
    }

    async fn fly(self: Arc<Self>, flight: &Flight) {
        let cancelled = flight.cancelled();
        let outcome = tokio::select! {
            outcome = self.load(flight.depth()) => outcome,
            () = cancelled => return flight.decide(Some(given_up())),
            () = self.stop.cancelled() => return flight.decide(Some(given_up())),
        };
        match outcome {
            Ok(Some(loaded)) => {
                let Loaded { known, difference } = loaded;
                if self.revalidation == Revalidation::Before {
                    // A program that ends with its answer would end before a write behind it.
                    self.keep(known.clone(), difference).await;
                    self.land(flight, |_| State::loaded(known.clone()));
                    return flight.decide(None);
                }
                if !self.land(flight, |_| State::loaded(known.clone())) {
                    return flight.decide(None);
                }
                flight.decide(None);
                self.keep(known, difference).await;
            }
            Ok(None) => flight.decide(None),
            Err(fault) => {
                warn!(registry = %self.shown(), error = %fault, "catalog not loaded");
                let moment = self.moment();
                let refused = matches!(fault, Fault::AuthRequired { .. });
                // As with a write: a program that ends with its answer would end before a purge.
                let purged = refused && self.revalidation == Revalidation::Before;
                if purged {
                    self.forget().await;
                }
                let landed = self.land(flight, |state| state.failed(fault.clone(), moment));
                if landed && refused && !purged {
                    self.forget().await;
                }
                flight.decide(Some(fault));
            }
        }
    }

    /// The source, for the log.
    fn shown(&self) -> String {
        match &self.source {
            Ok(Source::BuiltIn) => "built-in".to_owned(),
            Ok(source) => source.shown(),
            Err(_) => "unusable".to_owned(),
        }
    }

    /// Loads; `None` when the catalog of an earlier run, just read from disk, is recent enough.
    async fn load(self: &Arc<Self>, depth: Depth) -> Result<Option<Loaded>, Fault> {
        let source = self.source.as_ref().map_err(|cause| Fault::Configuration {
            cause: cause.clone(),
        })?;
        if !self.state.load().restored {
            let restored = self.restore(source).await?;
            let now = self.context.world.clock.now();
            if restored.is_some_and(|known| is_fresh(&known, now)) && depth == Depth::Changes {
                return Ok(None);
            }
        }
        if let Source::File(path) = source {
            // Looked at before it is read: a change in between is noticed by the next look.
            let path = path.clone();
            let look = tokio::task::spawn_blocking(move || disk::fingerprint(&path));
            let look = FileLook(look.await.ok().flatten());
            self.file_read.store(Some(Arc::new(look)));
        }
        let known = self.state.load().known.clone();
        let loaded = source.load(&self.context, known.as_ref(), depth).await;
        if self.is_anothers() {
            return Err(changed_hands());
        }
        // Somebody may have logged out while the load went on.
        if let Some(reason) = self.context.credentials.login_needed() {
            return Err(self.auth_required(reason));
        }
        loaded.map(Some)
    }

    fn is_anothers(&self) -> bool {
        let reader = self.reader.get();
        reader.is_some_and(|reader| !self.context.credentials.is_still(reader))
    }

    /// Brings back the catalog of an earlier run, where the credential that it was read with is
    /// at hand.
    async fn restore(self: &Arc<Self>, source: &Source) -> Result<Option<Known>, Fault> {
        if self.cache_place.is_none() {
            return Ok(None);
        }
        let credentials = &self.context.credentials;
        credentials.prepare().await;
        if let Some(reason) = credentials.login_needed() {
            return Err(self.auth_required(reason));
        }
        self.reader.get_or_init(|| credentials.identity());
        self.settle_cache();
        let inner = Arc::clone(self);
        let contents = tokio::task::spawn_blocking(move || inner.cache.get()?.load());
        let Some(contents) = contents.await.ok().flatten() else {
            return Ok(None);
        };
        let known = Known {
            snapshot: Arc::new(contents.snapshot),
            marks: contents.marks,
        };
        debug!(registry = %source.shown(), servers = known.snapshot.entries().len(), "catalog read from disk");
        if !self.land_restored(&known) {
            return Ok(None);
        }
        self.warm(&known);
        Ok(Some(known))
    }

    /// Settles which file is read and written: the one of who reads now.
    fn settle_cache(&self) {
        if let Some((directory, key)) = &self.cache_place {
            self.cache.get_or_init(|| {
                let identity = format!("{key}\n{}", self.context.credentials.identity());
                CacheFile::new(directory, identity, Arc::clone(&self.context.world.clock))
            });
        }
    }

    fn warm(&self, known: &Known) {
        if self.revalidation == Revalidation::Behind {
            let snapshot = Arc::clone(&known.snapshot);
            drop(tokio::task::spawn_blocking(move || snapshot.warm()));
        }
    }

    /// Writes what a load brought to disk, and logs what the `v1beta` views leave out.
    async fn keep(self: &Arc<Self>, known: Known, difference: Difference) {
        let whole = matches!(difference, Difference::Whole);
        if whole || matches!(difference, Difference::Changes(_)) {
            self.warm(&known);
        }
        if whole && known.snapshot.counts().omitted > 0 {
            self.log_omissions(&known.snapshot);
        }
        if self.cache_place.is_none() {
            return;
        }
        let _turn = self.cache_turn.lock().await;
        let logged_out = self.context.credentials.login_needed().is_some();
        if logged_out || self.is_anothers() {
            // What was purged for them must not come back behind the purge.
            return;
        }
        let inner = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || {
            let Some(cache) = inner.cache.get() else {
                return;
            };
            let Known { snapshot, marks } = &known;
            match difference {
                Difference::Whole => cache.store(snapshot, marks),
                Difference::Changes(changes) => cache.append(&changes, snapshot, marks),
                Difference::None => cache.append(&Changes::default(), snapshot, marks),
            }
        });
        // A panic in there is reported by the runtime; the catalog in memory stands.
        let _ = written.await;
    }

    fn log_omissions(&self, snapshot: &Snapshot) {
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, why) in snapshot.omitted() {
            *reasons.entry(why).or_default() += 1;
        }
        let mut reasons: Vec<_> = reasons.into_iter().collect();
        reasons.sort_by_key(|(_, servers)| Reverse(*servers));
        for (why, servers) in reasons.into_iter().take(MAX_LOGGED_REASONS) {
            info!(registry = %self.shown(), servers, why, "not in the v1beta lists");
        }
    }

    fn auth_required(&self, reason: LoginReason) -> Fault {
        Fault::AuthRequired {
            source_name: self.shown(),
            reason,
        }
    }

    async fn withdraw(self: &Arc<Self>, reason: LoginReason) {
        let fault = self.auth_required(reason);
        let state = self.state.load().failed(fault, self.moment());
        self.publish(state);
        self.forget().await;
    }

    async fn forget(self: &Arc<Self>) {
        let _turn = self.cache_turn.lock().await;
        let inner = Arc::clone(self);
        let removed = tokio::task::spawn_blocking(move || {
            if let Some(cache) = inner.cache.get() {
                cache.remove();
            }
        });
        let _ = removed.await;
    }
}

/// What those who waited for the catalog of somebody who is logged in no longer get.
fn changed_hands() -> Fault {
    Fault::Unavailable {
        url: None,
        cause: "somebody else has logged in to it meanwhile".to_owned(),
        retry_after: Some(Duration::from_secs(1)),
        blame: Blame::Registry,
    }
}

/// What those who still wait for a load that was cancelled get.
fn given_up() -> Fault {
    Fault::Unavailable {
        url: None,
        cause: "the load was given up".to_owned(),
        retry_after: None,
        blame: Blame::Registry,
    }
}

fn serve(known: &Known, state: &State, is_stale: bool) -> Served {
    let why = state.failure.as_ref().filter(|_| is_stale);
    Served {
        snapshot: Arc::clone(&known.snapshot),
        stale: why.map(|failure| Staleness {
            since: known.marks.checked_at,
            why: failure.fault.to_string(),
        }),
    }
}
