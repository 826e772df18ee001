//! Tells the program which commit it was built from, when that was made, and by which compiler.
//! All three fall back to `unknown`, so that a build from an archive without git works the same.
#![expect(
    clippy::disallowed_methods,
    reason = "a build script's input is the environment cargo sets"
)]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (mut commit, mut date) = (None, None);
    if let Some(git_dir) = git_dir(&root) {
        // HEAD names the branch, its log grows with every commit on whichever branch.
        for file in ["HEAD", "logs/HEAD"] {
            let path = git_dir.join(file);
            if path.exists() {
                println!("cargo:rerun-if-changed={}", path.display());
            }
        }
        commit = show(&root, "--format=%H");
        // The commit's date, not the clock's: two builds of one commit are the same program.
        date = show(&root, "--format=%cd");
    }
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let rustc = run(Command::new(rustc).arg("--version"));
    for (name, value) in [
        ("THV_COMMIT", commit),
        ("THV_BUILD_DATE", date),
        ("THV_RUSTC", rustc),
    ] {
        let value = value.as_deref().unwrap_or("unknown");
        println!("cargo:rustc-env={name}={value}");
    }
}

fn show(root: &Path, format: &str) -> Option<String> {
    run(Command::new("git")
        .current_dir(root)
        .env("TZ", "UTC")
        .args(["show", "-s", "--date=format-local:%Y-%m-%dT%H:%M:%SZ"])
        .arg(format))
}

/// The repository's own git directory; none when the sources lie inside somebody else's.
fn git_dir(root: &Path) -> Option<PathBuf> {
    let root = root.canonicalize().ok()?;
    let top = run(Command::new("git")
        .current_dir(&root)
        .args(["rev-parse", "--show-toplevel"]))?;
    if Path::new(&top).canonicalize().ok()? != root {
        return None;
    }
    run(Command::new("git")
        .current_dir(&root)
        .args(["rev-parse", "--absolute-git-dir"]))
    .map(PathBuf::from)
}

/// The first line a command prints, if it succeeds and prints one.
fn run(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines()
        .next()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
}
