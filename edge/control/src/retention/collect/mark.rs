//! Marks files referenced by records: reads one manifest at a time, and keeps only digests in memory.

use std::collections::HashSet;

use devanture_config::problem::Code;
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};

use super::Pass;
use crate::ledger::Error;
use crate::retention::Retention;
use devanture_store::blobs::{self, Key};
use devanture_store::catalog::Change;
use devanture_store::catalog::scan::Scan;
use devanture_store::records;
use devanture_store::records::console::{CONSOLE_KEY, ConsoleRecord, console};
use devanture_store::records::gone::{self, GoneVersion};
use devanture_store::records::sent::{self, SentRecord};

/// Referenced files.
#[derive(Default)]
pub(super) struct Marked {
    blobs: HashSet<Digest>,
    manifests: HashSet<VersionId>,
    /// Versions with unreadable manifests, whose references are unknown.
    pub(super) unreadable: Vec<VersionId>,
}

impl Marked {
    /// Returns true if `key` is referenced.
    pub(super) fn holds(&self, key: Key) -> bool {
        match key {
            Key::Blob(digest) | Key::Variant(digest, _) | Key::Delta(digest, ..) => self.blobs.contains(&digest),
            Key::Manifest(version) => self.manifests.contains(&version),
        }
    }

    /// Returns the number of referenced files.
    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.blobs.len().saturating_add(self.manifests.len())).unwrap_or(u64::MAX)
    }

    /// Marks files derived from a version, by its record: decoded files, which are decoded again on loading if missing,
    /// and pages with hashes.
    fn made_of(&mut self, key: &str, value: &[u8]) {
        match records::made_files(value) {
            Ok(files) => self.blobs.extend(files.into_iter().map(|file| file.hash)),
            Err(error) => tracing::warn!(key, %error, "a record of a version cannot be read"),
        }
    }

    /// Marks the dictionary in a record of dictionaries. An unreadable dictionary is useless, and is made again.
    fn dictionary_of(&mut self, key: &str, value: &[u8]) {
        match records::pages_dictionary(value) {
            Ok(pages) => self.blobs.extend(pages.map(|pages| pages.blob)),
            Err(error) => tracing::warn!(key, %error, "a record of dictionaries cannot be read"),
        }
    }
}

impl Retention {
    /// Marks the references of all staying versions, stored or restorable, and the manifests of versions live within a
    /// year, for their fingerprinted names (`fingerprints.rs`).
    pub(super) async fn mark(&self, pass: &Pass) -> Result<Marked, Error> {
        let mut marked = Marked::default();
        // The watch reports versions that move between the two prefixes during the read.
        for prefix in [records::VERSIONS_PREFIX, gone::GONE_PREFIX] {
            self.mark_versions(pass, &mut marked, prefix).await?;
        }
        let console = console(&*self.ledger.catalog).await?;
        if let Some(version) = console.and_then(|(_, console)| console.version) {
            self.mark_version(&mut marked, version).await?;
        }
        self.mark_dictionaries(pass, &mut marked).await?;
        self.mark_names(pass, &mut marked, [records::LIVE_PREFIX, gone::DELETED_ENVIRONMENTS_PREFIX]).await?;
        if !pass.dry_run {
            self.bring_back(&marked).await?;
        }
        Ok(marked)
    }

    /// As [`Retention::mark`], for the files of one app, whatever other apps hold.
    pub(super) async fn mark_app(&self, pass: &Pass, app: &AppName) -> Result<Marked, Error> {
        let mut marked = Marked::default();
        for prefix in [records::versions_prefix(app), gone::gone_prefix(app)] {
            self.mark_versions(pass, &mut marked, &prefix).await?;
        }
        let (live, deleted) = (records::live_prefix(app), gone::deleted_environments_prefix(app));
        self.mark_names(pass, &mut marked, [&live, &deleted]).await?;
        Ok(marked)
    }

    /// Marks the references of staying versions with records below `prefix`.
    async fn mark_versions(&self, pass: &Pass, marked: &mut Marked, prefix: &str) -> Result<(), Error> {
        let mut versions = Scan::new(&*self.ledger.catalog, prefix);
        while let Some((key, record)) = versions.next().await? {
            let Some((app, version)) = version_of(&key) else { continue };
            // Among gone versions, only restorable versions stay.
            let is_kept = !key.starts_with(gone::GONE_PREFIX)
                // A damaged record may belong to a restorable version.
                || records::read::<GoneVersion>(&key, &record).map_or(true, |gone| gone.record.is_some());
            let is_going = pass.dry_run && (pass.report.apps.contains(&app) || pass.going.contains(&(app, version)));
            if is_kept && !is_going {
                marked.made_of(&key, record.value.as_ref());
                self.mark_version(marked, version).await?;
            }
        }
        Ok(())
    }

