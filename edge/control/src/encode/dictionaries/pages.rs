//! Dictionary shared by the pages of a site: pieces common to several pages. Pure.
//!
//! Every run of [`WINDOW`] bytes is searched in every page; consecutive runs found in two or more pages form a piece.
//! The most common pieces come last, where encoders reach them by the shortest distances.

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::{AppName, Digest};
use devanture_store::blobs::{DeltaForm, Key, Quality};
use devanture_store::records::{DictionariesRecord, PagesDictionary, WithdrawnRecord};
use devanture_store::{blobs, records};
use tokio::time::Instant;

use super::deadline::is_over;
use super::maker::{Dictionaries, Pass};
use super::public::{bare, is_html, is_withdrawn};
use crate::encode::compress::{best, delta, length_of};
use crate::encode::wire_size::Siblings;
use crate::ledger::Error;

/// Largest shared dictionary, in bytes.
pub(super) const SHARED_BYTES_MAX: usize = 64 * 1024;
/// Smallest shared dictionary worth its own request.
const SHARED_BYTES_MIN: usize = 1_024;
/// Pages examined, and …
pub(super) const PAGES_MAX: usize = 32;
/// … bytes of each: most common content is at the beginning.
const PAGE_BYTES_MAX: usize = 32 * 1024;
/// Bytes per compared run: shorter runs save little more than their reference costs.
const WINDOW: usize = 24;
/// Repeated bytes that do not end a piece.
const REPEATED_MAX: usize = 128;
/// Factor of the rolling hash: odd, without a pattern.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// Assumed page views while the dictionary is cached.
const PAGES_VISITED: u64 = 4;

/// Piece common to several pages.
struct Piece<'p> {
    bytes: &'p [u8],
    /// Sum over all its runs of their numbers of pages.
    seen: u64,
    runs: u64,
}

impl Piece<'_> {
    /// Returns the average number of pages, in hundredths: the value of each byte.
    fn worth(&self) -> u64 {
        self.seen.saturating_mul(100) / self.runs.max(1)
    }
}

/// Returns the dictionary of the pages; `None` with too little in common. Deterministic for equal pages in equal order.
pub(super) fn shared(pages: &[impl AsRef<[u8]>]) -> Option<Vec<u8>> {
    let pages: Vec<&[u8]> = pages.iter().take(PAGES_MAX).map(|page| beginning(page.as_ref())).collect();
    let mut seen: HashMap<u64, (u32, usize)> = HashMap::new();
    for (number, page) in pages.iter().enumerate() {
        for (_, run) in runs(page) {
            let (count, last) = seen.entry(run).or_insert((0, usize::MAX));
            if *last != number {
                (*count, *last) = (count.saturating_add(1), number);
            }
        }
    }
    let mut taken: HashSet<u64> = HashSet::new();
    let mut pieces = Vec::new();
    for page in &pages {
        let mut open: Option<(usize, usize, u64, u64)> = None;
        for (start, run) in runs(page) {
            let count = seen.get(&run).map_or(0, |(count, _)| *count);
            let is_new = count > 1 && taken.insert(run);
            // Short repetitions, for example a frequent tag, are skipped within a piece.
            let goes_on = |last: usize| count > 1 && start.saturating_sub(last) <= REPEATED_MAX;
            open = match (open, is_new) {
                (Some((from, _, sum, runs)), true) => Some((from, start, sum + u64::from(count), runs + 1)),
                (None, true) => Some((start, start, u64::from(count), 1)),
                (Some(piece), false) if goes_on(piece.1) => Some(piece),
                (Some(piece), false) => {
                    pieces.extend(closed(page, piece));
                    None
                }
                (None, false) => None,
            };
        }
        pieces.extend(open.and_then(|piece| closed(page, piece)));
    }
    // Stable: pieces of equal worth stay in the order of the pages.
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.worth()));
    let mut left = SHARED_BYTES_MAX;
    pieces.retain(|piece| match left.checked_sub(piece.bytes.len()) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    });
    let dictionary: Vec<u8> = pieces.iter().rev().flat_map(|piece| piece.bytes).copied().collect();
    (dictionary.len() >= SHARED_BYTES_MIN).then_some(dictionary)
}

/// Returns true if a dictionary pays: fetched once, with savings on each viewed page.
pub(super) const fn pays(saved: u64, pages: u64, dictionary: u64) -> bool {
    pages > 0 && (saved / pages).saturating_mul(PAGES_VISITED) > dictionary
}

/// Returns the examined bytes of a page.
pub(super) fn beginning(page: &[u8]) -> &[u8] {
    page.get(..PAGE_BYTES_MAX).unwrap_or(page)
}

