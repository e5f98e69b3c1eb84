//! In-memory index of the audit log by app. Entries beyond the limit are removed from the app with most entries, there
//! from the origin and action with most, so that no actor can erase traces by acting more. An origin with as many
//! entries over all apps as the largest app loses its own entries instead: by creating many apps, the origin would
//! otherwise displace the entries of every app.
//!
//! The origin of a credential is the account or token at the root of its chain: tokens that create tokens and are used
//! once would otherwise form a group of one entry each. Within an origin, the credential with most entries loses. On a
//! tie, the latest loses, so that fresh credentials, in any number, displace no earlier entries.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher as _};

use devanture_config::AppName;
use parking_lot::{Mutex, MutexGuard};
use serde::Deserialize;

use super::event::is_lasting;
use super::number_of;
use super::parts::{CountEntries, PartsByLength};
use crate::ledger::actor::{OWNER_ID_CHARACTERS, is_exchanged};
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{self, Catalog, Record};
use devanture_store::records::identities::{self, AuditRecord};

/// Most old entries removed by a commit: more than the one added, so that a lowered limit is reached.
pub(super) const REMOVED_MAX: usize = 8;
/// Owner of an entry: an app, or the edge itself.
type Owner = Option<AppName>;

/// Position of an entry in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryPlace {
    owner: Owner,
    /// True for entries about rights, commands and secrets.
    is_lasting: bool,
    group: EntryGroup,
    /// Hash of the credential, or of the first token of its chain created by an account.
    branch: u64,
}

/// Hashes of a credential's origin and of an action; hashes save memory, as an edge may have many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct EntryGroup {
    origin: u64,
    action: u64,
}

impl EntryPlace {
    pub(super) fn of(entry: &AuditRecord) -> Self {
        let credential = (entry.credential.as_deref(), entry.root.as_deref());
        Self::named(entry.app.clone(), credential, &entry.who, &entry.action)
    }

    /// Position of an entry by a credential with the root of its chain.
    fn named(owner: Owner, (credential, root): (Option<&str>, Option<&str>), who: &str, action: &str) -> Self {
        let own = credential.map_or(who, |id| id.get(..OWNER_ID_CHARACTERS).unwrap_or(id));
        let (origin, branch) = match root.unwrap_or(own) {
            // Each CI job, and each login of a person, has a token of its own.
            root if is_exchanged(root) => (root, root),
            _ if is_exchanged(who) => (who, who),
            root => root.split_once('/').unwrap_or((root, root)),
        };
        let group = EntryGroup { origin: hash_of(&origin), action: hash_of(&action) };
        Self { owner, is_lasting: is_lasting(action), group, branch: hash_of(&branch) }
    }
}

