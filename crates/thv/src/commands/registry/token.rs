//! `thv registry token`: the registry's token of now, on standard output, for a program in the same pipe.

use std::io::IsTerminal as _;

use thv_auth::HandedOut;
use thv_config::world::World;
use thv_http::secrecy::ExposeSecret as _;
use thv_registry::Revalidation;
use url::Url;

use crate::cli::TokenArgs;
use crate::failure::CommandError;
use crate::output::Output;
use crate::wire_up::{self, Catalogs};

pub(super) async fn run(
    args: &TokenArgs,
    world: &World,
    output: &mut Output,
) -> Result<(), CommandError> {
    if !args.show && std::io::stdout().is_terminal() {
        return Err(CommandError::Usage(
            "a token is not shown on a terminal; pass it on with a pipe, or add --show".to_owned(),
        ));
    }
    let url = args.url.as_deref().map(parsed).transpose()?;
    let catalogs = wire_up::catalogs(world, Revalidation::Before).await?;
    let handed = hand_out(&catalogs, url.as_ref()).await?;
    let token = handed.bearer.token().expose_secret();
    Ok(output.print(format!("{token}\n"))?)
}

/// The token, or why there is none. A renewal that this began is stored before the program ends.
pub(super) async fn hand_out(
    catalogs: &Catalogs,
    url: Option<&Url>,
) -> Result<HandedOut, CommandError> {
    let handed = catalogs.auth.token_for(url).await;
    catalogs.auth.finish().await;
    handed?.ok_or(CommandError::NoToken)
}

fn parsed(text: &str) -> Result<Url, CommandError> {
    let url = Url::parse(text).ok().filter(Url::has_host);
    url.ok_or_else(|| CommandError::Usage(format!("{text} is no URL")))
}