fn closed<'p>(page: &'p [u8], (from, last, seen, runs): (usize, usize, u64, u64)) -> Option<Piece<'p>> {
    Some(Piece { bytes: page.get(from..last + WINDOW)?, seen, runs })
}

/// Returns the start and hash of each run of a page.
fn runs(page: &[u8]) -> impl Iterator<Item = (usize, u64)> {
    let leaving = (1..WINDOW).fold(1_u64, |power, _| power.wrapping_mul(FACTOR));
    let add = |hash: u64, byte: u8| hash.wrapping_mul(FACTOR).wrapping_add(u64::from(byte) + 1);
    let first = page.get(..WINDOW).map(|window| window.iter().fold(0, |hash, byte| add(hash, *byte)));
    let rest = page.iter().zip(page.get(WINDOW..).unwrap_or_default());
    let rolled = rest.scan(first, move |hash, (out, into)| {
        let without = (*hash)?.wrapping_sub((u64::from(*out) + 1).wrapping_mul(leaving));
        *hash = Some(add(without, *into));
        *hash
    });
    first.into_iter().chain(rolled).enumerate()
}

// Dictionary shared by the pages of a version, if worthwhile.

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
        for (path, entry) in html.into_iter().take(PAGES_MAX) {
            if is_over(pass.deadline) {
                return Ok(None);
            }
            let page = self.blobs.get(Key::Blob(entry.hash)).await?;
            let beginning = page.slice_ref(beginning(&page));
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
            let made = match shared(&sample) {
                Some(made) => Some((worth(&sample, plain, &made, deadline)?, made)),
                None => None,
            };
            Some((made, u64::try_from(sample.len()).unwrap_or(u64::MAX)))
        };
        let Some((made, count)) = pass.pool.run(length, work).await.flatten() else { return Ok(None) };
        let Some((worth, made)) = made.filter(|(worth, _)| pays(worth.saved, count, worth.cost)) else {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contains(text: &[u8], part: &[u8]) -> bool {
        text.windows(part.len()).any(|window| window == part)
    }

    /// Text without repetitions.
    fn unlike(seed: u64, length: usize) -> String {
        let mut state = seed.wrapping_mul(FACTOR) | 1;
        let mut text = String::new();
        while text.len() < length {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push_str(&format!("{state:x}"));
        }
        text
    }

    #[test]
    fn what_pages_have_in_common_is_in_it_once_and_nothing_else() {
        let (head, foot) = (unlike(1, 3_000), unlike(2, 1_000));
        let page = |number: u64| format!("{head}{}{foot}", unlike(number, 2_000));
        let dictionary = shared(&[page(11), page(12), page(13)]).unwrap();
        assert!(contains(&dictionary, head.as_bytes()) && contains(&dictionary, foot.as_bytes()));
        assert!(dictionary.len() < 4_000 + 4 * WINDOW, "{}", dictionary.len());
        assert_eq!(shared(&[page(11)]), None);
        assert_eq!(shared(&[unlike(1, 5_000), unlike(2, 5_000)]), None);
        assert_eq!(shared(&[""; 0]), None);
        assert_eq!(shared(&["short", "short"]), None);
    }

    #[test]
    fn what_most_pages_have_comes_last_and_first_has_room() {
        let (all, two) = (unlike(1, 20_000), unlike(2, 3_000));
        let pages = [format!("{two}{all}"), format!("{two}{all}"), all.clone()];
        let dictionary = shared(&pages).unwrap();
        assert!(dictionary.ends_with(all.as_bytes()));
        assert!(contains(&dictionary, &two.as_bytes()[..2_000]));
    }

    #[test]
    fn it_pays_where_four_pages_save_more_than_it_costs() {
        assert!(pays(40_000, 10, 15_999) && !pays(40_000, 10, 16_000) && !pays(0, 0, 0));
    }

    proptest! {
        /// For any pages: bounded, deterministic, and made of bytes common to two pages.
        #[test]
        fn it_is_of_what_two_pages_have(
            common in "[a-f]{600,1500}",
            others in proptest::collection::vec("[a-z ]{0,200}", 2..6),
        ) {
            let pages: Vec<String> = others.iter().map(|own| format!("{own}{common}{own}")).collect();
            let dictionary = shared(&pages);
            prop_assert_eq!(&dictionary, &shared(&pages));
            prop_assert!(dictionary.as_ref().is_none_or(|all| (SHARED_BYTES_MIN..=SHARED_BYTES_MAX).contains(&all.len())));
            // Every byte of a piece occurs in two pages.
            let letters: HashSet<u8> = pages.iter().flat_map(|page| page.bytes()).collect();
            prop_assert!(dictionary.iter().flatten().all(|byte| letters.contains(byte)));
        }
    }
}
