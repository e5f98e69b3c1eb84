//! Resolves a hostname to its owner and its live version: the first step of every request.
//!
//! The table of hostnames is swapped as a whole, and only when hostnames change; each live pointer of the table is
//! swapped separately. A request reads both without a lock or a copy; simultaneous requests share one lookup. The
//! module never writes the catalog: [`Follower`] reads the commits of `publish` and moves the pointers.

mod accounts;
mod aliased;
mod apps;
mod at_rest;
mod canary;
mod console;
mod contents;
mod damage;
mod first;
mod first_load;
mod follow;
mod forget;
mod gauges;
mod grace;
mod host;
mod lacking;
mod load;
mod loader;
mod loading;
mod looks;
mod missing;
mod name_changes;
mod names;
mod on_demand;
mod paused;
mod pins;
mod preparing;
mod process_memory;
mod protected;
mod rare_list;
mod relief;
mod reloads;
mod revisions;
mod settings;
mod settings_changes;
mod signed;
mod site;
mod stored_ids;
#[cfg(test)]
mod test_world;
#[cfg(any(test, feature = "testing"))]
mod testing;
mod unloading;
mod withdrawn;

pub use apps::{AppFound, AppsFound, AppsWanted};
pub use canary::{Canary, Side};
pub use console::Console;
pub use damage::{DamagedPlace, MistakenPlace};
pub use first::ServedFirst;
pub use first_load::{LoadTarget, Progress};
pub use follow::Follower;
pub use grace::Grace;
pub use host::{Domains, Neighbours};
pub use lacking::Lacking;
pub use load::{Load, LoadError};
pub use loader::Loader;
pub use missing::has_nothing_at;
pub use names::canonical;
pub use on_demand::Preview;
pub use pins::Pins;
pub use preparing::Preparing;
pub use protected::{HiddenPreview, Opener, Restriction, ShareLink};
pub use settings::{CurrentSettings, PublicSettings};
pub(crate) use site::{Asset, LiveSite};
pub use withdrawn::Withdrawn;

pub use crate::version::{DictionaryMiss, DictionaryMisses};

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use devanture_config::api::Pause;
use devanture_config::{AppName, HostPattern, PlaceName, VersionId};
use http::HeaderValue;
use http::header::LAST_MODIFIED;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{broadcast, watch};

use crate::version::{CommonField, Setting, Version};
use devanture_base::clock;
use devanture_base::fair::Lane;
use devanture_store::catalog::Revision;
use devanture_store::records::{HostnameRecord, ListedHostnames};
use rare_list::RareList;

/// Maximum loaded environments by which a reader of [`Live::shown`] may lag behind.
const SHOWN_MAX: usize = 1_024;

/// A version as served in one place since one switch.
pub struct Current {
    /// The version.
    pub version: Arc<Version>,
    /// The time of the switch (for a preview: of storing), in whole seconds since 1970 UTC.
    pub last_modified_s: u64,
    /// `Last-Modified` of the switch.
    pub last_modified: CommonField,
    /// Withdrawn paths of the app.
    pub withdrawn: Arc<Withdrawn>,
    /// The settings.
    pub settings: CurrentSettings,
    /// The version that a share of the visitors gets instead.
    pub canary: Option<Arc<Canary>>,
    /// Counters of the version's side, while a canary runs.
    pub side: Option<Arc<Side>>,
    /// Pins of visitors to the version of their first page.
    pub pins: Option<Arc<Pins>>,
    /// Recent requests; used for previews only.
    usage: on_demand::Usage,
    /// True once another version went live in the place, or the version was unloaded.
    replaced: AtomicBool,
}

impl Current {
    /// Puts a version in its place, live since `since_ms`.
    #[must_use]
    pub fn new(version: Arc<Version>, since_ms: u64, withdrawn: Arc<Withdrawn>, settings: CurrentSettings) -> Self {
        let last_modified_s = since_ms / 1000;
        // RFC 9110 §8.8.2.1: no date in the future, a remnant of a clock that was ahead. Conditions are still compared
        // with the original date, the one that browsers received then.
        let shown_s = last_modified_s.min(clock::now_ms() / 1_000);
        let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(shown_s));
        let last_modified = HeaderValue::from_str(&date).unwrap_or_else(|_| HeaderValue::from_static(""));
        let last_modified = CommonField::new(LAST_MODIFIED, last_modified);
        let (usage, replaced) = (on_demand::Usage::default(), AtomicBool::new(false));
        let (canary, side, pins) = (None, None, None);
        Self { version, last_modified_s, last_modified, withdrawn, settings, canary, side, pins, usage, replaced }
    }

    /// The time of the switch in milliseconds, cut to seconds.
    #[must_use]
    pub const fn live_since_ms(&self) -> u64 {
        self.last_modified_s.saturating_mul(1_000)
    }

    /// Records a request, so that a preview is not evicted as idle.
    #[inline]
    pub fn note_use(&self) {
        self.usage.note();
    }

    /// Marks the version as unloaded.
    fn unload(&self) {
        self.replaced.store(true, Ordering::Relaxed);
    }

    /// Returns true if replaced or unloaded, and so present for running responses only.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }
}

