//! Keeping access tokens fresh: who renews which grant, when, and who waits for it.
//!
//! One [`RefreshEngine`] serves all registries of a process. Each binding has a lane: a view of its stored grant, looked at
//! again every [`LOOK_INTERVAL`] at most, and at most one renewal at a time, which runs detached from whoever asked for
//! it. The renewal itself, step by step, is in `renewal`; when one is due, in `window`. Nothing here can start a login.

mod lane;
mod renewal;
mod service;
mod setback;
mod steps;
mod verdict;
mod view;
mod window;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use jiff::{SignedDuration, Timestamp};
use thv_config::Paths;
use thv_config::world::World;
use thv_http::Bearer;
use tokio_util::sync::CancellationToken;

pub(crate) use lane::Lane;
pub use service::{OAuthService, Spent, TokenService, Unprepared};
pub use steps::{Step, Steps, Unwatched};
pub use view::LastRefresh;
pub(crate) use view::{Known, View};
pub(crate) use window::{Need, pause, windows};

use crate::binding::Binding;
use crate::credentials::{AuthError, LoginReason};
use crate::grant::{Grant, TokenFingerprint};
use crate::limits::{FORCED_FLOOR, LOOK_INTERVAL, PIN_INTERVAL};
use crate::oauth::{Prover, Servers};
use crate::skew::{Skew, shifted};
use crate::vault::{Vault, VaultError, Wiped};
use renewal::Renewal;
use window::{due, need};

/// Keeps the grants of one process fresh. Clones are the same engine.
#[derive(Clone)]
pub struct RefreshEngine {
    inner: Arc<Inner>,
}

/// What an engine works with.
#[derive(Debug)]
pub struct EngineParts {
    /// Clock and environment.
    pub world: World,
    /// Where grants are stored.
    pub vault: Vault,
    /// Who renews them.
    pub service: Arc<dyn TokenService>,
    /// The directory of the locks between processes; see [`RefreshEngine::lock_dir`].
    pub lock_dir: PathBuf,
    /// Told of each step of a renewal: [`Unwatched`] outside tests.
    pub steps: Arc<dyn Steps>,
}

pub(crate) struct Inner {
    pub(crate) parts: EngineParts,
    pub(crate) skew: Skew,
    /// What registries want in the next proof of a token's key.
    pub(crate) servers: Servers,
    /// Shortens windows and lengthens pauses of this process.
    pub(crate) jitter: u8,
    lanes: Mutex<HashMap<Binding, Weak<Lane>>>,
    /// Whether renewals begin that nobody waits for.
    ahead: AtomicBool,
    /// Whether any begin.
    renews: AtomicBool,
}

/// What a renewal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The access token expires or has expired.
    Expiring,
    /// The registry refused this access token.
    Refused(TokenFingerprint),
    /// The registry names another issuer than at the login that this access token is from: it is not renewed but ended.
    IssuerChanged(TokenFingerprint),
}

type Flight = Shared<BoxFuture<'static, Result<Arc<Grant>, AuthError>>>;

// === impl RefreshEngine ===

impl RefreshEngine {
    /// An engine made of `parts`. Does nothing yet.
    pub fn new(parts: EngineParts) -> Self {
        let mut jitter = [0];
        // Without randomness all processes renew at the same moment, which the lock between them can bear.
        let _ = getrandom::fill(&mut jitter);
        Self {
            inner: Arc::new(Inner {
                parts,
                skew: Skew::new(),
                servers: Servers::new(),
                jitter: jitter[0],
                lanes: Mutex::default(),
                ahead: AtomicBool::new(true),
                renews: AtomicBool::new(true),
            }),
        }
    }

    /// The directory for the locks between processes: `grants` beside the secrets.
    pub fn lock_dir(paths: &Paths) -> PathBuf {
        paths.secrets_file().with_file_name("grants")
    }

    /// How far servers' clocks are ahead of ours. Callers that see a `Date` may add to it.
    pub fn skew(&self) -> &Skew {
        &self.inner.skew
    }

