//! The store itself: the disk of a node, and the state shared by its lanes.

use std::sync::Arc;

use super::claims::Claims;
use super::lookups::Lookups;
use super::remote::Remote;
use super::stripes::Stripes;
use super::uses::Uses;
use crate::blobs::fs::FileBlobs;
use crate::s3::Bucket;
use devanture_base::fair::Lane;

/// A store in a bucket, with a folder of the local disk in front.
pub struct TieredBlobs {
    pub(super) local: FileBlobs,
    pub(super) lane: Lane,
    pub(super) shared: Arc<Shared>,
}

/// The state shared by all lanes.
pub(super) struct Shared {
    remote: Remote,
    pub(super) claims: Arc<Claims>,
    pub(super) lookups: Lookups,
    pub(super) stripes: Stripes,
    pub(super) uses: Uses,
}

impl TieredBlobs {
    pub(super) fn new(local: FileBlobs, bucket: Bucket) -> Self {
        let shared = Shared {
            remote: Remote::new(bucket),
            claims: Arc::default(),
            lookups: Lookups::default(),
            stripes: Stripes::default(),
            uses: Uses::default(),
        };
        Self { local, lane: Lane::EDGE, shared: Arc::new(shared) }
    }

    pub(super) fn remote(&self) -> &Remote {
        &self.shared.remote
    }

    /// Returns the same store for a lane, with the methods beyond [`crate::blobs::Blobs`].
    pub(super) fn in_lane(&self, lane: Lane) -> Self {
        Self { local: self.local.in_lane(lane), lane, shared: Arc::clone(&self.shared) }
    }
}
