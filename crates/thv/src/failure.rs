//! What a person is told when a command fails: one function from any error to a message, the next
//! command to try, and an exit code. The errors themselves belong to the crates below; only those
//! of the command line alone are defined here.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thv_api::ClaimError;
use thv_auth::binding::NoBinding;
use thv_auth::login::{LoginError, PortHolder};
use thv_auth::machine::manage::ManageError;
use thv_auth::oauth::registration::RegistrationError;
use thv_auth::oauth::resource::{ResourceError, ResourceFault};
use thv_auth::vault::VaultError;
use thv_auth::{AuthError, AuthFailure, ClientError, LoginReason, SearchError};
use thv_config::ConfigError;
use thv_registry::convert::ConvertError;
use thv_registry::{Blame, ChangeError, Fault, LookupError};
use thv_secrets::{Action, SecretsError};

use crate::exit_code::Exit;
use crate::output::{ERROR, NOTICE, Output};

/// Everything that can end a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// Flags that contradict each other, or a value that means nothing.
    #[error("{0}")]
    Usage(String),
    /// The secrets cannot be read or written.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// A secret without a value.
    #[error("validation error: secret value cannot be empty")]
    EmptySecret,
    /// The password in the keyring is the only thing that opens the secrets.
    #[error("the keyring was left as it is: {reason}")]
    KeyringInUse { reason: String },
    /// A keyring would not let go of the password.
    #[error("the password is still in a keyring: {cause}")]
    KeyringKept { cause: String },
    /// Standard input or the terminal cannot be read.
    #[error("cannot read the input: {0}")]
    Input(io::Error),
    /// A login or logout came to nothing.
    #[error(transparent)]
    Auth(#[from] AuthFailure),
    /// Where to log in was not found out.
    #[error(transparent)]
    Search(#[from] SearchError),
    /// There is no client to log in as.
    #[error("{client}")]
    Client {
        client: ClientError,
        /// The port that the browser would come back to.
        port: u16,
    },
    /// The person does not want to log in where the registry says.
    #[error("nothing was changed: you did not agree to log in at {issuer}")]
    NotConfirmed { issuer: String },
    /// The registry's identity provider is not as it was, and nobody can be asked about it.
    #[error("nothing was changed: the registry's identity provider is not as it was at the last login ({}), and there is no terminal on which somebody could agree to that", if before == issuer { "its tokens come from another host".to_owned() } else { format!("{issuer} in place of {before}") })]
    NobodyConfirms { before: String, issuer: String },
    /// The registry was asked about the token of a login, and refuses it.
    #[error("the registry refuses the token of the login")]
    TokenRefused,
    /// The configured credential gives no token as it is.
    #[error("the configured credential cannot be used as it is")]
    CredentialUnusable,
    /// A login that lacks something; the Go program's clients look for these words.
    #[error("registry login is not fully described: {}{missing} missing", match local_file { Some(path) => format!("OAuth login is not supported for local file registries (path: {path}); "), None => String::new() })]
    LoginIncomplete {
        local_file: Option<String>,
        missing: String,
    },
    /// Nobody finished the login in the time that was given.
    #[error("nobody finished the login within {} s", limit.as_secs())]
    LoginTimedOut { limit: Duration },
    /// The registry is read anonymously.
    #[error("the registry is read without a credential, so that there is no token")]
    NoToken,
    /// Other programs may not ask.
    #[error("other programs get no token of this registry")]
    HelperOff,
    /// The person interrupted.
    #[error("given up")]
    Interrupted,
    /// A file named on the command line.
    #[error("cannot {doing} {}: {cause}", path.display())]
    File {
        path: PathBuf,
        doing: &'static str,
        cause: io::Error,
    },
    /// A backup that must not be lost.
    #[error("{} exists already and is not overwritten", path.display())]
    BackupExists { path: PathBuf },
    /// Standard output refused what was written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    /// The operating system gives no threads or no event queue.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    /// A result that cannot be written as JSON.
    #[error("cannot encode the result: {0}")]
    Encode(serde_json::Error),
    /// The running server answered with an error.
    #[error("the server at {url} answered: {message}")]
    Server {
        url: String,
        code: ServerCode,
        message: String,
    },
    /// The running server could not be asked.
    #[error("cannot ask the server at {url}: {cause}")]
    Ask { url: String, cause: String },
    /// `thv doctor` found something that does not work, and has told what.
    #[error("something does not work")]
    Unhealthy,
    /// The server could not start, or not stop properly.
    #[error("{0}")]
    Serve(String),
    /// Another server runs, or other programs could not be told about this one.
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

/// What a server's error means for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerCode {
    AuthRequired,
    Unavailable,
    Other,
}

impl CommandError {
    pub(crate) fn file(path: &Path, doing: &'static str, cause: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            doing,
            cause,
        }
    }

    pub(crate) fn encode(error: serde_json::Error) -> Self {
        Self::Encode(error)
    }
}

