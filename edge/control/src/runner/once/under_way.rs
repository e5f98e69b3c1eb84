//! The commands that are under way, and when they have to end since the edge does.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// All commands that are under way.
#[derive(Default)]
pub(in crate::runner) struct UnderWay(Arc<Inner>);

struct Inner {
    /// The last number, and those of the commands that are under way.
    numbers: Mutex<(u64, BTreeSet<u64>)>,
    count: watch::Sender<usize>,
    ends_at: watch::Sender<Option<Instant>>,
}

impl Default for Inner {
    fn default() -> Self {
        Self { numbers: Mutex::default(), count: watch::Sender::new(0), ends_at: watch::Sender::new(None) }
    }
}

/// A command that is under way for as long as this lives.
pub(super) struct Guard {
    of: Arc<Inner>,
    number: u64,
}

impl Guard {
    /// The number of the command since the start of the edge.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Waits until the edge wants the command to end; without an end where it does not.
    pub(super) async fn ends(&self) {
        let mut ends_at = self.of.ends_at.subscribe();
        loop {
            let until = *ends_at.borrow_and_update();
            tokio::select! {
                () = async { match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => pending().await,
                } } => return,
                changed = ends_at.changed() => if changed.is_err() {
                    pending::<()>().await;
                },
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut numbers = self.of.numbers.lock();
        numbers.1.remove(&self.number);
        self.of.count.send_replace(numbers.1.len());
    }
}

impl UnderWay {
    /// Notes a command; `None` while the edge ends.
    pub(super) fn begin(&self) -> Option<Guard> {
        let mut numbers = self.0.numbers.lock();
        if self.0.ends_at.borrow().is_some() {
            return None;
        }
        numbers.0 += 1;
        let number = numbers.0;
        numbers.1.insert(number);
        self.0.count.send_replace(numbers.1.len());
        Some(Guard { of: Arc::clone(&self.0), number })
    }

    /// Lets no more of them begin, and has those that run end then.
    pub(super) fn end(&self, until: Instant) {
        let _none_begins = self.0.numbers.lock();
        self.0.ends_at.send_replace(Some(until));
    }

    /// Lets them begin again.
    pub(in crate::runner) fn resume(&self) {
        self.0.ends_at.send_replace(None);
    }

    pub(super) fn count(&self) -> usize {
        *self.0.count.borrow()
    }

    /// Waits until there is none.
    pub(super) async fn none(&self) {
        self.0.count.subscribe().wait_for(|count| *count == 0).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn none_begins_while_the_edge_ends_and_those_that_run_are_waited_for() {
        let runs = UnderWay::default();
        let first = runs.begin().unwrap();
        assert_eq!((first.number(), runs.count()), (1, 1));
        assert!(first.ends().now_or_never().is_none() && runs.none().now_or_never().is_none());
        runs.end(Instant::now() + std::time::Duration::from_secs(5));
        assert!(runs.begin().is_none() && first.ends().now_or_never().is_none());
        first.ends().await;
        drop(first);
        assert!(runs.none().now_or_never().is_some());
        runs.resume();
        assert_eq!(runs.begin().unwrap().number(), 2);
    }
}
