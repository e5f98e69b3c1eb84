//! Long-term care of stored files: verification with the versions of damaged files, repair, backups of a serving edge,
//! verification and restoration of backups.
//!
//! All of these work on the two stores alone, with or without a running edge. Backups are in a folder or in an S3
//! store, in the same layout.

mod backup;
mod copy;
mod location;
mod progress;
mod references;
mod restore;
mod store;
mod verify;
mod verify_backup;

pub use backup::{BackupSource, back_up};
pub use copy::{Copied, FileTarget, Progress, RecordSource, StoredFiles, Transfer, compare_records, copy_records};
pub use location::{Location, not_read, trust};
pub use progress::FileProgress;
pub use restore::{Restored, repair, restore};
pub use verify::{VerifyOptions, verify};
pub use verify_backup::{BackupCheck, BackupState, verify_backup};
