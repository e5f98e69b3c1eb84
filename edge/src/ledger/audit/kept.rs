//! In-memory index of the audit log by app: entries beyond the bound are removed from the app with most, and there from
//! the credential and the action with most, so that nobody pushes out the trace of what was done by doing more.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use devanture_config::AppName;
use devanture_config::api::AuditEntry;
use parking_lot::{Mutex, MutexGuard};
use serde::Deserialize;

use super::event::is_lasting;
use super::number_of;
use crate::catalog::scan::Scan;
use crate::catalog::{self, Catalog, Record};
use crate::records::identities;

/// Old entries that one commit removes: more than the one that it adds, so that a lowered limit is reached.
pub(super) const REMOVED_MAX: usize = 8;
/// Characters of the id of a token or an account, which the ids of their sessions and logins begin with.
const OWNER_ID_CHARACTERS: usize = 12;

/// Whose an entry is: an app's, or the edge's own.
type Owner = Option<AppName>;

/// The place of an entry in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryPlace {
    owner: Owner,
    /// Whether it tells who got rights, ran commands or read secrets.
    is_lasting: bool,
    /// The hash of its credential and its action: an edge may have many of them.
    group: u64,
}

impl EntryPlace {
    pub(super) fn of(entry: &AuditEntry) -> Self {
        Self::named(entry.app.clone(), entry.credential.as_deref(), &entry.who, &entry.action)
    }

    fn named(owner: Owner, credential: Option<&str>, who: &str, action: &str) -> Self {
        // Each job of CI, and each login of a person, has a token of its own.
        let is_exchanged = who.starts_with("trust:") || who.starts_with("oidc:");
        let id = credential.filter(|_| !is_exchanged).map(|id| id.get(..OWNER_ID_CHARACTERS).unwrap_or(id));
        let mut hasher = DefaultHasher::new();
        (id.unwrap_or(who), action).hash(&mut hasher);
        Self { owner, is_lasting: is_lasting(action), group: hasher.finish() }
    }
}

/// The numbers of all entries.
pub(super) struct Kept(Mutex<Numbers>);

struct Numbers {
    by_owner: HashMap<Owner, OwnerEntries>,
    count: u64,
    entries_max: u64,
    /// The last number that was given out, or found.
    last: u64,
    /// All entries up to this one were read.
    read_to: u64,
}

/// The entries of an owner.
#[derive(Default)]
struct OwnerEntries {
    lasting: EntryGroups,
    others: EntryGroups,
}

/// Entries by their credential and action.
#[derive(Default)]
struct EntryGroups {
    numbers: HashMap<u64, BTreeSet<u64>>,
    /// The length, the oldest number and the id of each group: the last one has most, and of several such the oldest.
    by_length: BTreeSet<(usize, Reverse<u64>, u64)>,
    count: usize,
}

impl EntryGroups {
    /// Changes a group, and says whether `change` did.
    fn change(&mut self, group: u64, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) -> bool {
        let numbers = self.numbers.entry(group).or_default();
        let order = |numbers: &BTreeSet<u64>| numbers.first().map(|oldest| (numbers.len(), Reverse(*oldest), group));
        let (before, length) = (order(numbers), numbers.len());
        let is_changed = change(numbers);
        self.count = self.count.saturating_sub(length).saturating_add(numbers.len());
        let after = order(numbers);
        if numbers.is_empty() {
            self.numbers.remove(&group);
        }
        if let Some(before) = before {
            self.by_length.remove(&before);
        }
        self.by_length.extend(after);
        is_changed
    }

    /// The group with most entries, and its oldest one.
    fn largest(&self) -> Option<(u64, u64)> {
        self.by_length.last().map(|(_, Reverse(oldest), group)| (*group, *oldest))
    }
}

impl OwnerEntries {
    fn count(&self) -> usize {
        self.lasting.count.saturating_add(self.others.count)
    }

    fn groups(&mut self, is_lasting: bool) -> &mut EntryGroups {
        if is_lasting { &mut self.lasting } else { &mut self.others }
    }

    /// Which entry goes first: whether it is one of those that last, its group, and its number. Those that last go once
    /// they are more than the others: by running commands, nobody pushes out the entries on everything else either.
    fn first_to_go(&self) -> Option<(bool, u64, u64)> {
        let is_lasting = self.lasting.count > self.others.count;
        let groups = if is_lasting { &self.lasting } else { &self.others };
        groups.largest().map(|(group, number)| (is_lasting, group, number))
    }
}

