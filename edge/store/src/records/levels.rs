//! The level of compression at which an app may serve a file: the same as if the app were alone on the edge.
//!
//! Apps share files and their variants. The served variant depends only on the app's own pushes: otherwise a file that
//! arrives at the best level at once would tell a stranger that a different app has the file (law 11).

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use devanture_config::{AppName, Digest, Manifest, VersionId};
use tokio::sync::OnceCell;

use super::VersionRecord;
use crate::blobs::{Blobs, Key, VariantInfo};
use crate::catalog::Catalog;
use crate::catalog::scan::Scan;

/// The served levels of a version's files.
#[derive(Clone, Default)]
pub struct Levels(Option<Arc<PendingImprovement>>);

/// A version with files that are not compressed at the best level yet.
struct PendingImprovement {
    app: AppName,
    version: VersionId,
    catalog: Arc<dyn Catalog>,
    blobs: Arc<dyn Blobs>,
    /// Files of the app's versions that are compressed at the best level.
    improved: OnceCell<HashSet<Digest>>,
}

impl Levels {
    /// Returns the levels of a version; `is_quick` comes from its record.
    pub fn of(
        (app, version): (&AppName, VersionId),
        is_quick: bool,
        (catalog, blobs): (&Arc<dyn Catalog>, &Arc<dyn Blobs>),
    ) -> Self {
        Self(is_quick.then(|| {
            Arc::new(PendingImprovement {
                app: app.clone(),
                version,
                catalog: Arc::clone(catalog),
                blobs: Arc::clone(blobs),
                improved: OnceCell::new(),
            })
        }))
    }

    /// Selects the stored variants of a file that the app serves. Reads further records only if some variants are kept
    /// beside better ones, as for a second app.
    pub async fn served(&self, blob: &Digest, stored: Vec<VariantInfo>) -> Vec<VariantInfo> {
        let (kept, others): (Vec<_>, Vec<_>) = stored.into_iter().partition(|variant| variant.form.is_kept_quick());
        if kept.is_empty() || self.are_best(blob).await { others } else { kept }
    }

    /// Returns true if the app has had a file compressed at the best level.
    pub async fn are_best(&self, blob: &Digest) -> bool {
        match &self.0 {
            Some(quick) => quick.improved.get_or_init(|| quick.read_improved()).await.contains(blob),
            None => true,
        }
    }
}

impl fmt::Debug for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Levels").field("is_quick", &self.0.is_some()).finish_non_exhaustive()
    }
}

impl PendingImprovement {
    /// Reads the set of files that the app has had compressed at the best level. Unreadable records count as absent.
    async fn read_improved(&self) -> HashSet<Digest> {
        let mut improved = HashSet::new();
        let mut records = Scan::new(&*self.catalog, super::versions_prefix(&self.app));
        loop {
            let (key, record) = match records.next().await {
                Ok(Some(found)) => found,
                Ok(None) => return improved,
                Err(error) => {
                    tracing::warn!(app = %self.app, %error, "versions cannot be read: files stay at the quick level");
                    return improved;
                }
            };
            let Some(id) = key.rsplit('/').next().and_then(|id| id.parse::<VersionId>().ok()) else { continue };
            let Ok(record) = super::read::<VersionRecord>(&key, &record) else { continue };
            if record.quick || id == self.version {
                continue;
            }
            let Ok(canonical) = self.blobs.get(Key::Manifest(id)).await else { continue };
            let Ok(manifest) = Manifest::read(&canonical) else { continue };
            improved.extend(manifest.blobs().map(|(digest, _)| digest));
            let pages = record.integrity.iter().flat_map(|group| group.pages.values());
            improved.extend(pages.map(|page| page.hash));
        }
    }
}
