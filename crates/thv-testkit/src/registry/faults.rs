//! The ways a registry fails, and the rules that say when.

use std::time::Duration;

/// One way to fail.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status with the registry's usual error body.
    Status(u16),
    /// 429 with `Retry-After` in seconds.
    TooManyRequests {
        /// The header's value.
        retry_after: u64,
    },
    /// No answer, ever; the journal shows when the client gives up.
    Hang,
    /// The headers and half of the body, then nothing, ever.
    HangInBody,
    /// The right answer after a while.
    Slow(Duration),
    /// The headers, half of the body, then the connection closes.
    CutBody,
    /// 200, JSON content type, and a body that ends too early to be JSON.
    BadJson,
    /// 200 and a page for people, as captive portals and proxies give.
    Html,
    /// 200 and a registry document in the format `ToolHive` used before the upstream one.
    Legacy,
    /// The right page, with the same cursor every time.
    RepeatedCursor,
    /// The right page, with a new cursor every time.
    EndlessCursors,
    /// 302 to this URL.
    RedirectTo(String),
    /// 200 and an endless body of JSON-looking bytes.
    EndlessBody,
}

/// When a fault strikes: on which paths, after how many requests, how often.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(super) fault: Fault,
    pub(super) path: Option<String>,
    pub(super) skip: usize,
    pub(super) times: usize,
}

impl Rule {
    /// On each request.
    pub fn always(fault: Fault) -> Self {
        Rule {
            fault,
            path: None,
            skip: 0,
            times: usize::MAX,
        }
    }

    /// Only on paths that start with `prefix`.
    #[must_use]
    pub fn on(mut self, prefix: &str) -> Self {
        self.path = Some(prefix.to_owned());
        self
    }

    /// Lets the first `count` fitting requests through.
    #[must_use]
    pub fn after(mut self, count: usize) -> Self {
        self.skip = count;
        self
    }

    /// Strikes `count` times, then never again.
    #[must_use]
    pub fn times(mut self, count: usize) -> Self {
        self.times = count;
        self
    }
}

/// A rule and how often it has been met.
#[derive(Debug)]
pub(super) struct Armed {
    rule: Rule,
    met: usize,
}

impl Armed {
    pub(super) fn new(rule: Rule) -> Self {
        Armed { rule, met: 0 }
    }

    /// The fault, when this request is one the rule strikes.
    pub(super) fn meet(&mut self, path: &str) -> Option<Fault> {
        if self
            .rule
            .path
            .as_ref()
            .is_some_and(|prefix| !path.starts_with(prefix.as_str()))
        {
            return None;
        }
        let turn = self.met;
        self.met += 1;
        let strikes = turn >= self.rule.skip && turn - self.rule.skip < self.rule.times;
        strikes.then(|| self.rule.fault.clone())
    }
}
