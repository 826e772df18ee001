//! Who holds the port that a login needs, found out by asking the system and by asking there.
//!
//! The answer only makes an error text better, so little time is spent on it and nothing is believed beyond it. A process of ours lets
//! nobody look into it, so that the system does not tell that it has the port: it says so itself.

use std::time::Duration;

use http::header::SERVER;
use thv_config::holder::{Process, port_holder};
use thv_http::{Http, Limits, Policy, Reply, Request};
use url::Url;

use super::page::{PID_HEADER, SERVER_NAME};
use crate::refresh::blocking;

/// What the question may cost: a person waits for the error.
const LIMITS: Limits = Limits {
    total: Duration::from_secs(2),
    head: Duration::from_secs(2),
    idle: Duration::from_secs(2),
    max_bytes: 16 * 1024,
    max_redirects: 0,
};

/// Who listens on a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Whether it is a login of another process of ours.
    pub(crate) is_login: bool,
    /// Which process that is, as far as can be told.
    pub(crate) process: Option<Process>,
}

/// Who listens on `port` of this machine.
pub(super) async fn holder_of(http: &Http, port: u16) -> Holder {
    let (login, process) = tokio::join!(login_at(http, port), blocking(move || port_holder(port)),);
    let told = login.as_ref().and_then(pid_of);
    Holder {
        is_login: login.is_some(),
        // Anybody can say a number: what it leads to has to be a program like this one.
        process: process.or_else(|| {
            let told = told.map(Process::of);
            let ours = Process::of(std::process::id());
            told.filter(|told| told.name.is_some() && told.name == ours.name)
        }),
    }
}

/// What a login of another process of ours says on `port`, if there is one.
async fn login_at(http: &Http, port: u16) -> Option<Reply> {
    let url = Url::parse(&format!("http://127.0.0.1:{port}/")).ok()?;
    let question = Request::get(url).policy(Policy::PRIVATE).limits(LIMITS);
    let reply = http.send(question).await.ok()?;
    let is_ours = reply.headers.get(SERVER)? == SERVER_NAME;
    is_ours.then_some(reply)
}

fn pid_of(reply: &Reply) -> Option<u32> {
    let pid = reply.headers.get(PID_HEADER)?.to_str().ok()?;
    pid.parse().ok().filter(|pid| *pid > 0)
}