/// What to do about a token that the environment injects: no command changes it.
const MEND_VARIABLES: &str = "give THV_REGISTRY_TOKEN a token that the registry takes, and THV_REGISTRY_TOKEN_URL and THV_REGISTRY_TOKEN_HEADER with it only; or unset all of them";

/// What a person is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) message: String,
    /// What to do next, with the command to type.
    pub(crate) hint: Option<String>,
    pub(crate) exit: Exit,
}

/// Decides message, hint and exit code of every error.
pub(crate) fn describe(error: &CommandError) -> Failure {
    match error {
        CommandError::Fault(fault) => describe_fault(fault),
        CommandError::Lookup(lookup) => describe_lookup(lookup),
        CommandError::Change(change) => describe_change(change),
        CommandError::Config(config) => describe_config(config, Exit::Failure),
        CommandError::Usage(text) => Failure::new(text.clone(), Exit::Usage)
            .hint("`--help` after the command shows its flags"),
        CommandError::File { cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
            Failure::new(error.to_string(), Exit::NotFound)
        }
        CommandError::BackupExists { .. } => Failure::new(error.to_string(), Exit::Failure)
            .hint("move the backup away, or pass `--no-backup`"),
        CommandError::Auth(failure) => describe_auth(failure),
        CommandError::NoToken => Failure::new(error.to_string(), Exit::AuthRequired)
            .hint("`thv registry login`, or `thv config set-registry-credential --help`"),
        CommandError::HelperOff => Failure::new(error.to_string(), Exit::Failure)
            .hint("`thv config set-auth-helper on` lets them"),
        CommandError::Secrets(error) => describe_secrets(error),
        CommandError::KeyringInUse { .. } => Failure::new(error.to_string(), Exit::SecretStore)
            .hint("keep its password in a key file first, or pass `--yes` to lose these secrets"),
        CommandError::KeyringKept { .. } => Failure::new(error.to_string(), Exit::SecretStore)
            .hint("unlock the keyring, then `thv secret reset-keyring` again"),
        CommandError::EmptySecret => Failure::new(error.to_string(), Exit::Failure)
            .hint("type a value, or pipe one in: `printf %s \"$VALUE\" | thv secret set <name>`"),
        CommandError::Search(search) => describe_search(search),
        CommandError::Client { client, port } => describe_client(client, Some(*port)),
        CommandError::NotConfirmed { .. } => Failure::new(error.to_string(), Exit::AuthRequired)
            .hint("ask who runs the registry; `--issuer <url>` names the identity provider that you trust"),
        CommandError::NobodyConfirms { issuer, .. } => Failure::new(error.to_string(), Exit::AuthRequired)
            .hint(&format!("if it belongs to this registry: the same command with `--issuer {issuer}`, or with `--yes` for whichever the registry names")),
        CommandError::TokenRefused => Failure::new(error.to_string(), Exit::AuthRequired)
            .hint("`thv registry list` asks the identity provider for another one; if that is refused too, `thv registry login`"),
        CommandError::CredentialUnusable => Failure::new(error.to_string(), Exit::AuthRequired)
            .hint("do what stands behind `To do:` above (`next_step` in JSON)"),
        CommandError::LoginIncomplete { .. } => Failure::new(error.to_string(), Exit::AuthRequired)
            .hint("`thv registry login <url>`, with the address of the registry"),
        CommandError::LoginTimedOut { .. } => Failure::new(error.to_string(), Exit::AuthRequired)
            .hint("`thv registry login` tries again; if the browser showed an error, have this client's redirect URI checked at the identity provider (it stands in the address above), or have thv registered anew with `--register`"),
        CommandError::Server { code, .. } => Failure::new(
            error.to_string(),
            match code {
                ServerCode::AuthRequired => Exit::AuthRequired,
                ServerCode::Unavailable => Exit::UpstreamUnavailable,
                ServerCode::Other => Exit::Failure,
            },
        ),
        CommandError::Unhealthy => Failure::new(error.to_string(), Exit::Failure)
            .hint("do what stands behind `To do:` above, the first one first"),
        CommandError::Claim(ClaimError::Io { .. } | ClaimError::Lock(_)) => Failure::new(error.to_string(), Exit::Failure)
            .hint("other programs find the server by this file: make its directory writable, or name another one as XDG_STATE_HOME"),
        CommandError::Ask { .. }
        | CommandError::Claim(_)
        | CommandError::Interrupted
        | CommandError::Convert(_)
        | CommandError::Input(_)
        | CommandError::File { .. }
        | CommandError::Output(_)
        | CommandError::Runtime(_)
        | CommandError::Encode(_)
        | CommandError::Serve(_) => Failure::new(error.to_string(), Exit::Failure),
    }
}

