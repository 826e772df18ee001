//! Reading a whole file that may be larger than we want, or no file at all.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such file.
    #[error("there is no such file")]
    NotFound,
    /// The file has more bytes than the caller takes.
    #[error("the file is larger than {limit} bytes")]
    TooLarge {
        /// The most bytes the caller takes.
        limit: u64,
    },
    /// The operating system refused.
    #[error("{0}")]
    Io(#[source] io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound {
            Self::NotFound
        } else {
            Self::Io(error)
        }
    }
}

/// The file's bytes, at most `max_bytes` of them. Only regular files are read (a pipe could block
/// for ever); symbolic links are followed. Memory use is bounded even while the file grows.
pub fn read_bounded(path: &Path, max_bytes: u64) -> Result<Vec<u8>, ReadError> {
    read_bounded_if(path, max_bytes, |_| Ok(()))
}

/// The same, where `judge` has nothing against the file. It sees the file that is read, whatever the path leads to a moment later.
pub fn read_bounded_if(
    path: &Path,
    max_bytes: u64,
    judge: impl FnOnce(&Metadata) -> io::Result<()>,
) -> Result<Vec<u8>, ReadError> {
    // Opening some devices does something, so that nothing but a file is opened as far as the path tells.
    regular(&std::fs::metadata(path)?)?;
    let file = open(path)?;
    let metadata = file.metadata()?;
    regular(&metadata)?;
    judge(&metadata)?;
    let expected = metadata.len();
    if expected > max_bytes {
        return Err(ReadError::TooLarge { limit: max_bytes });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or_default());
    file.take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max_bytes {
        return Err(ReadError::TooLarge { limit: max_bytes });
    }
    Ok(bytes)
}

fn regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "it is not a regular file",
    ))
}

/// Opens without waiting: a pipe that was put there after the first look would keep us until somebody writes to it.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::write_atomic;

    #[test]
    fn a_file_of_exactly_the_limit_is_read_and_one_byte_more_is_too_large() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        write_atomic(&path, b"12345").unwrap();
        assert_eq!(read_bounded(&path, 5).unwrap(), b"12345");
        assert!(matches!(
            read_bounded(&path, 4),
            Err(ReadError::TooLarge { limit: 4 })
        ));
    }

    #[test]
    fn a_missing_file_is_told_apart_from_an_unreadable_one() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(
            read_bounded(&directory.path().join("absent"), 1),
            Err(ReadError::NotFound)
        ));
        assert!(matches!(
            read_bounded(directory.path(), 1),
            Err(ReadError::Io(_))
        ));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn case_129_a_pipe_that_takes_the_place_of_a_file_keeps_nobody_waiting() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let opened = open(&pipe).unwrap();
        assert!(regular(&opened.metadata().unwrap()).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn an_endless_device_is_refused() {
        assert!(matches!(
            read_bounded(Path::new("/dev/zero"), 1024),
            Err(ReadError::Io(_))
        ));
    }
}
