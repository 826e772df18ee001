//! The only door to the outside: outbound HTTP with bounds on time, size, redirects and addresses.
//!
//! A caller says what it wants in a [`Request`] (method, URL, [`Bearer`], [`Policy`], [`Limits`]) and gets a [`Reply`] with any
//! status, or an [`HttpError`]. Redirects are followed by hand and every hop is judged like the first; addresses are
//! checked between name lookup and connection and again afterwards; a credential travels to its own origin only. Who
//! retries, and what an answer means, is decided by the callers.

pub mod address;
mod body;
mod client;
mod client_certificate;
mod error;
mod examine;
mod limits;
mod policy;
mod proxy;
mod redirect;
mod request;
mod resolve;
mod retry_after;
mod transport;
mod trust;

pub use client::{Http, HttpOptions};
pub use client_certificate::{CERTIFICATE_VARIABLE, KEY_VARIABLE};
pub use error::{HttpError, Phase};
pub use examine::{Trust, Way};
pub use limits::Limits;
pub use policy::{
    Bearer, PlainHttp, Policy, Proof, Redirects, display_url, is_loopback_url, parse_url,
};
pub use request::{Reply, Request};
pub use secrecy;