/// An environment or alias of an app.
pub struct Place {
    /// The app.
    pub app: AppName,
    /// The name of the environment or alias.
    pub name: PlaceName,
    /// The kind of place: environment or preview.
    pub setting: Setting,
    /// The commit that last moved the pointer.
    pointed: AtomicU64,
    /// The end of an alias with a lifetime, in milliseconds since 1970 UTC.
    ends_ms: AtomicU64,
    /// The live version; of an alias, the loaded one.
    current: ArcSwapOption<Current>,
    /// The live pointer, until its version is loaded.
    first_load: ArcSwapOption<first_load::FirstLoad<first_load::Pointed>>,
    /// Present until the versions replaced within the grace period are loaded.
    earlier_load: first_load::RareLoad,
    /// Request frequency of the environment.
    demand: unloading::RequestFrequency,
    /// Held during a change of the live version of an environment.
    moving: Mutex<()>,
    /// A version that the node serves ahead of the pointer.
    ahead: Mutex<Option<grace::Ahead>>,
    /// The target of an alias, loaded or not.
    aliased: Mutex<Option<Arc<aliased::Aliased>>>,
    /// The version that should be live and could not be loaded.
    unloaded: ArcSwapOption<damage::Unloaded>,
    /// Damage on the disk of the loaded version.
    at_rest: ArcSwapOption<at_rest::AtRest>,
    replaced: RareList<grace::GraceVersion>,
    /// Versions that may go live here in a moment.
    preparing: RareList<Arc<Version>>,
    /// The pause of the environment.
    paused: ArcSwapOption<Pause>,
    /// True if paused: a cheap check, since most environments are not.
    is_paused: AtomicBool,
    /// The commit that last wrote the pause.
    pause_written: AtomicU64,
    /// The protection.
    restriction: ArcSwapOption<Restriction>,
    /// True if protected: a cheap check, since most places are not.
    is_restricted: AtomicBool,
    /// Redirects among the hostnames, if any.
    leading: ArcSwapOption<names::Leading>,
}

impl Place {
    fn new(app: AppName, name: PlaceName, setting: Setting) -> Self {
        Self {
            app,
            name,
            setting,
            pointed: AtomicU64::new(0),
            ends_ms: AtomicU64::new(u64::MAX),
            current: ArcSwapOption::empty(),
            first_load: ArcSwapOption::empty(),
            earlier_load: first_load::RareLoad::default(),
            demand: unloading::RequestFrequency::default(),
            moving: Mutex::default(),
            ahead: Mutex::default(),
            aliased: Mutex::default(),
            unloaded: ArcSwapOption::empty(),
            at_rest: ArcSwapOption::empty(),
            replaced: RareList::default(),
            preparing: RareList::default(),
            paused: ArcSwapOption::empty(),
            is_paused: AtomicBool::new(false),
            pause_written: AtomicU64::new(0),
            restriction: ArcSwapOption::empty(),
            is_restricted: AtomicBool::new(false),
            leading: ArcSwapOption::empty(),
        }
    }

    /// Returns true for an alias that has ended: the alias answers no request, even before the record is removed.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let ends_ms = self.ends_ms.load(Ordering::Relaxed);
        // Most places never end, and need no clock.
        ends_ms != u64::MAX && ends_ms <= clock::now_ms()
    }

    /// Records a request to an environment, so that less requested environments are unloaded first.
    #[inline]
    pub(crate) fn note_use(&self) {
        self.demand.note();
    }

    /// The live version, or the loaded one of an alias; a request takes the version once and holds the version to the
    /// last byte (law 1).
    #[must_use]
    pub fn current(&self) -> Option<Arc<Current>> {
        self.current.load_full()
    }

    /// The pause and the live version at one moment: read and drop the guard at once, since a thread has few guards.
    #[must_use]
    pub fn look(&self) -> (Option<Arc<Pause>>, Guard<Option<Arc<Current>>>) {
        let mut paused = self.paused();
        loop {
            let current = self.current.load();
            let after = self.paused();
            let is_same = match (&paused, &after) {
                (None, None) => true,
                (Some(before), Some(after)) => Arc::ptr_eq(before, after),
                _ => false,
            };
            if is_same {
                return (paused, current);
            }
            paused = after;
        }
    }

    /// A loaded version of the place with the given id, live or not.
    pub fn loaded(&self, id: &VersionId) -> Option<Arc<Version>> {
        self.all_loaded().into_iter().find(|version| version.id == *id)
    }

    /// Every loaded version of the place, the live one first.
    fn all_loaded(&self) -> Vec<Arc<Version>> {
        let mut all: Vec<Arc<Version>> =
            self.current().into_iter().flat_map(|current| current.versions().cloned().collect::<Vec<_>>()).collect();
        self.preparing.with(|versions| all.extend_from_slice(versions));
        self.replaced
            .with(|versions| all.extend(versions.iter().map(|replaced| Arc::clone(&replaced.current.version))));
        all
    }
}

