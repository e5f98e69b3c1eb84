//! Brings variants of blobs from the bucket to the local disk: for a version in preparation, and for blobs without
//! variants on the disk.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use devanture_config::Digest;
use futures_util::{StreamExt as _, stream};

use super::claims::{Claim, Ending, Other};
use super::fetching::{BATCH_BYTES, BATCH_OBJECTS};
use super::lookups::Search;
use super::remote::{Origin, REQUESTS_AT_ONCE, worth_listing};
use super::store::TieredBlobs;
use super::variants::VARIANTS_BYTES_MAX;
use super::variants_object;
use crate::blobs::{Blobs as _, Error, FetchReport, Form, Key, Quality};

/// The form under which all variants of a blob are claimed.
pub(super) const CLAIMED: Form = Form::Br;
/// Variants of a blob for a put.
type Variants = Vec<(Form, Quality, Bytes)>;

/// The blobs with variants from a bundle.
enum BundledVariants {
    /// The complete list.
    Known(HashSet<String>),
    /// A request for each tells.
    Unknown,
}

/// Fetched variants.
enum Fetched {
    /// An earlier caller is fetching the variants.
    Elsewhere(Digest, Other),
    /// The disk has the variants, or the bucket has none.
    Here,
    /// The variants are still to be put on the disk.
    Variants { blob: Digest, claim: Claim, variants: Variants, cost: FetchReport },
}

impl TieredBlobs {
    /// Brings variants from the bucket for blobs without variants on the disk. On failure the disk answers alone:
    /// variants can be made again.
    pub(super) async fn look_up(&self, blobs: Vec<Digest>) {
        let due = self.shared.lookups.due(&blobs);
        if due.is_empty() {
            return;
        }
        let looked_up = async {
            let lacking = self.local.lacking_variants(due).await?;
            if lacking.is_empty() {
                return Ok(());
            }
            self.bring_all(&lacking).await?;
            let sizes = self.local.sizes(lacking.clone()).await?;
            let here = lacking.into_iter().zip(sizes).filter(|(_, size)| size.is_some());
            self.bring_variants(here.map(|(blob, _)| blob).collect(), Search::Seldom).await.map(drop)
        };
        if let Err(error) = looked_up.await {
            let error: Error = error;
            tracing::debug!(%error, "the bucket does not say which variants it has");
        }
    }

    /// Brings the variants of a blob. Returns true if the variant of `form` is on the disk then.
    pub(super) async fn bring_variant(&self, blob: Digest, form: Form) -> Result<bool, Error> {
        if self.local.size(Key::Blob(blob)).await?.is_none() && !self.bring(Key::Blob(blob)).await? {
            return Ok(false);
        }
        self.bring_variants(vec![blob], Search::Always).await?;
        Ok(self.local.size(Key::Variant(blob, form)).await?.is_some())
    }

    /// Brings the variants of blobs on the disk.
    pub(super) async fn bring_variants(&self, blobs: Vec<Digest>, search: Search) -> Result<FetchReport, Error> {
        let mut report = FetchReport::default();
        let mut todo = blobs;
        // Again, if an earlier caller began and gave up.
        while !todo.is_empty() {
            let given = self.given(todo.len()).await?;
            todo = self.bring_variants_by(todo, (&given, search), &mut report).await?;
        }
        Ok(report)
    }

    /// Returns the blobs for which an earlier caller began to fetch variants without an end.
    async fn bring_variants_by(
        &self,
        blobs: Vec<Digest>,
        (given, search): (&BundledVariants, Search),
        report: &mut FetchReport,
    ) -> Result<Vec<Digest>, Error> {
        let jobs: Vec<_> = blobs.into_iter().map(|blob| self.fetch_variants(blob, given, search)).collect();
        let mut jobs = stream::iter(jobs).buffer_unordered(REQUESTS_AT_ONCE);
        let (mut batch, mut batch_bytes, mut elsewhere) = (Vec::new(), 0_usize, Vec::new());
        while let Some(fetched) = jobs.next().await {
            let (blob, claim, variants) = match fetched? {
                Fetched::Elsewhere(blob, other) => {
                    elsewhere.push((blob, other));
                    continue;
                }
                Fetched::Here => continue,
                Fetched::Variants { blob, claim, variants, cost } => {
                    report.merge(cost);
                    (blob, claim, variants)
                }
            };
            batch_bytes = variants.iter().fold(batch_bytes, |sum, (.., bytes)| sum.saturating_add(bytes.len()));
            batch.push((blob, claim, variants));
            if batch.len() >= BATCH_OBJECTS || batch_bytes >= BATCH_BYTES {
                batch_bytes = 0;
                self.keep_variants(std::mem::take(&mut batch)).await?;
            }
        }
        self.keep_variants(batch).await?;
        let mut given_up = Vec::new();
        for (blob, other) in elsewhere {
            given_up.extend(other.ended().await.is_none().then_some(blob));
        }
        Ok(given_up)
    }

