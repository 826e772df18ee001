//! `thv registry convert`: reads an outdated registry file, writes the upstream format, and says
//! what had to be changed on the way. The conversion itself is the registry crate's; here is where
//! the bytes come from, where they go, and that no file is ever half written or lost.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use thv_config::disk::{self, ReadError};
use thv_registry::convert::{ConvertError, Note, convert_legacy};

use crate::cli::ConvertArgs;
use crate::failure::CommandError;
use crate::output::{NOTICE, Output, table};

/// The largest file that is converted, in bytes; the largest real one was under 2 MB in 2026.
const MAX_INPUT_BYTES: u64 = 256 * 1024 * 1024;

pub(super) fn run(args: &ConvertArgs, output: &mut Output) -> Result<(), CommandError> {
    check(args)?;
    let input = match &args.input {
        Some(path) => read_file(path)?,
        None => read_standard_input()?,
    };
    let conversion = match convert_legacy(&input) {
        Ok(conversion) => conversion,
        Err(ConvertError::AlreadyUpstream) => {
            output.remark("Input is already in upstream format; nothing to do.");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    match (&args.input, &args.output) {
        (Some(path), _) if args.in_place => replace(path, &conversion.document, !args.no_backup)?,
        (_, Some(path)) => disk::write_atomic(path, &conversion.document)
            .map_err(|error| CommandError::file(path, "write", error))?,
        _ => output.print(&conversion.document)?,
    }
    for note in &conversion.notes {
        output.remark_styled(NOTICE, "Note", &describe(note));
    }
    Ok(())
}

/// Flags that contradict each other are refused before anything is read.
fn check(args: &ConvertArgs) -> Result<(), CommandError> {
    let contradiction = if args.in_place && args.input.is_none() {
        "--in-place requires --in"
    } else if args.in_place && args.output.is_some() {
        "--out cannot be combined with --in-place"
    } else if args.no_backup && !args.in_place {
        "--no-backup only applies with --in-place"
    } else {
        return Ok(());
    };
    Err(CommandError::Usage(contradiction.to_owned()))
}

fn describe(note: &Note) -> String {
    let what = table::one_line(&note.what);
    if note.server.is_empty() {
        what
    } else {
        format!("{}: {what}", table::one_line(&note.server))
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, CommandError> {
    disk::read_bounded(path, MAX_INPUT_BYTES).map_err(|error| match error {
        ReadError::NotFound => {
            CommandError::file(path, "read", io::Error::from(io::ErrorKind::NotFound))
        }
        ReadError::TooLarge { limit } => CommandError::file(path, "read", too_large(limit)),
        ReadError::Io(error) => CommandError::file(path, "read", error),
    })
}

fn read_standard_input() -> Result<Vec<u8>, CommandError> {
    let mut input = Vec::new();
    let read = io::stdin()
        .take(MAX_INPUT_BYTES + 1)
        .read_to_end(&mut input);
    let place = Path::new("standard input");
    match read {
        Ok(length) if length as u64 > MAX_INPUT_BYTES => Err(CommandError::file(
            place,
            "read",
            too_large(MAX_INPUT_BYTES),
        )),
        Ok(_) => Ok(input),
        Err(error) => Err(CommandError::file(place, "read", error)),
    }
}

fn too_large(limit: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("it is larger than {} MiB", limit / (1024 * 1024)),
    )
}

/// Puts `document` in the place of the file at `path`, whose permissions stay. With `backup` the
/// old file gets the name `<path>.bak`; an older backup is never overwritten.
fn replace(path: &Path, document: &[u8], backup: bool) -> Result<(), CommandError> {
    // A link keeps pointing at the file; the file behind it is what gets replaced.
    let path = &path
        .canonicalize()
        .map_err(|error| CommandError::file(path, "find", error))?;
    let permissions = fs::metadata(path)
        .map_err(|error| CommandError::file(path, "look at", error))?
        .permissions();
    let kept = if backup { Some(keep(path)?) } else { None };
    let written = disk::write_atomic(path, document)
        .and_then(|()| fs::set_permissions(path, permissions))
        .map_err(|error| CommandError::file(path, "write", error));
    if let (Err(_), Some(kept)) = (&written, kept) {
        // The original stands untouched; a backup left behind would block the next try.
        let _ = fs::remove_file(kept);
    }
    written
}

/// Gives the file a second name, `<path>.bak`. Where the file system has no links it is copied.
fn keep(path: &Path) -> Result<PathBuf, CommandError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".bak");
    let backup = PathBuf::from(name);
    match fs::hard_link(path, &backup) {
        Ok(()) => Ok(backup),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(CommandError::BackupExists { path: backup })
        }
        Err(_) => copy_new(path, &backup)
            .map(|()| backup.clone())
            .map_err(|error| CommandError::file(&backup, "write", error)),
    }
}