/// A hostname's entry.
#[derive(Clone)]
pub struct HostEntry {
    /// The place of the hostname.
    pub place: Arc<Place>,
    /// True if the hostname is a custom one, not one below the edge's domains.
    pub custom: bool,
    /// The canonical hostname that visitors are redirected to, unless served here.
    pub canonical: Option<Arc<str>>,
}

/// Every hostname, and every place.
#[derive(Clone, Default)]
struct Hosts {
    by_name: HashMap<Box<str>, HostEntry, foldhash::fast::RandomState>,
    /// Wildcards, by the base name.
    below: HashMap<Box<str>, HostEntry>,
    /// Exact names with an owner but without a live version.
    idle: HashSet<Box<str>>,
    places: HashMap<(AppName, PlaceName), Arc<Place>>,
    custom: BTreeMap<HostPattern, HostnameRecord>,
    listed: HashMap<(AppName, PlaceName), ListedHostnames>,
    /// Deleted apps that can be restored, and that answer no request.
    deleted: HashSet<AppName>,
}

/// A version's own hostname: the app, and the whole id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PreviewKey {
    /// The app.
    pub app: AppName,
    /// The version.
    pub id: VersionId,
}

/// The owner of a hostname.
pub enum Found<'h> {
    /// No owner.
    Nobody,
    /// An environment or alias.
    Place(&'h HostEntry),
    /// A single version.
    Preview(PreviewKey),
    /// A missing preview of an app with protected previews: a stranger must not learn of the absence.
    Hidden(HiddenPreview),
}

struct LiveTables {
    domains: Domains,
    grace: Grace,
    hosts: ArcSwap<Hosts>,
    apps: apps::AppNames,
    /// Ids of stored versions by app, for versions' own hostnames; read only if a hostname is no place.
    ids: RwLock<forget::StoredVersions>,
    previews: ArcSwap<HashMap<PreviewKey, Arc<Current>>>,
    /// Withdrawn paths by app, read when a version is put in its place.
    withdrawn: RwLock<HashMap<AppName, Arc<Withdrawn>>>,
    /// Public settings of previews by app, read when a version is put in its place.
    preview_settings: RwLock<HashMap<AppName, settings::SharedSettings>>,
    accounts: RwLock<accounts::Accounts>,
    protected: protected::Protected,
    /// Environments with a canary, now or at the last look.
    canaries: Mutex<HashSet<(AppName, PlaceName)>>,
    /// Versions loaded to go live, for the follower to find.
    preparing: Mutex<Vec<Arc<Version>>>,
    applied: watch::Sender<Revision>,
    /// Progress of the loads that a start found.
    loaded: watch::Sender<first_load::Loaded>,
    /// Environments with backends whose version was loaded.
    shown: broadcast::Sender<(AppName, PlaceName)>,
    /// Loads live versions, once the catalog is followed.
    loader: OnceLock<Loader>,
    looks: looks::DamageChecks,
}

/// Reads the live versions. Cheap to clone, one for each thread.
#[derive(Clone)]
pub struct Live(Arc<LiveTables>);

impl Live {
    /// An empty table.
    #[must_use]
    pub fn new(domains: Domains, grace: Grace) -> Self {
        Self(Arc::new(LiveTables {
            domains,
            grace,
            hosts: ArcSwap::default(),
            apps: apps::AppNames::default(),
            ids: RwLock::default(),
            previews: ArcSwap::default(),
            withdrawn: RwLock::default(),
            preview_settings: RwLock::default(),
            accounts: RwLock::default(),
            protected: protected::Protected::default(),
            canaries: Mutex::default(),
            preparing: Mutex::default(),
            applied: watch::Sender::new(0),
            loaded: watch::Sender::new(first_load::Loaded::All),
            shown: broadcast::Sender::new(SHOWN_MAX),
            loader: OnceLock::new(),
            looks: looks::DamageChecks::default(),
        }))
    }

