//! Interactive logins: a browser, a loopback listener, and at the end a stored grant.
//!
//! [`Logins`] runs at most one login per binding, lets further callers join it, and ends it when nobody waits any more, when
//! it is superseded or when its time is over. A login always asks the identity provider anew (it never makes do with a grant
//! that is already there), and an earlier grant stays in force until the new one is stored. `flow` is one login from
//! beginning to end, `loopback` its sockets, `session` its answers to the browser, `callback` the reading of the response,
//! and `page` what people see. Nothing else in this crate can open a browser.

mod callback;
mod error;
mod flow;
mod holder;
mod loopback;
mod page;
mod progress;
mod session;

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use thv_config::world::World;
use thv_http::Http;
use url::Url;

pub use error::{LoginError, PortHolder};

use crate::binding::Binding;
use crate::oauth::redirect_uri::{LoopbackName, RedirectUri};
use crate::oauth::{Account, ClientAuthentication, KeyCache};
use crate::opener::Opener;
use crate::vault::Vault;
use flow::Flow;
use progress::{Outcome, Progress, lost};

/// How long a person has to log in: enough for a password manager, a second factor and a phone call about it.
pub const LOGIN_TIME: Duration = Duration::from_mins(5);

/// The port that clients of the Go program are registered with.
pub const DEFAULT_CALLBACK_PORT: u16 = 8666;

/// Is told the address at which to log in, once, as soon as somebody listens for the answer.
pub type Announce = Arc<dyn Fn(&Url) + Send + Sync>;

/// Is asked, on a blocking thread, right before the grant is stored, whether it is still of use.
pub type StillWanted = Arc<dyn Fn() -> bool + Send + Sync>;

/// How one caller wants to log in. A caller that joins a running login brings only its [`announce`](Self::announce).
#[derive(Clone, Default)]
pub struct LoginHow {
    /// What opens the browser.
    pub opener: Option<Arc<dyn Opener>>,
    /// Who is told the address. Without it a browser that cannot be opened ends the login.
    pub announce: Option<Announce>,
    /// The port of the redirect URI: [`DEFAULT_CALLBACK_PORT`] when absent, any free one when 0.
    pub callback_port: Option<u16>,
    /// The rest of the redirect URI.
    pub redirect: RedirectForm,
    /// How the client proves itself.
    pub authentication: ClientAuthentication,
    /// Where the registry's metadata are (RFC 9728), when that is known and not one of the well-known places.
    pub metadata_url: Option<Url>,
    /// Whether the grant is still of use when it comes. A login that is not stores nothing.
    pub still_wanted: Option<StillWanted>,
}

/// Which redirect URI is used, its port aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RedirectForm {
    /// `http://localhost:<port>/callback`, which clients of the Go program are registered with.
    #[default]
    Registered,
    /// A path that only this issuer is given (RFC 8252 section 8.10), where the client's registration allows it.
    PerIssuer(LoopbackName),
}

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
    running: Mutex<HashMap<String, Running>>,
}

/// One login, as the directory knows it.
struct Running {
    registry: String,
    since: Timestamp,
    waiting: usize,
    progress: Arc<Progress>,
}

/// One caller's place in a running login; leaving it may end the login.
struct Seat<'l> {
    logins: &'l Inner,
    key: String,
    progress: Arc<Progress>,
}

