//! Reports browser dictionaries without a delta to `encode`, which may make the delta.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use devanture_config::{AppName, Digest, PlaceName, Sha256, VersionId};
use tokio::sync::mpsc;

use devanture_base::clock;

/// Maximum misses in the queue; further ones are dropped, and come again with their browsers.
const WAITING_MAX: usize = 256;
/// Remembered misses of the last minute; two misses in one slot are reported twice.
const REMEMBERED: usize = 4_096;
/// Slots for counting misses by app; two apps in one slot share their budget.
const COUNTED: usize = 1_024;
/// Queue length above which an app spends its budget of the minute: misses by strangers leave room for all other apps,
/// and with a short queue, misses of unknown dictionaries cost an app no budget.
const BUSY: usize = WAITING_MAX / 4;
const MINUTE_MS: u64 = 60_000;
/// The bits of a remembered miss that hold its time.
const MINUTE_BITS: u64 = 0xffff;

/// A browser requested a file and has a dictionary without a delta.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DictionaryMiss {
    /// The app.
    pub app: AppName,
    /// The environment that answered; `None` for a preview.
    pub environment: Option<PlaceName>,
    /// The version that answered.
    pub version: VersionId,
    /// The file's content.
    pub blob: Digest,
    /// The dictionary of the browser.
    pub sha256: Sha256,
}

/// Reports misses without waiting. Cheap to clone, one for each thread.
#[derive(Clone, Default)]
pub struct DictionaryMisses(Option<Arc<Reporting>>);

struct Reporting {
    sender: mpsc::Sender<DictionaryMiss>,
    hasher: RandomState,
    /// The last miss of each slot: the upper bits of its hash, and the minute.
    remembered: Vec<AtomicU64>,
    /// For each app the minute of its last miss, and the number of misses reported in the minute.
    counted: Vec<AtomicU64>,
    /// Misses that one app may report in a minute while the queue is long.
    of_app_max: u64,
}

impl Reporting {
    /// Returns true if an app may report another miss in the minute. Two racing threads may count only one.
    fn may_report(&self, app: &AppName, minute: u64) -> bool {
        if self.sender.max_capacity().saturating_sub(self.sender.capacity()) < BUSY {
            return self.of_app_max > 0;
        }
        let place = usize::try_from(self.hasher.hash_one(app) % COUNTED as u64).unwrap_or(0);
        let Some(place) = self.counted.get(place) else { return false };
        let known = place.load(Ordering::Relaxed);
        let counts = self.of_app_max.saturating_add(1);
        let count = if known / counts == minute { known % counts } else { 0 };
        let is_free = count < self.of_app_max;
        if is_free {
            place.store(minute.saturating_mul(counts).saturating_add(count + 1), Ordering::Relaxed);
        }
        is_free
    }
}

impl DictionaryMisses {
    /// Reports no misses.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Both ends of the channel, through which one app reports `of_app_max` misses a minute while the queue is long.
    #[must_use]
    pub fn channel(of_app_max: u64) -> (Self, mpsc::Receiver<DictionaryMiss>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let remembered = std::iter::repeat_with(AtomicU64::default).take(REMEMBERED).collect();
        let counted = std::iter::repeat_with(AtomicU64::default).take(COUNTED).collect();
        let hasher = RandomState::new();
        (Self(Some(Arc::new(Reporting { sender, hasher, remembered, counted, of_app_max }))), receiver)
    }

    /// Reports a miss, unless reported within the minute or the queue is full.
    pub fn report(&self, miss: DictionaryMiss) {
        self.report_at(miss, clock::now_ms());
    }

    fn report_at(&self, miss: DictionaryMiss, now_ms: u64) {
        let Some(reporting) = &self.0 else { return };
        let hash = reporting.hasher.hash_one(&miss);
        let place = usize::try_from(hash % REMEMBERED as u64).unwrap_or(0);
        let Some(place) = reporting.remembered.get(place) else { return };
        let received = (hash & !MINUTE_BITS) | ((now_ms / MINUTE_MS) & MINUTE_BITS);
        if place.load(Ordering::Relaxed) != received
            && reporting.may_report(&miss.app, now_ms / MINUTE_MS)
            && reporting.sender.try_send(miss).is_ok()
        {
            place.store(received, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn miss(number: u8) -> DictionaryMiss {
        let (blob, sha256) = (Digest::of(b""), Sha256::from([number; 32]));
        let environment = Some(PlaceName::prod());
        DictionaryMiss { app: "shop".parse().unwrap(), environment, version: VersionId::of(b""), blob, sha256 }
    }

    #[test]
    fn a_miss_is_reported_once_a_minute() {
        let (misses, mut received) = DictionaryMisses::channel(60);
        for now_ms in [0, 1, 59_999, 60_000, 60_001] {
            misses.report_at(miss(1), now_ms);
        }
        assert_eq!((received.try_recv().unwrap(), received.try_recv().unwrap()), (miss(1), miss(1)));
        assert!(received.try_recv().is_err());
    }

    #[test]
    fn one_app_leaves_room_for_the_misses_of_others() {
        let (misses, received) = DictionaryMisses::channel(100);
        for number in 0..=255 {
            misses.report_at(miss(number), 0);
        }
        assert_eq!(received.len(), BUSY + 100);
        misses.report_at(miss(255), 60_000);
        assert_eq!(received.len(), BUSY + 101);
        // Several others, since one may share its slot.
        for number in 0..8 {
            misses.report_at(DictionaryMiss { app: format!("other-{number}").parse().unwrap(), ..miss(0) }, 60_000);
        }
        assert!(received.len() > BUSY + 101);
    }

    #[test]
    fn what_nobody_waits_behind_costs_an_app_nothing_of_its_share() {
        let (misses, mut received) = DictionaryMisses::channel(1);
        for number in 0..=255 {
            misses.report_at(miss(number), 0);
            assert_eq!(received.try_recv().unwrap(), miss(number));
        }
        let (misses, received) = DictionaryMisses::channel(0);
        misses.report_at(miss(1), 0);
        assert_eq!(received.len(), 0);
    }

    #[test]
    fn more_misses_than_may_wait_are_left_out_and_nobody_waits() {
        let (misses, received) = DictionaryMisses::channel(60);
        for minute in 0..8 {
            for number in 0..=255 {
                misses.report_at(miss(number), minute * MINUTE_MS);
            }
        }
        assert_eq!(received.len(), WAITING_MAX);
        drop(received);
        misses.report(miss(1));
        DictionaryMisses::off().report(miss(1));
    }
}
