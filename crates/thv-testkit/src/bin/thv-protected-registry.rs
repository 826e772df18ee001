//! Runs the fake provider and a registry behind it, for people who want to see a login, an expiry or a revocation with
//! their own eyes. Orders are read from standard input, one per line; it ends with the input.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a tool for the developer's own terminal"
)]

use std::process::ExitCode;
use std::time::Duration;

use thv_testkit::generate;
use thv_testkit::identity::IdentityProvider;
use thv_testkit::provider::{CLIENT, Provider, Registration, paths};
use thv_testkit::registry::{FakeRegistry, Guard};

const USAGE: &str = "usage: thv-protected-registry [--servers N] [--access-ttl SECONDS] [--port P] [--real] [--dpop]

  --servers N           N generated servers (1000)
  --access-ttl SECONDS  the life of access tokens (300)
  --port P              the registry's port on 127.0.0.1 (0: any free one)
  --real                the npm provider of tests/idp in place of the one in this process; it knows revoke and rotate
  --dpop                tokens are bound to the client's key, and the registry wants proofs of it

orders: revoke, rotate, advance SECONDS, provider-down, provider-up, registry-down, registry-up, ban, status
";

#[derive(Debug)]
struct Options {
    servers: usize,
    access_ttl: u64,
    port: u16,
    real: bool,
    dpop: bool,
}

enum Idp {
    Fake(Provider),
    Real(IdentityProvider),
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprint!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    tokio::runtime::Runtime::new()
        .expect("a runtime")
        .block_on(run(options));
    ExitCode::SUCCESS
}

async fn run(options: Options) {
    let registry = FakeRegistry::start_on(options.port).await;
    registry.extend(generate::servers(options.servers, 1));
    let resource = registry.url();
    let idp = if options.real {
        let ttl = options.access_ttl.to_string();
        let dpop = if options.dpop { "on" } else { "" };
        let settings = [("ACCESS_TTL", ttl.as_str()), ("DPOP", dpop)];
        Idp::Real(IdentityProvider::start_with(&[&resource], &settings).await)
    } else {
        let fake = Provider::for_resources(&[&resource]).await;
        fake.behave(|it| {
            it.access_ttl = Duration::from_secs(options.access_ttl);
            it.registration = Registration::Open;
            it.binds_tokens = options.dpop;
        });
        Idp::Fake(fake)
    };
    let (issuer, guard) = match &idp {
        Idp::Fake(fake) => (fake.issuer(), Guard::of(fake, &resource)),
        Idp::Real(real) => (
            real.issuer.clone(),
            Guard::of_issuer(&real.issuer, &resource).await,
        ),
    };
    registry.protect(if options.dpop { guard.proofs() } else { guard });
    println!("registry {resource}\nissuer   {issuer}\nclient   {CLIENT}\naudience {resource}");
    let (sender, mut orders) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    while let Some(order) = orders.recv().await {
        println!("{}", obey(order.trim(), &idp, &registry).await);
    }
}

async fn obey(order: &str, idp: &Idp, registry: &FakeRegistry) -> String {
    match (order.split_once(' ').unwrap_or((order, "")), idp) {
        (("revoke", _), Idp::Fake(fake)) => fake.revoke_everything(),
        (("revoke", _), Idp::Real(real)) => real.order("revoke-all").await,
        (("rotate", _), Idp::Fake(fake)) => fake.rotate_keys(true),
        (("rotate", _), Idp::Real(real)) => real.order("rotate-keys").await,
        (("advance", by), Idp::Fake(fake)) => match by.parse() {
            Ok(seconds) => fake.advance(Duration::from_secs(seconds)),
            Err(_) => return "advance needs a number of seconds".to_owned(),
        },
        (("provider-down", _), Idp::Fake(fake)) => fake.refuse().await,
        (("provider-up", _), Idp::Fake(fake)) => fake.accept_again(),
        (("registry-down", _), _) => registry.refuse().await,
        (("registry-up", _), _) => registry.accept_again(),
        (("ban", _), _) => {
            for seen in registry.bearers() {
                registry.ban_fingerprint(&seen.fingerprint);
            }
        }
        (("status", _), Idp::Fake(fake)) => {
            return format!(
                "{} logins, {} refreshes, {} requests to the registry, {} of them with a bearer; families {:?}",
                fake.token_count("authorization_code"),
                fake.token_count("refresh_token"),
                registry.requests().len(),
                registry.bearers().len(),
                fake.families(),
            );
        }
        (("status", _), Idp::Real(real)) => {
            let tokens = |event: &&serde_json::Value| event["path"] == paths::TOKEN;
            return format!(
                "{} requests for tokens, {} requests to the registry, {} of them with a bearer",
                real.events().iter().filter(tokens).count(),
                registry.requests().len(),
                registry.bearers().len(),
            );
        }
        _ => return format!("no such order here: {order}"),
    }
    "done".to_owned()
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        servers: 1000,
        access_ttl: 300,
        port: 0,
        real: false,
        dpop: false,
    };
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--real" => options.real = true,
            "--dpop" => options.dpop = true,
            _ => {}
        }
        if matches!(name.as_str(), "--real" | "--dpop") {
            continue;
        }
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name} needs a value"))?;
        let bad = |_| format!("{name}: not a number: {value}");
        match name.as_str() {
            "--servers" => options.servers = value.parse().map_err(bad)?,
            "--access-ttl" => options.access_ttl = value.parse().map_err(bad)?,
            "--port" => options.port = value.parse().map_err(bad)?,
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(options)
}
