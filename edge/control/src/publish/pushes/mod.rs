//! Running pushes: begun and not finished, in memory only.
//!
//! Forgetting a push, by timeout or with the process, loses nothing: its blobs are stored by hash, and sent blobs are
//! recorded (`sent.rs`), so that the app's next push continues from there.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use devanture_config::api::{DeployOptions, Source};
use devanture_config::manifest::halves::Halves;
use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};
use devanture_store::catalog::Revision;
use parking_lot::Mutex;

use super::joined::Joined;
use crate::ledger::{Actor, Error, Lease};

/// Lead in running pushes over another app or environment at which a push has to make room.
const AHEAD: usize = 2;
/// Time without a request after which a push is idle.
const REST: Duration = Duration::from_secs(10);

/// Running push.
pub(crate) struct Push {
    pub(crate) id: String,
    pub(crate) app: AppName,
    pub(crate) environment: PlaceName,
    pub(crate) version: VersionId,
    pub(crate) manifest: Arc<Manifest>,
    /// Join of the manifest, for a push of one half.
    pub(crate) joined: Option<Joined>,
    pub(crate) source: Source,
    pub(crate) options: DeployOptions,
    pub(crate) actor: Actor,
    pub(crate) began: Began,
    /// Blobs not sent before, with their lengths.
    pub(crate) missing: HashMap<Digest, u64>,
    /// All blobs of the manifest with their lengths, built once a blob outside `missing` arrives, and shared by all
    /// requests.
    pub(crate) named: OnceLock<HashMap<Digest, u64>>,
    pub(crate) received: Mutex<Received>,
    /// Memory of the manifest and of its blob lists.
    pub(crate) memory: ManifestHold,
    /// Protects the version's files during the push.
    pub(crate) _lease: Lease,
}

/// Start of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Began {
    /// Orders pushes: earlier pushes have smaller numbers.
    pub(crate) number: u64,
    /// Revision of the catalog.
    pub(crate) revision: Revision,
    /// Creation time of an existing app, in milliseconds since 1970 UTC.
    pub(crate) app_made_ms: Option<u64>,
}

impl Push {
    /// Returns the halves of the push, for the history.
    pub(super) fn halves(&self) -> Option<Halves> {
        match &self.joined {
            Some(joined) => Some(joined.half.into()),
            None => Halves::of(&self.manifest),
        }
    }

    /// Returns the length of a blob in the manifest; `None` for an unnamed blob.
    pub(super) fn size_of(&self, digest: &Digest) -> Option<u64> {
        let named = || self.named.get_or_init(|| self.manifest.blobs().collect()).get(digest);
        self.missing.get(digest).or_else(named).copied()
    }

    /// Returns the version with the other half.
    pub(super) fn with(&self) -> Option<VersionId> {
        self.joined.as_ref().and_then(|joined| joined.with)
    }

    /// Returns the join to be repeated if another version goes live.
    pub(super) fn following(&self) -> Option<&Joined> {
        self.joined.as_ref().filter(|joined| joined.follows)
    }

    /// Checks that `actor` has the credential of the push's beginning: the manifest was checked by the rights of the
    /// credential, which may since have been revoked.
    ///
    /// # Errors
    /// `forbidden`.
    pub(crate) fn check_owner(&self, actor: &Actor) -> Result<(), Error> {
        if self.actor.credential == actor.credential {
            return Ok(());
        }
        Err(Problem::new(Code::Forbidden, "This push was begun with another token or login.")
            .hint("begin it again with this one: what was sent already is not sent twice")
            .into())
    }
}

/// Received blobs of a push.
#[derive(Clone, Default)]
pub(crate) struct Received {
    pub(crate) blobs: HashSet<Digest>,
    pub(crate) bytes: u64,
    /// True once the edge's storage has refused a blob, which counts once.
    pub(crate) is_refused: bool,
}

struct PushEntry {
    push: Arc<Push>,
    touched: Instant,
}

impl PushEntry {
    /// Eviction order: idle pushes first, then by fewest bytes sent, then by longest inactivity.
    fn order(&self) -> (bool, u64, Instant) {
        (self.touched.elapsed() < REST, self.push.received.lock().bytes, self.touched)
    }
}

/// All running pushes.
pub(crate) struct Pushes {
    entries: Mutex<HashMap<String, PushEntry>>,
    count_max: usize,
    idle_max: Duration,
}

