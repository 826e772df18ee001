//! A provider whose every answer is scripted, and which remembers what it was sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use jiff::Timestamp;
use secrecy::SecretString;
use thv_auth::binding::Binding;
use thv_auth::oauth::{DiscoveryPolicy, Provider, discover};
use thv_config::world::{Clock, ManualClock, MapEnv, SystemClock, World};
use thv_http::{Http, HttpOptions};
use tokio::net::TcpListener;
use tokio::sync::watch;
use url::{Url, form_urlencoded};

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) form: Vec<(String, String)>,
}

/// What a path answers.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// This, each time.
    Reply {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// Nothing, while the connection stays open.
    Never,
}

/// A provider on a free port of this machine.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    pub(crate) base: String,
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    answers: Mutex<HashMap<String, Answer>>,
    seen: Mutex<Vec<Seen>>,
    count: watch::Sender<usize>,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::text(status, "application/json", body.to_string())
    }

    pub(crate) fn text(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::Reply {
            status,
            headers: vec![("content-type", content_type.to_owned())],
            body: body.into(),
        }
    }

    pub(crate) fn redirect(status: u16, location: String) -> Self {
        Self::Reply {
            status,
            headers: vec![("location", location)],
            body: Vec::new(),
        }
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Self::Reply { headers, .. } = &mut self {
            headers.push((name, value.into()));
        }
        self
    }
}

impl Seen {
    /// The value of a form field that is there once at most.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.form.iter().filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is sent twice");
        value
    }
}

impl Fake {
    /// Starts a provider that answers 404 everywhere.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = listener.local_addr().expect("address");
        let inner = Arc::new(Inner::default());
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self {
            base: format!("http://{address}"),
            inner,
        }
    }

    /// Starts a provider with honest metadata, and discovers it.
    pub(crate) async fn discovered() -> (Self, Provider) {
        let fake = Self::start().await;
        fake.set(
            "/.well-known/openid-configuration",
            Answer::json(200, &fake.metadata(&fake.base)),
        );
        let provider = discover(&http(), &fake.base, DiscoveryPolicy::DEFAULT)
            .await
            .expect("metadata");
        fake.inner.seen.lock().expect("lock").clear();
        fake.inner.count.send_replace(0);
        (fake, provider)
    }

    /// Metadata of `issuer` with all endpoints here.
    pub(crate) fn metadata(&self, issuer: &str) -> serde_json::Value {
        serde_json::json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{}/authorize", self.base),
            "token_endpoint": format!("{}/token", self.base),
            "jwks_uri": format!("{}/jwks", self.base),
            "revocation_endpoint": format!("{}/revoke", self.base),
            "code_challenge_methods_supported": ["S256"],
        })
    }

    pub(crate) fn set(&self, path: &str, answer: Answer) {
        let mut answers = self.inner.answers.lock().expect("lock");
        answers.insert(path.to_owned(), answer);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().expect("lock").clone()
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.path).collect()
    }

    /// The only request so far.
    pub(crate) fn only(&self) -> Seen {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }

    /// Waits for the first request.
    pub(crate) async fn asked(&self) {
        let mut count = self.inner.count.subscribe();
        count
            .wait_for(|count| *count > 0)
            .await
            .expect("the fake lives");
    }

    /// Who we are to a registry behind this provider.
    pub(crate) fn binding(&self) -> Binding {
        Binding {
            resource: Some("https://registry.example.com/mcp".into()),
            audience: Some("registry audience".into()),
            ..Binding::new("https://registry.example.com", &self.base, "thv & co").expect("binding")
        }
    }
}

async fn answer(
    State(inner): State<Arc<Inner>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let form = form_urlencoded::parse(&body).into_owned().collect();
    let path = uri.path().to_owned();
    let answer = inner.answers.lock().expect("lock").get(&path).cloned();
    inner.seen.lock().expect("lock").push(Seen {
        method,
        path,
        headers,
        form,
    });
    inner.count.send_modify(|count| *count += 1);
    let reply = Response::builder();
    match answer {
        None => reply.status(404).body(Body::empty()),
        Some(Answer::Never) => std::future::pending().await,
        Some(Answer::Reply {
            status,
            headers,
            body,
        }) => headers
            .into_iter()
            .fold(reply.status(status), |reply, (name, value)| {
                reply.header(name, value)
            })
            .body(body.into()),
    }
    .expect("answer")
}

pub(crate) fn http() -> Http {
    http_at(SystemClock::new())
}

pub(crate) fn http_at(clock: impl Clock) -> Http {
    let options = HttpOptions {
        user_agent: "ToolHive/1.0 thv-test".into(),
        extra_ca: None,
        insecure_urls: false,
    };
    Http::new(options, &World::new(clock, MapEnv::new())).expect("client")
}

pub(crate) fn manual_clock() -> ManualClock {
    ManualClock::new(now())
}

pub(crate) fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().expect("timestamp")
}

pub(crate) fn secret(text: &str) -> SecretString {
    text.to_owned().into()
}

/// The query of a URL; a parameter that is there twice fails the test.
pub(crate) fn query(url: &Url) -> HashMap<String, String> {
    let mut query = HashMap::new();
    for (name, value) in url.query_pairs().into_owned() {
        assert!(
            query.insert(name.clone(), value).is_none(),
            "{name} is there twice"
        );
    }
    query
}