fn describe_fault(fault: &Fault) -> Failure {
    match fault {
        Fault::AuthRequired { .. } => Failure::new(fault.to_string(), Exit::AuthRequired)
            .hint(match fault {
                Fault::AuthRequired {
                    reason: LoginReason::NotConfigured,
                    ..
                } => "`thv registry login` finds out where; if the registry does not say, add `--issuer <url> --client-id <id>`",
                Fault::AuthRequired {
                    reason:
                        LoginReason::CredentialRefused
                        | LoginReason::CredentialRejected
                        | LoginReason::CredentialMoved
                        | LoginReason::CredentialOfAnother,
                    ..
                } => "`thv registry status` shows which one, why, and what to do; describe another with `thv config set-registry-credential`, or go without it with `thv config unset-registry-credential`",
                Fault::AuthRequired {
                    reason: LoginReason::ScopeInVain,
                    ..
                } => "ask who runs the registry; `thv registry status` shows the account and its scopes, `thv registry login --switch-account` takes another account",
                Fault::AuthRequired {
                    reason: LoginReason::InjectedRejected,
                    ..
                } => MEND_VARIABLES,
                _ => "`thv registry login`",
            }),
        Fault::Legacy { url } => {
            let place = match url {
                Some(url) => format!("the registry at {url}"),
                None => "the registry file".to_owned(),
            };
            Failure::new(format!("{place} is in the outdated ToolHive format"), Exit::Failure)
                .hint("`thv registry convert --in <path> --in-place` migrates a file to the upstream format")
        }
        Fault::Unavailable { url: Some(url), cause, blame: Blame::Credential, .. } => Failure::new(
            format!("no credential for {url}: {cause}"),
            Exit::AuthRequired,
        )
        .hint(if cause.contains("THV_REGISTRY_TOKEN") {
            MEND_VARIABLES
        } else {
            "`thv registry status` shows which credential is used, why, and what to do; `thv config set-registry-credential --help` how to describe one"
        }),
        Fault::Unavailable {
            cause,
            blame: Blame::SecretStore { .. },
            ..
        } => Failure::new(
            format!("the registry cannot be asked: {cause}"),
            Exit::SecretStore,
        )
        .hint("`thv secret status` says which store is meant, and what is wrong with it"),
        Fault::Unavailable {
            url: Some(url),
            cause,
            blame: Blame::IdentityProvider,
            ..
        } => Failure::new(
            format!("upstream registry at {url} is unavailable: {cause}"),
            Exit::UpstreamUnavailable,
        )
        .hint("try again with `thv registry refresh` when the identity provider is back; `thv registry status` names it"),
        Fault::Unavailable { url: Some(url), cause, .. } => Failure::new(
            format!("upstream registry at {url} is unavailable: {cause}"),
            Exit::UpstreamUnavailable,
        )
        .hint("try again with `thv registry refresh`, or check the address with `thv config get-registry`"),
        Fault::Unavailable { url: None, cause, .. } => Failure::new(
            format!("the registry is unavailable: {cause}"),
            Exit::UpstreamUnavailable,
        )
        .hint("`thv config get-registry` shows which file is read"),
        Fault::Configuration { .. } => Failure::new(fault.to_string(), Exit::Failure),
    }
}

