//! Manifests of stored versions that requests look at: long ones are few in memory at a time, however many requests
//! want them, and the apps that want them take turns (law 11).

use std::ops::Deref;
use std::sync::Arc;

use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, Manifest, VersionId};

use super::{Error, Ledger, lost};
use devanture_base::fair::{Lane, Turn};
use devanture_store::blobs::{Blobs, Key, SHORT_MANIFEST_BYTES_MAX};

/// The turn to look at some manifests, for as long as this value or one of them lives.
#[derive(Clone)]
#[must_use = "the manifests are read by this"]
pub(crate) struct ManifestTurn {
    _held: Option<Arc<Turn>>,
}

/// A manifest of a stored version, with the turn that it was read in.
#[derive(Clone)]
pub(crate) struct HeldManifest {
    manifest: Arc<Manifest>,
    _turn: ManifestTurn,
}

impl Ledger {
    /// Waits for the turn of an app to look at manifests of its stored versions, which are all that are needed: to wait
    /// for another turn with one in hand could last for ever.
    ///
    /// # Errors
    /// Where the store fails.
    pub(crate) async fn manifest_turn(
        &self,
        blobs: &dyn Blobs,
        app: &AppName,
        versions: &[VersionId],
    ) -> Result<ManifestTurn, Error> {
        let turn = self.manifests.take(blobs, Lane::of(app.as_str()), versions).await?;
        Ok(ManifestTurn { _held: turn.map(Arc::new) })
    }

    /// The manifest of a stored version, in a turn of its own: no other one may be in hand.
    ///
    /// # Errors
    /// `not_ready` where it cannot be read.
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
    /// Reads one of the manifests that the turn is for.
    ///
    /// # Errors
    /// `not_ready` where it cannot be read.
    pub(crate) async fn read(&self, blobs: &dyn Blobs, version: VersionId) -> Result<HeldManifest, Error> {
        let canonical = blobs.get(Key::Manifest(version)).await?;
        let (turn, bytes) = (self.clone(), canonical.len() as u64);
        // The turn goes along: it is over when the manifest is, also where nobody waits for it any more.
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

    /// A manifest that is held as one that was read in this turn.
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

/// The manifest of a stored version, for the edge itself and where its memory is counted otherwise.
///
/// # Errors
/// `not_ready` where it cannot be read.
pub async fn stored_manifest(blobs: &dyn Blobs, version: VersionId) -> Result<Manifest, Error> {
    // None but this one is there.
    let HeldManifest { manifest, _turn } = ManifestTurn { _held: None }.read(blobs, version).await?;
    Ok(Arc::unwrap_or_clone(manifest))
}
