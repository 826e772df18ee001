//! What browsers, other programs of this machine, and impatient clients do to a login that waits (cases 17 to 31).

use std::net::{Ipv6Addr, TcpListener};
use std::time::Duration;

use serde_json::json;
use thv_testkit::browse::{Browser, browse};
use thv_testkit::client::{Address, Call, Method};
use thv_testkit::provider::{Fault, Gate, Rule, User, paths};
use thv_testkit::wait::{all, until_true};

use crate::auth_kit::{
    LOGIN, STANDARD, Stage, assert_needs_login, names, posted, report, until_joined,
};

fn callback(stage: &Stage) -> Address {
    Address::Tcp(([127, 0, 0, 1], stage.port).into())
}

#[tokio::test]
async fn b17_ten_thousand_forged_callbacks() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let login = stage.start_login(&server).await;
    let address = callback(&stage);
    for batch in 0..400 {
        let forged = (0..25).map(|index| {
            let path = match index % 3 {
                0 => format!("/callback?code=c{batch}&state=s{index}"),
                1 => format!("/callback?code=c{batch}"),
                _ => format!("/callback?state=a{index}&state=b&code=c"),
            };
            let address = address.clone();
            async move { Call::get(&path).attempt(&address).await }
        });
        // Too many at a time are turned away in one way or another.
        for answer in all(forged).await.into_iter().flatten() {
            assert!([400, 429, 503].contains(&answer.status), "{answer:?}");
        }
    }
    let _ = browse(&login.url).await;
    assert_eq!(login.answer().await.status, 200);
    assert_eq!(stage.provider.token_count("authorization_code"), 1);
}

#[tokio::test]
async fn b18_a_forged_error() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let login = stage.start_login(&server).await;
    for path in [
        "/callback?error=access_denied",
        "/callback?error=server_error&state=",
    ] {
        assert_eq!(callback(&stage).get(path).await.status, 400);
    }
    let _ = browse(&login.url).await;
    assert_eq!(login.answer().await.status, 200);
}

#[tokio::test]
async fn b20_no_iss_although_promised() {
    let stage = Stage::new().await;
    stage
        .provider
        .behave(|behaviour| behaviour.sends_issuer = false);
    let server = stage.server().await;
    let answer = stage.log_in(&server).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(stage.provider.token_count("authorization_code"), 0);
    assert_needs_login(&server.get(STANDARD).await, "never_logged_in");
}

#[tokio::test]
async fn b20_another_iss() {
    let stage = Stage::new().await;
    stage.provider.users([User::Changed(
        "iss".to_owned(),
        Some("https://honest.example".to_owned()),
    )]);
    let server = stage.server().await;
    let answer = stage.log_in(&server).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(stage.provider.token_count("authorization_code"), 0);
}

#[tokio::test]
async fn b21_odd_requests() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let login = stage.start_login(&server).await;
    let good = Browser::default()
        .open_until(&login.url, "http://localhost:")
        .await;
    let (address, path) = Address::of_url(&good).unwrap();
    let twice = format!("{path}&code=another");
    assert_eq!(address.get(&twice).await.status, 400);
    let nul = path.replace("code=", "code=%00");
    assert_eq!(address.get(&nul).await.status, 400);
    for method in [
        Method::POST,
        Method::OPTIONS,
        Method::PUT,
        Method::DELETE,
        Method::HEAD,
    ] {
        let answer = Call::new(method.clone(), &path)
            .body("code=x")
            .to(&address)
            .await;
        assert_eq!(answer.status, 405, "{method}: {answer:?}");
    }
    let long = format!("/callback?code={}", "x".repeat(1024 * 1024));
    if let Ok(answer) = Call::get(&long).attempt(&address).await {
        assert!([400, 414, 431].contains(&answer.status), "{answer:?}");
    }
    assert_eq!(stage.provider.token_count("authorization_code"), 0);
    let taken = address.get(&path).await;
    assert!(
        taken.status == 303 && !taken.header("location").contains("code="),
        "{taken:?}"
    );
    assert_eq!(login.answer().await.status, 200);
}

