//! Errors of fetching images and running containers, with hints.

/// Error of an image or a container.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The credentials file is unusable; its content never appears in a message.
    #[error("the credentials in {file} cannot be read: {why}")]
    Credentials {
        /// Path of the file.
        file: String,
        /// Error without the related text.
        why: String,
    },
    /// The archive does not contain exactly one image.
    #[error("the archive holds {0} images, and a backend is one")]
    Images(usize),
    /// The edge accepts no images from the registry.
    #[error("{0} is in no registry that `registries` of [runner.images] in edge.toml names")]
    NotAllowed(String),
    /// The disk of podman's store has no room for another image.
    #[error(
        "podman's store in {folder} has {bytes} bytes free; {bytes_min} stay free: `disk_free_bytes_min` in edge.toml \
         is the limit"
    )]
    NoRoom {
        /// Folder of the store.
        folder: String,
        /// Free bytes.
        bytes: u64,
        /// Minimum of free bytes.
        bytes_min: u64,
    },
    /// Podman has the image, and the image is not permitted to run.
    #[error("the image cannot be taken: {0}")]
    NotTaken(String),
    /// The image does not have the digest.
    #[error("the registry gave another image than {0}")]
    OtherDigest(String),
    /// Podman refused with a message.
    #[error("podman cannot {what}: {why}")]
    Refused {
        /// Refused action.
        what: &'static str,
        /// Message of podman.
        why: String,
    },
    /// The image is for another platform than the machine.
    #[error("the image is for {platform}, and this edge runs {expected}")]
    OtherPlatform {
        /// Platform of the image, such as `linux/arm64`.
        platform: String,
        /// Platform of the machine.
        expected: String,
    },
    /// The time limit was exceeded.
    #[error("{what} was not there within {ms_max} ms: `image_pull_ms_max` in edge.toml is the limit")]
    Slow {
        /// Image name.
        what: String,
        /// Time limit in milliseconds.
        ms_max: u64,
    },
    /// The image exceeds the size limit.
    #[error("the image has {bytes} bytes; {bytes_max} are allowed: `image_bytes_max` in edge.toml is the limit")]
    TooLarge {
        /// Unpacked size in bytes.
        bytes: u64,
        /// Size limit in bytes.
        bytes_max: u64,
    },
    /// The app has the maximum number of images.
    #[error("the app has {0} images here already: `images_per_app_max` in edge.toml is the limit")]
    TooMany(u64),
    /// The socket does not respond.
    #[error("podman does not answer at {socket}: {why}")]
    Unreachable {
        /// Path of the socket.
        socket: String,
        /// Cause.
        why: String,
    },
}

/// Parts of messages of podman and of registries, in lower case, each with a hint. The first match counts: registries
/// also report a missing image as a missing permission.
const REMEDIES: [(&[&str], &str); 8] = [
    (
        &["for architecture", "no matching manifest", "no image found in"],
        "build it for the platform of the edge too, such as by `podman build --platform`",
    ),
    (
        &["manifest unknown", "name unknown", "not found", "status 404", "404 (not found)"],
        "look at the name, and at the tag or digest: the registry has no such image; push the image first",
    ),
    (
        &[
            "unauthorized",
            "authentication required",
            "access denied",
            "is denied",
            "invalid username/password",
            "forbidden",
        ],
        "name a user that may read it in the file that `auth_file` below [runner.images] in edge.toml names, as `podman login --authfile` writes it; registries also answer so where there is no such image",
    ),
    (&["toomanyrequests", "too many requests"], "wait, or use an account with a higher limit in `auth_file`"),
    (
        &["x509", "server gave http response", "tls: "],
        "let podman trust the certificate of the registry, in /etc/containers/certs.d on the machine of the edge; one without TLS also has to stand in `insecure_registries` of edge.toml",
    ),
    (
        &[
            "connection refused",
            "no such host",
            "i/o timeout",
            "no route to host",
            "network is unreachable",
            "connection reset",
        ],
        "see whether the registry runs and can be reached from the machine of the edge, then push again",
    ),
    (&["policy", "signature"], "sign the image, or look at /etc/containers/policy.json on the machine of the edge"),
    (&["no space left"], "free disk space where podman has its store"),
];

