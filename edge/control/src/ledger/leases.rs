//! Leases: protect files and versions used by running pushes and switches from collection.
//!
//! Work takes a lease first, and only then checks that the stored bytes are present. Taking a lease passes a gate,
//! which a collection closes while reading leases and deleting, for a few files at a time. Files seen after passing the
//! gate stay for the lifetime of the lease; files about to be deleted are deleted before the check.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use devanture_config::{AppName, Digest, Manifest, VersionId};
use parking_lot::Mutex;
use tokio::sync::{RwLock, RwLockWriteGuard};

use devanture_store::blobs::Key;

/// All leases.
#[derive(Default)]
pub(crate) struct Leases {
    gate: RwLock<()>,
    held: Mutex<LeaseTable>,
}

#[derive(Default)]
struct LeaseTable {
    /// Leases by blob or manifest; a version of a hundred thousand files adds as many entries.
    blobs: HashMap<Digest, u32>,
    manifests: HashMap<VersionId, u32>,
    /// Incoming bundles with yet unknown hashes, by the second since 1970 of their beginning.
    arriving: BTreeMap<u64, u64>,
    next: u64,
    /// Versions that a watch may return to, with the number of watches.
    back: HashMap<(AppName, VersionId), u32>,
}

/// Lease, released on drop.
#[must_use = "what is leased is held for as long as this lives"]
pub(crate) struct Lease {
    leases: Arc<Leases>,
    what: LeaseTarget,
}

enum LeaseTarget {
    /// All files stored since the beginning of an archive.
    Arriving(u64),
    /// Version, with its manifest and blobs.
    Bundle(VersionId, Arc<Manifest>),
    /// Blobs outside all manifests.
    Blobs(Vec<Digest>),
    /// Stored version, whose record protects the rest.
    Version(VersionId),
    /// Stored version that an app may return to, also protected from deletion.
    Back(AppName, VersionId),
}

/// Closed gate: no lease is taken during its lifetime.
pub(crate) struct Closed<'l> {
    leases: &'l Leases,
    _gate: RwLockWriteGuard<'l, ()>,
}

impl Leases {
    async fn take(self: &Arc<Self>, what: LeaseTarget) -> Lease {
        let _gate = self.gate.read().await;
        let mut held = self.held.lock();
        if let Some(version) = version(&what) {
            *held.manifests.entry(version).or_default() += 1;
        }
        for digest in blobs(&what) {
            *held.blobs.entry(digest).or_default() += 1;
        }
        if let LeaseTarget::Back(app, version) = &what {
            *held.back.entry((app.clone(), *version)).or_default() += 1;
        }
        drop(held);
        Lease { leases: Arc::clone(self), what }
    }

    /// Leases a version about to be stored, with all its files.
    pub(crate) async fn bundle(self: &Arc<Self>, version: VersionId, manifest: &Arc<Manifest>) -> Lease {
        self.take(LeaseTarget::Bundle(version, Arc::clone(manifest))).await
    }

    /// Leases blobs outside all manifests.
    pub(crate) async fn blobs(self: &Arc<Self>, blobs: Vec<Digest>) -> Lease {
        self.take(LeaseTarget::Blobs(blobs)).await
    }

    /// Leases a stored version.
    pub(crate) async fn version(self: &Arc<Self>, version: VersionId) -> Lease {
        self.take(LeaseTarget::Version(version)).await
    }

    /// Leases a stored version, and protects the version from deletion.
    pub(crate) async fn going_back(self: &Arc<Self>, app: &AppName, version: VersionId) -> Lease {
        self.take(LeaseTarget::Back(app.clone(), version)).await
    }

    /// Returns true if an app may automatically return to a version.
    pub(crate) fn may_go_back(&self, app: &AppName, version: &VersionId) -> bool {
        self.held.lock().back.contains_key(&(app.clone(), *version))
    }

    /// Leases all files stored from the second `now_s` since 1970 on.
    pub(crate) async fn arriving(self: &Arc<Self>, now_s: u64) -> Lease {
        let number = {
            let _gate = self.gate.read().await;
            let mut held = self.held.lock();
            let number = held.next;
            held.next = number.saturating_add(1);
            held.arriving.insert(number, now_s);
            number
        };
        Lease { leases: Arc::clone(self), what: LeaseTarget::Arriving(number) }
    }

    /// Closes the gate for a moment.
    pub(crate) async fn closed(&self) -> Closed<'_> {
        Closed { leases: self, _gate: self.gate.write().await }
    }
}

impl Closed<'_> {
    /// Returns true if a lease protects `key`.
    pub(crate) fn holds(&self, key: Key) -> bool {
        let held = self.leases.held.lock();
        match key {
            Key::Blob(digest) => held.blobs.contains_key(&digest),
            Key::Manifest(version) => held.manifests.contains_key(&version),
            // Deltas and variants are deleted with their blob.
            Key::Delta(..) | Key::Variant(..) => false,
        }
    }

    /// Returns the second since 1970 from which on all stored files are leased, if any.
    pub(crate) fn held_since_s(&self) -> Option<u64> {
        self.leases.held.lock().arriving.values().min().copied()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut held = self.leases.held.lock();
        if let LeaseTarget::Arriving(number) = self.what {
            held.arriving.remove(&number);
        }
        if let Some(version) = version(&self.what) {
            give_back(&mut held.manifests, &version);
        }
        for digest in blobs(&self.what) {
            give_back(&mut held.blobs, &digest);
        }
        if held.blobs.len() <= held.blobs.capacity() / 4 {
            // Otherwise the table would keep the capacity for the largest version ever pushed.
            held.blobs.shrink_to_fit();
        }
        if let LeaseTarget::Back(app, version) = &self.what {
            give_back(&mut held.back, &(app.clone(), *version));
        }
    }
}

/// Returns the version whose manifest is leased.
fn version(what: &LeaseTarget) -> Option<VersionId> {
    match what {
        LeaseTarget::Arriving(_) | LeaseTarget::Blobs(_) => None,
        LeaseTarget::Bundle(version, _) | LeaseTarget::Version(version) | LeaseTarget::Back(_, version) => {
            Some(*version)
        }
    }
}

/// Returns the leased blobs, with repetitions, which count equally on taking and releasing.
fn blobs(what: &LeaseTarget) -> impl Iterator<Item = Digest> + '_ {
    let (manifest, listed) = match what {
        LeaseTarget::Bundle(_, manifest) => (Some(manifest), &[][..]),
        LeaseTarget::Blobs(blobs) => (None, blobs.as_slice()),
        LeaseTarget::Arriving(_) | LeaseTarget::Version(_) | LeaseTarget::Back(..) => (None, &[][..]),
    };
    let named = manifest.into_iter().flat_map(|manifest| manifest.blobs().map(|(digest, _)| digest));
    named.chain(listed.iter().copied())
}

/// Decrements the count of `key`.
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
