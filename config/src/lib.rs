//! Every file and message of Devanture: names, digests, the manifest, `edge.toml`, `devanture.toml`, the types of the API.
//!
//! This crate does no I/O: text and values come in, checked types or a list of mistakes come out. Both programs use it,
//! so that a push from a laptop, from CI and by curl mean the same.

pub mod api;
mod counted;
mod date;
pub mod digest;
pub mod edge_toml;
pub mod expiry;
pub mod heap;
pub mod leave_out;
pub mod limits;
pub mod lines;
pub mod local_edge;
pub mod manifest;
pub mod mistake;
pub mod names;
pub mod net;
pub mod parts;
pub mod path;
pub mod plain_text;
pub mod problem;
pub mod procfile;
mod reader;
pub mod retention;
pub mod rules;
pub mod sha256;
pub mod site_toml;
mod text_form;
pub mod toml_text;
pub mod unique_keys;

pub use counted::counted;
pub use date::date_time;
pub use digest::{Digest, VersionId};
pub use manifest::Manifest;
pub use mistake::{Mistake, Mistakes};
pub use names::{AppName, HostPattern, Hostname, PlaceName};
pub use reader::nearest;
pub use sha256::Sha256;
