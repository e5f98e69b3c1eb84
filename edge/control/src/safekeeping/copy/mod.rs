//! Copies a whole store to another one, of another kind perhaps, while edges serve from the first: records by their
//! difference, files that are missing by their names.
//!
//! Each step can be repeated: what is there is not copied again. So a copy that was interrupted goes on, and the last
//! difference, for which changes are paused, is small.

mod files;
mod records;
mod target;
mod transfer;

pub use files::StoredFiles;
pub use records::{Copied, RecordSource, compare_records, copy_records};
pub use target::FileTarget;
pub use transfer::{Progress, Transfer};
