//! Damaged live versions: missing files, failed loads, and files served from memory alone. Each damage is retried until
//! repaired.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use devanture_config::{AppName, PlaceName, VersionId};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::at_rest::LookedAtRest;
use super::follow::Follower;
use super::load::LoadTurn;
use super::reloads::Reloads;
use super::{Live, Load, LoadError, Loader, Place};
use crate::version::{self, Setting, Version};
use devanture_store::blobs::Key;
use devanture_store::records::{self, LivePointer};

/// Interval of looks at damaged files.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Damaged files of one version checked per look.
const FILES_LOOKED_AT_MAX: usize = 64;
/// Longest interval between two loads of a version that could not be loaded; each interval is twice the previous one.
const LOAD_INTERVAL_MAX: Duration = Duration::from_secs(60);

/// A version that should be live and could not be loaded.
#[derive(Debug)]
pub(super) struct Unloaded {
    /// `None` if the pointer cannot be read.
    pub(super) version: Option<VersionId>,
    pub(super) error: String,
    /// The rule file that the load failed for.
    rule_file: Option<&'static str>,
}

impl Unloaded {
    pub(super) fn new(version: Option<VersionId>, error: &LoadError) -> Arc<Self> {
        let rule_file = match error {
            LoadError::Version(version::Error::RuleFile(error)) => Some(error.name),
            _ => None,
        };
        Arc::new(Self { version, error: error.to_string(), rule_file })
    }
}

/// A version to load, with the result.
type Loaded = (VersionId, Result<Arc<Version>, LoadError>);

/// Result of a look at damaged versions.
#[derive(Default)]
pub(super) struct Looked {
    /// Versions with a damaged file that is readable again.
    repaired: Vec<VersionId>,
    /// Places with a failed version, and the result of a retry. `None` if the pointer cannot be read.
    tried: Vec<(Arc<Place>, Option<Loaded>)>,
    /// Damage on the disk of loaded versions.
    at_rest: Vec<LookedAtRest>,
}

/// An environment with a damaged live version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedPlace {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The version that should be live; `None` if the record cannot be read.
    pub version: Option<VersionId>,
    /// Paths of files that are not served, or of the rule file that the load failed for.
    pub files: Vec<Box<str>>,
    /// Reason of the failed load, if any.
    pub error: Option<String>,
    /// True if all content is in memory and served, until loaded again.
    pub in_memory: bool,
}

/// An environment with a live version that an earlier release accepted and today's checks refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MistakenPlace {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The version.
    pub version: VersionId,
    /// The refusal.
    pub mistake: Box<str>,
}

/// Schedule of retries of damaged content.
pub(super) struct Retries {
    turn: usize,
    next_look: Instant,
    next_load: Instant,
    load_interval: Duration,
    /// Number of handled damages of opened files.
    damages: u64,
    /// Damaged stored keys not yet looked at.
    suspects: HashSet<Key>,
    /// The running look: reading takes as long as the files require, and no switch waits for a look.
    pub(super) running: JoinSet<Looked>,
    /// True if all loads must be retried after the running look.
    wants_loads: bool,
    /// The look that callers wait for, to be reported.
    pub(super) reports: Option<u64>,
}

impl Retries {
    pub(super) fn new() -> Self {
        let next_look = Instant::now() + LOOK_EVERY;
        Self {
            turn: 0,
            next_look,
            next_load: next_look,
            load_interval: LOOK_EVERY,
            damages: 0,
            suspects: HashSet::new(),
            running: JoinSet::new(),
            wants_loads: false,
            reports: None,
        }
    }

    /// Waits until the next retry.
    pub(super) fn due(&self) -> impl Future<Output = ()> + use<> {
        sleep_until(self.next_look)
    }

    /// Returns true if versions may be loaded again. Each failed retry delays the next one.
    fn take_load(&mut self, now: Instant) -> bool {
        if now < self.next_load {
            return false;
        }
        self.load_interval = (self.load_interval * 2).min(LOAD_INTERVAL_MAX);
        self.next_load = now + self.load_interval;
        true
    }

    /// Returns true if opened files have damage not yet handled.
    pub(super) const fn is_outdated(&self, damages: u64) -> bool {
        self.damages != damages
    }

    fn reset_loads(&mut self) {
        (self.next_load, self.load_interval) = (Instant::now() + LOOK_EVERY, LOOK_EVERY);
    }
}

