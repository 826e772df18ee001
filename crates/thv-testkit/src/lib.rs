//! Honest stand-ins for the world around `thv`, for tests and benches only.
//!
//! [`registry`] is an MCP registry that speaks the v0.1 API and misbehaves on demand, [`generate`] invents
//! catalogs of any size, [`binary`] starts the real program in a home of its own, [`client`] talks to it over TCP or
//! a unix socket. [`provider`] is an `OpenID` provider in this process, [`identity`] runs a real one; [`browse`] and
//! [`chromium`] are the user in front of both, [`opener`] catches what would have opened a browser, [`keyring`]
//! is a desktop's secret service, [`nginx`] and [`squid`] are the proxies of a corporate network with the [`certificates`] of
//! its own authority, [`port`] finds free ports, and [`worker`] runs a test's own code in other processes. Nothing here knows the product's crates: what
//! the fakes say comes from the published API, so a test cannot agree with a bug by sharing its code.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a fake that cannot do its work must fail the test that uses it, at once"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the kit watches real processes in real time; the product's injected clock is not reachable from here"
)]

pub mod binary;
pub mod browse;
pub mod certificates;
pub mod chromium;
pub mod client;
mod daemon;
pub mod fixture;
pub mod generate;
pub mod go_store;
pub mod home;
pub mod identity;
pub mod journal;
pub mod jwt;
pub mod keyring;
mod listening;
pub mod nginx;
pub mod opener;
mod plain;
pub mod port;
pub mod proof;
pub mod provider;
pub mod registry;
pub mod rules;
pub mod running;
pub mod squid;
pub mod unprivileged;
pub mod wait;
pub mod worker;
