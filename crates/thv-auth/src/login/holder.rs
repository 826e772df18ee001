//! Who holds the port that a login needs, found out by asking there.
//!
//! The answer only makes an error text better, so little time is spent on it and nothing is believed beyond it.

use std::time::Duration;

use http::header::SERVER;
use thv_http::{Http, Limits, Policy, Request};
use url::Url;

use super::page::SERVER_NAME;

/// What the question may cost: a person waits for the error.
const LIMITS: Limits = Limits {
    total: Duration::from_secs(2),
    head: Duration::from_secs(2),
    idle: Duration::from_secs(2),
    max_bytes: 16 * 1024,
    max_redirects: 0,
};

/// Whether a login of another process of ours listens on `port` of this machine.
pub(super) async fn is_another_login(http: &Http, port: u16) -> bool {
    let Ok(url) = Url::parse(&format!("http://127.0.0.1:{port}/")) else {
        return false;
    };
    let question = Request::get(url).policy(Policy::PRIVATE).limits(LIMITS);
    match http.send(question).await {
        Ok(reply) => reply
            .headers
            .get(SERVER)
            .is_some_and(|server| server == SERVER_NAME),
        Err(_) => false,
    }
}
