//! Interactive logins: a person somewhere, in one of several ways, and at the end a stored grant.
//!
//! [`Logins`] runs at most one login per binding and lets further callers join it. A login that callers wait for ends when the
//! last of them leaves; one that was started as a resource goes on, and whoever knows its name can watch, answer and end it.
//! A login always asks the identity provider anew (it never makes do with a grant that is already there), and an earlier grant
//! stays in force until the new one is stored. `flow` is one login from beginning to end, with `device` for codes that are typed in
//! elsewhere and `finish` for what an answer is made into, `loopback` its sockets (`hosted` is what stands in for them where a
//! server of ours is reached from outside), `session` its
//! answers to the browser, `callback` the reading of the response, `page` what people see, `directory` the list of logins, `budget` how often nobody
//! has answered.
//! Nothing else in this crate can open a browser.

pub(crate) mod budget;
pub(crate) mod callback;
mod device;
mod directory;
mod error;
mod finish;
mod flow;
mod holder;
mod hosted;
mod how;
mod loopback;
mod page;
mod progress;
mod resource;
mod seat;
mod session;

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use thv_config::world::World;
use thv_http::Http;
use tokio::task::JoinHandle;

pub use budget::Prompter;
pub(crate) use error::in_words;
pub use error::{LoginError, PortHolder};
pub use hosted::PublicUrl;
pub use how::{
    Adopt, Announce, Asked, DEFAULT_CALLBACK_PORT, DeviceUse, LOGIN_TIME, LoginHow,
    RESOURCE_LOGIN_TIME, RedirectForm, Replaced, Settle, StillWanted,
};
pub use progress::Outcome;
pub use resource::{
    LoginId, LoginMethod, LoginState, LoginView, LoginWatch, NotTaken, Requester, is_elsewhere,
};

use crate::binding::Binding;
use crate::oauth::{Account, KeyCache, Servers};
use crate::vault::Vault;
use directory::Directory;
pub(crate) use holder::Holder;
use progress::Progress;
use seat::{Obstacle, Seat, open};

/// What a login brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginDone {
    /// Who has logged in, if the identity provider says so.
    pub account: Option<Account>,
    /// Who was logged in before, if that was known to be somebody else.
    pub replaced_account: Option<Account>,
    /// When the access token expires; `None` when the identity provider does not say.
    pub expires_at: Option<Timestamp>,
    /// The scopes as granted; those asked for when the identity provider does not say.
    pub scopes: Vec<String>,
    /// Those of them that were not asked for.
    pub unrequested_scopes: Vec<String>,
    /// Whether the grant can be renewed without another login.
    pub refreshable: bool,
    /// How many answers came meanwhile that did not belong to this login.
    pub turned_away: u64,
}

/// A login that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingLogin {
    /// When it began.
    pub since: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// The host at which the person logs in; `None` until it is known.
    pub authorization_host: Option<String>,
    /// How many callers wait for it.
    pub waiting: usize,
    /// How many answers came so far that did not belong to it.
    pub turned_away: u64,
}

/// A login that was started as a resource, or joined.
#[derive(Debug)]
pub struct StartedLogin {
    /// The login as it is now, with the ways to finish it.
    pub view: LoginView,
    /// Whether it was under way already.
    pub joined: bool,
}

/// What became of an attempt to listen where logins listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PortSight {
    /// A login could listen.
    Free,
    /// Somebody listens there.
    Busy(Holder),
    /// The system refuses.
    Refused {
        /// What it says.
        cause: String,
    },
}

/// Whether a login could listen on `port`; the sockets are closed again at once.
pub(crate) async fn look_at_port(http: &Http, port: u16) -> PortSight {
    match loopback::Loopback::bind(port).await {
        Ok(_) => PortSight::Free,
        Err(loopback::BindError::Busy { port }) => {
            PortSight::Busy(holder::holder_of(http, port).await)
        }
        Err(loopback::BindError::Refused { cause, .. }) => PortSight::Refused {
            cause: cause.to_string(),
        },
    }
}

/// All logins of this process. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Logins {
    inner: Arc<Inner>,
}

struct Inner {
    world: World,
    http: Http,
    vault: Vault,
    keys: KeyCache,
    /// What token endpoints want in the next proof of a key.
    servers: Servers,
    /// Tokens that nobody will use, on their way back to the provider.
    giving_back: Mutex<Vec<JoinHandle<()>>>,
    directory: Mutex<Directory>,
}

// === impl Logins ===

impl Logins {
    /// Logins that keep their grants in `vault`.
    pub fn new(world: World, http: Http, vault: Vault, keys: KeyCache) -> Self {
        Self {
            inner: Arc::new(Inner {
                world,
                http,
                vault,
                keys,
                servers: Servers::new(),
                giving_back: Mutex::default(),
                directory: Mutex::default(),
            }),
        }
    }

