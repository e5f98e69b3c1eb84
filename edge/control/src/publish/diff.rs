//! Differences between two stored versions: files, bytes loaded again by visitors, serving rules.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use devanture_config::api::{
    Amount, ChangeKind, Diff, DiffSide, FileChange, FileChanges, Returning, Scope, ServingChange, VisitorLoad,
};
use devanture_config::manifest::FileEntry;
use devanture_config::parsing::nearest;
use devanture_config::path::BundlePath;
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::{FILE_NAME, Serving};
use devanture_config::text::counted;
use devanture_config::{AppName, Digest, IdPrefix, Manifest, PlaceName, VersionId};
use devanture_serve::version::{KeptFiles, RuleFiles, Version, put_hashed_pages};
use devanture_site::dictionary::Announced;
use devanture_site::fingerprint;
use devanture_store::blobs::DeltaInfo;
use devanture_store::records::{DictionariesRecord, Levels, VersionRecord};
use devanture_store::{blobs, records};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use super::publisher::Publisher;
use crate::encode::{Siblings, is_html, kept_in};
use crate::ledger::{Actor, Error, HeldManifest, ManifestTurn, Page, lost};
use crate::switch::SwitchOutcome;

/// Name of the live version.
const LIVE: &str = "live";

/// Requested comparison.
#[derive(Debug, Clone)]
pub struct DiffRequest {
    /// `live`, an environment, an alias, or a version id.
    pub from: String,
    /// As `from`.
    pub to: String,
    /// Environment of `live`, and of the counted rules.
    pub environment: PlaceName,
    /// Page of differing files.
    pub page: Page,
}

impl Publisher {
    /// Compares two versions.
    ///
    /// # Errors
    /// `not_found`, `ambiguous_id`, `bad_request`; `forbidden` for a version or rules outside the environment of the
    /// token.
    pub async fn diff(&self, actor: &Actor, app: &AppName, wanted: &DiffRequest) -> Result<Diff, Error> {
        self.ledger.must_exist(app).await?;
        actor.may_compare(app, &wanted.environment)?;
        let after = match &wanted.page.after {
            Some(after) => Some(after.parse::<BundlePath>().map_err(|_bad| wanted.page.bad_cursor())?),
            None => None,
        };
        let from = self.named(actor, app, &wanted.from, &wanted.environment).await?;
        let to = self.named(actor, app, &wanted.to, &wanted.environment).await?;
        // The first promotion to an environment is compared with an empty environment, in both directions. Two empty
        // sides have no difference, and no version to promote.
        if let ComparedSide::NoAlias(place) = &to
            && (wanted.from == LIVE || matches!(from, ComparedSide::NoAlias(_)))
        {
            return Err(nothing_live(app, place));
        }
        let (from, to) = (from.version(), to.version());
        let sides: Vec<VersionId> = [from, to].into_iter().flatten().collect();
        let turn = self.ledger.manifest_turn(&*self.blobs, app, &sides).await?;
        let before = self.manifest_or_empty(&turn, from).await?;
        let now = self.manifest_or_empty(&turn, to).await?;
        let both = (before.clone(), now.clone());
        // Runs on a blocking thread: a manifest may have a hundred thousand files.
        let compared = tokio::task::spawn_blocking(move || ManifestDifference::of(&both.0, &both.1)).await;
        let compared = compared.map_err(|error| lost(&error))?;
        let visitors = self.visitors(app, &wanted.environment, (from.as_ref(), &before), (to.as_ref(), &now)).await?;
        let serving = self.serving_changes(app, before, now, &wanted.environment).await?;
        let rest =
            compared.changes.into_iter().filter(|change| after.as_ref().is_none_or(|after| change.path > *after));
        let mut changes: Vec<FileChange> = rest.collect();
        let next = wanted.page.next(&changes, |change| change.path.to_string());
        changes.truncate(wanted.page.limit);
        let from = DiffSide { named: wanted.from.clone(), version: from };
        let to = DiffSide { named: wanted.to.clone(), version: to };
        Ok(Diff { app: app.clone(), from, to, files: compared.files, changes, next, visitors, serving })
    }

    async fn manifest_or_empty(&self, turn: &ManifestTurn, version: Option<VersionId>) -> Result<HeldManifest, Error> {
        match version {
            Some(version) => turn.read(&*self.blobs, version).await,
            None => Ok(turn.clone().hold(Manifest::of_files(BTreeMap::new()))),
        }
    }

