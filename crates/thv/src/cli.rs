//! The command line as clap types, and nothing else: which verbs, flags and values exist and how
//! they explain themselves. What a verb does is in `commands`; what a flag means to the server is
//! in `wire_up`. Flag names and defaults are those of the Go program where it has them.

pub(crate) mod credential;

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use thv_auth::login::PublicUrl;
use thv_auth::oauth::DpopUse;
use thv_auth::relaxation::Relaxation;

/// What stands under the help of the whole program.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failure
  2  the command line could not be understood
  3  the registry wants a login first
  4  the named thing does not exist
  5  the upstream registry cannot be reached
  6  the secret store cannot be used

Environment:
  TOOLHIVE_DEBUG     more log lines, as --debug
  TOOLHIVE_API_URL   the server that `registry refresh` asks
  THV_REGISTRY_TOKEN the registry's token, before any other credential; with
                     THV_REGISTRY_TOKEN_URL only for that registry, and with
                     THV_REGISTRY_TOKEN_HEADER in a header of its own
  NO_COLOR           no colour, whatever the terminal
  COLUMNS            width of text output when there is no terminal to ask
  TOOLHIVE_SECRETS_PROVIDER
                     where secrets are: encrypted, 1password or environment
  TOOLHIVE_SECRETS_PASSWORD, TOOLHIVE_SECRETS_KEY_FILE
                     password of the encrypted secrets, or the file that holds it
  SSL_CERT_FILE      certificates trusted besides the system's
  THV_CLIENT_CERTIFICATE, THV_CLIENT_KEY
                     certificate (PEM) shown to servers that ask for one, and its key
  HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY
                     proxies on the way out, and the hosts that need none
  XDG_CONFIG_HOME, XDG_DATA_HOME, XDG_STATE_HOME, XDG_CACHE_HOME
                     where configuration, secrets, server record and catalogs live";

/// The local door to registries of MCP servers
#[derive(Debug, Parser)]
#[command(
    name = "thv",
    version = crate::commands::version::VERSION,
    after_long_help = EXIT_CODES,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// Log more, to standard error
    #[arg(long, global = true)]
    pub(crate) debug: bool,

    /// File with the password of the encrypted secrets, in place of what the environment says
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) key_file: Option<String>,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the HTTP server
    Serve(Box<ServeArgs>),
    /// List and inspect the servers of the configured registry
    #[command(subcommand)]
    Registry(RegistryCommand),
    /// Find servers by name, description or tag
    Search(SearchArgs),
    /// Keep secrets: API keys of servers, and the program's own
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Read and change the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Find out why a login or the registry does not work; changes nothing
    Doctor {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Show the version of this program
    Version(VersionArgs),
    /// Print a completion script for a shell
    Completion {
        /// The shell to write for
        shell: Shell,
    },
    /// Print the manual pages, or write them to a directory
    Man {
        /// Directory to write one file per command to; created when missing
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Open the address on standard input in the browser; the program calls itself so
    #[command(name = crate::opener::VERB, hide = true)]
    OpenAddress,
}

// --- serve

/// Listens on a loopback port or a socket until told to stop, with SIGTERM or Ctrl-C. The
/// catalog is loaded after the listener is open, so a slow registry delays nothing else.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address to listen on; an IPv6 address may stand in brackets
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,

    /// Port to listen on; 0 lets the system choose
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,

    /// UNIX socket to listen on, in place of host and port
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<String>,

    /// Serve the `OpenAPI` document and a page to read it
    #[arg(long)]
    pub(crate) openapi: bool,

    /// Origin whose pages may read the standard registry API under /v0.1; repeatable
    #[arg(long = "cors-origin", value_name = "ORIGIN", value_parser = origin)]
    pub(crate) cors_origins: Vec<String>,

    /// Address under which browsers reach this server, behind a reverse proxy for example: logins come back to
    /// URL/oauth/callback, and to no port of their own
    #[arg(long = "public-url", value_name = "URL", value_parser = PublicUrl::parse)]
    pub(crate) public_url: Option<PublicUrl>,

    /// Serve counters for Prometheus at /metrics
    #[arg(long)]
    pub(crate) metrics: bool,

    /// Stop when the process that started this one is gone
    #[arg(long)]
    pub(crate) exit_with_parent: bool,

    // A heading holds for all flags behind it, so that these come last.
    #[command(flatten)]
    pub(crate) callers: CallerArgs,

    #[command(flatten)]
    pub(crate) sentry: SentryArgs,
}

