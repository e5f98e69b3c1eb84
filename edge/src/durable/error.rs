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
