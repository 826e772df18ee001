//! `thv serve`: puts the server together from its parts, runs it until it is told to stop, and
//! takes it down in order. Nothing is written to standard output. The parts themselves, listener
//! and routes included, are the API crate's.

mod caller;
mod stop;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use thv_api::discovery::Published;
use thv_api::{Address, Api, ApiOptions, Callers, Discovery, Drained, Listener, Nonce};
use thv_config::world::{Env, World};
use thv_registry::Revalidation;
use thv_secrets::{Patience, Secrets, UserSecrets};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use crate::cli::ServeArgs;
use crate::commands::version::VERSION;
use crate::failure::CommandError;
use crate::opener::Browser;
use crate::wire_up::{self, Catalogs};
use stop::Signals;

/// How long requests under way may go on after the stop.
const GRACE: Duration = Duration::from_secs(30);

/// How long work on other threads may hold up the end of the process once all is closed.
const LAST_WORK: Duration = Duration::from_secs(2);

pub(super) fn run(args: &ServeArgs, world: &World) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CommandError::Runtime)?;
    let ended = runtime.block_on(serve(args, world));
    runtime.shutdown_timeout(LAST_WORK);
    ended
}

async fn serve(args: &ServeArgs, world: &World) -> Result<(), CommandError> {
    let mut signals = Signals::catch()?;
    tell_what_has_no_effect(args, &*world.env);
    let catalogs = wire_up::catalogs(world, Revalidation::Behind).await?;
    let callers = caller::callers(&args.callers, world).await?;
    let token = match &callers {
        Some(Callers::WithToken(token)) => Some(token.clone()),
        _ => None,
    };
    let discovery = Discovery::new(catalogs.paths.server_record(), Arc::clone(&world.clock));
    // First the claim, then the address: the socket of a running server must not be touched.
    let claim = discovery.claim().await?;
    let nonce = Nonce::random().map_err(failed)?;
    let listener = thv_api::listen(&address(args)).await.map_err(failed)?;
    let published = claim.publish(listener.url(), &nonce, token).await?;
    info!(
        url = listener.url(),
        pid = std::process::id(),
        version = VERSION,
        "listening"
    );
    if let Some(public) = &args.public_url {
        info!(
            redirect_uri = public.redirect_uri(),
            "logins come back here; the identity provider has to know this redirect URI"
        );
    }
    if callers.is_none() && args.socket.is_none() {
        warn!("no --oidc-issuer and no --require-token: whoever reaches this address is let in");
    }
    let is_near = Url::parse(&format!("http://{}", args.host))
        .is_ok_and(|url| thv_http::is_loopback_url(&url));
    if args.callers.require_token && args.socket.is_none() && !is_near {
        warn!(
            "the token of this server travels in clear to its address; thv's own commands do not send it there"
        );
    }
    let stop = CancellationToken::new();
    catalogs.auth.start(stop.child_token());
    catalogs.registries.start(stop.child_token());
    migrate(catalogs.secrets.clone());
    let auth = Arc::clone(&catalogs.auth);
    let api = api(args, catalogs, &listener, nonce, callers, world);
    let server = tokio::spawn(thv_api::serve(listener, api, stop.clone(), GRACE));
    let why = tokio::select! {
        signal = signals.next() => signal,
        () = stop::parent_gone(args.exit_with_parent, Arc::clone(&world.clock)) => "parent gone",
    };
    info!(why, "stopping");
    auth.cancel_logins().await;
    let ended = take_down(published, &stop, server, &mut signals).await;
    // Each renewal has a deadline of its own; whoever cannot wait for it sends another signal.
    tokio::select! {
        () = auth.finish() => {}
        signal = signals.next() => warn!(why = signal, "stopped amid the renewal of a login"),
    }
    ended
}

/// Gives secrets of an older version their scoped names, behind everything else. What fails now is tried again at the
/// next start; reading knows both names.
fn migrate(secrets: Secrets) {
    tokio::task::spawn_blocking(move || {
        if let Err(error) = secrets.migrate_scopes(Patience::Request) {
            warn!(%error, "secrets of an older version keep their names for now");
        }
    });
}

/// The record goes first, so that a successor can start while requests under way still finish. A
/// second signal means that whoever stops us does not want to wait for them.
async fn take_down(
    published: Published,
    stop: &CancellationToken,
    server: JoinHandle<Drained>,
    signals: &mut Signals,
) -> Result<(), CommandError> {
    published.release().await;
    stop.cancel();
    tokio::select! {
        drained = server => match drained {
            Ok(Drained { cut: 0 }) => info!("stopped"),
            Ok(Drained { cut }) => warn!(cut, "stopped; requests that took too long were cut"),
            Err(error) => {
                return Err(CommandError::Serve(format!("server shutdown failed: {error}")));
            }
        },
        signal = signals.next() => warn!(why = signal, "stopped at once"),
    }
    Ok(())
}

fn api(
    args: &ServeArgs,
    catalogs: Catalogs,
    listener: &Listener,
    nonce: Nonce,
    callers: Option<Callers>,
    world: &World,
) -> Api {
    let options = ApiOptions {
        version: VERSION.to_owned(),
        nonce: Some(nonce),
        openapi: args.openapi,
        metrics: args.metrics,
        cors_origins: args.cors_origins.clone(),
        public_url: args.public_url.clone(),
        callers,
        host_policy: listener.host_policy(),
        clock: Arc::clone(&world.clock),
        auth: catalogs.auth,
        secrets: UserSecrets::new(catalogs.secrets, Patience::Request),
        opener: Some(Arc::new(Browser::new(&world.env))),
    };
    Api::new(catalogs.registries, options)
}

fn address(args: &ServeArgs) -> Address {
    match &args.socket {
        Some(socket) => Address::from_socket_argument(socket),
        None => Address::Tcp {
            host: args.host.clone(),
            port: args.port,
        },
    }
}

fn tell_what_has_no_effect(args: &ServeArgs, env: &dyn Env) {
    let dsn =
        !args.sentry.dsn.is_empty() || env.var("SENTRY_DSN").is_some_and(|dsn| !dsn.is_empty());
    if dsn {
        info!("error reports and traces are not part of this program; nothing is sent to Sentry");
    }
    if !args.callers.scopes.is_empty() {
        info!("--oidc-scopes has no effect: tokens are not checked for scopes");
    }
}

fn failed(error: impl Display) -> CommandError {
    CommandError::Serve(error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn address_of(arguments: &[&str]) -> Address {
        let cli = Cli::try_parse_from(["thv", "serve"].iter().chain(arguments)).unwrap();
        let Some(Command::Serve(args)) = cli.command else {
            panic!("not serve")
        };
        address(&args)
    }

    #[test]
    fn a_socket_overrides_host_and_port() {
        assert_eq!(
            address_of(&["--host=::1", "--port=0"]),
            Address::Tcp {
                host: "::1".to_owned(),
                port: 0
            }
        );
        assert_eq!(
            address_of(&["--port=9", "--socket=/tmp/a.sock"]),
            Address::Socket("/tmp/a.sock".into())
        );
    }
}