/// Each end of the way from a URL to a login, with what to type next.
fn describe_search(search: &SearchError) -> Failure {
    let text = search.to_string();
    let exit = match search {
        _ if search.is_transient() => Exit::UpstreamUnavailable,
        SearchError::BadUrl { .. } => Exit::Usage,
        SearchError::NoMetadata { .. }
        | SearchError::NoIssuer { .. }
        | SearchError::SeveralIssuers { .. }
        | SearchError::UnlistedIssuer { .. } => Exit::AuthRequired,
        SearchError::Registry { .. }
        | SearchError::NoLoginNeeded { .. }
        | SearchError::Provider { .. } => Exit::Failure,
    };
    let failure = Failure::new(text, exit);
    match search {
        SearchError::BadUrl { .. } => {
            failure.hint("`thv registry login <url>`, with the https address of the registry")
        }
        SearchError::Registry {
            transient: true, ..
        } => failure.hint("check the address, and whether the registry runs; then the same command"),
        SearchError::Registry { .. } => failure.hint(
            "check the address; for plain http or a host in a private network add `--allow-private-ip`",
        ),
        SearchError::NoLoginNeeded { registry } => failure.hint(&format!(
            "`thv config set-registry {registry}` uses it as it is"
        )),
        SearchError::NoMetadata { registry, cause } if names_a_parent(cause) => {
            failure.hint(&format!(
                "give the address that the registry calls its own; if that is a part of this one and you trust it: `thv registry login {registry} --relax allow_resource_parent_path`"
            ))
        }
        SearchError::NoMetadata { registry, .. } | SearchError::NoIssuer { registry } => {
            failure.hint(&format!(
                "ask who runs the registry, then `thv registry login {registry} --issuer <url> --client-id <id>`"
            ))
        }
        SearchError::SeveralIssuers { registry, .. } => failure.hint(&format!(
            "`thv registry login {registry} --issuer <url>`, with the one where you have an account"
        )),
        SearchError::UnlistedIssuer { registry, issuer, .. } => failure.hint(&format!(
            "use one of the registry's; if who runs it told you otherwise: `thv registry login {registry} --issuer {issuer} --relax allow_unlisted_issuer`"
        )),
        SearchError::Provider { cause, .. } if cause.says_nothing_of_pkce() => failure.hint(
            "if you trust the identity provider, add `--relax allow_missing_pkce_metadata`",
        ),
        SearchError::Provider { .. } if search.is_transient() => {
            failure.hint("try again with the same command; nothing was changed")
        }
        SearchError::Provider { .. } => failure.hint(
            "tell who runs the registry; another of its identity providers can be named with `--issuer <url>`",
        ),
    }
}

fn names_a_parent(error: &ResourceError) -> bool {
    let is_other = |fault: &ResourceFault| matches!(fault, ResourceFault::OtherResource { .. });
    error.attempts.iter().any(|(_, fault)| is_other(fault))
}

/// Why there is no client, for a browser that comes back to `port`; `None` where it is the one that is configured.
fn describe_client(client: &ClientError, port: Option<u16>) -> Failure {
    let text = client.to_string();
    let port = port.map_or_else(|| "<callback_port>".to_owned(), |port| port.to_string());
    let by_hand = format!(
        "have thv registered there as a native client with the redirect URI http://localhost:{port}/callback, then add `--client-id <id>` to the command"
    );
    match client {
        ClientError::Registration(RegistrationError::Transient { .. }) => {
            Failure::new(text, Exit::UpstreamUnavailable).hint("try again with the same command")
        }
        ClientError::Registration(_) | ClientError::NoMetadataDocuments { .. } => {
            Failure::new(text, Exit::AuthRequired).hint(&by_hand)
        }
        ClientError::Store(VaultError::Store(error)) => describe_secrets(error),
        ClientError::Store(_) => Failure::new(text, Exit::Failure),
        ClientError::MetadataDocument { .. } => Failure::new(text, Exit::Usage)
            .hint("`--client-metadata` wants the https address of a document of yours"),
    }
}

