//! What a running login and those who wait for it tell each other.
//!
//! How far it is, that nobody wants it any more, and how it ended. Who may say so is decided in the parent module.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::resource::{LoginId, LoginMethod, LoginState, LoginView, Requester};
use super::session::Session;
use super::{LoginDone, LoginError};
use crate::binding::Binding;

/// How a login ended.
pub type Outcome = Result<LoginDone, LoginError>;

/// What a flow and those who wait for it share.
#[derive(Debug)]
pub(super) struct Progress {
    id: LoginId,
    binding: Binding,
    requester: Option<Requester>,
    started_at: Timestamp,
    expires_at: Timestamp,
    /// The last caller has left.
    pub(super) abandoned: CancellationToken,
    /// Somebody ended it: see [`Progress::ended_by`].
    pub(super) superseded: CancellationToken,
    /// Whether that was somebody who asked for this login to end, and not a logout or another configuration.
    withdrawn: AtomicBool,
    /// Whether it may be of another account than the one before: one of those who wait said so.
    switches_account: AtomicBool,
    stage: watch::Sender<Stage>,
}

/// How far a flow is.
#[derive(Clone, Debug, Default)]
pub(super) struct Stage {
    pub(super) port: Option<u16>,
    /// Where the person goes, once there is somebody to answer.
    pub(super) address: Option<Url>,
    pub(super) session: Option<Arc<Session>>,
    pub(super) methods: Vec<LoginMethod>,
    pub(super) opening: Opening,
    /// When it ends by itself, if that is another moment than its time alone says.
    pub(super) expires_at: Option<Timestamp>,
    completing: bool,
    outcome: Option<Outcome>,
    revision: u64,
}

/// Whether the address was opened for the person, which is done once, whoever waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Opening {
    /// By nobody yet.
    #[default]
    Wanted,
    /// By somebody.
    Claimed,
    /// Nothing could be opened; the cause is a clause for people.
    Failed(String),
}

impl Progress {
    pub(super) fn new(
        id: LoginId,
        binding: Binding,
        requester: Option<Requester>,
        started_at: Timestamp,
        expires_at: Timestamp,
    ) -> Self {
        Self {
            id,
            binding,
            requester,
            started_at,
            expires_at,
            abandoned: CancellationToken::new(),
            superseded: CancellationToken::new(),
            withdrawn: AtomicBool::new(false),
            switches_account: AtomicBool::new(false),
            stage: watch::Sender::new(Stage::default()),
        }
    }

    pub(super) fn id(&self) -> &LoginId {
        &self.id
    }

    pub(super) fn started_at(&self) -> Timestamp {
        self.started_at
    }

