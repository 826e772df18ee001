//! What only the fake can do: its clock, its variants, its faults, and what it writes down.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

mod idp_kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use idp_kit::{
    CALLBACK, Idp, Login, RESOURCE, assert_error, callback, form_call, login, page, param, post,
    refresh, refresh_form, text, with,
};
use serde_json::{Value, json};
use thv_testkit::client::{Address, Call};
use thv_testkit::jwt;
use thv_testkit::provider::{
    Client, Ended, Fault, Gate, Options, Provider, RefreshTokens, Rotation, Rule, Signature,
    TokenFormat, Twist, User, paths,
};
use thv_testkit::registry::{FakeRegistry, Guard, SERVERS};

async fn fake() -> Idp {
    Idp::fake().await
}

fn provider(idp: &Idp) -> &Provider {
    match idp {
        Idp::Fake(fake) => fake,
        Idp::Real(_) => unreachable!("these tests are about the fake"),
    }
}

async fn with_bearer(registry: &FakeRegistry, token: &str) -> u16 {
    Call::get(SERVERS)
        .header("authorization", &format!("bearer {token}"))
        .to(&Address::from_record(&registry.url()))
        .await
        .status
}

#[tokio::test]
async fn everything_expires_by_the_clock_that_is_moved_by_hand() {
    let idp = fake().await;
    let fake = provider(&idp);
    fake.behave(|it| it.refresh_ttl = Some(Duration::from_hours(1)));
    let registry = FakeRegistry::start().await;
    registry.protect(Guard::of(fake, RESOURCE));

    let late = Login::new();
    let back = callback(&idp, &late.parameters()).await;
    fake.advance(Duration::from_mins(1));
    let form = late.exchange(&param(&back, "code").unwrap());
    assert_error(
        &post(&fake.at(paths::TOKEN), &form).await,
        400,
        "invalid_grant",
    );

    let (_, _, tokens) = login(&idp).await;
    let access = text(&tokens, "access_token");
    assert_eq!(with_bearer(&registry, access).await, 200);
    fake.advance(Duration::from_secs(301));
    assert_eq!(with_bearer(&registry, access).await, 401);
    let tokens = refresh(&idp, text(&tokens, "refresh_token")).await.json();
    assert_eq!(
        with_bearer(&registry, text(&tokens, "access_token")).await,
        200
    );
    fake.advance(Duration::from_hours(1));
    let answer = refresh(&idp, text(&tokens, "refresh_token")).await;
    assert_error(&answer, 400, "invalid_grant");
}

#[tokio::test]
async fn a_clock_of_the_test_and_a_path_of_the_issuer_are_honoured() {
    let hands = Arc::new(AtomicI64::new(1_000_000_000));
    let clock = Arc::clone(&hands);
    let fake = Provider::with(Options {
        path: "/tenant".to_owned(),
        clock: Some(Arc::new(move || clock.load(Ordering::Relaxed))),
        ..Options::default()
    })
    .await;
    fake.allow_resource(RESOURCE);
    let root = fake.issuer().trim_end_matches("/tenant").to_owned();
    for url in [
        fake.at(paths::OPENID),
        fake.at(paths::OAUTH),
        format!("{root}{}/tenant", paths::OAUTH),
    ] {
        let answer = idp_kit::get(&url).await;
        assert_eq!(answer.json()["issuer"], fake.issuer(), "{url}");
        assert_eq!(answer.header("date"), "Sun, 09 Sep 2001 01:46:40 GMT");
    }
    assert_eq!(
        idp_kit::get(&format!("{root}{}", paths::OPENID))
            .await
            .status,
        404
    );
    let (_, _, tokens) = login(&Idp::Fake(fake)).await;
    let (_, claims) = jwt::read(text(&tokens, "access_token")).unwrap();
    assert_eq!(claims["iat"], 1_000_000_000);
}

