//! Keyrings: where the password of the encrypted store sleeps on a desktop, and how long we wait for
//! one.
//!
//! A keyring may wait for a person, or for ever. Each lookup therefore runs on a plain thread of its
//! own that nobody joins, and is waited for until a deadline. Lookups of the same kind share one
//! thread while it runs, so that a hanging keyring costs one thread, not one per request. What the
//! password is for is [`crate::Secrets`]'s business.

#[cfg(windows)]
mod credential_manager;
#[cfg(target_os = "linux")]
mod kernel;
#[cfg(any(target_os = "macos", test))]
mod keychain;
#[cfg(target_os = "linux")]
mod secret_service;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::Duration;

use secrecy::SecretString;
use thv_config::{Clock, World};

#[cfg(windows)]
pub use credential_manager::CredentialManager;
#[cfg(target_os = "linux")]
pub use kernel::KernelKeyring;
#[cfg(any(target_os = "macos", test))]
pub use keychain::Keychain;
#[cfg(target_os = "linux")]
pub use secret_service::SecretServiceKeyring;

/// Service and account of the one entry in every keyring.
pub const ENTRY: &str = "toolhive";
/// A lookup that has not come back after this time is given up, and the next one starts anew.
const ABANDON_AFTER: Duration = Duration::from_mins(1);

/// How long a keyring may take, and whether it may ask a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Patience {
    /// Three seconds, and nobody is asked anything: a request is being served.
    Request,
    /// Ten seconds, and a prompt may appear: a person has just asked for this.
    Login,
}

impl Patience {
    /// How long is waited.
    pub fn limit(self) -> Duration {
        match self {
            Self::Request => Duration::from_secs(3),
            Self::Login => Duration::from_secs(10),
        }
    }

    /// Whether the keyring may ask to be unlocked.
    pub fn may_ask(self) -> bool {
        self == Self::Login
    }
}

/// Why a keyring gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// There is no such keyring on this machine, or in this session.
    #[error("{cause}")]
    Absent {
        /// What was missing.
        cause: String,
    },
    /// It is there and locked.
    #[error("it is locked")]
    Locked,
    /// It failed in some other way.
    #[error("{cause}")]
    Failed {
        /// What it said.
        cause: String,
    },
}

/// One keyring, holding at most one password for us. The calls block without limit.
pub trait Keyring: fmt::Debug + Send + Sync + 'static {
    /// The keyring as people call it.
    fn name(&self) -> &'static str;

    /// Whether what is stored survives a restart of the machine.
    fn is_durable(&self) -> bool;

    /// The password, if there is one. A person is asked to unlock the keyring only if `may_ask`.
    fn password(&self, may_ask: bool) -> Result<Option<SecretString>, KeyringError>;

    /// Stores the password, unless there is one by then, or `still_wanted` says no in the last moment: whoever waited for it
    /// may have gone to look for another place.
    fn offer_password(
        &self,
        password: &SecretString,
        still_wanted: &dyn Fn() -> bool,
    ) -> Result<(), KeyringError>;

    /// Removes the password; whether there was one. A locked keyring may ask a person.
    fn clear(&self) -> Result<bool, KeyringError>;
}

/// What became of our entry in one keyring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// The keyring.
    pub keyring: &'static str,
    /// Whether there was an entry, which is gone now; or why that is not known.
    pub outcome: Result<bool, KeyringError>,
}

/// The keyrings of this operating system, in the order in which they are asked.
pub fn of_this_system(world: &World) -> Vec<Arc<dyn Keyring>> {
    #[cfg(not(target_os = "macos"))]
    let _ = world;
    #[cfg(target_os = "linux")]
    {
        vec![Arc::new(SecretServiceKeyring), Arc::new(KernelKeyring)]
    }
    #[cfg(target_os = "macos")]
    {
        vec![Arc::new(Keychain::new("/usr/bin/security", world))]
    }
    #[cfg(windows)]
    {
        vec![Arc::new(CredentialManager)]
    }
    #[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
    {
        Vec::new()
    }
}

/// What a round through all keyrings brought.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lookup {
    pub(crate) found: Option<Found>,
    /// The keyrings that gave no answer, with their reasons.
    pub(crate) troubles: Vec<(&'static str, KeyringError)>,
}

/// A password and the keyring it is from.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) password: SecretString,
    pub(crate) keyring: &'static str,
    pub(crate) is_durable: bool,
}

impl Lookup {
    pub(crate) fn is_locked(&self) -> bool {
        self.troubles
            .iter()
            .any(|(_, error)| *error == KeyringError::Locked)
    }

    /// What the keyrings said, for people.
    pub(crate) fn cause(&self) -> String {
        if self.troubles.is_empty() {
            return "no keyring holds its password".to_owned();
        }
        let causes: Vec<_> = self
            .troubles
            .iter()
            .map(|(name, error)| format!("{name}: {error}"))
            .collect();
        causes.join("; ")
    }
}

/// The deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimedOut;

/// Asks keyrings, with deadlines.
pub(crate) struct Agent {
    keyrings: Arc<[Arc<dyn Keyring>]>,
    clock: Arc<dyn Clock>,
    silent: Mutex<Option<Flight>>,
    asking: Mutex<Option<Flight>>,
}

/// A lookup under way.
#[derive(Clone)]
struct Flight {
    started: Duration,
    landed: Arc<(Mutex<Option<Lookup>>, Condvar)>,
}

