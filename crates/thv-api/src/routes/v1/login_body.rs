//! How a login reads on the wire.

use jiff::Timestamp;
use serde::Serialize;
use thv_auth::login::{LoginDone, LoginMethod, LoginState, LoginView, Requester, is_elsewhere};
use thv_auth::oauth::Account;
use url::Url;
use utoipa::ToSchema;

use crate::error::EndOfLogin;

/// A login to a registry.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RegistryLogin)]
pub(crate) struct LoginBody<'a> {
    /// Its id: whoever knows it can watch, answer and end the login.
    login_id: &'a str,
    /// Name of the registry.
    #[schema(example = "default")]
    registry: &'a str,
    /// URL of the registry. To be shown, with the issuer, beside whatever a person is to open or to type in.
    #[schema(example = "https://registry.corp.example")]
    registry_url: String,
    /// The identity provider.
    #[schema(example = "https://id.corp.example")]
    issuer: &'a str,
    /// Which program has asked for it, by its own word: its `X-Client-Type`, else its `User-Agent`, 100 characters at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "toolhive-studio")]
    requested_by: Option<&'a str>,
    /// `pending`, `completing`, `authenticated`, `denied`, `expired`, `cancelled` or `failed`. The last five are ends.
    #[schema(example = "pending")]
    state: &'static str,
    /// Whether the login was under way when it was asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    joined: bool,
    /// Whether it may be of another account than the login that is there: somebody who started or joined it said so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    switch_account: bool,
    /// Grows with every change.
    revision: u64,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When it ends by itself.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// The ways to finish it, all at the same time; none when it waits no more.
    methods: Vec<MethodBody>,
    /// What came of it, when it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    outcome: Option<OutcomeBody>,
    /// Where it is.
    url: String,
    /// Where its next state is, when there is one.
    poll_url: String,
    /// Where its states come as events.
    events_url: String,
    /// Where an answer that arrived elsewhere is handed over.
    callback_url: String,
}

/// A way to finish a login.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schema(as = RegistryLoginMethod)]
enum MethodBody {
    /// Open the address in a browser, on this machine if the answer is to arrive by itself.
    Browser {
        /// Where to log in.
        authorization_url: String,
    },
    /// Type the code in, on any device. Show it even where the address has it, so that a person can compare.
    Device {
        /// Where.
        verification_uri: String,
        /// The host of that page, to be shown plainly.
        #[schema(example = "id.corp.example")]
        verification_host: String,
        /// Whether that is neither the issuer's host nor one above or below it: then whoever is to open it is warned.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        verification_host_differs: bool,
        /// The same with the code in it.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        verification_uri_complete: Option<String>,
        /// The code.
        #[schema(example = "WDJB-MJHT")]
        user_code: String,
        /// Seconds between two questions of this server whether somebody did.
        interval: u64,
    },
    /// Hand over the address that the browser was sent back to, with `callback_url`.
    Paste {},
}

/// What came of a login.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = RegistryLoginOutcome)]
struct OutcomeBody {
    /// Who has logged in, if the identity provider says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    account: Option<AccountBody>,
    /// Whose login it took the place of, where that was another account.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    replaced_account: Option<AccountBody>,
    /// When the access token expires, if the identity provider says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, nullable = false)]
    expires_at: Option<Timestamp>,
    /// The scopes that the identity provider has granted beyond those that were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    unrequested_scopes: Vec<String>,
    /// Why nothing came of it, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "login_denied")]
    code: Option<&'static str>,
    /// Why nothing came of it, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    message: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    hint: Option<&'static str>,
}

/// Who has logged in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RegistryLoginAccount)]
struct AccountBody {
    /// The identity provider's identifier for the account.
    sub: String,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    name: Option<String>,
    /// Its e-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    email: Option<String>,
}

// === impl LoginBody ===

