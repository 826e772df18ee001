//! Which client a login is made as: one that is registered already, the address of a metadata document, or one that this program
//! registers for itself and looks after.

use jiff::Timestamp;
use thv_http::Http;
use url::Url;

use super::FoundLogin;
use crate::login::{DEFAULT_CALLBACK_PORT, PublicUrl, RedirectForm};
use crate::oauth::client::{ClientStanding, ask_after_client};
use crate::oauth::issuer::shown_issuer;
use crate::oauth::redirect_uri::LoopbackName;
use crate::oauth::registration::{Registration, RegistrationError, RegistrationRequest, register};
use crate::oauth::{Provider, requested_scopes};
use crate::refresh::blocking;
use crate::vault::{KeptClients, Vault, VaultError};

/// The redirect URIs of clients that we register ourselves, in the order in which they are tried: one that no other issuer is
/// given (RFC 8252 section 8.10), at an address that no name can lead away from; and for providers that refuse it the plain one.
const FORMS: [RedirectForm; 2] = [
    RedirectForm::PerIssuer(LoopbackName::Ipv4),
    RedirectForm::Registered,
];

/// Which client somebody wants to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientChoice {
    /// A client that is registered already.
    pub client_id: Option<String>,
    /// The https URL of a client-id metadata document.
    pub metadata_document: Option<String>,
    /// The port of the redirect URI: 8666 when absent.
    pub callback_port: Option<u16>,
    /// Whether a client that was registered before is left aside.
    pub anew: bool,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// None could be registered.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// A registered one could not be kept, so none was registered.
    #[error(
        "this program was not registered with the identity provider because that could not be kept: {0}"
    )]
    Store(#[from] VaultError),
    /// The address of the metadata document cannot be a client identifier.
    #[error("`{url}` is no client-id metadata document: {cause}")]
    MetadataDocument {
        /// The address.
        url: String,
        /// The rule that it breaks.
        cause: &'static str,
    },
    /// The provider reads no such documents, and registers nobody in their place.
    #[error(
        "the identity provider {issuer} reads no client-id metadata documents, and lets no program register itself in place of that"
    )]
    NoMetadataDocuments {
        /// The provider.
        issuer: String,
    },
}

/// The client identifier to configure: the one that is wanted, else the address of a metadata document where the provider reads
/// such, else a client that this program has registered or registers now.
pub async fn client_for(
    http: &Http,
    vault: &Vault,
    found: &FoundLogin,
    choice: &ClientChoice,
    now: Timestamp,
) -> Result<String, ClientError> {
    if let Some(client_id) = &choice.client_id {
        return Ok(client_id.clone());
    }
    if let Some(url) = &choice.metadata_document {
        check_metadata_document(url)?;
        if found.provider.client_id_metadata_document_supported {
            return Ok(url.clone());
        }
        if found.provider.registration_endpoint.is_none() {
            return Err(ClientError::NoMetadataDocuments {
                issuer: shown_issuer(&found.provider.issuer),
            });
        }
    }
    let port = choice.callback_port.unwrap_or(DEFAULT_CALLBACK_PORT);
    let wanted = WantedClient {
        provider: &found.provider,
        port,
        public: None,
        scopes: requested_scopes(&found.provider, &found.scopes),
        allow_private_ip: found.allow_private_ip,
        anew: choice.anew,
        preferred: None,
        now,
    };
    let client = living_client(http, vault, &wanted).await?;
    Ok(client.registration.client_id)
}

