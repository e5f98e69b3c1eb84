//! What visitors load again who have an earlier version: with files of it as dictionaries, and without.

use std::collections::HashSet;

use devanture_config::api::{Amount, Returning};
use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::{AppName, Digest, Manifest, VersionId};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::blobs::{self, Form};
use crate::catalog::records::{self, DictionariesRecord};
use crate::publish::swap::Moved;
use crate::publish::{Error, Publisher};
use crate::site::fingerprint;

/// Files whose variants are looked up at once.
const LOOKUPS_AT_ONCE: usize = 16;

/// What visitors load again: what is new, and what has other content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::publish) struct LoadedAgain {
    /// By browsers that have no dictionaries.
    pub(in crate::publish) plain: Amount,
    /// By those that have the files of the earlier version, where that version has dictionaries.
    pub(in crate::publish) with_dictionaries: Option<u64>,
}

impl Publisher {
    /// What visitors load again who look at everything and have seen all of `before`.
    ///
    /// # Errors
    /// Where a store fails.
    pub(in crate::publish) async fn loaded_again(
        &self,
        app: &AppName,
        (id, before): (&VersionId, &Manifest),
        now: &Manifest,
    ) -> Result<LoadedAgain, Error> {
        let dictionaries = self.dictionaries_of(app, id, before).await?;
        let changed =
            now.files.iter().filter(|(path, entry)| !path.is_private() && before.files.get(*path) != Some(entry));
        let lookups: Vec<_> = changed.map(|(path, entry)| self.again(path, entry, dictionaries.as_ref())).collect();
        let found: Vec<(u64, u64)> = stream::iter(lookups).buffer_unordered(LOOKUPS_AT_ONCE).try_collect().await?;
        let mut loaded = LoadedAgain::default();
        let mut with = 0_u64;
        for (plain, delta) in found {
            loaded.plain.add(plain);
            with = with.saturating_add(delta);
        }
        loaded.with_dictionaries = dictionaries.map(|_| with);
        Ok(loaded)
    }

    /// The bytes of a file that is loaded again: as it travels to any browser, and to one with these dictionaries.
    async fn again(
        &self,
        path: &BundlePath,
        entry: &FileEntry,
        dictionaries: Option<&HashSet<Digest>>,
    ) -> Result<(u64, u64), Error> {
        let (_, plain) = self.travelling(path, entry).await?;
        let Some(dictionaries) = dictionaries.filter(|dictionaries| !dictionaries.is_empty()) else {
            return Ok((plain, plain));
        };
        let deltas = self.blobs.deltas(entry.hash).await?;
        let usable = deltas.iter().filter(|delta| dictionaries.contains(&delta.dictionary)).map(|delta| delta.size);
        Ok((plain, usable.fold(plain, u64::min)))
    }

    /// What of a version browsers are told to keep as dictionaries; nothing where they are off, or where it was never found
    /// out.
    async fn dictionaries_of(
        &self,
        app: &AppName,
        version: &VersionId,
        manifest: &Manifest,
    ) -> Result<Option<HashSet<Digest>>, Error> {
        if self.dictionaries.is_none() {
            return Ok(None);
        }
        let key = records::dictionaries_key(app, version);
        let Some(record) = self.catalog.get(&key).await? else { return Ok(None) };
        let Ok(record) = records::read::<DictionariesRecord>(&key, &record) else { return Ok(None) };
        let is_told = |path: &BundlePath| record.linked.contains(path) || fingerprint::is_fingerprinted(path.as_str());
        let told = manifest.files.iter().filter(|(path, _)| is_told(path)).map(|(_, entry)| entry.hash);
        let told = told.filter(|blob| record.files.contains_key(blob));
        Ok(Some(told.chain(record.pages.map(|pages| pages.blob)).collect()))
    }

    /// The bytes of a file as they travel to a browser: in Brotli, where that is stored.
    pub(in crate::publish) async fn travelling<'p>(
        &self,
        path: &'p BundlePath,
        entry: &FileEntry,
    ) -> Result<(&'p BundlePath, u64), blobs::Error> {
        let variants = self.blobs.variants(entry.hash).await?;
        let brotli = variants.iter().find(|variant| variant.form == Form::Br).map(|variant| variant.size);
        Ok((path, brotli.unwrap_or(entry.size)))
    }

    /// What a switch lets visitors of the version before load again; nothing where there was none. A push does not fail
    /// for it.
    pub(in crate::publish) async fn returning(
        &self,
        app: &AppName,
        moved: &Moved,
        now: &Manifest,
    ) -> Option<Returning> {
        let before = moved.previous.filter(|_| moved.switched)?;
        let found = async {
            let manifest = self.stored_manifest(before).await?;
            self.loaded_again(app, (&before, &manifest), now).await
        };
        match found.await {
            Ok(found) => {
                let plain_bytes = found.plain.bytes;
                found.with_dictionaries.map(|bytes| Returning { bytes, plain_bytes })
            }
            Err(error) => {
                tracing::warn!(app = %app, %error, "what visitors load again is not known");
                None
            }
        }
    }
}
