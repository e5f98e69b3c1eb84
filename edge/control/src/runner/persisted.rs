//! Latest storage measurements of environments, and allowances of commands.

use std::collections::BTreeMap;

use devanture_config::AppName;
use parking_lot::{Mutex, MutexGuard};

use devanture_host::spawner::Measured;

/// Unit of measurement: an environment, or all previews of an app.
pub(super) type Place = (AppName, String);

/// Latest measurements.
#[derive(Default)]
pub(super) struct Persisted(Mutex<BTreeMap<Place, Found>>);

/// Bytes and files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) bytes: u64,
    /// Files, folders and links.
    pub(super) files: u64,
}

/// Measurement of an environment.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) measured: Measured,
    /// Excess in the snapshot folder.
    pub(super) snapshots: Option<Measured>,
    pub(super) is_too_much: bool,
    /// Minimum since the beginning of the excess: growth counts from there, over any number of commands.
    least: Amount,
}

/// Excess of an environment at the beginning of a command.
pub(super) struct Excess {
    /// Most that the command may leave.
    pub(super) max: Amount,
    /// Permitted growth over the minimum.
    pub(super) growth: Amount,
    /// Description of the excess, as a sentence.
    pub(super) why: String,
}

impl Excess {
    /// Returns true if a command may continue after the measurement.
    pub(super) fn allows(&self, found: &Found) -> bool {
        let now = found.amount();
        found.is_counted() && now.bytes <= self.max.bytes && now.files <= self.max.files
    }
}

impl Amount {
    fn plus(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(other.bytes), files: self.files.saturating_add(other.files) }
    }

    /// Returns the minimum of bytes and of files.
    fn min(self, other: Self) -> Self {
        Self { bytes: self.bytes.min(other.bytes), files: self.files.min(other.files) }
    }

    /// Returns the maximum of bytes and of files.
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
    /// Returns true if all files were counted.
    pub(super) fn is_counted(&self) -> bool {
        !self.measured.is_partial && !self.snapshots.is_some_and(|snapshots| snapshots.is_partial)
    }

    /// Returns the allowance of a command that begins now: `growth` over the minimum, or the present amount if earlier
    /// commands have used the growth.
    pub(super) fn max_with(&self, growth: Amount) -> Amount {
        self.least.plus(growth).max(self.amount())
    }

    fn amount(&self) -> Amount {
        Amount::from(self.measured).plus(self.snapshots.map(Amount::from).unwrap_or_default())
    }
}

impl Persisted {
    /// Returns all measurements.
    pub(super) fn places(&self) -> MutexGuard<'_, BTreeMap<Place, Found>> {
        self.0.lock()
    }

    /// Returns the bytes of each environment, and true for an excess.
    pub(super) fn all(&self) -> Vec<(Place, u64, bool)> {
        let places = self.places();
        places.iter().map(|(place, found)| (place.clone(), found.measured.bytes, found.is_too_much)).collect()
    }

    /// Records a measurement; returns it, and true if the previous measurement was in excess.
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
        // The next command begins from the remains of the first.
        let second = excess(note(&persisted, 170, 8, false));
        assert!(second.allows(&note(&persisted, 170, 10, false)) && !second.allows(&note(&persisted, 171, 8, false)));
        // Removed files do not count again.
        note(&persisted, 120, 4, false);
        assert_eq!(excess(note(&persisted, 125, 5, false)).max, Amount { bytes: 130, files: 6 });
        // After a measurement within the limit, the minimum is reset.
        note(&persisted, 90, 1, false);
        assert_eq!(excess(note(&persisted, 200, 9, false)).max, Amount { bytes: 210, files: 11 });
    }
}
