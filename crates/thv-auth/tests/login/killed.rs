//! Logins whose process dies: what was there before stays, and the next login works.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use thv_auth::binding::Binding;
use thv_auth::login::LoginHow;
use thv_config::world::SystemClock;
use thv_testkit::provider::{CLIENT, Fault, Gate, Rule, User, paths};
use thv_testkit::wait;
use thv_testkit::worker::{self, Worker};
use url::Url;

use crate::support::{Machine, PASSWORD, REGISTRY, Running, logins_of, until_free};

/// Where the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// The store was tried; the provider is being asked for its endpoints.
    Discovering,
    /// The address was given out.
    Waiting,
    /// The code is on its way to the provider.
    Redeeming,
    /// The code is spent; its tokens are on their way to us.
    Redeemed,
    /// The tokens are here; who logged in is being checked.
    Checking,
    /// The grant is stored; the browser does not know yet.
    Stored,
}

#[tokio::test]
#[ignore = "runs in a process of its own, started by the test below"]
async fn login_worker() {
    let Some(task) = worker::task() else { return };
    let text = |name: &str| task[name].as_str().expect("text").to_owned();
    let home = text("home");
    let (_, logins) = logins_of(Path::new(&home), PASSWORD, SystemClock::new());
    let binding = Binding::new(REGISTRY, &text("issuer"), CLIENT).unwrap();
    let how = LoginHow {
        switch_account: true,
        callback_port: Some(0),
        announce: Some(Arc::new(|url| worker::say(&json!({"url": url.as_str()})))),
        ..LoginHow::default()
    };
    logins.login(&binding, how).await.expect("a login");
}

#[tokio::test]
async fn a_process_that_dies_at_any_step_of_a_login_loses_nothing_that_was_there() {
    for death in [
        Death::Discovering,
        Death::Waiting,
        Death::Redeeming,
        Death::Redeemed,
        Death::Checking,
        Death::Stored,
    ] {
        let machine = Machine::new().await;
        machine.log_in().await;
        let before = machine.stored().expect("a grant");
        die(&machine, death).await;

        let after = machine.stored().expect("a grant");
        assert!(after.dead.is_none() && after.intent.is_none(), "{death:?}");
        let is_new = after.login_id != before.login_id;
        assert_eq!(is_new, death == Death::Stored, "{death:?}");
        let who = after.account.map(|account| account.sub);
        let expected = if is_new { "bob" } else { "alice" };
        assert_eq!(who.as_deref(), Some(expected), "{death:?}");
        let again = LoginHow {
            callback_port: Some(0),
            switch_account: true,
            ..LoginHow::default()
        };
        let again = machine.start_as(again).await;
        again.browse().await;
        again.done().await;
    }
}

/// Lets bob log in in another process, and kills that.
async fn die(machine: &Machine, death: Death) {
    let gate = Gate::new();
    let fault = match death {
        Death::Discovering => Some((Fault::HeldBefore(gate.clone()), paths::OPENID)),
        Death::Redeeming => Some((Fault::HeldBefore(gate.clone()), paths::TOKEN)),
        Death::Redeemed => Some((Fault::HeldAfter(gate.clone()), paths::TOKEN)),
        Death::Checking => Some((Fault::HeldBefore(gate.clone()), paths::KEYS)),
        Death::Waiting | Death::Stored => None,
    };
    if let Some((fault, path)) = fault {
        machine.provider.break_with(Rule::always(fault).on(path));
    }
    machine.provider.users([User::ApprovesAs("bob".to_owned())]);
    let before = machine.stored().expect("a grant").generation;
    let task = json!({"home": machine.home.path(), "issuer": machine.provider.issuer()});
    let mut worker = Worker::start("killed::login_worker", &task).await;
    if death == Death::Discovering {
        gate.arrived(1).await;
        worker.kill().await;
        machine.provider.heal();
        return;
    }
    let said = worker.said(|line| line["url"].is_string()).await;
    let url = Url::parse(said["url"].as_str().expect("a URL")).unwrap();
    let running = Running {
        url,
        task: tokio::spawn(std::future::pending()),
    };
    if death != Death::Waiting {
        let callback = running.agree().await;
        assert_eq!(running.ask(&callback).await.status, 303);
    }
    match death {
        Death::Discovering | Death::Waiting => {}
        Death::Redeeming | Death::Redeemed | Death::Checking => gate.arrived(1).await,
        Death::Stored => {
            wait::until_true("the grant to be stored", || {
                machine.stored().expect("a grant").generation > before
            })
            .await;
        }
    }
    worker.kill().await;
    machine.provider.heal();
    until_free(running.port()).await;
}
