//! What a running login and those who wait for it tell each other.
//!
//! How far it is, that nobody wants it any more, and how it ended. Who may say so is decided in the parent module.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::session::Session;
use super::{LoginDone, LoginError};

/// How a login ended.
pub(super) type Outcome = Result<LoginDone, LoginError>;

/// What a flow and those who wait for it share.
#[derive(Debug)]
pub(super) struct Progress {
    /// The last caller has left.
    pub(super) abandoned: CancellationToken,
    /// A logout or a change of the configuration has overtaken it.
    pub(super) superseded: CancellationToken,
    pub(super) stage: watch::Sender<Stage>,
    outcome: watch::Sender<Option<Outcome>>,
}

/// How far a flow is.
#[derive(Clone, Debug, Default)]
pub(super) struct Stage {
    pub(super) port: Option<u16>,
    pub(super) url: Option<Url>,
    pub(super) session: Option<Arc<Session>>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            abandoned: CancellationToken::new(),
            superseded: CancellationToken::new(),
            stage: watch::Sender::new(Stage::default()),
            outcome: watch::Sender::new(None),
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        self.abandoned.is_cancelled() || self.superseded.is_cancelled()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.outcome.borrow().is_some()
    }

    /// Tells all who wait, unless they were told before.
    pub(super) fn end(&self, outcome: Outcome) {
        self.outcome.send_if_modified(|known| {
            let is_first = known.is_none();
            if is_first {
                *known = Some(outcome);
            }
            is_first
        });
    }

    pub(super) async fn ended(&self) {
        let _ = self.outcome().await;
    }

    pub(super) async fn outcome(&self) -> Outcome {
        let mut outcome = self.outcome.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(lost())),
            Err(_) => Err(lost()),
        }
    }

    /// The address at which to log in; waits forever when none comes.
    pub(super) async fn url(&self) -> Url {
        let mut stage = self.stage.subscribe();
        if let Ok(stage) = stage.wait_for(|stage| stage.url.is_some()).await
            && let Some(url) = &stage.url
        {
            return url.clone();
        }
        std::future::pending().await
    }
}

/// What those are told who wait for a flow that is no more.
pub(super) fn lost() -> LoginError {
    LoginError::Internal {
        cause: "it was not brought to its end".to_owned(),
    }
}
