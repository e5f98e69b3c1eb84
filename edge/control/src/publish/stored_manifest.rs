//! The manifest of a stored version, as its readers get it.

use std::sync::Arc;

use devanture_config::{AppName, VersionId};

use super::publisher::Publisher;
use crate::ledger::Error;
use devanture_store::blobs::{Key, ReadAt};

impl Publisher {
    /// The manifest of a stored version, byte for byte, and its length: what its id is the hash of. It is read as it is
    /// sent, so that clients who read slowly do not fill the memory with manifests.
    ///
    /// # Errors
    /// `not_found`, `version_collected`; where it cannot be read.
    pub async fn open_manifest(&self, app: &AppName, version: &VersionId) -> Result<(Arc<dyn ReadAt>, u64), Error> {
        self.ledger.must_be_stored(app, version).await?;
        let (blobs, key) = (self.blobs_of(app), Key::Manifest(*version));
        let file = blobs.open(key).await?;
        Ok((file, blobs.size(key).await?.unwrap_or(0)))
    }
}
