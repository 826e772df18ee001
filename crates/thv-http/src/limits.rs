//! Every limit of outbound HTTP, named once with its reason.
//!
//! [`Limits`] is what one request may cost; callers start from the default and change what they must.

use std::time::Duration;

/// Longest wait for one connection: TCP and TLS handshake together. A peer that needs longer is down for our purposes.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);

/// Longest `Retry-After` that is believed. A registry that asks for more is asked again after this long.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// Largest file of a client certificate or its key. A chain of four with a key has about 10 kB.
pub(crate) const CLIENT_CERTIFICATE_MAX: u64 = 256 * 1024;

/// Largest CA bundle read from disk. The bundles of the large distributions have about 250 kB.
pub(crate) const CA_BUNDLE_MAX: u64 = 8 * 1024 * 1024;

/// First allocation for a body whose length the server announced: honest lengths are allocated at once, a lie costs no more than this.
pub(crate) const BODY_PREALLOCATE_MAX: u64 = 4 * 1024 * 1024;

/// What one [`send`](crate::Http::send) may cost.
///
/// The wait for a connection is bounded for all requests alike, by 10 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The whole exchange, all redirects and the last byte of the body included.
    pub total: Duration,
    /// From the start of one hop to the head of its answer, name lookup and connection included.
    pub head: Duration,
    /// Longest gap between two pieces of a body.
    pub idle: Duration,
    /// Largest body, counted after decompression.
    pub max_bytes: u64,
    /// How many redirects are followed before giving up.
    pub max_redirects: u8,
}

impl Limits {
    /// Limits for a question to an API: 30 s in all, 8 MiB.
    pub const DEFAULT: Self = Self {
        total: Duration::from_secs(30),
        head: Duration::from_secs(20),
        idle: Duration::from_secs(10),
        max_bytes: 8 * 1024 * 1024,
        max_redirects: 10,
    };

    /// Limits for a short look: a probe, a discovery document, a key set. 5 s in all, 1 MiB.
    pub const PROBE: Self = Self {
        total: Duration::from_secs(5),
        head: Duration::from_secs(5),
        idle: Duration::from_secs(5),
        max_bytes: 1024 * 1024,
        max_redirects: 10,
    };

    /// The same limits with another bound for the whole exchange; shorter bounds inside shrink with it.
    #[must_use]
    pub fn with_total(self, total: Duration) -> Self {
        Self {
            total,
            head: self.head.min(total),
            idle: self.idle.min(total),
            ..self
        }
    }

    /// The same limits with another bound for the body.
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: u64) -> Self {
        Self { max_bytes, ..self }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
