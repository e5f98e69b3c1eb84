//! `[server] image`: container image of a backend, by its name in a registry or as an OCI archive.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::path::BundlePath;
use crate::text::{shown, text_form};

/// Prefix of an archive's path.
const ARCHIVE: &str = "oci-archive:";
/// Prefix of a digest.
const SHA256: &str = "sha256:";
/// Maximum length of an image's name, in bytes.
const IMAGE_BYTES_MAX: usize = 512;
/// Maximum length of a tag in registries, in bytes.
const TAG_BYTES_MAX: usize = 128;
/// Top-level system folders of a container, forbidden as the persistent folder.
const SYSTEM_FOLDERS: [&str; 6] = ["dev", "etc", "proc", "run", "sys", "tmp"];

/// A container image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Image {
    /// An OCI archive: its path beside `devanture.toml`, also the path of the single file of the server folder.
    Archive(BundlePath),
    /// An image in a registry.
    Registry(RegistryImage),
}

/// Name of an image in a registry, for example `registry.example.org/team/api@sha256:…`. The registry is mandatory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RegistryImage {
    /// Host, with a port if needed.
    pub registry: String,
    /// Path in the registry.
    pub repository: String,
    /// Tag, which may refer to another image later.
    pub tag: Option<String>,
    /// Digest of the image's manifest, 64 hex digits.
    pub digest: Option<String>,
}

/// Error for an invalid image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no image: write its registry, its name, and a tag or a digest, such as \"registry.example.org/team/api:1.4\", or \"oci-archive:dist/api.tar\""
)]
pub struct BadImage(pub String);

impl FromStr for Image {
    type Err = BadImage;

    fn from_str(text: &str) -> Result<Self, BadImage> {
        let bad = || BadImage(shown(text));
        if text.len() > IMAGE_BYTES_MAX {
            return Err(bad());
        }
        match text.strip_prefix(ARCHIVE) {
            Some(path) => path.parse().map(Self::Archive).map_err(|_error| bad()),
            None => RegistryImage::parsed(text).map(Self::Registry).ok_or_else(bad),
        }
    }
}

impl Image {
    /// Returns true if the name always refers to the same image.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        match self {
            Self::Archive(_) => true,
            Self::Registry(image) => image.digest.is_some(),
        }
    }

    /// Returns the name of the archive's file in the server folder.
    #[must_use]
    pub fn archive_file(&self) -> Option<&str> {
        match self {
            Self::Archive(path) => Some(path.file_name()),
            Self::Registry(_) => None,
        }
    }
}

impl RegistryImage {
    fn parsed(text: &str) -> Option<Self> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.strip_prefix(SHA256).filter(|digest| is_digest(digest))?)),
            None => (text, None),
        };
        let (registry, rest) = name.split_once('/')?;
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        let is_sound = is_registry(registry)
            && repository.split('/').all(is_component)
            && tag.is_none_or(is_tag)
            && (tag.is_some() || digest.is_some());
        is_sound.then(|| Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }

    /// Returns the registry and the path in the registry.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Replaces a tag by the digest, 64 hex digits; `None` for an invalid digest.
    #[must_use]
    pub fn with_digest(&self, digest: &str) -> Option<Self> {
        let digest = digest.strip_prefix(SHA256).unwrap_or(digest);
        is_digest(digest).then(|| Self { tag: None, digest: Some(digest.to_owned()), ..self.clone() })
    }

    /// Returns true if the image is in `allowed`, a registry such as `registry.example.org` or a part such as
    /// `registry.example.org/team`.
    #[must_use]
    pub fn is_in(&self, allowed: &str) -> bool {
        let name = self.name();
        name.strip_prefix(allowed).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for RegistryImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{SHA256}{digest}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive(path) => write!(f, "{ARCHIVE}{path}"),
            Self::Registry(image) => image.fmt(f),
        }
    }
}

text_form!(Image, BadImage);

/// Returns true if a text is a valid registry in the settings of an edge: a host, with an optional path.
#[must_use]
pub fn is_registry_prefix(text: &str) -> bool {
    let (registry, path) = text.split_once('/').map_or((text, None), |(registry, path)| (registry, Some(path)));
    is_registry(registry) && path.is_none_or(|path| path.split('/').all(is_component))
}

