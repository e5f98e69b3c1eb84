//! Leases: what pushes and switches under way rely on, so that no collection takes it from them.
//!
//! Work that is about to rely on stored bytes takes a lease first, and only then looks whether they are there. Taking
//! one goes through a gate that a collection closes while it looks at the leases and deletes, for a few files at a
//! time: what was seen after the gate stays for as long as the lease lives, and what is deleted is deleted before
//! somebody looks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use devanture_config::{AppName, Digest, Manifest, VersionId};
use parking_lot::Mutex;
use tokio::sync::{RwLock, RwLockWriteGuard};

use devanture_store::blobs::Key;

/// Every lease.
#[derive(Default)]
pub(crate) struct Leases {
    gate: RwLock<()>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Number of leases on a blob or a manifest: of a version of a hundred thousand files, so many.
    blobs: HashMap<Digest, u32>,
    manifests: HashMap<VersionId, u32>,
    /// Bundles that come in without anybody knowing their hashes yet: the second since 1970 at which each began.
    arriving: BTreeMap<u64, u64>,
    next: u64,
    /// Versions that a watch may go back to, and how many may.
    back: HashMap<(AppName, VersionId), u32>,
}

/// Something that is held for as long as this value lives.
#[must_use = "what is leased is held for as long as this lives"]
pub(crate) struct Lease {
    leases: Arc<Leases>,
    what: What,
}

enum What {
    /// Whatever was put since an archive began to come in.
    Arriving(u64),
    /// A version, with its manifest and every blob of it.
    Bundle(VersionId, Arc<Manifest>),
    /// Blobs that no manifest names.
    Blobs(Vec<Digest>),
    /// A version that is stored; its record holds the rest.
    Version(VersionId),
    /// The same for one that an app may go back to, and that nobody may delete meanwhile.
    Back(AppName, VersionId),
}

/// The gate, closed: nobody takes a lease while this lives.
pub(crate) struct Closed<'l> {
    leases: &'l Leases,
    _gate: RwLockWriteGuard<'l, ()>,
}

impl Leases {
    async fn take(self: &Arc<Self>, what: What) -> Lease {
        let _gate = self.gate.read().await;
        let mut held = self.held.lock();
        if let Some(version) = version(&what) {
            *held.manifests.entry(version).or_default() += 1;
        }
        for digest in blobs(&what) {
            *held.blobs.entry(digest).or_default() += 1;
        }
        if let What::Back(app, version) = &what {
            *held.back.entry((app.clone(), *version)).or_default() += 1;
        }
        drop(held);
        Lease { leases: Arc::clone(self), what }
    }

    /// Holds a version that is about to be stored, with all that it is made of.
    pub(crate) async fn bundle(self: &Arc<Self>, version: VersionId, manifest: &Arc<Manifest>) -> Lease {
        self.take(What::Bundle(version, Arc::clone(manifest))).await
    }

    /// Holds blobs that no manifest names.
    pub(crate) async fn blobs(self: &Arc<Self>, blobs: Vec<Digest>) -> Lease {
        self.take(What::Blobs(blobs)).await
    }

    /// Holds a version that is stored.
    pub(crate) async fn version(self: &Arc<Self>, version: VersionId) -> Lease {
        self.take(What::Version(version)).await
    }

    /// Holds a version that is stored, and keeps it from being deleted.
    pub(crate) async fn going_back(self: &Arc<Self>, app: &AppName, version: VersionId) -> Lease {
        self.take(What::Back(app.clone(), version)).await
    }

    /// Whether an app may go back to a version by itself.
    pub(crate) fn may_go_back(&self, app: &AppName, version: &VersionId) -> bool {
        self.held.lock().back.contains_key(&(app.clone(), *version))
    }

    /// Holds every file that is put from the second `now_s` since 1970 on.
    pub(crate) async fn arriving(self: &Arc<Self>, now_s: u64) -> Lease {
        let number = {
            let _gate = self.gate.read().await;
            let mut held = self.held.lock();
            let number = held.next;
            held.next = number.saturating_add(1);
            held.arriving.insert(number, now_s);
            number
        };
        Lease { leases: Arc::clone(self), what: What::Arriving(number) }
    }

    /// Closes the gate for a moment.
    pub(crate) async fn closed(&self) -> Closed<'_> {
        Closed { leases: self, _gate: self.gate.write().await }
    }
}

