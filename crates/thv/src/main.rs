//! The program: reads the command line, builds the world, runs one command and turns its end into
//! an exit code. Nothing else in this crate ends the process.

mod cli;
mod commands;
mod exit_code;
mod failure;
mod logging;
mod opener;
mod output;
mod running_server;
mod secret_input;
mod wire_up;

use std::process::ExitCode;

use clap::Parser;
use thv_config::world::World;

use crate::cli::{Cli, Command};
use crate::exit_code::Exit;
use crate::logging::Verbosity;
use crate::output::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version end here too, with code 0. A closed pipe is nobody's failure.
        Err(answer) => {
            let _ = answer.print();
            return if answer.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            }
            .into();
        }
    };
    let world = World::system();
    let serves = matches!(cli.command, Some(Command::Serve(_)));
    logging::start(
        Verbosity::choose(cli.debug, serves, &*world.env),
        world.clock.clone(),
    );
    let mut output = Output::process(&*world.env);
    match commands::run(cli, &world, &mut output) {
        Ok(()) => Exit::Ok.into(),
        Err(error) => failure::report(&error, &mut output).into(),
    }
}
