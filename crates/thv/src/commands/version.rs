//! `thv version`: what this program is and what it was built from. Desktop clients look for a line
//! `ToolHive v…` in the text; the JSON has the Go program's keys and one of our own.

use serde::Serialize;

use crate::cli::VersionArgs;
use crate::failure::CommandError;
use crate::output::{Output, json};

/// The version with its `v`, as the HTTP API reports it too.
pub(crate) const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// What `thv version` shows, in the order of the JSON.
#[derive(Debug, Serialize)]
struct Origin {
    version: &'static str,
    commit: &'static str,
    build_date: &'static str,
    /// Clients of the Go program may read the key; there is no Go here.
    go_version: &'static str,
    platform: String,
    rust_version: &'static str,
}

pub(crate) fn run(args: &VersionArgs, output: &mut Output) -> Result<(), CommandError> {
    let origin = origin();
    if args.json || args.format.is_json() {
        output.print(json::pretty(&origin).map_err(CommandError::encode)?)?;
    } else {
        output.print(text(&origin))?;
    }
    Ok(())
}

fn origin() -> Origin {
    Origin {
        version: VERSION,
        commit: env!("THV_COMMIT"),
        build_date: env!("THV_BUILD_DATE"),
        go_version: "none",
        platform: platform(),
        rust_version: rust_version(env!("THV_RUSTC")),
    }
}

fn text(origin: &Origin) -> String {
    format!(
        "ToolHive {}\nCommit: {}\nBuilt: {}\nRust version: {}\nPlatform: {}\n",
        origin.version, origin.commit, origin.build_date, origin.rust_version, origin.platform
    )
}

/// `1.95.0` out of `rustc 1.95.0 (59807616e 2026-04-14)`.
fn rust_version(rustc: &'static str) -> &'static str {
    rustc.split(' ').nth(1).unwrap_or(rustc)
}

/// Operating system and processor in the words that Go programs and container registries use.
pub(crate) fn platform() -> String {
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let processor = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    };
    format!("{system}/{processor}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_desktop_client_finds_the_version_on_the_first_line() {
        let text = text(&origin());
        let first = text.lines().next().expect("a line");
        let number = first.strip_prefix("ToolHive v").expect("ToolHive v…");
        assert!(number.split('.').count() == 3, "{number}");
        assert_eq!(text.lines().count(), 5);
    }

    #[test]
    fn json_has_the_contract_keys_and_the_rust_version() {
        let value = serde_json::to_value(origin()).unwrap();
        for key in [
            "version",
            "commit",
            "build_date",
            "go_version",
            "platform",
            "rust_version",
        ] {
            assert!(value[key].is_string(), "{key}");
        }
        assert_eq!(value.as_object().unwrap().len(), 6);
    }

    #[test]
    fn the_compiler_line_gives_its_number() {
        assert_eq!(
            rust_version("rustc 1.95.0 (59807616e 2026-04-14)"),
            "1.95.0"
        );
        assert_eq!(rust_version("unknown"), "unknown");
    }
}
