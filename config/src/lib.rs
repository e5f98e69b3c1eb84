//! Files and messages of Devanture: names, digests, the manifest, `edge.toml`, `devanture.toml`, the types of the API.
//!
//! This crate does no I/O: text and values come in, checked types or a list of mistakes come out. Server and command
//! line share the crate, so pushes from a laptop, from CI and by curl have the same meaning.

pub mod api;
pub mod blob_batch;
pub mod cron;
mod digest;
pub mod edge_toml;
pub mod heap;
pub mod limits;
pub mod local_edge;
pub mod manifest;
mod names;
pub mod parsing;
pub mod path;
pub mod pem;
pub mod problem;
pub mod rules;
pub mod run_stream;
pub mod signing;
pub mod site_toml;
pub mod text;

pub use digest::{
    BadDigest, BadIdPrefix, BadSha256, Digest, IdPrefix, PREFIX_CHARACTERS_MIN, SHORT_CHARACTERS, Sha256, VersionId,
};
pub use manifest::Manifest;
pub use names::{
    APP_CHARACTERS_MAX, AppName, BadName, Canonical, HOSTNAME_CHARACTERS_MAX, HostPattern, Hostname,
    PLACE_CHARACTERS_MAX, PlaceName,
};
