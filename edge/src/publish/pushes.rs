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
use crate::catalog::Revision;
use crate::ledger::{Actor, Error, Lease};

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
    /// Orders pushes: a smaller number began earlier.
    pub(crate) begun: u64,
    /// The revision of the catalog when it began.
    pub(crate) revision: Revision,
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

    /// Checks that `actor` has the credential that the push was begun with: its manifest was checked by the rights of that
    /// one, which may since have been revoked.
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

    /// Forgets, of the app whose manifests take the most memory, the push that rested longest, where that app has more
    /// than the one that needs some for `memory`: no app keeps another from pushing (law 11). Returns whether there was
    /// such a push.
    pub(crate) fn give_way(&self, memory: &Hold) -> bool {
        let mut entries = self.entries.lock();
        let mut held: HashMap<&AppName, u64> = HashMap::new();
        for entry in entries.values() {
            let of_app = held.entry(&entry.push.app).or_default();
            *of_app = of_app.saturating_add(entry.push.memory.bytes());
        }
        held.retain(|app, bytes| *app != memory.app() && *bytes > memory.of_app());
        let Some((greediest, _)) = held.into_iter().max_by_key(|(_, bytes)| *bytes) else { return false };
        let of_it = entries.values().filter(|entry| entry.push.app == *greediest);
        let rested = of_it.min_by_key(|entry| entry.touched).map(|entry| entry.push.id.clone());
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
        self.entries.lock().retain(|_, entry| entry.push.app != *app || entry.push.revision >= revision);
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

fn counts<'k, K: Eq + Hash>(keys: impl Iterator<Item = &'k K>) -> HashMap<&'k K, usize> {
    let mut counts = HashMap::new();
    for key in keys {
        let count: &mut usize = counts.entry(key).or_default();
        *count = count.saturating_add(1);
    }
    counts
}

#[cfg(test)]
mod tests {
    use devanture_config::manifest::FileEntry;

    use super::*;
    use crate::ledger::Leases;
    use crate::publish::manifest_memory::ManifestMemory;

    async fn push(app: &str, id: &str) -> Push {
        holding(app, id, &ManifestMemory::new(0), 0).await
    }

    async fn holding(app: &str, id: &str, memory: &Arc<ManifestMemory>, bytes: u64) -> Push {
        let mut memory = memory.hold(&app.parse().unwrap());
        memory.grow(bytes).unwrap();
        let file = FileEntry { hash: Digest::of(b""), size: 0, media_type: None };
        let manifest = Arc::new(Manifest::of_files([("a".parse().unwrap(), file)].into()));
        Push {
            id: id.to_owned(),
            app: app.parse().unwrap(),
            environment: PlaceName::prod(),
            version: manifest.id(),
            _lease: Arc::new(Leases::default()).bundle(manifest.id(), &manifest).await,
            manifest,
            joined: None,
            source: Source::default(),
            options: DeployOptions::default(),
            actor: Actor::local(),
            begun: 0,
            revision: 0,
            missing: HashMap::new(),
            named: OnceLock::new(),
            received: Mutex::default(),
            memory,
        }
    }

    #[tokio::test]
    async fn what_a_manifest_names_is_listed_when_a_blob_comes_that_was_not_missing() {
        let (page, style, other) = (Digest::of(b"page"), Digest::of(b"style"), Digest::of(b"other"));
        let file = |hash, size| FileEntry { hash, size, media_type: None };
        let files = [("index.html", file(page, 4)), ("all.css", file(style, 5))];
        let files = files.map(|(path, file)| (path.parse().unwrap(), file)).into();
        let manifest = Arc::new(Manifest::of_files(files));
        let push = Push { manifest, missing: [(page, 4)].into(), ..push("shop", "1").await };
        assert_eq!((push.size_of(&page), push.named.get()), (Some(4), None));
        assert_eq!((push.size_of(&style), push.size_of(&other)), (Some(5), None));
        assert_eq!(push.named.get().map(HashMap::len), Some(2));
    }

    /// Law 11.
    #[tokio::test]
    async fn an_app_that_takes_every_place_makes_room_for_another() {
        let pushes = Pushes::new(3, 60_000);
        for id in ["1", "2", "3"] {
            pushes.add(push("greedy", id).await).unwrap();
        }
        let code = |added: Result<Arc<Push>, Error>| added.map(|_| ()).map_err(|error| error.0.code);
        assert_eq!(code(pushes.add(push("greedy", "4").await)), Err(Code::Busy));
        pushes.add(push("shop", "5").await).unwrap();
        let greedy = "greedy".parse().unwrap();
        assert!(pushes.find(&greedy, "1").is_err() && pushes.find(&greedy, "2").is_ok(), "the one that rested longest");
        assert_eq!(code(pushes.add(push("shop", "6").await)), Err(Code::Busy), "its share is no larger");
    }