    /// Logs in to what `binding` names and stores the grant, or joins a login to it that is under way. Where that asks for something
    /// else ([`Asked`]), it is found under that, too.
    ///
    /// Dropping the future leaves the login; the last one to leave ends it, unless the identity provider has answered already
    /// (then the grant is still fetched and stored) or it was started as a resource. When this returns, the login's sockets
    /// are closed, unless others hold it while this caller could not be shown where to log in.
    pub async fn login(&self, binding: &Binding, how: LoginHow) -> Outcome {
        let outcome = self.login_in_turn(binding, how, Some(())).await;
        outcome.unwrap_or_else(|| Err(progress::lost()))
    }

    /// The same for a caller whose turn it is: that ends as soon as others can join the login. A caller that has none does not
    /// begin one; `None` when there is none to join.
    pub(crate) async fn login_in_turn<T>(
        &self,
        binding: &Binding,
        how: LoginHow,
        turn: Option<T>,
    ) -> Option<Outcome> {
        let (seat, joined) = loop {
            match self.sit_down(binding, &how, turn.is_some()) {
                Ok(seated) => break seated,
                Err(Obstacle::Ending(login)) => login.ended().await,
                Err(Obstacle::Refused(error)) => return Some(Err(error)),
                Err(Obstacle::NothingToJoin) => return None,
            }
        };
        drop(turn);
        Some(self.wait_for(seat, how, joined).await)
    }