/// Who may call the server.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Callers must show a token, of this server or of an OpenID provider")]
pub(crate) struct CallerArgs {
    /// Let only those in who show the token of this server's record (server.json), which nobody but its user can read
    #[arg(long)]
    pub(crate) require_token: bool,

    /// Issuer whose tokens are accepted
    #[arg(
        long = "oidc-issuer",
        value_name = "URL",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) issuer: String,

    /// Audience that a token must name
    #[arg(
        long = "oidc-audience",
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) audience: String,

    /// Where the issuer's keys are, instead of asking the issuer
    #[arg(
        long = "oidc-jwks-url",
        value_name = "URL",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) jwks_url: String,

    /// Where opaque tokens are checked (RFC 7662)
    #[arg(
        long = "oidc-introspection-url",
        value_name = "URL",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) introspection_url: String,

    /// Client name used for introspection
    #[arg(
        long = "oidc-client-id",
        value_name = "ID",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) client_id: String,

    /// Client secret used for introspection; `TOOLHIVE_OIDC_CLIENT_SECRET` keeps it out of process lists
    #[arg(
        long = "oidc-client-secret",
        value_name = "SECRET",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) client_secret: String,

    /// Accepted and not used
    #[arg(long = "oidc-scopes", value_name = "SCOPES", value_delimiter = ',')]
    pub(crate) scopes: Vec<String>,
}

/// Flags that desktop clients pass on; nothing is sent anywhere.
#[derive(Debug, Args)]
#[command(next_help_heading = "Accepted for desktop clients, without effect")]
pub(crate) struct SentryArgs {
    /// Address for error reports; none are sent
    #[arg(
        long = "sentry-dsn",
        value_name = "DSN",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) dsn: String,

    /// Name of the environment in error reports
    #[arg(
        long = "sentry-environment",
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) environment: String,

    /// Share of requests to trace
    #[arg(
        long = "sentry-traces-sample-rate",
        value_name = "RATE",
        default_value_t = 1.0
    )]
    pub(crate) traces_sample_rate: f64,
}

/// A web origin as browsers send it (RFC 6454, section 6.2), or `*`: anything else would never
/// match.
fn origin(text: &str) -> Result<String, String> {
    let is_origin = url::Url::parse(text)
        .is_ok_and(|url| url.has_host() && url.origin().ascii_serialization() == text);
    if is_origin || text == "*" {
        Ok(text.to_owned())
    } else {
        Err("give scheme, host and port as a browser sends them, such as https://app.example or http://localhost:5173".to_owned())
    }
}

// --- registry

