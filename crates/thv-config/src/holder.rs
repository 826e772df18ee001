//! Who holds a lock or a port of this machine, where the system tells.
//!
//! Linux tells it in `/proc`: of locks for everybody's processes, of ports for one's own. Elsewhere it is only known whether a
//! lock is held. Nothing here is created, and a lock is tried for an instant at most. Everything blocks.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use crate::disk::{ReadError, read_bounded};

/// More than the tables of a machine with thousands of connections take.
const TABLE_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Whether somebody holds the lock on a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Nobody does, or there is no such file yet.
    Free,
    /// Somebody does; `None` when the system does not tell who.
    Held(Option<Process>),
}

/// A process of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// What it is called, as far as we may know.
    pub name: Option<String>,
}

/// Whether somebody holds the lock on the file at `path`.
pub fn lock_holder(path: &Path) -> io::Result<Hold> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Hold::Free),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Hold::Free),
        Err(TryLockError::WouldBlock) => Ok(Hold::Held(lock_owner(&file))),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The process that listens on this TCP port, if it is one of this user.
pub fn port_holder(port: u16) -> Option<Process> {
    let inodes: Vec<u64> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(table)
        .flat_map(|table| listening_inodes(&table, port))
        .collect();
    let wanted: Vec<String> = inodes
        .iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if wanted.is_empty() {
        return None;
    }
    let processes = std::fs::read_dir("/proc").ok()?;
    processes
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| has_one_of(*pid, &wanted))
        .map(Process::of)
}

fn has_one_of(pid: u32, wanted: &[String]) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    descriptors
        .filter_map(Result::ok)
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .any(|link| {
            link.to_str()
                .is_some_and(|link| wanted.iter().any(|wanted| wanted == link))
        })
}

#[cfg(unix)]
fn lock_owner(file: &File) -> Option<Process> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = file.metadata().ok()?;
    let owner = flock_owner(&table("/proc/locks")?, metadata.dev(), metadata.ino())?;
    Some(Process::of(owner))
}

#[cfg(not(unix))]
fn lock_owner(_file: &File) -> Option<Process> {
    None
}

fn table(path: &str) -> Option<String> {
    let bytes: Result<_, ReadError> = read_bounded(Path::new(path), TABLE_MAX_BYTES);
    String::from_utf8(bytes.ok()?).ok()
}

/// The process that `/proc/locks` (`proc_locks(5)`) names for a `flock` on this file. Those that wait for it have an arrow.
#[cfg(any(unix, test))]
fn flock_owner(table: &str, device: u64, inode: u64) -> Option<u32> {
    let major = ((device >> 8) & 0xfff) | ((device >> 32) & 0xffff_f000);
    let minor = (device & 0xff) | ((device >> 12) & 0xffff_ff00);
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields.as_slice() {
            [_, "FLOCK", _, _, pid, held, ..] if *held == file => {
                pid.parse().ok().filter(|pid| *pid > 0)
            }
            _ => None,
        }
    })
}

/// The sockets that `/proc/net/tcp` (`proc_pid_net(5)`) shows as listening on this port.
fn listening_inodes(table: &str, port: u16) -> Vec<u64> {
    const LISTENING: &str = "0A";
    let port = format!("{port:04X}");
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (_, local_port) = fields.next()?.rsplit_once(':')?;
            let state = fields.nth(1)?;
            let inode = fields.nth(5)?;
            (local_port == port && state == LISTENING).then(|| inode.parse().ok())?
        })
        .collect()
}

impl Process {
    /// The process of this number, with its name where the system tells it.
    pub fn of(pid: u32) -> Self {
        let name = table(&format!("/proc/{pid}/comm"))
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty() && !name.chars().any(char::is_control));
        Self { pid, name }
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} (PID {})", self.pid),
            None => write!(f, "PID {}", self.pid),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::disk::FileLock;
    use crate::world::ManualClock;

    #[test]
    fn the_holder_of_a_lock_is_read_from_the_table_and_not_one_that_waits_for_it() {
        let table = "1: POSIX  ADVISORY  WRITE 7 fd:01:42 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 4711 fd:01:42 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 4712 fd:01:42 0 EOF\n\
                     3: FLOCK  ADVISORY  READ 4713 fd:01:43 0 EOF\n";
        assert_eq!(flock_owner(table, 0xfd01, 42), Some(4711));
        assert_eq!(flock_owner(table, 0xfd01, 43), Some(4713));
        assert_eq!(flock_owner(table, 0xfd02, 42), None);
        assert_eq!(flock_owner("", 0xfd01, 42), None);
        assert_eq!(flock_owner("nonsense: :\n\n", 0xfd01, 42), None);
    }

    #[test]
    fn listeners_are_told_from_connections() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:21DA 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 9001 1 x\n   \
            1: 0100007F:21DA 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000        0 9002 1 x\n   \
            2: 0100007F:21DB 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 9003 1 x\n";
        assert_eq!(listening_inodes(table, 8666), [9001]);
        assert_eq!(listening_inodes("nonsense", 8666), [] as [u64; 0]);
    }

    #[test]
    fn a_lock_that_is_held_here_is_ours_and_looking_creates_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.lock");
        assert_eq!(lock_holder(&path).unwrap(), Hold::Free);
        assert!(!path.exists());
        let clock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let lock = FileLock::acquire(&path, &clock, Duration::ZERO).unwrap();
        let Hold::Held(owner) = lock_holder(&path).unwrap() else {
            panic!("the lock is held");
        };
        if let Some(owner) = owner {
            assert_eq!(owner.pid, std::process::id());
        }
        drop(lock);
        assert_eq!(lock_holder(&path).unwrap(), Hold::Free);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_port_that_is_held_here_is_ours() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let holder = port_holder(port).expect("this process");
        assert_eq!(holder.pid, std::process::id());
        drop(listener);
        assert_eq!(port_holder(port), None);
    }
}
