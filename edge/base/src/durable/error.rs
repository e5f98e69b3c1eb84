//! Error of all file changes.

/// Operations without changes: their errors do not show that the disk is unwritable.
const READING: [&str; 9] = [
    "copying",
    "listing",
    "looking at",
    "looking at the free space of",
    "looking for",
    "looking through",
    "opening",
    "reading",
    "reading back",
];

/// Error of the disk or the operating system.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder with acknowledged data is gone. The folder is not recreated, since an empty folder would hide the loss.
    #[error("the folder {path} is gone")]
    Gone {
        /// Path of the folder.
        path: String,
    },
    /// No room is left; retries are useless until room is made.
    #[error("no room is left on the disk of {path}")]
    Full {
        /// Path of the file being written.
        path: String,
    },
    /// The file or folder is gone, or differs from the one opened by this process: no further write or removal happens.
    #[error("{path} was moved or replaced while the edge runs")]
    Replaced {
        /// Path of the file or folder.
        path: String,
    },
    /// The operating system reported an error.
    #[error("{doing} {path}: {source}")]
    Io {
        /// Operation, such as `writing`.
        doing: &'static str,
        /// Path of the file.
        path: String,
        /// Error of the operating system.
        source: std::io::Error,
    },
}

impl Error {
    /// Returns true if the disk itself rejects all writes, so that neither room nor permissions would help.
    #[must_use]
    pub fn is_failed_disk(&self) -> bool {
        matches!(self, Self::Io { source, .. } if super::is_failed_disk(source))
    }

    /// Returns true if the disk or a missing permission caused a failed read or write.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Io { source, .. } if super::is_unwritable(source))
    }

    /// Returns true if no write is possible because of the disk, a missing permission or a missing folder.
    #[must_use]
    pub fn is_unwritable(&self) -> bool {
        matches!(self, Self::Gone { .. }) || (self.is_refused() && !self.is_of_reading())
    }

    /// Returns true if a read failed because of the disk or a missing permission.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        self.is_refused() && self.is_of_reading()
    }

    fn is_of_reading(&self) -> bool {
        matches!(self, Self::Io { doing, .. } if READING.contains(doing))
    }

    /// Converts the error into an error of the operating system, with the error number if known.
    #[must_use]
    pub fn into_io(self) -> std::io::Error {
        match self {
            Self::Full { .. } => std::io::ErrorKind::StorageFull.into(),
            Self::Io { source, .. } => source,
            other @ (Self::Gone { .. } | Self::Replaced { .. }) => std::io::Error::other(other),
        }
    }
}
