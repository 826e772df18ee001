//! Reading and writing bodies the way clients of the Go program expect them: its JSON dialect,
//! its tolerant reading of requests, its plain-text errors. What a body means is decided in the
//! routes.

pub(crate) mod input;
pub(crate) mod json;
pub(crate) mod text;