/// The rules of the client-id metadata document draft (section 3) that can be checked without fetching it.
fn check_metadata_document(text: &str) -> Result<(), ClientError> {
    let broken = |cause| ClientError::MetadataDocument {
        url: shown_issuer(text),
        cause,
    };
    let url = Url::parse(text).map_err(|_| broken("it is no URL"))?;
    if url.scheme() != "https" {
        return Err(broken("it has to be an https URL"));
    }
    if url.path() == "/" {
        return Err(broken("it has to have a path"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(broken("it has a user name or a fragment"));
    }
    Ok(())
}

/// A client that is wanted at a provider.
pub(crate) struct WantedClient<'w> {
    pub(crate) provider: &'w Provider,
    /// Where the browser returns to on this machine.
    pub(crate) port: u16,
    /// Where it returns to instead.
    pub(crate) public: Option<PublicUrl>,
    pub(crate) scopes: Vec<String>,
    pub(crate) allow_private_ip: bool,
    /// Whether one that was registered before is left aside.
    pub(crate) anew: bool,
    /// The one that is taken where there are several.
    pub(crate) preferred: Option<&'w str>,
    pub(crate) now: Timestamp,
}

/// A client of ours that the provider knows.
pub(crate) struct LivingClient {
    pub(crate) registration: Registration,
    /// The form of its redirect URI.
    pub(crate) form: RedirectForm,
    /// Whether nobody has logged in as it yet and another one keeps its place until then.
    pub(crate) is_next: bool,
}

/// The client that was registered for this provider and one of our redirect URIs and that the provider still knows; a new one
/// otherwise. Whoever else registers meanwhile wins, so that all use one client.
pub(crate) async fn living_client(
    http: &Http,
    vault: &Vault,
    wanted: &WantedClient<'_>,
) -> Result<LivingClient, ClientError> {
    let mut before = Vec::new();
    let mut candidates = Vec::new();
    for form in wanted.forms() {
        let kept = kept(vault, wanted, form).await?;
        for (client, is_next) in [(&kept.current, false), (&kept.next, true)] {
            candidates.extend(client.clone().map(|registration| LivingClient {
                registration,
                form,
                is_next,
            }));
        }
        before.push((form, kept));
    }
    candidates.retain(|client| {
        !wanted.anew && client.registration.is_usable(wanted.provider, wanted.now)
    });
    candidates.sort_by_key(|client| wanted.preferred != Some(&client.registration.client_id));
    for client in candidates {
        let standing = ask_after_client(
            http,
            wanted.provider,
            &client.registration,
            wanted.allow_private_ip,
        );
        if standing.await != ClientStanding::Unknown {
            return Ok(client);
        }
    }
    if wanted.provider.registration_endpoint.is_none() {
        return Err(RegistrationError::NotOffered.into());
    }
    let prover = vault.clone();
    blocking(move || prover.probe()).await?;
    let mut refused = RegistrationError::NotOffered;
    for (form, seen) in before {
        match registered(http, vault, wanted, form, seen).await {
            Err(ClientError::Registration(error)) if error.is_about_redirect_uri() => {
                refused = error;
            }
            outcome => return outcome,
        }
    }
    Err(refused.into())
}

/// Registers a client and keeps it beside those that were `seen`.
async fn registered(
    http: &Http,
    vault: &Vault,
    wanted: &WantedClient<'_>,
    form: RedirectForm,
    seen: KeptClients,
) -> Result<LivingClient, ClientError> {
    let making = {
        let (http, vault) = (http.clone(), vault.clone());
        let provider = wanted.provider.clone();
        let (uris, scopes) = (wanted.redirect_uris(form), wanted.scopes.clone());
        let (allow_private_ip, now) = (wanted.allow_private_ip, wanted.now);
        async move {
            let request = RegistrationRequest {
                redirect_uris: &uris,
                scopes: &scopes,
                allow_private_ip,
                now,
            };
            let client = register(&http, &provider, &request).await?;
            tracing::info!(
                issuer = provider.issuer,
                client_id = client.client_id,
                "registered with the identity provider"
            );
            let is_next = seen.current.is_some();
            let kept = client.clone();
            let kept = blocking(move || vault.keep_registration(&seen, &kept)).await;
            Ok::<_, ClientError>((kept, client, is_next))
        }
    };
    // Whoever waits may leave; a client that is there at the provider is kept here all the same.
    let made = tokio::spawn(making).await;
    let (kept_here, client, is_next) = made.unwrap_or_else(|_| {
        Err(ClientError::Registration(RegistrationError::Transient {
            cause: "the registration was cut off".to_owned(),
        }))
    })?;
    let (registration, is_next) = match kept_here {
        Ok(()) => (client, is_next),
        Err(VaultError::Moved) => match kept(vault, wanted, form).await? {
            KeptClients {
                next: Some(theirs), ..
            } => (theirs, true),
            KeptClients {
                current: Some(theirs),
                next: None,
            } => (theirs, false),
            KeptClients { .. } => return Err(VaultError::Moved.into()),
        },
        Err(error) => return Err(error.into()),
    };
    Ok(LivingClient {
        registration,
        form,
        is_next,
    })
}

async fn kept(
    vault: &Vault,
    wanted: &WantedClient<'_>,
    form: RedirectForm,
) -> Result<KeptClients, VaultError> {
    let vault = vault.clone();
    let issuer = wanted.provider.issuer.clone();
    let uris = wanted.redirect_uris(form);
    blocking(move || vault.registrations(&issuer, &uris)).await
}

impl WantedClient<'_> {
    /// A public address has one form; which it is says nothing then.
    fn forms(&self) -> impl Iterator<Item = RedirectForm> {
        let count = if self.public.is_some() {
            1
        } else {
            FORMS.len()
        };
        FORMS.into_iter().take(count)
    }

    fn redirect_uris(&self, form: RedirectForm) -> Vec<String> {
        if let Some(public) = &self.public {
            return vec![public.redirect_uri()];
        }
        let uri = form.uri(self.port, &self.provider.issuer);
        vec![uri.as_str().to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_clients_are_https_urls_with_a_path() {
        assert!(check_metadata_document("https://app.example/client.json").is_ok());
        for bad in [
            "http://app.example/client.json",
            "https://app.example",
            "https://app.example/",
            "https://me@app.example/x",
            "https://app.example/x#y",
            "thv",
        ] {
            assert!(check_metadata_document(bad).is_err(), "{bad}");
        }
    }
}
