//! Stored files over the years: reads them all and names the versions that lack some, repairs what can be repaired, writes
//! backups while the edge serves, and restores them.
//!
//! All of it works on the two stores alone, so that it does the same with the edge running and without.

mod backup;
mod folder;
mod references;
mod repair;
mod restore;
mod verify;

pub use backup::{BackupSource, back_up};
pub use repair::repair;
pub use restore::{Restored, restore};
pub use verify::{VerifyOptions, verify};
