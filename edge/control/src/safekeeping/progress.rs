//! Progress of reading or copying files.

/// Completed files, and files known to remain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileProgress {
    /// Completed files …
    pub files: u64,
    /// … and their bytes.
    pub bytes: u64,
    /// All known files, including completed files …
    pub files_all: u64,
    /// … and their bytes.
    pub bytes_all: u64,
}

impl FileProgress {
    /// Adds a completed file.
    pub(super) const fn add(&mut self, bytes: u64) {
        self.files = self.files.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Adds a remaining file.
    pub(super) const fn expect(&mut self, bytes: u64) {
        self.files_all = self.files_all.saturating_add(1);
        self.bytes_all = self.bytes_all.saturating_add(bytes);
    }
}

/// Called as files are read or copied.
pub(super) type Report<'r> = &'r (dyn Fn(FileProgress) + Send + Sync);

/// Reports nothing.
pub(super) const fn unreported(_: FileProgress) {}
