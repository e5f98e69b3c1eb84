//! What an app itself has sent: the only thing that it is ever told is there already.
//!
//! Equal bytes of two apps are one file on disk, but neither learns it: a blob counts as an app's own when one of its
//! stored versions holds it, or when it was sent by this app to this process.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use devanture_config::{AppName, Digest, Manifest};

use crate::blobs::{Blobs, Key};
use crate::catalog::{Catalog, records};

/// Versions read at once.
const PAGE: usize = 1_000;

type Set = Arc<Mutex<HashSet<Digest>>>;

/// The blobs of every app that has pushed since the start.
pub(crate) struct Owned {
    blobs: Arc<dyn Blobs>,
    catalog: Arc<dyn Catalog>,
    by_app: tokio::sync::Mutex<HashMap<AppName, Set>>,
}

impl Owned {
    pub(crate) fn new(blobs: Arc<dyn Blobs>, catalog: Arc<dyn Catalog>) -> Self {
        Self { blobs, catalog, by_app: tokio::sync::Mutex::default() }
    }

    async fn of(&self, app: &AppName) -> Result<Set, super::Error> {
        // Held while the manifests are read, so that they are read once; only pushes wait here.
        let mut by_app = self.by_app.lock().await;
        if let Some(set) = by_app.get(app) {
            return Ok(Arc::clone(set));
        }
        let mut owned = HashSet::new();
        let prefix = records::versions_prefix(app);
        let mut after: Option<String> = None;
        loop {
            let page = self.catalog.list(&prefix, after.as_deref(), false, PAGE).await?;
            for (key, _) in &page {
                let Some(id) = key.rsplit('/').next().and_then(|id| id.parse().ok()) else { continue };
                // A manifest that cannot be read owns nothing: its blobs are sent again, which heals them.
                let Ok(canonical) = self.blobs.get(Key::Manifest(id)).await else { continue };
                let Ok(manifest) = Manifest::parse(&canonical) else { continue };
                owned.extend(manifest.files.values().map(|file| file.hash));
            }
            if page.len() < PAGE {
                break;
            }
            after = page.last().map(|(key, _)| key.clone());
        }
        let set: Set = Arc::new(Mutex::new(owned));
        by_app.insert(app.clone(), Arc::clone(&set));
        Ok(set)
    }

    /// Those of `wanted` that the app has not sent, or that are no longer stored as they should be.
    pub(crate) async fn missing(
        &self,
        app: &AppName,
        wanted: &HashMap<Digest, u64>,
    ) -> Result<HashSet<Digest>, super::Error> {
        let set = self.of(app).await?;
        let owned: HashSet<Digest> = {
            let set = set.lock().unwrap_or_else(PoisonError::into_inner);
            wanted.keys().filter(|digest| set.contains(digest)).copied().collect()
        };
        let mut missing: HashSet<Digest> = wanted.keys().filter(|digest| !owned.contains(digest)).copied().collect();
        for digest in owned {
            if self.blobs.size(Key::Blob(digest)).await? != wanted.get(&digest).copied() {
                missing.insert(digest);
            }
        }
        Ok(missing)
    }

    /// Notes that the app has sent a blob.
    pub(crate) async fn add(&self, app: &AppName, digest: Digest) -> Result<(), super::Error> {
        let set = self.of(app).await?;
        set.lock().unwrap_or_else(PoisonError::into_inner).insert(digest);
        Ok(())
    }
}
