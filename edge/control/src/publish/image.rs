//! Container image of a pushed backend: a tag is resolved to a digest, which the version records.

use std::sync::Arc;

use devanture_config::site_toml::Image;
use devanture_config::{AppName, Manifest, PlaceName};

use super::incoming::CheckedPush;
use super::publisher::Publisher;
use crate::ledger::{Actor, Error};

impl Publisher {
    /// Checks that the edge may run the bundle's image.
    ///
    /// # Errors
    /// `image_refused`, `runner_off`.
    pub(super) async fn check_image(&self, manifest: &Manifest) -> Result<(), Error> {
        match manifest.image() {
            Some(image) => {
                let checked = self.environments.instances.runner()?.check_image(image).await;
                checked.map_err(|error| self.switcher.named_failure(error.into()))
            }
            None => Ok(()),
        }
    }

    /// Returns the push with its image by digest, and the image if resolved from a tag. Resolving pulls the image, so
    /// all cheaper checks come first.
    ///
    /// # Errors
    /// As [`Publisher::check_bundle`]; `image_refused` for an image unknown to the registry.
    pub(super) async fn with_fixed_image(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        push: CheckedPush,
    ) -> Result<(CheckedPush, Option<Image>), Error> {
        if push.manifest.image().is_none_or(Image::is_fixed) {
            return Ok((push, None));
        }
        self.check_bundle(actor, (app, environment), (&push.manifest, &push.manifest), &push.options).await?;
        self.check_pushes(app)?;
        let mut manifest = Manifest::clone(&push.manifest);
        let image = self.fix_image(app, &mut manifest).await?;
        Ok((CheckedPush { version: manifest.id(), manifest: Arc::new(manifest), ..push }, image))
    }

    /// Replaces a tag in the manifest by the digest.
    pub(super) async fn fix_image(&self, app: &AppName, manifest: &mut Manifest) -> Result<Option<Image>, Error> {
        let Some(server) = manifest.base.server.as_mut() else { return Ok(None) };
        let Some(Image::Registry(image)) = server.image.as_ref().filter(|image| !image.is_fixed()) else {
            return Ok(None);
        };
        let resolved = self.environments.instances.runner()?.resolve_image(app, image).await;
        let fixed = Image::Registry(resolved.map_err(|error| self.switcher.named_failure(error.into()))?);
        server.image = Some(fixed.clone());
        Ok(Some(fixed))
    }
}
