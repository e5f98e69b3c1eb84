//! Running commands, and their end at the end of the edge.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// All running commands.
#[derive(Default)]
pub(in crate::runner) struct UnderWay(Arc<Inner>);

struct Inner {
    /// Last number, and numbers of running commands.
    numbers: Mutex<(u64, BTreeSet<u64>)>,
    count: watch::Sender<usize>,
    ends_at: watch::Sender<Option<Instant>>,
}

impl Default for Inner {
    fn default() -> Self {
        Self { numbers: Mutex::default(), count: watch::Sender::new(0), ends_at: watch::Sender::new(None) }
    }
}

/// Running command, counted until dropped.
pub(super) struct Guard {
    of: Arc<Inner>,
    number: u64,
}

impl Guard {
    /// Returns the number of the command since the start of the edge.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Waits until the edge requests the end, possibly forever.
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
    /// Registers a command; `None` while the edge stops.
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

    /// Blocks new commands, and sets the deadline of running commands.
    pub(super) fn end(&self, until: Instant) {
        let _none_begins = self.0.numbers.lock();
        self.0.ends_at.send_replace(Some(until));
    }

    /// Allows commands again.
    pub(in crate::runner) fn resume(&self) {
        self.0.ends_at.send_replace(None);
    }

    pub(super) fn count(&self) -> usize {
        *self.0.count.borrow()
    }

    /// Waits until no command is running.
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
