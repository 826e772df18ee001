//! Every bound of this crate, each with the reason for its value.

use std::time::Duration;

/// Most bytes a configuration file may have. A real one is a few hundred bytes; the bound keeps a
/// wrong path (a log, a device) from being read into memory.
pub const CONFIG_MAX_BYTES: u64 = 1024 * 1024;

/// How long a change waits for the configuration's lock: the Go program waits as long, so neither
/// starves the other.
pub const CONFIG_LOCK_WAIT: Duration = Duration::from_secs(1);

/// Most bytes that the settings of registries may have: as the configuration, for the same reason.
pub const REGISTRIES_MAX_BYTES: u64 = CONFIG_MAX_BYTES;

/// Time between two tries for a lock somebody else holds. Locks are held for milliseconds, and whoever looks rarely loses
/// to whoever comes anew: a fiftieth of the Go program's rhythm lets many writers at one file take turns.
pub const LOCK_POLL: Duration = Duration::from_millis(2);

/// How long a file that looks half-written is read again before it counts as broken. The Go program
/// truncates and writes in one go, which takes microseconds; half a second covers a busy machine.
pub const HALF_WRITTEN_PATIENCE: Duration = Duration::from_millis(500);

/// Time between two readings of a file that looks half-written.
pub const HALF_WRITTEN_POLL: Duration = Duration::from_millis(25);

/// Time between two looks at the configuration file's fingerprint. A person who changes the
/// configuration on the command line sees a running server follow before the next keystroke.
pub const WATCH_POLL: Duration = Duration::from_millis(500);
