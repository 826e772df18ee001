//! `thv secret`: the user's secrets, for a person and for scripts. Each group of verbs has a file; this one
//! runs them.

mod setup;
mod status;
mod values;

use thv_config::world::World;
use thv_secrets::{Patience, UserSecrets};

use crate::cli::SecretCommand;
use crate::failure::CommandError;
use crate::output::Output;
use crate::wire_up;

pub(super) fn run(
    verb: SecretCommand,
    world: &World,
    output: &mut Output,
) -> Result<(), CommandError> {
    let secrets = UserSecrets::new(wire_up::secrets(world)?, Patience::Login);
    match verb {
        SecretCommand::Status { format } => status::run(&secrets, format.is_json(), world, output),
        SecretCommand::Get { name, format } => {
            values::get(&secrets, &name, format.is_json(), output)
        }
        SecretCommand::Setup => setup::ask(&secrets, output),
        SecretCommand::Provider {
            provider,
            password_stdin,
        } => setup::provider(&secrets, &provider, password_stdin, output),
        SecretCommand::Set { name } => values::set(&secrets, &name),
        SecretCommand::Delete { name, system } => values::delete(&secrets, &name, system),
        SecretCommand::List { system, format } => {
            values::list(&secrets, system, format.is_json(), output)
        }
        SecretCommand::ResetKeyring { yes } => setup::reset_keyring(&secrets, yes, output),
        SecretCommand::UpgradeStore { undo } => setup::upgrade(&secrets, undo, output),
    }
}
