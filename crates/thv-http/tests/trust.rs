//! Certificate authorities: the system's, one from the settings, one from the environment;
//!
//! and the certificate by which we show who we are.
//!
//! `data/client_ca.pem` signed `data/client.pem`; `data/ca.pem` signed `data/server.pem` (localhost, 127.0.0.1, valid for a century); the authority's key is thrown away.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot be set up has failed"
)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use support::{options, with};
use thv_config::world::MapEnv;
use thv_http::{
    CERTIFICATE_VARIABLE, Http, HttpError, HttpOptions, KEY_VARIABLE, Policy, Reply, Request,
    parse_url,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// A TLS server that answers every request with `head` and no body.
async fn serve_tls(head: &'static str) -> String {
    serve_whom(WebPkiClientVerifier::no_client_auth(), head).await
}

/// One that lets only machines in that `data/client_ca.pem` knows.
async fn serve_known(head: &'static str) -> String {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(data("client_ca.pem")).expect("certificate"))
        .expect("an authority");
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
    serve_whom(verifier.expect("a verifier"), head).await
}

async fn serve_whom(clients: Arc<dyn ClientCertVerifier>, head: &'static str) -> String {
    let chain = vec![CertificateDer::from_pem_file(data("server.pem")).expect("certificate")];
    let key = PrivateKeyDer::from_pem_file(data("server.key")).expect("key");
    let config = ServerConfig::builder()
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .expect("config");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(socket).await else {
                    return;
                };
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream
                    .write_all(format!("{head}\r\ncontent-length: 0\r\n\r\n").as_bytes())
                    .await;
                let _ = stream.shutdown().await;
            });
        }
    });
    format!("https://{address}/")
}

fn trusting(path: PathBuf) -> Http {
    with(
        HttpOptions {
            extra_ca: Some(path),
            ..options()
        },
        MapEnv::new(),
    )
}

async fn ask(http: &Http, target: &str) -> Result<Reply, HttpError> {
    http.send(Request::get(parse_url(target).expect("url")).policy(Policy::PRIVATE))
        .await
}

#[tokio::test]
async fn an_unknown_authority_is_refused_and_the_remedy_named() {
    let server = serve_tls("HTTP/1.1 204 No Content").await;
    let failure = ask(&with(options(), MapEnv::new()), &server)
        .await
        .expect_err("untrusted");
    assert!(matches!(failure, HttpError::Tls { .. }), "{failure:?}");
    assert!(
        failure.to_string().contains("ca_certificate_path"),
        "{failure}"
    );
    assert!(failure.to_string().contains("SSL_CERT_FILE"), "{failure}");
}

#[tokio::test]
async fn the_authority_of_the_settings_is_trusted() {
    let server = serve_tls("HTTP/1.1 204 No Content").await;
    let reply = ask(&trusting(data("ca.pem")), &server)
        .await
        .expect("trusted");
    assert_eq!(reply.status, 204);
}

#[tokio::test]
async fn the_authority_of_the_environment_is_trusted() {
    let server = serve_tls("HTTP/1.1 204 No Content").await;
    let path = data("ca.pem");
    let http = with(
        options(),
        MapEnv::from([("SSL_CERT_FILE", path.to_str().expect("path"))]),
    );
    assert_eq!(ask(&http, &server).await.expect("trusted").status, 204);
}

#[tokio::test]
async fn a_redirect_from_https_to_http_is_refused() {
    let server = serve_tls("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/").await;
    let refusal = ask(&trusting(data("ca.pem")), &server)
        .await
        .expect_err("downgrade");
    assert!(
        matches!(refusal, HttpError::BadRedirect { .. }),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn an_unusable_ca_file_is_named() {
    let dir = tempfile::tempdir().expect("directory");
    let server = serve_tls("HTTP/1.1 204 No Content").await;
    let certificate = std::fs::read_to_string(data("ca.pem")).expect("pem");
    let half = &certificate[..certificate.len() / 2];
    let cases = [
        ("missing.pem", None, "No such file"),
        (
            "key.pem",
            Some(std::fs::read_to_string(data("server.key")).expect("key")),
            "holds no certificate",
        ),
        ("text.pem", Some("hello".to_owned()), "valid certificate"),
        ("half.pem", Some(half.to_owned()), "damaged"),
    ];
    for (name, content, expected) in cases {
        let path = dir.path().join(name);
        if let Some(content) = content {
            thv_config::disk::write_atomic(&path, content.as_bytes()).expect("write");
        }
        let failure = ask(&trusting(path.clone()), &server).await.expect_err(name);
        assert!(
            matches!(&failure, HttpError::Trust { path: named, .. } if *named == path),
            "{failure:?}"
        );
        assert!(failure.to_string().contains(expected), "{name}: {failure}");
    }
}

/// A client that trusts the server and shows what the variables name.
fn showing(variables: &[(&str, &Path)]) -> Http {
    let env = variables.iter().fold(MapEnv::new(), |env, (name, path)| {
        env.with_var(*name, path.to_str().expect("path"))
    });
    with(
        HttpOptions {
            extra_ca: Some(data("ca.pem")),
            ..options()
        },
        env,
    )
}

#[tokio::test]
async fn a_network_that_lets_only_known_machines_in_is_shown_our_certificate() {
    let server = serve_known("HTTP/1.1 204 No Content").await;
    let (chain, key) = (data("client.pem"), data("client.key"));
    let apart = showing(&[(CERTIFICATE_VARIABLE, &chain), (KEY_VARIABLE, &key)]);
    assert_eq!(ask(&apart, &server).await.expect("known").status, 204);

    let dir = tempfile::tempdir().expect("directory");
    let both = dir.path().join("both.pem");
    let text = [&chain, &key].map(|path| std::fs::read(path).expect("pem"));
    thv_config::disk::write_atomic(&both, &text.concat()).expect("write");
    let together = showing(&[(CERTIFICATE_VARIABLE, &both)]);
    assert_eq!(ask(&together, &server).await.expect("known").status, 204);

    let unknown = ask(&trusting(data("ca.pem")), &server).await;
    unknown.expect_err("nobody that is known there");
}

#[tokio::test]
async fn a_client_certificate_that_cannot_be_used_is_named_and_nothing_is_sent_without_it() {
    let server = serve_tls("HTTP/1.1 204 No Content").await;
    let absent = Path::new("/nonexistent/client.pem");
    let (chain, key) = (data("client.pem"), data("client.key"));
    let of_another = data("server.key");
    let cases: [(&[(&str, &Path)], &str); 4] = [
        (&[(CERTIFICATE_VARIABLE, absent)], "there is no such file"),
        (
            &[(CERTIFICATE_VARIABLE, &chain)],
            "the key that belongs to it",
        ),
        (
            &[(CERTIFICATE_VARIABLE, &chain), (KEY_VARIABLE, &of_another)],
            "the key that belongs to it",
        ),
        (&[(KEY_VARIABLE, &key)], "no certificate"),
    ];
    for (variables, expected) in cases {
        let failure = ask(&showing(variables), &server).await.expect_err(expected);
        assert!(
            matches!(failure, HttpError::ClientCertificate { .. }),
            "{failure:?}"
        );
        assert!(failure.to_string().contains(expected), "{failure}");
    }
}
