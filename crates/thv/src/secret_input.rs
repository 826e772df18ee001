//! Secrets that a person or a pipe hands over: standard input, bounded, never an argument, because command lines can be read by others.

use std::io::{IsTerminal as _, Read as _};

use thv_http::secrecy::SecretString;
use zeroize::Zeroizing;

use crate::failure::CommandError;
use crate::output::Output;

/// Most bytes that are read: the longest token that could be sent, and a line end.
const MAX_BYTES: u64 = 64 * 1024 + 2;

/// Reads `what` from standard input, to its end; line ends behind it do not count.
pub(crate) fn read(what: &str, output: &mut Output) -> Result<SecretString, CommandError> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        output.remark(&format!(
            "Paste {what}, then press Enter and Ctrl-D. It shows on the screen; a pipe or `< file` does not."
        ));
    }
    // Sized at once: growing by and by would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        usize::try_from(MAX_BYTES).unwrap_or(usize::MAX),
    ));
    stdin
        .lock()
        .take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| CommandError::Usage(format!("standard input cannot be read: {error}")))?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| CommandError::Usage("standard input is no text".to_owned()))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(CommandError::Usage(format!(
            "standard input holds nothing; {what} is read from there"
        )));
    }
    Ok(text.into())
}
