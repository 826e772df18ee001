//! Callers' tokens against a small issuer on this machine, its keys and its moods.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use thv_auth::inbound::{CallerPolicy, CallerVerifier, Denied};
use thv_config::world::{ManualClock, MapEnv, World};
use thv_http::{Http, HttpOptions};
use tokio::net::TcpListener;
use tokio::sync::watch;

const NOW: i64 = 1_800_000_000;

const FIRST_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgogVwfZiVBDCaRB74
K4dC8jCJQXdPnuS8pJkKw0hcwFOhRANCAAROGnQu/U+V/WyzmUcHNC6tXI77mx6d
iN8U8/KwENiiQwr/4hGyx47PIlcgyFlkENiyM3+qk482sMFmOxjLEL48
-----END PRIVATE KEY-----
";

const SECOND_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgXUoMw05MdDR+u9aT
SOsONolJeUPJHNFDl2Q83w59smGhRANCAAQnzuK8qoe2g/Lakm5MvDI0AQmABfGp
cFB0xUfBuCJ896S5y3qcIOVfVBuk+k9ZZWJBmAF0o8jdeTLSbxWMfo0Y
-----END PRIVATE KEY-----
";

/// The issuer's state, changed by tests and counted by its handlers.
#[derive(Debug, Default)]
struct Idp {
    base: Mutex<String>,
    /// What the discovery document calls its issuer, when not the truth.
    alias: Mutex<Option<String>>,
    keys: Mutex<Vec<Value>>,
    /// Requests of either kind that are still to be answered with 503.
    failures: AtomicUsize,
    discoveries: watch::Sender<usize>,
    key_fetches: AtomicUsize,
    /// `Authorization` headers of introspection requests.
    introspections: Mutex<Vec<String>>,
}

impl Idp {
    fn fails(&self) -> bool {
        self.failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            })
            .is_ok()
    }

    fn base(&self) -> String {
        self.base.lock().unwrap().clone()
    }

    fn publish(&self, keys: &[(&str, &str)]) {
        let listed = keys.iter().map(|(kid, pem)| public_key(kid, pem)).collect();
        *self.keys.lock().unwrap() = listed;
    }

    fn fetches(&self) -> (usize, usize) {
        (
            *self.discoveries.borrow(),
            self.key_fetches.load(Ordering::SeqCst),
        )
    }
}

fn private_key(pem: &str) -> EncodingKey {
    EncodingKey::from_ec_pem(pem.as_bytes()).expect("key")
}

fn public_key(kid: &str, pem: &str) -> Value {
    let mut jwk = Jwk::from_encoding_key(&private_key(pem), Algorithm::ES256).expect("jwk");
    jwk.common.key_id = Some(kid.to_owned());
    serde_json::to_value(jwk).expect("json")
}

async fn discovery(State(idp): State<Arc<Idp>>) -> Response {
    idp.discoveries.send_modify(|count| *count += 1);
    if idp.fails() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let base = idp.base();
    let issuer = idp
        .alias
        .lock()
        .unwrap()
        .clone()
        .unwrap_or_else(|| base.clone());
    let document = json!({
        "issuer": issuer,
        "jwks_uri": format!("{base}/keys"),
        "introspection_endpoint": format!("{base}/introspect"),
    });
    Json(document).into_response()
}

async fn keys(State(idp): State<Arc<Idp>>) -> Response {
    idp.key_fetches.fetch_add(1, Ordering::SeqCst);
    if idp.fails() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    Json(json!({ "keys": *idp.keys.lock().unwrap() })).into_response()
}

async fn introspect(State(idp): State<Arc<Idp>>, headers: HeaderMap, form: String) -> Json<Value> {
    let client = headers
        .get(header::AUTHORIZATION)
        .map_or("none", |value| value.to_str().unwrap());
    idp.introspections.lock().unwrap().push(client.to_owned());
    let token = url::form_urlencoded::parse(form.as_bytes())
        .find_map(|(name, value)| (name == "token").then(|| value.into_owned()));
    Json(match token.as_deref() {
        Some("good") => json!({"active": true, "aud": "thv", "exp": NOW + 60}),
        Some("late") => json!({"active": true, "aud": "thv", "exp": NOW - 1}),
        Some("other") => json!({"active": true, "aud": "other"}),
        _ => json!({"active": false}),
    })
}