impl Pushes {
    pub(crate) fn new(count_max: u64, idle_ms_max: u64) -> Self {
        Self {
            entries: Mutex::default(),
            count_max: usize::try_from(count_max).unwrap_or(usize::MAX),
            idle_max: Duration::from_millis(idle_ms_max),
        }
    }

    pub(crate) fn add(&self, push: Push) -> Result<Arc<Push>, Error> {
        let mut entries = self.entries.lock();
        entries.retain(|_, entry| entry.touched.elapsed() < self.idle_max);
        if entries.len() >= self.count_max && !make_room(&mut entries, &push) {
            let detail = format!("The edge is taking {} already.", counted(entries.len(), "push"));
            return Err(Problem::new(Code::Busy, detail)
                .hint("try again in a moment; `pushes_max` in edge.toml is the limit")
                .into());
        }
        let push = Arc::new(push);
        entries.insert(push.id.clone(), PushEntry { push: Arc::clone(&push), touched: Instant::now() });
        Ok(push)
    }

    /// Forgets the longest idle push of the app with the most manifest memory, if that app holds more than the app of
    /// `memory`; among environments of one app likewise (law 11). Returns true if a push was forgotten.
    pub(crate) fn give_way(&self, memory: &ManifestHold) -> bool {
        let mut entries = self.entries.lock();
        let apps = held(entries.values().map(|entry| (&entry.push.app, &entry.push.memory)));
        let greediest = most(apps, |app, bytes| *app != *memory.app() && bytes > memory.of_app());
        let rested = match greediest {
            Some(app) => oldest(&entries, |push| push.app == *app),
            None => {
                let own = entries.values().filter(|entry| entry.push.app == *memory.app());
                let environments = held(own.map(|entry| (&entry.push.environment, &entry.push.memory)));
                let own = environments.get(memory.environment()).map_or(0, |bytes| *bytes);
                let own = own.saturating_add(memory.bytes());
                let greediest = most(environments, |name, bytes| *name != *memory.environment() && bytes > own);
                greediest
                    .and_then(|name| oldest(&entries, |push| push.app == *memory.app() && push.environment == *name))
            }
        };
        rested.is_some_and(|id| entries.remove(&id).is_some())
    }

    /// Returns the blobs of an app's running pushes with their sizes, each once.
    pub(crate) fn coming(&self, app: &AppName) -> HashMap<Digest, u64> {
        let entries = self.entries.lock();
        let of_app = entries.values().filter(|entry| entry.push.app == *app);
        of_app.flat_map(|entry| &entry.push.missing).map(|(digest, bytes)| (*digest, *bytes)).collect()
    }

    /// Returns the number of running pushes.
    pub(crate) fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// Forgets pushes idle beyond the limit.
    pub(crate) fn forget_idle(&self) {
        let mut entries = self.entries.lock();
        entries.retain(|_, entry| entry.touched.elapsed() < self.idle_max);
    }

    /// Forgets the pushes of a deleted app or environment.
    pub(crate) fn forget_of(&self, app: &AppName, environment: Option<&PlaceName>) {
        let is_of = |push: &Push| push.app == *app && environment.is_none_or(|wanted| push.environment == *wanted);
        self.entries.lock().retain(|_, entry| !is_of(&entry.push));
    }

    /// Forgets the app's pushes begun before a revision: the next app of the same name has a new owner.
    pub(crate) fn forget_before(&self, app: &AppName, revision: Revision) {
        self.entries.lock().retain(|_, entry| entry.push.app != *app || entry.push.began.revision >= revision);
    }

    /// Returns the push `id` of `app`. Pushes of other apps are reported as unknown.
    pub(crate) fn find(&self, app: &AppName, id: &str) -> Result<Arc<Push>, Error> {
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(id).filter(|entry| entry.push.app == *app);
        let entry = entry.ok_or_else(unknown)?;
        entry.touched = Instant::now();
        Ok(Arc::clone(&entry.push))
    }

    /// Returns the running pushes of an environment.
    pub(crate) fn of_place(&self, app: &AppName, environment: &PlaceName) -> Vec<Arc<Push>> {
        let entries = self.entries.lock();
        let pushes = entries.values().map(|entry| &entry.push);
        pushes.filter(|push| push.app == *app && push.environment == *environment).cloned().collect()
    }

    /// Returns true if the push `id` of `app` is running, without extending its lifetime.
    pub(crate) fn is_there(&self, app: &AppName, id: &str) -> bool {
        self.entries.lock().get(id).is_some_and(|entry| entry.push.app == *app)
    }

