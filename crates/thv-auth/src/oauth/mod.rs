//! The OAuth and OIDC protocols, as a native public client speaks them.
//!
//! [`metadata`] finds an issuer's endpoints; [`client`] begins a login, redeems its code and refreshes; `direct` asks for a token
//! without a login at what `token_server` finds; [`token`] reads what the token endpoint answers; [`id_token`] checks who logged in
//! with the keys of [`jwks`]; [`dpop`] binds tokens to a key of ours; [`device`] is a login with a code that is typed in elsewhere; [`mod@revoke`] gives tokens back;
//! [`redirect_uri`] is where the browser returns to. Nothing here stores a grant, decides when to refresh or waits for a person.

pub(crate) mod answer;
pub mod authentication;
pub mod challenge;
pub mod client;
pub mod device;
pub(crate) mod direct;
pub mod dpop;
pub mod error;
pub mod id_token;
pub mod issuer;
pub(crate) mod json;
pub mod jwks;
pub mod metadata;
pub mod redirect_uri;
pub mod registration;
pub mod resource;
pub mod response;
pub mod revoke;
pub mod token;
pub(crate) mod token_server;

pub use authentication::ClientAuthentication;
pub use client::{Attempt, begin, exchange, refresh, requested_scopes, unrequested_scopes};
pub use device::{DeviceAuthorization, DeviceError, Pace, Poll, begin_device, poll_device};
pub use dpop::{DpopUse, ProofKey, ProofKeyFault, Prover, Servers};
pub use error::{BeginError, DiscoveryError, IdTokenError, TokenError};
pub use id_token::{Account, verify_id_token};
pub use issuer::parse_issuer;
pub use jwks::KeyCache;
pub use metadata::{DiscoveryPolicy, PkceSupport, PkceUnadvertised, Provider, discover};
pub use redirect_uri::RedirectUri;
pub use response::{ResponseIssuerError, check_response_issuer};
pub use revoke::{RevocationOutcome, TokenHint, revoke};
pub use token::TokenSet;