fn describe_auth(failure: &AuthFailure) -> Failure {
    let text = failure.to_string();
    match failure {
        AuthFailure::NoBinding(NoBinding::LocalSource) => Failure::new(text, Exit::AuthRequired)
            .hint("`thv config set-registry <url>` uses another registry"),
        AuthFailure::NoBinding(_) | AuthFailure::CredentialInUse(_) => Failure::new(text, Exit::AuthRequired)
            .hint("`thv registry login <url>`, with the address of the registry"),
        AuthFailure::Client(client) => describe_client(client, None),
        AuthFailure::Config(config) | AuthFailure::Manage(ManageError::Config(config)) => {
            describe_config(config, Exit::Failure)
        }
        AuthFailure::Vault(VaultError::Store(error))
        | AuthFailure::Manage(ManageError::Store(error)) => describe_secrets(error),
        AuthFailure::Vault(_) => Failure::new(text, Exit::Failure)
            .hint("`thv registry login` replaces what is stored"),
        AuthFailure::Unanswered { .. } => Failure::new(text, Exit::AuthRequired)
            .hint("`thv registry login` in a terminal, by whoever is to log in"),
        AuthFailure::Manage(ManageError::Settings(_) | ManageError::Secret { .. }) => {
            Failure::new(text, Exit::Usage)
                .hint("`--help` after the command shows what belongs to it")
        }
        AuthFailure::WrongOrigin(_) => Failure::new(text, Exit::Failure)
            .hint("tokens go to the registry alone; `thv config get-registry` shows its address"),
        AuthFailure::BoundToken => Failure::new(text, Exit::Failure).hint(
            "`thv registry login --dpop off` gets one that they can use",
        ),
        AuthFailure::Credential(error) => match error {
            AuthError::LoginRequired { .. } => Failure::new(text, Exit::AuthRequired)
                .hint("`thv registry status` shows which credential is used, and what to do"),
            AuthError::Unreachable { .. } => Failure::new(text, Exit::UpstreamUnavailable),
            AuthError::Unusable { .. } => Failure::new(text, Exit::AuthRequired)
                .hint("`thv registry status` shows which credential is used and why"),
            AuthError::Store { .. } => Failure::new(text, Exit::SecretStore),
        },
        AuthFailure::Login(error) => match error {
            LoginError::Discovery {
                transient: true, ..
            } => Failure::new(text, Exit::UpstreamUnavailable).hint(
                "`thv registry login` tries again; `--issuer <url>` gives another address of the identity provider",
            ),
            LoginError::Discovery { .. } => Failure::new(text, Exit::UpstreamUnavailable).hint(
                "`thv registry login --issuer <url>`, with the issuer spelled as the identity provider spells it",
            ),
            LoginError::Exchange {
                transient: true, ..
            }
            | LoginError::NoDeviceCode {
                transient: true, ..
            } => Failure::new(text, Exit::UpstreamUnavailable)
                .hint("`thv registry login` tries again"),
            LoginError::Exchange {
                code: Some(code), ..
            } if code == "invalid_client" => Failure::new(text, Exit::Failure)
                .hint("the identity provider does not know this client: `thv registry login --register` has thv registered anew, `--client-id <id>` names another"),
            LoginError::Exchange { code: None, .. } => Failure::new(text, Exit::Failure).hint(
                "tell who runs the identity provider what is wrong with its answer; the settings here have no part in it",
            ),
            LoginError::Exchange { .. } => Failure::new(text, Exit::Failure).hint(
                "`thv registry login --client-id <id>` names another client; it has to be registered as a public one, with PKCE and this machine's redirect URI",
            ),
            LoginError::Settings { .. } => Failure::new(text, Exit::Failure)
                .hint("`thv registry login` with `--issuer`, `--client-id`, `--scopes` or `--audience` changes them"),
            LoginError::NotConfigured { .. } => Failure::new(text, Exit::Failure)
                .hint("make config.yaml writable, then `thv registry login`"),
            LoginError::StoreUnusable { .. } | LoginError::NotStored { .. } => Failure::new(text.clone(), Exit::SecretStore).hint(
                // The store gives its reasons as text.
                if text.contains("cannot lock ") || text.contains("cannot write ") {
                    "make it writable, or name other directories for configuration and secrets as XDG_CONFIG_HOME and XDG_DATA_HOME"
                } else {
                    "`thv secret status` says which store is meant, and what is wrong with it"
                },
            ),
            LoginError::ForeignIssuer { .. } | LoginError::IdToken { .. } => Failure::new(text, Exit::Failure).hint(
                "`thv registry login` tries again; if this comes again, tell who runs the identity provider",
            ),
            LoginError::Cancelled | LoginError::Withdrawn | LoginError::Abandoned => {
                Failure::new(text, Exit::Failure).hint("`thv registry login` starts another one")
            }
            LoginError::AccountMismatch { before, .. } => {
                Failure::new(text, Exit::AuthRequired).hint(&format!(
                    "log in as {before} in the browser, or `thv registry login --switch-account`"
                ))
            }
            LoginError::NoDeviceCode { .. } => Failure::new(text, Exit::Failure)
                .hint("`thv registry login` logs in with a browser, `--no-browser` with one on another machine"),
            LoginError::PortBusy { holder, is_ours, .. } => {
                Failure::new(text, Exit::Failure).hint(&around_the_port(holder, *is_ours))
            }
            LoginError::Listener { .. } => Failure::new(text, Exit::Failure)
                .hint("`thv registry login --device` needs no port, where the identity provider has device codes"),
            LoginError::Denied { code, .. } => Failure::new(text, Exit::AuthRequired).hint(match code.as_str() {
                "invalid_scope" => "`thv registry login --scopes <list>` asks for others",
                "invalid_target" => "`thv registry login --audience <name>` asks for another resource",
                "unauthorized_client" | "invalid_client" => "`thv registry login --client-id <id>` names another client",
                _ => "`thv registry login` tries again",
            }),
            LoginError::Expired { .. } | LoginError::CodeExpired => {
                Failure::new(text, Exit::AuthRequired).hint("`thv registry login` tries again")
            }
            _ => Failure::new(text, Exit::Failure),
        },
    }
}