impl Agent {
    pub(crate) fn new(keyrings: Vec<Arc<dyn Keyring>>, clock: Arc<dyn Clock>) -> Self {
        Self {
            keyrings: keyrings.into(),
            clock,
            silent: Mutex::new(None),
            asking: Mutex::new(None),
        }
    }

    /// Asks all keyrings in turn until one has the password, for at most `limit` counted from when
    /// the lookup that answers was begun.
    pub(crate) fn find(&self, may_ask: bool, limit: Duration) -> Result<Lookup, TimedOut> {
        let flight = self.join(may_ask);
        let elapsed = self.clock.monotonic().saturating_sub(flight.started);
        flight.wait(limit.saturating_sub(elapsed)).ok_or(TimedOut)
    }

    /// Stores `password` in the first durable keyring that takes it, and returns what that keyring
    /// holds then. After the deadline nothing is stored any more.
    pub(crate) fn store(
        &self,
        password: &SecretString,
        limit: Duration,
    ) -> Result<Lookup, TimedOut> {
        let (keyrings, password) = (Arc::clone(&self.keyrings), password.clone());
        let given_up = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&given_up);
        let outcome = within(limit, move || {
            let still_wanted = || !seen.load(Ordering::SeqCst);
            store_in_first(&keyrings, &password, &still_wanted)
        });
        if outcome.is_err() {
            given_up.store(true, Ordering::SeqCst);
        }
        outcome
    }

    /// Removes the password from every keyring.
    pub(crate) fn clear(&self, limit: Duration) -> Result<Vec<Cleared>, TimedOut> {
        let keyrings = Arc::clone(&self.keyrings);
        within(limit, move || {
            keyrings
                .iter()
                .map(|keyring| Cleared {
                    keyring: keyring.name(),
                    outcome: keyring.clear(),
                })
                .collect()
        })
    }

    fn join(&self, may_ask: bool) -> Flight {
        let slot = if may_ask { &self.asking } else { &self.silent };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        if let Some(flight) = slot.as_ref()
            && !flight.has_landed()
            && now.saturating_sub(flight.started) < ABANDON_AFTER
        {
            return flight.clone();
        }
        let flight = Flight {
            started: now,
            landed: Arc::default(),
        };
        *slot = Some(flight.clone());
        let (keyrings, landing) = (Arc::clone(&self.keyrings), flight.clone());
        spawn(move || landing.land(look_in_each(&keyrings, may_ask)));
        flight
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_list()
            .entries(self.keyrings.iter().map(|keyring| keyring.name()))
            .finish()
    }
}

impl Flight {
    fn has_landed(&self) -> bool {
        let (outcome, _) = &*self.landed;
        outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    fn land(&self, lookup: Lookup) {
        let (outcome, arrival) = &*self.landed;
        *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(lookup);
        arrival.notify_all();
    }

    fn wait(&self, limit: Duration) -> Option<Lookup> {
        let (outcome, arrival) = &*self.landed;
        let outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let (outcome, _) = arrival
            .wait_timeout_while(outcome, limit, |outcome| outcome.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        outcome.clone()
    }
}

/// What `work` on a thread of its own brings until the deadline.
fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, TimedOut> {
    let (sender, receiver) = mpsc::sync_channel(1);
    spawn(move || {
        // Nobody receives after the deadline.
        let _ = sender.send(work());
    });
    receiver.recv_timeout(limit).map_err(|_| TimedOut)
}

/// A thread that nobody waits for: it must not keep the process from ending. When the system has no
/// thread to give, the work is dropped, and the deadline speaks for it.
fn spawn(work: impl FnOnce() + Send + 'static) {
    let spawned = std::thread::Builder::new()
        .name("thv-keyring".to_owned())
        .spawn(work);
    if let Err(error) = spawned {
        tracing::warn!(%error, "no thread for the keyring");
    }
}

fn look_in_each(keyrings: &[Arc<dyn Keyring>], may_ask: bool) -> Lookup {
    let mut lookup = Lookup::default();
    for keyring in keyrings {
        match keyring.password(may_ask) {
            Ok(Some(password)) => {
                lookup.found = Some(Found {
                    password,
                    keyring: keyring.name(),
                    is_durable: keyring.is_durable(),
                });
                break;
            }
            Ok(None) => {}
            Err(error) => lookup.troubles.push((keyring.name(), error)),
        }
    }
    lookup
}

fn store_in_first(
    keyrings: &[Arc<dyn Keyring>],
    password: &SecretString,
    still_wanted: &dyn Fn() -> bool,
) -> Lookup {
    let mut lookup = Lookup::default();
    for keyring in keyrings.iter().filter(|keyring| keyring.is_durable()) {
        let held = keyring
            .offer_password(password, still_wanted)
            .and_then(|()| keyring.password(true));
        match held {
            Ok(Some(password)) => {
                lookup.found = Some(Found {
                    password,
                    keyring: keyring.name(),
                    is_durable: true,
                });
                break;
            }
            Ok(None) => lookup.troubles.push((
                keyring.name(),
                KeyringError::Failed {
                    cause: "it took the password and does not have it".to_owned(),
                },
            )),
            Err(error) => lookup.troubles.push((keyring.name(), error)),
        }
    }
    lookup
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
