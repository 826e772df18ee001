//! Whether configured settings are whole and possible, each member by the rule of who defined it.
//!
//! Nothing is looked for on this machine or elsewhere: a file that is not there yet may come.

use std::path::Path;

use http::HeaderName;
use url::Url;

use super::{
    ClientAuthentication, CommandSettings, CredentialSettings, ServerSettings, SettingsFault,
    SubjectSource, TargetSettings, WorkloadSettings,
};
use crate::oauth::issuer::parse_endpoint;
use crate::oauth::parse_issuer;

/// Headers that say something else than who we are, or that HTTP itself needs: an API key in one of them would change the request.
const FORBIDDEN_HEADERS: [&str; 22] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "if-modified-since",
    "if-none-match",
    "keep-alive",
    "origin",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

impl CredentialSettings {
    pub(super) fn check(&self) -> Result<(), SettingsFault> {
        match self {
            Self::Bearer(bearer) => bearer.token.check("token"),
            Self::ApiKey(key) => {
                header_name(&key.header)?;
                key.key.check("key")
            }
            Self::ClientCredentials(client) => {
                present("client_id", &client.client_id)?;
                client.server.check()?;
                client.authentication.check(&client.server)?;
                client.target.check()
            }
            Self::TokenExchange(workload) | Self::JwtBearer(workload) => workload.check(),
            Self::Command(command) => command.check(),
        }
    }
}

/// The header that an API key travels in.
pub(crate) fn header_name(text: &str) -> Result<HeaderName, SettingsFault> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| SettingsFault::new(format!("`{text}` is no name of a header")))?;
    if FORBIDDEN_HEADERS.contains(&name.as_str()) {
        return Err(SettingsFault::new(format!(
            "the header `{name}` cannot carry a key: HTTP itself uses it"
        )));
    }
    Ok(name)
}

fn present(member: &str, text: &str) -> Result<(), SettingsFault> {
    if text.trim().is_empty() {
        return Err(SettingsFault::new(format!("`{member}` is empty")));
    }
    Ok(())
}

/// A relative path would mean another file for each process.
pub(crate) fn absolute(member: &str, path: &Path) -> Result<(), SettingsFault> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(SettingsFault::new(format!(
        "`{member}` is `{}`, which is no absolute path",
        path.display()
    )))
}

impl ServerSettings {
    fn check(&self) -> Result<(), SettingsFault> {
        if self.issuer.is_none() && self.token_endpoint.is_none() {
            return Err(SettingsFault::new(
                "neither `issuer` nor `token_endpoint` is given",
            ));
        }
        if let Some(issuer) = &self.issuer {
            parse_issuer(issuer)
                .map_err(|cause| SettingsFault::new(format!("`issuer` is not usable: {cause}")))?;
        }
        self.endpoint().map(drop)
    }

    /// The token endpoint, when it is named outright.
    pub(crate) fn endpoint(&self) -> Result<Option<Url>, SettingsFault> {
        let Some(text) = &self.token_endpoint else {
            return Ok(None);
        };
        let bad =
            |cause: &str| SettingsFault::new(format!("`token_endpoint` is not usable: {cause}"));
        // Whoever writes these settings may mean a server on this machine.
        let url = Url::parse(text).map_err(|_| bad("it is no URL"))?;
        parse_endpoint(text, &url).map_err(bad).map(Some)
    }

    /// The server's name for people and for what is bound to it.
    pub(crate) fn name(&self) -> &str {
        let named = self.issuer.as_ref().or(self.token_endpoint.as_ref());
        named.map_or("", String::as_str)
    }
}

impl ClientAuthentication {
    fn check(&self, server: &ServerSettings) -> Result<(), SettingsFault> {
        match self {
            Self::ClientSecret { secret }
            | Self::ClientSecretBasic { secret }
            | Self::ClientSecretPost { secret } => secret.check("secret"),
            Self::PrivateKeyJwt { key_file, .. } => {
                if server.issuer.is_none() {
                    return Err(SettingsFault::new(
                        "`private_key_jwt` needs the `issuer`, which is the audience of its assertions",
                    ));
                }
                absolute("key_file", key_file)
            }
        }
    }
}

impl TargetSettings {
    fn check(&self) -> Result<(), SettingsFault> {
        let fits = |scope: &String| {
            !scope.is_empty()
                && scope
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte))
        };
        if let Some(scope) = self.scopes.iter().find(|scope| !fits(scope)) {
            return Err(SettingsFault::new(format!("`{scope}` is no scope")));
        }
        if self.no_resource && self.resource.is_some() {
            return Err(SettingsFault::new(
                "`resource` is given, and `no_resource` says to send none",
            ));
        }
        if let Some(resource) = &self.resource {
            // RFC 8707 section 2.
            let is_fit = Url::parse(resource).is_ok_and(|url| url.fragment().is_none());
            if !is_fit {
                return Err(SettingsFault::new(
                    "`resource` is no absolute URI without a fragment",
                ));
            }
        }
        Ok(())
    }
}

impl WorkloadSettings {
    fn check(&self) -> Result<(), SettingsFault> {
        self.server.check()?;
        self.target.check()?;
        if let Some(authentication) = &self.authentication {
            if self.client_id.is_none() {
                return Err(SettingsFault::new(
                    "`authentication` is given and `client_id` is not",
                ));
            }
            authentication.check(&self.server)?;
        }
        if let Some(client_id) = &self.client_id {
            present("client_id", client_id)?;
        }
        match &self.subject {
            SubjectSource::File(path) => absolute("subject", path),
            SubjectSource::GithubActions { .. } => Ok(()),
        }
    }
}

impl CommandSettings {
    fn check(&self) -> Result<(), SettingsFault> {
        absolute("path", &self.path)
    }
}
