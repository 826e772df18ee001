//! One renewal of one grant, from the lock between processes to the new token in use.
//!
//! The order is the point: lock, read again and adopt what another process did, find the provider, write down that the
//! refresh token is about to be spent, spend it, store what came back, and only then use it. Whoever finds the note without
//! its end knows that the outcome is unknown. Only a JSON verdict of the provider ends a grant; everything else is tried again
//! later.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError};

use futures_util::FutureExt as _;
use secrecy::SecretString;
use thv_config::disk::{FileLock, LockError};

use super::setback::{Outcome, Pause, Setback};
use super::verdict::is_of_somebody_else;
use super::view::{Failure, LastRefresh};
use super::window::{Need, pause};
use super::{Cause, Inner, Lane, Spent, Step, Unprepared, blocking, grant_lock};
use crate::credentials::{AuthError, LoginReason};
use crate::grant::{DeathReason, Grant, GrantOrigin, RefreshIntent};
use crate::limits::{FLIGHT_DEADLINE, LOCK_WAIT, PERSIST_PAUSE, PERSIST_TRIES, RETRY_STORE};
use crate::oauth::TokenSet;
use crate::vault::VaultError;

pub(super) struct Renewal {
    pub(super) inner: Arc<Inner>,
    pub(super) lane: Arc<Lane>,
    cause: Cause,
}

// === impl Renewal ===

impl Renewal {
    pub(super) fn new(inner: Arc<Inner>, lane: Arc<Lane>, cause: Cause) -> Self {
        Self { inner, lane, cause }
    }

    /// Runs to the end, whoever waits for it. A panic on the way is a failure like others: the lock is released, the next try
    /// has to wait, and what is stored tells how far this one came.
    pub(super) async fn run(self) -> Result<Arc<Grant>, AuthError> {
        let ran = AssertUnwindSafe(self.locked()).catch_unwind().await;
        let outcome = ran.map_or_else(
            |_| {
                tracing::error!("the renewal of a registry login panicked");
                Err(Setback::panicked())
            },
            |(Ok(outcome) | Err(outcome))| outcome,
        );
        self.note(&outcome);
        outcome.map_err(|setback| setback.error)
    }

    /// Everything that happens under the lock between processes. Tokens from the environment are nobody else's business.
    async fn locked(&self) -> Result<Outcome, Outcome> {
        let is_stored = self
            .lane
            .view
            .borrow()
            .grant()
            .is_none_or(|grant| grant.origin != GrantOrigin::Environment);
        let _lock = if is_stored {
            Some(self.lock().await.map_err(Err)?)
        } else {
            None
        };
        self.reached(Step::Locked);
        self.save_unsaved().await?;
        let grant = self.reread().await?;
        self.reached(Step::Reread);
        if matches!(self.cause, Cause::IssuerChanged(_)) {
            return Ok(self.bury(&grant, DeathReason::IssuerChanged).await);
        }
        let refresh_token = self.token_to_spend(&grant)?;
        let mut deadline = self.inner.parts.world.clock.sleep(FLIGHT_DEADLINE);
        let service = &self.inner.parts.service;
        let pin = grant.pin.as_ref();
        match within(&mut deadline, service.prepare(&self.lane.binding, pin)).await {
            Some(Ok(())) => {}
            Some(Err(Unprepared::Unavailable(cause))) => {
                return Err(Err(Setback::provider(cause, None)));
            }
            Some(Err(error @ Unprepared::Moved { .. })) => {
                tracing::warn!(%error, "no token is sent there");
                return Ok(self.bury(&grant, DeathReason::IssuerChanged).await);
            }
            None => return Err(Err(Setback::too_slow())),
        }
        self.reached(Step::ProviderKnown);
        let was_unknown = grant.has_unknown_outcome();
        let marked = self.mark(&grant, &refresh_token).await?;
        self.reached(Step::IntentStored);
        let answer = within(
            &mut deadline,
            service.refresh(
                &self.lane.binding,
                Spent {
                    token: &refresh_token,
                    granted: &grant.scopes,
                    key: grant.proof_key.as_ref(),
                    clock_offset: self.inner.clock_offset(&grant),
                },
            ),
        )
        .await;
        self.reached(Step::Answered);
        Ok(match answer {
            Some(Ok(tokens)) => self.keep(&marked, tokens).await,
            Some(Err(error)) => self.judge(&marked, &error, was_unknown).await,
            None => Err(Setback::too_slow()),
        })
    }

