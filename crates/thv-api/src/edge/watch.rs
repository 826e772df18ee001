//! What is told about a request: one log line at debug level and, when they are on, the request
//! metrics. Neither holds a query, a header or a body, since those can carry secrets.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::Request;
use http::{Method, StatusCode};
use thv_config::world::Clock;

use crate::error::Door;
use crate::metrics::Metrics;

/// Watches requests; costs nothing but two checks per request while nobody looks.
#[derive(Debug)]
pub(crate) struct Watch {
    clock: Arc<dyn Clock>,
    metrics: Option<Arc<Metrics>>,
    next_id: AtomicU64,
}

/// A request under way that somebody wants to know about.
#[derive(Debug)]
pub(crate) struct Observed {
    id: u64,
    started: Duration,
    method: Method,
    path: String,
    door: Door,
    // A client that goes away drops its request here, without an end.
    _in_flight: Option<InFlight>,
}

#[derive(Debug)]
struct InFlight(Arc<Metrics>);

// === impl Watch ===

impl Watch {
    pub(crate) fn new(clock: Arc<dyn Clock>, metrics: Option<Arc<Metrics>>) -> Self {
        Self {
            clock,
            metrics,
            next_id: AtomicU64::new(1),
        }
    }

    pub(crate) fn begin(&self, request: &Request, door: Door) -> Option<Observed> {
        if self.metrics.is_none() && !tracing::enabled!(tracing::Level::DEBUG) {
            return None;
        }
        let in_flight = self.metrics.clone().map(|metrics| {
            metrics.request_began();
            InFlight(metrics)
        });
        Some(Observed {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            started: self.clock.monotonic(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            door,
            _in_flight: in_flight,
        })
    }

    pub(crate) fn end(&self, observed: Option<Observed>, status: StatusCode) {
        let Some(observed) = observed else {
            return;
        };
        let took = self.clock.monotonic().saturating_sub(observed.started);
        if let Some(metrics) = &self.metrics {
            metrics.request_ended(observed.door, &observed.method, status, took);
        }
        tracing::debug!(
            request = observed.id,
            method = %observed.method,
            path = %without_key(&observed.path),
            status = status.as_u16(),
            ms = took.as_secs_f64() * 1000.0,
            "request"
        );
    }
}

/// The path without the name of a login, with which anybody could answer or end it.
fn without_key(path: &str) -> Cow<'_, str> {
    const BEFORE: &str = "/auth/logins/";
    let Some((before, rest)) = path.split_once(BEFORE) else {
        return Cow::Borrowed(path);
    };
    let after = rest.find('/').and_then(|slash| rest.get(slash..));
    Cow::Owned(format!("{before}{BEFORE}…{}", after.unwrap_or_default()))
}

// === impl InFlight ===

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.request_gone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_login_is_in_no_log() {
        for (path, shown) in [
            ("/v0.1/servers", "/v0.1/servers"),
            (
                "/api/v1/registries/r/auth/logins",
                "/api/v1/registries/r/auth/logins",
            ),
            (
                "/api/v1/registries/r/auth/logins/s3cret",
                "/api/v1/registries/r/auth/logins/…",
            ),
            (
                "/api/v1/registries/r/auth/logins/s3cret/events",
                "/api/v1/registries/r/auth/logins/…/events",
            ),
        ] {
            assert_eq!(without_key(path), shown);
        }
    }
}
