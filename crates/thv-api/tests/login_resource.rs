//! Logins as resources: what a client is handed, how it watches and answers them, and how they end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use common::protected::{
    ITEM, LOGIN, LOGOUT, Protected, REGISTRY, REPORT, STUDIO, protected, protected_with,
};
use common::{Answer, options, request};
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use thv_auth::login::PublicUrl;
use thv_testkit::browse::browse;
use thv_testkit::client::Address;
use thv_testkit::provider::{CLIENT, Client, Fault, Rule, User, paths};
use thv_testkit::registry::Guard;
use tokio::task::JoinHandle;
use url::Url;

const LOGINS: &str = "/api/v1/registries/default/auth/logins";

async fn start(protected: &Protected) -> Answer {
    protected.house.call(Method::POST, LOGINS, "").await
}

async fn started(protected: &Protected) -> Value {
    let answer = start(protected).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

fn text<'a>(login: &'a Value, member: &str) -> &'a str {
    login[member]
        .as_str()
        .unwrap_or_else(|| panic!("no {member} in {login}"))
}

fn browser_url(login: &Value) -> Url {
    let methods = login["methods"].as_array().expect("methods");
    let browser = methods.iter().find(|method| method["type"] == "browser");
    Url::parse(text(browser.expect("a browser"), "authorization_url")).unwrap()
}

fn callback_port(login: &Value) -> u16 {
    let redirect = browser_url(login)
        .query_pairs()
        .find_map(|(name, value)| (name == "redirect_uri").then(|| value.into_owned()))
        .unwrap();
    Url::parse(&redirect).unwrap().port().unwrap()
}

