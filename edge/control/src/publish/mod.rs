//! Intake of bundles: begin, receive, verify, compress. [`crate::switch`] makes stored versions live.
//!
//! A push begins with its manifest ([`Publisher::begin`]), sends missing blobs ([`Publisher::receive`]) and is finished
//! by [`Publisher::finish`], with the ordered steps in `finish.rs`. On any failure, or a crash of the process, before
//! the single compare-and-swap of the switch, the live version stays live (laws 2 and 3).

mod admission;
mod archive_intake;
mod begin;
mod blob_batch;
mod console;
mod deploy_list;
mod diff;
mod elsewhere;
mod finish;
mod halves;
mod incoming;
mod integrity;
mod integrity_reports;
mod joined;
mod log_lines;
mod made_apps;
mod node_service;
mod owned;
mod publisher;
mod pushes;
mod quota;
mod refused;
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
pub use finish::ClaimedPush;
pub use incoming::{CheckedPush, ManifestIntake};
pub(crate) use incoming::{SMALL_BODY_BYTES_MAX, check_object, unreadable};
pub use log_lines::{LogSources, LogsBegun, LogsReader};
pub use node_service::NodeService;
pub use publisher::{Parts, Publisher};
pub use quota::CountedPushes;
pub use traffic::TrafficWanted;