    /// Removes and returns a push; only one caller succeeds.
    pub(crate) fn take(&self, app: &AppName, id: &str) -> Result<Arc<Push>, Error> {
        let mut entries = self.entries.lock();
        match entries.get(id) {
            Some(entry) if entry.push.app == *app => {}
            _ => return Err(unknown()),
        }
        entries.remove(id).map(|entry| entry.push).ok_or_else(unknown)
    }

    /// Puts back a push that lacks a blob.
    pub(crate) fn put_back(&self, push: Arc<Push>) {
        let mut entries = self.entries.lock();
        entries.insert(push.id.clone(), PushEntry { push, touched: Instant::now() });
    }
}

/// Returns the problem of an unknown push.
pub(super) fn unknown() -> Error {
    Problem::new(Code::NotFound, "There is no such push under way.")
        .hint("begin it again: what was sent already is not sent twice")
        .into()
}

/// Forgets a push of the app with the most running pushes, if [`AHEAD`] of the app of `push`; else a push of the same
/// app, if one of its environments is as far ahead of the environment of `push`. The victim belongs to the environment
/// with the most pushes. Thus no app blocks another (law 11), and no environment blocks another of its app.
fn make_room(entries: &mut HashMap<String, PushEntry>, push: &Push) -> bool {
    let apps = counts(entries.values().map(|entry| &entry.push.app));
    let greediest = apps.iter().max_by_key(|(_, count)| **count);
    let own = apps.get(&push.app).copied().unwrap_or_default();
    let another = greediest.filter(|(_, count)| **count >= own.saturating_add(AHEAD)).map(|(app, _)| *app);
    let app = another.unwrap_or(&push.app);
    let of_app = || entries.values().filter(|entry| entry.push.app == *app);
    let environments = counts(of_app().map(|entry| &entry.push.environment));
    let most = environments.values().copied().max().unwrap_or_default();
    let own = environments.get(&push.environment).copied().unwrap_or_default();
    if another.is_none() && most < own.saturating_add(AHEAD) {
        return false;
    }
    let of_most = of_app().filter(|entry| environments.get(&entry.push.environment) == Some(&most));
    let first = of_most.min_by_key(|entry| entry.order()).map(|entry| entry.push.id.clone());
    first.is_some_and(|id| entries.remove(&id).is_some())
}

/// Sums the bytes of memory held by pushes, by key.
fn held<'k, K: Eq + Hash>(holds: impl Iterator<Item = (&'k K, &'k ManifestHold)>) -> HashMap<&'k K, u64> {
    let mut held = HashMap::new();
    for (key, hold) in holds {
        let bytes: &mut u64 = held.entry(key).or_default();
        *bytes = bytes.saturating_add(hold.bytes());
    }
    held
}

/// Returns the key with the most memory among those accepted by `counts`.
fn most<K>(held: HashMap<&K, u64>, counts: impl Fn(&K, u64) -> bool) -> Option<&K> {
    held.into_iter().filter(|(key, bytes)| counts(key, *bytes)).max_by_key(|(_, bytes)| *bytes).map(|(key, _)| key)
}

/// Returns the longest idle push accepted by `is_of`.
fn oldest(entries: &HashMap<String, PushEntry>, is_of: impl Fn(&Push) -> bool) -> Option<String> {
    let of = entries.values().filter(|entry| is_of(&entry.push));
    of.min_by_key(|entry| entry.touched).map(|entry| entry.push.id.clone())
}

fn counts<'k, K: Eq + Hash>(keys: impl Iterator<Item = &'k K>) -> HashMap<&'k K, usize> {
    let mut counts = HashMap::new();
    for key in keys {
        let count: &mut usize = counts.entry(key).or_default();
        *count = count.saturating_add(1);
    }
    counts
}

// Memory for manifests, incoming and of running pushes, shared so that no app takes the memory needed by another (law
// 11).

/// Memory for all manifests.
pub(crate) struct ManifestMemory {
    bytes_max: u64,
    held: Mutex<HeldMemory>,
}

#[derive(Default)]
struct HeldMemory {
    bytes: u64,
    by_app: HashMap<AppName, ManifestMemoryOfApp>,
}

#[derive(Default)]
struct ManifestMemoryOfApp {
    bytes: u64,
    holds: usize,
}

/// Memory of one manifest, released on drop.
pub(crate) struct ManifestHold {
    memory: Arc<ManifestMemory>,
    app: AppName,
    environment: PlaceName,
    bytes: u64,
}

