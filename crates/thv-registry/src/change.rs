//! Setting a registry's source: what was asked for, checked before anything is written.

use std::path::{Path, PathBuf};

use thv_auth::binding::DEFAULT_SCOPES;
use thv_config::world::Env;
use thv_config::{Config, ConfigError, OAuthSettings, RegistryAuth, RegistrySource};
use url::Url;

use crate::source::outbound::Outbound;
use crate::source::probe::{self, Refusal};
use crate::source::{Remote, SourceKind};

/// A source that somebody wants to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceRequest {
    /// The catalog compiled in.
    BuiltIn,
    /// A document on this machine.
    File {
        /// Path, absolute or relative to the working directory; `file://` before it is allowed.
        path: String,
    },
    /// A document elsewhere.
    Url {
        /// https URL; http too where private addresses are allowed.
        url: String,
        /// Whether the host may have a private address.
        allow_private_ip: bool,
    },
    /// A server that speaks the MCP Registry API.
    Api {
        /// Base URL, without `/v0.1`.
        url: String,
        /// Whether the host may have a private address.
        allow_private_ip: bool,
    },
    /// Whatever it turns out to be: a path, a document or an API.
    Detect {
        /// As a person typed it.
        input: String,
        /// Whether the host may have a private address.
        allow_private_ip: bool,
    },
}

/// The login that goes with a source (RFC 6749, section 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginRequest {
    /// Issuer identifier of the authorization server.
    pub issuer: String,
    /// Client identifier.
    pub client_id: String,
    /// Audience; `None` keeps the one there is when issuer and client stay the same.
    pub audience: Option<String>,
    /// Scopes; `None` keeps those there are when issuer and client stay the same, and is
    /// `openid offline_access` otherwise.
    pub scopes: Option<Vec<String>>,
    /// Port of the loopback redirect; `None` keeps the one there is when issuer and client stay the same, and is 8666 otherwise.
    pub callback_port: Option<u16>,
}

/// Why a source was not set. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// What was asked for cannot be meant.
    #[error("failed to set {what}: {cause}")]
    Invalid {
        /// What was to be set, in words.
        what: &'static str,
        /// Why not.
        cause: String,
    },
    /// Nothing answers there now.
    #[error("failed to set {what}: registry error for {} ({source_name}): {}: {cause}", kind.as_str(), if *timed_out { "registry validation timed out" } else { "registry is unreachable" })]
    Unreachable {
        /// What was to be set, in words.
        what: &'static str,
        /// Kind of source.
        kind: SourceKind,
        /// URL or path.
        source_name: String,
        /// What the attempt met.
        cause: String,
        /// Whether a deadline ended it.
        timed_out: bool,
    },
    /// What is there is no registry of this kind.
    #[error("failed to set {what}: registry error for {} ({source_name}): registry validation failed: {cause}", kind.as_str())]
    NotRegistry {
        /// What was to be set, in words.
        what: &'static str,
        /// Kind of source.
        kind: SourceKind,
        /// URL or path.
        source_name: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The login that was to be configured with the source cannot be.
    #[error("failed to configure registry auth: configuring OAuth: {cause}")]
    Login {
        /// Why not.
        cause: String,
    },
    /// The configuration cannot be read or written.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Our own set-up stands in the way of asking the source.
    #[error("failed to set {what}: {cause}")]
    Setup {
        /// What was to be set, in words.
        what: &'static str,
        /// What is wrong.
        cause: String,
    },
}

/// A source that was checked and can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) source: RegistrySource,
    /// `None` leaves the setting as it is.
    pub(crate) allow_private_ip: Option<bool>,
    pub(crate) kind: SourceKind,
}

/// `config` with `change` and the login that goes with it, or without any.
pub(crate) fn applied(
    config: &Config,
    change: &Change,
    login: Option<&LoginRequest>,
) -> Result<Config, ChangeError> {
    let mut after = config.clone();
    after.source = change.source.clone();
    if let Some(allow_private_ip) = change.allow_private_ip {
        after.allow_private_ip = allow_private_ip;
    }
    after.auth = None;
    let Some(login) = login else {
        return Ok(after);
    };
    if !matches!(change.kind, SourceKind::Url | SourceKind::Api) {
        return Err(ChangeError::Login {
            cause: "only a registry that is reached by `url` or `api_url` has a use for a login"
                .to_owned(),
        });
    }
    let before = config.auth.as_ref().and_then(|auth| auth.oauth.as_ref());
    let same = before
        .filter(|before| before.issuer == login.issuer && before.client_id == login.client_id);
    let default_scopes = || DEFAULT_SCOPES.map(str::to_owned).to_vec();
    after.auth = Some(RegistryAuth {
        kind: "oauth".to_owned(),
        oauth: Some(OAuthSettings {
            issuer: login.issuer.clone(),
            client_id: login.client_id.clone(),
            audience: login
                .audience
                .clone()
                .or_else(|| same.and_then(|same| same.audience.clone())),
            scopes: login
                .scopes
                .clone()
                .or_else(|| same.map(|same| same.scopes.clone()))
                .unwrap_or_else(default_scopes),
            callback_port: login
                .callback_port
                .or_else(|| same.and_then(|same| same.callback_port))
                .or(Some(DEFAULT_CALLBACK_PORT)),
            cached_refresh_token_ref: None,
            cached_token_expiry: None,
        }),
    });
    Ok(after)
}

