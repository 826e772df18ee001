//! Whole logins: an honest provider, a real listener, a real encrypted store, and whoever else comes to the callback.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot be set up has failed"
)]

mod configured;
mod device;
mod ending;
mod faults;
mod hostile;
mod killed;
mod resource;
mod secret;
mod sharing;
mod success;
mod support;