    async fn lock(&self) -> Result<FileLock, Setback> {
        let path = grant_lock(&self.inner.parts.lock_dir, &self.lane.binding);
        let clock = Arc::clone(&self.inner.parts.world.clock);
        let locked = blocking(move || FileLock::acquire(&path, clock.as_ref(), LOCK_WAIT)).await;
        locked.map_err(|error| {
            let cause = error.to_string();
            let error = match error {
                LockError::Timeout { .. } => AuthError::Unreachable { cause },
                LockError::Io { .. } => AuthError::Store {
                    cause,
                    locked: false,
                },
            };
            Setback {
                error,
                pause: Pause::Short,
            }
        })
    }

    /// Stores what an earlier renewal brought and could not store.
    async fn save_unsaved(&self) -> Result<(), Outcome> {
        let unsaved = self.lane.take_unsaved();
        let Some((expected, grant)) = unsaved else {
            return Ok(());
        };
        match self.write(expected, grant.clone()).await {
            Ok(stored) => Err(Ok(self.expose(stored))),
            Err(VaultError::Moved) => Ok(()),
            Err(error) => {
                self.lane.keep_unsaved(expected, grant);
                Err(Err(Setback::store(&error)))
            }
        }
    }

    /// What the store holds now. Ends here when there is nothing to renew, or when somebody else has renewed it.
    async fn reread(&self) -> Result<Arc<Grant>, Outcome> {
        self.inner.read(&self.lane).await;
        let view = self.lane.view.borrow().clone();
        if let Some(trouble) = &view.trouble {
            return Err(Err(Setback::trouble(trouble)));
        }
        let Some(grant) = view.grant() else {
            return Err(Err(Setback::login(LoginReason::NeverLoggedIn)));
        };
        let need = self.inner.need(grant);
        if let Need::Login(reason) = need {
            return Err(Err(Setback::login(reason)));
        }
        let is_adoptable = match self.cause {
            Cause::Expiring => need == Need::Nothing,
            Cause::Refused(refused) | Cause::IssuerChanged(refused) => {
                grant.access_fingerprint() != Some(refused)
                    && matches!(need, Need::Nothing | Need::Soon)
            }
        };
        if is_adoptable {
            self.ended("adopted");
            return Err(Ok(Arc::clone(grant)));
        }
        Ok(Arc::clone(grant))
    }

    fn token_to_spend(&self, grant: &Arc<Grant>) -> Result<SecretString, Outcome> {
        if let Some(token) = &grant.refresh_token {
            return Ok(token.clone());
        }
        Err(match self.cause {
            Cause::Expiring if self.inner.is_usable(grant) => Ok(Arc::clone(grant)),
            Cause::Expiring => Err(Setback::login(LoginReason::ExpiredNoRefresh)),
            Cause::Refused(_) => Err(Setback::login(LoginReason::Rejected)),
            Cause::IssuerChanged(_) => Err(Setback::login(LoginReason::IssuerChanged)),
        })
    }

    /// Writes down that the token is about to be spent. The write replaces the store's whole file by one that is as large as
    /// the next will be: where it succeeds, the next one will.
    async fn mark(&self, grant: &Arc<Grant>, token: &SecretString) -> Result<Arc<Grant>, Outcome> {
        if grant.origin == GrantOrigin::Environment {
            return Ok(Arc::clone(grant));
        }
        let marked = Grant {
            intent: Some(RefreshIntent {
                generation: grant.generation,
                token: crate::grant::TokenFingerprint::of(token).to_hex(),
                at: self.inner.now(),
            }),
            ..(**grant).clone()
        };
        match self.write(grant.generation, marked).await {
            Ok(marked) => {
                let marked = Arc::new(marked);
                self.lane.put_to_use(Arc::clone(&marked));
                Ok(marked)
            }
            Err(VaultError::Moved) => Err(self.after_move().await),
            Err(error) => Err(Err(Setback::store(&error))),
        }
    }

    /// Stores and uses what the provider gave.
    async fn keep(&self, marked: &Grant, tokens: TokenSet) -> Outcome {
        if let Some(date) = tokens.server_date {
            self.inner.skew.observe(self.inner.now(), date);
        }
        if is_of_somebody_else(marked, &tokens, &self.lane.binding.client_id) {
            return self.bury(marked, DeathReason::AccountMismatch).await;
        }
        let renewed = Grant {
            forced_at: matches!(self.cause, Cause::Refused(_)).then(|| self.inner.now()),
            ..marked.renewed(tokens, self.inner.now())
        };
        if !renewed.is_bound() && marked.pin.as_ref().is_some_and(|pin| pin.dpop_required) {
            self.give_back(renewed);
            return self.bury(marked, DeathReason::NotBound).await;
        }
        if marked.origin == GrantOrigin::Environment {
            let renewed = Arc::new(renewed);
            self.lane.view.send_modify(|view| {
                view.memory = Some((marked.generation, Arc::clone(&renewed)));
            });
            return Ok(self.expose_shared(renewed));
        }
        let mut tries = 1;
        loop {
            match self.write(marked.generation, renewed.clone()).await {
                Ok(stored) => {
                    self.reached(Step::Stored);
                    return Ok(self.expose(stored));
                }
                Err(VaultError::Moved) => {
                    let outcome = self.after_move().await;
                    if self.lane.view.borrow().grant().is_none() {
                        self.give_back(renewed);
                    }
                    return outcome;
                }
                Err(error) if tries >= PERSIST_TRIES => {
                    tracing::warn!(%error, "a renewed registry login cannot be stored; it is kept in memory and stored later");
                    self.lane.keep_unsaved(marked.generation, renewed);
                    return Err(Setback::store(&error));
                }
                Err(_) => {
                    tries += 1;
                    self.inner.parts.world.clock.sleep(PERSIST_PAUSE).await;
                }
            }
        }
    }

