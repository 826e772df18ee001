//! The flags of `thv config set-registry-credential`: one verb per way to a credential. No flag takes a secret, because command lines
//! can be read by others.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// A way to a credential.
#[derive(Debug, Subcommand)]
pub(crate) enum CredentialCommand {
    /// A bearer token that something else provides
    Bearer(BearerArgs),
    /// A key in a header of its own
    ApiKey(ApiKeyArgs),
    /// This program asks for a token as a client of its own (OAuth client credentials)
    ClientCredentials(ClientArgs),
    /// A token of this workload is exchanged for one of the registry's (RFC 8693)
    TokenExchange(WorkloadArgs),
    /// A token of this workload is the grant for one of the registry's (RFC 7523)
    JwtBearer(WorkloadArgs),
    /// A program is asked for the token
    Command(CommandArgs),
}

/// Where a token or key is.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TokenPlace {
    /// File that holds it; read again when it changes. Nobody else may be able to write it
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,

    /// Name of a secret of yours that holds it
    #[arg(long, value_name = "NAME")]
    pub(crate) secret: Option<String>,

    /// Environment variable that holds it, wherever thv runs
    #[arg(long, value_name = "NAME")]
    pub(crate) variable: Option<String>,
}

/// Keeps the place, not the token. To hand over a token to keep: thv registry login --with-token
#[derive(Debug, Args)]
pub(crate) struct BearerArgs {
    #[command(flatten)]
    pub(crate) place: TokenPlace,
}

/// Keeps the place, not the key. To hand over a key to keep: thv registry login --with-token --header NAME
#[derive(Debug, Args)]
pub(crate) struct ApiKeyArgs {
    /// Header whose value the key is
    #[arg(long, value_name = "NAME")]
    pub(crate) header: String,

    #[command(flatten)]
    pub(crate) place: TokenPlace,
}

/// The authorization server.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct ServerArgs {
    /// Issuer, whose metadata name the token endpoint
    #[arg(long, value_name = "URL")]
    pub(crate) issuer: Option<String>,

    /// Token endpoint of a server without metadata
    #[arg(long, value_name = "URL")]
    pub(crate) token_endpoint: Option<String>,
}

/// How the client proves who it is.
#[derive(Debug, Default, Args)]
pub(crate) struct ProofArgs {
    /// Read the client's secret from standard input and keep it in the secret store
    #[arg(long)]
    pub(crate) secret_stdin: bool,

    /// File that holds the client's secret; nobody else may be able to write it
    #[arg(long, value_name = "PATH", conflicts_with = "secret_stdin")]
    pub(crate) secret_file: Option<PathBuf>,

    /// Name of a secret of yours that holds the client's secret
    #[arg(long, value_name = "NAME", conflicts_with_all = ["secret_stdin", "secret_file"])]
    pub(crate) secret_name: Option<String>,

    /// Where the secret goes in the request; found out without it
    #[arg(long, value_enum, value_name = "WHERE", conflicts_with = "private_key")]
    pub(crate) secret_in: Option<SecretIn>,

    /// File of the client's private key, RSA or P-256 in PEM, in place of a secret (`private_key_jwt`)
    #[arg(long, value_name = "PATH", conflicts_with_all = ["secret_stdin", "secret_file", "secret_name"])]
    pub(crate) private_key: Option<PathBuf>,

    /// Name of that key at the server
    #[arg(long, value_name = "ID", requires = "private_key")]
    pub(crate) key_id: Option<String>,
}

/// Where a client secret goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SecretIn {
    /// In the Authorization header
    Basic,
    /// In the form
    Post,
}

/// What the token is for.
#[derive(Debug, Default, Args)]
pub(crate) struct TargetArgs {
    /// Resource to ask a token for (RFC 8707); the registry's address without it
    #[arg(long, value_name = "URI")]
    pub(crate) resource: Option<String>,

    /// Name no resource, for a server that refuses requests with one
    #[arg(long, conflicts_with = "resource")]
    pub(crate) no_resource: bool,

    /// Audience to ask a token for, where the server wants that name
    #[arg(long, value_name = "NAME")]
    pub(crate) audience: Option<String>,

    /// Scopes to ask for, separated by commas
    #[arg(long, value_name = "SCOPES", value_delimiter = ',')]
    pub(crate) scopes: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,

    /// Client name that is registered there for this machine
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: String,

    #[command(flatten)]
    pub(crate) proof: ProofArgs,

    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WorkloadArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,

    /// File with this workload's token, such as Kubernetes mounts it; read anew each time
    #[arg(long, value_name = "PATH", required_unless_present = "github_actions")]
    pub(crate) token_file: Option<PathBuf>,

    /// Ask GitHub Actions for this job's token; the workflow needs the permission `id-token: write`
    #[arg(long, conflicts_with = "token_file")]
    pub(crate) github_actions: bool,

    /// Audience of the job's token; the issuer without it
    #[arg(long, value_name = "NAME", requires = "github_actions")]
    pub(crate) github_audience: Option<String>,

    /// Type of this workload's token (RFC 8693, section 3); a JWT without it
    #[arg(long, value_name = "URI")]
    pub(crate) subject_token_type: Option<String>,

    /// Client name, where the server wants one
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: Option<String>,

    #[command(flatten)]
    pub(crate) proof: ProofArgs,

    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// The program gets one JSON object on standard input and writes one to standard output:
///
/// `{"version":1,"kind":"get","registry":{"name":"default","url":"https://…"}}`
///
/// is answered by `{"version":1,"token":"…","expires_in":3600}`, or by
/// `{"version":1,"error":"denied","message":"…"}` with one of the errors `not_found`, `denied` and
/// `unavailable`.
#[derive(Debug, Args)]
pub(crate) struct CommandArgs {
    /// Environment variable that the program gets beside the usual few; repeatable
    #[arg(long = "pass", value_name = "NAME")]
    pub(crate) pass: Vec<String>,

    /// Program, by its absolute path; nobody else may be able to write it
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,

    /// Its arguments
    #[arg(
        value_name = "ARG",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) args: Vec<String>,
}
