//! The names of all apps, and what memory holds of each: lists find and count apps here, and read records of those
//! alone that they show.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use devanture_config::api::AppTotals;
use devanture_config::{AppName, PlaceName};
use parking_lot::RwLock;

use super::stored_ids::StoredIds;
use super::{Follower, Live, Place};
use crate::version::Setting;
use devanture_base::telemetry;
use devanture_store::catalog::{Change, Record};
use devanture_store::records::{self, APPS_PREFIX, gone};

/// The names of all apps, deleted ones among them.
#[derive(Default)]
pub(super) struct AppNames(RwLock<BTreeSet<AppName>>);

/// The environments of one app, with the number of hostnames of their own.
type Environments = BTreeMap<PlaceName, (Arc<Place>, usize)>;

/// Apps to list.
#[derive(Debug, Clone, Copy)]
pub struct AppsWanted<'w> {
    /// This one alone.
    pub app: Option<&'w AppName>,
    /// Environments of this name alone.
    pub environment: Option<&'w PlaceName>,
    /// Only names that contain this text.
    pub part: &'w str,
    /// Only names behind this one.
    pub after: Option<&'w str>,
    /// Most apps.
    pub limit: usize,
}

/// Apps that were found.
pub struct AppsFound {
    /// The first of them, in the order of their names.
    pub apps: Vec<AppFound>,
    /// Sums over all that match, those before `after` and beyond `limit` among them.
    pub totals: AppTotals,
}

/// One app of [`AppsFound`].
pub struct AppFound {
    /// Its name.
    pub app: AppName,
    /// Number of its stored versions.
    pub versions: usize,
    /// Its environments, `prod` first, with the number of hostnames of their own.
    pub environments: Vec<(Arc<Place>, usize)>,
}

impl AppsWanted<'_> {
    fn matches(&self, app: &AppName) -> bool {
        app.as_str().contains(self.part) && self.app.is_none_or(|only| only == app)
    }

    fn has_environment(&self, name: &PlaceName) -> bool {
        self.environment.is_none_or(|only| only == name)
    }
}

impl Live {
    /// Whether there is such an app, be it a deleted one that can be restored.
    #[must_use]
    pub fn knows(&self, app: &AppName) -> bool {
        self.0.apps.0.read().contains(app)
    }

    /// Finds apps that were not deleted. No record is read.
    #[must_use]
    pub fn apps(&self, wanted: &AppsWanted<'_>) -> AppsFound {
        let hosts = self.0.hosts.load();
        let names = self.0.apps.0.read();
        let is_wanted = |app: &AppName| wanted.matches(app) && !hosts.deleted.contains(app) && names.contains(app);
        let apps = match wanted.app {
            Some(only) => usize::from(is_wanted(only)),
            None => names.iter().filter(|app| is_wanted(app)).count(),
        };
        let is_behind = |app: &&AppName| wanted.after.is_none_or(|after| app.as_str() > after);
        let shown = names.iter().filter(|app| is_wanted(app)).filter(is_behind).take(wanted.limit);
        let mut shown: BTreeMap<&AppName, Environments> = shown.map(|app| (app, Environments::new())).collect();
        let (mut environments, mut hostnames) = (0_u64, 0_u64);
        for ((app, name), place) in &hosts.places {
            let is_environment = place.setting == Setting::Environment && wanted.has_environment(name);
            if !is_environment || !is_wanted(app) {
                continue;
            }
            environments = environments.saturating_add(1);
            if let Some(of_app) = shown.get_mut(app) {
                of_app.insert(name.clone(), (Arc::clone(place), 0));
            }
        }
        for record in hosts.custom.values() {
            let (app, name) = (&record.app, &record.environment);
            let is_live = || hosts.places.contains_key(&(app.clone(), name.clone()));
            if !wanted.has_environment(name) || !is_wanted(app) || !is_live() {
                continue;
            }
            hostnames = hostnames.saturating_add(1);
            if let Some((_, count)) = shown.get_mut(app).and_then(|of_app| of_app.get_mut(name)) {
                *count = count.saturating_add(1);
            }
        }
        let ids = self.0.ids.read();
        let found = |(app, environments): (&AppName, Environments)| {
            let mut environments: Vec<_> = environments.into_values().collect();
            environments.sort_by_key(|(place, _)| !place.name.is_prod());
            AppFound { app: app.clone(), versions: ids.get(app).map_or(0, StoredIds::len), environments }
        };
        let apps_total = u64::try_from(apps).unwrap_or(u64::MAX);
        AppsFound {
            apps: shown.into_iter().map(found).collect(),
            totals: AppTotals { apps: apps_total, environments, hostnames },
        }
    }
}

impl Follower {
    /// Takes over the records of all apps.
    pub(super) fn apps_are(&self, apps: &[(String, Record)]) {
        let apps: BTreeSet<AppName> = apps.iter().filter_map(|(key, _)| app_of(key)).collect();
        let before = std::mem::replace(&mut *self.live.0.apps.0.write(), apps.clone());
        // The next app of such a name is somebody else's.
        before.difference(&apps).for_each(|app| forget(app, None));
    }

    /// Follows `apps/{app}`.
    pub(super) fn app_changed(&self, key: &str, is_there: bool) {
        let Some(app) = app_of(key) else { return };
        if is_there {
            self.live.0.apps.0.write().insert(app);
        } else {
            self.live.0.apps.0.write().remove(&app);
            // As above.
            forget(&app, None);
        }
    }

    /// Forgets the visitors of the environments that a commit purges. One that is restored has a live version again.
    pub(super) fn forget_purged(&self, changes: &[Change]) {
        for change in changes {
            let Change::Delete(key) = change else { continue };
            let Some((app, name)) = deleted_environment_of(key) else { continue };
            let live_key = records::live_key(&app, &name);
            if !changes.iter().any(|change| matches!(change, Change::Put(key, _) if *key == live_key)) {
                forget(&app, Some(&name));
            }
        }
    }
}

/// Forgets what is remembered of the visitors of an app that is gone, or of one environment of it.
fn forget(app: &AppName, environment: Option<&PlaceName>) {
    let environment = environment.map(PlaceName::as_str);
    telemetry::forget_traffic(app.as_str(), environment);
    telemetry::forget_integrity_reports(app.as_str(), environment);
}

fn app_of(key: &str) -> Option<AppName> {
    key.strip_prefix(APPS_PREFIX)?.parse().ok()
}

/// The environment whose deletion a key names.
fn deleted_environment_of(key: &str) -> Option<(AppName, PlaceName)> {
    let (app, name) = key.strip_prefix(gone::DELETED_ENVIRONMENTS_PREFIX)?.split_once('/')?;
    Some((app.parse().ok()?, name.parse().ok()?))
}
