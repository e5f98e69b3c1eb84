//! Takes bundles in and makes versions live: receive, verify, prepare, switch.
//!
//! A push is begun with its manifest ([`Publisher::begin`]), sends what is missing ([`Publisher::receive`]) and is
//! finished ([`Publisher::finish`], whose steps stand in order in `finish.rs`). Whatever fails, or however the process
//! ends, before the one compare-and-swap of `swap.rs`, the version that was live stays live (laws 2 and 3).

mod admission;
mod alias;
mod announcements;
mod archive_intake;
mod backend;
mod begin;
mod blob_batch;
mod canary;
mod canary_steps;
mod console;
mod deploy_list;
mod deploy_status;
mod deploys;
mod diff;
mod elsewhere;
mod fingerprints;
mod finish;
mod halves;
mod image;
mod incoming;
mod integrity;
mod integrity_reports;
mod intent;
mod joined;
mod log_lines;
mod manifest_memory;
mod node_instances;
mod node_service;
mod owned;
mod pins;
mod publisher;
mod push_rate;
mod pushes;
mod quota;
mod reach;
mod returning;
mod rise;
mod rollout;
mod rules;
mod sent;
mod signed;
mod smoke;
mod smoke_run;
mod steps;
mod swap;
mod switch;
mod switcher;
#[cfg(test)]
mod tests;
mod traffic;
mod trial;
mod uploads;
mod watch;
mod watcher;

pub use admission::{SOURCE_CHARACTERS_MAX, check_if_live, check_options, check_source};
pub use archive_intake::{ArchiveIntake, ReceivedArchive};
pub use blob_batch::BlobBatch;
pub use console::CONSOLE_PACKAGE_BYTES_MAX;
pub(crate) use console::check_console_package;
pub use deploy_list::DeployFollower;
pub use diff::DiffRequest;
pub use elsewhere::OtherNode;
pub use finish::Taken;
pub use incoming::{CheckedPush, ManifestIntake};
pub(crate) use incoming::{SMALL_BODY_BYTES_MAX, check_object, unreadable};
pub use log_lines::{LogSources, LogsBegun, LogsReader};
pub use node_service::NodeService;
pub use publisher::{Parts, Publisher};
pub use smoke::{PendingAnswer, Smoke, SmokeAnswer, SmokeQuestion, Unanswered};
pub use steps::EventSink;
pub use switch::Switching;
pub use traffic::TrafficWanted;
