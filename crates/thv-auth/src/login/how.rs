//! How a caller wants to log in: what opens a browser and who is told, where the answer arrives, how long it may take, and
//! what is done before the login counts. Values and callbacks only; what is made of them is `flow`'s part.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use url::Url;

use super::{PublicUrl, Requester};
use crate::binding::Binding;
use crate::oauth::ClientAuthentication;
use crate::oauth::redirect_uri::{LoopbackName, RedirectUri};
use crate::oauth::registration::Registration;
use crate::opener::Opener;
use crate::rules::{LoginRules, RulesChange};

/// How long a person has to log in: enough for a password manager, a second factor and a phone call about it.
pub const LOGIN_TIME: Duration = Duration::from_mins(5);

/// The port that clients of the Go program are registered with.
pub const DEFAULT_CALLBACK_PORT: u16 = 8666;

/// How long a person has who was handed a link or a code, perhaps on another device.
pub const RESOURCE_LOGIN_TIME: Duration = Duration::from_mins(10);

/// Is told the address at which to log in, once, as soon as somebody listens for the answer.
pub type Announce = Arc<dyn Fn(&Url) + Send + Sync>;

/// Is asked, on a blocking thread, right before the grant is stored, whether it is still of use.
pub type StillWanted = Arc<dyn Fn() -> bool + Send + Sync>;

/// Resolves when the login is for nothing, because the registry was replaced meanwhile.
pub type Replaced = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Is run when the grant is stored, before anybody is told that the login has succeeded: what is read next must not meet the
/// state from before.
pub type Settle = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Makes what a login asked for what is configured, on a blocking thread, when its grant is stored. Says whether it could: by
/// then something else may be configured.
pub type Adopt = Arc<dyn Fn() -> Result<bool, String> + Send + Sync>;

/// What a login asks for where that is not what is configured: more scopes, or as another client. Nothing of it is configured
/// before the grant is there.
#[derive(Clone)]
pub struct Asked {
    /// What is configured.
    pub before: Binding,
    /// What the grant is for.
    pub binding: Binding,
    /// What makes it the configuration.
    pub adopt: Adopt,
}

/// How one caller wants to log in. A caller that joins a running login brings only its [`announce`](Self::announce), and its
/// [`opener`](Self::opener) to a login that nothing was opened for yet.
#[derive(Clone, Default)]
pub struct LoginHow {
    /// Which program asks for it.
    pub requester: Option<Requester>,
    /// What opens the browser.
    pub opener: Option<Arc<dyn Opener>>,
    /// Who is told the address. Without it a browser that cannot be opened ends the login.
    pub announce: Option<Announce>,
    /// The port of the redirect URI: [`DEFAULT_CALLBACK_PORT`] when absent, any free one when 0.
    pub callback_port: Option<u16>,
    /// The rest of the redirect URI.
    pub redirect: RedirectForm,
    /// Whether this program has registered the client itself, and can do so for another port.
    pub is_our_client: bool,
    /// How the client proves itself.
    pub authentication: ClientAuthentication,
    /// The only host with its port that may see the client's secret, where it has one: that of the token endpoint at registration.
    pub secret_host: Option<String>,
    /// Where the registry's metadata are (RFC 9728), when that is known and not one of the well-known places.
    pub metadata_url: Option<Url>,
    /// Where the answer arrives in place of a port of this machine.
    pub public: Option<PublicUrl>,
    /// The client that this is a login of, where that is not the configured one. It is configured when somebody has logged in.
    pub client_id: Option<String>,
    /// What is asked for in place of what is configured.
    pub asked: Option<Asked>,
    /// Whether the grant is still of use when it comes. A login that is not stores nothing.
    pub still_wanted: Option<StillWanted>,
    /// What ends the login early, whoever waits for it.
    pub replaced: Option<Replaced>,
    /// The rules that a person has settled for this registry.
    pub rules: LoginRules,
    /// What the person changes of them. It is settled when the login has succeeded.
    pub change: RulesChange,
    /// Whether it may be of another account than the login that is there. Without it such a login ends, and nothing is changed: a
    /// browser logs in by itself as whoever it remembers. Who joins with it lets the login be so for all.
    pub switch_account: bool,
    /// Whether a code can be typed in on another device instead.
    pub device: DeviceUse,
    /// How long the person has: [`LOGIN_TIME`] when absent.
    pub time: Option<Duration>,
    /// A client of ours that takes its place once somebody has logged in as it.
    pub next_client: Option<Registration>,
    /// What is to be done between storing the grant and saying so.
    pub settle: Option<Settle>,
}

/// What is made of the device authorization grant (RFC 8628).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceUse {
    /// Nothing.
    #[default]
    Never,
    /// A second way beside the browser where the provider has it, and the only one where nothing can listen for a browser.
    Offer,
    /// The only way.
    Only,
}

/// Which redirect URI is used, its port aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RedirectForm {
    /// `http://localhost:<port>/callback`, which clients of the Go program are registered with.
    #[default]
    Registered,
    /// A path that only this issuer is given (RFC 8252 section 8.10), where the client's registration allows it.
    PerIssuer(LoopbackName),
}

// === impl LoginHow ===

impl LoginHow {
    pub(super) fn time(&self) -> Duration {
        self.time.unwrap_or(LOGIN_TIME)
    }
}

// === impl RedirectForm ===

impl RedirectForm {
    /// The whole redirect URI on loopback.
    pub fn uri(self, port: u16, issuer: &str) -> RedirectUri {
        match self {
            Self::Registered => RedirectUri::registered(port),
            Self::PerIssuer(name) => RedirectUri::for_issuer(name, port, issuer),
        }
    }
}

impl fmt::Debug for LoginHow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginHow")
            .field("opener", &self.opener)
            .field("announces", &self.announce.is_some())
            .field("callback_port", &self.callback_port)
            .field("redirect", &self.redirect)
            .finish_non_exhaustive()
    }
}
