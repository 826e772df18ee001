//! The credential of a whole registry, whichever way it comes: which one it is, configuring it, forgetting it, and handing its token out.

use std::sync::{Arc, MutexGuard, PoisonError};

use jiff::Timestamp;
use secrecy::SecretString;
use thv_http::Bearer;
use url::Url;

use super::{Auth, AuthFailure, CredentialInUse, DEFAULT_REGISTRY};
use crate::binding::NoBinding;
use crate::credentials::Credentials as _;
use crate::doctor::InPlaceOfLogin;
use crate::logout::CredentialReceipt;
use crate::machine::manage::{Forgotten, Manager};
use crate::machine::registry::{Chosen, RegistryAt, RegistryCredentials};
use crate::machine::report::remarks;
use crate::machine::settings::{CredentialKind, CredentialSettings};
use crate::machine::way::Way;
use crate::refresh::blocking;

/// A token that is handed to somebody else.
#[derive(Clone, Debug)]
pub struct HandedOut {
    /// The token and the only origin that it is for.
    pub bearer: Bearer,
    /// When it expires by our clock, as far as that is known.
    pub expires_at: Option<Timestamp>,
}

impl Auth {
    /// The credential of the registry `at`; the same one for the same registry.
    pub fn registry(&self, at: &RegistryAt) -> Arc<RegistryCredentials> {
        let login = at.login.as_ref().map(|binding| self.of(binding));
        let mut known = self.lock_registries();
        if let Some(found) = known.iter().find(|known| known.registry() == at) {
            return Arc::clone(found);
        }
        // Only the registry of now matters under a name; what an earlier one had was its own.
        known.retain(|known| known.registry().name != at.name);
        let made = RegistryCredentials::new(self.machine.clone(), at.clone(), login);
        known.push(Arc::clone(&made));
        made
    }

    /// The credential that counts in place of a login, for somebody who only looks: no token is fetched, and the login itself
    /// is not touched.
    pub(super) async fn in_place_of_login(&self) -> Option<InPlaceOfLogin> {
        let mut at = self.configured_registry().await.ok()?;
        at.login = None;
        let credentials = RegistryCredentials::new(self.machine.clone(), at, None);
        credentials.look().await;
        let chosen = credentials.chosen();
        let choice = chosen.choice.clone();
        if !matches!(choice.way, Way::Environment | Way::Configured) {
            return None;
        }
        let kind = choice.kind.map_or("of no kind", CredentialKind::as_str);
        // What this process has fetched already is with the credential that it uses.
        let used = self.used_in_place_of_login().await;
        let used = used.as_ref().unwrap_or(&chosen);
        Some(InPlaceOfLogin {
            token_host: used.first_host().await,
            words: format!("{kind}: {}", choice.why),
            fault: choice.fault,
            way: choice.way,
            settings: chosen.settings().cloned(),
            url: credentials.registry().url.clone(),
            reader: self.machine.reader.clone(),
            trouble: used.fetch_trouble(),
            at_hand: used.at_hand(),
        })
    }

    /// The credential that needs no person, as this process uses it; `None` where no such credential is used.
    pub(super) async fn used_in_place_of_login(&self) -> Option<Arc<Chosen>> {
        let at = self.configured_registry().await.ok()?;
        let credentials = self.registry(&at);
        credentials.look().await;
        let chosen = credentials.chosen();
        matches!(chosen.choice.way, Way::Environment | Way::Configured).then_some(chosen)
    }

    /// The credential that needs no login, where one is used.
    pub async fn credential_in_use(&self) -> Option<CredentialInUse> {
        let choice = self.used_in_place_of_login().await?.choice.clone();
        Some(CredentialInUse {
            way: choice.way,
            kind: choice.kind,
        })
    }

    /// Makes `wanted` the credential of the configured registry. `secret` is what is to be kept where it says that the store has it. What it
    /// names need not be there yet; each file that is not, or that is not as it should be, is in the answer, as a sentence.
    pub async fn set_credential(
        &self,
        wanted: CredentialSettings,
        secret: Option<SecretString>,
    ) -> Result<Vec<String>, AuthFailure> {
        let at = self.configured_registry().await?;
        self.manager().set(&at, wanted.clone(), secret).await?;
        self.look_again(&at).await;
        Ok(blocking(move || remarks(&wanted)).await)
    }