    /// Brings back collected files that are referenced again, for example after the restoration of an older catalog.
    async fn bring_back(&self, marked: &Marked) -> Result<(), Error> {
        for key in self.blobs.collected().await?.into_iter().filter(|key| marked.holds(*key)) {
            match self.blobs.open(key).await {
                // The file may be only on the local disk.
                Ok(_) => drop(self.blobs.mend(key, None).await?),
                Err(blobs::Error::Missing(_) | blobs::Error::Corrupt { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Marks dictionaries shared by pages, which are in no manifest.
    async fn mark_dictionaries(&self, pass: &Pass, marked: &mut Marked) -> Result<(), Error> {
        let found = Scan::new(&*self.ledger.catalog, records::DICTIONARIES_PREFIX);
        let mut found = found.pages_of(records::DICTIONARIES_AT_ONCE);
        while let Some((key, record)) = found.next().await? {
            let is_going = version_of(&key).is_some_and(|(app, version)| {
                pass.dry_run && (pass.report.apps.contains(&app) || pass.going.contains(&(app, version)))
            });
            if !is_going {
                marked.dictionary_of(&key, record.value.as_ref());
            }
        }
        Ok(())
    }

    /// Marks the references of a version.
    async fn mark_version(&self, marked: &mut Marked, version: VersionId) -> Result<(), Error> {
        if !marked.manifests.insert(version) {
            return Ok(());
        }
        let canonical = match self.blobs.get(Key::Manifest(version)).await {
            Ok(canonical) => canonical,
            Err(blobs::Error::Missing(_) | blobs::Error::Corrupt { .. }) => {
                marked.unreadable.push(version);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        match Manifest::read(&canonical) {
            Ok(manifest) => marked.blobs.extend(manifest.blobs().map(|(digest, _)| digest)),
            Err(_) => marked.unreadable.push(version),
        }
        Ok(())
    }

    /// Marks blobs sent by apps other than `app` for versions not yet stored.
    pub(super) async fn mark_sent_by_others(&self, marked: &mut Marked, app: &AppName) -> Result<(), Error> {
        let own = sent::sent_prefix(app);
        let mut uploads = Scan::new(&*self.ledger.catalog, sent::SENT_PREFIX);
        while let Some((key, record)) = uploads.next().await? {
            if key.starts_with(&own) {
                continue;
            }
            if let Ok(sent) = records::read::<SentRecord>(&key, &record) {
                marked.blobs.extend(sent.blobs);
            }
        }
        Ok(())
    }

    async fn mark_names(&self, pass: &Pass, marked: &mut Marked, prefixes: [&str; 2]) -> Result<(), Error> {
        for prefix in prefixes {
            for (key, _) in self.ledger.catalog.list(prefix, None, false, usize::MAX).await? {
                let Some((app, environment)) = place_of(&key) else { continue };
                if pass.report.apps.contains(&app) {
                    continue;
                }
                match self.ledger.live_within_a_year(&app, &environment).await {
                    Ok(versions) => marked.manifests.extend(versions),
                    Err(Error(problem)) if problem.code == Code::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Marks the references of a change committed meanwhile.
    pub(super) async fn mark_change(&self, marked: &mut Marked, change: &Change) -> Result<(), Error> {
        let Change::Put(key, value) = change else { return Ok(()) };
        if key.starts_with(records::DICTIONARIES_PREFIX) {
            marked.dictionary_of(key, value.as_ref());
            return Ok(());
        }
        let version = if key == CONSOLE_KEY {
            serde_json::from_slice::<ConsoleRecord>(value).ok().and_then(|console| console.version)
        } else if key.starts_with(records::VERSIONS_PREFIX) || key.starts_with(gone::GONE_PREFIX) {
            marked.made_of(key, value.as_ref());
            version_of(key).map(|(_, version)| version)
        } else {
            None
        };
        let Some(version) = version else { return Ok(()) };
        // A manifest marked only for its names does not mark its blobs.
        marked.manifests.remove(&version);
        self.mark_version(marked, version).await
    }
}

fn version_of(key: &str) -> Option<(AppName, VersionId)> {
    let mut parts = key.split('/').skip(1);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn place_of(key: &str) -> Option<(AppName, PlaceName)> {
    let mut parts = key.split('/').skip(1);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
