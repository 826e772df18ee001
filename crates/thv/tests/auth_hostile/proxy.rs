//! Proxies that lie, and settings that would lead to one (case 62).

use std::sync::{Arc, Mutex};

use serde_json::Value;
use thv_testkit::registry::FakeRegistry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::auth_kit::Stage;

/// Only a proxy could know this name.
const REGISTRY: &str = "https://registry.invalid";

/// A proxy that answers each `CONNECT` with the same bytes, hears what comes then, and hangs up.
struct FakeProxy {
    address: String,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl FakeProxy {
    async fn answering(answer: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let book = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answer, book) = (answer.clone(), Arc::clone(&book));
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    // The request, and what comes behind the answer to it.
                    for answer in [answer.as_bytes(), b""] {
                        let Ok(length @ 1..) = stream.read(&mut buffer).await else {
                            return;
                        };
                        book.lock().unwrap().extend_from_slice(&buffer[..length]);
                        let _ = stream.write_all(answer).await;
                    }
                });
            }
        });
        FakeProxy { address, heard }
    }

    fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned()
    }

    /// The setting, with a password for the proxy itself.
    fn setting(&self) -> String {
        format!("http://me:canary-password@{}", self.address)
    }
}

#[tokio::test]
async fn case_62_a_proxy_that_lies_gets_no_token_and_its_pages_are_not_shown() {
    let stage = Stage::new().await;
    let stranger = FakeRegistry::with_servers(3).await;
    stage.home.write_config(&stage.config_for(REGISTRY));
    let page = "<html><script>canary-page</script></html>";
    for answer in [
        format!(
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"canary-page\"\r\nContent-Type: text/html\r\n\r\n{page}"
        ),
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{page}"),
        format!(
            "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\n\r\n{page}"
        ),
        format!("HTTP/1.1 302 Found\r\nLocation: {}\r\n\r\n", stranger.url()),
        format!("HTTP/1.1 200 {}\r\n\r\n", "x".repeat(1024 * 1024)),
        format!("{page}\r\n\r\n"),
    ] {
        let proxy = FakeProxy::answering(answer.clone()).await;
        let setting = proxy.setting();
        let env = [
            ("HTTPS_PROXY", setting.as_str()),
            ("THV_REGISTRY_TOKEN", "canary-token"),
        ];
        let ran = stage.cli_with(&["registry", "list", "--debug"], &env).await;
        let start: String = answer.chars().take(40).collect();
        assert_eq!(ran.code, 5, "{start}: {}", ran.transcript());
        for canary in ["canary-page", "canary-token", "canary-password"] {
            assert!(
                !ran.stderr.contains(canary),
                "{start}: {}",
                ran.transcript()
            );
        }
        let heard = proxy.heard();
        assert!(
            heard.starts_with("CONNECT registry.invalid:443 HTTP/1.1\r\n"),
            "{heard}"
        );
        assert!(!heard.contains("canary-token"), "{heard}");
    }
    assert!(stranger.requests().is_empty(), "{:?}", stranger.requests());
}

#[tokio::test]
async fn case_62_a_proxy_is_named_where_people_look_and_comes_from_the_environment_alone() {
    let stage = Stage::new().await;
    let proxy = FakeProxy::answering("HTTP/1.1 403 Forbidden\r\n\r\n".to_owned()).await;
    let setting = proxy.setting();
    let config = stage.config_for(REGISTRY);
    stage.home.write_config(&config);
    let env = [("HTTPS_PROXY", setting.as_str())];
    let shown = format!("http://{}/", proxy.address);

    let status = stage
        .cli_with(&["registry", "status", "--format", "json"], &env)
        .await;
    assert_eq!(status.json()["proxy"], shown, "{}", status.transcript());
    let text = stage.cli_with(&["registry", "status"], &env).await;
    assert!(
        text.stdout.contains(&format!("Proxy:      {shown}")),
        "{}",
        text.transcript()
    );
    let doctor = stage.cli_with(&["doctor", "--format", "json"], &env).await;
    let diagnosis = doctor.json();
    let checks = diagnosis["checks"].as_array().unwrap();
    let check = checks
        .iter()
        .find(|check| check["id"] == "registry.proxy")
        .unwrap();
    assert!(
        check["evidence"].as_str().unwrap().contains(&shown),
        "{check}"
    );
    for ran in [&status, &text, &doctor] {
        assert!(
            !ran.transcript().contains("canary-password"),
            "{}",
            ran.transcript()
        );
    }

    // Neither the configuration nor what a web server passes on names one.
    let before = proxy.heard().len();
    stage.home.write_config(&format!(
        "{config}proxy: {setting}\nhttps_proxy: {setting}\nHTTPS_PROXY: {setting}\n"
    ));
    let passed_on = [
        ("REQUEST_METHOD", "GET"),
        ("HTTP_PROXY", setting.as_str()),
        ("PROXY", setting.as_str()),
    ];
    let status = stage
        .cli_with(&["registry", "status", "--format", "json"], &passed_on)
        .await;
    assert_eq!(
        status.json()["proxy"],
        Value::Null,
        "{}",
        status.transcript()
    );
    assert_eq!(proxy.heard().len(), before);
}
