//! Resolves a hostname to its owner and its live version: the first step of every request.
//!
//! The table of hostnames is swapped whole, and only when hostnames change; each live pointer in it is swapped by
//! itself. A request looks them up without a lock and copies nothing; several that come together share one copy of what
//! was seen. Nothing here writes the catalog: [`Follower`] reads what `publish` wrote and moves the pointers.

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

/// Most environments that were loaded and that a reader of [`Live::shown`] may lag behind.
const SHOWN_MAX: usize = 1_024;

/// A version as it is served in one place since one switch.
pub struct Current {
    /// The version.
    pub version: Arc<Version>,
    /// The time of the switch (for a preview: of storing), in whole seconds since 1970 UTC.
    pub last_modified_s: u64,
    /// The same, as a header says it.
    pub last_modified: CommonField,
    /// Withdrawn paths of its app.
    pub withdrawn: Arc<Withdrawn>,
    /// The settings that it has.
    pub settings: CurrentSettings,
    /// The version that a share of its visitors gets instead.
    pub canary: Option<Arc<Canary>>,
    /// The counts of its side, while a canary runs.
    pub side: Option<Arc<Side>>,
    /// What holds visitors on the version of their first page.
    pub pins: Option<Arc<Pins>>,
    /// Recent requests; used for previews only.
    usage: on_demand::Usage,
    /// Another version was made live in its place, or it was unloaded.
    replaced: AtomicBool,
}

impl Current {
    /// Puts a version in its place since `since_ms`.
    #[must_use]
    pub fn new(version: Arc<Version>, since_ms: u64, withdrawn: Arc<Withdrawn>, settings: CurrentSettings) -> Self {
        let last_modified_s = since_ms / 1000;
        // RFC 9110 §8.8.2.1: none of a time to come, which a clock that was ahead has left. Conditions are still
        // compared with that, as what browsers were sent then.
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

    /// Notes a request, so that a preview is not evicted as idle.
    #[inline]
    pub fn note_use(&self) {
        self.usage.note();
    }

    /// Notes that it was unloaded.
    fn unload(&self) {
        self.replaced.store(true, Ordering::Relaxed);
    }

    /// Whether it was replaced or unloaded, so that it is there for answers under way alone.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }
}

/// An environment or alias of an app.
pub struct Place {
    /// The app.
    pub app: AppName,
    /// Its name.
    pub name: PlaceName,
    /// Whether it is an environment, or a preview.
    pub setting: Setting,
    /// The commit that its pointer was last moved by.
    pointed: AtomicU64,
    /// When it ends by itself, in milliseconds since 1970 UTC; an alias may.
    ends_ms: AtomicU64,
    /// The live version; of an alias, the loaded one.
    current: ArcSwapOption<Current>,
    /// The live pointer, for as long as its version is not loaded.
    first_load: ArcSwapOption<first_load::FirstLoad<first_load::Pointed>>,
    /// There while what was replaced within the grace period is not loaded.
    earlier_load: first_load::RareLoad,
    /// How much an environment is requested.
    demand: unloading::Demand,
    /// Held while what is live in an environment changes.
    moving: Mutex<()>,
    /// A version that this node serves ahead of the pointer.
    ahead: Mutex<Option<grace::Ahead>>,
    /// The target of an alias, loaded or not.
    aliased: Mutex<Option<Arc<aliased::Aliased>>>,
    /// The version that should be live and could not be loaded.
    unloaded: ArcSwapOption<damage::Unloaded>,
    /// What is damaged on the disk of the version that is loaded.
    at_rest: ArcSwapOption<at_rest::AtRest>,
    replaced: RareList<grace::GraceVersion>,
    /// Versions that may become live here in a moment.
    preparing: RareList<Arc<Version>>,
    /// Its pause.
    paused: ArcSwapOption<Pause>,
    /// Whether it is, since mostly it is not.
    is_paused: AtomicBool,
    /// The commit that its pause was last written by.
    pause_written: AtomicU64,
    /// Its protection.
    restriction: ArcSwapOption<Restriction>,
    /// Whether it has one, since mostly it has not.
    is_restricted: AtomicBool,
    /// Redirects among its hostnames, if there are any.
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
            demand: unloading::Demand::default(),
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

