//! How often people are asked to log in without anybody answering, remembered across restarts.
//!
//! A program that starts logins by itself, an agent for example, would otherwise put one prompt after the other in front of a
//! person who is not there. What was answered is forgotten; the rest is a small file that all processes of a user share. Losing
//! it costs nothing but the memory of some minutes, so that no fault of the disk ever stands in the way of a login.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thv_config::disk;
use thv_config::world::Clock;

use crate::limits::{PROMPT_TIME, PROMPTS_UNANSWERED};

/// Most bytes that the file may have; with the most prompts for a handful of registries it has some hundred.
const FILE_MAX: u64 = 64 * 1024;

/// How long the file's lock is waited for; it is held for as long as it takes to write a few lines.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// The layout of the file.
const VERSION: u32 = 1;

/// Counts prompts that nobody has answered. Clones share it. Every method blocks.
#[derive(Clone, Debug)]
pub(crate) struct PromptBudget {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    /// What the file would say if it could be written.
    unwritten: Mutex<Option<Ledger>>,
}

/// When somebody was asked, by the key of what they were to log in to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ledger {
    version: u32,
    unanswered: BTreeMap<String, Vec<Timestamp>>,
}

// === impl PromptBudget ===

impl PromptBudget {
    /// The budget that is kept in the file at `path`.
    pub(crate) fn new(path: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self {
            inner: Arc::new(Inner {
                path,
                clock,
                unwritten: Mutex::default(),
            }),
        }
    }

    /// Counts one more prompt, or says after which time there may be one again.
    pub(crate) fn take(&self, key: &str) -> Result<(), Duration> {
        self.change(|ledger, now| ledger.take(key, now))
    }

    /// Takes the last prompt back: nobody was asked after all.
    pub(crate) fn give_back(&self, key: &str) {
        self.forgive(|ledger| ledger.give_back(key));
    }

    /// Somebody is there.
    pub(crate) fn answered(&self, key: &str) {
        self.forgive(|ledger| drop(ledger.unanswered.remove(key)));
    }

    /// Makes room. Where nothing is counted there is nothing to do, and no file is touched for that.
    fn forgive(&self, work: impl FnOnce(&mut Ledger)) {
        if self.inner.path.exists() || self.inner.lock().is_some() {
            self.change(|ledger, _| work(ledger));
        }
    }

    fn change<T>(&self, work: impl FnOnce(&mut Ledger, Timestamp) -> T) -> T {
        let inner = &*self.inner;
        let mut unwritten = inner.lock();
        let lock_path = inner.path.with_extension("lock");
        let lock = disk::FileLock::acquire(&lock_path, &*inner.clock, LOCK_WAIT);
        let before = unwritten.take().or_else(|| inner.read());
        let now = inner.clock.now();
        let mut ledger = before.clone().unwrap_or_default();
        ledger.forget_old(now);
        let result = work(&mut ledger, now);
        if before.as_ref() != Some(&ledger)
            && (lock.is_err() || !inner.write(&ledger, before.is_none()))
        {
            *unwritten = Some(ledger);
        }
        result
    }
}

// === impl Inner ===

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Ledger>> {
        self.unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What the file says, if it says anything that can be understood.
    fn read(&self) -> Option<Ledger> {
        let bytes = disk::read_bounded(&self.path, FILE_MAX).ok()?;
        let ledger: Ledger = serde_json::from_slice(&bytes).ok()?;
        (ledger.version == VERSION).then_some(ledger)
    }

    /// Whether the file says it now. None is made for nothing.
    fn write(&self, ledger: &Ledger, is_new: bool) -> bool {
        if is_new && ledger.unanswered.is_empty() {
            return true;
        }
        let Ok(bytes) = serde_json::to_vec(ledger) else {
            return false;
        };
        match disk::write_atomic(&self.path, &bytes) {
            Ok(()) => true,
            Err(cause) => {
                tracing::debug!(path = %self.path.display(), %cause, "prompts are counted in memory only");
                false
            }
        }
    }
}

// === impl Ledger ===

impl Default for Ledger {
    fn default() -> Self {
        Self {
            version: VERSION,
            unanswered: BTreeMap::new(),
        }
    }
}

impl Ledger {
    fn take(&mut self, key: &str, now: Timestamp) -> Result<(), Duration> {
        let prompts = self.unanswered.entry(key.to_owned()).or_default();
        prompts.sort_unstable();
        // With the last ones of the budget still in force, the oldest of them has to pass first.
        let oldest = prompts
            .len()
            .checked_sub(PROMPTS_UNANSWERED)
            .and_then(|index| prompts.get(index));
        if let Some(oldest) = oldest {
            let passed = now.duration_since(*oldest).unsigned_abs();
            return Err(PROMPT_TIME.saturating_sub(passed));
        }
        prompts.push(now);
        Ok(())
    }