impl Place {
    /// The version that requests get, loaded or loaded by the next request.
    #[must_use]
    pub fn served(&self) -> Option<VersionId> {
        let loaded = self.current.load().as_ref().map(|current| current.version.id);
        loaded.or_else(|| self.first_load.load().as_ref().map(|load| load.of.version))
    }

    /// The version that should be live and could not be loaded.
    #[must_use]
    pub fn wanted(&self) -> Option<VersionId> {
        self.unloaded.load().as_ref().and_then(|unloaded| unloaded.version)
    }

    /// Returns true if a version should be live and could not be loaded.
    fn is_unloaded(&self) -> bool {
        let is_nothing_loaded = || self.current.load().is_none() && !self.is_loading();
        self.setting == Setting::Environment && (self.unloaded.load().is_some() || is_nothing_loaded())
    }

    /// Returns true if the live version could not be loaded, or lacks files.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damage().is_some()
    }

    fn mistaken(&self) -> Option<MistakenPlace> {
        let current = self.current.load();
        let version = &current.as_ref()?.version;
        let (app, environment, mistake) = (self.app.clone(), self.name.clone(), version.mistake.clone()?);
        Some(MistakenPlace { app, environment, version: version.id, mistake })
    }

    fn damage(&self) -> Option<DamagedPlace> {
        let of = |version, files, error| {
            let (app, environment) = (self.app.clone(), self.name.clone());
            DamagedPlace { app, environment, version, files, error, in_memory: false }
        };
        if let Some(unloaded) = &*self.unloaded.load() {
            let files = unloaded.rule_file.map(Box::from).into_iter().collect();
            return Some(of(unloaded.version, files, Some(unloaded.error.clone())));
        }
        let current = self.current.load();
        let version = &current.as_ref()?.version;
        let mut files: Vec<_> = version.damaged.iter().map(|file| file.path.clone()).collect();
        let Some(at_rest) = self.at_rest(&version.id) else {
            return (!files.is_empty()).then(|| of(Some(version.id), files, None));
        };
        let in_memory = files.is_empty();
        let left_out: HashSet<Box<str>> = files.iter().cloned().collect();
        let more = at_rest.files.iter().map(|(path, _)| path).filter(|path| !left_out.contains(*path));
        files.extend(more.cloned());
        Some(DamagedPlace { in_memory, ..of(Some(version.id), files, at_rest.error.clone()) })
    }
}

impl Live {
    /// Environments with a damaged live version, by app and name.
    #[must_use]
    pub fn damaged(&self) -> Vec<DamagedPlace> {
        let hosts = self.0.hosts.load();
        let environments = hosts.places.values().filter(|place| place.setting == Setting::Environment);
        let mut damaged: Vec<_> = environments.filter_map(|place| place.damage()).collect();
        damaged.sort_by(|a, b| (&a.app, &a.environment).cmp(&(&b.app, &b.environment)));
        damaged
    }

    /// Environments with a live version that today's checks refuse, by app and name.
    #[must_use]
    pub fn mistaken(&self) -> Vec<MistakenPlace> {
        let hosts = self.0.hosts.load();
        let environments = hosts.places.values().filter(|place| place.setting == Setting::Environment);
        let mut mistaken: Vec<_> = environments.filter_map(|place| place.mistaken()).collect();
        mistaken.sort_by(|a, b| (&a.app, &a.environment).cmp(&(&b.app, &b.environment)));
        mistaken
    }

    /// The refusal of one environment's live version by today's checks.
    #[must_use]
    pub fn mistake_of(&self, app: &AppName, environment: &PlaceName) -> Option<Box<str>> {
        self.place(app, environment)?.mistaken().map(|mistaken| mistaken.mistake)
    }

    /// Damage of one environment's live version.
    #[must_use]
    pub fn damage_of(&self, app: &AppName, environment: &PlaceName) -> Option<DamagedPlace> {
        self.place(app, environment)?.damage()
    }

    /// Loaded versions that match, each once.
    fn versions_with(&self, is_wanted: impl Fn(&Version) -> bool) -> Vec<Arc<Version>> {
        let hosts = self.0.hosts.load();
        let placed = hosts.places.values().filter_map(|place| place.current());
        let previews = self.0.previews.load();
        let all = placed.chain(previews.values().cloned()).map(|current| Arc::clone(&current.version));
        let mut seen = BTreeSet::new();
        all.filter(|version| is_wanted(version) && seen.insert(version.id)).collect()
    }
}