/// A running issuer with one published key, the policy that trusts it, and a clock that stands at [`NOW`].
struct Scene {
    idp: Arc<Idp>,
    clock: ManualClock,
    policy: CallerPolicy,
}

impl Scene {
    async fn new() -> Self {
        let idp = Arc::new(Idp::default());
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/introspect", post(introspect))
            .with_state(Arc::clone(&idp));
        *idp.base.lock().unwrap() = serve(app).await;
        idp.publish(&[("first", FIRST_KEY)]);
        let policy = CallerPolicy {
            issuer: Some(idp.base()),
            audience: Some("thv".to_owned()),
            allow_private_ip: true,
            ..CallerPolicy::default()
        };
        let clock = ManualClock::new(jiff::Timestamp::from_second(NOW).expect("time"));
        Self { idp, clock, policy }
    }

    /// Lets the time of each wait between two tries of discovery pass.
    async fn pass(&self, waits: [Duration; 2]) {
        for (tried, wait) in waits.into_iter().enumerate() {
            let mut discoveries = self.idp.discoveries.subscribe();
            discoveries
                .wait_for(|count| *count > tried)
                .await
                .expect("issuer");
            self.clock.asleep(1).await;
            self.clock.advance(wait);
        }
    }

    fn verifier(&self) -> CallerVerifier {
        self.verifier_of(self.policy.clone())
    }

    fn verifier_of(&self, policy: CallerPolicy) -> CallerVerifier {
        let options = HttpOptions {
            user_agent: "thv-test".to_owned(),
            extra_ca: None,
            insecure_urls: false,
        };
        let http = Http::new(
            options,
            &World::new(thv_config::SystemClock::new(), MapEnv::new()),
        )
        .expect("client");
        CallerVerifier::new(policy, http, &World::new(self.clock.clone(), MapEnv::new()))
            .expect("policy")
    }

    fn claims(&self) -> Value {
        json!({"iss": self.idp.base(), "aud": "thv", "sub": "me", "exp": NOW + 60})
    }
}

async fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

fn token(kid: &str, pem: &str, claims: &Value) -> String {
    let header = Header {
        kid: Some(kid.to_owned()),
        ..Header::new(Algorithm::ES256)
    };
    encode(&header, claims, &private_key(pem)).expect("token")
}

async fn present(verifier: &CallerVerifier, token: &str) -> Result<(), Denied> {
    verifier
        .verify(Some(
            &HeaderValue::from_str(&format!("Bearer {token}")).expect("header"),
        ))
        .await
}

async fn why(verifier: &CallerVerifier, token: &str) -> String {
    let denied = present(verifier, token).await.expect_err("denied");
    assert_eq!(denied.code, "invalid_token");
    denied.description
}

#[tokio::test]
async fn a_good_token_is_let_in_and_the_keys_are_fetched_once() {
    let scene = Scene::new().await;
    let verifier = scene.verifier();
    assert_eq!(
        scene.idp.fetches(),
        (0, 0),
        "nobody is asked before the first token"
    );
    let good = token("first", FIRST_KEY, &scene.claims());
    let (one, two, three) = tokio::join!(
        present(&verifier, &good),
        present(&verifier, &good),
        present(&verifier, &good)
    );
    assert_eq!((one, two, three), (Ok(()), Ok(()), Ok(())));
    assert_eq!(present(&verifier, &good).await, Ok(()));
    assert_eq!(scene.idp.fetches(), (1, 1));
    assert_eq!(verifier.realm(), scene.idp.base());
}

#[tokio::test]
async fn a_missing_header_is_an_invalid_request() {
    let verifier = Scene::new().await.verifier();
    let denied = verifier.verify(None).await.expect_err("denied");
    assert_eq!(denied.code, "invalid_request");
    assert_eq!(denied.description, "authorization header required");
}

