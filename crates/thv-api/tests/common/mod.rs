//! A small registry in a file, the interface over it, and requests without a socket.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is a part of tests"
)]

pub(crate) mod protected;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use thv_api::{Api, ApiOptions, HostPolicy};
use thv_auth::opener::Opener;
use thv_auth::{Auth, CredentialSource};
use thv_config::paths::Paths;
use thv_config::world::{MapEnv, SystemClock, World};
use thv_config::{ConfigStore, disk};
use thv_http::{Http, HttpOptions};
use thv_registry::{Registries, Revalidation};
use thv_secrets::{Patience, Secrets, UserSecrets};
use tokio::sync::mpsc;
use url::Url;

pub(crate) const CATALOG: &str = r#"{
 "$schema": "x", "version": "2.0.0", "meta": {"last_updated": "2026-05-05T12:00:00Z"},
 "data": {
  "servers": [
   {"name": "io.github.acme/notes", "description": "Notes <store>", "version": "2.4.1",
    "packages": [{"registryType": "oci", "identifier": "reg.acme.test/notes:2.4.1", "transport": {"type": "stdio"}}]},
   {"name": "io.github.acme/weather", "description": "Weather over HTTP", "version": "1.0.0",
    "remotes": [{"type": "streamable-http", "url": "https://weather.acme.test/mcp"}]},
   {"name": "io.github.acme/scripts", "description": "Runs scripts", "version": "0.1.0",
    "packages": [{"registryType": "npm", "identifier": "@acme/scripts", "version": "0.1.0", "transport": {"type": "stdio"}}]},
   {"name": "org.other/notes", "description": "Other notes", "version": "3.0.0",
    "remotes": [{"type": "sse", "url": "https://notes.other.test/sse"}]}
  ],
  "skills": [
   {"namespace": "io.github.acme", "name": "plan", "description": "Plans work", "version": "1.0.0"},
   {"namespace": "io.github.acme", "name": "review", "description": "Reviews code", "version": "1.0.0"}
  ],
  "plugins": [
   {"namespace": "io.github.acme", "name": "bundle", "description": "A bundle", "version": "1.0.0"}
  ]
 }
}"#;

/// The password of every house's secrets.
const PASSWORD: (&str, &str) = ("TOOLHIVE_SECRETS_PASSWORD", "correct horse");

/// A machine with a configuration and the interface over it.
pub(crate) struct House {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) auth: Arc<Auth>,
    pub(crate) registries: Arc<Registries>,
    pub(crate) api: Api,
    pub(crate) config: PathBuf,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) fn options() -> ApiOptions {
    ApiOptions {
        version: "v1.2.3".to_owned(),
        nonce: None,
        openapi: false,
        metrics: false,
        cors_origins: Vec::new(),
        callers: None,
        public_url: None,
        host_policy: HostPolicy::Loopback {
            bound: "127.0.0.1".to_owned(),
        },
        auth: auth_of(&MapEnv::new().with_home("/nowhere")),
        secrets: user_secrets_of(&MapEnv::new().with_home("/nowhere")),
        opener: None,
        clock: Arc::new(SystemClock::new()),
    }
}

/// Logins of the machine with this environment; a house puts its own in the place of another's.
fn auth_of(env: &MapEnv) -> Arc<Auth> {
    let paths = Paths::from_env(env).unwrap();
    let world = World::new(SystemClock::new(), env.clone());
    let store = ConfigStore::new(paths.config_file(), world.clone());
    let options = HttpOptions {
        user_agent: "test".to_owned(),
        extra_ca: None,
        insecure_urls: false,
    };
    let http = Http::new(options, &world).unwrap();
    let secrets = Secrets::with_keyrings(world.clone(), &paths, store.clone(), Vec::new());
    Auth::new(&world, &paths, &store, secrets, &http)
}

/// The user's secrets of the machine with this environment, which has no keyring.
fn user_secrets_of(env: &MapEnv) -> UserSecrets {
    let paths = Paths::from_env(env).unwrap();
    let world = World::new(SystemClock::new(), env.clone());
    let store = ConfigStore::new(paths.config_file(), world.clone());
    let secrets = Secrets::with_keyrings(world, &paths, store, Vec::new());
    UserSecrets::new(secrets, Patience::Request)
}

/// A browser that tells the test what it was asked to open.
#[derive(Debug)]
pub(crate) struct Browser(mpsc::UnboundedSender<Url>);

impl Browser {
    pub(crate) fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Url>) {
        let (sender, opened) = mpsc::unbounded_channel();
        (Arc::new(Self(sender)), opened)
    }
}

impl Opener for Browser {
    fn open(&self, url: &Url) -> Result<(), String> {
        self.0
            .send(url.clone())
            .map_err(|_| "nobody looks".to_owned())
    }
}

/// The interface over [`CATALOG`].
pub(crate) async fn house() -> House {
    house_with(CATALOG, options()).await
}

/// The interface over a registry file with `catalog` in it.
pub(crate) async fn house_with(catalog: &str, options: ApiOptions) -> House {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("registry.json");
    disk::write_atomic(&file, catalog.as_bytes()).unwrap();
    let config = format!("local_registry_path: {}\n", file.display());
    house_of(directory, &config, options).await
}

pub(crate) async fn house_of(
    directory: tempfile::TempDir,
    config: &str,
    mut options: ApiOptions,
) -> House {
    let env = MapEnv::new()
        .with_home(directory.path())
        .with_var(PASSWORD.0, PASSWORD.1);
    let auth = auth_of(&env);
    options.auth = Arc::clone(&auth);
    options.secrets = user_secrets_of(&env);
    let paths = Paths::from_env(&env).unwrap();
    let path = paths.config_file();
    disk::write_atomic(&path, config.as_bytes()).unwrap();
    let world = World::new(SystemClock::new(), env);
    let store = ConfigStore::new(path.clone(), world.clone());
    let logins = Arc::clone(&auth) as Arc<dyn CredentialSource>;
    let registries = Registries::open(
        world,
        paths,
        store,
        "test".to_owned(),
        logins,
        Revalidation::Behind,
    )
    .await;
    House {
        api: Api::new(Arc::clone(&registries), options),
        auth,
        directory,
        registries,
        config: path,
    }
}

pub(crate) fn request(method: Method, target: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(target)
        .header("host", "localhost:8080")
}

impl House {
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.api.handle(request).await;
        let (head, body) = response.into_parts();
        Answer {
            status: head.status,
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send(request(Method::GET, target).body(Body::empty()).unwrap())
            .await
    }

    pub(crate) async fn get_with(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        let builder = headers
            .iter()
            .fold(request(Method::GET, target), |builder, (name, value)| {
                builder.header(*name, *value)
            });
        self.send(builder.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn call(&self, method: Method, target: &str, body: &str) -> Answer {
        self.send(
            request(method, target)
                .body(Body::from(body.to_owned()))
                .unwrap(),
        )
        .await
    }

    pub(crate) fn config_text(&self) -> String {
        std::fs::read_to_string(&self.config).unwrap()
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        disk::write_atomic(&path, content.as_bytes()).unwrap();
        path
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}
