//! `thv registry login`: settles which registry and which client are meant, writes that when it is
//! new, and lets a person log in, in a browser here or elsewhere. The login itself is the auth crate's.

mod elsewhere;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thv_auth::login::{LoginDone, LoginHow};
use thv_auth::machine::Way;
use thv_auth::machine::manage::kept_token;
use thv_config::world::World;
use thv_config::{Config, OAuthSettings, RegistrySource};
use thv_registry::{LoginRequest, Revalidation, SourceRequest};
use thv_secrets::Secrets;
use thv_secrets::select::KeySource;
use tokio::sync::mpsc;

use crate::cli::LoginArgs;
use crate::failure::CommandError;
use crate::input;
use crate::opener::Browser;
use crate::output::{NOTICE, Output};
use crate::wire_up::{self, Catalogs};

/// What a login is for, of flags and configuration together: flags win.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    request: SourceRequest,
    login: LoginRequest,
    /// Whether the configuration says all of this already.
    is_configured: bool,
}

pub(super) async fn run(
    args: &LoginArgs,
    world: &World,
    output: &mut Output,
) -> Result<(), CommandError> {
    if args.with_token {
        return with_token(args, world, output).await;
    }
    let catalogs = wire_up::catalogs(world, Revalidation::Before).await?;
    let config = catalogs.store.load_async().await?;
    let wanted = wanted(args, &config)?;
    if !wanted.is_configured {
        let change = catalogs
            .registries
            .set(&wanted.request, Some(&wanted.login));
        super::patiently(
            "Checking registry and issuer",
            world,
            output,
            Box::pin(change),
        )
        .await?;
    }
    let before = key_file(&catalogs.secrets).await;
    catalogs.auth.person_is_here().await;
    let done = if args.elsewhere.is_meant() {
        elsewhere::log_in(args, &wanted, &catalogs, world, output).await?
    } else {
        log_in(args, &catalogs, world, output).await?
    };
    output.remark(&words(&done));
    let report = catalogs.auth.report().await.ok();
    let used = report.and_then(|report| report.credential);
    if let Some(used) = used.filter(|used| used.way != Way::Login) {
        let note = format!("the registry is not read with this login: {}.", used.why);
        output.remark_styled(NOTICE, "Note", &note);
    }
    if before.is_none()
        && let Some(path) = key_file(&catalogs.secrets).await
    {
        output.remark_styled(
            NOTICE,
            "Note",
            &format!(
                "no keyring keeps the key of the secret store; it is in {}, readable by you alone.",
                path.display()
            ),
        );
    }
    Ok(())
}

/// Keeps a token that somebody hands over, in place of a login. It is read before anything is changed.
async fn with_token(
    args: &LoginArgs,
    world: &World,
    output: &mut Output,
) -> Result<(), CommandError> {
    let token = input::secret("Token of the registry: ")?;
    let catalogs = wire_up::catalogs(world, Revalidation::Before).await?;
    let config = catalogs.store.load_async().await?;
    let Some(request) = request(args, &config) else {
        return Err(CommandError::LoginIncomplete {
            local_file: local_file(args, &config),
            missing: "--registry".to_owned(),
        });
    };
    if args.registry.is_some() {
        let change = catalogs.registries.set(&request, None);
        super::patiently("Checking the registry", world, output, Box::pin(change)).await?;
    }
    let wanted = kept_token(args.header.clone());
    catalogs.auth.set_credential(wanted, Some(token)).await?;
    output.remark("The token is kept, and the registry is read with it. `thv registry status` shows whether it works; `thv registry logout` forgets it.");
    Ok(())
}

/// The file that the key of the secret store comes from, if it comes from one.
async fn key_file(secrets: &Secrets) -> Option<PathBuf> {
    let secrets = secrets.clone();
    let described = tokio::task::spawn_blocking(move || secrets.describe()).await;
    match described.ok()?.ok()?.key? {
        KeySource::KeyFile(path) => Some(path),
        _ => None,
    }
}

impl Wanted {
    /// The registry as it was named.
    fn registry(&self) -> &str {
        match &self.request {
            SourceRequest::Detect { input, .. } => input,
            SourceRequest::Url { url, .. } | SourceRequest::Api { url, .. } => url,
            SourceRequest::File { path } => path,
            SourceRequest::BuiltIn => "the built-in registry",
        }
    }
}

fn wanted(args: &LoginArgs, config: &Config) -> Result<Wanted, CommandError> {
    let before = config.auth.as_ref().and_then(|auth| auth.oauth.as_ref());
    let request = request(args, config);
    let of = |flag: &Option<String>, known: fn(&OAuthSettings) -> &String| {
        let known = before.map(known).filter(|known| !known.is_empty());
        flag.clone().or_else(|| known.cloned())
    };
    let issuer = of(&args.auth.issuer, |oauth| &oauth.issuer);
    let client_id = of(&args.auth.client_id, |oauth| &oauth.client_id);
    match (request, issuer, client_id) {
        (Some(request), Some(issuer), Some(client_id)) => Ok(Wanted {
            request,
            login: LoginRequest {
                issuer,
                client_id,
                audience: args.auth.audience.clone(),
                scopes: (!args.auth.scopes.is_empty()).then(|| args.auth.scopes.clone()),
            },
            is_configured: args.registry.is_none() && args.auth.is_empty(),
        }),
        (request, issuer, client_id) => {
            let missing: Vec<&str> = [
                (request.is_none(), "--registry"),
                (issuer.is_none(), "--issuer"),
                (client_id.is_none(), "--client-id"),
            ]
            .into_iter()
            .filter_map(|(is_missing, flag)| is_missing.then_some(flag))
            .collect();
            Err(CommandError::LoginIncomplete {
                local_file: local_file(args, config),
                missing: missing.join(", "),
            })
        }
    }
}