    /// The domains that apps and previews answer below.
    #[must_use]
    pub fn domains(&self) -> &Domains {
        &self.0.domains
    }

    /// Resolves `host`, in lower case and without a port, and passes the match to `then`. The match is not copied, so
    /// `then` must not block.
    pub fn find<R>(&self, host: &str, then: impl FnOnce(Found<'_>) -> R) -> R {
        let hosts = self.0.hosts.load();
        if let Some(entry) = hosts.by_name.get(host).filter(|entry| !entry.place.has_ended()) {
            return then(Found::Place(entry));
        }
        // A wildcard below the edge's own domains gets only hosts without another owner.
        if let Some(key) = self.stored(host) {
            return then(Found::Preview(key));
        }
        // The wildcard's answer would reveal that the preview is missing.
        if let Some(hidden) = self.hidden_preview(host) {
            return then(Found::Hidden(hidden));
        }
        // A push needs no permission for the address of its version: a wildcard in place of the version would lose its
        // visitors.
        if self.0.domains.version_host(host).is_some() {
            return then(Found::Nobody);
        }
        then(hosts.wildcard(host).map_or(Found::Nobody, Found::Place))
    }

    /// The stored version whose own hostname is `host`.
    fn stored(&self, host: &str) -> Option<PreviewKey> {
        let (app, short) = self.0.domains.version_host(host)?;
        if self.0.hosts.load().deleted.contains(&app) {
            return None;
        }
        // The first id from here on, if the id begins with the same characters.
        let least: VersionId = format!("{short:0<64}").parse().ok()?;
        let ids = self.0.ids.read();
        let id = *ids.get(&app)?.first_from(&least)?;
        (id.short() == *short).then_some(PreviewKey { app, id })
    }

    /// Returns true if a certificate may be issued for `host`.
    #[must_use]
    pub fn serves(&self, host: &str) -> bool {
        self.is_an_apps(host) || self.domains().is_login(host)
    }

    /// Returns true if an app answers at `host`, even by hiding the absence of a preview.
    #[must_use]
    pub fn is_an_apps(&self, host: &str) -> bool {
        self.find(host, |found| !matches!(found, Found::Nobody))
    }

    /// The lane of the app that owns `host`, as [`Live::find`] resolves the name.
    #[must_use]
    pub fn lane_of(&self, host: &str) -> Lane {
        self.find(host, |found| match found {
            Found::Nobody => Lane::EDGE,
            Found::Place(entry) => Lane::of(entry.place.app.as_str()),
            Found::Preview(key) => Lane::of(key.app.as_str()),
            Found::Hidden(hidden) => Lane::of(hidden.restriction.app.as_str()),
        })
    }

    /// A version that is already loaded as a preview.
    #[must_use]
    pub fn preview(&self, key: &PreviewKey) -> Option<Arc<Current>> {
        self.0.previews.load().get(key).cloned()
    }

    /// An environment or alias of an app.
    #[must_use]
    pub fn place(&self, app: &AppName, name: &PlaceName) -> Option<Arc<Place>> {
        self.0.hosts.load().places.get(&(app.clone(), name.clone())).cloned()
    }

    /// Returns true for a deleted app, which answers no request.
    #[must_use]
    pub fn is_deleted(&self, app: &AppName) -> bool {
        self.0.hosts.load().deleted.contains(app)
    }

    /// Every environment of every app.
    #[must_use]
    pub fn environments(&self) -> Vec<(AppName, PlaceName)> {
        let hosts = self.0.hosts.load();
        let environments = hosts.places.iter().filter(|(_, place)| place.setting == Setting::Environment);
        environments.map(|(key, _)| key.clone()).collect()
    }

    fn environment_places(&self) -> Vec<Arc<Place>> {
        let hosts = self.0.hosts.load();
        hosts.places.values().filter(|place| place.setting == Setting::Environment).cloned().collect()
    }

    /// Receives the environments with backends whose version is loaded later than the pointer was known.
    #[must_use]
    pub fn shown(&self) -> broadcast::Receiver<(AppName, PlaceName)> {
        self.0.shown.subscribe()
    }

    /// The last commit of the catalog visible to requests on the node.
    #[must_use]
    pub fn revision(&self) -> Revision {
        *self.0.applied.borrow()
    }

    /// Waits until a commit of the catalog is visible to requests on the node.
    pub async fn wait_for(&self, revision: Revision) {
        let mut applied = self.0.applied.subscribe();
        // The sender lives as long as `self`.
        applied.wait_for(|seen| *seen >= revision).await.ok();
    }
}
