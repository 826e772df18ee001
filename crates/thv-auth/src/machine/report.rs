//! What the report on a registry's credential says of one that needs no person.
//!
//! As the report on a login, it is put together from what is known: nobody is asked, nothing is fetched.

use super::client::ClientFacts;
use super::registry::{Chosen, Credential, RegistryCredentials};
use crate::credentials::AuthError;
use crate::refresh::RefreshEngine;
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
    let facts = chosen.settings().map(ClientFacts::of).unwrap_or_default();
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
            standing.trouble
        }
        Credential::Broken(broken) => Some(broken.error()),
        Credential::Login(_) | Credential::None(_) => None,
    };
    match trouble {
        None => report.detail = None,
        Some(error) => {
            report.state = state(&error);
            report.reason = Some(error.reason());
            let said = error.to_string();
            report.detail = Some(match report.detail.take() {
                Some(detail) if !said.contains(&detail) => format!("{said}: {detail}"),
                _ => said,
            });
        }
    }
    report
}

fn state(error: &AuthError) -> AuthState {
    match error {
        AuthError::LoginRequired { .. } => AuthState::LoginRequired,
        AuthError::Unreachable { .. } => AuthState::ProviderUnavailable,
        AuthError::Store { .. } => AuthState::StoreUnavailable,
        AuthError::Unusable { .. } => AuthState::CredentialUnusable,
    }
}
