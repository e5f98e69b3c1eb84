//! Switches of an environment's live version, and the grace period in which the versions before still answer for their
//! fingerprinted assets (law 10).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Current, Place};
use crate::version::Version;
use devanture_base::clock;

/// The grace period of law 10, and its most versions.
#[derive(Debug, Clone, Copy)]
pub struct Grace {
    /// Milliseconds after a switch.
    pub ms: u64,
    /// Versions of one environment.
    pub versions_max: usize,
}

/// A version that was live until a switch, and answers for its fingerprinted assets for a while (law 10), and for
/// visitors who are held on it.
#[derive(Clone)]
pub(super) struct GraceVersion {
    /// As it was served.
    pub(super) current: Arc<Current>,
    pub(super) until_ms: u64,
    /// When a visitor who is held on it last came here, as far as that is known, in milliseconds since 1970 UTC.
    visited_ms: Arc<AtomicU64>,
}

impl GraceVersion {
    pub(super) fn note_visitor(&self, now_ms: u64) {
        // Written once a second: the line is shared by all threads.
        if self.visited_ms.load(Ordering::Relaxed) / 1_000 != now_ms / 1_000 {
            self.visited_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    pub(super) fn visited_within(&self, ms: u64, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.visited_ms.load(Ordering::Relaxed)) <= ms
    }
}

/// A version that this node serves ahead of the pointer, and what the pointer says.
pub(super) struct Ahead {
    pub(super) next: Arc<Current>,
    before: Arc<Current>,
}

impl Place {
    /// The version that still has the fingerprinted asset `path`, which the live one lacks: one that was live within
    /// the grace period, or is being prepared (law 10). `live` is the one that was live when the request was looked at:
    /// if it was replaced since, the one that is live now has its assets, too.
    pub fn asset_fallback(&self, live: &Arc<Version>, has: impl Fn(&Version) -> bool) -> Option<Arc<Version>> {
        let prepared = self.preparing.with(|versions| versions.iter().find(|version| has(version)).cloned());
        prepared.or_else(|| self.other_side(live, &has)).or_else(|| {
            self.replaced.with(|versions| {
                if versions.is_empty() {
                    // As mostly: no clock is asked.
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

    /// The version on the other side of a canary than `live`, if it has the asset: a page of either side may be open.
    fn other_side(&self, live: &Arc<Version>, has: impl Fn(&Version) -> bool) -> Option<Arc<Version>> {
        let current = self.current.load();
        let current = current.as_ref().filter(|current| current.canary.is_some())?;
        current.versions().find(|version| !Arc::ptr_eq(version, live) && has(version)).cloned()
    }

    /// Makes `next` live, and keeps what was live for its assets. Returns whether that is still to be loaded.
    pub(super) fn switch(&self, next: Arc<Current>, grace: &Grace) -> bool {
        let _moving = self.moving.lock();
        *self.ahead.lock() = None;
        self.serve(next, grace)
    }

    /// Serves `next` ahead of the pointer; false where nothing is served that could be gone back to.
    pub(super) fn go_ahead(&self, next: Arc<Current>, grace: &Grace) -> bool {
        let _moving = self.moving.lock();
        let mut ahead = self.ahead.lock();
        let Some(before) = self.current().filter(|_| ahead.is_none()) else { return false };
        *ahead = Some(Ahead { next: Arc::clone(&next), before });
        self.serve(next, grace);
        true
    }

    /// Serves what the pointer says again, unless it has moved since `next` was served ahead of it.
    pub(super) fn go_back(&self, next: &Arc<Current>, grace: &Grace) {
        let _moving = self.moving.lock();
        if let Some(Ahead { before, .. }) = self.take_ahead(next) {
            before.replaced.store(false, Ordering::Relaxed);
            self.serve(before, grace);
        }
    }

    /// What is served ahead of the pointer.
    pub(super) fn ahead(&self) -> Option<Arc<Current>> {
        self.ahead.lock().as_ref().map(|ahead| Arc::clone(&ahead.next))
    }

    /// Whether `next` is served ahead of the pointer.
    pub(super) fn is_ahead(&self, next: &Arc<Current>) -> bool {
        self.ahead.lock().as_ref().is_some_and(|ahead| Arc::ptr_eq(&ahead.next, next))
    }

    /// Forgets what the pointer says while `next` is served ahead of it, and no other version.
    pub(super) fn take_ahead(&self, next: &Arc<Current>) -> Option<Ahead> {
        self.ahead.lock().take_if(|ahead| Arc::ptr_eq(&ahead.next, next))
    }

    /// What the pointer says, as it is served or would be.
    #[must_use]
    pub fn pointed(&self) -> Option<Arc<Current>> {
        let before = self.ahead.lock().as_ref().map(|ahead| Arc::clone(&ahead.before));
        before.or_else(|| self.current())
    }

    /// Puts `next` in the place of what is served. Called while `moving` is held.
    fn serve(&self, next: Arc<Current>, grace: &Grace) -> bool {
        // Kept before the swap: there is no moment at which its assets are neither live nor kept.
        if let Some(before) = self.current.load_full() {
            let until_ms = clock::now_ms().saturating_add(grace.ms);
            // Pages of a canary that ended, too, go on with their assets.
            for side in before.sides().iter().filter(|side| next.with_id(&side.version.id).is_none()) {
                self.keep(Arc::new(side.alone()), until_ms, grace);
            }
        }
        let unloaded = self.first_load.load_full();
        let has_earlier = unloaded.as_ref().is_some_and(|load| load.of.version != next.version.id);
        if has_earlier {
            // What was live and never loaded is found in the history, in which this switch is by now.
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

    /// Serves `next` in place of `before`, which is the same version as it was loaded earlier; not if another one went
    /// live meanwhile.
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
            // Until now, anybody may have been there.
            let visited_ms = Arc::new(AtomicU64::new(now_ms));
            let mut list = vec![GraceVersion { current: Arc::clone(&current), until_ms, visited_ms }];
            list.extend(others);
            list.sort_by_key(|r| std::cmp::Reverse(r.until_ms));
            list.truncate(grace.versions_max);
            list
        });
    }
}