#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// List the servers of the registry
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        format: FormatArgs,
        /// Fetch the registry now, whatever is kept from before
        #[arg(long)]
        refresh: bool,
    },
    /// Show one server
    Info {
        /// Full name, or the part after the slash when only one server ends in it
        server: String,
        #[command(flatten)]
        format: FormatArgs,
        /// Fetch the registry now, whatever is kept from before
        #[arg(long)]
        refresh: bool,
    },
    /// Show where the catalog comes from, how old it is and what the clients' lists leave out
    Status {
        #[command(flatten)]
        format: FormatArgs,
        /// Ask the registry what it says to the current token; the identity provider is not asked
        #[arg(long)]
        check: bool,
    },
    /// Fetch the registry now, through the running server when there is one
    Refresh {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Log in to the registry, in a browser or with a code on another device
    Login(LoginArgs),
    /// Log out of the registry: forget its tokens here, and give them back where possible
    Logout {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Print the registry's current token, for another program
    Token(TokenArgs),
    /// Answer another program that asks for the registry's token, in JSON
    ///
    /// Reads `{"version":1,"kind":"get","url":"https://registry.example/"}` and writes
    /// `{"version":1,"header":"Authorization","value":"Bearer …","expires_at":"…"}`, or
    /// `{"version":1,"error":"…","message":"…"}`. Only for the registry's own origin, and only after
    /// `thv config set-auth-helper on`.
    AuthHelper,
    /// Turn a registry file in the old `ToolHive` format into the upstream format
    Convert(ConvertArgs),
}

/// Prints nothing else, and nothing to a terminal unless told so. The token is good for the registry
/// alone; `--for` makes sure of that.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// Print it to a terminal too, where others may read it
    #[arg(long)]
    pub(crate) show: bool,

    /// Address that the token is wanted for; another host than the registry's is refused
    #[arg(long = "for", value_name = "URL")]
    pub(crate) url: Option<String>,
}

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags that have nothing to do with one another"
)]
pub(crate) struct LoginArgs {
    /// Use this registry from now on; where to log in is found out
    #[arg(value_name = "URL")]
    pub(crate) url: Option<String>,

    /// Use this registry from now on, with the login that is configured unless flags say otherwise
    #[arg(long, value_name = "URL", conflicts_with = "url")]
    pub(crate) registry: Option<String>,

    /// Allow plain http and private IP addresses for the registry
    #[arg(short = 'p', long)]
    pub(crate) allow_private_ip: bool,

    #[command(flatten)]
    pub(crate) auth: AuthArgs,

    /// Log in at an identity provider that is new here without being asked
    #[arg(short = 'y', long)]
    pub(crate) yes: bool,

    /// Client-id metadata document of yours, used where the identity provider reads such
    #[arg(long, value_name = "URL")]
    pub(crate) client_metadata: Option<String>,

    /// Have thv registered with the identity provider anew
    #[arg(long, conflicts_with = "client_id")]
    pub(crate) register: bool,

    /// Port on this machine that the browser comes back to, kept for later logins; 8666 unless configured
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) callback_port: Option<u16>,

    /// Do without one of the strict rules for this registry: `allow_missing_pkce_metadata`, `allow_resource_parent_path` or
    /// `allow_unlisted_issuer`. Holds for later logins too
    #[arg(long, value_name = "RULE", value_parser = Relaxation::chosen)]
    pub(crate) relax: Vec<Relaxation>,

    /// Hold this registry and its identity provider to every rule that --relax does not name now, even where you named them
    /// yourself; takes back what was relaxed before. Holds for later logins too
    #[arg(long)]
    pub(crate) strict: bool,

    /// Bind the registry's tokens to a key that stays here (DPoP): auto, where the identity provider offers it; required;
    /// or off, for tokens that other programs are to have. Holds for later logins too
    #[arg(long, value_name = "WHEN")]
    pub(crate) dpop: Option<DpopUse>,

    /// Take the login although it is of another account than the one before
    #[arg(long)]
    pub(crate) switch_account: bool,

    #[command(flatten)]
    pub(crate) elsewhere: ElsewhereArgs,

    /// Read a token from standard input and use it, in place of a login
    #[arg(long, conflicts_with_all = ["issuer", "client_id", "audience", "scopes", "no_browser", "device", "paste", "register", "relax", "strict", "dpop", "switch_account", "client_metadata", "callback_port"])]
    pub(crate) with_token: bool,

    /// Header that the registry wants the token in, when it is not `Authorization: Bearer`
    #[arg(long, value_name = "NAME", requires = "with_token")]
    pub(crate) header: Option<String>,

    /// How long to wait for the login, in seconds; 300 at most
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub(crate) timeout: u64,
}