    pub(super) fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    pub(super) fn stage(&self) -> watch::Ref<'_, Stage> {
        self.stage.borrow()
    }

    /// Ends the login on behalf of somebody who asked for just that.
    pub(super) fn withdraw(&self) {
        if !self.superseded.is_cancelled() {
            self.withdrawn.store(true, Ordering::Relaxed);
        }
        self.superseded.cancel();
    }

    /// Lets it be of another account than the one before.
    pub(super) fn switch_account(&self) {
        self.switches_account.store(true, Ordering::Relaxed);
    }

    pub(super) fn switches_account(&self) -> bool {
        self.switches_account.load(Ordering::Relaxed)
    }

    /// What those are told who wait for a login that was superseded.
    pub(super) fn ended_by(&self) -> LoginError {
        if self.withdrawn.load(Ordering::Relaxed) {
            LoginError::Withdrawn
        } else {
            LoginError::Cancelled
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        self.abandoned.is_cancelled() || self.superseded.is_cancelled()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.stage.borrow().outcome.is_some()
    }

    /// Changes what nobody outside sees.
    pub(super) fn note(&self, change: impl FnOnce(&mut Stage)) {
        self.stage.send_modify(change);
    }

    /// Changes what a view shows.
    pub(super) fn show(&self, change: impl FnOnce(&mut Stage)) {
        self.stage.send_modify(|stage| {
            change(stage);
            stage.revision += 1;
        });
    }

    /// A person has answered: nothing else counts any more.
    pub(super) fn complete(&self) {
        self.stage.send_if_modified(|stage| {
            let is_first = !stage.completing && stage.outcome.is_none();
            if is_first {
                stage.completing = true;
                stage.methods.clear();
                stage.revision += 1;
            }
            is_first
        });
    }

    /// Takes it on oneself to open the address for the person, unless somebody has.
    pub(super) fn claim_opening(&self) -> bool {
        self.stage.send_if_modified(|stage| {
            let is_ours = stage.opening == Opening::Wanted;
            if is_ours {
                stage.opening = Opening::Claimed;
            }
            is_ours
        })
    }

    /// Tells all who wait, unless they were told before. What the login knew is forgotten.
    pub(super) fn end(&self, outcome: Outcome) {
        self.stage.send_if_modified(|stage| {
            let is_first = stage.outcome.is_none();
            if is_first {
                *stage = Stage {
                    outcome: Some(outcome),
                    revision: stage.revision + 1,
                    opening: stage.opening.clone(),
                    expires_at: stage.expires_at,
                    ..Stage::default()
                };
            }
            is_first
        });
    }

    pub(super) async fn ended(&self) {
        let _ = self.outcome().await;
    }

    pub(super) async fn outcome(&self) -> Outcome {
        self.at(|stage| stage.outcome.is_some())
            .await
            .and_then(|stage| stage.outcome)
            .unwrap_or_else(|| Err(lost()))
    }

    /// The address at which to log in; waits forever when none comes.
    pub(super) async fn address(&self) -> Url {
        match self.at(|stage| stage.address.is_some()).await {
            Some(Stage {
                address: Some(address),
                ..
            }) => address,
            _ => std::future::pending().await,
        }
    }

    /// Why nothing could be opened for the person; waits forever when something could.
    pub(super) async fn not_opened(&self) -> String {
        let failed = |stage: &Stage| matches!(stage.opening, Opening::Failed(_));
        match self.at(failed).await {
            Some(Stage {
                opening: Opening::Failed(cause),
                ..
            }) => cause,
            _ => std::future::pending().await,
        }
    }

    pub(super) async fn changed_from(&self, revision: u64) -> LoginView {
        match self.at(|stage| stage.revision != revision).await {
            Some(stage) => self.view_of(&stage),
            None => self.view(),
        }
    }

    pub(super) fn view(&self) -> LoginView {
        self.view_of(&self.stage.borrow())
    }

    fn view_of(&self, stage: &Stage) -> LoginView {
        LoginView {
            id: self.id.clone(),
            binding: self.binding.clone(),
            requester: self.requester.clone(),
            started_at: self.started_at,
            expires_at: stage.expires_at.unwrap_or(self.expires_at),
            revision: stage.revision,
            state: match &stage.outcome {
                Some(Ok(done)) => LoginState::Succeeded(Box::new(done.clone())),
                Some(Err(error)) => LoginState::Failed(error.clone()),
                None if stage.completing => LoginState::Completing,
                None => LoginState::Pending,
            },
            methods: stage.methods.clone(),
            switch_account: self.switches_account(),
        }
    }

    /// The first stage that `is_it`. The sender lives in `self`, so that there always is one in the end or a wait for it.
    async fn at(&self, is_it: impl FnMut(&Stage) -> bool) -> Option<Stage> {
        let mut stages = self.stage.subscribe();
        let found = stages.wait_for(is_it).await;
        found.ok().map(|stage| stage.clone())
    }
}

/// What those are told who wait for a flow that is no more.
pub(super) fn lost() -> LoginError {
    LoginError::Internal {
        cause: "it was not brought to its end".to_owned(),
    }
}
