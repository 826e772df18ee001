//! The last catalog, on disk.
//!
//! A cache file is a log of checksummed records: the catalog as it was loaded whole, then what
//! changed since. Only what stands before the last commit counts, so that a torn write costs
//! the write and nothing else. Files are named for the registry *and* for who read it: what
//! one identity was shown is never served to another.

mod file;
mod log;

pub(crate) use file::{CacheFile, Changes, sweep};
pub(crate) use log::Marks;
pub use log::{CacheContents, CacheError, read_cache_bytes};
