//! Whole exchanges against small servers on this machine: credentials, redirects, addresses and bounds.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request as Incoming;
use axum::http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, COOKIE, LOCATION, USER_AGENT,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::{StreamExt as _, stream};
use support::{Gone, http, http_in, serve};
use thv_http::{
    Bearer, HttpError, Limits, Phase, PlainHttp, Policy, Redirects, Request, parse_url,
};
use tokio::sync::mpsc;
use url::Url;

fn url(text: impl AsRef<str>) -> Url {
    parse_url(text.as_ref()).expect("url")
}

fn private(target: impl AsRef<str>) -> Request {
    Request::get(url(target)).policy(Policy::PRIVATE)
}

/// Answers with the credentials it was sent.
fn credentials() -> Router {
    Router::new().route(
        "/seen",
        get(|headers: HeaderMap| async move {
            let sent = |name| {
                headers
                    .get(name)
                    .map_or("none", |value| value.to_str().unwrap())
                    .to_owned()
            };
            format!("{} {}", sent(AUTHORIZATION), sent(COOKIE))
        }),
    )
}

fn redirect_to(location: String) -> (StatusCode, [(axum::http::HeaderName, String); 1]) {
    (StatusCode::FOUND, [(LOCATION, location)])
}

#[tokio::test]
async fn w12_bearer_stays_on_its_origin() {
    let other = serve(credentials()).await;
    let elsewhere = redirect_to(format!("{other}/seen"));
    let home = serve(
        credentials()
            .route("/away", get(move || async move { elsewhere.clone() }))
            .route("/near", get(|| async { redirect_to("/seen".to_owned()) })),
    )
    .await;
    let ask = |path: &str| {
        let target = url(format!("{home}{path}"));
        let bearer = Bearer::for_url("s3cret".to_owned().into(), &target);
        Request::get(target)
            .policy(Policy::PRIVATE)
            .bearer(bearer)
            .header(COOKIE, HeaderValue::from_static("session=1"))
    };
    let http = http();
    let near = http.send(ask("/near")).await.expect("near");
    assert_eq!(near.body, "Bearer s3cret session=1");
    let away = http.send(ask("/away")).await.expect("away");
    assert_eq!(away.body, "none none");
    assert_eq!(away.url.as_str(), format!("{other}/seen"));
}

#[tokio::test]
async fn case_40_an_api_key_stays_on_its_origin_like_a_bearer() {
    const HEADER: &str = "x-api-key";
    let seen = || {
        Router::new().route(
            "/seen",
            get(|headers: HeaderMap| async move {
                let key = headers.get(HEADER).map(|value| value.to_str().unwrap());
                let bearer = headers.contains_key(AUTHORIZATION);
                format!("{} {bearer}", key.unwrap_or("none"))
            }),
        )
    };
    let other = serve(seen()).await;
    let elsewhere = redirect_to(format!("{other}/seen"));
    let home = serve(
        seen()
            .route("/away", get(move || async move { elsewhere.clone() }))
            .route("/near", get(|| async { redirect_to("/seen".to_owned()) })),
    )
    .await;
    for (path, expected) in [("/near", "s3cret false"), ("/away", "none false")] {
        let target = url(format!("{home}{path}"));
        let key = Bearer::for_url("s3cret".to_owned().into(), &target)
            .in_header(axum::http::HeaderName::from_static(HEADER));
        let request = Request::get(target).policy(Policy::PRIVATE).bearer(key);
        let reply = http().send(request).await.expect("reply");
        assert_eq!(reply.body, expected, "{path}");
    }
}

#[tokio::test]
async fn w12_a_bearer_of_another_origin_is_not_attached() {
    let home = serve(credentials()).await;
    let bearer = Bearer::for_url(
        "s3cret".to_owned().into(),
        &url("https://registry.example/"),
    );
    let reply = http()
        .send(private(format!("{home}/seen")).bearer(bearer))
        .await
        .expect("reply");
    assert_eq!(reply.body, "none none");
}

