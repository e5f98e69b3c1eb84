//! A version as served in one environment, with hashed pages in place of the originals.

use std::collections::BTreeMap;
use std::sync::Arc;

use devanture_config::path::BundlePath;
use devanture_config::{AppName, Manifest, PlaceName, VersionId};

use super::maker::Dictionaries;
use crate::encode::compress::Given;
use crate::ledger::Error;
use devanture_serve::version::put_hashed_pages;
use devanture_store::blobs::Form;
use devanture_store::records::integrity_pages::IntegrityPages;
use devanture_store::records::{self, VersionRecord};

impl Dictionaries {
    /// Returns the files served by an environment and their included encodings; `None` if equal to those of `manifest`.
    /// Deltas are made from the bytes actually sent: from the hashed page, never from its original.
    pub(super) async fn served_in(
        &self,
        environment: &PlaceName,
        manifest: &Manifest,
        given: &BTreeMap<BundlePath, Vec<Form>>,
        integrity: &[IntegrityPages],
    ) -> Result<Option<(Arc<Manifest>, Given)>, Error> {
        let mut pages = IntegrityPages::of_table(integrity, manifest, environment.as_str());
        if pages.pages.is_empty() {
            return Ok(None);
        }
        let mut forms = given.clone();
        let hashed = put_hashed_pages(&*self.blobs, manifest, &mut pages, &mut forms).await?;
        Ok(hashed.map(|hashed| (Arc::new(hashed.manifest), Given { forms, ..Given::default() })))
    }

    /// Returns the hashed pages of a version, for all its environments.
    pub(super) async fn hashed_pages(
        &self,
        app: &AppName,
        version: &VersionId,
        manifest: &Manifest,
    ) -> Result<Manifest, Error> {
        let key = records::version_key(app, version);
        let Some(stored) = self.catalog.get(&key).await? else { return Ok(Manifest::of_files(BTreeMap::new())) };
        Ok(records::read::<VersionRecord>(&key, &stored)?.hashed_pages(manifest))
    }
}
