//! What a person does about a credential that does not work: one function from what is wrong to what to type.
//!
//! The credential may be the environment's, which no command changes; a file's, which somebody else writes; or the settings' own.

use std::path::Path;

use super::file::FileSight;
use super::secret::SecretSource;
use super::settings::{ClientSettings, CredentialKind, CredentialSettings, WorkloadSettings};
use super::way::Way;
use crate::credentials::{AuthError, LoginReason};

/// What takes a configured credential away.
pub(crate) const GO_WITHOUT: &str = "thv config unset-registry-credential";

/// What to do about `error` of a credential that came this `way` and is described by `settings`, where those are whole. Commands are
/// between backticks where there are words beside them. `code` is the one by which tokens were refused, if they were. Looks at the files of the credential, and blocks for as long as `stat` does.
pub(crate) fn mend(
    way: Way,
    settings: Option<&CredentialSettings>,
    error: &AuthError,
    code: Option<&str>,
) -> String {
    match error {
        AuthError::Store { .. } => return "thv secret status".to_owned(),
        AuthError::Unreachable { .. } => return "thv doctor".to_owned(),
        AuthError::LoginRequired { .. } | AuthError::Unusable { .. } => {}
    }
    if way == Way::Environment {
        return mend_environment(error);
    }
    let Some(settings) = settings else {
        return format!(
            "describe it anew with `thv config set-registry-credential`, or go without it: `{GO_WITHOUT}`"
        );
    };
    if let Some(step) = settings.files().into_iter().find_map(mend_file) {
        return step;
    }
    match settings {
        CredentialSettings::Bearer(bearer) => mend_given(&bearer.token, None),
        CredentialSettings::ApiKey(key) => mend_given(&key.key, Some(&key.header)),
        CredentialSettings::Command(command) => format!(
            "run {} yourself and see why it gives no token that the registry takes; what it has to print: `{}`",
            command.path.display(),
            described(CredentialKind::Command)
        ),
        CredentialSettings::ClientCredentials(ClientSettings { target, .. })
        | CredentialSettings::TokenExchange(WorkloadSettings { target, .. })
        | CredentialSettings::JwtBearer(WorkloadSettings { target, .. }) => {
            let refuses_resource =
                !target.no_resource && matches!(code, Some("invalid_target" | "invalid_request"));
            mend_fetched(settings.kind(), error, refuses_resource)
        }
    }
}

/// The command that describes a credential of this kind, with all that belongs to it.
pub(crate) fn described(kind: CredentialKind) -> String {
    let verb = kind.as_str().replace('_', "-");
    format!("thv config set-registry-credential {verb} --help")
}

fn mend_environment(error: &AuthError) -> String {
    match error {
        AuthError::Unusable { .. } => "correct or unset THV_REGISTRY_TOKEN, THV_REGISTRY_TOKEN_URL and THV_REGISTRY_TOKEN_HEADER where this program is started".to_owned(),
        _ => "set THV_REGISTRY_TOKEN to a token that the registry takes, or unset it, where this program is started; then start it again".to_owned(),
    }
}

/// What to do about a file that stands in the way.
pub(crate) fn mend_file(path: &Path) -> Option<String> {
    match FileSight::of(path) {
        FileSight::Private | FileSight::Exposed(_) => None,
        FileSight::Absent => Some(format!(
            "put it where it is looked for, {}, or name another place with `thv config set-registry-credential`",
            path.display()
        )),
        FileSight::Refused(remark) => Some(remark.fix),
    }
}

fn mend_given(source: &SecretSource, header: Option<&str>) -> String {
    let without = format!("or go without it: `{GO_WITHOUT}`");
    let what = if header.is_some() { "a key" } else { "a token" };
    match source {
        SecretSource::Store => {
            let header = header.map_or_else(String::new, |name| format!(" --header {name}"));
            format!(
                "pipe {what} that the registry takes into `thv registry login --with-token{header}`, {without}"
            )
        }
        SecretSource::File(path) => format!(
            "put {what} that the registry takes into {}, {without}",
            path.display()
        ),
        SecretSource::Secret(name) => {
            format!("pipe {what} that the registry takes into `thv secret set {name}`, {without}")
        }
        SecretSource::Environment(name) => format!(
            "set {name} to {what} that the registry takes where this program is started, and start it again, {without}"
        ),
    }
}

