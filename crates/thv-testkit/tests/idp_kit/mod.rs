//! A client of a provider with nothing hidden: each request is written by the test, parameter by parameter.

#![allow(dead_code, reason = "each test binary uses its own part")]

use serde_json::Value;
use thv_testkit::browse::{Browser, Visit};
use thv_testkit::client::{Address, Answer, Call, Method};
use thv_testkit::identity::IdentityProvider;
use thv_testkit::jwt;
use thv_testkit::provider::{Provider, User};

pub(crate) const RESOURCE: &str = "http://127.0.0.1:9000/registry";
pub(crate) const CALLBACK: &str = "http://127.0.0.1:1/callback";
pub(crate) const SCOPE: &str = "openid email offline_access registry:read registry:write";

/// The fake or the real one.
pub(crate) enum Idp {
    Fake(Provider),
    Real(IdentityProvider),
}

impl Idp {
    pub(crate) async fn fake() -> Self {
        let fake = Provider::for_resources(&[RESOURCE]).await;
        // The real one lets codes be asked about at any pace.
        fake.behave(|provider| {
            provider.offers_device = true;
            provider.device_interval = 0;
        });
        Idp::Fake(fake)
    }

    pub(crate) async fn real() -> Self {
        Idp::Real(IdentityProvider::start(&[RESOURCE]).await)
    }

    pub(crate) fn issuer(&self) -> String {
        match self {
            Idp::Fake(fake) => fake.issuer(),
            Idp::Real(real) => real.issuer.clone(),
        }
    }

    pub(crate) async fn metadata(&self) -> Value {
        let url = format!("{}/.well-known/openid-configuration", self.issuer());
        get(&url).await.json()
    }

    pub(crate) async fn endpoint(&self, name: &str) -> String {
        self.metadata().await[name].as_str().unwrap().to_owned()
    }

    pub(crate) async fn keys(&self) -> Vec<Value> {
        let keys = get(&self.endpoint("jwks_uri").await).await.json();
        keys["keys"].as_array().unwrap().clone()
    }

    pub(crate) async fn refuse_consent(&self) {
        match self {
            Idp::Fake(fake) => fake.users([User::Denies]),
            Idp::Real(real) => real.order("pages deny").await,
        }
    }

    pub(crate) async fn agree_again(&self) {
        if let Idp::Real(real) = self {
            real.order("pages auto").await;
        }
    }

    pub(crate) async fn rotate_keys(&self) {
        match self {
            Idp::Fake(fake) => fake.rotate_keys(false),
            Idp::Real(real) => real.order("rotate-keys").await,
        }
    }

    pub(crate) async fn revoke_everything(&self) {
        match self {
            Idp::Fake(fake) => fake.revoke_everything(),
            Idp::Real(real) => real.order("revoke-all").await,
        }
    }
}

pub(crate) async fn get(url: &str) -> Answer {
    let (address, path) = Address::of_url(url).unwrap();
    Call::get(&path).to(&address).await
}

pub(crate) type Pairs = Vec<(String, String)>;

/// Sets, replaces or (with an empty value) removes parameters.
pub(crate) fn with(mut pairs: Pairs, changes: &[(&str, &str)]) -> Pairs {
    for (name, value) in changes {
        pairs.retain(|(key, _)| key != name);
        if !value.is_empty() {
            pairs.push(((*name).to_owned(), (*value).to_owned()));
        }
    }
    pairs
}

pub(crate) fn encoded(pairs: &Pairs) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

pub(crate) async fn post(url: &str, pairs: &Pairs) -> Answer {
    let (address, path) = Address::of_url(url).unwrap();
    form_call(&path, pairs).to(&address).await
}

pub(crate) fn form_call(path: &str, pairs: &Pairs) -> Call {
    Call::new(Method::POST, path)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(encoded(pairs))
}

/// One login in the making.
pub(crate) struct Login {
    pub(crate) verifier: String,
    pub(crate) state: String,
    pub(crate) nonce: String,
}

impl Login {
    pub(crate) fn new() -> Self {
        Login {
            verifier: jwt::random(32),
            state: jwt::random(16),
            nonce: jwt::random(16),
        }
    }

    pub(crate) fn parameters(&self) -> Pairs {
        let challenge = jwt::encode(&jwt::sha256(self.verifier.as_bytes()));
        with(
            Vec::new(),
            &[
                ("client_id", "thv-cli"),
                ("response_type", "code"),
                ("redirect_uri", CALLBACK),
                ("scope", SCOPE),
                ("prompt", "consent"),
                ("resource", RESOURCE),
                ("state", &self.state),
                ("nonce", &self.nonce),
                ("code_challenge", &challenge),
                ("code_challenge_method", "S256"),
            ],
        )
    }

    pub(crate) fn exchange(&self, code: &str) -> Pairs {
        with(
            Vec::new(),
            &[
                ("grant_type", "authorization_code"),
                ("client_id", "thv-cli"),
                ("code", code),
                ("redirect_uri", CALLBACK),
                ("resource", RESOURCE),
                ("code_verifier", &self.verifier),
            ],
        )
    }
}

pub(crate) fn refresh_form(token: &str) -> Pairs {
    with(
        Vec::new(),
        &[
            ("grant_type", "refresh_token"),
            ("client_id", "thv-cli"),
            ("refresh_token", token),
            ("resource", RESOURCE),
        ],
    )
}

/// The callback URL a new user's browser is sent to.
pub(crate) async fn callback(idp: &Idp, parameters: &Pairs) -> String {
    let url = format!(
        "{}?{}",
        idp.endpoint("authorization_endpoint").await,
        encoded(parameters)
    );
    Browser::default().open_until(&url, CALLBACK).await
}

/// Where a new user's browser ends when it is not sent back.
pub(crate) async fn page(idp: &Idp, parameters: &Pairs) -> Visit {
    let url = format!(
        "{}?{}",
        idp.endpoint("authorization_endpoint").await,
        encoded(parameters)
    );
    Browser::default().open(&url).await
}

pub(crate) fn param(url: &str, name: &str) -> Option<String> {
    url::Url::parse(url)
        .unwrap()
        .query_pairs()
        .find_map(|(key, value)| (key == name).then(|| value.into_owned()))
}

/// A whole login: its parts and the tokens.
pub(crate) async fn login(idp: &Idp) -> (Login, String, Value) {
    let login = Login::new();
    let back = callback(idp, &login.parameters()).await;
    let code = param(&back, "code").unwrap_or_else(|| panic!("no code in {back}"));
    let answer = post(
        &idp.endpoint("token_endpoint").await,
        &login.exchange(&code),
    )
    .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    (login, code, answer.json())
}

pub(crate) async fn refresh(idp: &Idp, token: &str) -> Answer {
    post(&idp.endpoint("token_endpoint").await, &refresh_form(token)).await
}

pub(crate) fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name} in {answer}"))
}

#[track_caller]
pub(crate) fn assert_error(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json()["error"], error, "{answer:?}");
}
