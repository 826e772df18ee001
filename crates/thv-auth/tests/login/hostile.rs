//! Whatever else comes to the callback while a person logs in (the session's part of the hostile cases).

use std::time::Duration;

use thv_auth::login::LoginError;
use thv_testkit::client::{Address, Call, Method};
use thv_testkit::provider::{User, paths};

use crate::support::Machine;

const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn w13_ten_thousand_forged_callbacks_do_not_end_a_login() {
    let machine = Machine::new().await;
    let running = machine.start().await;
    let state = running.param("state");
    for number in 0..2_500 {
        // The first thousand are told why.
        let status = if number < 250 { 400 } else { 429 };
        for target in [
            format!("/callback?code=forged-{number}&state=forged-{number}"),
            format!("/callback?error=access_denied&n={number}"),
            format!("/callback?code=forged&state={state}&state={state}&n={number}"),
            format!("/callback?code=forged&n={number}"),
        ] {
            let answer = running.ask(&target).await;
            assert_eq!(answer.status, status, "{target}: {answer:?}");
        }
    }
    let pending = machine.logins.pending(&machine.binding).expect("a login");
    assert_eq!(pending.turned_away, 10_000);
    assert_eq!(machine.codes_redeemed(), 0);
    assert_eq!(running.browse().await.status, 200);
    assert_eq!(running.done().await.turned_away, 10_000);
    assert_eq!(machine.codes_redeemed(), 1);
}

#[tokio::test]
async fn w13_an_error_without_state_is_not_acted_on() {
    let machine = Machine::new().await;
    let running = machine.start().await;
    for target in [
        "/callback?error=access_denied",
        "/callback?error=access_denied&state=",
        "/callback?error=access_denied&state=guess",
    ] {
        assert_eq!(running.ask(target).await.status, 400, "{target}");
    }
    assert_eq!(running.browse().await.status, 200);
    running.done().await;
}

#[tokio::test]
async fn a_refusal_is_told_with_its_code_and_the_earlier_grant_stays() {
    let machine = Machine::new().await;
    machine.log_in().await;
    let before = machine.stored().expect("a grant").generation;
    machine.provider.users([User::Denies]);
    let running = machine.start().await;
    let page = running.browse().await;
    assert_eq!(page.status, 400, "{page:?}");
    assert!(!page.text().contains("access_denied"), "reflected");
    let error = running.error().await;
    assert!(
        matches!(&error, LoginError::Denied { code, .. } if code == "access_denied"),
        "{error:?}"
    );
    assert_eq!(machine.stored().expect("a grant").generation, before);
}

#[tokio::test]
async fn a_used_answer_is_gone() {
    let machine = Machine::new().await;
    let running = machine.start().await;
    let callback = running.agree().await;
    assert_eq!(running.ask(&callback).await.status, 303);
    let replayed = running.ask(&callback).await;
    assert_eq!(replayed.status, 410, "{replayed:?}");
    assert_eq!(running.ask("/callback/result").await.status, 200);
    running.done().await;
    assert_eq!(machine.codes_redeemed(), 1);
}

#[tokio::test]
async fn the_issuer_of_the_answer_decides_by_the_four_rows() {
    // advertised, sent, and whether the code may be redeemed
    for (advertised, sent, accepted) in [
        (true, true, true),
        (true, false, false),
        (false, true, true),
        (false, false, true),
    ] {
        let machine = Machine::new().await;
        machine.provider.behave(|provider| {
            provider.advertises_issuer = advertised;
            provider.sends_issuer = sent;
        });
        let running = machine.start().await;
        let page = running.browse().await;
        assert_eq!(
            page.status == 200,
            accepted,
            "{advertised} {sent}: {page:?}"
        );
        let outcome = running.outcome().await;
        if accepted {
            outcome.expect("a login");
        } else {
            assert!(matches!(outcome, Err(LoginError::ForeignIssuer { .. })));
        }
        assert_eq!(machine.codes_redeemed(), usize::from(accepted));
    }
}

#[tokio::test]
async fn an_answer_of_another_issuer_is_not_used_whether_or_not_one_was_promised() {
    for advertised in [true, false] {
        let machine = Machine::new().await;
        machine
            .provider
            .behave(|provider| provider.advertises_issuer = advertised);
        machine.provider.users([User::Changed(
            "iss".to_owned(),
            Some("https://evil.example".to_owned()),
        )]);
        let running = machine.start().await;
        assert_eq!(running.browse().await.status, 400);
        let error = running.error().await;
        assert!(
            error.to_string().contains("https://evil.example"),
            "{error}"
        );
        assert_eq!(machine.codes_redeemed(), 0);
        assert!(machine.stored().is_none());
    }
}

