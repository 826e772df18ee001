//! When a fault strikes: on which paths, after how many requests, how often. Which faults there are is the fake's
//! own affair.

/// A fault of kind `F` and when it strikes.
#[derive(Clone, Debug)]
pub struct Rule<F> {
    fault: F,
    path: Option<String>,
    skip: usize,
    times: usize,
}

impl<F: Clone> Rule<F> {
    /// On each request.
    pub fn always(fault: F) -> Self {
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
pub(crate) struct Armed<F> {
    rule: Rule<F>,
    met: usize,
}

impl<F: Clone> Armed<F> {
    pub(crate) fn new(rule: Rule<F>) -> Self {
        Armed { rule, met: 0 }
    }

    /// The fault, when this request is one the rule strikes.
    pub(crate) fn meet(&mut self, path: &str) -> Option<F> {
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
