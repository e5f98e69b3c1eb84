//! What environments were found to keep at the last measurement, and what a command may leave of it.

use std::collections::BTreeMap;

use devanture_config::AppName;
use parking_lot::{Mutex, MutexGuard};

use devanture_host::spawner::Measured;

/// Whose folders count together: those of an environment, or of all previews of an app.
pub(super) type Place = (AppName, String);

/// The last measurement.
#[derive(Default)]
pub(super) struct Persisted(Mutex<BTreeMap<Place, Found>>);

/// Bytes and files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) bytes: u64,
    /// Files, folders and links.
    pub(super) files: u64,
}

/// What an environment was found to keep.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) measured: Measured,
    /// What lies in its folder of snapshots, where that is too much.
    pub(super) snapshots: Option<Measured>,
    pub(super) is_too_much: bool,
    /// The least of it since it is too much: growth is counted from there, however many commands it takes.
    least: Amount,
}

/// What an environment kept too much of when a command began in it.
pub(super) struct Excess {
    /// The most that the command may leave.
    pub(super) max: Amount,
    /// What it may add to the least that was found.
    pub(super) growth: Amount,
    /// What is too much, as a sentence.
    pub(super) why: String,
}

impl Excess {
    /// Whether a command may go on after this was found.
    pub(super) fn allows(&self, found: &Found) -> bool {
        let now = found.amount();
        found.is_counted() && now.bytes <= self.max.bytes && now.files <= self.max.files
    }
}

impl Amount {
    fn plus(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(other.bytes), files: self.files.saturating_add(other.files) }
    }

    /// The lesser bytes and the lesser files.
    fn min(self, other: Self) -> Self {
        Self { bytes: self.bytes.min(other.bytes), files: self.files.min(other.files) }
    }

    /// The greater bytes and the greater files.
    fn max(self, other: Self) -> Self {
        Self { bytes: self.bytes.max(other.bytes), files: self.files.max(other.files) }
    }
}

impl From<Measured> for Amount {
    fn from(Measured { bytes, files, .. }: Measured) -> Self {
        Self { bytes, files }
    }
}

impl Found {
    /// Whether all of it was counted.
    pub(super) fn is_counted(&self) -> bool {
        !self.measured.is_partial && !self.snapshots.is_some_and(|snapshots| snapshots.is_partial)
    }

    /// The most that a command may leave which begins now: `growth` beyond the least, and no more than there is where
    /// others have used that up.
    pub(super) fn max_with(&self, growth: Amount) -> Amount {
        self.least.plus(growth).max(self.amount())
    }

    fn amount(&self) -> Amount {
        Amount::from(self.measured).plus(self.snapshots.map(Amount::from).unwrap_or_default())
    }
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

    /// Notes a measurement; gives it, and whether there was too much at the one before.
    pub(super) fn note(
        &self,
        place: &Place,
        measured: Measured,
        snapshots: Option<Measured>,
        is_too_much: bool,
    ) -> (Found, bool) {
        let mut places = self.places();
        let before = places.get(place).filter(|before| before.is_too_much);
        let mut found = Found { measured, snapshots, is_too_much, least: Amount::default() };
        found.least = before.map_or_else(|| found.amount(), |before| before.least.min(found.amount()));
        let was_too_much = before.is_some();
        places.insert(place.clone(), found);
        (found, was_too_much)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROWTH: Amount = Amount { bytes: 10, files: 2 };

    fn note(persisted: &Persisted, bytes: u64, files: u64, is_partial: bool) -> Found {
        let place = ("shop".parse().unwrap(), "prod".to_owned());
        persisted.note(&place, Measured { bytes, files, is_partial, is_too_deep: false }, None, bytes > 100).0
    }

    #[test]
    fn what_is_too_much_grows_once_by_a_part_of_its_limits_however_many_commands_run() {
        let persisted = Persisted::default();
        let excess = |found: Found| Excess { max: found.max_with(GROWTH), growth: GROWTH, why: String::new() };
        let first = excess(note(&persisted, 150, 8, false));
        assert!(first.allows(&note(&persisted, 160, 10, false)));
        assert!(!first.allows(&note(&persisted, 161, 8, false)) && !first.allows(&note(&persisted, 150, 11, false)));
        assert!(!first.allows(&note(&persisted, 150, 8, true)), "what is not counted");
        // The next one begins with what the one before has left.
        let second = excess(note(&persisted, 170, 8, false));
        assert!(second.allows(&note(&persisted, 170, 10, false)) && !second.allows(&note(&persisted, 171, 8, false)));
        // What was removed does not come back.
        note(&persisted, 120, 4, false);
        assert_eq!(excess(note(&persisted, 125, 5, false)).max, Amount { bytes: 130, files: 6 });
        // Where there was room in between, it begins again.
        note(&persisted, 90, 1, false);
        assert_eq!(excess(note(&persisted, 200, 9, false)).max, Amount { bytes: 210, files: 11 });
    }
}