#[tokio::test]
async fn some_providers_do_not_rotate() {
    for (rotation, repeated) in [(Rotation::Keeps, false), (Rotation::Repeats, true)] {
        let idp = fake().await;
        provider(&idp).behave(|it| it.rotation = rotation);
        let (_, _, tokens) = login(&idp).await;
        for _ in 0..2 {
            let answer = refresh(&idp, text(&tokens, "refresh_token")).await.json();
            let again = answer.get("refresh_token");
            assert_eq!(again.is_some(), repeated);
            assert!(again.is_none_or(|token| *token == tokens["refresh_token"]));
        }
        assert_eq!(provider(&idp).families()[0].refreshes, 2);
    }
}

#[tokio::test]
async fn reuse_revocation_and_replay_are_told_apart() {
    let idp = fake().await;
    let fake = provider(&idp);
    let (first, code, _) = login(&idp).await;
    post(&fake.at(paths::TOKEN), &first.exchange(&code)).await;
    let (_, _, reused) = login(&idp).await;
    for _ in 0..2 {
        refresh(&idp, text(&reused, "refresh_token")).await;
    }
    let (_, _, revoked) = login(&idp).await;
    let form = [
        ("client_id", "thv-cli"),
        ("token", text(&revoked, "access_token")),
    ];
    post(&fake.at(paths::REVOKE), &with(Vec::new(), &form)).await;
    login(&idp).await;
    let ends: Vec<_> = fake.families().iter().map(|family| family.ended).collect();
    assert_eq!(
        ends,
        [
            Some(Ended::CodeReplayed),
            Some(Ended::Reused),
            Some(Ended::Revoked),
            None
        ]
    );
}

#[tokio::test]
async fn the_token_answer_can_be_odd_member_by_member() {
    let idp = fake().await;
    for (value, expected) in [
        (Some(json!("300")), json!("300")),
        (Some(json!(-1)), json!(-1)),
        (Some(json!(1e300)), json!(1e300)),
        (Some(Value::Null), Value::Null),
    ] {
        provider(&idp).behave(|it| {
            it.token_answer = vec![("expires_in".to_owned(), value.clone())];
        });
        let (_, _, tokens) = login(&idp).await;
        assert!(tokens.get("expires_in").is_some());
        assert_eq!(tokens["expires_in"], expected);
    }
    provider(&idp).behave(|it| it.token_answer.clear());
    provider(&idp).behave(|it| it.answer_without("expires_in"));
    let (_, _, tokens) = login(&idp).await;
    assert!(tokens.get("expires_in").is_none());
}

#[tokio::test]
async fn tokens_can_be_twisted_and_the_guard_sees_it() {
    let idp = fake().await;
    let fake = provider(&idp);
    let registry = FakeRegistry::start().await;
    registry.protect(Guard::of(fake, RESOURCE).scope("registry:read"));
    for twist in [
        Twist::default().claim("iss", "https://evil.test"),
        Twist::default().claim("aud", "http://127.0.0.1:9000/other"),
        Twist::default().claim("exp", 1),
        Twist::default().claim("exp", Value::Null),
        Twist::default().signature(Signature::UnknownKey),
        Twist::default().signature(Signature::Foreign),
        Twist::default().signature(Signature::None),
    ] {
        fake.behave(|it| it.access_token = twist.clone());
        let token = fake.mint("alice", RESOURCE, "registry:read");
        assert_eq!(with_bearer(&registry, &token).await, 401, "{twist:?}");
    }
    fake.behave(|it| it.access_token = Twist::default());
    let token = fake.mint("alice", RESOURCE, "registry:write");
    assert_eq!(with_bearer(&registry, &token).await, 403);
    let token = fake.mint("alice", RESOURCE, "registry:write registry:read");
    assert_eq!(with_bearer(&registry, &token).await, 200);

    fake.behave(|it| it.id_token = Twist::default().claim("nonce", "another"));
    let (_, _, tokens) = login(&idp).await;
    let (_, claims) = jwt::verify(text(&tokens, "id_token"), &idp.keys().await).unwrap();
    assert_eq!(claims["nonce"], "another");
}

