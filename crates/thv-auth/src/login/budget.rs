//! How often people are asked to log in without anybody answering, remembered across restarts.
//!
//! A program that starts logins by itself, an agent for example, would otherwise put one prompt after the other in front of a
//! person who is not there. The rule: three prompts of programs within [`PROMPT_TIME`] that nobody answers are all, until a
//! person acts. That is one who answers a login (whoever started it, and a refusal is an answer, too), or who begins one on the command
//! line with a terminal; without a terminal the command line is a program like others. A machine on which nobody ever does either
//! is asked again after [`SPENT_TIME`].
//!
//! What was answered is forgotten, and what its own client has withdrawn counts half, for [`PROMPT_TIME`] only: nobody is left
//! with it, but one could be opened and withdrawn after the other. A prompt of the desktop client is a person's click, of which
//! there may be more, and counts for nobody else; each is forgotten after [`PROMPT_TIME`], so that its user is never locked out for long. It is known by a header that any program of the user could send: this is a fence
//! against carelessness, not against one who may call the API and wants to annoy. The rest is a small file that all processes of a user share. Losing
//! it costs nothing but the memory of some prompts, so that no fault of the disk ever stands in the way of a login.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thv_config::disk;
use thv_config::world::Clock;

use super::error::LoginError;
use crate::limits::{DESKTOP_PROMPTS_UNANSWERED, PROMPT_TIME, PROMPTS_UNANSWERED, SPENT_TIME};

/// Most bytes that the file may have; with the most prompts for a handful of registries it has some hundred.
const FILE_MAX: u64 = 64 * 1024;

/// How long the file's lock is waited for; it is held for as long as it takes to write a few lines.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// The layout of the file.
const VERSION: u32 = 1;

/// How much a prompt weighs that waits for an answer, and one that was withdrawn.
const WEIGHT: usize = 2;
const WITHDRAWN_WEIGHT: usize = 1;

/// How soon after the last prompt its withdrawal still counts where that prompt was the last of all.
const WITHDRAWAL_TIME: Duration = Duration::from_mins(1);

/// What the key of the desktop client's prompts ends in.
const DESKTOP: &str = "-desktop";

/// Who puts a prompt in front of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompter {
    /// The person, on the command line with a terminal: it is not counted.
    Person,
    /// The desktop client.
    Desktop,
    /// Any other program, and the command line where no terminal is.
    Program,
}

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
    #[serde(default)]
    withdrawn: BTreeMap<String, Vec<Timestamp>>,
}

// === impl Prompter ===

impl Prompter {
    /// How many prompts may go unanswered.
    fn most(self) -> Option<usize> {
        match self {
            Self::Person => None,
            Self::Desktop => Some(DESKTOP_PROMPTS_UNANSWERED),
            Self::Program => Some(PROMPTS_UNANSWERED),
        }
    }

    /// Under which name its prompts of the login `key` are counted.
    fn key(self, key: &str) -> String {
        match self {
            Self::Desktop => format!("{key}{DESKTOP}"),
            Self::Person | Self::Program => key.to_owned(),
        }
    }
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
    pub(crate) fn take(&self, key: &str, by: Prompter) -> Result<(), Duration> {
        let Some(most) = by.most() else {
            return Ok(());
        };
        self.change(|ledger, now| ledger.take(&by.key(key), most, now))
    }

    /// Takes the last prompt back: nobody was asked after all.
    pub(crate) fn give_back(&self, key: &str, by: Prompter) {
        if by.most().is_some() {
            self.forgive(|ledger| {
                ledger.pop(&by.key(key));
            });
        }
    }

    /// A program has withdrawn its last prompt, or it came to nothing for which no person need have been there.
    pub(crate) fn withdrawn(&self, key: &str) {
        self.forgive_at(|ledger, now| {
            // What is spent stays so, once it was left to nobody for a while.
            let was_left = |at: Timestamp| now.duration_since(at).unsigned_abs() > WITHDRAWAL_TIME;
            if !ledger.spent_since(key).is_some_and(was_left)
                && let Some(at) = ledger.pop(key)
            {
                ledger.withdrawn.entry(key.to_owned()).or_default().push(at);
            }
        });
    }

    /// A prompt of `by` ended so, after somebody may have answered it.
    pub(crate) fn ended(&self, key: &str, by: Prompter, error: &LoginError) {
        if error.was_answered() {
            self.answered(key);
        } else if error.may_be_answered() && by == Prompter::Program {
            self.withdrawn(key);
        }
    }

    /// Somebody is there.
    pub(crate) fn answered(&self, key: &str) {
        self.forgive(|ledger| {
            for key in [key, &Prompter::Desktop.key(key)] {
                ledger.unanswered.remove(key);
                ledger.withdrawn.remove(key);
            }
        });
    }