/// The read part of an entry.
#[derive(Deserialize)]
struct EntryHead {
    app: Owner,
    #[serde(default)]
    credential: Option<String>,
    #[serde(default)]
    who: String,
    #[serde(default)]
    action: String,
}

impl Numbers {
    fn add(&mut self, place: &EntryPlace, number: u64) {
        let groups = self.by_owner.entry(place.owner.clone()).or_default().groups(place.is_lasting);
        if groups.change(place.group, |numbers| numbers.insert(number)) {
            self.count = self.count.saturating_add(1);
        }
    }

    fn remove(&mut self, place: &EntryPlace, number: u64) {
        let Some(entries) = self.by_owner.get_mut(&place.owner) else { return };
        if entries.groups(place.is_lasting).change(place.group, |numbers| numbers.remove(&number)) {
            self.count = self.count.saturating_sub(1);
        }
        if entries.count() == 0 {
            self.by_owner.remove(&place.owner);
        }
    }

    /// Takes out what is beyond the bound: of the app with most entries, and of several such of the one whose entry is
    /// the oldest, the entry that goes first.
    fn surplus(&mut self) -> Vec<(EntryPlace, u64)> {
        let mut surplus = Vec::new();
        while self.count > self.entries_max && surplus.len() < REMOVED_MAX {
            let weight =
                |entries: &OwnerEntries| (entries.count(), entries.first_to_go().map(|(.., number)| Reverse(number)));
            let most = self.by_owner.iter().max_by_key(|(_, entries)| weight(entries));
            let Some((owner, (is_lasting, group, number))) =
                most.and_then(|(owner, entries)| Some((owner.clone(), entries.first_to_go()?)))
            else {
                break;
            };
            let place = EntryPlace { owner, is_lasting, group };
            self.remove(&place, number);
            surplus.push((place, number));
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
                numbers.add(&place_of(record), number);
                numbers.read_to = numbers.read_to.max(number);
                numbers.last = numbers.last.max(number);
            }
        }
    }

    /// Gives a number out for an entry that is about to be written, and takes out what goes for it.
    pub(super) fn begin(&self, place: EntryPlace) -> Begun<'_> {
        let mut numbers = self.numbers();
        let number = numbers.last.saturating_add(1);
        numbers.last = number;
        numbers.add(&place, number);
        let surplus = numbers.surplus();
        Begun { kept: self, number, place, surplus }
    }

    /// These were removed.
    pub(super) fn forget(&self, entries: &[(String, Record)]) {
        let mut numbers = self.numbers();
        for (key, record) in entries {
            if let Some(number) = number_of(key) {
                numbers.remove(&place_of(record), number);
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
    place: EntryPlace,
    /// The entries that are removed with it.
    pub(super) surplus: Vec<(EntryPlace, u64)>,
}

impl Begun<'_> {
    /// It was written.
    pub(super) fn done(mut self) {
        self.surplus.clear();
    }

    /// It was not written.
    pub(super) fn failed(self) {
        self.kept.numbers().remove(&self.place, self.number);
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let mut numbers = self.kept.numbers();
        for (place, number) in &self.surplus {
            numbers.add(place, *number);
        }
    }
}

/// An entry that cannot be read counts as the edge's own.
fn place_of(record: &Record) -> EntryPlace {
    match serde_json::from_slice::<EntryHead>(&record.value) {
        Ok(EntryHead { app, credential, who, action }) => EntryPlace::named(app, credential.as_deref(), &who, &action),
        Err(_damaged) => EntryPlace::named(None, None, "", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Action;

    fn kept(entries_max: u64) -> Kept {
        Kept(Mutex::new(Numbers { by_owner: HashMap::new(), count: 0, entries_max, last: 0, read_to: 0 }))
    }

    /// The place of an entry in the log of an app.
    fn place(app: Option<&str>, credential: &str, action: Action) -> EntryPlace {
        let app = app.map(|name| name.parse().unwrap());
        EntryPlace::named(app, Some(credential), "ci", action.as_str())
    }

    fn lengths(kept: &Kept) -> Vec<(String, usize)> {
        let numbers = kept.numbers();
        let name = |owner: &Owner| owner.as_ref().map_or_else(String::new, ToString::to_string);
        let mut lengths: Vec<_> = numbers.by_owner.iter().map(|(owner, n)| (name(owner), n.count())).collect();
        lengths.sort();
        assert_eq!(lengths.iter().map(|(_, length)| *length as u64).sum::<u64>(), numbers.count);
        lengths
    }

    /// Whether the entry with this number is still there.
    fn has(kept: &Kept, place: &EntryPlace, number: u64) -> bool {
        let mut numbers = kept.numbers();
        let entries = numbers.by_owner.get_mut(&place.owner).unwrap();
        entries.groups(place.is_lasting).numbers.get(&place.group).is_some_and(|found| found.contains(&number))
    }

    fn done(kept: &Kept, place: &EntryPlace) -> u64 {
        let begun = kept.begin(place.clone());
        let number = begun.number;
        begun.done();
        number
    }

    #[test]
    fn who_writes_much_pushes_its_own_entries_out_and_nobody_elses() {
        let kept = kept(100);
        let of_app = |app| place(app, "0", Action::Switch);
        for app in [None, Some("quiet"), Some("quiet")] {
            done(&kept, &of_app(app));
        }
        for _ in 0..1_000 {
            done(&kept, &of_app(Some("loud")));
        }
        let of = |name: &str, length: usize| (name.to_owned(), length);
        assert_eq!(lengths(&kept), [of("", 1), of("loud", 97), of("quiet", 2)]);
        // A newcomer gets its room from the one that has most.
        for _ in 0..500 {
            done(&kept, &of_app(Some("quiet")));
        }
        assert_eq!(lengths(&kept), [of("", 1), of("loud", 49), of("quiet", 50)]);
    }

    #[test]
    fn nobody_pushes_out_the_trace_of_what_they_or_others_did_by_doing_more() {
        let kept = kept(100);
        let of = |credential: &str, action| place(Some("shop"), credential, action);
        let (ada, eve) = ("aaaaaaaaaaaa", "eeeeeeeeeeee");
        let traces: Vec<(EntryPlace, u64)> = [
            of(ada, Action::Push),
            of(eve, Action::CreateToken),
            of(eve, Action::Run),
            of(eve, Action::ReadSettings),
            of(eve, Action::Settings),
        ]
        .into_iter()
        .map(|place| (place.clone(), done(&kept, &place)))
        .collect();
        let all_there = || traces.iter().all(|(place, number)| has(&kept, place, *number));
        // One action, by sessions whose ids begin with that of their account.
        for session in 0..1_000 {
            done(&kept, &of(&format!("{eve}{session:012x}"), Action::Pause));
        }
        assert!(all_there(), "{traces:?}");
        // Also where the others are more: entries on rights, commands and secrets go last.
        for credential in 0..1_000 {
            done(&kept, &of(&format!("{credential:012x}"), Action::Lock));
        }
        let lasting = traces.iter().filter(|(place, _)| place.is_lasting);
        assert_eq!(lasting.map(|(place, number)| u64::from(has(&kept, place, *number))).sum::<u64>(), 3);
        // But no more than half of the log is of that.
        for _ in 0..1_000 {
            done(&kept, &of(ada, Action::RunEnded));
        }
        assert!(kept.numbers().by_owner.values().all(|entries| entries.lasting.count == 50));
        assert!(traces.iter().filter(|(place, _)| place.is_lasting).all(|(place, number)| has(&kept, place, *number)));
    }

    #[test]
    fn what_was_not_written_does_not_count_and_pushes_nothing_out() {
        let kept = kept(2);
        let (of_app, of_edge) = (place(Some("shop"), "0", Action::Switch), place(None, "0", Action::Switch));
        for _ in 0..2 {
            done(&kept, &of_app);
        }
        let begun = kept.begin(of_app.clone());
        assert_eq!((begun.number, begun.surplus.len()), (3, 1));
        begun.failed();
        assert_eq!(lengths(&kept), [("shop".to_owned(), 2)]);
        // Nobody knows what became of it: it counts until it goes.
        drop(kept.begin(of_edge));
        assert_eq!(kept.numbers().count, 3);
        assert_eq!(kept.begin(of_app).surplus.len(), 2);
    }
}