#[tokio::test]
async fn a_registry_refuses_tokens_it_is_told_to_refuse() {
    let idp = fake().await;
    let fake = provider(&idp);
    let registry = FakeRegistry::start().await;
    registry.protect(Guard::of(fake, RESOURCE));
    registry.leave_open("/open");
    registry.put_document("/open/registry.json", "{}");
    let address = Address::from_record(&registry.url());
    assert_eq!(address.get("/open/registry.json").await.status, 200);

    let answer = address.get(SERVERS).await;
    assert_eq!(answer.status, 401);
    let challenge = answer.header("www-authenticate");
    let metadata = format!(
        "resource_metadata=\"{}\"",
        registry.at("/.well-known/oauth-protected-resource")
    );
    assert!(
        challenge.starts_with("Bearer ") && challenge.contains(&metadata),
        "{challenge}"
    );
    assert!(!challenge.contains("error"), "{challenge}");
    let metadata = address.get("/.well-known/oauth-protected-resource").await;
    assert_eq!(
        metadata.json()["authorization_servers"],
        json!([fake.issuer()])
    );

    let token = fake.mint("alice", RESOURCE, "");
    registry.refuse_good_tokens(1);
    assert_eq!(with_bearer(&registry, &token).await, 401);
    assert_eq!(with_bearer(&registry, &token).await, 200);
    registry.ban(&token);
    assert_eq!(with_bearer(&registry, &token).await, 401);
    let other = fake.mint("alice", RESOURCE, "");
    assert_eq!(with_bearer(&registry, &other).await, 200);
    let journal = format!("{:?}", registry.requests());
    assert!(!journal.contains(&token) && !journal.contains(&other));
    registry.unprotect();
    assert_eq!(address.get(SERVERS).await.status, 200);
}

#[tokio::test]
async fn opaque_tokens_work_until_their_family_ends() {
    let idp = fake().await;
    let fake = provider(&idp);
    fake.behave(|it| it.access_format = TokenFormat::Opaque);
    let registry = FakeRegistry::start().await;
    registry.protect(Guard::of(fake, RESOURCE));
    let (_, _, tokens) = login(&idp).await;
    let token = text(&tokens, "access_token");
    assert!(jwt::read(token).is_none());
    assert_eq!(with_bearer(&registry, token).await, 200);
    fake.revoke_everything();
    assert_eq!(with_bearer(&registry, token).await, 401);
}

#[tokio::test]
async fn a_token_without_its_resource_is_for_nobody() {
    let idp = fake().await;
    let fake = provider(&idp);
    let registry = FakeRegistry::start().await;
    registry.protect(Guard::of(fake, RESOURCE));
    let (_, _, tokens) = login(&idp).await;
    let form = with(
        refresh_form(text(&tokens, "refresh_token")),
        &[("resource", "")],
    );
    let tokens = post(&fake.at(paths::TOKEN), &form).await.json();
    assert_eq!(
        with_bearer(&registry, text(&tokens, "access_token")).await,
        401
    );
}

#[tokio::test]
async fn people_and_networks_change_the_callback() {
    let idp = fake().await;
    let fake = provider(&idp);
    let go = async |user: User| {
        fake.users([user]);
        callback(&idp, &Login::new().parameters()).await
    };
    let back = go(User::Changed(
        "iss".to_owned(),
        Some("https://evil.test".to_owned()),
    ))
    .await;
    assert_eq!(param(&back, "iss").unwrap(), "https://evil.test");
    let back = go(User::Changed("state".to_owned(), None)).await;
    assert!(param(&back, "state").is_none() && param(&back, "code").is_some());
    let back = go(User::Added("code".to_owned(), "another".to_owned())).await;
    assert_eq!(back.matches("code=").count(), 2);
    let back = go(User::Fails("server_error".to_owned())).await;
    assert_eq!(param(&back, "error").unwrap(), "server_error");
    fake.users([User::Leaves]);
    let visit = page(&idp, &Login::new().parameters()).await;
    assert_eq!(visit.answer.status, 200);
    fake.behave(|it| it.sends_issuer = false);
    assert_eq!(
        param(&callback(&idp, &Login::new().parameters()).await, "iss"),
        None
    );
    fake.users([User::ApprovesAs("bob".to_owned())]);
    let (_, _, tokens) = login(&idp).await;
    let (_, claims) = jwt::read(text(&tokens, "id_token")).unwrap();
    assert_eq!(
        (claims["sub"].as_str(), claims["email"].as_str()),
        (Some("bob"), Some("bob@example.test"))
    );
}

