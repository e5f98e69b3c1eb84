//! Size limits of an archive, derived from the limits of a bundle.

use devanture_config::limits::Limits;

/// Returns the maximum number of entries, including folders and excluded files: each costs some memory and time.
pub(super) fn entries_max(limits: &Limits) -> u64 {
    limits.bundle_files_max.saturating_mul(4).saturating_add(1_000)
}

/// Returns the maximum length of an archive, packed or unpacked: its files, and headers for each entry.
pub(crate) fn archive_bytes_max(limits: &Limits) -> u64 {
    const ENTRY_BYTES: u64 = 2_048;
    limits.bundle_bytes_max.saturating_add(entries_max(limits).saturating_mul(ENTRY_BYTES))
}
