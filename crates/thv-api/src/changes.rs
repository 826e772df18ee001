//! What clients are told of changes: registries, their catalogs and their logins, as they are now and since which moment.
//!
//! Only the latest state of each is kept, with a number that grows with every change: a client that was away gets what has
//! changed since its last number, once each. Looking costs a few reads of memory, so that whoever follows looks by itself.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use thv_auth::Auth;
use thv_auth::login::{LoginState, LoginView, Requester};
use thv_config::world::Clock;
use thv_registry::{DEFAULT_REGISTRY, Fault, Registries, Registry};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::discovery::Nonce;
use crate::error::EndOfLogin;
use crate::limits::CHANGES_POLL;
use crate::stream::Event;
use crate::wire::json;

/// The states that clients can follow.
#[derive(Debug)]
pub(crate) struct Changes {
    registries: Arc<Registries>,
    auth: Arc<Auth>,
    clock: Arc<dyn Clock>,
    /// Tells the numbers of this run of the server from those of another one.
    run: String,
    board: Mutex<Board>,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Board {
    /// The number of the last change.
    last: u64,
    entries: Vec<Entry>,
}

/// The latest state of one thing.
#[derive(Debug)]
struct Entry {
    registry: String,
    kind: &'static str,
    data: Vec<u8>,
    changed: u64,
}

/// A registry, as `registry` events tell it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RegistryChange)]
pub(crate) struct RegistryChange<'a> {
    /// Name of the registry.
    #[schema(example = "default")]
    registry: &'a str,
    /// `default`, `file`, `url` or `api`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// URL or absolute path; empty for the built-in registry.
    source: &'a str,
}

/// A catalog, as `catalog` events tell it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CatalogChange)]
pub(crate) struct CatalogChange<'a> {
    /// Name of the registry.
    #[schema(example = "default")]
    registry: &'a str,
    /// `loading`, `ready`, `stale`, `auth_required`, `legacy_format`, `unavailable` or `misconfigured`.
    #[schema(example = "ready")]
    state: &'static str,
    /// Why a login is needed, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<&'static str>,
    /// Names the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    digest: Option<&'a str>,
    /// Number of servers.
    servers: usize,
    /// Number of skills.
    skills: usize,
    /// Number of plugins.
    plugins: usize,
}

/// The login to a registry, as `auth` events tell it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuthChange)]
pub(crate) struct AuthChange<'a> {
    /// Name of the registry.
    #[schema(example = "default")]
    registry: &'a str,
    /// `none`, `configured` or `authenticated`.
    #[schema(example = "authenticated")]
    auth_status: &'static str,
    /// Kind of login; empty without one.
    auth_type: &'a str,
}

/// A login that has begun, as `login_started` events tell it: nothing by which it could be answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LoginStarted)]
pub(crate) struct LoginStarted<'a> {
    /// Name of the registry.
    #[schema(example = "default")]
    registry: &'a str,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// Which program has asked for it, by its own word.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    requested_by: Option<&'a str>,
}

/// A login that has ended, as `login_ended` events tell it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LoginEnded)]
pub(crate) struct LoginEnded<'a> {
    /// Name of the registry.
    #[schema(example = "default")]
    registry: &'a str,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// `authenticated`, `denied`, `expired`, `cancelled` or `failed`.
    #[schema(example = "authenticated")]
    state: &'static str,
}

// === impl Changes ===

impl Changes {
    pub(crate) fn new(registries: Arc<Registries>, auth: Arc<Auth>, clock: Arc<dyn Clock>) -> Self {
        Self {
            registries,
            auth,
            clock,
            // Without randomness all that a client loses is that it may miss what a restart has changed.
            run: Nonce::random().map_or_else(|_| "0".to_owned(), |nonce| nonce.as_str().to_owned()),
            board: Mutex::default(),
            stop: CancellationToken::new(),
        }
    }

    /// Ends all streams: the server is about to stop.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// The number that a client has reached whose last event had this id; 0 for an id that is not of this run.
    pub(crate) fn reached(&self, last_event_id: Option<&str>) -> u64 {
        last_event_id
            .and_then(|id| id.split_once('.'))
            .filter(|(run, _)| *run == self.run)
            .and_then(|(_, number)| number.parse().ok())
            .unwrap_or_default()
    }

