//! An `OpenID` provider on loopback, in this process, that keeps its promises: PKCE, single-use codes, exact redirect
//! URIs, one way of client authentication, rotation with reuse detection, resources, signed tokens, revocation.
//!
//! What it is like is a [`Behaviour`], who sits in front of the browser is a [`User`], how it fails is a [`Fault`].
//! It has a clock of its own that only moves ahead of the machine's when told to, and writes down every request.
//! Introspection is not here.

mod authorize;
mod behaviour;
mod book;
mod device;
mod direct;
mod faults;
mod issue;
mod register;
mod serve;
mod token;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

pub use self::behaviour::{
    Behaviour, Client, RefreshTokens, Registration, Rotation, Signature, TokenFormat, Twist, User,
    Workload,
};
use self::book::Book;
pub use self::book::{Ended, Family};
pub use self::faults::{Fault, Gate, Rule};
use self::token::seconds;
use crate::journal::{Journal, Recorded};
use crate::jwt::SigningKey;
use crate::listening::{self, Answers, Listening};
use crate::proof::Nonces;
use crate::rules::Armed;

/// The client that is registered from the start, with both spellings of the loopback redirect.
pub const CLIENT: &str = "thv-cli";

/// Paths of the endpoints, behind the issuer's own path.
pub mod paths {
    /// Where browsers go.
    pub const AUTHORIZE: &str = "/authorize";
    /// Where codes and refresh tokens are taken.
    pub const TOKEN: &str = "/token";
    /// Where device codes are given out (RFC 8628).
    pub const DEVICE_AUTHORIZATION: &str = "/device/authorization";
    /// Where a person types one in.
    pub const DEVICE: &str = "/device";
    /// Where tokens are given back.
    pub const REVOKE: &str = "/revoke";
    /// Where programs register themselves.
    pub const REGISTER: &str = "/register";
    /// The public keys.
    pub const KEYS: &str = "/jwks";
    /// Where a browser would end its session.
    pub const END_SESSION: &str = "/session/end";
    /// Discovery by `OpenID` Connect.
    pub const OPENID: &str = "/.well-known/openid-configuration";
    /// Discovery by RFC 8414.
    pub const OAUTH: &str = "/.well-known/oauth-authorization-server";
}

/// How the provider tells the time, in seconds since 1970.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// How a provider starts.
#[derive(Default)]
pub struct Options {
    /// The path of the issuer, `/tenant` for example; none at first.
    pub path: String,
    /// The clock; the machine's at first.
    pub clock: Option<Now>,
    /// The port; a free one at first.
    pub port: u16,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("path", &self.path)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// A running provider. It stops when dropped.
#[derive(Debug)]
pub struct Provider {
    shared: Arc<Shared>,
    address: SocketAddr,
    listening: Mutex<Listening>,
}

/// The keys: the last signs, all are published.
#[derive(Debug)]
struct Keys {
    signing: Vec<SigningKey>,
    foreign: SigningKey,
}

/// What the handlers and the test hold together.
struct Shared {
    issuer: String,
    path: String,
    clock: Now,
    ahead: AtomicI64,
    clients: Mutex<Vec<Client>>,
    resources: Mutex<Vec<String>>,
    behaviour: Mutex<Behaviour>,
    book: Mutex<Book>,
    keys: Mutex<Keys>,
    rotations: AtomicUsize,
    rules: Mutex<Vec<Armed<Fault>>>,
    journal: Journal,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn now(&self) -> i64 {
        (self.clock)() + self.ahead.load(Ordering::Relaxed)
    }

    fn behaviour(&self) -> Behaviour {
        self.behaviour.lock().unwrap().clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    fn client(&self, id: &str) -> Option<Client> {
        self.clients
            .lock()
            .unwrap()
            .iter()
            .find(|client| client.id == id)
            .cloned()
    }

    fn knows(&self, resource: &str) -> bool {
        self.resources
            .lock()
            .unwrap()
            .iter()
            .any(|known| known == resource)
    }
}

/// A part of the provider that a protected registry asks.
#[derive(Clone, Debug)]
pub(crate) struct Handle(Arc<Shared>);

impl Handle {
    pub(crate) fn public_keys(&self) -> Vec<Value> {
        let keys = self.0.keys.lock().unwrap();
        keys.signing.iter().map(SigningKey::public_jwk).collect()
    }

    pub(crate) fn now(&self) -> i64 {
        self.0.now()
    }

    pub(crate) fn introspect(&self, token: &str) -> Option<Value> {
        self.0.book().introspect(token)
    }
}

impl Provider {
    /// A provider on a free port whose issuer has no path, with the client [`CLIENT`] and no resources yet.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// A provider that issues tokens for these resources.
    pub async fn for_resources(resources: &[&str]) -> Self {
        let provider = Self::start().await;
        for resource in resources {
            provider.allow_resource(resource);
        }
        provider
    }

    /// A provider as wanted.
    pub async fn with(options: Options) -> Self {
        let (address, listener) = listening::bind(options.port).await;
        let shared = Arc::new(Shared {
            issuer: format!("http://{address}{}", options.path),
            path: options.path,
            clock: options
                .clock
                .unwrap_or_else(|| Arc::new(|| jiff::Timestamp::now().as_second())),
            ahead: AtomicI64::new(0),
            clients: Mutex::new(vec![Client::public(
                CLIENT,
                &["http://localhost/callback", "http://127.0.0.1/callback"],
            )]),
            resources: Mutex::default(),
            behaviour: Mutex::default(),
            book: Mutex::default(),
            keys: Mutex::new(Keys {
                signing: vec![SigningKey::generate("key-0")],
                foreign: SigningKey::generate("foreign"),
            }),
            rotations: AtomicUsize::new(0),
            rules: Mutex::default(),
            journal: Journal::default(),
        });
        let listening = listening::open(listener, Arc::clone(&shared) as Arc<dyn Answers>);
        Provider {
            shared,
            address,
            listening: Mutex::new(listening),
        }
    }