impl Closed<'_> {
    /// Whether somebody relies on `key`.
    pub(crate) fn holds(&self, key: Key) -> bool {
        let held = self.leases.held.lock();
        match key {
            Key::Blob(digest) => held.blobs.contains_key(&digest),
            Key::Manifest(version) => held.manifests.contains_key(&version),
            // They go with their blob.
            Key::Delta(..) | Key::Variant(..) => false,
        }
    }

    /// The second since 1970 from which on everything that was put is held, where there is one.
    pub(crate) fn held_since_s(&self) -> Option<u64> {
        self.leases.held.lock().arriving.values().min().copied()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut held = self.leases.held.lock();
        if let What::Arriving(number) = self.what {
            held.arriving.remove(&number);
        }
        if let Some(version) = version(&self.what) {
            give_back(&mut held.manifests, &version);
        }
        for digest in blobs(&self.what) {
            give_back(&mut held.blobs, &digest);
        }
        if held.blobs.len() <= held.blobs.capacity() / 4 {
            // It would keep the room for the largest version that was ever pushed.
            held.blobs.shrink_to_fit();
        }
        if let What::Back(app, version) = &self.what {
            give_back(&mut held.back, &(app.clone(), *version));
        }
    }
}

/// The version whose manifest a lease holds.
fn version(what: &What) -> Option<VersionId> {
    match what {
        What::Arriving(_) | What::Blobs(_) => None,
        What::Bundle(version, _) | What::Version(version) | What::Back(_, version) => Some(*version),
    }
}

/// The blobs that a lease holds; one may come several times, as often in taking as in giving back.
fn blobs(what: &What) -> impl Iterator<Item = Digest> + '_ {
    let (manifest, listed) = match what {
        What::Bundle(_, manifest) => (Some(manifest), &[][..]),
        What::Blobs(blobs) => (None, blobs.as_slice()),
        What::Arriving(_) | What::Version(_) | What::Back(..) => (None, &[][..]),
    };
    let named = manifest.into_iter().flat_map(|manifest| manifest.blobs().map(|(digest, _)| digest));
    named.chain(listed.iter().copied())
}

/// Counts one less of `key`.
fn give_back<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::manifest::FileEntry;

    fn manifest(texts: &[&str]) -> Arc<Manifest> {
        let file = |text: &str| FileEntry { hash: Digest::of(text.as_bytes()), size: 0, media_type: None };
        let files = texts.iter().enumerate();
        Arc::new(Manifest::of_files(files.map(|(i, text)| (format!("f{i}").parse().unwrap(), file(text))).collect()))
    }

    #[tokio::test]
    async fn what_is_leased_is_held_until_the_last_lease_ends() {
        let leases = Arc::new(Leases::default());
        let (one, two) = (manifest(&["a", "a", "b"]), manifest(&["b", "c"]));
        let blob = |text: &str| Key::Blob(Digest::of(text.as_bytes()));
        let first = leases.bundle(one.id(), &one).await;
        let second = leases.bundle(two.id(), &two).await;
        let version = leases.version(two.id()).await;
        let held = async || {
            let closed = leases.closed().await;
            ["a", "b", "c"].map(|text| closed.holds(blob(text)))
        };
        assert_eq!(held().await, [true, true, true]);
        drop(first);
        assert_eq!(held().await, [false, true, true]);
        drop(second);
        assert_eq!(held().await, [false, false, false]);
        assert!(leases.closed().await.holds(Key::Manifest(two.id())));
        drop(version);
        let page = leases.blobs(vec![Digest::of(b"page")]).await;
        assert!(leases.closed().await.holds(blob("page")), "named by no manifest");
        drop(page);
        let held = leases.held.lock();
        assert!(held.manifests.is_empty() && held.blobs.is_empty() && held.blobs.capacity() == 0);
    }

    #[tokio::test]
    async fn an_archive_that_comes_in_holds_what_is_put_since() {
        let leases = Arc::new(Leases::default());
        let (early, late) = (leases.arriving(5).await, leases.arriving(9).await);
        assert_eq!(leases.closed().await.held_since_s(), Some(5));
        drop(early);
        assert_eq!(leases.closed().await.held_since_s(), Some(9));
        drop(late);
        assert_eq!(leases.closed().await.held_since_s(), None);
    }

    #[tokio::test]
    async fn nobody_takes_a_lease_while_the_gate_is_closed() {
        let leases = Arc::new(Leases::default());
        let closed = leases.closed().await;
        let mut taking = Box::pin(leases.version(Digest::of(b"")));
        assert!(futures_util::poll!(&mut taking).is_pending());
        drop(closed);
        drop(taking.await);
    }
}
