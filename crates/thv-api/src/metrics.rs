//! The metrics of `GET /metrics`, in the `OpenMetrics` text format. They belong to one server
//! value; nothing here is global. Labels take few values each: no path, no name of a caller.

use std::fmt::Error;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::{Method, StatusCode};
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::error::Door;

/// Media type of the text.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the duration buckets, in seconds: from an answer out of memory to the route
/// deadline.
const BUCKETS: [f64; 10] = [
    0.000_1, 0.000_5, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0,
];

/// The metrics of one server.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<DoorLabels, Histogram>,
    in_flight: Gauge,
    servers: Family<CatalogLabels, Gauge>,
    checked: Family<CatalogLabels, Gauge<f64, AtomicU64>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    door: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DoorLabels {
    door: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CatalogLabels {
    registry: String,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("thv");
        let requests = Family::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        let durations =
            Family::<DoorLabels, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        registry.register_with_unit(
            "http_request_duration",
            "Time until the answer began",
            Unit::Seconds,
            durations.clone(),
        );
        let in_flight = Gauge::default();
        registry.register(
            "http_requests_in_flight",
            "Requests whose answer has not begun",
            in_flight.clone(),
        );
        let servers = Family::default();
        registry.register(
            "catalog_servers",
            "Servers in the catalog that is being served",
            servers.clone(),
        );
        let checked = Family::default();
        registry.register_with_unit(
            "catalog_checked_timestamp",
            "Unix time at which the source last confirmed the catalog",
            Unit::Seconds,
            checked.clone(),
        );
        Self {
            registry,
            requests,
            durations,
            in_flight,
            servers,
            checked,
        }
    }

    pub(crate) fn request_began(&self) {
        self.in_flight.inc();
    }

    pub(crate) fn request_gone(&self) {
        self.in_flight.dec();
    }

    pub(crate) fn request_ended(
        &self,
        door: Door,
        method: &Method,
        status: StatusCode,
        took: Duration,
    ) {
        let door = door.as_str();
        self.requests
            .get_or_create(&RequestLabels {
                door,
                method: known_method(method),
                status: status.as_u16(),
            })
            .inc();
        self.durations
            .get_or_create(&DoorLabels { door })
            .observe(took.as_secs_f64());
    }

    /// Notes what the catalog of `registry` holds just now.
    pub(crate) fn catalog(&self, registry: &str, servers: usize, checked: Option<Timestamp>) {
        let labels = CatalogLabels {
            registry: registry.to_owned(),
        };
        self.servers
            .get_or_create(&labels)
            .set(i64::try_from(servers).unwrap_or(i64::MAX));
        if let Some(checked) = checked {
            let since_epoch = checked.duration_since(Timestamp::UNIX_EPOCH);
            self.checked
                .get_or_create(&labels)
                .set(since_epoch.as_secs_f64());
        }
    }

    /// All metrics as text.
    pub(crate) fn text(&self) -> Result<String, Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Methods are the client's choice; made-up ones must not make new time series.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_catalogs_are_counted_by_value() {
        let metrics = Metrics::new();
        let made_up = Method::from_bytes(b"BREW").unwrap();
        metrics.request_began();
        metrics.request_ended(
            Door::Standard,
            &made_up,
            StatusCode::OK,
            Duration::from_millis(2),
        );
        metrics.request_gone();
        metrics.catalog("default", 7, Some("1970-01-01T00:00:03Z".parse().unwrap()));
        let text = metrics.text().unwrap();
        assert!(
            text.contains(
                "thv_http_requests_total{door=\"standard\",method=\"other\",status=\"200\"} 1"
            ),
            "{text}"
        );
        assert!(text.contains("thv_http_requests_in_flight 0"), "{text}");
        assert!(
            text.contains("thv_catalog_servers{registry=\"default\"} 7"),
            "{text}"
        );
        assert!(
            text.contains("thv_catalog_checked_timestamp_seconds{registry=\"default\"} 3"),
            "{text}"
        );
        assert!(
            !Metrics::new()
                .text()
                .unwrap()
                .contains("registry=\"default\"")
        );
    }
}
