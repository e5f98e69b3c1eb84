//! Backend images in podman's store: fetched from registries and archives, measured, and removed.
//!
//! An image stays as long as the edge has a name for the image, `localhost/devanture-EDGE/APP:VERSION`: one per stored
//! version set up on the machine. An image resolved by a push has a name with a timestamp until the version has a name.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::edge_toml;
use devanture_config::limits::Limits;
use devanture_config::site_toml::{Image, RegistryImage};
use devanture_config::{AppName, VersionId};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::timeout;

use super::credentials;
use super::error::Error;
use super::podman::{Ask, Podman, encoded, shortened};
use super::store::{Found, Named, Platform};
use devanture_store::blobs::ReadAt;

/// Prefix of image names of an edge, before the edge id.
const NAMES: &str = "localhost/devanture-";
/// Prefix of the tag of an image resolved by a push, before the time in milliseconds.
const RESOLVED: &str = "resolved-";
/// Retention of a resolved image: a push has finished by then, or starts again.
const RESOLVED_KEPT: Duration = Duration::from_secs(3_600);
/// Maximum bytes of podman's description of an image: labels, variables and history. Lists contain all descriptions.
const DESCRIPTION_BYTES_MAX: u64 = 1024 * 1024;
/// Maximum digests of an image requested from the registry.
const DIGESTS_MAX: usize = 8;

/// Image settings of an edge.
#[derive(Debug, Clone)]
pub struct ImagesSettings {
    /// Section `[runner.images]`.
    pub images: edge_toml::Images,
    /// Absolute path of the credentials file.
    pub auth_file: Option<PathBuf>,
    /// Id of the edge.
    pub edge_id: String,
    /// Limits.
    pub limits: Limits,
}

/// Images of an edge.
pub struct Images {
    podman: Podman,
    settings: ImagesSettings,
    /// Held while an image of an app is fetched: a slow registry does not delay other apps.
    turns: Turns<AppName>,
    /// Held while a tag of a registry is fetched, which the store keeps only for the meantime.
    tags: Turns<String>,
    /// Held while names are added or removed, so that no name is added to an image about to be removed.
    naming: tokio::sync::Mutex<()>,
}

/// Counts of unneeded image names, by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unneeded {
    /// Removed names.
    pub removed: usize,
    /// Names kept for now, since their images are in use.
    pub left: usize,
}

/// Locks by key.
type Turns<K> = Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>;

impl Images {
    /// Creates the images of an edge; no request is made yet.
    #[must_use]
    pub fn new(settings: ImagesSettings) -> Self {
        let podman = Podman::at(settings.images.socket.clone());
        Self {
            podman,
            settings,
            turns: Mutex::default(),
            tags: Mutex::default(),
            naming: tokio::sync::Mutex::default(),
        }
    }

    /// Returns the client of podman.
    #[must_use]
    pub const fn podman(&self) -> &Podman {
        &self.podman
    }

    /// Returns the settings.
    #[must_use]
    pub const fn settings(&self) -> &edge_toml::Images {
        &self.settings.images
    }

    /// Returns the id of the edge on its containers.
    #[must_use]
    pub fn edge_id(&self) -> &str {
        &self.settings.edge_id
    }

    /// Checks that podman responds, and that the image's registry is permitted.
    ///
    /// # Errors
    /// [`Error::NotAllowed`], [`Error::Unreachable`].
    pub async fn check(&self, image: &Image) -> Result<(), Error> {
        if let Image::Registry(image) = image {
            self.check_allowed(image)?;
        }
        self.podman.ask(Ask::get("/_ping")).await?.done("answer").map(drop)
    }

    fn check_allowed(&self, image: &RegistryImage) -> Result<(), Error> {
        let is_allowed = self.settings.images.registries.iter().any(|registry| image.is_in(registry));
        // Names of this form belong to an edge.
        match is_allowed && !image.name().starts_with(NAMES) {
            true => Ok(()),
            false => Err(Error::NotAllowed(image.name())),
        }
    }