    /// Makes room. Where nothing is counted there is nothing to do, and no file is touched for that.
    fn forgive(&self, work: impl FnOnce(&mut Ledger)) {
        self.forgive_at(|ledger, _| work(ledger));
    }

    fn forgive_at(&self, work: impl FnOnce(&mut Ledger, Timestamp)) {
        if self.inner.path.exists() || self.inner.lock().is_some() {
            self.change(work);
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
        if is_new && ledger.is_empty() {
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
            withdrawn: BTreeMap::new(),
        }
    }
}

impl Ledger {
    /// The prompts of `key` and what each weighs, the oldest first.
    fn counted(&self, key: &str) -> Vec<(Timestamp, usize)> {
        let weighed = |prompts: &BTreeMap<String, Vec<Timestamp>>, weight: usize| {
            let prompts = prompts.get(key).into_iter().flatten();
            prompts.map(|at| (*at, weight)).collect::<Vec<_>>()
        };
        let mut counted = weighed(&self.unanswered, WEIGHT);
        counted.extend(weighed(&self.withdrawn, WITHDRAWN_WEIGHT));
        counted.sort_unstable();
        counted
    }

    /// When the last prompt of programs was, if there may be none after it before a person acts.
    fn spent_since(&self, key: &str) -> Option<Timestamp> {
        let unanswered = self.unanswered.get(key)?;
        let is_spent = !key.ends_with(DESKTOP) && unanswered.len() >= PROMPTS_UNANSWERED;
        unanswered.iter().max().copied().filter(|_| is_spent)
    }

    fn take(&mut self, key: &str, most: usize, now: Timestamp) -> Result<(), Duration> {
        if let Some(since) = self.spent_since(key) {
            let passed = now.duration_since(since).unsigned_abs();
            return Err(SPENT_TIME.saturating_sub(passed));
        }
        let counted = self.counted(key);
        let mut weight: usize = counted.iter().map(|(_, weight)| weight).sum();
        // The oldest ones have to pass until there is room for another.
        let mut last_to_pass = None;
        for (at, of_one) in counted {
            if weight + WEIGHT <= most * WEIGHT {
                break;
            }
            weight -= of_one;
            last_to_pass = Some(at);
        }
        if let Some(at) = last_to_pass {
            let passed = now.duration_since(at).unsigned_abs();
            return Err(PROMPT_TIME.saturating_sub(passed));
        }
        let prompts = self.unanswered.entry(key.to_owned()).or_default();
        prompts.push(now);
        Ok(())
    }

    /// Takes the last prompt out.
    fn pop(&mut self, key: &str) -> Option<Timestamp> {
        self.unanswered.get_mut(key)?.pop()
    }

    fn is_empty(&self) -> bool {
        self.unanswered.is_empty() && self.withdrawn.is_empty()
    }