    /// Resolves a side: `live`, an environment, an alias, or a prefix of a version id. Names of environments and
    /// aliases cannot be ids.
    async fn named(
        &self,
        actor: &Actor,
        app: &AppName,
        named: &str,
        environment: &PlaceName,
    ) -> Result<ComparedSide, Error> {
        if named.parse::<IdPrefix>().is_ok() {
            let version = self.ledger.resolve_version(app, named).await?;
            self.check_seen(actor, app, &version).await?;
            return Ok(ComparedSide::Version(version));
        }
        let place: PlaceName = match named {
            LIVE => environment.clone(),
            _ => named.parse().map_err(|_bad| {
                let shown: String = named.chars().take(64).flat_map(char::escape_debug).collect();
                let detail = format!("`{shown}` is neither `live`, nor an environment, an alias or a version's id.");
                Problem::new(Code::BadRequest, detail).hint("an id has 6 characters or more")
            })?,
        };
        if let Some(version) = self.ledger.live_version_id(app, &place).await? {
            actor.may_compare(app, &place)?;
            return Ok(ComparedSide::Version(version));
        }
        actor.may_alias(Scope::Read, app, &place).or_else(|_| actor.may_compare(app, &place))?;
        match self.environments.aliases.alias(actor, app, &place).await {
            Ok((_, alias)) => Ok(ComparedSide::Version(alias.version)),
            Err(Error(problem)) if problem.code == Code::NotFound => {
                // A name given twice is no typing mistake: a first promotion to a new environment is previewed so.
                if named == LIVE || place != *environment {
                    self.check_known(actor, app, &place).await?;
                }
                Ok(if place == *environment { ComparedSide::OwnEnvironment } else { ComparedSide::NoAlias(place) })
            }
            Err(error) => Err(error),
        }
    }

    /// Checks that an environment without a live version is known: a mistyped name must not be compared as empty.
    /// `prod` and the environment of a token are always known.
    async fn check_known(&self, actor: &Actor, app: &AppName, place: &PlaceName) -> Result<(), Error> {
        let is_given = place.is_prod() || actor.environment.as_ref() == Some(place);
        if is_given || self.environments.places.has_environment(app, place).await? {
            return Ok(());
        }
        let max = usize::try_from(self.ledger.limits().for_app(app).environments_max).unwrap_or(usize::MAX);
        // A token of one environment does not learn the names of other environments.
        let names = match actor.environment {
            Some(_) => BTreeSet::new(),
            None => self.environments.places.names_of(app, max).await?,
        };
        let prod = PlaceName::prod();
        let known = names.iter().map(String::as_str).chain([prod.as_str()]);
        let hint = match nearest(place.as_str(), known) {
            Some(name) => format!("did you mean {name}? `devanture status` lists environments and aliases"),
            None => "`devanture status` lists environments and aliases; --env names one that is to be made".to_owned(),
        };
        let detail = format!("The app {app} has no environment {place}, and no alias of that name.");
        Err(Problem::new(Code::NotFound, detail).hint(hint).into())
    }

    /// Checks that the actor may see a version named by its id. The right to push includes all versions, since a push
    /// can make any version live; the right to read includes only versions in the history of its environment.
    async fn check_seen(&self, actor: &Actor, app: &AppName, version: &VersionId) -> Result<(), Error> {
        let Some(own) = actor.environment.as_ref().filter(|_| !actor.scope.includes(Scope::Push)) else {
            return Ok(());
        };
        if self.ledger.names_version(app, own, version).await? {
            return Ok(());
        }
        let short = version.short();
        let detail = format!("The history of {own} does not name {short}, and this token reads {own} alone.");
        let hint = "compare versions that were pushed to it, or use a token of the whole app";
        Err(Problem::new(Code::Forbidden, detail).hint(hint).into())
    }