    /// Removes the credential of the configured registry and what was kept for it. Whether there was one.
    pub async fn unset_credential(&self) -> Result<bool, AuthFailure> {
        let at = self.configured_registry().await?;
        let found = self.manager().unset(&at).await?;
        self.look_again(&at).await;
        Ok(found)
    }

    /// Lets other tools ask for the token of the configured registry, or no longer.
    pub async fn let_others_ask(&self, yes: bool) -> Result<(), AuthFailure> {
        let at = self.configured_registry().await?;
        Ok(self.manager().let_others_ask(&at, yes).await?)
    }

    /// Whether other tools may ask for the token of the configured registry.
    pub async fn others_may_ask(&self) -> Result<bool, AuthFailure> {
        let at = self.configured_registry().await?;
        Ok(self.manager().others_may_ask(&at).await?)
    }

    /// The token of the configured registry for a request to `url`, renewed or fetched first where that is due; `None` where the registry
    /// is read anonymously.
    pub async fn token_for(&self, url: Option<&Url>) -> Result<Option<HandedOut>, AuthFailure> {
        let at = self.configured_registry().await?;
        if let Some(url) = url
            && url.origin() != at.url.origin()
        {
            let wrong = WrongOrigin {
                asked: url.origin().ascii_serialization(),
                registry: at.url.origin().ascii_serialization(),
            };
            return Err(wrong.into());
        }
        let credentials = self.registry(&at);
        credentials.look().await;
        let Some(bearer) = credentials.bearer().await? else {
            return Ok(None);
        };
        if bearer.is_bound() {
            return Err(AuthFailure::BoundToken);
        }
        let expires_at = self.report().await?.expires_at;
        Ok(Some(HandedOut { bearer, expires_at }))
    }

    /// Deletes a token that was given to us to keep. What became of the configured credential, if there is one.
    pub(super) async fn forget_token(
        &self,
        at: &RegistryAt,
    ) -> Result<Option<CredentialReceipt>, AuthFailure> {
        let forgotten = self.manager().forget_token(at).await?;
        self.look_again(at).await;
        let choice = self.registry(at).choice();
        let kept = |way, kind| CredentialReceipt {
            way,
            kind,
            outcome: "kept",
        };
        Ok(match (forgotten, choice.way) {
            (Some(Forgotten::Token(kind)), _) => Some(CredentialReceipt {
                way: Way::Configured,
                kind: Some(kind),
                outcome: "deleted",
            }),
            (_, Way::Environment) => Some(kept(Way::Environment, choice.kind)),
            (Some(Forgotten::Nothing(kind)), _) => Some(kept(Way::Configured, Some(kind))),
            (None, _) => None,
        })
    }

    pub(super) fn known_registries(&self) -> Vec<Arc<RegistryCredentials>> {
        self.lock_registries().clone()
    }

    fn manager(&self) -> Manager {
        Manager {
            settings: self.machine.settings.clone(),
            reader: self.machine.reader.clone(),
        }
    }

    async fn configured_registry(&self) -> Result<RegistryAt, AuthFailure> {
        let config = self.config.load_async().await?;
        let at = RegistryAt::of(DEFAULT_REGISTRY, &config);
        at.ok_or(AuthFailure::NoBinding(NoBinding::LocalSource))
    }

    async fn look_again(&self, at: &RegistryAt) {
        let credentials = self.registry(at);
        credentials.forget_look();
        credentials.look().await;
    }

    fn lock_registries(&self) -> MutexGuard<'_, Vec<Arc<RegistryCredentials>>> {
        self.registries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A token was asked for another origin than the one that may see it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token is for {registry} and is not handed out for {asked}")]
pub struct WrongOrigin {
    /// The origin that was asked for.
    pub asked: String,
    /// The registry's.
    pub registry: String,
}
