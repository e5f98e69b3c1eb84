//! Pushes under way: what was begun and is not finished, in memory alone.
//!
//! A push that is forgotten, by time or by the end of the process, loses nothing: its blobs are stored under their
//! hashes, and what it had sent is written down (`sent.rs`), so that the next push of the app goes on from there.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use devanture_config::api::{DeployOptions, Source};
use devanture_config::manifest::halves::Halves;
use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};
use parking_lot::Mutex;

use super::joined::Joined;
use super::manifest_memory::Hold;
use crate::ledger::{Actor, Error, Lease};
use devanture_store::catalog::Revision;

/// How many more pushes than another one an app, or an environment, must have under way to make room for it.
const AHEAD: usize = 2;
/// A push rests that no request asked for so long.
const REST: Duration = Duration::from_secs(10);

/// One push.
pub(crate) struct Push {
    pub(crate) id: String,
    pub(crate) app: AppName,
    pub(crate) environment: PlaceName,
    pub(crate) version: VersionId,
    pub(crate) manifest: Arc<Manifest>,
    /// How the manifest was joined, if one half alone is pushed.
    pub(crate) joined: Option<Joined>,
    pub(crate) source: Source,
    pub(crate) options: DeployOptions,
    pub(crate) actor: Actor,
    pub(crate) began: Began,
    /// What the app had not sent before, with its length.
    pub(crate) missing: HashMap<Digest, u64>,
    /// All that the manifest names, with its length, once a blob came that was not missing: one list for all requests.
    pub(crate) named: OnceLock<HashMap<Digest, u64>>,
    pub(crate) received: Mutex<Received>,
    /// What the manifest and the lists of its blobs take.
    pub(crate) memory: Hold,
    /// Holds what the version is made of, for as long as the push is under way.
    pub(crate) _lease: Lease,
}

/// When a push began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Began {
    /// Orders pushes: a smaller number began earlier.
    pub(crate) number: u64,
    /// The revision of the catalog.
    pub(crate) revision: Revision,
    /// When the app was made, in milliseconds since 1970 UTC, if it was there.
    pub(crate) app_made_ms: Option<u64>,
}

impl Push {
    /// The halves that the push brings, for the history.
    pub(super) fn halves(&self) -> Option<Halves> {
        match &self.joined {
            Some(joined) => Some(joined.half.into()),
            None => Halves::of(&self.manifest),
        }
    }

    /// The length that the manifest gives for a blob; `None` where it does not name it.
    pub(super) fn size_of(&self, digest: &Digest) -> Option<u64> {
        let named = || self.named.get_or_init(|| self.manifest.blobs().collect()).get(digest);
        self.missing.get(digest).or_else(named).copied()
    }

    /// The version that gave the other half.
    pub(super) fn with(&self) -> Option<VersionId> {
        self.joined.as_ref().and_then(|joined| joined.with)
    }

    /// The join that has to be made again when another version goes live.
    pub(super) fn following(&self) -> Option<&Joined> {
        self.joined.as_ref().filter(|joined| joined.follows)
    }

    /// Checks that `actor` has the credential that the push was begun with: its manifest was checked by the rights of
    /// that one, which may since have been revoked.
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

/// What came in for a push.
#[derive(Clone, Default)]
pub(crate) struct Received {
    pub(crate) blobs: HashSet<Digest>,
    pub(crate) bytes: u64,
    /// Whether the edge's storage refused any of it, which counts once.
    pub(crate) is_refused: bool,
}

struct Entry {
    push: Arc<Push>,
    touched: Instant,
}

impl Entry {
    /// The order in which pushes make room: those that rest before others, of these those that sent the least, and then
    /// those that were left the longest ago.
    fn order(&self) -> (bool, u64, Instant) {
        (self.touched.elapsed() < REST, self.push.received.lock().bytes, self.touched)
    }
}

/// All pushes under way.
pub(crate) struct Pushes {
    entries: Mutex<HashMap<String, Entry>>,
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
        entries.insert(push.id.clone(), Entry { push: Arc::clone(&push), touched: Instant::now() });
        Ok(push)
    }

