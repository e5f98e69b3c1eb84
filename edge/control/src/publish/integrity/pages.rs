//! Pages of a bundle that get hashes, and their loads: read once, within a bound on memory.

use std::collections::HashMap;
use std::sync::Arc;

use devanture_config::limits::Limits;
use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::{Digest, Manifest};
use devanture_site::integrity::PageAssets;

use crate::encode::{Work, is_html};
use crate::ledger::Error;
use devanture_store::blobs::Key;

/// Examined page.
pub(super) struct Page {
    pub(super) path: BundlePath,
    pub(super) entry: FileEntry,
    /// Loads, shared by pages with equal bytes.
    pub(super) assets: Arc<PageAssets>,
}

/// Pages, and the number of pages served unchanged.
#[derive(Default)]
pub(super) struct Pages {
    pub(super) list: Vec<Page>,
    /// Pages beyond a limit.
    pub(super) left_out: usize,
    /// Pages whose hashes would have no effect.
    pub(super) unfit: usize,
}

/// Result of reading a page.
#[derive(Clone)]
enum Read {
    Fit(Arc<PageAssets>),
    LeftOut,
    Unfit,
}

impl Pages {
    /// Reads the pages of a manifest.
    pub(super) async fn read(work: &Work<'_>, manifest: &Manifest, limits: &Limits) -> Result<Self, Error> {
        let most = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        let (pages_max, memory_max) = (most(limits.integrity_pages_max), most(limits.integrity_memory_bytes_max));
        let mut pages = Self::default();
        let mut known: HashMap<Digest, Read> = HashMap::new();
        let mut memory_bytes = 0_usize;
        let all = manifest.files.iter().filter(|(path, entry)| !path.is_private() && is_html(path, entry));
        for (path, entry) in all {
            if entry.size > limits.integrity_page_bytes_max || pages.list.len() >= pages_max {
                pages.left_out = pages.left_out.saturating_add(1);
                continue;
            }
            let read = match known.get(&entry.hash) {
                Some(known) => known.clone(),
                None => {
                    let mut read = read(work, entry).await?;
                    if let Read::Fit(assets) = &read {
                        let bytes = memory_bytes.saturating_add(assets.memory_bytes());
                        if bytes > memory_max {
                            read = Read::LeftOut;
                        } else {
                            memory_bytes = bytes;
                        }
                    }
                    known.insert(entry.hash, read.clone());
                    read
                }
            };
            match read {
                Read::Fit(assets) => pages.list.push(Page { path: path.clone(), entry: entry.clone(), assets }),
                Read::LeftOut => pages.left_out = pages.left_out.saturating_add(1),
                Read::Unfit => pages.unfit = pages.unfit.saturating_add(1),
            }
        }
        Ok(pages)
    }
}

async fn read(work: &Work<'_>, entry: &FileEntry) -> Result<Read, Error> {
    let bytes = work.blobs.get(Key::Blob(entry.hash)).await?;
    let assets = work.pool.run(entry.size, move || PageAssets::read(&bytes)).await.flatten();
    Ok(match assets {
        Some(assets) if assets.unfit().is_some() => Read::Unfit,
        Some(assets) => Read::Fit(Arc::new(assets)),
        None => Read::LeftOut,
    })
}
