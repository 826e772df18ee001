//! Logins that wait for a person: who else may wait, what ends them, and that nothing else than a
//! login opens a browser.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use common::protected::{
    LOGIN, LOGOUT, REPORT, STUDIO, Street, protected, protected_with, street, update,
};
use common::{options, request};
use http::Method;
use serde_json::Value;
use thv_api::Drained;
use thv_auth::limits::LOOK_INTERVAL;
use thv_auth::login::{LoginHow, Prompter};
use thv_config::disk;
use thv_testkit::browse::browse;
use thv_testkit::wait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use url::Url;

#[tokio::test]
async fn w14_a_second_login_joins_the_first() {
    let mut protected = protected().await;
    let first = protected.post(LOGIN, &[]);
    let url = protected.opened.recv().await.unwrap();
    let report = protected.get(REPORT).await.json();
    assert!(report["pending_login"]["expires_at"].is_string());
    let second = protected.post(LOGIN, &[STUDIO]);
    // What the second one reads before it joins, these read too, and more, and one after the other.
    for _ in 0..20 {
        protected.get(REPORT).await;
    }
    browse(url.as_str()).await;
    assert_eq!(first.await.unwrap().status, 200);
    let second = tokio::time::timeout(Duration::from_mins(1), second).await;
    let second = second.expect("an answer to the second, too").unwrap();
    assert_eq!(second.status, 200);
    assert!(protected.opened.try_recv().is_err(), "one browser for both");
}

#[tokio::test]
async fn a_logout_ends_the_login_that_waits() {
    let mut protected = protected().await;
    let login = protected.post(LOGIN, &[]);
    protected.opened.recv().await.unwrap();
    assert_eq!(protected.log_out_as(&[]).await.status, 200);
    let ended = login.await.unwrap();
    assert_eq!(ended.status, 409, "{}", ended.text());
    assert!(
        ended
            .text()
            .starts_with("Login failed: the login was ended")
    );
}

#[tokio::test]
async fn a_change_of_the_registry_by_another_program_ends_the_login_that_waits() {
    let mut protected = protected().await;
    let login = protected.post(LOGIN, &[]);
    let url = protected.opened.recv().await.unwrap();
    let house = &protected.house;
    let unreadable = house
        .config_text()
        .replace("registry_auth:", "registry_auth: [");
    let changed = house
        .config_text()
        .replace("client_id: ", "client_id: another-");
    disk::write_atomic(&house.config, unreadable.as_bytes()).unwrap();
    tokio::time::sleep(LOOK_INTERVAL * 3).await;
    assert!(
        !login.is_finished(),
        "a file that cannot be read says nothing"
    );
    disk::write_atomic(&house.config, changed.as_bytes()).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), login).await;
    let ended = ended.expect("it ends by itself").unwrap();
    assert_eq!(ended.status, 409, "{}", ended.text());
    assert!(is_free(callback_port(&url)));
}

/// Where the identity provider sends the browser.
fn callback_port(authorization: &Url) -> u16 {
    let redirect = authorization
        .query_pairs()
        .find_map(|(name, value)| (name == "redirect_uri").then(|| value.into_owned()))
        .unwrap();
    Url::parse(&redirect).unwrap().port().unwrap()
}

fn is_free(port: u16) -> bool {
    std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()
}

