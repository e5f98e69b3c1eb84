//! Compression threads, separate from serving threads and from threads blocked on the disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::AppName;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use crate::encode::Priority;
use devanture_base::fair::{Lane, Lanes};

/// Smallest accounted size of a job.
const JOB_BYTES_MIN: u64 = 4 * 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Thread pool with fair queueing: jobs of an app run in order, and apps take turns by bytes (law 11). Cheap to clone;
/// the threads end with the last clone.
///
/// The number of threads is fixed, since an encoder's memory stays with its thread.
#[derive(Clone)]
pub(crate) struct Pool {
    jobs: Arc<Jobs>,
    lane: Lane,
    threads: usize,
    /// No job starts while true.
    waits: Option<watch::Receiver<bool>>,
}

/// Sending end of the queue.
struct Jobs(Arc<Queue>);

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: Lanes<Job>,
    ended: bool,
}

impl Queue {
    /// Returns the next job; `None` after the end.
    fn next(&self) -> Option<Job> {
        let mut waiting = self.waiting.lock();
        loop {
            if let Some(job) = waiting.jobs.take_next() {
                return Some(job);
            }
            if waiting.ended {
                return None;
            }
            self.changed.wait(&mut waiting);
        }
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.0.waiting.lock().ended = true;
        self.0.changed.notify_all();
    }
}

impl Pool {
    pub(crate) fn new(name: &str, threads: usize, priority: Priority) -> Self {
        let queue = Arc::<Queue>::default();
        for number in 0..threads.max(1) {
            let queue = Arc::clone(&queue);
            let work = move || {
                priority.lower();
                while let Some(job) = queue.next() {
                    // A panic of an encoder on one app's file must not take the thread from all other apps.
                    if catch_unwind(AssertUnwindSafe(job)).is_err() {
                        tracing::error!("an encoder failed; its file is served as it is");
                    }
                }
            };
            if let Err(error) = std::thread::Builder::new().name(format!("{name}-{number}")).spawn(work) {
                tracing::error!(%error, "a thread that compresses could not be started");
            }
        }
        Self { jobs: Arc::new(Jobs(queue)), lane: Lane::EDGE, threads: threads.max(1), waits: None }
    }

    /// Returns a pool that starts no further job while memory is short.
    pub(crate) fn waiting_while(self, memory_is_short: watch::Receiver<bool>) -> Self {
        Self { waits: Some(memory_is_short), ..self }
    }

    /// Returns the same threads, accounted to an app.
    pub(crate) fn of(&self, app: &AppName) -> Self {
        Self { lane: Lane::of(app.as_str()), ..self.clone() }
    }

    /// Returns the fair-queueing lane.
    pub(super) const fn lane(&self) -> Lane {
        self.lane
    }

    /// Returns the number of concurrent jobs.
    pub(crate) const fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `work` on a number of bytes in its turn; `None` after a panic.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        bytes: u64,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if let Some(mut is_short) = self.waits.clone() {
            // The sender is gone while the edge stops.
            is_short.wait_for(|is_short| !is_short).await.ok();
        }
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let job: Job = Box::new(move || {
            sender.send(work()).ok();
        });
        // A file of a few bytes costs an encoder as much as one of some kilobytes.
        self.jobs.0.waiting.lock().jobs.push(self.lane, bytes.max(JOB_BYTES_MIN), job);
        self.jobs.0.changed.notify_one();
        receiver.await.ok()
    }
}

/// Returns the length of bytes in memory.
pub(crate) fn length_of(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn law_11_a_job_that_panics_leaves_the_pool_to_others() {
        let pool = Pool::new("test", 1, Priority::Low);
        assert_eq!(pool.run(1, || -> u8 { panic!("a hostile file") }).await, None);
        assert_eq!(pool.run(1, || 7).await, Some(7));
    }

    #[tokio::test]
    async fn a_job_waits_while_memory_is_short_and_another_pool_does_not() {
        let (short, is_short) = watch::channel(true);
        let waiting = Pool::new("test", 1, Priority::Lowest).waiting_while(is_short);
        let mut job = std::pin::pin!(waiting.run(1, || 7));
        assert_eq!(Pool::new("test", 1, Priority::Low).run(1, || 5).await, Some(5));
        assert!(futures_util::poll!(&mut job).is_pending() && waiting.jobs.0.waiting.lock().jobs.take_next().is_none());
        short.send_replace(false);
        assert_eq!(job.await, Some(7));
        drop(short);
        assert_eq!(waiting.run(1, || 8).await, Some(8));
    }

    /// Returns the order of jobs by app, with one app of many jobs and nine of few.
    async fn order_under_contention(modest_jobs: usize, modest_bytes: u64) -> Vec<usize> {
        let pool = Pool::new("test", 1, Priority::Low);
        let order: Arc<Mutex<Vec<usize>>> = Arc::default();
        // The thread waits until all jobs are queued.
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let first = pool.run(1, move || gate.recv().ok());
        let mut jobs = Vec::new();
        for app in 0..10_usize {
            let (count, bytes) = if app == 0 { (200, 1_000_000) } else { (modest_jobs, modest_bytes) };
            let pool = pool.of(&format!("app-{app}").parse().unwrap());
            for _ in 0..count {
                let (pool, order) = (pool.clone(), Arc::clone(&order));
                jobs.push(async move { pool.run(bytes, move || order.lock().push(app)).await });
            }
        }
        let all = futures_util::future::join_all(jobs);
        let opened = async {
            // Both groups have been polled, so all jobs are queued.
            open.send(()).unwrap();
        };
        let (first, done, ()) = tokio::join!(first, all, opened);
        assert!(first.is_some() && done.iter().all(Option::is_some));
        let order = order.lock();
        order.clone()
    }

    #[tokio::test]
    async fn law_11_one_greedy_app_costs_nine_modest_ones_one_of_its_jobs_for_each_of_theirs() {
        let last_modest = |order: &[usize]| order.iter().rposition(|app| *app != 0).unwrap();
        // Equally large jobs alternate.
        let order = order_under_contention(4, 1_000_000).await;
        assert_eq!(order.len(), 200 + 9 * 4);
        let greedy = order[..last_modest(&order)].iter().filter(|app| **app == 0).count();
        assert!((1..=4).contains(&greedy), "{greedy} jobs of the greedy one came first");
        // Ten jobs of a tenth of the size run per large job.
        let order = order_under_contention(10, 100_000).await;
        let greedy = order[..last_modest(&order)].iter().filter(|app| **app == 0).count();
        assert!(greedy <= 1, "{greedy} jobs of the greedy one came first");
    }

    #[tokio::test]
    async fn the_threads_end_with_the_pool() {
        let pool = Pool::new("test", 2, Priority::Low);
        let queue = Arc::downgrade(&pool.jobs.0);
        let other = pool.of(&"shop".parse().unwrap());
        drop(pool);
        assert_eq!(other.run(1, || 7).await, Some(7));
        drop(other);
        let began = std::time::Instant::now();
        while queue.strong_count() > 0 {
            assert!(began.elapsed().as_secs() < 60, "threads wait for work that never comes");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_threads_of_a_pool_have_its_priority_and_no_other_thread_has() {
        let own = || rustix::process::getpriority_process(None).unwrap();
        let before = own();
        for (priority, nice) in [(Priority::Low, 10), (Priority::Lowest, 19)] {
            let pool = Pool::new("test", 1, priority);
            assert_eq!(pool.run(1, own).await, Some(nice));
        }
        assert_eq!(own(), before);
    }
}
