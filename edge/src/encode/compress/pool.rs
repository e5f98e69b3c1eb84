//! Threads for compressing, apart from those that serve and from those that wait for the disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;

type Job = Box<dyn FnOnce() + Send>;

/// The priority of a pool's threads; a thread that serves always comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    /// Less than what serves: a push waits for it.
    Low,
    /// Idle time only: nobody waits for it.
    Lowest,
}

impl Priority {
    /// As the system counts, where 0 is usual and 19 the lowest.
    const fn nice(self) -> i32 {
        match self {
            Self::Low => 10,
            Self::Lowest => 19,
        }
    }
}

/// Threads that work off jobs in their order.
///
/// A fixed number of them, since an encoder's memory stays with the thread that it ran on.
pub(crate) struct Pool {
    jobs: mpsc::Sender<Job>,
    threads: usize,
}

impl Pool {
    pub(crate) fn new(name: &str, threads: usize, priority: Priority) -> Self {
        let (jobs, receiver) = mpsc::channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..threads.max(1) {
            let receiver = Arc::clone(&receiver);
            let work = move || {
                lower_priority(priority);
                loop {
                    let job = receiver.lock().recv();
                    let Ok(job) = job else { return };
                    // What one app's file does to an encoder must not take the thread from all others.
                    if catch_unwind(AssertUnwindSafe(job)).is_err() {
                        tracing::error!("an encoder failed; its file is served as it is");
                    }
                }
            };
            if let Err(error) = std::thread::Builder::new().name(format!("{name}-{number}")).spawn(work) {
                tracing::error!(%error, "a thread that compresses could not be started");
            }
        }
        Self { jobs, threads: threads.max(1) }
    }

    /// Number of jobs that run at once.
    pub(crate) const fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `work` when its turn comes; `None` where it panicked.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let job: Job = Box::new(move || {
            sender.send(work()).ok();
        });
        self.jobs.send(job).ok()?;
        receiver.await.ok()
    }
}

/// On Linux the priority belongs to the thread that asks, and every thread may lower its own.
fn lower_priority(priority: Priority) {
    if let Err(error) = rustix::process::setpriority_process(None, priority.nice()) {
        tracing::warn!(%error, "compressing runs at the priority of everything else");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn law_11_a_job_that_panics_leaves_the_pool_to_others() {
        let pool = Pool::new("test", 1, Priority::Low);
        assert_eq!(pool.run(|| -> u8 { panic!("a hostile file") }).await, None);
        assert_eq!(pool.run(|| 7).await, Some(7));
    }

    #[tokio::test]
    async fn the_threads_of_a_pool_have_its_priority_and_no_other_thread_has() {
        let own = || rustix::process::getpriority_process(None).unwrap();
        let before = own();
        for priority in [Priority::Low, Priority::Lowest] {
            let pool = Pool::new("test", 1, priority);
            assert_eq!(pool.run(own).await, Some(priority.nice()));
        }
        assert_eq!(own(), before);
    }
}