    /// Law 11.
    #[tokio::test]
    async fn an_environment_that_takes_every_place_of_its_app_makes_room_for_another() {
        let pushes = Pushes::new(4, 60_000);
        let (app, preview): (AppName, PlaceName) = ("shop".parse().unwrap(), PlaceName::preview());
        let of = async |environment: &PlaceName, id: &str| Push {
            environment: environment.clone(),
            ..push("shop", id).await
        };
        for id in ["1", "2", "3"] {
            pushes.add(of(&preview, id).await).unwrap();
        }
        pushes.add(push("blog", "4").await).unwrap();
        let code = |added: Result<Arc<Push>, Error>| added.map(|_| ()).map_err(|error| error.0.code);
        assert_eq!(code(pushes.add(of(&preview, "5").await)), Err(Code::Busy), "it has the most itself");
        pushes.add(of(&PlaceName::prod(), "6").await).unwrap();
        assert!(!pushes.is_there(&app, "1") && pushes.is_there(&app, "2"), "the one that rested longest");
        assert!(pushes.is_there(&"blog".parse().unwrap(), "4"), "another app is no part of it");
        assert_eq!(code(pushes.add(of(&PlaceName::prod(), "7").await)), Err(Code::Busy), "its share is no larger");
        // Another app's push takes the place of one of the environment that has the most.
        pushes.add(push("blog", "8").await).unwrap();
        assert!(!pushes.is_there(&app, "2") && pushes.is_there(&app, "3") && pushes.is_there(&app, "6"));
    }

    #[tokio::test]
    async fn of_pushes_that_rest_the_one_that_sent_the_least_makes_room() {
        let pushes = Pushes::new(3, 60_000);
        let app: AppName = "greedy".parse().unwrap();
        for (id, bytes) in [("1", 7), ("2", 0), ("3", 0)] {
            let added = pushes.add(push("greedy", id).await).unwrap();
            added.received.lock().bytes = bytes;
        }
        let long_ago = Instant::now().checked_sub(REST * 2).unwrap();
        for id in ["1", "2"] {
            pushes.entries.lock().get_mut(id).unwrap().touched = long_ago;
        }
        pushes.add(push("shop", "4").await).unwrap();
        assert!(!pushes.is_there(&app, "2") && pushes.is_there(&app, "1") && pushes.is_there(&app, "3"));
    }

    /// Law 11.
    #[tokio::test]
    async fn pushes_of_the_app_that_holds_the_most_memory_give_way() {
        let pushes = Pushes::new(9, 60_000);
        let memory = ManifestMemory::new(100);
        for (app, id, bytes) in [("greedy", "1", 30), ("greedy", "2", 30), ("shop", "3", 10), ("third", "4", 20)] {
            pushes.add(holding(app, id, &memory, bytes).await).unwrap();
        }
        let (greedy, shop) = ("greedy".parse().unwrap(), "shop".parse().unwrap());
        let mut needed = memory.hold(&shop);
        assert!(needed.grow(25).is_err());
        assert!(pushes.give_way(&needed), "the largest holder's first");
        assert!(pushes.find(&greedy, "1").is_err() && pushes.find(&greedy, "2").is_ok());
        needed.grow(25).unwrap();
        // Nobody has more than `shop` has now.
        assert!(!pushes.give_way(&needed) && pushes.find(&greedy, "2").is_ok());
        assert!(!pushes.give_way(&memory.hold(&greedy)), "an app's own pushes stay");
    }

    /// Law 11.
    #[tokio::test]
    async fn pushes_that_began_before_their_app_ended_are_forgotten() {
        let pushes = Pushes::new(9, 60_000);
        for (app, id, revision) in [("shop", "1", 6), ("shop", "2", 7), ("blog", "3", 6)] {
            pushes.add(Push { revision, ..push(app, id).await }).unwrap();
        }
        let (shop, blog) = ("shop".parse().unwrap(), "blog".parse().unwrap());
        pushes.forget_before(&shop, 7);
        assert!(!pushes.is_there(&shop, "1") && pushes.is_there(&shop, "2") && pushes.is_there(&blog, "3"));
    }

    #[tokio::test]
    async fn a_push_is_taken_once_and_only_by_its_app() {
        let pushes = Pushes::new(3, 60_000);
        let (shop, other) = ("shop".parse().unwrap(), "other".parse().unwrap());
        pushes.add(push("shop", "1").await).unwrap();
        assert!(pushes.take(&other, "1").is_err() && pushes.find(&other, "1").is_err());
        assert!(pushes.is_there(&shop, "1") && !pushes.is_there(&other, "1"));
        let taken = pushes.take(&shop, "1").unwrap();
        assert!(pushes.take(&shop, "1").is_err() && pushes.len() == 0);
        pushes.put_back(taken);
        assert!(pushes.take(&shop, "1").is_ok());
    }

