//! In-memory index of the audit log by app: entries beyond the bound are removed from the app with most.

use std::collections::{BTreeSet, HashMap};

use devanture_config::AppName;
use parking_lot::{Mutex, MutexGuard};
use serde::Deserialize;

use super::number_of;
use crate::catalog::scan::Scan;
use crate::catalog::{self, Catalog, Record};
use crate::records::identities;

/// Old entries that one commit removes: more than the one that it adds, so that a lowered limit is reached.
pub(super) const REMOVED_MAX: usize = 8;

/// Whose an entry is: an app's, or the edge's own.
type Owner = Option<AppName>;

/// The numbers of all entries.
pub(super) struct Kept(Mutex<Numbers>);

struct Numbers {
    by_owner: HashMap<Owner, BTreeSet<u64>>,
    count: u64,
    entries_max: u64,
    /// The last number that was given out, or found.
    last: u64,
    /// All entries up to this one were read.
    read_to: u64,
}

/// The read part of an entry.
#[derive(Deserialize)]
struct Owned {
    app: Owner,
}

impl Numbers {
    fn add(&mut self, owner: &Owner, number: u64) {
        if self.by_owner.entry(owner.clone()).or_default().insert(number) {
            self.count = self.count.saturating_add(1);
        }
    }

    fn remove(&mut self, owner: &Owner, number: u64) {
        let Some(numbers) = self.by_owner.get_mut(owner) else { return };
        if numbers.remove(&number) {
            self.count = self.count.saturating_sub(1);
        }
        if numbers.is_empty() {
            self.by_owner.remove(owner);
        }
    }

    /// Takes out what is beyond the bound: the oldest entry of the actor with most, and of several such, the oldest of
    /// all.
    fn surplus(&mut self) -> Vec<(Owner, u64)> {
        let mut surplus = Vec::new();
        while self.count > self.entries_max && surplus.len() < REMOVED_MAX {
            let weight =
                |numbers: &BTreeSet<u64>| (numbers.len(), std::cmp::Reverse(numbers.first().copied().unwrap_or(0)));
            let most = self.by_owner.iter().max_by_key(|(_, numbers)| weight(numbers));
            let Some((owner, number)) = most.and_then(|(owner, numbers)| Some((owner.clone(), *numbers.first()?)))
            else {
                break;
            };
            self.remove(&owner, number);
            surplus.push((owner, number));
        }
        surplus
    }
}

impl Kept {
    /// Reads all of them.
    pub(super) async fn read(catalog: &dyn Catalog, entries_max: u64) -> Result<Self, catalog::Error> {
        let numbers = Numbers { by_owner: HashMap::new(), count: 0, entries_max, last: 0, read_to: 0 };
        let kept = Self(Mutex::new(numbers));
        kept.read_on(catalog).await?;
        Ok(kept)
    }

    /// Reads what somebody else wrote to the same catalog since.
    pub(super) async fn read_on(&self, catalog: &dyn Catalog) -> Result<(), catalog::Error> {
        let after = identities::audit_key(self.numbers().read_to);
        let mut entries = Scan::new(catalog, identities::AUDIT_PREFIX).after(Some(after));
        loop {
            let page = entries.next_page().await?;
            if page.is_empty() {
                return Ok(());
            }
            let mut numbers = self.numbers();
            for (key, record) in &page {
                let Some(number) = number_of(key) else { continue };
                numbers.add(&owner_of(record), number);
                numbers.read_to = numbers.read_to.max(number);
                numbers.last = numbers.last.max(number);
            }
        }
    }

    /// Gives a number out for an entry that is about to be written, and takes out what goes for it.
    pub(super) fn begin(&self, owner: Option<&AppName>) -> Begun<'_> {
        let mut numbers = self.numbers();
        let (owner, number) = (owner.cloned(), numbers.last.saturating_add(1));
        numbers.last = number;
        numbers.add(&owner, number);
        let surplus = numbers.surplus();
        Begun { kept: self, number, owner, surplus }
    }

    /// These were removed.
    pub(super) fn forget(&self, entries: &[(String, Record)]) {
        let mut numbers = self.numbers();
        for (key, record) in entries {
            if let Some(number) = number_of(key) {
                numbers.remove(&owner_of(record), number);
            }
        }
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.0.lock()
    }
}

/// An entry that is being written. Dropped before it is known what became of it, it counts all the same, and so does
/// what was to go: the one that counts too much goes at some time, the one that counts too little never would.
pub(super) struct Begun<'k> {
    kept: &'k Kept,
    pub(super) number: u64,
    owner: Owner,
    /// The entries that are removed with it.
    pub(super) surplus: Vec<(Owner, u64)>,
}

impl Begun<'_> {
    /// It was written.
    pub(super) fn done(mut self) {
        self.surplus.clear();
    }

    /// It was not written.
    pub(super) fn failed(self) {
        self.kept.numbers().remove(&self.owner, self.number);
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let mut numbers = self.kept.numbers();
        for (owner, number) in &self.surplus {
            numbers.add(owner, *number);
        }
    }
}

/// An entry that cannot be read counts as the edge's own.
fn owner_of(record: &Record) -> Owner {
    serde_json::from_slice::<Owned>(&record.value).ok().and_then(|owned| owned.app)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(entries_max: u64) -> Kept {
        Kept(Mutex::new(Numbers { by_owner: HashMap::new(), count: 0, entries_max, last: 0, read_to: 0 }))
    }

    fn lengths(kept: &Kept) -> Vec<(String, usize)> {
        let numbers = kept.numbers();
        let name = |owner: &Owner| owner.as_ref().map_or_else(String::new, ToString::to_string);
        let mut lengths: Vec<_> = numbers.by_owner.iter().map(|(owner, n)| (name(owner), n.len())).collect();
        lengths.sort();
        assert_eq!(lengths.iter().map(|(_, length)| *length as u64).sum::<u64>(), numbers.count);
        lengths
    }

    #[test]
    fn who_writes_much_pushes_its_own_entries_out_and_nobody_elses() {
        let (kept, quiet, loud) = (kept(100), "quiet".parse().unwrap(), "loud".parse().unwrap());
        for owner in [None, Some(&quiet), Some(&quiet)] {
            kept.begin(owner).done();
        }
        for _ in 0..1_000 {
            kept.begin(Some(&loud)).done();
        }
        let of = |name: &str, length: usize| (name.to_owned(), length);
        assert_eq!(lengths(&kept), [of("", 1), of("loud", 97), of("quiet", 2)]);
        // A newcomer gets its room from the one that has most.
        for _ in 0..500 {
            kept.begin(Some(&quiet)).done();
        }
        assert_eq!(lengths(&kept), [of("", 1), of("loud", 49), of("quiet", 50)]);
    }

    #[test]
    fn what_was_not_written_does_not_count_and_pushes_nothing_out() {
        let (kept, app) = (kept(2), "shop".parse().unwrap());
        for _ in 0..2 {
            kept.begin(Some(&app)).done();
        }
        let begun = kept.begin(Some(&app));
        assert_eq!((begun.number, begun.surplus.len()), (3, 1));
        begun.failed();
        assert_eq!(lengths(&kept), [("shop".to_owned(), 2)]);
        // Nobody knows what became of it: it counts until it goes.
        drop(kept.begin(None));
        assert_eq!(kept.numbers().count, 3);
        assert_eq!(kept.begin(Some(&app)).surplus.len(), 2);
    }
}