    fn give_back(&mut self, key: &str) {
        if let Some(prompts) = self.unanswered.get_mut(key) {
            prompts.pop();
        }
    }

    /// Drops what is over, and what a clock that was ahead has written: it would count for ever.
    fn forget_old(&mut self, now: Timestamp) {
        let counts = |at: &Timestamp| {
            let passed = now.duration_since(*at);
            !passed.is_negative() && passed.unsigned_abs() < PROMPT_TIME
        };
        for prompts in self.unanswered.values_mut() {
            prompts.retain(counts);
        }
        self.unanswered.retain(|_, prompts| !prompts.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use thv_config::world::ManualClock;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    struct House {
        directory: tempfile::TempDir,
        clock: ManualClock,
    }

    impl House {
        fn new() -> Self {
            Self {
                directory: tempfile::tempdir().expect("a directory"),
                clock: ManualClock::new("2026-11-25T12:00:00Z".parse().expect("a time")),
            }
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("state/login-prompts.json")
        }

        /// The budget as another process, or a later one, has it.
        fn budget(&self) -> PromptBudget {
            PromptBudget::new(self.path(), Arc::new(self.clock.clone()))
        }
    }

    #[test]
    fn three_prompts_that_nobody_answers_are_all_for_ten_minutes_and_across_restarts() {
        let house = House::new();
        for _ in 0..PROMPTS_UNANSWERED {
            assert_eq!(house.budget().take("a"), Ok(()));
            house.clock.advance(MINUTE);
        }
        assert_eq!(house.budget().take("a"), Err(MINUTE * 7));
        assert_eq!(house.budget().take("b"), Ok(()), "another login is free");
        house.clock.advance(MINUTE * 7);
        assert_eq!(house.budget().take("a"), Ok(()), "the first one is over");
        assert_eq!(house.budget().take("a"), Err(MINUTE));
    }

    #[test]
    fn an_answer_and_a_prompt_that_was_not_shown_make_room() {
        let house = House::new();
        for _ in 0..PROMPTS_UNANSWERED {
            assert_eq!(house.budget().take("a"), Ok(()));
        }
        house.budget().give_back("a");
        assert_eq!(house.budget().take("a"), Ok(()));
        assert!(house.budget().take("a").is_err());
        house.budget().answered("a");
        for _ in 0..PROMPTS_UNANSWERED {
            assert_eq!(house.budget().take("a"), Ok(()));
        }
    }

    #[test]
    fn no_file_and_no_clock_stands_in_the_way_of_a_login() {
        let house = House::new();
        let later = house.clock.now() + Duration::from_hours(24);
        for content in [
            String::new(),
            "[]".to_owned(),
            r#"{"version":2,"unanswered":{"a":"another layout"}}"#.to_owned(),
            format!(r#"{{"version":1,"unanswered":{{"a":["{later}","{later}","{later}"]}}}}"#),
        ] {
            disk::write_atomic(&house.path(), content.as_bytes()).expect("a file");
            assert_eq!(house.budget().take("a"), Ok(()), "{content}");
            house.budget().answered("a");
        }
    }

    #[test]
    fn what_cannot_be_written_is_remembered_by_the_process() {
        let house = House::new();
        // Where the directory should be there is a file.
        let in_the_way = house.directory.path().join("state");
        disk::write_atomic(&in_the_way, b"").expect("a file");
        let budget = house.budget();
        for _ in 0..PROMPTS_UNANSWERED {
            assert_eq!(budget.take("a"), Ok(()));
        }
        assert!(budget.take("a").is_err());
        budget.answered("a");
        assert_eq!(budget.take("a"), Ok(()));
    }

    #[test]
    fn nothing_is_written_for_nothing() {
        let house = House::new();
        house.budget().answered("a");
        house.budget().give_back("a");
        assert!(!house.path().exists());
        assert!(!house.path().with_extension("lock").exists());
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let house = House::new();
        assert_eq!(house.budget().take("a"), Ok(()));
        let mode = |path: &std::path::Path| {
            std::fs::metadata(path).expect("there").permissions().mode() & 0o777
        };
        assert_eq!(mode(&house.path()), 0o600);
        assert_eq!(mode(house.path().parent().expect("a directory")), 0o700);
    }
}
