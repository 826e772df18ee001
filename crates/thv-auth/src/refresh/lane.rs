//! One binding's grant in this process, and the looks at the store that keep it true.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thv_config::disk::Fingerprint;
use tokio::sync::watch;

use super::view::View;
use super::{Flight, Inner, blocking};
use crate::binding::Binding;
use crate::grant::Grant;
use crate::limits::{LOOK_INTERVAL, RETRY_STORE};

/// One binding's grant in this process.
pub(crate) struct Lane {
    pub(crate) binding: Binding,
    pub(crate) view: watch::Sender<View>,
    looked: Mutex<Looked>,
    /// Lets one task look while the others wait for what it sees.
    turn: tokio::sync::Mutex<()>,
    pub(super) flight: Mutex<Option<Flight>>,
    /// The login of which the registry was last asked whether its issuer is still the one, and when, on the monotonic clock.
    pub(super) issuer_checked: tokio::sync::Mutex<Option<(String, Duration)>>,
    /// An answer of the provider that could not be stored, and the generation it belongs over.
    pub(crate) unsaved: Mutex<Option<(u64, Grant)>>,
}

/// The last look at the store, on the monotonic clock.
#[derive(Debug, Default)]
struct Looked {
    at: Option<Duration>,
    epoch: u64,
    read_at: Option<Duration>,
    marks: Vec<Option<Fingerprint>>,
}

/// Why the store has to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// The last look is a while ago.
    Routine,
    /// There was none, or somebody here has logged in or out since.
    Urgent,
}

// === impl Inner ===

impl Inner {
    /// Looks at the store, unless somebody has just done so. While somebody is doing so, what was seen before is good
    /// enough, unless nothing was.
    pub(crate) async fn look(self: &Arc<Self>, lane: &Arc<Lane>) {
        let Some(due) = self.due(lane) else {
            return;
        };
        let _turn = match lane.turn.try_lock() {
            Ok(turn) => turn,
            Err(_) if due == Due::Routine => return,
            Err(_) => lane.turn.lock().await,
        };
        if self.due(lane).is_some() {
            self.look_now(lane, false).await;
        }
    }

    fn due(&self, lane: &Lane) -> Option<Due> {
        let looked = lane.lock_looked();
        match looked.at {
            Some(_) if looked.epoch != self.parts.vault.epoch() => Some(Due::Urgent),
            Some(at) if self.monotonic().saturating_sub(at) < LOOK_INTERVAL => None,
            Some(_) => Some(Due::Routine),
            None => Some(Due::Urgent),
        }
    }

    /// Reads the store, whatever was seen before.
    pub(crate) async fn read(self: &Arc<Self>, lane: &Arc<Lane>) {
        let _turn = lane.turn.lock().await;
        self.look_now(lane, true).await;
    }

    async fn look_now(self: &Arc<Self>, lane: &Arc<Lane>, always: bool) {
        let in_trouble = lane.view.borrow().trouble.is_some();
        let inner = Arc::clone(self);
        let looking = Arc::clone(lane);
        blocking(move || {
            let now = inner.monotonic();
            let epoch = inner.parts.vault.epoch();
            let marks = inner.parts.vault.marks();
            if !always && looking.lock_looked().skips(now, epoch, &marks, in_trouble) {
                return;
            }
            let before = looking.view.borrow().generation();
            let reading = inner.parts.vault.load(&looking.binding);
            let mut looked = looking.lock_looked();
            let mut is_overtaken = false;
            looking.view.send_modify(|view| {
                // What was put to use since the reading began may be newer than the reading. If it is older, because
                // somebody has logged out in between, the next look sees that.
                is_overtaken = view.generation() != before;
                if !is_overtaken {
                    view.read(reading);
                }
            });
            *looked = Looked {
                at: Some(now),
                read_at: (!is_overtaken).then_some(now),
                epoch,
                marks,
            };
        })
        .await;
    }
}

// === impl Lane ===

impl Lane {
    pub(super) fn new(binding: Binding) -> Self {
        Self {
            binding,
            view: watch::Sender::new(View::default()),
            looked: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
            flight: Mutex::default(),
            issuer_checked: tokio::sync::Mutex::default(),
            unsaved: Mutex::default(),
        }
    }

    /// Makes `grant`, which was just stored, the one in use. Somebody may have deleted it again before it got here: the
    /// next look reads the store whatever was seen before.
    pub(super) fn put_to_use(&self, grant: Arc<Grant>) {
        let mut looked = self.lock_looked();
        looked.read_at = None;
        self.view.send_modify(|view| view.hold(grant));
    }

    fn lock_looked(&self) -> MutexGuard<'_, Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a renewal is running.
    pub(crate) fn is_renewing(&self) -> bool {
        self.flight().is_some()
    }

    /// The renewal that is running.
    pub(super) fn flight(&self) -> Option<Flight> {
        self.flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn forget_unsaved(&self) {
        *self.unsaved.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

// === impl Looked ===

impl Looked {
    /// Whether the store is as it was when it was read last. A store that could not be read is tried again after a pause.
    fn skips(
        &mut self,
        now: Duration,
        epoch: u64,
        marks: &[Option<Fingerprint>],
        in_trouble: bool,
    ) -> bool {
        let is_recent =
            |read_at: Duration| !in_trouble || now < read_at.saturating_add(RETRY_STORE);
        let skips =
            self.epoch == epoch && self.marks == marks && self.read_at.is_some_and(is_recent);
        if skips {
            self.at = Some(now);
        }
        skips
    }
}
