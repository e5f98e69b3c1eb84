//! Takes bundles in: begin, receive, verify, compress; [`crate::switch`] makes what was taken in live.
//!
//! A push is begun with its manifest ([`Publisher::begin`]), sends what is missing ([`Publisher::receive`]) and is
//! finished ([`Publisher::finish`], whose steps stand in order in `finish.rs`). Whatever fails, or however the process
//! ends, before the one compare-and-swap of a switch, the version that was live stays live (laws 2 and 3).

mod admission;
mod alias;
mod announcements;
mod archive_intake;
mod begin;
mod blob_batch;
mod brought;
mod console;
mod deploy_list;
mod deploy_status;
mod diff;
mod elsewhere;
mod finish;
mod halves;
mod image;
mod incoming;
mod integrity;
mod integrity_reports;
mod joined;
mod log_lines;
mod made_apps;
mod manifest_memory;
mod node_instances;
mod node_service;
mod owned;
mod publisher;
mod push_rate;
mod pushes;
mod query_places;
mod quota;
mod recording;
mod refused;
mod returning;
mod sent;
mod stored_manifest;
#[cfg(test)]
mod tests;
mod traffic;
mod uploads;

pub use admission::{SOURCE_CHARACTERS_MAX, check_options, check_source};
pub use archive_intake::{ArchiveIntake, ReceivedArchive};
pub use blob_batch::BlobBatch;
pub use console::{CONSOLE_PACKAGE_BYTES_MAX, check_console_package};
pub use deploy_list::DeployFollower;
pub use diff::DiffRequest;
pub use elsewhere::OtherNode;
pub use finish::Taken;
pub use incoming::{CheckedPush, ManifestIntake};
pub(crate) use incoming::{SMALL_BODY_BYTES_MAX, check_object, unreadable};
pub use log_lines::{LogSources, LogsBegun, LogsReader};
pub use node_service::NodeService;
pub use publisher::{Parts, Publisher};
pub use push_rate::CountedPushes;
pub use traffic::TrafficWanted;
