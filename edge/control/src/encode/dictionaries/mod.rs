//! Files of earlier versions as dictionaries for files of a new version (RFC 9842): selection, access restrictions, and
//! deltas.
//!
//! Before its switch, a push makes the deltas for visitors of the previous version, quickly and within limits. The
//! background pass adds deltas from earlier versions and unfinished work, and recompresses all at the best level.
//! Missing deltas requested by browsers are made on demand (`on_demand.rs`). No failure here fails a push or a switch.

mod deadline;
mod earlier;
mod imports;
mod linked_assets;
mod maker;
mod making;
mod on_demand;
mod pages;
mod pair;
mod public;
mod record;
mod scripts;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use devanture_base::clock;
use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::{AppName, Digest, Manifest, PlaceName, Sha256, VersionId};
use devanture_serve::version::{RuleFiles, put_hashed_pages};
use devanture_site::fingerprint;
use devanture_store::blobs::{Form, Key};
use devanture_store::records::integrity_pages::IntegrityPages;
use devanture_store::records::{self, DictionariesRecord, VersionRecord, history, pointer};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use self::deadline::is_over;
use self::earlier::{EarlierVersion, SideKey};
use self::imports::Followed;
use self::linked_assets::Named;
use self::maker::FILES_AT_ONCE;
use self::public::{Closed, Public, is_page};
use super::compress::delta::sha256;
use super::compress::{Given, Pool, length_of};
use super::wire_size::Siblings;
use crate::ledger::{Error, lost};

pub use self::maker::Dictionaries;
pub(crate) use self::maker::{Pass, Passed};
#[cfg(test)]
pub(crate) use self::making::Pair;
pub(crate) use self::public::{is_html, kept_in};

/// Earlier versions with deltas at the switch: each further version slows down a small push noticeably.
const VERSIONS_BEFORE_SWITCH: usize = 1;
/// Pages of a version scanned for links: those at the top.
const PAGES_MAX: usize = 8;
/// Longest scanned page, in bytes.
const PAGE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Files under unfingerprinted names offered as dictionaries by pages: browsers revalidate each once more per page
/// view.
const LINKED_MAX: usize = 8;
/// Shortest file offered so.
const LINKED_BYTES_MIN: u64 = 32 * 1024;
const DAY_MS: u64 = 86_400_000;

impl Dictionaries {
    /// Quick pass of a push before its switch; failures do not stop the push.
    pub(crate) async fn before_switch(&self, pass: &Pass<'_>) -> Passed {
        match self.pass(pass).await {
            Ok(passed) => passed,
            Err(error) => {
                tracing::warn!(app = %pass.app, version = %pass.version, %error, "no deltas were made; the push goes on");
                Passed::default()
            }
        }
    }

    /// Writes the results of a push once its version is stored; failures do not stop the push.
    pub(crate) async fn stored(&self, app: &AppName, version: &VersionId, passed: &Passed) {
        if let Err(error) = self.write(app, version, &passed.record).await {
            tracing::warn!(app = %app, version = %version, %error, "what serves as dictionaries was not written");
        }
    }

    /// Pass after a switch, for work left unfinished before. Returns true if the version was improved.
    pub(crate) async fn after_switch(
        &self,
        app: &AppName,
        environment: &PlaceName,
        version: VersionId,
        pool: &Pool,
    ) -> Result<bool, Error> {
        let key = records::version_key(app, &version);
        let Some(stored) = self.catalog.get(&key).await? else { return Ok(false) };
        let VersionRecord { given, decoded, integrity, quick, .. } = records::read(&key, &stored)?;
        let given = Given { forms: given, decoded, beyond: Vec::new(), integrity, is_quick: quick };
        let Some(manifest) = self.manifest(app, version).await? else { return Ok(false) };
        let (deadline, is_before_switch) = (self.background_deadline(), false);
        let pass =
            Pass { app, environment, version, manifest: &manifest, given: &given, pool, is_before_switch, deadline };
        let passed = self.pass(&pass).await?;
        let is_written = self.write(app, &version, &passed.record).await?;
        Ok(is_written || passed.deltas > 0)
    }

