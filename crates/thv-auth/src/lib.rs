//! Who we are to a registry, and who a caller is to us.
//!
//! [`credentials`] is the seam through which a registry source asks for a bearer token without
//! ever starting a login; [`inbound`] checks the tokens that callers of our own API present.

pub mod binding;
pub mod credentials;
pub mod inbound;
pub mod oauth;

pub use credentials::{Anonymous, AuthError, AuthStatus, Credentials, LoginReason, NotLoggedIn};