fn copy_new(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = fs::File::open(from)?;
    let mut target = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(to)?;
    io::copy(&mut source, &mut target)?;
    target.flush()?;
    target.sync_all()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test may write its input file")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::exit_code::Exit;
    use crate::failure::describe as describe_failure;
    use crate::output::capture;

    const OLD: &str = r#"{"version":"1.0.0","last_updated":"2026-01-01T00:00:00Z","servers":{"one":{
        "description":"LONG","tier":"Community","status":"Active","transport":"stdio",
        "tools":["a"],"image":"ghcr.io/example/one:1"}}}"#;

    fn old() -> String {
        OLD.replace("LONG", &"word ".repeat(60))
    }

    fn in_place(path: &Path) -> ConvertArgs {
        ConvertArgs {
            input: Some(path.to_owned()),
            in_place: true,
            ..ConvertArgs::default()
        }
    }

    #[test]
    fn contradictory_flags_are_usage_errors() {
        let (mut output, _, _) = capture::output();
        let some = || Some(PathBuf::from("/nonexistent"));
        for (args, text) in [
            (
                ConvertArgs {
                    in_place: true,
                    ..ConvertArgs::default()
                },
                "--in-place requires --in",
            ),
            (
                ConvertArgs {
                    input: some(),
                    output: some(),
                    in_place: true,
                    no_backup: false,
                },
                "--out cannot be combined with --in-place",
            ),
            (
                ConvertArgs {
                    input: some(),
                    no_backup: true,
                    ..ConvertArgs::default()
                },
                "--no-backup only applies with --in-place",
            ),
        ] {
            let failure = describe_failure(&run(&args, &mut output).expect_err("refused"));
            assert_eq!(
                (failure.message.as_str(), failure.exit),
                (text, Exit::Usage)
            );
        }
    }

    #[test]
    fn w34_in_place_keeps_the_original_and_the_mode_and_says_what_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registry.json");
        fs::write(&path, old()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let (mut output, out, err) = capture::output();
        run(&in_place(&path), &mut output).unwrap();
        let backup = dir.path().join("registry.json.bak");
        assert_eq!(fs::read_to_string(&backup).unwrap(), old());
        assert!(fs::read_to_string(&path).unwrap().contains("\"data\""));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o640
        );
        assert_eq!(out.text(), "");
        assert!(err.text().contains("Note: one: "), "{}", err.text());
    }

    #[test]
    fn w34_an_older_backup_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registry.json");
        let backup = dir.path().join("registry.json.bak");
        fs::write(&path, old()).unwrap();
        fs::write(&backup, "precious").unwrap();
        let (mut output, _, _) = capture::output();
        run(&in_place(&path), &mut output).expect_err("refused");
        assert_eq!(fs::read_to_string(&backup).unwrap(), "precious");
        assert_eq!(fs::read_to_string(&path).unwrap(), old());
    }

    #[test]
    fn w34_the_output_file_is_private_and_standard_output_stays_empty() {
        let dir = tempfile::tempdir().unwrap();
        let (input, target) = (dir.path().join("old.json"), dir.path().join("new.json"));
        fs::write(&input, old()).unwrap();
        let (mut output, out, _) = capture::output();
        let args = ConvertArgs {
            input: Some(input.clone()),
            output: Some(target.clone()),
            ..ConvertArgs::default()
        };
        run(&args, &mut output).unwrap();
        assert_eq!(
            fs::metadata(&target).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(out.text(), "");
        assert_eq!(fs::read_to_string(&input).unwrap(), old());
    }

    #[test]
    fn what_is_upstream_already_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registry.json");
        let document = r#"{"version":"1.0.0","meta":{"last_updated":""},"data":{"servers":[]}}"#;
        fs::write(&path, document).unwrap();
        let (mut output, out, err) = capture::output();
        run(&in_place(&path), &mut output).unwrap();
        assert_eq!(
            err.text(),
            "Input is already in upstream format; nothing to do.\n"
        );
        assert_eq!(out.text(), "");
        assert_eq!(fs::read_to_string(&path).unwrap(), document);
        assert!(!dir.path().join("registry.json.bak").exists());
    }

    #[test]
    fn a_missing_input_is_not_found() {
        let (mut output, _, _) = capture::output();
        let args = in_place(Path::new("/nonexistent/registry.json"));
        let failure = describe_failure(&run(&args, &mut output).expect_err("refused"));
        assert_eq!(failure.exit, Exit::NotFound);
    }
}
