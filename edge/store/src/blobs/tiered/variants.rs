//! Variants: on the local disk, and in the bucket as two objects for each blob, for made variants and for variants from
//! a bundle.
//!
//! An object is written as a whole from the state of the disk. Of two concurrent writers the later one wins, with whole
//! variants; variants from a bundle have an object of their own, which remade variants never replace.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use devanture_config::Digest;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::remote::{Origin, REQUESTS_AT_ONCE, Remote};
use super::store::TieredBlobs;
use super::variants_object;
use crate::blobs::{Blobs as _, Error, Form, Key, Quality, VariantInfo};
use crate::s3::LargeUpload;

/// Upper bound of the length of an object of variants, which are in memory together. Longer variants stay on the disk
/// of the node that made them, and other nodes make new ones.
pub(super) const VARIANTS_BYTES_MAX: u64 = 256 * 1_024 * 1_024;
/// Upper bound of attempts to read variants of one moment.
const TRIES_MAX: usize = 4;

/// Returns the objects that change with variants.
fn origins(variants: &[(Form, Quality, Bytes)]) -> Vec<Origin> {
    let is_given = |quality: &Quality| *quality == Quality::Given;
    let has_given = variants.iter().any(|(_, quality, _)| is_given(quality));
    // An empty list records that no variant is worth storing.
    let has_made = variants.is_empty() || variants.iter().any(|(_, quality, _)| !is_given(quality));
    let all = [(Origin::Made, has_made), (Origin::Given, has_given)];
    all.into_iter().filter(|(_, changes)| *changes).map(|(origin, _)| origin).collect()
}

impl TieredBlobs {
    pub(super) async fn put_variants_of(
        &self,
        blob: Digest,
        variants: Vec<(Form, Quality, Bytes)>,
    ) -> Result<(), Error> {
        let changed = origins(&variants);
        match self.local.put_variants(blob, variants.clone()).await {
            // The local tier may have evicted the blob while its variants were made.
            Err(Error::Missing(key)) if self.bring(key).await? => self.local.put_variants(blob, variants).await?,
            put => put?,
        }
        self.store_variants(blob, &changed).await
    }

    pub(super) async fn put_variants_of_all(
        &self,
        variants: BTreeMap<Digest, Vec<(Form, Quality, Bytes)>>,
        are_first: bool,
    ) -> Result<(), Error> {
        let changed: Vec<(Digest, Vec<Origin>)> =
            variants.iter().map(|(blob, variants)| (*blob, origins(variants))).collect();
        match are_first {
            true => self.local.put_first_variants(variants).await?,
            false => self.local.put_variants_all(variants).await?,
        }
        let writes: Vec<_> = changed.into_iter().map(|(blob, changed)| self.store_variants_of(blob, changed)).collect();
        stream::iter(writes).buffer_unordered(REQUESTS_AT_ONCE).try_collect().await
    }

    async fn store_variants_of(&self, blob: Digest, changed: Vec<Origin>) -> Result<(), Error> {
        self.store_variants(blob, &changed).await
    }

    /// Writes objects from the variants on the disk; objects without news are left alone.
    pub(super) async fn store_variants(&self, blob: Digest, changed: &[Origin]) -> Result<(), Error> {
        let stripe = self.shared.stripes.of(blob);
        let _turn = match stripe {
            Some(stripe) => Some(stripe.lock().await),
            None => None,
        };
        // Without an index there is no news, not even that no variant is worth storing.
        if self.local.lacks_variants(blob).await? && self.local.variants(blob).await?.is_empty() {
            return Ok(());
        }
        for origin in changed {
            self.write_variants(blob, *origin).await?;
        }
        self.shared.lookups.note(blob);
        Ok(())
    }

    /// Writes one object. Called under the lock of the blob.
    async fn write_variants(&self, blob: Digest, origin: Origin) -> Result<(), Error> {
        let infos = self.infos(blob, origin).await?;
        if infos.is_empty() && (origin == Origin::Given || !self.local.variants(blob).await?.is_empty()) {
            return Ok(());
        }
        let size = infos.iter().fold(0_u64, |sum, info| sum.saturating_add(info.size));
        if size > VARIANTS_BYTES_MAX {
            return Ok(());
        }
        let _memory = self.remote().memory(size).await;
        for _ in 0..TRIES_MAX {
            let infos = self.infos(blob, origin).await?;
            if let Some(contents) = self.contents(blob, &infos).await? {
                let head = Bytes::from(variants_object::head(&infos));
                return self.write_object(&origin.path(blob), std::iter::once(head).chain(contents).collect()).await;
            }
        }
        // The variants change faster than reads: the last writer writes the object.
        Ok(())
    }

    pub(super) async fn infos(&self, blob: Digest, origin: Origin) -> Result<Vec<VariantInfo>, Error> {
        let mut infos = self.local.stored_variants(blob).await?;
        infos.retain(|info| (info.quality == Quality::Given) == (origin == Origin::Given));
        infos.sort_by_key(|info| info.form);
        Ok(infos)
    }

    /// Returns the bytes of variants; `None` if a variant was replaced meanwhile.
    pub(super) async fn contents(&self, blob: Digest, infos: &[VariantInfo]) -> Result<Option<Vec<Bytes>>, Error> {
        let mut contents = Vec::with_capacity(infos.len());
        for info in infos {
            match self.local.get(Key::Variant(blob, info.form)).await {
                Ok(bytes) if Digest::of(&bytes) == info.hash => contents.push(bytes),
                Ok(_) | Err(Error::Missing(_) | Error::Corrupt { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(contents))
    }

    async fn write_object(&self, path: &str, pieces: Vec<Bytes>) -> Result<(), Error> {
        let bytes = pieces.iter().fold(0_u64, |sum, piece| sum.saturating_add(piece.len() as u64));
        if bytes < LargeUpload::BYTES_MIN {
            return Ok(self.remote().write(path, pieces, self.lane).await?);
        }
        let _turn = self.remote().write_turn(bytes, self.lane).await;
        let began = Instant::now();
        let written = async {
            let mut upload = self.remote().write_large(path).await?;
            for piece in pieces {
                if let Err(error) = upload.write(piece).await {
                    upload.abort().await;
                    return Err(error);
                }
            }
            upload.finish().await.map(|()| bytes)
        };
        Ok(Remote::wrote_large(written.await, began)?)
    }

    /// Deletes a variant on the disk and in the bucket.
    pub(super) async fn delete_variant(&self, blob: Digest, form: Form) -> Result<(), Error> {
        // The object is written from the state of the disk, so the disk has to hold the other variants.
        self.look_up(vec![blob]).await;
        self.local.delete(Key::Variant(blob, form)).await?;
        for origin in Origin::ALL {
            match self.infos(blob, origin).await?.is_empty() {
                true => self.remote().remove(vec![origin.path(blob)]).await?,
                false => self.store_variants(blob, &[origin]).await?,
            }
        }
        Ok(())
    }
}
