//! What MCP servers exist, right now.
//!
//! A registry's [`source`] is loaded into one immutable [`Snapshot`]; a [`Registry`] holds the
//! current one and says in which state it is. Lookups, search and the bodies that many clients
//! ask for are functions of the snapshot and never wait on the network. HTTP status codes and
//! words for people live in the crates above.

pub mod convert;
pub mod format;
pub mod json;
pub mod view;
