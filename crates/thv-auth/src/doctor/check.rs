//! What an examination says: one [`Check`] per question, with what was seen and what to do about it. Values only; what is
//! looked at, and how it is judged, is beside this file.

use jiff::Timestamp;
use serde::Serialize;

use crate::oauth::answer::shown;

/// Longest evidence, in characters: some of it is the text of servers.
const EVIDENCE_MAX: usize = 600;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It could not be made, or there is nothing to check here.
    Skipped,
    /// All is well.
    Ok,
    /// It works, and could break or be worse than it has to be.
    Warning,
    /// It does not work.
    Failed,
}

/// One question and its answer. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Which question; these names stay as they are.
    pub id: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen.
    pub evidence: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// Everything that an examination found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// When it was made, by our clock.
    pub checked_at: Timestamp,
    /// The worst outcome among the checks.
    pub outcome: Outcome,
    /// The checks, from this machine outwards.
    pub checks: Vec<Check>,
}

impl Outcome {
    /// The word for it on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

impl Check {
    /// All is well.
    pub fn ok(id: &'static str, evidence: impl AsRef<str>) -> Self {
        Self::new(id, Outcome::Ok, evidence.as_ref(), None)
    }

    /// There is nothing to check, and this is why.
    pub fn skipped(id: &'static str, evidence: impl AsRef<str>) -> Self {
        Self::new(id, Outcome::Skipped, evidence.as_ref(), None)
    }

    /// It works, and could be better.
    pub fn warning(id: &'static str, evidence: impl AsRef<str>, fix: impl Into<String>) -> Self {
        Self::new(id, Outcome::Warning, evidence.as_ref(), Some(fix.into()))
    }

    /// It does not work.
    pub fn failed(id: &'static str, evidence: impl AsRef<str>, fix: impl Into<String>) -> Self {
        Self::new(id, Outcome::Failed, evidence.as_ref(), Some(fix.into()))
    }

    fn new(id: &'static str, outcome: Outcome, evidence: &str, fix: Option<String>) -> Self {
        Self {
            id,
            outcome,
            evidence: shown(evidence, EVIDENCE_MAX).unwrap_or_default(),
            fix: fix.and_then(|fix| shown(&fix, EVIDENCE_MAX)),
        }
    }
}

impl Diagnosis {
    /// The diagnosis that `checks` amount to.
    pub fn of(checked_at: Timestamp, checks: Vec<Check>) -> Self {
        let worst = checks.iter().map(|check| check.outcome).max();
        Self {
            checked_at,
            outcome: worst.unwrap_or(Outcome::Skipped),
            checks,
        }
    }

    /// The same with what somebody else has found.
    #[must_use]
    pub fn with(self, more: impl IntoIterator<Item = Check>) -> Self {
        let mut checks = self.checks;
        checks.extend(more);
        Self::of(self.checked_at, checks)
    }

    /// Whether something does not work.
    pub fn has_failed(&self) -> bool {
        self.outcome == Outcome::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_check_counts_and_texts_of_servers_stay_on_one_line() {
        let diagnosis = Diagnosis::of(
            Timestamp::UNIX_EPOCH,
            vec![Check::ok("a", "x"), Check::skipped("b", "y")],
        );
        assert_eq!(diagnosis.outcome, Outcome::Ok);
        let worse = diagnosis.with([Check::warning("c", "one\u{1b}[2J\ntwo", "do\r\nthis")]);
        assert_eq!(worse.outcome, Outcome::Warning);
        assert!(!worse.has_failed());
        assert_eq!(worse.checks[2].evidence, "one[2Jtwo");
        assert_eq!(worse.checks[2].fix.as_deref(), Some("dothis"));
        assert!(worse.with([Check::failed("d", "", "")]).has_failed());
    }
}
