//! Names of all apps with their state in memory: lists find and count apps here, and read records of the listed apps
//! alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use devanture_config::api::AppTotals;
use devanture_config::{AppName, PlaceName};
use parking_lot::RwLock;

use super::stored_ids::StoredIds;
use super::{Follower, Live, Place};
use crate::version::Setting;
use devanture_base::telemetry;
use devanture_store::catalog::Record;
use devanture_store::records::APPS_PREFIX;
use devanture_store::records::follow::FollowedChange;
use devanture_store::records::table::RecordKind;

/// Names of all apps, including deleted ones.
#[derive(Default)]
pub(super) struct AppNames(RwLock<BTreeSet<AppName>>);

/// Environments of one app, with the number of custom hostnames.
type Environments = BTreeMap<PlaceName, (Arc<Place>, usize)>;

/// Filter of a list of apps.
#[derive(Debug, Clone, Copy)]
pub struct AppsWanted<'w> {
    /// The only app to list.
    pub app: Option<&'w AppName>,
    /// The only environment to list.
    pub environment: Option<&'w PlaceName>,
    /// Text that names must contain.
    pub part: &'w str,
    /// Name before the first to list.
    pub after: Option<&'w str>,
    /// Maximum apps.
    pub limit: usize,
}

/// Result of a list of apps.
pub struct AppsFound {
    /// The first apps, in the order of their names.
    pub apps: Vec<AppFound>,
    /// Totals over all matches, including apps before `after` and beyond `limit`.
    pub totals: AppTotals,
}

/// One app of [`AppsFound`].
pub struct AppFound {
    /// The name.
    pub app: AppName,
    /// Number of stored versions.
    pub versions: usize,
    /// Environments, `prod` first, with the number of custom hostnames.
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
    /// Returns true if the app exists, even as a deleted one that can be restored.
    #[must_use]
    pub fn knows(&self, app: &AppName) -> bool {
        self.0.apps.0.read().contains(app)
    }

    /// Finds apps that are not deleted. Reads no record.
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
        // The next app of the same name has another owner.
        before.difference(&apps).for_each(|app| forget(app, None));
    }

    /// Follows `apps/{app}`.
    pub(super) fn app_changed(&self, key: &str, is_there: bool) {
        let Some(app) = app_of(key) else { return };
        if is_there {
            self.live.0.apps.0.write().insert(app);
        } else {
            self.live.0.apps.0.write().remove(&app);
            // See above: a new owner may take the name.
            forget(&app, None);
        }
    }

    /// Forgets the visitors of the environments that a commit purges. One that is restored has a live version again.
    pub(super) fn forget_purged(&self, changes: &[FollowedChange]) {
        let is_purge =
            |change: &&FollowedChange| change.kind == RecordKind::DeletedEnvironment && change.value.is_none();
        for purged in changes.iter().filter(is_purge) {
            let is_restored = changes.iter().any(|change| {
                change.kind == RecordKind::LivePointer && change.value.is_some() && change.name() == purged.name()
            });
            if let Some((app, name)) = purged.place().filter(|_| !is_restored) {
                forget(&app, Some(&name));
            }
        }
    }
}

/// Forgets the visitors of a purged app, or of one environment.
fn forget(app: &AppName, environment: Option<&PlaceName>) {
    let environment = environment.map(PlaceName::as_str);
    telemetry::forget_traffic(app.as_str(), environment);
    telemetry::forget_integrity_reports(app.as_str(), environment);
}

fn app_of(key: &str) -> Option<AppName> {
    key.strip_prefix(APPS_PREFIX)?.parse().ok()
}
