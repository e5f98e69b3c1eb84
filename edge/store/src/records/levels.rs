//! At which level of compression an app may serve a file: the one that it would have if it were alone on the edge.
//!
//! Apps share files, and with them what is made of files. Which of it an app serves depends on its own pushes alone, as
//! else a file that comes at the best level at once would tell a stranger that another app has it (law 11).

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use devanture_config::{AppName, Digest, Manifest, VersionId};
use tokio::sync::OnceCell;

use super::VersionRecord;
use crate::blobs::{Blobs, Key, VariantInfo};
use crate::catalog::Catalog;
use crate::catalog::scan::Scan;

/// The levels at which the files of a version are served.
#[derive(Clone, Default)]
pub struct Levels(Option<Arc<Quick>>);

/// A version whose files have not had their pass at the best level.
struct Quick {
    app: AppName,
    version: VersionId,
    catalog: Arc<dyn Catalog>,
    blobs: Arc<dyn Blobs>,
    /// Files of versions of the app that had it.
    improved: OnceCell<HashSet<Digest>>,
}

impl Levels {
    /// Those of a version; `is_quick` is that of its record.
    pub fn of(
        (app, version): (&AppName, VersionId),
        is_quick: bool,
        (catalog, blobs): (&Arc<dyn Catalog>, &Arc<dyn Blobs>),
    ) -> Self {
        Self(is_quick.then(|| {
            Arc::new(Quick {
                app: app.clone(),
                version,
                catalog: Arc::clone(catalog),
                blobs: Arc::clone(blobs),
                improved: OnceCell::new(),
            })
        }))
    }

    /// The variants of a file, of those that are stored, that the app serves. Only where some are kept beside others,
    /// as for another app, is more read than these.
    pub async fn served(&self, blob: &Digest, stored: Vec<VariantInfo>) -> Vec<VariantInfo> {
        let (kept, others): (Vec<_>, Vec<_>) = stored.into_iter().partition(|variant| variant.form.is_kept_quick());
        if kept.is_empty() || self.are_best(blob).await { others } else { kept }
    }

    /// Whether the app has had a file compressed at the best level.
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

impl Quick {
    /// Reads which files the app has had compressed at the best level. What cannot be read counts as if it had not.
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
