//! `thv completion` and `thv man`: texts that follow from the clap types alone.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::failure::CommandError;
use crate::output::Output;

/// Prints the completion script for `shell`.
pub(crate) fn completion(shell: Shell, output: &mut Output) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "thv", &mut script);
    output.print(script)?;
    Ok(())
}

/// Writes one page per command into `dir`, or prints all of them one after the other, which
/// `thv man | man -l -` shows.
pub(crate) fn man(dir: Option<&Path>, output: &mut Output) -> Result<(), CommandError> {
    if let Some(dir) = dir {
        std::fs::create_dir_all(dir)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
            .map_err(|error| CommandError::file(dir, "write manual pages to", error))?;
        return Ok(());
    }
    output.print(pages()?)?;
    Ok(())
}

fn pages() -> Result<Vec<u8>, CommandError> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    let mut waiting = vec![root];
    while let Some(command) = waiting.pop() {
        Man::new(command.clone()).render(&mut pages)?;
        let mut verbs: Vec<_> = command
            .get_subcommands()
            .filter(|verb| !verb.is_hide_set())
            .cloned()
            .collect();
        verbs.reverse();
        waiting.append(&mut verbs);
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::capture;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_verbs() {
        for shell in [
            Shell::Bash,
            Shell::Zsh,
            Shell::Fish,
            Shell::PowerShell,
            Shell::Elvish,
        ] {
            let (mut output, out, _) = capture::output();
            completion(shell, &mut output).unwrap();
            assert!(out.text().contains("set-registry"), "{shell}");
        }
    }

    #[test]
    fn the_manual_has_a_page_for_each_verb() {
        let text = String::from_utf8(pages().unwrap()).unwrap();
        for page in [
            "thv",
            "thv-serve",
            "thv-registry-convert",
            "thv-config-get-registry",
        ] {
            assert!(text.contains(&format!(".TH {page} ")), "{page}");
        }
        assert!(!text.contains("set-registry-auth"));
    }

    #[test]
    fn pages_are_written_to_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("new/man1");
        let (mut output, out, _) = capture::output();
        man(Some(&target), &mut output).unwrap();
        assert!(target.join("thv-registry-list.1").is_file());
        assert_eq!(out.text(), "");
    }
}