    /// Forgets the push that rested longest of the app whose manifests take the most memory, where that app has more
    /// than the one that needs some for `memory`: no app keeps another from pushing, nor an environment another of its
    /// app (law 11). Returns whether there was such a push.
    pub(crate) fn give_way(&self, memory: &Hold) -> bool {
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

    /// What pushes of an app that are under way bring, each blob once, with its size.
    pub(crate) fn coming(&self, app: &AppName) -> HashMap<Digest, u64> {
        let entries = self.entries.lock();
        let of_app = entries.values().filter(|entry| entry.push.app == *app);
        of_app.flat_map(|entry| &entry.push.missing).map(|(digest, bytes)| (*digest, *bytes)).collect()
    }

    /// Number of pushes under way.
    pub(crate) fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// Forgets pushes that rested for too long, and what they hold.
    pub(crate) fn forget_idle(&self) {
        let mut entries = self.entries.lock();
        entries.retain(|_, entry| entry.touched.elapsed() < self.idle_max);
    }

    /// Forgets the pushes of an app that was deleted, or of one environment of it.
    pub(crate) fn forget_of(&self, app: &AppName, environment: Option<&PlaceName>) {
        let is_of = |push: &Push| push.app == *app && environment.is_none_or(|wanted| push.environment == *wanted);
        self.entries.lock().retain(|_, entry| !is_of(&entry.push));
    }

    /// Forgets the pushes of an app that began before a revision: the next app of that name is somebody else's.
    pub(crate) fn forget_before(&self, app: &AppName, revision: Revision) {
        self.entries.lock().retain(|_, entry| entry.push.app != *app || entry.push.began.revision >= revision);
    }

    /// The push `id` of `app`; another app's is as unknown as one that never was.
    pub(crate) fn find(&self, app: &AppName, id: &str) -> Result<Arc<Push>, Error> {
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(id).filter(|entry| entry.push.app == *app);
        let entry = entry.ok_or_else(unknown)?;
        entry.touched = Instant::now();
        Ok(Arc::clone(&entry.push))
    }

    /// Those of an environment whose blobs are coming in.
    pub(crate) fn of_place(&self, app: &AppName, environment: &PlaceName) -> Vec<Arc<Push>> {
        let entries = self.entries.lock();
        let pushes = entries.values().map(|entry| &entry.push);
        pushes.filter(|push| push.app == *app && push.environment == *environment).cloned().collect()
    }

    /// Whether the push `id` of `app` is under way. It is not kept longer for that.
    pub(crate) fn is_there(&self, app: &AppName, id: &str) -> bool {
        self.entries.lock().get(id).is_some_and(|entry| entry.push.app == *app)
    }

    /// Takes a push out; only one caller gets it.
    pub(crate) fn take(&self, app: &AppName, id: &str) -> Result<Arc<Push>, Error> {
        let mut entries = self.entries.lock();
        match entries.get(id) {
            Some(entry) if entry.push.app == *app => {}
            _ => return Err(unknown()),
        }
        entries.remove(id).map(|entry| entry.push).ok_or_else(unknown)
    }

    /// Puts a push back that could not be finished for want of a blob.
    pub(crate) fn put_back(&self, push: Arc<Push>) {
        let mut entries = self.entries.lock();
        entries.insert(push.id.clone(), Entry { push, touched: Instant::now() });
    }
}

/// The problem of a push that this node does not know.
pub(super) fn unknown() -> Error {
    Problem::new(Code::NotFound, "There is no such push under way.")
        .hint("begin it again: what was sent already is not sent twice")
        .into()
}

/// Forgets a push of the app that has the most under way, if that app is [`AHEAD`] of that of `push`; else one of that
/// app, if one of its environments is that far ahead of that of `push`. It is one of the environment that has the most.
/// So no app keeps another from pushing (law 11), and no environment another one of its app.
fn make_room(entries: &mut HashMap<String, Entry>, push: &Push) -> bool {
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

/// The bytes of memory that the pushes of each hold.
fn held<'k, K: Eq + Hash>(holds: impl Iterator<Item = (&'k K, &'k Hold)>) -> HashMap<&'k K, u64> {
    let mut held = HashMap::new();
    for (key, hold) in holds {
        let bytes: &mut u64 = held.entry(key).or_default();
        *bytes = bytes.saturating_add(hold.bytes());
    }
    held
}

/// The one that holds the most, of those that count.
fn most<K>(held: HashMap<&K, u64>, counts: impl Fn(&K, u64) -> bool) -> Option<&K> {
    held.into_iter().filter(|(key, bytes)| counts(key, *bytes)).max_by_key(|(_, bytes)| *bytes).map(|(key, _)| key)
}

/// The push that rested longest, of some.
fn oldest(entries: &HashMap<String, Entry>, is_of: impl Fn(&Push) -> bool) -> Option<String> {
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

#[cfg(test)]
mod tests;