/// What to do where the callback port is taken.
fn around_the_port(holder: &PortHolder, is_ours: bool) -> String {
    let free = match holder {
        PortHolder::Unknown { .. } => "end that program",
        PortHolder::ThisProcess { .. } | PortHolder::AnotherLogin { .. } => {
            "finish or cancel that login"
        }
    };
    let other = if is_ours {
        "another port"
    } else {
        "another registered port"
    };
    format!(
        "{free}; or `thv registry login --callback-port <port>` with {other}; or `--device`, which needs none, where the identity provider has device codes"
    )
}

fn describe_config(error: &ConfigError, exit: Exit) -> Failure {
    let failure = Failure::new(error.to_string(), exit);
    match error {
        ConfigError::Unwritable { .. } => failure.hint(
            "make it writable, or keep the configuration in another directory: XDG_CONFIG_HOME names it",
        ),
        _ => failure,
    }
}

fn describe_secrets(error: &SecretsError) -> Failure {
    let text = error.to_string();
    match error {
        SecretsError::NotSetUp { .. } => Failure::new(
            "secrets provider not configured".to_owned(),
            Exit::SecretStore,
        )
        .hint("`thv secret setup`; where nobody can answer, `thv secret provider encrypted`"),
        SecretsError::NotFound { .. } => Failure::new(text, Exit::NotFound)
            .hint("`thv secret list` shows the names, `thv secret set <name>` stores one"),
        SecretsError::Unsupported { kind, action } => Failure::new(
            match action {
                Action::Create | Action::Update => {
                    format!("the {kind} secrets provider does not support setting secrets (read-only)")
                }
                Action::Delete => {
                    format!("the {kind} secrets provider does not support deleting secrets")
                }
                Action::List => {
                    format!("the {kind} secrets provider does not support listing secrets")
                }
            },
            Exit::SecretStore,
        )
        .hint("`thv secret provider encrypted` sets up one that does; `thv secret status` shows which is used, and why"),
        SecretsError::UnknownProvider { .. } => Failure::new(text, Exit::SecretStore)
            .hint("`thv secret provider encrypted`, and look at TOOLHIVE_SECRETS_PROVIDER"),
        SecretsError::ReservedName { .. } => Failure::new(text, Exit::Failure)
            .hint("`thv secret list --system` shows these names, `thv secret delete --system <name>` removes one"),
        SecretsError::WrongPassword { .. } => Failure::new(text, Exit::SecretStore).hint(
            "give the password it was made with, in TOOLHIVE_SECRETS_PASSWORD or with `--key-file`; `thv secret status` shows where the key comes from now; to begin anew, move the file away",
        ),
        SecretsError::Corrupt { .. } => Failure::new(text, Exit::SecretStore)
            .hint("bring it back from a backup, or move it away to begin anew"),
        SecretsError::InvalidReference { .. } => Failure::new(text, Exit::SecretStore)
            .hint("1Password's secrets are named op://<vault>/<item>/<field>; `thv secret list` shows them"),
        SecretsError::Io { .. } => Failure::new(text, Exit::SecretStore)
            .hint("make it readable and writable, or keep secrets in another directory: XDG_DATA_HOME names it"),
        SecretsError::Config(error) => describe_config(error, Exit::SecretStore),
        SecretsError::OtherPassword { .. } => Failure::new(text, Exit::SecretStore)
            .hint("`thv secret provider encrypted` without a password uses the one that is there"),
        _ => Failure::new(text, Exit::SecretStore),
    }
}