#[tokio::test]
async fn an_error_of_another_issuer_is_not_acted_on() {
    let machine = Machine::new().await;
    let running = machine.start().await;
    let state = running.param("state");
    let target =
        format!("/callback?error=access_denied&state={state}&iss=https%3A%2F%2Fevil.example");
    assert_eq!(running.ask(&target).await.status, 400);
    assert_eq!(running.browse().await.status, 200);
    running.done().await;
}

#[tokio::test]
async fn parameters_that_come_twice_are_refused_and_the_login_goes_on() {
    let machine = Machine::new().await;
    let running = machine.start().await;
    let issuer = machine.provider.issuer();
    for (name, value) in [
        ("code", "another"),
        ("iss", issuer.as_str()),
        ("state", "another"),
        ("error", "access_denied"),
    ] {
        machine
            .provider
            .users([User::Added(name.to_owned(), value.to_owned())]);
        assert_eq!(running.browse().await.status, 400, "{name}");
    }
    assert_eq!(machine.codes_redeemed(), 0);
    assert_eq!(running.browse().await.status, 200);
    running.done().await;
}

#[tokio::test]
async fn only_get_on_the_exact_path_is_an_answer() {
    let machine = Machine::new().await;
    let running = machine.start().await;
    let callback = running.agree().await;
    let address = Address::Tcp(([127, 0, 0, 1], running.port()).into());
    for method in [Method::HEAD, Method::POST, Method::OPTIONS, Method::PUT] {
        let answer = Call::new(method.clone(), &callback).to(&address).await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), "GET", "{method}");
    }
    for path in [
        "/callback/",
        "/Callback",
        "/",
        "/callback/result",
        "//callback",
    ] {
        let answer = running.ask(&callback.replace("/callback", path)).await;
        assert!(matches!(answer.status, 200 | 404), "{path}: {answer:?}");
    }
    let posted = Call::new(Method::POST, "/callback")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(callback.split_once('?').expect("a query").1.to_owned())
        .to(&address)
        .await;
    assert_eq!(posted.status, 405);
    assert_eq!(machine.codes_redeemed(), 0);
    assert_eq!(running.ask(&callback).await.status, 303);
    assert_eq!(running.ask("/callback/result").await.status, 200);
    running.done().await;
}

#[tokio::test]
async fn nothing_that_is_sent_comes_back() {
    let machine = Machine::new().await;
    let running = machine.start().await;
    let marked = "mark%3Cscript%3E";
    let state = running.param("state");
    for target in [
        format!("/callback?code={marked}&state={marked}"),
        format!("/callback?error=mark&error_description={marked}&state={marked}"),
        format!("/callback?state={state}&next=https%3A%2F%2Fmark.example&iss={marked}&error=mark"),
        format!("/{marked}?{marked}"),
        format!("/?next=https%3A%2F%2Fmark.example&{marked}"),
    ] {
        let answer = running.ask(&target).await;
        assert!(!answer.text().contains("mark"), "{target}: {answer:?}");
        assert_eq!(answer.header("location"), "", "{target}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{target}");
    }
    running.browse().await;
    running.done().await;
}

#[tokio::test]
async fn heads_without_end_are_cut_and_the_login_goes_on() {
    let machine = Machine::new().await;
    let running = machine.start().await;
    let address = Address::Tcp(([127, 0, 0, 1], running.port()).into());
    let mut connection = address.connect().await.unwrap();
    let mut flood = b"GET /callback?code=".to_vec();
    flood.resize(1024 * 1024, b'x');
    // The listener may close before all of it is written.
    let _ = connection.write(&flood).await;
    let (answer, closed) = connection.read_all(PATIENCE).await;
    assert!(closed);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"));
    assert_eq!(running.browse().await.status, 200);
    running.done().await;
}

#[tokio::test]
async fn f20_nobody_but_this_machine_reaches_the_listener() {
    let machine = Machine::new().await;
    let running = machine.start().await;
    let Some(outside) = outside_address() else {
        running.browse().await;
        running.done().await;
        return;
    };
    let attempt = tokio::net::TcpStream::connect((outside, running.port())).await;
    assert!(attempt.is_err(), "{outside} is answered");
    assert_eq!(running.browse().await.status, 200);
    running.done().await;
}

#[tokio::test]
async fn what_passes_through_a_login_is_in_no_log() {
    let machine = Machine::new().await;
    let running = machine.start().await;
    let state = running.param("state");
    for target in [
        "/callback?code=forged&state=forged".to_owned(),
        format!("/callback?state={state}"),
        "/elsewhere?code=forged".to_owned(),
    ] {
        running.ask(&target).await;
    }
    running.browse().await;
    running.done().await;
    machine
        .provider
        .users([User::Fails("server_error".to_owned())]);
    let running = machine.start().await;
    running.browse().await;
    running.error().await;
    assert_eq!(machine.provider.requests_for(paths::TOKEN).len(), 1);
    machine.assert_no_leaks();
}

/// An address of this machine that others can reach, found without sending anything.
fn outside_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}
