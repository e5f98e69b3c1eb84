//! How far the uploads to an edge have come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts the bytes that the network has taken of an upload, and of all that share the line with it.
///
/// Of many uploads at once over a slow line, one waits long for its turn while others come further: the line stands
/// still only if none does.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    own: Arc<AtomicU64>,
    all: Arc<AtomicU64>,
}

impl Taken {
    /// Of an upload that begins, beside those that have added to `all`.
    pub(super) fn beside(all: &Arc<AtomicU64>) -> Self {
        Self { own: Arc::default(), all: Arc::clone(all) }
    }

    pub(super) fn add(&self, bytes: usize) {
        self.own.fetch_add(bytes as u64, Ordering::Relaxed);
        self.all.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes of this upload alone.
    pub(super) fn own(&self) -> u64 {
        self.own.load(Ordering::Relaxed)
    }

    /// Waits until nothing was taken of any upload for `rest_max`.
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
        let (waits, other) = (Taken::beside(&all), Taken::beside(&all));
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
