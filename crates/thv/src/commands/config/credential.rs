//! `thv config set-registry-credential` and what undoes it: flags become the settings of a credential, and a secret comes from standard
//! input. What a whole credential is, is decided in the auth crate.

use std::path::{Path, PathBuf};
use thv_auth::machine::SecretSource;

use thv_auth::machine::settings::{
    ApiKeySettings, BearerSettings, ClientAuthentication, ClientSettings, CommandSettings,
    CredentialSettings, ServerSettings, SubjectSource, TargetSettings, WorkloadSettings,
};
use thv_config::world::World;
use thv_registry::Revalidation;

use crate::cli::Switch;
use crate::cli::credential::{
    CredentialCommand, ProofArgs, SecretIn, ServerArgs, TargetArgs, TokenPlace, WorkloadArgs,
};
use crate::failure::CommandError;
use crate::input;
use crate::output::{NOTICE, Output};
use crate::wire_up;

pub(super) async fn set(
    way: CredentialCommand,
    world: &World,
    output: &mut Output,
) -> Result<(), CommandError> {
    let wants_secret = proof(&way).is_some_and(|proof| proof.secret_stdin);
    let wanted = settings(way)?;
    let secret = if wants_secret {
        Some(input::secret("Secret of the client: ")?)
    } else {
        None
    };
    let catalogs = wire_up::catalogs(world, Revalidation::Before).await?;
    let kind = wanted.kind();
    let remarks = catalogs.auth.set_credential(wanted, secret).await?;
    output.remark(&format!(
        "The registry is read with this credential from now on ({}). `thv registry status` shows whether it works.",
        kind.as_str()
    ));
    for remark in remarks {
        output.remark_styled(NOTICE, "Note", &remark);
    }
    Ok(())
}

pub(super) async fn unset(world: &World, output: &mut Output) -> Result<(), CommandError> {
    let catalogs = wire_up::catalogs(world, Revalidation::Before).await?;
    output.remark(if catalogs.auth.unset_credential().await? {
        "The credential is forgotten."
    } else {
        "No credential was configured."
    });
    Ok(())
}

pub(super) async fn set_helper(
    state: Switch,
    world: &World,
    output: &mut Output,
) -> Result<(), CommandError> {
    let catalogs = wire_up::catalogs(world, Revalidation::Before).await?;
    let may = state == Switch::On;
    catalogs.auth.let_others_ask(may).await?;
    output.remark(if may {
        "Programs of this user may ask `thv registry auth-helper` for the registry's token now."
    } else {
        "No other program gets the registry's token from `thv registry auth-helper` any more."
    });
    Ok(())
}

fn proof(way: &CredentialCommand) -> Option<&ProofArgs> {
    match way {
        CredentialCommand::ClientCredentials(client) => Some(&client.proof),
        CredentialCommand::TokenExchange(workload) | CredentialCommand::JwtBearer(workload) => {
            Some(&workload.proof)
        }
        CredentialCommand::Bearer(_)
        | CredentialCommand::ApiKey(_)
        | CredentialCommand::Command(_) => None,
    }
}

/// What the flags describe. That it is whole is checked by whoever takes it.
fn settings(way: CredentialCommand) -> Result<CredentialSettings, CommandError> {
    Ok(match way {
        CredentialCommand::Bearer(bearer) => CredentialSettings::Bearer(BearerSettings {
            token: place(bearer.place)?,
        }),
        CredentialCommand::ApiKey(key) => CredentialSettings::ApiKey(ApiKeySettings {
            key: place(key.place)?,
            header: key.header,
        }),
        CredentialCommand::ClientCredentials(client) => {
            let authentication = authentication(client.proof)?.ok_or_else(|| {
                CommandError::Usage(
                    "the client needs a proof: one of --secret-stdin, --secret-file, --secret-name and --private-key"
                        .to_owned(),
                )
            })?;
            CredentialSettings::ClientCredentials(ClientSettings {
                server: server(client.server),
                client_id: client.client_id,
                authentication,
                target: target(client.target),
            })
        }
        CredentialCommand::TokenExchange(workload) => {
            CredentialSettings::TokenExchange(self::workload(workload)?)
        }
        CredentialCommand::JwtBearer(workload) => {
            CredentialSettings::JwtBearer(self::workload(workload)?)
        }
        CredentialCommand::Command(command) => CredentialSettings::Command(CommandSettings {
            // A bare name would be looked for, and something else be found.
            path: if command.path.components().count() > 1 {
                absolute(&command.path)?
            } else {
                command.path
            },
            args: command.args,
            environment: command.pass,
        }),
    })
}

/// The path from here, as the settings are read from elsewhere.
fn absolute(path: &Path) -> Result<PathBuf, CommandError> {
    std::path::absolute(path).map_err(|cause| CommandError::file(path, "find", cause))
}

fn place(place: TokenPlace) -> Result<SecretSource, CommandError> {
    let source = place
        .file
        .as_deref()
        .map(absolute)
        .transpose()?
        .map(SecretSource::File)
        .or(place.secret.map(SecretSource::Secret))
        .or(place.variable.map(SecretSource::Environment));
    source.ok_or_else(|| {
        CommandError::Usage("one of --file, --secret and --variable is needed".to_owned())
    })
}

fn server(server: ServerArgs) -> ServerSettings {
    ServerSettings {
        issuer: server.issuer,
        token_endpoint: server.token_endpoint,
    }
}

fn target(target: TargetArgs) -> TargetSettings {
    TargetSettings {
        resource: target.resource,
        no_resource: target.no_resource,
        audience: target.audience,
        scopes: target.scopes,
    }
}

