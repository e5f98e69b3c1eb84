//! Pages with hashes from an earlier push of the same version.

use std::collections::{BTreeSet, HashSet};

use devanture_config::{AppName, Digest};

use crate::encode::{Work, is_html};
use crate::ledger::{Error, Lease, Ledger};
use devanture_store::records::integrity_pages::IntegrityPages;
use devanture_store::records::{self, LivePointer, VersionRecord};

/// Takes a lease of the pages in a record, if the record has all pages of the version for the environments, made as
/// today, and all are stored. The pages depend on the version alone, so a further push can reuse the pages.
pub(super) async fn held_if_whole(
    work: &Work<'_>,
    ledger: &Ledger,
    tables: &[String],
    record: &VersionRecord,
) -> Result<Option<Lease>, Error> {
    let made: BTreeSet<&String> = record.integrity.iter().flat_map(|group| &group.tables).collect();
    let wanted: BTreeSet<&String> = tables.iter().collect();
    let has_all = |group: &IntegrityPages| {
        let mut pages = work.manifest.files.iter().filter(|(path, entry)| !path.is_private() && is_html(path, entry));
        group.made == IntegrityPages::MADE
            && pages.all(|(path, _)| group.pages.contains_key(path))
            && record.decoded.keys().filter(|path| is_page(path.as_str())).all(|path| group.pages.contains_key(path))
    };
    if made != wanted || !record.integrity.iter().all(has_all) {
        return Ok(None);
    }
    let pages = record.integrity.iter().flat_map(|group| group.pages.values());
    let pages: Vec<(Digest, u64)> = pages.map(|page| (page.hash, page.size)).collect();
    let hashes: Vec<Digest> = pages.iter().map(|(hash, _)| *hash).collect();
    // Taken before the look-up: present pages stay from here on.
    let lease = ledger.leases.blobs(hashes.clone()).await;
    let sizes = work.blobs.sizes(hashes).await?;
    let are_stored =
        sizes.len() == pages.len() && pages.iter().zip(sizes).all(|((_, size), stored)| stored == Some(*size));
    Ok(are_stored.then_some(lease))
}

/// Returns true if a decoded file may be a page; decoded files have no media type.
fn is_page(path: &str) -> bool {
    devanture_site::media::is_html(path, None)
}

/// Returns the pages with hashes of an app's live versions. Their variants were already made or found useless.
pub(super) async fn live_pages(ledger: &Ledger, app: &AppName) -> Result<HashSet<Digest>, Error> {
    let mut pages = HashSet::new();
    for (key, pointer) in ledger.catalog.list(&records::live_prefix(app), None, false, usize::MAX).await? {
        for version in records::read::<LivePointer>(&key, &pointer)?.versions() {
            let key = records::version_key(app, &version);
            let Some(record) = ledger.catalog.get(&key).await? else { continue };
            let record = records::read::<VersionRecord>(&key, &record)?;
            pages.extend(record.integrity.iter().flat_map(|group| group.pages.values()).map(|page| page.hash));
        }
    }
    Ok(pages)
}
