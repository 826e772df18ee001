//! The stream of changes: what it begins with, what comes when something changes, and how it ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::time::Duration;

use axum::body::Body;
use common::protected::{Street, protected, street};
use common::{CATALOG, House, house, request};
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use thv_api::Drained;
use thv_api::limits::{MAX_FOLLOWING, MAX_WAITING};
use thv_config::disk;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const EVENTS: &str = "/api/v1/events";

/// A client that follows.
struct Following {
    body: Body,
    said: String,
}

#[derive(Debug)]
struct Event {
    id: String,
    kind: String,
    data: Value,
}

async fn follow(house: &House, last: Option<&str>) -> Following {
    let mut request = request(Method::GET, EVENTS);
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = house.api.handle(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    Following {
        body: response.into_body(),
        said: String::new(),
    }
}

impl Following {
    /// The next event, whatever comes between.
    async fn next(&mut self) -> Event {
        let event = tokio::time::timeout(Duration::from_secs(20), self.read()).await;
        event.expect("an event in time")
    }

    async fn read(&mut self) -> Event {
        loop {
            if let Some((block, rest)) = self.said.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.said = rest;
                let field = |name: &str| {
                    let mut lines = block.lines();
                    lines.find_map(|line| line.strip_prefix(name).map(str::to_owned))
                };
                if let Some(data) = field("data: ") {
                    return Event {
                        id: field("id: ").expect("an id"),
                        kind: field("event: ").expect("a type"),
                        data: serde_json::from_str(&data).unwrap(),
                    };
                }
                continue;
            }
            let frame = self.body.frame().await.expect("no end").unwrap();
            let text = std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
            self.said.push_str(text);
        }
    }

    /// The next event of this type for which `is_it`.
    async fn until(&mut self, kind: &str, is_it: impl Fn(&Value) -> bool) -> Event {
        loop {
            let event = self.next().await;
            if event.kind == kind && is_it(&event.data) {
                return event;
            }
        }
    }
}

#[tokio::test]
async fn a_stream_begins_with_the_state_of_everything_and_goes_on_with_changes() {
    let house = house().await;
    assert_eq!(house.get("/v0.1/servers").await.status, 200);
    let mut following = follow(&house, None).await;
    let first: Vec<Event> = [
        following.next().await,
        following.next().await,
        following.next().await,
    ]
    .into();
    let kinds: Vec<_> = first.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["registry", "auth", "catalog"]);
    assert_eq!(first[0].data["type"], "file");
    assert_eq!(first[1].data["auth_status"], "none");
    let catalog = &first[2].data;
    assert_eq!(catalog["registry"], "default");
    assert_eq!(catalog["state"], "ready");
    assert_eq!(catalog["servers"], 4);
    let changed = CATALOG.replace("io.github.acme/scripts", "io.github.acme/script");
    house.file("registry.json", &changed);
    let refresh = "/api/v1beta/registry/default/refresh";
    assert_eq!(house.call(Method::POST, refresh, "").await.status, 200);
    let same_count = following.until("catalog", |_| true).await;
    assert_eq!(same_count.data["servers"], 4);
    assert_ne!(same_count.data["digest"], catalog["digest"]);

    let mut resumed = follow(&house, Some(&first[2].id)).await;
    let missed = resumed.next().await;
    assert_eq!(missed.id, same_count.id, "only what came after it");
    let mut of_another_run = follow(&house, Some("0123.999")).await;
    assert_eq!(of_another_run.next().await.kind, "registry");
}

#[tokio::test]
async fn a_login_and_a_logout_show() {
    let mut protected = protected().await;
    let mut following = follow(&protected.house, None).await;
    let needed = |auth: &Value| auth["auth_status"] == "configured";
    following.until("auth", needed).await;
    assert_eq!(protected.log_in().await.status, 200);
    let started = following.until("login_started", |_| true).await.data;
    let ended = following.until("login_ended", |_| true).await.data;
    assert_eq!(
        (&ended["registry"], &ended["state"]),
        (&json!("default"), &json!("authenticated"))
    );
    assert_eq!(started["started_at"], ended["started_at"]);
    let members: Vec<_> = started.as_object().unwrap().keys().collect();
    assert_eq!(
        members,
        ["registry", "started_at"],
        "nothing to answer it with"
    );
    let mut following = follow(&protected.house, None).await;
    let authenticated = |auth: &Value| auth["auth_status"] == "authenticated";
    following.until("auth", authenticated).await;
    assert_eq!(protected.get("/v0.1/servers").await.status, 200);
    let ready = |catalog: &Value| catalog["state"] == "ready" && catalog["servers"] == 3;
    following.until("catalog", ready).await;
    assert_eq!(protected.log_out_as(&[]).await.status, 200);
    following.until("auth", needed).await;
    let gone = |catalog: &Value| catalog["state"] == "auth_required";
    let gone = following.until("catalog", gone).await;
    assert_eq!(gone.data["servers"], 0);
    assert_eq!(gone.data["reason"], "never_logged_in");
}

#[tokio::test]
async fn another_source_shows() {
    let house = house().await;
    let mut following = follow(&house, None).await;
    following.until("registry", |it| it["type"] == "file").await;
    let reset = house
        .call(Method::PUT, "/api/v1beta/registry/default", "{}")
        .await;
    assert!(reset.status.is_success(), "{}", reset.text());
    let built_in = following.until("registry", |_| true).await;
    assert_eq!(built_in.data["type"], "default");
    assert!(disk::fingerprint(&house.config).is_some());
}

#[tokio::test]
async fn case_71_clients_that_follow_changes_leave_room_for_those_who_wait_for_a_login() {
    let protected = protected().await;
    let follow = async || {
        let request = request(Method::GET, EVENTS).body(Body::empty()).unwrap();
        protected.house.api.handle(request).await
    };
    let mut streams = Vec::new();
    for _ in 0..MAX_FOLLOWING {
        let stream = follow().await;
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    assert_eq!(follow().await.status(), 429);
    let logins = "/api/v1/registries/default/auth/logins";
    let login = protected.house.call(Method::POST, logins, "").await.json();
    let events = login["events_url"].as_str().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..MAX_WAITING {
        let request = request(Method::GET, events).body(Body::empty()).unwrap();
        let stream = protected.house.api.handle(request).await;
        assert_eq!(stream.status(), 200, "it has a place");
        waiting.push(stream);
    }
    let poll = login["poll_url"].as_str().unwrap();
    assert_eq!(protected.get(poll).await.status, 429);
    streams.pop();
    assert_eq!(protected.get(poll).await.status, 429, "another's place");
    assert_eq!(follow().await.status(), 200);
    drop(waiting);
}

#[tokio::test]
async fn the_end_of_the_server_ends_every_stream_at_once() {
    let Street {
        protected,
        address,
        shutdown,
        serving,
    } = street().await;
    let logins = "/api/v1/registries/default/auth/logins";
    let login = protected.house.call(Method::POST, logins, "").await.json();
    let mut streams = Vec::new();
    for path in [EVENTS, login["events_url"].as_str().unwrap()] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut said = String::new();
        while !said.contains("data: ") {
            let mut bytes = [0; 1024];
            let length = stream.read(&mut bytes).await.unwrap();
            said.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
        }
        streams.push(stream);
    }
    shutdown.cancel();
    let drained = tokio::time::timeout(Duration::from_secs(10), serving).await;
    assert_eq!(drained.expect("streams end").unwrap(), Drained { cut: 0 });
    for mut stream in streams {
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert!(rest.ends_with("0\r\n\r\n"), "not cut, but ended: {rest}");
    }
}
