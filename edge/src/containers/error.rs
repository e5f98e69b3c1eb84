//! What keeps an image from being had, or a container from being run.

/// Why an image or a container is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file of credentials cannot be used; what it holds is never in a message.
    #[error("the credentials in {file} cannot be read: {why}")]
    Credentials {
        /// The file.
        file: String,
        /// The error, without the text that it is about.
        why: String,
    },
    /// The archive holds another number of images than one.
    #[error("the archive holds {0} images, and a backend is one")]
    Images(usize),
    /// The registry is none that the edge takes images from.
    #[error("{0} is in no registry that `registries` of [runner.images] in edge.toml names")]
    NotAllowed(String),
    /// The image has no such digest.
    #[error("the registry gave another image than {0}")]
    OtherDigest(String),
    /// The engine refused, with its sentence.
    #[error("podman cannot {what}: {why}")]
    Refused {
        /// What it was to do.
        what: &'static str,
        /// Its answer.
        why: String,
    },
    /// It took longer than it may.
    #[error("{what} was not there within {ms_max} ms: `image_pull_ms_max` in edge.toml is the limit")]
    Slow {
        /// The image.
        what: String,
        /// The limit.
        ms_max: u64,
    },
    /// The image is larger than the edge takes.
    #[error("the image has {bytes} bytes; {bytes_max} are allowed: `image_bytes_max` in edge.toml is the limit")]
    TooLarge {
        /// Its size, unpacked.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The app has as many images as it may.
    #[error("the app has {0} images here already: `images_per_app_max` in edge.toml is the limit")]
    TooMany(u64),
    /// Nothing answers at the socket.
    #[error("podman does not answer at {socket}: {why}")]
    Unreachable {
        /// The socket.
        socket: String,
        /// The error.
        why: String,
    },
}
