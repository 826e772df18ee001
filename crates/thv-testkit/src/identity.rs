//! A real `OpenID` provider (npm `oidc-provider`) on loopback, run from `tests/idp`.
//!
//! `scripts/test` installs its packages; without them the tests that need a provider fail, they are not skipped.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::client::{Address, Call};
use crate::wait::{PATIENCE, until};

/// It takes one second, or ten on a machine that runs browsers at the same time.
const READY_WITHIN: Duration = Duration::from_secs(40);

/// How often it is started before the test is given up.
const STARTS: usize = 3;

/// A running provider. It ends when dropped, and by itself when the test process dies.
#[derive(Debug)]
pub struct IdentityProvider {
    child: Child,
    // The server takes orders from this pipe, and ends when it closes.
    orders: Mutex<ChildStdin>,
    events: Arc<Mutex<Vec<Value>>>,
    /// The issuer, without a trailing slash.
    pub issuer: String,
    /// Where it listens: the issuer, unless that was set.
    pub address: String,
}

impl IdentityProvider {
    /// Starts the provider for the given resources (the audiences it may issue tokens for).
    ///
    /// # Panics
    /// When node or the provider's packages are missing, or it does not get ready.
    pub async fn start(resources: &[&str]) -> Self {
        Self::start_with(resources, &[]).await
    }

    /// Like [`IdentityProvider::start`], with settings; `tests/idp/server.mjs` has the list. `PAGES` is one of `auto`
    /// (everybody signs in as `alice` and agrees), `deny` and `forms` (a person has to fill them in).
    ///
    /// # Panics
    /// When node or the provider's packages are missing, or it does not get ready.
    pub async fn start_with(resources: &[&str], settings: &[(&str, &str)]) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/idp");
        assert!(
            folder.join("node_modules/oidc-provider").is_dir(),
            "the OpenID provider is not installed: run scripts/test, or `npm ci` in tests/idp"
        );
        for _ in 0..STARTS {
            if let Some(ready) = Self::try_to_start(&folder, resources, settings).await {
                return ready;
            }
        }
        panic!("a provider that gets ready");
    }

    /// One start. Now and then node stands still for good while it makes the keys, with all its threads asleep; it is ended then.
    async fn try_to_start(
        folder: &Path,
        resources: &[&str],
        settings: &[(&str, &str)],
    ) -> Option<Self> {
        let mut child = Command::new("node")
            .arg("server.mjs")
            .current_dir(folder)
            .env("RESOURCES", resources.join(" "))
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node: scripts/test installs it");
        let stdin = child.stdin.take().expect("a pipe");
        let stdout = tokio::process::ChildStdout::from_std(child.stdout.take().expect("a pipe"))
            .expect("a pollable pipe");
        let mut lines = BufReader::new(stdout).lines();
        let ready = tokio::time::timeout(READY_WITHIN, async {
            while let Some(line) = lines.next_line().await.expect("the provider's output") {
                if let Ok(Value::Object(ready)) = serde_json::from_str(&line) {
                    let text = |name: &str| ready[name].as_str().map(str::to_owned);
                    return text("issuer").zip(text("address"));
                }
            }
            None
        })
        .await;
        let Ok(ready) = ready else {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        };
        let (issuer, address) = ready.expect("a provider that says where it is");
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&events);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Ok(event @ Value::Object(_)) = serde_json::from_str(&line) {
                    sink.lock().unwrap().push(event);
                }
            }
        });
        Some(IdentityProvider {
            child,
            orders: Mutex::new(stdin),
            events,
            issuer,
            address,
        })
    }

    /// What the provider did so far: `{"event": "request", "method", "path"}`, `{"event": "token", "grant"}`,
    /// `{"event": "refused", "error", "detail"}`, `{"event": "revoked"}`.
    pub fn events(&self) -> Vec<Value> {
        self.events.lock().unwrap().clone()
    }

    /// Waits for an event, which may have happened already.
    ///
    /// # Panics
    /// When it does not happen.
    pub async fn event(&self, fits: impl Fn(&Value) -> bool) -> Value {
        until("an event of the provider", PATIENCE, || {
            std::future::ready(self.events().into_iter().find(|event| fits(event)))
        })
        .await
    }

    /// Gives an order and waits until it is carried out: `rotate-keys`, `revoke-all`, `pages auto`, `pages deny` or
    /// `pages forms`.
    ///
    /// # Panics
    /// When the provider is gone.
    pub async fn order(&self, order: &str) {
        let done = |event: &Value| event["event"] == "done" && event["order"] == order;
        let before = self.events().iter().filter(|event| done(event)).count();
        writeln!(self.orders.lock().unwrap(), "{order}").expect("a provider that listens");
        until("an order to be carried out", PATIENCE, || {
            let now = self.events().iter().filter(|event| done(event)).count();
            std::future::ready((now > before).then_some(()))
        })
        .await;
    }

    /// A JWT access token for `resource`, by the client credentials grant.
    pub async fn token_for(&self, resource: &str) -> String {
        self.client_credentials(&[("resource", resource)]).await
    }

    /// An opaque access token: the grant without a resource.
    pub async fn opaque_token(&self) -> String {
        self.client_credentials(&[]).await
    }

    async fn client_credentials(&self, extra: &[(&str, &str)]) -> String {
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", "service"),
            ("client_secret", "service-secret"),
        ];
        form.extend_from_slice(extra);
        let body = form
            .iter()
            .map(|(key, value)| {
                format!(
                    "{key}={}",
                    percent_encoding::utf8_percent_encode(
                        value,
                        percent_encoding::NON_ALPHANUMERIC
                    )
                )
            })
            .collect::<Vec<_>>()
            .join("&");
        let answer = Call::new(Method::POST, "/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .to(&Address::from_record(&self.address))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["access_token"]
            .as_str()
            .expect("an access token")
            .to_owned()
    }
}

impl Drop for IdentityProvider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
