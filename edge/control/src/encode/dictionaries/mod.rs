//! Files of earlier versions as dictionaries for those of a new one (RFC 9842): which, by whom they may be read, and
//! the deltas that are made with them.
//!
//! A push makes the deltas that visitors of the last version need, quickly and within bounds, before its switch; the
//! pass behind the switch makes those of earlier versions and what had no time, and all of it again at the best level;
//! and what browsers come with that there is no delta for is made when they do (`on_demand.rs`). Nothing of it ever
//! fails a push or a switch.

mod corpus;
mod deadline;
mod earlier;
mod hashed;
mod imports;
mod linked_assets;
mod maker;
mod making;
mod on_demand;
mod pages;
mod pair;
mod public;
mod record;
mod reference;
mod scripts;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::{AppName, Digest, Manifest, PlaceName, Sha256, VersionId};
use devanture_site::fingerprint;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::compress::delta::sha256;
use super::compress::{Given, Pool, length_of};
use super::wire_size::Siblings;
use crate::ledger::{Error, lost};
use deadline::is_over;
use devanture_base::clock;
use devanture_serve::version::RuleFiles;
use devanture_store::blobs::{Form, Key};
use devanture_store::records::{self, DictionariesRecord, VersionRecord};
use devanture_store::records::{history, pointer};
use earlier::{Side, SideKey};
use imports::Followed;
use linked_assets::Named;
use maker::FILES_AT_ONCE;
use public::{Closed, Public, is_page};

pub use maker::Dictionaries;
pub(crate) use maker::{Pass, Passed};
#[cfg(test)]
pub(crate) use making::Pair;
pub(crate) use public::{is_html, kept_in};

/// Earlier versions whose visitors have deltas when a push goes live: each more makes a push of few files noticeably
/// slower.
const VERSIONS_BEFORE_SWITCH: usize = 1;
/// Pages of a version that are asked what they name: those at the top.
const PAGES_MAX: usize = 8;
/// Bytes of a page that is asked.
const PAGE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Files under names that could change that pages offer as dictionaries: browsers ask about each once more in a page
/// view.
const LINKED_MAX: usize = 8;
/// Fewest bytes of such a file.
const LINKED_BYTES_MIN: u64 = 32 * 1024;
const DAY_MS: u64 = 86_400_000;

impl Dictionaries {
    /// The quick pass of a push before its switch; failures do not stop the push.
    pub(crate) async fn before_switch(&self, pass: &Pass<'_>) -> Passed {
        match self.pass(pass).await {
            Ok(passed) => passed,
            Err(error) => {
                tracing::warn!(app = %pass.app, version = %pass.version, %error, "no deltas were made; the push goes on");
                Passed::default()
            }
        }
    }

    /// Writes what a push found out, once its version is stored; whatever fails, the push goes on.
    pub(crate) async fn stored(&self, app: &AppName, version: &VersionId, passed: &Passed) {
        if let Err(error) = self.write(app, version, &passed.record).await {
            tracing::warn!(app = %app, version = %version, %error, "what serves as dictionaries was not written");
        }
    }

    /// The pass after a switch: work that had no time before it. Returns whether the version got anything.
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

    /// The deadline of a pass that begins now behind a switch.
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
        // A push waits for those of visitors who come back after the last switch; the pass behind it makes the others.
        let visited = earlier.get(..VERSIONS_BEFORE_SWITCH).filter(|_| pass.is_before_switch).unwrap_or(&earlier);
        let likely = self.likely(&files, &named, visited, kept.pages(), pass.deadline).await;
        let mut pairs = self.worthwhile(likely, &siblings, &earlier, &record, pass.deadline).await?;
        // Only who was sent a delta needs one of a file with itself, and not before the next page view.
        if !earlier.is_empty() {
            pairs.extend(self.with_themselves(pass.manifest, &siblings, (&record, &kept), &own).await?);
        }
        let made = self.make(pairs, pass.pool, pass.deadline).await;
        // Also those that were made in earlier passes, of files that are the same. A look at all files is left to the
        // pass behind the switch: before it, what earlier versions were made with stands in for that.
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

    /// Whether the version is what is live: it got its deltas when it went live, and what had no time then behind the
    /// switch. What was made of a page that is withdrawn since is made again.
    async fn is_done(&self, pass: &Pass<'_>, own: &DictionariesRecord) -> Result<bool, Error> {
        let live = pointer::live_pointer(&*self.catalog, pass.app, pass.environment).await?;
        if live.is_none_or(|(_, pointer)| pointer.version != pass.version) {
            return Ok(false);
        }
        let withdrawn = self.withdrawn(pass.app).await?;
        Ok(self.sound_pages(own, &withdrawn).await? == own.pages)
    }