#[tokio::test]
async fn a_credential_does_not_come_back_after_a_detour() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let home = serve(credentials()).await;
    let other = serve({
        let home = home.clone();
        Router::new().route(
            "/",
            get(move || async move { redirect_to(format!("{home}/seen")) }),
        )
    })
    .await;
    let start = serve(Router::new().route(
        "/",
        get(move |headers: HeaderMap| async move {
            tell.send(headers.contains_key(AUTHORIZATION)).unwrap();
            redirect_to(other)
        }),
    ))
    .await;
    let target = url(&start);
    let bearer = Bearer::for_url("s3cret".to_owned().into(), &target);
    let reply = http()
        .send(private(&start).bearer(bearer))
        .await
        .expect("reply");
    assert_eq!(told.recv().await, Some(true));
    assert_eq!(reply.body, "none none");
}

#[tokio::test]
async fn an_endless_body_is_cut_at_the_limit() {
    let gone = Gone::new();
    let held = gone.clone();
    let endless = serve(Router::new().route(
        "/",
        get(move || async move {
            let guard = held.guard();
            let pieces = stream::repeat_with(move || {
                let _held = &guard;
                Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 16 * 1024]))
            });
            Body::from_stream(pieces)
        }),
    ))
    .await;
    let limits = Limits::DEFAULT.with_max_bytes(1024 * 1024);
    let refusal = http()
        .send(private(endless).limits(limits))
        .await
        .expect_err("endless");
    assert_eq!(refusal, HttpError::TooLarge { limit: 1024 * 1024 });
    assert_eq!(
        refusal.to_string(),
        "the answer is larger than 1048576 bytes"
    );
    gone.wait().await;
}

#[tokio::test]
async fn w26_an_announced_gibibyte_is_refused_before_it_is_read() {
    let large = serve(Router::new().route(
        "/",
        get(|| async {
            (
                [(CONTENT_LENGTH, "1073741824")],
                Body::from_stream(stream::pending::<std::io::Result<Bytes>>()),
            )
        }),
    ))
    .await;
    let refusal = http().send(private(large)).await.expect_err("large");
    assert!(matches!(refusal, HttpError::TooLarge { .. }), "{refusal}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_gzip_bomb_is_measured_inflated() {
    let bomb = gzip(&vec![0; 32 * 1024 * 1024]);
    assert!(bomb.len() < 64 * 1024);
    let server = serve(
        Router::new()
            .route(
                "/bomb",
                get(move || async move { ([(CONTENT_ENCODING, "gzip")], bomb) }),
            )
            .route(
                "/small",
                get(|| async { ([(CONTENT_ENCODING, "gzip")], gzip(b"{\"servers\":[]}")) }),
            ),
    )
    .await;
    let limits = Limits::DEFAULT.with_max_bytes(1024 * 1024);
    let refusal = http()
        .send(private(format!("{server}/bomb")).limits(limits))
        .await
        .expect_err("bomb");
    assert_eq!(refusal, HttpError::TooLarge { limit: 1024 * 1024 });
    let small = http()
        .send(private(format!("{server}/small")))
        .await
        .expect("small");
    assert_eq!(small.body, "{\"servers\":[]}");
}

#[tokio::test]
async fn text_is_handed_on_as_it_came() {
    let latin = serve(Router::new().route(
        "/",
        get(|| async {
            (
                [("content-type", "text/plain; charset=iso-8859-1")],
                &b"caf\xe9"[..],
            )
        }),
    ))
    .await;
    let reply = http().send(private(latin)).await.expect("reply");
    assert_eq!(&reply.body[..], b"caf\xe9");
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up() {
    let stalling = serve(Router::new().route(
        "/",
        get(|| async {
            let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{"))]);
            Body::from_stream(first.chain(stream::pending()))
        }),
    ))
    .await;
    let limits = Limits {
        idle: Duration::from_millis(50),
        ..Limits::DEFAULT
    };
    let failure = http()
        .send(private(stalling).limits(limits))
        .await
        .expect_err("stalled");
    assert_eq!(
        failure,
        HttpError::Timeout {
            limit: limits.idle,
            which: Phase::Idle
        }
    );
    assert_eq!(
        failure.to_string(),
        "the next piece of the answer took longer than 50 ms"
    );
    assert!(failure.is_timeout() && failure.is_unreachable());
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let silent =
        serve(Router::new().route("/", get(|| async { std::future::pending::<()>().await }))).await;
    let head = Limits {
        head: Duration::from_millis(50),
        ..Limits::DEFAULT
    };
    let failure = http()
        .send(private(&silent).limits(head))
        .await
        .expect_err("silent");
    assert_eq!(
        failure,
        HttpError::Timeout {
            limit: head.head,
            which: Phase::Head
        }
    );
    let total = Limits {
        total: Duration::from_millis(50),
        ..Limits::DEFAULT
    };
    let failure = http()
        .send(private(&silent).limits(total))
        .await
        .expect_err("silent");
    assert_eq!(
        failure,
        HttpError::Timeout {
            limit: total.total,
            which: Phase::Total
        }
    );
}

#[tokio::test]
async fn a_redirect_loop_ends() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let circle = serve(Router::new().route(
        "/",
        get(move || async move {
            count.fetch_add(1, Ordering::SeqCst);
            redirect_to("/".to_owned())
        }),
    ))
    .await;
    let failure = http().send(private(&circle)).await.expect_err("loop");
    assert_eq!(failure, HttpError::TooManyRedirects { limit: 10 });
    assert_eq!(seen.load(Ordering::SeqCst), 11);
    let refused = private(&circle).policy(Policy::PRIVATE.with_redirects(Redirects::Refuse));
    assert!(matches!(
        http().send(refused).await,
        Err(HttpError::BadRedirect { .. })
    ));
}

#[tokio::test]
async fn private_addresses_are_refused_by_number_and_by_name() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let server = serve(Router::new().route(
        "/",
        get(move || async move {
            count.fetch_add(1, Ordering::SeqCst);
        }),
    ))
    .await;
    let policy = Policy {
        plain_http: PlainHttp::Allow,
        ..Policy::PUBLIC
    };
    let port = url(&server).port().expect("port");
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "127.1",
        "[::ffff:127.0.0.1]",
        "localhost",
    ] {
        let target = url(format!("http://{host}:{port}/"));
        let refusal = http()
            .send(Request::get(target).policy(policy))
            .await
            .expect_err(host);
        assert!(
            matches!(refusal, HttpError::Blocked { .. }),
            "{host}: {refusal}"
        );
        assert!(
            refusal.to_string().contains("private IP address"),
            "{host}: {refusal}"
        );
        assert!(refusal.is_refused_by_policy());
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0, "nothing was sent");
}

