//! Runs the fake registry for people and benches: `thv-fake-registry --servers 10000` prints its URL and serves until
//! it is stopped.
//!
//! The same catalog is also one document, at `/registry.json`, for `url` sources; `--write FILE` writes that
//! document and ends, for `file` sources.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a tool for the developer's own terminal"
)]

use std::process::ExitCode;

use serde_json::Value;
use thv_testkit::generate::{self, OFFICIAL, Row};
use thv_testkit::registry::FakeRegistry;

const USAGE: &str = "usage: thv-fake-registry [--servers N | --file LIST.json] [--skills N] [--seed N] [--port P] [--write FILE]

  --servers N      N generated servers (1000)
  --file LIST.json the rows of a saved v0.1 list: {\"servers\":[{\"server\":…,\"_meta\":…}]}, or an array of them
  --skills N       N generated skills and N plugins (20)
  --seed N         another catalog (1)
  --port P         the port on 127.0.0.1 (0: any free one)
  --write FILE     write the catalog as one registry document and end
";

#[derive(Debug)]
struct Options {
    servers: usize,
    file: Option<String>,
    skills: usize,
    seed: u64,
    port: u16,
    write: Option<String>,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprint!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let rows = match &options.file {
        Some(path) => match rows_of_file(path) {
            Ok(rows) => rows,
            Err(why) => {
                eprintln!("{path}: {why}");
                return ExitCode::FAILURE;
            }
        },
        None => generate::servers(options.servers, options.seed),
    };
    let skills = generate::skills(options.skills, options.seed);
    let plugins = generate::plugins(options.skills, options.seed);
    let document = generate::document(&rows, &skills, &plugins).to_string();
    if let Some(path) = &options.write {
        std::fs::write(path, document).expect("a writable file");
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let registry = FakeRegistry::start_on(options.port).await;
        registry.extend(rows);
        registry.set_extensions(skills, plugins);
        registry.put_document("/registry.json", document);
        println!("{}", registry.url());
        eprintln!(
            "{} servers; the same as one document: {}",
            registry.live_names().len(),
            registry.at("/registry.json")
        );
        tokio::signal::ctrl_c().await.expect("a signal handler");
    });
    ExitCode::SUCCESS
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        servers: 1000,
        file: None,
        skills: 20,
        seed: 1,
        port: 0,
        write: None,
    };
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name} needs a value"))?;
        let bad = |_| format!("{name}: not a number: {value}");
        match name.as_str() {
            "--servers" => options.servers = value.parse().map_err(bad)?,
            "--skills" => options.skills = value.parse().map_err(bad)?,
            "--seed" => options.seed = value.parse().map_err(bad)?,
            "--port" => options.port = value.parse().map_err(bad)?,
            "--file" => options.file = Some(value),
            "--write" => options.write = Some(value),
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(options)
}

/// Reads a saved list: of envelopes, or of bare server documents.
fn rows_of_file(path: &str) -> Result<Vec<Row>, String> {
    let bytes = std::fs::read(path).map_err(|cause| cause.to_string())?;
    let list: Value = serde_json::from_slice(&bytes).map_err(|cause| cause.to_string())?;
    let items = list
        .as_array()
        .or_else(|| list["servers"].as_array())
        .ok_or("no list of servers")?;
    Ok(items.iter().map(row_of_item).collect())
}

fn row_of_item(item: &Value) -> Row {
    let server = item.get("server").unwrap_or(item).clone();
    let official = &item["_meta"][OFFICIAL];
    let text = |key: &str, fallback: &str| official[key].as_str().unwrap_or(fallback).to_owned();
    let now = generate::moment(0);
    let mut row = Row::of(server, &text("updatedAt", &now));
    row.status = text("status", "active");
    row.published_at = text("publishedAt", &now);
    row.is_latest = official["isLatest"].as_bool().unwrap_or(true);
    row
}
