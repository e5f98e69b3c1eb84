//! Priorities of the threads that serve no visitors.

/// The priority of a thread; one that serves visitors has that of the process, and comes first.
///
/// The system gives each thread that waits for a core a share by its priority, but takes the core from one that has
/// just begun to run at its next tick, up to four milliseconds later. How often a visitor waits for that depends on the
/// share of all other threads together. So these have little of a busy core. They have all of what visitors leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// A quarter of a busy core: storing, loading and checking. A push and a rollback wait for it, also where other
    /// programs want all of the machine.
    Work,
    /// A tenth of a busy core: compressing that a push waits for, in as many threads as there are cores.
    Low,
    /// As little as there is, 1.5 % of a busy core: what nobody waits for.
    Lowest,
}

impl Priority {
    /// As the system counts, where 0 is usual and 19 the lowest.
    pub(super) const fn nice(self) -> i32 {
        match self {
            Self::Work => 5,
            Self::Low => 10,
            Self::Lowest => 19,
        }
    }

    /// Gives it to the calling thread, and so to all threads and processes that it will start.
    pub fn lower(self) {
        // On Linux the priority belongs to the thread that asks, and every thread may lower its own.
        if let Err(error) = rustix::process::setpriority_process(None, self.nice()) {
            tracing::warn!(%error, "a thread runs at the priority of those that serve visitors");
        }
    }
}
