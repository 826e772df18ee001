//! What was asked of the fake, and how each request ended.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
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
    /// The body as sent.
    pub body: Bytes,
    /// What a protected registry thought of the bearer that came; `None` when no `Authorization` header came.
    pub bearer: Option<BearerSeen>,
    /// How it ended.
    pub outcome: Outcome,
}

/// A bearer that came with a request. The token itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerSeen {
    /// What [`crate::jwt::fingerprint`] makes of the token.
    pub fingerprint: String,
    /// Why it was refused; `None` when it was accepted or when nothing is protected.
    pub refused: Option<String>,
}

impl Recorded {
    /// The value of a query parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The decoded fields of a form body, in order.
    pub fn form(&self) -> Vec<(String, String)> {
        query_of(&String::from_utf8_lossy(&self.body))
    }

    /// The value of a field of a form body.
    pub fn field(&self, name: &str) -> Option<String> {
        self.form()
            .into_iter()
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The value of a header, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// All requests in order of arrival.
#[derive(Debug, Default, Clone)]
pub(crate) struct Journal {
    lines: Arc<Mutex<Lines>>,
}

#[derive(Debug, Default)]
struct Lines {
    first: usize,
    recorded: Vec<Recorded>,
}

impl Journal {
    pub(crate) fn all(&self) -> Vec<Recorded> {
        self.lines.lock().unwrap().recorded.clone()
    }

    pub(crate) fn clear(&self) {
        let mut lines = self.lines.lock().unwrap();
        lines.first += lines.recorded.len();
        lines.recorded.clear();
    }

    /// Writes the request down. The pen notes how it ends; dropped without a word, the client went away.
    pub(crate) fn open(&self, parts: &Parts, body: Bytes) -> Pen {
        let mut lines = self.lines.lock().unwrap();
        let line = lines.first + lines.recorded.len();
        lines.recorded.push(Recorded {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: query_of(parts.uri.query().unwrap_or_default()),
            headers: parts.headers.clone(),
            body,
            bearer: None,
            outcome: Outcome::Pending,
        });
        Pen {
            journal: self.clone(),
            line,
            done: false,
        }
    }

    fn note(&self, line: usize, edit: impl FnOnce(&mut Recorded)) {
        let mut lines = self.lines.lock().unwrap();
        let first = lines.first;
        if let Some(recorded) = line
            .checked_sub(first)
            .and_then(|index| lines.recorded.get_mut(index))
        {
            edit(recorded);
        }
    }
}

/// The right to say how one request ended.
#[derive(Debug)]
pub(crate) struct Pen {
    journal: Journal,
    line: usize,
    done: bool,
}

impl Pen {
    pub(crate) fn answered(mut self, status: u16) {
        self.done = true;
        self.journal.note(self.line, |recorded| {
            recorded.outcome = Outcome::Answered(status);
        });
    }

    /// Notes the bearer and takes the token itself out of the journal. A key in another header stays there.
    pub(crate) fn bearer(&self, seen: BearerSeen) {
        let shown = HeaderValue::from_str(&format!("Bearer sha256:{}", seen.fingerprint))
            .expect("a header value");
        self.journal.note(self.line, |recorded| {
            if recorded.headers.contains_key(header::AUTHORIZATION) {
                recorded.headers.insert(header::AUTHORIZATION, shown);
            }
            recorded.bearer = Some(seen);
        });
    }
}

impl Drop for Pen {
    fn drop(&mut self) {
        if !self.done {
            self.journal.note(self.line, |recorded| {
                recorded.outcome = Outcome::Abandoned;
            });
        }
    }
}

/// Form decoding of a query string.
pub(crate) fn query_of(query: &str) -> Vec<(String, String)> {
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
