//! What a client is told on its way to a login, as a transcript: each failure made once, each answer read for whether it says
//! what happened and what helps.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

mod auth_kit;

use auth_kit::{DEFAULT, STANDARD, Stage, end_of, this_process};
use serde_json::{Value, json};
use thv_testkit::binary::Server;
use thv_testkit::browse::browse;
use thv_testkit::client::Answer;
use thv_testkit::provider::{Fault, Rule, User, paths};

const LOGINS: &str = "/api/v1/registries/default/auth/logins";

/// What a client asks, and what it is told.
struct Story<'a> {
    stage: &'a Stage,
    text: String,
}

impl Story<'_> {
    fn tell(&mut self, why: &str, asked: &str, answer: &Answer) {
        let told = match serde_json::from_slice::<Value>(&answer.body) {
            Ok(body) => body,
            Err(_) => Value::String(answer.text()),
        };
        self.write(why, &format!("{asked} → {}", answer.status), &told);
    }

    fn write(&mut self, why: &str, line: &str, told: &Value) {
        // The members by which a client, or a person in front of it, knows how to go on.
        let told: Vec<String> = match told {
            Value::Object(members) => ["state", "code", "reason", "message", "hint", "actions"]
                .iter()
                .filter_map(|name| {
                    let value = members
                        .get(*name)
                        .or_else(|| members.get("outcome")?.get(*name));
                    value.map(|value| format!("  {name}: {value}\n"))
                })
                .collect(),
            other => vec![format!("  {other}\n")],
        };
        let text = format!("# {why}\n{line}\n{}\n", told.concat());
        self.text += &text
            .replace(&self.stage.registry.url(), "REGISTRY")
            .replace(&self.stage.provider.issuer(), "ISSUER")
            .replace(&self.stage.home.path().display().to_string(), "~")
            .replace(&self.stage.port.to_string(), "PORT")
            .replace(&this_process(), "HOLDER (PID N)");
    }

    async fn posts(&mut self, why: &str, server: &Server) -> Value {
        let answer = server.post(LOGINS, &json!({})).await;
        self.tell(why, "POST …/auth/logins", &answer);
        answer.json()
    }

    /// Starts a login and lets a person finish it.
    async fn logs_in(&mut self, why: &str, server: &Server) {
        let answer = server.post(LOGINS, &json!({})).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let login = answer.json();
        let _ = browse(login["methods"][0]["authorization_url"].as_str().unwrap()).await;
        let end = end_of(server, &login).await;
        self.write(why, "GET …/auth/logins/ID", &end);
    }
}

#[tokio::test]
async fn what_a_client_is_told_on_its_way_to_a_login() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let mut story = Story {
        stage: &stage,
        text: String::new(),
    };
    let answer = server.get(STANDARD).await;
    story.tell("nobody has logged in", "GET /v0.1/servers", &answer);
    stage.provider.refuse().await;
    story.posts("the provider is away", &server).await;
    stage.provider.accept_again();
    stage
        .provider
        .behave(|provider| provider.advertise("issuer", "https://login.example"));
    story
        .posts("the provider calls itself something else", &server)
        .await;
    stage.provider.behave(|provider| provider.metadata.clear());
    let taken = std::net::TcpListener::bind(("127.0.0.1", stage.port)).unwrap();
    story.posts("the port is taken", &server).await;
    drop(taken);
    let login = story.posts("a login", &server).await;
    let callback = login["callback_url"].as_str().unwrap();
    let wrong = format!("http://localhost:{}/callback?code=x&state=y", stage.port);
    for (why, url) in [
        ("something else is handed over", "https://example.com/"),
        ("the answer to another login is handed over", wrong.as_str()),
    ] {
        let answer = server.post(callback, &json!({ "url": url })).await;
        story.tell(why, "POST …/callback", &answer);
    }
    let gone = server
        .address()
        .delete(login["url"].as_str().unwrap())
        .await;
    assert!(gone.status < 300, "{gone:?}");
    story.write(
        "it is cancelled",
        "GET …/auth/logins/ID",
        &end_of(&server, &login).await,
    );
    let answer = server
        .get(&format!("{LOGINS}/0123456789abcdef0123456789abcdef"))
        .await;
    story.tell("a login that never was", "GET …/auth/logins/ID", &answer);
    stage.provider.users([User::Denies]);
    story.logs_in("the person says no", &server).await;
    let foreign = Some("https://login.example".to_owned());
    stage
        .provider
        .users([User::Changed("iss".to_owned(), foreign)]);
    story
        .logs_in("the answer is from somebody else", &server)
        .await;
    let rule = Rule::always(Fault::Status(503)).on(paths::TOKEN);
    stage.provider.break_with(rule);
    story
        .logs_in("the provider fails at the last step", &server)
        .await;
    stage.provider.heal();
    story.logs_in("in", &server).await;
    let reset = server.put(DEFAULT, &json!({})).await;
    assert_eq!(reset.status, 200, "{reset:?}");
    story.posts("nothing is configured", &server).await;
    insta::with_settings!({omit_expression => true}, { insta::assert_snapshot!(story.text) });
}

#[tokio::test]
async fn what_a_client_is_told_about_a_store_that_takes_nothing() {
    let stage = Stage::new().await;
    let setup = stage
        .setup()
        .env("TOOLHIVE_SECRETS_PROVIDER", "environment");
    let server = setup.start().await;
    let mut story = Story {
        stage: &stage,
        text: String::new(),
    };
    story.posts("the store takes nothing", &server).await;
    drop(server);
    let server = stage.logged_in_server().await;
    drop(server);
    let setup = stage.setup().env("TOOLHIVE_SECRETS_PASSWORD", "another");
    let server = setup.start().await;
    story.posts("the password is another one", &server).await;
    let answer = server.get(STANDARD).await;
    story.tell("the catalog then", "GET /v0.1/servers", &answer);
    insta::with_settings!({omit_expression => true}, { insta::assert_snapshot!(story.text) });
}
