//! Dictionary shared by the pages of a version, if worthwhile.

use std::collections::{BTreeSet, HashSet};

use bytes::Bytes;
use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::{AppName, Digest};
use tokio::time::Instant;

use super::deadline::is_over;
use super::maker::{Dictionaries, Pass};
use super::pages;
use super::public::{bare, is_html, is_withdrawn};
use crate::encode::compress::{best, delta, length_of};
use crate::encode::wire_size::Siblings;
use crate::ledger::Error;
use devanture_store::blobs::{self, DeltaForm, Key, Quality};
use devanture_store::records::{self, DictionariesRecord, PagesDictionary, WithdrawnRecord};

/// Effect of a dictionary on some pages.
struct Worth {
    saved: u64,
    /// Approximate transfer size of the dictionary.
    cost: u64,
}

impl Dictionaries {
    /// Returns the dictionary of a version's pages, with its source pages. Only pages of the version itself contribute,
    /// so that content removed by an owner does not survive in the dictionary; pages with the same pieces as in the
    /// previous version yield the same bytes and the same address.
    pub(super) async fn pages_dictionary(
        &self,
        pass: &Pass<'_>,
        files: &[(&BundlePath, &FileEntry)],
        siblings: &Siblings,
        own: &DictionariesRecord,
    ) -> Result<Option<(PagesDictionary, BTreeSet<BundlePath>)>, Error> {
        let withdrawn = self.withdrawn(pass.app).await?;
        // Once determined for a version, the dictionary stays: its pages do not change.
        if let Some(pages) = self.sound_pages(own, &withdrawn).await? {
            return Ok(Some((pages, own.pages_of.clone())));
        }
        let mut html: Vec<&(&BundlePath, &FileEntry)> =
            files.iter().filter(|(path, entry)| is_html(path, entry) && !is_withdrawn(path, &withdrawn)).collect();
        html.sort_by_key(|(path, _)| (path.as_str().matches('/').count(), *path));
        let mut seen = HashSet::new();
        html.retain(|(_, entry)| seen.insert(entry.hash));
        let (mut sample, mut pages_of): (Vec<(Bytes, Option<u64>)>, BTreeSet<BundlePath>) = Default::default();
        for (path, entry) in html.into_iter().take(pages::PAGES_MAX) {
            if is_over(pass.deadline) {
                return Ok(None);
            }
            let page = self.blobs.get(Key::Blob(entry.hash)).await?;
            let beginning = page.slice_ref(pages::beginning(&page));
            let is_whole = beginning.len() == page.len();
            let plain = match is_whole {
                true => Some(self.travelling(siblings, entry.hash, entry.size).await?),
                false => None,
            };
            sample.push((beginning, plain));
            pages_of.insert((*path).clone());
        }
        if sample.len() < 2 || is_over(pass.deadline) {
            return Ok(None);
        }
        let (deadline, length) = (pass.deadline, sample.iter().map(|(page, _)| length_of(page)).sum());
        let work = move || {
            let plain = plain(&sample, deadline)?;
            let sample: Vec<Bytes> = sample.into_iter().map(|(page, _)| page).collect();
            let made = match pages::shared(&sample) {
                Some(made) => Some((worth(&sample, plain, &made, deadline)?, made)),
                None => None,
            };
            Some((made, u64::try_from(sample.len()).unwrap_or(u64::MAX)))
        };
        let Some((made, count)) = pass.pool.run(length, work).await.flatten() else { return Ok(None) };
        let Some((worth, made)) = made.filter(|(worth, _)| pages::pays(worth.saved, count, worth.cost)) else {
            return Ok(None);
        };
        let size = u64::try_from(made.len()).unwrap_or(u64::MAX);
        tracing::debug!(app = %pass.app, version = %pass.version, size, saved = worth.saved, "pages share a dictionary");
        let (blob, sha256, made) = (Digest::of(&made), delta::sha256(&made), Bytes::from(made));
        self.blobs.put(Key::Blob(blob), made.clone()).await?;
        // The dictionary is in no manifest, so no other pass makes its variants.
        if let Some(variants) = pass.pool.run(length_of(&made), move || best(&made)).await {
            self.blobs.put_variants(blob, variants).await?;
        }
        Ok(Some((PagesDictionary { blob, sha256, size }, pages_of)))
    }

    /// Returns the withdrawn paths of an app, whenever withdrawn, without outer slashes.
    pub(super) async fn withdrawn(&self, app: &AppName) -> Result<HashSet<String>, Error> {
        let key = records::withdrawn_key(app);
        let Some(found) = self.catalog.get(&key).await? else { return Ok(HashSet::new()) };
        let paths = records::read::<WithdrawnRecord>(&key, &found)?.paths;
        Ok(paths.keys().map(|path| bare(path).to_owned()).collect())
    }

    /// Returns the dictionary of a record, if stored and not made from a withdrawn page.
    pub(super) async fn sound_pages(
        &self,
        record: &DictionariesRecord,
        withdrawn: &HashSet<String>,
    ) -> Result<Option<PagesDictionary>, Error> {
        let Some(pages) = record.pages else { return Ok(None) };
        let is_unknown = record.pages_of.is_empty() && !withdrawn.is_empty();
        if is_unknown || record.pages_of.iter().any(|path| is_withdrawn(path, withdrawn)) {
            return Ok(None);
        }
        match self.blobs.get(Key::Blob(pages.blob)).await {
            Ok(_) => Ok(Some(pages)),
            Err(blobs::Error::Missing(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns the transfer size of pages, partly truncated, without a dictionary; `None` if out of time.
fn plain(sample: &[(Bytes, Option<u64>)], deadline: Option<Instant>) -> Option<u64> {
    let sha256 = delta::sha256(b"");
    sample.iter().try_fold(0_u64, |sum, (page, known)| {
        let encoded = || delta::encode(page, b"", sha256, DeltaForm::Dcb, Quality::Quick);
        let length = || encoded().map_or(page.len(), |encoded| encoded.len()) as u64;
        (!is_over(deadline)).then(|| sum.saturating_add(known.unwrap_or_else(length)))
    })
}

/// Returns the bytes saved by `dictionary` on pages of `plain` bytes; `None` if out of time.
fn worth(sample: &[Bytes], plain: u64, dictionary: &[u8], deadline: Option<Instant>) -> Option<Worth> {
    let sha256 = delta::sha256(dictionary);
    let mut with = 0_u64;
    for page in sample {
        if is_over(deadline) {
            return None;
        }
        let encoded = delta::encode(page, dictionary, sha256, DeltaForm::Dcb, Quality::Quick);
        with = with.saturating_add(encoded.map_or(page.len(), |encoded| encoded.len()) as u64);
    }
    let cost = delta::encode(dictionary, b"", sha256, DeltaForm::Dcb, Quality::Quick);
    Some(Worth { saved: plain.saturating_sub(with), cost: cost.map_or(dictionary.len(), |cost| cost.len()) as u64 })
}
