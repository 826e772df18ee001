//! `/api/v1/**`, what this program offers beyond the Go program's interface. Errors are problem
//! documents (RFC 9457).

pub(crate) mod auth;
pub(crate) mod events;
mod login_body;
pub(crate) mod logins;
mod report;
