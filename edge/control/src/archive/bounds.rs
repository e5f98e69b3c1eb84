//! How long an archive may be, as a bundle's limits have it.

use devanture_config::limits::Limits;

/// Most entries of an archive, folders and what is left out among them: each costs a little memory and time.
pub(super) fn entries_max(limits: &Limits) -> u64 {
    limits.bundle_files_max.saturating_mul(4).saturating_add(1_000)
}

/// Most bytes of an archive as it comes, or as it is unpacked: its files, and a share of headers for each entry.
pub(crate) fn archive_bytes_max(limits: &Limits) -> u64 {
    const ENTRY_BYTES: u64 = 2_048;
    limits.bundle_bytes_max.saturating_add(entries_max(limits).saturating_mul(ENTRY_BYTES))
}
