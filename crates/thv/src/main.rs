//! The program: reads the command line, builds the world, runs one command and turns its end into
//! an exit code. Nothing else in this crate ends the process.

mod cli;
mod commands;
mod exit_code;
mod failure;
mod input;
mod logging;
mod opener;
mod output;
mod running_server;
mod wire_up;

use std::alloc::System;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use thv_config::world::{Overlay, World};
use thv_secrets::select::{KEY_FILE_VARIABLE, PASSWORD_VARIABLE};
use zeroizing_alloc::ZeroAlloc;

use crate::cli::{Cli, Command};
use crate::exit_code::Exit;
use crate::logging::Verbosity;
use crate::output::Output;

/// Whatever held a secret is blank when its memory is given back, in our code and in every library's: buffers of the HTTP
/// server, of the JSON reader and of TLS as well.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    close_to_others();
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
    let world = world(cli.key_file.as_deref());
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

/// Lets no other program of this user look into this one's memory, open files or environment, and no core of it be dumped: tokens are
/// in there. What cannot be closed stays as it was. Programs that this one starts are not closed.
fn close_to_others() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// The real world, in which a key file on the command line counts before anything that the environment says of the key.
fn world(key_file: Option<&str>) -> World {
    let mut world = World::system();
    if let Some(path) = key_file {
        let said = [(KEY_FILE_VARIABLE, Some(path)), (PASSWORD_VARIABLE, None)];
        world.env = Arc::new(Overlay::new(world.env, said));
    }
    world
}