    /// Somebody else wrote or deleted the record: what they left counts.
    pub(super) async fn after_move(&self) -> Outcome {
        self.inner.read(&self.lane).await;
        let view = self.lane.view.borrow().clone();
        if let Some(trouble) = &view.trouble {
            return Err(Setback::trouble(trouble));
        }
        match view.grant() {
            None => Err(Setback::login(LoginReason::NeverLoggedIn)),
            Some(grant) => match self.inner.need(grant) {
                Need::Login(reason) => Err(Setback::login(reason)),
                _ if self.inner.is_usable(grant) => {
                    self.ended("adopted");
                    Ok(Arc::clone(grant))
                }
                _ => Err(Setback {
                    error: AuthError::Unreachable {
                        cause: "the login was replaced during its renewal".to_owned(),
                    },
                    pause: Pause::Short,
                }),
            },
        }
    }

    pub(super) async fn write(&self, expected: u64, grant: Grant) -> Result<Grant, VaultError> {
        let vault = self.inner.parts.vault.clone();
        let binding = self.lane.binding.clone();
        blocking(move || vault.store(&binding, Some(expected), &grant)).await
    }

    fn expose(&self, stored: Grant) -> Arc<Grant> {
        self.expose_shared(Arc::new(stored))
    }

    fn expose_shared(&self, grant: Arc<Grant>) -> Arc<Grant> {
        self.lane.put_to_use(Arc::clone(&grant));
        self.ended("renewed");
        self.reached(Step::Exposed);
        grant
    }

    /// Gives tokens back that nobody will use. Nobody waits for it.
    fn give_back(&self, grant: Grant) {
        let inner = Arc::clone(&self.inner);
        let binding = self.lane.binding.clone();
        tokio::spawn(async move {
            let service = &inner.parts.service;
            for (token, hint) in grant.tokens() {
                let pin = grant.pin.as_ref();
                service.revoke(&binding, pin, token, hint).await;
            }
        });
    }

    /// Remembers when the next renewal may begin.
    fn note(&self, outcome: &Outcome) {
        let now = self.inner.monotonic();
        self.lane.view.send_modify(|view| match outcome {
            Ok(_)
            | Err(Setback {
                pause: Pause::Never,
                ..
            }) => view.failure = None,
            Err(setback) => {
                let before = view.failure.as_ref().map_or(0, |failure| failure.count);
                let count = before.saturating_add(1);
                let wait = match setback.pause {
                    Pause::Provider(asked) => pause(count, asked, self.inner.jitter),
                    Pause::Short | Pause::Never => RETRY_STORE,
                };
                view.failure = Some(Failure {
                    error: setback.error.clone(),
                    count,
                    retry_at: now.saturating_add(wait),
                });
            }
        });
        if let Err(setback) = outcome
            && !matches!(setback.pause, Pause::Never)
        {
            self.ended(setback.error.reason());
            tracing::warn!(registry = %thv_http::display_url(&self.lane.binding.registry_url), error = %setback.error, "a registry login was not renewed");
        }
    }

    pub(super) fn ended(&self, result: &'static str) {
        let at = self.inner.now();
        self.lane
            .view
            .send_modify(|view| view.last_refresh = Some(LastRefresh { at, result }));
    }

    pub(super) fn reached(&self, step: Step) {
        self.inner.parts.steps.reached(step);
    }
}

/// The outcome of `work`, unless the deadline is first.
async fn within<T>(
    deadline: &mut (impl Future<Output = ()> + Unpin),
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        outcome = work => Some(outcome),
        () = deadline => None,
    }
}

// === impl Lane ===

impl Lane {
    fn take_unsaved(&self) -> Option<(u64, Grant)> {
        self.unsaved
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn keep_unsaved(&self, expected: u64, grant: Grant) {
        *self.unsaved.lock().unwrap_or_else(PoisonError::into_inner) = Some((expected, grant));
    }
}