/// The path of a registry that takes no login, when that is the one that is meant.
fn local_file(args: &LoginArgs, config: &Config) -> Option<String> {
    match &config.source {
        RegistrySource::File(path) if args.registry.is_none() => Some(path.display().to_string()),
        _ => None,
    }
}

fn request(args: &LoginArgs, config: &Config) -> Option<SourceRequest> {
    if let Some(registry) = &args.registry {
        return Some(SourceRequest::Detect {
            input: registry.clone(),
            allow_private_ip: args.allow_private_ip,
        });
    }
    let allow_private_ip = config.allow_private_ip || args.allow_private_ip;
    match &config.source {
        RegistrySource::Url(url) => Some(SourceRequest::Url {
            url: url.clone(),
            allow_private_ip,
        }),
        RegistrySource::Api(url) => Some(SourceRequest::Api {
            url: url.clone(),
            allow_private_ip,
        }),
        RegistrySource::BuiltIn | RegistrySource::File(_) => None,
    }
}

/// Waits for the login, shows the address to log in at, and gives up at the time limit or when
/// the person interrupts; the port is free again then.
async fn log_in(
    args: &LoginArgs,
    catalogs: &Catalogs,
    world: &World,
    output: &mut Output,
) -> Result<LoginDone, CommandError> {
    let (addresses, mut announced) = mpsc::unbounded_channel();
    let how = LoginHow {
        opener: Some(Arc::new(Browser)),
        announce: Some(Arc::new(move |url| {
            // Nobody listens any more only when the login is over.
            let _ = addresses.send(url.to_string());
        })),
        ..LoginHow::default()
    };
    let limit = Duration::from_secs(args.timeout);
    let login = catalogs.auth.login(how);
    tokio::pin!(login);
    let deadline = world.clock.sleep(limit);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            done = &mut login => return Ok(done?),
            Some(url) = announced.recv() => {
                output.remark(&format!("Log in at:\n\n  {url}\n\nWaiting for the browser to come back (Ctrl-C gives up; for a browser on another machine: --no-browser or --device) …"));
            }
            () = &mut deadline => return Err(CommandError::LoginTimedOut { limit }),
            _ = tokio::signal::ctrl_c() => return Err(CommandError::Interrupted),
        }
    }
}

fn words(done: &LoginDone) -> String {
    let who = done.account.as_ref().map(|account| {
        let name = account.email.as_ref().or(account.name.as_ref());
        name.unwrap_or(&account.sub).clone()
    });
    let mut words = match who {
        Some(who) => format!("Logged in as {who}."),
        None => "Logged in.".to_owned(),
    };
    if !done.refreshable {
        words.push_str(
            " The identity provider gave no refresh token: you will have to log in again when the access token expires.",
        );
    }
    words
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use thv_config::RegistryAuth;

    use super::*;
    use crate::cli::{Cli, Command, RegistryCommand};

    fn args(line: &[&str]) -> LoginArgs {
        let line = ["thv", "registry", "login"].iter().chain(line);
        match Cli::try_parse_from(line).unwrap().command {
            Some(Command::Registry(RegistryCommand::Login(args))) => args,
            other => panic!("parsed as {other:?}"),
        }
    }

    fn config(source: RegistrySource, login: bool) -> Config {
        let oauth = OAuthSettings {
            issuer: "https://id.example".to_owned(),
            client_id: "thv".to_owned(),
            audience: None,
            scopes: Vec::new(),
            callback_port: None,
            cached_refresh_token_ref: None,
            cached_token_expiry: None,
        };
        Config {
            source,
            auth: login.then(|| RegistryAuth {
                kind: "oauth".to_owned(),
                oauth: Some(oauth),
            }),
            ..Config::default()
        }
    }

    fn api() -> RegistrySource {
        RegistrySource::Api("https://r.example".to_owned())
    }

    #[test]
    fn a_configured_login_needs_no_flags() {
        let wanted = wanted(&args(&[]), &config(api(), true)).unwrap();
        assert!(wanted.is_configured);
    }

    #[test]
    fn w17_another_registry_keeps_the_issuer_that_is_configured() {
        let wanted = wanted(
            &args(&["--registry", "https://other.example"]),
            &config(api(), true),
        )
        .unwrap();
        assert!(!wanted.is_configured);
        assert_eq!(wanted.login.issuer, "https://id.example");
    }

    #[test]
    fn w17_a_local_file_is_no_hindrance_when_a_registry_is_named() {
        let file = RegistrySource::File("/a/b.json".into());
        let flags = [
            "--registry",
            "https://r.example",
            "--issuer",
            "https://id.example",
            "--client-id",
            "thv",
        ];
        assert!(wanted(&args(&flags), &config(file.clone(), false)).is_ok());
        let error = wanted(&args(&[]), &config(file, false)).unwrap_err();
        assert!(error.to_string().contains("/a/b.json"), "{error}");
    }

    #[test]
    fn w17_all_that_is_missing_is_said_at_once() {
        let issuer_only = args(&["--issuer", "https://id.example"]);
        let error = wanted(&issuer_only, &config(RegistrySource::BuiltIn, false)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("--registry, --client-id"), "{text}");
    }
}
