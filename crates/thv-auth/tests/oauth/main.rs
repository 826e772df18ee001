//! The OAuth protocol against providers on this machine: honest ones, careless ones and hostile ones.
//!
//! Each test scripts a provider, lets one call of `thv_auth::oauth` meet it and looks at what was sent and what came back.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot be set up has failed"
)]

mod authorization;
mod discovery;
mod hostile;
mod id_token;
mod provider;
mod revocation;
mod token;
