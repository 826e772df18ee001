//! The exit codes of every command, as one enum: scripts may rely on them, so a new meaning gets a
//! new number. Which error ends in which code is decided in `failure`, not here.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// Something went wrong that has no number of its own.
    Failure = 1,
    /// The command line could not be understood; clap uses the same number.
    Usage = 2,
    /// The registry wants a login first.
    AuthRequired = 3,
    /// The server, file or registry that was named does not exist.
    NotFound = 4,
    /// The upstream registry could not be reached or did not answer properly.
    UpstreamUnavailable = 5,
    /// The secret store is not set up, is locked, or cannot do what was wanted.
    SecretStore = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_documentation() {
        let numbers = [
            Exit::Ok,
            Exit::Failure,
            Exit::Usage,
            Exit::AuthRequired,
            Exit::NotFound,
            Exit::UpstreamUnavailable,
            Exit::SecretStore,
        ]
        .map(|exit| exit as u8);
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6]);
    }
}
