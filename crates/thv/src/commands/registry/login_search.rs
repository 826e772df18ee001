//! What `thv registry login` does when a registry's URL is known and its issuer or our client there
//! is not: asks the registry, shows the person what it said, and gets a client. Nothing is written to
//! the configuration here.

use std::io::{self, BufRead as _, IsTerminal as _};

use thv_auth::relaxation::Relaxations;
use thv_auth::{ClientChoice, FoundLogin, LoginSearch};
use thv_config::world::World;
use thv_registry::{LoginRequest, SourceRequest};
use url::Url;

use crate::cli::LoginArgs;
use crate::failure::CommandError;
use crate::output::{NOTICE, Output};
use crate::wire_up::Catalogs;

/// What is known before the registry is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Searched {
    pub(super) request: SourceRequest,
    pub(super) registry_url: String,
    pub(super) first_request: Url,
    pub(super) allow_private_ip: bool,
    pub(super) issuer: Option<String>,
    pub(super) client_id: Option<String>,
    /// The issuer that the client is of, when it is the configured one and not one that was named with it.
    pub(super) client_of: Option<String>,
    pub(super) callback_port: Option<u16>,
    /// Whether the issuer is the configured one of this registry.
    pub(super) is_known: bool,
}

/// The login to configure, and where the registry said so.
pub(super) async fn run(
    searched: &Searched,
    args: &LoginArgs,
    catalogs: &Catalogs,
    world: &World,
    output: &mut Output,
) -> Result<(LoginRequest, Option<Url>), CommandError> {
    let search = LoginSearch {
        registry_url: searched.registry_url.clone(),
        first_request: searched.first_request.clone(),
        allow_private_ip: searched.allow_private_ip,
        issuer: searched.issuer.clone(),
        relaxations: args.relax.iter().copied().collect(),
    };
    let finding = catalogs.auth.find_login(&search);
    let found = super::patiently(
        "Asking the registry where to log in",
        world,
        output,
        Box::pin(finding),
    )
    .await?;
    confirm(searched, args, &found, output).await?;
    let choice = ClientChoice {
        client_id: searched.client_id.clone().filter(|_| {
            let issuer = &found.provider.issuer;
            searched.client_of.as_ref().is_none_or(|of| of == issuer)
        }),
        metadata_document: args.client_metadata.clone(),
        callback_port: searched.callback_port,
        anew: args.register,
    };
    let getting = catalogs.auth.client_for(&found, &choice);
    let client_id = super::patiently(
        "Registering with the identity provider",
        world,
        output,
        Box::pin(getting),
    )
    .await?;
    let scopes = if args.auth.scopes.is_empty() {
        found.scopes
    } else {
        args.auth.scopes.clone()
    };
    let login = LoginRequest {
        issuer: found.provider.issuer,
        client_id,
        audience: args.auth.audience.clone().or(found.resource),
        scopes: (!scopes.is_empty()).then_some(scopes),
        callback_port: searched.callback_port,
    };
    Ok((login, found.metadata_url))
}

/// Shows who would learn the person's password, and asks where somebody can answer. A registry
/// could name anybody; who has named the issuer, or has logged in there before, is not asked.
async fn confirm(
    searched: &Searched,
    args: &LoginArgs,
    found: &FoundLogin,
    output: &mut Output,
) -> Result<(), CommandError> {
    let issuer = &found.provider.issuer;
    let registry = Url::parse(&searched.registry_url).map_or_else(
        |_| searched.registry_url.clone(),
        |url| thv_http::display_url(&url),
    );
    output.remark(&format!(
        "The registry `{registry}` wants a login at the identity provider `{issuer}`."
    ));
    show_relaxed(&found.relaxed, output);
    let is_chosen = args.yes || args.auth.issuer.is_some() || searched.is_known;
    if is_chosen || !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Ok(());
    }
    output.remark("This identity provider is new here. Does it belong to this registry? [y/N]");
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let answer = answer
        .await
        .map_err(|error| CommandError::Serve(error.to_string()))?;
    if is_yes(&answer.unwrap_or_default()) {
        Ok(())
    } else {
        Err(CommandError::NotConfirmed {
            issuer: issuer.clone(),
        })
    }
}

fn show_relaxed(relaxed: &Relaxations, output: &mut Output) {
    if relaxed.is_empty() {
        return;
    }
    let names: Vec<&str> = relaxed.iter().map(|rule| rule.as_str()).collect();
    output.remark_styled(
        NOTICE,
        "Warning",
        &format!("rules that are not applied: {}", names.join(", ")),
    );
}

fn is_yes(answer: &str) -> bool {
    let answer = answer.trim();
    answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_one() {
        for (answer, yes) in [
            ("y\n", true),
            (" YES \r\n", true),
            ("\n", false),
            ("", false),
            ("n", false),
            ("yeah", false),
        ] {
            assert_eq!(is_yes(answer), yes, "{answer:?}");
        }
    }
}
