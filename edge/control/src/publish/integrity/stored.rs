//! Pages with hashes that a version has already, from an earlier push.

use std::collections::{BTreeSet, HashSet};

use devanture_config::{AppName, Digest};

use crate::encode::{Work, is_html};
use crate::ledger::{Error, Lease, Ledger};
use devanture_store::records::integrity_pages::IntegrityPages;
use devanture_store::records::{self, LivePointer, VersionRecord};

/// Holds the pages of a record, if it has every one of the version for these environments, made as they would be now,
/// and all are stored. What its pages become depends on the version alone, so a further push need not make them again.
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
    // Before it is looked whether they are there: they stay from here on.
    let lease = ledger.leases.blobs(hashes.clone()).await;
    let sizes = work.blobs.sizes(hashes).await?;
    let are_stored =
        sizes.len() == pages.len() && pages.iter().zip(sizes).all(|((_, size), stored)| stored == Some(*size));
    Ok(are_stored.then_some(lease))
}

/// Whether a decoded file may be a page; of these no type is said.
fn is_page(path: &str) -> bool {
    devanture_site::media::is_html(path, None)
}

/// The pages with hashes of what is live of an app: they have variants, or none worth keeping.
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