    async fn wait_for(&self, seat: Seat<'_>, how: LoginHow, joined: bool) -> Outcome {
        let progress = &Arc::clone(&seat.progress);
        let mut outcome = pin!(progress.outcome());
        let mut too_late = pin!(self.too_late(progress, &how, joined));
        tokio::select! {
            biased;
            outcome = outcome.as_mut() => return outcome,
            error = too_late.as_mut() => return leave(seat, error).await,
            address = progress.address() => {
                if let Some(announce) = &how.announce {
                    announce(&address);
                }
                if let Some(opener) = &how.opener && progress.claim_opening() {
                    open(Arc::clone(opener), address, progress);
                }
            }
        }
        let not_opened = async {
            match how.announce {
                None => progress.not_opened().await,
                // Whoever was told the address needs no browser of ours.
                Some(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            outcome = outcome.as_mut() => outcome,
            error = too_late.as_mut() => leave(seat, error).await,
            cause = not_opened => leave(seat, LoginError::NothingToOpen { cause }).await,
        }
    }

    /// Resolves when a caller that has joined has waited for as long as a login of its own would take: the one it has joined may
    /// go on for longer. Not when somebody has answered.
    async fn too_late(&self, progress: &Progress, how: &LoginHow, joined: bool) -> LoginError {
        if !joined {
            return std::future::pending().await;
        }
        self.inner.world.clock.sleep(how.time()).await;
        if progress.view().state == LoginState::Completing {
            return std::future::pending().await;
        }
        LoginError::Expired {
            limit: how.time(),
            turned_away: 0,
        }
    }

    /// Starts a login that needs nobody to wait for it, or joins one that is under way, and returns as soon as it can be
    /// finished. From then on its name is what it is known by; it ends with an answer, by [`withdraw`](Self::withdraw), with a
    /// logout, or when its time is over. Nothing is opened for the person.
    pub async fn start(
        &self,
        binding: &Binding,
        how: &LoginHow,
    ) -> Result<StartedLogin, LoginError> {
        let started = self.start_in_turn(binding, how, Some(())).await;
        started.unwrap_or_else(|| Err(progress::lost()))
    }

    /// The same for a caller whose turn it is: that ends as soon as others can join the login. A caller that has none does not
    /// begin one; `None` when there is none to join.
    pub(crate) async fn start_in_turn<T>(
        &self,
        binding: &Binding,
        how: &LoginHow,
        turn: Option<T>,
    ) -> Option<Result<StartedLogin, LoginError>> {
        let (progress, joined) = loop {
            match self.hold(binding, how, turn.is_some()) {
                Ok(held) => break held,
                Err(Obstacle::Ending(login)) => login.ended().await,
                Err(Obstacle::Refused(error)) => return Some(Err(error)),
                Err(Obstacle::NothingToJoin) => return None,
            }
        };
        drop(turn);
        let view = progress.changed_from(0).await;
        Some(match view.state {
            // Nobody was bothered yet, so that there is nothing to look at.
            LoginState::Failed(error) if view.revision == 1 => Err(error),
            _ => Ok(StartedLogin { view, joined }),
        })
    }

    /// The login of this name: one that runs, or one that ended a while ago.
    pub fn watch(&self, id: &str) -> Option<LoginWatch> {
        let now = self.inner.world.clock.monotonic();
        let found = self.inner.lock().find(id, now);
        found.map(LoginWatch::new)
    }

    /// Takes the address that the identity provider sent a browser back to, as if it had arrived here.
    pub fn hand_over(&self, id: &str, redirect: &str) -> Option<Result<(), NotTaken>> {
        let now = self.inner.world.clock.monotonic();
        let progress = self.inner.lock().find(id, now)?;
        let session = progress.stage().session.clone();
        let taken = session.map_or(Err(NotTaken::Used), |session| session.hand_over(redirect));
        if taken.is_ok() {
            // Whoever has handed it over sees that it counts, however soon the login itself looks at it.
            progress.complete();
        }
        Some(taken)
    }

    /// Whether the login of this name waits for somebody, and nothing was opened for them on this machine.
    pub(crate) fn is_unopened(&self, id: &str) -> bool {
        let now = self.inner.world.clock.monotonic();
        let found = self.inner.lock().find(id, now);
        found.is_some_and(|progress| {
            let is_unopened = progress.stage().opening == progress::Opening::Wanted;
            is_unopened && progress.view().state == LoginState::Pending
        })
    }

    /// Ends the login of this name and returns its end, when its sockets are closed and it can store nothing any more. One
    /// that has ended stays as it is.
    pub async fn withdraw(&self, id: &str) -> Option<LoginView> {
        let now = self.inner.world.clock.monotonic();
        let progress = self.inner.lock().find(id, now)?;
        progress.withdraw();
        progress.ended().await;
        Some(progress.view())
    }

    /// Ends the login to what `binding` names, whoever waits for it, and returns when its sockets are closed and it can store
    /// nothing any more. Whether there was one.
    pub async fn cancel(&self, binding: &Binding) -> bool {
        let progress = {
            let directory = self.inner.lock();
            directory
                .of(&binding.key())
                .map(|login| Arc::clone(&login.progress))
        };
        let Some(progress) = progress else {
            return false;
        };
        progress.superseded.cancel();
        progress.ended().await;
        true
    }

    /// Ends every login, as [`cancel`](Self::cancel) does: for the end of the program, or when the registry is replaced.
    pub async fn cancel_all(&self) {
        let all: Vec<_> = {
            let directory = self.inner.lock();
            directory
                .running()
                .map(|login| Arc::clone(&login.progress))
                .collect()
        };
        for progress in &all {
            progress.superseded.cancel();
        }
        for progress in all {
            progress.ended().await;
        }
    }

    /// Whether somebody has answered the login to what `binding` names, so that what the answer brings is being stored.
    pub fn is_completing(&self, binding: &Binding) -> bool {
        let directory = self.inner.lock();
        let login = directory.of(&binding.key());
        login.is_some_and(|login| login.progress.view().state == LoginState::Completing)
    }

    /// Waits until the tokens that nobody will use have been given back, or could not be: a program that ends before leaves them good.
    /// Each takes a few seconds at most.
    pub async fn finish(&self) {
        let giving_back = std::mem::take(&mut *self.inner.giving_back());
        for one in giving_back {
            // One that broke off has told why.
            let _ = one.await;
        }
    }

    /// The login that began last, running or ended; none before the first one.
    pub fn latest(&self) -> Option<LoginView> {
        let latest = self.inner.lock().latest();
        latest.map(|progress| progress.view())
    }

    /// The login to what `binding` names, if one is under way.
    pub fn pending(&self, binding: &Binding) -> Option<PendingLogin> {
        let directory = self.inner.lock();
        let login = directory.of(&binding.key())?;
        let stage = login.progress.stage();
        Some(PendingLogin {
            since: login.progress.started_at(),
            expires_at: stage.expires_at.unwrap_or(login.progress.expires_at()),
            authorization_host: stage
                .address
                .as_ref()
                .and_then(|url| url.host_str().map(str::to_owned)),
            waiting: login.waiting,
            turned_away: stage
                .session
                .as_ref()
                .map(|session| session.turned_away())
                .unwrap_or_default(),
        })
    }
}

/// Leaves a login for a reason of one's own. Where nobody else wants it, it has ended then.
async fn leave(seat: Seat<'_>, why: LoginError) -> Outcome {
    let progress = Arc::clone(&seat.progress);
    drop(seat);
    if progress.abandoned.is_cancelled() {
        progress.ended().await;
    }
    Err(why)
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logins")
            .field("running", &self.inner.lock().count())
            .finish_non_exhaustive()
    }
}

// === impl Inner ===

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Directory> {
        self.directory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn giving_back(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.giving_back
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The registry whose login in this process listens on `port`.
    fn registry_listening_on(&self, port: u16) -> Option<String> {
        self.lock()
            .running()
            .find(|login| login.progress.stage().port == Some(port))
            .map(|login| login.registry.clone())
    }
}