impl Error {
    /// Returns the hint for the error.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Credentials { .. } => {
                "write the file of `auth_file` in edge.toml by `podman login --authfile`".to_owned()
            }
            Self::Images(_) => "make the archive by `podman save --format oci-archive`, of one image".to_owned(),
            Self::NotAllowed(_) => {
                "use an image of a registry in that list, or have its operator add this one".to_owned()
            }
            Self::NoRoom { .. } => {
                "free disk space on the machine of the edge; what images that did not come to their end have left there, podman 5 removes by `podman system check --repair`"
                    .to_owned()
            }
            Self::NotTaken(_) => {
                "build the image again, such as by `podman build`, and push it to its registry".to_owned()
            }
            Self::OtherDigest(_) => "push again; name the image by the digest that the registry has it by".to_owned(),
            Self::OtherPlatform { expected, .. } => format!("build it by `podman build --platform {expected}`"),
            Self::Refused { what: TAKE_ARCHIVE, .. } => {
                "make the archive again, by `podman build` and `podman save --format oci-archive`".to_owned()
            }
            Self::Refused { why, .. } => remedy(why).to_owned(),
            Self::Slow { .. } => {
                "push again once the registry is quicker, make the image smaller, or raise the limit".to_owned()
            }
            Self::TooLarge { .. } => {
                "copy what runs into a smaller base image, in a last stage of its build, or raise the limit".to_owned()
            }
            Self::TooMany(_) => "delete versions by `devanture delete`, or raise the limit".to_owned(),
            Self::Unreachable { .. } => {
                "start podman's service on the machine of the edge: `systemctl enable --now podman.socket`".to_owned()
            }
        }
    }
}

/// Description of passing an archive to podman.
pub(super) const TAKE_ARCHIVE: &str = "take the archive";

/// Returns the hint for a refusal with this message.
fn remedy(why: &str) -> &'static str {
    let why = why.to_lowercase();
    let known = REMEDIES.iter().find(|(parts, _)| parts.iter().any(|part| why.contains(part)));
    known.map_or("look at podman's log on the machine of the edge: `journalctl -u podman`", |(_, remedy)| remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of podman 4 and 5, and of the registries of Docker, Quay and distribution.
    #[test]
    fn each_cause_of_a_refusal_says_what_to_do() {
        for (why, expected) in [
            (
                "initializing source docker://127.0.0.1:5000/team/api:none: reading manifest none in 127.0.0.1:5000/team/api: manifest unknown: manifest unknown",
                "push the image first",
            ),
            (
                "reading manifest 1 in localhost/api: name unknown: repository name not known to registry",
                "no such image",
            ),
            (
                "unable to retrieve auth token: invalid username/password: unauthorized: authentication required",
                "auth_file",
            ),
            ("errors:\ndenied: requested access to the resource is denied", "auth_file"),
            (
                "choosing an image from manifest list docker://localhost/a:1: no image found in manifest list for architecture amd64, variant \"\", OS linux",
                "podman build --platform",
            ),
            (
                "no image found in image index for architecture \"amd64\", variant \"\", OS \"linux\"",
                "podman build --platform",
            ),
            ("toomanyrequests: You have reached your pull rate limit", "wait"),
            (
                "pinging container registry r:5000: Get \"https://r:5000/v2/\": dial tcp: lookup r: no such host",
                "can be reached",
            ),
            ("dial tcp 127.0.0.1:5000: connect: connection refused", "can be reached"),
            ("http: server gave HTTP response to HTTPS client", "insecure_registries"),
            ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "certs.d"),
            ("Source image rejected: Running image docker://r/a:1 is rejected by policy.", "policy.json"),
            ("writing blob: storing blob to file: write /var/tmp/x: no space left on device", "disk space"),
            ("it answered 500", "podman's log"),
        ] {
            let hint = Error::Refused { what: "get the image", why: why.to_owned() }.hint();
            assert!(hint.contains(expected), "{why}: {hint}");
        }
        let archive = Error::Refused { what: TAKE_ARCHIVE, why: "`x` belongs to no OCI image: not found".to_owned() };
        assert!(archive.hint().contains("podman save"), "the archive is at fault");
        let other = Error::OtherPlatform { platform: "linux/arm64".to_owned(), expected: "linux/amd64".to_owned() };
        assert_eq!(other.to_string(), "the image is for linux/arm64, and this edge runs linux/amd64");
        assert_eq!(other.hint(), "build it by `podman build --platform linux/amd64`");
    }
}