    /// The issuer, without a trailing slash.
    pub fn issuer(&self) -> String {
        self.shared.issuer.clone()
    }

    /// The URL of one of the [`paths`].
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.shared.issuer)
    }

    /// Registers a client, in place of one with the same id.
    pub fn register(&self, client: Client) {
        let mut clients = self.shared.clients.lock().unwrap();
        clients.retain(|other| other.id != client.id);
        clients.push(client);
    }

    /// Forgets a client.
    pub fn forget_client(&self, id: &str) {
        self.shared
            .clients
            .lock()
            .unwrap()
            .retain(|client| client.id != id);
    }

    /// The clients there are, oldest first.
    pub fn client_ids(&self) -> Vec<String> {
        let clients = self.shared.clients.lock().unwrap();
        clients.iter().map(|client| client.id.clone()).collect()
    }

    /// Issues tokens for this resource from now on.
    pub fn allow_resource(&self, resource: &str) {
        self.shared
            .resources
            .lock()
            .unwrap()
            .push(resource.to_owned());
    }

    /// Changes what the provider is like.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.behaviour.lock().unwrap());
    }

    /// Which nonces proofs at the token endpoint need from now on.
    pub fn want_nonces(&self, nonces: Nonces) {
        self.shared.book().proofs.nonces = nonces;
    }

    /// What the next users do, in order; after them everybody signs in as `alice` and agrees.
    pub fn users(&self, users: impl IntoIterator<Item = User>) {
        self.shared.book().users.extend(users);
    }

    /// Every later request that fits `rule` fails in its way. Rules are about [`paths`], without the issuer's own.
    pub fn break_with(&self, rule: Rule) {
        self.shared.rules.lock().unwrap().push(Armed::new(rule));
    }

    /// Takes all rules away; requests that hang stay hanging.
    pub fn heal(&self) {
        self.shared.rules.lock().unwrap().clear();
    }

    /// Closes the port and every connection: new connections are refused. The port stays reserved.
    pub async fn refuse(&self) {
        let old = std::mem::replace(&mut *self.listening.lock().unwrap(), Listening::Moving);
        let new = old.close(self.address).await;
        *self.listening.lock().unwrap() = new;
    }

    /// Listens again after [`Provider::refuse`].
    pub fn accept_again(&self) {
        let mut listening = self.listening.lock().unwrap();
        let old = std::mem::replace(&mut *listening, Listening::Moving);
        *listening = old.reopen(Arc::clone(&self.shared) as Arc<dyn Answers>);
    }

    /// Signs with a new key; the old ones stay published when `keeping_old`.
    pub fn rotate_keys(&self, keeping_old: bool) {
        let count = self.shared.rotations.fetch_add(1, Ordering::Relaxed) + 1;
        let key = SigningKey::generate(&format!("key-{count}"));
        let mut keys = self.shared.keys.lock().unwrap();
        if !keeping_old {
            keys.signing.clear();
        }
        keys.signing.push(key);
    }

    /// The provider's time, in seconds since 1970.
    pub fn now(&self) -> i64 {
        self.shared.now()
    }

    /// Moves the provider's clock ahead of where it is.
    pub fn advance(&self, by: Duration) {
        self.shared.ahead.fetch_add(seconds(by), Ordering::Relaxed);
    }

    /// Sets the provider's clock this many seconds ahead of the machine's; negative is behind.
    pub fn set_ahead(&self, seconds: i64) {
        self.shared.ahead.store(seconds, Ordering::Relaxed);
    }

    /// Ends every family, as an administrator does.
    pub fn revoke_everything(&self) {
        let mut book = self.shared.book();
        for family in 0..book.families.len() {
            book.end(family, Ended::ByAdministrator);
        }
    }

    /// All families, oldest first.
    pub fn families(&self) -> Vec<Family> {
        self.shared.book().families.clone()
    }

    /// Every code, token, verifier and client secret that passed through, for tests that look for leaks.
    pub fn secrets(&self) -> Vec<String> {
        self.shared.book().secrets()
    }

    /// A token for `audience` with the given scope, as if `subject` had signed in; it lives as long as all do.
    pub fn mint(&self, subject: &str, audience: &str, scope: &str) -> String {
        let behaviour = self.shared.behaviour();
        let now = self.shared.now();
        let claims = json!({
            "iss": self.shared.issuer, "sub": subject, "aud": audience, "client_id": CLIENT, "iat": now,
            "exp": now + seconds(behaviour.access_ttl), "jti": crate::jwt::random(12), "scope": scope,
        });
        let token = self.shared.sign("at+jwt", claims, &behaviour.access_token);
        self.shared.book().remember(&token);
        token
    }

    /// Everything asked so far, in order of arrival, with secrets.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.journal.all()
    }

    /// The requests asked so far of one of the [`paths`].
    pub fn requests_for(&self, path: &str) -> Vec<Recorded> {
        let path = format!("{}{path}", self.shared.path);
        let mut all = self.requests();
        all.retain(|request| request.path == path);
        all
    }

    /// How many requests for tokens came with this grant type.
    pub fn token_count(&self, grant_type: &str) -> usize {
        self.requests_for(paths::TOKEN)
            .iter()
            .filter(|request| request.field("grant_type").as_deref() == Some(grant_type))
            .count()
    }

    /// Forgets what was asked so far; tokens and codes stay as they are.
    pub fn clear_journal(&self) {
        self.shared.journal.clear();
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.shared))
    }
}
