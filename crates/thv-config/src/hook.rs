//! A clock for tests that does something in the moment the code under test waits.

use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;

use crate::world::{Clock, ManualClock, Sleep};

/// A [`ManualClock`] that runs `hook` at every blocking pause.
pub(crate) struct HookClock<F> {
    clock: ManualClock,
    hook: Mutex<F>,
}

impl<F: FnMut() + Send + 'static> HookClock<F> {
    pub(crate) fn new(hook: F) -> Self {
        Self {
            clock: ManualClock::new(Timestamp::UNIX_EPOCH),
            hook: Mutex::new(hook),
        }
    }
}

impl<F> std::fmt::Debug for HookClock<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("HookClock").finish()
    }
}

impl<F: FnMut() + Send + 'static> Clock for HookClock<F> {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        self.clock.sleep(duration)
    }

    fn pause(&self, duration: Duration) {
        self.clock.pause(duration);
        (self.hook.lock().unwrap())();
    }
}