fn is_free(port: u16) -> bool {
    std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// Logs in with a browser of another machine: the address that it is sent back to.
async fn redirected(login: &Value) -> String {
    let (address, target) = Address::of_url(browser_url(login).as_str()).unwrap();
    let answer = address.get(&target).await;
    assert_eq!(answer.status, 302, "{answer:?}");
    answer.header("location").to_owned()
}

async fn hand_over(protected: &Protected, login: &Value, url: &str) -> Answer {
    let body = json!({ "url": url }).to_string();
    let callback = text(login, "callback_url");
    protected.house.call(Method::POST, callback, &body).await
}

/// Asks on a task of its own.
fn asked(protected: &Protected, target: String) -> JoinHandle<Answer> {
    let house = Arc::clone(&protected.house);
    tokio::spawn(async move { house.get(&target).await })
}

async fn polled(protected: &Protected, login: &Value) -> Value {
    let answer = protected.get(text(login, "url")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.json()
}

async fn ended(protected: &Protected, login: &Value) -> Value {
    for _ in 0..10 {
        let state = protected.get(text(login, "poll_url")).await.json();
        if !["pending", "completing"].contains(&text(&state, "state")) {
            return state;
        }
    }
    panic!("the login does not end: {login}");
}

#[tokio::test]
async fn a_client_is_handed_all_ways_to_finish_a_login_and_opens_them_itself() {
    let mut protected = protected().await;
    let answer = start(&protected).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let login = answer.json();
    assert_eq!(answer.header("location"), Some(text(&login, "url")));
    assert_eq!(login["state"], "pending");
    assert_eq!(login["registry"], "default");
    assert_eq!(
        login["registry_url"],
        format!("{}/", protected.registry.url())
    );
    assert_eq!(login["issuer"], protected.provider.issuer());
    assert_eq!(text(&login, "login_id").len(), 32);
    assert!(login["expires_at"].is_string() && login.get("outcome").is_none());
    let kinds = login["methods"].as_array().unwrap().iter();
    let kinds: Vec<_> = kinds.map(|method| text(method, "type")).collect();
    assert_eq!(kinds, ["browser", "paste"]);
    browse(browser_url(&login).as_str()).await;
    let state = ended(&protected, &login).await;
    assert_eq!(state["state"], "authenticated", "{state}");
    assert_eq!(state["outcome"]["account"]["sub"], "alice");
    assert!(state["outcome"]["expires_at"].is_string(), "{state}");
    assert_eq!(state["methods"], json!([]));
    assert_eq!(protected.state().await.0, "authenticated");
    assert_eq!(protected.get(ITEM).await.status, 200);
    assert!(protected.opened.try_recv().is_err(), "a browser was opened");
}

#[tokio::test]
async fn the_next_read_after_a_login_meets_no_refusal_from_before() {
    let protected = protected().await;
    assert_eq!(protected.get(ITEM).await.status, 503);
    let login = started(&protected).await;
    browse(browser_url(&login).as_str()).await;
    assert_eq!(ended(&protected, &login).await["state"], "authenticated");
    let read = protected.get(ITEM).await;
    assert_eq!(read.status, 200, "{}", read.text());
    assert_eq!(protected.get(REGISTRY).await.status, 200);
}

#[tokio::test]
async fn the_next_read_after_a_login_with_more_scopes_is_made_with_them() {
    let mut protected = protected().await;
    assert_eq!(protected.log_in().await.status, 200);
    let before = protected.house.config_text();
    let guard = Guard::of(&protected.provider, &protected.registry.url());
    protected.registry.protect(guard.scope("registry:write"));
    let refused = protected.get(ITEM).await;
    assert_eq!(refused.json()["reason"], "insufficient_scope");
    let withdrawn = started(&protected).await;
    let url = text(&withdrawn, "url").to_owned();
    protected.house.call(Method::DELETE, &url, "").await;
    assert_eq!(protected.house.config_text(), before);
    let login = started(&protected).await;
    browse(browser_url(&login).as_str()).await;
    assert_eq!(ended(&protected, &login).await["state"], "authenticated");
    assert!(protected.house.config_text().contains("registry:write"));
    let read = protected.get(ITEM).await;
    assert_eq!(read.status, 200, "{}", read.text());
}

#[tokio::test]
async fn a_redirect_can_be_handed_over_and_only_the_right_one_counts() {
    let protected = protected().await;
    let login = started(&protected).await;
    let redirect = redirected(&login).await;
    for (url, status, code) in [
        (
            "https://elsewhere.example/callback",
            400,
            "callback_other_address",
        ),
        (
            &redirect.replace("state=", "state=x"),
            400,
            "callback_other_login",
        ),
        (&redirect.replace("code=", "c="), 400, "callback_malformed"),
    ] {
        let answer = hand_over(&protected, &login, url).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(answer.json()["code"], code, "{}", answer.text());
    }
    for body in ["", "[]", "{}", r#"{"url":7}"#] {
        let callback = text(&login, "callback_url");
        let answer = protected.house.call(Method::POST, callback, body).await;
        assert_eq!(answer.status, 400, "{body}");
    }
    assert_eq!(polled(&protected, &login).await["state"], "pending");
    assert_eq!(hand_over(&protected, &login, &redirect).await.status, 202);
    assert_eq!(ended(&protected, &login).await["state"], "authenticated");
    let again = hand_over(&protected, &login, &redirect).await;
    assert_eq!(again.status, 410, "{}", again.text());
    assert!(is_free(callback_port(&login)));
}

#[tokio::test]
async fn whoever_waits_is_told_of_a_change_at_once_and_not_before() {
    let protected = protected().await;
    let login = started(&protected).await;
    let waiting = asked(&protected, text(&login, "poll_url").to_owned());
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    let ending = protected
        .house
        .call(Method::DELETE, text(&login, "url"), "")
        .await;
    assert_eq!(ending.status, 200, "{}", ending.text());
    assert_eq!(ending.json()["state"], "cancelled");
    assert_eq!(ending.json()["outcome"]["code"], "login_cancelled");
    assert!(
        is_free(callback_port(&login)),
        "cancelled, and the port is held"
    );
    assert_eq!(waiting.await.unwrap().json()["state"], "cancelled");
    let url = text(&login, "url");
    // A revision that is no more does not wait, whatever is asked.
    let old = protected.get(&format!("{url}?wait=50&revision=1")).await;
    assert_eq!(old.json()["state"], "cancelled");
    for query in ["wait=soon", "wait=-1", "revision=x"] {
        let answer = protected.get(&format!("{url}?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
    }
}

#[tokio::test]
async fn a_wait_ends_after_the_time_that_was_asked_for() {
    let protected = protected().await;
    let login = started(&protected).await;
    let waiting = asked(&protected, format!("{}?wait=1", text(&login, "url")));
    let answer = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    assert_eq!(answer.unwrap().unwrap().json()["state"], "pending");
}

/// The events of a body: id, type and data.
fn events(body: &str) -> Vec<(String, String, Value)> {
    let blocks = body.split("\n\n").filter(|block| block.contains("data: "));
    blocks
        .map(|block| {
            let field = |name: &str| {
                let mut lines = block.lines();
                lines
                    .find_map(|line| line.strip_prefix(name))
                    .unwrap_or_else(|| panic!("no {name} in {block}"))
                    .to_owned()
            };
            let data = serde_json::from_str(&field("data: ")).unwrap();
            (field("id: "), field("event: "), data)
        })
        .collect()
}

#[tokio::test]
async fn a_login_can_be_followed_to_its_end_and_a_broken_stream_resumed() {
    let protected = protected().await;
    let login = started(&protected).await;
    let events_url = text(&login, "events_url").to_owned();
    let following = asked(&protected, events_url.clone());
    browse(browser_url(&login).as_str()).await;
    let stream = following.await.unwrap();
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    let events_of_all = events(stream.text());
    let (last_id, kind, last) = events_of_all.last().expect("events");
    assert_eq!(kind, "login");
    assert_eq!(last["state"], "authenticated");
    assert_eq!(last["revision"].to_string(), *last_id);
    let resumed = protected
        .house
        .get_with(&events_url, &[("last-event-id", "1")])
        .await;
    let resumed = events(resumed.text());
    assert_eq!(resumed.len(), 1, "only what came after it");
    assert_eq!(resumed[0].2["state"], "authenticated");
    let no_more = protected
        .house
        .get_with(&events_url, &[("last-event-id", last_id)])
        .await;
    assert_eq!(no_more.status, 204, "a client would come back for ever");
}

#[tokio::test]
async fn a_stream_begins_with_what_is_known() {
    let protected = protected().await;
    let login = started(&protected).await;
    let request = request(Method::GET, text(&login, "events_url"));
    let response = protected
        .house
        .api
        .handle(request.body(Body::empty()).unwrap())
        .await;
    let mut body = response.into_body();
    let mut said = String::new();
    while !said.contains("data: ") {
        let frame = body.frame().await.unwrap().unwrap();
        said.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    assert_eq!(events(&said)[0].2["state"], "pending");
}

#[tokio::test]
async fn a_second_login_joins_and_the_old_route_waits_for_the_same_one() {
    let mut protected = protected().await;
    let first = started(&protected).await;
    let second = start(&protected).await;
    assert_eq!(second.status, 200);
    let second = second.json();
    assert_eq!(second["joined"], true);
    assert_eq!(second["login_id"], first["login_id"]);
    let old = protected.post(LOGIN, &[]);
    let opened = protected
        .opened
        .recv()
        .await
        .expect("the old route opens one");
    assert_eq!(opened, browser_url(&first));
    old.abort();
    assert!(old.await.is_err());
    assert_eq!(polled(&protected, &first).await["state"], "pending");
    let old = protected.post(LOGIN, &[]);
    while protected.get(REPORT).await.json()["pending_login"].is_null() {}
    browse(opened.as_str()).await;
    let old = old.await.unwrap();
    assert_eq!(old.status, 200, "{}", old.text());
    assert_eq!(ended(&protected, &first).await["state"], "authenticated");
    assert!(
        protected.opened.try_recv().is_err(),
        "one browser is enough"
    );
}

#[tokio::test]
async fn every_end_is_explained() {
    let protected = protected().await;
    protected.provider.users([User::Denies]);
    let login = started(&protected).await;
    browse(browser_url(&login).as_str()).await;
    let state = ended(&protected, &login).await;
    assert_eq!(state["state"], "denied", "{state}");
    assert_eq!(state["outcome"]["code"], "login_denied");
    assert!(state["outcome"]["hint"].is_string(), "{state}");

    let broken = Rule::always(Fault::Error {
        status: 400,
        error: "invalid_client".to_owned(),
    });
    protected.provider.break_with(broken.on(paths::TOKEN));
    let login = started(&protected).await;
    browse(browser_url(&login).as_str()).await;
    let state = ended(&protected, &login).await;
    assert_eq!(state["state"], "failed", "{state}");
    assert_eq!(state["outcome"]["code"], "identity_provider_refused");
    assert!(text(&state["outcome"], "message").contains("invalid_client"));

    let login = started(&protected).await;
    assert_eq!(protected.log_out_as(&[]).await.status, 200);
    let state = ended(&protected, &login).await;
    assert_eq!(state["state"], "cancelled", "{state}");
    assert!(
        text(&state["outcome"], "message").contains("logout"),
        "{state}"
    );
    assert!(LOGOUT.ends_with("logout"));
}

#[tokio::test]
async fn a_code_for_another_device_is_offered_beside_the_browser_and_counts() {
    let mut protected = protected().await;
    protected.provider.behave(|provider| {
        provider.offers_device = true;
        provider.device_interval = 1;
    });
    let login = started(&protected).await;
    let methods = login["methods"].as_array().unwrap().iter();
    let kinds: Vec<_> = methods.map(|method| text(method, "type")).collect();
    assert_eq!(kinds, ["browser", "device", "paste"]);
    let device = &login["methods"][1];
    assert_eq!(device["interval"], 1);
    let complete = text(device, "verification_uri_complete");
    assert!(complete.starts_with(text(device, "verification_uri")));
    assert!(complete.ends_with(text(device, "user_code")));
    browse(complete).await;
    let state = ended(&protected, &login).await;
    assert_eq!(state["state"], "authenticated", "{state}");
    assert!(is_free(callback_port(&login)));
    assert_eq!(protected.get(ITEM).await.status, 200);
    assert!(protected.opened.try_recv().is_err(), "a browser was opened");
}

#[tokio::test]
async fn a_login_that_cannot_begin_is_a_problem_and_leaves_nothing() {
    let protected = protected().await;
    let holder = {
        let login = started(&protected).await;
        let port = callback_port(&login);
        let url = text(&login, "url").to_owned();
        protected.house.call(Method::DELETE, &url, "").await;
        std::net::TcpListener::bind(("127.0.0.1", port)).unwrap()
    };
    let answer = start(&protected).await;
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert_eq!(answer.json()["code"], "callback_port_busy");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    drop(holder);
    protected
        .provider
        .break_with(Rule::always(Fault::Status(500)));
    let answer = start(&protected).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(answer.json()["code"], "identity_provider_unavailable");
    let report = protected.get(REPORT).await.json();
    assert_eq!(report.get("pending_login"), None);
}

#[tokio::test]
async fn case_29_a_login_is_reached_by_its_whole_name_only() {
    let protected = protected().await;
    let login = started(&protected).await;
    let id = text(&login, "login_id");
    for guess in [
        "",
        "0",
        &id[..31],
        &id.to_uppercase().replace('A', "B"),
        "%30",
    ] {
        for (method, tail) in [
            (Method::GET, ""),
            (Method::GET, "/events"),
            (Method::DELETE, ""),
            (Method::POST, "/callback"),
        ] {
            let target = format!("{LOGINS}/{guess}{tail}");
            let answer = protected
                .house
                .call(method, &target, r#"{"url":"x"}"#)
                .await;
            assert_eq!(answer.status, 404, "{target}: {}", answer.text());
        }
    }
    let elsewhere = text(&login, "url").replace("default", "other");
    assert_eq!(protected.get(&elsewhere).await.status, 404);
    assert_eq!(polled(&protected, &login).await["state"], "pending");
    let report = protected.get(REPORT).await;
    assert!(
        !report.text().contains(id),
        "the report gives the name away"
    );
}

#[tokio::test]
async fn a_page_of_another_site_and_a_form_start_no_login() {
    let protected = protected().await;
    let with = |name: &'static str, value: &'static str| {
        let request = request(Method::POST, LOGINS).header(name, value);
        protected.house.send(request.body(Body::empty()).unwrap())
    };
    assert_eq!(with("origin", "https://evil.example").await.status, 403);
    assert_eq!(with("sec-fetch-site", "cross-site").await.status, 403);
    assert_eq!(with("content-type", "text/plain").await.status, 415);
    let report = protected.get(REPORT).await.json();
    assert_eq!(report.get("pending_login"), None);
}

const PUBLIC: &str = "https://thv.example.test/base";

/// A server that browsers reach under [`PUBLIC`].
async fn public() -> Protected {
    let mut options = options();
    options.public_url = Some(PublicUrl::parse(PUBLIC).unwrap());
    let protected = protected_with(options).await;
    let redirect = format!("{PUBLIC}/oauth/callback");
    protected
        .provider
        .register(Client::public(CLIENT, &[&redirect]));
    protected
}

/// A browser asks for a path at the public name, sent there from another site.
async fn browsed(protected: &Protected, method: Method, host: &str, target: &str) -> Answer {
    let request = http::Request::builder()
        .method(method)
        .uri(target)
        .header("host", host)
        .header("sec-fetch-site", "cross-site");
    let request = request.body(Body::empty()).unwrap();
    protected.house.send(request).await
}

#[tokio::test]
async fn a_browser_comes_back_to_the_public_address_whatever_a_proxy_makes_of_it() {
    for (host, takes_off) in [
        ("thv.example.test", ""),
        ("thv.example.test", "/base"),
        ("127.0.0.1:8080", "/base"),
    ] {
        let protected = public().await;
        let login = started(&protected).await;
        let redirect = redirected(&login).await;
        let target = redirect.strip_prefix("https://thv.example.test").unwrap();
        let seen = |target: &str| target.strip_prefix(takes_off).unwrap().to_owned();
        let answer = browsed(&protected, Method::GET, host, &seen(target)).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        let location = answer.header("location").unwrap().to_owned();
        assert!(location.starts_with("/base/oauth/callback/"), "{location}");
        let page = browsed(&protected, Method::GET, host, &seen(&location)).await;
        assert_eq!(page.status, 200, "{}", page.text());
        assert!(page.text().contains("You are logged in"));
        assert!(page.header("content-security-policy").is_some());
        let state = ended(&protected, &login).await;
        assert_eq!(state["state"], "authenticated", "{state}");
        let again = browsed(&protected, Method::GET, host, &seen(target)).await;
        assert_eq!(again.status, 400, "an ended login is answered again");
    }
}

#[tokio::test]
async fn case_17_forged_answers_at_the_public_address_change_nothing() {
    let protected = public().await;
    let login = started(&protected).await;
    let redirect = redirected(&login).await;
    let target = redirect.strip_prefix("https://thv.example.test").unwrap();
    for (method, host, target, status) in [
        (
            Method::GET,
            "thv.example.test",
            &target.replace("state=", "state=x"),
            400,
        ),
        (
            Method::GET,
            "thv.example.test",
            &"/base/oauth/callback".to_owned(),
            400,
        ),
        (
            Method::GET,
            "thv.example.test",
            &"/base/oauth/callback?error=access_denied".to_owned(),
            400,
        ),
        (
            Method::GET,
            "thv.example.test",
            &format!("{target}&{}", "state=y"),
            400,
        ),
        (
            Method::GET,
            "thv.example.test",
            &"/base/oauth/callback/result".to_owned(),
            404,
        ),
        (Method::GET, "evil.example.test", &target.to_owned(), 403),
        (Method::POST, "thv.example.test", &target.to_owned(), 403),
        (Method::GET, "thv.example.test", &REGISTRY.to_owned(), 403),
        (Method::POST, "thv.example.test", &LOGINS.to_owned(), 403),
        (
            Method::GET,
            "thv.example.test",
            &text(&login, "url").to_owned(),
            403,
        ),
    ] {
        let answer = browsed(&protected, method.clone(), host, target).await;
        assert_eq!(answer.status, status, "{method} {host} {target}");
        assert!(!answer.text().contains("access_denied"));
    }
    assert_eq!(polled(&protected, &login).await["state"], "pending");
    assert_eq!(
        browsed(&protected, Method::GET, "thv.example.test", target)
            .await
            .status,
        303
    );
}

#[tokio::test]
async fn without_a_public_address_there_is_no_public_callback() {
    let protected = protected().await;
    let login = started(&protected).await;
    let redirect = Url::parse(&redirected(&login).await).unwrap();
    let target = format!("/oauth/callback?{}", redirect.query().unwrap());
    assert_eq!(protected.get(&target).await.status, 404);
    let answer = browsed(&protected, Method::GET, "thv.example.test", &target).await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn a_public_login_holds_no_port() {
    let protected = public().await;
    let config = protected.house.config_text();
    let port: u16 = config
        .lines()
        .find_map(|line| line.trim().strip_prefix("callback_port: "))
        .and_then(|port| port.parse().ok())
        .unwrap();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let login = started(&protected).await;
    assert_eq!(login["state"], "pending");
    let redirect = redirected(&login).await;
    let taken = hand_over(&protected, &login, &redirect).await;
    assert_eq!(taken.status, 202);
    // The answer counts, whether or not the login has looked at it yet.
    let state = taken.json()["state"].clone();
    assert!(state == "completing" || state == "authenticated", "{state}");
    assert_eq!(taken.json()["methods"], json!([]));
    assert_eq!(ended(&protected, &login).await["state"], "authenticated");
}

#[tokio::test]
async fn what_needs_a_login_and_what_is_known_of_one_is_told() {
    let protected = protected().await;
    let refused = protected.get("/v0.1/servers").await;
    assert_eq!(refused.status, 503);
    let refused = refused.json();
    assert_eq!(refused["registry"], "default");
    assert_eq!(
        refused["login_methods"],
        json!(["browser", "device", "paste"])
    );
    assert!(refused["since"].is_string(), "{refused}");
    let login = protected.post(LOGINS, &[("user-agent", "agent/1.0")]);
    let login = login.await.unwrap().json();
    assert_eq!(login["requested_by"], "agent/1.0", "{login}");
}

#[tokio::test]
async fn case_30_thousands_who_want_a_login_have_one() {
    let protected = protected().await;
    let login = started(&protected).await;
    for _ in 0..2_000 {
        let answer = start(&protected).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["login_id"], login["login_id"]);
    }
    browse(browser_url(&login).as_str()).await;
    assert_eq!(ended(&protected, &login).await["state"], "authenticated");
}

#[tokio::test]
async fn three_logins_that_nobody_answers_are_all_until_somebody_does() {
    let mut protected = protected().await;
    for _ in 0..3 {
        let login = started(&protected).await;
        let joined = start(&protected).await;
        assert_eq!(joined.status, 200, "joining costs nothing");
        assert_eq!(login["state"], "pending");
        assert_eq!(protected.log_out_as(&[]).await.status, 200);
    }
    let refused = start(&protected).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(refused.json()["code"], "login_prompts_unanswered");
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((3_000..=3_600).contains(&seconds), "{seconds}");
    let report = protected.get(REPORT).await.json();
    assert_eq!(report.get("pending_login"), None);
    let old = protected.post(LOGIN, &[]).await.unwrap();
    assert_eq!(old.status, 429, "{}", old.text());
    // What the desktop client asks for is a person's click.
    protected.provider.users([User::Denies]);
    assert_eq!(protected.log_in_as(&[STUDIO]).await.status, 403);
    let login = started(&protected).await;
    browse(browser_url(&login).as_str()).await;
    assert_eq!(ended(&protected, &login).await["state"], "authenticated");
}

#[tokio::test]
async fn a_program_on_the_old_route_opens_no_browser_after_the_other_and_a_person_is_not_shut_out()
{
    let mut protected = protected().await;
    for _ in 0..3 {
        let login = protected.post(LOGIN, &[]);
        protected.opened.recv().await.expect("an address to open");
        login.abort();
        assert!(login.await.is_err());
    }
    let refused = protected.post(LOGIN, &[]).await.unwrap();
    assert_eq!(refused.status, 429, "{}", refused.text());
    let text = refused.text();
    let told = "Login failed: the last logins were answered by nobody; no program starts another one before a person logs in or refuses, or begins one with `thv registry login` in a terminal, or ";
    assert!(
        text.starts_with(told) && text.ends_with(" minutes have passed\n"),
        "{text}"
    );
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((3_000..=3_600).contains(&seconds), "{seconds}");
    assert!(protected.opened.try_recv().is_err());
    // Forgotten tabs, one after the other, and somebody who tries again.
    for _ in 0..4 {
        let login = protected.post(LOGIN, &[STUDIO]);
        protected.opened.recv().await.expect("an address to open");
        login.abort();
        assert!(login.await.is_err());
    }
    assert_eq!(protected.log_in_as(&[STUDIO]).await.status, 200);
    assert_eq!(protected.log_in().await.status, 200, "somebody is there");
}

#[tokio::test]
async fn a_login_that_its_client_withdraws_counts_half_and_whole_where_a_browser_was_opened() {
    let mut protected = protected().await;
    for _ in 0..3 {
        let login = started(&protected).await;
        let url = text(&login, "url").to_owned();
        protected.house.call(Method::DELETE, &url, "").await;
    }
    let login = started(&protected).await;
    let old = protected.post(LOGIN, &[]);
    protected.opened.recv().await.expect("an address to open");
    let url = text(&login, "url").to_owned();
    protected.house.call(Method::DELETE, &url, "").await;
    assert_eq!(old.await.unwrap().status, 409);
    assert_eq!(start(&protected).await.status, 429);
}

#[tokio::test]
async fn a_login_that_could_not_begin_counts_for_nothing() {
    let protected = protected().await;
    let down = Rule::always(Fault::Status(500)).times(8);
    protected.provider.break_with(down);
    for _ in 0..4 {
        assert_eq!(start(&protected).await.status, 502);
    }
    started(&protected).await;
}