fn hash_of(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// Numbers of all entries.
pub(super) struct EntryIndex(Mutex<Numbers>);

struct Numbers {
    by_owner: HashMap<Owner, GroupedEntries<BTreeSet<u64>>>,
    /// The same entries by the origin of their credential.
    by_origin: HashMap<u64, GroupedEntries<PartsByLength<BTreeSet<u64>, Owner>>>,
    count: u64,
    entries_max: u64,
    /// Last issued or found number.
    last: u64,
    /// All entries up to the number were read.
    read_to: u64,
    /// Numbers of entries being written, exempt from removal.
    begun: HashSet<u64>,
}

/// Entries of an owner or origin. Entries of a credential within a group are a set, or sets by owner.
#[derive(Default)]
struct GroupedEntries<S> {
    lasting: EntryGroups<S>,
    others: EntryGroups<S>,
}

/// Entries by origin and action, and then by credential.
type EntryGroups<S> = PartsByLength<PartsByLength<S>, EntryGroup>;

/// Entry to be removed, with its path in the groups.
struct LeavingEntry<N> {
    is_lasting: bool,
    group: EntryGroup,
    branch: u64,
    found: N,
}

impl<S: CountEntries> GroupedEntries<S> {
    fn count(&self) -> usize {
        self.lasting.count().saturating_add(self.others.count())
    }

    fn change(&mut self, place: &EntryPlace, number: u64, change: impl FnOnce(&mut S) -> bool) -> bool {
        let groups = if place.is_lasting { &mut self.lasting } else { &mut self.others };
        groups.change(&place.group, number, |branches| branches.change(&place.branch, number, change))
    }

    /// Returns the entry to be removed first, among those found by `find` in a set. Lasting entries go once they
    /// outnumber the rest: otherwise running commands would displace all other entries.
    fn first_to_go<N>(&self, find: impl Fn(&S) -> Option<N>) -> Option<LeavingEntry<N>> {
        let first_of = |is_lasting: bool| {
            let groups = if is_lasting { &self.lasting } else { &self.others };
            groups.longest_first().find_map(|(group, branches)| {
                branches.longest_first().find_map(|(branch, entries)| {
                    let found = find(entries)?;
                    Some(LeavingEntry { is_lasting, group: *group, branch: *branch, found })
                })
            })
        };
        let is_lasting = self.lasting.count() > self.others.count();
        first_of(is_lasting).or_else(|| first_of(!is_lasting))
    }
}

/// Part of an entry read for the index.
#[derive(Deserialize)]
struct EntryHead {
    app: Owner,
    #[serde(default)]
    credential: Option<String>,
    #[serde(default)]
    root: Option<String>,
    #[serde(default)]
    who: String,
    #[serde(default)]
    action: String,
}

impl Numbers {
    fn add(&mut self, place: &EntryPlace, number: u64) {
        let entries = self.by_owner.entry(place.owner.clone()).or_default();
        if entries.change(place, number, |numbers| numbers.insert(number)) {
            self.count = self.count.saturating_add(1);
        }
        let of_origin = self.by_origin.entry(place.group.origin).or_default();
        of_origin.change(place, number, |owners| owners.change(&place.owner, number, |numbers| numbers.insert(number)));
    }

    fn remove(&mut self, place: &EntryPlace, number: u64) {
        let Some(entries) = self.by_owner.get_mut(&place.owner) else { return };
        if entries.change(place, number, |numbers| numbers.remove(&number)) {
            self.count = self.count.saturating_sub(1);
        }
        if entries.count() == 0 {
            self.by_owner.remove(&place.owner);
        }
        let Some(of_origin) = self.by_origin.get_mut(&place.group.origin) else { return };
        of_origin
            .change(place, number, |owners| owners.change(&place.owner, number, |numbers| numbers.remove(&number)));
        if of_origin.count() == 0 {
            self.by_origin.remove(&place.group.origin);
        }
    }

    /// Removes surplus entries to make room for an entry of `origin`.
    fn surplus(&mut self, origin: u64) -> Vec<(EntryPlace, u64)> {
        let mut surplus = Vec::new();
        while self.count > self.entries_max && surplus.len() < REMOVED_MAX {
            let Some((place, number)) = self.first_of_origin(origin).or_else(|| self.first_of_owners()) else { break };
            self.remove(&place, number);
            surplus.push((place, number));
        }
        surplus
    }

    /// Returns the first entry to remove of an origin with as many entries as the largest owner.
    fn first_of_origin(&self, origin: u64) -> Option<(EntryPlace, u64)> {
        let entries = self.by_origin.get(&origin)?;
        if self.by_owner.values().any(|of_owner| of_owner.count() > entries.count()) {
            return None;
        }
        let LeavingEntry { is_lasting, group, branch, found: (owner, number) } = entries.first_to_go(|owners| {
            owners.longest_first().find_map(|(owner, numbers)| Some((owner.clone(), self.oldest_written(numbers)?)))
        })?;
        Some((EntryPlace { owner, is_lasting, group, branch }, number))
    }

    /// Returns the first entry to remove of the owner with most entries; on a tie, of the owner with the oldest entry.
    fn first_of_owners(&self) -> Option<(EntryPlace, u64)> {
        let candidates = self.by_owner.iter().filter_map(|(owner, entries)| {
            let first = entries.first_to_go(|numbers| self.oldest_written(numbers))?;
            Some((entries.count(), Reverse(first.found), owner, first))
        });
        let (.., owner, first) = candidates.max_by_key(|(count, oldest, ..)| (*count, *oldest))?;
        let LeavingEntry { is_lasting, group, branch, found: number } = first;
        Some((EntryPlace { owner: owner.clone(), is_lasting, group, branch }, number))
    }

    fn oldest_written(&self, numbers: &BTreeSet<u64>) -> Option<u64> {
        numbers.iter().find(|number| !self.begun.contains(*number)).copied()
    }
}

impl EntryIndex {
    fn with_room_for(entries_max: u64) -> Self {
        let (by_owner, by_origin, begun) = (HashMap::new(), HashMap::new(), HashSet::new());
        Self(Mutex::new(Numbers { by_owner, by_origin, count: 0, entries_max, last: 0, read_to: 0, begun }))
    }

    /// Reads all entries.
    pub(super) async fn read(catalog: &dyn Catalog, entries_max: u64) -> Result<Self, catalog::Error> {
        let kept = Self::with_room_for(entries_max);
        kept.read_on(catalog).await?;
        Ok(kept)
    }

    /// Reads entries since written to the catalog by other nodes.
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

    /// Issues a number for an entry about to be written, and removes surplus entries.
    pub(super) fn begin(&self, place: EntryPlace) -> PendingEntry<'_> {
        let mut numbers = self.numbers();
        let number = numbers.last.saturating_add(1);
        numbers.last = number;
        numbers.begun.insert(number);
        numbers.add(&place, number);
        let surplus = numbers.surplus(place.group.origin);
        PendingEntry { kept: self, number, place, surplus }
    }

    /// Forgets removed entries.
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

/// Entry being written. Dropped with an unknown outcome, both the entry and its surplus count as stored: an extra count
/// is removed at some time, while a missing count would never be.
pub(super) struct PendingEntry<'k> {
    kept: &'k EntryIndex,
    pub(super) number: u64,
    place: EntryPlace,
    /// Entries removed by the same commit.
    pub(super) surplus: Vec<(EntryPlace, u64)>,
}

