//! Tests of claiming, publishing and releasing the record, with a clock that is moved by hand.

use std::time::Duration;

use thv_config::world::ManualClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

const NONCE: &str = "0123456789abcdef0123456789abcdef";

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
    clock: ManualClock,
    discovery: Discovery,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("toolhive/server/server.json");
    let clock = ManualClock::new("2026-03-19T16:22:54Z".parse().unwrap());
    Place {
        discovery: Discovery::new(path.clone(), Arc::new(clock.clone())),
        path,
        clock,
        _directory: directory,
    }
}

impl Place {
    fn write(&self, url: &str, pid: u32) {
        record::secure_directory(&self.path).unwrap();
        let record = Record {
            url: url.to_owned(),
            pid,
            nonce: NONCE.to_owned(),
            started_at: "2026-03-19T16:22:54Z".to_owned(),
            token: None,
        };
        record::write(&self.path, &record).unwrap();
    }

    /// Claims while the time goes on whenever the claim waits for it.
    async fn claim(&self) -> Result<Claim, ClaimError> {
        let time = async {
            loop {
                self.clock.asleep(1).await;
                self.clock.advance(limits::PREDECESSOR_PAUSE);
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            claimed = self.discovery.claim() => claimed,
            () = time => unreachable!(),
        }
    }
}

/// A server that answers every request with its nonce.
async fn healthy() -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let answer = format!("HTTP/1.1 204 No Content\r\nX-Toolhive-Nonce: {NONCE}\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, serving)
}

/// The number of a process that has ended.
fn dead_process() -> u32 {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

/// A process that lives and is not this one.
const LIVING: u32 = 1;

#[tokio::test]
async fn a_first_server_claims_publishes_and_releases() {
    let place = place();
    let nonce = Nonce::random().unwrap();
    let claim = place.claim().await.unwrap();
    let published = claim
        .publish("http://127.0.0.1:1", &nonce, None)
        .await
        .unwrap();
    let Found::Record(record) = record::read(&place.path).unwrap() else {
        panic!("no record");
    };
    assert_eq!(record.nonce, nonce.as_str());
    assert_eq!(record.pid, std::process::id());
    assert_eq!(record.started_at, "2026-03-19T16:22:54.000000000Z");
    published.release().await;
    assert_eq!(record::read(&place.path).unwrap(), Found::Nothing);
}

#[tokio::test]
async fn w38_a_running_server_is_left_alone_and_named() {
    let place = place();
    let (url, serving) = healthy().await;
    place.write(&url, 4242);
    let error = place.claim().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("another ToolHive server is already running at {url} (PID 4242)")
    );
    assert!(matches!(
        record::read(&place.path).unwrap(),
        Found::Record(_)
    ));
    assert_eq!(place.discovery.running().await.unwrap().url, url);
    serving.abort();
}

#[tokio::test]
async fn a_predecessor_on_its_way_out_is_waited_for() {
    let place = place();
    let (url, serving) = healthy().await;
    place.write(&url, dead_process());
    let claiming = {
        let discovery = place.discovery.clone();
        tokio::spawn(async move { discovery.claim().await })
    };
    place.clock.asleep(1).await;
    serving.abort();
    let _ = serving.await;
    place.clock.advance(limits::PREDECESSOR_PAUSE);
    assert!(claiming.await.unwrap().is_ok());
}

#[tokio::test]
async fn the_record_of_a_dead_process_is_taken_over_at_once() {
    let place = place();
    place.write("http://127.0.0.1:1", dead_process());
    let start = place.clock.monotonic();
    place
        .claim()
        .await
        .unwrap()
        .publish("unix:///x", &Nonce::random().unwrap(), None)
        .await
        .unwrap();
    assert_eq!(place.clock.monotonic(), start, "nothing was waited for");
    assert!(place.discovery.running().await.is_none());
}

#[tokio::test]
async fn the_record_of_a_silent_process_is_taken_over_after_a_while() {
    let place = place();
    place.write("http://127.0.0.1:1", LIVING);
    let start = place.clock.monotonic();
    drop(place.claim().await.unwrap());
    let waited = place.clock.monotonic().saturating_sub(start);
    assert!(waited >= limits::PREDECESSOR_TIME, "{waited:?}");
    assert!(
        waited < limits::PREDECESSOR_TIME + Duration::from_secs(1),
        "{waited:?}"
    );
}

#[tokio::test]
async fn w38_a_record_of_somebody_else_is_not_removed() {
    let place = place();
    let claim = place.claim().await.unwrap();
    let ours = claim
        .publish("unix:///a", &Nonce::random().unwrap(), None)
        .await
        .unwrap();
    place.write("unix:///b", LIVING);
    ours.release().await;
    let Found::Record(record) = record::read(&place.path).unwrap() else {
        panic!("the record is gone");
    };
    assert_eq!(record.url, "unix:///b");
}

#[tokio::test]
async fn a_claim_excludes_others_until_it_is_dropped() {
    let place = place();
    let first = place.claim().await.unwrap();
    assert!(matches!(place.claim().await, Err(ClaimError::Lock(_))));
    drop(first);
    assert!(place.claim().await.is_ok());
}

#[tokio::test]
async fn an_unreadable_record_stands_in_the_way_only_where_others_could_write_it() {
    use std::os::unix::fs::PermissionsExt;
    let place = place();
    record::secure_directory(&place.path).unwrap();
    thv_config::disk::write_atomic(&place.path, b"not json").unwrap();
    drop(place.claim().await.unwrap());
    let directory = place.path.parent().unwrap();
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = place.claim().await.unwrap_err();
    assert!(matches!(error, ClaimError::Untrusted { .. }), "{error}");
}

#[test]
fn nonces_are_32_digits_and_differ() {
    let (one, other) = (Nonce::random().unwrap(), Nonce::random().unwrap());
    assert_ne!(one, other);
    assert_eq!(one.as_str().len(), 32);
    assert!(one.as_str().bytes().all(|digit| digit.is_ascii_hexdigit()));
}
