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
    if !std::fs::metadata(path)?.is_file() {
        return Err(ReadError::Io(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        )));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
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

    #[cfg(unix)]
    #[test]
    fn an_endless_device_is_refused() {
        assert!(matches!(
            read_bounded(Path::new("/dev/zero"), 1024),
            Err(ReadError::Io(_))
        ));
    }
}