/// How to log in when the browser is somewhere else.
#[derive(Debug, Default, Args)]
pub(crate) struct ElsewhereArgs {
    /// Open no browser; the address is printed either way, and the one that a browser elsewhere is sent back to can be
    /// pasted on a terminal
    #[arg(long)]
    pub(crate) no_browser: bool,

    /// Log in with a code that is typed in on another device; nothing listens or is opened here
    #[arg(long, conflicts_with = "paste")]
    pub(crate) device: bool,

    /// Read the address that the browser is sent back to from standard input, even if that is no terminal; implies
    /// --no-browser
    #[arg(long)]
    pub(crate) paste: bool,
}

impl ElsewhereArgs {
    /// Whether nothing is to be opened on this machine.
    pub(crate) fn is_meant(&self) -> bool {
        self.no_browser || self.device || self.paste
    }
}

#[derive(Debug, Default, Args)]
pub(crate) struct ConvertArgs {
    /// File to read; standard input without it
    #[arg(long = "in", value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,

    /// File to write; standard output without it
    #[arg(long = "out", value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Replace the input file and keep the old one as FILE.bak
    #[arg(long)]
    pub(crate) in_place: bool,

    /// Keep no FILE.bak
    #[arg(long)]
    pub(crate) no_backup: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// Text to look for, in any letter case
    pub(crate) query: String,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

// --- secret

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Choose where secrets are kept, and set that up
    Setup,
    /// Set a provider up without being asked: encrypted, 1password or environment
    Provider {
        /// encrypted, 1password or environment
        provider: String,
        /// Read the password of the encrypted secrets from standard input; one is made up otherwise
        #[arg(long)]
        password_stdin: bool,
    },
    /// Store a secret; the value is asked for, or read from standard input
    Set {
        /// Name of the secret
        name: String,
    },
    /// Print the value of a secret
    Get {
        /// Name of the secret
        name: String,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// List the names of the secrets
    #[command(visible_alias = "ls")]
    List {
        /// List the secrets that belong to the program itself
        #[arg(long)]
        system: bool,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Delete a secret
    #[command(visible_alias = "rm")]
    Delete {
        /// Name of the secret
        name: String,
        /// The secret belongs to the program itself; give its full name
        #[arg(long)]
        system: bool,
    },
    /// Show where secrets are kept and why, where the key is, and whether all works
    Status {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Delete the password of the encrypted secrets from the keyrings
    ResetKeyring {
        /// Even if secrets open with nothing else
        #[arg(long)]
        yes: bool,
    },
    /// Protect the secrets file better (Argon2id); the Go program cannot read it then
    UpgradeStore {
        /// Back to the form that the Go program reads
        #[arg(long)]
        undo: bool,
    },
}

// --- config

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Use a registry: a file, the address of a registry document, or of a registry API
    SetRegistry(SetRegistryArgs),
    /// Show which registry is used
    GetRegistry {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Go back to the built-in registry
    UnsetRegistry,
    /// Read the registry with a credential that needs no person
    #[command(subcommand)]
    SetRegistryCredential(Box<credential::CredentialCommand>),
    /// Forget that credential, and a secret that was kept for it
    UnsetRegistryCredential,
    /// Let other programs of this user ask for the registry's token, or no longer
    SetAuthHelper {
        /// Whether they may
        #[arg(value_enum)]
        state: Switch,
    },
    /// Configure the login of the registry
    #[command(hide = true)]
    SetRegistryAuth(AuthArgs),
    /// Forget the login of the registry
    #[command(hide = true)]
    UnsetRegistryAuth,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// They may
    On,
    /// They may not
    Off,
}

#[derive(Debug, Args)]
pub(crate) struct SetRegistryArgs {
    /// Address or path; what kind of registry it is, is found out
    #[arg(value_name = "URL-OR-PATH")]
    pub(crate) source: String,

    /// Allow plain http and private IP addresses
    #[arg(short = 'p', long)]
    pub(crate) allow_private_ip: bool,

    #[command(flatten)]
    pub(crate) auth: AuthArgs,
}

/// How to log in to a registry.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct AuthArgs {
    /// Issuer of the identity provider, for a registry that needs a login
    #[arg(long, value_name = "URL")]
    pub(crate) issuer: Option<String>,

    /// Client name that is registered there for thv
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: Option<String>,

    /// Resource that tokens are asked for (RFC 8707)
    #[arg(long, value_name = "NAME")]
    pub(crate) audience: Option<String>,

    /// Scopes to ask for, separated by commas; `openid,offline_access` without it
    #[arg(long, value_name = "SCOPES", value_delimiter = ',')]
    pub(crate) scopes: Vec<String>,
}

impl AuthArgs {
    pub(crate) fn is_empty(&self) -> bool {
        self.issuer.is_none()
            && self.client_id.is_none()
            && self.audience.is_none()
            && self.scopes.is_empty()
    }
}

// --- version and formats

#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    /// Same as --format json
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FormatArgs {
    /// How to write the result
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

impl FormatArgs {
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn serve(arguments: &[&str]) -> ServeArgs {
        let line = ["thv", "serve"].iter().chain(arguments);
        match Cli::try_parse_from(line).expect("parses").command {
            Some(Command::Serve(serve)) => *serve,
            other => panic!("parsed as {other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_line_a_desktop_client_uses_is_understood() {
        let args = serve(&[
            "--openapi",
            "--socket=/tmp/toolhive-1.sock",
            "--sentry-dsn=https://key@example.com/1",
            "--sentry-environment=production",
            "--sentry-traces-sample-rate=1.0",
        ]);
        assert!(args.openapi);
        assert_eq!(args.socket.as_deref(), Some("/tmp/toolhive-1.sock"));
        assert_eq!(args.sentry.environment, "production");
    }

    #[test]
    fn serve_without_flags_has_the_contract_defaults() {
        let args = serve(&[]);
        assert_eq!((args.host.as_str(), args.port), ("127.0.0.1", 8080));
        assert!(!args.openapi && !args.metrics && !args.exit_with_parent);
        assert!(args.socket.is_none() && args.callers.issuer.is_empty());
    }

    #[test]
    fn origins_repeat_and_scopes_split_at_commas() {
        let args = serve(&[
            "--cors-origin=https://a.example",
            "--cors-origin=https://b.example",
            "--oidc-scopes=openid,profile",
        ]);
        assert_eq!(args.cors_origins.len(), 2);
        assert_eq!(args.callers.scopes, ["openid", "profile"]);
    }

    #[test]
    fn an_origin_that_could_never_match_is_refused() {
        for good in ["https://a.example", "http://localhost:5173", "*"] {
            assert!(origin(good).is_ok(), "{good}");
        }
        for bad in [
            "garbage",
            "https://a.example/",
            "https://a.example/x",
            "https://A.example",
            "https://a.example:443",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn unknown_flags_and_formats_are_usage_errors() {
        for line in [
            vec!["thv", "serve", "--nonsense"],
            vec!["thv", "registry", "list", "--format", "yaml"],
            vec!["thv", "search"],
        ] {
            let error = Cli::try_parse_from(&line).expect_err("refused");
            assert_eq!(error.exit_code(), 2, "{line:?}");
        }
    }

    #[test]
    fn debug_is_accepted_before_and_after_the_verb() {
        for line in [["thv", "--debug", "version"], ["thv", "version", "--debug"]] {
            assert!(Cli::try_parse_from(line).expect("parses").debug);
        }
    }

    #[test]
    fn ls_is_list() {
        let cli = Cli::try_parse_from(["thv", "registry", "ls", "--refresh"]).expect("parses");
        assert!(matches!(
            cli.command,
            Some(Command::Registry(RegistryCommand::List {
                refresh: true,
                ..
            }))
        ));
    }
}
