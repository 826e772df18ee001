//! Log lines as JSON on standard error: `time`, `level`, `msg`, then the event's fields, flat. A
//! broken standard error loses lines and nothing else. What is worth logging is decided where it
//! happens; secrets are kept out there, by their types.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::Arc;

use serde_json::Value;
use thv_config::world::{Clock, Env};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// A command for a person says what it has to say itself; only faults are logged.
    Command,
    /// A server's log.
    Server,
    /// Everything of ours; of libraries still only what is worth a server's log, since their
    /// debug lines may hold addresses with secrets.
    Debug,
}

impl Verbosity {
    /// `--debug` or a true `TOOLHIVE_DEBUG` wins.
    pub(crate) fn choose(debug: bool, server: bool, env: &dyn Env) -> Self {
        let told = env
            .var("TOOLHIVE_DEBUG")
            .is_some_and(|value| is_true(&value));
        match (debug || told, server) {
            (true, _) => Self::Debug,
            (false, true) => Self::Server,
            (false, false) => Self::Command,
        }
    }

    fn filter(self) -> Targets {
        let (ours, others) = match self {
            Self::Command => (LevelFilter::ERROR, LevelFilter::ERROR),
            Self::Server => (LevelFilter::INFO, LevelFilter::WARN),
            Self::Debug => (LevelFilter::DEBUG, LevelFilter::INFO),
        };
        // "thv" is a prefix of every crate of ours.
        Targets::new().with_default(others).with_target("thv", ours)
    }
}

/// Values that Go's `strconv.ParseBool` takes for true.
pub(crate) fn is_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// Starts logging for the whole process and sends panics into the log. Called once, by `main`.
pub(crate) fn start(verbosity: Verbosity, clock: Arc<dyn Clock>) {
    let subscriber = subscriber(verbosity, clock, Stderr);
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic
                .location()
                .map(ToString::to_string)
                .unwrap_or_default();
            let what = panic.payload_as_str().unwrap_or("no message");
            tracing::error!(place, what, "panic");
        }));
    }
}

fn subscriber<W>(verbosity: Verbosity, clock: Arc<dyn Clock>, writer: W) -> impl Subscriber
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .event_format(JsonLines { clock })
        .log_internal_errors(false)
        .with_ansi(false)
        .with_writer(writer);
    tracing_subscriber::registry()
        .with(verbosity.filter())
        .with(lines)
}

/// Standard error, taken line by line; write errors are swallowed.
#[derive(Debug, Clone, Copy)]
struct Stderr;

impl MakeWriter<'_> for Stderr {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        *self
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // One call per line, so that lines of several threads do not mix.
        let _ = io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes one event as one line.
struct JsonLines {
    clock: Arc<dyn Clock>,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = match *event.metadata().level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARN",
            Level::INFO => "INFO",
            Level::DEBUG | Level::TRACE => "DEBUG",
        };
        writeln!(
            writer,
            r#"{{"time":"{}","level":"{level}","msg":{}{}}}"#,
            self.clock.now(),
            Value::from(fields.message),
            fields.rest
        )
    }
}

/// The message and, as `,"key":value` pieces, every other field.
#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Fields {
    fn push(&mut self, field: &Field, value: impl Into<Value>) {
        // Writing to a string does not fail.
        let _ = write!(self.rest, ",{}:{}", Value::from(field.name()), value.into());
    }

    fn push_text(&mut self, field: &Field, text: String) {
        if field.name() == "message" {
            self.message = text;
        } else {
            self.push(field, text);
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push_text(field, format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push_text(field, value.to_owned());
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.push_text(field, value.to_string());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use thv_config::world::{ManualClock, MapEnv};

    use super::*;

    fn logged(verbosity: Verbosity, act: impl FnOnce()) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let clock = Arc::new(ManualClock::new("2026-11-23T10:00:00Z".parse().unwrap()));
        let sink = Arc::clone(&lines);
        let writer = move || Sink(Arc::clone(&sink));
        tracing::subscriber::with_default(subscriber(verbosity, clock, writer), act);
        let bytes = lines.lock().unwrap().clone();
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_json_with_time_level_msg_and_flat_fields() {
        let lines = logged(Verbosity::Server, || {
            let why = "a \"quoted\"\nword";
            tracing::info!(
                url = "http://127.0.0.1:1",
                servers = 7,
                ready = true,
                why,
                "listening"
            );
        });
        assert_eq!(
            lines,
            [
                r#"{"time":"2026-11-23T10:00:00Z","level":"INFO","msg":"listening","url":"http://127.0.0.1:1","servers":7,"ready":true,"why":"a \"quoted\"\nword"}"#
            ]
        );
    }

    #[test]
    fn verbosity_decides_what_is_written() {
        let act = || {
            tracing::error!("one");
            tracing::warn!("two");
            tracing::info!("three");
            tracing::debug!("four");
            tracing::debug!(target: "hyper::client", "five");
            tracing::info!(target: "hyper::client", "six");
        };
        assert_eq!(logged(Verbosity::Command, act).len(), 1);
        assert_eq!(logged(Verbosity::Server, act).len(), 3);
        assert_eq!(logged(Verbosity::Debug, act).len(), 5);
    }

    #[test]
    fn the_environment_can_ask_for_debug() {
        for (value, expected) in [
            ("1", Verbosity::Debug),
            ("true", Verbosity::Debug),
            ("0", Verbosity::Server),
            ("", Verbosity::Server),
        ] {
            let env = MapEnv::from([("TOOLHIVE_DEBUG", value)]);
            assert_eq!(Verbosity::choose(false, true, &env), expected, "{value:?}");
        }
        assert_eq!(
            Verbosity::choose(true, false, &MapEnv::from([("A", "b")])),
            Verbosity::Debug
        );
        assert_eq!(
            Verbosity::choose(false, false, &MapEnv::from([("A", "b")])),
            Verbosity::Command
        );
    }
}