/// Where the redirect of a login arrives, unless the configuration says otherwise: clients are
/// registered with it.
const DEFAULT_CALLBACK_PORT: u16 = 8666;

const WHAT_FILE: &str = "local registry file";
const WHAT_URL: &str = "remote registry";
const WHAT_API: &str = "registry API";

/// Checks `request` against the source itself, within five seconds, and says what to write.
pub(crate) async fn check(
    request: &SourceRequest,
    outbound: &Outbound,
    env: &dyn Env,
) -> Result<Change, ChangeError> {
    match request {
        SourceRequest::BuiltIn => Ok(Change {
            source: RegistrySource::BuiltIn,
            allow_private_ip: Some(false),
            kind: SourceKind::Default,
        }),
        SourceRequest::File { path } => check_file(path).await,
        SourceRequest::Url {
            url,
            allow_private_ip,
        } => check_url(&remote(WHAT_URL, url, *allow_private_ip, env)?, outbound).await,
        SourceRequest::Api {
            url,
            allow_private_ip,
        } => check_api(&remote(WHAT_API, url, *allow_private_ip, env)?, outbound).await,
        SourceRequest::Detect {
            input,
            allow_private_ip,
        } => check_detected(input, *allow_private_ip, outbound, env).await,
    }
}

async fn check_file(path: &str) -> Result<Change, ChangeError> {
    let path = path.strip_prefix("file://").unwrap_or(path);
    let invalid = |cause: &str| ChangeError::Invalid {
        what: WHAT_FILE,
        cause: cause.to_owned(),
    };
    if path.trim().is_empty() {
        return Err(invalid("the path is empty"));
    }
    if looks_like_url(path) {
        return Err(invalid(
            "this is a URL, not a path; give it as `url` or `api_url`",
        ));
    }
    let absolute: PathBuf = probe::file(Path::new(path))
        .await
        .map_err(|refusal| refused(WHAT_FILE, SourceKind::File, path, refusal))?;
    Ok(Change {
        source: RegistrySource::File(absolute),
        allow_private_ip: None,
        kind: SourceKind::File,
    })
}

async fn check_url(remote: &Remote, outbound: &Outbound) -> Result<Change, ChangeError> {
    probe::url(outbound, remote)
        .await
        .map_err(|refusal| refused(WHAT_URL, SourceKind::Url, &remote.configured, refusal))?;
    Ok(Change {
        source: RegistrySource::Url(remote.configured.clone()),
        allow_private_ip: Some(remote.allow_private_ip),
        kind: SourceKind::Url,
    })
}

async fn check_api(remote: &Remote, outbound: &Outbound) -> Result<Change, ChangeError> {
    probe::api(outbound, remote)
        .await
        .map_err(|refusal| refused(WHAT_API, SourceKind::Api, &remote.configured, refusal))?;
    Ok(Change {
        source: RegistrySource::Api(remote.configured.clone()),
        allow_private_ip: Some(remote.allow_private_ip),
        kind: SourceKind::Api,
    })
}

async fn check_detected(
    input: &str,
    allow_private_ip: bool,
    outbound: &Outbound,
    env: &dyn Env,
) -> Result<Change, ChangeError> {
    if !looks_like_url(input) {
        return check_file(input).await;
    }
    let remote = remote(WHAT_URL, input, allow_private_ip, env)?;
    let kind = probe::detect(outbound, &remote)
        .await
        .map_err(|refusal| refused(WHAT_API, SourceKind::Api, &remote.configured, refusal))?;
    match kind {
        SourceKind::Api => Ok(Change {
            source: RegistrySource::Api(remote.configured.clone()),
            allow_private_ip: Some(remote.allow_private_ip),
            kind,
        }),
        _ => check_url(&remote, outbound).await,
    }
}

