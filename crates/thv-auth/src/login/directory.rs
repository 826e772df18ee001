//! The list of logins: at most one that runs per binding, and those that have ended, for a while.
//!
//! Plain bookkeeping under the lock of the parent module, which starts logins and ends them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::progress::Progress;

/// How many logins run at a time. There is one per registry and identity, so that more than a few are a fault or an attack.
pub(super) const MAX_RUNNING: usize = 16;

/// How long the end of a login can be asked for: a client that polls slowly, or was asleep, still learns it.
const KEPT_FOR: Duration = Duration::from_mins(15);

/// How many ended logins are kept, whatever their age.
const MAX_ENDED: usize = 64;

/// All logins of a process.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// By the key of what was configured when they began.
    running: HashMap<String, Running>,
    /// The latest last.
    ended: VecDeque<Ended>,
    /// The one that began last.
    latest: Option<Arc<Progress>>,
}

/// A login that runs.
#[derive(Debug)]
pub(super) struct Running {
    /// The key of what it asks for: when that has become the configuration, the login has still to end.
    pub(super) asks_for: String,
    /// The registry's host, for people.
    pub(super) registry: String,
    /// How many callers wait for its end.
    pub(super) waiting: usize,
    /// Whether it goes on when nobody waits: whoever knows its name may come back.
    pub(super) is_held: bool,
    pub(super) progress: Arc<Progress>,
}

#[derive(Debug)]
struct Ended {
    at: Duration,
    progress: Arc<Progress>,
}

// === impl Directory ===

impl Directory {
    pub(super) fn is_full(&self) -> bool {
        self.running.len() >= MAX_RUNNING
    }

    pub(super) fn insert(&mut self, key: String, login: Running) {
        self.latest = Some(Arc::clone(&login.progress));
        self.running.insert(key, login);
    }

    pub(super) fn of(&self, key: &str) -> Option<&Running> {
        let mut running = self.running.values();
        self.running
            .get(key)
            .or_else(|| running.find(|login| login.asks_for == key))
    }

    pub(super) fn of_mut(&mut self, key: &str) -> Option<&mut Running> {
        if self.running.contains_key(key) {
            return self.running.get_mut(key);
        }
        let mut running = self.running.values_mut();
        running.find(|login| login.asks_for == key)
    }

    pub(super) fn latest(&self) -> Option<Arc<Progress>> {
        self.latest.clone()
    }

    pub(super) fn running(&self) -> impl Iterator<Item = &Running> {
        self.running.values()
    }

    /// The login of this name, running or ended a while ago.
    pub(super) fn find(&self, id: &str, now: Duration) -> Option<Arc<Progress>> {
        let ended = self.ended.iter().filter(|login| login.is_kept(now));
        let running = self.running.values().map(|login| &login.progress);
        running
            .chain(ended.map(|login| &login.progress))
            .find(|progress| progress.id().as_str() == id)
            .cloned()
    }

    /// Moves a login to those that have ended.
    pub(super) fn retire(&mut self, key: &str, now: Duration) {
        let Some(login) = self.running.remove(key) else {
            return;
        };
        self.ended.retain(|login| login.is_kept(now));
        if self.ended.len() == MAX_ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(Ended {
            at: now,
            progress: login.progress,
        });
    }

    pub(super) fn count(&self) -> usize {
        self.running.len()
    }
}

// === impl Ended ===

impl Ended {
    fn is_kept(&self, now: Duration) -> bool {
        now.saturating_sub(self.at) < KEPT_FOR
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::resource::LoginId;
    use super::*;
    use crate::binding::Binding;

    fn login() -> (String, Running) {
        let id = LoginId::new().expect("randomness");
        let name = id.as_str().to_owned();
        let time = Timestamp::UNIX_EPOCH;
        let binding = Binding::new("https://r.example", "https://id.example", "thv");
        let binding = binding.expect("a binding");
        let login = Running {
            asks_for: binding.key(),
            registry: "r.example".to_owned(),
            waiting: 0,
            is_held: false,
            progress: Arc::new(Progress::new(id, binding, None, time, time)),
        };
        (name, login)
    }

    #[test]
    fn an_ended_login_can_be_found_for_a_quarter_of_an_hour() {
        let mut directory = Directory::default();
        let (name, login) = login();
        directory.insert("key".to_owned(), login);
        directory.retire("key", Duration::ZERO);
        assert!(directory.of("key").is_none());
        let late = KEPT_FOR.saturating_sub(Duration::from_secs(1));
        assert!(directory.find(&name, late).is_some());
        assert!(directory.find(&name, KEPT_FOR).is_none());
        assert!(directory.find("", Duration::ZERO).is_none());
    }

    #[test]
    fn only_so_many_ended_logins_are_kept() {
        let mut directory = Directory::default();
        let mut names = Vec::new();
        for _ in 0..=MAX_ENDED {
            let (name, login) = login();
            names.push(name);
            directory.insert("key".to_owned(), login);
            directory.retire("key", Duration::ZERO);
        }
        let found = |name: &String| directory.find(name, Duration::ZERO).is_some();
        assert!(!names.first().is_some_and(found), "the oldest is forgotten");
        assert!(names.iter().skip(1).all(found));
    }

    #[test]
    fn names_are_long_and_never_printed() {
        let (name, login) = login();
        assert_eq!(name.len(), 32);
        assert!(!format!("{login:?}").contains(&name));
        let (other, _) = self::login();
        assert_ne!(name, other);
    }
}
