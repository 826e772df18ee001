//! Builds the parts of the program in their order: paths, configuration, registries. Commands take
//! from here what they need; how the server is put together on top is in `commands::serve`.

use std::sync::Arc;

use thv_auth::{Auth, CredentialSource};
use thv_config::world::World;
use thv_config::{ConfigStore, Paths};
use thv_http::{Http, HttpOptions};
use thv_registry::{DEFAULT_REGISTRY, Fault, Registries, Registry, Revalidation};
use thv_secrets::Secrets;

use crate::commands::version::{VERSION, platform};
use crate::failure::CommandError;

/// What commands about catalogs work with.
pub(crate) struct Catalogs {
    pub(crate) paths: Paths,
    pub(crate) store: ConfigStore,
    pub(crate) secrets: Secrets,
    pub(crate) auth: Arc<Auth>,
    pub(crate) registries: Arc<Registries>,
}

impl Catalogs {
    /// The registry that the configuration file describes.
    pub(crate) fn default_registry(&self) -> Result<Arc<Registry>, CommandError> {
        self.registries.get(DEFAULT_REGISTRY).ok_or_else(|| {
            CommandError::Fault(Fault::Configuration {
                cause: "it describes no registry".to_owned(),
            })
        })
    }
}

/// The configuration file of this user.
pub(crate) fn config_store(world: &World) -> Result<ConfigStore, CommandError> {
    let paths = Paths::from_env(&*world.env)?;
    Ok(ConfigStore::new(paths.config_file(), world.clone()))
}

/// The secrets of this user. Nothing is opened yet.
pub(crate) fn secrets(world: &World) -> Result<Secrets, CommandError> {
    let paths = Paths::from_env(&*world.env)?;
    Ok(Secrets::new(world.clone(), &paths, config_store(world)?))
}

/// The registries of this user. Nothing is fetched before somebody asks for a catalog.
pub(crate) async fn catalogs(
    world: &World,
    revalidation: Revalidation,
) -> Result<Catalogs, CommandError> {
    let paths = Paths::from_env(&*world.env)?;
    let store = ConfigStore::new(paths.config_file(), world.clone());
    let secrets = Secrets::new(world.clone(), &paths, store.clone());
    let http = login_http(world, &store).await?;
    let auth = Auth::new(world, &paths, &store, secrets.clone(), &http);
    let logins: Arc<dyn CredentialSource> = Arc::<Auth>::clone(&auth);
    let registries = Registries::open(
        world.clone(),
        paths.clone(),
        store.clone(),
        user_agent(),
        logins,
        revalidation,
    )
    .await;
    Ok(Catalogs {
        paths,
        store,
        secrets,
        auth,
        registries,
    })
}

/// The client for identity providers. It trusts what the configuration adds to the system's
/// authorities; no environment variable makes it less careful.
async fn login_http(world: &World, store: &ConfigStore) -> Result<Http, CommandError> {
    // An unreadable configuration is told by whatever needs it.
    let config = store.load_async().await.ok();
    let options = HttpOptions {
        user_agent: LOGIN_USER_AGENT.to_owned(),
        extra_ca: config.and_then(|config| config.ca_certificate_path),
        insecure_urls: false,
    };
    Http::new(options, world).map_err(|error| CommandError::Serve(error.to_string()))
}

/// How we name ourselves to identity providers, as the Go program does: firewalls in front of
/// them let it pass.
const LOGIN_USER_AGENT: &str = "ToolHive/1.0";

/// How we name ourselves to registries. Firewalls in front of them know the product's name.
pub(crate) fn user_agent() -> String {
    let version = VERSION.strip_prefix('v').unwrap_or(VERSION);
    format!("ToolHive/{version} ({}) rust", platform())
}
