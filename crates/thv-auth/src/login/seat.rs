//! How callers get into a login and out of it: joining the one that runs, starting one in a task of its own, and what becomes of
//! it when the last of them leaves or when the task ends.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use url::Url;

use super::directory::{Directory, Running};
use super::error::LoginError;
use super::flow::Flow;
use super::how::LoginHow;
use super::progress::{Opening, Outcome, Progress, lost};
use super::resource::LoginId;
use super::{Inner, Logins};
use crate::binding::Binding;
use crate::opener::Opener;

/// One caller's place in a running login; leaving it may end the login.
pub(super) struct Seat<'l> {
    logins: &'l Inner,
    key: String,
    pub(super) progress: Arc<Progress>,
}

/// Ends a flow for those who wait, however it ended.
struct Conclusion {
    logins: Arc<Inner>,
    key: String,
    progress: Arc<Progress>,
}

/// Why a caller is not in a login at once.
pub(super) enum Obstacle {
    /// The one that runs is ending, and is to be waited for.
    Ending(Arc<Progress>),
    /// None can begin.
    Refused(LoginError),
    /// There is none, and this caller may not begin one.
    NothingToJoin,
}

// === impl Logins ===

impl Logins {
    /// Takes a seat in the binding's login, or in one that is started for it, if it `may_begin`. Whether it was there already.
    pub(super) fn sit_down(
        &self,
        binding: &Binding,
        how: &LoginHow,
        may_begin: bool,
    ) -> Result<(Seat<'_>, bool), Obstacle> {
        let key = binding.key();
        let mut directory = self.inner.lock();
        if may_begin
            && directory.of(&key).is_none()
            && how.opener.is_none()
            && how.announce.is_none()
        {
            return Err(Obstacle::Refused(LoginError::NothingToOpen {
                cause: "this program has none to open".to_owned(),
            }));
        }
        let (login, joined) = self.enter(&mut directory, &key, binding, how, may_begin)?;
        login.waiting += 1;
        let seat = Seat {
            logins: &self.inner,
            progress: Arc::clone(&login.progress),
            key,
        };
        Ok((seat, joined))
    }

    /// Makes the binding's login one that goes on when nobody waits, or starts such a one, if it `may_begin`. Whether it was there
    /// already.
    pub(super) fn hold(
        &self,
        binding: &Binding,
        how: &LoginHow,
        may_begin: bool,
    ) -> Result<(Arc<Progress>, bool), Obstacle> {
        let key = binding.key();
        let mut directory = self.inner.lock();
        let (login, joined) = self.enter(&mut directory, &key, binding, how, may_begin)?;
        login.is_held = true;
        Ok((Arc::clone(&login.progress), joined))
    }

    /// The binding's login, started if there is none. Whether it was there already.
    fn enter<'d>(
        &self,
        directory: &'d mut Directory,
        key: &str,
        binding: &Binding,
        how: &LoginHow,
        may_begin: bool,
    ) -> Result<(&'d mut Running, bool), Obstacle> {
        let joined = match directory.of(key) {
            Some(login) if login.progress.is_ending() => {
                return Err(Obstacle::Ending(Arc::clone(&login.progress)));
            }
            Some(_) => true,
            None if !may_begin => return Err(Obstacle::NothingToJoin),
            None if directory.is_full() => {
                return Err(Obstacle::Refused(LoginError::TooMany));
            }
            None => {
                let login = self.begin(key, binding, how).map_err(Obstacle::Refused)?;
                directory.insert(key.to_owned(), login);
                false
            }
        };
        match directory.of_mut(key) {
            Some(login) => {
                if how.switch_account {
                    login.progress.switch_account();
                }
                Ok((login, joined))
            }
            None => Err(Obstacle::Refused(lost())),
        }
    }

    /// Starts a login in a task of its own.
    fn begin(&self, key: &str, binding: &Binding, how: &LoginHow) -> Result<Running, LoginError> {
        let binding = how.asked.as_ref().map_or(binding, |asked| &asked.binding);
        let id = LoginId::new().map_err(|cause| LoginError::Internal { cause })?;
        let now = self.inner.world.clock.now();
        let ends = now.checked_add(how.time()).unwrap_or(Timestamp::MAX);
        let progress = Arc::new(Progress::new(
            id,
            binding.clone(),
            how.requester.clone(),
            now,
            ends,
        ));
        tracing::info!(
            registry = %thv_http::display_url(&binding.registry_url),
            issuer = binding.issuer,
            client_id = binding.client_id,
            // The name alone: words of others in our log could be taken for ours.
            requester = how.requester.as_ref().and_then(|who| who.as_str().split(' ').next()),
            audit = true,
            "a login was started"
        );
        let flow = Flow {
            logins: Arc::clone(&self.inner),
            binding: binding.clone(),
            how: how.clone(),
            progress: Arc::clone(&progress),
            pin: OnceLock::new(),
            prover: OnceLock::new(),
        };
        let conclusion = Conclusion {
            logins: Arc::clone(&self.inner),
            key: key.to_owned(),
            progress: Arc::clone(&progress),
        };
        tokio::spawn(async move {
            let outcome = Box::pin(flow.run()).await;
            conclusion.conclude(outcome);
        });
        if let Some(replaced) = how.replaced.clone() {
            let progress = Arc::clone(&progress);
            tokio::spawn(async move {
                tokio::select! {
                    () = progress.ended() => {}
                    () = replaced() => progress.superseded.cancel(),
                }
            });
        }
        Ok(Running {
            asks_for: binding.key(),
            registry: host_of(&binding.registry_url),
            waiting: 0,
            is_held: false,
            progress,
        })
    }
}

// === impl Seat ===

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut directory = self.logins.lock();
        let Some(login) = directory
            .of_mut(&self.key)
            .filter(|login| Arc::ptr_eq(&login.progress, &self.progress))
        else {
            return;
        };
        login.waiting -= 1;
        if login.waiting == 0 && !login.is_held {
            self.progress.abandoned.cancel();
        }
    }
}

// === impl Conclusion ===

impl Conclusion {
    fn conclude(&self, outcome: Outcome) {
        let now = self.logins.world.clock.monotonic();
        self.logins.lock().retire(&self.key, now);
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

/// Opens the address for the person, on a thread of its own, and remembers when that was not possible.
pub(super) fn open(opener: Arc<dyn Opener>, address: Url, progress: &Arc<Progress>) {
    let progress = Arc::clone(progress);
    tokio::spawn(async move {
        let shown = tokio::task::spawn_blocking(move || opener.open(&address)).await;
        let cause = match shown {
            Ok(Ok(())) => return,
            Ok(Err(cause)) => cause,
            Err(error) => error.to_string(),
        };
        tracing::warn!(%cause, "no browser was opened");
        progress.note(|stage| stage.opening = Opening::Failed(cause));
    });
}

fn host_of(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}