fn describe_lookup(lookup: &LookupError) -> Failure {
    match lookup {
        LookupError::NotFound { query } => Failure::new(
            format!("failed to get server information: server not found: {query}"),
            Exit::NotFound,
        )
        .hint("`thv search <text>` looks for parts of a name, a description or a tag"),
        LookupError::Ambiguous { .. } => Failure::new(lookup.to_string(), Exit::NotFound),
    }
}

fn describe_change(change: &ChangeError) -> Failure {
    let text = change.to_string();
    match change {
        ChangeError::Unreachable { .. } => Failure::new(text, Exit::UpstreamUnavailable)
            .hint("check the address; for a host in a private network add `--allow-private-ip`"),
        // The cause of an outdated document names the command itself.
        ChangeError::NotRegistry { cause, .. } if cause.contains("thv registry convert") => {
            Failure::new(text, Exit::Failure)
        }
        ChangeError::NotRegistry { .. } => Failure::new(text, Exit::Failure).hint(
            "give a document in the upstream registry format, or the base URL of a Registry API (what comes before /v0.1)",
        ),
        ChangeError::Login { .. } => Failure::new(text, Exit::Failure)
            .hint("check issuer and client with who runs the registry, and the way to the issuer; it is an https URL"),
        ChangeError::Invalid { cause, .. } if cause.contains("https://") => {
            Failure::new(text, Exit::Failure)
                .hint("plain http is accepted with `--allow-private-ip`")
        }
        ChangeError::Invalid { what, .. } if *what == "local registry file" => Failure::new(text, Exit::Failure)
            .hint("give the path of a registry document, or an address that starts with https://"),
        ChangeError::Config(error) => describe_config(error, Exit::Failure),
        ChangeError::Invalid { .. } | ChangeError::Setup { .. } => {
            Failure::new(text, Exit::Failure)
        }
    }
}

/// Tells the person, on standard error.
pub(crate) fn report(error: &CommandError, output: &mut Output) -> Exit {
    let failure = describe(error);
    output.clear_progress();
    output.remark_styled(ERROR, "Error", &failure.message);
    if let Some(hint) = &failure.hint {
        output.remark_styled(NOTICE, "Hint", hint);
    }
    failure.exit
}

