//! Builds the parts of the program in their order: paths, configuration, registries. Commands take
//! from here what they need; how the server is put together on top is in `commands::serve`.

use std::sync::Arc;

use thv_config::world::World;
use thv_config::{ConfigStore, Paths};
use thv_registry::{DEFAULT_REGISTRY, Fault, Registries, Registry, Revalidation};

use crate::commands::version::{VERSION, platform};
use crate::failure::CommandError;

/// What commands about catalogs work with.
pub(crate) struct Catalogs {
    pub(crate) paths: Paths,
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

/// The registries of this user. Nothing is fetched before somebody asks for a catalog.
pub(crate) async fn catalogs(
    world: &World,
    revalidation: Revalidation,
) -> Result<Catalogs, CommandError> {
    let paths = Paths::from_env(&*world.env)?;
    let store = ConfigStore::new(paths.config_file(), world.clone());
    let registries = Registries::open(
        world.clone(),
        paths.clone(),
        store,
        user_agent(),
        revalidation,
    )
    .await;
    Ok(Catalogs { paths, registries })
}

/// How we name ourselves to registries. Firewalls in front of them know the product's name.
pub(crate) fn user_agent() -> String {
    let version = VERSION.strip_prefix('v').unwrap_or(VERSION);
    format!("ToolHive/{version} ({}) rust", platform())
}