    /// Where grants are stored.
    pub fn vault(&self) -> &Vault {
        &self.inner.parts.vault
    }

    /// Looks at the store every [`LOOK_INTERVAL`] until `stop`, so that what other processes do shows without being asked
    /// for.
    pub fn spawn_watch(&self, stop: CancellationToken) -> tokio::task::JoinHandle<()> {
        let engine = self.clone();
        tokio::spawn(async move {
            let clock = Arc::clone(&engine.inner.parts.world.clock);
            loop {
                let sleep = clock.sleep(LOOK_INTERVAL);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep => {}
                }
                for lane in engine.inner.living_lanes() {
                    engine.inner.look(&lane).await;
                }
            }
        })
    }

    /// Whether a token is renewed behind the back of its users before it has to be; it is, at first. A program that ends
    /// with its answer would end before such a renewal is stored.
    pub fn renew_ahead(&self, yes: bool) {
        self.inner.ahead.store(yes, Ordering::Relaxed);
    }

    /// Whether it is.
    pub(crate) fn renews_ahead(&self) -> bool {
        self.inner.ahead.load(Ordering::Relaxed)
    }

    /// Asks the provider for nothing from now on: for a program that wants to know how things stand, and changes none.
    pub fn renew_nothing(&self) {
        self.inner.renews.store(false, Ordering::Relaxed);
    }

    /// Waits for the renewals in flight: what they bring is lost with a process that ends before it is stored. Each has a
    /// deadline of its own.
    pub async fn finish(&self) {
        for lane in self.inner.living_lanes() {
            let flight = lane.flight();
            if let Some(flight) = flight {
                // Whatever it came to is in the store.
                let _ = flight.await;
            }
        }
    }

    /// Deletes every login to the registry from the store and from memory. A renewal in flight finds out when it stores.
    pub(crate) async fn wipe(&self, binding: &Binding) -> Result<Wiped, VaultError> {
        let vault = self.inner.parts.vault.clone();
        let bound = binding.clone();
        let wiped = blocking(move || vault.wipe(&bound)).await?;
        if !wiped.read_only {
            let lane = self.lane(binding);
            lane.forget_unsaved();
            lane.view.send_modify(|view| view.read(Ok(None)));
        }
        Ok(wiped)
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    pub(crate) fn lane(&self, binding: &Binding) -> Arc<Lane> {
        let mut lanes = self
            .inner
            .lanes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(binding).and_then(Weak::upgrade) {
            return lane;
        }
        lanes.retain(|_, lane| lane.strong_count() > 0);
        let lane = Arc::new(Lane::new(binding.clone()));
        lanes.insert(binding.clone(), Arc::downgrade(&lane));
        lane
    }
}

impl fmt::Debug for RefreshEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshEngine")
            .field("lock_dir", &self.inner.parts.lock_dir)
            .finish_non_exhaustive()
    }
}

// === impl Inner ===

