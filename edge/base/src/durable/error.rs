//! The error of all that changes files.

/// What the disk, or the system, refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No room is left; trying again without making room is useless.
    #[error("no room is left on the disk of {path}")]
    Full {
        /// The file that was being written.
        path: String,
    },
    /// The file or folder is gone, or is not the one that this process opened: nothing is written to it or removed.
    #[error("{path} was moved or replaced while the edge runs")]
    Replaced {
        /// The file or folder.
        path: String,
    },
    /// The operating system said no.
    #[error("{doing} {path}: {source}")]
    Io {
        /// The operation, such as `writing`.
        doing: &'static str,
        /// To which file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether the disk itself does not let anything be written, and neither room nor a right would help.
    #[must_use]
    pub fn is_failed_disk(&self) -> bool {
        matches!(self, Self::Io { source, .. } if super::is_failed_disk(source))
    }

    /// Whether nothing can be written there, be it by the disk or for want of a right.
    #[must_use]
    pub fn is_unwritable(&self) -> bool {
        matches!(self, Self::Io { source, .. } if super::is_unwritable(source))
    }

    /// As the error of the system, with its number where it has one.
    #[must_use]
    pub fn into_io(self) -> std::io::Error {
        match self {
            Self::Full { .. } => std::io::ErrorKind::StorageFull.into(),
            Self::Io { source, .. } => source,
            replaced @ Self::Replaced { .. } => std::io::Error::other(replaced),
        }
    }
}