impl PendingEntry<'_> {
    /// Marks the entry as written.
    pub(super) fn done(mut self) {
        self.surplus.clear();
    }

    /// Marks the entry as not written.
    pub(super) fn failed(self) {
        self.kept.numbers().remove(&self.place, self.number);
    }
}

impl Drop for PendingEntry<'_> {
    fn drop(&mut self) {
        let mut numbers = self.kept.numbers();
        numbers.begun.remove(&self.number);
        for (place, number) in &self.surplus {
            numbers.add(place, *number);
        }
    }
}

/// Returns the position of an entry; an unreadable entry belongs to the edge.
fn place_of(record: &Record) -> EntryPlace {
    match serde_json::from_slice::<EntryHead>(&record.value) {
        Ok(EntryHead { app, credential, root, who, action }) => {
            EntryPlace::named(app, (credential.as_deref(), root.as_deref()), &who, &action)
        }
        Err(_damaged) => EntryPlace::named(None, (None, None), "", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Action;

    fn kept(entries_max: u64) -> EntryIndex {
        EntryIndex::with_room_for(entries_max)
    }

    /// Position of an entry in the log of an app.
    fn place(app: Option<&str>, credential: &str, action: Action) -> EntryPlace {
        let app = app.map(|name| name.parse().unwrap());
        EntryPlace::named(app, (Some(credential), None), "ci", action.as_str())
    }

    /// Position of an entry in the log of `shop` by a token with a root.
    fn made_place(token: &str, root: &str, action: Action) -> EntryPlace {
        EntryPlace::named(Some("shop".parse().unwrap()), (Some(token), Some(root)), "ci", action.as_str())
    }

    fn lengths(kept: &EntryIndex) -> Vec<(String, usize)> {
        let numbers = kept.numbers();
        let name = |owner: &Owner| owner.as_ref().map_or_else(String::new, ToString::to_string);
        let mut lengths: Vec<_> = numbers.by_owner.iter().map(|(owner, n)| (name(owner), n.count())).collect();
        lengths.sort();
        assert_eq!(lengths.iter().map(|(_, length)| *length as u64).sum::<u64>(), numbers.count);
        assert_eq!(numbers.by_origin.values().map(|n| n.count() as u64).sum::<u64>(), numbers.count);
        lengths
    }

    /// Returns true if the entry with the number is still in the index.
    fn has(kept: &EntryIndex, place: &EntryPlace, number: u64) -> bool {
        let numbers = kept.numbers();
        let Some(entries) = numbers.by_owner.get(&place.owner) else { return false };
        let groups = if place.is_lasting { &entries.lasting } else { &entries.others };
        let branch = groups.parts.get(&place.group).and_then(|group| group.entries.parts.get(&place.branch));
        branch.is_some_and(|found| found.entries.contains(&number))
    }

    fn done(kept: &EntryIndex, place: &EntryPlace) -> u64 {
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
        // A newcomer gets room from the largest.
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
        // One action by sessions whose ids begin with the id of their account.
        for session in 0..1_000 {
            done(&kept, &of(&format!("{eve}{session:012x}"), Action::Pause));
        }
        assert!(all_there(), "{traces:?}");
        // Many unrelated credentials.
        for credential in 0..1_000 {
            done(&kept, &of(&format!("{credential:012x}"), Action::Lock));
        }
        assert!(all_there(), "{traces:?}");
        // Lasting entries fill at most half of the log.
        for _ in 0..1_000 {
            done(&kept, &of(ada, Action::RunEnded));
        }
        assert!(kept.numbers().by_owner.values().all(|entries| entries.lasting.count() == 50));
        assert!(traces.iter().filter(|(place, _)| place.is_lasting).all(|(place, number)| has(&kept, place, *number)));
    }

    #[test]
    fn a_chain_of_tokens_and_a_fan_of_them_push_out_entries_of_their_own_origin_alone() {
        let ada = "aaaaaaaaaaaa";
        let stolen = "ffffffffffff";
        let with_own_origin = |n: u64| made_place(&format!("{n:012x}"), stolen, Action::CreateToken);
        // Each token created by an account starts a chain.
        let of_account = |n: u64| made_place(&format!("{n:012x}"), &format!("{stolen}/{n:012x}"), Action::CreateToken);
        let of_trust = |n: u64| made_place(&format!("{n:012x}"), "trust:ci", Action::CreateToken);
        let floods: [&dyn Fn(u64) -> EntryPlace; 3] = [&with_own_origin, &of_account, &of_trust];
        for flood in floods {
            let kept = kept(100);
            let own = place(Some("shop"), ada, Action::CreateToken);
            let traces: Vec<(EntryPlace, u64)> = (0..20).map(|_| (own.clone(), done(&kept, &own))).collect();
            for number in 0..1_000 {
                done(&kept, &flood(number));
            }
            assert!(traces.iter().all(|(place, number)| has(&kept, place, *number)));
            assert_eq!(kept.numbers().count, 100);
        }
    }

    #[test]
    fn entries_in_many_apps_push_out_those_of_their_own_origin_alone() {
        let (owner, stolen) = ("aaaaaaaaaaaa", "ffffffffffff");
        let in_app = |(app, root): (&str, &str), number: u64, action: Action| {
            let token = format!("{number:012x}");
            EntryPlace::named(Some(app.parse().unwrap()), (Some(&token), Some(root)), "ci", action.as_str())
        };
        // A chain of tokens, a fan of tokens by one account, and tokens of a trust, each creating an app.
        let floods: [&dyn Fn(u64) -> String; 3] =
            [&|_| stolen.to_owned(), &|n| format!("{stolen}/{n:012x}"), &|_| "trust:ci".to_owned()];
        for flood in floods {
            let kept = kept(100);
            let mut traces: Vec<(EntryPlace, u64)> = Vec::new();
            let mut note = |place: EntryPlace| traces.push((place.clone(), done(&kept, &place)));
            (0..10).for_each(|_| note(place(Some("shop"), owner, Action::Switch)));
            (0..10).for_each(|_| note(place(Some("game"), owner, Action::CreateToken)));
            // The attacker's actions in the shop stay recorded, too.
            note(in_app(("shop", &flood(0)), 0, Action::ReadSettings));
            note(in_app(("shop", &flood(0)), 0, Action::Push));
            for number in 1..500 {
                let app = format!("made-{number}");
                for action in [Action::Push, Action::ReadSettings, Action::Switch] {
                    done(&kept, &in_app((&app, &flood(number)), number, action));
                }
            }
            let lost: Vec<_> = traces.iter().filter(|(place, number)| !has(&kept, place, *number)).collect();
            assert!(lost.is_empty(), "{lost:?}");
            assert_eq!(kept.numbers().count, 100);
        }
    }

    #[test]
    fn somebody_in_one_app_pushes_out_nothing_of_an_origin_with_entries_in_many() {
        let kept = kept(100);
        let apps: Vec<String> = (0..60).map(|number| format!("app-{number}")).collect();
        let of = |app: &str, credential: &str| place(Some(app), credential, Action::Switch);
        let traces: Vec<(EntryPlace, u64)> =
            apps.iter().map(|app| of(app, "aaaaaaaaaaaa")).map(|place| (place.clone(), done(&kept, &place))).collect();
        for _ in 0..500 {
            done(&kept, &of("loud", "eeeeeeeeeeee"));
        }
        assert!(traces.iter().all(|(place, number)| has(&kept, place, *number)));
    }

    #[test]
    fn of_the_tokens_of_an_account_the_one_with_most_entries_loses() {
        let kept = kept(100);
        let (account, leaked) = ("aaaaaaaaaaaa", "eeeeeeeeeeee");
        let own = place(Some("shop"), account, Action::Run);
        let traces: Vec<u64> = (0..20).map(|_| done(&kept, &own)).collect();
        for number in 0..1_000 {
            done(&kept, &made_place(&format!("{number:012x}"), &format!("{account}/{leaked}"), Action::Run));
        }
        assert!(traces.iter().all(|number| has(&kept, &own, *number)));
    }

    #[test]
    fn an_entry_that_is_being_written_is_pushed_out_by_none() {
        let kept = kept(2);
        let of = |credential: &str| place(Some("shop"), credential, Action::CreateToken);
        let (first, second) = (done(&kept, &of("1")), done(&kept, &of("2")));
        let writing = kept.begin(of("3"));
        assert_eq!(writing.surplus.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [second]);
        let another = kept.begin(of("4"));
        assert_eq!(another.surplus.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [first]);
        let number = writing.number;
        writing.done();
        another.done();
        assert!(has(&kept, &of("3"), number));
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
        // The outcome is unknown: the entry counts until removed.
        drop(kept.begin(of_edge));
        assert_eq!(kept.numbers().count, 3);
        assert_eq!(kept.begin(of_app).surplus.len(), 2);
    }
}
