//! Several callers, several logins, one port.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use thv_auth::login::{
    LOGIN_TIME, LoginError, LoginHow, LoginState, PortHolder, RESOURCE_LOGIN_TIME,
};
use thv_config::holder::Process;

use crate::support::{Machine, RecordingOpener, authorizations, until_free};

fn on_port(port: u16) -> LoginHow {
    LoginHow {
        callback_port: Some(port),
        ..LoginHow::default()
    }
}

/// This process, as it is told of who holds a port.
fn told_process() -> String {
    Process::of(std::process::id()).to_string()
}

#[tokio::test]
async fn w14_parallel_logins_share_one_flow() {
    let machine = Machine::new().await;
    let opener = Arc::new(RecordingOpener::default());
    let how = LoginHow {
        opener: Some(Arc::clone(&opener) as _),
        callback_port: Some(0),
        ..LoginHow::default()
    };
    let first = machine.start_as(how.clone()).await;
    let second = machine.start_as(how).await;
    assert_eq!(first.url, second.url);
    let pending = machine.logins.pending(&machine.binding).expect("a login");
    assert_eq!(pending.waiting, 2);
    assert_eq!(first.browse().await.status, 200);
    let (first, second) = (first.done().await, second.done().await);
    assert_eq!(first, second);
    assert_eq!(opener.opened.lock().unwrap().len(), 1);
    assert_eq!(authorizations(&machine.provider), 1);
    assert_eq!(machine.codes_redeemed(), 1);
}

#[tokio::test]
async fn a_login_goes_on_until_the_last_caller_has_left() {
    let machine = Machine::new().await;
    let first = machine.start().await;
    let second = machine.start().await;
    let third = machine.start().await;
    first.task.abort();
    assert!(first.task.await.is_err());
    assert_eq!(second.browse().await.status, 200);
    second.done().await;
    third.done().await;
}

#[tokio::test]
async fn whoever_comes_while_an_abandoned_login_ends_gets_one_of_his_own() {
    let machine = Machine::new().await;
    let first = machine.start().await;
    let (url, port) = (first.url.clone(), first.port());
    first.task.abort();
    assert!(first.task.await.is_err());
    let second = machine.start_as(on_port(port)).await;
    assert_ne!(second.url, url);
    assert_eq!(second.browse().await.status, 200);
    second.done().await;
}

#[tokio::test]
async fn w13_a_busy_port_is_named_and_no_other_is_taken() {
    let machine = Machine::new().await;
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = holder.local_addr().unwrap().port();
    // A holder that never answers must not keep us.
    let error = machine.refused(on_port(port)).await;
    assert_eq!(
        error,
        LoginError::PortBusy {
            port,
            holder: PortHolder::Unknown {
                process: Some(told_process())
            },
            is_ours: false,
        }
    );
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    assert_eq!(authorizations(&machine.provider), 0);
    drop(holder);
    until_free(port).await;
    let running = machine.start_as(on_port(port)).await;
    assert_eq!(running.browse().await.status, 200);
    running.done().await;
}

#[tokio::test]
async fn a_port_that_another_login_of_this_process_holds_is_named_with_its_registry() {
    let machine = Machine::new().await;
    let running = machine.start().await;
    let mut other = machine.binding.clone();
    other.client_id = "another".to_owned();
    let how = LoginHow {
        announce: Some(Arc::new(|_| ())),
        ..on_port(running.port())
    };
    let error = machine.logins.login(&other, how).await.unwrap_err();
    assert_eq!(
        error,
        LoginError::PortBusy {
            port: running.port(),
            holder: PortHolder::ThisProcess {
                registry: "registry.example".to_owned()
            },
            is_ours: false,
        }
    );
    running.browse().await;
    running.done().await;
}

#[tokio::test]
async fn a_port_that_the_login_of_another_process_holds_is_known_as_such() {
    let machine = Machine::new().await;
    let elsewhere = Machine::new().await;
    let running = elsewhere.start().await;
    let error = machine.refused(on_port(running.port())).await;
    assert_eq!(
        error,
        LoginError::PortBusy {
            port: running.port(),
            holder: PortHolder::AnotherLogin {
                process: Some(told_process())
            },
            is_ours: false,
        }
    );
    running.browse().await;
    running.done().await;
}

#[tokio::test]
async fn whoever_joins_a_login_of_more_time_waits_no_longer_than_for_one_of_its_own() {
    let machine = Machine::new().await;
    let how = LoginHow {
        callback_port: Some(0),
        time: Some(RESOURCE_LOGIN_TIME),
        ..LoginHow::default()
    };
    let held = machine.logins.start(&machine.binding, &how).await.unwrap();
    machine.clock.advance(Duration::from_mins(1));
    let joined = machine.start_as(LoginHow::default()).await;
    machine.clock.asleep(2).await;
    let second = Duration::from_secs(1);
    machine.clock.advance(LOGIN_TIME.saturating_sub(second));
    tokio::task::yield_now().await;
    assert!(!joined.task.is_finished());
    machine.clock.advance(second);
    let error = joined.task.await.unwrap().unwrap_err();
    assert_eq!(
        error,
        LoginError::Expired {
            limit: LOGIN_TIME,
            turned_away: 0
        }
    );
    let watch = machine.logins.watch(held.view.id.as_str()).unwrap();
    assert_eq!(watch.view().state, LoginState::Pending, "it goes on");
}