    /// Puts fetched variants on the disk together.
    async fn keep_variants(&self, batch: Vec<(Digest, Claim, Variants)>) -> Result<(), Error> {
        let (mut claims, mut variants) = (Vec::with_capacity(batch.len()), BTreeMap::new());
        for (blob, claim, fetched) in batch {
            claims.push((blob, claim));
            variants.insert(blob, fetched);
        }
        self.local.put_variants_all(variants).await?;
        for (blob, claim) in claims {
            // Only once the variants are on the disk: the bucket is not searched again for a noted blob for ten
            // minutes, not even if this fetch fails or is cancelled before.
            self.shared.lookups.note(blob);
            claim.end(Ending::Here);
        }
        Ok(())
    }

    /// Returns the blobs with variants from a bundle: few blobs have some, so that one listing is mostly enough.
    async fn given(&self, blobs: usize) -> Result<BundledVariants, Error> {
        if blobs == 1 {
            return Ok(BundledVariants::Unknown);
        }
        let listed = self.remote().list(Origin::Given.folder(), worth_listing(blobs), self.lane).await?;
        Ok(listed.map_or(BundledVariants::Unknown, |listed| {
            BundledVariants::Known(listed.into_iter().map(|entry| entry.path).collect())
        }))
    }

    /// Fetches the variants of a blob, unless an earlier caller is fetching them or the disk has them by now.
    async fn fetch_variants(&self, blob: Digest, given: &BundledVariants, search: Search) -> Result<Fetched, Error> {
        let claim = match self.shared.claims.claim(Key::Variant(blob, CLAIMED)) {
            Ok(claim) => claim,
            Err(other) => return Ok(Fetched::Elsewhere(blob, other)),
        };
        // An earlier fetch may have ended since the caller looked.
        let is_known = search == Search::Seldom && self.shared.lookups.due(&[blob]).is_empty();
        if is_known || !self.local.lacks_variants(blob).await? {
            claim.end(Ending::Here);
            return Ok(Fetched::Here);
        }
        let (mut all, mut cost): (Option<Variants>, _) = (None, FetchReport::default());
        for origin in Origin::ALL {
            let path = origin.path(blob);
            let may_be_there = match (origin, given) {
                (Origin::Given, BundledVariants::Known(paths)) => paths.contains(&path),
                (Origin::Given, BundledVariants::Unknown) | (Origin::Made, _) => true,
            };
            if !may_be_there {
                continue;
            }
            let Some(object) = self.remote().open(&path, self.lane).await? else { continue };
            if object.size > VARIANTS_BYTES_MAX {
                continue;
            }
            cost.add(object.size);
            let memory = self.remote().memory(object.size).await;
            let bytes = object.bytes().await?;
            let Some(variants) = self.whole_variants(blob, &path, &bytes) else { continue };
            match memory {
                // Large variants are put at once, so that their memory is free again.
                Some(_) => self.local.put_variants(blob, variants).await?,
                None => all.get_or_insert_default().extend(variants),
            }
        }
        match all {
            Some(variants) => Ok(Fetched::Variants { blob, claim, variants, cost }),
            None => {
                self.shared.lookups.note(blob);
                claim.end(Ending::Here);
                Ok(Fetched::Here)
            }
        }
    }

    /// Returns the variants of an object with bytes that match their hashes.
    fn whole_variants(&self, blob: Digest, path: &str, object: &Bytes) -> Option<Variants> {
        let Some(found) = variants_object::parse(object) else {
            self.mismatch(Key::Blob(blob), path);
            return None;
        };
        let count = found.len();
        let whole: Variants = found
            .into_iter()
            .filter(|(info, bytes)| Digest::of(bytes) == info.hash)
            .map(|(info, bytes)| (info.form, info.quality, bytes))
            .collect();
        if whole.len() < count {
            self.mismatch(Key::Blob(blob), path);
        }
        // Only an object without variants means that no variant is worth storing.
        (whole.len() == count || !whole.is_empty()).then_some(whole)
    }
}