/// What to do about a client's secret that is not where it is said to be.
pub(crate) fn mend_client_secret(source: &SecretSource, kind: CredentialKind) -> String {
    match source {
        SecretSource::Store => format!(
            "describe it again and give its secret on standard input (`--secret-stdin`): `{}`",
            described(kind)
        ),
        SecretSource::File(path) => mend_file(path)
            .unwrap_or_else(|| format!("put the client's secret into {}", path.display())),
        SecretSource::Secret(name) => {
            format!("pipe the client's secret into `thv secret set {name}`")
        }
        SecretSource::Environment(name) => {
            format!("set {name} to the client's secret where this program is started")
        }
    }
}

/// `refuses_resource`: whether the answer may be about the `resource` that was sent.
fn mend_fetched(kind: CredentialKind, error: &AuthError, refuses_resource: bool) -> String {
    let describe = described(kind);
    match error {
        AuthError::LoginRequired {
            reason: LoginReason::CredentialRejected,
        } => format!(
            "compare issuer, resource and scopes with the registry's operator, then describe it anew: `{describe}`"
        ),
        AuthError::LoginRequired {
            reason: LoginReason::CredentialOfAnother,
        } => {
            "if this workload is meant to be somebody else now, start the program again".to_owned()
        }
        AuthError::LoginRequired {
            reason: LoginReason::CredentialMoved,
        } => format!(
            "ask the issuer's operator whether tokens come from that host now; {}",
            confirm_host(&describe)
        ),
        AuthError::LoginRequired {
            reason: LoginReason::CredentialRefused,
        } if refuses_resource => format!(
            "if the identity provider refuses `resource`, describe the credential again with `--no-resource`, or with the one that it knows (`--resource URI`): `{describe}`"
        ),
        AuthError::LoginRequired { .. } => format!(
            "have the operator of the identity provider look at this client, or describe another: `{describe}`"
        ),
        _ => "thv doctor".to_owned(),
    }
}

/// How a person confirms that tokens come from another host; `describe` is the command for this kind of credential.
pub(crate) fn confirm_host(describe: &str) -> String {
    format!(
        "describing the credential again confirms it: `{describe}`; where registries.json cannot be written, start the program again instead"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;

    fn settings(value: Value) -> CredentialSettings {
        let object: Map<String, Value> = serde_json::from_value(value).expect("an object");
        CredentialSettings::read(&object).expect("settings")
    }

    #[test]
    fn each_fault_has_something_to_do_that_reaches_it() {
        let rejected = AuthError::LoginRequired {
            reason: LoginReason::CredentialRejected,
        };
        let refused = AuthError::LoginRequired {
            reason: LoginReason::CredentialRefused,
        };
        let unusable = AuthError::Unusable {
            cause: String::new(),
        };
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        thv_config::disk::write_atomic(&path, b"s3cret").expect("a file");
        let file = path.display().to_string();
        let bearer = |token: Value| settings(json!({"type": "bearer", "token": token}));
        let client = settings(json!({"type": "client_credentials", "client_id": "ci",
            "server": {"issuer": "https://id.example"},
            "authentication": {"method": "client_secret", "secret": "store"}}));
        let absent = "/nonexistent/token";
        let environment = Way::Environment;
        for (way, settings, error, expected) in [
            (environment, None, &rejected, "set THV_REGISTRY_TOKEN to"),
            (environment, None, &unusable, "THV_REGISTRY_TOKEN_HEADER"),
            (
                Way::Configured,
                None,
                &unusable,
                "unset-registry-credential",
            ),
            (
                Way::Configured,
                Some(bearer(json!("store"))),
                &rejected,
                "`thv registry login --with-token`",
            ),
            (
                Way::Configured,
                Some(bearer(json!({"secret": "acme"}))),
                &rejected,
                "`thv secret set acme`",
            ),
            (
                Way::Configured,
                Some(bearer(json!({"environment": "ACME"}))),
                &rejected,
                "set ACME to",
            ),
            (
                Way::Configured,
                Some(bearer(json!({"file": file}))),
                &rejected,
                file.as_str(),
            ),
            (
                Way::Configured,
                Some(bearer(json!({"file": absent}))),
                &unusable,
                absent,
            ),
            (
                Way::Configured,
                Some(client.clone()),
                &rejected,
                "client-credentials --help",
            ),
            (
                Way::Configured,
                Some(client),
                &refused,
                "operator of the identity provider",
            ),
        ] {
            let told = mend(way, settings.as_ref(), error, None);
            assert!(told.contains(expected), "{told}");
        }
        let store = AuthError::Store {
            cause: String::new(),
            locked: true,
        };
        assert_eq!(
            mend(Way::Configured, None, &store, None),
            "thv secret status"
        );
    }
}
