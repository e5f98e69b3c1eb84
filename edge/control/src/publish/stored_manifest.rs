//! Manifest of a stored version, as sent to readers.

use std::sync::Arc;

use devanture_config::{AppName, VersionId};

use super::publisher::Publisher;
use crate::ledger::Error;
use devanture_store::blobs::{Key, ReadAt};

impl Publisher {
    /// Opens the manifest of a stored version, byte for byte, with its length; the version id is the hash of the bytes.
    /// Bytes are read while sent, so that slow clients do not fill the memory with manifests.
    ///
    /// # Errors
    /// `not_found`, `version_collected`; errors of reading the manifest.
    pub async fn open_manifest(&self, app: &AppName, version: &VersionId) -> Result<(Arc<dyn ReadAt>, u64), Error> {
        self.ledger.must_be_stored(app, version).await?;
        let (blobs, key) = (self.blobs_of(app), Key::Manifest(*version));
        let file = blobs.open(key).await?;
        Ok((file, blobs.size(key).await?.unwrap_or(0)))
    }
}
