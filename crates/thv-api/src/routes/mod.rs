//! The handlers, by door. Each has four moves: read the request, ask one domain object, map the
//! outcome, reply. Wire types, their documentation and their handler share a file.

pub(crate) mod callback;
pub(crate) mod docs;
pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod standard;
pub(crate) mod toolhive;
pub(crate) mod v1;
pub(crate) mod v1beta;
pub(crate) mod version;
