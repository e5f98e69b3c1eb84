//! Images in podman's store: finding, naming and removing.

use std::collections::BTreeSet;
use std::fmt;

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::arriving::Parsed;
use super::error::Error;
use super::podman::{Ask, Podman, encoded};

/// Image in the store.
pub(super) struct Found {
    pub(super) id: String,
    /// Digests: one for each format in which the image was built, pushed or fetched.
    pub(super) digests: BTreeSet<String>,
    /// Tags, including tags of other owners; without names with a digest.
    pub(super) tags: Vec<String>,
    /// Unpacked size; [`u64::MAX`] if podman does not report the size.
    pub(super) bytes: u64,
    /// Bytes of podman's description, including labels.
    pub(super) description_bytes: u64,
    /// Target system and processor; empty if unknown.
    pub(super) platform: Platform,
}

/// System and processor, with the names of the OCI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Platform {
    pub(super) os: String,
    pub(super) architecture: String,
}

impl Platform {
    /// Returns the platform of the machine.
    pub(super) fn own() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "loongarch64" => "loong64",
            other => other,
        };
        Self { os: std::env::consts::OS.to_owned(), architecture: architecture.to_owned() }
    }

    /// Returns true if a machine of this platform starts images of `other`. Missing values of an image match.
    pub(super) fn runs(&self, other: &Self) -> bool {
        let is_older = [("amd64", "386"), ("arm64", "arm")];
        (other.os.is_empty() || other.os == self.os)
            && (other.architecture.is_empty()
                || other.architecture == self.architecture
                || is_older.contains(&(&self.architecture, &other.architecture)))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// Name of an image.
pub(super) struct Named {
    pub(super) id: String,
    pub(super) name: String,
}

/// Requested fields of an image, with podman's names.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Inspected {
    id: String,
    digest: String,
    repo_digests: Option<Vec<String>>,
    repo_tags: Option<Vec<String>>,
    size: Option<u64>,
    os: String,
    architecture: String,
}

/// Requested fields of a list, with entries that contain all labels.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
}

impl Podman {
    /// Returns the image with a name or id.
    pub(super) async fn image(&self, name: &str) -> Result<Option<Found>, Error> {
        let ask = Ask::get(format!("/images/{}/json", encoded(name)));
        let Some(Parsed { value, bytes }) = self.look_up::<Inspected>(ask, "look at the image").await? else {
            return Ok(None);
        };
        let by_name = value.repo_digests.into_iter().flatten();
        let by_name = by_name.filter_map(|one| Some(one.split_once('@')?.1.to_owned()));
        Ok(Some(Found {
            id: value.id,
            // Each digest appears once per name of the image.
            digests: std::iter::once(value.digest).chain(by_name).collect(),
            tags: value.repo_tags.unwrap_or_default(),
            bytes: value.size.unwrap_or(u64::MAX),
            description_bytes: bytes,
            platform: Platform { os: value.os, architecture: value.architecture },
        }))
    }

    /// Returns the tags of an image; empty if the image is gone.
    pub(super) async fn image_tags(&self, id: &str) -> Result<Vec<String>, Error> {
        Ok(self.image(id).await?.map(|found| found.tags).unwrap_or_default())
    }

    /// Returns the ids of all images in the store.
    pub(super) async fn image_ids(&self) -> Result<BTreeSet<String>, Error> {
        Ok(self.list(Ask::get("/images/json?all=true"), "list images").await?.into_iter().map(|one| one.id).collect())
    }

    /// Returns all names that begin with `prefix`, which ends in a slash, and contain no further slash.
    pub(super) async fn images_named(&self, prefix: &str) -> Result<Vec<Named>, Error> {
        let filters = serde_json::json!({ "reference": [format!("{prefix}*")] });
        let path = format!("/images/json?filters={}", encoded(&filters.to_string()));
        let mut all = Vec::new();
        for Listed { id, names } in self.list(Ask::get(path), "list images").await? {
            // An image with one matching name is listed with all names.
            let names = names.into_iter().flatten().filter(|name| name.starts_with(prefix));
            all.extend(names.map(|name| Named { id: id.clone(), name }));
        }
        Ok(all)
    }

    /// Returns the ids of containers, including stopped containers.
    pub(super) async fn container_ids(&self, filters: &Value) -> Result<Vec<String>, Error> {
        let listed = self.list(Ask::list_containers(filters), "list containers").await?;
        Ok(listed.into_iter().map(|one| one.id).collect())
    }

    async fn list(&self, ask: Ask, what: &'static str) -> Result<Vec<Listed>, Error> {
        let listed = self.look_up::<Option<Vec<Listed>>>(ask, what).await?;
        Ok(listed.and_then(|listed| listed.value).unwrap_or_default())
    }

    /// Adds a tag to an image.
    pub(super) async fn tag_image(&self, id: &str, (repo, tag): (&str, &str)) -> Result<(), Error> {
        let path = format!("/images/{}/tag?repo={}&tag={}", encoded(id), encoded(repo), encoded(tag));
        self.ask(Ask::post(path)).await?.done("name the image").map(drop)
    }

    /// Removes a tag from an image. A missing tag is no error.
    pub(super) async fn untag_image(&self, id: &str, (repo, tag): (&str, &str)) -> Result<(), Error> {
        let path = format!("/images/{}/untag?repo={}&tag={}", encoded(id), encoded(repo), encoded(tag));
        self.ask(Ask::post(path)).await.map(drop)
    }

    /// Removes an image with all names, including names with a digest, which pulls create and which are only removed
    /// together. Nothing is forced, since force would end a container. A missing image is no error.
    ///
    /// # Errors
    /// [`Error::Refused`] if the image stays, without its names.
    pub(super) async fn remove_image(&self, id: &str) -> Result<(), Error> {
        let id = encoded(id);
        self.ask(Ask::post(format!("/images/{id}/untag"))).await?;
        let removed = self.ask(Ask::delete(format!("/images/{id}"))).await?;
        match removed.status {
            StatusCode::NOT_FOUND => Ok(()),
            _ => removed.done("remove the image").map(drop),
        }
    }

    /// Returns true if a container was created from the image, including stopped containers.
    pub(super) async fn is_image_in_use(&self, id: &str) -> Result<bool, Error> {
        Ok(!self.container_ids(&serde_json::json!({ "ancestor": [id] })).await?.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        let (os, architecture) = text.split_once('/').unwrap();
        Platform { os: os.to_owned(), architecture: architecture.to_owned() }
    }

    #[test]
    fn a_machine_runs_images_of_its_own_platform_and_of_the_32_bits_of_it() {
        let (own, large) = (Platform::own(), platform("linux/amd64"));
        assert!(own.runs(&own) && own.os == "linux" && !own.architecture.contains("x86"), "{own}");
        for (other, expected) in [
            ("linux/amd64", true),
            ("linux/386", true),
            ("/", true),
            ("linux/", true),
            ("linux/arm64", false),
            ("windows/amd64", false),
            ("wasi/wasm", false),
        ] {
            assert_eq!(large.runs(&platform(other)), expected, "{other}");
        }
        assert!(!platform("linux/386").runs(&large));
    }
}
