//! Standard output and standard error as a value: where text goes, how wide the terminal is,
//! whether colour is welcome. A reader that went away (a closed pipe) is not an error: what is left
//! is thrown away. Columns are in `table`, JSON layout in `json`; logging has its own writer.

pub(crate) mod json;
pub(crate) mod table;

use std::io::{self, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use thv_config::world::Env;
use unicode_width::UnicodeWidthStr;

/// Columns assumed when nothing tells the width.
const DEFAULT_WIDTH: usize = 80;
/// Below this a table cannot be read anyway; narrower terminals wrap.
const MIN_WIDTH: usize = 60;

/// The column heads of a table.
pub(crate) const HEADING: Style = Style::new().bold();
/// The word before an error message.
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
/// The word before a warning or a hint.
pub(crate) const NOTICE: Style = AnsiColor::Yellow.on_default();

/// Where a command writes.
pub(crate) struct Output {
    out: Box<dyn Write + Send>,
    /// Standard output as it is: what goes through `out` loses escape sequences where colour is not welcome.
    exact_out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    width: usize,
    out_is_terminal: bool,
    err_is_terminal: bool,
    /// Cells of the progress line that is on the terminal now; 0 when there is none.
    progress_width: usize,
}

impl Output {
    /// The process's own streams.
    pub(crate) fn process(env: &dyn Env) -> Self {
        let out = io::stdout();
        let err = io::stderr();
        let err_is_terminal = err.is_terminal();
        let out_is_terminal = out.is_terminal();
        let out_colour = colour(env, out_is_terminal);
        let err_colour = colour(env, err_is_terminal);
        Self {
            width: width(env, &out),
            out: Box::new(AutoStream::new(out, out_colour)),
            exact_out: Box::new(io::stdout()),
            err: Box::new(AutoStream::new(err, err_colour)),
            out_is_terminal,
            err_is_terminal,
            progress_width: 0,
        }
    }

    /// Writes a question to standard error, without a line end.
    pub(crate) fn ask(&mut self, question: &str) {
        let _ = write!(self.err, "{question}");
        let _ = self.err.flush();
    }

    /// Whether standard output is a terminal, where a person sees what is written.
    pub(crate) fn is_terminal(&self) -> bool {
        self.out_is_terminal
    }

    /// Columns that a line of text may take.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Writes to standard output.
    pub(crate) fn print(&mut self, text: impl AsRef<[u8]>) -> io::Result<()> {
        let written = self.out.write_all(text.as_ref());
        forgive_closed_pipe(written.and_then(|()| self.out.flush()))
    }

    /// Writes bytes to standard output that must arrive as they are: a secret may hold anything.
    pub(crate) fn print_exact(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.exact_out.write_all(bytes);
        forgive_closed_pipe(written.and_then(|()| self.exact_out.flush()))
    }

    /// Writes one line to standard error. A broken standard error is nobody's failure.
    pub(crate) fn remark(&mut self, line: &str) {
        let _ = writeln!(self.err, "{line}");
    }

    /// Writes `word: line` to standard error with the word in `style`.
    pub(crate) fn remark_styled(&mut self, style: Style, word: &str, line: &str) {
        let _ = writeln!(self.err, "{style}{word}:{style:#} {line}");
    }

    /// Shows what is being waited for, on a terminal only; `clear_progress` takes it away.
    pub(crate) fn progress(&mut self, text: &str) {
        if self.err_is_terminal {
            let text = table::cut_end(text, self.width.saturating_sub(1));
            self.clear_progress();
            let _ = write!(self.err, "{text}");
            let _ = self.err.flush();
            self.progress_width = text.width();
        }
    }

    /// Blanks the line that `progress` wrote, if it wrote one. With blanks: where colour is not
    /// wanted, no other escape sequence is either.
    pub(crate) fn clear_progress(&mut self) {
        if self.progress_width > 0 {
            let _ = write!(self.err, "\r{:1$}\r", "", self.progress_width);
            let _ = self.err.flush();
            self.progress_width = 0;
        }
    }

    /// Whether `progress` shows anything.
    pub(crate) fn shows_progress(&self) -> bool {
        self.err_is_terminal
    }
}

/// A reader that has seen enough closes its end: `thv registry list | head` is a success.
fn forgive_closed_pipe(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Colour only where a person looks, and not where they said no (<https://no-color.org>).
fn colour(env: &dyn Env, terminal: bool) -> ColorChoice {
    let refused = env.var("NO_COLOR").is_some_and(|value| !value.is_empty())
        || env.var("TERM").is_some_and(|value| value == "dumb");
    if terminal && !refused {
        ColorChoice::Always
    } else {
        ColorChoice::Never
    }
}

fn width(env: &dyn Env, out: &io::Stdout) -> usize {
    let terminal = terminal_size::terminal_size_of(out).map(|(columns, _)| usize::from(columns.0));
    let told = || {
        env.var("COLUMNS")
            .and_then(|value| value.trim().parse().ok())
    };
    terminal
        .filter(|columns| *columns > 0)
        .or_else(told)
        .map_or(DEFAULT_WIDTH, |columns: usize| columns.max(MIN_WIDTH))
}

#[cfg(test)]
pub(crate) mod capture {
    //! An `Output` that keeps what was written, for the tests of the commands.

    use std::sync::{Arc, Mutex};

    use super::{Output, Write, io};

    /// What was written so far.
    #[derive(Clone, Default)]
    pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An output of 80 columns, with its standard output and standard error.
    pub(crate) fn output() -> (Output, Captured, Captured) {
        let (out, err) = (Captured::default(), Captured::default());
        let output = Output {
            out: Box::new(anstream::StripStream::new(
                Box::new(out.clone()) as Box<dyn Write + Send>
            )),
            exact_out: Box::new(out.clone()),
            err: Box::new(anstream::StripStream::new(
                Box::new(err.clone()) as Box<dyn Write + Send>
            )),
            width: 80,
            out_is_terminal: false,
            err_is_terminal: false,
            progress_width: 0,
        };
        (output, out, err)
    }
}

#[cfg(test)]
mod tests {
    use thv_config::world::MapEnv;

    use super::*;

    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_went_away_is_not_an_error() {
        let (mut output, _, _) = capture::output();
        output.out = Box::new(Gone);
        output.err = Box::new(Gone);
        output.print("text").expect("forgiven");
        output.remark("text");
    }

    #[test]
    fn colour_needs_a_terminal_and_no_refusal() {
        let plain = MapEnv::from([("TERM", "xterm")]);
        let refused = MapEnv::from([("NO_COLOR", "1")]);
        let empty = MapEnv::from([("NO_COLOR", "")]);
        let dumb = MapEnv::from([("TERM", "dumb")]);
        for (env, terminal, expected) in [
            (&plain, true, ColorChoice::Always),
            (&plain, false, ColorChoice::Never),
            (&refused, true, ColorChoice::Never),
            (&empty, true, ColorChoice::Always),
            (&dumb, true, ColorChoice::Never),
        ] {
            assert_eq!(colour(env, terminal), expected, "{env:?} {terminal}");
        }
    }

    #[test]
    fn progress_is_blanked_before_anything_else_is_written() {
        let (mut output, _, err) = capture::output();
        output.err_is_terminal = true;
        output.progress("loading");
        output.progress("done");
        output.clear_progress();
        output.clear_progress();
        assert_eq!(err.text(), "loading\r       \rdone\r    \r");
    }

    #[test]
    fn progress_is_silent_without_a_terminal() {
        let (mut output, _, err) = capture::output();
        output.progress("loading");
        output.clear_progress();
        assert_eq!(err.text(), "");
    }
}
