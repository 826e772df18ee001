//! The ways a provider fails.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::rules;

/// One way to fail. Where the text does not say otherwise, the provider does nothing else with the request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status with a plain text.
    Status(u16),
    /// This status with `Retry-After` in seconds.
    RetryLater {
        /// The status, 429 or 503.
        status: u16,
        /// The header's value.
        seconds: u64,
    },
    /// An OAuth error as JSON.
    Error {
        /// The status, usually 400.
        status: u16,
        /// The `error` member.
        error: String,
    },
    /// No answer, ever.
    Hang,
    /// The work is done at once, the answer comes after a while.
    Slow(Duration),
    /// The connection closes without an answer.
    Cut,
    /// The work is done, then the connection closes without an answer: the client cannot know.
    Lost,
    /// The work is done, then half of the answer comes before the connection closes.
    CutBody,
    /// The work is done, then half of the answer comes and nothing more, ever.
    HangInBody,
    /// A page for people.
    Html(u16),
    /// 200, JSON media type, and bytes that are no JSON.
    Garbage,
    /// 200, JSON media type, no body.
    Empty,
    /// 200 and a JSON object of about this many bytes.
    Huge(usize),
    /// A redirect.
    RedirectTo {
        /// The status, 302 or 307 for example.
        status: u16,
        /// The target.
        url: String,
    },
    /// Whatever the test wants.
    Raw {
        /// The status.
        status: u16,
        /// The media type.
        media_type: String,
        /// The body.
        body: String,
    },
    /// The request waits in front of the gate, then all goes on as usual.
    HeldBefore(Gate),
    /// The work is done, then the answer waits in front of the gate.
    HeldAfter(Gate),
}

/// When a fault of a provider strikes.
pub type Rule = rules::Rule<Fault>;

/// A place where requests wait until the test lets them go on. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
    waiting: Arc<watch::Sender<usize>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Gate {
            open: Arc::new(watch::Sender::new(false)),
            waiting: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Waits until `count` requests have come, gone on or not.
    ///
    /// # Panics
    /// After [`crate::wait::PATIENCE`].
    pub async fn arrived(&self, count: usize) {
        let mut waiting = self.waiting.subscribe();
        tokio::time::timeout(
            crate::wait::PATIENCE,
            waiting.wait_for(|waiting| *waiting >= count),
        )
        .await
        .unwrap_or_else(|_| panic!("still waiting for {count} requests at the gate"))
        .expect("we hold a sender");
    }

    /// Lets all go on, now and later.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    pub(super) async fn pass(&self) {
        self.waiting.send_modify(|waiting| *waiting += 1);
        self.open
            .subscribe()
            .wait_for(|open| *open)
            .await
            .expect("we hold a sender");
    }
}
