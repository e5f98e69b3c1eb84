//! Versions loaded to go live: the switch finds the versions loaded, and their assets already answer (law 10).

use std::sync::Arc;

use devanture_config::{AppName, VersionId};

use super::{Live, Place};
use crate::version::Version;
use devanture_base::clock;

/// Guard that keeps a version loaded to go live: the preparing caller may be dropped at any moment, for example by a
/// client that hangs up.
#[must_use = "the version is at hand for as long as this lives"]
pub struct Preparing {
    live: Live,
    version: Arc<Version>,
}

impl Preparing {
    /// The version being prepared.
    #[must_use]
    pub const fn version(&self) -> &Arc<Version> {
        &self.version
    }
}

impl Drop for Preparing {
    fn drop(&mut self) {
        {
            let mut preparing = self.live.0.preparing.lock();
            if let Some(index) = preparing.iter().position(|other| Arc::ptr_eq(other, &self.version)) {
                preparing.swap_remove(index);
            }
        }
        self.live.show_preparing(&self.version);
    }
}

impl Live {
    /// Keeps a version loaded to go live: the switch finds the version loaded, and its fingerprinted assets already
    /// answer (law 10).
    pub fn begin_preparing(&self, version: &Arc<Version>) -> Preparing {
        self.0.preparing.lock().push(Arc::clone(version));
        self.show_preparing(version);
        Preparing { live: self.clone(), version: Arc::clone(version) }
    }

    /// Updates the list of prepared versions in the place of `version`.
    fn show_preparing(&self, version: &Version) {
        let Ok(name) = version.place.parse() else { return };
        let Some(place) = self.place(&version.app, &name) else { return };
        let preparing = self.0.preparing.lock();
        let here = preparing.iter().filter(|other| other.app == version.app && other.place == version.place);
        place.preparing.change(|_| here.cloned().collect());
    }

    pub(super) fn prepared(&self, place: &Place, id: &VersionId) -> Option<Arc<Version>> {
        let preparing = self.0.preparing.lock();
        let here = |v: &&Arc<Version>| {
            v.id == *id && v.app == place.app && v.place == place.name.as_str() && v.setting == place.setting
        };
        preparing.iter().find(here).cloned()
    }

    /// Returns true if a version answers in an environment or alias of its app: live, about to go live, in the grace
    /// period (law 10), or the target of an alias. Ignores the grace period while its versions are not loaded: the
    /// history lists them.
    #[must_use]
    pub fn is_held(&self, app: &AppName, id: &VersionId) -> bool {
        let is_preparing = |version: &Arc<Version>| version.app == *app && version.id == *id;
        if self.0.preparing.lock().iter().any(is_preparing) {
            return true;
        }
        let now_ms = clock::now_ms();
        let hosts = self.0.hosts.load();
        hosts.places.values().filter(|place| place.app == *app).any(|place| {
            place.first_load.load().as_ref().is_some_and(|load| load.of.version == *id)
                || place.current().is_some_and(|current| current.with_id(id).is_some())
                || place.aliased().is_some_and(|aliased| aliased.version == *id)
                || place
                    .replaced
                    .with(|list| list.iter().any(|kept| kept.current.version.id == *id && kept.until_ms > now_ms))
        })
    }
}