#[tokio::test]
async fn parameters_that_come_twice_are_refused() {
    let idp = fake().await;
    let mut parameters = Login::new().parameters();
    parameters.push(("state".to_owned(), "again".to_owned()));
    assert_eq!(page(&idp, &parameters).await.answer.status, 400);
    let (_, _, tokens) = login(&idp).await;
    let mut form = refresh_form(text(&tokens, "refresh_token"));
    form.push(("client_id".to_owned(), "thv-cli".to_owned()));
    let answer = post(&provider(&idp).at(paths::TOKEN), &form).await;
    assert_error(&answer, 400, "invalid_request");
}

#[tokio::test]
async fn a_client_with_a_secret_proves_itself_in_one_way_only() {
    let idp = fake().await;
    let fake = provider(&idp);
    let (address, path) = Address::of_url(&fake.at(paths::TOKEN)).unwrap();
    fake.behave(|it| it.refresh_tokens = RefreshTokens::Always);
    fake.register(Client::public("basic", &["http://127.0.0.1/callback"]).basic("s:e c"));
    fake.register(Client::public("post", &["http://127.0.0.1/callback"]).post("s:e c"));
    // base64 of "basic:s%3Ae+c", both halves form-encoded.
    let header = "Basic YmFzaWM6cyUzQWUrYw==";
    for (id, by_header) in [("basic", true), ("post", false)] {
        let client = [("client_id", id)];
        let login = Login::new();
        let back = callback(&idp, &with(login.parameters(), &client)).await;
        let form = with(login.exchange(&param(&back, "code").unwrap()), &client);
        let secret = with(form.clone(), &[("client_secret", "s:e c")]);
        let by_basic = |form| form_call(&path, form).header("authorization", header);
        let right = if by_header {
            by_basic(&form)
        } else {
            form_call(&path, &secret)
        };
        for wrong in [
            form_call(&path, &form),
            by_basic(&secret),
            form_call(&path, &with(form.clone(), &[("client_secret", "x")])),
        ] {
            assert_error(&wrong.to(&address).await, 401, "invalid_client");
        }
        assert_eq!(right.to(&address).await.status, 200, "{id}");
    }
    fake.forget_client("post");
    let form = with(refresh_form("any"), &[("client_id", "post")]);
    assert_error(
        &post(&fake.at(paths::TOKEN), &form).await,
        401,
        "invalid_client",
    );
}

#[tokio::test]
async fn faults_come_when_and_where_they_are_told_to() {
    let idp = fake().await;
    let fake = provider(&idp);
    let url = fake.at(paths::TOKEN);
    let form = refresh_form("none");
    let (address, path) = Address::of_url(&url).unwrap();
    let once = |fault: Fault| {
        fake.heal();
        fake.break_with(Rule::always(fault).on(paths::TOKEN).times(1));
    };
    for (fault, status, starts) in [
        (Fault::Status(500), 500, "told"),
        (
            Fault::RetryLater {
                status: 503,
                seconds: 7,
            },
            503,
            "come back",
        ),
        (
            Fault::Error {
                status: 400,
                error: "invalid_grant".to_owned(),
            },
            400,
            "{\"error\":\"invalid_grant\"",
        ),
        (Fault::Html(200), 200, "<!doctype"),
        (Fault::Garbage, 200, "{\"access_token\": \"half"),
        (Fault::Empty, 200, ""),
        (
            Fault::RedirectTo {
                status: 302,
                url: "http://127.0.0.1:1/".to_owned(),
            },
            302,
            "",
        ),
    ] {
        once(fault);
        let answer = post(&url, &form).await;
        assert_eq!(answer.status, status);
        assert!(answer.text().starts_with(starts), "{answer:?}");
        assert_error(&post(&url, &form).await, 400, "invalid_grant");
    }
    once(Fault::Huge(20_000_000));
    assert!(post(&url, &form).await.body.len() > 20_000_000);
    for fault in [Fault::Cut, Fault::CutBody] {
        once(fault);
        form_call(&path, &form).attempt(&address).await.unwrap_err();
    }
    fake.refuse().await;
    form_call(&path, &form).attempt(&address).await.unwrap_err();
    fake.accept_again();
    assert_error(&post(&url, &form).await, 400, "invalid_grant");
}

