//! Lets go of versions that were deleted: no hostname and no grace period answers from them any more.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use devanture_config::{AppName, VersionId};

use super::{Follower, Live, Place};
use crate::catalog::Record;

impl Place {
    /// Ends what the version would still answer here (law 10); what is live stays.
    fn forget(&self, id: &VersionId) {
        self.replaced.rcu(|list| list.iter().filter(|r| r.version.id != *id).cloned().collect::<Vec<_>>());
        self.preparing.rcu(|list| list.iter().filter(|version| version.id != *id).cloned().collect::<Vec<_>>());
    }
}

impl Live {
    /// Lets go of a version of `app`, wherever it is at hand and not live.
    pub(super) fn forget_version(&self, app: &AppName, id: &VersionId) {
        self.0
            .preparing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|version| version.app != *app || version.id != *id);
        for place in self.0.hosts.load().places.values().filter(|place| place.app == *app) {
            place.forget(id);
        }
        self.forget_preview(app, id);
    }

    /// Drops a loaded preview; where the version is stored, it is loaded anew when it is next asked for.
    pub(super) fn forget_preview(&self, app: &AppName, id: &VersionId) {
        self.0.previews.rcu(|previews| {
            let others = previews.iter().filter(|(key, _)| key.app != *app || key.id != *id);
            others.map(|(key, current)| (key.clone(), Arc::clone(current))).collect::<HashMap<_, _>>()
        });
    }
}

impl Follower {
    /// Follows `versions/{app}/{id}`: keeps the ids that versions' own hostnames may name.
    pub(super) fn version_stored(&self, key: &str, stored: bool) {
        let Some((app, id)) = version_of(key) else { return };
        {
            let mut ids = self.live.0.ids.write().unwrap_or_else(PoisonError::into_inner);
            let ids = ids.entry(app.clone()).or_default();
            if stored {
                ids.insert(id.short(), id);
            } else {
                ids.remove(&id.short());
            }
        }
        if stored {
            // One that was deleted may be stored again: it is another then, stored later.
            self.live.forget_preview(&app, &id);
        } else {
            self.live.forget_version(&app, &id);
            tracing::info!(app = %app, version = %id.short(), "deleted");
        }
    }

    /// Takes these versions for all that there are, and lets go of those that were deleted while nobody looked.
    pub(super) fn versions_are(&self, versions: &[(String, Record)]) {
        let stored: HashSet<(AppName, VersionId)> = versions.iter().filter_map(|(key, _)| version_of(key)).collect();
        let mut ids: HashMap<AppName, BTreeMap<String, VersionId>> = HashMap::new();
        for (app, id) in &stored {
            ids.entry(app.clone()).or_default().insert(id.short(), *id);
        }
        let before = {
            let mut known = self.live.0.ids.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *known, ids)
        };
        for (app, ids) in before {
            for id in ids.into_values().filter(|id| !stored.contains(&(app.clone(), *id))) {
                self.live.forget_version(&app, &id);
            }
        }
    }
}

/// The version that a key names.
fn version_of(key: &str) -> Option<(AppName, VersionId)> {
    let mut parts = key.split('/').skip(1);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
