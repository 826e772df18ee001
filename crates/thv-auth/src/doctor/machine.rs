//! Judgements about this machine: the configuration, the secret store, the port of logins and the locks. Functions from what
//! was seen to checks; who looks is in the parent.

use std::path::Path;

use thv_config::holder::Hold;
use thv_config::{Config, ConfigError, RegistrySource};
use thv_http::Trust;
use thv_secrets::{Examination, RoundTrip, SecretsError, StoreKind};
use url::Url;

use super::check::Check;
use crate::binding::{Binding, NoBinding};
use crate::login::{Holder, PortSight};

/// The kinds of login that `registry_auth.type` can name.
const KINDS: [&str; 2] = ["oauth", "bearer"];

/// Whether the configuration file can be read.
pub(super) fn config_file(path: &Path, exists: bool, read: &Result<Config, ConfigError>) -> Check {
    const ID: &str = "config.file";
    let path = path.display();
    match read {
        Ok(_) if exists => Check::ok(ID, path.to_string()),
        Ok(_) => Check::ok(ID, format!("{path} does not exist: the defaults hold")),
        Err(error) => Check::failed(
            ID,
            error.to_string(),
            format!("repair {path}, or move it away and run `thv config set-registry URL`"),
        ),
    }
}

/// Whether what the configuration says makes sense.
pub(super) fn config_values(config: &Config) -> Check {
    const ID: &str = "config.values";
    let registry = match &config.source {
        RegistrySource::BuiltIn => "the built-in registry".to_owned(),
        RegistrySource::File(path) => format!("the file {}", path.display()),
        RegistrySource::Url(url) | RegistrySource::Api(url) => shown_url(url),
    };
    let provider = &config.secrets.provider_type;
    if !provider.is_empty() && StoreKind::parse(provider).is_err() {
        return Check::failed(
            ID,
            format!("secrets.provider_type is `{provider}`, which is none"),
            "thv secret setup",
        );
    }
    if let Some(auth) = &config.auth
        && !KINDS.contains(&auth.kind.as_str())
    {
        return Check::warning(
            ID,
            format!("registry_auth.type is `{}`, which is unknown", auth.kind),
            "thv registry login --issuer URL --client-id ID",
        );
    }
    let bound = Binding::of(config);
    let oauth = config.auth.as_ref().and_then(|auth| auth.oauth.as_ref());
    match (bound, oauth) {
        (Err(NoBinding::BadUrl { cause }), _) => Check::failed(
            ID,
            format!("the registry's URL cannot be used: {cause}"),
            "thv config set-registry URL",
        ),
        (Err(NoBinding::LocalSource), _) => Check::warning(
            ID,
            format!("a login is configured, and {registry} takes none"),
            "thv config unset-registry-auth",
        ),
        (_, Some(oauth)) if oauth.issuer.is_empty() || oauth.client_id.is_empty() => Check::failed(
            ID,
            "registry_auth.oauth names no issuer, or no client_id",
            "thv registry login --issuer URL --client-id ID",
        ),
        (_, Some(oauth)) if !oauth.audience.as_deref().is_none_or(is_resource) => Check::warning(
            ID,
            format!(
                "the resource `{}` is no absolute URI without a fragment (RFC 8707 section 2)",
                oauth.audience.as_deref().unwrap_or_default()
            ),
            "thv registry login --audience URI",
        ),
        (Ok(binding), _) => Check::ok(
            ID,
            format!(
                "{registry}, with logins at {} as client {}",
                binding.issuer, binding.client_id
            ),
        ),
        (Err(_), _) => Check::ok(ID, format!("{registry}, without a login")),
    }
}

fn is_resource(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| url.fragment().is_none())
}

fn shown_url(url: &str) -> String {
    Url::parse(url).map_or_else(
        |_| "an address that is no URL".to_owned(),
        |url| thv_http::display_url(&url),
    )
}

