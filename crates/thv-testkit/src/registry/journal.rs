//! What was asked of the fake, and how each request ended.

use std::sync::{Arc, Mutex};

use http::HeaderMap;
use http::request::Parts;
use percent_encoding::percent_decode_str;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Still being answered.
    Pending,
    /// Answered in full with this status.
    Answered(u16),
    /// The client closed the connection before the answer was complete.
    Abandoned,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The method, upper case.
    pub method: String,
    /// The path as sent, still percent-encoded.
    pub path: String,
    /// The query parameters, decoded, in order.
    pub query: Vec<(String, String)>,
    /// The headers as sent.
    pub headers: HeaderMap,
    /// How it ended.
    pub outcome: Outcome,
}

impl Recorded {
    /// The value of a query parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value of a header, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// All requests in order of arrival.
#[derive(Debug, Default, Clone)]
pub(super) struct Journal {
    lines: Arc<Mutex<Lines>>,
}

#[derive(Debug, Default)]
struct Lines {
    first: usize,
    recorded: Vec<Recorded>,
}

impl Journal {
    pub(super) fn all(&self) -> Vec<Recorded> {
        self.lines.lock().unwrap().recorded.clone()
    }

    pub(super) fn clear(&self) {
        let mut lines = self.lines.lock().unwrap();
        lines.first += lines.recorded.len();
        lines.recorded.clear();
    }

    /// Writes the request down. The pen notes how it ends; dropped without a word, the client went away.
    pub(super) fn open(&self, parts: &Parts) -> Pen {
        let mut lines = self.lines.lock().unwrap();
        let line = lines.first + lines.recorded.len();
        lines.recorded.push(Recorded {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: query_of(parts.uri.query().unwrap_or_default()),
            headers: parts.headers.clone(),
            outcome: Outcome::Pending,
        });
        Pen {
            journal: self.clone(),
            line,
            done: false,
        }
    }

    fn note(&self, line: usize, outcome: Outcome) {
        let mut lines = self.lines.lock().unwrap();
        let first = lines.first;
        if let Some(recorded) = line
            .checked_sub(first)
            .and_then(|index| lines.recorded.get_mut(index))
        {
            recorded.outcome = outcome;
        }
    }
}

/// The right to say how one request ended.
#[derive(Debug)]
pub(super) struct Pen {
    journal: Journal,
    line: usize,
    done: bool,
}

impl Pen {
    pub(super) fn answered(mut self, status: u16) {
        self.done = true;
        self.journal.note(self.line, Outcome::Answered(status));
    }
}

impl Drop for Pen {
    fn drop(&mut self) {
        if !self.done {
            self.journal.note(self.line, Outcome::Abandoned);
        }
    }
}

/// Form decoding of a query string.
pub(super) fn query_of(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}
