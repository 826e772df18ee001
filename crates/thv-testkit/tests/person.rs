//! The people and processes around a provider: a real browser, a browser without pages, a stand-in for the desktop's
//! opener, commands that wait, and workers that are killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

mod idp_kit;

use idp_kit::{Idp, Login, RESOURCE, encoded, with};
use serde_json::json;
use thv_testkit::browse::{Browser, browse};
use thv_testkit::chromium::chromium_login;
use thv_testkit::home::Home;
use thv_testkit::identity::IdentityProvider;
use thv_testkit::keyring::Session;
use thv_testkit::opener::Opener;
use thv_testkit::registry::FakeRegistry;
use thv_testkit::running::Running;
use thv_testkit::worker::{self, Worker};

/// An authorization URL whose callback is a document of `landing`.
async fn authorization(idp: &Idp, landing: &FakeRegistry) -> String {
    landing.put_document_as("/callback", "text/html", "<title>Done</title>Signed in");
    let back = landing.at("/callback");
    let parameters = with(Login::new().parameters(), &[("redirect_uri", &back)]);
    let endpoint = idp.endpoint("authorization_endpoint").await;
    format!("{endpoint}?{}", encoded(&parameters))
}

#[tokio::test]
async fn chromium_signs_in_at_the_real_pages() {
    let idp = Idp::Real(IdentityProvider::start_with(&[RESOURCE], &[("PAGES", "forms")]).await);
    let callback = FakeRegistry::start().await;
    let landing = chromium_login(&authorization(&idp, &callback).await).await;
    assert!(landing.url.starts_with(&callback.at("/callback?code=")));
    assert_eq!(
        (landing.title.as_str(), landing.text.as_str()),
        ("Done", "Signed in")
    );
    assert_eq!(callback.requests_for("/callback").len(), 1);
    let Idp::Real(real) = &idp else {
        unreachable!()
    };
    let outside =
        |url: &&String| !url.starts_with(&real.issuer) && !url.starts_with(&callback.url());
    assert_eq!(landing.requests.iter().find(outside), None);
}

#[tokio::test]
async fn forms_can_be_filled_in_without_a_browser() {
    let real = IdentityProvider::start_with(&[RESOURCE], &[("PAGES", "forms")]).await;
    let idp = Idp::Real(real);
    let callback = FakeRegistry::start().await;
    let mut bob = Browser::default();
    bob.user = "bob".to_owned();
    let url = authorization(&idp, &callback).await;
    assert!(bob.open(&url).await.param("code").is_some());
    // The session is remembered, the consent is asked for again.
    let again = bob.open(&url).await;
    assert!(again.param("code").is_some());
}

#[tokio::test]
async fn the_visit_ends_on_the_callback_page() {
    let idp = Idp::fake().await;
    let callback = FakeRegistry::start().await;
    let visit = browse(&authorization(&idp, &callback).await).await;
    assert_eq!(visit.answer.status, 200);
    assert!(visit.answer.text().contains("Signed in"));
}

#[tokio::test]
async fn the_opener_writes_down_what_it_is_asked_to_open() {
    let home = Home::new();
    let opener = Opener::install(&home);
    assert!(opener.urls().is_empty());
    let ran = Running::start(
        "/bin/sh",
        &home,
        &[
            "-c",
            "xdg-open 'http://a.test/?x=1&y=2'; \"$BROWSER\" http://b.test/; echo said http://c.test/ >&2; read line",
        ],
        opener.env(),
    );
    assert_eq!(ran.word_on_stderr("http://").await, "http://c.test/");
    assert_eq!(opener.url(2).await, "http://b.test/");
    assert_eq!(opener.urls(), ["http://a.test/?x=1&y=2", "http://b.test/"]);
    let ran = ran.ended().await;
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (1, "said http://c.test/\n")
    );
}

#[test]
#[ignore = "runs in a process of its own, started by the test below"]
fn patient_worker() {
    let Some(task) = worker::task() else { return };
    worker::say(&json!({"at": "start", "number": task["number"]}));
    if task["waits"] == true {
        loop {
            std::thread::park();
        }
    }
    worker::say(&json!({"at": "end"}));
}

#[tokio::test]
async fn workers_run_report_and_are_killed() {
    let mut stuck = Worker::start("patient_worker", &json!({"number": 7, "waits": true})).await;
    let line = stuck.said(|line| line["at"] == "start").await;
    assert_eq!(line["number"], 7);
    let killed = stuck.kill().await;
    assert!(!killed.passed);
    assert_eq!(killed.said.len(), 1);
    let done = Worker::start("patient_worker", &json!({"number": 8}))
        .await
        .finish()
        .await;
    assert!(done.passed);
    assert_eq!(done.said[1], json!({"at": "end"}));
}

fn secret_tool(session: &Session, arguments: &str, input: &str) -> (bool, String) {
    let command = format!("printf '%s' '{input}' | secret-tool {arguments}");
    let output = std::process::Command::new("/bin/sh")
        .args(["-c", &command])
        .envs(session.bus_env())
        .env_remove("DISPLAY")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), text)
}

#[tokio::test]
async fn a_keyring_keeps_what_it_is_given_while_it_is_open() {
    let mut session = Session::unlocked().await;
    let (stored, _) = secret_tool(&session, "store --label=x name thv", "kept");
    assert!(stored);
    assert_eq!(
        secret_tool(&session, "lookup name thv", ""),
        (true, "kept".to_owned())
    );
    session.unlock("a-wrong-password").await;
    assert!(!secret_tool(&session, "store --label=y name other", "lost").0);
    session.unlock("test-password").await;
    assert_eq!(
        secret_tool(&session, "lookup name thv", ""),
        (true, "kept".to_owned())
    );
    session.stop_keyring();
    assert!(!secret_tool(&session, "lookup name thv", "").0);
}