    /// Computes the bytes loaded by a visitor of all of `now`; returning visitors have loaded all of `before`.
    async fn visitors(
        &self,
        app: &AppName,
        environment: &PlaceName,
        (before_id, before): (Option<&VersionId>, &Manifest),
        (now_id, now): (Option<&VersionId>, &Manifest),
    ) -> Result<VisitorLoad, Error> {
        let sent = self.sent(app, environment, now_id, now).await?;
        let was_sent = self.sent(app, environment, before_id, before).await?;
        let files: Vec<(&BundlePath, &FileEntry)> = sent.files().collect();
        let mut travelling: Vec<u64> = Vec::with_capacity(files.len());
        for group in files.chunks(FILES_TOGETHER) {
            let lookups: Vec<_> = group.iter().map(|(_, entry)| self.travelling(&sent, entry)).collect();
            let found: Vec<u64> = stream::iter(lookups).buffered(LOOKUPS_AT_ONCE).try_collect().await?;
            travelling.extend(found);
        }
        let again = self.loaded_again(&was_sent, &sent, None).await?;
        // Browsers keep the content of a fingerprinted name, whatever its new content. New visitors load the new
        // content; the reuse of the name is reported with the change.
        let mut load =
            VisitorLoad { load: again.plain, with_dictionaries: again.with_dictionaries, ..VisitorLoad::default() };
        for ((path, _), bytes) in files.into_iter().zip(travelling) {
            load.first_visit.add(bytes);
            let is_same = sent.is_same(&was_sent, path);
            let amount = match (is_same, fingerprint::is_fingerprinted(path.as_str())) {
                (true, true) => &mut load.keep,
                (true, false) => &mut load.revalidate,
                (false, _) => continue,
            };
            amount.add(bytes);
        }
        Ok(load)
    }

    async fn serving_changes(
        &self,
        app: &AppName,
        before: HeldManifest,
        now: HeldManifest,
        environment: &PlaceName,
    ) -> Result<Vec<ServingChange>, Error> {
        let mut changes = serving_changes(&before, &now);
        // Sequential: a caller that holds the rules of one version must not wait for another permit.
        let (redirects_before, headers_before) = self.rule_counts(app, before, environment).await?;
        let (redirects, headers) = self.rule_counts(app, now, environment).await?;
        for (key, before, now) in
            [("redirects and rewrites", redirects_before, redirects), ("rules of fields", headers_before, headers)]
        {
            if before != now {
                let place = format!("in force in {environment}");
                let (before, now) = (Some(before.to_string()), Some(now.to_string()));
                changes.push(ServingChange { place, key: key.to_owned(), before, now });
            }
        }
        Ok(changes)
    }

    /// Returns the numbers of redirects and rewrites, and of header rules, of a version in an environment.
    async fn rule_counts(
        &self,
        app: &AppName,
        manifest: HeldManifest,
        environment: &PlaceName,
    ) -> Result<(usize, usize), Error> {
        let reader = self.switcher.loader.rule_memory().reader(app, environment.as_str());
        let files = RuleFiles::read(&*self.blobs, &manifest, &reader).await?;
        let rules_max = usize::try_from(self.ledger.limits().rules_max).unwrap_or(usize::MAX);
        let environment = environment.clone();
        // Runs on a blocking thread: a version may have thousands of rules.
        let count = move || files.counts(&manifest, environment.as_str(), rules_max);
        tokio::task::spawn_blocking(count).await.map_err(|error| lost(&error))
    }
}

/// Side of a comparison.
#[derive(Debug)]
enum ComparedSide {
    /// Stored version.
    Version(VersionId),
    /// Environment of the request, without a live version.
    OwnEnvironment,
    /// Neither an alias nor an environment with a live version.
    NoAlias(PlaceName),
}

fn nothing_live(app: &AppName, place: &PlaceName) -> Error {
    let detail = format!("Nothing is live in {place} of the app {app}, and it is no alias.");
    Problem::new(Code::NotFound, detail)
        .hint("`devanture status` lists environments and aliases; `live` is what is live in that of --env")
        .into()
}

impl ComparedSide {
    /// Returns the version; `None` without a live version.
    fn version(self) -> Option<VersionId> {
        match self {
            Self::Version(version) => Some(version),
            Self::OwnEnvironment | Self::NoAlias(_) => None,
        }
    }
}

/// Files of two manifests, compared.
#[derive(Debug, Default)]
struct ManifestDifference {
    files: FileChanges,
    /// Sorted by path.
    changes: Vec<FileChange>,
}

