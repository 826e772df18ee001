//! Making the credential of a registry: what settings and environment say becomes facts, the choice is made, and what it means is built.

use std::sync::Arc;

use thv_config::{ConfigError, RegistrySettings};
use url::Url;

use super::{Broken, Chosen, Credential, Parts, RegistryAt};
use crate::credentials::Anonymous;
use crate::machine::SecretSource;
use crate::machine::client::{ClientFetch, Grant, Memory};
use crate::machine::command::CommandFetch;
use crate::machine::environment::Injected;
use crate::machine::fetched::{Fetch, FetchedCredentials};
use crate::machine::given::{GivenCredentials, Place};
use crate::machine::program::Program;
use crate::machine::secret::Slot;
use crate::machine::settings::{CredentialKind, CredentialSettings, header_name};
use crate::machine::token_host::TokenHost;
use crate::machine::way::{ConfiguredFact, EnvironmentFact, Facts, Way, choose};
use crate::tokens::GrantCredentials;

/// What the settings of a registry say.
pub(super) enum Configured {
    Absent,
    ForAnother(String),
    Incomplete(String),
    Credential(Box<CredentialSettings>),
}

impl Configured {
    pub(super) fn of(read: Result<Option<RegistrySettings>, ConfigError>, at: &RegistryAt) -> Self {
        let settings = match read {
            Ok(Some(settings)) => settings,
            Ok(None) => return Self::Absent,
            // Perhaps there is a credential in it: going on without would make somebody else of us.
            Err(error) => return Self::Incomplete(error.to_string()),
        };
        let Some(credential) = settings.credential else {
            return Self::Absent;
        };
        if settings.url != at.configured_url {
            let shown = Url::parse(&settings.url).map(|url| thv_http::display_url(&url));
            return Self::ForAnother(
                shown.unwrap_or_else(|_| "something that is no URL".to_owned()),
            );
        }
        match CredentialSettings::read(&credential) {
            Ok(settings) => Self::Credential(Box::new(settings)),
            Err(fault) => Self::Incomplete(fault.cause),
        }
    }

    fn fact(&self) -> ConfiguredFact {
        match self {
            Self::Absent => ConfiguredFact::Absent,
            Self::ForAnother(url) => ConfiguredFact::ForAnother { url: url.clone() },
            Self::Incomplete(cause) => ConfiguredFact::Incomplete {
                cause: cause.clone(),
            },
            Self::Credential(settings) => ConfiguredFact::Credential(settings.kind()),
        }
    }
}

fn fact(injected: &Injected) -> EnvironmentFact {
    match injected {
        Injected::Absent => EnvironmentFact::Absent,
        Injected::ForAnother { origin } => EnvironmentFact::ForAnother {
            origin: origin.clone(),
        },
        Injected::Incomplete { cause } => EnvironmentFact::Incomplete {
            cause: cause.clone(),
        },
        Injected::Token { header: None, .. } => EnvironmentFact::Token(CredentialKind::Bearer),
        Injected::Token {
            header: Some(_), ..
        } => EnvironmentFact::Token(CredentialKind::ApiKey),
    }
}

/// Makes the choice, and the credential that it means.
pub(super) fn make(
    parts: &Parts,
    at: &RegistryAt,
    login: Option<&Arc<GrantCredentials>>,
    injected: Injected,
    configured: &Configured,
    is_known: bool,
) -> Chosen {
    let choice = choose(&Facts {
        environment: fact(&injected),
        configured: configured.fact(),
        login: login.is_some(),
    });
    let mut settings = None;
    let credential = match (&choice.fault, choice.way, injected, configured, login) {
        (Some(cause), ..) => Credential::Broken(Broken {
            cause: cause.clone(),
        }),
        (None, Way::Environment, Injected::Token { value, header }, ..) => {
            let place = Place::Here(value);
            let clock = Arc::clone(&parts.world.clock);
            Credential::Given(GivenCredentials::new(clock, at.url.clone(), header, place))
        }
        (None, Way::Configured, _, Configured::Credential(found), _) => {
            settings = Some(found.as_ref().clone());
            configured_credential(parts, at, found)
        }
        (None, Way::Login, _, _, Some(login)) => Credential::Login(Arc::clone(login)),
        _ => Credential::None(Anonymous),
    };
    Chosen {
        choice,
        is_known,
        settings,
        credential,
    }
}

fn configured_credential(
    parts: &Parts,
    at: &RegistryAt,
    settings: &CredentialSettings,
) -> Credential {
    let clock = || Arc::clone(&parts.world.clock);
    let given = |source: &SecretSource, header| {
        let place = Place::At {
            reader: parts.reader.clone(),
            source: source.clone(),
            slot: Slot::of_token(&at.url),
        };
        Credential::Given(GivenCredentials::new(
            clock(),
            at.url.clone(),
            header,
            place,
        ))
    };
    let fetched = |fetch: Box<dyn Fetch>| {
        let ahead = Arc::clone(&parts.ahead);
        let (url, digest) = (at.url.clone(), settings.digest());
        // Only a client is the same whoever asks: a workload's token and a program's answer may be another's next time.
        let is_of_one = settings.kind() == CredentialKind::ClientCredentials;
        let clock = clock();
        Credential::Fetched(FetchedCredentials::new(
            clock, url, &digest, is_of_one, fetch, ahead,
        ))
    };
    let by_client = |server, client_id, authentication, target, grant| {
        fetched(Box::new(ClientFetch {
            http: parts.http.clone(),
            clock: clock(),
            reader: parts.reader.clone(),
            server,
            client_id,
            authentication,
            target,
            registry: at.configured_url.clone(),
            grant,
            allow_private_ip: at.allow_private_ip,
            memory: Memory::default(),
            token_host: TokenHost::new(
                parts.settings.clone(),
                &at.name,
                &at.configured_url,
                settings.digest(),
            ),
        }))
    };
    match settings.clone() {
        CredentialSettings::Bearer(bearer) => given(&bearer.token, None),
        CredentialSettings::ApiKey(key) => match header_name(&key.header) {
            Ok(header) => given(&key.key, Some(header)),
            Err(fault) => Credential::Broken(Broken { cause: fault.cause }),
        },
        CredentialSettings::ClientCredentials(client) => by_client(
            client.server,
            Some(client.client_id),
            Some(client.authentication),
            client.target,
            Grant::ClientCredentials,
        ),
        CredentialSettings::TokenExchange(workload) => by_client(
            workload.server,
            workload.client_id,
            workload.authentication,
            workload.target,
            Grant::TokenExchange {
                subject: workload.subject,
                token_type: workload.subject_token_type,
            },
        ),
        CredentialSettings::JwtBearer(workload) => by_client(
            workload.server,
            workload.client_id,
            workload.authentication,
            workload.target,
            Grant::JwtBearer {
                subject: workload.subject,
            },
        ),
        CredentialSettings::Command(command) => fetched(Box::new(CommandFetch {
            program: Program {
                path: command.path,
                args: command.args,
                environment: command.environment,
            },
            name: at.name.clone(),
            url: at.configured_url.clone(),
            clock: clock(),
            env: Arc::clone(&parts.world.env),
        })),
    }
}