impl<'a> LoginBody<'a> {
    pub(crate) fn new(registry: &'a str, view: &'a LoginView) -> Self {
        let (state, outcome) = match &view.state {
            LoginState::Pending => ("pending", None),
            LoginState::Completing => ("completing", None),
            LoginState::Succeeded(done) => ("authenticated", Some(OutcomeBody::of(done))),
            LoginState::Failed(error) => {
                let end = EndOfLogin::of(error);
                (end.state, Some(end.into()))
            }
        };
        let login_id = view.id.as_str();
        let name = url::form_urlencoded::byte_serialize(registry.as_bytes());
        let name: String = name.collect();
        let url = format!("/api/v1/registries/{name}/auth/logins/{login_id}");
        Self {
            login_id,
            registry,
            registry_url: view.registry_url(),
            issuer: &view.binding.issuer,
            requested_by: view.requester.as_ref().map(Requester::as_str),
            state,
            joined: false,
            switch_account: view.switch_account,
            revision: view.revision,
            started_at: view.started_at,
            expires_at: view.expires_at,
            methods: view
                .methods
                .iter()
                .map(|method| MethodBody::of(method, &view.binding.issuer))
                .collect(),
            outcome,
            poll_url: format!("{url}?wait=30"),
            events_url: format!("{url}/events"),
            callback_url: format!("{url}/callback"),
            url,
        }
    }

    pub(crate) fn joined(self, joined: bool) -> Self {
        Self { joined, ..self }
    }

    /// Path of the login on this server.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

// === impl MethodBody ===

impl MethodBody {
    fn of(method: &LoginMethod, issuer: &str) -> Self {
        match method {
            LoginMethod::Browser { authorization_url } => Self::Browser {
                authorization_url: authorization_url.to_string(),
            },
            LoginMethod::Device {
                verification_uri,
                verification_uri_complete,
                user_code,
                interval,
            } => Self::Device {
                verification_uri: verification_uri.to_string(),
                verification_host: verification_uri.host_str().unwrap_or_default().to_owned(),
                verification_host_differs: is_elsewhere(verification_uri, issuer),
                verification_uri_complete: verification_uri_complete.as_ref().map(Url::to_string),
                user_code: user_code.clone(),
                interval: interval.as_secs(),
            },
            LoginMethod::Paste => Self::Paste {},
        }
    }
}

// === impl AccountBody ===

impl AccountBody {
    fn of(account: &Account) -> Self {
        Self {
            sub: account.sub.clone(),
            name: account.name.clone(),
            email: account.email.clone(),
        }
    }
}

// === impl OutcomeBody ===

impl OutcomeBody {
    fn of(done: &LoginDone) -> Self {
        Self {
            account: done.account.as_ref().map(AccountBody::of),
            replaced_account: done.replaced_account.as_ref().map(AccountBody::of),
            expires_at: done.expires_at,
            unrequested_scopes: done.unrequested_scopes.clone(),
            ..Self::default()
        }
    }
}

impl From<EndOfLogin> for OutcomeBody {
    fn from(end: EndOfLogin) -> Self {
        Self {
            code: Some(end.code),
            message: Some(end.message),
            hint: end.hint,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_a_code_is_told_by_its_host_and_whether_that_is_the_issuers() {
        let device = |page: &str| {
            let method = LoginMethod::Device {
                verification_uri: Url::parse(page).expect("a URL"),
                verification_uri_complete: None,
                user_code: "AB-CD".to_owned(),
                interval: std::time::Duration::from_secs(5),
            };
            let body = MethodBody::of(&method, "https://id.example");
            serde_json::to_value(body).expect("JSON")
        };
        let honest = device("https://id.example/device");
        assert_eq!(honest["verification_host"], "id.example");
        assert_eq!(honest.get("verification_host_differs"), None);
        let elsewhere = device("https://evil.example/device");
        assert_eq!(elsewhere["verification_host"], "evil.example");
        assert_eq!(elsewhere["verification_host_differs"], true);
    }
}
