//! Threads for compressing, apart from those that serve and from those that wait for the disk.

use std::sync::{Arc, Mutex, PoisonError, mpsc};

type Job = Box<dyn FnOnce() + Send>;

/// How much a pool's threads ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    /// What is left by everything else: it never takes a processor from a request.
    Lowest,
    /// As much as everything else: somebody waits for it.
    Usual,
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
                if priority == Priority::Lowest {
                    lower_priority();
                }
                loop {
                    let job = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { return };
                    job();
                }
            };
            if let Err(error) = std::thread::Builder::new().name(format!("{name}-{number}")).spawn(work) {
                tracing::error!(%error, "a thread that compresses could not be started");
            }
        }
        Self { jobs, threads: threads.max(1) }
    }

    /// How many jobs run at once.
    pub(crate) const fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `work` when its turn comes; `None` only where no thread is left.
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
fn lower_priority() {
    const LOWEST: i32 = 19;
    if let Err(error) = rustix::process::setpriority_process(None, LOWEST) {
        tracing::warn!(%error, "the background pass runs at the priority of everything else");
    }
}