#[tokio::test]
async fn a_lost_answer_has_cost_the_token() {
    let idp = fake().await;
    let fake = provider(&idp);
    let (_, _, tokens) = login(&idp).await;
    let token = text(&tokens, "refresh_token");
    fake.break_with(Rule::always(Fault::Lost).on(paths::TOKEN).times(1));
    let (address, path) = Address::of_url(&fake.at(paths::TOKEN)).unwrap();
    form_call(&path, &refresh_form(token))
        .attempt(&address)
        .await
        .unwrap_err();
    assert_eq!(fake.families()[0].refreshes, 1);
    assert_error(&refresh(&idp, token).await, 400, "invalid_grant");
    assert_eq!(fake.families()[0].ended, Some(Ended::Reused));
}

#[tokio::test]
async fn a_gate_holds_requests_before_or_after_the_work() {
    for after in [false, true] {
        let idp = fake().await;
        let fake = provider(&idp);
        let (_, _, tokens) = login(&idp).await;
        let gate = Gate::new();
        let fault = if after {
            Fault::HeldAfter(gate.clone())
        } else {
            Fault::HeldBefore(gate.clone())
        };
        fake.break_with(Rule::always(fault).on(paths::TOKEN));
        let watch = async {
            gate.arrived(1).await;
            let done = fake.families()[0].refreshes;
            gate.open();
            done
        };
        let (answer, done) =
            futures_util::future::join(refresh(&idp, text(&tokens, "refresh_token")), watch).await;
        assert_eq!(answer.status, 200);
        assert_eq!(done, usize::from(after));
    }
}

#[tokio::test]
async fn the_journal_and_the_secrets_are_complete() {
    let idp = fake().await;
    let fake = provider(&idp);
    let (login, code, tokens) = login(&idp).await;
    refresh(&idp, text(&tokens, "refresh_token")).await;
    assert_eq!(fake.token_count("authorization_code"), 1);
    assert_eq!(fake.token_count("refresh_token"), 1);
    let asked = &fake.requests_for(paths::TOKEN)[0];
    assert_eq!(asked.field("redirect_uri").as_deref(), Some(CALLBACK));
    assert_eq!(asked.field("resource").as_deref(), Some(RESOURCE));
    let secrets = fake.secrets();
    for secret in [
        &code,
        &login.verifier,
        text(&tokens, "access_token"),
        text(&tokens, "refresh_token"),
        text(&tokens, "id_token"),
    ] {
        assert!(secrets.iter().any(|known| known == secret), "{secret}");
    }
    fake.clear_journal();
    assert!(fake.requests().is_empty());
}

#[tokio::test]
async fn metadata_can_lie() {
    let idp = fake().await;
    let fake = provider(&idp);
    fake.behave(|it| {
        it.advertise("issuer", "https://honest.test");
        it.advertise("code_challenge_methods_supported", Value::Null);
        it.speaks_oauth = false;
    });
    let document = idp_kit::get(&fake.at(paths::OPENID)).await.json();
    assert_eq!(document["issuer"], "https://honest.test");
    assert!(document.get("code_challenge_methods_supported").is_none());
    assert_eq!(idp_kit::get(&fake.at(paths::OAUTH)).await.status, 404);
}