#[tokio::test]
async fn b22_a_replayed_callback() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let gate = Gate::new();
    stage
        .provider
        .break_with(Rule::always(Fault::HeldAfter(gate.clone())).on(paths::TOKEN));
    let login = stage.start_login(&server).await;
    let good = Browser::default()
        .open_until(&login.url, "http://localhost:")
        .await;
    let (address, path) = Address::of_url(&good).unwrap();
    let first = {
        let (address, path) = (address.clone(), path.clone());
        tokio::spawn(async move { address.get(&path).await })
    };
    gate.arrived(1).await;
    let replay = address.get(&path).await;
    assert_eq!(replay.status, 410, "{replay:?}");
    gate.open();
    assert_eq!(first.await.unwrap().status, 303);
    assert_eq!(login.answer().await.status, 200);
    assert!(
        Call::get(&path).attempt(&address).await.is_err(),
        "the port is still open"
    );
    assert_eq!(stage.provider.token_count("authorization_code"), 1);
}

#[tokio::test]
async fn b24_another_path() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let login = stage.start_login(&server).await;
    let good = Browser::default()
        .open_until(&login.url, "http://localhost:")
        .await;
    let (address, path) = Address::of_url(&good).unwrap();
    for other in [
        "/callback/",
        "/callback/b",
        "/Callback",
        "//callback",
        "/x/callback",
    ] {
        let answer = address.get(&path.replace("/callback", other)).await;
        assert_eq!(answer.status, 404, "{other}: {answer:?}");
    }
    login.drop_it().await;
}

#[tokio::test]
async fn b25_markup_in_an_error() {
    let stage = Stage::new().await;
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=y>";
    stage
        .provider
        .users([User::Fails(evil.to_owned()), User::Denies]);
    let server = stage.server().await;
    for _ in 0..2 {
        let login = stage.start_login(&server).await;
        let page = browse(&login.url).await.answer;
        let text = page.text();
        assert!(
            !text.contains("<script>") && !text.contains("<img"),
            "{page:?}"
        );
        assert!(
            page.header("content-security-policy")
                .contains("default-src 'none'"),
            "{page:?}"
        );
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert!(
            page.header("cache-control").contains("no-store"),
            "{page:?}"
        );
        let answer = login.answer().await;
        assert!(!answer.text().contains("<script>"), "{answer:?}");
        assert!((400..600).contains(&answer.status));
    }
}

#[tokio::test]
async fn b26_a_page_that_is_told_to_redirect() {
    let stage = Stage::new().await;
    stage.provider.users([User::Added(
        "next".to_owned(),
        "https://evil.example".to_owned(),
    )]);
    let server = stage.server().await;
    let login = stage.start_login(&server).await;
    let page = browse(&login.url).await.answer;
    assert_eq!(
        (page.status, page.header("location")),
        (200, ""),
        "{page:?}"
    );
    assert!(!page.text().contains("evil.example"), "{page:?}");
    assert_eq!(page.header("refresh"), "");
    assert_eq!(login.answer().await.status, 200);
}

#[tokio::test]
async fn b27_the_port_is_taken_on_the_other_loopback() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let Ok(_squatter) = TcpListener::bind((Ipv6Addr::LOCALHOST, stage.port)) else {
        // Without IPv6 there is nothing to squat on.
        return;
    };
    let answer = server.post(LOGIN, &json!({})).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(
        answer.text().contains(&stage.port.to_string()),
        "{answer:?}"
    );
    assert!(stage.opener.urls().is_empty());
}

#[tokio::test]
async fn b30_hundreds_of_logins_are_one() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let first = stage.start_login(&server).await;
    let others: Vec<_> = (0..200).map(|_| posted(server.address(), LOGIN)).collect();
    until_joined(&server, 200).await;
    // For so many, the steps from a request that is read to the login take longer.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let _ = browse(&first.url).await;
    assert_eq!(first.answer().await.status, 200);
    for other in others {
        let answer = other.await.unwrap();
        assert!([200, 429].contains(&answer.status), "{answer:?}");
    }
    assert_eq!((stage.opener.urls().len(), stage.authorizations()), (1, 1));
}

#[tokio::test]
async fn b31_a_client_that_leaves_during_the_exchange() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let gate = Gate::new();
    stage
        .provider
        .break_with(Rule::always(Fault::HeldAfter(gate.clone())).on(paths::TOKEN));
    let login = stage.start_login(&server).await;
    let url = login.url.clone();
    let browsing = tokio::spawn(async move { Browser::default().try_open(&url).await });
    gate.arrived(1).await;
    login.drop_it().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    gate.open();
    let page = browsing.await.unwrap().unwrap();
    assert_eq!(page.answer.status, 200, "{page:?}");
    until_true("the grant to be stored", || stage.store_bytes().len() > 200).await;
    assert_eq!(report(&server).await["state"], "authenticated");
    assert_eq!(names(&server).await.len(), 6);
}
