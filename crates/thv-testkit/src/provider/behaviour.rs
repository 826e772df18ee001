//! What a test can tell the provider to be like, and who the user in front of it is.

use std::time::Duration;

use serde_json::{Map, Value};

/// A program that is registered with the provider.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) id: String,
    pub(super) authentication: Authentication,
    pub(super) redirect_uris: Vec<String>,
}

/// How a client proves who it is: exactly this way, no other.
#[derive(Clone, Debug)]
pub(super) enum Authentication {
    None,
    Basic(String),
    Post(String),
    /// Assertions signed with the key of this JWK.
    Key(Value),
}

impl Client {
    /// A native program without a secret. The URIs match exactly, but for the port of loopback ones.
    pub fn public(id: &str, redirect_uris: &[&str]) -> Self {
        Client {
            id: id.to_owned(),
            authentication: Authentication::None,
            redirect_uris: redirect_uris.iter().map(|&uri| uri.to_owned()).collect(),
        }
    }

    /// A client with a secret that has to come by HTTP Basic.
    #[must_use]
    pub fn basic(mut self, secret: &str) -> Self {
        self.authentication = Authentication::Basic(secret.to_owned());
        self
    }

    /// A client with a secret that has to come in the form.
    #[must_use]
    pub fn post(mut self, secret: &str) -> Self {
        self.authentication = Authentication::Post(secret.to_owned());
        self
    }

    /// A client that signs assertions with the key of `jwk` (RFC 7523 section 2.2).
    #[must_use]
    pub fn key(mut self, jwk: Value) -> Self {
        self.authentication = Authentication::Key(jwk);
        self
    }
}

/// What happens to refresh tokens that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Each use yields a new one; the old one coming again ends the whole family.
    Rotates,
    /// The answer has none, and the old one stays good.
    Keeps,
    /// The answer repeats the old one, which stays good.
    Repeats,
}

/// When a login yields a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshTokens {
    /// For the scope `offline_access`, which is granted only with `prompt=consent` (OIDC Core 11).
    WithConsent,
    /// For the scope `offline_access`, whatever the prompt.
    WithScope,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What an access token looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFormat {
    /// A signed JWT of type `at+jwt` for a resource, an opaque one without.
    Jwt,
    /// Random characters; only the provider knows what they mean.
    Opaque,
}

/// Who signs, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// The current key.
    Honest,
    /// The current key, under a `kid` that the JWKS does not have.
    UnknownKey,
    /// A key of somebody else under the `kid` of ours.
    Foreign,
    /// `alg: none` and no signature.
    None,
}

/// Whether programs may register themselves (RFC 7591).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// There is no endpoint.
    Off,
    /// Everybody, without a secret where none is asked for.
    Open,
    /// Everybody, and each gets a secret for HTTP Basic, whatever was asked for.
    Secret,
}

/// A change to the tokens of one kind.
#[derive(Clone, Debug)]
pub struct Twist {
    pub(super) claims: Vec<(String, Value)>,
    pub(super) signature: Signature,
}

impl Default for Twist {
    fn default() -> Self {
        Twist {
            claims: Vec::new(),
            signature: Signature::Honest,
        }
    }
}

impl Twist {
    /// Sets a claim; `Value::Null` takes it out.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.push((name.to_owned(), value.into()));
        self
    }

    /// Signs in another way.
    #[must_use]
    pub fn signature(mut self, signature: Signature) -> Self {
        self.signature = signature;
        self
    }
}

/// A platform whose word about its workloads is taken.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The `aud` that they need.
    pub audience: String,
    /// Its public keys, as members of a JWKS.
    pub keys: Vec<Value>,
}