    /// Whether it was an alias that has ended: nothing answers there, also before its record is removed.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let ends_ms = self.ends_ms.load(Ordering::Relaxed);
        // Most never end: no clock is asked for them.
        ends_ms != u64::MAX && ends_ms <= clock::now_ms()
    }

    /// Notes a request to an environment, so that others are unloaded before it.
    #[inline]
    pub(crate) fn note_use(&self) {
        self.demand.note();
    }

    /// The live version, or the loaded one of an alias; a request takes it once and keeps it to its last byte (law 1).
    #[must_use]
    pub fn current(&self) -> Option<Arc<Current>> {
        self.current.load_full()
    }

    /// The pause and the live version at one moment: to be read and dropped at once, since a thread can have few
    /// of them.
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

    /// A loaded version of this place with that id, live or not.
    pub fn loaded(&self, id: &VersionId) -> Option<Arc<Version>> {
        self.all_loaded().into_iter().find(|version| version.id == *id)
    }

    /// Every loaded version of this place, the live one first.
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
    /// Where it leads.
    pub place: Arc<Place>,
    /// Whether it is a hostname of the environment's own, not one below the edge's domains.
    pub custom: bool,
    /// The hostname that visitors are sent to, where they are not served here.
    pub canonical: Option<Arc<str>>,
}

/// Every hostname, and every place.
#[derive(Clone, Default)]
struct Hosts {
    by_name: HashMap<Box<str>, HostEntry, foldhash::fast::RandomState>,
    /// Wildcards, by the name below which theirs lie.
    below: HashMap<Box<str>, HostEntry>,
    /// Exact names that somebody has, where nothing is live.
    idle: HashSet<Box<str>>,
    places: HashMap<(AppName, PlaceName), Arc<Place>>,
    custom: BTreeMap<HostPattern, HostnameRecord>,
    listed: HashMap<(AppName, PlaceName), ListedHostnames>,
    /// Apps that were deleted and can be restored: they answer nothing.
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
    /// Nobody here.
    Nobody,
    /// An environment or alias.
    Place(&'h HostEntry),
    /// A version alone.
    Preview(PreviewKey),
    /// A preview that is not there, of an app whose previews are protected so: a stranger does not learn that.
    Hidden(HiddenPreview),
}

struct Shared {
    domains: Domains,
    grace: Grace,
    hosts: ArcSwap<Hosts>,
    apps: apps::AppNames,
    /// Ids of stored versions by app, for their own hostnames; asked only where a hostname is no place.
    ids: RwLock<forget::StoredVersions>,
    previews: ArcSwap<HashMap<PreviewKey, Arc<Current>>>,
    /// Withdrawn paths by app, read when a version is put in its place.
    withdrawn: RwLock<HashMap<AppName, Arc<Withdrawn>>>,
    /// Public settings of previews by app, read when a version is put in its place.
    preview_settings: RwLock<HashMap<AppName, settings::SharedSettings>>,
    accounts: RwLock<accounts::Accounts>,
    protected: protected::Protected,
    /// Environments where a canary runs, or did at the last look.
    canaries: Mutex<HashSet<(AppName, PlaceName)>>,
    /// Versions that were loaded to become live, for the follower to find.
    preparing: Mutex<Vec<Arc<Version>>>,
    applied: watch::Sender<Revision>,
    /// What of all that the start found is loaded, or cannot be.
    loaded: watch::Sender<first_load::Loaded>,
    /// Environments whose version was loaded and has backends.
    shown: broadcast::Sender<(AppName, PlaceName)>,
    /// Loads what is live, once it is followed.
    loader: OnceLock<Loader>,
    looks: looks::Looks,
}

/// Reads what is live. Cheap to clone, one for each thread.
#[derive(Clone)]
pub struct Live(Arc<Shared>);

impl Live {
    /// Nothing is live yet.
    #[must_use]
    pub fn new(domains: Domains, grace: Grace) -> Self {
        Self(Arc::new(Shared {
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
            looks: looks::Looks::default(),
        }))
    }