impl ManifestDifference {
    fn of(before: &Manifest, now: &Manifest) -> Self {
        let mut compared = Self::default();
        let paths: BTreeSet<&BundlePath> = before.files.keys().chain(now.files.keys()).collect();
        for path in paths {
            compared.add(path, before.files.get(path), now.files.get(path));
        }
        compared
    }

    fn add(&mut self, path: &BundlePath, before: Option<&FileEntry>, now: Option<&FileEntry>) {
        let (change, amount): (_, &mut Amount) = match (before, now) {
            (Some(before), Some(now)) if before == now => return self.files.same.add(now.size),
            (Some(_), Some(_)) => (ChangeKind::Changed, &mut self.files.changed),
            (None, Some(_)) => (ChangeKind::Added, &mut self.files.added),
            (Some(_), None) => (ChangeKind::Removed, &mut self.files.removed),
            (None, None) => return,
        };
        amount.add(now.or(before).map_or(0, |entry| entry.size));
        let has_other_content = matches!((before, now), (Some(before), Some(now)) if before.hash != now.hash);
        self.changes.push(FileChange {
            path: path.clone(),
            change,
            bytes_before: before.map(|entry| entry.size),
            bytes: now.map(|entry| entry.size),
            refingerprinted: has_other_content && fingerprint::is_fingerprinted(path.as_str()),
        });
    }
}

/// Returns the changes in `devanture.toml`, by table and key.
fn serving_changes(before: &Manifest, now: &Manifest) -> Vec<ServingChange> {
    let mut changes = Vec::new();
    add_changes(&mut changes, FILE_NAME, Some(&before.base), Some(&now.base));
    let tables: BTreeSet<&PlaceName> = before.env.keys().chain(now.env.keys()).collect();
    for table in tables {
        add_changes(&mut changes, &format!("[env.{table}]"), before.env.get(table), now.env.get(table));
    }
    if before.guessed_rules != now.guessed_rules {
        let word =
            |rules: &Option<_>| rules.as_ref().map(|rules| shown(&serde_json::to_value(rules).unwrap_or_default()));
        let (before, now) = (word(&before.guessed_rules), word(&now.guessed_rules));
        changes.push(ServingChange { place: "guessed".to_owned(), key: "rules".to_owned(), before, now });
    }
    changes
}

fn add_changes(changes: &mut Vec<ServingChange>, place: &str, before: Option<&Serving>, now: Option<&Serving>) {
    let keys = |serving: Option<&Serving>| -> BTreeMap<String, Value> {
        match serving.and_then(|serving| serde_json::to_value(serving).ok()) {
            Some(Value::Object(keys)) => keys.into_iter().collect(),
            _ => BTreeMap::new(),
        }
    };
    let (before, now) = (keys(before), keys(now));
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    for key in names.into_iter().filter(|key| before.get(*key) != now.get(*key)) {
        let (before, now) = (before.get(key).map(shown), now.get(key).map(shown));
        changes.push(ServingChange { place: place.to_owned(), key: key.clone(), before, now });
    }
}

/// Summarizes a value in a word or a number: lists may be long, and backend addresses are private.
fn shown(value: &Value) -> String {
    let entries = |count: usize| counted(count, "entry");
    match value {
        Value::Array(list) => entries(list.len()),
        Value::Object(table) => entries(table.len()),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

// Bytes loaded again by returning visitors, with and without files of the earlier version as dictionaries.

/// Files whose variants are looked up concurrently.
pub(super) const LOOKUPS_AT_ONCE: usize = 16;
/// Files prepared together: futures for a hundred thousand files take more memory than the manifest.
pub(super) const FILES_TOGETHER: usize = 256;

/// Bytes of new and changed files loaded by returning visitors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct LoadedAgain {
    /// In browsers without dictionaries.
    pub(super) plain: Amount,
    /// In browsers with files of the earlier version, if the version has dictionaries.
    pub(super) with_dictionaries: Option<u64>,
}

/// Version, reduced to the facts that determine visitors' downloads.
pub(super) struct ServedVersion<'m> {
    /// Files as served by the environment, with hashed pages in place of the originals.
    manifest: Cow<'m, Manifest>,
    /// Files as received.
    came: &'m Manifest,
    /// True for a stored version, whose hashed pages are known.
    is_stored: bool,
    siblings: Siblings,
    /// Dictionaries and files kept by browsers; `None` if disabled or unknown.
    dictionaries: Option<(DictionariesRecord, KeptFiles)>,
    /// Dictionaries available to the environment's visitors for deltas of the files.
    from: BTreeSet<Digest>,
}