impl ManifestMemory {
    pub(crate) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { bytes_max, held: Mutex::default() })
    }

    /// Returns the bytes held by all manifests, and the limit.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.held.lock().bytes, self.bytes_max)
    }

    /// Returns an empty hold for a push to an environment.
    pub(crate) fn hold(self: &Arc<Self>, app: &AppName, environment: &PlaceName) -> ManifestHold {
        self.held.lock().by_app.entry(app.clone()).or_default().holds += 1;
        ManifestHold { memory: Arc::clone(self), app: app.clone(), environment: environment.clone(), bytes: 0 }
    }
}

impl ManifestHold {
    pub(crate) fn app(&self) -> &AppName {
        &self.app
    }

    pub(crate) fn environment(&self) -> &PlaceName {
        &self.environment
    }

    /// Returns the bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the bytes held by all manifests of the app.
    pub(crate) fn of_app(&self) -> u64 {
        self.memory.held.lock().by_app.get(&self.app).map_or(0, |share| share.bytes)
    }

    /// Reserves more memory. The only manifest of an app may take all free memory; with further manifests, an app gets
    /// more only while the free memory is at least the app's new total, so that other apps find memory.
    ///
    /// # Errors
    /// `busy`.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), Error> {
        let mut held = self.memory.held.lock();
        let free = self.memory.bytes_max.saturating_sub(held.bytes);
        let share = held.by_app.entry(self.app.clone()).or_default();
        let own = share.bytes.saturating_add(bytes);
        if bytes > free || (share.holds > 1 && own > free) {
            return Err(Problem::new(Code::Busy, "The manifests of pushes under way take all the memory for them.")
                .hint("try again in a moment; `manifest_memory_bytes_max` in edge.toml is the limit")
                .into());
        }
        share.bytes = own;
        held.bytes = held.bytes.saturating_add(bytes);
        drop(held);
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Releases `bytes`.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        let mut held = self.memory.held.lock();
        held.bytes = held.bytes.saturating_sub(bytes);
        if let Some(share) = held.by_app.get_mut(&self.app) {
            share.bytes = share.bytes.saturating_sub(bytes);
        }
        drop(held);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Drop for ManifestHold {
    fn drop(&mut self) {
        let mut held = self.memory.held.lock();
        held.bytes = held.bytes.saturating_sub(self.bytes);
        if let Some(share) = held.by_app.get_mut(&self.app) {
            share.bytes = share.bytes.saturating_sub(self.bytes);
            share.holds = share.holds.saturating_sub(1);
            if share.holds == 0 {
                held.by_app.remove(&self.app);
            }
        }
    }
}

#[cfg(test)]
mod manifest_memory_tests {
    use super::*;

    fn app(name: &str) -> AppName {
        name.parse().unwrap()
    }

    #[test]
    fn law_11_manifests_of_one_app_leave_memory_to_others() {
        let memory = ManifestMemory::new(100);
        let hold = |name: &str, bytes| {
            let mut hold = memory.hold(&app(name), &PlaceName::prod());
            hold.grow(bytes).map(|()| hold).map_err(|error| error.0.code)
        };
        let greedy: Vec<ManifestHold> = std::iter::from_fn(|| hold("greedy", 10).ok()).collect();
        assert_eq!((greedy.len(), greedy[0].of_app()), (5, 50));
        let first = hold("shop", 40).unwrap();
        assert_eq!(hold("shop", 1).err(), Some(Code::Busy), "beside its first one nothing is left");
        assert_eq!(hold("blog", 11).err(), Some(Code::Busy), "there is no more");
        drop((greedy, first));
        let mut whole = hold("blog", 60).unwrap();
        assert!(whole.grow(40).is_ok() && whole.grow(1).is_err());
        whole.shrink(70);
        assert_eq!((whole.bytes(), whole.of_app(), memory.bytes().0), (30, 30, 30));
        // Two manifests of one app: the second may grow while the free memory is at least the app's total.
        let second = hold("blog", 5).unwrap();
        assert_eq!(hold("blog", 31).err(), Some(Code::Busy));
        let third = hold("blog", 30).unwrap();
        assert_eq!(whole.of_app(), 65);
        drop((second, third));
        assert_eq!((whole.of_app(), memory.bytes().0), (30, 30));
        drop(whole);
        assert!(memory.held.lock().by_app.is_empty() && memory.held.lock().bytes == 0);
    }
}
