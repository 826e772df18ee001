//! The verbs. Each takes its flags, the world and an `Output`, and ends in a `CommandError` at
//! worst; this file only chooses which one runs, and on what kind of runtime.

pub(crate) mod completion;
mod config;
mod registry;
mod search;
mod secret;
mod serve;
mod server_text;
pub(crate) mod version;

use std::future::Future;

use clap::CommandFactory;
use thv_config::world::World;

use crate::cli::{Cli, Command};
use crate::failure::CommandError;
use crate::opener;
use crate::output::Output;

/// Runs what the command line asks for.
pub(crate) fn run(cli: Cli, world: &World, output: &mut Output) -> Result<(), CommandError> {
    match cli.command {
        None => Ok(output.print(Cli::command().render_help().to_string())?),
        Some(Command::Serve(args)) => serve::run(&args, world),
        Some(Command::Registry(verb)) => registry::run(verb, world, output),
        Some(Command::Search(args)) => block_on(search::run(&args, world, output)),
        Some(Command::Secret(verb)) => secret::run(verb, world, output),
        Some(Command::Config(verb)) => config::run(verb, world, output),
        Some(Command::Version(args)) => version::run(&args, output),
        Some(Command::Completion { shell }) => completion::completion(shell, output),
        Some(Command::OpenAddress) => opener::open_address(),
        Some(Command::Man { dir }) => completion::man(dir.as_deref(), output),
    }
}

/// Runs a command's future on this thread; a command for a person needs no pool of threads.
fn block_on<T>(future: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CommandError::Runtime)?
        .block_on(future)
}