impl ServedVersion<'_> {
    /// Returns the files loaded by a visitor of all pages.
    pub(super) fn files(&self) -> impl Iterator<Item = (&BundlePath, &FileEntry)> {
        self.manifest.files.iter().filter(|(path, _)| self.siblings.is_loaded(path))
    }

    /// Returns true if the file at a path is the same as in the earlier version.
    pub(super) fn is_same(&self, before: &Self, path: &BundlePath) -> bool {
        match self.is_stored && before.is_stored {
            true => self.manifest.files.get(path) == before.manifest.files.get(path),
            // Hashed pages are unknown before the push.
            false => self.came.files.get(path) == before.came.files.get(path),
        }
    }
}

/// Files of an earlier version in a browser.
struct BrowserFiles<'m> {
    manifest: &'m Manifest,
    kept: &'m KeptFiles,
    announced: Announced<'m>,
}

impl BrowserFiles<'_> {
    /// Returns the dictionary announced by the browser on the request of a file.
    fn dictionary(&self, path: &BundlePath, entry: &FileEntry) -> Option<Digest> {
        match is_html(path, entry) {
            true => self.kept.pages_found_again().map(|pages| pages.blob),
            false => Some(self.manifest.files.get(self.kept.found_again(&self.announced, path.as_str())?)?.hash),
        }
    }
}