fn authentication(proof: ProofArgs) -> Result<Option<ClientAuthentication>, CommandError> {
    if let Some(key_file) = proof.private_key {
        return Ok(Some(ClientAuthentication::PrivateKeyJwt {
            key_file: absolute(&key_file)?,
            key_id: proof.key_id,
        }));
    }
    let file = proof.secret_file.as_deref().map(absolute).transpose()?;
    let secret = proof
        .secret_stdin
        .then_some(SecretSource::Store)
        .or(file.map(SecretSource::File))
        .or(proof.secret_name.map(SecretSource::Secret));
    match (secret, proof.secret_in) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(CommandError::Usage(
            "--secret-in says where a secret goes, and there is none: give --secret-stdin, --secret-file or --secret-name"
                .to_owned(),
        )),
        (Some(secret), None) => Ok(Some(ClientAuthentication::ClientSecret { secret })),
        (Some(secret), Some(SecretIn::Basic)) => {
            Ok(Some(ClientAuthentication::ClientSecretBasic { secret }))
        }
        (Some(secret), Some(SecretIn::Post)) => {
            Ok(Some(ClientAuthentication::ClientSecretPost { secret }))
        }
    }
}

fn workload(workload: WorkloadArgs) -> Result<WorkloadSettings, CommandError> {
    let subject = match workload.token_file {
        Some(path) => SubjectSource::File(absolute(&path)?),
        None => SubjectSource::GithubActions {
            audience: workload.github_audience,
        },
    };
    Ok(WorkloadSettings {
        server: server(workload.server),
        client_id: workload.client_id,
        authentication: authentication(workload.proof)?,
        subject,
        subject_token_type: workload.subject_token_type,
        target: target(workload.target),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::{Cli, Command, ConfigCommand};

    fn parsed(line: &str) -> Result<CredentialCommand, String> {
        let line = format!("thv config set-registry-credential {line}");
        let cli = Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        match cli.command {
            Some(Command::Config(ConfigCommand::SetRegistryCredential(way))) => Ok(*way),
            other => panic!("parsed as {other:?}"),
        }
    }

    #[test]
    fn flags_become_settings() {
        for (line, expected) in [
            (
                "bearer --file /run/token",
                json!({"type": "bearer", "token": {"file": "/run/token"}}),
            ),
            (
                "api-key --header X-Api-Key --secret acme",
                json!({"type": "api_key", "header": "X-Api-Key", "key": {"secret": "acme"}}),
            ),
            (
                "client-credentials --issuer https://id.example --client-id ci --secret-stdin --secret-in post --scopes a,b --resource https://r.example",
                json!({"type": "client_credentials", "server": {"issuer": "https://id.example"}, "client_id": "ci",
                    "authentication": {"method": "client_secret_post", "secret": "store"},
                    "target": {"resource": "https://r.example", "scopes": ["a", "b"]}}),
            ),
            (
                "client-credentials --issuer https://id.example --client-id ci --private-key /k.pem --key-id k1",
                json!({"type": "client_credentials", "server": {"issuer": "https://id.example"}, "client_id": "ci",
                    "authentication": {"method": "private_key_jwt", "key_file": "/k.pem", "key_id": "k1"}}),
            ),
            (
                "client-credentials --issuer https://id.example --client-id ci --secret-name s --no-resource",
                json!({"type": "client_credentials", "server": {"issuer": "https://id.example"}, "client_id": "ci",
                    "authentication": {"method": "client_secret", "secret": {"secret": "s"}}, "target": {"no_resource": true}}),
            ),
            (
                "token-exchange --token-endpoint https://sts.example/token --token-file /var/run/token --audience registry",
                json!({"type": "token_exchange", "server": {"token_endpoint": "https://sts.example/token"},
                    "subject": {"file": "/var/run/token"}, "target": {"audience": "registry"}}),
            ),
            (
                "jwt-bearer --issuer https://id.example --github-actions --client-id ci --secret-name s",
                json!({"type": "jwt_bearer", "server": {"issuer": "https://id.example"}, "client_id": "ci",
                    "authentication": {"method": "client_secret", "secret": {"secret": "s"}},
                    "subject": {"github_actions": {}}}),
            ),
            (
                "command --pass AWS_PROFILE /usr/bin/helper get --json",
                json!({"type": "command", "path": "/usr/bin/helper", "args": ["get", "--json"],
                    "environment": ["AWS_PROFILE"]}),
            ),
        ] {
            let way = parsed(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            let settings = settings(way).expect("settings");
            let written = settings
                .write()
                .unwrap_or_else(|fault| panic!("{line}: {fault}"));
            assert_eq!(Value::Object(written), expected, "{line}");
        }
    }

    #[test]
    fn half_a_description_is_refused() {
        for line in [
            "bearer",
            "bearer --file /a --secret b",
            "api-key --file /a",
            "client-credentials --client-id ci --secret-stdin",
            "client-credentials --issuer https://id.example --secret-stdin",
            "client-credentials --issuer https://id.example --client-id ci",
            "client-credentials --issuer https://id.example --client-id ci --secret-stdin --private-key /k",
            "client-credentials --issuer https://id.example --client-id ci --secret-in post",
            "client-credentials --issuer https://id.example --client-id ci --secret-name s --resource https://r.example --no-resource",
            "token-exchange --issuer https://id.example",
            "token-exchange --token-file /a",
            "token-exchange --issuer https://id.example --token-file /a --github-actions",
            "command",
            "command helper",
        ] {
            let is_whole = parsed(line)
                .is_ok_and(|way| settings(way).is_ok_and(|settings| settings.write().is_ok()));
            assert!(!is_whole, "{line}");
        }
    }
}
