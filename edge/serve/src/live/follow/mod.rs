//! Follows the catalog: commits of `publish` become visible to requests. The only writer of [`Live`].

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use devanture_config::{AppName, PlaceName, VersionId};
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::canary::Beside;
use super::damage::{Retries, Unloaded};
use super::first_load;
use super::load::LoadTurn;
use super::relief::LiveRelief;
use super::reloads::{Loaded, Reloads};
use super::{Hosts, Live, LoadError, Loader, Place};
use crate::version::{Fill, Setting, Version};
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{self, Record, Revision};
use devanture_store::records::follow::{Follow, FollowStep, FollowedChange, FollowedCommit};
use devanture_store::records::table::{FollowedBy, RecordKind};
use devanture_store::records::{self, AliasRecord, LivePointer};

/// Versions loaded at once when everything is read again.
const LOADS_AT_ONCE: usize = 4;
/// Longest interval between two sweeps of idle previews, and minimum sweeps before an eviction.
const SWEEP_INTERVAL_MS_MAX: u64 = 30_000;
const SWEEPS_MIN: u32 = 4;

/// Kind of a read of the whole catalog: the first, or again after the watch lagged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    First,
    Again,
}

/// Moves the pointers of [`Live`] as the catalog changes.
pub struct Follower {
    pub(super) live: Live,
    pub(super) loader: Loader,
    follow: Follow,
    remade: Receiver<VersionId>,
    /// Versions live again from an old load, which lacks the variants made since.
    stale: Mutex<Vec<VersionId>>,
}

impl Follower {
    /// Brings `live` to the present state of the catalog, and loads all live versions. `remade` receives versions with
    /// better variants.
    ///
    /// # Errors
    /// The catalog cannot be read. A version that cannot be loaded is reported, and its place answers 503.
    pub async fn start(live: Live, loader: Loader, remade: Receiver<VersionId>) -> Result<Self, catalog::Error> {
        let follower = Self::begin(live, loader, remade).await?;
        follower.loader.clone().load_all(follower.live.clone(), HashMap::new()).await;
        Ok(follower)
    }

