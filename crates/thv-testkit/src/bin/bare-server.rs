//! The limit the benches compare with: axum answering given bytes on given paths and doing nothing else.
//!
//! `bare-server --port 9001 /api/v1beta/registry/default/servers=list.json` serves the file's bytes as JSON on that
//! path, compared as sent, with its percent-encoding. With `--port 0` the printed URL has the port chosen.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a tool for the developer's own terminal"
)]

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

const USAGE: &str = "usage: bare-server [--port P] PATH=FILE…";

type Bodies = Arc<HashMap<String, Bytes>>;

fn main() -> ExitCode {
    let mut port = 0_u16;
    let mut bodies = HashMap::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--port" {
            let Some(value) = arguments.next().and_then(|value| value.parse().ok()) else {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            };
            port = value;
        } else if let Some((path, file)) = argument.split_once('=') {
            bodies.insert(
                path.to_owned(),
                Bytes::from(std::fs::read(file).expect("a readable file")),
            );
        } else {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    serve(port, Arc::new(bodies));
    ExitCode::SUCCESS
}

#[tokio::main]
async fn serve(port: u16, bodies: Bodies) {
    let app = Router::new().fallback(answer).with_state(bodies);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .expect("a free port");
    println!("http://{}", listener.local_addr().expect("an address"));
    axum::serve(listener, app).await.expect("an accept loop");
}

async fn answer(State(bodies): State<Bodies>, uri: Uri) -> Response {
    match bodies.get(uri.path()) {
        Some(body) => ([(header::CONTENT_TYPE, "application/json")], body.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
