//! A first-time user's path from an address to a catalog, as a transcript, and each error on it made once by hand: the
//! snapshots are read for whether a message says what happened and what to type next.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

mod auth_kit;

use auth_kit::{PASSWORD, Stage, THV, this_process};
use thv_testkit::binary::{Ran, cli_with};
use thv_testkit::browse::{Browser, browse};
use thv_testkit::provider::{CLIENT, Client, Fault, Rule, Signature, Twist, User, paths};
use thv_testkit::running::Running;

/// What a person types, and what comes of it.
struct Story<'a> {
    stage: &'a Stage,
    text: String,
}

impl<'a> Story<'a> {
    fn new(stage: &'a Stage) -> Self {
        Story {
            stage,
            text: String::new(),
        }
    }

    fn env(&self) -> Vec<(String, String)> {
        self.stage.env()
    }

    /// Types a command that ends by itself.
    async fn types(&mut self, why: &str, line: &str) -> Ran {
        self.types_with(why, line, &[]).await
    }

    async fn types_with(&mut self, why: &str, line: &str, more: &[(&str, &str)]) -> Ran {
        self.stage.a_person_comes();
        let line = self.filled(line);
        let arguments: Vec<_> = line.split(' ').collect();
        let env = self.env();
        let mut env: Vec<_> = env
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        env.extend_from_slice(more);
        let ran = cli_with(THV, &self.stage.home, &arguments, &env, b"").await;
        self.tell(why, &line, &ran);
        ran
    }

    /// Types a command that waits for a browser, which is somewhere else.
    async fn logs_in(&mut self, why: &str, line: &str) -> Ran {
        self.stage.a_person_comes();
        let line = self.filled(line);
        let arguments: Vec<_> = line.split(' ').collect();
        let running = Running::start(THV, &self.stage.home, &arguments, self.env());
        let url = if line.contains("--device") {
            let prefix = format!("{}?", self.stage.provider.at(paths::DEVICE));
            running.word_on_stderr(&prefix).await
        } else {
            self.stage.printed_url(&running).await
        };
        let _ = browse(&url).await;
        let ran = running.ended().await;
        self.tell(why, &line, &ran);
        ran
    }

    /// Types a command that takes pasted addresses, and pastes.
    async fn pastes(&mut self, why: &str, line: &str, before: &[&str]) -> Ran {
        self.stage.a_person_comes();
        let line = self.filled(line);
        let arguments: Vec<_> = line.split(' ').collect();
        let mut running = Running::start_typing(THV, &self.stage.home, &arguments, self.env());
        let url = self.stage.printed_url(&running).await;
        let redirect = Browser::default()
            .open_until(&url, "http://localhost:")
            .await;
        for paste in before {
            running.type_line(&paste.replace("REDIRECT", &redirect));
        }
        running.type_line(&redirect);
        let ran = running.ended().await;
        self.tell(why, &line, &ran);
        ran
    }

    fn filled(&self, line: &str) -> String {
        line.replace("REGISTRY", &self.stage.registry.url())
            .replace("ISSUER", &self.stage.provider.issuer())
            .replace("PORT", &self.stage.port.to_string())
    }

    fn tell(&mut self, why: &str, line: &str, ran: &Ran) {
        let told = format!("# {why}\n$ thv {line}\n{}\n", ran.transcript());
        self.text += &self.without_what_changes(&told);
    }

    /// The same text for every run.
    fn without_what_changes(&self, text: &str) -> String {
        let stage = self.stage;
        let port = format!("{}", stage.port);
        let mut text = text
            .replace(&stage.registry.url(), "REGISTRY")
            .replace(&stage.provider.issuer(), "ISSUER")
            .replace(&stage.home.path().display().to_string(), "~")
            .replace(&port, "PORT")
            .replace(&this_process(), "HOLDER (PID N)");
        for seconds in 1..60 {
            text = text.replace(&format!("({seconds} s ago)"), "(0 s ago)");
        }
        let words = text.split_inclusive([' ', '\n']).map(|word| {
            let end = word.len() - word.trim_end().len();
            let (bare, blank) = word.split_at(word.len() - end);
            match bare.split_once('?') {
                Some((address, _)) if address.starts_with("ISSUER") => {
                    format!("{address}?…{blank}")
                }
                _ if bare.contains("/catalog-") => format!("~/cache/…{blank}"),
                _ if is_moment(bare) => format!("MOMENT{blank}"),
                _ => word.to_owned(),
            }
        });
        let text: String = words.collect();
        let lines = text
            .split_inclusive('\n')
            .map(|line| match line.split_once("code     ") {
                Some((before, _)) => format!("{before}code     USER-CODE\n"),
                None => line.to_owned(),
            });
        lines.collect()
    }
}

