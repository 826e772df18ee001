//! What a person types, or pipes in: secrets without echo, and answers to questions. Values never come from
//! the command line, which others on the machine can read.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use secrecy::SecretString;

use crate::failure::CommandError;
use crate::output::Output;

/// More than any secret; what is piped in by mistake is not read to its end.
const SECRET_MAX_BYTES: u64 = 1024 * 1024;

/// Whether a person can be asked.
pub(crate) fn is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// A secret: asked for without echo on a terminal, else all of standard input without the line end at its end.
pub(crate) fn secret(prompt: &str) -> Result<SecretString, CommandError> {
    if is_terminal() {
        return rpassword::prompt_password(prompt)
            .map(SecretString::from)
            .map_err(CommandError::Input);
    }
    let mut text = String::new();
    io::stdin()
        .lock()
        .take(SECRET_MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(CommandError::Input)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > SECRET_MAX_BYTES {
        return Err(CommandError::Input(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is longer than {SECRET_MAX_BYTES} bytes"),
        )));
    }
    Ok(without_line_end(&text).into())
}

/// A line that answers `prompt`; `None` at the end of the input. The question goes to standard error, so that
/// it is seen when the output is piped elsewhere.
pub(crate) fn answer(prompt: &str, output: &mut Output) -> Result<Option<String>, CommandError> {
    output.ask(prompt);
    let mut line = String::new();
    let read = io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(CommandError::Input)?;
    Ok((read > 0).then(|| line.trim().to_owned()))
}

fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_taken_away_and_no_more() {
        for (text, expected) in [
            ("a", "a"),
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            (" a \n", " a "),
            ("\n", ""),
        ] {
            assert_eq!(without_line_end(text), expected, "{text:?}");
        }
    }
}