/// The provider's settings; all public, changed through [`super::Provider::behave`].
#[derive(Clone, Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "switches that have nothing to do with one another"
)]
pub struct Behaviour {
    /// Life of access tokens; 300 s at first.
    pub access_ttl: Duration,
    /// Life of codes; 60 s at first.
    pub code_ttl: Duration,
    /// Life of refresh tokens; `None` at first: they never expire.
    pub refresh_ttl: Option<Duration>,
    /// What happens to used refresh tokens.
    pub rotation: Rotation,
    /// When there are refresh tokens at all.
    pub refresh_tokens: RefreshTokens,
    /// What access tokens look like.
    pub access_format: TokenFormat,
    /// Whether `iss` is in the callback (it is, at first).
    pub sends_issuer: bool,
    /// Whether metadata says that `iss` is in the callback (it does, at first).
    pub advertises_issuer: bool,
    /// Whether there is a document at `/.well-known/openid-configuration` (there is).
    pub speaks_openid: bool,
    /// Whether there is a document at `/.well-known/oauth-authorization-server` (there is).
    pub speaks_oauth: bool,
    /// Members set in both documents, over the honest ones; `Value::Null` takes a member out.
    pub metadata: Map<String, Value>,
    /// Members set in the token endpoint's good answers; `None` takes a member out, `Value::Null` is sent.
    pub token_answer: Vec<(String, Option<Value>)>,
    /// What is odd about ID tokens.
    pub id_token: Twist,
    /// What is odd about access tokens that are JWTs.
    pub access_token: Twist,
    /// Whether ID tokens are left out although `openid` was asked for.
    pub omits_id_token: bool,
    /// Whether `resource` has to come again at the token endpoint; without it the token is an opaque one that no
    /// resource takes. At first it does, as in the npm provider's defaults.
    pub resource_must_repeat: bool,
    /// Whether the parameter `audience` names the resource too, as some providers want it.
    pub understands_audience: bool,
    /// Whether a request of a client or a workload with a `resource` is refused as malformed, as some providers do (it is not).
    pub refuses_resource: bool,
    /// The audience of tokens for which no resource was asked; `None` at first: they are opaque and for nobody.
    pub default_audience: Option<String>,
    /// Whose workloads may exchange their tokens, or use them as grants; nobody's at first.
    pub workloads: Vec<Workload>,
    /// Whether there are device codes (there are none, at first).
    pub offers_device: bool,
    /// Life of device codes; 600 s at first.
    pub device_ttl: Duration,
    /// The shortest pause between two polls, in seconds; 5 at first.
    pub device_interval: i64,
    /// Members set in the answers with device codes, over the honest ones; `Value::Null` takes a member out.
    pub device_answer: Map<String, Value>,
    /// Whether programs may register themselves (they may not).
    pub registration: Registration,
    /// Redirect URIs that begin with this are not registered.
    pub registration_refuses: Option<String>,
    /// Members set in the answers to registrations; `None` takes a member out.
    pub registration_answer: Vec<(String, Option<Value>)>,
    /// Whether tokens are bound to the key of a proof that comes along (they are not, and no metadata say so).
    pub binds_tokens: bool,
    /// Whether an unknown `scope` ends an authorization (it does not: the scope is not granted).
    pub refuses_unknown_scopes: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Behaviour {
            access_ttl: Duration::from_mins(5),
            code_ttl: Duration::from_mins(1),
            refresh_ttl: None,
            rotation: Rotation::Rotates,
            refresh_tokens: RefreshTokens::WithConsent,
            access_format: TokenFormat::Jwt,
            sends_issuer: true,
            advertises_issuer: true,
            speaks_openid: true,
            speaks_oauth: true,
            metadata: Map::new(),
            token_answer: Vec::new(),
            id_token: Twist::default(),
            access_token: Twist::default(),
            omits_id_token: false,
            resource_must_repeat: true,
            understands_audience: false,
            refuses_resource: false,
            default_audience: None,
            workloads: Vec::new(),
            offers_device: false,
            device_ttl: Duration::from_mins(10),
            device_interval: 5,
            device_answer: Map::new(),
            registration: Registration::Off,
            registration_refuses: None,
            registration_answer: Vec::new(),
            binds_tokens: false,
            refuses_unknown_scopes: false,
        }
    }
}

impl Behaviour {
    /// Sets a member of the discovery documents; `Value::Null` takes it out.
    pub fn advertise(&mut self, name: &str, value: impl Into<Value>) {
        self.metadata.insert(name.to_owned(), value.into());
    }

    /// Sets a member of the token endpoint's good answers.
    pub fn answer_with(&mut self, name: &str, value: impl Into<Value>) {
        self.token_answer
            .push((name.to_owned(), Some(value.into())));
    }

    /// Takes a member out of the token endpoint's good answers.
    pub fn answer_without(&mut self, name: &str) {
        self.token_answer.push((name.to_owned(), None));
    }
}

/// What the person in front of the browser does with an authorization, or what happens to the answer on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// Signs in as `alice` and agrees.
    Approves,
    /// Signs in as somebody and agrees.
    ApprovesAs(String),
    /// Says no: `access_denied`.
    Denies,
    /// The provider gives up with this error code.
    Fails(String),
    /// Closes the page: an answer that leads nowhere.
    Leaves,
    /// Agrees; a parameter of the callback is changed, or taken out with `None`.
    Changed(String, Option<String>),
    /// Agrees; the callback has a parameter more, even one that is there already.
    Added(String, String),
}