fn looks_like_url(input: &str) -> bool {
    let scheme = |prefix: &str| {
        input
            .get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    scheme("http://") || scheme("https://")
}

/// The registry at `url`, where its form and its scheme are allowed.
fn remote(
    what: &'static str,
    url: &str,
    allow_private_ip: bool,
    env: &dyn Env,
) -> Result<Remote, ChangeError> {
    let url = url.trim();
    let invalid = |cause: String| ChangeError::Invalid { what, cause };
    let insecure = env
        .var("INSECURE_DISABLE_URL_VALIDATION")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let http_allowed = allow_private_ip || insecure;
    let scheme_error = || match (what, http_allowed) {
        (WHAT_API, false) => {
            "registry API URL must start with https:// when not allowing private IPs".to_owned()
        }
        (_, false) => "invalid registry URL: URL must start with https://".to_owned(),
        (_, true) => {
            "invalid registry URL: URL must start with http:// or https:// when private IPs allowed"
                .to_owned()
        }
    };
    let parsed = Url::parse(url).map_err(|error| {
        if looks_like_url(url) {
            invalid(format!("invalid registry URL: {error}"))
        } else {
            invalid(scheme_error())
        }
    })?;
    let scheme_allowed = parsed.scheme() == "https" || (parsed.scheme() == "http" && http_allowed);
    if !scheme_allowed {
        return Err(invalid(scheme_error()));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(invalid(
            "the URL holds a user name or password; registries are logged in to with `thv registry login`"
                .to_owned(),
        ));
    }
    Remote::new(url, allow_private_ip).map_err(invalid)
}

fn refused(
    what: &'static str,
    kind: SourceKind,
    source_name: &str,
    refusal: Refusal,
) -> ChangeError {
    let source_name = source_name.to_owned();
    match refusal {
        Refusal::Unreachable { cause, timed_out } => ChangeError::Unreachable {
            what,
            kind,
            source_name,
            cause,
            timed_out,
        },
        Refusal::NotRegistry { cause } => ChangeError::NotRegistry {
            what,
            kind,
            source_name,
            cause,
        },
        Refusal::NotAllowed { cause } => ChangeError::Invalid { what, cause },
        Refusal::Configuration { cause } => ChangeError::Setup { what, cause },
    }
}

#[cfg(test)]
mod tests {
    use thv_config::world::{MapEnv, World};

    use super::*;

    async fn outcome(request: SourceRequest) -> Result<Change, String> {
        let outbound = Outbound::new(World::system(), "test".to_owned(), None);
        check(&request, &outbound, &MapEnv::new())
            .await
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn w30_each_key_is_taken_at_its_word_without_asking_the_network() {
        let path_for_url = SourceRequest::Url {
            url: "/etc/registry.json".to_owned(),
            allow_private_ip: false,
        };
        let url_for_path = SourceRequest::File {
            path: "https://registry.invalid/list.json".to_owned(),
        };
        let plain_api = SourceRequest::Api {
            url: "http://registry.invalid".to_owned(),
            allow_private_ip: false,
        };
        let secret_url = SourceRequest::Api {
            url: "https://me:pw@registry.invalid".to_owned(),
            allow_private_ip: false,
        };
        let table = [
            (path_for_url, "must start with https://"),
            (url_for_path, "this is a URL, not a path"),
            (
                plain_api,
                "must start with https:// when not allowing private IPs",
            ),
            (secret_url, "user name or password"),
        ];
        for (request, expected) in table {
            let error = outcome(request.clone()).await.unwrap_err();
            assert!(error.contains(expected), "{request:?}: {error}");
            assert!(!error.contains("pw@"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_file_must_be_there_and_be_a_registry() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = directory.path().join(name);
            thv_config::disk::write_atomic(&path, content.as_bytes()).unwrap();
            SourceRequest::File {
                path: path.display().to_string(),
            }
        };
        let good = r#"{"version":"1.0.0","meta":{"last_updated":"2026-01-01T00:00:00Z"},"data":{"servers":[{"name":"a/b","description":"d","version":"1"}]}}"#;
        assert_eq!(
            outcome(write("good.json", good)).await.unwrap().kind,
            SourceKind::File
        );
        let empty = write(
            "empty.json",
            r#"{"version":"1.0.0","meta":{},"data":{"servers":[]}}"#,
        );
        assert!(
            outcome(empty)
                .await
                .unwrap_err()
                .contains("validation failed")
        );
        let legacy = write(
            "legacy.json",
            r#"{"version":"1.0.0","servers":{"a":{"image":"x"}}}"#,
        );
        assert!(
            outcome(legacy)
                .await
                .unwrap_err()
                .contains("thv registry convert")
        );
        assert!(
            outcome(write("good.txt", good))
                .await
                .unwrap_err()
                .contains("*.json")
        );
        let missing = SourceRequest::File {
            path: directory.path().join("missing.json").display().to_string(),
        };
        assert!(
            outcome(missing)
                .await
                .unwrap_err()
                .contains("not found or not accessible")
        );
    }
}
