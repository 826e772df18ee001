//! Configuring the credential of a registry, and forgetting it: the settings, and the secrets that go with them.
//!
//! A secret is kept before the settings name it, and forgotten after they do not. Which flags of a command line mean what is known there.

use secrecy::SecretString;
use thv_config::{ConfigError, RegistriesStore};
use thv_secrets::SecretsError;

use super::registry::RegistryAt;
use super::secret::{Alphabet, SecretReader, SecretSource, Slot, checked};
use super::settings::{
    ApiKeySettings, BearerSettings, ClientAuthentication, CredentialKind, CredentialSettings,
    SettingsFault,
};
use crate::refresh::blocking;

/// Why the credential of a registry was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// The settings are not whole.
    #[error("the credential is not fully described: {0}")]
    Settings(#[from] SettingsFault),
    /// The secret cannot be used.
    #[error("{cause}")]
    Secret {
        /// What is wrong with it.
        cause: String,
    },
    /// The secret store cannot be used.
    #[error(transparent)]
    Store(#[from] SecretsError),
    /// The settings cannot be read or written.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Configures credentials. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Manager {
    pub(crate) settings: RegistriesStore,
    pub(crate) reader: SecretReader,
}

/// What a logout did to a configured credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgotten {
    /// It was a token that was given to us to keep, and is gone.
    Token(CredentialKind),
    /// It is of another kind and stays.
    Nothing(CredentialKind),
}

/// The settings of a token that is kept in the store, in `header` when it is a key.
pub fn kept_token(header: Option<String>) -> CredentialSettings {
    match header {
        None => CredentialSettings::Bearer(BearerSettings {
            token: SecretSource::Store,
        }),
        Some(header) => CredentialSettings::ApiKey(ApiKeySettings {
            key: SecretSource::Store,
            header,
        }),
    }
}

impl Manager {
    /// Makes `wanted` the credential of the registry. `secret` is what is to be kept where the settings say that the store has it.
    pub(crate) async fn set(
        &self,
        at: &RegistryAt,
        wanted: CredentialSettings,
        secret: Option<SecretString>,
    ) -> Result<(), ManageError> {
        let written = wanted.write()?;
        let (manager, at) = (self.clone(), at.clone());
        blocking(move || {
            if let Some((slot, alphabet)) = slot_of(&at, &wanted) {
                let Some(secret) = secret else {
                    return Err(SettingsFault::new("there is no secret to keep").into());
                };
                let secret = checked(secret, "what was given", alphabet).map_err(|fault| {
                    ManageError::Secret {
                        cause: fault.to_string(),
                    }
                })?;
                manager.reader.keep(&slot, &secret)?;
            }
            let mut before = None;
            manager
                .settings
                .update(&at.name, &at.configured_url, |settings| {
                    before = settings.credential.replace(written);
                    // Whoever describes it confirms whom its tokens come from.
                    settings.credential_token_host = None;
                    Ok::<_, ConfigError>(())
                })?;
            manager.forget_unless(before.as_ref(), &at, Some(&wanted))?;
            Ok(())
        })
        .await
    }

    /// Removes the credential of the registry and what was kept for it. Whether there was one.
    pub(crate) async fn unset(&self, at: &RegistryAt) -> Result<bool, ManageError> {
        let (manager, at) = (self.clone(), at.clone());
        blocking(move || {
            let mut before = None;
            manager
                .settings
                .update(&at.name, &at.configured_url, |settings| {
                    before = settings.credential.take();
                    settings.credential_token_host = None;
                    Ok::<_, ConfigError>(())
                })?;
            manager.forget_unless(before.as_ref(), &at, None)?;
            Ok(before.is_some())
        })
        .await
    }