    /// Resolves a tag to the image's current digest. The image is fetched, and kept for a while.
    ///
    /// # Errors
    /// Fails if the image is unavailable.
    pub async fn resolve(&self, app: &AppName, image: &RegistryImage, now_ms: u64) -> Result<RegistryImage, Error> {
        self.check_allowed(image)?;
        if let Some(digest) = &image.digest {
            return image.with_digest(digest).ok_or_else(|| Error::OtherDigest(image.to_string()));
        }
        let (turn, tag_turn) = (turn_of(&self.turns, app), turn_of(&self.tags, &image.to_string()));
        let _one_at_a_time = (turn.lock().await, tag_turn.lock().await);
        let (before, had_tag) =
            (self.podman.image_ids().await?, self.podman.image(&image.to_string()).await?.is_some());
        self.pull(image).await?;
        let looked = self.look_through(&image.to_string()).await;
        let found = {
            let _named = self.naming.lock().await;
            let found =
                self.podman.image(&image.to_string()).await?.ok_or_else(|| Error::OtherDigest(image.to_string()))?;
            let named = async {
                looked?;
                self.check_found(app, &found, None).await?;
                self.podman.tag_image(&found.id, (&self.name_of(app), &format!("{RESOLVED}{now_ms}"))).await
            };
            let named = named.await;
            // A tag that existed before belongs to an operator.
            if let (false, Some(tag)) = (had_tag, &image.tag) {
                self.podman.untag_image(&found.id, (&image.name(), tag)).await?;
            }
            match named {
                Ok(()) => found,
                Err(error) => return Err(self.discarded(&found.id, &before, error).await),
            }
        };
        self.digest_of(image, &found).await
    }

    /// Returns the image by a digest known to the registry, not only to the local store: an image built locally also
    /// has a different digest.
    async fn digest_of(&self, image: &RegistryImage, found: &Found) -> Result<RegistryImage, Error> {
        let mut error = Error::OtherDigest(image.to_string());
        for digest in found.digests.iter().take(DIGESTS_MAX) {
            let Some(fixed) = image.with_digest(digest) else { continue };
            match self.pull(&fixed).await {
                Ok(()) => {
                    let same = self.podman.image(&fixed.to_string()).await?.filter(|same| same.id == found.id);
                    if same.is_some() {
                        return Ok(fixed);
                    }
                }
                Err(why) => error = why,
            }
        }
        Err(error)
    }

    /// Returns the image id of a version, after fetching a missing image. `archive` provides the bytes of an archive.
    ///
    /// # Errors
    /// Fails if the image is unavailable.
    pub async fn ready(
        &self,
        (app, version): (&AppName, &VersionId),
        image: &Image,
        archive: Option<Arc<dyn ReadAt>>,
    ) -> Result<String, Error> {
        let turn = turn_of(&self.turns, app);
        let _one_at_a_time = turn.lock().await;
        if let Image::Registry(image) = image {
            // Also checked for images present before a change of the settings.
            self.check_allowed(image)?;
        }
        let own = format!("{}:{version}", self.name_of(app));
        if let Some(found) = self.podman.image(&own).await? {
            return Ok(found.id);
        }
        let before = self.podman.image_ids().await?;
        let mut looked = Ok(());
        let name = match (image, archive) {
            (Image::Registry(image), _) => {
                let name = image.to_string();
                if image.digest.is_none() {
                    return Err(Error::OtherDigest(name));
                }
                if self.podman.image(&name).await?.is_none() {
                    self.pull(image).await?;
                }
                looked = self.look_through(&name).await;
                name
            }
            (Image::Archive(_), Some(archive)) => {
                let limits = &self.settings.limits;
                let loaded = self.podman.load(archive, limits.image_bytes_max, limits.image_pull_ms_max);
                self.podman.with_room(limits.disk_free_bytes_min, loaded).await?
            }
            (Image::Archive(_), None) => return Err(Error::Images(0)),
        };
        let _named = self.naming.lock().await;
        let found = self.podman.image(&name).await?.ok_or_else(|| Error::OtherDigest(image.to_string()))?;
        let checked = match looked {
            Ok(()) => self.check_found(app, &found, Some(version)).await,
            refused => refused,
        };
        if let Err(error) = checked {
            return Err(self.discarded(&found.id, &before, error).await);
        }
        self.podman.tag_image(&found.id, (&self.name_of(app), &version.to_string())).await?;
        Ok(found.id)
    }

    /// Returns true if the store has the image with the id.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unreachable`].
    pub async fn has(&self, id: &str) -> Result<bool, Error> {
        Ok(self.podman.image(id).await?.is_some())
    }

    fn name_of(&self, app: &AppName) -> String {
        format!("{NAMES}{}/{app}", self.settings.edge_id)
    }

