//! Switches of an environment's live version, and the grace period in which earlier versions still answer for their
//! fingerprinted assets (law 10).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Current, Place};
use crate::version::Version;
use devanture_base::clock;

/// Length of the grace period of law 10, and its maximum number of versions.
#[derive(Debug, Clone, Copy)]
pub struct Grace {
    /// Milliseconds after a switch.
    pub ms: u64,
    /// Versions of one environment.
    pub versions_max: usize,
}

/// A version that was live until a switch, and still answers for its fingerprinted assets (law 10) and for pinned
/// visitors.
#[derive(Clone)]
pub(super) struct GraceVersion {
    /// The version as served.
    pub(super) current: Arc<Current>,
    pub(super) until_ms: u64,
    /// Last known visit of a pinned visitor, in milliseconds since 1970 UTC.
    visited_ms: Arc<AtomicU64>,
}

impl GraceVersion {
    pub(super) fn note_visitor(&self, now_ms: u64) {
        // Written at most once a second: all threads share the cache line.
        if self.visited_ms.load(Ordering::Relaxed) / 1_000 != now_ms / 1_000 {
            self.visited_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    pub(super) fn visited_within(&self, ms: u64, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.visited_ms.load(Ordering::Relaxed)) <= ms
    }
}

/// A version that the node serves ahead of the pointer, and the pointer's version.
pub(super) struct Ahead {
    pub(super) next: Arc<Current>,
    before: Arc<Current>,
}

impl Place {
    /// The version that has the fingerprinted asset `path`, which the live version lacks: an earlier version of the
    /// grace period, or one being prepared (law 10). `live` was live when the request was decided: if replaced since,
    /// the new live version's assets count too.
    pub fn asset_fallback(&self, live: &Arc<Version>, has: impl Fn(&Version) -> bool) -> Option<Arc<Version>> {
        let prepared = self.preparing.with(|versions| versions.iter().find(|version| has(version)).cloned());
        prepared.or_else(|| self.other_side(live, &has)).or_else(|| {
            self.replaced.with(|versions| {
                if versions.is_empty() {
                    // The usual case, without reading the clock.
                    return None;
                }
                let now_ms = clock::now_ms();
                let kept = versions.iter().find(|kept| kept.until_ms > now_ms && has(&kept.current.version));
                if let Some(kept) = kept {
                    return Some(Arc::clone(&kept.current.version));
                }
                let now = self.current().filter(|current| !Arc::ptr_eq(&current.version, live));
                now.map(|current| Arc::clone(&current.version)).filter(|version| has(version))
            })
        })
    }

    /// The version on the other side of a canary, if the asset is there: a page of either side may be open.
    fn other_side(&self, live: &Arc<Version>, has: impl Fn(&Version) -> bool) -> Option<Arc<Version>> {
        let current = self.current.load();
        let current = current.as_ref().filter(|current| current.canary.is_some())?;
        current.versions().find(|version| !Arc::ptr_eq(version, live) && has(version)).cloned()
    }

    /// Makes `next` live, and keeps the previous version for its assets. Returns true if the previous version must
    /// still be loaded.
    pub(super) fn switch(&self, next: Arc<Current>, grace: &Grace) -> bool {
        let _moving = self.moving.lock();
        *self.ahead.lock() = None;
        self.serve(next, grace)
    }

    /// Serves `next` ahead of the pointer; false without a served version to return to.
    pub(super) fn go_ahead(&self, next: Arc<Current>, grace: &Grace) -> bool {
        let _moving = self.moving.lock();
        let mut ahead = self.ahead.lock();
        let Some(before) = self.current().filter(|_| ahead.is_none()) else { return false };
        *ahead = Some(Ahead { next: Arc::clone(&next), before });
        self.serve(next, grace);
        true
    }

    /// Restores the pointer's version, unless the pointer has moved since `next` was served ahead.
    pub(super) fn go_back(&self, next: &Arc<Current>, grace: &Grace) {
        let _moving = self.moving.lock();
        if let Some(Ahead { before, .. }) = self.take_ahead(next) {
            before.replaced.store(false, Ordering::Relaxed);
            self.serve(before, grace);
        }
    }

    /// The version served ahead of the pointer.
    pub(super) fn ahead(&self) -> Option<Arc<Current>> {
        self.ahead.lock().as_ref().map(|ahead| Arc::clone(&ahead.next))
    }

    /// Returns true if `next` is served ahead of the pointer.
    pub(super) fn is_ahead(&self, next: &Arc<Current>) -> bool {
        self.ahead.lock().as_ref().is_some_and(|ahead| Arc::ptr_eq(&ahead.next, next))
    }

    /// Forgets the pointer's version while `next`, and no other version, is served ahead.
    pub(super) fn take_ahead(&self, next: &Arc<Current>) -> Option<Ahead> {
        self.ahead.lock().take_if(|ahead| Arc::ptr_eq(&ahead.next, next))
    }

    /// The pointer's version, as served or as it would be served.
    #[must_use]
    pub fn pointed(&self) -> Option<Arc<Current>> {
        let before = self.ahead.lock().as_ref().map(|ahead| Arc::clone(&ahead.before));
        before.or_else(|| self.current())
    }

    /// Replaces the served version by `next`. Called with `moving` held.
    fn serve(&self, next: Arc<Current>, grace: &Grace) -> bool {
        // Before the swap: the assets must be live or kept at every moment.
        if let Some(before) = self.current.load_full() {
            let until_ms = clock::now_ms().saturating_add(grace.ms);
            // Pages of an ended canary also continue with their assets.
            for side in before.sides().iter().filter(|side| next.with_id(&side.version.id).is_none()) {
                self.keep(Arc::new(side.alone()), until_ms, grace);
            }
        }
        let unloaded = self.first_load.load_full();
        let has_earlier = unloaded.as_ref().is_some_and(|load| load.of.version != next.version.id);
        if has_earlier {
            // A live version that was never loaded is found in the history, which contains the switch by now.
            self.earlier_load.begin();
        }
        let version = Arc::clone(&next.version);
        if let Some(before) = self.current.swap(Some(next)) {
            before.replaced.store(!Arc::ptr_eq(&before.version, &version), Ordering::Relaxed);
        }
        self.first_load.store(None);
        if let Some(load) = unloaded {
            load.end();
        }
        has_earlier
    }

    /// Serves `next` in place of `before`, an earlier load of the same version, unless another version has gone live.
    pub(super) fn replace(&self, before: &Arc<Current>, next: Current) {
        let _moving = self.moving.lock();
        if self.current.load().as_ref().is_some_and(|now| Arc::ptr_eq(now, before)) {
            self.current.store(Some(Arc::new(next)));
        }
    }

    pub(super) fn keep(&self, current: Arc<Current>, until_ms: u64, grace: &Grace) {
        let now_ms = clock::now_ms();
        self.replaced.change(|list| {
            let id = current.version.id;
            let others = list.iter().filter(|kept| kept.current.version.id != id && kept.until_ms > now_ms).cloned();
            // Until now, a visitor may have been there at any moment.
            let visited_ms = Arc::new(AtomicU64::new(now_ms));
            let mut list = vec![GraceVersion { current: Arc::clone(&current), until_ms, visited_ms }];
            list.extend(others);
            list.sort_by_key(|r| std::cmp::Reverse(r.until_ms));
            list.truncate(grace.versions_max);
            list
        });
    }
}
