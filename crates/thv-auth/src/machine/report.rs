//! What the report on a registry's credential says of one that needs no person.
//!
//! As the report on a login, it is put together from what is known: nobody is asked, nothing is fetched.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::client::ClientFacts;
use super::file::FileSight;
use super::mend::mend;
use super::program::may_run;
use super::registry::{Chosen, Credential, RegistryCredentials};
use super::settings::CredentialSettings;
use super::way::Way;
use crate::credentials::{AuthError, LoginReason};
use crate::refresh::{RefreshEngine, blocking};
use crate::status::{
    AuthReport, AuthState, ReportedAccount, ReportedRefresh, relaxations_of, store_report,
};

/// The report on the credential of a registry, as it was `chosen`: neither a login nor none.
pub(crate) async fn report(
    engine: &RefreshEngine,
    credentials: &RegistryCredentials,
    chosen: &Chosen,
) -> AuthReport {
    let at = credentials.registry();
    let facts = chosen
        .settings()
        .map(|settings| ClientFacts::of(settings, &at.configured_url))
        .unwrap_or_default();
    let mut report = AuthReport {
        store: store_report(engine).await,
        relaxations: relaxations_of(&at.url, facts.issuer.as_deref(), at.allow_private_ip),
        issuer: facts.issuer,
        client_id: facts.client_id,
        resource: facts.resource,
        audience: facts.audience,
        ..AuthReport::anonymous()
    };
    report.scopes.requested = facts.scopes;
    let mut code = None;
    let trouble = match &chosen.credential {
        Credential::Given(given) => {
            report.state = AuthState::Authenticated;
            given.trouble()
        }
        Credential::Fetched(fetched) => {
            let standing = fetched.standing();
            report.state = if standing.has_token {
                AuthState::Authenticated
            } else {
                AuthState::Ready
            };
            report.scopes.granted = standing.scopes;
            report.account = standing.account.map(|account| ReportedAccount {
                sub: account,
                name: None,
                email: None,
            });
            report.token_type = standing.has_token.then(|| "Bearer".to_owned());
            report.expires_at = standing.expires_at;
            report.refreshable = true;
            report.refreshing = standing.fetching;
            report.last_refresh = standing
                .last
                .map(|(at, result)| ReportedRefresh { at, result });
            report.retry_after_s = standing.retry_after.map(|left| left.as_secs().max(1));
            report.detail = standing.detail;
            code = standing.code;
            standing.trouble
        }
        Credential::Broken(broken) => Some(broken.error()),
        Credential::Login(_) | Credential::None(_) => None,
    };
    let way = chosen.choice.way;
    let settings = chosen.settings().cloned();
    let is_ready = report.state == AuthState::Ready;
    let (trouble, warnings, next_step, if_refused) = blocking(move || {
        let sights = sights(settings.as_ref());
        // What a fetch has not met yet, it will.
        let absent = || sights.iter().find_map(|(path, sight)| missing(path, sight));
        let trouble = trouble.or_else(|| absent().filter(|_| is_ready));
        let step = |error: &AuthError| mend(way, settings.as_ref(), error, code.as_deref());
        let next_step = trouble.as_ref().map(step);
        let reason = if way == Way::Environment {
            LoginReason::InjectedRejected
        } else {
            LoginReason::CredentialRejected
        };
        let if_refused = (reason, step(&AuthError::LoginRequired { reason }));
        let warnings = sights.iter().filter_map(warning).collect();
        (trouble, warnings, next_step, if_refused)
    })
    .await;
    report.warnings = warnings;
    report.next_step = next_step.map(Cow::from);
    report.if_refused = Some(if_refused);
    match trouble {
        None => report.detail = None,
        Some(error) => {
            report.state = state(&error);
            report.reason = Some(error.reason());
            let said = match &error {
                // No login is what is needed.
                AuthError::LoginRequired { reason } => reason.to_string(),
                other => other.to_string(),
            };
            report.detail = Some(match report.detail.take() {
                Some(detail) if !said.contains(&detail) => format!("{said}: {detail}"),
                _ => said,
            });
        }
    }
    report
}

/// What is to be said of the files of settings that have just been written, as sentences. Blocks.
pub(crate) fn remarks(settings: &CredentialSettings) -> Vec<String> {
    let say = |(path, sight): (PathBuf, FileSight)| {
        let path = path.display();
        match sight {
            FileSight::Private => None,
            FileSight::Exposed(remark) => Some(format!("The file {path} is used, and {remark}")),
            FileSight::Absent => Some(format!(
                "The file {path} is not there yet; the registry cannot be read before it is."
            )),
            FileSight::Refused(remark) => Some(format!("The file {path} is not used: {remark}")),
        }
    };
    let mut remarks: Vec<String> = sights(Some(settings)).into_iter().filter_map(say).collect();
    if let CredentialSettings::Command(command) = settings
        && let Err(cause) = may_run(&command.path)
    {
        let path = command.path.display();
        remarks.push(format!("The program {path} cannot be run yet: {cause}"));
    }
    remarks
}

/// The files of a credential, looked at. Blocks.
fn sights(settings: Option<&CredentialSettings>) -> Vec<(PathBuf, FileSight)> {
    let files = settings.map(CredentialSettings::files).unwrap_or_default();
    files
        .into_iter()
        .map(|path| (path.to_owned(), FileSight::of(path)))
        .collect()
}

fn warning((path, sight): &(PathBuf, FileSight)) -> Option<String> {
    match sight {
        FileSight::Exposed(remark) => Some(format!("{}: {remark}", path.display())),
        FileSight::Private | FileSight::Absent | FileSight::Refused(_) => None,
    }
}

/// Why a credential with this file cannot be used.
fn missing(path: &Path, sight: &FileSight) -> Option<AuthError> {
    let cause = match sight {
        FileSight::Private | FileSight::Exposed(_) => return None,
        FileSight::Absent => "there is no such file".to_owned(),
        FileSight::Refused(remark) => remark.to_string(),
    };
    Some(AuthError::Unusable {
        cause: format!("the file {} cannot be used: {cause}", path.display()),
    })
}

fn state(error: &AuthError) -> AuthState {
    match error {
        AuthError::LoginRequired { .. } => AuthState::LoginRequired,
        AuthError::Unreachable { .. } => AuthState::ProviderUnavailable,
        AuthError::Store { .. } => AuthState::StoreUnavailable,
        AuthError::Unusable { .. } => AuthState::CredentialUnusable,
    }
}