    /// Removes the credential of the registry when it is a token that was given to us to keep. `None` where no whole credential is
    /// configured.
    pub(crate) async fn forget_token(
        &self,
        at: &RegistryAt,
    ) -> Result<Option<Forgotten>, ManageError> {
        let (store, registry) = (self.settings.clone(), at.clone());
        let found =
            blocking(move || store.load_for(&registry.name, &registry.configured_url)).await;
        // A file that cannot be read is no hindrance to the rest of a logout, and holds nothing secret.
        let Ok(Some(found)) = found else {
            return Ok(None);
        };
        let settings = found
            .credential
            .and_then(|credential| CredentialSettings::read(&credential).ok());
        let Some(settings) = settings else {
            return Ok(None);
        };
        let is_token = matches!(
            settings,
            CredentialSettings::Bearer(BearerSettings {
                token: SecretSource::Store
            }) | CredentialSettings::ApiKey(ApiKeySettings {
                key: SecretSource::Store,
                ..
            })
        );
        if !is_token {
            return Ok(Some(Forgotten::Nothing(settings.kind())));
        }
        self.unset(at).await?;
        Ok(Some(Forgotten::Token(settings.kind())))
    }

    /// Lets other tools ask for the registry's token, or no longer.
    pub(crate) async fn let_others_ask(
        &self,
        at: &RegistryAt,
        yes: bool,
    ) -> Result<(), ManageError> {
        let (settings, at) = (self.settings.clone(), at.clone());
        blocking(move || {
            settings.update(&at.name, &at.configured_url, |settings| {
                settings.auth_helper = yes;
                Ok::<_, ConfigError>(())
            })
        })
        .await?;
        Ok(())
    }

    /// Whether other tools may ask for the registry's token.
    pub(crate) async fn others_may_ask(&self, at: &RegistryAt) -> Result<bool, ManageError> {
        let (settings, at) = (self.settings.clone(), at.clone());
        let found = blocking(move || settings.load_for(&at.name, &at.configured_url)).await?;
        Ok(found.is_some_and(|settings| settings.auth_helper))
    }

    /// Forgets what was kept for the settings of before, unless those of now use the same.
    fn forget_unless(
        &self,
        before: Option<&serde_json::Map<String, serde_json::Value>>,
        at: &RegistryAt,
        now: Option<&CredentialSettings>,
    ) -> Result<(), SecretsError> {
        let before = before.and_then(|before| CredentialSettings::read(before).ok());
        let slot = |settings: &CredentialSettings| slot_of(at, settings).map(|(slot, _)| slot);
        let (Some(old), new) = (before.as_ref().and_then(slot), now.and_then(slot)) else {
            return Ok(());
        };
        if Some(&old) != new.as_ref() {
            self.reader.forget(&old)?;
        }
        Ok(())
    }
}

/// What the settings keep in the store, if anything.
fn slot_of(at: &RegistryAt, settings: &CredentialSettings) -> Option<(Slot, Alphabet)> {
    let kept = |source: &SecretSource| *source == SecretSource::Store;
    let token = || Some((Slot::of_token(&at.url), Alphabet::Token));
    let client = |server: &super::settings::ServerSettings,
                  client_id: Option<&String>,
                  authentication: Option<&ClientAuthentication>| {
        let is_kept = authentication
            .and_then(ClientAuthentication::secret)
            .is_some_and(kept);
        let client_id = client_id.filter(|_| is_kept)?;
        Some((Slot::of_client(server, client_id), Alphabet::Secret))
    };
    match settings {
        CredentialSettings::Bearer(bearer) if kept(&bearer.token) => token(),
        CredentialSettings::ApiKey(key) if kept(&key.key) => token(),
        CredentialSettings::ClientCredentials(settings) => client(
            &settings.server,
            Some(&settings.client_id),
            Some(&settings.authentication),
        ),
        CredentialSettings::TokenExchange(workload) | CredentialSettings::JwtBearer(workload) => {
            client(
                &workload.server,
                workload.client_id.as_ref(),
                workload.authentication.as_ref(),
            )
        }
        CredentialSettings::Bearer(_)
        | CredentialSettings::ApiKey(_)
        | CredentialSettings::Command(_) => None,
    }
}
