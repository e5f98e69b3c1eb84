//! The progress of the uploads to an edge.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts the bytes of an upload taken by the network, and of all uploads on the same line.
///
/// Of many uploads over a slow line, one may wait long for its turn while others progress: the line stalls only if none
/// progresses.
#[derive(Debug, Clone)]
pub(super) struct UploadProgress {
    own: Arc<AtomicU64>,
    all: Arc<AtomicU64>,
}

impl UploadProgress {
    /// Creates the counter of a new upload, which adds to `all`.
    pub(super) fn beside(all: &Arc<AtomicU64>) -> Self {
        Self { own: Arc::default(), all: Arc::clone(all) }
    }

    pub(super) fn add(&self, bytes: usize) {
        self.own.fetch_add(bytes as u64, Ordering::Relaxed);
        self.all.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Returns the bytes of this upload alone.
    pub(super) fn own(&self) -> u64 {
        self.own.load(Ordering::Relaxed)
    }

    /// Waits until no upload has progressed for `rest_max`.
    pub(super) async fn rest(&self, rest_max: Duration) {
        let mut before = None;
        loop {
            let now = self.all.load(Ordering::Relaxed);
            if before == Some(now) {
                break;
            }
            before = Some(now);
            tokio::time::sleep(rest_max).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST_MAX: Duration = Duration::from_secs(60);
    const BYTES: usize = 64 * 1024;

    #[tokio::test(start_paused = true)]
    async fn an_upload_waits_for_its_turn_while_others_come_further() {
        let all = Arc::default();
        let (waits, other) = (UploadProgress::beside(&all), UploadProgress::beside(&all));
        let line = async {
            for _ in 0..20 {
                tokio::time::sleep(REST_MAX / 2).await;
                other.add(BYTES);
            }
        };
        tokio::select! {
            biased;
            () = line => {}
            () = waits.rest(REST_MAX) => panic!("the line has not stood still"),
        }
        assert_eq!((waits.own(), other.own()), (0, 20 * BYTES as u64));
        // Paused time passes at once.
        waits.rest(REST_MAX).await;
    }
}