impl Street {
    /// Asks for a login and waits until the browser was opened.
    async fn begin_login(&mut self) -> (TcpStream, Url) {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request =
            format!("POST {LOGIN} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let url = self.protected.opened.recv().await.unwrap();
        (stream, url)
    }
}

#[tokio::test]
async fn w14_a_client_that_hangs_up_frees_the_port() {
    let mut street = street().await;
    let (stream, url) = street.begin_login().await;
    let port = callback_port(&url);
    assert!(!is_free(port), "a login listens for its answer");
    drop(stream);
    wait::until_true("the port to be free", || is_free(port)).await;
    let report = street.protected.get(REPORT).await.json();
    assert_eq!(report.get("pending_login"), None);
}

#[tokio::test]
async fn a_login_goes_on_as_long_as_one_client_waits() {
    let mut street = street().await;
    let (first, url) = street.begin_login().await;
    let (sender, mut joined) = mpsc::unbounded_channel();
    let how = LoginHow {
        announce: Some(Arc::new(move |url| sender.send(url.clone()).unwrap())),
        ..LoginHow::default()
    };
    let auth = Arc::clone(&street.protected.house.auth);
    let second = tokio::spawn(async move { auth.login(how, Prompter::Person).await });
    assert_eq!(joined.recv().await.as_ref(), Some(&url));
    drop(first);
    // A whole exchange over another socket: the server has seen the end of the first one by then.
    let mut other = TcpStream::connect(&street.address).await.unwrap();
    let health = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    other.write_all(health).await.unwrap();
    other.read_to_end(&mut Vec::new()).await.unwrap();
    assert!(!is_free(callback_port(&url)));
    browse(url.as_str()).await;
    second.await.unwrap().expect("a login");
}

#[tokio::test]
async fn the_end_of_the_server_ends_the_login_that_waits() {
    let mut street = street().await;
    let (mut stream, url) = street.begin_login().await;
    street.shutdown.cancel();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 409 Conflict\r\n"), "{answer}");
    assert_eq!(street.serving.await.unwrap(), Drained { cut: 0 });
    assert!(is_free(callback_port(&url)));
}

#[tokio::test]
async fn w14_a_login_may_take_longer_than_other_routes() {
    let mut protected = protected().await;
    let login = protected.post(LOGIN, &[]);
    let url = protected.opened.recv().await.unwrap();
    tokio::time::pause();
    tokio::time::advance(thv_api::limits::ROUTE_TIME * 2).await;
    tokio::time::resume();
    assert!(!login.is_finished(), "the route's deadline ended it");
    browse(url.as_str()).await;
    assert_eq!(login.await.unwrap().status, 200);
}

/// Every path and method there is, from the document that lists them.
fn operations(document: &Value) -> Vec<(Method, String)> {
    let paths = document["paths"].as_object().unwrap();
    let methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];
    paths
        .keys()
        .flat_map(|path| {
            let path = path
                .replace("{name}", "default")
                .replace("{registryName}", "default")
                .replace("{serverName}", "a%2Fb")
                .replace(['{', '}'], "");
            methods.map(|method| (method.parse().unwrap(), path.clone()))
        })
        .filter(|(method, path)| !(*method == Method::POST && path == LOGIN))
        // A stream without an end; what it reads, other routes read too.
        .filter(|(method, path)| !(*method == Method::GET && path == "/api/v1/events"))
        .collect()
}

#[tokio::test]
async fn w1_no_other_request_opens_a_browser_in_any_order() {
    let mut options = options();
    options.openapi = true;
    options.metrics = true;
    let mut protected = protected_with(options).await;
    let document = protected.get("/api/openapi.json").await.json();
    let mut operations = operations(&document);
    assert!(operations.contains(&(Method::POST, LOGOUT.to_owned())));
    assert!(operations.len() > 100, "{}", operations.len());
    let same = update(&protected.registry, &protected.provider.issuer());
    for round in 0..3 {
        for (method, path) in &operations {
            let body = if *method == Method::PUT {
                same.clone()
            } else {
                String::new()
            };
            let request = request(method.clone(), path).header("x-client-type", STUDIO.1);
            let answer = protected
                .house
                .send(request.body(Body::from(body)).unwrap())
                .await;
            assert_ne!(answer.status, 500, "{method} {path}: {}", answer.text());
        }
        let report = protected.get(REPORT).await.json();
        assert_eq!(report["state"], "login_required", "{report}");
        let half = operations.len() / 2;
        match round {
            0 => operations.reverse(),
            _ => operations.rotate_left(half),
        }
    }
    assert!(protected.opened.try_recv().is_err(), "a browser was opened");
    let login = protected.post(LOGIN, &[]);
    assert!(protected.opened.recv().await.is_some(), "only now");
    login.abort();
}