impl Publisher {
    /// Returns a stored version of an app, as served by an environment.
    ///
    /// # Errors
    /// Errors of a store.
    pub(super) async fn sent<'m>(
        &self,
        app: &AppName,
        environment: &PlaceName,
        version: Option<&VersionId>,
        manifest: &'m Manifest,
    ) -> Result<ServedVersion<'m>, Error> {
        let Some(version) = version else {
            let siblings = Siblings::new(manifest, &BTreeMap::default(), Levels::default());
            let (came, manifest) = (manifest, Cow::Borrowed(manifest));
            return Ok(ServedVersion {
                manifest,
                came,
                is_stored: false,
                siblings,
                dictionaries: None,
                from: BTreeSet::new(),
            });
        };
        let key = records::version_key(app, version);
        let (mut given, mut hashed, is_quick) = match self.ledger.catalog.get(&key).await? {
            Some(record) => {
                let record = records::read::<VersionRecord>(&key, &record)?;
                let hashed = record.integrity_in(manifest, environment.as_str());
                (record.given, hashed, record.quick)
            }
            None => Default::default(),
        };
        let with_hashes = put_hashed_pages(&*self.blobs, manifest, &mut hashed, &mut given).await?;
        let (came, is_stored) = (manifest, true);
        let manifest = with_hashes.map_or(Cow::Borrowed(manifest), |hashed| Cow::Owned(hashed.manifest));
        let record = match &self.dictionaries {
            Some(dictionaries) => dictionaries.record(app, version).await?,
            None => None,
        };
        let from = record.as_ref().map(|record| record.from_in(Some(environment))).unwrap_or_default();
        let dictionaries = match record {
            Some(record) => {
                let shared = Arc::new(Manifest::clone(&manifest));
                let limits = &self.ledger.limits();
                let memory = self.switcher.loader.rule_memory();
                let kept = kept_in(&*self.blobs, &shared, (environment, (memory, app)), &record, limits).await?;
                Some((record, kept))
            }
            None => None,
        };
        let levels = Levels::of((app, *version), is_quick, (&self.ledger.catalog, &self.blobs));
        let siblings = Siblings::new(&manifest, &given, levels);
        Ok(ServedVersion { siblings, manifest, came, is_stored, dictionaries, from })
    }

    /// Computes the bytes loaded again by a visitor of all pages who has loaded all of `before`. Only deltas in
    /// `served` count, if given.
    ///
    /// # Errors
    /// Errors of a store.
    pub(super) async fn loaded_again(
        &self,
        before: &ServedVersion<'_>,
        now: &ServedVersion<'_>,
        served: Option<&Version>,
    ) -> Result<LoadedAgain, Error> {
        let had = before.dictionaries.as_ref().map(|(_, kept)| {
            let announced = kept.announced(&before.manifest);
            BrowserFiles { manifest: &before.manifest, kept, announced }
        });
        let changed: Vec<_> = now.files().filter(|(path, _)| !now.is_same(before, path)).collect();
        let mut loaded = LoadedAgain::default();
        let mut with = 0_u64;
        for group in changed.chunks(FILES_TOGETHER) {
            let lookups: Vec<_> =
                group.iter().map(|(path, entry)| self.again(path, entry, had.as_ref(), now, served)).collect();
            let found: Vec<(u64, u64)> = stream::iter(lookups).buffer_unordered(LOOKUPS_AT_ONCE).try_collect().await?;
            for (plain, delta) in found {
                loaded.plain.add(plain);
                with = with.saturating_add(delta);
            }
        }
        if let (Some(had), Some(pages)) = (&had, now.dictionaries.as_ref().and_then(|(_, kept)| kept.pages()))
            && had.kept.pages_found_again() != Some(pages)
        {
            let entry = FileEntry { hash: pages.blob, size: pages.size, media_type: None };
            with = with.saturating_add(self.travelling(now, &entry).await?);
        }
        loaded.with_dictionaries = had.map(|_| with);
        Ok(loaded)
    }

    /// Returns the transfer size of a file for all browsers, and for a browser with the dictionaries.
    async fn again(
        &self,
        path: &BundlePath,
        entry: &FileEntry,
        had: Option<&BrowserFiles<'_>>,
        now: &ServedVersion<'_>,
        served: Option<&Version>,
    ) -> Result<(u64, u64), Error> {
        let plain = self.travelling(now, entry).await?;
        let Some(had) = had else { return Ok((plain, plain)) };
        let mut with = plain;
        // A delta left by a push of another app does not count for the present app.
        if let Some(dictionary) = had.dictionary(path, entry).filter(|dictionary| now.from.contains(dictionary)) {
            let deltas = self.blobs.deltas(entry.hash).await?;
            let is_served = |delta: &DeltaInfo| served.is_none_or(|served| served.has_delta(path.as_str(), delta));
            let usable = deltas.iter().filter(|delta| delta.dictionary == dictionary && is_served(delta));
            let usable = usable.map(|delta| delta.size);
            with = usable.fold(plain, u64::min);
        }
        Ok((plain, with))
    }

    /// Returns the transfer size of a file, in Brotli if available.
    pub(super) async fn travelling(&self, of: &ServedVersion<'_>, entry: &FileEntry) -> Result<u64, blobs::Error> {
        let stored = self.blobs.stored_variants(entry.hash).await?;
        let variants = of.siblings.served(&entry.hash, stored).await;
        Ok(of.siblings.in_brotli(entry, &variants))
    }

    /// Computes the bytes loaded again by visitors after a switch; `None` without an earlier version. Errors do not
    /// fail the push.
    pub(super) async fn returning(
        &self,
        app: &AppName,
        environment: &PlaceName,
        moved: &SwitchOutcome,
        (id, now): (&VersionId, &Manifest),
    ) -> Option<Returning> {
        let before = moved.previous.filter(|_| moved.switched)?;
        let found = async {
            let manifest = self.ledger.manifest(&*self.blobs, app, before).await?;
            let before = self.sent(app, environment, Some(&before), &manifest).await?;
            let served = self.ledger.live.place(app, environment).and_then(|place| place.loaded(id));
            let now = self.sent(app, environment, Some(id), now).await?;
            self.loaded_again(&before, &now, served.as_deref()).await
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

#[cfg(test)]
mod tests {
    use devanture_config::site_toml::{HtmlHandling, Rules, SiteFile};
    use proptest::prelude::*;

    use super::*;

    fn manifest(files: &[(&str, &str)]) -> Manifest {
        let entry =
            |text: &str| FileEntry { hash: Digest::of(text.as_bytes()), size: text.len() as u64, media_type: None };
        Manifest::of_files(files.iter().map(|(path, text)| (path.parse().unwrap(), entry(text))).collect())
    }

    #[test]
    fn files_are_added_changed_removed_or_the_same() {
        let before = manifest(&[("a.html", "a"), ("b.html", "bb"), ("c.html", "ccc"), ("app-4f2a91bc.js", "1")]);
        let now = manifest(&[("a.html", "a"), ("b.html", "BBBB"), ("d.html", "dddd"), ("app-4f2a91bc.js", "2")]);
        let compared = ManifestDifference::of(&before, &now);
        let amount = |files, bytes| Amount { files, bytes };
        let expected =
            FileChanges { added: amount(1, 4), changed: amount(2, 5), removed: amount(1, 3), same: amount(1, 1) };
        assert_eq!(compared.files, expected);
        let reported: Vec<(&str, ChangeKind, bool)> = compared
            .changes
            .iter()
            .map(|change| (change.path.as_str(), change.change, change.refingerprinted))
            .collect();
        assert_eq!(
            reported,
            [
                ("app-4f2a91bc.js", ChangeKind::Changed, true),
                ("b.html", ChangeKind::Changed, false),
                ("c.html", ChangeKind::Removed, false),
                ("d.html", ChangeKind::Added, false),
            ]
        );
    }

    #[test]
    fn settings_of_serving_are_compared_key_by_key() {
        let mut before = manifest(&[("a", "a")]);
        let mut now = before.clone();
        assert!(serving_changes(&before, &now).is_empty());
        before.base.html_handling = Some(HtmlHandling::AsIs);
        now.base.html_handling = Some(HtmlHandling::None);
        now.base.hostnames = Some(vec!["a.example".parse().unwrap()]);
        before.env.insert("staging".parse().unwrap(), Serving { hostnames: Some(Vec::new()), ..Serving::default() });
        let reported: Vec<_> =
            serving_changes(&before, &now).into_iter().map(|c| (c.place, c.key, c.before, c.now)).collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            reported,
            [
                ("devanture.toml".to_owned(), "hostnames".to_owned(), None, some("1 entry")),
                ("devanture.toml".to_owned(), "html_handling".to_owned(), some("as-is"), some("none")),
                ("[env.staging]".to_owned(), "hostnames".to_owned(), some("0 entries"), None),
            ]
        );
    }

    #[test]
    fn guessed_rules_are_compared_and_tables_are_counted_without_their_addresses() {
        let mut before = manifest(&[("_redirects", "/a /b")]);
        let mut now = before.clone();
        let reported = |before: &Manifest, now: &Manifest| -> Vec<_> {
            serving_changes(before, now).into_iter().map(|c| (c.place, c.key, c.before, c.now)).collect()
        };
        let some = |text: &str| Some(text.to_owned());
        now.guessed_rules = Some(Rules::Netlify);
        let guessed =
            |before: Option<String>, now: Option<String>| vec![("guessed".to_owned(), "rules".to_owned(), before, now)];
        assert_eq!(reported(&before, &now), guessed(None, some("netlify")));
        before.guessed_rules = Some(Rules::Cloudflare);
        assert_eq!(reported(&before, &now), guessed(some("cloudflare"), some("netlify")));
        let pools = "[upstreams]\napi = \"http://10.1.2.3:3000\"\nshop = \"http://10.1.2.4:3000\"\n";
        (before, now) = (now.clone(), now);
        now.base = SiteFile::parse(FILE_NAME, pools).unwrap().base;
        let upstreams = |before: Option<String>, now: Option<String>| {
            vec![(FILE_NAME.to_owned(), "upstreams".to_owned(), before, now)]
        };
        assert_eq!(reported(&before, &now), upstreams(None, some("2 entries")));
        assert_eq!(reported(&now, &before), upstreams(some("2 entries"), None));
    }

    proptest! {
        #[test]
        fn every_file_is_counted_once_and_back_is_the_inverse(
            one in proptest::collection::btree_map("[a-e]", "[xy]", 1..5),
            two in proptest::collection::btree_map("[a-e]", "[xy]", 1..5),
        ) {
            let of = |files: &BTreeMap<String, String>| {
                let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
                manifest(&files)
            };
            let (there, back) = (ManifestDifference::of(&of(&one), &of(&two)), ManifestDifference::of(&of(&two), &of(&one)));
            let files = there.files;
            prop_assert_eq!(files.added.files + files.changed.files + files.same.files, two.len() as u64);
            prop_assert_eq!(files.removed.files + files.changed.files + files.same.files, one.len() as u64);
            prop_assert_eq!(files.added.files, back.files.removed.files);
            prop_assert_eq!(files.changed.files, back.files.changed.files);
        }
    }
}