#[tokio::test]
async fn a_pooled_private_connection_serves_no_public_request() {
    let server = serve(Router::new().route("/", get(|| async { "ok" }))).await;
    let target = url(server.replace("127.0.0.1", "localhost"));
    let http = http();
    let first = http
        .send(Request::get(target.clone()).policy(Policy::PRIVATE))
        .await
        .expect("allowed");
    assert_eq!(first.status, StatusCode::OK);
    let policy = Policy {
        plain_http: PlainHttp::Allow,
        ..Policy::PUBLIC
    };
    let refusal = http
        .send(Request::get(target).policy(policy))
        .await
        .expect_err("refused");
    assert!(matches!(refusal, HttpError::Blocked { .. }), "{refusal}");
}

#[tokio::test]
async fn w25_a_dropped_request_closes_the_connection() {
    for streaming in [false, true] {
        let gone = Gone::new();
        let held = gone.clone();
        let (tell, mut told) = mpsc::unbounded_channel();
        let server = serve(Router::new().route(
            "/",
            get(move || async move {
                let guard = held.guard();
                tell.send(()).unwrap();
                if streaming {
                    let pieces = stream::unfold(guard, |guard| async move {
                        tokio::task::yield_now().await;
                        Some((Ok::<_, std::io::Error>(Bytes::from_static(b"x")), guard))
                    });
                    return Body::from_stream(pieces).into_response();
                }
                let _held = guard;
                std::future::pending::<()>().await;
                Body::empty().into_response()
            }),
        ))
        .await;
        let http = http();
        let asking = http.send(private(server));
        tokio::select! {
            answer = asking => panic!("answered: {answer:?}"),
            _ = told.recv() => {}
        }
        gone.wait().await;
    }
}