fn is_moment(word: &str) -> bool {
    word.len() == "2026-01-01T00:00:00Z".len() && word.starts_with("20") && word.ends_with('Z')
}

macro_rules! assert_story {
    ($story:expr) => {
        insta::with_settings!({omit_expression => true}, { insta::assert_snapshot!($story.text) });
    };
}

/// A machine on which nothing is configured, and a registry that wants a login.
async fn stage() -> Stage {
    let stage = Stage::new().await;
    std::fs::remove_file(stage.home.config_file()).unwrap();
    stage
}

const LOGIN: &str = "registry login --no-browser --registry REGISTRY --allow-private-ip --issuer ISSUER --client-id thv-cli --audience REGISTRY --scopes openid,email,offline_access,registry:read --callback-port PORT";

#[tokio::test]
async fn from_an_address_to_a_catalog() {
    let stage = stage().await;
    let mut story = Story::new(&stage);
    story
        .types(
            "the address, as it was given",
            "config set-registry REGISTRY",
        )
        .await;
    story
        .types(
            "as the hint says",
            "config set-registry REGISTRY --allow-private-ip",
        )
        .await;
    story.types("is it there?", "registry list").await;
    story
        .types("as the hint says", "registry login --no-browser")
        .await;
    story.logs_in("with what the operator told", LOGIN).await;
    story.types("the catalog", "registry list").await;
    story.types("how do things stand?", "registry status").await;
    story.types("out again", "registry logout").await;
    story.types("and it is closed", "registry list").await;
    assert_story!(story);
}

#[tokio::test]
async fn a_wrong_address_says_what_to_type_next() {
    let stage = stage().await;
    let mut story = Story::new(&stage);
    story
        .types(
            "no address",
            "registry login --registry registry --issuer ISSUER --client-id thv-cli",
        )
        .await;
    story
        .types(
            "a page that is no registry",
            "config set-registry ISSUER/nowhere --allow-private-ip",
        )
        .await;
    story
        .types(
            "a file that is not there",
            "config set-registry /nowhere/registry.json",
        )
        .await;
    stage.registry.refuse().await;
    story
        .types(
            "a registry that is away",
            "config set-registry REGISTRY --allow-private-ip",
        )
        .await;
    stage.registry.accept_again();
    story.types("an issuer without TLS", "registry login --registry REGISTRY --issuer http://login.example --client-id thv-cli --allow-private-ip").await;
    stage.provider.refuse().await;
    story.types("an issuer that is away", LOGIN).await;
    stage.provider.accept_again();
    story
        .types(
            "an issuer with a path too many",
            &LOGIN.replace("--issuer ISSUER", "--issuer ISSUER/realm"),
        )
        .await;
    stage
        .provider
        .behave(|provider| provider.advertise("issuer", "https://login.example"));
    story
        .types("an issuer that calls itself something else", LOGIN)
        .await;
    stage.provider.behave(|provider| provider.metadata.clear());
    stage.provider.behave(|provider| {
        provider.advertise(
            "code_challenge_methods_supported",
            serde_json::json!(["plain"]),
        );
    });
    story.types("an issuer without PKCE", LOGIN).await;
    assert_story!(story);
}

#[tokio::test]
async fn a_login_that_fails_says_what_to_type_next() {
    let stage = Stage::new().await;
    let mut story = Story::new(&stage);
    let login = "registry login --no-browser";
    stage.provider.users([User::Denies]);
    story.logs_in("the person says no", login).await;
    stage
        .provider
        .users([User::Fails("temporarily_unavailable".to_owned())]);
    story.logs_in("the provider gives up", login).await;
    stage
        .provider
        .users([User::Fails("invalid_scope".to_owned())]);
    story
        .logs_in("the provider does not know the scopes", login)
        .await;
    stage.provider.users([User::Changed(
        "iss".to_owned(),
        Some("https://login.example".to_owned()),
    )]);
    story
        .logs_in("the answer is from somebody else", login)
        .await;
    stage.provider.users([User::Leaves]);
    story
        .logs_in(
            "the person closes the page",
            "registry login --no-browser --timeout 6",
        )
        .await;
    let taken = std::net::TcpListener::bind(("127.0.0.1", stage.port)).unwrap();
    story.types("the port is taken", login).await;
    drop(taken);
    stage
        .provider
        .break_with(Rule::always(Fault::Status(503)).on(paths::TOKEN));
    story
        .logs_in("the provider fails at the last step", login)
        .await;
    stage.provider.heal();
    stage.provider.break_with(
        Rule::always(Fault::Error {
            status: 401,
            error: "invalid_client".to_owned(),
        })
        .on(paths::TOKEN),
    );
    story.logs_in("the client is not known there", login).await;
    stage.provider.heal();
    stage
        .provider
        .behave(|provider| provider.id_token = Twist::default().signature(Signature::Foreign));
    story
        .logs_in("the word on who logged in is forged", login)
        .await;
    stage
        .provider
        .behave(|provider| provider.id_token = Twist::default());
    stage
        .provider
        .register(Client::public(CLIENT, &["http://localhost:1/other"]));
    story
        .types(
            "the redirect URI is not registered",
            "registry login --no-browser --timeout 6",
        )
        .await;
    stage
        .provider
        .register(Client::public(CLIENT, &["http://localhost/callback"]));
    story
        .pastes(
            "other things are pasted first",
            "registry login --paste",
            &["what now?", "http://localhost/callback", "REDIRECT&state=x"],
        )
        .await;
    assert_story!(story);
}

