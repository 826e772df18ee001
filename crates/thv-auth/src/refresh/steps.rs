//! The places where a renewal can be cut off, named so that tests can cut it off there.

use std::fmt::Debug;

/// A place that a renewal has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The lock between processes is held.
    Locked,
    /// The stored grant was read again.
    Reread,
    /// The provider's endpoints are known.
    ProviderKnown,
    /// It is on disk that the refresh token is about to be spent.
    IntentStored,
    /// The provider answered; its tokens are in memory only.
    Answered,
    /// What follows from the answer is on disk.
    Stored,
    /// It is in use.
    Exposed,
}

/// Told of every step. Does nothing outside tests.
pub trait Steps: Debug + Send + Sync + 'static {
    /// The renewal has come as far as `step`.
    fn reached(&self, step: Step);
}

/// Nobody is told.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Step {
    /// All steps, in order.
    pub const ALL: [Self; 7] = [
        Self::Locked,
        Self::Reread,
        Self::ProviderKnown,
        Self::IntentStored,
        Self::Answered,
        Self::Stored,
        Self::Exposed,
    ];
}

impl Steps for Unwatched {
    fn reached(&self, _step: Step) {}
}
