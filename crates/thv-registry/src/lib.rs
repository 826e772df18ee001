//! What MCP servers exist, right now.
//!
//! A registry's source is loaded into one immutable [`Snapshot`]; a [`Registry`] holds the
//! current one and knows in which state it is; [`Registries`] holds the registries that the
//! configuration describes. Lookups, search and the bodies that many clients ask for are
//! functions of the snapshot and never wait on the network. HTTP status codes and words for
//! people live in the crates above.

mod assemble;
pub mod cache;
mod change;
pub mod convert;
mod entry;
mod error;
mod flight;
pub mod format;
pub mod json;
pub mod limits;
mod prepared;
mod record;
mod registries;
mod registry;
mod search;
mod settings;
mod snapshot;
mod source;
mod state;
mod version_order;
pub mod view;

pub use change::{ChangeError, LoginRequest, SourceRequest};
pub use entry::{Entry, Extension, ExtensionEntry, OFFICIAL_META, ViewRef};
pub use error::{Blame, Fault, LookupError, LookupFault};
pub use format::page::LifeCycle;
pub use prepared::Prepared;
pub use registries::{DEFAULT_REGISTRY, Registries};
pub use registry::{CatalogStatus, Registry, Served, Staleness};
pub use search::SearchIn;
pub use settings::{AuthConfig, RegistryInfo};
pub use snapshot::{Counts, Edition, Snapshot};
pub use source::SourceKind;
pub use source::probe::{first_request, question_url};
pub use state::Revalidation;
