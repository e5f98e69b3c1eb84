//! How far files are that are read or copied.

/// Files that are read or copied, and those that are known to be left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileProgress {
    /// Files that are done …
    pub files: u64,
    /// … and their bytes.
    pub bytes: u64,
    /// Files of which is known that they are to be done, with those that are …
    pub files_all: u64,
    /// … and their bytes.
    pub bytes_all: u64,
}

impl FileProgress {
    /// A file is done.
    pub(super) const fn add(&mut self, bytes: u64) {
        self.files = self.files.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Another file is to be done.
    pub(super) const fn expect(&mut self, bytes: u64) {
        self.files_all = self.files_all.saturating_add(1);
        self.bytes_all = self.bytes_all.saturating_add(bytes);
    }
}

/// Is called as files are read or copied.
pub(super) type Report<'r> = &'r (dyn Fn(FileProgress) + Send + Sync);

/// Reports nothing.
pub(super) const fn unreported(_: FileProgress) {}
