//! Copies a whole store to another store, possibly of another kind, while edges serve from the source: records by
//! difference, missing files by name.
//!
//! Each step can be repeated without copying again, so an interrupted copy can resume, and the last difference, for
//! which changes are paused, is small.

mod files;
mod records;
mod target;
mod transfer;

pub use files::StoredFiles;
pub use records::{Copied, RecordSource, compare_records, copy_records};
pub use target::FileTarget;
pub use transfer::{Progress, Transfer};
