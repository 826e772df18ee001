//! What ends the server: a signal, or the end of the process that started it. How it is taken down
//! is in `serve`.

use std::sync::Arc;
#[cfg(unix)]
use std::time::Duration;

use thv_config::world::Clock;

use crate::failure::CommandError;

/// How often it is looked whether the parent is still there: quick enough that a restarted
/// desktop program does not meet the server of its predecessor.
#[cfg(unix)]
const PARENT_POLL: Duration = Duration::from_millis(500);

/// The signals that end a server, caught from the moment this exists.
#[cfg(unix)]
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub(super) fn catch() -> Result<Self, CommandError> {
        use tokio::signal::unix::{SignalKind, signal};
        let catch = |kind| signal(kind).map_err(CommandError::Runtime);
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            quit: catch(SignalKind::quit())?,
        })
    }

    /// The next signal, by name.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.quit.recv() => "SIGQUIT",
        }
    }
}

#[cfg(not(unix))]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(super) fn catch() -> Result<Self, CommandError> {
        Ok(Self)
    }

    /// The next Ctrl-C.
    pub(super) async fn next(&mut self) -> &'static str {
        match tokio::signal::ctrl_c().await {
            Ok(()) => "Ctrl-C",
            Err(_) => std::future::pending().await,
        }
    }
}

/// Returns when the process that started us is gone; never with `watch` off. A child whose parent
/// ends is given to another one, so a new parent is all there is to see.
#[cfg(unix)]
pub(super) async fn parent_gone(watch: bool, clock: Arc<dyn Clock>) {
    if !watch {
        return std::future::pending().await;
    }
    let parent = std::os::unix::process::parent_id();
    while std::os::unix::process::parent_id() == parent {
        clock.sleep(PARENT_POLL).await;
    }
}

#[cfg(not(unix))]
pub(super) async fn parent_gone(watch: bool, _: Arc<dyn Clock>) {
    if watch {
        tracing::warn!("--exit-with-parent has no effect on this system");
    }
    std::future::pending().await
}