impl Follower {
    /// Reloads versions with a damaged opened file, and checks in the background whether damaged files are readable
    /// again and failed versions loadable: the loads `at_once` if a repair is likely.
    pub(super) fn retry(&self, retries: &mut Retries, reloads: &mut Reloads, at_once: bool) {
        retries.next_look = Instant::now() + LOOK_EVERY;
        let damages = self.loader.blobs().damages();
        if std::mem::replace(&mut retries.damages, damages) != damages {
            for version in self.live.versions_with(|version| version.rotted() > 0) {
                reloads.want_at_once(version.id);
            }
        }
        retries.suspects.extend(self.loader.blobs().take_suspects());
        retries.wants_loads |= at_once;
        if !retries.running.is_empty() {
            return;
        }
        if retries.wants_loads {
            // The look sees all data set aside or stored before the request, also of failed versions.
            retries.reports = Some(self.live.0.looks.wanted());
        }
        let damaged = self.live.versions_with(|version| !version.is_whole());
        let unloaded = self.unloaded(retries);
        let suspects = std::mem::take(&mut retries.suspects);
        let suspected = self.live.suspected(&suspects);
        if damaged.is_empty() && unloaded.is_empty() && suspected.is_empty() {
            return;
        }
        retries.turn = retries.turn.wrapping_add(1);
        let (loader, turn) = (self.loader.clone(), retries.turn);
        retries.running.spawn(async move {
            let looked = look(loader.clone(), damaged, unloaded, turn).await;
            Looked { at_rest: loader.look_at_rest(suspected, &suspects, turn).await, ..looked }
        });
    }

    /// The places whose version must be loaded now.
    fn unloaded(&self, retries: &mut Retries) -> Vec<Arc<Place>> {
        let hosts = self.live.0.hosts.load_full();
        let unloaded: Vec<_> = hosts.places.values().filter(|place| place.is_unloaded()).cloned().collect();
        let at_once = std::mem::take(&mut retries.wants_loads);
        if unloaded.is_empty() {
            retries.reset_loads();
        } else if !at_once && !retries.take_load(Instant::now()) {
            return Vec::new();
        }
        unloaded
    }

    /// Serves the repaired versions of a look.
    pub(super) async fn looked(&self, looked: Looked, retries: &Retries, reloads: &mut Reloads) {
        looked.repaired.into_iter().for_each(|id| reloads.want_at_once(id));
        for (place, tried) in looked.tried {
            if let Some((id, Err(error))) = &tried {
                // Another version may be live by now.
                if place.unloaded.load().as_ref().is_some_and(|unloaded| unloaded.version == Some(*id)) {
                    place.unloaded.store(Some(Unloaded::new(Some(*id), error)));
                }
                continue;
            }
            let key = records::live_key(&place.app, &place.name);
            match self.loader.catalog().get(&key).await {
                // The version was just loaded for the place, and `tried` holds a reference.
                Ok(Some(record)) => self.point(&key, Some(&record.value), record.revision).await,
                // The watch reports the end of the pointer.
                Ok(None) => {}
                Err(error) => tracing::warn!(key, %error, "a pointer cannot be read"),
            }
        }
        looked.at_rest.into_iter().for_each(|(place, version, at_rest)| place.note_at_rest(&version, at_rest));
        if retries.wants_loads {
            self.live.look_again();
        }
    }
}

/// Checks whether damaged files are readable again, and retries failed loads.
async fn look(loader: Loader, damaged: Vec<Arc<Version>>, unloaded: Vec<Arc<Place>>, turn: usize) -> Looked {
    let mut looked = Looked::default();
    for place in unloaded {
        let key = records::live_key(&place.app, &place.name);
        let record = match loader.catalog().get(&key).await {
            Ok(Some(record)) => record,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(key, %error, "a pointer cannot be read");
                continue;
            }
        };
        let pointer = records::read::<LivePointer>(&key, &record).ok();
        let tried = match pointer {
            Some(LivePointer { version, .. }) => {
                let load = Load::already_live(&place.app, &version, &place.name);
                let loaded = loader.load(Load { turn: LoadTurn::AtOnce, ..load }).await;
                Some((version, loaded))
            }
            None => None,
        };
        looked.tried.push((place, tried));
    }
    for version in damaged {
        if version.is_repaired(&**loader.blobs(), FILES_LOOKED_AT_MAX, turn).await {
            looked.repaired.push(version.id);
        }
    }
    looked
}