    /// The versions that were live in an environment lately, the last one first: those of whose files browsers may have
    /// been announced as dictionaries.
    async fn earlier(&self, pass: &Pass<'_>) -> Result<Vec<Arc<Side>>, Error> {
        let Pass { app, environment, version: but, deadline, .. } = pass;
        let (days, count_max) = (self.days.load(Ordering::Relaxed), self.versions.load(Ordering::Relaxed));
        let since_ms = clock::now_ms().saturating_sub(days.saturating_mul(DAY_MS));
        let prefix = records::history_prefix(app, environment);
        let switches = history::switches(&*self.catalog, &prefix, since_ms, count_max.saturating_add(1)).await?;
        let mut seen = BTreeSet::from([*but]);
        let versions = switches.iter().map(|switch| switch.version).filter(|version| seen.insert(*version));
        let mut sides = Vec::new();
        for version in versions.take(count_max) {
            // What there is no time for is made behind the switch.
            if is_over(*deadline) {
                break;
            }
            sides.extend(self.side(app, environment, version).await?);
        }
        Ok(sides)
    }

    /// A version that was live; `None` if it has no dictionaries, or no longer.
    async fn side(
        &self,
        app: &AppName,
        environment: &PlaceName,
        version: VersionId,
    ) -> Result<Option<Arc<Side>>, Error> {
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
        // One whose files are gone has no dictionaries any more.
        let Ok(Some(manifest)) = self.manifest(app, version).await else { return Ok(None) };
        let of_version = of_version.and_then(|stored| records::read::<VersionRecord>(&version_key, &stored).ok());
        let integrity = of_version.map(|record| record.integrity).unwrap_or_default();
        let served = self.served_in(environment, &manifest, &BTreeMap::new(), &integrity).await?;
        let manifest = served.map_or(manifest, |(manifest, _)| manifest);
        let (named, is_whole) = self.named(&manifest, &|path| !path.is_private(), None).await?;
        let place = (environment, (&self.rule_memory, app));
        match kept_in(&*self.blobs, &manifest, place, &record, &self.limits).await {
            Ok(kept) => {
                let side = Arc::new(Side { record, manifest, named, kept });
                // A page that could not be read may be restored before the next push.
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

    /// Public files of a version, if given only those with the content `only`. `None` if
    /// there was no time to find out.
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
        // Thousands of rules are read and compared with many thousands of paths: not on a thread that others wait for.
        let find = move || Closed::find(rule_files.restricted(&shared, rules_max).as_ref(), &shared, only, deadline);
        let closed = tokio::task::spawn_blocking(find).await.map_err(|error| lost(&error))?;
        Ok(closed.map(|closed| Public::new(manifest, given, closed, self.limits.dictionary_bytes_max)))
    }

    /// Assets that the top pages of a version link, and that their modules import, if `followed`; and whether each of
    /// the pages could be read.
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
            // A page that cannot be read names nothing; serving it reports the damage.
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

    /// The files under names that could change that pages offer as dictionaries.
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

    /// The SHA-256 of what of a version serves as dictionaries: all but pages, since also what browsers do not keep by
    /// themselves may be kept, by a rule of the site or by another client. What has no time is found out behind the
    /// switch.
    async fn digests(
        &self,
        pass: &Pass<'_>,
        files: &[(&BundlePath, &FileEntry)],
        linked: &[BundlePath],
        earlier: &[Arc<Side>],
        own: &DictionariesRecord,
    ) -> Result<BTreeMap<Digest, Sha256>, Error> {
        let wanted = files.iter().filter(|(path, entry)| !is_page(path, entry));
        // What is announced to browsers comes first, then what is large.
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

    /// The dictionaries of this app that there are deltas of these files with.
    async fn made_with(
        &self,
        files: &[(&BundlePath, &FileEntry)],
        earlier: &[Arc<Side>],
        record: &DictionariesRecord,
    ) -> Result<BTreeSet<Digest>, Error> {
        let dictionaries = known_dictionaries(earlier, record);
        let blobs: BTreeSet<Digest> = files.iter().map(|(_, entry)| entry.hash).collect();
        let found = self.blobs.deltas_all(blobs.into_iter().collect()).await?;
        let with = found.into_iter().flatten().map(|delta| delta.dictionary);
        Ok(with.filter(|dictionary| dictionaries.contains(dictionary)).collect())
    }
}

/// The dictionaries of a version and the earlier ones.
fn known_dictionaries(earlier: &[Arc<Side>], record: &DictionariesRecord) -> HashSet<Digest> {
    let records = earlier.iter().map(|side| &side.record).chain([record]);
    records.flat_map(|record| record.files.keys().copied().chain(record.pages.map(|pages| pages.blob))).collect()
}