    /// The domains that apps and previews answer below.
    #[must_use]
    pub fn domains(&self) -> &Domains {
        &self.0.domains
    }

    /// Resolves `host`, in lower case and without a port, and passes the match to `then`. Nothing is copied for it, so
    /// it is not to wait.
    pub fn find<R>(&self, host: &str, then: impl FnOnce(Found<'_>) -> R) -> R {
        let hosts = self.0.hosts.load();
        if let Some(entry) = hosts.by_name.get(host).filter(|entry| !entry.place.has_ended()) {
            return then(Found::Place(entry));
        }
        // The owner of a wildcard of the edge's own domains gets what nobody else has.
        if let Some(key) = self.stored(host) {
            return then(Found::Preview(key));
        }
        // The wildcard's answer would tell that there is no such preview.
        if let Some(hidden) = self.hidden_preview(host) {
            return then(Found::Hidden(hidden));
        }
        // A push asks nobody for the address of its version: a wildcard that stood for it would lose its visitors.
        if self.0.domains.version_host(host).is_some() {
            return then(Found::Nobody);
        }
        then(hosts.wildcard(host).map_or(Found::Nobody, Found::Place))
    }

    /// The stored version whose own hostname `host` is.
    fn stored(&self, host: &str) -> Option<PreviewKey> {
        let (app, short) = self.0.domains.version_host(host)?;
        if self.0.hosts.load().deleted.contains(&app) {
            return None;
        }
        // The first one that is not before it, if it begins with these characters.
        let least: VersionId = format!("{short:0<64}").parse().ok()?;
        let ids = self.0.ids.read();
        let id = *ids.get(&app)?.first_from(&least)?;
        (id.short() == *short).then_some(PreviewKey { app, id })
    }

    /// Whether a certificate may be made for `host`.
    #[must_use]
    pub fn serves(&self, host: &str) -> bool {
        self.is_an_apps(host) || self.domains().is_login(host)
    }

    /// Whether an app answers at `host`, if only by not saying whether it has such a preview.
    #[must_use]
    pub fn is_an_apps(&self, host: &str) -> bool {
        self.find(host, |found| !matches!(found, Found::Nobody))
    }

    /// The lane of the app that `host` is a name of, as [`Live::find`] takes it.
    #[must_use]
    pub fn lane_of(&self, host: &str) -> Lane {
        self.find(host, |found| match found {
            Found::Nobody => Lane::EDGE,
            Found::Place(entry) => Lane::of(entry.place.app.as_str()),
            Found::Preview(key) => Lane::of(key.app.as_str()),
            Found::Hidden(hidden) => Lane::of(hidden.restriction.app.as_str()),
        })
    }

    /// A version that is loaded as a preview already.
    #[must_use]
    pub fn preview(&self, key: &PreviewKey) -> Option<Arc<Current>> {
        self.0.previews.load().get(key).cloned()
    }

    /// An environment or alias of an app.
    #[must_use]
    pub fn place(&self, app: &AppName, name: &PlaceName) -> Option<Arc<Place>> {
        self.0.hosts.load().places.get(&(app.clone(), name.clone())).cloned()
    }

    /// Whether an app was deleted, and answers nothing.
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

    /// Receives the environments whose version is loaded later than its pointer was known, and has backends.
    #[must_use]
    pub fn shown(&self) -> broadcast::Receiver<(AppName, PlaceName)> {
        self.0.shown.subscribe()
    }

    /// The last commit of the catalog that requests to this node see.
    #[must_use]
    pub fn revision(&self) -> Revision {
        *self.0.applied.borrow()
    }

    /// Waits until a commit of the catalog can be seen by requests to this node.
    pub async fn wait_for(&self, revision: Revision) {
        let mut applied = self.0.applied.subscribe();
        // The sender lives as long as `self`.
        applied.wait_for(|seen| *seen >= revision).await.ok();
    }
}