/// Which secret store is meant, and whether it works.
pub(super) fn store(examined: &Result<Examination, SecretsError>) -> Vec<Check> {
    const CHOICE: &str = "store.choice";
    const ROUND_TRIP: &str = "store.round_trip";
    let examined = match examined {
        Ok(examined) => examined,
        Err(SecretsError::NotSetUp { .. }) => {
            let why = "no store is set up; the first login sets one up";
            return vec![Check::skipped(CHOICE, why), Check::skipped(ROUND_TRIP, why)];
        }
        Err(error) => {
            return vec![
                Check::failed(CHOICE, error.to_string(), "thv secret setup"),
                Check::skipped(ROUND_TRIP, "no store is chosen"),
            ];
        }
    };
    let report = &examined.report;
    let mut parts = vec![report.kind.to_string()];
    parts.extend(report.why.map(|why| why.describe().to_owned()));
    parts.extend(report.file.as_ref().map(|file| file.display().to_string()));
    parts.extend(
        report
            .content
            .map(|(size, form)| format!("{size} bytes, {form}")),
    );
    parts.extend(examined.key.as_ref().map(|key| format!("key: {key}")));
    let round_trip = match &examined.round_trip {
        RoundTrip::Done => Check::ok(ROUND_TRIP, "a value was written, read back and deleted"),
        RoundTrip::NothingYet => Check::skipped(
            ROUND_TRIP,
            "nothing is kept yet; the first login sets the store up",
        ),
        RoundTrip::ReadOnly => Check::warning(
            ROUND_TRIP,
            "the store takes no writes: logins cannot be kept in it",
            "thv secret provider encrypted",
        ),
        RoundTrip::Failed(error) => {
            Check::failed(ROUND_TRIP, error.to_string(), "thv secret status")
        }
    };
    vec![Check::ok(CHOICE, parts.join(", ")), round_trip]
}

/// Whether others may read the secrets file; its mode is `None` where there is none, or no modes.
pub(super) fn store_mode(file: &Path, mode: Option<u32>) -> Option<Check> {
    const ID: &str = "store.file_mode";
    let mode = mode?;
    let (file, shown) = (file.display(), mode & 0o777);
    let of_others = mode & 0o077;
    Some(if of_others == 0 {
        Check::ok(ID, format!("{file} has mode {shown:03o}"))
    } else {
        Check::warning(
            ID,
            format!("{file} has mode {shown:03o}: others can touch it"),
            format!("chmod 600 {file}"),
        )
    })
}

/// What is trusted beside the system's authorities.
pub(super) fn trust(trust: &Trust) -> Check {
    const ID: &str = "network.trust";
    let files: Vec<String> = trust
        .files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    match &trust.usable {
        Ok(()) if files.is_empty() => Check::ok(ID, "the system's certificate authorities"),
        Ok(()) => Check::ok(
            ID,
            format!("the system's certificate authorities, {}", files.join(", ")),
        ),
        Err(error) => Check::failed(
            ID,
            error.to_string(),
            "correct `ca_certificate_path` in config.yaml, SSL_CERT_FILE, or THV_CLIENT_CERTIFICATE and THV_CLIENT_KEY",
        ),
    }
}

/// Whether a login could listen for its answer.
pub(super) fn callback_port(port: u16, sight: &PortSight, ours: bool) -> Check {
    const ID: &str = "login.callback_port";
    match sight {
        PortSight::Free => Check::ok(ID, format!("port {port} of this machine is free")),
        PortSight::Busy(_) if ours => Check::ok(
            ID,
            format!("port {port} is held by a login that is running in this process"),
        ),
        PortSight::Busy(Holder {
            is_login: true,
            process,
        }) => Check::warning(
            ID,
            match process {
                Some(holder) => format!("port {port} is held by a login that waits in {holder}"),
                None => format!("port {port} is held by another thv that is waiting for a login"),
            },
            "finish or cancel that login, or log in with `thv registry login --device`".to_owned(),
        ),
        PortSight::Busy(Holder {
            is_login: false,
            process,
        }) => {
            let holder = process.as_ref();
            let who = holder.map_or_else(|| "another program".to_owned(), ToString::to_string);
            let stop = holder.map_or_else(
                || "end it".to_owned(),
                |holder| format!("end it with `kill {}`", holder.pid),
            );
            Check::warning(
                ID,
                format!("port {port} is held by {who}"),
                format!("{stop}, or log in with `thv registry login --device`"),
            )
        }
        PortSight::Refused { cause } => Check::failed(
            ID,
            format!("port {port} cannot be listened on: {cause}"),
            "thv registry login --device",
        ),
    }
}

/// Whether somebody sits on a lock. It was looked at twice, some time apart.
pub(super) fn lock(
    id: &'static str,
    path: &Path,
    first: &std::io::Result<Hold>,
    second: &std::io::Result<Hold>,
) -> Check {
    let path = path.display();
    match (first, second) {
        (Ok(Hold::Held(one)), Ok(Hold::Held(other))) if one == other => {
            let who = one
                .as_ref()
                .map_or_else(|| "a process".to_owned(), ToString::to_string);
            let fix = one.as_ref().map_or_else(
                || "find out who uses the file, and end it".to_owned(),
                |process| format!("if it hangs: `kill {}`", process.pid),
            );
            Check::warning(id, format!("{who} holds {path}"), fix)
        }
        (Err(error), _) | (_, Err(error)) => Check::failed(
            id,
            format!("{path} cannot be opened: {error}"),
            format!("chmod u+rw {path}"),
        ),
        _ => Check::ok(id, format!("nobody holds {path}")),
    }
}

#[cfg(test)]
mod tests;
