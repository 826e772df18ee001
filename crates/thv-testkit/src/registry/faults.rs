//! The ways a registry fails; [`crate::rules`] says when.

use std::time::Duration;

use crate::rules;

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

/// When a fault of a registry strikes.
pub type Rule = rules::Rule<Fault>;
