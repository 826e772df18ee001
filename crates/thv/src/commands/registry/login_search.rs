//! What `thv registry login` does when a registry's URL is known and its issuer or our client there
//! is not: asks the registry, shows the person what it said, and gets a client. Nothing is written to
//! the configuration here.

use std::io::{self, BufRead as _, IsTerminal as _};

use thv_auth::login::DEFAULT_CALLBACK_PORT;
use thv_auth::relaxation::Relaxations;
use thv_auth::{ClientChoice, FoundLogin, LoginSearch, SearchError};
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
    /// The issuer of the login that ended because the registry, or that issuer, is not as it was.
    pub(super) changed_from: Option<String>,
}

/// The login to configure, and where the registry said so.
pub(super) async fn run(
    searched: &Searched,
    args: &LoginArgs,
    catalogs: &Catalogs,
    world: &World,
    output: &mut Output,
) -> Result<(LoginRequest, Option<Url>), CommandError> {
    let mut search = LoginSearch {
        registry_url: searched.registry_url.clone(),
        first_request: searched.first_request.clone(),
        allow_private_ip: searched.allow_private_ip,
        issuer: searched.issuer.clone(),
        relaxations: args.relax.iter().copied().collect(),
    };
    let (found, is_picked) = match find(&search, catalogs, world, output).await {
        Err(SearchError::SeveralIssuers { issuers, .. }) if can_answer() => {
            search.issuer = Some(pick(issuers, output).await?);
            (find(&search, catalogs, world, output).await?, true)
        }
        found => (found?, false),
    };
    let is_chosen = is_picked || args.yes || args.auth.issuer.is_some() || searched.is_known;
    confirm(searched, is_chosen, &found, output).await?;
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
    .await
    .map_err(|client| CommandError::Client {
        client,
        port: choice.callback_port.unwrap_or(DEFAULT_CALLBACK_PORT),
    })?;
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

async fn find(
    search: &LoginSearch,
    catalogs: &Catalogs,
    world: &World,
    output: &mut Output,
) -> Result<FoundLogin, SearchError> {
    let finding = Box::pin(catalogs.auth.find_login(search));
    super::patiently(
        "Asking the registry where to log in",
        world,
        output,
        finding,
    )
    .await
}

/// Whether there is somebody to be asked.
fn can_answer() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// One line of the person's.
async fn answer() -> Result<String, CommandError> {
    let line = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let line = line
        .await
        .map_err(|error| CommandError::Serve(error.to_string()))?;
    Ok(line.unwrap_or_default())
}

/// Asks at which of several identity providers the person wants to log in. None of them has been contacted.
async fn pick(issuers: Vec<String>, output: &mut Output) -> Result<String, CommandError> {
    output.remark("The registry takes logins of several identity providers:");
    for (number, issuer) in (1..).zip(&issuers) {
        output.remark(&format!("  {number}  {issuer}"));
    }
    output.remark("Which one do you have an account at? [number]");
    let given = answer().await?;
    picked(&issuers, &given)
        .cloned()
        .ok_or_else(|| CommandError::NotConfirmed {
            issuer: issuers.join(" or "),
        })
}

fn picked<'i>(issuers: &'i [String], answer: &str) -> Option<&'i String> {
    let number: usize = answer.trim().parse().ok()?;
    issuers.get(number.checked_sub(1)?)
}

/// Shows who would learn the person's password, and asks where somebody can answer. A registry
/// could name anybody; who has chosen the issuer, or has logged in there before, is not asked. A
/// registry that names another one than at the login before needs an answer.
async fn confirm(
    searched: &Searched,
    is_chosen: bool,
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
    if is_chosen {
        return Ok(());
    }
    let question = match (&searched.changed_from, can_answer()) {
        (None, false) => return Ok(()),
        (Some(before), false) => {
            return Err(CommandError::NobodyConfirms {
                before: before.clone(),
                issuer: issuer.clone(),
            });
        }
        (Some(before), true) if before == issuer => {
            "It takes tokens at another place than at the last login. Is that meant? [y/N]"
                .to_owned()
        }
        (Some(before), true) => {
            format!("At the last login it was `{before}`. Is the change meant? [y/N]")
        }
        (None, true) => {
            "This identity provider is new here. Does it belong to this registry? [y/N]".to_owned()
        }
    };
    output.remark(&question);
    if is_yes(&answer().await?) {
        Ok(())
    } else {
        Err(CommandError::NotConfirmed {
            issuer: issuer.clone(),
        })
    }
}

pub(super) fn show_relaxed(relaxed: &Relaxations, output: &mut Output) {
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
    fn only_a_number_of_the_list_picks_an_issuer() {
        let issuers = ["https://a.example", "https://b.example"].map(str::to_owned);
        for (answer, index) in [
            ("1\n", Some(0)),
            (" 2 ", Some(1)),
            ("0", None),
            ("3", None),
            ("", None),
            ("y", None),
            ("-1", None),
        ] {
            let expected = index.map(|index: usize| &issuers[index]);
            assert_eq!(picked(&issuers, answer), expected, "{answer:?}");
        }
    }

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
