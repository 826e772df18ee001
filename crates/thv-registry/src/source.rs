//! The four kinds of registry, and what a load of one yields.
//!
//! A load never touches shared state: it gets what is known, asks the source, and gives back a
//! new snapshot with what changed. Catalogs and their states are in [`crate::registry`].

pub(crate) mod api;
pub(crate) mod document;
pub(crate) mod outbound;
pub(crate) mod probe;

use std::path::PathBuf;
use std::sync::Arc;

use thv_auth::Credentials;
use thv_config::world::World;
use url::Url;

use crate::cache::{Changes, Marks};
use crate::error::Fault;
use crate::snapshot::Snapshot;
use outbound::Outbound;

/// Where a registry's catalog comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Compiled in.
    BuiltIn,
    /// A document on this machine.
    File(PathBuf),
    /// A document elsewhere.
    Url(Remote),
    /// A server that speaks the MCP Registry API.
    Api(Remote),
}

/// A registry on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    /// The URL as configured, for people and for the wire.
    pub(crate) configured: String,
    pub(crate) url: Url,
    pub(crate) allow_private_ip: bool,
}

/// The kinds, as the wire names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// The catalog compiled in.
    Default,
    /// A local document.
    File,
    /// A remote document.
    Url,
    /// A registry API.
    Api,
}

/// What a load works with.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) world: World,
    pub(crate) outbound: Arc<Outbound>,
    pub(crate) credentials: Arc<dyn Credentials>,
}

/// What is known before a load.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) marks: Marks,
}

/// What a load found.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) known: Known,
    pub(crate) difference: Difference,
}

/// How what a load found differs from what was known.
#[derive(Debug)]
pub(crate) enum Difference {
    /// Not at all.
    None,
    /// By these changes.
    Changes(Changes),
    /// It was loaded whole and nothing is known of the difference.
    Whole,
}

/// How much a load may rely on what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Ask for changes where the source can tell them.
    Changes,
    /// Read everything again.
    Whole,
}

// === impl Source ===

impl Source {
    pub(crate) fn kind(&self) -> SourceKind {
        match self {
            Self::BuiltIn => SourceKind::Default,
            Self::File(_) => SourceKind::File,
            Self::Url(_) => SourceKind::Url,
            Self::Api(_) => SourceKind::Api,
        }
    }

    /// URL or path, as configured; empty for the built-in catalog.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::BuiltIn => String::new(),
            Self::File(path) => path.display().to_string(),
            Self::Url(remote) | Self::Api(remote) => remote.configured.clone(),
        }
    }

    /// Whether catalogs of this source are kept on disk between runs.
    pub(crate) fn is_cached(&self) -> bool {
        matches!(self, Self::Url(_) | Self::Api(_))
    }

    /// Asks the source for its catalog.
    pub(crate) async fn load(
        &self,
        context: &Context,
        known: Option<&Known>,
        depth: Depth,
    ) -> Result<Loaded, Fault> {
        match self {
            Self::BuiltIn => document::load_built_in(context, known).await,
            Self::File(path) => document::load_file(context, path, known).await,
            Self::Url(remote) => document::load_url(context, remote, known, depth).await,
            Self::Api(remote) => api::load(context, remote, known, depth).await,
        }
    }
}

// === impl SourceKind ===

impl SourceKind {
    /// The word for it on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Url => "url",
            Self::Api => "api",
        }
    }
}