    /// Inspects an image that podman fetched from a registry, unless the edge has inspected the image before: then the
    /// edge has a name for the image.
    async fn look_through(&self, name: &str) -> Result<(), Error> {
        let Some(found) = self.podman.image(name).await? else { return Ok(()) };
        let own = format!("{NAMES}{}/", self.settings.edge_id);
        if found.tags.iter().any(|tag| tag.starts_with(&own)) {
            return Ok(());
        }
        let limits = &self.settings.limits;
        let looked = self.podman.look_through(&found.id, limits.image_bytes_max, limits.image_pull_ms_max).await;
        looked.inspect_err(|error| tracing::warn!(image = name, %error, "an image is refused"))
    }

    /// Checks the platform and the sizes of an image, and the number of further images of the app.
    async fn check_found(&self, app: &AppName, found: &Found, version: Option<&VersionId>) -> Result<(), Error> {
        let (limits, own) = (&self.settings.limits, Platform::own());
        let refused = if !own.runs(&found.platform) {
            // Podman would fetch the image anyway, and report that the program cannot be executed.
            Some(Error::OtherPlatform { platform: found.platform.to_string(), expected: own.to_string() })
        } else if found.description_bytes > DESCRIPTION_BYTES_MAX {
            let (bytes, max) = (found.description_bytes, DESCRIPTION_BYTES_MAX);
            Some(Error::NotTaken(format!("its labels, variables and history have {bytes} bytes; {max} are allowed")))
        } else if found.bytes > limits.image_bytes_max {
            Some(Error::TooLarge { bytes: found.bytes, bytes_max: limits.image_bytes_max })
        } else {
            let named = self.named().await?;
            let of_app = named.iter().filter(|one| one.app == *app && one.id != found.id);
            // Images of unfinished pushes count as well: they take bytes.
            let count = of_app.map(|one| one.id.as_str()).collect::<BTreeSet<_>>().len();
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            (count >= limits.images_per_app_max).then_some(Error::TooMany(count))
        };
        let version = version.map(ToString::to_string);
        refused.map_or(Ok(()), |error| {
            tracing::warn!(%app, version, %error, "an image is refused");
            Err(error)
        })
    }

    /// Removes a rejected image, unless the image existed before or has a tag of another app or an operator. Returns
    /// the reason of the rejection.
    async fn discarded(&self, id: &str, before: &BTreeSet<String>, error: Error) -> Error {
        if before.contains(id) {
            return error;
        }
        let removed = async {
            if self.podman.image_tags(id).await?.is_empty() {
                self.podman.remove_image(id).await?;
            }
            Ok::<_, Error>(())
        };
        if let Err(why) = removed.await {
            tracing::warn!(image = id, %why, "an image that was refused stays in the store");
        }
        error
    }

    async fn pull(&self, image: &RegistryImage) -> Result<(), Error> {
        let is_insecure = self.settings.images.insecure_registries.iter().any(|registry| image.is_in(registry));
        let reference = encoded(&format!("docker://{image}"));
        let path = format!("/images/pull?reference={reference}&policy=always&quiet=true&tlsVerify={}", !is_insecure);
        let mut ask = Ask::post(path).unlimited();
        let header = self.settings.auth_file.as_deref().map(|file| credentials::header_for(file, image)).transpose()?;
        if let Some(header) = header.flatten() {
            ask = ask.header("x-registry-auth", header);
        }
        let limits = &self.settings.limits;
        let ms_max = limits.image_pull_ms_max;
        let pulled = self.podman.with_room(limits.disk_free_bytes_min, self.podman.ask(ask));
        let pulled = timeout(Duration::from_millis(ms_max), pulled).await;
        let answered = pulled.map_err(|_elapsed| Error::Slow { what: image.to_string(), ms_max })??;
        let answered = answered.done("get the image")?;
        // The status was sent before podman asked the registry.
        let lines = answered.bytes.split(|byte| *byte == b'\n');
        let mut errors = lines
            .filter_map(|line| Some(shortened(serde_json::from_slice::<Value>(line).ok()?.get("error")?.as_str()?)));
        errors.next().map_or(Ok(()), |why| Err(Error::Refused { what: "get the image", why }))
    }

    /// Returns all image names of the edge.
    async fn named(&self) -> Result<Vec<OwnName>, Error> {
        let prefix = format!("{NAMES}{}/", self.settings.edge_id);
        let named = self.podman.images_named(&prefix).await?;
        let own = named.into_iter().filter_map(|Named { id, name }| {
            let (app, tag) = name.strip_prefix(&prefix)?.split_once(':')?;
            Some(OwnName { app: app.parse().ok()?, tag: tag.to_owned(), id, name })
        });
        Ok(own.collect())
    }

