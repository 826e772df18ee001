//! `thv config`: which registry is used. What a source must satisfy and how the file is written
//! belong to the crates below; here are the words.

mod credential;

use serde::Serialize;
use thv_config::world::World;
use thv_config::{Config, ConfigStore, RegistrySource};
use thv_registry::{LoginRequest, Revalidation, SourceKind, SourceRequest};

use super::block_on;
use crate::cli::{AuthArgs, ConfigCommand, SetRegistryArgs};
use crate::failure::CommandError;
use crate::output::{NOTICE, Output, json};
use crate::wire_up;

pub(super) fn run(
    verb: ConfigCommand,
    world: &World,
    output: &mut Output,
) -> Result<(), CommandError> {
    match verb {
        ConfigCommand::SetRegistry(args) => block_on(set(args, world, output)),
        ConfigCommand::GetRegistry { format } => get(format.is_json(), world, output),
        ConfigCommand::UnsetRegistry => block_on(unset(world)),
        ConfigCommand::SetRegistryCredential(way) => block_on(credential::set(*way, world, output)),
        ConfigCommand::UnsetRegistryCredential => block_on(credential::unset(world, output)),
        ConfigCommand::SetAuthHelper { state } => {
            block_on(credential::set_helper(state, world, output))
        }
        ConfigCommand::SetRegistryAuth(args) => block_on(set_auth(&args, world, output)),
        ConfigCommand::UnsetRegistryAuth => block_on(unset_auth(world)),
    }
}

async fn set(
    args: SetRegistryArgs,
    world: &World,
    output: &mut Output,
) -> Result<(), CommandError> {
    let login = login(&args.auth)?;
    let catalogs = wire_up::catalogs(world, Revalidation::Before).await?;
    let request = SourceRequest::Detect {
        input: args.source.clone(),
        allow_private_ip: args.allow_private_ip,
    };
    let kind = super::registry::patiently(
        &format!("Checking {}", args.source),
        world,
        output,
        Box::pin(catalogs.registries.set(&request, login.as_ref())),
    )
    .await?;
    output.remark(&format!("Using {} ({}).", args.source, words(kind)));
    if args.allow_private_ip && matches!(kind, SourceKind::Url | SourceKind::Api) {
        output.remark_styled(
            NOTICE,
            "Caution",
            "plain http and private IP addresses are allowed for this registry.",
        );
    }
    Ok(())
}

/// The login that flags describe; `None` without any.
fn login(args: &AuthArgs) -> Result<Option<LoginRequest>, CommandError> {
    match (&args.issuer, &args.client_id) {
        (Some(issuer), Some(client_id)) => Ok(Some(LoginRequest {
            issuer: issuer.clone(),
            client_id: client_id.clone(),
            audience: args.audience.clone(),
            scopes: (!args.scopes.is_empty()).then(|| args.scopes.clone()),
            callback_port: None,
        })),
        _ if args.is_empty() => Ok(None),
        _ => Err(CommandError::Usage(
            "--issuer and --client-id are required together; --audience and --scopes go with them"
                .to_owned(),
        )),
    }
}

async fn set_auth(args: &AuthArgs, world: &World, output: &mut Output) -> Result<(), CommandError> {
    let Some(login) = login(args)? else {
        return Err(CommandError::Usage(
            "--issuer and --client-id are required".to_owned(),
        ));
    };
    let catalogs = wire_up::catalogs(world, Revalidation::Before).await?;
    let config = catalogs.store.load_async().await?;
    let allow_private_ip = config.allow_private_ip;
    let request = match config.source {
        RegistrySource::Url(url) => SourceRequest::Url {
            url,
            allow_private_ip,
        },
        RegistrySource::Api(url) => SourceRequest::Api {
            url,
            allow_private_ip,
        },
        RegistrySource::BuiltIn | RegistrySource::File(_) => {
            return Err(CommandError::LoginIncomplete {
                local_file: None,
                missing: "--registry".to_owned(),
            });
        }
    };
    let change = catalogs.registries.set(&request, Some(&login));
    super::registry::patiently("Checking the issuer", world, output, Box::pin(change)).await?;
    Ok(())
}