#[tokio::test]
async fn a_code_that_fails_says_what_to_type_next() {
    let stage = Stage::new().await;
    let mut story = Story::new(&stage);
    let login = "registry login --device";
    story.types("there are no codes", login).await;
    stage.provider.behave(|provider| {
        provider.offers_device = true;
        provider.device_interval = 1;
    });
    stage.provider.users([User::Denies]);
    story.logs_in("the person says no", login).await;
    stage
        .provider
        .behave(|provider| provider.device_ttl = std::time::Duration::from_secs(1));
    story.types("nobody types it in", login).await;
    stage
        .provider
        .behave(|provider| provider.device_ttl = std::time::Duration::from_mins(10));
    story
        .types(
            "nobody types it in while there is patience",
            "registry login --device --timeout 6",
        )
        .await;
    stage.provider.refuse().await;
    story.types("the provider is away", login).await;
    stage.provider.accept_again();
    story.logs_in("at last", login).await;
    assert_story!(story);
}

#[tokio::test]
async fn a_store_that_fails_says_what_to_type_next() {
    let stage = Stage::new().await;
    let mut story = Story::new(&stage);
    let login = "registry login --no-browser";
    let environment = [("TOOLHIVE_SECRETS_PROVIDER", "environment")];
    story
        .types_with("the store takes nothing", login, &environment)
        .await;
    story.logs_in("it does now", login).await;
    let other = [("TOOLHIVE_SECRETS_PASSWORD", "another")];
    story
        .types_with("with another password", login, &other)
        .await;
    story
        .types_with("the catalog with another password", "registry list", &other)
        .await;
    let lock = std::fs::File::create(stage.home.join("data/toolhive/secrets_encrypted.lock"));
    let lock = lock.unwrap();
    lock.lock().unwrap();
    story.types("while another program has it", login).await;
    story
        .types("out while another program has it", "registry logout")
        .await;
    drop(lock);
    let none = [
        ("TOOLHIVE_SECRETS_PASSWORD", ""),
        ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere/bus"),
    ];
    story
        .types_with("without a password", "registry list", &none)
        .await;
    story
        .types_with("logging out without one", "registry logout", &none)
        .await;
    stage.home.write(
        "data/toolhive/secrets_encrypted",
        "damaged beyond recognition, by whomever it was",
    );
    story.types("with a damaged file", "registry list").await;
    story.types("logging in with a damaged file", login).await;
    story
        .types("logging out with a damaged file", "registry logout")
        .await;
    assert_ne!(PASSWORD, "another");
    assert_story!(story);
}

#[tokio::test]
async fn a_login_that_ended_says_what_to_type_next() {
    let stage = Stage::new().await;
    let mut story = Story::new(&stage);
    let login = "registry login --no-browser";
    story.logs_in("in", login).await;
    stage.registry.refuse().await;
    story
        .types("the registry is away", "registry refresh")
        .await;
    stage.registry.accept_again();
    stage.provider.advance(std::time::Duration::from_mins(10));
    stage.provider.refuse().await;
    story
        .types("the provider is away, the token old", "registry refresh")
        .await;
    stage.provider.accept_again();
    stage.provider.revoke_everything();
    story
        .types("the login was revoked", "registry refresh")
        .await;
    story.types("how do things stand?", "registry status").await;
    story.logs_in("in again", login).await;
    stage.registry.refuse_good_tokens(100);
    story
        .types("the registry does not take the token", "registry refresh")
        .await;
    stage.provider.refuse().await;
    story
        .types("out while the provider is away", "registry logout")
        .await;
    stage.provider.accept_again();
    assert_story!(story);
}
