//! The one place from which a browser can be opened: whoever wants to log in or out comes here.
//! The opener never leaves this file, so no other route can reach it (W1). Also here is the memory
//! of logins that just failed, for the one client that logs out after each of them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thv_auth::login::{
    DeviceUse, LoginError, LoginHow, Prompter, PublicUrl, RESOURCE_LOGIN_TIME, Requester, Settle,
    StartedLogin,
};
use thv_auth::logout::LogoutReceipt;
use thv_auth::opener::Opener;
use thv_auth::{Auth, AuthFailure};
use thv_config::world::Clock;
use thv_registry::{AuthConfig, RegistryInfo};

use crate::limits::{MAX_FAILED_LOGINS, REFLEX_TIME};

/// Logs in and out on behalf of clients.
pub(crate) struct LoginDesk {
    auth: Arc<Auth>,
    opener: Option<Arc<dyn Opener>>,
    public: Option<PublicUrl>,
    clock: Arc<dyn Clock>,
    failed: Mutex<Vec<FailedLogin>>,
}

/// Who wants something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// The desktop client, which logs out by itself after every login that failed.
    Studio,
    /// Anybody else.
    Other,
}

/// What a login is for: where it can be used, and at whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoginTarget {
    source: String,
    settings: Option<AuthConfig>,
}

/// What a logout came to.
#[derive(Debug)]
pub(crate) enum LoggedOut {
    /// The login is gone.
    Done(LogoutReceipt),
    /// The logout was the desktop client's reflex to a login that failed; the login before that
    /// stays.
    Kept,
}

/// A login of the desktop client that failed, until it has logged out after it.
#[derive(Debug)]
struct FailedLogin {
    /// `None` for a login that a change of the settings or a logout has overtaken: whatever is
    /// configured when the client logs out after it, it is not that which failed.
    target: Option<LoginTarget>,
    at: Duration,
}

// === impl LoginDesk ===

impl LoginDesk {
    pub(crate) fn new(
        auth: Arc<Auth>,
        opener: Option<Arc<dyn Opener>>,
        public: Option<PublicUrl>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            auth,
            opener,
            public,
            clock,
            failed: Mutex::default(),
        }
    }

    /// Logs in to the configured registry, with a browser on this machine, or joins a login to it.
    /// It has its own deadline; dropping the future leaves the login. Nobody is prompted again and again who does not answer;
    /// what the desktop client does is a person's click, of which there may be more. Whoever the browser says it is takes the place
    /// of the account from before: clients of this route have no way to log out first.
    pub(crate) async fn log_in(
        &self,
        target: LoginTarget,
        client: Client,
        requester: Option<Requester>,
        settle: Settle,
    ) -> Result<(), AuthFailure> {
        let how = LoginHow {
            requester,
            opener: self.opener.clone(),
            public: self.public.clone(),
            settle: Some(settle),
            switch_account: true,
            ..LoginHow::default()
        };
        let prompter = match client {
            Client::Studio => Prompter::Desktop,
            Client::Other => Prompter::Program,
        };
        let outcome = self.auth.login(how, prompter).await;
        match &outcome {
            Ok(_) => self.forget_failures(&target),
            // Without settings the logout that follows has nothing to end.
            Err(AuthFailure::NoBinding(_) | AuthFailure::CredentialInUse(_)) => {}
            Err(AuthFailure::Login(LoginError::Cancelled)) if client == Client::Studio => {
                self.remember_failure(None);
            }
            Err(_) if client == Client::Studio => self.remember_failure(Some(target)),
            Err(_) => {}
        }
        outcome.map(drop)
    }

    /// Starts a login to the configured registry that opens nothing and that nobody has to wait
    /// for, or joins one. Clients show people what it takes. Only with `switch_account` it may be of another account than the login
    /// that is there.
    pub(crate) async fn start(
        &self,
        requester: Option<Requester>,
        settle: Settle,
        switch_account: bool,
    ) -> Result<StartedLogin, AuthFailure> {
        let how = LoginHow {
            requester,
            time: Some(RESOURCE_LOGIN_TIME),
            device: DeviceUse::Offer,
            public: self.public.clone(),
            settle: Some(settle),
            switch_account,
            ..LoginHow::default()
        };
        self.auth.start_login(how, Prompter::Program).await
    }

    /// Logs out of the configured registry, unless this is the desktop client's reflex to a login
    /// that failed.
    pub(crate) async fn log_out(
        &self,
        target: &LoginTarget,
        client: Client,
    ) -> Result<LoggedOut, AuthFailure> {
        if client == Client::Studio && self.take_failure(target) {
            return Ok(LoggedOut::Kept);
        }
        let receipt = self.auth.logout().await?;
        self.forget_failures(target);
        Ok(LoggedOut::Done(receipt))
    }

    fn remember_failure(&self, target: Option<LoginTarget>) {
        let at = self.clock.monotonic();
        self.with_recent(|failed| {
            if failed.len() == MAX_FAILED_LOGINS {
                failed.remove(0);
            }
            failed.push(FailedLogin { target, at });
        });
    }

    fn forget_failures(&self, target: &LoginTarget) {
        self.with_recent(|failed| failed.retain(|login| login.target.as_ref() != Some(target)));
    }

    /// Whether there is a failure that nobody has logged out after. There is one less then: each
    /// one excuses one logout.
    fn take_failure(&self, target: &LoginTarget) -> bool {
        self.with_recent(|failed| {
            let found = failed.iter().position(|login| {
                let failed = login.target.as_ref();
                failed.is_none_or(|failed| failed == target)
            });
            if let Some(index) = found {
                failed.remove(index);
            }
            found.is_some()
        })
    }

    fn with_recent<T>(&self, work: impl FnOnce(&mut Vec<FailedLogin>) -> T) -> T {
        let now = self.clock.monotonic();
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.retain(|login| now.saturating_sub(login.at) < REFLEX_TIME);
        work(&mut failed)
    }
}

impl fmt::Debug for LoginDesk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LoginDesk").finish_non_exhaustive()
    }
}

// === impl LoginTarget ===

impl LoginTarget {
    /// What a login to the registry would be for.
    pub(crate) fn of(info: RegistryInfo) -> Self {
        Self {
            source: info.source,
            settings: info.auth_config,
        }
    }
}
