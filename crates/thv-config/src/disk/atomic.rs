//! Replacing a file so that every reader sees either the old bytes or the new ones, never a mixture
//! and never an empty file, and so that the new bytes survive a power cut.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use tempfile::NamedTempFile;

/// Permissions of what we write: readable and writable by its owner alone.
#[cfg(unix)]
const PRIVATE_FILE: u32 = 0o600;
#[cfg(unix)]
const PRIVATE_DIRECTORY: u32 = 0o700;

/// Writes `bytes` to `path` as a whole: into a new file beside it (mode 0600 from birth), flushed to
/// the disk, then renamed over it. Missing directories are created as by [`create_private_dir`].
/// After an error the old file is still there, unchanged. A symbolic link at `path` is replaced, not
/// followed.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = directory_of(path);
    create_private_dir(directory)?;
    let mut file = new_beside(path)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_directory(directory)
}

/// Whether [`write_atomic`] could make the new file that it begins with; it goes again. That the old one can be replaced by it, which a
/// file that is mounted by itself cannot, is not found out.
pub fn prove_writable(path: &Path) -> io::Result<()> {
    new_beside(path)?.close()
}

/// A new file of a name of its own, in the directory of `path`.
fn new_beside(path: &Path) -> io::Result<NamedTempFile> {
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "the path does not name a file")
    })?;
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(PRIVATE_FILE));
    }
    builder.tempfile_in(directory_of(path))
}

/// Creates the directory and its missing parents with mode 0700. Directories that exist keep the
/// mode they have.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(PRIVATE_DIRECTORY);
    }
    builder.create(path)
}

/// Takes every permission on the directory from everybody but its owner; tells whether that was needed.
pub fn close_to_others(directory: &Path) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // No bit of the six for group and others.
        if fs::metadata(directory)?
            .permissions()
            .mode()
            .trailing_zeros()
            < 6
        {
            let private = fs::Permissions::from_mode(PRIVATE_DIRECTORY);
            fs::set_permissions(directory, private)?;
            return Ok(true);
        }
    }
    #[cfg(not(unix))]
    let _ = directory;
    Ok(false)
}

/// The directory a file lies in; the current one for a bare name.
pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes a rename durable. Some file systems cannot flush a directory; the rename has happened all
/// the same, so that is no error.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(directory.path()), ["a"]);
    }

    #[test]
    fn a_reader_that_has_the_old_file_open_keeps_the_old_bytes() {
        use std::io::Read as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        write_atomic(&path, b"one").unwrap();
        let mut reader = File::open(&path).unwrap();
        write_atomic(&path, b"two").unwrap();
        let mut seen = String::new();
        reader.read_to_string(&mut seen).unwrap();
        assert_eq!(seen, "one");
    }

    #[cfg(unix)]
    #[test]
    fn files_are_private_and_so_are_the_directories_made_for_them() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("b").join("c").join("file");
        write_atomic(&path, b"x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(mode(&root.path().join("b")), 0o700);
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_was_open_to_others_is_closed_once() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        for open in [0o750, 0o705, 0o777] {
            fs::set_permissions(root.path(), fs::Permissions::from_mode(open)).unwrap();
            assert!(close_to_others(root.path()).unwrap());
            let mode = fs::metadata(root.path()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
            assert!(!close_to_others(root.path()).unwrap());
        }
    }

    #[test]
    fn a_failed_write_leaves_no_litter() {
        let directory = tempfile::tempdir().unwrap();
        let occupied = directory.path().join("occupied");
        fs::create_dir_all(occupied.join("child")).unwrap();
        assert!(write_atomic(&occupied, b"x").is_err());
        assert_eq!(names(directory.path()), ["occupied"]);
    }

    #[test]
    fn a_path_without_a_file_name_is_refused() {
        assert!(write_atomic(Path::new("/"), b"x").is_err());
    }
}