/// Ends a flow for those who wait, however it ended.
struct Conclusion {
    logins: Arc<Inner>,
    key: String,
    progress: Arc<Progress>,
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
                running: Mutex::default(),
            }),
        }
    }

    /// Logs in to what `binding` names and stores the grant, or joins a login to it that is under way.
    ///
    /// Dropping the future leaves the login; the last one to leave ends it, unless the identity provider has answered already:
    /// then the grant is still fetched and stored. When this returns, the login's sockets are closed.
    pub async fn login(&self, binding: &Binding, how: LoginHow) -> Outcome {
        let announce = how.announce.clone();
        let seat = loop {
            match self.sit_down(binding, &how) {
                Ok(seat) => break seat,
                Err(ending) => ending.ended().await,
            }
        };
        let mut outcome = pin!(seat.progress.outcome());
        tokio::select! {
            outcome = outcome.as_mut() => return outcome,
            url = seat.progress.url() => {
                if let Some(announce) = announce {
                    announce(&url);
                }
            }
        }
        outcome.await
    }

    /// Ends the login to what `binding` names, whoever waits for it, and returns when its sockets are closed and it can store
    /// nothing any more. Whether there was one.
    pub async fn cancel(&self, binding: &Binding) -> bool {
        let progress = {
            let running = self.inner.lock();
            running
                .get(&binding.key())
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
            let running = self.inner.lock();
            running
                .values()
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

    /// The login to what `binding` names, if one is under way.
    pub fn pending(&self, binding: &Binding) -> Option<PendingLogin> {
        let running = self.inner.lock();
        let login = running.get(&binding.key())?;
        let stage = login.progress.stage.borrow();
        Some(PendingLogin {
            since: login.since,
            expires_at: login
                .since
                .checked_add(LOGIN_TIME)
                .unwrap_or(Timestamp::MAX),
            authorization_host: stage
                .url
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

    /// Joins the binding's login or starts one; one that is ending is returned to be waited for.
    fn sit_down(&self, binding: &Binding, how: &LoginHow) -> Result<Seat<'_>, Arc<Progress>> {
        let key = binding.key();
        let mut running = self.inner.lock();
        let login = match running.get_mut(&key) {
            Some(login) if login.progress.is_ending() => {
                return Err(Arc::clone(&login.progress));
            }
            Some(login) => login,
            None => {
                let progress = Arc::new(Progress::new());
                let flow = Flow {
                    logins: Arc::clone(&self.inner),
                    binding: binding.clone(),
                    how: how.clone(),
                    progress: Arc::clone(&progress),
                    pin: OnceLock::new(),
                };
                let conclusion = Conclusion {
                    logins: Arc::clone(&self.inner),
                    key: key.clone(),
                    progress: Arc::clone(&progress),
                };
                tokio::spawn(async move {
                    let outcome = flow.run().await;
                    conclusion.conclude(outcome);
                });
                running.entry(key.clone()).or_insert(Running {
                    registry: host_of(&binding.registry_url),
                    since: self.inner.world.clock.now(),
                    waiting: 0,
                    progress,
                })
            }
        };
        login.waiting += 1;
        Ok(Seat {
            logins: &self.inner,
            progress: Arc::clone(&login.progress),
            key,
        })
    }
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logins")
            .field("running", &self.inner.lock().len())
            .finish_non_exhaustive()
    }
}

// === impl RedirectForm ===

impl RedirectForm {
    /// The whole redirect URI.
    pub fn uri(self, port: u16, issuer: &str) -> RedirectUri {
        match self {
            Self::Registered => RedirectUri::registered(port),
            Self::PerIssuer(name) => RedirectUri::for_issuer(name, port, issuer),
        }
    }
}

// === impl LoginHow ===

impl fmt::Debug for LoginHow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginHow")
            .field("opener", &self.opener)
            .field("announces", &self.announce.is_some())
            .field("callback_port", &self.callback_port)
            .field("redirect", &self.redirect)
            .finish_non_exhaustive()
    }
}

// === impl Inner ===

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The registry whose login in this process listens on `port`.
    fn registry_listening_on(&self, port: u16) -> Option<String> {
        self.lock()
            .values()
            .find(|login| login.progress.stage.borrow().port == Some(port))
            .map(|login| login.registry.clone())
    }
}

// === impl Seat ===

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut running = self.logins.lock();
        let Some(login) = running
            .get_mut(&self.key)
            .filter(|login| Arc::ptr_eq(&login.progress, &self.progress))
        else {
            return;
        };
        login.waiting -= 1;
        if login.waiting == 0 {
            self.progress.abandoned.cancel();
        }
    }
}

// === impl Conclusion ===

impl Conclusion {
    fn conclude(&self, outcome: Outcome) {
        self.logins.lock().remove(&self.key);
        self.progress.end(outcome);
    }
}

impl Drop for Conclusion {
    /// A flow that did not come to its end, because the runtime goes down or because it panicked, must not be waited for.
    fn drop(&mut self) {
        if !self.progress.has_ended() {
            self.conclude(Err(lost()));
        }
    }
}

fn host_of(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}
