//! Priorities of the threads that serve no visitors.

/// The priority of a thread; one that serves visitors has that of the process, and comes first.
///
/// The system gives each runnable thread of a core a share by its priority, and takes a core from a thread that runs at its
/// next tick at the earliest, in up to four milliseconds: a visitor waits for as many ticks as other threads have a share
/// worth speaking of. So what is not for visitors has little, even for moments. It has the whole of what they leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    /// A tenth of a busy core: requests of the API, which take little, and must come through while visitors take all.
    Api,
    /// A thirtieth of a busy core: compressing that a push waits for, in as many threads as there are cores.
    Low,
    /// As little as there is, 1.5 % of a busy core: what nobody waits for, and what many threads do at once.
    Lowest,
}

impl Priority {
    /// As the system counts, where 0 is usual and 19 the lowest.
    pub(super) const fn nice(self) -> i32 {
        match self {
            Self::Api => 10,
            Self::Low => 15,
            Self::Lowest => 19,
        }
    }

    /// Gives it to the calling thread, and so to all threads and processes that it will start.
    pub(crate) fn lower(self) {
        // On Linux the priority belongs to the thread that asks, and every thread may lower its own.
        if let Err(error) = rustix::process::setpriority_process(None, self.nice()) {
            tracing::warn!(%error, "a thread runs at the priority of those that serve visitors");
        }
    }
}
