//! Manifests of stored versions read by requests: few long manifests are in memory at a time, whatever the number of
//! requests, and the requesting apps take turns (law 11).

use std::ops::Deref;
use std::sync::Arc;

use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, Manifest, VersionId};

use super::{Error, Ledger, lost};
use devanture_base::fair::{Lane, Turn};
use devanture_store::blobs::{Blobs, Key, SHORT_MANIFEST_BYTES_MAX};

/// Permit to read some manifests, held until the permit and its manifests are dropped.
#[derive(Clone)]
#[must_use = "the manifests are read by this"]
pub(crate) struct ManifestTurn {
    _held: Option<Arc<Turn>>,
}

/// Manifest of a stored version, with the permit of its reading.
#[derive(Clone)]
pub(crate) struct HeldManifest {
    manifest: Arc<Manifest>,
    _turn: ManifestTurn,
}

impl Ledger {
    /// Waits for the app's turn to read manifests of its stored versions. The permit must cover all needed manifests:
    /// waiting for a second permit while holding one could deadlock.
    ///
    /// # Errors
    /// Errors of the store.
    pub(crate) async fn manifest_turn(
        &self,
        blobs: &dyn Blobs,
        app: &AppName,
        versions: &[VersionId],
    ) -> Result<ManifestTurn, Error> {
        let turn = self.manifests.take(blobs, Lane::of(app.as_str()), versions).await?;
        Ok(ManifestTurn { _held: turn.map(Arc::new) })
    }

    /// Reads the manifest of a stored version, under a permit of its own; the caller must hold no other manifest.
    ///
    /// # Errors
    /// `not_ready` for an unreadable manifest.
    pub(crate) async fn manifest(
        &self,
        blobs: &dyn Blobs,
        app: &AppName,
        version: VersionId,
    ) -> Result<HeldManifest, Error> {
        self.manifest_turn(blobs, app, &[version]).await?.read(blobs, version).await
    }
}

impl ManifestTurn {
    /// Reads a manifest covered by the permit.
    ///
    /// # Errors
    /// `not_ready` for an unreadable manifest.
    pub(crate) async fn read(&self, blobs: &dyn Blobs, version: VersionId) -> Result<HeldManifest, Error> {
        let canonical = blobs.get(Key::Manifest(version)).await?;
        let (turn, bytes) = (self.clone(), canonical.len() as u64);
        // The permit moves along, and is released with the manifest even if the caller is dropped.
        let read = move || Manifest::stored(&canonical).map(|manifest| turn.hold(manifest));
        let read = match bytes > SHORT_MANIFEST_BYTES_MAX {
            true => tokio::task::spawn_blocking(read).await.map_err(|error| lost(&error))?,
            false => read(),
        };
        read.map_err(|error| {
            tracing::error!(%version, %error, "a stored manifest cannot be read");
            Problem::new(Code::NotReady, format!("The manifest of {} cannot be read.", version.short())).into()
        })
    }

    /// Holds a manifest as if read under the permit.
    pub(crate) fn hold(self, manifest: Manifest) -> HeldManifest {
        HeldManifest { manifest: Arc::new(manifest), _turn: self }
    }
}

impl Deref for HeldManifest {
    type Target = Manifest;

    fn deref(&self) -> &Manifest {
        &self.manifest
    }
}

/// Reads the manifest of a stored version, for the edge itself and for callers with other memory accounting.
///
/// # Errors
/// `not_ready` for an unreadable manifest.
pub async fn stored_manifest(blobs: &dyn Blobs, version: VersionId) -> Result<Manifest, Error> {
    // The caller holds no other manifest.
    let HeldManifest { manifest, _turn } = ManifestTurn { _held: None }.read(blobs, version).await?;
    Ok(Arc::unwrap_or_clone(manifest))
}
