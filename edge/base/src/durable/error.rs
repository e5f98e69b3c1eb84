//! The error of all that changes files.

/// Operations that change nothing: by their errors nobody knows whether the disk can be written.
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

/// What the disk, or the system, refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder that holds what was acknowledged is gone. It is not made again, since an empty one would hide that.
    #[error("the folder {path} is gone")]
    Gone {
        /// The folder.
        path: String,
    },
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

    /// Whether the disk, or a right that is missing, is the reason, be it of a read or of a write.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Io { source, .. } if super::is_unwritable(source))
    }

    /// Whether nothing can be written there, be it by the disk, for want of a right or of a folder.
    #[must_use]
    pub fn is_unwritable(&self) -> bool {
        matches!(self, Self::Gone { .. }) || (self.is_refused() && !self.is_of_reading())
    }

    /// Whether something could not be read, which the disk or a right that is missing is the reason of.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        self.is_refused() && self.is_of_reading()
    }

    fn is_of_reading(&self) -> bool {
        matches!(self, Self::Io { doing, .. } if READING.contains(doing))
    }

    /// As the error of the system, with its number where it has one.
    #[must_use]
    pub fn into_io(self) -> std::io::Error {
        match self {
            Self::Full { .. } => std::io::ErrorKind::StorageFull.into(),
            Self::Io { source, .. } => source,
            other @ (Self::Gone { .. } | Self::Replaced { .. }) => std::io::Error::other(other),
        }
    }
}
