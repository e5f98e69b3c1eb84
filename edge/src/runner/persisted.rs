//! What environments were found to keep at the last measurement.

use std::collections::BTreeMap;

use devanture_config::AppName;
use parking_lot::{Mutex, MutexGuard};

use crate::spawner::Measured;

/// Whose folders count together: those of an environment, or of all previews of an app.
pub(super) type Place = (AppName, String);

/// The last measurement.
#[derive(Default)]
pub(super) struct Persisted(Mutex<BTreeMap<Place, Found>>);

/// What an environment was found to keep.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) measured: Measured,
    /// What lies in its folder of snapshots, where that is too much.
    pub(super) snapshots: Option<Measured>,
    pub(super) is_too_much: bool,
}

impl Persisted {
    /// All that were measured.
    pub(super) fn places(&self) -> MutexGuard<'_, BTreeMap<Place, Found>> {
        self.0.lock()
    }

    /// Bytes of each place, and whether they are too much.
    pub(super) fn all(&self) -> Vec<(Place, u64, bool)> {
        let places = self.places();
        places.iter().map(|(place, found)| (place.clone(), found.measured.bytes, found.is_too_much)).collect()
    }
}