impl Failure {
    fn new(message: String, exit: Exit) -> Self {
        Self {
            message,
            hint: None,
            exit,
        }
    }

    fn hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::capture;

    fn unavailable(url: Option<&str>) -> CommandError {
        Fault::Unavailable {
            url: url.map(str::to_owned),
            cause: "connection refused".to_owned(),
            retry_after: None,
            blame: thv_registry::Blame::Registry,
        }
        .into()
    }

    #[test]
    fn every_kind_of_failure_has_its_exit_code() {
        let table: Vec<(CommandError, Exit)> = vec![
            (
                Fault::AuthRequired {
                    source_name: "https://example.com".to_owned(),
                    reason: thv_auth::LoginReason::NotConfigured,
                }
                .into(),
                Exit::AuthRequired,
            ),
            (
                unavailable(Some("https://example.com")),
                Exit::UpstreamUnavailable,
            ),
            (unavailable(None), Exit::UpstreamUnavailable),
            (Fault::Legacy { url: None }.into(), Exit::Failure),
            (
                LookupError::NotFound {
                    query: "x".to_owned(),
                }
                .into(),
                Exit::NotFound,
            ),
            (CommandError::Usage("x".to_owned()), Exit::Usage),
            (
                CommandError::LoginTimedOut {
                    limit: Duration::from_secs(5),
                },
                Exit::AuthRequired,
            ),
            (
                CommandError::file(Path::new("/x"), "read", io::ErrorKind::NotFound.into()),
                Exit::NotFound,
            ),
            (
                CommandError::file(
                    Path::new("/x"),
                    "read",
                    io::ErrorKind::PermissionDenied.into(),
                ),
                Exit::Failure,
            ),
            (
                CommandError::Server {
                    url: "http://127.0.0.1:1".to_owned(),
                    code: ServerCode::Unavailable,
                    message: "x".to_owned(),
                },
                Exit::UpstreamUnavailable,
            ),
        ];
        for (error, exit) in table {
            assert_eq!(describe(&error).exit, exit, "{error}");
        }
    }

    #[test]
    fn a_hint_speaks_of_whoever_can_change_it() {
        let exchange = |code: Option<&str>| LoginError::Exchange {
            cause: "why".to_owned(),
            code: code.map(str::to_owned),
            transient: false,
        };
        let no_client = || ClientError::from(RegistrationError::NotOffered);
        let table: Vec<(CommandError, &str)> = vec![
            (AuthFailure::from(exchange(None)).into(), "its answer"),
            (
                AuthFailure::from(exchange(Some("invalid_grant"))).into(),
                "--client-id",
            ),
            (
                CommandError::Client {
                    client: no_client(),
                    port: 8999,
                },
                "http://localhost:8999/callback",
            ),
            (
                AuthFailure::from(no_client()).into(),
                "http://localhost:<callback_port>/callback",
            ),
        ];
        for (error, words) in table {
            let hint = describe(&error).hint.unwrap_or_default();
            assert!(hint.contains(words), "{error}: {hint}");
        }
    }

    #[test]
    fn a_missing_server_is_named_and_a_way_on_is_shown() {
        let (mut output, out, err) = capture::output();
        let exit = report(
            &LookupError::NotFound {
                query: "x/y".to_owned(),
            }
            .into(),
            &mut output,
        );
        assert_eq!(exit, Exit::NotFound);
        assert_eq!(out.text(), "");
        assert!(
            err.text().starts_with(
                "Error: failed to get server information: server not found: x/y\nHint: `thv search"
            ),
            "{}",
            err.text()
        );
    }

    #[test]
    fn no_message_has_the_words_a_desktop_client_reacts_to() {
        let error = Fault::AuthRequired {
            source_name: "https://example.com".to_owned(),
            reason: thv_auth::LoginReason::NeverLoggedIn,
        };
        let failure = describe(&error.into());
        let all = format!("{} {}", failure.message, failure.hint.unwrap_or_default());
        assert!(!all.contains("registry authentication required"), "{all}");
    }
}