    /// The first change after `reached`, as soon as there is one, and the number that is reached with it; `None` when the
    /// server stops.
    pub(crate) async fn next(&self, reached: u64) -> Option<(Event, u64)> {
        loop {
            if self.stop.is_cancelled() {
                return None;
            }
            if let Some(found) = self.look(reached) {
                return Some(found);
            }
            tokio::select! {
                () = self.clock.sleep(CHANGES_POLL) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    fn look(&self, reached: u64) -> Option<(Event, u64)> {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        for name in self.registries.names() {
            if let Some(registry) = self.registries.get(&name) {
                for (kind, data) in states(&registry) {
                    board.set(&name, kind, data);
                }
            }
        }
        if let Some(login) = self.auth.latest_login() {
            // Logins are to the registry that the configuration describes.
            for (kind, data) in ends_of(DEFAULT_REGISTRY, &login) {
                board.set(DEFAULT_REGISTRY, kind, data);
            }
        }
        let entry = board
            .entries
            .iter()
            .filter(|entry| entry.changed > reached)
            .min_by_key(|entry| entry.changed)?;
        let event = Event {
            id: format!("{}.{}", self.run, entry.changed),
            kind: entry.kind,
            data: entry.data.clone(),
        };
        Some((event, entry.changed))
    }
}

// === impl Board ===

impl Board {
    fn set(&mut self, registry: &str, kind: &'static str, data: Vec<u8>) {
        let entry = self
            .entries
            .iter_mut()
            .find(|entry| entry.kind == kind && entry.registry == registry);
        match entry {
            Some(entry) if entry.data == data => {}
            Some(entry) => {
                self.last += 1;
                entry.changed = self.last;
                entry.data = data;
            }
            None => {
                self.last += 1;
                self.entries.push(Entry {
                    registry: registry.to_owned(),
                    kind,
                    data,
                    changed: self.last,
                });
            }
        }
    }
}

/// What is told of a login: that it has begun, and that it has ended once it has.
fn ends_of(registry: &str, login: &LoginView) -> Vec<(&'static str, Vec<u8>)> {
    let started = LoginStarted {
        registry,
        started_at: login.started_at,
        requested_by: login.requester.as_ref().map(Requester::as_str),
    };
    let mut told = vec![("login_started", json::line(&started))];
    let state = match &login.state {
        LoginState::Pending | LoginState::Completing => None,
        LoginState::Succeeded(_) => Some("authenticated"),
        LoginState::Failed(error) => Some(EndOfLogin::of(error).state),
    };
    if let Some(state) = state {
        let ended = LoginEnded {
            registry,
            started_at: login.started_at,
            state,
        };
        told.push(("login_ended", json::line(&ended)));
    }
    told
}

/// All that is told of a registry.
fn states(registry: &Registry) -> [(&'static str, Vec<u8>); 3] {
    let info = registry.info();
    let catalog = registry.status();
    let reason = match &catalog.fault {
        Some((Fault::AuthRequired { reason, .. }, _)) => Some(reason.as_str()),
        _ => None,
    };
    let name = registry.name();
    [
        (
            "registry",
            json::line(&RegistryChange {
                registry: name,
                kind: info.kind.as_str(),
                source: &info.source,
            }),
        ),
        (
            "auth",
            json::line(&AuthChange {
                registry: name,
                auth_status: info.auth_status.as_str(),
                auth_type: &info.auth_type,
            }),
        ),
        (
            "catalog",
            json::line(&CatalogChange {
                registry: name,
                state: catalog.state,
                reason,
                digest: catalog.digest.as_deref(),
                servers: catalog.counts.servers,
                skills: catalog.counts.skills,
                plugins: catalog.counts.plugins,
            }),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_gets_a_number_and_what_stays_keeps_its_own() {
        let mut board = Board::default();
        let numbers = |board: &Board| -> Vec<_> {
            let entries = board.entries.iter();
            entries.map(|entry| (entry.kind, entry.changed)).collect()
        };
        board.set("default", "auth", b"1".to_vec());
        board.set("default", "catalog", b"1".to_vec());
        board.set("other", "auth", b"1".to_vec());
        assert_eq!(numbers(&board), [("auth", 1), ("catalog", 2), ("auth", 3)]);
        board.set("default", "catalog", b"1".to_vec());
        board.set("default", "auth", b"2".to_vec());
        assert_eq!(numbers(&board), [("auth", 4), ("catalog", 2), ("auth", 3)]);
    }
}