impl Inner {
    /// Our clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.parts.world.clock.now()
    }

    pub(crate) fn monotonic(&self) -> Duration {
        self.parts.world.clock.monotonic()
    }

    /// How far the provider's clock is ahead, as far as that is known: from what was learnt since the start, else from the grant.
    pub(crate) fn clock_offset(&self, grant: &Grant) -> SignedDuration {
        self.skew.offset().unwrap_or(grant.clock_offset)
    }

    /// The provider's clock.
    pub(crate) fn provider_now(&self, grant: &Grant) -> Timestamp {
        shifted(self.now(), self.clock_offset(grant))
    }

    /// The access token of `grant`, for the registry's origin only, with the proof of the key that it is bound to.
    pub(crate) fn bearer_of(&self, grant: &Grant, binding: &Binding) -> Option<Bearer> {
        let bearer = Bearer::new(grant.access_token.clone()?, binding.origin());
        Some(match &grant.proof_key {
            Some(key) if grant.is_bound() => {
                let clock = Arc::clone(&self.parts.world.clock);
                let servers = self.servers.clone();
                let prover = Prover::new(key.clone(), servers, clock, self.clock_offset(grant));
                let is_required = grant.pin.as_ref().is_some_and(|pin| pin.dpop_required);
                bearer.proven_by(Arc::new(prover.strict(is_required)))
            }
            _ => bearer,
        })
    }

    pub(crate) fn need(&self, grant: &Grant) -> Need {
        need(grant, self.provider_now(grant), self.jitter)
    }

    /// When `grant` is renewed in the background, by the provider's clock.
    pub(crate) fn renewal_due(&self, grant: &Grant) -> Option<Timestamp> {
        due(grant, self.jitter)
    }

    pub(crate) fn is_usable(&self, grant: &Grant) -> bool {
        grant.is_usable(self.provider_now(grant))
    }

    /// The grant whose access token may be sent now, renewed first where that is due.
    pub(crate) async fn usable_grant(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
    ) -> Result<Arc<Grant>, AuthError> {
        self.look(lane).await;
        let view = lane.view.borrow().clone();
        let Some(grant) = view.grant() else {
            return Err(view.absence().unwrap_or(AuthError::LoginRequired {
                reason: LoginReason::NeverLoggedIn,
            }));
        };
        self.check_issuer(lane, grant).await?;
        match self.need(grant) {
            Need::Nothing => Ok(Arc::clone(grant)),
            Need::Login(reason) => Err(AuthError::LoginRequired { reason }),
            Need::Soon => {
                if self.ahead.load(Ordering::Relaxed) && self.waits_for(&view).is_none() {
                    drop(self.join(lane, Cause::Expiring));
                }
                Ok(Arc::clone(grant))
            }
            Need::Now => {
                let renewed = match self.waits_for(&view) {
                    Some(error) => Err(error),
                    None => self.join(lane, Cause::Expiring).await,
                };
                match renewed {
                    Err(AuthError::Unreachable { .. } | AuthError::Store { .. })
                        if self.is_usable(grant) =>
                    {
                        Ok(Arc::clone(grant))
                    }
                    renewed => renewed,
                }
            }
        }
    }

    /// Ends the grant when the registry names another issuer than at the login: whoever it names now is not who the tokens
    /// are from. Looks at the first use of a login in this process, and every [`PIN_INTERVAL`] after that.
    async fn check_issuer(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        grant: &Arc<Grant>,
    ) -> Result<(), AuthError> {
        let (Some(pin), Some(token)) = (&grant.pin, grant.access_fingerprint()) else {
            return Ok(());
        };
        if grant.dead.is_some() || pin.resource_metadata.is_none() {
            return Ok(());
        }
        // Others wait for what is seen: none of them may send the token before.
        let mut checked = lane.issuer_checked.lock().await;
        let now = self.monotonic();
        if let Some((login_id, at)) = checked.as_ref()
            && *login_id == grant.login_id
            && now < at.saturating_add(PIN_INTERVAL)
        {
            return Ok(());
        }
        let service = &self.parts.service;
        if service.names_another_issuer(&lane.binding, pin).await {
            self.join(lane, Cause::IssuerChanged(token)).await?;
            // Another renewal was under way, or another process has logged in: the next use sees which.
            return Err(AuthError::Unreachable {
                cause: "the registry names another one than at the login".to_owned(),
            });
        }
        *checked = Some((grant.login_id.clone(), now));
        Ok(())
    }

    /// Renews the grant whose access token `refused` the registry does not take, at most once for it. Whether there is
    /// another token to try now.
    pub(crate) async fn renew_refused(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        refused: TokenFingerprint,
    ) -> bool {
        self.read(lane).await;
        let view = lane.view.borrow().clone();
        let Some(grant) = view.grant() else {
            return false;
        };
        if grant.access_fingerprint() != Some(refused) {
            return self.is_usable(grant);
        }
        if self.waits_for(&view).is_some() {
            return false;
        }
        // A registry that has another issuer now refuses the tokens of the old one.
        if let Some(pin) = &grant.pin
            && self
                .parts
                .service
                .names_another_issuer(&lane.binding, pin)
                .await
        {
            // What comes of it is in the view.
            let _ = self.join(lane, Cause::IssuerChanged(refused)).await;
            return false;
        }
        // The token is what another process has got for one that was refused before.
        let is_early = grant.was_just_forced(self.now());
        if is_early && view.accepted == Some(refused) {
            // It has worked here, so that the next one may: a refusal after the pause is worth a renewal, and no login.
            return false;
        }
        let flight = (!is_early).then(|| self.join_forced(lane, refused));
        if let Some(flight) = flight.flatten() {
            match flight.await {
                Ok(renewed) if renewed.access_fingerprint() != Some(refused) => return true,
                Ok(_) | Err(AuthError::LoginRequired { .. }) => {}
                // Nothing is known of the grant: the registry's word is not the last.
                Err(
                    AuthError::Unreachable { .. }
                    | AuthError::Store { .. }
                    | AuthError::Unusable { .. },
                ) => return false,
            }
        }
        lane.view.send_modify(|view| {
            let current = view.grant().and_then(|grant| grant.access_fingerprint());
            if current == Some(refused) {
                view.refused = current;
            }
        });
        false
    }

    /// Why a renewal may not begin yet.
    fn waits_for(&self, view: &View) -> Option<AuthError> {
        if !self.renews.load(Ordering::Relaxed) {
            return Some(AuthError::Unreachable {
                cause: "it is not asked now; the next read of the registry renews the token"
                    .to_owned(),
            });
        }
        let failure = view.failure.as_ref()?;
        (self.monotonic() < failure.retry_at).then(|| failure.error.clone())
    }

    /// The renewal in flight, or a new one.
    fn join(self: &Arc<Self>, lane: &Arc<Lane>, cause: Cause) -> Flight {
        let mut slot = lane.flight.lock().unwrap_or_else(PoisonError::into_inner);
        self.fly(lane, &mut slot, cause)
    }

    /// The same for a refused token, unless a renewal for one has just been forced.
    fn join_forced(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        refused: TokenFingerprint,
    ) -> Option<Flight> {
        let mut slot = lane.flight.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            let now = self.monotonic();
            let forced = lane.view.borrow().forced_at;
            if forced.is_some_and(|at| now < at.saturating_add(FORCED_FLOOR)) {
                return None;
            }
            lane.view.send_modify(|view| view.forced_at = Some(now));
        }
        Some(self.fly(lane, &mut slot, Cause::Refused(refused)))
    }

    fn fly(self: &Arc<Self>, lane: &Arc<Lane>, slot: &mut Option<Flight>, cause: Cause) -> Flight {
        if let Some(flight) = slot {
            return flight.clone();
        }
        let landing = Landing(Arc::clone(lane));
        let renewal = Renewal::new(Arc::clone(self), Arc::clone(lane), cause);
        let task = tokio::spawn(async move {
            let _landing = landing;
            renewal.run().await
        });
        let flight = task
            .map(|outcome| {
                outcome.unwrap_or_else(|_| {
                    Err(AuthError::Unreachable {
                        cause: "the renewal was cut off".to_owned(),
                    })
                })
            })
            .boxed()
            .shared();
        *slot = Some(flight.clone());
        flight
    }

    fn living_lanes(&self) -> Vec<Arc<Lane>> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.values().filter_map(Weak::upgrade).collect()
    }
}

/// Makes room for the next renewal, however this one ends.
struct Landing(Arc<Lane>);

impl Drop for Landing {
    fn drop(&mut self) {
        *self.0.flight.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The lock between the processes that renew the grant of `binding`, in `directory` ([`RefreshEngine::lock_dir`]).
pub(crate) fn grant_lock(directory: &Path, binding: &Binding) -> PathBuf {
    directory.join(format!("{}.lock", binding.key()))
}

/// Runs `work` where it may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down: nobody waits for the outcome any more.
            Err(_) => std::future::pending().await,
        },
    }
}