    /// Drops what is over, and what a clock that was ahead has written: it would count for ever. Where all are spent, none is over
    /// before the last is.
    fn forget_old(&mut self, now: Timestamp) {
        let lasts = |at: &Timestamp, time: Duration| {
            let passed = now.duration_since(*at);
            !passed.is_negative() && passed.unsigned_abs() < time
        };
        let keys = self.unanswered.keys();
        let spent: Vec<String> = keys
            .filter(|key| {
                let since = self.spent_since(key);
                since.is_some_and(|since| lasts(&since, SPENT_TIME))
            })
            .cloned()
            .collect();
        for prompts in [&mut self.unanswered, &mut self.withdrawn] {
            prompts.retain(|key, prompts| {
                if !spent.contains(key) {
                    prompts.retain(|at| lasts(at, PROMPT_TIME));
                }
                !prompts.is_empty()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use thv_config::world::ManualClock;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const PROGRAM: Prompter = Prompter::Program;

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
    fn three_prompts_within_ten_minutes_that_nobody_answers_are_all_across_restarts() {
        let house = House::new();
        for _ in 0..PROMPTS_UNANSWERED {
            assert_eq!(house.budget().take("a", PROGRAM), Ok(()));
            house.clock.advance(MINUTE);
        }
        let rest = SPENT_TIME.saturating_sub(MINUTE);
        assert_eq!(house.budget().take("a", PROGRAM), Err(rest));
        assert_eq!(
            house.budget().take("b", PROGRAM),
            Ok(()),
            "another login is free"
        );
        // The prompts are long over, and nobody has acted.
        house.clock.advance(Duration::from_mins(30));
        assert!(house.budget().take("a", PROGRAM).is_err());
        house.clock.advance(rest);
        assert_eq!(
            house.budget().take("a", PROGRAM),
            Ok(()),
            "nobody is locked out for good"
        );
    }

    #[test]
    fn prompts_that_are_further_apart_are_never_all() {
        let house = House::new();
        for _ in 0..3 * PROMPTS_UNANSWERED {
            assert_eq!(house.budget().take("a", PROGRAM), Ok(()));
            house.clock.advance(MINUTE * 5);
        }
    }

    #[test]
    fn spent_prompts_end_with_a_person_and_not_with_a_late_withdrawal() {
        let house = House::new();
        for _ in 0..PROMPTS_UNANSWERED {
            assert_eq!(house.budget().take("a", PROGRAM), Ok(()));
            house.clock.advance(MINUTE * 4);
        }
        house.budget().withdrawn("a");
        assert!(house.budget().take("a", PROGRAM).is_err());
        house.budget().answered("a");
        assert_eq!(house.budget().take("a", PROGRAM), Ok(()));
    }

    #[test]
    fn the_last_prompt_of_all_that_is_withdrawn_at_once_counts_half_too() {
        let house = House::new();
        for _ in 0..PROMPTS_UNANSWERED {
            assert_eq!(house.budget().take("a", PROGRAM), Ok(()));
        }
        house.budget().withdrawn("a");
        assert_eq!(house.budget().take("a", PROGRAM), Err(PROMPT_TIME));
    }

    #[test]
    fn the_desktop_client_is_locked_out_for_ten_minutes_at_most() {
        let house = House::new();
        for _ in 0..DESKTOP_PROMPTS_UNANSWERED {
            assert_eq!(house.budget().take("a", Prompter::Desktop), Ok(()));
        }
        assert_eq!(
            house.budget().take("a", Prompter::Desktop),
            Err(PROMPT_TIME)
        );
        house.clock.advance(PROMPT_TIME);
        assert_eq!(house.budget().take("a", Prompter::Desktop), Ok(()));
    }

    #[test]
    fn an_answer_and_a_prompt_that_was_not_shown_make_room() {
        let house = House::new();
        for _ in 0..PROMPTS_UNANSWERED {
            assert_eq!(house.budget().take("a", PROGRAM), Ok(()));
        }
        house.budget().give_back("a", PROGRAM);
        assert_eq!(house.budget().take("a", PROGRAM), Ok(()));
        assert!(house.budget().take("a", PROGRAM).is_err());
        house.budget().answered("a");
        for _ in 0..PROMPTS_UNANSWERED {
            assert_eq!(house.budget().take("a", PROGRAM), Ok(()));
        }
    }

    #[test]
    fn what_was_withdrawn_counts_half() {
        let house = House::new();
        for _ in 0..2 * PROMPTS_UNANSWERED - 1 {
            assert_eq!(house.budget().take("a", PROGRAM), Ok(()));
            house.budget().withdrawn("a");
            house.clock.advance(Duration::from_secs(1));
        }
        // There is room for half a prompt only, until the first is over.
        let passed = Duration::from_secs(2 * PROMPTS_UNANSWERED as u64 - 1);
        let rest = PROMPT_TIME.saturating_sub(passed);
        assert_eq!(house.budget().take("a", PROGRAM), Err(rest));
        house.budget().answered("a");
        assert_eq!(house.budget().take("a", PROGRAM), Ok(()));
        // What nobody has opened cannot be withdrawn.
        house.budget().withdrawn("b");
        assert_eq!(house.budget().take("b", PROGRAM), Ok(()));
    }

    #[test]
    fn the_desktop_clients_prompts_are_counted_apart_and_a_persons_never() {
        let house = House::new();
        for _ in 0..PROMPTS_UNANSWERED {
            assert_eq!(house.budget().take("a", PROGRAM), Ok(()));
        }
        for _ in 0..DESKTOP_PROMPTS_UNANSWERED {
            assert_eq!(house.budget().take("a", Prompter::Desktop), Ok(()));
        }
        assert!(house.budget().take("a", PROGRAM).is_err());
        assert!(house.budget().take("a", Prompter::Desktop).is_err());
        assert_eq!(house.budget().take("a", Prompter::Person), Ok(()));
        house.budget().answered("a");
        assert_eq!(house.budget().take("a", PROGRAM), Ok(()));
        assert_eq!(house.budget().take("a", Prompter::Desktop), Ok(()));
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
            assert_eq!(house.budget().take("a", PROGRAM), Ok(()), "{content}");
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
            assert_eq!(budget.take("a", PROGRAM), Ok(()));
        }
        assert!(budget.take("a", PROGRAM).is_err());
        budget.answered("a");
        assert_eq!(budget.take("a", PROGRAM), Ok(()));
    }

    #[test]
    fn nothing_is_written_for_nothing() {
        let house = House::new();
        house.budget().answered("a");
        house.budget().give_back("a", PROGRAM);
        assert!(!house.path().exists());
        assert!(!house.path().with_extension("lock").exists());
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let house = House::new();
        assert_eq!(house.budget().take("a", PROGRAM), Ok(()));
        let mode = |path: &std::path::Path| {
            std::fs::metadata(path).expect("there").permissions().mode() & 0o777
        };
        assert_eq!(mode(&house.path()), 0o600);
        assert_eq!(mode(house.path().parent().expect("a directory")), 0o700);
    }
}