    /// Returns the versions with an image name.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unreachable`].
    pub async fn versions(&self) -> Result<Vec<(AppName, VersionId)>, Error> {
        let named = self.named().await?;
        Ok(named.into_iter().filter_map(|one| Some((one.app, one.tag.parse().ok()?))).collect())
    }

    /// Removes unneeded names and images: names of versions in `gone`, names of unfinished pushes, and images left
    /// without a name. An image in use stays until the next call.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unreachable`].
    pub async fn remove_unneeded(&self, gone: &BTreeSet<(AppName, VersionId)>, now_ms: u64) -> Result<Unneeded, Error> {
        let mut unneeded = Unneeded::default();
        for one in self.named().await?.into_iter().filter(|one| one.is_unneeded(gone, now_ms)) {
            match self.remove(&one).await? {
                true => unneeded.removed += 1,
                false => unneeded.left += 1,
            }
        }
        Ok(unneeded)
    }

    /// Removes a name, and with the edge's last name the image, unless the image is in use or has a tag of an operator.
    async fn remove(&self, one: &OwnName) -> Result<bool, Error> {
        let turn = turn_of(&self.turns, &one.app);
        let _one_at_a_time = turn.lock().await;
        let _named = self.naming.lock().await;
        let repo = self.name_of(&one.app);
        if self.podman.image_tags(&one.id).await?.iter().any(|tag| *tag != one.name) {
            self.podman.untag_image(&one.id, (&repo, &one.tag)).await?;
            return Ok(true);
        }
        if self.podman.is_image_in_use(&one.id).await? {
            return Ok(false);
        }
        let removed = self.podman.remove_image(&one.id).await;
        if let Err(error) = &removed {
            tracing::debug!(image = one.id, %error, "an image that nothing needs stays for now");
            // Restored, so that the next call finds the image again.
            self.podman.tag_image(&one.id, (&repo, &one.tag)).await?;
        }
        Ok(removed.is_ok())
    }
}

/// Returns the lock of a key; unused locks are dropped.
fn turn_of<K: Clone + Eq + Hash>(turns: &Turns<K>, of: &K) -> Arc<tokio::sync::Mutex<()>> {
    let mut turns = turns.lock();
    turns.retain(|_, turn| Arc::strong_count(turn) > 1);
    Arc::clone(turns.entry(of.clone()).or_default())
}

/// Image name of the edge.
struct OwnName {
    app: AppName,
    tag: String,
    id: String,
    name: String,
}

impl OwnName {
    /// Returns true if the name is unneeded. A version not in `gone` keeps the name: the version may have been set up
    /// after `gone` was determined.
    fn is_unneeded(&self, gone: &BTreeSet<(AppName, VersionId)>, now_ms: u64) -> bool {
        match self.tag.strip_prefix(RESOLVED) {
            Some(at_ms) => {
                let kept_ms = u64::try_from(RESOLVED_KEPT.as_millis()).unwrap_or(u64::MAX);
                !at_ms.parse().is_ok_and(|at_ms: u64| at_ms >= now_ms.saturating_sub(kept_ms))
            }
            None => !self.tag.parse().is_ok_and(|version| !gone.contains(&(self.app.clone(), version))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::Digest;

    #[test]
    fn a_name_goes_with_its_version_or_its_push_and_not_before_it_is_known_to_be_gone() {
        let version = |text: &str| VersionId::from(Digest::of(text.as_bytes()));
        let app: AppName = "shop".parse().unwrap();
        let gone = BTreeSet::from([(app.clone(), version("deleted"))]);
        let is_unneeded = |app: &str, tag: &str| {
            let one =
                OwnName { app: app.parse().unwrap(), tag: tag.to_owned(), id: String::new(), name: String::new() };
            one.is_unneeded(&gone, 5_000_000)
        };
        assert!(is_unneeded("shop", &version("deleted").to_string()));
        assert!(!is_unneeded("shop", &version("set up meanwhile").to_string()));
        assert!(!is_unneeded("game", &version("deleted").to_string()), "that of another app");
        assert!(!is_unneeded("shop", "resolved-1400000") && is_unneeded("shop", "resolved-1399999"));
        assert!(is_unneeded("shop", "resolved-x") && is_unneeded("shop", "no-version"));
    }
}