#[tokio::test]
async fn tokens_that_are_not_good_are_refused_with_a_reason() {
    let scene = Scene::new().await;
    let verifier = scene.verifier();
    let with = |name: &str, value: Value| {
        let mut claims = scene.claims();
        claims[name] = value;
        token("first", FIRST_KEY, &claims)
    };
    let mut lasting = scene.claims();
    lasting.as_object_mut().unwrap().remove("exp");
    for (token, reason) in [
        (
            with("exp", json!(NOW)),
            "Invalid token: the token has expired",
        ),
        (
            with("nbf", json!(NOW + 3600)),
            "Invalid token: the token is not valid yet (`nbf`)",
        ),
        (
            with("aud", json!("other")),
            "Invalid token: the token is meant for somebody else (`aud`)",
        ),
        (
            with("iss", json!("https://evil.example")),
            "Invalid token: the token was issued by somebody else (`iss`)",
        ),
        (
            token("first", FIRST_KEY, &lasting),
            "Invalid token: the token has no expiry (`exp`)",
        ),
        (
            token("first", SECOND_KEY, &scene.claims()),
            "Invalid token: the token's signature is not valid",
        ),
    ] {
        assert_eq!(why(&verifier, &token).await, reason);
    }
}

#[tokio::test]
async fn a_public_key_is_no_shared_secret() {
    let scene = Scene::new().await;
    let verifier = scene.verifier();
    let header = Header {
        kid: Some("first".to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    let public = public_key("first", FIRST_KEY);
    let secret = EncodingKey::from_secret(public["x"].as_str().unwrap().as_bytes());
    let forged = encode(&header, &scene.claims(), &secret).expect("token");
    assert!(why(&verifier, &forged).await.contains("only RSA and ECDSA"));
    assert_eq!(scene.idp.fetches(), (0, 0), "not worth a question");
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_but_not_at_every_request() {
    let scene = Scene::new().await;
    let verifier = scene.verifier();
    let rotated = token("second", SECOND_KEY, &scene.claims());
    assert_eq!(
        present(&verifier, &token("first", FIRST_KEY, &scene.claims())).await,
        Ok(())
    );

    scene.idp.publish(&[("second", SECOND_KEY)]);
    for _ in 0..5 {
        assert!(why(&verifier, &rotated).await.contains("no key \"second\""));
    }
    assert_eq!(
        scene.idp.fetches(),
        (1, 1),
        "asked less than half a minute ago"
    );
    scene.clock.advance(Duration::from_secs(30));
    assert_eq!(present(&verifier, &rotated).await, Ok(()));
    assert_eq!(scene.idp.fetches(), (1, 2));
    assert!(
        why(&verifier, &token("first", FIRST_KEY, &scene.claims()))
            .await
            .contains("no key \"first\"")
    );
}

#[tokio::test]
async fn known_keys_serve_while_the_issuer_is_down() {
    let scene = Scene::new().await;
    let verifier = scene.verifier();
    let lasting = |pem| {
        let mut claims = scene.claims();
        claims["exp"] = json!(NOW + 86_400);
        token("first", pem, &claims)
    };
    assert_eq!(present(&verifier, &lasting(FIRST_KEY)).await, Ok(()));
    scene.clock.advance(Duration::from_hours(2));
    scene.idp.failures.store(1, Ordering::SeqCst);
    assert_eq!(present(&verifier, &lasting(FIRST_KEY)).await, Ok(()));
    assert_eq!(scene.idp.fetches(), (1, 2), "renewal was tried");

    scene.idp.publish(&[("first", SECOND_KEY)]);
    scene.clock.advance(Duration::from_secs(30));
    assert_eq!(
        present(&verifier, &lasting(SECOND_KEY)).await,
        Ok(()),
        "and tried again, with success"
    );
}

#[tokio::test]
async fn discovery_is_tried_three_times_and_again_by_the_next_request() {
    let scene = Scene::new().await;
    let verifier = scene.verifier();
    scene.idp.failures.store(3, Ordering::SeqCst);
    let good = token("first", FIRST_KEY, &scene.claims());
    let time = scene.pass([Duration::from_millis(500), Duration::from_secs(1)]);
    let (reason, ()) = tokio::join!(why(&verifier, &good), time);
    assert!(
        reason.starts_with("Invalid token: the issuer cannot be asked:"),
        "{reason}"
    );
    assert!(reason.contains("503"), "{reason}");
    assert_eq!(scene.idp.fetches(), (3, 0));
    assert_eq!(present(&verifier, &good).await, Ok(()));
    assert_eq!(scene.idp.fetches(), (4, 1));
}

#[tokio::test]
async fn a_document_of_another_issuer_is_not_believed() {
    let scene = Scene::new().await;
    *scene.idp.alias.lock().unwrap() = Some("https://idp.example".to_owned());
    let verifier = scene.verifier();
    let good = token("first", FIRST_KEY, &scene.claims());
    let time = scene.pass([Duration::from_secs(2); 2]);
    let (reason, ()) = tokio::join!(why(&verifier, &good), time);
    assert!(reason.contains("that of another issuer"), "{reason}");
    assert_eq!(scene.idp.fetches().1, 0, "its keys are not asked for");
}

#[tokio::test]
async fn f21_the_issuers_redirects_stay_on_its_host() {
    let scene = Scene::new().await;
    let elsewhere = scene.idp.base().replace("127.0.0.1", "localhost");
    let location = format!("{elsewhere}/keys");
    let moved = serve(Router::new().route(
        "/keys",
        get(move || async move { (StatusCode::FOUND, [(header::LOCATION, location.clone())]) }),
    ))
    .await;
    let policy = CallerPolicy {
        jwks_url: Some(format!("{moved}/keys")),
        ..scene.policy.clone()
    };
    let reason = why(
        &scene.verifier_of(policy),
        &token("first", FIRST_KEY, &scene.claims()),
    )
    .await;
    assert!(reason.contains("another host"), "{reason}");
    assert_eq!(scene.idp.fetches(), (0, 0));
}

#[tokio::test]
async fn an_explicit_key_url_needs_no_discovery() {
    let scene = Scene::new().await;
    let policy = CallerPolicy {
        jwks_url: Some(format!("{}/keys", scene.idp.base())),
        skip_discovery: true,
        ..scene.policy.clone()
    };
    let good = token("first", FIRST_KEY, &scene.claims());
    assert_eq!(present(&scene.verifier_of(policy), &good).await, Ok(()));
    assert_eq!(scene.idp.fetches(), (0, 1));
}

#[tokio::test]
async fn tokens_that_are_no_jwt_are_introspected() {
    let scene = Scene::new().await;
    let policy = CallerPolicy {
        introspection_url: Some(format!("{}/introspect", scene.idp.base())),
        client_id: Some("thv".to_owned()),
        client_secret: Some("hunter2".into()),
        ..scene.policy.clone()
    };
    let verifier = scene.verifier_of(policy);
    assert_eq!(present(&verifier, "good").await, Ok(()));
    assert!(why(&verifier, "late").await.contains("expired"));
    assert!(why(&verifier, "other").await.contains("`aud`"));
    assert!(why(&verifier, "unknown").await.contains("inactive"));
    assert_eq!(scene.idp.fetches(), (0, 0));
    assert_eq!(
        scene.idp.introspections.lock().unwrap()[0],
        "Basic dGh2Omh1bnRlcjI="
    );
    assert!(!format!("{verifier:?}").contains("hunter2"));
}

#[tokio::test]
async fn the_introspection_endpoint_may_come_from_discovery() {
    let scene = Scene::new().await;
    let anonymous = scene.verifier();
    assert!(
        why(&anonymous, "good").await.contains("no JWT"),
        "we have no name at that endpoint"
    );
    let named = CallerPolicy {
        client_id: Some("thv".to_owned()),
        ..scene.policy.clone()
    };
    assert_eq!(present(&scene.verifier_of(named), "good").await, Ok(()));
}