    /// Returns the deadline of a pass that begins now after a switch.
    fn background_deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(Duration::from_millis(self.limits.delta_background_ms_max))
    }

    async fn pass(&self, pass: &Pass<'_>) -> Result<Passed, Error> {
        let own = self.record(pass.app, &pass.version).await?;
        if pass.is_before_switch
            && let Some(record) = &own
            && self.is_done(pass, record).await?
        {
            return Ok(Passed { record: record.clone(), deltas: 0 });
        }
        let own = own.unwrap_or_default();
        let Given { forms, integrity, is_quick, .. } = pass.given;
        let levels = self.levels(pass.app, pass.version, *is_quick);
        let served = self.served_in(pass.environment, pass.manifest, forms, integrity).await?;
        let pass = &match &served {
            Some((manifest, given)) => Pass { manifest, given, ..*pass },
            None => *pass,
        };
        let earlier = self.earlier(pass).await?;
        let Some(public) =
            self.public((pass.app, pass.environment), pass.manifest, (&pass.given.forms, None), pass.deadline).await?
        else {
            return Ok(Passed { record: own, deltas: 0 });
        };
        let followed = Some(Followed::new(pass.manifest, pass.deadline));
        let (named, _) = self.named(pass.manifest, &|path| public.anyone_may_read(path), followed).await?;
        let files: Vec<(&BundlePath, &FileEntry)> = public.files().collect();
        let siblings = Siblings::new(pass.manifest, &pass.given.forms, levels);
        let linked = self.linked(&files, &named, &siblings).await?;
        let deltas_from = own.deltas_from.clone();
        let mut record = DictionariesRecord { linked, deltas_from, ..DictionariesRecord::default() };
        if let Some((pages, pages_of)) = self.pages_dictionary(pass, &files, &siblings, &own).await? {
            (record.pages, record.pages_of) = (Some(pages), pages_of);
        }
        record.files = self.digests(pass, &files, &record.linked, &earlier, &own).await?;
        let place = (pass.environment, (&self.rule_memory, pass.app));
        let kept = kept_in(&*self.blobs, pass.manifest, place, &record, &self.limits).await?;
        // A push waits for deltas for visitors of the previous switch; the background pass makes all others.
        let visited = earlier.get(..VERSIONS_BEFORE_SWITCH).filter(|_| pass.is_before_switch).unwrap_or(&earlier);
        let likely = self.likely(&files, &named, visited, kept.pages(), pass.deadline).await;
        let mut pairs = self.worthwhile(likely, &siblings, &earlier, &record, pass.deadline).await?;
        // Only a client that received a delta needs a delta of a file from itself, at the earliest at its next page
        // view.
        if !earlier.is_empty() {
            pairs.extend(self.with_themselves(pass.manifest, &siblings, (&record, &kept), &own).await?);
        }
        let made = self.make(pairs, pass.pool, pass.deadline).await;
        // Includes deltas of unchanged files from earlier passes. Before the switch, dictionaries of earlier versions
        // stand in for the examination of all files, which is left to the background pass.
        if pass.is_before_switch {
            let dictionaries = known_dictionaries(&earlier, &record);
            let of_earlier = earlier.iter().flat_map(|side| side.record.all_from());
            let of_earlier = of_earlier.filter(|dictionary| dictionaries.contains(dictionary)).copied();
            record.add_from(pass.environment, of_earlier);
        } else {
            let made_with = self.made_with(&files, &earlier, &record).await?;
            record.add_from(pass.environment, made_with);
        }
        match made {
            Ok((deltas, with)) if pass.is_before_switch => {
                record.add_from(pass.environment, with);
                Ok(Passed { record, deltas })
            }
            Ok((deltas, _)) => Ok(Passed { record, deltas }),
            Err(error) => {
                tracing::warn!(app = %pass.app, version = %pass.version, %error, "deltas were not made");
                Ok(Passed { record, deltas: 0 })
            }
        }
    }

    /// Returns true if the version is already live: its deltas were made when the version went live, or by the
    /// background pass. A dictionary made from a meanwhile withdrawn page is made again.
    async fn is_done(&self, pass: &Pass<'_>, own: &DictionariesRecord) -> Result<bool, Error> {
        let live = pointer::live_pointer(&*self.catalog, pass.app, pass.environment).await?;
        if live.is_none_or(|(_, pointer)| pointer.version != pass.version) {
            return Ok(false);
        }
        let withdrawn = self.withdrawn(pass.app).await?;
        Ok(self.sound_pages(own, &withdrawn).await? == own.pages)
    }

    /// Returns the recent live versions of an environment, latest first, whose files browsers may have as dictionaries.
    async fn earlier(&self, pass: &Pass<'_>) -> Result<Vec<Arc<EarlierVersion>>, Error> {
        let Pass { app, environment, version: but, deadline, .. } = pass;
        let (days, count_max) = (self.days.load(Ordering::Relaxed), self.versions.load(Ordering::Relaxed));
        let since_ms = clock::now_ms().saturating_sub(days.saturating_mul(DAY_MS));
        let prefix = records::history_prefix(app, environment);
        let switches = history::switches(&*self.catalog, &prefix, since_ms, count_max.saturating_add(1)).await?;
        let mut seen = BTreeSet::from([*but]);
        let versions = switches.iter().map(|switch| switch.version).filter(|version| seen.insert(*version));
        let mut sides = Vec::new();
        for version in versions.take(count_max) {
            // Unfinished work is left to the background pass.
            if is_over(*deadline) {
                break;
            }
            sides.extend(self.side(app, environment, version).await?);
        }
        Ok(sides)
    }

    /// Returns an earlier live version; `None` without dictionaries.
    async fn side(
        &self,
        app: &AppName,
        environment: &PlaceName,
        version: VersionId,
    ) -> Result<Option<Arc<EarlierVersion>>, Error> {
        let key = records::dictionaries_key(app, &version);
        let Some(stored) = self.catalog.get(&key).await? else { return Ok(None) };
        let record = Digest::of(&stored.value);
        let version_key = records::version_key(app, &version);
        let of_version = self.catalog.get(&version_key).await?;
        let record_of_version = of_version.as_ref().map(|of_version| Digest::of(&of_version.value));
        let side_key =
            SideKey { app: app.clone(), version, environment: environment.clone(), record, record_of_version };
        if let Some(side) = self.known_sides.lock().get(&side_key) {
            return Ok(Some(side));
        }
        let Ok(record) = records::read::<DictionariesRecord>(&key, &stored) else { return Ok(None) };
        // A version with deleted files has no dictionaries.
        let Ok(Some(manifest)) = self.manifest(app, version).await else { return Ok(None) };
        let of_version = of_version.and_then(|stored| records::read::<VersionRecord>(&version_key, &stored).ok());
        let integrity = of_version.map(|record| record.integrity).unwrap_or_default();
        let served = self.served_in(environment, &manifest, &BTreeMap::new(), &integrity).await?;
        let manifest = served.map_or(manifest, |(manifest, _)| manifest);
        let (named, is_whole) = self.named(&manifest, &|path| !path.is_private(), None).await?;
        let place = (environment, (&self.rule_memory, app));
        match kept_in(&*self.blobs, &manifest, place, &record, &self.limits).await {
            Ok(kept) => {
                let side = Arc::new(EarlierVersion { record, manifest, named, kept });
                // A page not readable now may be restored before the next push.
                if is_whole {
                    self.known_sides.lock().add(side_key, &side);
                }
                Ok(Some(side))
            }
            Err(error) => {
                tracing::warn!(%app, %version, %error, "what browsers keep of an earlier version is not known");
                Ok(None)
            }
        }
    }

    /// Returns the public files of a version, or only those with the content `only`. `None` if out of time.
    async fn public<'m>(
        &self,
        (app, environment): (&AppName, &PlaceName),
        manifest: &'m Arc<Manifest>,
        (given, only): (&BTreeMap<BundlePath, Vec<Form>>, Option<Digest>),
        deadline: Option<Instant>,
    ) -> Result<Option<Public<'m>>, Error> {
        let reader = self.rule_memory.reader(app, environment.as_str());
        let rule_files = RuleFiles::read(&*self.blobs, manifest, &reader).await?;
        let rules_max = usize::try_from(self.limits.rules_max).unwrap_or(usize::MAX);
        let shared = Arc::clone(manifest);
        // Runs on a blocking thread: thousands of rules are matched against many thousands of paths.
        let find = move || Closed::find(rule_files.restricted(&shared, rules_max).as_ref(), &shared, only, deadline);
        let closed = tokio::task::spawn_blocking(find).await.map_err(|error| lost(&error))?;
        Ok(closed.map(|closed| Public::new(manifest, given, closed, self.limits.dictionary_bytes_max)))
    }

    /// Returns the assets linked by the top pages of a version, with imports of modules if `followed`, and true if all
    /// pages were readable.
    async fn named(
        &self,
        manifest: &Manifest,
        is_public: &(dyn Fn(&BundlePath) -> bool + Sync),
        mut followed: Option<Followed<'_>>,
    ) -> Result<(Named, bool), Error> {
        let pages = manifest.files.iter().filter(|(path, entry)| entry.size <= PAGE_BYTES_MAX && is_html(path, entry));
        let mut pages: Vec<(&BundlePath, &FileEntry)> = pages.collect();
        pages.sort_by_key(|(path, _)| (path.as_str().matches('/').count(), path.file_name() != "index.html", *path));
        let pages: Vec<(&BundlePath, &FileEntry)> =
            pages.into_iter().filter(|(path, _)| is_public(path)).take(PAGES_MAX).collect();
        let (mut named, mut is_whole) = (Named::default(), true);
        for (path, entry) in pages {
            // An unreadable page has no links; serving reports the damage.
            let Ok(html) = self.blobs.get(Key::Blob(entry.hash)).await else {
                is_whole = false;
                continue;
            };
            let modules = named.add(path, &html, &|path| manifest.files.contains_key(path));
            if let Some(followed) = &mut followed {
                self.follow(&mut named, modules, followed, is_public).await;
            }
        }
        Ok((named, is_whole))
    }

    /// Returns the files under unfingerprinted names offered as dictionaries by pages.
    async fn linked(
        &self,
        files: &[(&BundlePath, &FileEntry)],
        named: &Named,
        siblings: &Siblings,
    ) -> Result<Vec<BundlePath>, Error> {
        let public: HashMap<&BundlePath, &FileEntry> = files.iter().copied().collect();
        let (mut linked, mut bytes) = (Vec::new(), 0_u64);
        for path in named.files() {
            let Some(entry) = public.get(path) else { continue };
            if fingerprint::is_fingerprinted(path.as_str()) || is_page(path, entry) || entry.size < LINKED_BYTES_MIN {
                continue;
            }
            let with = bytes.saturating_add(self.travelling(siblings, entry.hash, entry.size).await?);
            if linked.len() < LINKED_MAX && with <= self.limits.dictionary_offered_bytes_max {
                bytes = with;
                linked.push(path.clone());
            }
        }
        Ok(linked)
    }

    /// Returns the SHA-256 of all dictionary files of a version: all files except pages, since a rule of the site or
    /// another client may keep files that browsers by themselves do not. Unfinished work is left to the background
    /// pass.
    async fn digests(
        &self,
        pass: &Pass<'_>,
        files: &[(&BundlePath, &FileEntry)],
        linked: &[BundlePath],
        earlier: &[Arc<EarlierVersion>],
        own: &DictionariesRecord,
    ) -> Result<BTreeMap<Digest, Sha256>, Error> {
        let wanted = files.iter().filter(|(path, entry)| !is_page(path, entry));
        // Files announced to browsers first, then large files.
        let rank = |path: &BundlePath| linked.contains(path) || fingerprint::is_fingerprinted(path.as_str());
        let mut wanted: Vec<_> = wanted.map(|(path, entry)| (rank(path), entry.size, entry.hash)).collect();
        wanted.sort_unstable_by(|one, other| other.cmp(one));
        let mut seen = HashSet::new();
        wanted.retain(|(.., blob)| seen.insert(*blob));
        wanted.truncate(usize::try_from(self.limits.dictionary_files_max).unwrap_or(usize::MAX));
        let known = |blob: &Digest| {
            let records = earlier.iter().map(|side| &side.record).chain([own]);
            records.into_iter().find_map(|record| record.files.get(blob).copied())
        };
        let digests: Vec<_> = wanted.into_iter().map(|(.., blob)| self.digest(pass, blob, known(&blob))).collect();
        let found: Vec<Option<(Digest, Sha256)>> =
            stream::iter(digests).buffer_unordered(FILES_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn digest(
        &self,
        pass: &Pass<'_>,
        blob: Digest,
        known: Option<Sha256>,
    ) -> Result<Option<(Digest, Sha256)>, Error> {
        if let Some(known) = known {
            return Ok(Some((blob, known)));
        }
        if is_over(pass.deadline) {
            return Ok(None);
        }
        let bytes = self.blobs.get(Key::Blob(blob)).await?;
        Ok(pass.pool.run(length_of(&bytes), move || sha256(&bytes)).await.map(|sha256| (blob, sha256)))
    }

    /// Returns the app's dictionaries with deltas of the files.
    async fn made_with(
        &self,
        files: &[(&BundlePath, &FileEntry)],
        earlier: &[Arc<EarlierVersion>],
        record: &DictionariesRecord,
    ) -> Result<BTreeSet<Digest>, Error> {
        let dictionaries = known_dictionaries(earlier, record);
        let blobs: BTreeSet<Digest> = files.iter().map(|(_, entry)| entry.hash).collect();
        let found = self.blobs.deltas_all(blobs.into_iter().collect()).await?;
        let with = found.into_iter().flatten().map(|delta| delta.dictionary);
        Ok(with.filter(|dictionary| dictionaries.contains(dictionary)).collect())
    }
}

/// Returns the dictionaries of a version and of earlier versions.
fn known_dictionaries(earlier: &[Arc<EarlierVersion>], record: &DictionariesRecord) -> HashSet<Digest> {
    let records = earlier.iter().map(|side| &side.record).chain([record]);
    records.flat_map(|record| record.files.keys().copied().chain(record.pages.map(|pages| pages.blob))).collect()
}

// A version as served in one environment, with hashed pages in place of the originals.

impl Dictionaries {
    /// Returns the files served by an environment and their included encodings; `None` if equal to those of `manifest`.
    /// Deltas are made from the bytes actually sent: from the hashed page, never from its original.
    async fn served_in(
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
    async fn hashed_pages(&self, app: &AppName, version: &VersionId, manifest: &Manifest) -> Result<Manifest, Error> {
        let key = records::version_key(app, version);
        let Some(stored) = self.catalog.get(&key).await? else { return Ok(Manifest::of_files(BTreeMap::new())) };
        Ok(records::read::<VersionRecord>(&key, &stored)?.hashed_pages(manifest))
    }
}
