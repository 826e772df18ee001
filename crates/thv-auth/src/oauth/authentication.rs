//! How a client proves itself at the token endpoint and those beside it (RFC 6749 section 2.3.1).
//!
//! A native program usually has no secret. One that a provider gave at registration is used in exactly the way that it was
//! registered for, and only in requests that this module prepares.

use secrecy::{ExposeSecret, SecretString};
use thv_http::{Request, secrecy};
use url::{Url, form_urlencoded};

/// The way of one client.
#[derive(Clone, Debug, Default)]
pub enum ClientAuthentication {
    /// It only names itself: `none` (RFC 7591 section 2).
    #[default]
    None,
    /// `client_secret_basic`: identifier and secret, form-encoded, by HTTP Basic.
    SecretBasic(SecretString),
    /// `client_secret_post`: identifier and secret in the form.
    SecretPost(SecretString),
}

impl ClientAuthentication {
    /// The way's name in metadata (RFC 7591 section 2).
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SecretBasic(_) => "client_secret_basic",
            Self::SecretPost(_) => "client_secret_post",
        }
    }

    /// The secret, if there is one.
    pub(crate) fn secret(&self) -> Option<&SecretString> {
        match self {
            Self::None => None,
            Self::SecretBasic(secret) | Self::SecretPost(secret) => Some(secret),
        }
    }

    /// A POST of `fields` by `client_id`. The fields name the client only through this.
    pub(crate) fn post_form<'a>(
        &'a self,
        url: Url,
        client_id: &'a str,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Request {
        let named = match self {
            Self::SecretBasic(_) => None,
            Self::None | Self::SecretPost(_) => Some(("client_id", client_id)),
        };
        let proven = match self {
            Self::SecretPost(secret) => Some(("client_secret", secret.expose_secret())),
            Self::None | Self::SecretBasic(_) => None,
        };
        let fields = fields
            .into_iter()
            .filter(|(name, _)| *name != "client_id")
            .chain(named)
            .chain(proven);
        let request = Request::post_form(url, fields);
        match self {
            Self::SecretBasic(secret) => {
                request.basic(encoded(client_id), encoded(secret.expose_secret()).into())
            }
            Self::None | Self::SecretPost(_) => request,
        }
    }
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