    /// Law 11.
    #[tokio::test]
    async fn an_app_with_two_pushes_makes_room_for_one_that_has_none() {
        let pushes = Pushes::new(2, 60_000);
        for (app, id) in [("greedy", "1"), ("greedy", "2"), ("shop", "3")] {
            pushes.add(push(app, id).await).unwrap();
        }
        assert_eq!(pushes.len(), 2);
        let memory = ManifestMemory::new(100);
        let pushes = Pushes::new(9, 60_000);
        pushes.add(holding("greedy", "1", &memory, 30).await).unwrap();
        let mut needed = memory.hold(&"shop".parse().unwrap());
        needed.grow(30).unwrap();
        assert!(!pushes.give_way(&needed), "it has no more than the one that needs some");
    }

    /// Law 11.
    #[tokio::test]
    async fn only_the_greediest_gives_way_however_long_a_push_of_another_app_has_rested() {
        let (blog, greedy): (AppName, AppName) = ("blog".parse().unwrap(), "greedy".parse().unwrap());
        let pushes = Pushes::new(4, 60_000);
        for (app, id) in [("blog", "1"), ("greedy", "2"), ("greedy", "3"), ("greedy", "4"), ("shop", "5")] {
            pushes.add(push(app, id).await).unwrap();
        }
        assert!(pushes.is_there(&blog, "1") && !pushes.is_there(&greedy, "2") && pushes.is_there(&greedy, "3"));
        let memory = ManifestMemory::new(100);
        let pushes = Pushes::new(9, 60_000);
        for (app, id, bytes) in [("blog", "1", 10), ("greedy", "2", 30), ("greedy", "3", 30)] {
            pushes.add(holding(app, id, &memory, bytes).await).unwrap();
        }
        assert!(pushes.give_way(&memory.hold(&"shop".parse().unwrap())));
        assert!(pushes.is_there(&blog, "1") && !pushes.is_there(&greedy, "2") && pushes.is_there(&greedy, "3"));
    }

    #[tokio::test]
    async fn a_push_that_rested_for_too_long_is_forgotten_and_one_that_was_looked_for_is_not() {
        const IDLE_MS: u64 = 60_000;
        let (pushes, shop) = (Pushes::new(2, IDLE_MS), "shop".parse().unwrap());
        let rest = |id: &str| {
            let long_ago = Instant::now().checked_sub(Duration::from_millis(IDLE_MS + 1)).unwrap();
            pushes.entries.lock().get_mut(id).unwrap().touched = long_ago;
        };
        for id in ["1", "2"] {
            pushes.add(push("shop", id).await).unwrap();
        }
        ["1", "2"].into_iter().for_each(rest);
        assert!(pushes.is_there(&shop, "1"), "to look whether it is there keeps it no longer");
        pushes.find(&shop, "2").unwrap();
        pushes.forget_idle();
        assert!(!pushes.is_there(&shop, "1") && pushes.is_there(&shop, "2"));
        rest("2");
        for id in ["3", "4"] {
            pushes.add(push("shop", id).await).unwrap();
        }
        assert!(!pushes.is_there(&shop, "2") && pushes.len() == 2);
    }

    #[tokio::test]
    async fn pushes_are_those_of_an_app_and_of_an_environment_and_end_with_it() {
        let (pushes, staging): (_, PlaceName) = (Pushes::new(9, 60_000), "staging".parse().unwrap());
        let (shop, blog): (AppName, AppName) = ("shop".parse().unwrap(), "blog".parse().unwrap());
        for (app, id, environment) in
            [("shop", "1", PlaceName::prod()), ("shop", "2", staging.clone()), ("blog", "3", staging.clone())]
        {
            let digest = Digest::of(id.as_bytes());
            let missing = [(digest, 7), (Digest::of(b"of all"), 5)].into();
            pushes.add(Push { environment, missing, ..push(app, id).await }).unwrap();
        }
        let bytes = |app| pushes.coming(app).values().sum::<u64>();
        assert_eq!((bytes(&shop), bytes(&blog)), (7 + 7 + 5, 7 + 5));
        let ids = |app, place| pushes.of_place(app, place).iter().map(|push| push.id.clone()).collect::<Vec<_>>();
        assert_eq!((ids(&shop, &staging), ids(&blog, &staging)), (vec!["2".to_owned()], vec!["3".to_owned()]));
        pushes.forget_of(&shop, Some(&staging));
        assert!(pushes.is_there(&shop, "1") && !pushes.is_there(&shop, "2") && pushes.is_there(&blog, "3"));
        pushes.forget_of(&shop, None);
        assert!(!pushes.is_there(&shop, "1") && pushes.is_there(&blog, "3"));
    }
}