    /// Brings `live` to the present state of the catalog without loading any version: [`Loader::load_all`] loads the
    /// versions, and each request loads its own.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub async fn begin(live: Live, loader: Loader, remade: Receiver<VersionId>) -> Result<Self, catalog::Error> {
        let follow = Follow::new(&**loader.catalog(), FollowedBy::Live).begun();
        loader.relieve_by(Box::new(LiveRelief::of(&live)));
        live.0.loader.set(loader.clone()).ok();
        live.0.loaded.send_replace(first_load::Loaded::Nothing);
        let follower = Self { live, loader, follow, remade, stale: Mutex::default() };
        follower.read(Reading::First).await?;
        Ok(follower)
    }

    /// Follows until the catalog is closed.
    pub async fn run(mut self) {
        let mut remaking = true;
        let (mut reloads, mut retries) = (Reloads::default(), Retries::new());
        let (interval, sweeps) = self.sweeps();
        let mut sweep = tokio::time::interval(interval);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.live.0.looks.begin();
        loop {
            let stale = std::mem::take(&mut *self.stale.lock());
            stale.into_iter().for_each(|id| reloads.want(id));
            self.report_look(&mut retries, &mut reloads);
            tokio::select! {
                step = self.follow.next() => match step {
                    Some(FollowStep::Changes(commit)) => self.apply_commit(&commit).await,
                    Some(FollowStep::ReadAll) => if let Err(error) = self.read_all().await {
                        tracing::error!(%error, "the catalog cannot be read: what is live stays");
                        self.follow.read_failed();
                    },
                    None => return self.live.0.looks.end(),
                },
                () = self.live.0.looks.again.notified() => self.retry(&mut retries, &mut reloads, true),
                () = retries.due() => self.retry(&mut retries, &mut reloads, false),
                Some(looked) = retries.running.join_next() => {
                    if let Ok(looked) = looked {
                        self.looked(looked, &retries, &mut reloads).await;
                    }
                }
                _ = sweep.tick() => {
                    self.live.evict_idle_previews(sweeps);
                    let wanted = self.live.count_demand();
                    // While memory is short, the same files would be left out again.
                    if !self.loader.memory().is_short() {
                        wanted.into_iter().for_each(|id| reloads.want(id));
                    }
                    self.live.unload_beyond(&self.loader, None);
                }
                remade = self.remade.recv(), if remaking => match remade {
                    Ok(id) => reloads.want(id),
                    Err(RecvError::Lagged(_)) => {}
                    // The background pass is absent or has ended; switches continue.
                    Err(RecvError::Closed) => remaking = false,
                },
                () = reloads.due(), if reloads.has_turn() => {
                    if let Some(id) = reloads.begin() {
                        self.reload(id, &mut reloads);
                    }
                }
                Some(loaded) = reloads.running.join_next() => {
                    if let Ok(loaded) = loaded {
                        self.take_again(loaded);
                    }
                }
            }
        }
    }

    /// The interval of sweeps, and the number of sweeps without a request before a preview is evicted.
    fn sweeps(&self) -> (Duration, u32) {
        let idle_ms_max = self.loader.queues().idle_ms_max;
        let every_ms = (idle_ms_max / u64::from(SWEEPS_MIN)).clamp(1, SWEEP_INTERVAL_MS_MAX);
        (Duration::from_millis(every_ms), u32::try_from(idle_ms_max.div_ceil(every_ms)).unwrap_or(u32::MAX))
    }

    /// All records of a kind.
    pub(super) async fn all(&self, kind: RecordKind) -> Result<Vec<(String, Record)>, catalog::Error> {
        let (mut all, mut scan) = (Vec::new(), Scan::new(&**self.loader.catalog(), kind.prefix()));
        loop {
            let page = scan.next_page().await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// Reads the whole catalog again.
    pub(super) async fn read_all(&self) -> Result<(), catalog::Error> {
        self.read(Reading::Again).await
    }

    async fn read(&self, reading: Reading) -> Result<(), catalog::Error> {
        let (versions, mut revision) = self.stored_versions().await?;
        self.versions_are(versions);
        // Before anything is live: what was withdrawn is not seen for a moment.
        for (key, record) in self.all(RecordKind::Withdrawn).await? {
            self.withdraw(&key, Some(&record.value), record.revision);
            revision = revision.max(record.revision);
        }
        let deleted = self.all(RecordKind::DeletedApp).await?;
        self.deleted_apps_are(&deleted);
        revision = deleted.iter().map(|(_, record)| record.revision).fold(revision, Revision::max);
        let apps = self.all(RecordKind::App).await?;
        self.apps_are(&apps);
        revision = revision.max(self.read_all_preview_settings(reading, &apps).await?);
        // Before there is any place: what is protected is not open for a moment.
        let protections = self.all(RecordKind::Protection).await?;
        let links = self.all(RecordKind::ShareLink).await?;
        let read = self.loader.catalog().state().revision;
        let accounts = self.all(RecordKind::Account).await?;
        self.protections_are(&protections);
        self.links_are(&links);
        self.accounts_are(&accounts, read);
        let written = protections.iter().chain(&links).chain(&accounts).map(|(_, record)| record.revision);
        revision = written.fold(revision, Revision::max);
        let pauses = self.all(RecordKind::Pause).await?;
        revision = revision.max(self.signers_written().await?);
        let mut pointers = self.all(RecordKind::LivePointer).await?;
        pointers.extend(self.all(RecordKind::Alias).await?);
        let hostnames = self.all(RecordKind::Hostname).await?;
        let listed = self.all(RecordKind::ListedHostnames).await?;
        self.places_are(&pointers, &hostnames);
        match reading {
            Reading::First => {
                for (key, record) in &pointers {
                    self.point_first(key, record).await;
                }
            }
            Reading::Again => {
                let loads: Vec<_> = pointers
                    .iter()
                    .map(|(key, record)| self.point(key, Some(&record.value), record.revision))
                    .collect();
                stream::iter(loads).buffer_unordered(LOADS_AT_ONCE).collect::<Vec<()>>().await;
                // The previously live version is kept for its assets, unless deleted while the watch lagged.
                self.forget_replaced();
            }
        }
        revision = pointers.iter().map(|(_, record)| record.revision).fold(revision, Revision::max);
        let names: Vec<_> = hostnames.iter().chain(&listed).collect();
        self.change_names(names.iter().map(|(key, record)| (key.as_str(), Some(&record.value))));
        revision = names.iter().map(|(_, record)| record.revision).fold(revision, Revision::max);
        for (key, record) in &pauses {
            self.pause(key, Some(&record.value), record.revision);
            revision = revision.max(record.revision);
        }
        self.end_pauses_but(&pauses);
        if reading == Reading::Again {
            // An unloaded place loads its earlier versions later, after its live version.
            for place in self.live.environment_places() {
                self.loader.forget_unsigned(&self.live, &place).await;
                if !place.is_loading() {
                    self.load_earlier_again(&place).await;
                }
            }
        }
        self.live.0.applied.send_if_modified(|seen| {
            let later = revision > *seen;
            *seen = revision.max(*seen);
            later
        });
        Ok(())
    }

    async fn apply_commit(&self, commit: &FollowedCommit) {
        if commit.went_back {
            self.forget_revisions();
        }
        self.forget_purged(&commit.changes);
        for change in &commit.changes {
            self.apply(change, commit.revision).await;
        }
        self.live.0.applied.send_replace(commit.revision);
    }

    async fn apply(&self, change: &FollowedChange, revision: Revision) {
        let (key, value) = (&change.key, change.value.as_ref());
        match change.kind {
            RecordKind::App => self.app_changed(key, value.is_some()),
            RecordKind::DeletedApp => self.app_deleted(key, value.is_some()),
            RecordKind::LivePointer => {
                let is_new = place_of(key).is_some_and(|(app, name, _)| self.live.place(&app, &name).is_none());
                self.point(key, value, revision).await;
                self.follow_preview_settings(key).await;
                // An environment that was deleted and restored still answers for its earlier versions (law 10).
                let place = place_of(key).filter(|_| is_new).and_then(|(app, name, _)| self.live.place(&app, &name));
                if let Some(place) = place {
                    self.load_earlier_again(&place).await;
                }
                self.retry_missing(key);
            }
            RecordKind::Account => self.account(key, value, revision),
            RecordKind::Alias => self.point(key, value, revision).await,
            RecordKind::Hostname | RecordKind::ListedHostnames => {
                self.change_names(std::iter::once((key.as_str(), value)));
            }
            RecordKind::Pause => self.pause(key, value, revision),
            RecordKind::Protection => self.protect(key, value, revision),
            RecordKind::Settings => self.follow_preview_settings(key).await,
            RecordKind::ShareLink => self.share(key, value, revision),
            RecordKind::Signers | RecordKind::Signatures => self.follow_signing(key).await,
            RecordKind::Version => self.version_stored(key, value.is_some()),
            RecordKind::Withdrawn => self.withdraw(key, value, revision),
            _ => {}
        }
        tracing::debug!(key, revision, "applied");
    }

    /// Sets one pointer when the edge starts; the version is loaded later, unless already loaded.
    async fn point_first(&self, key: &str, record: &Record) {
        match self.pointed(key, record) {
            Some((place, Pointed::Live(pointer))) => {
                let is_loaded = !place.point_later(pointed_at(&pointer));
                if is_loaded {
                    self.switch(&place, &pointer).await;
                }
            }
            Some((place, Pointed::Alias(alias))) => place.follow_alias(&alias),
            None => {}
        }
    }

    /// Moves one pointer, unless moved by the same or a later commit: after a full read, the watch still holds commits
    /// contained in the read.
    pub(super) async fn point(&self, key: &str, value: Option<&Arc<[u8]>>, revision: Revision) {
        let Some(value) = value else {
            if let Some((app, name, _)) = place_of(key) {
                self.remove_place(&app, &name);
            }
            return;
        };
        match self.pointed(key, &Record { value: Arc::clone(value), revision }) {
            // The version is loaded at its first request.
            Some((place, Pointed::Live(pointer))) if place.awaits(&pointed_at(&pointer)) => {}
            Some((place, Pointed::Live(pointer))) => self.switch(&place, &pointer).await,
            Some((place, Pointed::Alias(alias))) => place.follow_alias(&alias),
            None => {}
        }
    }

    /// The place and target of a pointer; `None` if unreadable, or older than the known state.
    fn pointed(&self, key: &str, record: &Record) -> Option<(Arc<Place>, Pointed)> {
        let (app, name, setting) = place_of(key)?;
        let pointed = match setting {
            Setting::Environment => records::read(key, record).map(|pointer| Pointed::Live(Box::new(pointer))),
            Setting::Preview => records::read::<AliasRecord>(key, record).map(Pointed::Alias),
        };
        match pointed {
            Ok(pointed) => {
                let place = self.place(&app, &name, setting);
                let is_older = place.pointed.fetch_max(record.revision, Ordering::AcqRel) > record.revision;
                (!is_older).then_some((place, pointed))
            }
            Err(error) => {
                tracing::error!(key, %error, "a pointer cannot be read: what was live there stays");
                if let Some(place) = self.live.place(&app, &name) {
                    place.unloaded.store(Some(Unloaded::new(None, &error.into())));
                }
                None
            }
        }
    }

    /// Makes the version of a pointer live.
    async fn switch(&self, place: &Arc<Place>, pointer: &LivePointer) {
        let (app, name, id) = (&place.app, &place.name, &pointer.version);
        match self.version(place, id).await {
            Ok(version) => {
                let settings = self.loader.own_settings(place, pointer.settings).await;
                let beside = beside_of(pointer);
                let served = (version, pointer.switched_ms, settings);
                let current =
                    self.loader.served(&self.live, place, served, (&beside, Fill::Requested, LoadTurn::AtOnce)).await;
                self.loader.tallies().switched(app.as_str(), name.as_str(), *id);
                if place.switch(Arc::new(current), &self.live.0.grace) {
                    self.load_earlier_apart(place);
                }
                self.loader.forget_unsigned(&self.live, place).await;
                self.live.note_canary(place);
                place.unloaded.store(None);
                tracing::info!(app = %app, environment = %name, version = %id.short(), "live");
            }
            Err(error) => {
                tracing::error!(app = %app, environment = %name, version = %id, %error, "a version that should be live cannot be loaded");
                place.unloaded.store(Some(Unloaded::new(Some(*id), &error)));
            }
        }
    }

    async fn version(&self, place: &Place, id: &VersionId) -> Result<Arc<Version>, LoadError> {
        let version = self.loader.at_hand(&self.live, place, id, (Fill::Requested, LoadTurn::AtOnce)).await?;
        // An earlier version comes back: variants made while a version is not live are not reported to the node.
        if place.replaced.with(|list| list.iter().any(|kept| Arc::ptr_eq(&kept.current.version, &version))) {
            self.stale.lock().push(*id);
        }
        Ok(version)
    }

    /// Loads a place's earlier versions of the grace period again: the version just replaced was not among them.
    async fn load_earlier_again(&self, place: &Arc<Place>) {
        place.earlier_load.begin_again();
        self.loader.load_earlier_at_once(&self.live, place).await;
    }

    /// Loads the earlier versions in the background.
    pub(super) fn load_earlier_apart(&self, place: &Arc<Place>) {
        let (live, loader, place) = (self.live.clone(), self.loader.clone(), Arc::clone(place));
        drop(self.loader.spawn(async move { loader.load_earlier(&live, &place).await }));
    }

    /// Reloads a version wherever loaded, after its variants were remade; in the background, so that no switch waits.
    fn reload(&self, id: VersionId, reloads: &mut Reloads) {
        let (live, loader) = (self.live.clone(), self.loader.clone());
        reloads.running.spawn(async move { loader.load_everywhere(&live, id).await });
    }

    /// Serves a reloaded version where still live.
    pub(super) fn take_again(&self, (id, loaded): Loaded) {
        for (place, version) in loaded {
            let Some(current) = place.current() else { continue };
            let Some(before) = current.with_id(&id) else { continue };
            // Bytes in memory are kept for a file with damaged stored bytes; bytes read from the disk are not.
            if version.damaged.len() > before.damaged.len().saturating_add(before.rotted()) {
                continue;
            }
            if let Some(next) = current.with_reloaded(version) {
                place.replace(&current, next);
            }
        }
        // A preview is reloaded at its next request.
        self.live.0.previews.rcu(|previews| {
            let others = previews.iter().filter(|(key, _)| key.id != id);
            others.map(|(key, current)| (key.clone(), Arc::clone(current))).collect::<HashMap<_, _>>()
        });
        for place in self.live.0.hosts.load().places.values().filter(|place| place.setting == Setting::Preview) {
            place.hide_alias(|current| current.version.id == id);
        }
    }

    /// Loads versions for which an app had no memory, since a switch or a deletion may have freed memory.
    fn retry_missing(&self, key: &str) {
        let Some((app, ..)) = place_of(key) else { return };
        let hosts = self.live.0.hosts.load();
        let mut environments =
            hosts.places.values().filter(|place| place.app == app && place.setting == Setting::Environment);
        if environments.any(|place| place.current.load().is_none() && !place.is_loading()) {
            self.live.look_again();
        }
    }

    /// The place, created if new.
    fn place(&self, app: &AppName, name: &PlaceName, setting: Setting) -> Arc<Place> {
        if let Some(place) = self.live.place(app, name) {
            return place;
        }
        let place = self.new_place(app, name, setting);
        self.change_hosts(|hosts| {
            hosts.places.insert((app.clone(), name.clone()), Arc::clone(&place));
        });
        place
    }

    /// Makes places for exactly the given pointers, in one change of the table.
    fn places_are(&self, pointers: &[(String, Record)], hostnames: &[(String, Record)]) {
        let pointed: Vec<_> = pointers.iter().filter_map(|(key, _)| place_of(key)).collect();
        let places: HashSet<_> = pointed.iter().map(|(app, name, setting)| (app, name, *setting)).collect();
        let hosts: HashSet<&str> =
            hostnames.iter().filter_map(|(key, _)| key.strip_prefix(records::HOSTNAMES_PREFIX)).collect();
        self.change_hosts(|table| {
            table.places.retain(|(app, name), place| places.contains(&(app, name, place.setting)));
            table.custom.retain(|host, _| hosts.contains(host.as_str()));
            for (app, name, setting) in &pointed {
                let new = || self.new_place(app, name, *setting);
                table.places.entry((app.clone(), name.clone())).or_insert_with(new);
            }
        });
    }

    fn remove_place(&self, app: &AppName, name: &PlaceName) {
        self.change_hosts(|hosts| {
            hosts.places.remove(&(app.clone(), name.clone()));
        });
    }

    /// Changes the table of hostnames, and rebuilds the derived tables for requests.
    pub(super) fn change_hosts(&self, change: impl Fn(&mut Hosts)) {
        self.live.0.hosts.rcu(|hosts| {
            let mut hosts = Hosts::clone(hosts);
            change(&mut hosts);
            hosts.index(|app, name| self.live.0.domains.place_host(app, name));
            hosts
        });
    }
}

/// A pointer's record.
enum Pointed {
    Live(Box<LivePointer>),
    Alias(AliasRecord),
}

fn pointed_at(pointer: &LivePointer) -> first_load::Pointed {
    let LivePointer { version, settings, switched_ms, .. } = pointer;
    let beside = beside_of(pointer);
    first_load::Pointed { version: *version, settings: *settings, since_ms: *switched_ms, beside }
}

fn beside_of(pointer: &LivePointer) -> Beside {
    Beside { canary: pointer.canary.clone(), pins: pointer.pins.clone() }
}

/// The place that the key of a live pointer or an alias names.
fn place_of(key: &str) -> Option<(AppName, PlaceName, Setting)> {
    let mut parts = key.split('/');
    let setting = match parts.next()? {
        "live" => Setting::Environment,
        "alias" => Setting::Preview,
        _ => return None,
    };
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, setting))
}