async fn unset_auth(world: &World) -> Result<(), CommandError> {
    let store = wire_up::config_store(world)?;
    store
        .update_async(|config: &mut Config| {
            config.auth = None;
            Ok::<_, CommandError>(())
        })
        .await
}

fn words(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Default => "built-in registry",
        SourceKind::File => "local file",
        SourceKind::Url => "remote file",
        SourceKind::Api => "API endpoint",
    }
}

async fn unset(world: &World) -> Result<(), CommandError> {
    let catalogs = wire_up::catalogs(world, Revalidation::Before).await?;
    catalogs
        .registries
        .set(&SourceRequest::BuiltIn, None)
        .await?;
    Ok(())
}

fn get(as_json: bool, world: &World, output: &mut Output) -> Result<(), CommandError> {
    let store: ConfigStore = wire_up::config_store(world)?;
    let config = store.load()?;
    if as_json {
        let shown = Shown::of(&config);
        output.print(json::pretty(&shown).map_err(CommandError::encode)?)?;
        return Ok(());
    }
    output.print(text(&config))?;
    if let RegistrySource::File(path) = &config.source
        && !path.exists()
    {
        let warning = format!("the file {} does not exist", path.display());
        output.remark_styled(NOTICE, "Warning", &warning);
    }
    Ok(())
}

/// The configured registry as JSON, in the words of the HTTP API.
#[derive(Serialize)]
struct Shown {
    r#type: &'static str,
    source: String,
    allow_private_ip: bool,
}

impl Shown {
    fn of(config: &Config) -> Self {
        let (kind, source) = match &config.source {
            RegistrySource::BuiltIn => (SourceKind::Default, String::new()),
            RegistrySource::File(path) => (SourceKind::File, path.display().to_string()),
            RegistrySource::Url(url) => (SourceKind::Url, url.clone()),
            RegistrySource::Api(url) => (SourceKind::Api, url.clone()),
        };
        Self {
            r#type: kind.as_str(),
            source,
            allow_private_ip: config.allow_private_ip,
        }
    }
}

fn text(config: &Config) -> String {
    match &config.source {
        RegistrySource::BuiltIn => {
            "No custom registry is currently configured. Using built-in registry.\n".to_owned()
        }
        RegistrySource::File(path) => {
            format!("Current registry: {} (local file)\n", path.display())
        }
        RegistrySource::Url(url) => format!("Current registry: {url} (remote file)\n"),
        RegistrySource::Api(url) => format!("Current registry: {url} (API endpoint)\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(source: RegistrySource) -> Config {
        Config {
            source,
            ..Config::default()
        }
    }

    #[test]
    fn the_configured_registry_is_told_in_one_line() {
        for (source, expected) in [
            (
                RegistrySource::BuiltIn,
                "No custom registry is currently configured. Using built-in registry.\n",
            ),
            (
                RegistrySource::File("/a/b.json".into()),
                "Current registry: /a/b.json (local file)\n",
            ),
            (
                RegistrySource::Url("https://example.com/r.json".to_owned()),
                "Current registry: https://example.com/r.json (remote file)\n",
            ),
            (
                RegistrySource::Api("https://example.com".to_owned()),
                "Current registry: https://example.com (API endpoint)\n",
            ),
        ] {
            assert_eq!(text(&config(source)), expected);
        }
    }

    #[test]
    fn json_uses_the_words_of_the_http_api() {
        let shown = Shown::of(&config(RegistrySource::Api(
            "https://example.com".to_owned(),
        )));
        assert_eq!(
            serde_json::to_string(&shown).unwrap(),
            r#"{"type":"api","source":"https://example.com","allow_private_ip":false}"#
        );
    }
}
