//! Grants over their whole life: an honest provider over HTTP, a real encrypted store, several engines and processes on it.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot be set up has failed"
)]

mod bound;
mod clients;
mod faults;
mod logout;
mod processes;
mod renewal;
mod support;
mod takeover;