#[tokio::test]
async fn a_refused_connection_says_so() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("port");
    let address = listener.local_addr().expect("address");
    drop(listener);
    let failure = http()
        .send(private(format!("http://{address}/")))
        .await
        .expect_err("closed port");
    assert_eq!(
        failure.to_string(),
        "no connection to 127.0.0.1: connection refused"
    );
    assert!(failure.is_unreachable() && !failure.is_timeout());
}

#[tokio::test]
async fn a_name_that_does_not_exist_says_so() {
    let failure = http()
        .send(private("http://nothing.invalid/"))
        .await
        .expect_err("no such name");
    assert!(
        matches!(&failure, HttpError::Dns { host, .. } if host == "nothing.invalid"),
        "{failure}"
    );
}

#[tokio::test]
async fn the_proxy_of_the_environment_is_used_and_this_machine_is_not_behind_it() {
    let proxy = serve(
        Router::new()
            .fallback(|incoming: Incoming| async move { format!("proxied {}", incoming.uri()) }),
    )
    .await;
    let direct = serve(Router::new().route("/", get(|| async { "direct" }))).await;
    let http = http_in([
        ("HTTP_PROXY", proxy.as_str()),
        ("NO_PROXY", "exempt.invalid"),
    ]);
    let policy = Policy {
        plain_http: PlainHttp::Allow,
        ..Policy::PUBLIC
    };
    let ask = |target: &str| http.send(Request::get(url(target)).policy(policy));

    let proxied = ask("http://registry.invalid/v0.1/servers?limit=1")
        .await
        .expect("proxied");
    assert_eq!(
        proxied.body,
        "proxied http://registry.invalid/v0.1/servers?limit=1"
    );
    assert!(matches!(
        ask("http://10.0.0.1/").await,
        Err(HttpError::Blocked { .. })
    ));
    assert!(matches!(
        ask("http://exempt.invalid/").await,
        Err(HttpError::Dns { .. })
    ));
    assert_eq!(
        http.send(private(direct)).await.expect("direct").body,
        "direct"
    );
}

#[tokio::test]
async fn case_62_no_credential_goes_through_a_proxy_in_clear() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let proxy = serve(Router::new().fallback(move || async move {
        counted.fetch_add(1, Ordering::Relaxed);
        "proxied"
    }))
    .await;
    let http = http_in([("HTTP_PROXY", proxy.as_str())]);
    let target = url("http://registry.invalid/v0.1/servers");
    let bearer = Bearer::for_url("canary-token".to_owned().into(), &target);
    let key = bearer.clone().in_header(HeaderName::from_static("x-key"));
    for credential in [bearer, key] {
        let request = Request::get(target.clone()).policy(Policy::PRIVATE);
        let sent = http.send(request.bearer(credential)).await;
        assert!(
            matches!(sent, Err(HttpError::CredentialsInClear { .. })),
            "{sent:?}"
        );
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn f16_every_request_says_who_asks() {
    let server = serve(Router::new().route(
        "/",
        get(|headers: HeaderMap| async move { headers[USER_AGENT].to_str().unwrap().to_owned() }),
    ))
    .await;
    let named = http().send(private(&server)).await.expect("reply");
    assert_eq!(named.body, "thv-test/1.0");
    let own = private(&server).header(USER_AGENT, HeaderValue::from_static("ToolHive/1.0"));
    assert_eq!(http().send(own).await.expect("reply").body, "ToolHive/1.0");
}

#[cfg(unix)]
#[tokio::test]
async fn a_server_on_a_socket_is_asked_through_it() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("thv.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("socket");
    let app = Router::new().route("/health", get(|| async { StatusCode::NO_CONTENT }));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let ask = || Request::get(url("http://localhost/health"));
    let reply = http().send(ask().over_socket(&path)).await.expect("reply");
    assert_eq!(reply.status, StatusCode::NO_CONTENT);
    let missing = http()
        .send(ask().over_socket(dir.path().join("none.sock")))
        .await;
    assert!(
        matches!(missing, Err(HttpError::Connect { .. })),
        "{missing:?}"
    );
}