/// Returns true if a persistent folder must not have this name in a container, where the folder is at `/` and its name.
pub(super) fn is_system_folder(path: &BundlePath) -> bool {
    path.as_str().split('/').next().is_some_and(|first| SYSTEM_FOLDERS.contains(&first))
}

/// Returns true for a host with a dot or a port, or `localhost`: tools look up other names in a default registry.
fn is_registry(text: &str) -> bool {
    let (host, port) = text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port);
    host.split('.').all(is_label)
        && port.is_none_or(is_port)
        && (host.contains('.') || port.is_some() || host == "localhost")
}

/// Returns true for a part of a path: lower-case letters and digits, with separators between them.
fn is_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = [text.bytes().next(), text.bytes().next_back()];
    ends.iter().all(|end| end.is_some_and(is_word))
        && text.bytes().all(|b| is_word(b) || b"._-".contains(&b))
        && !text.contains("..")
        && !text.contains("___")
}

fn is_tag(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= TAG_BYTES_MAX
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|b| is_word(b) || b".-".contains(&b))
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest() -> String {
        "0123456789abcdef".repeat(4)
    }

    #[test]
    fn an_image_is_written_as_it_is_read() {
        let fixed = format!("registry.example.org/team/api@sha256:{}", digest());
        let both = format!("localhost/api:1@sha256:{}", digest());
        for text in ["registry.example.org/team/api:1.4", "127.0.0.1:5000/a:b", &fixed, &both, "oci-archive:dist/a.tar"]
        {
            assert_eq!(text.parse::<Image>().unwrap().to_string(), text);
        }
        let is_fixed = |text: &str| text.parse::<Image>().unwrap().is_fixed();
        assert!(is_fixed(&fixed) && is_fixed("oci-archive:a.tar") && !is_fixed("localhost/a:1"));
        assert_eq!("oci-archive:dist/a.tar".parse::<Image>().unwrap().archive_file(), Some("a.tar"));
    }

    #[test]
    fn a_name_that_means_more_than_an_image_is_refused() {
        let short = format!("localhost/api@sha256:{}", &digest()[1..]);
        let other = format!("localhost/api@md5:{}", digest());
        let long = format!("localhost/{}:1", "a".repeat(IMAGE_BYTES_MAX));
        for bad in [
            "",
            "api",
            "api:1",
            "team/api:1",
            "-v/api:1",
            "--privileged",
            "registry.example.org/-api:1",
            "registry.example.org/api",
            "registry.example.org/api:",
            "registry.example.org/api:-1",
            "registry.example.org/../api:1",
            "registry.example.org/a//b:1",
            "registry.example.org/API:1",
            "registry.example.org:0/api:1",
            "registry.example.org:70000/api:1",
            "https://registry.example.org/api:1",
            "user:password@registry.example.org/api:1",
            "registry.example.org/api:1 --privileged",
            "docker-archive:a.tar",
            "oci-archive:",
            "oci-archive:/etc/passwd",
            "oci-archive:../a.tar",
            &short,
            &other,
            &long,
        ] {
            assert!(bad.parse::<Image>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_registry_of_the_settings_holds_whole_parts_of_a_path() {
        let Image::Registry(image) = "registry.example.org/team/api:1".parse().unwrap() else { panic!("an archive") };
        for allowed in ["registry.example.org", "registry.example.org/team", "registry.example.org/team/api"] {
            assert!(is_registry_prefix(allowed) && image.is_in(allowed), "{allowed}");
        }
        for other in ["registry.example", "registry.example.org/te", "registry.example.org/team/api/x", "example.org"] {
            assert!(!image.is_in(other), "{other}");
        }
        for bad in ["", "*", "registry.example.org/", "https://registry.example.org", "docker"] {
            assert!(!is_registry_prefix(bad), "{bad}");
        }
        assert_eq!(image.with_digest(&format!("sha256:{}", digest())).unwrap().digest, Some(digest()));
        assert_eq!(image.with_digest("sha256:0"), None);
    }

    proptest! {
        #[test]
        fn what_is_read_holds_nothing_that_a_command_or_a_query_could_take_for_more(text in "\\PC{0,40}|[a-z0-9./:@_-]{1,60}") {
            if let Ok(Image::Registry(image)) = text.parse::<Image>() {
                let written = image.to_string();
                prop_assert_eq!(&written, &text);
                prop_assert!(!written.starts_with('-') && !written.contains("..") && written.contains('/'));
                prop_assert!(written.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b)));
            }
        }
    }
}
