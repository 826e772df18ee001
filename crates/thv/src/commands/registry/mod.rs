//! `thv registry`: what the configured registry offers, for a person. Each verb has a file; this
//! one runs them and has what they share, which is waiting for a catalog.

mod auth_helper;
mod convert;
mod info;
mod list;
mod login;
mod login_search;
mod logout;
mod refresh;
mod status;
mod token;

use std::future::Future;
use std::time::Duration;

use thv_config::world::World;
use thv_registry::{Served, SourceKind};

use super::block_on;
use crate::cli::RegistryCommand;
use crate::failure::CommandError;
use crate::output::{NOTICE, Output};
use crate::wire_up::Catalogs;

/// How long a command waits for a registry that has to be fetched: the whole of the largest
/// public registry took 40 s in 2026, and a person can always interrupt.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);
/// How long a command is quiet before it says what it waits for, and how often it says so anew.
const PROGRESS_STEP: Duration = Duration::from_millis(500);

pub(super) fn run(
    verb: RegistryCommand,
    world: &World,
    output: &mut Output,
) -> Result<(), CommandError> {
    match verb {
        RegistryCommand::List { format, refresh } => {
            block_on(list::run(format.is_json(), refresh, world, output))
        }
        RegistryCommand::Info {
            server,
            format,
            refresh,
        } => block_on(info::run(&server, format.is_json(), refresh, world, output)),
        RegistryCommand::Status { format, check } => {
            block_on(status::run(format.is_json(), check, world, output))
        }
        RegistryCommand::Refresh { format } => {
            block_on(refresh::run(format.is_json(), world, output))
        }
        RegistryCommand::Login(args) => block_on(login::run(&args, world, output)),
        RegistryCommand::Logout { format } => {
            block_on(logout::run(format.is_json(), world, output))
        }
        RegistryCommand::Token(args) => block_on(token::run(&args, world, output)),
        RegistryCommand::AuthHelper => block_on(auth_helper::run(world, output)),
        RegistryCommand::Convert(args) => convert::run(&args, output),
    }
}

/// The catalog of the default registry: what is kept when that is fresh, fetched otherwise, and
/// fetched in any case with `refresh`. Says on standard error when it had to do with old data.
pub(super) async fn catalog(
    catalogs: &Catalogs,
    refresh: bool,
    world: &World,
    output: &mut Output,
) -> Result<Served, CommandError> {
    let registry = catalogs.default_registry()?;
    let what = loading(&registry.info());
    let served = if refresh {
        patiently(&what, world, output, registry.refresh()).await?
    } else {
        patiently(&what, world, output, registry.catalog(PATIENCE)).await?
    };
    if let Some(stale) = &served.stale {
        output.remark_styled(
            NOTICE,
            "Warning",
            &format!(
                "showing the catalog of {}: {}",
                stale.since,
                crate::output::table::one_line(&stale.why)
            ),
        );
    }
    Ok(served)
}

fn loading(info: &thv_registry::RegistryInfo) -> String {
    match info.kind {
        SourceKind::Default => "Loading the built-in registry".to_owned(),
        _ => format!("Loading {}", info.source),
    }
}

/// Waits for `work` and shows on a terminal, after a moment, what is waited for and how long.
pub(in crate::commands) async fn patiently<T>(
    what: &str,
    world: &World,
    output: &mut Output,
    work: impl Future<Output = T>,
) -> T {
    if !output.shows_progress() {
        return work.await;
    }
    let started = world.clock.monotonic();
    let mut work = std::pin::pin!(work);
    let result = loop {
        tokio::select! {
            biased;
            result = &mut work => break result,
            () = world.clock.sleep(PROGRESS_STEP) => {
                let waited = world.clock.monotonic().saturating_sub(started);
                output.progress(&format!("{what} … {} s", waited.as_secs()));
            }
        }
    };
    output.clear_progress();
    result
}
