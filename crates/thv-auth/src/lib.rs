//! Who we are to a registry, and who a caller is to us.
//!
//! [`credentials`] is the seam through which a registry source asks for a bearer token without
//! ever starting a login; [`machine`] holds the credentials that need no person; [`inbound`] checks the tokens that callers of our own API present.

mod auth;
pub mod bare_url;
pub mod binding;
pub mod credentials;
pub mod doctor;
#[doc(hidden)]
pub mod foreign;
pub mod grant;
pub mod inbound;
pub mod limits;
pub mod login;
pub mod logout;
pub mod machine;
pub mod oauth;
pub mod opener;
pub mod pin;
pub mod refresh;
pub mod relaxation;
pub mod rules;
pub mod skew;
pub mod status;
mod takeover;
pub mod tokens;
pub mod vault;

pub use auth::registry::{HandedOut, WrongOrigin};
pub use auth::{Auth, AuthFailure, CredentialInUse};
pub use bare_url::{ClientChoice, ClientError, FoundLogin, LoginSearch, SearchError};
pub use credentials::{
    Anonymous, AuthError, AuthStatus, CredentialSource, Credentials, LoginReason, NoGrants,
    NotLoggedIn,
};
