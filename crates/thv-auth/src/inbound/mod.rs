//! Checks the tokens that callers of our own API present.
//!
//! [`CallerPolicy`] says whose tokens are good, [`CallerVerifier`] decides on one request. Keys come from the issuer when the
//! first token arrives, not at start-up, so that an issuer that is down delays nobody else. How a refusal looks on the wire is
//! made in `thv-api`; tokens that we send to registries live in `credentials`.

mod flight;
mod introspection;
mod issuer;
mod jwks;
mod policy;
mod token;
mod verifier;

pub use policy::{CallerPolicy, PolicyError, UrlKind};
pub use token::{HeaderFault, bearer_token};
pub use verifier::{CallerVerifier, Denied};
